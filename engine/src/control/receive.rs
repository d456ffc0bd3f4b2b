//! Taking in entries of other peers: verified, in causal order, many in one commit.

use super::append::{Draft, contents};
use super::{Control, Held, wall_ms};
use crate::engine::Event;
use crate::error::EngineError;
use crate::limits::{CLOCK_AHEAD_MS_MAX, LOGS_MAX};
use crate::model::entry::{Body, SignedEntry};
use crate::model::frontier::Frontier;
use crate::model::ids::{EntryHash, LogId, PeerId, VolumeId};
use crate::model::overlay::Overlay;
use crate::model::time::Time;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has been taken in of one message and is not committed yet.
struct Intake {
    frontier: Frontier,
    heads: BTreeMap<LogId, EntryHash>,
    roster: crate::model::roster::Roster,
    fresh: Vec<SignedEntry>,
    /// When those are dated.
    times: BTreeMap<(LogId, u64), Time>,
}

/// What came of one message.
struct Received {
    /// Whether anything was new.
    fresh: bool,
    /// Whether membership changed.
    members: bool,
}

impl Control {
    /// Takes in entries whose signatures have been checked. On return what was new is durable.
    pub(crate) fn receive(&mut self, id: VolumeId, entries: Vec<SignedEntry>) -> Result<Frontier, EngineError> {
        let store = self.store.clone();
        let held = self.held(id)?;
        let (Received { fresh, members }, refusal) = held.receive(&store, entries)?;
        let frontier = held.volume.frontier();
        if fresh {
            self.tell(&Event::Appended(id));
            self.tell(&Event::Wanted(id));
        }
        if members {
            self.members_changed(id);
        }
        // What came before the entry that is refused is taken in all the same.
        refusal.map_or(Ok(frontier), Err)
    }

    /// A member said that it has at least this of a volume.
    pub(crate) fn peer_has(&mut self, id: VolumeId, peer: PeerId, frontier: Frontier) -> Result<(), EngineError> {
        let store = self.store.clone();
        let held = self.held(id)?;
        held.go_on_beyond(&store, &frontier)?;
        let known = held.remote.entry(peer).or_default();
        for (log, seq) in frontier.0 {
            known.advance(log, seq);
        }
        if known.0.len() > LOGS_MAX {
            // No volume has so many: somebody makes them up. What it really has it will say again.
            known.0.clear();
        }
        self.tell(&Event::Changed(id));
        Ok(())
    }
}

impl Held {
    /// Where somebody has entries of the log that this peer appends to and that are not here, this peer is older
    /// than its log. Before they are here, too, it must append nothing to it: others would have two entries of one
    /// number.
    fn go_on_beyond(&mut self, store: &Store, theirs: &Frontier) -> Result<(), EngineError> {
        let Some(log) = self.state.log else { return Ok(()) };
        if theirs.seq(log) <= self.volume.frontier().seq(log) {
            return Ok(());
        }
        tracing::warn!(volume = %self.state.name, "others have more of this peer's log than itself: it begins another");
        self.begin_new_log(store)
    }

    /// Takes in what can be, and says why the rest cannot.
    fn receive(
        &mut self,
        store: &Store,
        entries: Vec<SignedEntry>,
    ) -> Result<(Received, Option<EngineError>), EngineError> {
        let frontier = self.volume.frontier();
        let roster = self.more.roster.clone();
        let mut intake = Intake { frontier, heads: BTreeMap::new(), roster, fresh: Vec::new(), times: BTreeMap::new() };
        let mut overlay = Overlay::new(&self.volume);
        let mut refusal = None;
        for signed in entries {
            if let Err(error) = self.take_in(&mut intake, &mut overlay, signed) {
                refusal = Some(error);
                break;
            }
        }
        let Intake { fresh, .. } = intake;
        let members = fresh.iter().any(|signed| !matches!(signed.entry.body, Body::Patches(_)));
        let received = Received { fresh: !fresh.is_empty(), members };
        if received.fresh {
            // Entries of our own that we lack: this peer is older than its log. It goes on in a new one.
            if fresh.iter().any(|signed| Some(signed.entry.log) == self.state.log) {
                self.state.log = None;
            }
            if refusal.is_some() {
                // The refused entry may have been half applied.
                overlay = Overlay::new(&self.volume);
                for signed in &fresh {
                    for patch in signed.entry.patches() {
                        overlay.apply(Arc::new(patch.clone()), patch.id(), signed.entry.time)?;
                    }
                }
            }
            let missing = missing(store, &fresh)?;
            let draft = Draft { changes: overlay.into_changes(), entries: fresh, missing, ..Draft::default() };
            self.commit(store, draft)?;
            self.queue.look_again();
        }
        Ok((received, refusal))
    }

