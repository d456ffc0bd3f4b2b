//! Hostile or silly input: every case ends in one error that says what failed, on what, why and what to do next,
//! with the exit code that scripts go by; never in a panic, a hang or a change of anybody's data.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod damage;
mod disks;
mod doors;
mod forks;
mod history;
mod rot;
mod torn;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pfs_tests::{Output, Peer, Thing};

/// Runs a command that must be refused with that exit code, in words for people; gives them.
fn refused(peer: &Peer, code: i32, args: &[&str]) -> String {
    let done = peer.run(args);
    let Output { err, .. } = &done;
    assert_eq!(done.code, code, "pfs {}: {done:?}", args.join(" "));
    assert!(err.starts_with("error: ") && err.lines().count() <= 3, "one error: {err}");
    assert!(err.contains("\nhint: "), "what to do next: {err}");
    for inside in ["panicked", "RUST_BACKTRACE", "Os {", "Error(", "src/"] {
        assert!(!err.contains(inside), "in words for people: {err}");
    }
    err.clone()
}

/// The same, and these words are among them.
fn says(peer: &Peer, code: i32, args: &[&str], words: &[&str]) {
    let said = refused(peer, code, args);
    for word in words {
        assert!(said.contains(word), "`{word}` in: {said}");
    }
}

/// The files of a tree and their bytes: what was equal when it joined keeps its own times.
fn contents(peer: &Peer) -> BTreeMap<PathBuf, Vec<u8>> {
    let bytes = |thing| if let Thing::File { bytes, .. } = thing { Some(bytes) } else { None };
    peer.tree().into_iter().filter_map(|(path, thing)| Some((path, bytes(thing)?))).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A peer with the volume `v` of two files.
fn one(world: &Path, name: &str) -> Peer {
    let peer = Peer::new(world, name);
    peer.write("one", "1\n");
    peer.write("folder/two", "2\n");
    peer.ok(&["track", &text(&peer.dir), "--name", "v"]);
    peer
}

/// Two peers whose daemons run and that share `v`.
fn pair(world: &Path) -> (Peer, Peer) {
    let (mut anna, mut ben) = (one(world, "anna"), Peer::new(world, "ben"));
    anna.start();
    ben.start();
    ben.join(&anna.ticket("v"));
    pfs_tests::eventually_equal(&[&anna, &ben]);
    (anna, ben)
}
