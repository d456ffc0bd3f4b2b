//! A peer whose disk went back in time: put back from a copy, or with the whole machine. Nothing is lost, and nobody is
//! cut off.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

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

/// Makes it look as if the whole file system had gone back: the note of the last closing names itself.
fn unnoticed(peer: &Peer) {
    let note = peer.home.join("closed");
    let text = fs::read_to_string(&note).unwrap();
    let meta = fs::metadata(&note).unwrap();
    let born = meta.created().map_or_else(|_| std::time::Duration::ZERO, |at| at.duration_since(UNIX_EPOCH).unwrap());
    let position = text.split(' ').next().unwrap();
    let (secs, nanos) = (born.as_secs(), born.subsec_nanos());
    fs::write(&note, format!("{position} in {} {} {secs} {nanos}\n", meta.dev(), meta.ino())).unwrap();
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

/// Two peers have two forms of anna's log, and each goes on from what it has.
#[test]
fn a_log_in_two_forms_is_settled_by_its_author_and_all_have_all() {
    for (first, second) in [(3, 1), (1, 4), (2, 2)] {
        let world = tempfile::tempdir().unwrap();
        let (mut anna, mut ben) = pair(world.path());
        let mut carl = Peer::new(world.path(), "carl");
        carl.start();
        carl.join(&anna.ticket("v"));
        in_step(&[&anna, &ben, &carl], &[]);
        carl.stop();
        anna.stop();
        keep(&anna, &world.path().join("kept"));
        anna.start();
        let mut files: Vec<String> = Vec::new();
        let mut write = |peer: &Peer, what: String| {
            peer.write(&what, &what);
            peer.ok(&["capture"]);
            files.push(what);
        };
        for n in 0..first {
            write(&anna, format!("first {n}"));
        }
        eventually("ben has one form", || ben.at(&format!("first {}", first - 1)).exists());
        ben.write("first 0", "first 0, edited by ben");
        ben.ok(&["capture"]);
        ben.write("first 0", "first 0");
        ben.stop();
        anna.stop();
        put_back(&anna, &world.path().join("kept"));
        unnoticed(&anna);
        anna.start();
        carl.start();
        for n in 0..second {
            write(&anna, format!("second {n}"));
        }
        eventually("carl has the other", || carl.at(&format!("second {}", second - 1)).exists());
        write(&carl, "of carl".into());
        // Nobody knows yet; ben and carl meet before anna comes.
        anna.stop();
        ben.start();
        write(&ben, "of ben".into());
        anna.start();
        let late = "late".to_owned();
        write(&anna, late);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        in_step(&[&anna, &ben, &carl], &files);
        // Who comes later takes it as it was settled.
        let mut dora = Peer::new(world.path(), "dora");
        dora.start();
        dora.join(&ben.ticket("v"));
        in_step(&[&anna, &ben, &carl, &dora], &files);
    }
}
