//! Names: where several nodes have one name in one folder, one keeps it and the others are shown beside it.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;

use super::look::Look;
use super::{Fork, ForkKind};
use crate::limits::NAME_BYTES_MAX;
use crate::model::facts::Unreadable;
use crate::model::ids::NodeId;
use crate::model::name::{BESIDE, Name};

/// A name in a folder.
pub(super) type Spot = (NodeId, Name);

/// The nodes that stand in one spot, ascending, and the names that they are shown by.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) names: BTreeMap<NodeId, Name>,
    pub(super) fork: Option<Fork>,
}

/// The nodes that stand in a spot and are in the tree, ascending.
pub(super) fn group(look: &mut Look<'_>, spot: &Spot) -> Result<Vec<NodeId>, Unreadable> {
    let mut group = Vec::new();
    for node in look.facts.placed_as(spot.0, &spot.1)? {
        let here = look.standing(node)?.is_some_and(|(_, folder, name)| (folder, &name) == (spot.0, &spot.1));
        if here && look.in_tree(node)? {
            group.push(node);
        }
    }
    Ok(group)
}

pub(super) fn settle(look: &mut Look<'_>, spot: &Spot) -> Result<Settled, Unreadable> {
    let group = group(look, spot)?;
    let (folder, name) = spot;
    let mut settled = Settled::default();
    if group.len() < 2 {
        settled.names = group.into_iter().map(|node| (node, name.clone())).collect();
        return Ok(settled);
    }
    let (mut order, mut kinds) = (Vec::new(), BTreeSet::new());
    for node in &group {
        let kept = look.kept(*node)?;
        kinds.insert(kept.as_ref().is_some_and(|kept| kept.is_dir));
        let disk = kept.and_then(|kept| kept.disk);
        let has_it = disk.is_some_and(|disk| (disk.folder, &disk.name) == (*folder, name));
        order.push((!has_it, !look.living(*node)?, *node));
    }
    let kind = if kinds.len() > 1 { ForkKind::Kind } else { ForkKind::Name };
    let keeper = order.into_iter().min().map(|(_, _, node)| node);
    let mut used = BTreeSet::new();
    for node in &group {
        let shown = if Some(*node) == keeper { name.clone() } else { beside(look, spot, *node, &used)? };
        used.insert(shown.clone());
        settled.names.insert(*node, shown);
    }
    settled.fork = Some(Fork { kind, nodes: group });
    Ok(settled)
}

/// The first name `p~pfs~1a2b3c4d` that nothing else in the folder has.
fn beside(look: &mut Look<'_>, spot: &Spot, node: NodeId, used: &BTreeSet<Name>) -> Result<Name, Unreadable> {
    let digits = HEXLOWER.encode(&node.0);
    let mut last = spot.1.clone();
    for count in 8..=32 {
        last = beside_name(&spot.1, &digits[..count]);
        if !used.contains(&last) && group(look, &(spot.0, last.clone()))?.is_empty() {
            break;
        }
    }
    Ok(last)
}

fn beside_name(name: &Name, digits: &str) -> Name {
    let room = NAME_BYTES_MAX - BESIDE.len() - digits.len();
    let mut end = name.as_bytes().len().min(room);
    // A cut inside a character would leave a name that is no text though the whole was.
    while end < name.as_bytes().len() && end > 1 && name.as_bytes()[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    let bytes = [&name.as_bytes()[..end], BESIDE.as_bytes(), digits.as_bytes()].concat();
    Name::try_from(bytes).expect("a part of a name with letters behind it is a name")
}

/// The spots whose beside-names a name could stand in the way of: those of which it could be one.
pub(super) fn disturbed(spot: &Spot) -> Option<Spot> {
    let (folder, name) = spot;
    let bytes = name.as_bytes();
    let at = bytes.windows(BESIDE.len()).rposition(|window| window == BESIDE.as_bytes())?;
    Name::try_from(&bytes[..at]).ok().map(|name| (*folder, name))
}
