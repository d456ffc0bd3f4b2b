//! Commits: all that one decision changes in a volume, in one atomic batch.

use std::collections::{BTreeMap, BTreeSet};

use super::backend::{Changes, Durability};
use super::records;
use super::rows::{self, BodyRow, EntryRow, PatchRow, Record, VolumeState};
use super::schema::{self, Table};
use super::volume::{Cached, Core};
use super::{Store, StoreError};
use crate::failpoint::{self, Point};
use crate::model::codec::encode;
use crate::model::entry::{Body, Entry, SignedEntry};
use crate::model::facts::{Eye, Known, NodeState};
use crate::model::ids::{ChunkId, LogId, NodeId, PatchId, VolumeId};
use crate::model::name::Name;
use crate::model::patch::{Content, Patch, Root};
use crate::model::time::Time;

/// What a commit changes. Empty fields change nothing.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In which volume.
    pub volume: VolumeId,
    /// Entries to append to their logs, in causal order. Their patches need not be in `patches` too.
    pub entries: Vec<SignedEntry>,
    /// Logs that are cut before anything is appended: the last number that stays. Their patches stay.
    pub cuts: BTreeMap<LogId, u64>,
    /// Nodes as they now are.
    pub nodes: BTreeMap<NodeId, NodeState>,
    /// Patches that are new, or known already.
    pub patches: BTreeMap<PatchId, Known>,
    /// Patches known already that an earlier entry carries too: its time.
    pub retimed: BTreeMap<PatchId, Time>,
    /// Where patches placed nodes: (parent, name, node).
    pub placed: BTreeSet<(NodeId, Name, NodeId)>,
    /// What the disk now shows of a node; `None`: nothing. A node that stood where another now stands is shown
    /// no longer, listed or not.
    pub records: BTreeMap<NodeId, Option<Record>>,
    /// All nodes kept from their best place, for each eye that is listed.
    pub reverted: BTreeMap<Eye, BTreeSet<NodeId>>,
    /// Nodes whose disk lags behind the view from now on, or no longer.
    pub stale: BTreeMap<NodeId, bool>,
    /// Contents whose chunks are not all held: the file's length; `None`: all are.
    pub missing: BTreeMap<Root, Option<u64>>,
    /// Contents that are let go of from now on: they are no longer missing, and their chunks need not be held. An
    /// entry that refers to one of them anew ends that, and so does noting that it is missing.
    pub released: BTreeSet<Root>,
    /// Open forks, as the engine encodes them.
    pub forks_add: BTreeSet<Vec<u8>>,
    /// Forks that are closed.
    pub forks_remove: BTreeSet<Vec<u8>>,
    /// The volume as a whole.
    pub state: Option<VolumeState>,
    /// Few and small chunks, which become durable with the batch instead of before it.
    pub chunks: Vec<(ChunkId, Vec<u8>)>,
}

impl Batch {
    /// Changes nothing yet.
    pub fn new(volume: VolumeId) -> Self {
        Self {
            volume,
            entries: Vec::new(),
            cuts: BTreeMap::new(),
            nodes: BTreeMap::new(),
            patches: BTreeMap::new(),
            retimed: BTreeMap::new(),
            placed: BTreeSet::new(),
            records: BTreeMap::new(),
            reverted: BTreeMap::new(),
            stale: BTreeMap::new(),
            missing: BTreeMap::new(),
            released: BTreeSet::new(),
            forks_add: BTreeSet::new(),
            forks_remove: BTreeSet::new(),
            state: None,
            chunks: Vec::new(),
        }
    }
}

impl Store {
    /// Makes every chunk put so far durable, then the batch: all of it or, after a crash, nothing. Durable on
    /// return. Commits to one volume queue up; those to several share syncs of the disk.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.apply(batch, Durability::Synced)
    }

    /// The same without waiting for the disk, for what a scan would find again: a loss of power may take it.
    pub fn commit_relaxed(&self, batch: Batch) -> Result<(), StoreError> {
        debug_assert!(batch.entries.is_empty(), "entries are always durable before anybody hears of them");
        self.apply(batch, Durability::Logged)
    }

    fn apply(&self, mut batch: Batch, durability: Durability) -> Result<(), StoreError> {
        let core = self.core(batch.volume)?;
        let (before, after) = points(&batch, durability);
        let mut changes = Changes::default();
        // Before the sync: a chunk found held here, so not put again, is one that the sync covers.
        self.put_absent(&mut changes, std::mem::take(&mut batch.chunks))?;
        if durability == Durability::Synced {
            self.sync_chunks()?;
        }
        let _writing = core.lock();
        let mut next = core.cached().clone();
        if next.removed {
            return Err(StoreError::Absent { volume: core.id });
        }
        let mut making = Making { store: self, core: &core, next: &mut next, changes: &mut changes };
        making.histories(&mut batch)?;
        making.state(batch.state.take());
        making.views(batch)?;
        failpoint::pass(before);
        self.write(changes, durability)?;
        failpoint::pass(after);
        core.publish(next);
        Ok(())
    }
}

