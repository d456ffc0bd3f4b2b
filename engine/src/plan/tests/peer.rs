//! One peer in memory: what it knows, what its disk shows, and the views of both eyes, kept up to date change by
//! change. After every change they must equal what working everything out anew gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::facts::{Eye, MemoryFacts, Shown};
use crate::model::ids::{ChunkId, NodeId, PatchId, VolumeId};
use crate::model::name::RelPath;
use crate::model::overlay::{Changes, Overlay};
use crate::model::patch::{Attr, Content, Patch, Place, Register, Root, Value};
use crate::model::time::{Mtime, Time};
use crate::model::view::{Fork, ForkKind, is_ancestor, is_living, update};
use crate::plan::change::Pen;
use crate::plan::resolve::{Authors, Choice, ResolveError, resolve};
use crate::plan::restore::{Deed, RestoreError, Restored, Wish, restore};

pub(super) const VOLUME: VolumeId = VolumeId([7; 32]);

pub(super) struct Entry {
    origin: char,
    seq: u64,
    deps: BTreeMap<char, u64>,
    time: u64,
    pub(super) patches: Vec<Patch>,
}

/// The view of one eye.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) shown: BTreeMap<NodeId, Shown>,
    pub(super) forks: BTreeSet<Fork>,
    reverted: BTreeSet<NodeId>,
}

#[derive(Clone)]
pub(super) struct Peer {
    pub(super) name: char,
    pub(super) facts: MemoryFacts,
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) frontier: BTreeMap<char, u64>,
    clock: u64,
    canonical: Seen,
    local: Seen,
}

impl Peer {
    pub(super) fn new(name: char) -> Self {
        let (facts, entries, frontier, canonical, local) = Default::default();
        Self { name, facts, entries, frontier, clock: 0, canonical, local }
    }

    pub(super) fn seen(&self, eye: Eye) -> &Seen {
        match eye {
            Eye::Canonical => &self.canonical,
            Eye::Local => &self.local,
        }
    }

    pub(super) fn forks(&self) -> &BTreeSet<Fork> {
        &self.canonical.forks
    }

    pub(super) fn ready(&self, entry: &Entry) -> bool {
        let has = |origin| self.frontier.get(origin).copied().unwrap_or(0);
        entry.seq == has(&entry.origin) + 1 && entry.deps.iter().all(|(origin, seq)| has(origin) >= *seq)
    }

    pub(super) fn receive(&mut self, entries: &[Arc<Entry>]) {
        for entry in entries {
            if entry.seq <= self.frontier.get(&entry.origin).copied().unwrap_or(0) {
                continue;
            }
            assert!(self.ready(entry), "I4, I5: an entry applies only after its deps");
            let mut overlay = Overlay::new(&self.facts);
            for patch in &entry.patches {
                patch.check(VOLUME).unwrap();
                overlay.apply(patch.clone().into(), patch.id(), Time(entry.time)).unwrap();
            }
            let changes = overlay.into_changes();
            self.take(changes);
            self.frontier.insert(entry.origin, entry.seq);
            self.clock = self.clock.max(entry.time);
            self.entries.push(entry.clone());
        }
    }

    /// One entry of what a user did or decided; what it made of the tree is settled at once.
    fn commit(&mut self, (patches, changes): (Vec<Patch>, Changes)) {
        self.clock += 1;
        let seq = self.frontier.get(&self.name).copied().unwrap_or(0) + 1;
        let deps = self.frontier.clone();
        self.entries.push(Arc::new(Entry { origin: self.name, seq, deps, time: self.clock, patches }));
        self.frontier.insert(self.name, seq);
        self.take(changes);
        self.look();
    }

