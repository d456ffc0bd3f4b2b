//! What one engine captures the other shows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::ops::ControlFlow;
use std::path::Path;

use pfs_engine::model::name::RelPath;
use pfs_engine::plan::restore::Wish;
use pfs_engine::query::{self, Action, LogScope};
use support::{eventually, pair, settle, sync, tell};

#[test]
fn a_tree_appears_changes_and_forks() {
    let (a, b, id) = pair(|a| {
        a.write("d/e/f", "one");
        a.write("g", vec![7; 3_000_000]);
        std::os::unix::fs::symlink("g", a.at("l")).unwrap();
    });
    assert_eq!(b.read("d/e/f").as_deref(), Some("one"));
    assert_eq!(std::fs::metadata(b.at("g")).unwrap().len(), 3_000_000);
    assert_eq!(std::fs::read_link(b.at("l")).unwrap(), Path::new("g"));

    b.rename("d", "moved");
    b.write("moved/e/f", "two");
    std::fs::remove_file(b.at("l")).unwrap();
    eventually("a rename, an edit and a delete cross", || {
        sync(&a, &b, id);
        a.read("moved/e/f").as_deref() == Some("two") && !a.at("d").exists() && !a.at("l").exists()
    });
    settle(&a, &b, id);

    a.write("moved/e/f", "of anna");
    b.write("moved/e/f", "of ben");
    a.engine().capture(id, None).unwrap();
    b.engine().capture(id, None).unwrap();
    eventually("the fork is seen by both", || {
        sync(&a, &b, id);
        a.forks(id) == 1 && b.forks(id) == 1
    });
    assert_eq!(a.read("moved/e/f").as_deref(), Some("of anna"), "a fork changes nothing under anyone's hands");
    assert_eq!(b.read("moved/e/f").as_deref(), Some("of ben"));
}

/// More than one batch: directories go after all that they hold.
#[test]
fn a_large_tree_goes_at_once() {
    let (a, b, id) = pair(|a| {
        for n in 0..4200 {
            a.write(&format!("d/{}/{}/{n}", n % 7, n % 5), "");
        }
        a.write("stays", "");
    });
    std::fs::remove_dir_all(a.at("d")).unwrap();
    eventually("it is meant", || a.engine().capture_vouched(id, None).is_ok());
    eventually("the delete crosses", || {
        sync(&a, &b, id);
        !b.at("d").exists()
    });
    settle(&a, &b, id);
}

/// What one deleted and changed the other brings back, of what it never had on disk as well, and it travels back.
#[test]
fn either_brings_back_what_was() {
    let (a, b, id) = pair(|a| {
        a.write("d/kept", "0");
        a.write("d/e/gone", "of old");
    });
    let then = a.engine().volume(id).unwrap().state().time;
    let wish =
        |path: &str| Wish { path: RelPath::parse(path.as_bytes()).unwrap(), until: then, version: None, to: None };
    std::fs::remove_dir_all(a.at("d/e")).unwrap();
    a.write("d/kept", "1");
    a.write("d/new", "2");
    a.engine().capture(id, None).unwrap();
    settle(&a, &b, id);
    assert!(!b.at("d/e").exists());

    let told = b.engine().restore(id, wish("d/e/gone"), true).unwrap();
    assert!(told.deeds.len() == 2 && !b.at("d/e").exists(), "a dry run does nothing: {told:?}");
    // What nobody has captured yet is superseded like anything else that is there, and stays in the history.
    b.write("d/kept", "by hand");
    let done = b.engine().restore(id, wish("d"), false).unwrap();
    assert!(done.lacking.is_empty(), "{done:?}");
    settle(&a, &b, id);
    for peer in [&a, &b] {
        assert_eq!(peer.read("d/e/gone").as_deref(), Some("of old"));
        assert_eq!(peer.read("d/kept").as_deref(), Some("0"));
        assert!(!peer.at("d/new").exists());
        assert_eq!(peer.forks(id), 0);
    }
    assert!(b.engine().restore(id, wish("d"), false).unwrap().patches.is_empty(), "it is as it was");

    let (store, volume) = (a.engine().store(), a.engine().volume(id).unwrap());
    let mut log = Vec::new();
    query::log(store, &volume, &LogScope::Volume, (None, None), None, &mut |report| {
        log.push((report.path.to_string(), report.action));
        ControlFlow::Continue(())
    })
    .unwrap();
    for path in ["d/e", "d/e/gone", "d/kept"] {
        let last = log.iter().find(|(at, _)| at == path).unwrap();
        assert_eq!(last.1, Action::Restore, "{path}: {log:?}");
    }
    assert!(log.iter().any(|(path, action)| path == "d/kept" && *action == Action::Edit));
}

/// The bytes of a version that is brought back can be elsewhere still.
#[test]
fn what_is_not_here_yet_comes_from_the_other() {
    let (a, b, id) = pair(|a| a.write("f", "old"));
    let old = "what only anna has".repeat(4000);
    a.write("f", &old);
    a.engine().capture(id, None).unwrap();
    let then = a.engine().volume(id).unwrap().state().time;
    a.write("f", "new");
    a.engine().capture(id, None).unwrap();
    // Entries without chunks.
    tell(&a, &b, id);
    let wish = Wish { path: RelPath::parse(b"f").unwrap(), until: then, version: None, to: None };
    let done = b.engine().restore(id, wish, false).unwrap();
    assert_eq!(done.lacking.values().copied().collect::<Vec<_>>(), [old.len() as u64]);
    settle(&a, &b, id);
    assert_eq!((a.read("f").as_ref(), b.read("f").as_ref()), (Some(&old), Some(&old)));
}
