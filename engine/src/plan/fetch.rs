//! Which chunks to ask whom for, until the wanted contents are here.
//!
//! Contents come in with a rank and go out complete, unavailable or broken. In between each chunk that may be
//! lacking is a gap: first it is looked up in the store, then it is asked for, at one peer at a time, what
//! matters most first and of that what most peers lack. A list that is here opens into the gaps below it; where
//! there is no room for them it is put on a shelf, so memory is bounded however long the contents are.
//!
//! The caller does what [`Fetch::unknown`] and [`Fetch::next`] say, reports what came of it, and takes what is
//! [`Fetch::finished`]. All of it is in memory only: after a restart the same contents are wanted again.

mod gaps;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::gaps::{Gap, Gaps, Order, State, Waiter};
use crate::limits::{
    ASK_BYTES_MAX, ASK_CHUNKS_MAX, FETCH_ASKS_MAX, FETCH_BYTES_MAX, FETCH_CHUNKS_MAX, FETCH_CONTENTS_MAX,
    FETCH_LATE_MS, MANIFEST_PIECES_MAX,
};
use crate::model::ids::{ChunkId, PeerId};
use crate::model::manifest::{ManifestError, Piece, decode_list};
use crate::model::patch::Root;

/// What a list comes to, about: 80 pieces.
const LIST_BYTES: u64 = 3 << 10;

/// How much is fetched at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchLimits {
    /// Contents in the making.
    pub contents: usize,
    /// Gaps below the roots of long contents; at least a full list.
    pub chunks: usize,
    /// What these gaps come to, raw, before another list is opened.
    pub bytes: u64,
    /// Unanswered asks a peer.
    pub asks: usize,
    /// What one ask is expected to bring, raw.
    pub ask_bytes: u64,
    /// Chunks of one ask.
    pub ask_chunks: usize,
    /// After this many milliseconds without an answer a second peer may be asked.
    pub late_ms: u64,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            contents: FETCH_CONTENTS_MAX,
            chunks: FETCH_CHUNKS_MAX,
            bytes: FETCH_BYTES_MAX,
            asks: FETCH_ASKS_MAX,
            ask_bytes: ASK_BYTES_MAX,
            ask_chunks: ASK_CHUNKS_MAX,
            late_ms: FETCH_LATE_MS,
        }
    }
}

/// A content: all files with these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wanted {
    /// Its manifest.
    pub root: Root,
    /// Bytes.
    pub len: u64,
}

/// What came of a wanted content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is here.
    Complete,
    /// What any connected peer has of it is here; some chunk none of them has. Want it again when that changes.
    Unavailable,
    /// Its lists contradict themselves: nobody can read it.
    Broken(ManifestError),
}

/// A chunk to be looked up in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// Which chunk.
    pub id: ChunkId,
    /// Whether its bytes are needed as well, because it is a list.
    pub list: bool,
}

/// What to ask a peer for, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Which chunks.
    pub ids: Vec<ChunkId>,
}

/// The scheduler. See the module.
#[derive(Debug, Default)]
pub struct Fetch {
    limits: FetchLimits,
    contents: BTreeMap<Wanted, Making>,
    gaps: Gaps,
    /// The connected peers, each with its unanswered asks.
    peers: BTreeMap<PeerId, Vec<Asked>>,
    finished: Vec<(Wanted, Outcome)>,
    counter: u64,
}

/// A content in the making.
#[derive(Debug)]
struct Making {
    rank: u32,
    begun: u64,
    /// Waiters in gaps.
    gaps: usize,
    /// Whether a gap of it was given up.
    unavailable: bool,
    /// Whether that was before the last peer connected, so that it is worth another round.
    again: bool,
    /// Lists found so far. One that repeats is followed once, or lists of lists of the same would never end.
    lists: BTreeSet<ChunkId>,
}

#[derive(Debug)]
struct Asked {
    since_ms: u64,
    left: BTreeSet<ChunkId>,
}

/// What goes in and what comes out.
impl Fetch {
    /// A scheduler that wants nothing and knows nobody.
    pub fn new(limits: FetchLimits) -> Self {
        debug_assert!(limits.chunks >= MANIFEST_PIECES_MAX);
        Self { limits, ..Self::default() }
    }

