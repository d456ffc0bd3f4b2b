//! The gaps of all contents in the making, and their indexes. Whoever changes a gap does it through [`Gaps`], so
//! the indexes are always those of the gaps.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Wanted;
use crate::model::ids::{ChunkId, PeerId};

/// A chunk that is not known to be here, or a list that is not opened yet.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) waiters: BTreeSet<Waiter>,
    pub(super) order: Order,
    pub(super) state: State,
    /// Connected peers that said so.
    pub(super) lacks: BTreeSet<PeerId>,
    /// Expected, raw.
    pub(super) bytes: u64,
    /// Whether it lies below a root.
    pub(super) below: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Unknown,
    LookedUp,
    Missing,
    /// At so many peers.
    Asked(usize),
    /// A list of this depth that is here.
    Shelved(u8),
}

/// What waits for a chunk: a content, for a list of `depth` or (0) for data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiter {
    pub(super) content: Wanted,
    pub(super) depth: u8,
    pub(super) len: u64,
}

/// By rank, then content by content, its lists before its data because more depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) rank: u32,
    pub(super) begun: u64,
    pub(super) is_data: bool,
    pub(super) found: u64,
}

/// Chunks that are asked for alike: of a rank those first that more peers lack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    pub(super) rank: u32,
    lacking: Reverse<usize>,
    pub(super) lacks: BTreeSet<PeerId>,
}

impl Gap {
    pub(super) fn is_list(&self) -> bool {
        self.waiters.iter().any(|waiter| waiter.depth > 0)
    }

    pub(super) fn one_asked_more(&mut self) {
        self.state = match self.state {
            State::Asked(peers) => State::Asked(peers + 1),
            _ => State::Asked(1),
        };
    }

    pub(super) fn one_asked_less(&mut self) {
        self.state = match self.state {
            State::Asked(1) => State::Missing,
            State::Asked(peers) => State::Asked(peers - 1),
            state => state,
        };
    }

    pub(super) fn is_shelved(&self) -> bool {
        matches!(self.state, State::Shelved(_))
    }

    fn class(&self) -> Class {
        Class { rank: self.order.rank, lacking: Reverse(self.lacks.len()), lacks: self.lacks.clone() }
    }
}

/// What the gaps below roots come to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Below {
    /// All of them.
    pub(super) count: usize,
    /// Expected, raw.
    pub(super) bytes: u64,
    /// Those that are not on the shelf.
    pub(super) under_way: usize,
}

/// All gaps.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    by_id: BTreeMap<ChunkId, Gap>,
    below: Below,
    /// Those in state `Unknown`.
    unknown: BTreeMap<Order, ChunkId>,
    /// Those in state `Missing`.
    missing: BTreeMap<Class, BTreeMap<Order, ChunkId>>,
    /// Those in state `Shelved`, the deepest lists first: what lies below them is soon data.
    shelf: BTreeMap<(u8, Order), ChunkId>,
}

impl Gaps {
    pub(super) fn get(&self, id: ChunkId) -> Option<&Gap> {
        self.by_id.get(&id)
    }

    pub(super) fn ids(&self, filter: impl Fn(&Gap) -> bool) -> Vec<ChunkId> {
        self.by_id.iter().filter(|(_, gap)| filter(gap)).map(|(id, _)| *id).collect()
    }

    pub(super) fn below(&self) -> Below {
        self.below
    }

    pub(super) fn first_unknown(&self) -> Option<ChunkId> {
        self.unknown.values().next().copied()
    }

    pub(super) fn first_shelved(&self) -> Option<ChunkId> {
        self.shelf.values().next().copied()
    }

    /// What can be asked of a peer, in order.
    pub(super) fn ready_for(&self, peer: PeerId) -> impl Iterator<Item = ChunkId> {
        let classes = self.missing.iter().filter(move |(class, _)| !class.lacks.contains(&peer));
        classes.flat_map(|(_, ids)| ids.values().copied())
    }

    pub(super) fn put(&mut self, id: ChunkId, gap: Gap) {
        self.index(id, &gap);
        self.by_id.insert(id, gap);
    }

    pub(super) fn take(&mut self, id: ChunkId) -> Option<Gap> {
        let gap = self.by_id.remove(&id)?;
        self.unindex(&gap);
        Some(gap)
    }

    /// Changes a gap, if there is one.
    pub(super) fn change(&mut self, id: ChunkId, change: impl FnOnce(&mut Gap)) {
        if let Some(mut gap) = self.take(id) {
            change(&mut gap);
            self.put(id, gap);
        }
    }

    fn index(&mut self, id: ChunkId, gap: &Gap) {
        match gap.state {
            State::Unknown => _ = self.unknown.insert(gap.order, id),
            State::Missing => _ = self.missing.entry(gap.class()).or_default().insert(gap.order, id),
            State::Shelved(depth) => _ = self.shelf.insert((depth, gap.order), id),
            State::LookedUp | State::Asked(_) => {}
        }
        if gap.below {
            self.below.count += 1;
            self.below.bytes += gap.bytes;
            self.below.under_way += usize::from(!gap.is_shelved());
        }
    }

    fn unindex(&mut self, gap: &Gap) {
        match gap.state {
            State::Unknown => _ = self.unknown.remove(&gap.order),
            State::Missing => self.unindex_missing(gap),
            State::Shelved(depth) => _ = self.shelf.remove(&(depth, gap.order)),
            State::LookedUp | State::Asked(_) => {}
        }
        if gap.below {
            self.below.count -= 1;
            self.below.bytes -= gap.bytes;
            self.below.under_way -= usize::from(!gap.is_shelved());
        }
    }

    fn unindex_missing(&mut self, gap: &Gap) {
        let class = gap.class();
        if let Some(ids) = self.missing.get_mut(&class) {
            ids.remove(&gap.order);
            if ids.is_empty() {
                self.missing.remove(&class);
            }
        }
    }
}
