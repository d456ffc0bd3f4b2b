//! What a crash can leave between a batch of steps and the note of it: the tree is ahead of the records, or things
//! are parked. None of that is anybody's change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::PathBuf;

use pfs_engine::disk::Tree;
use pfs_engine::model::entry::{Holding, Role};
use pfs_engine::model::facts::Eye;
use pfs_engine::model::ids::VolumeId;
use pfs_engine::model::name::{Name, RelPath};
use pfs_engine::model::view::node_at;
use pfs_engine::store::{Store, VolumeState};
use support::{Peer, pair, settle, sync, tell, tree};

/// Ben crashed: what anna changes next reaches his log and, as far as the test brings it there, his tree.
fn crash(a: &Peer, b: &mut Peer, id: VolumeId, change: impl FnOnce(&Peer)) {
    b.open(false);
    change(a);
    a.engine().capture(id, None).unwrap();
    tell(a, b, id);
    sync(a, b, id);
}

/// Ben captures what he finds and must have nothing to say; then anna goes on, and they must agree.
fn recovers(a: &Peer, b: &mut Peer, id: VolumeId, go_on: impl FnOnce(&Peer)) {
    b.open(false);
    let captured = b.engine().capture(id, None).unwrap();
    assert_eq!((captured.patches, captured.problems), (0, vec![]), "what the log brought is not said again");
    go_on(a);
    a.engine().capture(id, None).unwrap();
    b.open(true);
    settle(a, b, id);
    assert_eq!((a.forks(id), b.forks(id)), (0, 0));
    assert_eq!(tree(a.dir.path()), tree(b.dir.path()));
}

/// Where a batch parks what is at that path.
fn parking(peer: &Peer, id: VolumeId, path: &str) -> PathBuf {
    let path = RelPath(path.split('/').map(|name| Name::try_from(name).unwrap()).collect());
    let node = node_at(&peer.engine().volume(id).unwrap(), Eye::Local, &path).unwrap().unwrap();
    peer.at(&format!(".pfs/tmp/park-{node}"))
}

#[test]
fn an_edit_that_had_arrived() {
    let (a, mut b, id) = pair(|a| a.write("f", "one"));
    crash(&a, &mut b, id, |a| a.write("f", "two"));
    b.write("f", "two");
    recovers(&a, &mut b, id, |a| a.write("f", "three"));
    assert_eq!(b.read("f").as_deref(), Some("three"));
}

#[test]
fn births_that_had_arrived() {
    let (a, mut b, id) = pair(|a| a.write("was", "moved before ben ever sees it"));
    crash(&a, &mut b, id, |a| {
        a.write("d/f", "new");
        a.engine().capture(id, None).unwrap();
        a.rename("d", "e");
        a.engine().capture(id, None).unwrap();
        a.rename("e/f", "e/g");
    });
    b.write("e/g", "new");
    recovers(&a, &mut b, id, |a| a.write("e/g", "newer"));
    assert_eq!(b.read("e/g").as_deref(), Some("newer"));
}

#[test]
fn a_move_that_had_arrived() {
    let (a, mut b, id) = pair(|a| a.write("d/f", "one"));
    crash(&a, &mut b, id, |a| a.rename("d", "e"));
    b.rename("d", "e");
    recovers(&a, &mut b, id, |a| a.rename("e", "g"));
    assert_eq!(b.read("g/f").as_deref(), Some("one"));
}

#[test]
fn a_delete_that_had_arrived() {
    let (a, mut b, id) = pair(|a| {
        a.write("d/f", "one");
        a.write("stays", "");
    });
    crash(&a, &mut b, id, |a| fs::remove_dir_all(a.at("d")).unwrap());
    fs::remove_dir_all(b.at("d")).unwrap();
    recovers(&a, &mut b, id, |a| a.write("d/f", "again"));
    assert_eq!(b.read("d/f").as_deref(), Some("again"));
}

