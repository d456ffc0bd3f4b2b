//! The exchange of one volume's log with one peer: who knows what of whom, what is under way, what comes next.
//!
//! Never sent: what the other side has told us that it has, and what we have sent already. Never lost: what
//! was sent and not taken is told anew by the other side's next `Volume`.

use std::collections::{BTreeMap, VecDeque};

use pfs_engine::handle::{Parted, Received};
use pfs_engine::model::entry::SignedEntry;
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{LogId, VolumeId};

use super::limits::{ENTRIES_BYTES, LOAD_BYTES_MAX, RETRY_MS, RETRY_MS_MAX, WINDOW_BYTES};
use super::message::{Message, entry_bytes};
use super::session::{Action, ProtocolViolation, StoreRefusal};

/// What all volumes of a session share: its windows, and where actions go.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) actions: VecDeque<Action>,
    /// Sent and not acknowledged, or reserved for a load.
    unacked: usize,
    /// Received and not stored.
    unstored: usize,
}

impl Common {
    pub(super) fn send(&mut self, message: Message) {
        self.actions.push_back(Action::Send(message));
    }
}

/// One volume.
#[derive(Debug)]
pub(super) struct Exchange {
    volume: VolumeId,
    /// By our log the remote is a member.
    listed: bool,
    /// The remote showed us that it is one: it admitted us, we admitted it, or it named a volume of which we
    /// have nothing yet. Our log may be behind; the entries that it sends are checked in any case.
    vouched: bool,
    /// What we have; nothing if it is no volume of ours.
    mine: Option<Frontier>,
    /// What the remote knows that we have; nothing before we sent `Volume`.
    said: Option<Frontier>,
    /// `Volume` was sent once: the remote may send entries.
    greeted: bool,
    /// What the remote has told us that it has and what we have sent it; nothing before it sent `Volume`.
    theirs: Option<Frontier>,
    /// What the remote has and our side has not been told, because it counts as a member only later.
    untold: Frontier,
    /// Bytes of each message of entries not yet acknowledged.
    in_flight: VecDeque<usize>,
    supply: Supply,
    /// Logs of which the remote has another form, and what it was shown of ours.
    shown: BTreeMap<LogId, Shown>,
    /// Messages and bytes that are being stored.
    storing: Option<Batch>,
    /// Received since.
    waiting: Vec<SignedEntry>,
    batch: Batch,
    /// When to say `Volume` again after entries that could not be taken.
    retry_at_ms: Option<u64>,
    refusals: u32,
}

/// Where our side is with reading entries for the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// May be asked.
    Ready,
    /// Is asked; whether there was news meanwhile, which the answer may not hold yet.
    Loading { news: bool },
    /// Had nothing new: is not asked again before there is news.
    Dry,
}

/// Our form of a log, for one who has another.
#[derive(Debug, Clone, Copy)]
struct Shown {
    /// From this entry on.
    from: u64,
    /// How often it was shown from further back.
    steps: u32,
    /// Whether it is on its way.
    is_sent: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    messages: u32,
    bytes: usize,
}

impl Exchange {
    pub(super) fn new(volume: VolumeId) -> Self {
        Self {
            volume,
            listed: false,
            vouched: false,
            mine: None,
            said: None,
            greeted: false,
            theirs: None,
            untold: Frontier::default(),
            in_flight: VecDeque::new(),
            supply: Supply::Ready,
            shown: BTreeMap::new(),
            storing: None,
            waiting: Vec::new(),
            batch: Batch::default(),
            retry_at_ms: None,
            refusals: 0,
        }
    }

    /// Whether the remote counts as a member.
    pub(super) fn is_member(&self) -> bool {
        self.listed || self.vouched
    }

    /// Whether each side has told the other that it takes it for a member.
    pub(super) fn is_open(&self) -> bool {
        self.said.is_some() && self.theirs.is_some()
    }

    /// Whether we know of it only from one that is no member.
    pub(super) fn is_strange(&self) -> bool {
        self.theirs.is_some() && !self.is_member()
    }

