//! Disks that take bytes and fail to make them durable: it is told, nobody hears of what may be lost, and nothing is.

use std::fs;

use pfs_engine::failpoint::Point;
use pfs_fixtures::noise;
use pfs_tests::{Peer, eventually};

use crate::points::{in_step, pair, points_built};

/// What `pfs status` says, well or not.
fn told(peer: &Peer) -> String {
    let told = peer.run(&["status"]);
    told.out + &told.err
}

/// Everything at once, so that nobody captures a part of it.
fn bring(peer: &Peer, name: &str, bytes: &[u8]) {
    let draft = peer.dir.with_file_name("draft");
    fs::write(&draft, bytes).unwrap();
    fs::rename(draft, peer.at(name)).unwrap();
}

#[test]
fn a_store_that_cannot_be_made_durable_takes_no_more_and_loses_nothing() {
    if !points_built("a_store_that_cannot_be_made_durable_takes_no_more_and_loses_nothing") {
        return;
    }
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    for (point, from) in [(Point::StoreSync, 6), (Point::StoreFlush, 1)] {
        let (ours, theirs) = (format!("ben at {}", point.name()), format!("anna at {}", point.name()));
        ben.stop();
        // Not as it starts.
        ben.launch(&format!("{}:{from}=errors", point.name()));
        eventually("it answers", || ben.run(&["daemon", "status"]).code == 0);
        let mut rounds = 0;
        eventually("it is told", || {
            rounds += 1;
            bring(ben, &format!("round {rounds} of {ours}"), &noise(1_200_000, 100 * from + rounds));
            told(ben).contains("Input/output error")
        });
        bring(ben, &ours, b"x");
        assert_ne!(ben.run(&["status", "--check"]).code, 0);
        bring(anna, &theirs, &noise(1_200_000, from));
        anna.ok(&["capture"]);
        assert!(anna.read(&ours).is_none() && !anna.at(&ours).exists(), "nobody hears of what may be lost");
        assert!(!ben.has_died(), "{}", ben.log());
        ben.kill();
        ben.start();
        eventually("everything is everywhere", || anna.at(&ours).exists() && ben.at(&theirs).exists());
        in_step([&*anna, &*ben]);
    }
}

#[test]
fn a_store_that_failed_once_is_opened_again_and_goes_on() {
    if !points_built("a_store_that_failed_once_is_opened_again_and_goes_on") {
        return;
    }
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    for point in [Point::StoreSync, Point::StoreFlush] {
        let name = point.name();
        let reopened = |peer: &Peer| peer.log().matches("the store is open again").count();
        let before = reopened(ben);
        ben.stop();
        // Not as it starts.
        ben.launch(&format!("{name}:6=error"));
        let mut seed = 2 * before as u64;
        eventually("it fails and goes on", || {
            seed += 1000;
            bring(ben, &format!("ben {name}"), &noise(1_100_000, seed));
            bring(anna, &format!("anna {name}"), &noise(1_100_000, seed + 1));
            reopened(ben) > before
        });
        eventually("everything is everywhere", || {
            anna.at(&format!("ben {name}")).exists() && ben.at(&format!("anna {name}")).exists()
        });
        in_step([&*anna, &*ben]);
        assert!(!told(ben).contains("Input/output error"), "and nothing is told any more");
    }
}

#[test]
fn a_tree_that_cannot_be_made_durable_is_told_and_gone_on_from() {
    if !points_built("a_tree_that_cannot_be_made_durable_is_told_and_gone_on_from") {
        return;
    }
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    // Few files are synced one by one, many with everything else.
    for (round, (point, files)) in
        [(Point::DiskSyncTemps, 1), (Point::DiskSyncTemps, 20), (Point::DiskSync, 1), (Point::DiskSync, 20)]
            .into_iter()
            .enumerate()
    {
        for how in ["errors", "error"] {
            ben.stop();
            ben.launch(&format!("{}={how}", point.name()));
            let name = |n: u32| format!("{round}/{how}/{n}");
            anna.write("stays", name(0));
            for n in 0..files {
                anna.write(&name(n), "x".repeat(1000));
            }
            if how == "errors" {
                eventually("it is told", || told(ben).contains("Input/output error"));
                if point == Point::DiskSyncTemps {
                    assert!(!ben.at(&name(0)).exists(), "what is not durable does not come into the tree");
                }
                ben.write(&format!("of ben {round}"), "goes out all the same");
                eventually("ben's own goes out", || anna.at(&format!("of ben {round}")).exists());
                ben.kill();
                ben.start();
            }
            eventually("everything is there", || (0..files).all(|n| ben.at(&name(n)).exists()));
            in_step([&*anna, &*ben]);
            assert!(!told(ben).contains("Input/output error"), "and nothing is told any more");
        }
    }
}
