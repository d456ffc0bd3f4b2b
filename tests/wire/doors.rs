//! Who is let in, who is not, and what is refused to protect people's files.

use std::fs;

use pfs_tests::{Peer, eventually, eventually_equal};

use super::pair;

#[test]
fn a_ticket_is_good_for_one_peer_and_for_a_while() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    let carl = Peer::new(world.path(), "carl");
    let dir = carl.dir.display().to_string();

    let once = anna.ticket("v");
    let dora = Peer::new(world.path(), "dora");
    dora.join(&once);
    let said = carl.fails(1, &["join", &once, &dir]);
    assert!(said.contains("used up") && said.contains("hint: "), "{said}");

    let short = anna.json(&["invite", "v", "--expires", "1s"]);
    let short = short["ticket"].as_str().unwrap();
    let mut said = String::new();
    eventually("the ticket has expired", || {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let done = carl.run(&["join", short, &dir]);
        said = done.err;
        done.code == 1
    });
    assert!(said.contains("expired"), "{said}");

    let said = carl.fails(2, &["join", &once[..once.len() - 9], &dir]);
    assert!(said.contains("cut short"), "{said}");
    assert!(carl.tree().is_empty(), "nothing of the volume came");
    assert!(!carl.at(".pfs").exists(), "the directory is free again");
    assert_eq!(ben.json(&["peers"]).as_array().map(Vec::len), Some(2));
}

#[test]
fn members_that_are_away_are_said_so() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, ben) = pair(world.path());
    let ticket = anna.ticket("v");
    drop(ben);
    anna.stop();
    let carl = Peer::new(world.path(), "carl");
    let dir = carl.at("sub").display().to_string();
    let said = carl.fails(1, &["join", &ticket, &dir]);
    assert!(said.contains("could be reached at 127.0.0.1:") && said.contains("anna"), "{said}");
    assert!(!carl.at("sub").exists(), "what was made for it is gone again");
}

#[test]
fn a_stranger_gets_nothing() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    let mut eve = Peer::new(world.path(), "eve");
    eve.ok(&["track", &eve.dir.display().to_string(), "--name", "v"]);
    eve.start();
    // Eve reaches anna as a peer that anna may well know, but is a member of nothing.
    let listen = anna.json(&["daemon", "status"])["listen"].as_str().unwrap().to_owned();
    let forged = eve.ticket("v");
    let said = anna.run(&["peers", "address", "eve", &listen]);
    assert_eq!(said.code, 3, "anna knows no eve: {}", said.err);
    anna.write("secret", "for members");
    eventually_equal(&[&anna, &ben]);
    assert!(eve.tree().is_empty());
    assert_eq!(eve.json(&["peers"]), serde_json::json!([]));
    assert_ne!(forged, anna.ticket("v"));
}

#[test]
fn a_removed_peer_gets_nothing_new() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    anna.ok(&["peers", "remove", "ben"]);
    eventually("ben is gone", || anna.json(&["peers"]) == serde_json::json!([]));
    anna.write("after", "not for ben");
    anna.ok(&["capture"]);
    eventually("anna is alone", || anna.state() == "synced");
    ben.ok(&["capture"]);
    assert!(ben.read("after").is_none());
    let said = anna.fails(3, &["peers", "remove", "ben"]);
    assert!(said.contains("no member any more"), "{said}");
}

#[test]
fn directories_are_tracked_once() {
    let world = tempfile::tempdir().unwrap();
    let anna = Peer::new(world.path(), "anna");
    anna.write("inner/file", "x");
    let inner = anna.at("inner").display().to_string();
    let (dir, above) = (anna.dir.display().to_string(), world.path().display().to_string());
    anna.ok(&["track", &dir, "--name", "v"]);
    for nested in [&inner, &above] {
        let said = anna.fails(5, &["track", nested, "--name", "w"]);
        assert!(said.contains("one inside the other") && said.contains("hint: "), "{said}");
    }
    anna.fails(2, &["track", &dir]);
    let other = Peer::new(world.path(), "other");
    other.fails(5, &["track", &inner]);
    other.fails(5, &["track", &dir]);
    assert!(anna.fails(3, &["log", &above]).contains("the volumes here: v"));

    anna.ok(&["untrack", "v", "--force"]);
    assert_eq!(anna.read("inner/file").as_deref(), Some("x"), "the files stay");
    assert!(!anna.at(".pfs").exists());
    other.ok(&["track", &inner]);
}

#[test]
fn a_home_has_one_daemon() {
    let world = tempfile::tempdir().unwrap();
    let mut anna = Peer::new(world.path(), "anna");
    anna.start();
    let pid = anna.json(&["daemon", "status"])["pid"].to_string();
    let said = anna.fails(1, &["daemon", "run", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("already runs") && said.contains(&pid), "{said}");
    anna.kill();
    anna.start();
    anna.stop();
}

#[test]
fn a_tree_whose_marker_is_gone_is_left_alone() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, ben) = pair(world.path());
    anna.stop();
    let aside = world.path().join("aside");
    fs::rename(&anna.dir, &aside).unwrap();
    fs::create_dir(&anna.dir).unwrap();
    anna.start();
    assert_eq!(anna.state(), "halted");
    let said = anna.fails(5, &["capture", "v"]);
    assert!(said.contains("marker") && said.contains("mount"), "{said}");
    anna.fails(1, &["status", "--check"]);
    assert_eq!(ben.read("a/b/c").as_deref(), Some("one\n"), "nothing is taken for deleted");
    anna.stop();
    fs::remove_dir(&anna.dir).unwrap();
    fs::rename(&aside, &anna.dir).unwrap();
    anna.start();
    eventually("it goes on", || anna.state() == "synced");
    eventually_equal(&[&anna, &ben]);
}
