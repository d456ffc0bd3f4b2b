//! What the store asks of a data base: ordered tables of bytes, written in atomic batches. RocksDB and the
//! maps in memory stand behind it; one suite holds both to the same behaviour.

use std::ops::ControlFlow;

use super::error::StoreError;
use super::schema::{Span, Table};

/// How far a batch is safe when `write` returns. A batch is whole or absent whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It survives a loss of power.
    Synced,
    /// It survives this process; a loss of power takes it only with all that was written after it.
    Logged,
    /// It survives nothing until `flush` of its tables.
    Volatile,
}

/// One change of a row, or of a range of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
    /// From the first key on, up to but without the second.
    DeleteRange(Table, Vec<u8>, Vec<u8>),
}

/// Changes to be written together, later ones over earlier ones.
#[derive(Debug, Default)]
pub(super) struct Changes(pub(super) Vec<Change>);

impl Changes {
    pub(super) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.0.push(Change::Put(table, key, value));
    }

    pub(super) fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.0.push(Change::Delete(table, key));
    }

    /// Puts a row without value, or deletes it.
    pub(super) fn mark(&mut self, table: Table, key: Vec<u8>, there: bool) {
        if there {
            self.put(table, key, Vec::new());
        } else {
            self.delete(table, key);
        }
    }
}

/// Which end of a range to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

/// Takes one row of a scan; `Break` ends the scan.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>;

/// Ordered tables of bytes.
pub(super) trait Backend: Send + Sync {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// The values of keys, in their order.
    fn multi_get(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;
    /// Whether a key has a value; cheap where it has none.
    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError>;
    /// Shows the rows of a range to `visit`, as they were when the scan began.
    fn scan(&self, table: Table, span: &Span, direction: Direction, visit: Visit<'_>) -> Result<(), StoreError>;
    /// Makes all changes or, if it fails, perhaps none and perhaps all.
    fn write(&self, changes: Changes, durability: Durability) -> Result<(), StoreError>;
    /// Makes durable what was written `Volatile` to `table` before the call.
    fn flush(&self, table: Table) -> Result<(), StoreError>;
    /// Grows with every write. After reopening it is no less than it was at any write that was durable.
    fn position(&self) -> u64;
    /// What the rows of `table` take up, about; deleted ones count until their room is given back.
    fn bytes(&self, table: Table) -> Result<u64, StoreError>;
    /// Gives back the room of deleted rows of `table`. Slow: it may rewrite all that is left.
    fn compact(&self, table: Table) -> Result<(), StoreError>;
}

impl dyn Backend + '_ {
    /// Whether a range has any row.
    pub(super) fn has_any(&self, table: Table, span: &Span) -> Result<bool, StoreError> {
        Ok(!self.rows(table, span, 1, |_, _| Ok(()))?.is_empty())
    }

    /// The first `n` rows of a range in ascending order, as `read` reads them.
    pub(super) fn rows<T>(
        &self,
        table: Table,
        span: &Span,
        n: usize,
        mut read: impl FnMut(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        if n == 0 {
            return Ok(rows);
        }
        self.scan(table, span, Direction::Ascending, &mut |key, value| {
            rows.push(read(key, value)?);
            Ok(if rows.len() < n { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(rows)
    }
}
