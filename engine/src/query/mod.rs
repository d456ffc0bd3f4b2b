//! Reading a volume for people: its history, its tree now and then, its forks. Nothing here decides or writes.

pub(crate) mod diff;
mod forks;
mod history;
mod merge;
mod tree;

pub use diff::{Contents, Difference, Version, compare, compare_trees, version};
pub use forks::{ForkReport, HeadReport, authors, forks};
pub use history::{Action, LogScope, PatchReport, log, patch_by_prefix, report};
pub use merge::{MergeError, Merged, merged};
pub use tree::{Entry, at_revision, cat, ls};

use std::collections::BTreeSet;

use crate::error::EngineError;
use crate::model::facts::Facts;
use crate::model::ids::NodeId;
use crate::model::name::{Name, RelPath};
use crate::model::patch::{Place, Register, Value};
use crate::model::view;

/// Where a node stands or, if it is gone, stood last.
pub fn last_path(facts: &dyn Facts, node: NodeId) -> Result<RelPath, EngineError> {
    path_by(node, &|node| last_place(facts, node))
}

/// The path that these places give a node.
fn path_by(node: NodeId, place: &dyn Fn(NodeId) -> Result<Spot, EngineError>) -> Result<RelPath, EngineError> {
    let (mut names, mut at, mut seen) = (Vec::new(), node, BTreeSet::new());
    // Moves into each other make a circle: it is walked once.
    while at != NodeId::ROOT && names.len() < crate::limits::DEPTH_MAX && seen.insert(at) {
        let Some((folder, name)) = place(at)? else { break };
        names.push(name);
        at = folder;
    }
    names.reverse();
    Ok(RelPath(names))
}

/// In which folder, and by what name; nothing where that is not known.
type Spot = Option<(NodeId, Name)>;

fn last_place(facts: &dyn Facts, node: NodeId) -> Result<Spot, EngineError> {
    let choices = view::choices(facts, node, Register::Place, None)?;
    for patch in choices.patches {
        if let Some(known) = facts.patch(patch)?
            && let Some(Value::Place(Place::At { parent, name })) = known.patch.value(Register::Place)
        {
            return Ok(Some((parent, name)));
        }
    }
    Ok(None)
}

/// The node that stands at a path in the view of all peers or, failing that, one that stood there last.
pub fn node_by_path(facts: &dyn Facts, path: &RelPath) -> Result<NodeId, EngineError> {
    if *path == RelPath::root() {
        return Ok(NodeId::ROOT);
    }
    if let Some(node) = view::node_at(facts, crate::model::facts::Eye::Local, path)? {
        return Ok(node);
    }
    if let Some(node) = view::node_at(facts, crate::model::facts::Eye::Canonical, path)? {
        return Ok(node);
    }
    let absent = || EngineError::NoPath(path.to_string());
    if path.0.len() > crate::limits::DEPTH_MAX {
        return Err(absent());
    }
    let (above, name) = path.split_last().ok_or_else(absent)?;
    let folder = node_by_path(facts, &above)?;
    let once = facts.placed_as(folder, name)?;
    let mut latest = None;
    for node in once {
        let Some(state) = facts.node(node)? else { continue };
        for head in state.heads(Register::Place) {
            let time = facts.patch(*head)?.map(|known| known.time);
            latest = latest.max(Some((time, node)));
        }
    }
    latest.map(|(_, node)| node).ok_or_else(absent)
}
