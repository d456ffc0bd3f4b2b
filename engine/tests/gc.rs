//! Old versions are let go of; what anybody needs is not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::Duration;

use pfs_engine::gc::{Old, Order, Tally};
use pfs_engine::model::facts::Facts as _;
use pfs_engine::model::ids::{ChunkId, PatchId, VolumeId};
use pfs_engine::model::patch::Content;
use pfs_engine::plan::retain::Retention;
use pfs_engine::{EngineError, query};
use pfs_fixtures::noise;
use support::{LINK, Peer, eventually, pair, settle, tell, tree};

const ALL: Order =
    Order { retention: Retention { within_ms: 0, last: 0 }, orphans: false, dry_run: false, reclaim: false };

fn gc(peer: &Peer, order: &Order) -> (Tally, Vec<Old>) {
    // Later than the millisecond of the last edit.
    sleep(Duration::from_millis(2));
    let mut old = Vec::new();
    let tally = peer.engine().gc(order, &mut |version| old.push(version), &|| true).unwrap();
    (tally, old)
}

fn write(peer: &Peer, id: VolumeId, path: &str, bytes: impl AsRef<[u8]>) {
    peer.write(path, bytes);
    assert_eq!(peer.engine().capture(id, None).unwrap().problems, vec![]);
}

fn cat(peer: &Peer, id: VolumeId, patch: PatchId) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::new();
    let mut take = |more: &[u8]| {
        bytes.extend_from_slice(more);
        ControlFlow::Continue(())
    };
    let volume = peer.engine().volume(id)?;
    query::cat(peer.engine().store(), &volume, patch, &mut take).map(|()| bytes)
}

fn chunks(peer: &Peer) -> usize {
    peer.engine().store().chunk_ids(None, 10_000).unwrap().len()
}

fn is_well(peer: &Peer, id: VolumeId) {
    let (verified, lacking) = peer.engine().verify(None, false, &|_, _| {}).unwrap();
    assert_eq!((verified.broken, &lacking[&id]), (vec![], &std::collections::BTreeMap::new()));
}

#[test]
fn old_versions_go_and_the_history_stays() {
    let (anna, ben, id) = pair(|anna| anna.write("f", noise(700_000, 1)));
    let mut grown = noise(700_000, 1);
    grown.extend(noise(100_000, 2));
    write(&anna, id, "f", &grown);
    write(&anna, id, "f", noise(500_000, 3));
    write(&anna, id, "shares", &grown[..400_000]);
    settle(&anna, &ben, id);

    let before = (chunks(&anna), chunks(&ben));
    let (told, _) = gc(&anna, &Order { dry_run: true, ..ALL });
    assert_eq!((told.current, told.let_go, chunks(&anna)), (2, 2, before.0));
    let (done, old) = gc(&anna, &ALL);
    assert_eq!((done.let_go, done.chunks, old.len()), (2, told.chunks, 2));
    assert_eq!(chunks(&anna) as u64, before.0 as u64 - done.chunks);
    for old in &old {
        assert!(matches!(cat(&anna, id, old.version.patch), Err(EngineError::NotHeld(_))));
        assert_eq!(cat(&ben, id, old.version.patch).unwrap().len() as u64, old.version.len, "ben keeps his own");
    }
    is_well(&anna, id);
    assert_eq!(gc(&anna, &ALL).0.let_go, 0, "what has gone is not told again");

    settle(&anna, &ben, id);
    assert_eq!(chunks(&anna) as u64, before.0 as u64 - done.chunks, "what was let go of is not fetched again");
    assert_eq!(tree(anna.dir.path()), tree(ben.dir.path()));
}

