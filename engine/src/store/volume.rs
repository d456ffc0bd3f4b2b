//! One volume, read: its state and frontier from memory, everything else from its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::backend::{Backend, Direction};
use super::rows::{self, PatchRow, Record, VolumeState, read_disk_row};
use super::schema::{self, Slot, Span, Table};
use super::{Store, StoreError};
use crate::disk::Inode;
use crate::model::facts::{Eye, Facts, Known, NodeState, Shown, Unreadable};
use crate::model::frontier::Frontier;
use crate::model::ids::{NodeId, PatchId, VolumeId};
use crate::model::name::Name;
use crate::model::patch::Root;

/// What the store keeps in memory of a volume.
pub(super) struct Core {
    pub(super) id: VolumeId,
    pub(super) slot: Slot,
    /// Held from the first row that a commit reads until its last is written.
    writing: Mutex<()>,
    cached: RwLock<Cached>,
}

/// The part of a volume that is always in memory, as of the last commit.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    pub(super) state: VolumeState,
    pub(super) frontier: Frontier,
    pub(super) reverted: BTreeMap<Eye, BTreeSet<NodeId>>,
    pub(super) removed: bool,
}

impl Core {
    pub(super) fn load(
        backend: &dyn Backend,
        id: VolumeId,
        slot: Slot,
        state: VolumeState,
    ) -> Result<Self, StoreError> {
        let frontier = read_frontier(backend, slot)?;
        let mut reverted = BTreeMap::new();
        for eye in [Eye::Canonical, Eye::Local] {
            if let Some(row) = backend.get(Table::Reverted, &schema::reverted(slot, eye))? {
                reverted.insert(eye, rows::read(Table::Reverted, &row)?);
            }
        }
        let cached = RwLock::new(Cached { state, frontier, reverted, removed: false });
        Ok(Self { id, slot, writing: Mutex::default(), cached })
    }

    /// Keeps other writers of this volume out.
    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cached(&self) -> RwLockReadGuard<'_, Cached> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, next: Cached) {
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// The volume is no more: nothing of it shows, and no commit to it succeeds.
    pub(super) fn forget(&self) {
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        cached.frontier = Frontier::default();
        cached.reverted.clear();
        cached.removed = true;
    }
}

/// The last entry of each log, from the back, a look a log.
fn read_frontier(backend: &dyn Backend, slot: Slot) -> Result<Frontier, StoreError> {
    let mut frontier = Frontier::default();
    let mut span = schema::volume(slot);
    loop {
        let mut last = None;
        backend.scan(Table::Entries, &span, Direction::Descending, &mut |key, _| {
            last = Some(schema::read_entry(key)?);
            Ok(ControlFlow::Break(()))
        })?;
        let Some((log, seq)) = last else { return Ok(frontier) };
        frontier.advance(log, seq);
        span = span.before(schema::log(slot, log).from);
    }
}

/// A handle on one volume, for reading. Every answer is as of the last commit when it is given.
#[derive(Clone)]
pub struct Volume {
    store: Store,
    pub(super) core: Arc<Core>,
}

impl Volume {
    pub(super) fn new(store: Store, core: Arc<Core>) -> Self {
        Self { store, core }
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        self.store.backend()
    }

    /// Which volume.
    pub fn id(&self) -> VolumeId {
        self.core.id
    }

    /// The volume as a whole.
    pub fn state(&self) -> VolumeState {
        self.core.cached().state.clone()
    }

    /// Which entries are held.
    pub fn frontier(&self) -> Frontier {
        self.core.cached().frontier.clone()
    }

    /// What the disk shows of a node.
    pub fn record(&self, node: NodeId) -> Result<Option<Record>, StoreError> {
        let place = || self.backend().get(Table::Shown, &schema::node(self.core.slot, node));
        let mut row = place()?;
        while let Some(at) = &row {
            let (folder, name) = rows::read_shown_row(at)?;
            let record = self.record_at(folder, &name)?;
            if record.as_ref().is_some_and(|record| record.node == node) {
                return Ok(record);
            }
            // It is not there: either it was moved by a commit between the two looks, or a row is wrong.
            let again = place()?;
            if again == row {
                return Err(schema::malformed(Table::Shown));
            }
            row = again;
        }
        Ok(None)
    }

    /// What the disk shows in `folder` as `name`.
    pub fn record_at(&self, folder: NodeId, name: &Name) -> Result<Option<Record>, StoreError> {
        let row = self.backend().get(Table::Disk, &schema::disk(self.core.slot, folder, name))?;
        row.map(|row| read_disk_row(folder, name.clone(), &row)).transpose()
    }

    /// What the disk shows in `folder`, ascending by name.
    pub fn records_in(&self, folder: NodeId) -> Result<Vec<Record>, StoreError> {
        self.rows(Table::Disk, &schema::disk_in(self.core.slot, folder), |key, value| {
            read_disk_row(folder, schema::read_disk(key)?.1, value)
        })
    }

    /// The node that the disk shows with an inode; where hard links give it several, the first by id.
    pub fn node_by_inode(&self, inode: Inode) -> Result<Option<NodeId>, StoreError> {
        let span = schema::inodes_of(self.core.slot, inode);
        let nodes = self.backend().rows(Table::Inodes, &span, 1, |key, _| schema::read_inode(key))?;
        Ok(nodes.into_iter().next())
    }

