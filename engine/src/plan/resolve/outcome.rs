//! How a fork ends, fully decided, and the patches that say so.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{self, Authors};
use super::sides::marks;
use crate::model::facts::{Eye, Facts, Shown, Unreadable};
use crate::model::ids::{NodeId, PatchId, VolumeId};
use crate::model::name::Name;
use crate::model::patch::{Attr, Content, Patch, Place, Register, Value};
use crate::model::view::{ForkKind, children, is_living, lives, update};
use crate::plan::draft::{self, Over, Values, chained, draft};

/// What becomes of a node that does not keep the name it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Fate {
    /// It gets a free name.
    Aside,
    /// It is deleted, with everything below it.
    Removed,
}

/// How a fork ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plan) enum Outcome {
    /// The node has this content.
    Content { node: NodeId, content: Content },
    /// The node has this content, and each of the others, by the patch that wrote it, is a file beside it.
    Split { node: NodeId, content: Content, others: Vec<(Option<PatchId>, Content)>, attr: Attr },
    /// The node has these attributes.
    Attr { node: NodeId, attr: Attr },
    /// The nodes stand there.
    Placed(BTreeMap<NodeId, Place>),
    /// The node lives, with everything that its delete took away.
    Here { node: NodeId, place: Place, content: Content },
    /// The node's delete holds.
    Gone(NodeId),
    /// One node keeps the name that it shares with the others, in a fork of that kind.
    Named { kind: ForkKind, keeper: NodeId, others: Vec<NodeId>, fate: Fate },
    /// The nodes are deleted, with everything below them.
    Removed(Vec<NodeId>),
}

impl Outcome {
    /// Equality of outcomes: everything but the mtime.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Content { node: a, content }, Self::Content { node: b, content: other }) => {
                a == b && content.same(other)
            }
            (Self::Here { node: a, place, content }, Self::Here { node: b, place: to, content: other }) => {
                a == b && place == to && content.same(other)
            }
            _ => self == other,
        }
    }
}

/// The drafts of an outcome's patches. Each supersedes all heads of what it sets.
pub(super) fn drafts(
    volume: VolumeId,
    facts: &dyn Facts,
    outcome: &Outcome,
    authors: &Authors,
) -> Result<Vec<Patch>, Unreadable> {
    let one = |node: &NodeId, values| Ok(vec![draft(facts, *node, values, Over::Heads)?]);
    match outcome {
        Outcome::Content { node, content } => one(node, Values { content: Some(content.clone()), ..Values::default() }),
        Outcome::Attr { node, attr } => one(node, Values { attr: Some(attr.clone()), ..Values::default() }),
        Outcome::Gone(node) => one(node, Values::gone()),
        Outcome::Placed(places) => {
            let moves =
                places.iter().map(|(node, place)| draft(facts, *node, Values::placed(place.clone()), Over::Heads));
            moves.collect()
        }
        Outcome::Here { node, place, content } => {
            let values = Values { content: Some(content.clone()), ..Values::placed(place.clone()) };
            let mut patches = one(node, values)?;
            if *content == Content::Dir {
                patches.extend(revived(facts, *node)?);
            }
            Ok(patches)
        }
        Outcome::Named { kind, keeper, others, fate } => named(facts, (*kind, *keeper), (others, *fate), authors),
        Outcome::Removed(nodes) => removal(facts, nodes),
        Outcome::Split { node, content, others, attr } => {
            let Some(spot) = canonical_spot(facts, *node)? else { return Ok(Vec::new()) };
            let mut room = Room::at(facts, spot)?;
            let mut patches = one(node, Values { content: Some(content.clone()), ..Values::default() })?;
            for (patch, other) in others {
                let spot = room.spot(false, patch.and_then(|patch| authors.names.get(&patch)));
                patches.push(draft::birth(volume, facts, spot, other.clone(), attr.clone())?);
            }
            Ok(patches)
        }
    }
}

/// What a contested delete of a folder took away with it, asserted again.
fn revived(facts: &dyn Facts, folder: NodeId) -> Result<Vec<Patch>, Unreadable> {
    let (mut patches, mut rest) = (Vec::new(), vec![folder]);
    while let Some(folder) = rest.pop() {
        for (_, node, shown) in children(facts, Eye::Canonical, folder)? {
            if lives(facts, node)? || !is_living(facts, node)? {
                continue;
            }
            let place = draft::place(facts, shown.patch(Register::Place))?;
            let content = draft::content(facts, shown.patch(Register::Content))?;
            patches.push(draft(facts, node, Values { place, content, attr: None }, Over::Heads)?);
            rest.push(node);
        }
    }
    Ok(patches)
}

/// The nodes and everything below them in the canonical tree, deleted; parents first.
fn removal(facts: &dyn Facts, nodes: &[NodeId]) -> Result<Vec<Patch>, Unreadable> {
    let (mut patches, mut seen) = (Vec::new(), BTreeSet::new());
    let mut rest: Vec<_> = nodes.iter().rev().map(|node| (*node, None)).collect();
    while let Some((node, within)) = rest.pop() {
        if !seen.insert(node) {
            continue;
        }
        let delete = Patch { within, ..draft(facts, node, Values::gone(), Over::Heads)? };
        // What goes with it names the patch that stays.
        let (before, delete) = chained(delete);
        let id = delete.id();
        patches.extend(before);
        patches.push(delete);
        rest.extend(children(facts, Eye::Canonical, node)?.into_iter().map(|(_, child, _)| (child, Some(id))));
    }
    Ok(patches)
}

