//! What old versions and chunks can be let go of: worked out beside the control thread, from the store alone.
//!
//! What must hold: a chunk that any kept content consists of is never let go of. What arrives meanwhile is added by
//! the control thread, right before it deletes (`control::gc`).

use std::collections::{BTreeMap, BTreeSet};

use crate::content::{Noted, note_chunks};
use crate::control::{contents, shown_contents};
use crate::engine::{Engine, Lane};
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::model::facts::Eye;
use crate::model::frontier::Frontier;
use crate::model::ids::{ChunkId, LogId, NodeId, VolumeId};
use crate::model::patch::Root;
use crate::model::view;
use crate::plan::retain::{Fate, Retention, Version, versions};
use crate::store::{Store, Volume};

/// Chunks deleted in one piece of the control thread's work.
const SWEEP_CHUNKS: usize = 8192;
/// The room of chunks is given back when it has come to one part in so many of what is stored.
const RECLAIM_PART: u64 = 4;
/// Where the store keeps how many bytes were let go of whose room was not given back yet.
const IDLE_KEY: &str = "idle";
/// Nodes looked at together.
const PAGE: usize = 1024;
/// Entries read together, bytes.
const ENTRIES_BYTES: usize = 1 << 20;

/// A version that is let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Old {
    /// In which volume.
    pub volume: VolumeId,
    /// Of which file.
    pub node: NodeId,
    /// Which version, and since when another took its place.
    pub version: Version,
}

/// What is to be let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Versions that are kept.
    pub retention: Retention,
    /// Also chunks that nothing refers to: what a crash or a volume that is no longer tracked left behind. To find
    /// them, all that is stored is read.
    pub orphans: bool,
    /// Only to say what would be.
    pub dry_run: bool,
    /// Give the room back to the disk at once; otherwise when it has come to a quarter of all.
    pub reclaim: bool,
}

/// Versions with bytes, by what becomes of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Current for somebody.
    pub current: u64,
    /// Of files with a fork.
    pub forked: u64,
    /// Current not long ago.
    pub recent: u64,
    /// Among the newest of their file.
    pub last: u64,
    /// Let go of now.
    pub let_go: u64,
    /// Bytes that nothing else has: raw where they are to be deleted, as stored where they were.
    pub bytes: u64,
    /// Chunks of these.
    pub chunks: u64,
}

/// What a look at everything found.
pub(crate) struct Plan {
    pub(crate) tally: Tally,
    /// What is let go of, by volume.
    pub(crate) released: BTreeMap<VolumeId, BTreeSet<Root>>,
    /// What only that consists of, in part perhaps not here.
    pub(crate) garbage: BTreeSet<ChunkId>,
    pub(crate) needs: Needs,
}

