//! What bytes are lacking, whom to ask for them, and what their arrival completes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::held::{Cursor, Duty};
use super::window::ask_again_after;
use super::{Control, Held};
use crate::engine::Event;
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::limits::{FETCH_CONTENTS_MAX, LOOKUPS_MAX};
use crate::model::chunk::Unpacker;
use crate::model::ids::{ChunkId, PeerId, VolumeId};
use crate::model::patch::Root;
use crate::plan::fetch::{Outcome, Wanted};
use crate::store::Store;

/// A peer's answer for one chunk: it came, was proven and is in the store, or the peer lacks it.
pub(crate) struct Answer {
    pub(crate) id: ChunkId,
    pub(crate) came: bool,
}

/// What is to be fetched and has not been given to the scheduler yet.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Contents that the tree waits for.
    tree: VecDeque<Wanted>,
    /// How far the missing contents have been taken in.
    history: Cursor<Root>,
    /// Contents that no connected peer has.
    unavailable: Vec<Wanted>,
    /// When to ask for them again, and how often in a row that was in vain.
    again: Option<Instant>,
    asked: u32,
}

/// What the tree shows comes first, the past after it.
const RANK_TREE: u32 = 0;
const RANK_HISTORY: u32 = 1;
/// Contents of the past that are taken in at once.
const HISTORY_PAGE: usize = 1024;
/// Completed contents are noted together.
const NOTE_AFTER: Duration = Duration::from_millis(200);

impl Queue {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn tree_wants(&mut self, wanted: Wanted) {
        self.tree.push_back(wanted);
    }

    /// There may be missing contents that have not been seen, or peers that have them now.
    pub(crate) fn look_again(&mut self) {
        self.history = Cursor::Start;
        self.tree.extend(self.unavailable.drain(..));
        (self.again, self.asked) = (None, 0);
    }

    fn nobody_has(&mut self, wanted: Wanted, now: Instant) {
        self.unavailable.push(wanted);
        self.again.get_or_insert(now + ask_again_after(self.asked));
    }

    /// When to ask again for what nobody had: somebody may have got it.
    pub(crate) fn again(&self) -> Option<Instant> {
        self.again
    }

    /// Asks again, if it is time.
    fn ask_again(&mut self, now: Instant) -> bool {
        let is_due = self.again.is_some_and(|at| at <= now);
        if is_due {
            let asked = self.asked + 1;
            self.look_again();
            self.asked = asked;
        }
        is_due
    }
}

impl Control {
    /// What to ask this peer for now over that connection: nothing over one that another has replaced, for what
    /// it takes along when it ends would never be asked for again.
    pub(crate) fn wanted(&mut self, id: VolumeId, peer: PeerId, link: u64) -> Result<Vec<ChunkId>, EngineError> {
        if self.up.get(&peer) != Some(&link) {
            return Ok(Vec::new());
        }
        let store = self.store.clone();
        let held = self.held(id)?;
        held.want_more()?;
        held.look_up(&store)?;
        held.collect();
        Ok(held.fetch.next(peer, held.env.wall_ms()).map(|ask| ask.ids).unwrap_or_default())
    }

    /// A peer answered; what it sent is in the store already.
    pub(crate) fn answered(&mut self, id: VolumeId, peer: PeerId, answers: Vec<Answer>) -> Result<(), EngineError> {
        failpoint::pass(Point::FetchCame);
        let store = self.store.clone();
        let held = self.held(id)?;
        for answer in answers {
            if answer.came {
                held.came(&store, answer.id)?;
            } else {
                held.fetch.lacks(peer, answer.id);
            }
        }
        held.look_up(&store)?;
        held.collect();
        self.tell(&Event::Wanted(id));
        Ok(())
    }

    pub(crate) fn peer_up(&mut self, peer: PeerId, link: u64) {
        let came = self.up.insert(peer, link).is_none();
        for held in self.volumes.values_mut() {
            held.can_ask([&peer]);
            if came {
                held.window.ask_again();
            }
        }
        self.tell_wanted();
    }

    /// A volume came, or its members changed: those of them that are connected can be asked.
    pub(crate) fn members_changed(&mut self, id: VolumeId) {
        if let Some(held) = self.volumes.get_mut(&id) {
            held.can_ask(self.up.keys());
            held.window.ask_again();
        }
        self.tell(&Event::Members(id));
        self.tell(&Event::Wanted(id));
    }

