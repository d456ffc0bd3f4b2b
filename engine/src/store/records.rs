//! What the disk shows: three tables that mirror each other, by place, by node and by inode. One node stands in
//! one place and one place shows one node, whatever a batch says; where it puts two in one place, the later id stands.

use std::collections::BTreeMap;

use super::backend::{Backend, Changes};
use super::rows::{Record, disk_row, read_disk_row, read_shown_row, shown_row};
use super::schema::{self, Slot, Table};
use super::{StoreError, rows};
use crate::model::ids::NodeId;
use crate::model::name::Name;

/// The rows that make these records true: of what they replace and what they push out of its place, nothing stays.
pub(super) fn put(
    backend: &dyn Backend,
    slot: Slot,
    records: &BTreeMap<NodeId, Option<Record>>,
    changes: &mut Changes,
) -> Result<(), StoreError> {
    let replaced = of_nodes(backend, slot, &records.keys().copied().collect::<Vec<_>>())?;
    let places: BTreeMap<_, _> = records.values().flatten().map(|record| (place(record), record)).collect();
    let stands = |node| records.get(&node)?.as_ref().filter(|record| places[&place(record)].node == node);

    let pushed_out = at_places(backend, slot, &places)?;
    let pushed_out = pushed_out.iter().filter(|old| !records.contains_key(&old.node));
    // All deletions come first: what leaves a place must not take along what comes there.
    for old in replaced.values().chain(pushed_out) {
        remove(slot, old, stands(old.node), changes);
    }
    for record in places.values() {
        let old = replaced.get(&record.node);
        let (folder, name) = (record.shown.folder, &record.shown.name);
        changes.put(Table::Disk, schema::disk(slot, folder, name), disk_row(record));
        if old.is_none_or(|old| place(old) != place(record)) {
            changes.put(Table::Shown, schema::node(slot, record.node), shown_row(folder, name));
        }
        if old.is_none_or(|old| old.stat.inode != record.stat.inode) {
            changes.put(Table::Inodes, schema::inode(slot, record.stat.inode, record.node), Vec::new());
        }
    }
    Ok(())
}

/// Deletes of an old record's rows what the new one does not write over.
fn remove(slot: Slot, old: &Record, new: Option<&Record>, changes: &mut Changes) {
    if new.is_none_or(|new| place(new) != place(old)) {
        changes.delete(Table::Disk, schema::disk(slot, old.shown.folder, &old.shown.name));
    }
    if new.is_none_or(|new| new.stat.inode != old.stat.inode) {
        changes.delete(Table::Inodes, schema::inode(slot, old.stat.inode, old.node));
    }
    if new.is_none() {
        changes.delete(Table::Shown, schema::node(slot, old.node));
    }
}

/// The records of those nodes that have one.
fn of_nodes(backend: &dyn Backend, slot: Slot, nodes: &[NodeId]) -> Result<BTreeMap<NodeId, Record>, StoreError> {
    let keys: Vec<_> = nodes.iter().map(|&node| schema::node(slot, node)).collect();
    let places = backend.multi_get(Table::Shown, &keys)?;
    let places = places.iter().flatten().map(|row| read_shown_row(row)).collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<_> = places.iter().map(|(folder, name)| schema::disk(slot, *folder, name)).collect();
    let rows = backend.multi_get(Table::Disk, &keys)?;
    let mut records = BTreeMap::new();
    for ((folder, name), row) in places.into_iter().zip(rows) {
        let row = row.ok_or_else(|| schema::malformed(Table::Shown))?;
        let record = read_disk_row(folder, name, &row)?;
        records.insert(record.node, record);
    }
    Ok(records)
}

/// The records that stand where these are to stand, but are of other nodes.
fn at_places(
    backend: &dyn Backend,
    slot: Slot,
    places: &BTreeMap<Place<'_>, &Record>,
) -> Result<Vec<Record>, StoreError> {
    let keys: Vec<_> = places.keys().map(|(folder, name)| schema::disk(slot, *folder, name)).collect();
    let rows = backend.multi_get(Table::Disk, &keys)?;
    let mut records = Vec::new();
    for ((&(folder, name), new), row) in places.iter().zip(rows) {
        if let Some(row) = row
            && rows::disk_row_node(&row)? != new.node
        {
            records.push(read_disk_row(folder, name.clone(), &row)?);
        }
    }
    Ok(records)
}

/// A directory and a name there.
type Place<'a> = (NodeId, &'a Name);

fn place(record: &Record) -> Place<'_> {
    (record.shown.folder, &record.shown.name)
}
