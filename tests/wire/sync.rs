//! Trees in step: what crosses, what forks, what survives a kill.

use std::fs;
use std::os::unix::fs::symlink;

use pfs_fixtures::noise;
use pfs_tests::{Peer, eventually, eventually_equal};

use super::{pair, set_mode};

#[test]
fn a_join_brings_the_whole_tree() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    assert_eq!(anna.tree(), ben.tree());
    assert!(ben.tree().len() > 9);
    let status = ben.json(&["status"]);
    assert_eq!(status["volumes"][0]["replicas"]["under"]["files"], 0, "two members hold it: {status}");
    assert_eq!(status["peers"][0]["name"], "anna");
    assert_eq!(status["peers"][0]["connected"], true);
    let log = ben.lines(&["log", "v:large"]);
    assert_eq!((log.len(), log[0]["origin"]["name"].as_str()), (1, Some("anna")));
}

#[test]
fn a_join_without_a_daemon_ends_with_the_tree() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, ben) = (Peer::new(world.path(), "anna"), Peer::new(world.path(), "ben"));
    super::furnish(&anna);
    anna.ok(&["track", &anna.dir.display().to_string(), "--name", "v"]);
    anna.start();
    ben.join(&anna.ticket("v"));
    assert_eq!(anna.tree(), ben.tree());
    assert_eq!(ben.state(), "waiting");
    assert_eq!(ben.ok(&["cat", "a/b/c"]), "one\n");
}

#[test]
fn changes_cross_both_ways() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    ben.write("a/b/c", "two\n");
    ben.write("new/deep/file", "new");
    fs::rename(anna.at("umlaut"), anna.at("renamed")).unwrap();
    fs::remove_file(anna.at("broken")).unwrap();
    symlink("a", anna.at("alias")).unwrap();
    set_mode(&ben.at("a/run.sh"), 0o700);
    eventually_equal(&[&anna, &ben]);
    eventually("everything has crossed", || {
        anna.read("a/b/c").as_deref() == Some("two\n")
            && anna.read("new/deep/file").is_some()
            && ben.at("renamed").exists()
            && !ben.at("umlaut").exists()
            && fs::symlink_metadata(ben.at("broken")).is_err()
            && fs::read_link(ben.at("alias")).is_ok()
    });
    eventually_equal(&[&anna, &ben]);
    fs::remove_dir_all(ben.at("new")).unwrap();
    anna.write("large", noise(2_000_000, 8));
    eventually("a delete and an edit have crossed", || {
        !anna.at("new").exists() && fs::metadata(ben.at("large")).is_ok_and(|meta| meta.len() == 2_000_000)
    });
    eventually_equal(&[&anna, &ben]);
    let moved = anna.lines(&["log", "v:renamed"]);
    assert!(moved.iter().any(|line| line["action"] == "rename"), "{moved:?}");
    assert_eq!(anna.json(&["forks"]), serde_json::json!([]));
}

#[test]
fn what_one_deleted_the_other_brings_back() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    let before = anna.tree();
    let birth = anna.lines(&["log", "v:a/b/c"])[0]["patch"].as_str().unwrap().to_owned();
    fs::remove_dir_all(anna.at("a")).unwrap();
    eventually("the delete has crossed", || !ben.at("a").exists());
    let done = ben.json(&["restore", "v:a/b/c", "--at", &birth]);
    assert_eq!(done["counts"]["back"], 3, "with the directories on the way: {done}");
    eventually("it has travelled back", || anna.read("a/b/c").as_deref() == Some("one\n"));
    let born = anna.lines(&["log", "v:"]).into_iter().find(|line| line["action"] == "create").unwrap();
    anna.ok(&["restore", "v:", "--at", born["patch"].as_str().unwrap()]);
    eventually_equal(&[&anna, &ben]);
    assert_eq!(ben.tree(), before);
    assert_eq!(anna.json(&["forks"]), serde_json::json!([]));
}

#[test]
fn two_edits_at_once_are_a_fork_until_somebody_decides() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, ben) = pair(world.path());
    anna.stop();
    anna.write("a/b/c", "of anna\n");
    ben.write("a/b/c", "of ben\n");
    ben.ok(&["capture", "v"]);
    anna.start();
    for peer in [&anna, &ben] {
        eventually("both know of the fork", || peer.json(&["status"])["volumes"][0]["forks"] == 1);
    }
    assert_eq!(anna.read("a/b/c").as_deref(), Some("of anna\n"), "nothing changes under anybody's hands");
    assert_eq!(ben.read("a/b/c").as_deref(), Some("of ben\n"));

    let forks = ben.json(&["forks", "a"]);
    let fork = &forks[0];
    assert_eq!((fork["kind"].as_str(), fork["path"].as_str()), (Some("content"), Some("a/b/c")));
    assert_eq!(fork["base"]["size"], 4);
    let mut sides = Vec::new();
    for head in fork["heads"].as_array().unwrap() {
        let bytes = ben.ok(&["cat", "a/b/c", "--head", head["patch"].as_str().unwrap()]);
        sides.push((head["origin"]["name"].as_str().unwrap(), bytes, head["shown"].as_bool().unwrap()));
        assert_eq!(head["summary"], "edited");
    }
    sides.sort_unstable();
    assert_eq!(sides, [("anna", "of anna\n".to_owned(), false), ("ben", "of ben\n".to_owned(), true)]);

    let resolved = ben.json(&["resolve", "a", "--theirs"]);
    assert_eq!(resolved["resolved"][0]["path"], "a/b/c");
    eventually_equal(&[&anna, &ben]);
    assert_eq!(ben.read("a/b/c").as_deref(), Some("of anna\n"));
    for peer in [&anna, &ben] {
        eventually("the fork is closed", || peer.json(&["forks"]) == serde_json::json!([]));
    }
    ben.fails(3, &["resolve", "a", "--theirs"]);
    let said = ben.fails(3, &["cat", "a/b/c", "--at", "2001-09-09"]);
    assert!(said.contains("was not there then"), "{said}");
}

