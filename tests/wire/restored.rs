//! A peer whose disk went back in time: put back from a copy. Nothing is lost, and nobody is cut off.

use std::fs;
use std::path::Path;
use std::process::Command;

use pfs_tests::{Peer, eventually, eventually_alike};

use super::pair;

/// As a backup program copies it: everything that is in it, as other files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let done = Command::new("cp").arg("-a").arg(format!("{}/.", from.display())).arg(to).status().unwrap();
    assert!(done.success());
}

/// A home and a tree go back to what they were.
fn put_back(peer: &Peer, kept: &Path) {
    for (what, at) in [("home", &peer.home), ("tree", &peer.dir)] {
        fs::remove_dir_all(at).unwrap();
        copy(&kept.join(what), at);
    }
}

fn keep(peer: &Peer, kept: &Path) {
    copy(&peer.home, &kept.join("home"));
    copy(&peer.dir, &kept.join("tree"));
}

fn in_step(peers: &[&Peer], files: &[&str]) {
    eventually("everything is everywhere", || {
        peers.iter().all(|peer| files.iter().all(|file| peer.read(file).as_deref() == Some(*file)))
    });
    eventually_alike(peers);
    eventually("all are in step", || peers.iter().all(|peer| peer.state() == "synced"));
    for peer in peers {
        let status = peer.json(&["status"]);
        assert_eq!(status["volumes"][0]["forks"], 0, "{status}");
        assert!(status["volumes"][0]["problem"].is_null(), "{status}");
        assert!(!peer.log().contains("evidence"), "{}", peer.log());
        assert!(peer.ok(&["verify"]).contains("all is well"));
    }
}

#[test]
fn a_home_from_an_old_backup_goes_on_and_loses_nothing() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, ben) = pair(world.path());
    anna.stop();
    keep(&anna, &world.path().join("kept"));
    anna.start();
    anna.write("after the backup", "after the backup");
    in_step(&[&anna, &ben], &["after the backup"]);
    anna.stop();
    put_back(&anna, &world.path().join("kept"));
    // Before it hears of anybody.
    anna.write("after it was put back", "after it was put back");
    anna.ok(&["capture"]);
    anna.start();
    in_step(&[&anna, &ben], &["after the backup", "after it was put back"]);
    ben.write("of ben", "of ben");
    anna.write("of anna", "of anna");
    in_step(&[&anna, &ben], &["of ben", "of anna"]);
}
