//! The past: the facts as they were at a time. "The tree at time T" is the view of all patches up to T; hybrid
//! time makes that set causally closed.

use std::collections::BTreeSet;

use super::facts::{Eye, Facts, Known, NodeState, Shown, Unreadable};
use super::ids::{NodeId, PatchId};
use super::name::Name;
use super::patch::Register;
use super::time::Time;

/// Facts that know nothing later than a time, and no disk.
pub struct Past<'a> {
    facts: &'a dyn Facts,
    until: Time,
}

impl<'a> Past<'a> {
    /// What was known at `until`, that time included.
    pub fn new(facts: &'a dyn Facts, until: Time) -> Self {
        Self { facts, until }
    }

    /// The heads of one register then: what its heads of now supersede, down to patches of that time.
    fn heads(&self, now: &[PatchId], register: Register) -> Result<Vec<PatchId>, Unreadable> {
        let (mut heads, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut below = BTreeSet::new();
        let mut rest: Vec<(PatchId, bool)> = now.iter().map(|id| (*id, false)).collect();
        while let Some((id, superseded)) = rest.pop() {
            let Some(known) = self.facts.patch(id)? else { continue };
            let then = known.time <= self.until;
            if superseded {
                below.insert(id);
            } else if then {
                heads.insert(id);
            }
            // Below a head of then, only what could be taken for another head matters.
            let mark = superseded || then;
            if seen.insert((id, mark)) {
                rest.extend(known.patch.supersedes.of(register).iter().map(|id| (*id, mark)));
            }
        }
        Ok(heads.difference(&below).copied().collect())
    }
}

impl Facts for Past<'_> {
    fn node(&self, node: NodeId) -> Result<Option<NodeState>, Unreadable> {
        let Some(now) = self.facts.node(node)? else { return Ok(None) };
        let mut heads = [const { Vec::new() }; 3];
        for register in Register::ALL {
            heads[register as usize] = self.heads(now.heads(register), register)?;
        }
        let born = heads.iter().any(|heads| !heads.is_empty());
        Ok(born.then_some(NodeState { is_dir: now.is_dir, heads }))
    }

    fn patch(&self, patch: PatchId) -> Result<Option<Known>, Unreadable> {
        Ok(self.facts.patch(patch)?.filter(|known| known.time <= self.until))
    }

    fn placed_in(&self, parent: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        let mut placed = Vec::new();
        for (name, node) in self.facts.placed_in(parent)? {
            if self.node(node)?.is_some() {
                placed.push((name, node));
            }
        }
        Ok(placed)
    }

    fn placed_as(&self, parent: NodeId, name: &Name) -> Result<Vec<NodeId>, Unreadable> {
        let mut placed = Vec::new();
        for node in self.facts.placed_as(parent, name)? {
            if self.node(node)?.is_some() {
                placed.push(node);
            }
        }
        Ok(placed)
    }

    fn shown(&self, _: NodeId) -> Result<Option<Shown>, Unreadable> {
        Ok(None)
    }

    fn shown_at(&self, _: NodeId, _: &Name) -> Result<Option<NodeId>, Unreadable> {
        Ok(None)
    }

    fn shown_in(&self, _: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        Ok(Vec::new())
    }

    fn reverted(&self, _: Eye) -> Result<BTreeSet<NodeId>, Unreadable> {
        Ok(BTreeSet::new())
    }
}