    pub(super) fn write(&mut self, change: impl FnOnce(&mut Pen<'_>)) {
        let mut pen = Pen::new(VOLUME, &self.facts, Time(self.clock + 1));
        change(&mut pen);
        let written = pen.finish();
        if written.0.is_empty() {
            self.take(written.1);
            return self.look();
        }
        self.commit(written);
    }

    /// An entry as nobody's pen writes it.
    pub(super) fn forge(&mut self, patches: Vec<Patch>) {
        let mut overlay = Overlay::new(&self.facts);
        for patch in &patches {
            overlay.apply(patch.clone().into(), patch.id(), Time(self.clock + 1)).unwrap();
        }
        let changes = overlay.into_changes();
        self.commit((patches, changes));
    }

    /// Brings both views up to date with changes, and makes those permanent.
    fn take(&mut self, changes: Changes) {
        let touched = changes.touched.clone();
        let mut overlay = Overlay::resume(&self.facts, changes);
        for (eye, seen) in [(Eye::Canonical, &mut self.canonical), (Eye::Local, &mut self.local)] {
            let update = update(&overlay, eye, &touched).unwrap();
            seen.forks.retain(|fork| fork.nodes.iter().all(|node| !update.covered.contains(node)));
            seen.forks.extend(update.forks);
            for (node, shown) in update.shown {
                match shown {
                    Some(shown) => seen.shown.insert(node, shown),
                    None => seen.shown.remove(&node),
                };
            }
            seen.reverted = update.reverted.clone();
            overlay.set_reverted(eye, update.reverted);
        }
        self.facts.absorb(overlay.into_changes());
        for eye in [Eye::Canonical, Eye::Local] {
            assert_eq!(self.seen(eye), &self.anew(eye), "what an update leaves alone is as it was: {eye:?}");
        }
    }

    /// The view worked out from nothing.
    fn anew(&self, eye: Eye) -> Seen {
        let mut overlay = Overlay::new(&self.facts);
        overlay.set_reverted(eye, BTreeSet::new());
        let update = update(&overlay, eye, &self.facts.nodes.keys().copied().collect()).unwrap();
        let shown = update.shown.into_iter().filter_map(|(node, shown)| Some((node, shown?)));
        Seen { shown: shown.collect(), forks: update.forks, reverted: update.reverted }
    }

    /// Materialises what is known.
    pub(super) fn look(&mut self) {
        let mut overlay = Overlay::new(&self.facts);
        for node in self.facts.disk.keys().filter(|node| !self.local.shown.contains_key(node)) {
            overlay.show(*node, None);
        }
        for (node, shown) in &self.local.shown {
            if self.facts.disk.get(node) != Some(shown) {
                overlay.show(*node, Some(shown.clone()));
            }
        }
        let changes = overlay.into_changes();
        self.take(changes);
    }

    /// Materialises; checks local first: what this disk shows and is still a head stays, name and all; what was
    /// superseded follows its own branch.
    pub(super) fn settle(&mut self) {
        let before = self.facts.disk.clone();
        // Once a disk shows how a cycle was cut, it is none to that disk any more.
        let cycles = self.local.forks.iter().filter(|fork| fork.kind == ForkKind::Cycle);
        let cut: BTreeSet<NodeId> = cycles.flat_map(|fork| fork.nodes.clone()).collect();
        self.look();
        for (node, was) in before {
            if cut.contains(&node) || !is_living(&self.facts, node).unwrap() {
                continue;
            }
            let now = &self.facts.disk[&node];
            for register in Register::ALL {
                self.check_local_first(node, register, &was, now);
            }
            let head = self.heads(node, Register::Place).contains(&was.patch(Register::Place));
            let at = Place::At { parent: was.folder, name: was.name.clone() };
            let had_name = self.value(was.patch(Register::Place), Register::Place) == Value::Place(at);
            let kept = (now.folder, &now.name) == (was.folder, &was.name);
            assert!(!head || !had_name || kept, "local first: a name was taken away");
        }
    }

    fn check_local_first(&self, node: NodeId, register: Register, was: &Shown, now: &Shown) {
        let was = was.patch(register);
        let now = self.value(now.patch(register), register);
        let own = |head: &PatchId| {
            let same = self.value(was, register).same(&self.value(*head, register));
            same || is_ancestor(&self.facts, was, *head, register).unwrap()
        };
        let heads = self.heads(node, register).into_iter().filter(own);
        let values: Vec<Value> = heads.map(|head| self.value(head, register)).filter(|v| !v.is_dead()).collect();
        let kept = values.is_empty() || values.iter().any(|value| value.same(&now));
        assert!(kept, "local first: a fork changed the tree under someone's hands");
    }

    pub(super) fn resolve(&mut self, fork: &Fork, choice: &Choice) -> Result<(), ResolveError> {
        self.look();
        let authors = self.authors();
        let (patches, changes) = resolve(VOLUME, &self.facts, Time(self.clock + 1), fork, (choice, &authors))?;
        assert!(changes.disk.is_empty(), "the disk does not show a resolution yet");
        self.commit((patches, changes));
        assert!(!self.forks().contains(fork), "I11: {fork:?} still open after {choice:?}");
        Ok(())
    }

    fn authors(&self) -> Authors {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.time, entry.origin)));
        let written = |entry: &Arc<Entry>| (entry.origin, entry.patches.iter().map(Patch::id).collect::<Vec<_>>());
        let each: Vec<_> = entries.into_iter().map(written).collect();
        let own = each.iter().filter(|(by, _)| *by == self.name).flat_map(|(_, patches)| patches.clone()).collect();
        let named = each.into_iter().flat_map(|(by, patches)| patches.into_iter().map(move |id| (id, by.to_string())));
        Authors { names: named.collect(), own }
    }

    /// The time of the last thing that it knows.
    pub(super) fn clock(&self) -> u64 {
        self.clock
    }

    pub(super) fn restore(&mut self, wish: &Wish) -> Result<BTreeMap<RelPath, Deed>, RestoreError> {
        self.look();
        let Restored { patches, changes, deeds } = restore(VOLUME, &self.facts, Time(self.clock + 1), wish)?;
        assert!(changes.disk.is_empty(), "the disk does not show what was brought back yet");
        assert_eq!(patches.is_empty(), deeds.is_empty(), "what is written is told: {deeds:?}");
        if !patches.is_empty() {
            self.commit((patches, changes));
        }
        Ok(deeds)
    }

    pub(super) fn resolve_all(&mut self, mut choose: impl FnMut(&Self, &Fork) -> Choice) {
        for _ in 0..100 {
            let Some(fork) = self.forks().first().cloned() else { return };
            let choice = choose(self, &fork);
            self.resolve(&fork, &choice).unwrap();
        }
        panic!("resolving does not end");
    }

    pub(super) fn heads(&self, node: NodeId, register: Register) -> Vec<PatchId> {
        self.facts.nodes[&node].heads(register).to_vec()
    }

    pub(super) fn value(&self, patch: PatchId, register: Register) -> Value {
        self.facts.patches[&patch].patch.value(register).unwrap()
    }

    pub(super) fn content(&self, node: NodeId) -> Content {
        let patch = self.facts.disk[&node].patch(Register::Content);
        self.facts.patches[&patch].patch.content.clone().unwrap()
    }

    pub(super) fn attr(&self, node: NodeId) -> Attr {
        let patch = self.facts.disk[&node].patch(Register::Attr);
        self.facts.patches[&patch].patch.attr.clone().unwrap()
    }

    pub(super) fn is_dir(&self, node: NodeId) -> bool {
        self.facts.nodes[&node].is_dir
    }

    /// What the disk shows, by path.
    pub(super) fn tree(&self) -> BTreeMap<String, NodeId> {
        paths(&self.facts.disk)
    }

    pub(super) fn canonical_tree(&self) -> BTreeMap<String, NodeId> {
        paths(&self.canonical.shown)
    }

    /// Content and attributes of everything that the disk shows, by path.
    pub(super) fn plain(&self) -> Plain {
        self.tree().into_iter().map(|(path, node)| (path, (self.content(node), self.attr(node)))).collect()
    }
}

