//! What people type and mistype: names, paths, ids, times, directories.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use pfs_tests::Peer;

use super::{one, refused, says, text};

#[test]
fn what_is_not_there_is_said_so() {
    let world = tempfile::tempdir().unwrap();
    let anna = one(world.path(), "anna");
    for args in [
        &["status", "/nosuch"][..],
        &["capture", "nosuch"],
        &["verify", "nosuch"],
        &["untrack", "nosuch"],
        &["invite", "nosuch"],
        &["ls", "v:nosuch"],
        &["cat", "v:nosuch"],
        &["cat", "v:one", "--at", "2h"],
        &["cat", "v:one", "--at", "000000"],
        &["cat", "v:one", "--head", "000000"],
        &["log", "v:nosuch"],
        &["show", "000000"],
        &["resolve", "v:one", "--ours"],
        &["resolve", "v:nosuch", "--both"],
        &["resolve", "v:one", "--take", "000000"],
        &["peers", "remove", "nobody"],
        &["peers", "address", "nobody", "192.0.2.1:7"],
    ] {
        refused(&anna, 3, args);
    }
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let world = tempfile::tempdir().unwrap();
    let anna = one(world.path(), "anna");
    let long = "x".repeat(300);
    let (long_path, spare) = (format!("v:{long}"), anna.at("folder"));
    for args in [
        &["show", "12345"][..],
        &["show", "nonsense"],
        &["show", ""],
        &["cat", "v:one", "--at", "nonsense"],
        &["cat", "v:folder"],
        &["log", "--since=-3d"],
        &["ls", ""],
        &["track", &text(&spare), "--name", "a:b"],
        &["track", &text(&spare), "--name", &long],
        &["track", &text(&spare), "--name", "\u{1b}[31m"],
        &["track", &text(&anna.dir)],
        &["track", &text(&anna.at("one")), "--name", "w"],
        &["invite", "v", "--expires", "0s"],
        &["invite", "v", "--expires", "99999999999y"],
        &["peers", "remove", "anna"],
        &["join", ""],
        &["join", "hello"],
        &["join", "pfs1zz"],
    ] {
        refused(&anna, 2, args);
    }
    for args in [&["ls", &long_path][..], &["cat", "v:../../etc/passwd"], &["log", "v:.pfs/volume"]] {
        let said = anna.fails(2, args);
        assert!(said.contains("cannot be a path in a volume"), "{said}");
    }
    // What the command line itself refuses ends with its usage.
    for args in [
        &["invite", "v", "--uses", "0"][..],
        &["resolve", "v:one", "--ours", "--delete"],
        &["resolve", "v:one"],
        &["peers", "address", "ben", "nowhere"],
        &["daemon", "start", "--listen", "nowhere"],
        &["capture", "--force"],
        &["frobnicate"],
    ] {
        assert!(anna.fails(2, args).contains("--help"), "{args:?}");
    }
}

#[test]
fn the_home_is_never_captured() {
    let world = tempfile::tempdir().unwrap();
    let mut anna = Peer::new(world.path(), "anna");
    let link = world.path().join("link");
    symlink(&anna.home, &link).unwrap();
    let store = anna.home.join("store");
    for dir in ["/", &text(world.path()), &text(&anna.home), &text(&store), &text(&link)] {
        says(&anna, 5, &["track", dir, "--name", "v"], &["own home", "secret key"]);
    }
    assert!(!anna.home.join(".pfs").exists() && !world.path().join(".pfs").exists());

    let (dora, mut inside) = (one(world.path(), "dora"), Peer::new(world.path(), "inside"));
    let _ = (&dora, &mut inside);
    // A home that comes to lie in a tracked tree: the volume stands still.
    anna.write("file", "x");
    anna.ok(&["track", &text(&anna.dir), "--name", "v"]);
    let moved = anna.at("home");
    fs::rename(&anna.home, &moved).unwrap();
    anna.home = moved;
    says(&anna, 5, &["capture", "v"], &["own home"]);
    anna.fails(1, &["status", "--check"]);
    assert!(!anna.ok(&["ls", "v:", "-R"]).contains("key"));
}

#[test]
fn nested_directories_are_refused_however_they_are_named() {
    let world = tempfile::tempdir().unwrap();
    let anna = one(world.path(), "anna");
    let outside = world.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let link = outside.join("link");
    symlink(anna.at("folder"), &link).unwrap();
    let dotted = anna.at("folder/../folder");
    for dir in [&anna.at("folder"), &link, &dotted] {
        says(&anna, 5, &["track", &text(dir), "--name", "w"], &["one inside the other"]);
    }
    says(&anna, 2, &["track", &text(&outside), "--name", "v"], &["named v"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was put there");
    says(&anna, 3, &["track", &text(&world.path().join("nosuch"))], &["nosuch"]);

    let other = Peer::new(world.path(), "other");
    says(&other, 5, &["track", &text(&anna.dir), "--name", "w"], &["already tracked", "`.pfs`"]);
    says(&other, 5, &["track", &text(&anna.at("folder")), "--name", "w"], &["one inside the other"]);
    anna.ok(&["untrack", "v", "--force"]);
    anna.ok(&["track", &text(&anna.dir), "--name", "v"]);
    assert_eq!(anna.read("folder/two").as_deref(), Some("2\n"));
}

#[test]
fn without_a_home_there_is_a_word_and_no_panic() {
    let world = tempfile::tempdir().unwrap();
    let anna = one(world.path(), "anna");
    let run = |command: &mut Command| {
        let done = command.output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let program = anna.command(&[]).get_program().to_owned();
    let (code, said) = run(Command::new(&program).arg("status").env_clear().env("HOME", world.path()));
    assert!(code == Some(3) && said.contains("there is no peer in") && said.contains("hint: "), "{code:?} {said}");
    let (code, said) = run(Command::new(&program).args(["--home", "", "status"]));
    assert!(code == Some(2), "{said}");
    let (code, said) = run(Command::new(&program).args(["--home", "/dev/null/x", "init"]));
    assert!(code == Some(1) && said.contains("/dev/null/x"), "{said}");
    let file = anna.at("one");
    let (code, said) = run(Command::new(&program).arg("--home").arg(&file).arg("status"));
    assert!(code == Some(1) && said.contains("hint: "), "{said}");
}