    /// How many more contents can be wanted now.
    pub fn room(&self) -> usize {
        self.limits.contents.saturating_sub(self.contents.len())
    }

    /// Wants a content; lower ranks come first, equal ones in the order of these calls. One that is in the making
    /// already stays as it is. False, and nothing happens, where there is no room.
    #[must_use]
    pub fn want(&mut self, wanted: Wanted, rank: u32) -> bool {
        if self.contents.contains_key(&wanted) {
            return true;
        }
        if self.room() == 0 {
            return false;
        }
        let begun = self.count();
        let lists = BTreeSet::new();
        self.contents.insert(wanted, Making { rank, begun, gaps: 0, unavailable: false, again: false, lists });
        self.begin(wanted);
        true
    }

    /// No longer wants a content. Chunks that are asked for already may still come.
    pub fn forget(&mut self, wanted: Wanted) {
        self.contents.remove(&wanted);
        for id in self.gaps.ids(|gap| gap.waiters.iter().any(|waiter| waiter.content == wanted)) {
            self.gaps.change(id, |gap| gap.waiters.retain(|waiter| waiter.content != wanted));
            if self.gaps.get(id).is_some_and(|gap| gap.waiters.is_empty()) {
                self.take(id);
            }
        }
    }

    /// The same for all wanted contents with these roots.
    pub fn forget_roots(&mut self, roots: &BTreeSet<Root>) {
        for wanted in self.wanted().filter(|wanted| roots.contains(&wanted.root)).collect::<Vec<_>>() {
            self.forget(wanted);
        }
    }

    /// The contents in the making.
    pub fn wanted(&self) -> impl Iterator<Item = Wanted> {
        self.contents.keys().copied()
    }

    /// The chunks that they lack, as far as is known, and the lists that wait to be opened.
    pub fn chunks(&self) -> Vec<ChunkId> {
        self.gaps.ids(|_| true)
    }

    /// Up to `max` chunks to be looked up in the store. Each is answered by `here` or `absent`.
    pub fn unknown(&mut self, max: usize) -> Vec<Lookup> {
        self.unshelve();
        let mut lookups = Vec::new();
        while lookups.len() < max
            && let Some(id) = self.gaps.first_unknown()
        {
            self.gaps.change(id, |gap| {
                gap.state = State::LookedUp;
                lookups.push(Lookup { id, list: gap.is_list() });
            });
        }
        lookups
    }

    /// The store has a chunk; `raw` are its bytes if they were needed.
    pub fn here(&mut self, id: ChunkId, raw: Option<&[u8]>) {
        if let Some(gap) = self.take(id) {
            self.fill(id, gap, raw);
        }
    }

    /// The store does not have a chunk.
    pub fn absent(&mut self, id: ChunkId) {
        if self.gaps.get(id).is_some_and(|gap| gap.state == State::LookedUp) {
            self.gaps.change(id, |gap| gap.state = State::Missing);
            self.give_up_if_barren(id);
        }
    }

    /// A chunk came, was proven, and is in the store.
    pub fn arrived(&mut self, id: ChunkId, raw: &[u8]) {
        self.here(id, Some(raw));
    }

    /// Whether a chunk is waited for as a list, so that `arrived` needs its bytes.
    pub fn is_list(&self, id: ChunkId) -> bool {
        self.gaps.get(id).is_some_and(Gap::is_list)
    }

    /// A peer does not have a chunk, or will not send it.
    pub fn lacks(&mut self, peer: PeerId, id: ChunkId) {
        let Some(asks) = self.peers.get_mut(&peer) else { return };
        let was_asked = end_ask(asks, id);
        self.gaps.change(id, |gap| {
            gap.lacks.insert(peer);
            if was_asked {
                gap.one_asked_less();
            }
        });
        self.give_up_if_barren(id);
    }

    /// A peer can be asked. Told again of a peer that can be already, it means that it may have more than before.
    pub fn connected(&mut self, peer: PeerId) {
        self.peers.entry(peer).or_default();
        self.forget_lacks(peer);
        for making in self.contents.values_mut() {
            making.again |= std::mem::take(&mut making.unavailable);
        }
    }

    /// A peer can no longer be asked, and what it was asked for will not come.
    pub fn gone(&mut self, peer: PeerId) {
        for ask in self.peers.remove(&peer).unwrap_or_default() {
            for id in ask.left {
                self.gaps.change(id, Gap::one_asked_less);
            }
        }
        self.forget_lacks(peer);
        for id in self.gaps.ids(|gap| gap.state == State::Missing) {
            self.give_up_if_barren(id);
        }
    }

