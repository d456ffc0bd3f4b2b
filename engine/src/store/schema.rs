//! The layout of the store: every table, key and value. What is written here is on disks of users; a change of
//! any of it is a new `FORMAT_VERSION`.
//!
//! Numbers in keys are big-endian, so that the order of keys is the order of values. Rows of a volume begin with
//! its **slot**, 4 bytes that the store gives a volume when it is created and never again to another.
//! `⟨T⟩` is the canonical encoding of T (`model::codec`).
//!
//! | table | key | value |
//! |---|---|---|
//! | meta (`default`) | 0, `format` | version: 4 bytes |
//! |  | 0, `slots` | slots given so far: 4 bytes |
//! |  | 1, key of the caller | the caller's |
//! | volumes | VolumeId | slot, ⟨VolumeState⟩ |
//! | entries | slot, origin, epoch, seq | ⟨EntryRow⟩: ids of patches instead of patches |
//! | times | slot, time, origin, epoch, seq | – |
//! | patches | slot, PatchId | ⟨earliest time, attestations, Patch⟩ |
//! | nodes | slot, NodeId | ⟨NodeState⟩ |
//! | placed | slot, parent, name, 0, node | – |
//! | reverted | slot, eye: 1 byte | ⟨set of NodeId⟩ |
//! | disk | slot, folder, name | node, signature, patches shown: `rows::disk_row` |
//! | shown | slot, node | folder, name: where in `disk` |
//! | inodes | slot, device, number, birth, node | – |
//! | stale | slot, node | – |
//! | missing | slot, root chunk, depth: 1 byte | length of the file: 8 bytes |
//! | released | slot, root chunk, depth: 1 byte | – |
//! | forks | slot, the fork's bytes | – |
//! | chunks | ChunkId | the chunk as it is stored and sent |
//!
//! `disk`, `shown` and `inodes` mirror each other: one node has at most one row in each, one place one node.

use super::error::StoreError;
use crate::disk::Inode;
use crate::model::facts::Eye;
use crate::model::ids::{ChunkId, Epoch, LogId, NodeId, PatchId, PeerId, VolumeId};
use crate::model::name::Name;
use crate::model::patch::Root;
use crate::model::time::{Mtime, Time};

/// The layout described above. Stores of any other version are refused.
pub const FORMAT_VERSION: u32 = 1;

/// The key in `meta` of the format version.
pub(super) const FORMAT_KEY: &[u8] = b"\0format";
/// The key in `meta` of the number of slots given so far.
pub(super) const SLOTS_KEY: &[u8] = b"\0slots";

/// What a volume's rows begin with.
pub(super) type Slot = u32;

/// One table; in RocksDB one column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Meta,
    Volumes,
    Entries,
    Times,
    Patches,
    Nodes,
    Placed,
    Reverted,
    Disk,
    Shown,
    Inodes,
    Stale,
    Missing,
    Released,
    Forks,
    Chunks,
}

impl Table {
    /// All tables; `ALL[t as usize] == t`.
    pub(super) const ALL: [Self; 16] = [
        Self::Meta,
        Self::Volumes,
        Self::Entries,
        Self::Times,
        Self::Patches,
        Self::Nodes,
        Self::Placed,
        Self::Reverted,
        Self::Disk,
        Self::Shown,
        Self::Inodes,
        Self::Stale,
        Self::Missing,
        Self::Released,
        Self::Forks,
        Self::Chunks,
    ];

    /// Its name in the data base.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "default",
            Self::Volumes => "volumes",
            Self::Entries => "entries",
            Self::Times => "times",
            Self::Patches => "patches",
            Self::Nodes => "nodes",
            Self::Placed => "placed",
            Self::Reverted => "reverted",
            Self::Disk => "disk",
            Self::Shown => "shown",
            Self::Inodes => "inodes",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Released => "released",
            Self::Forks => "forks",
            Self::Chunks => "chunks",
        }
    }

    /// Whether its keys begin with a slot.
    pub(super) const fn is_of_volumes(self) -> bool {
        !matches!(self, Self::Meta | Self::Volumes | Self::Chunks)
    }

    /// How many bytes the keys have in common that are usually looked for together, where a look often finds none.
    pub(super) const fn prefix(self) -> Option<usize> {
        match self {
            Self::Placed | Self::Disk => Some(4 + 32),
            Self::Inodes => Some(4 + 28),
            _ => None,
        }
    }
}

/// A range of keys: from `from` on, up to but without `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Vec<u8>,
    pub(super) to: Option<Vec<u8>>,
}

impl Span {
    /// All keys that begin with `prefix`.
    pub(super) fn prefix(prefix: Vec<u8>) -> Self {
        Self { to: successor(&prefix), from: prefix }
    }

    /// This range from just after `key` on.
    pub(super) fn after(self, key: &[u8]) -> Self {
        Self { from: [key, &[0]].concat(), to: self.to }
    }

