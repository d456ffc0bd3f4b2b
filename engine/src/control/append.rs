//! Commits: everything that one decision changes goes into the store in one batch, with what follows from it:
//! the forks, and which nodes of the tree are not as they should be.

use std::collections::{BTreeMap, BTreeSet};

use super::{Control, Held};
use crate::disk::{Kind, Stat};
use crate::engine::Event;
use crate::error::EngineError;
use crate::limits::{ENTRY_BYTES_MAX, ENTRY_DEPS_MAX, ENTRY_PATCHES_MAX};
use crate::model::codec;
use crate::model::entry::{Body, Entry, SignedEntry};
use crate::model::facts::{Eye, Facts};
use crate::model::ids::{ChunkId, EntryHash, Epoch, LogId, NodeId, VolumeId};
use crate::model::keys::Keypair;
use crate::model::overlay::{Changes, Overlay};
use crate::model::patch::{Content, Patch, Register, Root};
use crate::model::time::{Mtime, Time};
use crate::model::view::{self, Fork, Update};
use crate::store::{Batch, Record, Store};

/// A stat signature and the wall time of the read that it belongs to.
pub(crate) type Sighting = (Stat, Mtime);

/// A commit in the making.
#[derive(Default)]
pub(crate) struct Draft {
    /// What changes in the history and in what the disk shows.
    pub(crate) changes: Changes,
    /// New entries, in causal order.
    pub(crate) entries: Vec<SignedEntry>,
    /// Logs whose ends are taken away before that: the last numbers that stay.
    pub(crate) cuts: BTreeMap<LogId, u64>,
    /// Signatures of nodes whose record is written.
    pub(crate) sightings: BTreeMap<NodeId, Sighting>,
    /// Chunks few and small enough to ride in the same synced write.
    pub(crate) chunks: Vec<(ChunkId, Vec<u8>)>,
    /// Contents that are referenced and not all here (length), or all here now (nothing).
    pub(crate) missing: BTreeMap<Root, Option<u64>>,
    /// Contents that need not be held any more.
    pub(crate) released: BTreeSet<Root>,
}

impl Held {
    /// The time for something that happens now.
    pub(crate) fn tick(&self) -> Time {
        self.state.time.next(self.env.wall_ms())
    }

    pub(super) fn new_log(&self, keys: &Keypair) -> Result<LogId, EngineError> {
        let mut epoch = [0; 8];
        self.env.fill(&mut epoch)?;
        Ok(LogId { origin: keys.peer(), epoch: Epoch(u64::from_le_bytes(epoch)) })
    }

    /// What this peer appends from now on goes to a new log.
    pub(super) fn begin_new_log(&mut self, store: &Store) -> Result<(), EngineError> {
        let Some(log) = self.state.log.take() else { return Ok(()) };
        self.commit(store, Draft::default()).inspect_err(|_| self.state.log = Some(log))
    }

    /// This peer's next entries: one for each body, and before them as many as it takes to name what they depend
    /// on. Each is checked as others will check it.
    fn next_entries(&mut self, keys: &Keypair, time: Time, bodies: Vec<Body>) -> Result<Vec<SignedEntry>, EngineError> {
        let log = match self.state.log {
            Some(log) => log,
            None => self.new_log(keys)?,
        };
        self.state.log = Some(log);
        let (mut seq, mut prev) = self.volume.head(log)?.unwrap_or((0, EntryHash::NONE));
        let frontier = self.volume.frontier();
        let news = frontier.0.iter().filter(|(dep, seq)| **dep != log && self.more.named.seq(**dep) < **seq);
        let deps: Vec<(LogId, u64)> = news.map(|(dep, seq)| (*dep, *seq)).collect();
        for (dep, seq) in &deps {
            self.more.named.advance(*dep, *seq);
        }
        let mut entries = Vec::with_capacity(bodies.len());
        for (deps, body) in spread(&deps, bodies, ENTRY_DEPS_MAX) {
            seq += 1;
            let entry = Entry { volume: self.volume.id(), log, seq, prev, deps, time, body };
            entry.check()?;
            prev = entry.hash();
            entries.push(entry.sign(keys));
        }
        Ok(entries)
    }

