//! Which nodes a change can have moved, revived or renamed: those are looked at anew, and no others.

use std::collections::BTreeSet;

use super::choices::{value, writers};
use super::look::Look;
use super::names::{Spot, disturbed, group};
use crate::model::facts::Unreadable;
use crate::model::ids::NodeId;
use crate::model::patch::{Content, Place, Register, Value};

/// What is to be looked at anew.
#[derive(Debug, Default)]
pub(super) struct Cover {
    pub(super) nodes: BTreeSet<NodeId>,
    pub(super) spots: BTreeSet<Spot>,
}

/// Nodes whose life hangs on that of touched directories: what a delete took away with them.
pub(super) fn held_below(look: &mut Look<'_>, touched: &BTreeSet<NodeId>) -> Result<BTreeSet<NodeId>, Unreadable> {
    let (mut held, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut rest = Vec::new();
    for node in touched {
        if look.kept(*node)?.is_some_and(|kept| kept.is_dir) && was_ever_deleted(look, *node)? {
            rest.push(*node);
        }
    }
    while let Some(folder) = rest.pop() {
        if !seen.insert(folder) {
            continue;
        }
        for (_, node) in look.facts.placed_in(folder)? {
            let Some(kept) = look.kept(node)? else { continue };
            if !kept.lives && died_with_a_folder(look, &kept.deaths)? {
                held.insert(node);
                if kept.is_dir {
                    rest.push(node);
                }
            }
        }
    }
    Ok(held)
}

fn was_ever_deleted(look: &Look<'_>, node: NodeId) -> Result<bool, Unreadable> {
    for patch in writers(look.facts, node, Register::Content)? {
        if value(look.facts, patch, Register::Content)? == Some(Value::Content(Content::Gone)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn died_with_a_folder(look: &Look<'_>, deaths: &[crate::model::ids::PatchId]) -> Result<bool, Unreadable> {
    for death in deaths {
        if look.facts.patch(*death)?.is_some_and(|known| known.patch.within.is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Everything that these nodes can have an effect on, themselves included.
pub(super) fn cover(look: &mut Look<'_>, nodes: BTreeSet<NodeId>) -> Result<Cover, Unreadable> {
    let mut cover = Cover { nodes, spots: BTreeSet::new() };
    let mut rest: Vec<NodeId> = cover.nodes.iter().copied().collect();
    while let Some(node) = rest.pop() {
        for spot in spots_of(look, node)? {
            let folder = spot.0;
            if let Some(other) = disturbed(&spot) {
                cover.spots.insert(other);
            }
            cover.spots.insert(spot);
            // A directory that is gone stands as long as something below it does.
            if folder != NodeId::ROOT && !look.living(folder)? && cover.nodes.insert(folder) {
                rest.push(folder);
            }
        }
    }
    for spot in cover.spots.clone() {
        cover.nodes.extend(group(look, &spot)?);
    }
    Ok(cover)
}

/// Every spot that a node was ever put in, and the one that this disk shows it in.
fn spots_of(look: &mut Look<'_>, node: NodeId) -> Result<BTreeSet<Spot>, Unreadable> {
    let mut spots = BTreeSet::new();
    for patch in writers(look.facts, node, Register::Place)? {
        if let Some(Value::Place(Place::At { parent, name })) = value(look.facts, patch, Register::Place)? {
            spots.insert((parent, name));
        }
    }
    if let Some(disk) = look.kept(node)?.and_then(|kept| kept.disk) {
        spots.insert((disk.folder, disk.name));
    }
    Ok(spots)
}