    fn take_in(&self, intake: &mut Intake, overlay: &mut Overlay<'_>, signed: SignedEntry) -> Result<(), EngineError> {
        let (log, seq) = (signed.entry.log, signed.entry.seq);
        let held = intake.frontier.seq(log);
        if seq <= held {
            return self.same_as_known(intake, &signed);
        }
        let head = match intake.heads.get(&log) {
            Some(head) => *head,
            None => self.volume.head(log)?.map_or(EntryHash::NONE, |(_, head)| head),
        };
        let ready = signed.entry.deps.iter().all(|(dep, seq)| intake.frontier.seq(*dep) >= *seq);
        if seq != held + 1 || !ready {
            return Err(EngineError::NotYet { seq });
        }
        if signed.entry.prev != head {
            return Err(EngineError::Equivocation { seq: seq - 1 });
        }
        let time_of = |log, seq| match intake.times.get(&(log, seq)) {
            Some(time) => Ok(Some(*time)),
            None => self.volume.entry_time(log, seq),
        };
        let deps = signed.entry.deps.iter().map(|(dep, seq)| Ok(time_of(*dep, *seq)?.unwrap_or_default()));
        let deps = deps.collect::<Result<Vec<_>, StoreError>>()?;
        if !signed.entry.is_dated_after(time_of(log, held)?, deps) {
            return Err(EngineError::Backdated { seq });
        }
        let ahead = signed.entry.time.ms().saturating_sub(wall_ms());
        if ahead > CLOCK_AHEAD_MS_MAX {
            return Err(EngineError::Clock { ahead_s: ahead / 1000 });
        }
        intake.roster.permits(&signed.entry)?;
        for patch in signed.entry.patches() {
            overlay.apply(Arc::new(patch.clone()), patch.id(), signed.entry.time)?;
        }
        intake.roster.apply(&signed.entry);
        intake.frontier.advance(log, seq);
        intake.heads.insert(log, signed.entry.hash());
        intake.times.insert((log, seq), signed.entry.time);
        intake.fresh.push(signed);
        Ok(())
    }

    /// The same entry again is harmless; another one with its number is equivocation. Only the newest entry of a
    /// log is compared: an older one that differs breaks the chain above it.
    fn same_as_known(&self, intake: &Intake, signed: &SignedEntry) -> Result<(), EngineError> {
        let (log, seq) = (signed.entry.log, signed.entry.seq);
        let newest = match intake.heads.get(&log) {
            Some(head) => Some((intake.frontier.seq(log), *head)),
            None => self.volume.head(log)?,
        };
        match newest {
            Some((newest, head)) if newest == seq && head != signed.entry.hash() => {
                Err(EngineError::Equivocation { seq })
            }
            _ => Ok(()),
        }
    }
}

/// The contents of these entries that are not known to be all here.
fn missing(
    store: &Store,
    fresh: &[SignedEntry],
) -> Result<BTreeMap<crate::model::patch::Root, Option<u64>>, EngineError> {
    let wanted = contents(fresh.iter().flat_map(|signed| signed.entry.patches()));
    let ids: Vec<_> = wanted.keys().map(|root| root.id).collect();
    let present = store.has_chunks(&ids)?;
    let lacking = wanted.into_iter().zip(present).filter(|((root, _), present)| root.depth > 0 || !present);
    Ok(lacking.map(|((root, len), _)| (root, Some(len))).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests;
