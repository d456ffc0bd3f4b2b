//! Real programs at work in a tree that is synced meanwhile: the other peer ends with the same tree, nobody sees a
//! fork that nobody made, and whoever only followed has written nothing.

mod builds;
mod editors;
mod git;
mod mapped;
mod sqlite;

use std::path::Path;
use std::process::{Command, Stdio};

use pfs_tests::{Peer, Tree, eventually, eventually_alike, without_times};

/// A program that is to run in `dir`, with nothing of this machine's settings but where programs are.
fn program(dir: &Path, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(dir).stdin(Stdio::null()).env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH")).env("HOME", "/nowhere").env("LC_ALL", "C");
    command
}

/// Runs a program that must succeed; gives what it printed.
fn succeeds(mut command: Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {}: {out}{err}", done.status);
    out.into_owned()
}

/// Waits until `follower` has what `worker` made, and nothing is left to do. That changed nothing under the
/// worker's hands, and made no fork.
fn followed(worker: &Peer, follower: &Peer) -> Tree {
    let made = without_times(worker.tree());
    eventually_alike(&[worker, follower]);
    let peers = [worker, follower];
    eventually("nothing is left to do", || peers.iter().all(|peer| peer.state() == "synced"));
    for peer in peers {
        assert!(without_times(peer.tree()) == made, "{}'s tree is no longer what {} made", peer.name, worker.name);
        assert_eq!(peer.json(&["forks"]), serde_json::json!([]), "{}", peer.name);
    }
    made
}

/// A peer whose tree only others worked in has nothing to say: what arrived was taken for what it was.
fn wrote_nothing(peer: &Peer) {
    let written = peer.lines(&["log", "v:", "--origin", &peer.name]);
    assert!(written.is_empty(), "{} only followed: {written:#?}", peer.name);
    // Nor would it at a look at everything.
    peer.ok(&["capture", "v"]);
    let written = peer.lines(&["log", "v:", "--origin", &peer.name]);
    assert!(written.is_empty(), "{} only followed: {written:#?}", peer.name);
}
