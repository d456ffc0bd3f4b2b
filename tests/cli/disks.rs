//! Disks that are full, gone, empty, or not ours: what was there is safe, and the work goes on when it can.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use pfs_fixtures::noise;
use pfs_tests::{Mount, Output, Peer, Thing, eventually, eventually_equal, not_run};

use super::{contents, one, pair, refused, says, text};

fn problem(peer: &Peer) -> String {
    peer.json(&["status"])["volumes"][0]["problem"].as_str().unwrap_or_default().to_owned()
}

fn reason(peer: &Peer) -> String {
    peer.json(&["status"])["volumes"][0]["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_full_disk_of_the_home_is_told_and_gone_on_from() {
    let world = tempfile::tempdir().unwrap();
    let Some(disk) = Mount::new(&world.path().join("anna/home"), 24) else {
        return not_run("a_full_disk_of_the_home_is_told_and_gone_on_from", "only root may mount");
    };
    let (anna, ben) = pair(world.path());
    anna.write("large", noise(30_000_000, 7));
    eventually("it is told", || problem(&anna).contains("no space left"));
    anna.fails(1, &["status", "--check"]);
    says(&anna, 1, &["capture"], &["no space left", "make room"]);
    anna.write("small", "written meanwhile");
    ben.write("from ben", "x");
    assert_eq!(ben.read("one").as_deref(), Some("1\n"));
    disk.resize(200);
    eventually("everything is everywhere", || anna.tree().len() == 6 && anna.tree() == ben.tree());
    eventually("and nothing is told any more", || problem(&anna).is_empty() && anna.state() == "synced");
    anna.ok(&["status", "--check"]);
    assert!(anna.ok(&["verify"]).contains("all is well"));
}

#[test]
fn a_full_disk_stops_a_command_and_loses_nothing() {
    let world = tempfile::tempdir().unwrap();
    let Some(disk) = Mount::new(&world.path().join("anna/home"), 24) else {
        return not_run("a_full_disk_stops_a_command_and_loses_nothing", "only root may mount");
    };
    let anna = one(world.path(), "anna");
    anna.write("large", noise(30_000_000, 7));
    says(&anna, 1, &["capture"], &["no space left", "make room"]);
    assert_eq!(anna.ok(&["cat", "v:one"]), "1\n");
    disk.resize(200);
    anna.ok(&["capture"]);
    assert!(anna.ok(&["verify"]).contains("all is well"));
    assert!(anna.ok(&["ls", "v:"]).contains("large"));
}

#[test]
fn a_full_disk_of_the_tree_is_told_and_gone_on_from() {
    let world = tempfile::tempdir().unwrap();
    let Some(disk) = Mount::new(&world.path().join("ben/tree"), 8) else {
        return not_run("a_full_disk_of_the_tree_is_told_and_gone_on_from", "only root may mount");
    };
    let (anna, ben) = pair(world.path());
    // It comes whole: what is still being written may be captured in between, and a smaller version would fit.
    fs::write(world.path().join("large"), noise(12_000_000, 7)).unwrap();
    fs::rename(world.path().join("large"), anna.at("large")).unwrap();
    anna.write("small", "there is room for this");
    eventually("it is told", || problem(&ben).contains("large needs 12.0 MB"));
    assert!(problem(&ben).contains("are free on"), "{}", problem(&ben));
    eventually("what fits is there", || ben.read("small").is_some());
    assert!(!ben.at("large").exists(), "nothing by halves");
    ben.write("from ben", "x");
    eventually("ben's own goes out", || anna.read("from ben").is_some());
    // Tried again, but not all the time.
    let before = ben.log().matches("not brought up to date").count();
    assert!(before < 100, "{before} attempts");
    disk.resize(64);
    eventually_equal(&[&anna, &ben]);
    eventually("and nothing is told any more", || problem(&ben).is_empty());
}

#[test]
fn a_tree_that_goes_away_is_waited_for() {
    let world = tempfile::tempdir().unwrap();
    let (anna, mut ben) = pair(world.path());
    let aside = world.path().join("aside");
    fs::rename(&ben.dir, &aside).unwrap();
    eventually("it halts", || ben.state() == "halted");
    assert!(reason(&ben).contains(&text(&ben.dir)));
    anna.write("meanwhile", "x");
    fs::create_dir(&ben.dir).unwrap();
    says(&ben, 5, &["capture"], &["nothing more is spread", "mount"]);
    ben.stop();
    ben.start();
    assert_eq!(ben.state(), "halted");
    assert_eq!(fs::read_dir(&ben.dir).unwrap().count(), 0, "nothing is put into what is not the tree");
    assert_eq!(anna.read("one").as_deref(), Some("1\n"), "nothing is taken for deleted");
    fs::remove_dir(&ben.dir).unwrap();
    fs::rename(&aside, &ben.dir).unwrap();
    eventually_equal(&[&anna, &ben]);
    assert!(ben.read("meanwhile").is_some());
}

#[test]
fn an_unmounted_disk_halts_until_it_is_back() {
    let world = tempfile::tempdir().unwrap();
    let place = world.path().join("ben/tree");
    let Some(disk) = Mount::new(&place, 8) else {
        return not_run("an_unmounted_disk_halts_until_it_is_back", "only root may mount");
    };
    let (anna, ben) = pair(world.path());
    drop(disk);
    eventually("it halts", || ben.state() == "halted");
    assert!(reason(&ben).contains("mounted"));
    says(&ben, 5, &["capture", "v"], &["mount"]);
    anna.write("meanwhile", "x");
    eventually("ben hears of it", || ben.ok(&["log"]).contains("meanwhile"));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    assert_eq!(anna.read("one").as_deref(), Some("1\n"));
}

#[test]
fn a_lost_marker_halts_until_a_person_vouches() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    fs::remove_dir_all(ben.at(".pfs")).unwrap();
    ben.write("mine", "x");
    eventually("it halts", || ben.state() == "halted");
    says(&ben, 5, &["capture", "v"], &["marker", "pfs capture v --force"]);
    assert!(anna.read("mine").is_none());
    ben.ok(&["capture", "v", "--force"]);
    eventually_equal(&[&anna, &ben]);
    assert_eq!(anna.read("mine").as_deref(), Some("x"));
}

