//! Tables in memory, for tests and simulations, on a medium that outlives the store: what was not durable can be
//! taken from it as a kill or a loss of power takes it, and every access can be made to fail.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::backend::{Backend, Change, Changes, Direction, Durability, Visit};
use super::error::StoreError;
use super::schema::{Span, Table, read_chunk};
use crate::model::ids::ChunkId;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Bounds<'a> = (Bound<&'a Vec<u8>>, Bound<&'a Vec<u8>>);

/// What a store in memory lies on. Clones are handles of the same one. After the store is gone another one can be
/// opened on it with `Store::on`.
#[derive(Clone, Default)]
pub struct Medium(Arc<Shared>);

#[derive(Default)]
struct Shared {
    tables: RwLock<Tables>,
    fate: Mutex<Option<Fate>>,
}

/// What a store is about to do to its medium, or has just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is about to read.
    Read,
    /// It is about to write a batch: where this fails, nothing is written.
    Write,
    /// It has written a batch: where this fails, the batch is there all the same.
    Written,
    /// It is about to make durable what was written without being logged.
    Flush,
}

/// Asked before every access, and after every write, whether it fails. Must not use the store itself.
pub type Fate = Box<dyn FnMut(Access) -> Result<(), StoreError> + Send>;

/// One map a table, and how to take back what is not durable.
#[derive(Default)]
struct Tables {
    rows: [Rows; Table::ALL.len()],
    /// Batches that a kill takes, oldest first.
    volatile: Vec<Undo>,
    /// Batches that a loss of power takes, oldest first.
    logged: Vec<Undo>,
    position: u64,
}

/// The rows that a batch changed as they were before it, in the order of the changes.
type Undo = Vec<(Table, Vec<u8>, Option<Vec<u8>>)>;

impl Medium {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `fate` is asked at every access; nothing: none fails.
    pub fn set_fate(&self, fate: Option<Fate>) {
        *self.0.fate.lock().unwrap_or_else(PoisonError::into_inner) = fate;
    }

    /// Takes what is lost with the process that wrote it. The store must be gone.
    pub fn kill(&self) {
        let mut tables = self.tables_mut();
        let lost = std::mem::take(&mut tables.volatile);
        tables.take_back(lost);
    }

    /// Takes what is lost with the power: all that a kill takes, and of the batches that were written since
    /// something was last made durable all but the first `kept`. Gives how many there were. The store must be gone.
    pub fn lose_power(&self, kept: usize) -> usize {
        self.kill();
        let mut tables = self.tables_mut();
        let mut logged = std::mem::take(&mut tables.logged);
        let count = logged.len();
        tables.take_back(logged.split_off(kept.min(count)));
        count
    }

    /// Another one that holds the same, all of it durable: a backup, or what is put back from one.
    #[must_use]
    pub fn copy(&self) -> Self {
        let Tables { rows, position, .. } = &*self.tables();
        let tables = Tables { rows: rows.clone(), position: *position, ..Tables::default() };
        Self(Arc::new(Shared { tables: RwLock::new(tables), fate: Mutex::default() }))
    }

    /// The chunks that are stored.
    pub fn chunks(&self) -> Vec<ChunkId> {
        let keys = self.tables().rows[Table::Chunks as usize].keys().cloned().collect::<Vec<_>>();
        keys.iter().filter_map(|key| read_chunk(key).ok()).collect()
    }

    /// One bit of a stored chunk is not what it was.
    pub fn flip(&self, chunk: ChunkId) {
        let mut tables = self.tables_mut();
        if let Some(last) = tables.rows[Table::Chunks as usize].get_mut(&chunk.0[..]).and_then(|row| row.last_mut()) {
            *last ^= 1;
        }
    }

    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.0.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, access: Access) -> Result<(), StoreError> {
        let mut fate = self.0.fate.lock().unwrap_or_else(PoisonError::into_inner);
        fate.as_mut().map_or(Ok(()), |fate| fate(access))
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medium").field("position", &self.tables().position).finish_non_exhaustive()
    }
}

