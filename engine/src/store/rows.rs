//! The values of rows: what the store keeps of a volume, a node on disk, an entry and a patch, and their bytes.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::schema::{Fields, Slot, Table, malformed};
use crate::disk::{Inode, Kind, Stat};
use crate::model::codec::encode;
use crate::model::entry::{Body, Holding, Role};
use crate::model::facts::{Known, Shown};
use crate::model::ids::{EntryHash, LogId, NodeId, PatchId};
use crate::model::name::Name;
use crate::model::patch::Patch;
use crate::model::time::{Mtime, Time};

/// What a peer knows of one of its volumes as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeState {
    /// What people call it here.
    pub name: String,
    /// The tracked directory as the kernel takes it; none where there is no tree.
    pub path: Option<Vec<u8>>,
    /// What this peer may do.
    pub role: Role,
    /// What this peer holds.
    pub holding: Holding,
    /// The log that this peer appends to; none before its first entry.
    pub log: Option<LogId>,
    /// The latest time seen in any entry.
    pub time: Time,
    /// The number that the next entry stored will have. Kept by the store: what a commit says of it is ignored.
    pub next_arrival: u64,
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Patches known.
    pub patches: u64,
    /// Why the volume does nothing until a user looks.
    pub halted: Option<String>,
    /// The membership, in the engine's own encoding.
    pub roster: Vec<u8>,
}

impl VolumeState {
    /// A volume that nothing is known of yet.
    pub fn new(name: impl Into<String>, role: Role, holding: Holding) -> Self {
        Self {
            name: name.into(),
            path: None,
            role,
            holding,
            log: None,
            time: Time::default(),
            next_arrival: 1,
            files: 0,
            bytes: 0,
            patches: 0,
            halted: None,
            roster: Vec::new(),
        }
    }
}

/// What this disk shows of a node, and how it looked when that was last certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which node.
    pub node: NodeId,
    /// Which patches, and where.
    pub shown: Shown,
    /// Its signature.
    pub stat: Stat,
    /// Wall-clock time when its bytes were read. A file changed at or after it may have changed unseen.
    pub read_at: Mtime,
}

/// What kind of thing an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyKind {
    /// The volume begins.
    Genesis,
    /// Changes of nodes.
    Patches,
    /// An invite is open.
    Invite,
    /// A peer is a member.
    Member,
    /// A peer is no member any more.
    Remove,
    /// One form of another log is given up.
    Withdraw,
}

/// An entry without its patches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryHead {
    /// In whose log.
    pub log: LogId,
    /// Its number there.
    pub seq: u64,
    /// Its author's time.
    pub time: Time,
    /// Its number among the entries of this volume in the order they were stored here, from 1.
    pub arrival: u64,
    /// Its patches, as its author listed them.
    pub patches: Vec<PatchId>,
    /// What it says.
    pub kind: BodyKind,
}

/// What an entry says, patches by id.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum BodyRow {
    Patches(Vec<PatchId>),
    Other(Body),
}

/// An entry as it is stored; log and number are its key.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EntryRow {
    pub(super) arrival: u64,
    pub(super) hash: EntryHash,
    pub(super) prev: EntryHash,
    pub(super) deps: Vec<(LogId, u64)>,
    pub(super) time: Time,
    pub(super) signature: ([u8; 32], [u8; 32]),
    pub(super) body: BodyRow,
}

impl EntryRow {
    pub(super) fn kind(&self) -> BodyKind {
        match &self.body {
            BodyRow::Patches(_) | BodyRow::Other(Body::Patches(_)) => BodyKind::Patches,
            BodyRow::Other(Body::Genesis(_)) => BodyKind::Genesis,
            BodyRow::Other(Body::Invite(_)) => BodyKind::Invite,
            BodyRow::Other(Body::Member(_)) => BodyKind::Member,
            BodyRow::Other(Body::Remove(_)) => BodyKind::Remove,
            BodyRow::Other(Body::Withdraw(_)) => BodyKind::Withdraw,
        }
    }
}

/// Who says that it made a patch: in which entry of which log, and when.
pub(super) type Attestation = (LogId, u64, Time);

/// A patch as it is stored; its id is its key.
#[derive(Debug, Clone)]
pub(super) struct PatchRow {
    /// The earliest of the attestations' times.
    pub(super) time: Time,
    pub(super) attestations: Vec<Attestation>,
    pub(super) patch: Arc<Patch>,
}

impl PatchRow {
    /// Of a patch that nobody attests yet.
    pub(super) fn new(patch: Arc<Patch>, time: Time) -> Self {
        Self { time, attestations: Vec::new(), patch }
    }

    pub(super) fn attest(&mut self, attestation: Attestation) {
        self.time = self.time.min(attestation.2);
        if !self.attestations.contains(&attestation) {
            self.attestations.push(attestation);
        }
    }