    /// This range from `key` on.
    pub(super) fn starting(self, key: Vec<u8>) -> Self {
        Self { from: key, to: self.to }
    }

    /// This range up to but without `key`.
    pub(super) fn before(self, key: Vec<u8>) -> Self {
        Self { from: self.from, to: Some(key) }
    }

    /// Whether all its keys have their first `len` bytes in common.
    pub(super) fn shares(&self, len: usize) -> bool {
        let Some(shared) = self.from.get(..len) else { return false };
        match (&self.to, successor(shared)) {
            (Some(to), Some(end)) => *to <= end,
            (_, None) => true,
            (None, Some(_)) => false,
        }
    }
}

/// The first key after all that begin with `prefix`, if there is one.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

fn key(slot: Slot, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.extend_from_slice(&slot.to_be_bytes());
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// A key of the caller's in `meta`.
pub(super) fn meta(name: &str) -> Vec<u8> {
    [&[1], name.as_bytes()].concat()
}

/// All rows of a volume in a table.
pub(super) fn volume(slot: Slot) -> Span {
    Span::prefix(key(slot, &[]))
}

/// Where a volume's rows begin in every table, and where they end.
pub(super) fn volume_range(slot: Slot) -> (Vec<u8>, Vec<u8>) {
    let end = slot.checked_add(1).expect("the last slot is never given");
    (slot.to_be_bytes().to_vec(), end.to_be_bytes().to_vec())
}

pub(super) fn entry(slot: Slot, log: LogId, seq: u64) -> Vec<u8> {
    key(slot, &[&log.origin.0, &log.epoch.0.to_be_bytes(), &seq.to_be_bytes()])
}

/// All entries of a log.
pub(super) fn log(slot: Slot, log: LogId) -> Span {
    Span::prefix(key(slot, &[&log.origin.0, &log.epoch.0.to_be_bytes()]))
}

pub(super) fn time(slot: Slot, time: Time, log: LogId, seq: u64) -> Vec<u8> {
    key(slot, &[&time.0.to_be_bytes(), &log.origin.0, &log.epoch.0.to_be_bytes(), &seq.to_be_bytes()])
}

pub(super) fn patch(slot: Slot, patch: PatchId) -> Vec<u8> {
    key(slot, &[&patch.0])
}

/// A key of `nodes`, `shown` or `stale`.
pub(super) fn node(slot: Slot, node: NodeId) -> Vec<u8> {
    key(slot, &[&node.0])
}

/// What was ever placed in a directory.
pub(super) fn placed_in(slot: Slot, parent: NodeId) -> Span {
    Span::prefix(key(slot, &[&parent.0]))
}

/// What was ever placed in a directory under a name.
pub(super) fn placed_as(slot: Slot, parent: NodeId, name: &Name) -> Span {
    Span::prefix(key(slot, &[&parent.0, name.as_bytes(), &[0]]))
}

pub(super) fn placed(slot: Slot, parent: NodeId, name: &Name, node: NodeId) -> Vec<u8> {
    key(slot, &[&parent.0, name.as_bytes(), &[0], &node.0])
}

pub(super) fn reverted(slot: Slot, eye: Eye) -> Vec<u8> {
    let eye = match eye {
        Eye::Canonical => 0,
        Eye::Local => 1,
    };
    key(slot, &[&[eye]])
}

/// What the disk shows in a directory.
pub(super) fn disk_in(slot: Slot, folder: NodeId) -> Span {
    Span::prefix(key(slot, &[&folder.0]))
}

pub(super) fn disk(slot: Slot, folder: NodeId, name: &Name) -> Vec<u8> {
    key(slot, &[&folder.0, name.as_bytes()])
}

fn inode_bytes(inode: Inode) -> [u8; 28] {
    let Mtime { secs, nanos } = inode.born;
    let mut bytes = [0; 28];
    bytes[..8].copy_from_slice(&inode.dev.to_be_bytes());
    bytes[8..16].copy_from_slice(&inode.ino.to_be_bytes());
    bytes[16..24].copy_from_slice(&secs.to_be_bytes());
    bytes[24..].copy_from_slice(&nanos.to_be_bytes());
    bytes
}

/// The nodes that the disk shows with an inode; several where it has hard links.
pub(super) fn inodes_of(slot: Slot, inode: Inode) -> Span {
    Span::prefix(key(slot, &[&inode_bytes(inode)]))
}

pub(super) fn inode(slot: Slot, inode: Inode, node: NodeId) -> Vec<u8> {
    key(slot, &[&inode_bytes(inode), &node.0])
}

/// A key of `missing` or `released`.
pub(super) fn root(slot: Slot, root: Root) -> Vec<u8> {
    key(slot, &[&root.id.0, &[root.depth]])
}

pub(super) fn fork(slot: Slot, fork: &[u8]) -> Vec<u8> {
    key(slot, &[fork])
}

/// Reads a key or a value of fixed layout from its front.
pub(super) struct Fields<'a> {
    table: Table,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Of a whole value, or a key without slot.
    pub(super) fn new(table: Table, bytes: &'a [u8]) -> Self {
        Self { table, rest: bytes }
    }

    /// Of a key with slot.
    pub(super) fn of_key(table: Table, key: &'a [u8]) -> Result<Self, StoreError> {
        let mut fields = Self::new(table, key);
        fields.take::<4>()?;
        Ok(fields)
    }

    /// The next `N` bytes.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or_else(|| malformed(self.table))?;
        self.rest = rest;
        Ok(*field)
    }

    pub(super) fn node(&mut self) -> Result<NodeId, StoreError> {
        self.take().map(NodeId)
    }

    pub(super) fn u64(&mut self) -> Result<u64, StoreError> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn log(&mut self) -> Result<LogId, StoreError> {
        Ok(LogId { origin: PeerId(self.take()?), epoch: Epoch(self.u64()?) })
    }

    /// The name that takes up all that is left, less `after` bytes and the zero before them.
    fn name_before(&mut self, after: usize) -> Result<Name, StoreError> {
        let end = self.rest.len().checked_sub(after + 1).filter(|&end| self.rest[end] == 0);
        let (name, rest) = self.rest.split_at(end.ok_or_else(|| malformed(self.table))?);
        self.rest = &rest[1..];
        Name::try_from(name).map_err(|_| malformed(self.table))
    }

    /// The name that takes up all that is left.
    pub(super) fn name(self) -> Result<Name, StoreError> {
        Name::try_from(self.rest).map_err(|_| malformed(self.table))
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), StoreError> {
        if self.is_empty() { Ok(()) } else { Err(malformed(self.table)) }
    }
}

