//! Settling a fork: a choice between its sides becomes the patches of one entry, which closes that fork.
//!
//! Judged by the canonical view, so that peers which choose alike write the same patches. What the disk shows is
//! not touched: it does not show the resolution yet.

mod names;
mod outcome;
mod sides;

use std::collections::BTreeSet;

pub use self::names::Authors;
use self::outcome::{Fate, Outcome};
use self::sides::Side;
pub use self::sides::marks;
use crate::model::facts::{Eye, Facts, Unreadable};
use crate::model::ids::{NodeId, PatchId, VolumeId};
use crate::model::overlay::{ApplyError, Changes, Overlay};
use crate::model::patch::{Content, Patch, PatchError, Place, Register};
use crate::model::time::Time;
use crate::model::view::{Fork, ForkKind, update};
use crate::plan::draft::chained;

/// How a fork is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The side of that head. Of nodes that share a name: the place of the one that shall keep it; the others
    /// get a free name.
    Take(PatchId),
    /// The same, but the others that share the name are deleted.
    Only(PatchId),
    /// What this disk shows; of a delete fork the side that this peer wrote, if it wrote exactly one.
    Ours,
    /// The one other side.
    Theirs,
    /// The side written last.
    Newest,
    /// Every side: one stays, the others stand beside it under free names.
    Both,
    /// None: the nodes are deleted, with everything below them.
    Delete,
    /// No side as it is: the file has this content, which was made of these heads and of no others.
    With {
        /// What it has from now on; its chunks are in the store.
        content: Content,
        /// The heads of its content at the time.
        over: Vec<PatchId>,
    },
}

impl Choice {
    /// Whether it can settle forks of that kind.
    pub fn fits(&self, kind: ForkKind) -> bool {
        use ForkKind::{Content, Delete, Kind, Name};
        match self {
            Self::Both => matches!(kind, Content | Kind | Name),
            Self::Delete => matches!(kind, Content | Kind | Name | Delete),
            Self::With { .. } => matches!(kind, Content | Kind | Delete),
            Self::Take(_) | Self::Only(_) | Self::Ours | Self::Theirs | Self::Newest => true,
        }
    }
}

/// Why a choice does not settle a fork.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// There is no such fork, or no longer.
    #[error("this fork is not open")]
    NotOpen,
    /// The patch is no side of it.
    #[error("{0:?} is no side of this fork")]
    NoSide(PatchId),
    /// This disk shows none of the sides.
    #[error("this disk shows no side of this fork")]
    NotShown,
    /// There are several other sides, so that "theirs" says nothing.
    #[error("this fork has {0} other sides: name one")]
    Several(usize),
    /// Both sides of such a fork cannot stay.
    #[error("no {0} fork can keep both sides")]
    NotBoth(ForkKind),
    /// Such a fork is not about whether something is there: a delete would take what nobody contests.
    #[error("no {0} fork is settled by a delete")]
    NotDelete(ForkKind),
    /// Such a fork is not about what a file holds, or it is about several things, or a directory.
    #[error("no {0} fork like this is settled by other bytes")]
    NotWith(ForkKind),
    /// The content was made of other heads than there are now.
    #[error("this fork has changed meanwhile")]
    Changed,
    /// A value is out of its bounds.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The resolution contradicts what is known.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The store failed.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Whether a choice says how this fork is to end.
pub fn settles(facts: &dyn Facts, fork: &Fork, (choice, authors): (&Choice, &Authors)) -> Result<bool, Unreadable> {
    match decide(facts, fork, (choice, authors)) {
        Err(ResolveError::Unreadable(error)) => Err(error),
        decided => Ok(decided.is_ok()),
    }
}

/// The entry that closes a fork: its patches, and what they change. `authors` say which side is this peer's own, and
/// name what gives way.
pub fn resolve(
    volume: VolumeId,
    facts: &dyn Facts,
    time: Time,
    fork: &Fork,
    (choice, authors): (&Choice, &Authors),
) -> Result<(Vec<Patch>, Changes), ResolveError> {
    let nodes: BTreeSet<NodeId> = fork.nodes.iter().copied().collect();
    if !update(facts, Eye::Canonical, &nodes)?.forks.contains(fork) {
        return Err(ResolveError::NotOpen);
    }
    let outcome = decide(facts, fork, (choice, authors))?;
    settle(volume, facts, time, (&outcome, authors))
}