    pub(super) fn known(self) -> Known {
        Known { patch: self.patch, time: self.time }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        encode(&(self.time, &self.attestations, &*self.patch))
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let (time, attestations, patch) = read(Table::Patches, bytes)?;
        Ok(Self { time, attestations, patch: Arc::new(patch) })
    }
}

/// A value that `encode` wrote. Our own rows need no proof of being canonical.
pub(super) fn read<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, StoreError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(malformed(table)),
    }
}

pub(super) fn volume_row(slot: Slot, state: &VolumeState) -> Vec<u8> {
    [&slot.to_be_bytes()[..], &encode(state)].concat()
}

pub(super) fn read_volume_row(bytes: &[u8]) -> Result<(Slot, VolumeState), StoreError> {
    let mut fields = Fields::new(Table::Volumes, bytes);
    let slot = Slot::from_be_bytes(fields.take()?);
    Ok((slot, read(Table::Volumes, fields.rest())?))
}

/// The value of a row of `disk`, of fixed layout because a look at a whole tree reads one for every file: node,
/// kind, mode, device, inode, birth, length, mtime, ctime, read at, and the patches of the three registers, or
/// only one where they are the same. Numbers are big-endian; a time is 8 bytes of seconds, 4 of nanoseconds.
pub(super) fn disk_row(record: &Record) -> Vec<u8> {
    let Record { node, shown, stat, read_at } = record;
    let mut row = Vec::with_capacity(32 + 75 + 96);
    row.extend_from_slice(&node.0);
    row.push(kind_code(stat.kind));
    row.extend_from_slice(&stat.mode.to_be_bytes());
    row.extend_from_slice(&stat.inode.dev.to_be_bytes());
    row.extend_from_slice(&stat.inode.ino.to_be_bytes());
    put_time(&mut row, stat.inode.born);
    row.extend_from_slice(&stat.len.to_be_bytes());
    for time in [stat.mtime, stat.ctime, *read_at] {
        put_time(&mut row, time);
    }
    let [place, content, attr] = shown.patches;
    row.extend_from_slice(&place.0);
    if (content, attr) != (place, place) {
        row.extend_from_slice(&content.0);
        row.extend_from_slice(&attr.0);
    }
    row
}

/// Reads what `disk_row` wrote; where it stands is in the key.
pub(super) fn read_disk_row(folder: NodeId, name: Name, value: &[u8]) -> Result<Record, StoreError> {
    let mut fields = Fields::new(Table::Disk, value);
    let node = fields.node()?;
    let kind = kind_of(fields.take::<1>()?[0])?;
    let mode = fields.take().map(u16::from_be_bytes)?;
    let inode = Inode { dev: fields.u64()?, ino: fields.u64()?, born: take_time(&mut fields)? };
    let len = fields.u64()?;
    let (mtime, ctime, read_at) = (take_time(&mut fields)?, take_time(&mut fields)?, take_time(&mut fields)?);
    let place = PatchId(fields.take()?);
    let mut patches = [place; 3];
    if !fields.is_empty() {
        patches = [place, PatchId(fields.take()?), PatchId(fields.take()?)];
    }
    fields.end()?;
    let stat = Stat { kind, inode, len, mtime, ctime, mode };
    Ok(Record { node, shown: Shown { patches, folder, name }, stat, read_at })
}

/// The node of a row of `disk`, without reading the rest.
pub(super) fn disk_row_node(value: &[u8]) -> Result<NodeId, StoreError> {
    Fields::new(Table::Disk, value).node()
}

/// The value of a row of `shown`.
pub(super) fn shown_row(folder: NodeId, name: &Name) -> Vec<u8> {
    [&folder.0, name.as_bytes()].concat()
}

pub(super) fn read_shown_row(value: &[u8]) -> Result<(NodeId, Name), StoreError> {
    let mut fields = Fields::new(Table::Shown, value);
    Ok((fields.node()?, fields.name()?))
}

const fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Dir => 1,
        Kind::Symlink => 2,
        Kind::Special => 3,
    }
}

fn kind_of(code: u8) -> Result<Kind, StoreError> {
    match code {
        0 => Ok(Kind::File),
        1 => Ok(Kind::Dir),
        2 => Ok(Kind::Symlink),
        3 => Ok(Kind::Special),
        _ => Err(malformed(Table::Disk)),
    }
}

fn put_time(row: &mut Vec<u8>, time: Mtime) {
    row.extend_from_slice(&time.secs.to_be_bytes());
    row.extend_from_slice(&time.nanos.to_be_bytes());
}

fn take_time(fields: &mut Fields<'_>) -> Result<Mtime, StoreError> {
    Ok(Mtime { secs: fields.take().map(i64::from_be_bytes)?, nanos: fields.take().map(u32::from_be_bytes)? })
}