    /// Writes a draft and what follows from it: one durable batch, or nothing.
    pub(crate) fn commit(&mut self, store: &Store, draft: Draft) -> Result<(), EngineError> {
        let Draft { changes, entries, cuts, sightings, chunks, mut missing, released } = draft;
        let mut batch = Batch { cuts, ..Batch::new(self.volume.id()) };
        let touched = changes.touched.clone();
        let mut overlay = Overlay::resume(&self.volume, changes);
        let needed_again = self.follow(&mut overlay, &mut batch)?;
        let changes = overlay.into_changes();
        let mut state = self.state.clone();
        batch.records = self.records(&changes, &sightings, &mut state)?;
        let makes_way = !self.window.barred.is_empty() && self.moves_folder(&batch.records)?;
        for root in &self.completed {
            missing.entry(*root).or_insert(None);
        }
        for (root, len) in &needed_again {
            missing.entry(*root).or_insert(Some(*len));
        }
        let mut more = self.more.clone();
        for entry in &entries {
            state.time = state.time.max(entry.entry.time);
            more.roster.apply(&entry.entry);
        }
        state.patches += changes.patches.len() as u64;
        state.roster = codec::encode(&more);
        let stale: Vec<NodeId> = batch.stale.iter().filter(|(_, stale)| **stale).map(|(node, _)| *node).collect();
        (batch.nodes, batch.patches, batch.retimed) = (changes.nodes, changes.patches, changes.retimed);
        (batch.placed, batch.reverted) = (changes.placed, changes.reverted);
        (batch.entries, batch.chunks, batch.missing, batch.released) = (entries, chunks, missing, released);
        batch.state = Some(state);
        let begun = self.env.now();
        let (entries, nodes) = (batch.entries.len(), touched.len());
        store.commit(batch)?;
        tracing::debug!(entries, nodes, took = ?self.env.now().duration_since(begun), "committed");
        // Not before: what failed has changed nothing.
        self.completed.clear();
        (self.more, self.state) = (more, self.volume.state());
        self.window.touched(&touched, &stale);
        if !needed_again.is_empty() {
            self.queue.look_again();
        }
        if makes_way {
            self.window.unbar();
        }
        Ok(())
    }

