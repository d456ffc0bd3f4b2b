//! The sides of a fork: what each of its heads would make of it.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{Fate, Outcome, canonical};
use crate::model::facts::{Eye, Facts, Shown, Unreadable};
use crate::model::ids::{NodeId, PatchId};
use crate::model::overlay::Overlay;
use crate::model::past::Past;
use crate::model::patch::{Attr, Content, Place, Register};
use crate::model::time::Time;
use crate::model::view::{Choices, Fork, ForkKind, choices, update};
use crate::plan::draft::{self, current};

/// One side.
#[derive(Debug)]
pub(super) struct Side {
    /// The patches that stand for it.
    pub(super) patches: Vec<PatchId>,
    /// Its newest head; a side that nobody wrote anew has none.
    pub(super) rank: Option<(Time, PatchId)>,
    /// What taking it means.
    pub(super) outcome: Outcome,
}

/// The sides of a fork; heads that come to the same are one side.
pub(super) fn sides(facts: &dyn Facts, fork: &Fork) -> Result<Vec<Side>, Unreadable> {
    let mut sides = Sides { facts, list: Vec::new() };
    for node in &fork.nodes {
        match fork.kind {
            ForkKind::Content => sides.contents(*node)?,
            ForkKind::Kind if fork.nodes.len() == 1 => sides.contents(*node)?,
            ForkKind::Kind | ForkKind::Name => sides.keeper(*node, fork)?,
            ForkKind::Place => sides.places(*node)?,
            ForkKind::Attr => sides.attrs(*node)?,
            ForkKind::Delete => sides.lives(*node)?,
            ForkKind::Cycle => sides.moves(*node, &fork.nodes)?,
        }
    }
    Ok(sides.list)
}

/// The patches by which people know a node that shares a name: those that gave it what the fork is about or, where a
/// delete took that, what is left of it. None of a directory that is gone and only shown for what is in it.
pub fn marks(facts: &dyn Facts, kind: ForkKind, node: NodeId) -> Result<Vec<(Register, PatchId)>, Unreadable> {
    let registers = match kind {
        ForkKind::Name => [Register::Place, Register::Content],
        _ => [Register::Content, Register::Place],
    };
    for register in registers {
        let Choices { patches, live } = choices(facts, node, register, None)?;
        if live > 0 {
            return Ok(patches.into_iter().take(live).map(|patch| (register, patch)).collect());
        }
    }
    Ok(Vec::new())
}

struct Sides<'a> {
    facts: &'a dyn Facts,
    list: Vec<Side>,
}