    /// Up to `n` nodes whose disk lags behind the view, ascending, from just behind `after` on.
    pub fn stale(&self, after: Option<NodeId>, n: usize) -> Result<Vec<NodeId>, StoreError> {
        let slot = self.core.slot;
        let span = behind(schema::volume(slot), after.map(|node| schema::node(slot, node)));
        self.backend().rows(Table::Stale, &span, n, |key, _| schema::read_node(Table::Stale, key))
    }

    /// Up to `n` known nodes, ascending, from just behind `after` on.
    pub fn nodes(&self, after: Option<NodeId>, n: usize) -> Result<Vec<NodeId>, StoreError> {
        let slot = self.core.slot;
        let span = behind(schema::volume(slot), after.map(|node| schema::node(slot, node)));
        self.backend().rows(Table::Nodes, &span, n, |key, _| schema::read_node(Table::Nodes, key))
    }

    /// Up to `n` contents whose chunks are not all held, and the lengths of their files, ascending, from just
    /// behind `after` on.
    pub fn missing(&self, after: Option<Root>, n: usize) -> Result<Vec<(Root, u64)>, StoreError> {
        let slot = self.core.slot;
        let span = behind(schema::volume(slot), after.map(|root| schema::root(slot, root)));
        self.backend().rows(Table::Missing, &span, n, schema::read_missing)
    }

    /// Up to `n` known patches whose ids begin with these hexadecimal digits, ascending.
    pub fn patches_with_prefix(&self, prefix: &str, n: usize) -> Result<Vec<PatchId>, StoreError> {
        let slot = self.core.slot;
        let first = format!("{prefix:0<64}").parse::<PatchId>();
        let Ok(first) = first else { return Ok(Vec::new()) };
        let span = schema::volume(slot).starting(schema::patch(slot, first));
        let ids = self.backend().rows(Table::Patches, &span, n, |key, _| schema::read_patch(key))?;
        Ok(ids.into_iter().filter(|id| id.to_string().starts_with(prefix)).collect())
    }

    /// Whether a content's chunks are not all held, and are to be.
    pub fn is_missing(&self, root: Root) -> Result<bool, StoreError> {
        self.backend().has(Table::Missing, &schema::root(self.core.slot, root))
    }

    /// Whether a content was let go of: its chunks need not be held.
    pub fn is_released(&self, root: Root) -> Result<bool, StoreError> {
        self.backend().has(Table::Released, &schema::root(self.core.slot, root))
    }

    /// Whether any content was let go of.
    pub fn has_released(&self) -> Result<bool, StoreError> {
        self.backend().has_any(Table::Released, &schema::volume(self.core.slot))
    }

    /// The open forks, as the engine encoded them, ascending.
    pub fn forks(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.rows(Table::Forks, &schema::volume(self.core.slot), |key, _| schema::read_fork(key))
    }

    fn rows<T>(
        &self,
        table: Table,
        span: &Span,
        read: impl FnMut(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.backend().rows(table, span, usize::MAX, read)
    }
}

fn behind(span: Span, key: Option<Vec<u8>>) -> Span {
    match key {
        Some(key) => span.after(&key),
        None => span,
    }
}

impl Facts for Volume {
    fn node(&self, node: NodeId) -> Result<Option<NodeState>, Unreadable> {
        let row = self.backend().get(Table::Nodes, &schema::node(self.core.slot, node))?;
        Ok(row.map(|row| rows::read(Table::Nodes, &row)).transpose()?)
    }

    fn patch(&self, patch: PatchId) -> Result<Option<Known>, Unreadable> {
        let row = self.backend().get(Table::Patches, &schema::patch(self.core.slot, patch))?;
        Ok(row.map(|row| PatchRow::read(&row)).transpose()?.map(PatchRow::known))
    }

    fn placed_in(&self, parent: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        let span = schema::placed_in(self.core.slot, parent);
        Ok(self.rows(Table::Placed, &span, |key, _| schema::read_placed(key))?)
    }

    fn placed_as(&self, parent: NodeId, name: &Name) -> Result<Vec<NodeId>, Unreadable> {
        let span = schema::placed_as(self.core.slot, parent, name);
        Ok(self.rows(Table::Placed, &span, |key, _| Ok(schema::read_placed(key)?.1))?)
    }

    fn shown(&self, node: NodeId) -> Result<Option<Shown>, Unreadable> {
        Ok(self.record(node)?.map(|record| record.shown))
    }

    fn shown_at(&self, folder: NodeId, name: &Name) -> Result<Option<NodeId>, Unreadable> {
        let row = self.backend().get(Table::Disk, &schema::disk(self.core.slot, folder, name))?;
        Ok(row.map(|row| rows::disk_row_node(&row)).transpose()?)
    }

    fn shown_in(&self, folder: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        let span = schema::disk_in(self.core.slot, folder);
        Ok(self.rows(Table::Disk, &span, |key, value| Ok((schema::read_disk(key)?.1, rows::disk_row_node(value)?)))?)
    }

    fn reverted(&self, eye: Eye) -> Result<BTreeSet<NodeId>, Unreadable> {
        Ok(self.core.cached().reverted.get(&eye).cloned().unwrap_or_default())
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Volume({})", self.core.id.short())
    }
}
