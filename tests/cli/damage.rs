//! A damaged store: said so, never papered over with an empty one, and healed where another peer has the bytes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use pfs_tests::{Peer, eventually, eventually_equal};

use super::{one, pair, says};

/// The files of the store whose names end so.
pub(crate) fn files(peer: &Peer, end: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(peer.home.join("store")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_string_lossy().ends_with(end)).collect()
}

fn scratch(path: &Path, at: u64) {
    File::options().write(true).open(path).unwrap().write_all_at(b"damaged!", at).unwrap();
}

fn manifest(peer: &Peer) -> PathBuf {
    let all = fs::read_dir(peer.home.join("store")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST")).max().unwrap()
}

#[test]
fn what_cannot_be_read_is_an_error_every_time_and_nothing_is_made_anew() {
    type Way = (&'static str, fn(&Peer));
    let ways: [Way; 8] = [
        ("CURRENT is empty", |peer| fs::write(peer.home.join("store/CURRENT"), "").unwrap()),
        ("CURRENT is garbage", |peer| fs::write(peer.home.join("store/CURRENT"), "garbage\n").unwrap()),
        ("CURRENT is gone", |peer| fs::remove_file(peer.home.join("store/CURRENT")).unwrap()),
        ("the manifest is cut", |peer| File::options().write(true).open(manifest(peer)).unwrap().set_len(50).unwrap()),
        ("the manifest is scratched", |peer| scratch(&manifest(peer), 40)),
        ("tables are scratched", |peer| files(peer, ".sst").iter().for_each(|path| scratch(path, 20))),
        ("tables are gone", |peer| files(peer, ".sst").iter().for_each(|path| fs::remove_file(path).unwrap())),
        ("the store is gone", |peer| fs::remove_dir_all(peer.home.join("store")).unwrap()),
    ];
    let world = tempfile::tempdir().unwrap();
    for (n, (what, damage)) in ways.into_iter().enumerate() {
        let peer = one(world.path(), &format!("peer{n}"));
        let tree = peer.tree();
        // Opened once more, so that the rows are in tables.
        peer.ok(&["status"]);
        damage(&peer);
        for args in [&["status"][..], &["capture"], &["log"], &["init"], &["daemon", "run", "--listen", "127.0.0.1:0"]]
        {
            let said = super::refused(&peer, 1, args);
            assert!(said.contains("store") && said.contains("no tracked file was touched"), "{what}: {said}");
        }
        assert_eq!(peer.tree(), tree, "{what}");
    }
}

#[test]
fn a_key_that_is_gone_is_not_replaced_by_another() {
    let world = tempfile::tempdir().unwrap();
    let peer = one(world.path(), "anna");
    let key = peer.home.join("key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    for args in [&["status"][..], &["init"], &["capture"]] {
        says(&peer, 1, args, &["no key", "from a copy"]);
    }
    fs::write(&key, "short").unwrap();
    says(&peer, 1, &["status"], &["5 bytes", "from a copy"]);
    fs::write(&key, kept).unwrap();
    assert_eq!(peer.ok(&["cat", "v:one"]), "1\n");
}

#[test]
fn damaged_chunks_are_named_do_not_stop_others_and_heal() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, ben) = pair(world.path());
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    anna.write("large", &bytes);
    eventually_equal(&[&anna, &ben]);
    anna.stop();
    // What is in the log of changes goes to files when it is opened again.
    anna.ok(&["status"]);
    let blobs = files(&anna, ".blob");
    assert!(!blobs.is_empty());
    for blob in &blobs {
        for at in (500..fs::metadata(blob).unwrap().len().saturating_sub(100)).step_by(9000) {
            scratch(blob, at);
        }
    }
    let said = anna.fails(1, &["verify"]);
    assert!(said.is_empty(), "an answer, not an error: {said}");
    let damaged = anna.run(&["verify"]).out;
    assert!(damaged.contains("v:large") && damaged.contains("--repair"), "{damaged}");
    assert!(!damaged.contains("v:one"), "{damaged}");
    says(&anna, 1, &["cat", "v:large"], &["damaged"]);
    assert_eq!(anna.ok(&["cat", "v:one"]), "1\n", "the rest is sound");

    // A third peer gets from ben what anna cannot read, and neither takes the other for hostile.
    anna.start();
    let mut carl = Peer::new(world.path(), "carl");
    carl.start();
    carl.join(&anna.ticket("v"));
    eventually_equal(&[&anna, &ben, &carl]);
    anna.ok(&["verify", "--repair"]);
    assert_eq!(anna.run(&["cat", "v:large"]).out.len(), String::from_utf8_lossy(&bytes).len());
    assert!(anna.ok(&["verify"]).contains("all is well"));
    for peer in [&anna, &ben, &carl] {
        assert!(!peer.log().contains("evidence"), "{}", peer.log());
    }
}

