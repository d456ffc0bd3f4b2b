//! Facts asked for once: a look comes back to the same nodes and patches many times.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::facts::{Eye, Facts, Known, NodeState, Shown, Unreadable};
use crate::model::ids::{NodeId, PatchId};
use crate::model::name::Name;

/// Facts that do not change while a look lasts.
pub(super) struct Memo<'a> {
    facts: &'a dyn Facts,
    nodes: RefCell<BTreeMap<NodeId, Option<NodeState>>>,
    patches: RefCell<BTreeMap<PatchId, Option<Known>>>,
}

impl<'a> Memo<'a> {
    pub(super) fn new(facts: &'a dyn Facts) -> Self {
        Self { facts, nodes: RefCell::default(), patches: RefCell::default() }
    }
}

impl Facts for Memo<'_> {
    fn node(&self, node: NodeId) -> Result<Option<NodeState>, Unreadable> {
        if let Some(state) = self.nodes.borrow().get(&node) {
            return Ok(state.clone());
        }
        let state = self.facts.node(node)?;
        self.nodes.borrow_mut().insert(node, state.clone());
        Ok(state)
    }

    fn patch(&self, patch: PatchId) -> Result<Option<Known>, Unreadable> {
        if let Some(known) = self.patches.borrow().get(&patch) {
            return Ok(known.clone());
        }
        let known = self.facts.patch(patch)?;
        self.patches.borrow_mut().insert(patch, known.clone());
        Ok(known)
    }

    fn placed_in(&self, parent: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        self.facts.placed_in(parent)
    }

    fn placed_as(&self, parent: NodeId, name: &Name) -> Result<Vec<NodeId>, Unreadable> {
        self.facts.placed_as(parent, name)
    }

    fn shown(&self, node: NodeId) -> Result<Option<Shown>, Unreadable> {
        self.facts.shown(node)
    }

    fn shown_at(&self, folder: NodeId, name: &Name) -> Result<Option<NodeId>, Unreadable> {
        self.facts.shown_at(folder, name)
    }

    fn shown_in(&self, folder: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        self.facts.shown_in(folder)
    }

    fn reverted(&self, eye: Eye) -> Result<BTreeSet<NodeId>, Unreadable> {
        self.facts.reverted(eye)
    }
}
