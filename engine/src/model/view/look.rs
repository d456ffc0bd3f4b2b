//! One look at the facts for one eye: which nodes live, which are in the tree, and where. Everything that was
//! worked out is kept, so that a batch of births below one folder asks about that folder once.

use std::collections::BTreeMap;

use super::choices::{self, Choices, Rank, is_dead, live_choices};
use crate::model::facts::{Eye, Facts, NodeState, Shown, Unreadable};
use crate::model::ids::{NodeId, PatchId};
use crate::model::name::Name;
use crate::model::patch::{Place, Register};

/// What is kept of a node.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) is_dir: bool,
    /// Any head of its place or content lives.
    pub(super) lives: bool,
    /// Heads of its place and content that are deletes.
    pub(super) deaths: Vec<PatchId>,
    /// What this disk shows of it (never for the canonical eye).
    pub(super) disk: Option<Shown>,
}

/// Where a node stands: the patch that says so, the folder, the name.
pub(super) type Standing = (PatchId, NodeId, Name);

pub(super) struct Look<'a> {
    pub(super) facts: &'a dyn Facts,
    eye: Eye,
    kept: BTreeMap<NodeId, Option<Kept>>,
    living: BTreeMap<NodeId, bool>,
    in_tree: BTreeMap<NodeId, bool>,
    standing: BTreeMap<NodeId, Option<Standing>>,
    /// How many of its choices of place a node has lost to cycles.
    cuts: BTreeMap<NodeId, usize>,
}

impl<'a> Look<'a> {
    pub(super) fn new(facts: &'a dyn Facts, eye: Eye) -> Self {
        let (kept, living, in_tree, standing, cuts) = Default::default();
        Self { facts, eye, kept, living, in_tree, standing, cuts }
    }

    pub(super) fn kept(&mut self, node: NodeId) -> Result<Option<Kept>, Unreadable> {
        if let Some(kept) = self.kept.get(&node) {
            return Ok(kept.clone());
        }
        let kept = match self.facts.node(node)? {
            Some(state) => Some(self.keep(node, &state)?),
            None => None,
        };
        self.kept.insert(node, kept.clone());
        Ok(kept)
    }

    fn keep(&self, node: NodeId, state: &NodeState) -> Result<Kept, Unreadable> {
        let (mut lives, mut deaths) = (false, Vec::new());
        for register in [Register::Place, Register::Content] {
            for head in state.heads(register) {
                let Some(known) = self.facts.patch(*head)? else { continue };
                if is_dead(&known, register) { deaths.push(*head) } else { lives = true }
            }
        }
        let disk = match self.eye {
            Eye::Canonical => None,
            Eye::Local => self.facts.shown(node)?,
        };
        Ok(Kept { is_dir: state.is_dir, lives, deaths, disk })
    }

    /// Whether a node lives of its own, or because what removed it is part of a directory's delete that is
    /// contested.
    pub(super) fn living(&mut self, node: NodeId) -> Result<bool, Unreadable> {
        if let Some(living) = self.living.get(&node) {
            return Ok(*living);
        }
        // Nodes whose answer is open, each with its deaths left to ask about; each hangs on the one behind it. One
        // that does not live takes all of them with it.
        let (mut open, mut next) = (Vec::new(), Some(node));
        loop {
            if let Some(node) = next.take() {
                // While its own answer is open a node holds up nobody.
                self.living.insert(node, false);
                match self.kept(node)? {
                    Some(kept) if kept.lives => _ = self.living.insert(node, true),
                    Some(kept) if !kept.deaths.is_empty() => open.push((node, kept.deaths.into_iter())),
                    _ => return Ok(false),
                }
            }
            let Some((node, deaths)) = open.last_mut() else { return Ok(true) };
            let Some(death) = deaths.next() else {
                self.living.insert(*node, true);
                open.pop();
                continue;
            };
            let Some(folder) = self.contested_folder(death)? else { return Ok(false) };
            match self.living.get(&folder) {
                Some(true) => {}
                Some(false) => return Ok(false),
                None => next = Some(folder),
            }
        }
    }

    /// The directory whose delete a delete is part of, if others contest that one.
    fn contested_folder(&mut self, death: PatchId) -> Result<Option<NodeId>, Unreadable> {
        let Some(within) = self.facts.patch(death)?.and_then(|known| known.patch.within) else { return Ok(None) };
        let Some(folder) = self.facts.patch(within)?.map(|known| known.patch.node) else { return Ok(None) };
        let stands_open = self.kept(folder)?.is_some_and(|kept| kept.deaths.contains(&within));
        Ok(stands_open.then_some(folder))
    }