    /// Logs that the remote said it has.
    pub(super) fn logs(&self) -> usize {
        self.theirs.as_ref().map_or(0, |theirs| theirs.0.len())
    }

    pub(super) fn retry_at_ms(&self) -> Option<u64> {
        self.retry_at_ms
    }

    /// What our side has now, and whether its log lists the remote. True if the remote was just removed.
    pub(super) fn standing(&mut self, common: &mut Common, frontier: Option<Frontier>, listed: bool) -> bool {
        let removed = self.listed && !listed;
        if removed {
            self.vouched = false;
            self.said = None;
        }
        self.listed = listed;
        match (&mut self.mine, frontier) {
            (Some(mine), Some(frontier)) => join(mine, &frontier),
            (mine, frontier) => *mine = frontier,
        }
        self.supply.refresh();
        self.trust_first_words();
        self.tell_holds(common);
        self.introduce(common);
        self.tell_news(common);
        self.pump(common);
        removed
    }

    /// The remote is taken for a member from now on, whatever our log says yet.
    pub(super) fn vouch(&mut self, common: &mut Common) {
        self.vouched = true;
        self.tell_holds(common);
        self.introduce(common);
        self.pump(common);
    }

    /// The remote says what it has.
    pub(super) fn heard_volume(&mut self, common: &mut Common, frontier: Frontier) {
        join(&mut self.untold, &frontier);
        let theirs = self.theirs.insert(frontier);
        for (log, shown) in self.shown.iter().filter(|(_, shown)| !shown.is_sent) {
            theirs.0.insert(*log, shown.from - 1);
        }
        self.trust_first_words();
        self.tell_holds(common);
        self.supply.refresh();
        self.introduce(common);
        self.pump(common);
    }

    /// The remote says what it has by now, and how many of our messages that answers.
    pub(super) fn heard_frontier(
        &mut self,
        common: &mut Common,
        frontier: &Frontier,
        taken: u32,
    ) -> Result<(), ProtocolViolation> {
        let Some(theirs) = self.theirs.as_mut() else { return Err(ProtocolViolation::OutOfState("Frontier")) };
        join(theirs, frontier);
        join(&mut self.untold, frontier);
        self.tell_holds(common);
        for _ in 0..taken {
            let bytes = self.in_flight.pop_front().ok_or(ProtocolViolation::OutOfState("acknowledgement"))?;
            common.unacked -= bytes;
        }
        self.tell_news(common);
        Ok(())
    }

    /// Entries arrived.
    pub(super) fn heard_entries(
        &mut self,
        common: &mut Common,
        entries: Vec<SignedEntry>,
    ) -> Result<(), ProtocolViolation> {
        let Some(theirs) = self.theirs.as_mut() else { return Err(ProtocolViolation::OutOfState("Entries")) };
        let bytes: usize = entries.iter().map(entry_bytes).sum();
        if common.unstored + bytes > WINDOW_BYTES {
            return Err(ProtocolViolation::Flood);
        }
        if !self.greeted {
            return Err(ProtocolViolation::OutOfState("Entries"));
        }
        if entries.iter().any(|signed| signed.entry.volume != self.volume) {
            return Err(ProtocolViolation::WrongVolume);
        }
        for SignedEntry { entry, .. } in &entries {
            theirs.advance(entry.log, entry.seq);
            // Who sends entries holds them.
            self.untold.advance(entry.log, entry.seq);
        }
        self.tell_holds(common);
        if !self.is_member() || self.mine.is_none() {
            self.acknowledge(common, 1);
            return Ok(());
        }
        common.unstored += bytes;
        self.batch.messages += 1;
        self.batch.bytes += bytes;
        self.waiting.extend(entries);
        self.store(common);
        Ok(())
    }

