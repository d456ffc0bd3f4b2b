//! The store: everything a peer knows and holds, durable. The only room that imports rocksdb.
//!
//! What must hold here: data before reference (`commit` makes chunks durable before the rows that name them), one
//! atomic batch a decision, and no write after a failed one. `schema` lays out every table, key and value;
//! `Store` and `Volume` are the typed doors to them; `Batch` is all that one decision changes.

mod backend;
mod chunks;
mod commit;
mod error;
mod log;
mod memory;
mod records;
mod rocks;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod volume;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

pub use commit::Batch;
pub use error::StoreError;
pub use memory::{Access, Fate, Medium};
pub use rows::{BodyKind, EntryHead, Record, VolumeState};
pub use schema::FORMAT_VERSION;
pub use volume::Volume;

use self::backend::{Backend, Changes, Direction, Durability};
use self::chunks::Pending;
use self::schema::{FORMAT_KEY, SLOTS_KEY, Slot, Span, Table};
use self::volume::Core;
use crate::failpoint::{self, Point};
use crate::model::ids::VolumeId;

/// An open store. Clones are handles of the same one; the last that goes closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    backend: Box<dyn Backend>,
    /// A write failed: what is durable is known only after reopening.
    poisoned: OnceLock<Failure>,
    volumes: RwLock<BTreeMap<VolumeId, Arc<Core>>>,
    /// Held while volumes come and go.
    registry: Mutex<()>,
    pending: Mutex<Pending>,
}

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How.
    pub why: String,
    /// For want of room.
    pub is_full: bool,
}