#[test]
fn a_root_that_is_emptied_halts_until_a_person_means_it() {
    let world = tempfile::tempdir().unwrap();
    let (anna, mut ben) = pair(world.path());
    let empty = |peer: &Peer| {
        for entry in fs::read_dir(&peer.dir).unwrap().map(Result::unwrap) {
            match entry.file_name().to_str() {
                Some(".pfs") => {}
                _ if entry.file_type().unwrap().is_dir() => fs::remove_dir_all(entry.path()).unwrap(),
                _ => fs::remove_file(entry.path()).unwrap(),
            }
        }
    };
    // Stopped, so that all of it is gone at once.
    ben.stop();
    empty(&ben);
    ben.start();
    eventually("it halts", || ben.state() == "halted");
    assert!(reason(&ben).contains("pfs capture v --force"), "{}", reason(&ben));
    says(&ben, 5, &["capture", "v"], &["gone at once", "pfs capture v --force"]);
    // A new file does not make it right, nor does a restart.
    ben.write("new", "x");
    refused(&ben, 5, &["capture", "v"]);
    ben.stop();
    refused(&ben, 5, &["capture", "v"]);
    ben.start();
    refused(&ben, 5, &["capture", "v"]);
    assert_eq!(anna.read("folder/two").as_deref(), Some("2\n"));
    // Something that is back does.
    ben.write("one", "1\n");
    ben.ok(&["capture", "v"]);
    eventually("it goes on", || contents(&anna) == contents(&ben));
    assert!(anna.read("new").is_some() && anna.read("folder/two").is_none());

    ben.stop();
    empty(&ben);
    ben.start();
    eventually("it halts again", || ben.state() == "halted");
    ben.ok(&["capture", "v", "--force"]);
    eventually("it was meant", || anna.tree().is_empty());
    ben.write("after", "y");
    eventually("and it goes on by itself", || anna.read("after").is_some());
}

