//! Paths to nodes and back, for one eye. What this disk shows is written down; the canonical tree is worked out
//! folder by folder.

use std::collections::BTreeSet;

use super::look::Look;
use super::names::{disturbed, settle};
use super::{shown_as, update};
use crate::limits::DEPTH_MAX;
use crate::model::facts::{Eye, Facts, Shown, Unreadable};
use crate::model::ids::NodeId;
use crate::model::name::{Name, RelPath};

/// Where a node is; nothing if it is not in the tree.
pub fn path_of(facts: &dyn Facts, eye: Eye, node: NodeId) -> Result<Option<RelPath>, Unreadable> {
    let (mut names, mut at) = (Vec::new(), node);
    while at != NodeId::ROOT {
        let shown = match eye {
            Eye::Local => facts.shown(at)?,
            Eye::Canonical => update(facts, eye, &BTreeSet::from([at]))?.shown.remove(&at).flatten(),
        };
        let Some(shown) = shown.filter(|_| names.len() < DEPTH_MAX) else { return Ok(None) };
        names.push(shown.name);
        at = shown.folder;
    }
    names.reverse();
    Ok(Some(RelPath(names)))
}

/// What is at a path; nothing if nothing is.
pub fn node_at(facts: &dyn Facts, eye: Eye, path: &RelPath) -> Result<Option<NodeId>, Unreadable> {
    let mut at = NodeId::ROOT;
    for name in &path.0 {
        let next = match eye {
            Eye::Local => facts.shown_at(at, name)?,
            Eye::Canonical => named(facts, at, name)?,
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

fn named(facts: &dyn Facts, folder: NodeId, name: &Name) -> Result<Option<NodeId>, Unreadable> {
    named_in(&mut settled_look(facts, Eye::Canonical)?, folder, name)
}

/// What this disk should show in a folder under a name, whether it does or not.
pub fn wanted_at(facts: &dyn Facts, folder: NodeId, name: &Name) -> Result<Option<(NodeId, Shown)>, Unreadable> {
    let mut look = settled_look(facts, Eye::Local)?;
    let Some(node) = named_in(&mut look, folder, name)? else { return Ok(None) };
    Ok(shown_as(&mut look, node, name.clone())?.map(|shown| (node, shown)))
}

fn named_in(look: &mut Look<'_>, folder: NodeId, name: &Name) -> Result<Option<NodeId>, Unreadable> {
    let spot = (folder, name.clone());
    for spot in [Some(spot.clone()), disturbed(&spot)].into_iter().flatten() {
        let settled = settle(look, &spot)?;
        if let Some((node, _)) = settled.names.into_iter().find(|(_, shown)| shown == name) {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// What a folder holds, ascending by name.
pub fn children(facts: &dyn Facts, eye: Eye, folder: NodeId) -> Result<Vec<(Name, NodeId, Shown)>, Unreadable> {
    let mut children = Vec::new();
    if eye == Eye::Local {
        for (name, node) in facts.shown_in(folder)? {
            if let Some(shown) = facts.shown(node)? {
                children.push((name, node, shown));
            }
        }
        return Ok(children);
    }
    let mut look = settled_look(facts, eye)?;
    let names: BTreeSet<Name> = facts.placed_in(folder)?.into_iter().map(|(name, _)| name).collect();
    for name in names {
        for (node, name) in settle(&mut look, &(folder, name))?.names {
            if let Some(shown) = shown_as(&mut look, node, name)? {
                children.push((shown.name.clone(), node, shown));
            }
        }
    }
    children.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(children)
}

/// A look that has cut the cycles that are known.
fn settled_look(facts: &dyn Facts, eye: Eye) -> Result<Look<'_>, Unreadable> {
    let mut look = Look::new(facts, eye);
    super::cycles::cut(&mut look, &facts.reverted(eye)?)?;
    Ok(look)
}