#[test]
fn every_kind_of_fork_is_told_and_closed() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut ben) = pair(world.path());
    for name in ["content", "delete", "place", "attr", "kind"] {
        anna.write(&format!("k/{name}"), "1");
    }
    fs::create_dir(anna.at("k/d1")).unwrap();
    fs::create_dir(anna.at("k/d2")).unwrap();
    eventually("ben has them", || ben.at("k/d2").exists() && ben.read("k/kind").is_some());
    eventually_equal(&[&anna, &ben]);
    // With a daemon it would be chance what is captured together.
    anna.stop();
    ben.stop();
    for (peer, other, mode) in [(&anna, "d2", 0o700), (&ben, "d1", 0o755)] {
        peer.write("k/content", &peer.name);
        peer.write("k/name", &peer.name);
        fs::rename(peer.at("k/place"), peer.at(&format!("k/place of {}", peer.name))).unwrap();
        set_mode(&peer.at("k/attr"), mode);
        let (from, to) = if other == "d2" { ("k/d1", "k/d2/d1") } else { ("k/d2", "k/d1/d2") };
        fs::rename(peer.at(from), peer.at(to)).unwrap();
    }
    fs::remove_file(anna.at("k/delete")).unwrap();
    ben.write("k/delete", "kept");
    fs::remove_file(anna.at("k/kind")).unwrap();
    symlink("elsewhere", anna.at("k/kind")).unwrap();
    ben.write("k/kind", "a file");
    // Moves and modes are judged by what is known when they are captured, so that is before they meet again.
    anna.ok(&["capture", "v"]);
    ben.ok(&["capture", "v"]);
    anna.start();
    ben.start();
    let kinds = |peer: &Peer| {
        let forks = peer.json(&["forks", "k"]);
        let kinds = forks.as_array().unwrap().iter().map(|fork| fork["kind"].as_str().unwrap().to_owned());
        let mut kinds: Vec<_> = kinds.collect();
        kinds.sort_unstable();
        kinds
    };
    for peer in [&anna, &ben] {
        eventually("all are known", || {
            kinds(peer) == ["attr", "content", "content", "cycle", "delete", "kind", "place"]
        });
    }
    for fork in anna.json(&["forks"]).as_array().unwrap() {
        let heads = fork["heads"].as_array().unwrap();
        assert_eq!(heads.len(), 2, "{fork}");
        assert!(heads.iter().all(|head| head["summary"].as_str().is_some_and(|words| words.len() < 60)), "{fork}");
    }
    let resolved = anna.json(&["resolve", "k", "--newest"]);
    assert_eq!(resolved["left"], serde_json::json!([]));
    for peer in [&anna, &ben] {
        eventually("all are closed", || kinds(peer).is_empty() && peer.state() == "synced");
    }
    eventually_equal(&[&anna, &ben]);
    let nested = |peer: &Peer| peer.at("k/d1/d2").exists() || peer.at("k/d2/d1").exists();
    assert!(nested(&anna) && nested(&ben), "both directories are still there");
}

#[test]
fn a_killed_daemon_goes_on_where_it_was() {
    let world = tempfile::tempdir().unwrap();
    let (anna, mut ben) = pair(world.path());
    for n in 0..300 {
        anna.write(&format!("many/{}/{n}", n % 7), noise(20_000, n));
    }
    anna.write("huge", noise(20_000_000, 99));
    eventually("ben has begun", || ben.at("many").exists());
    ben.kill();
    anna.write("many/3/3", "changed meanwhile");
    ben.write("of ben", "while nobody watched");
    ben.start();
    eventually("both have both", || {
        anna.read("of ben").is_some() && ben.read("many/3/3").as_deref() == Some("changed meanwhile")
    });
    eventually_equal(&[&anna, &ben]);
    eventually("nothing is left to do", || ben.state() == "synced");
    let verified = ben.json(&["verify"]);
    assert_eq!(verified["damaged"], serde_json::json!([]), "{verified}");
}

#[test]
fn a_third_peer_carries_what_two_others_cannot_send_each_other() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut ben) = pair(world.path());
    let mut carl = Peer::new(world.path(), "carl");
    carl.start();
    carl.join(&ben.ticket("v"));
    eventually_equal(&[&anna, &ben, &carl]);
    ben.stop();
    anna.write("of anna", "for ben, by carl");
    eventually("carl has it", || carl.read("of anna").is_some());
    eventually("carl is in step", || carl.state() == "synced");
    anna.stop();
    ben.start();
    eventually("ben has it", || ben.read("of anna").is_some());
    eventually_equal(&[&ben, &carl]);
}
