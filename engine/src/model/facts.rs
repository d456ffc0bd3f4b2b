//! What the pure rooms need to know, asked for piece by piece: of the history, and of what this disk shows.
//!
//! The store answers from RocksDB, `Overlay` answers for a commit in the making, `MemoryFacts` for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{NodeId, PatchId};
use super::name::Name;
use super::patch::{Patch, Register};
use super::time::Time;

/// A fact that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the store could not be read: {0}")]
pub struct Unreadable(pub String);

/// What is known of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The patch.
    pub patch: Arc<Patch>,
    /// The time of the earliest entry that carries it.
    pub time: Time,
}

/// What is known of a node: its kind for ever, and for each register its heads, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Once a directory, always one.
    pub is_dir: bool,
    /// Patches that no known patch supersedes.
    pub heads: [Vec<PatchId>; 3],
}

impl NodeState {
    /// The heads of one register.
    pub fn heads(&self, register: Register) -> &[PatchId] {
        &self.heads[register as usize]
    }
}

/// What this disk shows of a node: a patch of each register, and where. The merge base of every local change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The patch shown, by register.
    pub patches: [PatchId; 3],
    /// The directory it stands in.
    pub folder: NodeId,
    /// Its name there; `p~pfs~1a2b3c4d` where another node has the name `p`.
    pub name: Name,
}

impl Shown {
    /// The patch shown of one register.
    pub fn patch(&self, register: Register) -> PatchId {
        self.patches[register as usize]
    }
}

/// For whom a view is: for all peers alike, or for the disk of this one, which keeps what it already shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Eye {
    /// One view for all peers: forks are listed and resolved by it.
    Canonical,
    /// What this peer's tree shows: local first.
    Local,
}

/// The answers. Absent is `None` or empty; an error is a store that cannot be read.
pub trait Facts {
    /// A node that any known patch is about.
    fn node(&self, node: NodeId) -> Result<Option<NodeState>, Unreadable>;
    /// A known patch.
    fn patch(&self, patch: PatchId) -> Result<Option<Known>, Unreadable>;
    /// Every (name, node) that a known patch ever placed in `parent`, ascending.
    fn placed_in(&self, parent: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable>;
    /// Every node that a known patch ever placed in `parent` as `name`, ascending.
    fn placed_as(&self, parent: NodeId, name: &Name) -> Result<Vec<NodeId>, Unreadable>;
    /// What this disk shows of a node.
    fn shown(&self, node: NodeId) -> Result<Option<Shown>, Unreadable>;
    /// Which node this disk shows in `folder` as `name`.
    fn shown_at(&self, folder: NodeId, name: &Name) -> Result<Option<NodeId>, Unreadable>;
    /// Which nodes this disk shows in `folder`, ascending by name.
    fn shown_in(&self, folder: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable>;
    /// The nodes that a cycle of moves keeps from their best place, as last worked out for `eye`.
    fn reverted(&self, eye: Eye) -> Result<BTreeSet<NodeId>, Unreadable>;
}

/// All facts in memory, for tests and small simulations.
#[derive(Debug, Clone, Default)]
pub struct MemoryFacts {
    /// By node.
    pub nodes: BTreeMap<NodeId, NodeState>,
    /// By id.
    pub patches: BTreeMap<PatchId, Known>,
    /// Every (parent, name, node) ever placed.
    pub placed: BTreeSet<(NodeId, Name, NodeId)>,
    /// What the disk shows.
    pub disk: BTreeMap<NodeId, Shown>,
    /// The same by place.
    pub disk_at: BTreeMap<(NodeId, Name), NodeId>,
    /// By eye.
    pub reverted: BTreeMap<Eye, BTreeSet<NodeId>>,
}