/// Some of what a directory held is gone already: the rest goes, and nothing is left behind in the records.
#[test]
fn a_delete_that_had_begun() {
    let (a, mut b, id) = pair(|a| {
        for n in 0..20 {
            a.write(&format!("d/{}/{n}", n % 3), [n; 100]);
        }
        a.write("stays", "");
    });
    crash(&a, &mut b, id, |a| fs::remove_dir_all(a.at("d")).unwrap());
    fs::remove_dir_all(b.at("d/1")).unwrap();
    fs::remove_file(b.at("d/2/2")).unwrap();
    b.open(true);
    settle(&a, &b, id);
    assert!(!b.at("d").exists());
    recovers(&a, &mut b, id, |a| a.write("d/1/1", "again"));
}

#[test]
fn a_tree_that_was_emptied_by_the_log() {
    let (a, mut b, id) = pair(|a| a.write("f", "one"));
    crash(&a, &mut b, id, |a| {
        a.write("g", "");
        fs::remove_file(a.at("f")).unwrap();
    });
    fs::remove_file(b.at("f")).unwrap();
    recovers(&a, &mut b, id, |a| a.write("f", "again"));
}

#[test]
fn what_is_parked_returns() {
    let (a, mut b, id) = pair(|a| a.write("d/f", "one"));
    b.open(false);
    let (dir, file) = (parking(&b, id, "d"), parking(&b, id, "d/f"));
    fs::rename(b.at("d/f"), file).unwrap();
    fs::rename(b.at("d"), dir).unwrap();
    recovers(&a, &mut b, id, |a| a.write("d/f", "two"));
}

/// Two directories swap names: one is parked, the other stands where the first was.
#[test]
fn what_is_parked_goes_where_the_log_wants_it() {
    let (a, mut b, id) = pair(|a| {
        a.write("x/f", "of x");
        a.write("y/f", "of y");
    });
    crash(&a, &mut b, id, |a| {
        a.rename("x", "t");
        a.rename("y", "x");
        a.rename("t", "y");
    });
    fs::rename(b.at("x"), parking(&b, id, "x")).unwrap();
    b.rename("y", "x");
    recovers(&a, &mut b, id, |a| a.write("x/f", "of y, later"));
    assert_eq!(b.read("y/f").as_deref(), Some("of x"));
}

/// The directory that it left is gone, the one that it goes to is not there yet.
#[test]
fn what_is_parked_and_has_no_place_comes_from_the_history() {
    let (a, mut b, id) = pair(|a| {
        a.write("old/f", "one");
        a.write("old/sub/g", "two");
        a.write("stays", "");
    });
    crash(&a, &mut b, id, |a| {
        fs::create_dir(a.at("new")).unwrap();
        a.rename("old/f", "new/f");
        a.rename("old/sub", "new/sub");
        fs::remove_dir(a.at("old")).unwrap();
    });
    let (file, dir) = (parking(&b, id, "old/f"), parking(&b, id, "old/sub"));
    fs::rename(b.at("old/f"), file).unwrap();
    fs::rename(b.at("old/sub"), dir).unwrap();
    fs::remove_dir(b.at("old")).unwrap();
    recovers(&a, &mut b, id, |a| a.write("new/sub/h", "three"));
    assert_eq!(b.read("new/sub/g").as_deref(), Some("two"));
    assert_eq!(b.read("new/f").as_deref(), Some("one"));
}

#[test]
fn a_volume_that_was_never_born_is_forgotten() {
    let mut a = Peer::new("anna");
    a.write("f", "one");
    a.close();
    let id = VolumeId([7; 32]);
    let path = Some(a.dir.path().as_os_str().as_encoded_bytes().to_vec());
    let state = VolumeState { path, ..VolumeState::new("v", Role::Writer, Holding::All) };
    Store::open(&a.home.path().join("store")).unwrap().create_volume(id, &state).unwrap();
    Tree::create(a.dir.path(), id).unwrap();
    a.open(true);
    assert!(a.engine().volumes().unwrap().is_empty());
    let (_, captured) = a.engine().track(a.dir.path(), "v", 2, None).unwrap();
    assert_eq!(captured.files, 1);
}
