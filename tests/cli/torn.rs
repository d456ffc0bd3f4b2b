//! Files of the store that end too early, or hold one wrong byte: found each time, and healed from the other peer
//! where another peer can have it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pfs_fixtures::noise;
use pfs_tests::{Peer, eventually, eventually_equal};

use super::damage::files;
use super::{one, pair, refused};

fn cut(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// One bit is another.
fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn all_is_well(peers: &[&Peer]) {
    eventually_equal(peers);
    eventually("all rest", || peers.iter().all(|peer| peer.state() == "synced"));
    for peer in peers {
        assert_eq!(peer.json(&["forks"]), serde_json::json!([]), "{}", peer.name);
        assert!(peer.ok(&["verify"]).contains("all is well"), "{}", peer.name);
    }
}

#[test]
fn a_torn_end_of_the_log_of_changes_costs_nothing() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, ben) = pair(world.path());
    for torn in [1, 5, 40, 400] {
        anna.write("counted", torn.to_string());
        anna.write(&format!("new/{torn}"), noise(3000, torn));
        anna.ok(&["capture"]);
        eventually_equal(&[&anna, &ben]);
        anna.kill();
        let logs: Vec<_> = files(&anna, ".log").into_iter().filter(|log| len(log) > torn).collect();
        assert!(!logs.is_empty());
        for log in &logs {
            cut(log, len(log) - torn);
        }
        ben.write("of ben", torn.to_string());
        anna.start();
        all_is_well(&[&anna, &ben]);
        assert_eq!(ben.read("counted"), Some(torn.to_string()));
    }
}

#[test]
fn chunks_that_cannot_be_read_are_found_and_healed() {
    type Way = (&'static str, fn(&Peer) -> Vec<PathBuf>, fn(&Path));
    let ways: [Way; 3] = [
        ("a byte of a chunk", |peer| files(peer, ".blob"), |path| flip(path, len(path) / 2)),
        ("half of a blob file", |peer| files(peer, ".blob"), |path| cut(path, len(path) / 2)),
        ("a blob file", |peer| files(peer, ".blob"), |path| fs::remove_file(path).unwrap()),
    ];
    for (what, of, damage) in ways {
        let world = tempfile::tempdir().unwrap();
        let (mut anna, ben) = pair(world.path());
        // So large that its lists of chunks are in blob files, too.
        anna.write("large", noise(2_000_000, 3));
        eventually_equal(&[&anna, &ben]);
        anna.stop();
        // What is in the log of changes goes to files when it is opened again.
        anna.ok(&["status"]);
        let hit = of(&anna);
        assert!(!hit.is_empty(), "{what}");
        for path in &hit {
            damage(path);
        }
        let tree = anna.tree();
        let told = anna.run(&["verify"]);
        assert!(told.code == 1 && told.out.contains("v:large"), "{what}: {told:?}");
        anna.start();
        let healed = anna.run(&["verify", "--repair"]);
        assert_eq!(healed.code, 0, "{what}: {healed:?}");
        all_is_well(&[&anna, &ben]);
        assert_eq!(anna.tree(), tree, "{what}");
        assert_eq!(anna.command(&["cat", "v:large"]).output().unwrap().stdout, noise(2_000_000, 3), "{what}");
    }
}

/// What a table held is not known then, so that nothing of it can be healed: it is told, with the way on.
#[test]
fn a_wrong_byte_in_any_table_is_found() {
    let world = tempfile::tempdir().unwrap();
    let peer = one(world.path(), "anna");
    for n in 0..20 {
        peer.write(&format!("folder/{n}"), noise(700, n));
    }
    peer.ok(&["capture"]);
    peer.ok(&["status"]);
    let copy = Peer::new(world.path(), "copy");
    let tables = files(&peer, ".sst");
    assert!(tables.len() > 10, "a table each");
    for (table, is_cut) in tables.iter().flat_map(|table| [(table, true), (table, false)]) {
        fs::remove_dir_all(&copy.home).unwrap();
        assert!(Command::new("cp").arg("-a").args([&peer.home, &copy.home]).status().unwrap().success());
        let hit = copy.home.join("store").join(table.file_name().unwrap());
        if is_cut {
            cut(&hit, len(&hit) * 2 / 3);
        } else {
            flip(&hit, 20);
        }
        let said = refused(&copy, 1, &["verify"]);
        assert!(said.contains("store is damaged") && said.contains("no tracked file was touched"), "{said}");
    }
}
