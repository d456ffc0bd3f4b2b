//! Logs, patches and everything that is kept beside them.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::super::{Batch, BodyKind, Medium, Store, StoreError, Volume};
use super::{Author, VOLUME, batch_of, both, frontier, id, known, name, node, patch, state};
use crate::limits::ENTRY_BYTES_MAX;
use crate::model::entry::{Body, SignedEntry};
use crate::model::facts::{Eye, Facts, NodeState};
use crate::model::frontier::Frontier;
use crate::model::ids::{ChunkId, LogId, PatchId, PeerId};
use crate::model::patch::{Patch, Root};
use crate::model::time::Time;

/// Commits entries of three authors in this order, each with a patch of its own and one that all share.
fn write(store: &Store, volume: &Volume, order: &[usize]) -> Vec<SignedEntry> {
    let authors = [1, 2, 3].map(Author::new);
    let mut all = Vec::new();
    for (n, &who) in order.iter().enumerate() {
        let entry = authors[who].next(volume, 100 + n as u64, vec![patch(n as u64), patch(9999)]);
        store.commit(batch_of([entry.clone()])).unwrap();
        all.push(entry);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_another_lacks_comes_in_order_of_arrival(
        order in prop::collection::vec(0..3_usize, 0..40),
        theirs in prop::collection::vec(0..12_u64, 3),
        bytes_max in prop::sample::select(vec![0, 600, 3000, ENTRY_BYTES_MAX]),
    ) {
        let (stores, _dir) = both();
        for store in stores {
            let volume = store.create_volume(VOLUME, &state()).unwrap();
            let all = write(&store, &volume, &order);
            let logs = [1, 2, 3].map(|seed| Author::new(seed).log);
            let mut theirs = frontier(logs.into_iter().zip(theirs.iter().copied()));
            theirs.advance(LogId { origin: PeerId([0; 32]), ..logs[0] }, 5);
            let lacking: Vec<_> = all.iter().filter(|e| e.entry.seq > theirs.seq(e.entry.log)).collect();
            let sent = volume.entries_after(&theirs, bytes_max).unwrap();
            prop_assert_eq!(sent.iter().collect::<Vec<_>>(), &lacking[..sent.len()]);
            prop_assert_eq!(sent.is_empty(), lacking.is_empty());
            match bytes_max {
                0 => prop_assert!(sent.len() <= 1),
                ENTRY_BYTES_MAX => prop_assert_eq!(sent.len(), lacking.len()),
                _ => prop_assert!(sent.len() <= 1 || crate::model::codec::encode(&sent).len() <= bytes_max),
            }
        }
    }

    #[test]
    fn the_newest_come_page_by_page(order in prop::collection::vec(0..3_usize, 0..30), page in 1..7_usize) {
        let (stores, _dir) = both();
        for store in stores {
            let volume = store.create_volume(VOLUME, &state()).unwrap();
            let all = write(&store, &volume, &order);
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let heads = volume.recent(before, page).unwrap();
                prop_assert!(heads.len() <= page);
                let Some(last) = heads.last() else { break };
                before = Some((last.time, last.log, last.seq));
                seen.extend(heads);
            }
            prop_assert_eq!(seen.len(), all.len());
            for (n, (head, signed)) in seen.iter().rev().zip(&all).enumerate() {
                let patches: Vec<_> = signed.entry.patches().iter().map(Patch::id).collect();
                prop_assert_eq!((head.log, head.seq, head.time), (signed.entry.log, signed.entry.seq, signed.entry.time));
                prop_assert_eq!((&head.patches, head.kind), (&patches, BodyKind::Patches));
                prop_assert_eq!(head.arrival, n as u64 + 1);
            }
        }
    }
}