    /// What became of `Action::Store`. An error ends the session.
    pub(super) fn stored(
        &mut self,
        common: &mut Common,
        result: Result<Received, StoreRefusal>,
        now_ms: u64,
    ) -> Result<(), String> {
        let Some(batch) = self.storing.take() else { return Ok(()) };
        common.unstored -= batch.bytes;
        match result {
            Ok(Received { frontier, parted }) => {
                self.refusals = 0;
                join(self.mine.get_or_insert_default(), &frontier);
                for (log, parted) in parted {
                    self.show_ours(log, parted);
                }
            }
            Err(StoreRefusal::Hostile(reason)) => return Err(reason),
            Err(StoreRefusal::NotYet | StoreRefusal::Failed) => {
                let wait = RETRY_MS.saturating_mul(1 << self.refusals.min(20)).min(RETRY_MS_MAX);
                self.refusals += 1;
                self.retry_at_ms = Some(now_ms + wait);
            }
        }
        self.acknowledge(common, batch.messages);
        self.store(common);
        self.pump(common);
        Ok(())
    }

    /// Two forms of these logs are known here: the remote is shown ours, once.
    pub(super) fn show(&mut self, common: &mut Common, disputes: BTreeMap<LogId, u64>) {
        for (log, seq) in disputes {
            self.show_ours(log, Parted { seq, is_first: true });
        }
        self.pump(common);
    }

    /// The remote has another form of a log than we: we send ours from where they part, so that it knows as well, and
    /// its author can settle it. Where that is not known yet, from further back each time, until one of us finds it.
    fn show_ours(&mut self, log: LogId, Parted { seq, is_first }: Parted) {
        let shown = self.shown.entry(log).or_insert(Shown { from: u64::MAX, steps: 0, is_sent: true });
        let back = if is_first { 0 } else { 1 << shown.steps.min(62) };
        let wanted = seq.saturating_sub(back).max(1);
        if wanted < shown.from {
            *shown = Shown { from: wanted, steps: shown.steps + 1, is_sent: false };
        }
        // What the remote sends of it meanwhile says that it has more, and is no reason not to.
        if let (false, Some(theirs)) = (shown.is_sent, self.theirs.as_mut()) {
            theirs.0.insert(log, shown.from - 1);
            self.supply.refresh();
        }
    }

    /// What `Action::Load` brought.
    pub(super) fn loaded(&mut self, common: &mut Common, entries: Vec<SignedEntry>) {
        let Supply::Loading { news } = self.supply else { return };
        self.supply = Supply::Ready;
        common.unacked -= LOAD_BYTES_MAX;
        let Some(theirs) = self.theirs.as_mut().filter(|_| self.said.is_some()) else { return };
        let mut pages: Vec<(Vec<SignedEntry>, usize)> = Vec::new();
        let mut total = 0;
        for signed in entries {
            let (log, seq, bytes) = (signed.entry.log, signed.entry.seq, entry_bytes(&signed));
            if theirs.seq(log) >= seq {
                continue;
            }
            total += bytes;
            if total > LOAD_BYTES_MAX {
                break;
            }
            theirs.advance(log, seq);
            if let Some(shown) = self.shown.get_mut(&log) {
                shown.is_sent |= seq == shown.from;
            }
            match pages.last_mut().filter(|(_, page)| page + bytes <= ENTRIES_BYTES) {
                Some((page, size)) => {
                    page.push(signed);
                    *size += bytes;
                }
                None => pages.push((vec![signed], bytes)),
            }
        }
        if pages.is_empty() && !news {
            self.supply = Supply::Dry;
        }
        for (entries, bytes) in pages {
            common.unacked += bytes;
            self.in_flight.push_back(bytes);
            if let Some(said) = self.said.as_mut() {
                for SignedEntry { entry, .. } in &entries {
                    said.advance(entry.log, entry.seq);
                }
            }
            common.send(Message::Entries { volume: self.volume, entries });
        }
        self.pump(common);
    }

    /// Says `Volume` again where entries could not be taken and it is time.
    pub(super) fn handle_timeout(&mut self, common: &mut Common, now_ms: u64) {
        if self.retry_at_ms.is_some_and(|at| at <= now_ms) {
            self.retry_at_ms = None;
            if self.said.take().is_some() {
                self.introduce(common);
            }
        }
    }

