//! Taking in entries of other peers: verified, in causal order, many in one commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::append::{Draft, contents};
use super::{Control, Dispute, Held};
use crate::engine::Event;
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::handle::{Parted, Received};
use crate::limits::{CLOCK_AHEAD_MS_MAX, LOGS_MAX};
use crate::model::entry::{Body, SignedEntry, Withdraw};
use crate::model::facts::Facts as _;
use crate::model::frontier::Frontier;
use crate::model::ids::{EntryHash, LogId, PatchId, PeerId, VolumeId};
use crate::model::keys::Keypair;
use crate::model::overlay::{ApplyError, Changes, Overlay};
use crate::model::patch::{Patch, Root};
use crate::model::roster::Roster;
use crate::model::time::Time;
use crate::store::{Store, StoreError, Volume};

/// What has been taken in and is not committed yet.
struct Intake {
    /// This peer.
    own: PeerId,
    frontier: Frontier,
    roster: Roster,
    fresh: Vec<SignedEntry>,
    /// Hashes and times of those.
    known: BTreeMap<(LogId, u64), (EntryHash, Time)>,
    disputes: BTreeMap<LogId, Dispute>,
    /// Logs whose form here is given up, and the last entry that stays.
    cuts: BTreeMap<LogId, u64>,
    /// Some patches of an entry that is left out were applied.
    is_torn: bool,
}

/// What came of one message so far.
#[derive(Default)]
struct Outcome {
    /// Whether anything was new.
    fresh: bool,
    /// Whether membership changed.
    members: bool,
    /// Whether a form of a log was given up: what others said of it holds no more.
    withdrawn: bool,
    parted: BTreeMap<LogId, Parted>,
    /// Something depends on what is not here.
    lacks: Option<EngineError>,
    /// Something is forged; nothing behind it is looked at.
    refusal: Option<EngineError>,
}