#[test]
fn long_logs_are_read_ahead_in_parts() {
    let store = Store::on(&Medium::new()).unwrap();
    let volume = store.create_volume(VOLUME, &state()).unwrap();
    let author = Author::new(1);
    for n in 0..5_u64 {
        let patches = (0..3000).map(|m| patch(n * 3000 + m)).collect();
        store.commit(batch_of([author.next(&volume, n, patches)])).unwrap();
    }
    let seqs = |entries: Vec<SignedEntry>| entries.iter().map(|e| e.entry.seq).collect::<Vec<_>>();
    assert_eq!(seqs(volume.entries_after(&Frontier::default(), usize::MAX).unwrap()), [1, 2, 3, 4, 5]);
    assert_eq!(seqs(volume.entries_after(&frontier([(author.log, 3)]), usize::MAX).unwrap()), [4, 5]);
}

#[test]
fn entries_come_back_as_they_were() {
    let (stores, _dir) = both();
    for store in stores {
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        let author = Author::new(1);
        let remove = author.follow(&volume, 1, Body::Remove(PeerId([3; 32])));
        store.commit(batch_of([remove.clone()])).unwrap();
        let edit = author.next(&volume, 2, vec![patch(1)]);
        store.commit(batch_of([edit.clone()])).unwrap();

        assert_eq!(volume.entry(author.log, 1).unwrap().as_ref(), Some(&remove));
        assert_eq!(volume.entry(author.log, 2).unwrap().as_ref(), Some(&edit));
        assert_eq!(volume.entry(author.log, 3).unwrap(), None);
        assert_eq!(volume.head(author.log).unwrap(), Some((2, edit.entry.hash())));
        assert_eq!(volume.head(Author::new(2).log).unwrap(), None);
        edit.check().unwrap();
        let kinds: Vec<_> = volume.recent(None, 9).unwrap().into_iter().map(|head| head.kind).collect();
        assert_eq!(kinds, [BodyKind::Patches, BodyKind::Remove]);
    }
}

#[test]
fn entries_out_of_turn_change_nothing() {
    let (stores, _dir) = both();
    for store in stores {
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        let author = Author::new(1);
        let entry = author.next(&volume, 1, vec![patch(1)]);
        store.commit(batch_of([entry.clone()])).unwrap();
        let twice = store.commit(batch_of([entry.clone()]));
        assert!(matches!(twice, Err(StoreError::Gap { held: 1, found: 1, .. })), "{twice:?}");

        let mut gap = author.next(&volume, 2, vec![patch(2)]);
        gap.entry.seq = 3;
        let gap = store.commit(batch_of([gap]));
        assert!(matches!(gap, Err(StoreError::Gap { held: 1, found: 3, .. })), "{gap:?}");

        let retimed = [(PatchId(id(1)), Time(1))].into();
        let dangling = store.commit(Batch { retimed, ..Batch::new(VOLUME) });
        assert!(matches!(dangling, Err(StoreError::Dangling(_))), "{dangling:?}");
        assert_eq!(volume.frontier(), frontier([(author.log, 1)]));
        assert_eq!(volume.patch(patch(2).id()).unwrap(), None);
    }
}

#[test]
fn a_patch_keeps_every_attestation_and_its_earliest_time() {
    let (stores, _dir) = both();
    for store in stores {
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        let (one, two) = (Author::new(1), Author::new(2));
        let patch_id = patch(1).id();
        store.commit(batch_of([one.next(&volume, 50, vec![patch(1)])])).unwrap();
        store.commit(batch_of([two.next(&volume, 20, vec![patch(1)])])).unwrap();
        let attested = vec![(one.log, 1, Time(50)), (two.log, 1, Time(20))];
        assert_eq!(volume.attestations(patch_id).unwrap(), attested);
        assert_eq!(volume.patch(patch_id).unwrap().unwrap().time, Time(20));

        store.commit(Batch { retimed: [(patch_id, Time(10))].into(), ..Batch::new(VOLUME) }).unwrap();
        store.commit(Batch { patches: [known(1, 30), known(2, 5)].into(), ..Batch::new(VOLUME) }).unwrap();
        assert_eq!(volume.patch(patch_id).unwrap().unwrap().time, Time(10), "a later time changes nothing");
        assert_eq!(volume.attestations(patch_id).unwrap(), attested);
        assert_eq!(volume.patch(patch(2).id()).unwrap(), Some(known(2, 5).1));
        assert_eq!(volume.attestations(patch(2).id()).unwrap(), []);
    }
}

