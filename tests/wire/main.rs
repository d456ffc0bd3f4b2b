//! Real programs on real directories over real connections: what one peer's tree becomes, the others' become.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod doors;
mod programs;
mod restored;
mod sync;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use pfs_fixtures::noise;
use pfs_tests::{Peer, eventually, eventually_equal};

/// A tree with everything that pfs carries.
fn furnish(peer: &Peer) {
    peer.write("a/b/c", "one\n");
    peer.write("a/empty", "");
    peer.write("large", noise(3_000_000, 7));
    peer.write("a/run.sh", "#!/bin/sh\n");
    peer.write("umlaut/ä ö\u{200b}", "name");
    symlink("../large", peer.at("a/link")).unwrap();
    symlink("nowhere at all", peer.at("broken")).unwrap();
    fs::create_dir(peer.at("hollow")).unwrap();
    set_mode(&peer.at("a/run.sh"), 0o750);
    set_mode(&peer.at("large"), 0o600);
    let old = fs::File::options().write(true).open(peer.at("a/b/c")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789)).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Two peers whose daemons run and that share the volume `v`, as anna furnished it.
fn pair(world: &Path) -> (Peer, Peer) {
    let (mut anna, mut ben) = (Peer::new(world, "anna"), Peer::new(world, "ben"));
    furnish(&anna);
    anna.ok(&["track", &anna.dir.display().to_string(), "--name", "v"]);
    anna.start();
    ben.start();
    ben.join(&anna.ticket("v"));
    eventually_equal(&[&anna, &ben]);
    eventually("both are in sync", || anna.state() == "synced" && ben.state() == "synced");
    (anna, ben)
}
