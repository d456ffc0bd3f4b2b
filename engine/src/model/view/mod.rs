//! The view: paths and forks as a pure function of the patches known, and of what this disk shows.
//!
//! `update` works out anew what a change can have affected and leaves the rest alone; it is equal to working out
//! everything. Read `look` for which nodes live and where they stand, `cycles` and `names` for what happens
//! where two of them are in each other's way, `cover` for how far a change reaches.

mod choices;
mod cover;
mod cycles;
mod look;
mod memo;
mod names;
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub use choices::{Choices, base, choices, is_ancestor, writers};
pub use paths::{children, node_at, path_of, wanted_at};

use self::choices::live_choices;
use self::look::Look;
use self::memo::Memo;
use super::facts::{Eye, Facts, Shown, Unreadable};
use super::ids::NodeId;
use super::name::Name;
use super::patch::{Content, Register, Value};

/// What the sides of a fork differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ForkKind {
    /// Bytes, or link targets.
    Content,
    /// File, symlink or directory.
    Kind,
    /// Here or gone.
    Delete,
    /// Where a node stands.
    Place,
    /// Which of several nodes has a name.
    Name,
    /// Directories moved into each other.
    Cycle,
    /// Mode or extended attributes.
    Attr,
}

impl fmt::Display for ForkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Content => "content",
            Self::Kind => "kind",
            Self::Delete => "delete",
            Self::Place => "place",
            Self::Name => "name",
            Self::Cycle => "cycle",
            Self::Attr => "attr",
        })
    }
}

/// An open fork: what kind, and the nodes that it is about, ascending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fork {
    /// What differs.
    pub kind: ForkKind,
    /// Of one node, or between several.
    pub nodes: Vec<NodeId>,
}

/// What a change means for the view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Every node that was looked at anew.
    pub covered: BTreeSet<NodeId>,
    /// What the eye sees of each of them; `None`: it is not in the tree.
    pub shown: BTreeMap<NodeId, Option<Shown>>,
    /// All forks that name one of them; they replace every known fork that does.
    pub forks: BTreeSet<Fork>,
    /// All nodes that cycles keep from their best place.
    pub reverted: BTreeSet<NodeId>,
}

/// Works out what became of the view when `touched` changed, in the log or on disk.
pub fn update(facts: &dyn Facts, eye: Eye, touched: &BTreeSet<NodeId>) -> Result<Update, Unreadable> {
    let facts = Memo::new(facts);
    let mut look = Look::new(&facts, eye);
    let mut nodes = cover::held_below(&mut look, touched)?;
    nodes.extend(touched);
    nodes.extend(facts.reverted(eye)?);
    let mut forks = cycles::cut(&mut look, &nodes)?;
    nodes.extend(look.cut_nodes());
    nodes.extend(forks.iter().flat_map(|fork| &fork.nodes));
    let cover = cover::cover(&mut look, nodes)?;
    let mut names = BTreeMap::new();
    for spot in &cover.spots {
        let settled = names::settle(&mut look, spot)?;
        names.extend(settled.names);
        forks.extend(settled.fork);
    }
    let mut shown = BTreeMap::new();
    for node in &cover.nodes {
        forks.extend(node_forks(&mut look, *node)?);
        let here = match names.remove(node) {
            Some(name) => shown_as(&mut look, *node, name)?,
            None => None,
        };
        shown.insert(*node, here);
    }
    let reverted = look.cut_nodes().collect();
    Ok(Update { covered: cover.nodes, shown, forks, reverted })
}

/// Whether a node lives: of its own, or because what removed it is part of a directory's delete that is
/// contested. A directory that is only shown for what lives below it does not.
pub fn is_living(facts: &dyn Facts, node: NodeId) -> Result<bool, Unreadable> {
    Look::new(facts, Eye::Canonical).living(node)
}

/// Whether any head of a node's place or content lives.
pub fn lives(facts: &dyn Facts, node: NodeId) -> Result<bool, Unreadable> {
    Ok(Look::new(facts, Eye::Canonical).kept(node)?.is_some_and(|kept| kept.lives))
}

/// What is shown of a node that is in the tree, by the name that it has there.
fn shown_as(look: &mut Look<'_>, node: NodeId, name: Name) -> Result<Option<Shown>, Unreadable> {
    let Some((place, folder, _)) = look.standing(node)? else { return Ok(None) };
    let (content, attr) = (look.best(node, Register::Content)?, look.best(node, Register::Attr)?);
    let (Some(content), Some(attr)) = (content, attr) else { return Ok(None) };
    Ok(Some(Shown { patches: [place, content, attr], folder, name }))
}

/// The forks of one node by itself.
fn node_forks(look: &mut Look<'_>, node: NodeId) -> Result<Vec<Fork>, Unreadable> {
    let mut forks = Vec::new();
    let Some(kept) = look.kept(node)?.filter(|kept| kept.lives) else { return Ok(forks) };
    let mut fork = |kind| forks.push(Fork { kind, nodes: vec![node] });
    let values = |register| live_values(look.facts, node, register);
    if kept.deaths.is_empty() {
        let contents = values(Register::Content)?;
        if contents.len() > 1 {
            let links = contents.iter().filter(|value| matches!(value, Value::Content(Content::Symlink { .. })));
            let alike = [0, contents.len()].contains(&links.count());
            fork(if alike { ForkKind::Content } else { ForkKind::Kind });
        }
        if values(Register::Place)?.len() > 1 {
            fork(ForkKind::Place);
        }
    } else {
        fork(ForkKind::Delete);
    }
    if values(Register::Attr)?.len() > 1 {
        fork(ForkKind::Attr);
    }
    Ok(forks)
}

/// The distinct values of a register's live heads.
fn live_values(facts: &dyn Facts, node: NodeId, register: Register) -> Result<Vec<Value>, Unreadable> {
    let mut values: Vec<Value> = Vec::new();
    for head in live_choices(facts, node, register, None)?.patches {
        if let Some(value) = choices::value(facts, head, register)?
            && !values.iter().any(|known| known.same(&value))
        {
            values.push(value);
        }
    }
    Ok(values)
}
