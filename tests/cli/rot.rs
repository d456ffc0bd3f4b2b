//! Bit rot in a tree, between two daemons: bytes that nobody wrote are told and put right, and never go to anybody.

use std::fs::{self, File};
use std::time::{Duration, UNIX_EPOCH};

use pfs_fixtures::noise;
use pfs_tests::{eventually, eventually_equal, rot};

use super::pair;

#[test]
fn rotten_bytes_are_told_put_right_and_never_spread() {
    let world = tempfile::tempdir().unwrap();
    let (anna, mut ben) = pair(world.path());
    let (sound, rotten) = (noise(300_000, 1), noise(300_000, 2));
    // So long ago that no write of it can be on its way.
    fs::write(world.path().join("photo"), &sound).unwrap();
    let photo = File::options().write(true).open(world.path().join("photo")).unwrap();
    photo.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    fs::rename(world.path().join("photo"), anna.at("photo")).unwrap();
    eventually_equal(&[&anna, &ben]);
    ben.stop();
    rot(&ben, "photo", &rotten);
    ben.start();
    assert!(!ben.ok(&["capture"]).contains("photo"));
    anna.write("later", "of anna");
    ben.write("later of ben", "x");
    eventually("all else goes on", || ben.read("later").is_some() && anna.read("later of ben").is_some());
    eventually("both rest", || anna.state() == "synced" && ben.state() == "synced");
    assert!(fs::read(ben.at("photo")).unwrap() == rotten);
    assert!(fs::read(anna.at("photo")).unwrap() == sound, "it goes to nobody");

    let told = ben.run(&["verify"]);
    assert_eq!(told.code, 1, "{told:?}");
    for word in ["v:photo", "nobody wrote to it", "--repair"] {
        assert!(told.out.contains(word), "{word} in {told:?}");
    }
    assert!(!told.out.contains("v:one"), "{told:?}");
    assert!(fs::read(ben.at("photo")).unwrap() == rotten, "telling changes nothing");
    assert!(anna.ok(&["verify"]).contains("all is well"));

    let healed = ben.ok(&["verify", "--repair"]);
    assert!(healed.contains("photo"), "{healed}");
    eventually_equal(&[&anna, &ben]);
    let kept = fs::read_dir(ben.at(".pfs/set-aside")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    assert!(kept.collect::<Vec<_>>() == [rotten], "whatever it was");
    assert!(ben.ok(&["verify"]).contains("all is well"));
    for peer in [&anna, &ben] {
        assert_eq!(peer.lines(&["log", "v:photo"]).len(), 1, "it never was a change");
    }
}
