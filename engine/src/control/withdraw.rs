//! A log of this peer's own that others have in another form: its disk went back in time unnoticed, and it wrote on.
//! What others have not is copied into a new log and given up in the old one, whose other form can then be taken.
//!
//! A copy says what its original says, with the same time, so whoever has both knows no more than before: patches
//! are known by what they are.

use std::collections::BTreeMap;

use super::Held;
use super::append::Draft;
use crate::error::EngineError;
use crate::model::entry::{Body, Entry, SignedEntry, Withdraw};
use crate::model::frontier::Frontier;
use crate::model::ids::{EntryHash, LogId, PeerId};
use crate::model::keys::Keypair;
use crate::model::time::Time;
use crate::store::{Store, StoreError};

impl Held {
    /// A form of a log was given up: its entries up to `last` are common to all forms. What others said that they have
    /// of it they will say anew.
    pub(super) fn note_withdrawn(&mut self, log: LogId, last: u64) {
        let common = self.more.withdrawn.entry(log).or_insert(last);
        *common = last.min(*common);
        for theirs in self.remote.values_mut() {
            theirs.0.remove(&log);
        }
    }

    /// What other members said they have. Of a log of which a form was given up, numbers beyond those that are here may
    /// be of that form: said by a session before it was given up, and heard after.
    pub(super) fn told(&self) -> BTreeMap<PeerId, Frontier> {
        let mut remote = self.remote.clone();
        let here = self.volume.frontier();
        for log in self.more.withdrawn.keys() {
            for seq in remote.values_mut().filter_map(|theirs| theirs.0.get_mut(log)) {
                *seq = here.seq(*log).min(*seq);
            }
        }
        remote
    }

    /// Copies a log of this peer's own from entry `seq` on and gives that part of it up, in one commit.
    pub(super) fn copy_out(
        &mut self,
        store: &Store,
        keys: &Keypair,
        (log, seq): (LogId, u64),
    ) -> Result<(), EngineError> {
        tracing::warn!(volume = %self.state.name, seq, "others have other entries of this peer's log: it begins another");
        let Some((hash, _)) = self.volume.entry_known(log, seq)? else { return Ok(()) };
        let last = seq - 1;
        let new = self.new_log(keys)?;
        let mut copies = Chain { held: self, keys, log: new, prev: EntryHash::NONE, entries: Vec::new() };
        for at in seq..=self.volume.frontier().seq(log) {
            let lost = || StoreError::Corrupt { what: "an entry is not there".into() };
            let Entry { deps, time, body, .. } = self.volume.entry(log, at)?.ok_or_else(lost)?.entry;
            if at == seq {
                copies.append(vec![(log, last)], time, Body::Patches(Vec::new()))?;
            }
            copies.append(deps, time, body)?;
        }
        copies.append(Vec::new(), self.tick(), Body::Withdraw(Withdraw { log, seq, hash }))?;
        let entries = copies.entries;
        let before = (self.state.log, self.more.clone());
        self.state.log = Some(new);
        self.note_withdrawn(log, last);
        self.more.named.0.insert(log, last);
        let draft = Draft { entries, cuts: [(log, last)].into(), ..Draft::default() };
        self.commit(store, draft).inspect_err(|_| (self.state.log, self.more) = before)
    }
}

/// Entries of a log that begins.
struct Chain<'a> {
    held: &'a Held,
    keys: &'a Keypair,
    log: LogId,
    prev: EntryHash,
    entries: Vec<SignedEntry>,
}

impl Chain<'_> {
    fn append(&mut self, deps: Vec<(LogId, u64)>, time: Time, body: Body) -> Result<(), EngineError> {
        let (volume, seq) = (self.held.volume.id(), self.entries.len() as u64 + 1);
        let entry = Entry { volume, log: self.log, seq, prev: self.prev, deps, time, body };
        entry.check()?;
        self.prev = entry.hash();
        self.entries.push(entry.sign(self.keys));
        Ok(())
    }
}