/// The keeper is placed there again; the others make room, each named after who made it what it is.
fn named(
    facts: &dyn Facts,
    (kind, keeper): (ForkKind, NodeId),
    (others, fate): (&[NodeId], Fate),
    authors: &Authors,
) -> Result<Vec<Patch>, Unreadable> {
    let Some(spot) = canonical_spot(facts, keeper)? else { return Ok(Vec::new()) };
    let mut patches = kept(facts, keeper, spot.clone())?;
    match fate {
        Fate::Removed => patches.extend(removal(facts, others)?),
        Fate::Aside => {
            let mut room = Room::at(facts, spot)?;
            for node in others {
                let is_dir = facts.node(*node)?.is_some_and(|state| state.is_dir);
                let marks = marks(facts, kind, *node)?.into_iter().map(|(_, patch)| patch);
                let made = draft::current(facts, *node, Register::Content)?;
                let author = marks.chain(made).find_map(|id| authors.names.get(&id));
                patches.extend(kept(facts, *node, room.spot(is_dir, author))?);
            }
        }
    }
    Ok(patches)
}

/// Puts a node somewhere by name. Who says where it stands has said that it stands: if deletes contest that, they
/// end, and so do those of what is in it.
fn kept(facts: &dyn Facts, node: NodeId, spot: (NodeId, Name)) -> Result<Vec<Patch>, Unreadable> {
    let mut patches = vec![asserted(facts, node, spot)?];
    let mut rest = if is_deleted_by_some(facts, node)? { vec![node] } else { Vec::new() };
    while let Some(folder) = rest.pop() {
        for (_, node, shown) in children(facts, Eye::Canonical, folder)? {
            rest.push(node);
            if is_deleted_by_some(facts, node)?
                && let Some(Place::At { parent, name }) = draft::place(facts, shown.patch(Register::Place))?
            {
                patches.push(asserted(facts, node, (parent, name))?);
            }
        }
    }
    Ok(patches)
}

fn is_deleted_by_some(facts: &dyn Facts, node: NodeId) -> Result<bool, Unreadable> {
    let Some(state) = facts.node(node)? else { return Ok(false) };
    for register in [Register::Place, Register::Content] {
        for head in state.heads(register) {
            if draft::value(facts, *head, register)?.is_some_and(|value| value.is_dead()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A node at that spot which lives. Of contents that differ each stays a head: whether it is there says nothing of
/// what is in it.
fn asserted(facts: &dyn Facts, node: NodeId, (parent, name): (NodeId, Name)) -> Result<Patch, Unreadable> {
    let mut patch = draft(facts, node, Values::placed(Place::At { parent, name }), Over::Heads)?;
    let heads = facts.node(node)?.map(|state| state.heads(Register::Content).to_vec()).unwrap_or_default();
    let current = draft::current(facts, node, Register::Content)?;
    let Some(content) = current.first().map(|best| draft::content(facts, *best)).transpose()?.flatten() else {
        return Ok(patch);
    };
    let (mut ended, mut is_contested) = (Vec::new(), false);
    for head in heads {
        let Some(value) = draft::value(facts, head, Register::Content)? else { continue };
        is_contested |= value.is_dead();
        if value.is_dead() || value.same(&Value::Content(content.clone())) {
            ended.push(head);
        }
    }
    if is_contested {
        patch.content = Some(content);
        patch.supersedes.set(Register::Content, ended);
    }
    Ok(patch)
}

/// The folder and the name that a node has in the eyes of all.
pub(super) fn canonical_spot(facts: &dyn Facts, node: NodeId) -> Result<Option<(NodeId, Name)>, Unreadable> {
    let Some(shown) = canonical(facts, node)? else { return Ok(None) };
    Ok(match draft::place(facts, shown.patch(Register::Place))? {
        Some(Place::At { parent, name }) => Some((parent, name)),
        Some(Place::Nowhere) | None => None,
    })
}

/// What all peers see of a node.
pub(super) fn canonical(facts: &dyn Facts, node: NodeId) -> Result<Option<Shown>, Unreadable> {
    Ok(update(facts, Eye::Canonical, &BTreeSet::from([node]))?.shown.remove(&node).flatten())
}

/// A directory in which things make room for the one that keeps its name.
struct Room {
    folder: NodeId,
    name: Name,
    used: BTreeSet<Name>,
}

impl Room {
    /// Beside a spot.
    fn at(facts: &dyn Facts, (folder, name): (NodeId, Name)) -> Result<Self, Unreadable> {
        let there = children(facts, Eye::Canonical, folder)?;
        Ok(Self { folder, name, used: there.into_iter().map(|(name, ..)| name).collect() })
    }

    /// A spot that nothing has, nor was given before.
    fn spot(&mut self, is_dir: bool, author: Option<&String>) -> (NodeId, Name) {
        let name = names::free(&self.name, is_dir, author.map(String::as_str), &self.used);
        self.used.insert(name.clone());
        (self.folder, name)
    }
}
