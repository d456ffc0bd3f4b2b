//! What the disk shows: the three tables against a plain map, under any batches.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Batch, Record};
use super::{VOLUME, both, name, node, record, state};
use crate::model::facts::Facts;
use crate::model::ids::NodeId;

/// Few nodes, folders, names and inodes, so that they get in each other's way.
fn batches() -> impl Strategy<Value = BTreeMap<NodeId, Option<Record>>> {
    let place = (0..2_u64, prop::sample::select(vec!["a", "ab", "b"]), 0..3_u64);
    let one = (0..5_u64, prop::option::weighted(0.8, place));
    prop::collection::vec(one, 1..6).prop_map(|list| {
        let record = |(n, place): (u64, Option<(u64, &str, u64)>)| {
            (node(n), place.map(|(folder, name, ino)| record(n, folder, name, ino)))
        };
        list.into_iter().map(record).collect()
    })
}

/// What the tables should show: a record pushes out whatever stands in its place.
fn apply(shown: &mut BTreeMap<NodeId, Record>, batch: &BTreeMap<NodeId, Option<Record>>) {
    shown.retain(|node, _| !batch.contains_key(node));
    for record in batch.values().flatten() {
        let place = (record.shown.folder, record.shown.name.clone());
        shown.retain(|_, old| (old.shown.folder, old.shown.name.clone()) != place);
        shown.insert(record.node, record.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_tables_mirror_each_other(batches in prop::collection::vec(batches(), 1..8)) {
        let (stores, _dir) = both();
        for store in stores {
            let volume = store.create_volume(VOLUME, &state()).unwrap();
            let mut shown = BTreeMap::new();
            for records in &batches {
                store.commit_relaxed(Batch { records: records.clone(), ..Batch::new(VOLUME) }).unwrap();
                apply(&mut shown, records);
            }
            for n in 0..5 {
                prop_assert_eq!(volume.record(node(n)).unwrap(), shown.get(&node(n)).cloned());
                prop_assert_eq!(volume.shown(node(n)).unwrap(), shown.get(&node(n)).map(|r| r.shown.clone()));
            }
            for folder in 0..2 {
                let mut inside: Vec<_> = shown.values().filter(|r| r.shown.folder == node(folder)).cloned().collect();
                inside.sort_by(|a, b| a.shown.name.cmp(&b.shown.name));
                let names: Vec<_> = inside.iter().map(|r| (r.shown.name.clone(), r.node)).collect();
                prop_assert_eq!(volume.shown_in(node(folder)).unwrap(), names);
                prop_assert_eq!(volume.records_in(node(folder)).unwrap(), inside);
            }
            for ino in 0..3 {
                let inode = record(0, 0, "a", ino).stat.inode;
                let first = shown.values().find(|r| r.stat.inode == inode).map(|r| r.node);
                prop_assert_eq!(volume.node_by_inode(inode).unwrap(), first);
            }
        }
    }
}

#[test]
fn two_nodes_change_places() {
    let (stores, _dir) = both();
    for store in stores {
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        for (first, second) in [("a", "b"), ("b", "a")] {
            let mut batch = Batch::new(VOLUME);
            batch.records = [(1, first), (2, second)].map(|(n, at)| (node(n), Some(record(n, 0, at, n)))).into();
            store.commit(batch).unwrap();
            assert_eq!(volume.shown_at(node(0), &name(first)).unwrap(), Some(node(1)));
            assert_eq!(volume.record_at(node(0), &name(second)).unwrap(), Some(record(2, 0, second, 2)));
        }
    }
}

#[test]
fn hard_links_are_found_until_the_last_is_gone() {
    let (stores, _dir) = both();
    for store in stores {
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        let mut batch = Batch::new(VOLUME);
        batch.records = [(1, "a"), (2, "b")].map(|(n, at)| (node(n), Some(record(n, 0, at, 42)))).into();
        store.commit(batch).unwrap();
        let inode = record(1, 0, "a", 42).stat.inode;
        for n in [1, 2] {
            assert!(volume.node_by_inode(inode).unwrap().is_some());
            store.commit(Batch { records: [(node(n), None)].into(), ..Batch::new(VOLUME) }).unwrap();
        }
        assert_eq!(volume.node_by_inode(inode).unwrap(), None);
    }
}
