//! The layout of keys and values: order, round trips, and bytes that nobody may change without a new version.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use pfs_fixtures::damage::damaged;
use proptest::prelude::*;

use super::super::error::StoreError;
use super::super::{rows, schema};
use super::{node, record};
use crate::model::codec::encode;
use crate::model::facts::NodeState;
use crate::model::ids::{EntryHash, Epoch, LogId, NodeId, PatchId, PeerId};
use crate::model::name::Name;
use crate::model::time::Time;

fn names() -> impl Strategy<Value = Name> {
    prop::collection::vec(0x20..0x7f_u8, 1..20).prop_filter_map("a name", |bytes| Name::try_from(bytes).ok())
}

fn logs() -> impl Strategy<Value = LogId> {
    (prop::sample::select(vec![0_u8, 1, 255]), any::<u64>())
        .prop_map(|(byte, epoch)| LogId { origin: PeerId([byte; 32]), epoch: Epoch(epoch) })
}

proptest! {
    #[test]
    fn the_order_of_keys_is_the_order_of_values(
        a in (any::<u64>(), logs(), any::<u64>()),
        b in (any::<u64>(), logs(), any::<u64>()),
        names in (names(), names()),
    ) {
        let time = |(time, log, seq)| schema::time(1, Time(time), log, seq);
        prop_assert_eq!(time(a).cmp(&time(b)), a.cmp(&b));
        let entry = |(_, log, seq): (u64, LogId, u64)| schema::entry(1, log, seq);
        prop_assert_eq!(entry(a).cmp(&entry(b)), (a.1, a.2).cmp(&(b.1, b.2)));
        let (x, y) = &names;
        let disk = |name| schema::disk(1, node(1), name);
        prop_assert_eq!(disk(x).cmp(&disk(y)), x.cmp(y));
        let placed = |name, n| schema::placed(1, node(1), name, node(n));
        prop_assert_eq!(placed(x, 1).cmp(&placed(y, 2)), (x, node(1)).cmp(&(y, node(2))));
    }

    #[test]
    fn keys_read_back(slot: u32, time: u64, log in logs(), seq: u64, name in names(), n: u64) {
        prop_assert_eq!(schema::read_entry(&schema::entry(slot, log, seq)).unwrap(), (log, seq));
        let key = schema::time(slot, Time(time), log, seq);
        prop_assert_eq!(schema::read_time(&key).unwrap(), (Time(time), log, seq));
        let key = schema::placed(slot, node(0), &name, node(n));
        prop_assert_eq!(schema::read_placed(&key).unwrap(), (name.clone(), node(n)));
        let key = schema::disk(slot, node(n), &name);
        prop_assert_eq!(schema::read_disk(&key).unwrap(), (node(n), name));
        let inode = record(1, 2, "x", n).stat.inode;
        prop_assert_eq!(schema::read_inode(&schema::inode(slot, inode, node(n))).unwrap(), node(n));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let damage = [
            schema::read_entry(&bytes).err(),
            schema::read_time(&bytes).err(),
            schema::read_placed(&bytes).err(),
            schema::read_disk(&bytes).err(),
            schema::read_inode(&bytes).err(),
            schema::read_node(schema::Table::Stale, &bytes).err(),
            schema::read_chunk(&bytes).err(),
            schema::read_missing(&bytes, &bytes).err(),
            rows::PatchRow::read(&bytes).err(),
            rows::read_volume_row(&bytes).err(),
            rows::read_shown_row(&bytes).err(),
            rows::read_disk_row(node(1), super::name("x"), &bytes).err(),
        ];
        for error in damage.into_iter().flatten() {
            prop_assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
    }

    #[test]
    fn records_read_back(n in 0..u64::MAX, ino: u64, alike: bool, cut in 1..60_usize) {
        let mut record = record(n, 2, "x", ino);
        if alike {
            record.shown.patches = [PatchId([9; 32]); 3];
        }
        let row = rows::disk_row(&record);
        prop_assert_eq!(row.len(), if alike { 139 } else { 203 });
        prop_assert_eq!(&rows::read_disk_row(record.shown.folder, record.shown.name.clone(), &row).unwrap(), &record);
        prop_assert_eq!(rows::disk_row_node(&row).unwrap(), record.node);
        let short = &row[..row.len() - cut];
        prop_assert!(rows::read_disk_row(record.shown.folder, record.shown.name, short).is_err());
    }
}

/// A row of every table whose values are not only bytes, and what reads it.
type Reader = fn(&[u8]) -> Result<(), StoreError>;

fn rows_and_readers() -> Vec<(Vec<u8>, Reader)> {
    let log = LogId { origin: PeerId([1; 32]), epoch: Epoch(2) };
    let mut patch = rows::PatchRow::new(std::sync::Arc::new(super::patch(1)), Time(3));
    patch.attest((log, 4, Time(5)));
    let entry = rows::EntryRow {
        arrival: 1,
        hash: EntryHash([2; 32]),
        prev: EntryHash([3; 32]),
        deps: vec![(log, 9)],
        time: Time(4),
        signature: ([5; 32], [6; 32]),
        body: rows::BodyRow::Patches(vec![PatchId([7; 32])]),
    };
    let state = NodeState { is_dir: true, heads: [vec![PatchId([1; 32])], Vec::new(), vec![PatchId([2; 32])]] };
    let shown = |row: &[u8]| rows::read_shown_row(row).map(drop);
    vec![
        (patch.to_bytes(), |row| rows::PatchRow::read(row).map(drop)),
        (encode(&entry), |row| rows::read::<rows::EntryRow>(schema::Table::Entries, row).map(|entry| _ = entry.kind())),
        (encode(&state), |row| rows::read::<NodeState>(schema::Table::Nodes, row).map(drop)),
        (encode(&BTreeSet::from([node(1), node(2)])), |row| {
            rows::read::<BTreeSet<NodeId>>(schema::Table::Reverted, row).map(drop)
        }),
        (rows::volume_row(5, &super::state()), |row| rows::read_volume_row(row).map(drop)),
        (rows::disk_row(&record(1, 2, "x", 4)), |row| {
            rows::read_disk_row(node(2), super::name("x"), row).map(|read| assert_eq!(read.shown.folder, node(2)))
        }),
        (rows::shown_row(node(1), &super::name("x")), shown),
        (schema::placed(1, node(1), &super::name("x"), node(2)), |key| schema::read_placed(key).map(drop)),
        (schema::disk(1, node(1), &super::name("x")), |key| schema::read_disk(key).map(drop)),
        (schema::fork(1, b"fork"), |key| schema::read_fork(key).map(drop)),
        (schema::entry(1, log, 2), |key| schema::read_entry(key).map(drop)),
        (schema::time(1, Time(1), log, 2), |key| schema::read_time(key).map(drop)),
    ]
}

proptest! {
    /// A disk that changed some bytes of a row is told of as such, or the row is another one that could have been.
    #[test]
    fn damaged_rows_are_read_or_called_corrupt(
        bytes in damaged(rows_and_readers().into_iter().map(|(row, _)| row).collect()),
    ) {
        for (_, read) in rows_and_readers() {
            if let Err(error) = read(&bytes) {
                prop_assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            }
        }
    }
}

#[test]
fn undamaged_rows_are_read() {
    for (row, read) in rows_and_readers() {
        read(&row).unwrap();
    }
}

#[test]
fn format_1_has_these_bytes() {
    let row = rows::disk_row(&record(1, 2, "a", 4));
    let places = schema::placed(0x0102_0304, node(1), &super::name("ab"), node(2));
    let digest = |bytes: &[u8]| HEXLOWER.encode(&blake3::hash(bytes).as_bytes()[..8]);
    let state = rows::volume_row(5, &super::state());
    assert_eq!(
        [digest(&row), digest(&places), digest(&state)],
        ["544c28fd0ac3f5e2", "75cf513091782eda", "37f23573ee163074"]
    );
    assert_eq!(schema::FORMAT_VERSION, 1, "a new version needs its own bytes here");
}