    pub(crate) fn peer_down(&mut self, peer: PeerId) {
        self.up.remove(&peer);
        for held in self.volumes.values_mut() {
            held.fetch.gone(peer);
            held.collect();
        }
        self.tell_wanted();
    }

    fn tell_wanted(&self) {
        for id in self.volumes.keys() {
            self.tell(&Event::Wanted(*id));
        }
    }
}

impl Held {
    /// Those of these peers that are members can be asked, perhaps for more than before.
    fn can_ask<'a>(&mut self, up: impl IntoIterator<Item = &'a PeerId>) {
        for peer in up {
            if self.more.roster.members.contains_key(peer) {
                self.fetch.connected(*peer);
                self.queue.look_again();
            }
        }
    }

    /// Gives the scheduler as much as it takes.
    fn want_more(&mut self) -> Result<(), EngineError> {
        while let Some(wanted) = self.queue.tree.front()
            && self.fetch.want(*wanted, RANK_TREE)
        {
            self.queue.tree.pop_front();
        }
        while let Some(after) = self.queue.history.after()
            && self.queue.tree.is_empty()
            && self.fetch.room() >= FETCH_CONTENTS_MAX / 2
        {
            let page = self.volume.missing(after, HISTORY_PAGE)?;
            self.queue.history = Cursor::behind(page.last().map(|(root, _)| *root));
            for (root, len) in page {
                if !self.completed.contains(&root) && !self.fetch.want(Wanted { root, len }, RANK_HISTORY) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tells the scheduler what the store has already.
    fn look_up(&mut self, store: &Store) -> Result<(), EngineError> {
        let mut unpacker = Unpacker::new();
        loop {
            let lookups = self.fetch.unknown(LOOKUPS_MAX);
            if lookups.is_empty() {
                return Ok(());
            }
            let ids: Vec<ChunkId> = lookups.iter().map(|lookup| lookup.id).collect();
            for (lookup, held) in lookups.iter().zip(store.has_chunks(&ids)?) {
                match held {
                    false => self.fetch.absent(lookup.id),
                    true if !lookup.list => self.fetch.here(lookup.id, None),
                    true => {
                        let stored = store.chunk(lookup.id)?.unwrap_or_default();
                        match unpacker.unpack(lookup.id, &stored) {
                            Ok(raw) => self.fetch.here(lookup.id, Some(raw)),
                            Err(_) => self.fetch.absent(lookup.id),
                        }
                    }
                }
            }
        }
    }

    /// A chunk is in the store now.
    fn came(&mut self, store: &Store, id: ChunkId) -> Result<(), EngineError> {
        if !self.fetch.is_list(id) {
            self.fetch.here(id, None);
        } else if let Some(stored) = store.chunk(id)?
            && let Ok(raw) = Unpacker::new().unpack(id, &stored)
        {
            self.fetch.arrived(id, raw);
        }
        Ok(())
    }

    /// Whether peers are to look what there is to fetch, because others may be late or have got what they lacked.
    pub(super) fn is_to_nudge(&mut self) -> bool {
        let now = self.env.now();
        let is_late = self.nudge_due().is_some_and(|due| due <= now);
        if is_late {
            self.nudged = now;
        }
        self.queue.ask_again(now) || is_late
    }

    /// Takes what the scheduler is done with.
    pub(super) fn collect(&mut self) {
        let mut any = false;
        for (wanted, outcome) in self.fetch.finished() {
            match outcome {
                Outcome::Complete => {
                    any = true;
                    self.completed.insert(wanted.root);
                    self.window.arrived(wanted.root);
                }
                Outcome::Unavailable => {
                    if !self.window.make_room(wanted.root) {
                        self.queue.nobody_has(wanted, self.env.now());
                    }
                }
                Outcome::Broken(error) => {
                    tracing::warn!(content = %wanted.root.id.short(), %error, "a content that nobody can read");
                    self.trouble(Duty::Fetch, Some(error.to_string()));
                }
            }
        }
        if any {
            self.window.wake(self.env.now() + NOTE_AFTER);
        }
    }
}
