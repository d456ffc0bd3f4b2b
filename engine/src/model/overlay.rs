//! A commit in the making: facts, and changes laid over them that nobody else sees yet.
//!
//! Patches are applied one by one in causal order; each is checked against everything before it. What comes out
//! is the set of rows to write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::facts::{Eye, Facts, Known, NodeState, Shown, Unreadable};
use super::ids::{NodeId, PatchId};
use super::name::Name;
use super::patch::{Content, Patch, Place, Register};
use super::time::Time;

/// Everything that changes.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Nodes as they are now.
    pub nodes: BTreeMap<NodeId, NodeState>,
    /// New patches.
    pub patches: BTreeMap<PatchId, Known>,
    /// Patches known before that an earlier entry carries too: their time now.
    pub retimed: BTreeMap<PatchId, Time>,
    /// Where new patches place nodes.
    pub placed: BTreeSet<(NodeId, Name, NodeId)>,
    /// What the disk shows now; `None`: no longer shown.
    pub disk: BTreeMap<NodeId, Option<Shown>>,
    /// Nodes that cycles keep from their best place.
    pub reverted: BTreeMap<Eye, BTreeSet<NodeId>>,
    /// Every node that a patch or the disk changed.
    pub touched: BTreeSet<NodeId>,
}

impl Changes {
    /// The nodes that patches changed.
    pub fn patched(&self) -> BTreeSet<NodeId> {
        let retimed = self.touched.iter().filter(|_| !self.retimed.is_empty());
        self.nodes.keys().chain(retimed).copied().collect()
    }
}

/// Why a patch does not fit what is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A node that was never born.
    #[error("{0:?} was never born")]
    Unborn(NodeId),
    /// It supersedes something that is not a known patch of that register of that node.
    #[error("{node:?} supersedes {superseded:?}, which is no patch of it")]
    Supersedes {
        /// Whose patch.
        node: NodeId,
        /// What it names.
        superseded: PatchId,
    },
    /// A directory that becomes something else, or the reverse.
    #[error("{0:?} changes between directory and file")]
    Kind(NodeId),
    /// Its folder is not a known directory.
    #[error("{0:?} is placed in something that is no directory")]
    Parent(NodeId),
    /// The store failed.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Facts with changes over them.
pub struct Overlay<'a> {
    base: &'a dyn Facts,
    changes: Changes,
    disk_at: BTreeMap<(NodeId, Name), NodeId>,
}

impl<'a> Overlay<'a> {
    /// Nothing changed yet.
    pub fn new(base: &'a dyn Facts) -> Self {
        Self::resume(base, Changes::default())
    }

    /// Changes made before, over the facts that they were made over.
    pub fn resume(base: &'a dyn Facts, changes: Changes) -> Self {
        let places = changes.disk.iter().filter_map(|(node, shown)| Some((shown.as_ref()?, *node)));
        let disk_at = places.map(|(shown, node)| ((shown.folder, shown.name.clone()), node)).collect();
        Self { base, changes, disk_at }
    }

    /// The changes so far.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The changes.
    pub fn into_changes(self) -> Changes {
        self.changes
    }

    /// Takes in a patch that passed `Patch::check`. Says whether it was new; a known one only gets the earlier
    /// of two times.
    pub fn apply(&mut self, patch: Arc<Patch>, id: PatchId, time: Time) -> Result<bool, ApplyError> {
        if let Some(known) = self.patch(id)? {
            if time < known.time {
                self.retime(id, &known, time);
            }
            return Ok(false);
        }
        let node = patch.node;
        let mut state = match self.node(node)? {
            Some(state) => state,
            None if patch.born.is_some() => {
                NodeState { is_dir: patch.content == Some(Content::Dir), heads: Default::default() }
            }
            None => return Err(ApplyError::Unborn(node)),
        };
        self.check(&patch, &state)?;
        for register in Register::ALL.into_iter().filter(|r| patch.sets(*r)) {
            let heads = &mut state.heads[register as usize];
            heads.retain(|head| !patch.supersedes.of(register).contains(head));
            heads.push(id);
            heads.sort_unstable();
        }
        if let Some(Place::At { parent, name }) = &patch.place {
            self.changes.placed.insert((*parent, name.clone(), node));
        }
        self.changes.nodes.insert(node, state);
        self.changes.touched.insert(node);
        self.changes.patches.insert(id, Known { patch, time });
        Ok(true)
    }

