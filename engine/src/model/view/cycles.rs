//! Cycles of moves: each is cut where the lowest-ranked move reverts to the place that it superseded.
//!
//! Cycles share no node and cutting one leaves the others as they are, so the order does not matter. Every cycle
//! that is new runs through a node that changed, and every old one through a node that it reverted: the walks
//! start there and see no others.

use std::collections::BTreeSet;

use super::look::Look;
use super::{Fork, ForkKind};
use crate::model::facts::Unreadable;
use crate::model::ids::NodeId;
use crate::model::patch::{Place, Register};

/// Cuts every cycle that is reached from `starts`; gives the forks that the cuts are.
pub(super) fn cut(look: &mut Look<'_>, starts: &BTreeSet<NodeId>) -> Result<BTreeSet<Fork>, Unreadable> {
    let mut forks = BTreeSet::new();
    let mut starts = starts.clone();
    while let Some(cycle) = find(look, &starts)? {
        let Some((loser, moved)) = loser(look, &cycle)? else { break };
        if moved.contains(&loser) {
            forks.insert(Fork { kind: ForkKind::Cycle, nodes: moved });
        }
        look.cut_once(loser);
        starts.extend(cycle);
    }
    Ok(forks)
}

fn find(look: &mut Look<'_>, starts: &BTreeSet<NodeId>) -> Result<Option<Vec<NodeId>>, Unreadable> {
    let mut known = BTreeSet::from([NodeId::ROOT]);
    for start in starts {
        let (mut chain, mut on_chain, mut at) = (Vec::new(), BTreeSet::new(), *start);
        if known.contains(&at) || !look.in_tree(at)? {
            continue;
        }
        while !known.contains(&at) && on_chain.insert(at) {
            chain.push(at);
            match look.folder(at)? {
                Some(folder) => at = folder,
                None => break,
            }
        }
        if let Some(first) = chain.iter().position(|node| *node == at)
            && (chain.last() != Some(&at) || look.folder(at)? == Some(at))
        {
            return Ok(Some(chain.split_off(first)));
        }
        known.extend(on_chain);
    }
    Ok(None)
}

/// Who gives way, and which nodes of the cycle are where a live head says, ascending. What was put there by a
/// dead head gives way before what moved, others' moves before ours, old ones before new ones.
fn loser(look: &mut Look<'_>, cycle: &[NodeId]) -> Result<Option<(NodeId, Vec<NodeId>)>, Unreadable> {
    let (mut best, mut all_moved) = (None, Vec::new());
    for node in cycle {
        let choices = look.choices(*node, Register::Place)?;
        let at = look.cut(*node);
        let Some(patch) = choices.patches.get(at).copied() else { continue };
        let moved = at < choices.live;
        if moved {
            all_moved.push(*node);
        }
        if at + 1 < choices.patches.len() {
            let candidate = (moved, stays(look, *node)?, look.rank(patch)?, *node);
            best = Some(best.map_or(candidate, |best: (bool, bool, _, _)| best.min(candidate)));
        }
    }
    all_moved.sort_unstable();
    Ok(best.map(|(_, _, _, node)| (node, all_moved)))
}

/// Whether a node stands where this disk shows it.
fn stays(look: &mut Look<'_>, node: NodeId) -> Result<bool, Unreadable> {
    let Some(mine) = look.mine(node)?.map(|shown| shown.patch(Register::Place)) else { return Ok(false) };
    let place = look.facts.patch(mine)?.and_then(|known| known.patch.place.clone());
    let standing = look.standing(node)?.map(|(_, parent, name)| Place::At { parent, name });
    Ok(place == standing)
}
