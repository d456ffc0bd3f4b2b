//! The points of what people ask for: a fork that is settled, a version that is brought back, old versions that are
//! let go of, damage that is repaired.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, UNIX_EPOCH};

use pfs_engine::failpoint::Point;
use pfs_fixtures::noise;
use pfs_tests::{Peer, eventually, eventually_equal, rot};
use serde_json::Value;

use super::{Deed, daemon_dies, in_step, killing, launch, pair, points_of};

/// So long ago that no write of it can be on its way.
const YEARS: Duration = Duration::from_secs(1_000_000_000);

#[test]
fn a_daemon_dies_as_a_fork_is_settled() {
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    for point in points_of("a_daemon_dies_as_a_fork_is_settled", &[Deed::Resolve]) {
        let file = point.name();
        anna.write(file, "base\n");
        eventually_equal(&[anna, ben]);
        ben.stop();
        anna.write(file, "of anna\n");
        anna.ok(&["capture"]);
        ben.write(file, "of ben\n");
        ben.launch(&killing(point, 1));
        // Ben's daemon may not answer yet.
        let forks = |peer: &Peer| {
            let told = serde_json::from_str::<Value>(&peer.run(&["forks", "--json"]).out);
            told.ok()?.as_array().map(Vec::len)
        };
        eventually("both know the fork", || forks(anna) == Some(1) && forks(ben) == Some(1));
        daemon_dies(ben, point, &["resolve", &format!("v:{file}"), "--theirs"]);
        ben.start();
        if point == Point::ResolveBefore {
            assert_eq!(ben.read(file).as_deref(), Some("of ben\n"), "nothing has been said");
            ben.ok(&["resolve", &format!("v:{file}"), "--theirs"]);
        }
        eventually("it is settled", || forks(anna) == Some(0) && forks(ben) == Some(0));
        eventually("as chosen", || ben.read(file).as_deref() == Some("of anna\n"));
        assert_eq!(ben.lines(&["log", &format!("v:{file}")]).len(), 4, "both sides stay in the history");
        in_step([&*anna, &*ben]);
    }
}

#[test]
fn a_daemon_dies_as_a_version_is_brought_back() {
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    for point in points_of("a_daemon_dies_as_a_version_is_brought_back", &[Deed::Restore]) {
        let file = point.name();
        for text in ["first\n", "second\n"] {
            anna.write(file, text);
            anna.ok(&["capture"]);
            eventually_equal(&[anna, ben]);
        }
        let first = anna.lines(&["log", &format!("v:{file}")]).pop().unwrap();
        let restore = ["restore", &format!("v:{file}"), "--at", first["patch"].as_str().unwrap()];
        ben.stop();
        launch(ben, point);
        daemon_dies(ben, point, &restore);
        ben.start();
        if point == Point::RestoreBefore {
            assert_eq!(ben.read(file).as_deref(), Some("second\n"), "nothing has been said");
            ben.ok(&restore);
        }
        eventually("it is what it was", || ben.read(file).as_deref() == Some("first\n"));
        in_step([&*anna, &*ben]);
    }
}

#[test]
fn a_daemon_dies_as_old_versions_are_let_go_of() {
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    for (seed, point) in points_of("a_daemon_dies_as_old_versions_are_let_go_of", &[Deed::Gc]).into_iter().enumerate() {
        for version in 0..3 {
            // What the versions share, and what they do not.
            let bytes = [noise(300_000, 1), noise(200_000, 1000 + seed as u64 * 10 + version)].concat();
            // At once, so that nobody sees a part of it.
            fs::write(world.path().join("draft"), bytes).unwrap();
            fs::rename(world.path().join("draft"), anna.at("often")).unwrap();
            anna.ok(&["capture"]);
            eventually_equal(&[anna, ben]);
        }
        ben.stop();
        launch(ben, point);
        let rule = ["--keep-within", "1ms", "--keep-last", "1"];
        eventually("there is something to let go of", || {
            let told = ben.run(&[&["gc", "--dry-run", "--json"], &rule[..]].concat());
            serde_json::from_str::<Value>(&told.out).is_ok_and(|told| told["versions"].as_u64() >= Some(2))
        });
        daemon_dies(ben, point, &[&["gc"], &rule[..]].concat());
        ben.start();
        in_step([&*anna, &*ben]);
        // The rest is let go of, and what is kept is whole.
        ben.ok(&[&["gc"], &rule[..]].concat());
        in_step([&*anna, &*ben]);
        assert_eq!(ben.lines(&["log", "v:often"]).len(), 3 * (seed + 1), "the history stays");
    }
}

/// Damages everything that is stored in blob files.
fn scratch_blobs(peer: &Peer) {
    let files = fs::read_dir(peer.home.join("store")).unwrap().map(|entry| entry.unwrap().path());
    for blob in files.filter(|path| path.extension().is_some_and(|extension| extension == "blob")) {
        let file = File::options().write(true).open(&blob).unwrap();
        for at in (500..file.metadata().unwrap().len().saturating_sub(100)).step_by(9000) {
            file.write_all_at(b"damaged!", at).unwrap();
        }
    }
}

#[test]
fn a_daemon_dies_as_damage_is_repaired() {
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    anna.write("large", noise(400_000, 5));
    eventually_equal(&[anna, ben]);
    for point in points_of("a_daemon_dies_as_damage_is_repaired", &[Deed::Repair]) {
        ben.stop();
        // What is in the log of changes goes to files when it is opened again.
        ben.ok(&["status"]);
        scratch_blobs(ben);
        launch(ben, point);
        daemon_dies(ben, point, &["verify", "--repair"]);
        ben.start();
        let told = ben.run(&["verify"]);
        // A file that was recorded right after it was written is read again, which stores its chunks anew.
        let is_whole = told.code == 0 && told.out.contains("all is well");
        let is_told = told.code == 1 && told.out.contains("v:large");
        assert!(is_told || is_whole, "what was let go of is told, or is here again: {told:?}");
        eventually("anna is there", || ben.state() != "waiting");
        ben.ok(&["verify", "--repair"]);
        in_step([&*anna, &*ben]);
    }
}

#[test]
fn a_daemon_dies_as_a_rotten_file_is_put_right() {
    let world = tempfile::tempdir().unwrap();
    let [anna, ben] = &mut pair(world.path());
    let (sound, rotten) = (noise(50_000, 5), noise(50_000, 6));
    anna.write("old", &sound);
    File::options().write(true).open(anna.at("old")).unwrap().set_modified(UNIX_EPOCH + YEARS).unwrap();
    eventually_equal(&[anna, ben]);
    for point in points_of("a_daemon_dies_as_a_rotten_file_is_put_right", &[Deed::Mend]) {
        ben.stop();
        rot(ben, "old", &rotten);
        launch(ben, point);
        daemon_dies(ben, point, &["verify", "--repair"]);
        ben.start();
        ben.ok(&["verify", "--repair"]);
        assert!(fs::read(ben.at("old")).unwrap() == sound, "{:?}", ben.lines(&["log", "v:old"]));
        assert!(fs::read(anna.at("old")).unwrap() == sound, "it goes to nobody");
        let kept = fs::read_dir(ben.at(".pfs/set-aside")).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = kept.collect();
        assert!(!kept.is_empty() && kept.iter().all(|path| fs::read(path).unwrap() == rotten), "whatever it was");
        for path in kept {
            fs::remove_file(path).unwrap();
        }
        in_step([&*anna, &*ben]);
        assert_eq!(anna.lines(&["log", "v:old"]).len(), 1, "it never was a change");
    }
}