    /// What to ask a peer for next, if it can take another ask; `now_ms` by any clock that does not go back.
    pub fn next(&mut self, peer: PeerId, now_ms: u64) -> Option<Ask> {
        if self.peers.get(&peer)?.len() >= self.limits.asks {
            return None;
        }
        let mut ids = self.batch(self.gaps.ready_for(peer));
        if ids.is_empty() {
            ids = self.batch(self.late_for(peer, now_ms));
        }
        if ids.is_empty() {
            return None;
        }
        for id in &ids {
            self.gaps.change(*id, Gap::one_asked_more);
        }
        let asked = Asked { since_ms: now_ms, left: ids.iter().copied().collect() };
        self.peers.get_mut(&peer)?.push(asked);
        Some(Ask { ids })
    }

    /// Whether any peer has not answered yet: it may be late one day, and then `next` has something for another.
    pub fn awaits(&self) -> bool {
        self.peers.values().any(|asks| !asks.is_empty())
    }

    /// The contents that are no longer in the making, since the last call.
    pub fn finished(&mut self) -> Vec<(Wanted, Outcome)> {
        std::mem::take(&mut self.finished)
    }
}

/// Choosing.
impl Fetch {
    /// Chunks that other peers are late with.
    fn late_for(&self, peer: PeerId, now_ms: u64) -> impl Iterator<Item = ChunkId> {
        let others = self.peers.iter().filter(move |(other, _)| **other != peer).flat_map(|(_, asks)| asks);
        let late = others.filter(move |ask| now_ms.saturating_sub(ask.since_ms) >= self.limits.late_ms);
        // Asked once means asked of the other.
        late.flat_map(|ask| &ask.left).copied().filter(move |id| {
            self.gaps.get(*id).is_some_and(|gap| gap.state == State::Asked(1) && !gap.lacks.contains(&peer))
        })
    }

    fn batch(&self, ids: impl Iterator<Item = ChunkId>) -> Vec<ChunkId> {
        let mut bytes = 0;
        let fits = ids.take(self.limits.ask_chunks).take_while(|id| {
            let first = bytes == 0;
            bytes += self.gaps.get(*id).map_or(0, |gap| gap.bytes);
            first || bytes <= self.limits.ask_bytes
        });
        fits.collect()
    }

    /// Whether a list can be opened: there is room for a full one, or nothing else will ever make any.
    fn can_open(&self) -> bool {
        let below = self.gaps.below();
        let has_room = below.count + MANIFEST_PIECES_MAX <= self.limits.chunks && below.bytes < self.limits.bytes;
        has_room || below.under_way == 0
    }

    /// Takes as many lists from the shelf as there is room for, the deepest first.
    fn unshelve(&mut self) {
        let free = self.limits.chunks.saturating_sub(self.gaps.below().count) / MANIFEST_PIECES_MAX;
        for _ in 0..free.max(1) {
            let Some(id) = self.gaps.first_shelved().filter(|_| self.can_open()) else { return };
            self.gaps.change(id, |gap| gap.state = State::Unknown);
        }
    }
}

/// Gaps: found, filled, given up.
impl Fetch {
    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// A content has this piece; `depth` is that of the list, 0 for data.
    fn add(&mut self, content: Wanted, depth: u8, piece: Piece, below: bool) {
        let found = self.count();
        let (Some(id), Some(making)) = (piece.chunk(), self.contents.get_mut(&content)) else { return };
        if depth > 0 && !making.lists.insert(id) {
            return;
        }
        let waiter = Waiter { content, depth, len: piece.bytes() };
        let order = Order { rank: making.rank, begun: making.begun, is_data: depth == 0, found };
        let Some(gap) = self.gaps.get(id) else {
            making.gaps += 1;
            let bytes = if depth > 0 { LIST_BYTES } else { piece.bytes() };
            let (waiters, lacks) = (BTreeSet::from([waiter]), BTreeSet::new());
            return self.gaps.put(id, Gap { waiters, order, state: State::Unknown, lacks, bytes, below });
        };
        let is_here = depth == 0 && gap.is_shelved();
        if !is_here && !gap.waiters.contains(&waiter) {
            making.gaps += 1;
            self.gaps.change(id, |gap| {
                gap.waiters.insert(waiter);
                gap.order = gap.order.min(order);
            });
        }
    }