/// A command on a peer, run where modes forbid what they say: as who we are, but without what root may do.
fn unprivileged(peer: &Peer, args: &[&str]) -> Output {
    let plain = peer.command(args);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all"]).arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    let command = if is_root() { &mut command } else { &mut peer.command(args) };
    let done = command.current_dir(plain.get_current_dir().unwrap()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { code: done.status.code().unwrap_or(-1), out: text(done.stdout), err: text(done.stderr) }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout == b"0\n")
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_may_not_be_read_is_skipped_and_never_taken_for_deleted() {
    let world = tempfile::tempdir().unwrap();
    let anna = one(world.path(), "anna");
    anna.write("secret", "s");
    let captured = unprivileged(&anna, &["capture"]);
    assert!(captured.code == 0 && !captured.out.contains("skipped"), "{captured:?}");
    anna.write("new", "n");
    let locked = [anna.at("secret"), anna.at("folder")];
    for path in &locked {
        set_mode(path, 0o000);
    }
    let done = unprivileged(&anna, &["capture"]);
    assert_eq!(done.code, 0, "{done:?}");
    for path in ["secret", "folder"] {
        assert_eq!(done.out.matches(&format!("skipped {path}: Permission denied")).count(), 1, "{done:?}");
    }
    let listed = unprivileged(&anna, &["ls", "v:", "-R"]).out;
    assert_eq!(listed, "folder/\nfolder/two\nnew\none\nsecret\n", "what is new came, and nothing went");
    for path in &locked {
        set_mode(path, 0o755);
    }
    assert!(matches!(anna.tree().get(std::path::Path::new("folder/two")), Some(Thing::File { .. })));
}

#[test]
fn what_this_user_may_not_do_is_said_so() {
    let world = tempfile::tempdir().unwrap();
    let anna = one(world.path(), "anna");
    let denied = |peer: &Peer, args: &[&str]| {
        let done = unprivileged(peer, args);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.err.contains("Permission denied") && done.err.contains("hint: this user may not"), "{done:?}");
    };
    set_mode(&anna.home, 0o500);
    set_mode(&anna.home.join("lock"), 0o400);
    denied(&anna, &["status"]);
    set_mode(&anna.home, 0o700);
    let ben = Peer::new(world.path(), "ben");
    let spare = world.path().join("spare");
    fs::create_dir(&spare).unwrap();
    set_mode(&spare, 0o555);
    denied(&ben, &["track", &text(&spare), "--name", "w"]);
    assert_eq!(fs::read_dir(&spare).unwrap().count(), 0);
    let sub = spare.join("new");
    says(&ben, 3, &["track", &text(&sub), "--name", "w"], &["new"]);
}

#[test]
fn most_of_a_tree_that_goes_at_once_halts_and_comes_back_or_not() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    for n in 0..300 {
        anna.write(&format!("many/{}/{n}", n % 3), n.to_string());
    }
    eventually_equal(&[&anna, &ben]);
    let full = contents(&ben);
    for meant in [false, true] {
        for folder in ["many", "folder"] {
            fs::remove_dir_all(ben.at(folder)).unwrap();
        }
        eventually("it halts", || ben.state() == "halted");
        let why = reason(&ben);
        for said in ["files are gone since", "pfs capture v --force", "pfs capture v --bring-back"] {
            assert!(why.contains(said), "{why}");
        }
        says(&ben, 5, &["capture", "v"], &["files are gone at once", "pfs capture v --bring-back"]);
        assert!(contents(&anna).len() + 32 > full.len(), "a few that went first, at the most");
        if meant {
            ben.ok(&["capture", "v", "--force"]);
        } else {
            ben.ok(&["capture", "v", "--bring-back"]);
            eventually("what had gone out is the same at both", || contents(&anna) == contents(&ben));
            assert!(contents(&anna).len() + 32 > full.len());
        }
    }
    eventually_equal(&[&anna, &ben]);
    assert!(!anna.at("many").exists() && anna.read("one").is_some());
}
