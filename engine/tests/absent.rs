//! Bytes that are not here: what waits for them holds up nothing else, and comes when they do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use pfs_engine::limits::WINDOW_NODES;
use support::{LINK, Peer, eventually, joined, pair, settle, sync, tell, tree};

/// Hands over entries, but no bytes.
fn hear_of(from: &Peer, to: &Peer, id: pfs_engine::model::ids::VolumeId) {
    tell(from, to, id);
    to.engine().peer_down(from.engine().peer()).unwrap();
}

#[test]
fn what_nobody_has_holds_up_nothing_else() {
    let (anna, ben, id) = pair(|anna| anna.write("f", "one"));
    let carl = joined(&anna, id, "carl");
    settle(&anna, &carl, id);
    settle(&carl, &ben, id);
    for n in 0..WINDOW_NODES + 1000 {
        anna.write(&format!("many/{}/{n}", n % 100), n.to_le_bytes());
    }
    anna.engine().capture(id, None).unwrap();
    hear_of(&anna, &carl, id);
    hear_of(&carl, &ben, id);
    ben.engine().peer_down(anna.engine().peer()).unwrap();
    // Anna has gone; carl has none of her bytes, but some of his own.
    carl.write("of carl", "x");
    carl.rename("f", "g");
    carl.engine().capture(id, None).unwrap();
    eventually("what carl has comes through", || {
        sync(&carl, &ben, id);
        ben.read("of carl").is_some() && ben.read("g").is_some()
    });
    assert!(ben.read("f").is_none());
    settle(&anna, &ben, id);
    assert_eq!(tree(anna.dir.path()), tree(ben.dir.path()));
}

/// A move is carried out before the bytes of an edit that came with it, and those are old when they come.
#[test]
fn bytes_that_come_too_late_for_the_tree_keep_nobody_busy() {
    let (anna, ben, id) = pair(|anna| anna.write("f", "one"));
    anna.rename("f", "g");
    anna.engine().capture(id, None).unwrap();
    anna.write("g", "two");
    anna.engine().capture(id, None).unwrap();
    hear_of(&anna, &ben, id);
    eventually("the move is there", || ben.read("g").as_deref() == Some("one"));
    anna.write("g", "three");
    anna.engine().capture(id, None).unwrap();
    hear_of(&anna, &ben, id);
    settle(&anna, &ben, id);
    assert_eq!(ben.read("g").as_deref(), Some("three"));
    eventually("ben has nothing to do", || ben.is_idle(id));
}

/// Two peers dialled each other at once. The connection that goes may still ask when the other counts already.
#[test]
fn a_connection_that_was_replaced_takes_nothing_along() {
    let (anna, ben, id) = pair(|anna| anna.write("f", "one"));
    let peer = anna.engine().peer();
    anna.write("f", "two");
    anna.engine().capture(id, None).unwrap();
    tell(&anna, &ben, id);
    ben.engine().peer_down(peer).unwrap();
    ben.engine().peer_up(peer, LINK + 1).unwrap();
    assert_eq!(ben.engine().wanted(id, peer, LINK).unwrap(), vec![], "its answer would never come");
    assert_eq!(ben.engine().wanted(id, peer, LINK + 1).unwrap().len(), 1);
}
