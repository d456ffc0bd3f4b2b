//! Forks as people meet them: what is offered, what is refused, what became of each.

use pfs_tests::{Peer, eventually, eventually_equal};
use serde_json::Value;

use super::pair;

/// Two peers that have done these things apart, and have met again; the second one speaks.
fn apart(world: &std::path::Path, one: impl FnOnce(&Peer), other: impl FnOnce(&Peer), forks: usize) -> (Peer, Peer) {
    let (anna, mut ben) = pair(world);
    for file in ["a.txt", "b.txt", "kept", "moved", "gone", "first", "second"] {
        anna.write(file, file);
    }
    eventually_equal(&[&anna, &ben]);
    anna.ok(&["capture"]);
    ben.stop();
    one(&anna);
    anna.ok(&["capture"]);
    other(&ben);
    // Before it hears of anna's: a later change of place or mode settles where it is.
    ben.ok(&["capture"]);
    ben.start();
    let open = |peer: &Peer| peer.json(&["forks"]).as_array().map_or(0, Vec::len);
    eventually("both see the forks", || open(&anna) == forks && open(&ben) == forks);
    (anna, ben)
}

fn rename(peer: &Peer, from: &str, to: &str) {
    std::fs::rename(peer.at(from), peer.at(to)).unwrap();
}

