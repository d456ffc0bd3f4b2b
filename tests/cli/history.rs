//! The past as people meet it: what was is found, compared and brought back, on either peer.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use pfs_tests::{Peer, eventually, eventually_equal};
use serde_json::json;

use super::{one, pair, says};

/// The newest patch at a path, which stands for its time.
fn newest(peer: &Peer, path: &str) -> String {
    peer.lines(&["log", path, "-n", "1"])[0]["patch"].as_str().unwrap().to_owned()
}

#[test]
fn what_was_comes_back_and_says_so() {
    let world = tempfile::tempdir().unwrap();
    let peer = one(world.path(), "anna");
    let then = newest(&peer, "v:");
    peer.write("one", "changed\n");
    std::fs::remove_dir_all(peer.at("folder")).unwrap();
    peer.write("more", "3\n");
    peer.ok(&["capture"]);

    let told = peer.ok(&["restore", "folder/two", "--at", &then, "--dry-run"]);
    assert!(told.starts_with("would restore v:folder/two: 2 brought back"), "{told}");
    assert!(!peer.at("folder").exists());
    let told = peer.ok(&["restore", "folder/two", "--at", &then]);
    assert!(told.contains("  back  folder\n  back  folder/two\n"), "{told}");
    assert_eq!(peer.read("folder/two").as_deref(), Some("2\n"));
    assert_eq!(peer.lines(&["log", "folder/two", "-n", "1"])[0]["action"], "restore");

    let copy = peer.json(&["restore", "one", "--at", &then, "--to", "old/one"]);
    assert_eq!((&copy["path"], &copy["counts"]["back"]), (&json!("old/one"), &json!(2)));
    assert_eq!((peer.read("old/one").as_deref(), peer.read("one").as_deref()), (Some("1\n"), Some("changed\n")));
    says(&peer, 5, &["restore", "one", "--at", &then, "--to", "old/one"], &["old/one is there already"]);

    let all = peer.json(&["restore", "v:", "--at", &then]);
    assert_eq!(all["counts"], json!({"back": 0, "changed": 1, "moved": 0, "removed": 3, "settled": 0}));
    assert_eq!((peer.read("one").as_deref(), peer.read("more")), (Some("1\n"), None));
    assert!(peer.ok(&["restore", "v:", "--at", &then]).contains("v is as it was: nothing to do"));
    assert_eq!(peer.ok(&["diff", "v:", &then]), "");
    says(&peer, 3, &["restore", "more", "--at", &then], &["more was not there then"]);
    says(&peer, 3, &["restore", "never", "--at", &then], &["never was not there then"]);
}

#[test]
fn differences_are_told_line_by_line() {
    let world = tempfile::tempdir().unwrap();
    let peer = one(world.path(), "anna");
    let then = newest(&peer, "v:");
    peer.write("one", "1\n\tmore\n");
    std::fs::rename(peer.at("folder"), peer.at("moved")).unwrap();
    peer.write("data", [0; 5000]);
    peer.ok(&["capture"]);
    let told = peer.ok(&["diff", "one"]);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!((lines[0], &lines[3..]), ("v:one: changed", &["@@ -1 +1,2 @@", " 1", "+\tmore"][..]), "{told}");
    let items = peer.lines(&["diff", "v:", &then]);
    let brief: Vec<_> =
        items.iter().map(|item| (item["path"].as_str().unwrap(), item["change"].as_str().unwrap())).collect();
    assert_eq!(brief, [("data", "added"), ("moved", "moved"), ("one", "changed")]);
    assert_eq!(items[0]["ranges"], json!([{"start": 0, "end": 5000}]));
    assert_eq!(items[1]["from"], "folder");
    says(&peer, 3, &["diff", "nothing"], &["nothing is not in the volume"]);
}

