//! A home that was put back from a copy: it goes on in new logs, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::Path;

use pfs_engine::model::ids::LogId;
use support::{Peer, eventually, pair, settle};

/// As a backup program copies it: everything that is in it, as other files. No process is started for it: that would
/// hold the locks of other tests for a moment.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn own_log(peer: &Peer, id: pfs_engine::model::ids::VolumeId) -> Option<LogId> {
    peer.engine().volume(id).unwrap().state().log
}

#[test]
fn an_old_copy_of_a_home_goes_on_in_new_logs() {
    let (mut a, b, id) = pair(|a| a.write("f", "1"));
    let kept = tempfile::tempdir().unwrap();
    a.close();
    copy(a.home.path(), kept.path());
    a.open(true);
    a.write("g", "after the copy");
    eventually("it crosses", || {
        settle(&a, &b, id);
        b.read("g").is_some()
    });
    let log = own_log(&a, id);
    a.close();
    // Over what is there, file by file.
    fs::remove_dir_all(a.home.path().join("store")).unwrap();
    copy(kept.path(), a.home.path());
    a.open(true);
    a.write("h", "after it was put back");
    a.engine().capture(id, None).unwrap();
    assert_ne!(own_log(&a, id), log, "others have more of the old one");
    settle(&a, &b, id);
    for peer in [&a, &b] {
        assert_eq!(peer.read("g").as_deref(), Some("after the copy"));
        assert_eq!(peer.read("h").as_deref(), Some("after it was put back"));
        assert_eq!(peer.forks(id), 0);
    }
}

#[test]
fn a_home_that_moved_goes_on_in_its_log() {
    let (mut a, _b, id) = pair(|a| a.write("f", "1"));
    let log = own_log(&a, id);
    a.close();
    let other = a.home.path().with_extension("moved");
    fs::rename(a.home.path(), &other).unwrap();
    let engine = pfs_engine::Engine::open(&other, pfs_engine::Options { live: false }).unwrap();
    assert_eq!(engine.volume(id).unwrap().state().log, log);
    drop(engine);
    fs::rename(&other, a.home.path()).unwrap();
    a.open(false);
    assert_eq!(own_log(&a, id), log);
}