    /// The chunk of a gap is here.
    fn fill(&mut self, id: ChunkId, mut gap: Gap, raw: Option<&[u8]>) {
        let mut shelved: Option<u8> = None;
        for waiter in std::mem::take(&mut gap.waiters) {
            match (waiter.depth, raw) {
                (0, Some(raw)) if raw.len() as u64 != waiter.len => {
                    self.break_off(waiter.content, ManifestError::Total { expected: waiter.len });
                }
                (0, _) => self.end_wait(waiter.content),
                (depth, Some(raw)) if self.can_open() => match decode_list(depth, waiter.len, raw) {
                    Err(error) => self.break_off(waiter.content, error),
                    Ok(pieces) => {
                        for piece in pieces {
                            self.add(waiter.content, depth - 1, piece, true);
                        }
                        self.end_wait(waiter.content);
                    }
                },
                (depth, _) => {
                    shelved = Some(shelved.map_or(depth, |least| least.min(depth)));
                    gap.waiters.insert(waiter);
                }
            }
        }
        gap.waiters.retain(|waiter| self.contents.contains_key(&waiter.content));
        if let Some(depth) = shelved.filter(|_| !gap.waiters.is_empty()) {
            // Without its bytes it became a list after it was looked up.
            gap.state = if raw.is_some() { State::Shelved(depth) } else { State::Unknown };
            self.gaps.put(id, gap);
        }
    }

    fn give_up_if_barren(&mut self, id: ChunkId) {
        let Some(gap) = self.gaps.get(id) else { return };
        let all_lack = !self.peers.is_empty() && gap.lacks.len() == self.peers.len();
        if gap.state == State::Missing && all_lack {
            for waiter in self.take(id).map(|gap| gap.waiters).unwrap_or_default() {
                if let Some(making) = self.contents.get_mut(&waiter.content) {
                    making.unavailable = true;
                }
                self.end_wait(waiter.content);
            }
        }
    }

    fn end_wait(&mut self, content: Wanted) {
        let Some(making) = self.contents.get_mut(&content) else { return };
        making.gaps -= 1;
        if making.gaps > 0 {
            return;
        }
        if std::mem::take(&mut making.again) {
            making.unavailable = false;
            making.lists.clear();
            return self.begin(content);
        }
        let outcome = if making.unavailable { Outcome::Unavailable } else { Outcome::Complete };
        self.contents.remove(&content);
        self.finished.push((content, outcome));
    }

    /// Starts a content at its root.
    fn begin(&mut self, content: Wanted) {
        let top = match content.root.piece(content.len) {
            Ok(top) => top,
            Err(error) => return self.break_off(content, error),
        };
        // It may turn out to need nothing, and then it is finished at once.
        if let Some(making) = self.contents.get_mut(&content) {
            making.gaps += 1;
        }
        if let Some(piece) = top {
            self.add(content, content.root.depth, piece, false);
        }
        self.end_wait(content);
    }

    fn break_off(&mut self, content: Wanted, error: ManifestError) {
        if self.contents.contains_key(&content) {
            self.forget(content);
            self.finished.push((content, Outcome::Broken(error)));
        }
    }

    fn forget_lacks(&mut self, peer: PeerId) {
        for id in self.gaps.ids(|gap| gap.lacks.contains(&peer)) {
            self.gaps.change(id, |gap| _ = gap.lacks.remove(&peer));
        }
    }

    /// Takes a gap out, and out of all asks.
    fn take(&mut self, id: ChunkId) -> Option<Gap> {
        let gap = self.gaps.take(id)?;
        if let State::Asked(_) = gap.state {
            for asks in self.peers.values_mut() {
                end_ask(asks, id);
            }
        }
        Some(gap)
    }
}

/// Crosses a chunk off the asks of a peer; whether it was on one.
fn end_ask(asks: &mut Vec<Asked>, id: ChunkId) -> bool {
    let was_asked = asks.iter_mut().any(|ask| ask.left.remove(&id));
    asks.retain(|ask| !ask.left.is_empty());
    was_asked
}

#[cfg(test)]
mod tests;
