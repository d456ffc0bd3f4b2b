//! What one engine captures the other shows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;

use support::{eventually, pair, settle, sync};

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