impl Control {
    /// Takes in entries whose signatures have been checked. On return what was new is durable.
    pub(crate) fn receive(&mut self, id: VolumeId, entries: Vec<SignedEntry>) -> Result<Received, EngineError> {
        let (store, keys) = (self.store.clone(), self.keys.clone());
        let held = self.held(id)?;
        let (mut outcome, mut entries) = (Outcome::default(), VecDeque::from(entries));
        let mut done = Ok(());
        while done.is_ok() && !entries.is_empty() && outcome.refusal.is_none() {
            done = held.receive(&store, &keys, &mut entries, &mut outcome);
        }
        let frontier = held.volume.frontier();
        if outcome.fresh {
            self.tell(&Event::Appended(id));
            self.tell(&Event::Wanted(id));
        }
        if outcome.members {
            self.members_changed(id);
        }
        if outcome.withdrawn {
            self.tell(&Event::Withdrawn(id));
        }
        done?;
        // What came before the entry that is refused is taken in all the same.
        let lacks = outcome.lacks.filter(|_| outcome.parted.is_empty());
        outcome.refusal.or(lacks).map_or(Ok(Received { frontier, parted: outcome.parted }), Err)
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

    /// Takes in what can be, up to where a form of a log is given up: what follows is judged by what is here then.
    fn receive(
        &mut self,
        store: &Store,
        keys: &Keypair,
        entries: &mut VecDeque<SignedEntry>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        let (frontier, roster, disputes) =
            (self.volume.frontier(), self.more.roster.clone(), self.more.disputes.clone());
        let (fresh, known, cuts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let own = keys.peer();
        let mut intake = Intake { own, frontier, roster, fresh, known, disputes, cuts, is_torn: false };
        let mut overlay = Overlay::new(&self.volume);
        let mut own_fork = None;
        while let Some(signed) = entries.pop_front() {
            let log = signed.entry.log;
            if let Body::Withdraw(given) = &signed.entry.body {
                own_fork = self.uncopied(&intake, given)?;
                // What it takes away is committed before.
                if own_fork.is_some() || intake.known.contains_key(&(given.log, given.seq)) {
                    entries.push_front(signed);
                    break;
                }
            }
            let own_one = (log.origin == own).then(|| signed.clone());
            match self.take_in(&mut intake, &mut overlay, signed) {
                Ok(None) => {}
                Ok(Some(parted)) => {
                    outcome.parted.insert(log, parted);
                    if let Some(own_one) = own_one.filter(|_| parted.is_first) {
                        own_fork = Some((log, parted.seq));
                        entries.push_front(own_one);
                        break;
                    }
                }
                Err(error @ EngineError::NotYet { .. }) => outcome.lacks = Some(error),
                Err(error) => outcome.refusal = Some(error),
            }
            if std::mem::take(&mut intake.is_torn) {
                overlay = applied(&self.volume, &intake.fresh)?;
            }
            if outcome.refusal.is_some() || !intake.cuts.is_empty() {
                break;
            }
        }
        let changes = overlay.into_changes();
        self.keep(store, intake, changes, outcome)?;
        if let Some((log, seq)) = own_fork {
            self.copy_out(store, keys, (log, seq))?;
            (outcome.fresh, outcome.withdrawn) = (true, true);
        }
        Ok(())
    }

    /// Commits what was taken in.
    fn keep(
        &mut self,
        store: &Store,
        intake: Intake,
        changes: Changes,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        let Intake { fresh, disputes, cuts, .. } = intake;
        if fresh.is_empty() && disputes == self.more.disputes {
            return Ok(());
        }
        outcome.members |=
            fresh.iter().any(|signed| !matches!(signed.entry.body, Body::Patches(_) | Body::Withdraw(_)));
        outcome.fresh |= !fresh.is_empty();
        let before = (self.state.log, self.more.clone());
        // Entries of our own that we lack: this peer is older than its log. It goes on in a new one.
        let is_older = fresh.iter().any(|signed| Some(signed.entry.log) == self.state.log);
        if is_older || self.state.log.is_some_and(|log| cuts.contains_key(&log)) {
            self.state.log = None;
        }
        self.more.disputes = disputes;
        for signed in &fresh {
            if let Body::Withdraw(given) = &signed.entry.body {
                self.more.disputes.remove(&given.log);
                self.note_withdrawn(given.log, given.seq - 1);
                outcome.withdrawn = true;
            }
        }
        let missing = missing(store, &fresh)?;
        let draft = Draft { changes, entries: fresh, cuts, missing, ..Draft::default() };
        failpoint::pass(Point::ReceiveBefore);
        self.commit(store, draft).inspect_err(|_| (self.state.log, self.more) = before)?;
        failpoint::pass(Point::ReceiveAfter);
        self.queue.look_again();
        Ok(())
    }

    /// Takes in one entry, or says where its log differs from the form that is here.
    fn take_in(
        &self,
        intake: &mut Intake,
        overlay: &mut Overlay<'_>,
        signed: SignedEntry,
    ) -> Result<Option<Parted>, EngineError> {
        let (log, seq) = (signed.entry.log, signed.entry.seq);
        let held = intake.frontier.seq(log);
        if seq <= held {
            return self.same_as_known(intake, &signed);
        }
        if let Some(Dispute { seq, .. }) = intake.disputes.get(&log) {
            return Ok(Some(Parted { seq: *seq, is_first: true }));
        }
        let is_here = |(dep, seq): &(LogId, u64)| intake.frontier.seq(*dep) >= self.certain(*dep, *seq);
        if seq != held + 1 || !signed.entry.deps.iter().all(is_here) {
            return Err(EngineError::NotYet { seq });
        }
        let last = self.known_of(intake, log, held)?;
        let head = last.map_or(EntryHash::NONE, |(hash, _)| hash);
        if signed.entry.prev != head {
            let evidence = Dispute { seq: held, here: head, there: signed.entry.prev };
            return Ok(Some(part(intake, log, evidence, held == 1)));
        }
        self.check_time(intake, &signed, last.map(|(_, time)| time))?;
        intake.roster.permits(&signed.entry)?;
        for patch in signed.entry.patches() {
            let applied = overlay.apply(Arc::new(patch.clone()), patch.id(), signed.entry.time);
            if let Err(error) = applied {
                intake.is_torn = true;
                return Err(lacks_or_forged(overlay, seq, error));
            }
        }
        if let Body::Withdraw(given) = &signed.entry.body
            && self.known_of(intake, given.log, given.seq)?.is_some_and(|(hash, _)| hash == given.hash)
        {
            if !self.is_copied(intake, given)? {
                return Err(EngineError::NotCopied { seq });
            }
            intake.cuts.insert(given.log, given.seq - 1);
        }
        intake.roster.apply(&signed.entry);
        intake.frontier.advance(log, seq);
        intake.known.insert((log, seq), (signed.entry.hash(), signed.entry.time));
        intake.fresh.push(signed);
        Ok(None)
    }

    /// The same entry again is harmless; another one with its number means that its log has two forms.
    fn same_as_known(&self, intake: &mut Intake, signed: &SignedEntry) -> Result<Option<Parted>, EngineError> {
        let (log, seq, there) = (signed.entry.log, signed.entry.seq, signed.entry.hash());
        let Some((here, _)) = self.known_of(intake, log, seq)? else { return Ok(None) };
        if here == there {
            return Ok(None);
        }
        let before = self.known_of(intake, log, seq - 1)?.map_or(EntryHash::NONE, |(hash, _)| hash);
        Ok(Some(part(intake, log, Dispute { seq, here, there }, signed.entry.prev == before)))
    }

    fn known_of(&self, intake: &Intake, log: LogId, seq: u64) -> Result<Option<(EntryHash, Time)>, StoreError> {
        match intake.known.get(&(log, seq)) {
            Some(known) => Ok(Some(*known)),
            None => self.volume.entry_known(log, seq),
        }
    }

    /// How far a log must be here for what depends on its entry `seq`: where a form of it was given up, what is
    /// meant by that number may be elsewhere.
    fn certain(&self, log: LogId, seq: u64) -> u64 {
        self.more.withdrawn.get(&log).map_or(seq, |last| seq.min(*last))
    }

    fn check_time(&self, intake: &Intake, signed: &SignedEntry, before: Option<Time>) -> Result<(), EngineError> {
        let is_certain = |log: LogId, seq| {
            self.certain(log, seq) == seq && intake.disputes.get(&log).is_none_or(|dispute| seq < dispute.seq)
        };
        let mut deps = Vec::with_capacity(signed.entry.deps.len());
        for (dep, seq) in signed.entry.deps.iter().filter(|(dep, seq)| is_certain(*dep, *seq)) {
            let known = self.known_of(intake, *dep, *seq)?;
            deps.push((*dep, known.map_or(Time::default(), |(_, time)| time)));
        }
        let seq = signed.entry.seq;
        if !signed.entry.is_dated_after(before, []) {
            return Err(EngineError::Backdated { seq });
        }
        // What is here by that number may be another form of it than the one that is meant; that shows in time.
        if !signed.entry.is_dated_after(None, deps) {
            return Err(EngineError::NotYet { seq });
        }
        let ahead = signed.entry.time.ms().saturating_sub(self.env.wall_ms());
        if ahead > CLOCK_AHEAD_MS_MAX {
            return Err(EngineError::Clock { ahead_s: ahead / 1000 });
        }
        Ok(())
    }

    /// Where this peer's disk went back to before it withdrew that form, and it appended more to it since: from where on
    /// that is to be copied.
    fn uncopied(&self, intake: &Intake, given: &Withdraw) -> Result<Option<(LogId, u64)>, EngineError> {
        let here = self.volume.entry_known(given.log, given.seq)?;
        let own = given.log.origin == intake.own && here.is_some_and(|(hash, _)| hash == given.hash);
        let is_lost = own && !self.is_copied(intake, given)?;
        Ok(is_lost.then_some((given.log, given.seq)))
    }

    /// Whether somebody else, or another log, attests all that the form that is given up does: nothing of it is lost.
    fn is_copied(&self, intake: &Intake, given: &Withdraw) -> Result<bool, EngineError> {
        let copied: BTreeSet<PatchId> =
            intake.fresh.iter().flat_map(|signed| signed.entry.patches()).map(Patch::id).collect();
        for seq in given.seq..=self.volume.frontier().seq(given.log) {
            let Some(signed) = self.volume.entry(given.log, seq)? else { continue };
            for id in signed.entry.patches().iter().map(Patch::id).filter(|id| !copied.contains(id)) {
                let attested = self.volume.attestations(id)?;
                if attested.iter().all(|(log, at, _)| *log == given.log && *at >= given.seq) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// What a patch rests on is not known. That may be in a form of a log that is not here, and come yet.
fn lacks_or_forged(overlay: &Overlay<'_>, seq: u64, error: ApplyError) -> EngineError {
    let lacks = match &error {
        ApplyError::Unborn(_) | ApplyError::Parent(_) => true,
        ApplyError::Supersedes { superseded, .. } => matches!(overlay.patch(*superseded), Ok(None)),
        _ => false,
    };
    if lacks { EngineError::NotYet { seq } } else { error.into() }
}

/// Notes that a log has two forms. Its author settles that itself, so it is no dispute to it.
fn part(intake: &mut Intake, log: LogId, evidence: Dispute, is_first: bool) -> Parted {
    let known = intake.disputes.get(&log).is_some_and(|known| known.seq <= evidence.seq);
    if !known && log.origin != intake.own {
        tracing::warn!(origin = %log.origin, seq = evidence.seq, "a log has two forms; nothing more of it is taken");
        intake.disputes.insert(log, evidence);
    }
    Parted { seq: evidence.seq, is_first }
}

/// Facts with these entries applied, which have been before.
fn applied<'a>(volume: &'a Volume, fresh: &[SignedEntry]) -> Result<Overlay<'a>, EngineError> {
    let mut overlay = Overlay::new(volume);
    for signed in fresh {
        for patch in signed.entry.patches() {
            overlay.apply(Arc::new(patch.clone()), patch.id(), signed.entry.time)?;
        }
    }
    Ok(overlay)
}

/// The contents of these entries that are not known to be all here.
fn missing(store: &Store, fresh: &[SignedEntry]) -> Result<BTreeMap<Root, Option<u64>>, EngineError> {
    let wanted = contents(fresh.iter().flat_map(|signed| signed.entry.patches()));
    let ids: Vec<_> = wanted.iter().map(|(root, _)| root.id).collect();
    let present = store.has_chunks(&ids)?;
    let lacking = wanted.into_iter().zip(present).filter(|((root, _), present)| root.depth > 0 || !present);
    Ok(lacking.map(|((root, len), _)| (root, Some(len))).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests;