pub(super) type Plain = BTreeMap<String, (Content, Attr)>;

fn paths(shown: &BTreeMap<NodeId, Shown>) -> BTreeMap<String, NodeId> {
    let path = |mut at: NodeId| {
        let mut names = Vec::new();
        while at != NodeId::ROOT {
            assert!(names.len() < 100, "I6: the nodes shown form a tree");
            let shown = &shown[&at];
            names.push(shown.name.to_string());
            at = shown.folder;
        }
        names.reverse();
        names.join("/")
    };
    shown.keys().map(|node| (path(*node), *node)).collect()
}

/// Everybody gets everything and shows it.
pub(super) fn sync(peers: &mut [Peer]) {
    for round in 0..2 * peers.len() - 1 {
        for from in 0..peers.len() {
            let entries = peers[from].entries.clone();
            let to = round % peers.len();
            peers[to].receive(&entries);
        }
    }
    peers.iter_mut().for_each(Peer::settle);
}

/// A file with that text, which its chunk's id spells.
pub(super) fn file(text: &str) -> Content {
    let mut id = [0; 32];
    id[..text.len()].copy_from_slice(text.as_bytes());
    let root = Root { id: ChunkId(id), depth: 0 };
    Content::File { len: text.len() as u64, root, mtime: Mtime::default() }
}

pub(super) fn link(target: &str) -> Content {
    Content::Symlink { target: target.into() }
}

pub(super) fn mode(mode: u16) -> Attr {
    Attr { mode, ..Attr::default() }
}