impl Tables {
    fn set(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match value {
            Some(value) => self.rows[table as usize].insert(key, value),
            None => self.rows[table as usize].remove(&key),
        }
    }

    fn take_back(&mut self, lost: Vec<Undo>) {
        self.position -= lost.len() as u64;
        for (table, key, before) in lost.into_iter().rev().flat_map(|undo| undo.into_iter().rev()) {
            self.set(table, key, before);
        }
    }

    fn write(&mut self, changes: Changes, durability: Durability) {
        let mut undo = Undo::new();
        for change in changes.0 {
            let (table, each) = match change {
                Change::Put(table, key, value) => (table, vec![(key, Some(value))]),
                Change::Delete(table, key) => (table, vec![(key, None)]),
                Change::DeleteRange(table, from, to) => {
                    let span = Span { from, to: Some(to) };
                    let rows = bounds(&span).map(|bounds| self.rows[table as usize].range::<Vec<u8>, _>(bounds));
                    (table, rows.into_iter().flatten().map(|(key, _)| (key.clone(), None)).collect())
                }
            };
            for (key, value) in each {
                let before = self.set(table, key.clone(), value);
                undo.push((table, key, before));
            }
        }
        self.position += 1;
        match durability {
            // The log is synced as a whole.
            Durability::Synced => self.logged.clear(),
            Durability::Logged => self.logged.push(undo),
            Durability::Volatile => self.volatile.push(undo),
        }
    }
}

/// Nothing where the range is empty: a map would panic at one that ends before it begins.
fn bounds(span: &Span) -> Option<Bounds<'_>> {
    let empty = span.to.as_ref().is_some_and(|to| *to <= span.from);
    (!empty).then(|| (Bound::Included(&span.from), span.to.as_ref().map_or(Bound::Unbounded, Bound::Excluded)))
}

impl Backend for Medium {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(Access::Read)?;
        Ok(self.tables().rows[table as usize].get(key).cloned())
    }

    fn multi_get(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.ask(Access::Read)?;
        let tables = self.tables();
        Ok(keys.iter().map(|key| tables.rows[table as usize].get(key).cloned()).collect())
    }

    fn position(&self) -> u64 {
        self.tables().position
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.ask(Access::Read)?;
        Ok(self.tables().rows[table as usize].contains_key(key))
    }

    fn scan(&self, table: Table, span: &Span, direction: Direction, visit: Visit<'_>) -> Result<(), StoreError> {
        self.ask(Access::Read)?;
        let Some(bounds) = bounds(span) else { return Ok(()) };
        // Copied, so that `visit` may read and write the store itself, and sees the rows as they were.
        let rows: Vec<_> = {
            let tables = self.tables();
            let rows = tables.rows[table as usize].range::<Vec<u8>, _>(bounds);
            rows.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let mut ascending = rows.iter();
        loop {
            let next = match direction {
                Direction::Ascending => ascending.next(),
                Direction::Descending => ascending.next_back(),
            };
            let Some((key, value)) = next else { return Ok(()) };
            if visit(key, value)? == ControlFlow::Break(()) {
                return Ok(());
            }
        }
    }

    fn write(&self, changes: Changes, durability: Durability) -> Result<(), StoreError> {
        self.ask(Access::Write)?;
        self.tables_mut().write(changes, durability);
        self.ask(Access::Written)
    }

    fn flush(&self, _: Table) -> Result<(), StoreError> {
        self.ask(Access::Flush)?;
        // Only chunks are ever written so.
        self.tables_mut().volatile.clear();
        Ok(())
    }

    fn bytes(&self, table: Table) -> Result<u64, StoreError> {
        Ok(self.tables().rows[table as usize].iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn compact(&self, _: Table) -> Result<(), StoreError> {
        Ok(())
    }
}