impl Sides<'_> {
    fn add(&mut self, node: NodeId, patch: PatchId, outcome: Outcome) -> Result<(), Unreadable> {
        let heads = self.facts.node(node)?.map(|state| state.heads.concat()).unwrap_or_default();
        let known = self.facts.patch(patch)?.filter(|_| heads.contains(&patch));
        self.join(patch, known.map(|known| (known.time, patch)), outcome);
        Ok(())
    }

    fn join(&mut self, patch: PatchId, rank: Option<(Time, PatchId)>, outcome: Outcome) {
        match self.list.iter_mut().find(|side| side.outcome.same(&outcome)) {
            Some(side) => {
                side.patches.push(patch);
                side.rank = side.rank.max(rank);
            }
            None => self.list.push(Side { patches: vec![patch], rank, outcome }),
        }
    }

    fn contents(&mut self, node: NodeId) -> Result<(), Unreadable> {
        for patch in current(self.facts, node, Register::Content)? {
            if let Some(content) = draft::content(self.facts, patch)? {
                self.add(node, patch, Outcome::Content { node, content })?;
            }
        }
        Ok(())
    }

    fn attrs(&mut self, node: NodeId) -> Result<(), Unreadable> {
        for patch in current(self.facts, node, Register::Attr)? {
            if let Some(attr) = attr(self.facts, patch)? {
                self.add(node, patch, Outcome::Attr { node, attr })?;
            }
        }
        Ok(())
    }

    fn places(&mut self, node: NodeId) -> Result<(), Unreadable> {
        for patch in current(self.facts, node, Register::Place)? {
            if let Some(place) = draft::place(self.facts, patch)? {
                self.add(node, patch, Outcome::Placed(BTreeMap::from([(node, place)])))?;
            }
        }
        Ok(())
    }

    /// The node is gone, or is one of the contents, or is at one of the places; what a side says nothing of is
    /// as everybody sees it.
    fn lives(&mut self, node: NodeId) -> Result<(), Unreadable> {
        let Some(state) = self.facts.node(node)? else { return Ok(()) };
        for patch in [state.heads(Register::Place), state.heads(Register::Content)].concat() {
            let known = self.facts.patch(patch)?.map(|known| known.patch);
            if known.is_some_and(|p| p.place == Some(Place::Nowhere) || p.content == Some(Content::Gone)) {
                self.add(node, patch, Outcome::Gone(node))?;
            }
        }
        let contents = current(self.facts, node, Register::Content)?;
        let places = current(self.facts, node, Register::Place)?;
        let (Some(first), Some(here)) = (contents.first(), places.first()) else { return Ok(()) };
        let as_content = contents.iter().map(|patch| (patch, patch, here));
        let as_place = places.iter().map(|patch| (patch, first, patch));
        for (patch, content, place) in as_content.chain(as_place) {
            let (content, place) = (draft::content(self.facts, *content)?, draft::place(self.facts, *place)?);
            if let (Some(content), Some(place)) = (content, place) {
                self.add(node, *patch, Outcome::Here { node, place, content })?;
            }
        }
        Ok(())
    }

    /// The node keeps the name. Every patch that it stands by names it, but only its marks say when that was done.
    fn keeper(&mut self, node: NodeId, fork: &Fork) -> Result<(), Unreadable> {
        for (_, patch) in marks(self.facts, fork.kind, node)? {
            self.add(node, patch, keeper(node, fork))?;
        }
        for register in [Register::Place, Register::Content] {
            for patch in current(self.facts, node, register)? {
                self.join(patch, None, keeper(node, fork));
            }
        }
        Ok(())
    }

    /// The cycle is cut so that a move of the node holds.
    fn moves(&mut self, node: NodeId, nodes: &[NodeId]) -> Result<(), Unreadable> {
        for patch in current(self.facts, node, Register::Place)? {
            let seen = if_shown(self.facts, node, patch, nodes)?;
            if let Some(places) = placed(self.facts, nodes, &seen)? {
                self.add(node, patch, Outcome::Placed(places))?;
            }
        }
        Ok(())
    }
}

/// What this disk shows of a fork: one of its sides, or for a delete fork one's content at another's place. None
/// where the disk shows something older. But the disk of whoever deleted shows what survived, which is not theirs:
/// of a delete fork it is the one side that this peer wrote.
pub(super) fn ours(
    facts: &dyn Facts,
    fork: &Fork,
    (sides, own): (&[Side], &BTreeSet<PatchId>),
) -> Result<Option<Outcome>, Unreadable> {
    if fork.kind == ForkKind::Delete
        && let Some(side) = written(facts, fork, (sides, own))?
    {
        return Ok(Some(side.outcome.clone()));
    }
    let mut shown = BTreeMap::new();
    for node in &fork.nodes {
        shown.insert(*node, facts.shown(*node)?);
    }
    if fork.kind == ForkKind::Cycle {
        return Ok(placed(facts, &fork.nodes, &shown)?.map(Outcome::Placed));
    }
    let several = fork.nodes.len() > 1;
    for (node, shown) in shown.into_iter().filter_map(|(node, shown)| Some((node, shown?))) {
        let place = draft::place(facts, shown.patch(Register::Place))?;
        let content = draft::content(facts, shown.patch(Register::Content))?;
        let (Some(place), Some(content)) = (place, content) else { continue };
        let ours = match fork.kind {
            _ if several => {
                let has_name = matches!(&place, Place::At { name, .. } if *name == shown.name);
                has_name.then(|| keeper(node, fork))
            }
            ForkKind::Place => Some(Outcome::Placed(BTreeMap::from([(node, place)]))),
            ForkKind::Attr => attr(facts, shown.patch(Register::Attr))?.map(|attr| Outcome::Attr { node, attr }),
            ForkKind::Delete => Some(Outcome::Here { node, place, content }),
            _ => Some(Outcome::Content { node, content }),
        };
        if let Some(ours) = ours.filter(|ours| is_between(sides, ours)) {
            return Ok(Some(ours));
        }
    }
    Ok(None)
}