    /// Whether a directory comes to stand where it did not.
    fn moves_folder(&self, records: &BTreeMap<NodeId, Option<Record>>) -> Result<bool, EngineError> {
        let place = |record: &Record| (record.shown.folder, record.shown.name.clone());
        for record in records.values().flatten().filter(|record| record.stat.kind == Kind::Dir) {
            if self.volume.record(record.node)?.as_ref().map(place) != Some(place(record)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What follows from changed nodes: forks opened and closed, nodes to be brought up to date. Gives contents that
    /// were let go of and are shown again, though no patch says so: what was deleted lives again where that is
    /// contested.
    fn follow(&self, overlay: &mut Overlay<'_>, batch: &mut Batch) -> Result<BTreeMap<Root, u64>, EngineError> {
        let touched = overlay.changes().touched.clone();
        if !overlay.changes().patched().is_empty() {
            self.follow_forks(overlay, batch)?;
        }
        let mut needed_again = BTreeMap::new();
        if self.state.path.is_none() || touched.is_empty() {
            return Ok(needed_again);
        }
        let local = view::update(overlay, Eye::Local, &touched)?;
        if self.volume.has_released()? {
            for (root, len) in shown_contents(overlay, &local)? {
                if self.volume.is_released(root)? {
                    needed_again.insert(root, len);
                }
            }
        }
        overlay.set_reverted(Eye::Local, local.reverted);
        for (node, want) in local.shown {
            batch.stale.insert(node, overlay.shown(node)? != want);
        }
        Ok(needed_again)
    }

    /// Which forks patches opened and closed. What the disk shows has no part in it.
    fn follow_forks(&self, overlay: &mut Overlay<'_>, batch: &mut Batch) -> Result<(), EngineError> {
        let patched = overlay.changes().patched();
        let canonical = view::update(overlay, Eye::Canonical, &patched)?;
        overlay.set_reverted(Eye::Canonical, canonical.reverted);
        for known in self.volume.forks()? {
            let names_covered = codec::decode::<Fork>(&known)
                .is_ok_and(|fork| fork.nodes.iter().any(|n| canonical.covered.contains(n)));
            if names_covered {
                batch.forks_remove.insert(known);
            }
        }
        for fork in canonical.forks {
            let row = codec::encode(&fork);
            batch.forks_remove.remove(&row);
            batch.forks_add.insert(row);
        }
        Ok(())
    }

    fn records(
        &self,
        changes: &Changes,
        sightings: &BTreeMap<NodeId, Sighting>,
        state: &mut crate::store::VolumeState,
    ) -> Result<BTreeMap<NodeId, Option<Record>>, EngineError> {
        let mut records = BTreeMap::new();
        let nodes: BTreeSet<NodeId> = changes.disk.keys().chain(sightings.keys()).copied().collect();
        for node in nodes {
            let before = self.volume.record(node)?;
            let shown = match changes.disk.get(&node) {
                Some(shown) => shown.clone(),
                None => before.as_ref().map(|record| record.shown.clone()),
            };
            let sighting =
                sightings.get(&node).copied().or(before.as_ref().map(|record| (record.stat, record.read_at)));
            let after = match (shown, sighting) {
                (Some(shown), Some((stat, read_at))) => Some(Record { node, shown, stat, read_at }),
                _ => None,
            };
            count(state, before.as_ref(), after.as_ref());
            records.insert(node, after);
        }
        Ok(records)
    }
}

fn count(state: &mut crate::store::VolumeState, before: Option<&Record>, after: Option<&Record>) {
    let size = |record: Option<&Record>| match record {
        Some(record) if record.stat.kind != Kind::Dir => (1, record.stat.len),
        _ => (0, 0),
    };
    let ((files_before, bytes_before), (files, bytes)) = (size(before), size(after));
    state.files = (state.files + files).saturating_sub(files_before);
    state.bytes = (state.bytes + bytes).saturating_sub(bytes_before);
}

/// The contents that an eye sees.
pub(crate) fn shown_contents(facts: &dyn Facts, seen: &Update) -> Result<BTreeMap<Root, u64>, EngineError> {
    let mut contents = BTreeMap::new();
    for shown in seen.shown.values().flatten() {
        if let Some(known) = facts.patch(shown.patch(Register::Content))?
            && let Some(Content::File { len, root, .. }) = known.patch.content
        {
            contents.insert(root, len);
        }
    }
    Ok(contents)
}

/// The contents that patches refer to, and their lengths. Of one root somebody may say several.
pub(crate) fn contents<'a>(patches: impl IntoIterator<Item = &'a Patch>) -> BTreeSet<(Root, u64)> {
    let files = patches.into_iter().filter_map(|patch| match &patch.content {
        Some(Content::File { len, root, .. }) if *len > 0 => Some((*root, *len)),
        _ => None,
    });
    files.collect()
}

impl Control {
    /// Appends patches of this peer's own, with what they change, and tells of it. More than fit into one entry
    /// become several in one commit.
    pub(crate) fn append_patches(
        &mut self,
        id: VolumeId,
        time: Time,
        patches: Vec<Patch>,
        draft: Draft,
    ) -> Result<(), EngineError> {
        let bodies = split(patches).into_iter().map(Body::Patches).collect();
        self.append_all(id, time, bodies, draft)
    }

    /// Appends one entry of this peer's own about its members.
    pub(crate) fn append(&mut self, id: VolumeId, time: Time, body: Body) -> Result<(), EngineError> {
        self.append_all(id, time, vec![body], Draft::default())?;
        self.members_changed(id);
        Ok(())
    }

    fn append_all(&mut self, id: VolumeId, time: Time, bodies: Vec<Body>, mut draft: Draft) -> Result<(), EngineError> {
        let (keys, store) = (self.keys.clone(), self.store.clone());
        let held = self.held(id)?;
        let (own, more) = (held.state.log, held.more.clone());
        let outcome = held.next_entries(&keys, time, bodies).and_then(|entries| {
            draft.entries = entries;
            held.commit(&store, draft)
        });
        if let Err(error) = outcome {
            (held.state.log, held.more) = (own, more);
            return Err(error);
        }
        self.tell(&Event::Appended(id));
        Ok(())
    }
}

/// What entries depend on and say: at most `most` dependencies each, all of them named before anything is said. What
/// does not fit into the first that says something comes before it in entries without patches.
fn spread(deps: &[(LogId, u64)], bodies: Vec<Body>, most: usize) -> Vec<(Vec<(LogId, u64)>, Body)> {
    let mut parts: Vec<Vec<(LogId, u64)>> = deps.chunks(most).map(<[_]>::to_vec).collect();
    let last = parts.pop().unwrap_or_default();
    let ahead = parts.into_iter().map(|deps| (deps, Body::Patches(Vec::new())));
    let each = std::iter::once(last).chain(std::iter::repeat_with(Vec::new));
    ahead.chain(each.zip(bodies)).collect()
}

/// Cuts patches into what fits into an entry each.
fn split(patches: Vec<Patch>) -> Vec<Vec<Patch>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for patch in patches {
        let size = codec::encode(&patch).len();
        if part.len() == ENTRY_PATCHES_MAX || bytes + size > ENTRY_BYTES_MAX / 2 && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += size;
        part.push(patch);
    }
    parts.push(part);
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests;