#[test]
fn everything_beside_the_log_comes_back() {
    let (stores, _dir) = both();
    for store in stores {
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        let root = |n: u64, depth| Root { id: ChunkId(id(n)), depth };
        let heads =
            NodeState { is_dir: true, heads: [vec![PatchId(id(1)), PatchId(id(2))], vec![], vec![PatchId(id(1))]] };
        let mut batch = Batch::new(VOLUME);
        batch.nodes = [(node(1), heads.clone())].into();
        batch.placed = [("a", 1), ("a", 2), ("ab", 3)].map(|(at, n)| (node(0), name(at), node(n))).into();
        batch.reverted = [(Eye::Local, [node(4)].into())].into();
        batch.stale = (0..5).map(|n| (node(n), true)).collect();
        batch.missing = [(root(1, 0), Some(10)), (root(1, 1), Some(20)), (root(2, 0), Some(30))].into();
        batch.forks_add = [b"b".to_vec(), b"a".to_vec(), vec![]].into();
        store.commit(batch).unwrap();

        assert_eq!(volume.node(node(1)).unwrap(), Some(heads));
        assert_eq!(volume.node(node(2)).unwrap(), None);
        let (a, b) = (node(1).min(node(2)), node(1).max(node(2)));
        assert_eq!(volume.placed_as(node(0), &name("a")).unwrap(), [a, b]);
        assert_eq!(volume.placed_as(node(0), &name("abc")).unwrap(), []);
        let placed = [(name("a"), a), (name("a"), b), (name("ab"), node(3))];
        assert_eq!(volume.placed_in(node(0)).unwrap(), placed);
        assert_eq!(volume.reverted(Eye::Local).unwrap(), BTreeSet::from([node(4)]));
        assert_eq!(volume.reverted(Eye::Canonical).unwrap(), BTreeSet::new());
        let mut stale: Vec<_> = (0..5).map(node).collect();
        stale.sort_unstable();
        assert_eq!(volume.stale(None, 3).unwrap(), stale[..3]);
        assert_eq!(volume.stale(Some(stale[2]), 9).unwrap(), stale[3..]);
        assert_eq!(volume.stale(None, 0).unwrap(), []);
        let mut missing = [(root(1, 0), 10), (root(1, 1), 20), (root(2, 0), 30)];
        missing.sort_unstable();
        assert_eq!(volume.missing(None, 9).unwrap(), missing);
        assert_eq!(volume.missing(Some(missing[0].0), 1).unwrap(), missing[1..2]);
        assert_eq!(volume.forks().unwrap(), [vec![], b"a".to_vec(), b"b".to_vec()]);

        let mut batch = Batch::new(VOLUME);
        batch.reverted = [(Eye::Local, BTreeSet::new())].into();
        batch.stale = [(node(0), false)].into();
        batch.missing = [(root(1, 1), None)].into();
        batch.forks_remove = [b"a".to_vec()].into();
        store.commit(batch).unwrap();
        assert_eq!(volume.reverted(Eye::Local).unwrap(), BTreeSet::new());
        assert!(!volume.stale(None, 9).unwrap().contains(&node(0)));
        assert!(!volume.is_missing(root(1, 1)).unwrap() && volume.is_missing(root(1, 0)).unwrap());
        assert_eq!(volume.forks().unwrap(), [vec![], b"b".to_vec()]);
    }
}

