//! Trees deeper than pfs carries: what is left out is told, and nobody spins over it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::fd::OwnedFd;
use std::path::Path;

use pfs_engine::limits::DEPTH_MAX;
use pfs_engine::model::ids::VolumeId;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, open, openat, renameat, unlinkat};
use support::{Peer, eventually, joined, pair, settle, sync, tree};

const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// Makes a chain of directories of one name; one level at a time, for no path leads that far. A file is in the last.
fn dig(above: &Path, name: &str, levels: usize) {
    let mut at: OwnedFd = open(above, DIR, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&at, name, Mode::RWXU).unwrap();
        at = openat(&at, name, DIR, Mode::empty()).unwrap();
    }
    let file = openat(&at, "bottom", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR | Mode::WUSR).unwrap();
    rustix::io::write(&file, b"bytes").unwrap();
}

/// How many levels of such a chain are there.
fn levels(above: &Path, name: &str) -> usize {
    let mut at = open(above, DIR, Mode::empty()).unwrap();
    let mut levels = 0;
    while let Ok(below) = openat(&at, name, DIR, Mode::empty()) {
        at = below;
        levels += 1;
    }
    levels
}

/// Removes such a chain from the top down: what removes trees may keep every level open.
fn fill_in(above: &Path, name: &str) {
    let at = open(above, DIR, Mode::empty()).unwrap();
    while let Ok(top) = openat(&at, name, DIR, Mode::empty()) {
        for file in ["bottom", "f"] {
            let _ = unlinkat(&top, file, AtFlags::empty());
        }
        let _ = renameat(&top, name, CWD, above.join("next"));
        unlinkat(&at, name, AtFlags::REMOVEDIR).unwrap();
        let _ = renameat(CWD, above.join("next"), &at, name);
    }
}

fn chain(name: &str, levels: usize) -> String {
    vec![name; levels].join("/")
}

fn idle(a: &Peer, b: &Peer, id: VolumeId) {
    eventually("both have nothing to do", || {
        sync(a, b, id);
        let even = a.engine().volume(id).unwrap().frontier() == b.engine().volume(id).unwrap().frontier();
        even && a.is_idle(id) && b.is_idle(id)
    });
}

fn trouble(peer: &Peer, id: VolumeId) -> String {
    peer.report(id).last_error.unwrap_or_default()
}

#[test]
fn what_lies_too_deep_is_told_and_all_else_is_shown() {
    for deep in [DEPTH_MAX, 300, 2000] {
        let a = Peer::new("anna");
        dig(a.dir.path(), "a", deep);
        a.write("a/f", "shallow");
        let (id, captured) = a.engine().track(a.dir.path(), "v", 2, None).unwrap();
        let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
        let below = if deep == DEPTH_MAX { "bottom" } else { "a" };
        assert_eq!(String::from_utf8_lossy(&problem.path), format!("{}/{below}", chain("a", DEPTH_MAX)));
        assert!(problem.why.contains("too deep"), "{}", problem.why);
        let b = joined(&a, id, "ben");
        settle(&a, &b, id);
        assert_eq!(levels(b.dir.path(), "a"), DEPTH_MAX);
        assert_eq!(b.read("a/f").as_deref(), Some("shallow"));
        assert_eq!(trouble(&b, id), "");
        fill_in(a.dir.path(), "a");
    }
}

/// A move takes along what then lies too deep. Who has it keeps it; who has not is told, and gets it when it is
/// moved back.
#[test]
fn a_move_that_makes_a_tree_too_deep_is_told_where_it_cannot_be_shown() {
    let (a, b, id) = pair(|a| {
        dig(a.dir.path(), "p", 200);
        dig(a.dir.path(), "x", 100);
    });
    let foot = chain("p", 200);
    a.rename("x", &format!("{foot}/x"));
    a.engine().capture(id, None).unwrap();
    settle(&a, &b, id);
    assert_eq!(levels(&b.at(&foot), "x"), 100, "a rename takes all along");
    let c = joined(&a, id, "carl");
    idle(&a, &c, id);
    assert_eq!(levels(&c.at(&foot), "x"), DEPTH_MAX - 200);
    assert!(trouble(&c, id).contains("too deep"), "{}", trouble(&c, id));
    a.rename(&format!("{foot}/x"), "x");
    a.engine().capture(id, None).unwrap();
    settle(&a, &c, id);
    assert_eq!(trouble(&c, id), "");
    assert_eq!(c.read(&format!("{}/bottom", chain("x", 100))).as_deref(), Some("bytes"));
    // Whoever has it removes it, however deep it lies.
    settle(&a, &b, id);
    a.rename("x", &format!("{foot}/x"));
    a.engine().capture(id, None).unwrap();
    settle(&a, &b, id);
    std::fs::remove_dir_all(a.at("p")).unwrap();
    a.write("left", "");
    a.engine().capture(id, None).unwrap();
    settle(&a, &b, id);
    assert!(!b.at("p").exists());
}

/// Two moves that are harmless by themselves: what cannot follow stays where it is, and so does what would take
/// its place.
#[test]
fn moves_that_are_too_deep_together_are_told_and_wait() {
    let (a, b, id) = pair(|a| {
        dig(a.dir.path(), "p", 200);
        dig(a.dir.path(), "q", 100);
        a.write("x/f", "one");
    });
    let (p, q) = (chain("p", 200), chain("q", 100));
    a.rename("x", &format!("{p}/x"));
    a.write("x/g", "two");
    a.engine().capture(id, None).unwrap();
    b.rename("p", &format!("{q}/p"));
    b.engine().capture(id, None).unwrap();
    idle(&a, &b, id);
    assert!(trouble(&b, id).contains("too deep"), "{}", trouble(&b, id));
    assert_eq!(b.read("x/f").as_deref(), Some("one"), "it stays where it was");
    a.write("beside", "three");
    eventually("all else goes on", || {
        sync(&a, &b, id);
        b.read("beside").as_deref() == Some("three")
    });
    a.rename(&format!("{q}/p"), "p");
    a.engine().capture(id, None).unwrap();
    settle(&a, &b, id);
    assert_eq!(trouble(&b, id), "");
    assert_eq!(b.read(&format!("{p}/x/f")).as_deref(), Some("one"));
    assert_eq!(tree(a.dir.path()), tree(b.dir.path()));
}