    /// Asks for what the remote lacks, if anything, and if there is room in the window.
    pub(super) fn pump(&mut self, common: &mut Common) {
        let (Some(mine), Some(theirs)) = (&self.mine, &self.theirs) else { return };
        let idle = self.supply == Supply::Ready && self.is_member() && self.said.is_some();
        if idle && common.unacked + LOAD_BYTES_MAX <= WINDOW_BYTES && !theirs.covers(mine) {
            self.supply = Supply::Loading { news: false };
            common.unacked += LOAD_BYTES_MAX;
            let after = theirs.clone();
            common.actions.push_back(Action::Load { volume: self.volume, after, bytes_max: ENTRIES_BYTES });
        }
    }

    /// Of a volume of which nothing is here yet, whoever speaks may be heard: the genesis proves itself, and the
    /// entries prove the rest.
    fn trust_first_words(&mut self) {
        if self.theirs.is_some() && self.mine.as_ref().is_some_and(|mine| mine.0.is_empty()) {
            self.vouched = true;
        }
    }

    /// First words about the volume, once, to a member.
    fn introduce(&mut self, common: &mut Common) {
        if let (Some(mine), None, true) = (&self.mine, &self.said, self.is_member()) {
            self.said = Some(mine.clone());
            self.greeted = true;
            common.send(Message::Volume { volume: self.volume, frontier: mine.clone() });
        }
    }

    /// Tells our side what a member has.
    fn tell_holds(&mut self, common: &mut Common) {
        if self.is_member() && !self.untold.0.is_empty() {
            let frontier = std::mem::take(&mut self.untold);
            common.actions.push_back(Action::Holds { volume: self.volume, frontier });
        }
    }

    /// Tells what we got elsewhere and the remote already has: it would otherwise send it once more.
    fn tell_news(&mut self, common: &mut Common) {
        let (Some(mine), Some(said), Some(theirs)) = (&self.mine, &mut self.said, &self.theirs) else { return };
        let held = |(log, seq): &(_, u64)| theirs.seq(*log) >= *seq;
        let news = Frontier(beyond(mine, said).filter(held).collect());
        if self.storing.is_none() && !news.0.is_empty() {
            join(said, &news);
            common.send(Message::Frontier { volume: self.volume, frontier: news, taken: 0 });
        }
    }

    fn acknowledge(&mut self, common: &mut Common, taken: u32) {
        let (Some(mine), Some(said)) = (&self.mine, &mut self.said) else {
            common.send(Message::Frontier { volume: self.volume, frontier: Frontier::default(), taken });
            return;
        };
        let frontier = Frontier(beyond(mine, said).collect());
        join(said, &frontier);
        common.send(Message::Frontier { volume: self.volume, frontier, taken });
    }

    /// Hands on all that has arrived as one commit, one at a time.
    fn store(&mut self, common: &mut Common) {
        if self.storing.is_none() && !self.waiting.is_empty() {
            self.storing = Some(std::mem::take(&mut self.batch));
            let entries = std::mem::take(&mut self.waiting);
            common.actions.push_back(Action::Store { volume: self.volume, entries });
        }
    }
}

impl Supply {
    fn refresh(&mut self) {
        *self = match self {
            Self::Ready | Self::Dry => Self::Ready,
            Self::Loading { .. } => Self::Loading { news: true },
        };
    }
}

fn join(all: &mut Frontier, more: &Frontier) {
    more.0.iter().for_each(|(&log, &seq)| all.advance(log, seq));
}

/// The logs of which `frontier` has more than `known`.
fn beyond(frontier: &Frontier, known: &Frontier) -> impl Iterator<Item = (LogId, u64)> {
    frontier.0.iter().map(|(&log, &seq)| (log, seq)).filter(|&(log, seq)| seq > known.seq(log))
}
