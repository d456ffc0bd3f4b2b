//! Tables in memory, for tests and simulations: everything is lost with the process, nothing can fail.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::backend::{Backend, Change, Changes, Direction, Durability, Visit};
use super::error::StoreError;
use super::schema::{Span, Table};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Bounds<'a> = (Bound<&'a Vec<u8>>, Bound<&'a Vec<u8>>);

/// One map a table.
#[derive(Debug, Default)]
pub(super) struct Memory {
    tables: RwLock<[Rows; Table::ALL.len()]>,
}

impl Memory {
    fn tables(&self) -> RwLockReadGuard<'_, [Rows; Table::ALL.len()]> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing where the range is empty: a map would panic at one that ends before it begins.
fn bounds(span: &Span) -> Option<Bounds<'_>> {
    let empty = span.to.as_ref().is_some_and(|to| *to <= span.from);
    (!empty).then(|| (Bound::Included(&span.from), span.to.as_ref().map_or(Bound::Unbounded, Bound::Excluded)))
}

impl Backend for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tables()[table as usize].get(key).cloned())
    }

    fn multi_get(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let tables = self.tables();
        Ok(keys.iter().map(|key| tables[table as usize].get(key).cloned()).collect())
    }

    fn position(&self) -> u64 {
        0
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.tables()[table as usize].contains_key(key))
    }

    fn scan(&self, table: Table, span: &Span, direction: Direction, visit: Visit<'_>) -> Result<(), StoreError> {
        let Some(bounds) = bounds(span) else { return Ok(()) };
        // Copied, so that `visit` may read and write the store itself, and sees the rows as they were.
        let rows: Vec<_> = {
            let tables = self.tables();
            let rows = tables[table as usize].range::<Vec<u8>, _>(bounds);
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

    fn write(&self, changes: Changes, _: Durability) -> Result<(), StoreError> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes.0 {
            match change {
                Change::Put(table, key, value) => {
                    tables[table as usize].insert(key, value);
                }
                Change::Delete(table, key) => {
                    tables[table as usize].remove(&key);
                }
                Change::DeleteRange(table, from, to) => {
                    let span = Span { from, to: Some(to) };
                    let Some(bounds) = bounds(&span) else { continue };
                    tables[table as usize].extract_if(bounds, |_, _| true).for_each(drop);
                }
            }
        }
        Ok(())
    }

    fn flush(&self, _: Table) -> Result<(), StoreError> {
        Ok(())
    }

    fn bytes(&self, table: Table) -> Result<u64, StoreError> {
        let rows = &self.tables()[table as usize];
        Ok(rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn compact(&self, _: Table) -> Result<(), StoreError> {
        Ok(())
    }
}
