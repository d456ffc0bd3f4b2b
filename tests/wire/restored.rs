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

/// A machine goes back to what it was, home and tree, as a virtual one does whose disk is set back: even the note that
/// its store was closed in good order is the file that it was. What it appends next it has appended before.
fn set_back(peer: &Peer, kept: &Path) {
    for at in [&peer.home.join("store"), &peer.dir] {
        fs::remove_dir_all(at).unwrap();
    }
    copy(&kept.join("home/store"), &peer.home.join("store"));
    copy(&kept.join("tree"), &peer.dir);
    fs::hard_link(kept.join("closed"), peer.home.join("closed")).unwrap();
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

/// The same with what tells a copy of a home from the home itself.
fn keep_unnoticed(peer: &Peer, kept: &Path) {
    keep(peer, kept);
    fs::hard_link(peer.home.join("closed"), kept.join("closed")).unwrap();
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

/// What a peer appends to its log, one entry each, while its daemon runs and that other one hears it.
fn append(peer: &Peer, hears: &Peer, files: &[&str]) {
    for file in files {
        peer.write(file, file);
        eventually("it is heard", || hears.read(file).as_deref() == Some(*file));
    }
}

/// A disk goes back in time unnoticed and its peer writes on: its log has two forms, each at another peer. Whichever is
/// the longer, and whoever meets first, all have everything of both in the end, and nobody is in doubt.
#[test]
fn a_log_in_two_forms_becomes_one() {
    two_forms(&["1a"], &["2a", "2b", "2c"], false);
    two_forms(&["1a", "1b", "1c"], &["2a"], false);
    two_forms(&["1a"], &["2a"], true);
}

fn two_forms(first: &[&str], second: &[&str], is_away: bool) {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut ben) = pair(world.path());
    let mut carl = Peer::new(world.path(), "carl");
    carl.start();
    carl.join(&anna.ticket("v"));
    in_step(&[&anna, &ben, &carl], &[]);
    anna.stop();
    let kept = world.path().join("kept");
    keep_unnoticed(&anna, &kept);
    ben.stop();
    anna.start();
    append(&anna, &carl, first);
    carl.write("of carl", "of carl");
    eventually("it is heard", || anna.read("of carl").is_some());
    carl.stop();
    anna.kill();
    set_back(&anna, &kept);
    // Before it hears of anybody.
    anna.write(second[0], second[0]);
    anna.ok(&["capture"]);
    anna.start();
    ben.start();
    eventually("the other form is heard", || ben.read(second[0]).is_some());
    append(&anna, &ben, &second[1..]);
    ben.write("of ben", "of ben");
    if is_away {
        eventually("it is heard", || anna.read("of ben").is_some());
        anna.kill();
        carl.start();
        for peer in [&ben, &carl] {
            eventually("the others find two forms", || peer.json(&["status"])["volumes"][0]["problem"].is_string());
        }
        anna.start();
    } else {
        carl.start();
    }
    let all = [first, second, &["of carl", "of ben"]].concat();
    in_step(&[&anna, &ben, &carl], &all);
    assert!(anna.log().contains("others have other entries of this peer's log"), "{}", anna.log());
    anna.write("at last", "of anna");
    carl.write("at rest", "of carl");
    eventually("what is new crosses", || ben.read("at last").is_some() && ben.read("at rest").is_some());
    in_step(&[&anna, &ben, &carl], &[]);
}