    fn check(&self, patch: &Patch, state: &NodeState) -> Result<(), ApplyError> {
        let node = patch.node;
        let kind = patch.content.as_ref().filter(|content| **content != Content::Gone);
        if kind.is_some_and(|content| (*content == Content::Dir) != state.is_dir) {
            return Err(ApplyError::Kind(node));
        }
        for register in Register::ALL {
            for superseded in patch.supersedes.of(register) {
                let known = self.patch(*superseded)?;
                if !known.is_some_and(|known| known.patch.node == node && known.patch.sets(register)) {
                    return Err(ApplyError::Supersedes { node, superseded: *superseded });
                }
            }
        }
        if let Some(Place::At { parent, .. }) = &patch.place
            && *parent != NodeId::ROOT
            && !self.node(*parent)?.is_some_and(|parent| parent.is_dir)
        {
            return Err(ApplyError::Parent(node));
        }
        Ok(())
    }

    fn retime(&mut self, id: PatchId, known: &Known, time: Time) {
        self.changes.touched.insert(known.patch.node);
        match self.changes.patches.get_mut(&id) {
            Some(new) => new.time = time,
            None => {
                self.changes.retimed.insert(id, time);
            }
        }
    }

    /// What the disk shows of a node from now on.
    pub fn show(&mut self, node: NodeId, shown: Option<Shown>) {
        if let Some(Some(before)) = self.changes.disk.get(&node) {
            let at = (before.folder, before.name.clone());
            if self.disk_at.get(&at) == Some(&node) {
                self.disk_at.remove(&at);
            }
        }
        if let Some(shown) = &shown {
            self.disk_at.insert((shown.folder, shown.name.clone()), node);
        }
        self.changes.touched.insert(node);
        self.changes.disk.insert(node, shown);
    }

    /// The nodes that cycles keep from their best place from now on.
    pub fn set_reverted(&mut self, eye: Eye, nodes: BTreeSet<NodeId>) {
        self.changes.reverted.insert(eye, nodes);
    }
}

impl Facts for Overlay<'_> {
    fn node(&self, node: NodeId) -> Result<Option<NodeState>, Unreadable> {
        match self.changes.nodes.get(&node) {
            Some(state) => Ok(Some(state.clone())),
            None => self.base.node(node),
        }
    }

    fn patch(&self, patch: PatchId) -> Result<Option<Known>, Unreadable> {
        if let Some(known) = self.changes.patches.get(&patch) {
            return Ok(Some(known.clone()));
        }
        let known = self.base.patch(patch)?;
        Ok(known.map(|known| match self.changes.retimed.get(&patch) {
            Some(time) => Known { time: *time, ..known },
            None => known,
        }))
    }

    fn placed_in(&self, parent: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        let mut placed = self.base.placed_in(parent)?;
        let new = in_folder(&self.changes.placed, parent);
        placed.extend(new.map(|(_, name, node)| (name.clone(), *node)));
        placed.sort();
        placed.dedup();
        Ok(placed)
    }

    fn placed_as(&self, parent: NodeId, name: &Name) -> Result<Vec<NodeId>, Unreadable> {
        let mut placed = self.base.placed_as(parent, name)?;
        let new = self.changes.placed.range((parent, name.clone(), NodeId([0; 32]))..);
        placed.extend(new.take_while(|(p, n, _)| *p == parent && n == name).map(|(_, _, node)| *node));
        placed.sort_unstable();
        placed.dedup();
        Ok(placed)
    }

    fn shown(&self, node: NodeId) -> Result<Option<Shown>, Unreadable> {
        match self.changes.disk.get(&node) {
            Some(shown) => Ok(shown.clone()),
            None => self.base.shown(node),
        }
    }

    fn shown_at(&self, folder: NodeId, name: &Name) -> Result<Option<NodeId>, Unreadable> {
        if let Some(node) = self.disk_at.get(&(folder, name.clone())) {
            return Ok(Some(*node));
        }
        Ok(self.base.shown_at(folder, name)?.filter(|node| !self.changes.disk.contains_key(node)))
    }

    fn shown_in(&self, folder: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        let mut shown = self.base.shown_in(folder)?;
        shown.retain(|(_, node)| !self.changes.disk.contains_key(node));
        let moved = self.changes.disk.iter().filter_map(|(node, shown)| Some((shown.as_ref()?, *node)));
        let new = moved.filter(|(shown, _)| shown.folder == folder);
        shown.extend(new.map(|(shown, node)| (shown.name.clone(), node)));
        shown.sort();
        Ok(shown)
    }

    fn reverted(&self, eye: Eye) -> Result<BTreeSet<NodeId>, Unreadable> {
        match self.changes.reverted.get(&eye) {
            Some(nodes) => Ok(nodes.clone()),
            None => self.base.reverted(eye),
        }
    }
}

/// The rows of one folder, in a set ordered by folder and name.
pub(super) fn in_folder(
    placed: &BTreeSet<(NodeId, Name, NodeId)>,
    folder: NodeId,
) -> impl Iterator<Item = &(NodeId, Name, NodeId)> {
    let first = Name::try_from([0x20_u8].as_slice()).expect("a space is a name, and no name is less");
    placed.range((folder, first, NodeId([0; 32]))..).take_while(move |(parent, _, _)| *parent == folder)
}