#[test]
fn what_was_let_go_of_can_be_written_again_by_anybody() {
    let (anna, ben, id) = pair(|anna| anna.write("f", noise(700_000, 1)));
    write(&anna, id, "f", "now");
    settle(&anna, &ben, id);
    assert_eq!(gc(&anna, &ALL).0.let_go, 1);
    assert_eq!(gc(&ben, &ALL).0.let_go, 1);
    write(&anna, id, "again", noise(700_000, 1));
    settle(&anna, &ben, id);
    for peer in [&anna, &ben] {
        assert_eq!(std::fs::read(peer.at("again")).unwrap(), noise(700_000, 1));
        is_well(peer, id);
        assert_eq!(gc(peer, &ALL).0.let_go, 0);
        is_well(peer, id);
    }
}

/// Ben hears of a file that has chunks of a version which he lets go of while it comes.
#[test]
fn what_is_on_its_way_takes_no_harm() {
    let past = noise(900_000, 1);
    let (anna, ben, id) = pair(|anna| anna.write("f", &past));
    write(&anna, id, "f", "now");
    settle(&anna, &ben, id);
    let mut new = noise(300_000, 2);
    new.extend(&past);
    write(&anna, id, "new", &new);
    tell(&anna, &ben, id);
    let peer = anna.engine().peer();
    for _ in 0..20 {
        // One chunk at a time, and everything old is let go of after each.
        let ids = ben.engine().wanted(id, peer, LINK).unwrap();
        for chunk in ids {
            let stored = anna.engine().store().chunk(chunk).unwrap();
            ben.engine().deliver(id, peer, vec![(chunk, stored)]).unwrap();
            gc(&ben, &ALL);
        }
    }
    eventually("ben has the file", || std::fs::read(ben.at("new")).is_ok_and(|bytes| bytes == new));
    settle(&anna, &ben, id);
    is_well(&ben, id);
}

#[test]
fn forks_keep_their_base() {
    let (anna, ben, id) = pair(|anna| anna.write("f", "base"));
    write(&anna, id, "f", "of anna");
    write(&ben, id, "f", "of ben");
    settle(&anna, &ben, id);
    assert_eq!(anna.forks(id), 1);
    let (tally, _) = gc(&anna, &ALL);
    assert_eq!((tally.let_go, tally.forked, tally.current), (0, 1, 2));
}

#[test]
fn what_nothing_refers_to_goes_when_asked_for() {
    let (anna, _ben, id) = pair(|anna| anna.write("f", noise(100_000, 1)));
    let orphan = (ChunkId([7; 32]), noise(5000, 2));
    anna.engine().store().put_chunks(vec![orphan.clone()]).unwrap();
    gc(&anna, &ALL);
    assert_eq!(anna.engine().store().has_chunks(&[orphan.0]).unwrap(), [true]);
    let (tally, _) = gc(&anna, &Order { orphans: true, reclaim: true, ..ALL });
    assert_eq!((tally.chunks, tally.bytes), (1, 5000));
    assert_eq!(anna.engine().store().has_chunks(&[orphan.0]).unwrap(), [false]);
    is_well(&anna, id);
}

/// The bytes of a version are needed as long as this disk shows it, whatever others have written.
#[test]
fn what_a_disk_shows_stays() {
    let (anna, ben, id) = pair(|anna| anna.write("f", noise(300_000, 1)));
    write(&anna, id, "f", noise(300_000, 2));
    tell(&anna, &ben, id);
    ben.engine().peer_down(anna.engine().peer()).unwrap();
    assert_eq!(gc(&ben, &ALL).0.let_go, 0);
    settle(&anna, &ben, id);
    assert_eq!(gc(&ben, &ALL).0.let_go, 1);
    is_well(&ben, id);
    let volume = ben.engine().volume(id).unwrap();
    let heads = volume.recent(None, 100).unwrap();
    let patches = heads.iter().flat_map(|head| &head.patches).filter_map(|id| volume.patch(*id).unwrap());
    let files = patches.filter(|known| matches!(known.patch.content, Some(Content::File { .. }))).count();
    assert_eq!(files, 2, "the history still tells of both");
}
