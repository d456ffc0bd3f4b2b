//! Joining and daemons: tickets that do not fit, directories that are not empty, two of what there can be one of.

use std::fs;
use std::net::UdpSocket;
use std::process::Stdio;

use pfs_tests::{Peer, eventually};
use serde_json::json;

use super::{contents, one, pair, says, text};

#[test]
fn a_directory_with_files_joins_and_loses_none_of_them() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut ben) = (one(world.path(), "anna"), Peer::new(world.path(), "ben"));
    anna.write("older", "first\n");
    anna.ok(&["capture"]);
    anna.write("older", "second\n");
    anna.ok(&["capture"]);
    anna.start();
    ben.write("one", "1\n");
    ben.write("older", "first\n");
    ben.write("folder/two", "ben's own\n");
    ben.write("mine", "ben's, too\n");
    ben.start();
    ben.join(&anna.ticket("v"));
    assert_eq!(ben.read("folder/two").as_deref(), Some("ben's own\n"), "never overwritten");
    eventually("an older version is brought up to date", || ben.read("older").as_deref() == Some("second\n"));
    eventually("anna gets what is new", || anna.read("mine").as_deref() == Some("ben's, too\n"));
    let forks = ben.json(&["forks"]);
    let paths: Vec<_> = forks.as_array().unwrap().iter().map(|fork| fork["path"].clone()).collect();
    assert_eq!(paths, [json!("folder/two")], "only what differs");
    assert_eq!(anna.read("folder/two").as_deref(), Some("2\n"));
    says(&ben, 3, &["resolve", "v:folder/two", "--take", &newest(&ben, "mine")], &["no side"]);
    ben.ok(&["resolve", "v:folder/two", "--ours"]);
    eventually("both have ben's", || contents(&anna) == contents(&ben));
    assert_eq!(anna.read("folder/two").as_deref(), Some("ben's own\n"));
}

fn newest(peer: &Peer, path: &str) -> String {
    peer.lines(&["log", &format!("v:{path}")])[0]["patch"].as_str().unwrap().to_owned()
}

#[test]
fn a_ticket_twice_is_harmless_and_elsewhere_refused() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut ben) = (one(world.path(), "anna"), Peer::new(world.path(), "ben"));
    anna.start();
    ben.start();
    let ticket = anna.ticket("v");
    ben.join(&ticket);
    ben.join(&ticket);
    let elsewhere = world.path().join("elsewhere");
    says(&ben, 2, &["join", &ticket, &text(&elsewhere)], &["tracked already"]);
    assert!(!elsewhere.exists(), "what was made for it is gone again");
    let carl = Peer::new(world.path(), "carl");
    says(&carl, 1, &["join", &ticket, &text(&carl.dir)], &["used up"]);
    let home = text(&carl.home);
    says(&carl, 5, &["join", &anna.ticket("v"), &home], &["own home"]);
    says(&carl, 5, &["join", &anna.ticket("v"), &text(&anna.dir)], &["already tracked"]);
    says(&carl, 2, &["join", &anna.ticket("v"), &text(&anna.at("one"))], &["one"]);

    let fresh = anna.ticket("v");
    says(&carl, 2, &["join", &fresh[..fresh.len() / 2], &text(&carl.dir)], &["cut short"]);
    let typo = fresh.replacen(&fresh[30..31], if &fresh[30..31] == "q" { "p" } else { "q" }, 1);
    says(&carl, 2, &["join", &typo, &text(&carl.dir)], &["ticket"]);
    assert!(carl.tree().is_empty());
}

#[test]
fn somebody_else_at_the_address_is_refused() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut eve, carl) =
        (one(world.path(), "anna"), Peer::new(world.path(), "eve"), Peer::new(world.path(), "carl"));
    anna.start();
    let (ticket, address) = (anna.ticket("v"), anna.json(&["daemon", "status"])["listen"].clone());
    anna.stop();
    eve.listen_on(address.as_str().unwrap());
    eve.start();
    let said = carl.fails(5, &["join", &ticket, &text(&carl.dir)]);
    assert!(said.contains("not ") && said.contains("as the ticket says") && said.contains("hint: "), "{said}");
    assert!(carl.tree().is_empty());
}

#[test]
fn one_daemon_a_home_and_one_program_a_port() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, other) = (one(world.path(), "anna"), Peer::new(world.path(), "other"));
    anna.start();
    let report = anna.json(&["daemon", "status"]);
    let (pid, listen) = (report["pid"].to_string(), report["listen"].as_str().unwrap());
    says(&anna, 1, &["daemon", "run", "--listen", "127.0.0.1:0"], &["already runs", &pid]);
    assert!(anna.ok(&["daemon", "start"]).contains(&pid), "starting it again finds it");
    let lines = other.run(&["daemon", "run", "--listen", listen]);
    assert!(lines.code == 1 && lines.err.contains("in use") && lines.err.contains("hint: "), "{lines:?}");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let said = other.fails(1, &["daemon", "start", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(said.contains("did not start") && said.contains("in use") && said.contains("daemon.log"), "{said}");
    let said = other.fails(1, &["daemon", "run", "--listen", "192.0.2.77:7"]);
    assert!(said.contains("192.0.2.77") && said.contains("address of this machine"), "{said}");
    other.fails(1, &["daemon", "status"]);
    other.ok(&["daemon", "stop"]);
}

#[test]
fn commands_work_while_a_daemon_starts_and_stops() {
    let world = tempfile::tempdir().unwrap();
    let anna = one(world.path(), "anna");
    let args = ["daemon", "run", "--no-discovery", "--listen", "127.0.0.1:0"];
    for round in 0..3 {
        let mut daemon = anna.command(&args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        anna.write("round", round.to_string());
        for _ in 0..3 {
            anna.ok(&["capture"]);
        }
        eventually("it answers", || anna.run(&["daemon", "status"]).code == 0);
        anna.ok(&["daemon", "stop"]);
        anna.ok(&["status"]);
        assert!(daemon.wait().unwrap().success());
        assert_eq!(anna.ok(&["cat", "v:round"]), round.to_string());
    }
}

#[test]
fn a_removed_peer_is_told() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    anna.ok(&["peers", "remove", "ben"]);
    eventually("ben's status says so", || {
        let problem = ben.json(&["status"])["volumes"][0]["problem"].clone();
        problem.as_str().is_some_and(|problem| problem.contains("anna") && problem.contains("member"))
    });
    ben.write("after", "ben goes on alone\n");
    ben.ok(&["capture"]);
    let again = anna.ticket("v");
    says(&ben, 5, &["join", &again, &text(&ben.dir)], &["removed", "another --home"]);
    assert!(anna.read("after").is_none());
    assert_eq!(ben.read("one").as_deref(), Some("1\n"), "what was ben's stays");
    assert!(fs::exists(ben.at(".pfs/volume")).unwrap());
}