/// The side with heads that this peer wrote, if there is exactly one.
fn written<'a>(
    facts: &dyn Facts,
    fork: &Fork,
    (sides, own): (&'a [Side], &BTreeSet<PatchId>),
) -> Result<Option<&'a Side>, Unreadable> {
    let mut heads = Vec::new();
    for node in &fork.nodes {
        let Some(state) = facts.node(*node)? else { continue };
        heads.extend([state.heads(Register::Place), state.heads(Register::Content)].concat());
    }
    let is_own = |patch: &PatchId| own.contains(patch) && heads.contains(patch);
    let mut written = sides.iter().filter(|side| side.patches.iter().any(is_own));
    Ok(written.next().filter(|_| written.next().is_none()))
}

/// Whether an outcome is a side, or mixes the content of one with the place of another.
fn is_between(sides: &[Side], ours: &Outcome) -> bool {
    let Outcome::Here { node, place, content } = ours else {
        return sides.iter().any(|side| side.outcome.same(ours));
    };
    let has = |fits: &dyn Fn(&Place, &Content) -> bool| {
        sides.iter().any(|side| matches!(&side.outcome, Outcome::Here { node: n, place, content } if n == node && fits(place, content)))
    };
    has(&|other, _| other == place) && has(&|_, other| other.same(content))
}

fn keeper(node: NodeId, fork: &Fork) -> Outcome {
    let others = fork.nodes.iter().copied().filter(|other| *other != node).collect();
    Outcome::Named { kind: fork.kind, keeper: node, others, fate: Fate::Aside }
}

/// Where nodes of a cycle would stand on a disk that shows one of them as a patch says, and nothing else.
fn if_shown(
    facts: &dyn Facts,
    node: NodeId,
    patch: PatchId,
    nodes: &[NodeId],
) -> Result<BTreeMap<NodeId, Option<Shown>>, Unreadable> {
    let everything = Past::new(facts, Time(u64::MAX));
    let mut overlay = Overlay::new(&everything);
    if let Some(shown) = canonical(facts, node)?
        && let Some(Place::At { parent, name }) = draft::place(facts, patch)?
    {
        let patches = [patch, shown.patch(Register::Content), shown.patch(Register::Attr)];
        overlay.show(node, Some(Shown { patches, folder: parent, name }));
    }
    Ok(update(&overlay, Eye::Local, &nodes.iter().copied().collect())?.shown)
}

/// The places of nodes as something shows them; none where it does not show them all.
fn placed(
    facts: &dyn Facts,
    nodes: &[NodeId],
    shown: &BTreeMap<NodeId, Option<Shown>>,
) -> Result<Option<BTreeMap<NodeId, Place>>, Unreadable> {
    let mut places = BTreeMap::new();
    for node in nodes {
        let Some(Some(shown)) = shown.get(node) else { return Ok(None) };
        let Some(place) = draft::place(facts, shown.patch(Register::Place))? else { return Ok(None) };
        places.insert(*node, place);
    }
    Ok(Some(places))
}

fn attr(facts: &dyn Facts, patch: PatchId) -> Result<Option<Attr>, Unreadable> {
    Ok(facts.patch(patch)?.and_then(|known| known.patch.attr.clone()))
}

/// The attributes that all peers see a node with.
pub(super) fn canonical_attr(facts: &dyn Facts, node: NodeId) -> Result<Option<Attr>, Unreadable> {
    match canonical(facts, node)? {
        Some(shown) => attr(facts, shown.patch(Register::Attr)),
        None => Ok(None),
    }
}