/// What can be chosen for the fork at a path.
fn choices(peer: &Peer, path: &str) -> Vec<String> {
    let forks = peer.json(&["forks"]);
    let fork = forks.as_array().unwrap().iter().find(|fork| fork["path"] == path).unwrap();
    fork["choices"].as_array().unwrap().iter().map(|way| way.as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_failure_hides_no_success() {
    let world = tempfile::tempdir().unwrap();
    let edit = |by: &'static str| move |peer: &Peer| ["a.txt", "b.txt"].iter().for_each(|file| peer.write(file, by));
    let (anna, ben) = apart(world.path(), edit("of anna"), edit("ben's"), 2);
    let done = ben.run(&["resolve", "kept", "a.txt", "nosuch", "b.txt", "a.txt", "--theirs"]);
    assert_eq!(done.code, 3, "of the first failure: {done:?}");
    let told: Vec<_> = done.out.lines().collect();
    assert_eq!(told.len(), 2, "{done:?}");
    for (line, path) in told.iter().zip(["a.txt", "b.txt"]) {
        assert!(line.starts_with(&format!("resolved v:{path} by ")), "{line}");
        assert!(line.contains(": kept anna's version (edited ") && line.ends_with(", 7 B)"), "{line}");
    }
    assert!(done.err.contains("kept has no fork") && done.err.contains("nosuch has no fork"), "{done:?}");
    assert_eq!(done.err.matches("error: ").count(), 2, "{done:?}");
    eventually_equal(&[&anna, &ben]);
    assert_eq!(ben.read("b.txt").as_deref(), Some("of anna"));
}

#[test]
fn both_sides_are_told_apart_by_who_wrote_them() {
    let world = tempfile::tempdir().unwrap();
    let one = |anna: &Peer| {
        anna.write("a.txt", "of anna");
        rename(anna, "first", "one name.c");
    };
    let other = |ben: &Peer| {
        ben.write("a.txt", "ben's");
        rename(ben, "second", "one name.c");
    };
    let (anna, ben) = apart(world.path(), one, other, 2);
    let resolved = ben.json(&["resolve", ".", "--both"]);
    let told = |path: &str| resolved["resolved"].as_array().unwrap().iter().find(|one| one["path"] == path).cloned();
    let edited = told("a.txt").unwrap();
    assert_eq!((&edited["kept"]["origin"]["name"], &edited["kept"]["size"]), (&Value::from("ben"), &Value::from(5)));
    assert_eq!(edited["beside"], serde_json::json!(["a (anna).txt"]));
    assert_eq!(resolved["left"], serde_json::json!([]));
    eventually_equal(&[&anna, &ben]);
    for (path, bytes) in [("a.txt", "ben's"), ("a (anna).txt", "of anna"), ("one name.c", "second")] {
        assert_eq!(anna.read(path).as_deref(), Some(bytes), "{path}");
    }
    assert_eq!(anna.read("one name (anna).c").as_deref(), Some("first"));
    let log = anna.lines(&["log", "-n", "4"]);
    let renamed = log.iter().find(|line| line["path"] == "one name.c").unwrap();
    assert_eq!(renamed["action"], "resolve", "the one that keeps the name was not renamed");
}

#[test]
fn what_does_not_fit_is_neither_offered_nor_done() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = tempfile::tempdir().unwrap();
    let mode = |peer: &Peer, mode| {
        std::fs::set_permissions(peer.at("kept"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let one = |anna: &Peer| {
        mode(anna, 0o600);
        rename(anna, "moved", "to anna");
        std::fs::remove_file(anna.at("gone")).unwrap();
    };
    let other = |ben: &Peer| {
        mode(ben, 0o755);
        rename(ben, "moved", "to ben");
        ben.write("gone", "not yet");
    };
    let (anna, ben) = apart(world.path(), one, other, 3);
    for (path, fits) in [("kept", ""), ("to ben", ""), ("gone", "delete")] {
        let sides = ["take", "ours", "theirs", "newest"].into_iter();
        let want: Vec<_> = sides.chain(Some(fits).filter(|fits| !fits.is_empty())).collect();
        assert_eq!(choices(&ben, path), want, "{path}");
        super::says(&ben, 5, &["resolve", path, "--both"], &[path, "what fits: --take PATCH"]);
    }
    for path in ["kept", "to ben"] {
        super::says(&ben, 5, &["resolve", path, "--delete"], &[path, "what fits: --take PATCH"]);
        assert!(ben.at(path).exists());
    }
    assert!(ben.ok(&["resolve", "gone", "--delete"]).contains("v:gone by "));
    assert!(ben.ok(&["resolve", "to ben", "--theirs"]).contains("kept anna's version (moved to to anna "));
    assert!(ben.ok(&["resolve", "kept", "--ours"]).contains("kept ben's version (mode 0755 "));
    eventually_equal(&[&anna, &ben]);
    assert!(anna.read("gone").is_none() && anna.read("to anna").is_some());
}

/// Anna put a directory in the place of a file that ben edited: who has the name, and whether the edit is there.
#[test]
fn one_choice_settles_all_that_is_open_at_a_place() {
    let table = [
        ("--ours", "kept", "kept (ben)", "kept anna's version (made a directory"),
        ("--theirs", "kept (anna)", "kept", "kept ben's version (edited"),
        ("--both", "kept", "kept (ben)", "kept anna's version (made a directory"),
        ("--newest", "kept (anna)", "kept", "kept ben's version (edited"),
    ];
    for (choice, dir, file, told) in table {
        let world = tempfile::tempdir().unwrap();
        let replace = |anna: &Peer| {
            std::fs::remove_file(anna.at("kept")).unwrap();
            anna.write("kept/inner", "of anna");
        };
        let (anna, ben) = apart(world.path(), replace, |ben| ben.write("kept", "ben's"), 2);
        let forks = anna.json(&["forks"]);
        let contested = forks.as_array().unwrap().iter().find(|fork| fork["kind"] == "delete").unwrap();
        let beside = contested["path"].as_str().unwrap();
        assert_eq!(contested["choices"], serde_json::json!(["take", "ours", "theirs", "newest", "delete"]));
        let done = anna.ok(&["resolve", &format!("v:{beside}"), choice]);
        assert!(done.contains(told) && done.lines().count() == 1, "{choice}: {done}");
        eventually_equal(&[&anna, &ben]);
        for peer in [&anna, &ben] {
            assert_eq!(peer.read(file).as_deref(), Some("ben's"), "{choice}");
            assert_eq!(peer.read(&format!("{dir}/inner")).as_deref(), Some("of anna"), "{choice}");
            assert_eq!(peer.json(&["forks"]), serde_json::json!([]), "{choice}");
        }
    }
}

#[test]
fn of_a_delete_ours_is_what_one_did_oneself() {
    let world = tempfile::tempdir().unwrap();
    let delete = |anna: &Peer| ["first", "second"].iter().for_each(|file| std::fs::remove_file(anna.at(file)).unwrap());
    let edit = |ben: &Peer| ["first", "second"].iter().for_each(|file| ben.write(file, "ben's"));
    let (anna, ben) = apart(world.path(), delete, edit, 2);
    assert!(anna.ok(&["resolve", "first", "--ours"]).contains("kept anna's version (deleted"));
    assert!(anna.ok(&["resolve", "second", "--theirs"]).contains("kept ben's version (edited"));
    eventually_equal(&[&anna, &ben]);
    assert_eq!((ben.read("first"), ben.read("second").as_deref()), (None, Some("ben's")));
}

#[test]
fn history_goes_only_where_another_has_it_or_somebody_means_it() {
    let world = tempfile::tempdir().unwrap();
    let (mut anna, mut ben) = pair(world.path());
    eventually("in step", || anna.state() == "synced" && ben.state() == "synced");
    anna.stop();
    // Without a daemon nothing is known of ben.
    super::says(&anna, 5, &["untrack", "v"], &["no other member is connected", "--force", "the files stay"]);
    let told = anna.ok(&["status"]);
    assert!(told.contains("not syncing") && told.contains("known only while one runs"), "{told}");
    assert!(!told.contains("never seen") && !told.contains("held by"), "{told}");
    assert_eq!(anna.json(&["status"])["volumes"][0]["replicas"]["known"], false);
    anna.start();
    eventually("in step again", || anna.state() == "synced" && ben.state() == "synced");
    assert!(anna.ok(&["untrack", "v"]).contains("join it by a ticket"));
    ben.stop();
    super::says(&ben, 5, &["untrack", "v"], &["no other member is connected"]);
    ben.ok(&["untrack", "v", "--force"]);
    assert_eq!(ben.read("one").as_deref(), Some("1\n"));
}

/// To let go of one of two shared volumes is not said to the others but by leaving it out of the next session.
#[test]
fn who_has_let_go_of_a_volume_counts_no_more() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    let dir = |name: &str| world.path().join(name).display().to_string();
    std::fs::create_dir(dir("of anna")).unwrap();
    std::fs::write(world.path().join("of anna/kept"), "1\n").unwrap();
    anna.ok(&["track", &dir("of anna"), "--name", "u"]);
    super::says(&ben, 2, &["join", &anna.ticket("u"), &dir("of ben"), "--name", "v"], &["--name"]);
    ben.ok(&["join", &anna.ticket("u"), &dir("of ben"), "--name", "mine"]);
    eventually("in step", || anna.state() == "synced" && ben.state() == "synced");
    ben.ok(&["untrack", "v"]);
    let state = |volume: &str| anna.json(&["status", volume])["volumes"][0]["state"].clone();
    eventually("they share the other one again", || state("v") == "waiting" && state("u") == "synced");
    super::says(&anna, 5, &["untrack", "v"], &["no other member is connected", "--force"]);
    assert!(!anna.ok(&["untrack", "v", "--force"]).contains("ticket"), "nobody is left to give one");
    // The session that leaves it out comes a moment later: until then nobody counts as connected.
    let mut told = String::new();
    eventually("they share the other one again", || {
        let said = anna.run(&["untrack", "u"]);
        told = said.out;
        said.code == 0
    });
    assert!(told.contains("join it by a ticket"), "{told}");
}