#[test]
fn entries_that_a_damaged_disk_lost_come_back_and_both_sides_go_on() {
    let world = tempfile::tempdir().unwrap();
    for cut in [true, false] {
        let world = world.path().join(cut.to_string());
        let (mut anna, ben) = pair(&world);
        for n in 0..5 {
            anna.write("counted", format!("{n}\n"));
            anna.ok(&["capture"]);
        }
        eventually_equal(&[&anna, &ben]);
        anna.kill();
        for log in files(&anna, ".log") {
            let len = fs::metadata(&log).unwrap().len();
            if cut {
                File::options().write(true).open(&log).unwrap().set_len(len / 3).unwrap();
            } else {
                scratch(&log, len / 3);
            }
        }
        anna.write("counted", "anna goes on\n");
        anna.start();
        // Anna wrote on without what was lost, so the two are sides of a fork.
        let forked = |peer: &Peer| peer.json(&["forks"])[0]["path"] == "counted";
        eventually("what was lost is back", || forked(&anna) && forked(&ben));
        anna.ok(&["resolve", "v:counted", "--ours"]);
        eventually_equal(&[&anna, &ben]);
        anna.write("last", "of anna");
        ben.write("last of ben", "x");
        eventually_equal(&[&anna, &ben]);
        eventually("in step", || anna.state() == "synced" && ben.state() == "synced");
        assert_eq!(ben.read("counted").as_deref(), Some("anna goes on\n"));
        for peer in [&anna, &ben] {
            assert!(!peer.log().contains("evidence"), "{}", peer.log());
        }
    }
}

#[test]
fn old_versions_go_by_the_rule_and_say_so() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    // At once, so that nobody sees a part of it.
    let save = |text: String| {
        fs::write(world.path().join("draft"), text).unwrap();
        fs::rename(world.path().join("draft"), anna.dir.join("often")).unwrap();
        anna.ok(&["capture"]);
    };
    (0..4).for_each(|n| save(n.to_string().repeat(50_000)));
    eventually_equal(&[&anna, &ben]);
    let first = anna.lines(&["log", "v:often"]).pop().unwrap()["patch"].as_str().unwrap().to_owned();
    let told = anna.json(&["gc", "--dry-run"]);
    assert_eq!((&told["versions"], &told["kept"]["recent"]), (&0.into(), &3.into()), "all are recent: {told}");
    // A version is old once the millisecond of the next one is over.
    eventually("all that was replaced is old", || {
        let told = anna.json(&["gc", "--dry-run", "--keep-within", "1ms", "--keep-last", "2"]);
        told["versions"] == 2
    });
    let said = anna.ok(&["gc", "--keep-within", "1ms", "--keep-last", "2", "--dry-run"]);
    assert!(said.contains("v:often") && said.contains("would let go of 2 versions of 1 file"), "{said}");
    assert_eq!(anna.ok(&["cat", "v:often", "--at", &first]).len(), 50_000, "nothing has gone yet");

    anna.ok(&["gc", "--keep-within", "1ms", "--keep-last", "2", "--remember"]);
    says(&anna, 3, &["cat", "v:often", "--at", &first], &["let go of", "another member"]);
    assert_eq!(ben.ok(&["cat", "v:often", "--at", &first]).len(), 50_000, "ben keeps by his own rule");
    assert_eq!(anna.lines(&["log", "v:often"]).len(), 4, "the history stays");
    assert_eq!(anna.json(&["gc"])["last"], 2, "the rule is remembered");
    assert!(anna.ok(&["verify"]).contains("all is well"));
    save("0".repeat(50_000));
    eventually_equal(&[&anna, &ben]);
    assert!(anna.ok(&["verify"]).contains("all is well"));
}
