//! Chunks: bytes by the hash of their raw form, shared by all volumes. Put in bulk without the log of changes,
//! so they are durable only after `sync_chunks` or a commit.

use std::ops::ControlFlow;
use std::sync::{MutexGuard, PoisonError};

use super::backend::{Changes, Direction, Durability};
use super::schema::{self, Span, Table};
use super::{Store, StoreError};
use crate::failpoint::{self, Point};
use crate::model::ids::ChunkId;

/// Which chunks are perhaps not durable yet. A chunk that a reader can see is always counted here: in flight
/// before it is visible, put before it is no longer in flight.
#[derive(Debug, Default)]
pub(super) struct Pending {
    in_flight: usize,
    put: u64,
    durable: u64,
}

impl Store {
    /// Which of these chunks are held, in their order. A chunk that is held costs about as much as reading it.
    pub fn has_chunks(&self, ids: &[ChunkId]) -> Result<Vec<bool>, StoreError> {
        ids.iter().map(|&id| self.has_chunk(id)).collect()
    }

    /// One that cannot be read is not held: whoever has it may put it again.
    fn has_chunk(&self, id: ChunkId) -> Result<bool, StoreError> {
        match self.backend().has(Table::Chunks, &id.0) {
            Err(StoreError::Corrupt { .. }) => Ok(false),
            result => result,
        }
    }

    /// A chunk as it was put.
    pub fn chunk(&self, id: ChunkId) -> Result<Option<Vec<u8>>, StoreError> {
        self.backend().get(Table::Chunks, &id.0)
    }

    /// Keeps chunks, less those held already. Not durable before `sync_chunks` or the next `commit`.
    pub fn put_chunks(&self, chunks: Vec<(ChunkId, Vec<u8>)>) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        self.put_absent(&mut changes, chunks)?;
        if changes.0.is_empty() {
            return Ok(());
        }
        self.pending().in_flight += 1;
        failpoint::pass(Point::StoreChunksBefore);
        let written = self.write(changes, Durability::Volatile);
        failpoint::pass(Point::StoreChunksAfter);
        let mut pending = self.pending();
        pending.in_flight -= 1;
        pending.put += 1;
        written
    }

    /// Makes durable every chunk put before the call.
    pub fn sync_chunks(&self) -> Result<(), StoreError> {
        let target = {
            let pending = self.pending();
            if pending.in_flight == 0 && pending.put == pending.durable {
                return Ok(());
            }
            pending.put
        };
        self.guarded(|backend| {
            failpoint::attempt(Point::StoreFlush)?;
            backend.flush(Table::Chunks)
        })?;
        let mut pending = self.pending();
        pending.durable = pending.durable.max(target);
        Ok(())
    }

    /// Up to `n` ids of chunks held, ascending, from just behind `after` on; none only behind the last. Chunks that
    /// cannot be read are among them.
    pub fn chunk_ids(&self, after: Option<ChunkId>, n: usize) -> Result<Vec<ChunkId>, StoreError> {
        let mut ids = Vec::new();
        let scanned = self.backend().scan(Table::Chunks, &behind(after), Direction::Ascending, &mut |key, _| {
            ids.push(schema::read_chunk(key)?);
            Ok(if ids.len() < n { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        match scanned {
            Err(error @ StoreError::Corrupt { .. }) if ids.is_empty() => {
                let id = self.unreadable_behind(after);
                // Damage of another kind than a chunk's would be found at every key there is.
                let is_any = next(after.unwrap_or(ChunkId([0xff; 32]))) == id || self.chunk(id).is_ok();
                if is_any { Err(error) } else { Ok(vec![id]) }
            }
            Err(StoreError::Corrupt { .. }) | Ok(()) => Ok(ids),
            Err(error) => Err(error),
        }
    }

    /// The id at which a scan from just behind `after` on fails, found bit by bit: a scan gives keys only with the
    /// values that it cannot read.
    fn unreadable_behind(&self, after: Option<ChunkId>) -> ChunkId {
        let mut id = [0; 32];
        for bit in 0..256 {
            let (byte, mask) = (bit / 8, 0x80u8 >> (bit % 8));
            // The last id that has the bits known so far and 0 here.
            let mut last = id;
            last[byte] |= mask - 1;
            last[byte + 1..].fill(0xff);
            let span = Span { to: behind(Some(ChunkId(last))).from.into(), ..behind(after) };
            let all = &mut |_: &[u8], _: &[u8]| Ok(ControlFlow::Continue(()));
            if self.backend().scan(Table::Chunks, &span, Direction::Ascending, all).is_ok() {
                id[byte] |= mask;
            }
        }
        ChunkId(id)
    }

    /// Forgets chunks. A loss of power soon after may bring them back. Their room is free after `reclaim_chunks`.
    pub fn remove_chunks(&self, ids: &[ChunkId]) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        for id in ids {
            changes.delete(Table::Chunks, id.0.to_vec());
        }
        self.write(changes, Durability::Logged)
    }

    /// What all chunks take up on disk, about, those included that are removed and not reclaimed.
    pub fn chunk_bytes(&self) -> Result<u64, StoreError> {
        self.backend().bytes(Table::Chunks)
    }

    /// Gives the room of removed chunks back to the disk. Slow: it rewrites the chunks that are left.
    pub fn reclaim_chunks(&self) -> Result<(), StoreError> {
        self.guarded(|backend| backend.compact(Table::Chunks))
    }

    /// Adds the chunks that are not held.
    pub(super) fn put_absent(&self, changes: &mut Changes, chunks: Vec<(ChunkId, Vec<u8>)>) -> Result<(), StoreError> {
        for (id, bytes) in chunks {
            if !self.has_chunk(id)? {
                changes.put(Table::Chunks, id.0.to_vec(), bytes);
            }
        }
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id after this one.
fn next(ChunkId(mut id): ChunkId) -> ChunkId {
    for byte in id.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    ChunkId(id)
}

fn behind(after: Option<ChunkId>) -> Span {
    let all = Span::prefix(Vec::new());
    if let Some(id) = after { all.after(&id.0) } else { all }
}
