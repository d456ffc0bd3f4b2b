//! A peer that was away for long comes back: what others deleted stays deleted, what it wrote itself against a
//! delete is an explicit fork, and nothing comes back by itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use pfs_engine::model::codec;
use pfs_engine::model::ids::VolumeId;
use pfs_engine::model::view::{Fork, ForkKind};
use support::{Peer, pair, settle, tree};

fn kinds(peer: &Peer, id: VolumeId) -> Vec<ForkKind> {
    let forks = peer.engine().volume(id).unwrap().forks().unwrap();
    let mut kinds: Vec<_> = forks.iter().map(|bytes| codec::decode::<Fork>(bytes).unwrap().kind).collect();
    kinds.sort_unstable();
    kinds
}

/// Ben's engine is closed, and his tree changes all the same; anna goes on for many entries.
fn apart(
    furnish: impl FnOnce(&Peer),
    by_anna: impl FnOnce(&Peer),
    by_ben: impl FnOnce(&Peer),
) -> (Peer, Peer, VolumeId) {
    let (a, mut b, id) = pair(furnish);
    b.close();
    by_anna(&a);
    a.engine().capture(id, None).unwrap();
    for n in 0..50 {
        a.write("counter", n.to_string());
        a.engine().capture(id, None).unwrap();
    }
    by_ben(&b);
    b.open(true);
    settle(&a, &b, id);
    assert_eq!(tree(a.dir.path()), tree(b.dir.path()), "no fork is about the bytes of one side alone here");
    (a, b, id)
}

fn files(peer: &Peer) {
    for path in ["f", "g", "d/x", "d/y", "d/sub/z", "stays"] {
        peer.write(path, path);
    }
}

#[test]
fn what_was_deleted_meanwhile_stays_deleted() {
    let (_, b, id) = apart(
        files,
        |a| {
            fs::remove_file(a.at("f")).unwrap();
            fs::remove_dir_all(a.at("d")).unwrap();
        },
        |b| b.write("new", "of ben"),
    );
    assert!(!b.at("f").exists() && !b.at("d").exists());
    assert_eq!((b.read("new").as_deref(), b.forks(id)), (Some("of ben"), 0));
}

#[test]
fn an_edit_against_a_delete_is_a_delete_fork() {
    let (a, b, id) = apart(
        files,
        |a| {
            fs::remove_file(a.at("f")).unwrap();
            fs::remove_dir_all(a.at("d")).unwrap();
        },
        |b| {
            b.write("f", "edited");
            b.write("d/sub/z", "edited");
        },
    );
    for peer in [&a, &b] {
        assert_eq!(kinds(peer, id), [ForkKind::Delete, ForkKind::Delete]);
        assert_eq!(peer.read("f").as_deref(), Some("edited"));
        assert_eq!(peer.read("d/sub/z").as_deref(), Some("edited"));
        assert!(!peer.at("d/x").exists() && !peer.at("d/y").exists(), "only what was edited lives on");
    }
}

#[test]
fn what_came_into_a_deleted_directory_is_there_without_what_was_deleted() {
    let (a, b, id) = apart(files, |a| fs::remove_dir_all(a.at("d")).unwrap(), |b| b.write("d/sub/new", "of ben"));
    for peer in [&a, &b] {
        assert_eq!(peer.read("d/sub/new").as_deref(), Some("of ben"));
        assert!(!peer.at("d/x").exists() && !peer.at("d/sub/z").exists());
        assert_eq!(kinds(peer, id), []);
    }
}

#[test]
fn what_was_made_anew_by_the_same_name_is_shown_and_an_edit_of_the_old_is_a_fork() {
    let anew = |a: &Peer| {
        for path in ["f", "g"] {
            fs::remove_file(a.at(path)).unwrap();
        }
        a.engine().capture(a.engine().volumes().unwrap()[0].id, None).unwrap();
        a.write("f", "made anew");
        a.write("g", "made anew");
    };
    let (a, mut b, id) = pair(files);
    b.close();
    anew(&a);
    b.write("g", "edited");
    b.open(true);
    settle(&a, &b, id);
    assert_eq!(b.read("f").as_deref(), Some("made anew"), "nothing of ben's stands against it");
    assert_eq!((a.read("g").as_deref(), b.read("g").as_deref()), (Some("made anew"), Some("edited")));
    for peer in [&a, &b] {
        assert_eq!(kinds(peer, id), [ForkKind::Content]);
    }
}

/// Ben deleted what anna edited meanwhile, and a directory into which she wrote.
#[test]
fn a_delete_of_who_was_away_does_not_undo_what_it_had_not_seen() {
    let (a, b, id) = apart(
        files,
        |a| {
            a.write("f", "edited");
            a.write("d/sub/new", "of anna");
        },
        |b| {
            fs::remove_file(b.at("f")).unwrap();
            fs::remove_dir_all(b.at("d")).unwrap();
        },
    );
    for peer in [&a, &b] {
        assert_eq!(kinds(peer, id), [ForkKind::Delete]);
        assert_eq!(peer.read("f").as_deref(), Some("edited"));
        assert_eq!(peer.read("d/sub/new").as_deref(), Some("of anna"));
        assert!(!peer.at("d/x").exists(), "what anna had not touched is gone");
    }
}

/// Both deleted it, both made it anew: equal is equal, unequal is a fork, and neither delete comes into it.
#[test]
fn what_both_deleted_and_made_anew_is_compared_by_its_bytes() {
    let again = |text: &'static str| {
        move |peer: &Peer| {
            let id = peer.engine().volumes().unwrap()[0].id;
            fs::remove_file(peer.at("f")).unwrap();
            fs::remove_file(peer.at("g")).unwrap();
            peer.engine().capture(id, None).unwrap();
            peer.write("f", "equal");
            peer.write("g", text);
            peer.engine().capture(id, None).unwrap();
        }
    };
    let (a, b, id) = pair(files);
    again("of anna")(&a);
    again("of ben")(&b);
    settle(&a, &b, id);
    for (peer, own) in [(&a, "of anna"), (&b, "of ben")] {
        assert_eq!(kinds(peer, id), [ForkKind::Content]);
        assert_eq!((peer.read("f").as_deref(), peer.read("g").as_deref()), (Some("equal"), Some(own)));
    }
}