impl Store {
    /// Opens the store in `dir`, or makes one there.
    ///
    /// `Locked` where it is open already, `Format` where another version wrote it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::over(Box::new(rocks::Rocks::open(dir)?))
    }

    /// The same, but one must be there: `Gone` where none is.
    pub fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        if Self::is_at(dir) { Self::open(dir) } else { Err(StoreError::Gone { path: dir.to_owned() }) }
    }

    /// Whether a store is in `dir`.
    pub fn is_at(dir: &Path) -> bool {
        rocks::is_at(dir)
    }

    /// Why it takes no more writes, if it does not.
    pub fn failure(&self) -> Option<&Failure> {
        self.0.poisoned.get()
    }

    /// Grows with every write; after reopening it is no less than it was at any durable one.
    pub fn position(&self) -> u64 {
        self.backend().position()
    }

    /// Opens the store on a medium in memory, or makes one there.
    pub fn on(medium: &Medium) -> Result<Self, StoreError> {
        Self::over(Box::new(medium.clone()))
    }

    fn over(backend: Box<dyn Backend>) -> Result<Self, StoreError> {
        let store = Self(Arc::new(Inner {
            backend,
            poisoned: OnceLock::new(),
            volumes: RwLock::default(),
            registry: Mutex::default(),
            pending: Mutex::default(),
        }));
        store.settle_format()?;
        let everything = Span::prefix(Vec::new());
        let rows = store.backend().rows(Table::Volumes, &everything, usize::MAX, |key, value| {
            let (slot, state) = rows::read_volume_row(value)?;
            Ok((schema::read_volume(key)?, slot, state))
        })?;
        for (id, slot, state) in rows {
            let core = Core::load(store.backend(), id, slot, state)?;
            store.0.volumes.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(core));
        }
        Ok(store)
    }

    /// Refuses what another version wrote; marks a new store as this version's.
    fn settle_format(&self) -> Result<(), StoreError> {
        if let Some(bytes) = self.backend().get(Table::Meta, FORMAT_KEY)? {
            let bytes = bytes.try_into().map_err(|_| schema::malformed(Table::Meta))?;
            let found = u32::from_be_bytes(bytes);
            return if found == FORMAT_VERSION {
                Ok(())
            } else {
                Err(StoreError::Format { found, known: FORMAT_VERSION })
            };
        }
        for table in Table::ALL {
            if !self.backend().rows(table, &Span::prefix(Vec::new()), 1, |_, _| Ok(()))?.is_empty() {
                return Err(StoreError::corrupt("it has rows but no format version"));
            }
        }
        let mut changes = Changes::default();
        changes.put(Table::Meta, FORMAT_KEY.to_vec(), FORMAT_VERSION.to_be_bytes().to_vec());
        self.write(changes, Durability::Synced)
    }

    /// A value kept under `key` by `set_meta`.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.backend().get(Table::Meta, &schema::meta(key))
    }

    /// Keeps a value that belongs to no volume; durable on return.
    pub fn set_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        changes.put(Table::Meta, schema::meta(key), value.to_vec());
        self.write(changes, Durability::Synced)
    }

    /// Makes a volume without entries; durable on return.
    pub fn create_volume(&self, id: VolumeId, state: &VolumeState) -> Result<Volume, StoreError> {
        let _changing = self.0.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if self.core(id).is_ok() {
            return Err(StoreError::Exists { volume: id });
        }
        let slot = self.next_slot()?;
        let state = VolumeState { next_arrival: 1, ..state.clone() };
        let mut changes = Changes::default();
        changes.put(Table::Meta, SLOTS_KEY.to_vec(), (slot + 1).to_be_bytes().to_vec());
        changes.put(Table::Volumes, id.0.to_vec(), rows::volume_row(slot, &state));
        self.write(changes, Durability::Synced)?;
        let core = Arc::new(Core::load(self.backend(), id, slot, state)?);
        self.0.volumes.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&core));
        Ok(Volume::new(self.clone(), core))
    }

    fn next_slot(&self) -> Result<Slot, StoreError> {
        let Some(bytes) = self.backend().get(Table::Meta, SLOTS_KEY)? else { return Ok(0) };
        let bytes = bytes.try_into().map_err(|_| schema::malformed(Table::Meta))?;
        match Slot::from_be_bytes(bytes) {
            Slot::MAX => Err(StoreError::corrupt("no slot is left for a volume")),
            slot => Ok(slot),
        }
    }

    /// The volumes, ascending.
    pub fn volumes(&self) -> Vec<VolumeId> {
        self.0.volumes.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// A handle on one volume.
    pub fn volume(&self, id: VolumeId) -> Option<Volume> {
        self.core(id).ok().map(|core| Volume::new(self.clone(), core))
    }

    /// Forgets a volume and all its rows; durable on return. Its chunks stay until they are swept. Handles that
    /// are still about find it empty.
    pub fn remove_volume(&self, id: VolumeId) -> Result<(), StoreError> {
        let _changing = self.0.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let core = self.core(id)?;
        let _writing = core.lock();
        let mut changes = Changes::default();
        changes.delete(Table::Volumes, id.0.to_vec());
        for table in Table::ALL.into_iter().filter(|table| table.is_of_volumes()) {
            let (from, to) = schema::volume_range(core.slot);
            changes.0.push(backend::Change::DeleteRange(table, from, to));
        }
        self.write(changes, Durability::Synced)?;
        self.0.volumes.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        core.forget();
        Ok(())
    }

    /// Reads every row there is, less the chunks, which prove themselves: `Corrupt` where one cannot be read.
    pub fn read_rows(&self) -> Result<(), StoreError> {
        let everything = Span::prefix(Vec::new());
        let go_on = &mut |_: &[u8], _: &[u8]| Ok(ControlFlow::Continue(()));
        let rows = Table::ALL.into_iter().filter(|table| *table != Table::Chunks);
        rows.into_iter().try_for_each(|table| self.backend().scan(table, &everything, Direction::Ascending, go_on))
    }

    fn backend(&self) -> &dyn Backend {
        &*self.0.backend
    }

    fn core(&self, id: VolumeId) -> Result<Arc<Core>, StoreError> {
        let volumes = self.0.volumes.read().unwrap_or_else(PoisonError::into_inner);
        volumes.get(&id).cloned().ok_or(StoreError::Absent { volume: id })
    }

    /// Every write passes here: after one that failed there are no more.
    fn write(&self, changes: Changes, durability: Durability) -> Result<(), StoreError> {
        self.guarded(|backend| {
            if durability == Durability::Synced {
                failpoint::attempt(Point::StoreSync)?;
            }
            backend.write(changes, durability)
        })
    }

    fn guarded(&self, write: impl FnOnce(&dyn Backend) -> Result<(), StoreError>) -> Result<(), StoreError> {
        if let Some(Failure { why, .. }) = self.failure() {
            return Err(StoreError::Poisoned { why: why.clone() });
        }
        write(self.backend()).inspect_err(|error| {
            let failure = Failure { why: error.to_string(), is_full: matches!(error, StoreError::Full) };
            // The first one counts.
            let _ = self.0.poisoned.set(failure);
        })
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("volumes", &self.volumes()).finish_non_exhaustive()
    }
}