impl Engine {
    /// Lets go of the bytes of old versions; what the history says of them stays. Hands over each version. Stops
    /// early, at any point, once it may not go on; what is left is for the next time.
    pub fn gc(
        &self,
        order: &Order,
        each: &mut dyn FnMut(Old),
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Tally, EngineError> {
        let store = self.store();
        let withdrawn = self.ask(Lane::Urgent, |control| Ok(control.withdrawn()))?;
        let Plan { mut tally, released, mut garbage, mut needs } = plan(store, &order.retention, self.now_ms(), each)?;
        if order.orphans {
            tally.bytes += add_orphans(store, &needs, &mut garbage)?;
        }
        tally.chunks = garbage.len() as u64;
        needs.withdrawn = withdrawn;
        let is_idle = garbage.is_empty() && released.is_empty();
        if order.dry_run || is_idle || !may_go_on() {
            return Ok(tally);
        }
        failpoint::pass(Point::GcPlanned);
        needs = self.ask(Lane::Work, move |control| control.release(&mut needs, released).map(|()| needs))?;
        failpoint::pass(Point::GcReleased);
        (tally.chunks, tally.bytes) = (0, 0);
        let garbage: Vec<ChunkId> = garbage.into_iter().collect();
        for ids in garbage.chunks(SWEEP_CHUNKS).take_while(|_| may_go_on()) {
            let ids = ids.to_vec();
            let swept;
            (needs, swept) = self.ask(Lane::Work, move |control| {
                let swept = control.sweep(&mut needs, &ids)?;
                Ok((needs, swept))
            })?;
            tally.chunks += swept.chunks;
            tally.bytes += swept.bytes;
        }
        reclaim(store, tally.bytes, order.reclaim)?;
        Ok(tally)
    }
}

/// Chunks that nothing refers to join the garbage. Gives how many bytes they take up.
fn add_orphans(store: &Store, needs: &Needs, garbage: &mut BTreeSet<ChunkId>) -> Result<u64, EngineError> {
    let (mut bytes, mut after) = (0, None);
    loop {
        let ids = store.chunk_ids(after, PAGE)?;
        let Some(last) = ids.last() else { return Ok(bytes) };
        after = Some(*last);
        for id in ids.into_iter().filter(|id| !needs.needs(*id)) {
            if garbage.insert(id) {
                bytes += store.chunk(id).ok().flatten().map_or(0, |stored| stored.len() as u64);
            }
        }
    }
}

/// Gives the room of deleted chunks back to the disk, now or once it is worth rewriting what is left.
fn reclaim(store: &Store, bytes: u64, now: bool) -> Result<(), EngineError> {
    let kept = store.meta(IDLE_KEY)?.and_then(|kept| <[u8; 8]>::try_from(kept).ok());
    let idle = bytes.saturating_add(kept.map_or(0, u64::from_be_bytes));
    let is_due = if now { idle > 0 } else { idle >= store.chunk_bytes()? / RECLAIM_PART };
    if is_due {
        store.reclaim_chunks()?;
        failpoint::pass(Point::GcReclaimed);
    }
    Ok(store.set_meta(IDLE_KEY, &if is_due { 0 } else { idle }.to_be_bytes())?)
}

/// Everything that has to stay.
#[derive(Default)]
pub(crate) struct Needs {
    pub(crate) noted: Noted,
    /// How far the log of each volume is taken into account.
    pub(crate) seen: BTreeMap<VolumeId, Frontier>,
    /// The logs of each volume of which another form counts than once did: where one is added, numbers that were seen
    /// may be those of other entries now.
    pub(crate) withdrawn: BTreeMap<VolumeId, BTreeMap<LogId, u64>>,
    /// Contents that are on their way, and their lengths: more of their lists may have come since.
    pub(crate) coming: BTreeSet<(Root, u64)>,
}

impl Needs {
    /// Whether a chunk has to stay.
    pub(crate) fn needs(&self, id: ChunkId) -> bool {
        self.noted.chunks.contains_key(&id)
    }

    /// Takes in what one content consists of, as far as its lists are here. One of which all is said to be here and
    /// is not could need any chunk.
    pub(crate) fn note(&mut self, store: &Store, (root, len): (Root, u64), is_coming: bool) -> Result<(), EngineError> {
        let is_whole = note_chunks(store, root, len, &mut self.noted)?;
        if !is_whole && !is_coming {
            return Err(EngineError::ListsLost(root.id));
        }
        if is_coming && root.depth > 0 {
            self.coming.insert((root, len));
        }
        Ok(())
    }