/// Which outcome a choice means.
fn decide(facts: &dyn Facts, fork: &Fork, (choice, authors): (&Choice, &Authors)) -> Result<Outcome, ResolveError> {
    match choice {
        Choice::Both if !choice.fits(fork.kind) => return Err(ResolveError::NotBoth(fork.kind)),
        Choice::Delete if !choice.fits(fork.kind) => return Err(ResolveError::NotDelete(fork.kind)),
        _ => {}
    }
    let sides = sides::sides(facts, fork)?;
    let ours = || sides::ours(facts, fork, (&sides, &authors.own));
    let newest = || sides.iter().max_by_key(|side| side.rank).map(|side| side.outcome.clone());
    let side = |patch: &PatchId| {
        let side = sides.iter().find(|side| side.patches.contains(patch));
        side.map(|side| side.outcome.clone()).ok_or(ResolveError::NoSide(*patch))
    };
    match choice {
        Choice::Take(patch) => side(patch),
        Choice::Only(patch) => Ok(match side(patch)? {
            Outcome::Named { kind, keeper, others, .. } => Outcome::Named { kind, keeper, others, fate: Fate::Removed },
            outcome => outcome,
        }),
        Choice::Ours => ours()?.ok_or(ResolveError::NotShown),
        Choice::Theirs => theirs(&sides, &ours()?.ok_or(ResolveError::NotShown)?),
        Choice::Newest => newest().ok_or(ResolveError::NotOpen),
        Choice::Both => {
            let kept = ours()?.or_else(newest).ok_or(ResolveError::NotOpen)?;
            both(facts, fork.kind, &sides, kept)
        }
        Choice::Delete => Ok(Outcome::Removed(fork.nodes.clone())),
        Choice::With { content, over } => with(facts, fork, (content, over)),
    }
}

/// The file has a content that none of the sides has.
fn with(facts: &dyn Facts, fork: &Fork, (content, over): (&Content, &[PatchId])) -> Result<Outcome, ResolveError> {
    let not_with = || ResolveError::NotWith(fork.kind);
    let ([node], true) = (&fork.nodes[..], Choice::With { content: content.clone(), over: Vec::new() }.fits(fork.kind))
    else {
        return Err(not_with());
    };
    let state = facts.node(*node)?.filter(|state| !state.is_dir).ok_or_else(not_with)?;
    if state.heads(Register::Content) != over {
        return Err(ResolveError::Changed);
    }
    if fork.kind != ForkKind::Delete {
        return Ok(Outcome::Content { node: *node, content: content.clone() });
    }
    let (parent, name) = outcome::canonical_spot(facts, *node)?.ok_or(ResolveError::NotOpen)?;
    Ok(Outcome::Here { node: *node, place: Place::At { parent, name }, content: content.clone() })
}

fn theirs(sides: &[Side], ours: &Outcome) -> Result<Outcome, ResolveError> {
    let mut others = sides.iter().filter(|side| !side.outcome.same(ours));
    match (others.next(), others.count()) {
        (Some(other), 0) => Ok(other.outcome.clone()),
        (first, more) => Err(ResolveError::Several(more + usize::from(first.is_some()))),
    }
}

/// Every side stays: nodes that share a name under names of their own, one node's contents as nodes of their own.
fn both(facts: &dyn Facts, kind: ForkKind, sides: &[Side], kept: Outcome) -> Result<Outcome, ResolveError> {
    match kept {
        Outcome::Named { .. } => Ok(kept),
        Outcome::Content { node, content } => {
            let contents = sides.iter().filter_map(|side| match &side.outcome {
                Outcome::Content { content, .. } => Some((side.rank.map(|(_, patch)| patch), content)),
                _ => None,
            });
            let others = contents.filter(|(_, other)| !other.same(&content));
            let others = others.map(|(patch, other)| (patch, other.clone())).collect();
            let attr = sides::canonical_attr(facts, node)?.ok_or(ResolveError::NotOpen)?;
            Ok(Outcome::Split { node, content, others, attr })
        }
        _ => Err(ResolveError::NotBoth(kind)),
    }
}

/// Writes an outcome down.
fn settle(
    volume: VolumeId,
    facts: &dyn Facts,
    time: Time,
    (outcome, authors): (&Outcome, &Authors),
) -> Result<(Vec<Patch>, Changes), ResolveError> {
    let mut patches = Vec::new();
    for draft in outcome::drafts(volume, facts, outcome, authors)? {
        let (before, last) = chained(draft);
        patches.extend(before);
        patches.push(last);
    }
    let mut overlay = Overlay::new(facts);
    for patch in &patches {
        patch.check(volume)?;
        overlay.apply(patch.clone().into(), patch.id(), time)?;
    }
    Ok((patches, overlay.into_changes()))
}