/// What stands before and behind the write of a batch.
fn points(batch: &Batch, durability: Durability) -> (Point, Point) {
    match durability {
        Durability::Synced if !batch.entries.is_empty() => (Point::StoreLogBefore, Point::StoreLogAfter),
        Durability::Synced => (Point::StoreFactsBefore, Point::StoreFactsAfter),
        Durability::Logged | Durability::Volatile => (Point::StoreNoteBefore, Point::StoreNoteAfter),
    }
}

/// A batch on its way to rows.
struct Making<'a> {
    store: &'a Store,
    core: &'a Core,
    /// What will be cached of the volume.
    next: &'a mut Cached,
    changes: &'a mut Changes,
}

impl Making<'_> {
    /// Entries, and the patches that they attest.
    fn histories(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let entries: Vec<_> = std::mem::take(&mut batch.entries)
            .into_iter()
            .map(|signed| (signed.entry.patches().iter().map(Patch::id).collect::<Vec<_>>(), signed))
            .collect();
        let cut = self.cut(std::mem::take(&mut batch.cuts))?;
        let listed = entries.iter().flat_map(|(ids, _)| ids).chain(cut.iter().map(|(id, _, _)| id));
        let mut touched = self.patch_rows(listed.chain(batch.patches.keys()).chain(batch.retimed.keys()))?;
        for (id, log, seq) in cut {
            if let Some(row) = touched.get_mut(&id) {
                row.attestations.retain(|(by, at, _)| (*by, *at) != (log, seq));
            }
        }
        for (id, Known { patch, time }) in std::mem::take(&mut batch.patches) {
            let row = touched.entry(id).or_insert_with(|| PatchRow::new(patch, time));
            row.time = row.time.min(time);
        }
        let has_released = !entries.is_empty() && self.has_released()?;
        for (ids, signed) in entries {
            if has_released {
                self.take_back(signed.entry.patches());
            }
            self.entry(ids, signed, &mut touched)?;
        }
        for (&id, &time) in &batch.retimed {
            let row = touched.get_mut(&id).ok_or(StoreError::Dangling(id))?;
            row.time = row.time.min(time);
        }
        for (id, row) in touched {
            self.changes.put(Table::Patches, schema::patch(self.core.slot, id), row.to_bytes());
        }
        Ok(())
    }

    fn has_released(&self) -> Result<bool, StoreError> {
        self.store.backend().has_any(Table::Released, &schema::volume(self.core.slot))
    }

    /// What new patches refer to is to be held, whatever was let go of before.
    fn take_back(&mut self, patches: &[Patch]) {
        for patch in patches {
            if let Some(Content::File { root, .. }) = &patch.content {
                self.changes.delete(Table::Released, schema::root(self.core.slot, *root));
            }
        }
    }

    /// Takes the ends of logs away; gives what they attested.
    fn cut(&mut self, cuts: BTreeMap<LogId, u64>) -> Result<Vec<(PatchId, LogId, u64)>, StoreError> {
        let mut attested = Vec::new();
        for (log, last) in cuts {
            for seq in last + 1..=self.next.frontier.seq(log) {
                let key = schema::entry(self.core.slot, log, seq);
                let row = self.store.backend().get(Table::Entries, &key)?;
                let row: EntryRow = rows::read(Table::Entries, &row.ok_or_else(|| schema::malformed(Table::Entries))?)?;
                self.changes.delete(Table::Entries, key);
                self.changes.delete(Table::Times, schema::time(self.core.slot, row.time, log, seq));
                if let BodyRow::Patches(ids) = row.body {
                    attested.extend(ids.into_iter().map(|id| (id, log, seq)));
                }
            }
            match last {
                0 => drop(self.next.frontier.0.remove(&log)),
                _ => drop(self.next.frontier.0.insert(log, last)),
            }
        }
        Ok(attested)
    }

    /// The rows of those patches that are known already.
    fn patch_rows<'i>(
        &self,
        ids: impl Iterator<Item = &'i PatchId>,
    ) -> Result<BTreeMap<PatchId, PatchRow>, StoreError> {
        let ids: Vec<_> = ids.copied().collect::<BTreeSet<_>>().into_iter().collect();
        let keys: Vec<_> = ids.iter().map(|&id| schema::patch(self.core.slot, id)).collect();
        let rows = self.store.backend().multi_get(Table::Patches, &keys)?;
        let held = ids.into_iter().zip(rows).filter_map(|(id, row)| Some((id, row?)));
        held.map(|(id, row)| Ok((id, PatchRow::read(&row)?))).collect()
    }

    fn entry(
        &mut self,
        ids: Vec<PatchId>,
        signed: SignedEntry,
        patches: &mut BTreeMap<PatchId, PatchRow>,
    ) -> Result<(), StoreError> {
        let SignedEntry { entry, signature } = signed;
        let hash = entry.hash_with(&ids);
        let Entry { volume, log, seq, prev, deps, time, body } = entry;
        let held = self.next.frontier.seq(log);
        if volume != self.core.id {
            return Err(StoreError::Absent { volume });
        }
        if seq != held + 1 {
            return Err(StoreError::Gap { log, held, found: seq });
        }
        let body = match body {
            Body::Patches(list) => {
                for (&id, patch) in ids.iter().zip(list) {
                    let row = patches.entry(id).or_insert_with(|| PatchRow::new(patch.into(), time));
                    row.attest((log, seq, time));
                }
                BodyRow::Patches(ids)
            }
            other => BodyRow::Other(other),
        };
        let arrival = self.next.state.next_arrival;
        let row = EntryRow { arrival, hash, prev, deps, time, signature, body };
        self.changes.put(Table::Entries, schema::entry(self.core.slot, log, seq), encode(&row));
        self.changes.put(Table::Times, schema::time(self.core.slot, time, log, seq), Vec::new());
        self.next.state.next_arrival += 1;
        self.next.frontier.advance(log, seq);
        Ok(())
    }

    fn state(&mut self, state: Option<VolumeState>) {
        let next_arrival = self.next.state.next_arrival;
        if let Some(state) = state {
            self.next.state = VolumeState { next_arrival, ..state };
        }
        if self.next.state != self.core.cached().state {
            let row = rows::volume_row(self.core.slot, &self.next.state);
            self.changes.put(Table::Volumes, self.core.id.0.to_vec(), row);
        }
    }

    /// What is worked out from the history and seen on the disk.
    fn views(&mut self, batch: Batch) -> Result<(), StoreError> {
        let slot = self.core.slot;
        for (&id, node) in &batch.nodes {
            self.changes.put(Table::Nodes, schema::node(slot, id), encode(node));
        }
        for (parent, name, node) in &batch.placed {
            self.changes.put(Table::Placed, schema::placed(slot, *parent, name, *node), Vec::new());
        }
        for (eye, nodes) in batch.reverted {
            self.changes.put(Table::Reverted, schema::reverted(slot, eye), encode(&nodes));
            self.next.reverted.insert(eye, nodes);
        }
        for (id, stale) in batch.stale {
            self.changes.mark(Table::Stale, schema::node(slot, id), stale);
        }
        let has_released = batch.missing.values().any(Option::is_some) && self.has_released()?;
        for (root, missing) in batch.missing {
            let key = schema::root(slot, root);
            match missing {
                Some(len) => {
                    if has_released {
                        self.changes.delete(Table::Released, key.clone());
                    }
                    self.changes.put(Table::Missing, key, len.to_be_bytes().to_vec());
                }
                None => self.changes.delete(Table::Missing, key),
            }
        }
        for root in batch.released {
            let key = schema::root(slot, root);
            self.changes.delete(Table::Missing, key.clone());
            self.changes.put(Table::Released, key, Vec::new());
        }
        for fork in &batch.forks_remove {
            self.changes.mark(Table::Forks, schema::fork(slot, fork), false);
        }
        for fork in &batch.forks_add {
            self.changes.mark(Table::Forks, schema::fork(slot, fork), true);
        }
        records::put(self.store.backend(), slot, &batch.records, self.changes)
    }
}
