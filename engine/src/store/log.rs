//! Reading logs: entries put together again from their rows and patches, what another peer lacks, what is newest.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use super::backend::Direction;
use super::rows::{self, BodyRow, EntryHead, EntryRow};
use super::schema::{self, Table};
use super::volume::Volume;
use super::{StoreError, rows::PatchRow};
use crate::model::entry::{Body, Entry, SignedEntry};
use crate::model::frontier::Frontier;
use crate::model::ids::{EntryHash, LogId, PatchId};
use crate::model::time::Time;

/// Rows of one log that are read ahead: entries are small or large, so bytes bound them.
const READ_AHEAD_BYTES: usize = 64 << 10;

impl Volume {
    /// The last entry held of a log: its number and hash.
    pub fn head(&self, log: LogId) -> Result<Option<(u64, EntryHash)>, StoreError> {
        let seq = self.core.cached().frontier.seq(log);
        Ok(self.entry_row(log, seq)?.map(|row| (seq, row.hash)))
    }

    /// An entry's hash, and when its author dated it.
    pub fn entry_known(&self, log: LogId, seq: u64) -> Result<Option<(EntryHash, Time)>, StoreError> {
        Ok(self.entry_row(log, seq)?.map(|row| (row.hash, row.time)))
    }

    /// An entry.
    pub fn entry(&self, log: LogId, seq: u64) -> Result<Option<SignedEntry>, StoreError> {
        let row = self.entry_row(log, seq)?;
        row.map(|row| Ok(self.assemble(log, seq, row)?.0)).transpose()
    }

    /// What who has `theirs` lacks, in the order of arrival here, so each entry after all it depends on. At least
    /// one, then as many as fit into `bytes_max`, about.
    pub fn entries_after(&self, theirs: &Frontier, bytes_max: usize) -> Result<Vec<SignedEntry>, StoreError> {
        let ours = self.frontier();
        let mut tails = BTreeMap::new();
        for (&log, _) in ours.0.iter().filter(|&(&log, &seq)| seq > theirs.seq(log)) {
            let mut tail = Tail { log, next: theirs.seq(log) + 1, rows: VecDeque::new() };
            if let Some(arrival) = tail.arrival(self)? {
                tails.insert(arrival, tail);
            }
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some((_, mut tail)) = tails.pop_first() {
            let Some((seq, row, row_bytes)) = tail.rows.pop_front() else { continue };
            let (entry, patch_bytes) = self.assemble(tail.log, seq, row)?;
            bytes += row_bytes + patch_bytes;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
            if let Some(arrival) = tail.arrival(self)? {
                tails.insert(arrival, tail);
            }
        }
        Ok(entries)
    }

    /// The newest `n` entries by their authors' time, newest first, or the newest before a given one.
    pub fn recent(&self, before: Option<(Time, LogId, u64)>, n: usize) -> Result<Vec<EntryHead>, StoreError> {
        let slot = self.core.slot;
        let all = schema::volume(slot);
        let span = match before {
            Some((time, log, seq)) => all.before(schema::time(slot, time, log, seq)),
            None => all,
        };
        let mut found = Vec::new();
        if n > 0 {
            self.backend().scan(Table::Times, &span, Direction::Descending, &mut |key, _| {
                found.push(schema::read_time(key)?);
                Ok(if found.len() < n { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
        }
        let keys: Vec<_> = found.iter().map(|&(_, log, seq)| schema::entry(slot, log, seq)).collect();
        let entries = self.backend().multi_get(Table::Entries, &keys)?;
        found.into_iter().zip(entries).map(|((time, log, seq), entry)| head(time, log, seq, entry)).collect()
    }

    /// Who made a patch: in which entry, and when.
    pub fn attestations(&self, patch: PatchId) -> Result<Vec<(LogId, u64, Time)>, StoreError> {
        let row = self.backend().get(Table::Patches, &schema::patch(self.core.slot, patch))?;
        row.map_or(Ok(Vec::new()), |row| Ok(PatchRow::read(&row)?.attestations))
    }

    fn entry_row(&self, log: LogId, seq: u64) -> Result<Option<EntryRow>, StoreError> {
        let row = self.backend().get(Table::Entries, &schema::entry(self.core.slot, log, seq))?;
        row.map(|row| rows::read(Table::Entries, &row)).transpose()
    }

    /// The entry of a row, and how many bytes its patches take.
    fn assemble(&self, log: LogId, seq: u64, row: EntryRow) -> Result<(SignedEntry, usize), StoreError> {
        let mut bytes = 0;
        let EntryRow { prev, deps, time, signature, body, .. } = row;
        let body = match body {
            BodyRow::Other(body) => body,
            BodyRow::Patches(ids) => {
                let keys: Vec<_> = ids.iter().map(|&id| schema::patch(self.core.slot, id)).collect();
                let rows = self.backend().multi_get(Table::Patches, &keys)?;
                let mut patches = Vec::with_capacity(ids.len());
                for row in rows {
                    let row = row.ok_or_else(|| StoreError::corrupt("an entry's patch is not there"))?;
                    bytes += row.len();
                    let (_, _, patch): (Time, Vec<rows::Attestation>, _) = rows::read(Table::Patches, &row)?;
                    patches.push(patch);
                }
                Body::Patches(patches)
            }
        };
        let entry = Entry { volume: self.core.id, log, seq, prev, deps, time, body };
        Ok((SignedEntry { entry, signature }, bytes))
    }
}

fn head(time: Time, log: LogId, seq: u64, entry: Option<Vec<u8>>) -> Result<EntryHead, StoreError> {
    let entry = entry.ok_or_else(|| schema::malformed(Table::Times))?;
    let row: EntryRow = rows::read(Table::Entries, &entry)?;
    let kind = row.kind();
    let BodyRow::Patches(patches) = row.body else {
        return Ok(EntryHead { log, seq, time, arrival: row.arrival, patches: Vec::new(), kind });
    };
    Ok(EntryHead { log, seq, time, arrival: row.arrival, patches, kind })
}

/// The end of one log, read ahead a little at a time.
struct Tail {
    log: LogId,
    /// The first entry not read ahead.
    next: u64,
    /// Number, row, and the row's bytes.
    rows: VecDeque<(u64, EntryRow, usize)>,
}

impl Tail {
    /// The arrival number of its first entry, if there is one.
    fn arrival(&mut self, volume: &Volume) -> Result<Option<u64>, StoreError> {
        if self.rows.is_empty() {
            self.read_ahead(volume)?;
        }
        Ok(self.rows.front().map(|(_, row, _)| row.arrival))
    }

    fn read_ahead(&mut self, volume: &Volume) -> Result<(), StoreError> {
        let slot = volume.core.slot;
        let mut span = schema::log(slot, self.log);
        span.from = schema::entry(slot, self.log, self.next);
        let mut bytes = 0;
        volume.backend().scan(Table::Entries, &span, Direction::Ascending, &mut |key, value| {
            let (_, seq) = schema::read_entry(key)?;
            self.rows.push_back((seq, rows::read(Table::Entries, value)?, value.len()));
            self.next = seq + 1;
            bytes += value.len();
            Ok(if bytes < READ_AHEAD_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }
}