#[test]
fn sides_that_go_together_are_merged() {
    let world = tempfile::tempdir().unwrap();
    let (anna, mut ben) = pair(world.path());
    let text = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
    for file in ["clean", "contested", "given"] {
        anna.write(file, text);
    }
    anna.ok(&["capture"]);
    eventually_equal(&[&anna, &ben]);
    ben.stop();
    let edit = |peer: &Peer, line: &str, by: &str| {
        peer.write("clean", text.replace(line, by));
        for file in ["contested", "given"] {
            peer.write(file, text.replace("5\n", by));
        }
        peer.ok(&["capture"]);
    };
    edit(&anna, "2\n", "anna\n");
    edit(&ben, "8\n", "ben\n");
    ben.start();
    eventually("ben sees the forks", || ben.json(&["forks"]).as_array().map_or(0, Vec::len) == 3);
    let told = ben.ok(&["diff", "contested"]);
    assert!(told.contains("\n-ben\n+anna\n"), "head against head: {told}");
    let offers = |path: &str| ben.ok(&["forks", path]).contains("--merge");
    assert!(offers("clean") && !offers("contested"));

    let done = ben.run(&["resolve", "clean", "contested", "--merge"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("resolved v:clean by ") && done.out.contains(": merged all sides"), "{done:?}");
    assert!(
        done.err.contains("v:contested: both sides changed line 5 of the version that they began from"),
        "{done:?}"
    );
    assert_eq!(ben.read("contested").as_deref(), Some(text.replace("5\n", "ben\n").as_str()));

    let mine = world.path().join("mine").display().to_string();
    std::fs::write(&mine, "by hand\n").unwrap();
    says(&ben, 2, &["resolve", ".", "--with", &mine], &["exactly one fork"]);
    ben.ok(&["resolve", "given", "--with", &mine]);
    ben.ok(&["resolve", "contested", "--ours"]);
    eventually_equal(&[&anna, &ben]);
    let both = text.replace("2\n", "anna\n").replace("8\n", "ben\n");
    assert_eq!((anna.read("clean"), anna.read("given").as_deref()), (Some(both), Some("by hand\n")));
    assert_eq!(anna.json(&["forks"]), json!([]));
}

#[test]
fn only_what_needs_a_person_is_told() {
    let world = tempfile::tempdir().unwrap();
    let peer = one(world.path(), "anna");
    assert_eq!(peer.ok(&["status", "--check"]), "");
    std::fs::remove_file(peer.at(".pfs/volume")).unwrap();
    let told = peer.run(&["status", "--check"]);
    assert_eq!((told.code, told.out.lines().count()), (1, 1), "{told:?}");
    assert!(told.out.starts_with("v: halted: ") && told.out.contains("pfs status v"), "{told:?}");
    let failed: serde_json::Value = serde_json::from_str(&peer.fails(3, &["ls", "nothing", "--json"])).unwrap();
    assert_eq!(failed["error"]["kind"], "not_found");
    says(&peer, 1, &["events"], &["no daemon runs"]);
}

#[test]
fn who_listens_is_told() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut ben) = pair(world.path());
    let mut listener = ben.command(&["events", "v", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let mut next = |kind: &str| {
        lines
            .by_ref()
            .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap())
            .find(|event| event["kind"] == kind)
            .unwrap_or_else(|| panic!("{kind} was never told"))
    };
    next("listening");
    anna.stop();
    assert_eq!(next("peer_down")["peer"]["name"], "anna");
    anna.write("one", "of anna");
    anna.ok(&["capture"]);
    ben.write("one", "of ben");
    ben.ok(&["capture"]);
    anna.start();
    let opened = next("fork_opened");
    assert_eq!((&opened["volume"], &opened["path"], &opened["fork"]), (&json!("v"), &json!("one"), &json!("content")));
    ben.ok(&["resolve", "one", "--ours"]);
    next("fork_closed");
    ben.stop();
    assert!(listener.wait().unwrap().success(), "it ends with the daemon");
}
