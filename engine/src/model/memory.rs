//! Facts in memory: for tests, and for simulations that need no store.

use std::collections::BTreeSet;

use super::facts::{Eye, Facts, Known, MemoryFacts, NodeState, Shown, Unreadable};
use super::ids::{NodeId, PatchId};
use super::name::Name;
use super::overlay::{Changes, in_folder};

impl MemoryFacts {
    /// Makes changes permanent.
    pub fn absorb(&mut self, changes: Changes) {
        self.nodes.extend(changes.nodes);
        self.patches.extend(changes.patches);
        for (id, time) in changes.retimed {
            if let Some(known) = self.patches.get_mut(&id) {
                known.time = time;
            }
        }
        self.placed.extend(changes.placed);
        self.reverted.extend(changes.reverted);
        for node in changes.disk.keys() {
            if let Some(before) = self.disk.remove(node) {
                let at = (before.folder, before.name);
                if self.disk_at.get(&at) == Some(node) {
                    self.disk_at.remove(&at);
                }
            }
        }
        for (node, shown) in changes.disk {
            if let Some(shown) = shown {
                self.disk_at.insert((shown.folder, shown.name.clone()), node);
                self.disk.insert(node, shown);
            }
        }
    }
}

impl Facts for MemoryFacts {
    fn node(&self, node: NodeId) -> Result<Option<NodeState>, Unreadable> {
        Ok(self.nodes.get(&node).cloned())
    }

    fn patch(&self, patch: PatchId) -> Result<Option<Known>, Unreadable> {
        Ok(self.patches.get(&patch).cloned())
    }

    fn placed_in(&self, parent: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        Ok(in_folder(&self.placed, parent).map(|(_, name, node)| (name.clone(), *node)).collect())
    }

    fn placed_as(&self, parent: NodeId, name: &Name) -> Result<Vec<NodeId>, Unreadable> {
        let from = self.placed.range((parent, name.clone(), NodeId([0; 32]))..);
        Ok(from.take_while(|(p, n, _)| *p == parent && n == name).map(|(_, _, node)| *node).collect())
    }

    fn shown(&self, node: NodeId) -> Result<Option<Shown>, Unreadable> {
        Ok(self.disk.get(&node).cloned())
    }

    fn shown_at(&self, folder: NodeId, name: &Name) -> Result<Option<NodeId>, Unreadable> {
        Ok(self.disk_at.get(&(folder, name.clone())).copied())
    }

    fn shown_in(&self, folder: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        let here = self.disk_at.iter().filter(|((parent, _), _)| *parent == folder);
        Ok(here.map(|((_, name), node)| (name.clone(), *node)).collect())
    }

    fn reverted(&self, eye: Eye) -> Result<BTreeSet<NodeId>, Unreadable> {
        Ok(self.reverted.get(&eye).cloned().unwrap_or_default())
    }
}