/// A row that cannot be one of this table.
pub(super) fn malformed(table: Table) -> StoreError {
    StoreError::corrupt(format!("a malformed row of {}", table.name()))
}

/// The id that is all of a key of `table`, behind the slot where it has one.
fn only_id(table: Table, key: &[u8]) -> Result<[u8; 32], StoreError> {
    let mut fields = if table.is_of_volumes() { Fields::of_key(table, key)? } else { Fields::new(table, key) };
    let id = fields.take()?;
    fields.end().map(|()| id)
}

pub(super) fn read_volume(key: &[u8]) -> Result<VolumeId, StoreError> {
    only_id(Table::Volumes, key).map(VolumeId)
}

pub(super) fn read_chunk(key: &[u8]) -> Result<ChunkId, StoreError> {
    only_id(Table::Chunks, key).map(ChunkId)
}

pub(super) fn read_patch(key: &[u8]) -> Result<PatchId, StoreError> {
    only_id(Table::Patches, key).map(PatchId)
}

/// Of a key of `nodes` or `stale`.
pub(super) fn read_node(table: Table, key: &[u8]) -> Result<NodeId, StoreError> {
    only_id(table, key).map(NodeId)
}

pub(super) fn read_entry(key: &[u8]) -> Result<(LogId, u64), StoreError> {
    let mut fields = Fields::of_key(Table::Entries, key)?;
    let entry = (fields.log()?, fields.u64()?);
    fields.end().map(|()| entry)
}

pub(super) fn read_time(key: &[u8]) -> Result<(Time, LogId, u64), StoreError> {
    let mut fields = Fields::of_key(Table::Times, key)?;
    let time = (Time(fields.u64()?), fields.log()?, fields.u64()?);
    fields.end().map(|()| time)
}

pub(super) fn read_placed(key: &[u8]) -> Result<(Name, NodeId), StoreError> {
    let mut fields = Fields::of_key(Table::Placed, key)?;
    fields.node()?;
    let placed = (fields.name_before(32)?, fields.node()?);
    fields.end().map(|()| placed)
}

pub(super) fn read_disk(key: &[u8]) -> Result<(NodeId, Name), StoreError> {
    let mut fields = Fields::of_key(Table::Disk, key)?;
    Ok((fields.node()?, fields.name()?))
}

pub(super) fn read_inode(key: &[u8]) -> Result<NodeId, StoreError> {
    let mut fields = Fields::of_key(Table::Inodes, key)?;
    fields.take::<28>()?;
    let node = fields.node()?;
    fields.end().map(|()| node)
}

pub(super) fn read_missing(key: &[u8], value: &[u8]) -> Result<(Root, u64), StoreError> {
    let mut fields = Fields::of_key(Table::Missing, key)?;
    let root = Root { id: ChunkId(fields.take()?), depth: fields.take::<1>()?[0] };
    fields.end()?;
    let mut fields = Fields::new(Table::Missing, value);
    let len = fields.u64()?;
    fields.end().map(|()| (root, len))
}

pub(super) fn read_fork(key: &[u8]) -> Result<Vec<u8>, StoreError> {
    Fields::of_key(Table::Forks, key).map(|fields| fields.rest().to_vec())
}