    /// What this disk shows of a node, where that still counts.
    pub(super) fn mine(&mut self, node: NodeId) -> Result<Option<Shown>, Unreadable> {
        if !self.living(node)? {
            return Ok(None);
        }
        Ok(self.kept(node)?.and_then(|kept| kept.disk))
    }

    /// All that a register of a node can show.
    pub(super) fn choices(&mut self, node: NodeId, register: Register) -> Result<Choices, Unreadable> {
        let mine = self.mine(node)?.map(|shown| shown.patch(register));
        choices::choices(self.facts, node, register, mine)
    }

    /// What a register of a node shows.
    pub(super) fn best(&mut self, node: NodeId, register: Register) -> Result<Option<PatchId>, Unreadable> {
        let mine = self.mine(node)?.map(|shown| shown.patch(register));
        let live = live_choices(self.facts, node, register, mine)?;
        match live.patches.first() {
            Some(best) => Ok(Some(*best)),
            None => Ok(self.choices(node, register)?.patches.first().copied()),
        }
    }

    /// Where a node stands, or would if it were in the tree.
    pub(super) fn standing(&mut self, node: NodeId) -> Result<Option<Standing>, Unreadable> {
        if let Some(standing) = self.standing.get(&node) {
            return Ok(standing.clone());
        }
        let patch = match self.cuts.get(&node).copied().unwrap_or(0) {
            0 => self.best(node, Register::Place)?,
            cut => self.choices(node, Register::Place)?.patches.get(cut).copied(),
        };
        let mut standing = None;
        if let Some(patch) = patch
            && let Some(known) = self.facts.patch(patch)?
            && let Some(Place::At { parent, name }) = &known.patch.place
        {
            standing = Some((patch, *parent, name.clone()));
        }
        self.standing.insert(node, standing.clone());
        Ok(standing)
    }

    pub(super) fn folder(&mut self, node: NodeId) -> Result<Option<NodeId>, Unreadable> {
        Ok(self.standing(node)?.map(|(_, folder, _)| folder))
    }

    /// Whether a node is in the tree: it lives, or something below it does.
    pub(super) fn in_tree(&mut self, node: NodeId) -> Result<bool, Unreadable> {
        if node == NodeId::ROOT {
            return Ok(true);
        }
        if let Some(in_tree) = self.in_tree.get(&node) {
            return Ok(*in_tree);
        }
        // Directories that are gone, each in the one before it, with what is left to look at in them. One thing
        // that lives keeps all of them.
        let (mut open, mut next) = (Vec::new(), Some(node));
        loop {
            if let Some(node) = next.take() {
                self.in_tree.insert(node, false);
                let lives = self.living(node)?;
                open.push((node, if lives { Vec::new() } else { self.ever_in(node)? }.into_iter()));
                if lives {
                    break;
                }
            }
            let Some((folder, ahead)) = open.last_mut() else { return Ok(false) };
            let folder = *folder;
            let Some((_, below)) = ahead.next() else {
                open.pop();
                continue;
            };
            if self.folder(below)? == Some(folder) {
                match self.in_tree.get(&below) {
                    Some(true) => break,
                    Some(false) => {}
                    None => next = Some(below),
                }
            }
        }
        self.in_tree.extend(open.into_iter().map(|(node, _)| (node, true)));
        Ok(true)
    }

    /// What was ever put into a directory; nothing where it is none.
    fn ever_in(&mut self, node: NodeId) -> Result<Vec<(Name, NodeId)>, Unreadable> {
        let is_dir = self.kept(node)?.is_some_and(|kept| kept.is_dir);
        if is_dir { self.facts.placed_in(node) } else { Ok(Vec::new()) }
    }

    pub(super) fn rank(&self, patch: PatchId) -> Result<Option<Rank>, Unreadable> {
        Ok(self.facts.patch(patch)?.map(|known| (known.time, patch)))
    }

    pub(super) fn cut(&self, node: NodeId) -> usize {
        self.cuts.get(&node).copied().unwrap_or(0)
    }

    /// Takes the next choice of place for a node. Where nodes are in the tree is worked out anew.
    pub(super) fn cut_once(&mut self, node: NodeId) {
        *self.cuts.entry(node).or_default() += 1;
        self.standing.remove(&node);
        self.in_tree.clear();
    }

    pub(super) fn cut_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.cuts.keys().copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests;