    /// Takes in what the log of a volume has got since, and what is shown because of that. What these contents consist
    /// of may not be here yet.
    pub(crate) fn catch_up(&mut self, store: &Store, volume: &Volume) -> Result<BTreeSet<Root>, EngineError> {
        let (mut fresh, mut touched) = (BTreeSet::new(), BTreeSet::new());
        let mut seen = self.seen.remove(&volume.id()).unwrap_or_default();
        loop {
            let entries = volume.entries_after(&seen, ENTRIES_BYTES)?;
            if entries.is_empty() {
                break;
            }
            for signed in &entries {
                seen.advance(signed.entry.log, signed.entry.seq);
            }
            let patches = entries.iter().flat_map(|signed| signed.entry.patches());
            touched.extend(patches.clone().map(|patch| patch.node));
            for content in contents(patches) {
                fresh.insert(content.0);
                self.note(store, content, true)?;
            }
        }
        // What was deleted may live again.
        for content in shown_contents(volume, &view::update(volume, Eye::Local, &touched)?)? {
            fresh.insert(content.0);
            self.note(store, content, true)?;
        }
        self.seen.insert(volume.id(), seen);
        for (root, len) in &self.coming {
            let mut now = Noted::default();
            note_chunks(store, *root, *len, &mut now)?;
            self.noted.append(now);
        }
        Ok(fresh)
    }
}

/// Looks at every version of every file, and hands over those that no rule keeps and that have not been let go of.
pub(crate) fn plan(
    store: &Store,
    retention: &Retention,
    now_ms: u64,
    each: &mut dyn FnMut(Old),
) -> Result<Plan, EngineError> {
    let (mut tally, mut needs, mut old) = (Tally::default(), Needs::default(), Vec::new());
    // By length as well: somebody may say of a root that it is that of a longer file.
    let mut kept: BTreeMap<(Root, u64), bool> = BTreeMap::new();
    for id in store.volumes() {
        let Some(volume) = store.volume(id) else { continue };
        // Before anything else is read: what comes after it is taken in later.
        needs.seen.insert(id, volume.frontier());
        each_version(&volume, now_ms, retention, &mut |node, version| {
            let Version { root, len, fate, .. } = version;
            let count = match fate {
                Fate::Current => &mut tally.current,
                Fate::Forked => &mut tally.forked,
                Fate::Recent => &mut tally.recent,
                Fate::Last => &mut tally.last,
                Fate::Superseded(_) => {
                    old.push(Old { volume: id, node, version });
                    return Ok(());
                }
            };
            // One that an earlier rule let go of stays so.
            if !volume.is_released(root)? {
                *count += 1;
                let is_coming = volume.is_missing(root)?;
                *kept.entry((root, len)).or_default() |= is_coming;
            }
            Ok(())
        })?;
    }
    // What is on its way comes last: a list that is not here is looked for once.
    for coming in [false, true] {
        for (content, _) in kept.iter().filter(|(_, is_coming)| **is_coming == coming) {
            needs.note(store, *content, coming)?;
        }
    }
    let mut released: BTreeMap<VolumeId, BTreeSet<Root>> = BTreeMap::new();
    let mut garbage = BTreeSet::new();
    for old in old {
        let Version { root, len, .. } = old.version;
        let volume = store.volume(old.volume).ok_or(EngineError::NoVolume(old.volume))?;
        if kept.range((root, 0)..=(root, u64::MAX)).next().is_some() || volume.is_released(root)? {
            continue;
        }
        released.entry(old.volume).or_default().insert(root);
        tally.let_go += 1;
        tally.bytes += take_apart(store, (root, len), &needs, &mut garbage)?;
        each(old);
    }
    Ok(Plan { tally, released, garbage, needs })
}

fn each_version(
    volume: &Volume,
    now_ms: u64,
    retention: &Retention,
    each: &mut dyn FnMut(NodeId, Version) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut after = None;
    loop {
        let nodes = volume.nodes(after, PAGE)?;
        let Some(last) = nodes.last() else { return Ok(()) };
        after = Some(*last);
        for node in nodes {
            for version in versions(volume, node, now_ms, retention)? {
                each(node, version)?;
            }
        }
    }
}

/// Adds to the garbage what a content consists of and nothing needs; gives how many bytes of data that is, raw.
fn take_apart(
    store: &Store,
    (root, len): (Root, u64),
    needs: &Needs,
    garbage: &mut BTreeSet<ChunkId>,
) -> Result<u64, EngineError> {
    let (mut all, mut bytes) = (Noted::default(), 0);
    // What lies below a list that is not here was never fetched.
    note_chunks(store, root, len, &mut all)?;
    for (id, len) in all.chunks {
        if !needs.needs(id) && garbage.insert(id) {
            bytes += u64::from(len);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests;