#[test]
fn a_volume_that_is_removed_leaves_nothing_and_its_neighbour_everything() {
    let (stores, _dir) = both();
    for store in stores {
        let other = crate::model::ids::VolumeId([8; 32]);
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        let neighbour = store.create_volume(other, &state()).unwrap();
        assert!(matches!(store.create_volume(VOLUME, &state()), Err(StoreError::Exists { .. })));
        for (id, volume) in [(VOLUME, &volume), (other, &neighbour)] {
            let entry = Author::new(1).next(volume, 1, vec![patch(1)]);
            let batch = Batch { stale: [(node(1), true)].into(), entries: vec![entry], ..Batch::new(id) };
            store.commit(batch).unwrap();
        }
        store.remove_volume(VOLUME).unwrap();
        assert!(matches!(store.remove_volume(VOLUME), Err(StoreError::Absent { .. })));
        assert!(matches!(store.commit(Batch::new(VOLUME)), Err(StoreError::Absent { .. })));
        assert_eq!(store.volumes(), [other]);
        assert!(store.volume(VOLUME).is_none());
        assert_eq!((volume.frontier(), volume.stale(None, 9).unwrap()), (Frontier::default(), vec![]));
        assert_eq!(neighbour.frontier().total(), 1);
        assert_eq!(neighbour.stale(None, 9).unwrap(), [node(1)]);

        let again = store.create_volume(VOLUME, &state()).unwrap();
        assert_eq!((again.frontier(), again.patch(patch(1).id()).unwrap()), (Frontier::default(), None));
        assert_eq!(again.state().next_arrival, 1);
    }
}

#[test]
fn commits_at_once_keep_logs_and_arrivals_whole() {
    const EACH: u64 = 20;
    let (stores, _dir) = both();
    for store in stores {
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for seed in 1..=4 {
                let (store, volume, start) = (&store, &volume, &start);
                scope.spawn(move || {
                    let author = Author::new(seed);
                    start.wait();
                    for n in 0..EACH {
                        // Patch 0 is everyone's: no attestation may get lost between two commits.
                        let entry = author.next(volume, n, vec![patch(0), patch(u64::from(seed) << 32 | n)]);
                        store.put_chunks(vec![super::chunk(u64::from(seed) << 32 | n, 100)]).unwrap();
                        store.commit(batch_of([entry])).unwrap();
                    }
                });
            }
        });
        let heads = volume.recent(None, usize::MAX).unwrap();
        let arrivals: BTreeSet<_> = heads.iter().map(|head| head.arrival).collect();
        assert_eq!(arrivals, (1..=4 * EACH).collect());
        assert_eq!(volume.frontier(), frontier((1..=4).map(|seed| (Author::new(seed).log, EACH))));
        assert_eq!(volume.attestations(patch(0).id()).unwrap().len() as u64, 4 * EACH);
        assert_eq!(volume.state().next_arrival, 4 * EACH + 1);
        assert_eq!(store.chunk_ids(None, usize::MAX).unwrap().len() as u64, 4 * EACH);
    }
}

/// The end of a log is taken away and another comes in its place; what it attested stays known.
#[test]
fn a_log_that_is_cut_goes_on_from_there() {
    let (stores, _dir) = both();
    for store in stores {
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        let all = write(&store, &volume, &[0, 0, 1, 0]);
        let log = all[0].entry.log;
        let (ids, kept): (Vec<PatchId>, _) =
            (all[3].entry.patches().iter().map(Patch::id).collect(), all[..3].to_vec());
        store.commit(Batch { cuts: [(log, 2)].into(), ..Batch::new(VOLUME) }).unwrap();
        let held = volume.entries_after(&Frontier::default(), usize::MAX).unwrap();
        assert_eq!(held, kept);
        assert_eq!(volume.recent(None, 9).unwrap().len(), 3);
        assert_eq!(volume.attestations(ids[0]).unwrap(), []);
        assert_eq!(volume.attestations(ids[1]).unwrap().len(), 3, "the one that all share");
        assert!(Facts::patch(&volume, ids[0]).unwrap().is_some());
        // What comes in its place may come in the same batch.
        let other = Author::new(1).next(&volume, 300, vec![patch(77)]);
        store.commit(Batch { entries: vec![other.clone()], ..Batch::new(VOLUME) }).unwrap();
        let (_, head) = volume.head(log).unwrap().unwrap();
        assert_eq!(head, other.entry.hash());
        store.commit(Batch { cuts: [(log, 0)].into(), ..Batch::new(VOLUME) }).unwrap();
        assert_eq!(volume.frontier().0.len(), 1);
        assert_eq!(volume.entries_after(&Frontier::default(), usize::MAX).unwrap(), kept[2..]);
    }
}
