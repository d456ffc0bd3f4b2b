//! Much of a tree goes at once: nothing of it is spread before a person has said so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use pfs_engine::model::ids::VolumeId;
use pfs_engine::{EngineError, Options};
use support::{Peer, eventually, pair, settle, sync};

const FILES: usize = 400;

fn furnish(a: &Peer) {
    for n in 0..FILES {
        a.write(&format!("d/{}/{n}", n % 7), n.to_string());
    }
    a.write("stays", "x");
}

fn is_halted(peer: &Peer, id: VolumeId) -> bool {
    peer.report(id).lost.is_some()
}

/// How many files of the volume the log has not deleted.
fn living(peer: &Peer) -> usize {
    support::tree(peer.dir.path()).values().flatten().count()
}

#[test]
fn a_large_delete_under_a_live_engine_waits_for_a_person() {
    let (mut a, b, id) = pair(furnish);
    fs::remove_dir_all(a.at("d")).unwrap();
    eventually("it halts", || is_halted(&a, id));
    sync(&a, &b, id);
    eventually("what was written ahead has crossed", || b.rests(id));
    let left = living(&b);
    assert!(left > FILES - 16, "a few of the first slices at the most: {left}");
    let loss = a.report(id).lost.unwrap();
    assert!(loss.files as usize >= left - 1 && loss.of > loss.files, "{loss:?}");
    // Neither a restart nor asking once more makes it meant.
    a.open(true);
    assert_eq!(a.report(id).lost.map(|loss| loss.since_ms), Some(loss.since_ms));
    assert!(matches!(a.engine().capture(id, None), Err(EngineError::Lost { .. })));
    sync(&a, &b, id);
    assert_eq!(living(&b), left);

    a.engine().capture_vouched(id, None).unwrap();
    settle(&a, &b, id);
    assert_eq!((living(&a), living(&b)), (1, 1));
}

/// Others go on meanwhile; what they edited and what is brought back is there in the end.
#[test]
fn what_is_gone_is_brought_back_from_the_history() {
    let (mut a, b, id) = pair(furnish);
    a.open(false);
    fs::remove_dir_all(a.at("d")).unwrap();
    assert!(matches!(a.engine().capture(id, None), Err(EngineError::Lost { .. })));
    b.write("d/1/1", "edited meanwhile");
    a.write("d/new", "written after it");
    a.write("stays", "edited");
    b.engine().capture(id, None).unwrap();
    sync(&a, &b, id);
    a.engine().bring_back(id, None).unwrap();
    a.open(true);
    settle(&a, &b, id);
    for peer in [&a, &b] {
        assert_eq!(living(peer), FILES + 2);
        assert_eq!(peer.read("d/1/1").as_deref(), Some("edited meanwhile"));
        assert_eq!(peer.read("stays").as_deref(), Some("edited"));
        assert_eq!(peer.forks(id), 0);
    }
}

/// Who says that it was meant has not seen what others wrote meanwhile: that is a fork, not a loss.
#[test]
fn an_edit_that_came_while_it_stood_still_is_not_deleted_unseen() {
    let (mut a, b, id) = pair(furnish);
    a.open(false);
    fs::remove_dir_all(a.at("d")).unwrap();
    assert!(a.engine().capture(id, None).is_err());
    b.write("d/1/1", "edited meanwhile");
    b.engine().capture(id, None).unwrap();
    sync(&a, &b, id);
    a.engine().capture_vouched(id, None).unwrap();
    a.open(true);
    settle(&a, &b, id);
    for peer in [&a, &b] {
        assert_eq!((living(peer), peer.forks(id)), (2, 1));
        assert_eq!(peer.read("d/1/1").as_deref(), Some("edited meanwhile"));
    }
}

#[test]
fn moves_replacements_and_lesser_deletes_go_through() {
    let (a, b, id) = pair(furnish);
    a.rename("d", "moved");
    eventually("a move of everything crosses", || {
        sync(&a, &b, id);
        b.at("moved/1/1").exists()
    });
    for n in (0..FILES).filter(|n| n % 5 != 0) {
        let path = format!("moved/{}/{n}", n % 7);
        a.write(&format!("{path}.new"), "another");
        a.rename(&format!("{path}.new"), &path);
    }
    for n in (0..FILES).filter(|n| n % 5 < 2) {
        fs::remove_file(a.at(&format!("moved/{}/{n}", n % 7))).unwrap();
    }
    eventually("less than half is deleted", || {
        sync(&a, &b, id);
        living(&b) == FILES * 3 / 5 + 1
    });
    settle(&a, &b, id);
    assert!(!is_halted(&a, id) && !is_halted(&b, id));
}

/// All of it gone, before anybody looked; brought back by an engine that is not live.
#[test]
fn an_emptied_root_is_brought_back_too() {
    let (mut a, b, id) = pair(|a| {
        a.write("one", "1");
        a.write("d/two", "2");
    });
    a.close();
    fs::remove_file(a.at("one")).unwrap();
    fs::remove_dir_all(a.at("d")).unwrap();
    let engine = pfs_engine::Engine::open(a.home.path(), Options { live: false }).unwrap();
    assert!(matches!(engine.capture(id, None), Err(EngineError::Emptied { .. })));
    engine.bring_back(id, None).unwrap();
    assert_eq!(a.read("d/two").as_deref(), Some("2"));
    assert_eq!(engine.capture(id, None).unwrap().patches, 0);
    drop(engine);
    a.open(true);
    settle(&a, &b, id);
    assert_eq!(living(&b), 2);
}
