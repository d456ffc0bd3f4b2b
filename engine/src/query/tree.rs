//! The tree of a volume, now and as it was: names, kinds, sizes, bytes.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::content;
use crate::error::EngineError;
use crate::limits::DEPTH_MAX;
use crate::model::chunk::Unpacker;
use crate::model::facts::{Eye, Facts, Shown, Unreadable};
use crate::model::ids::{NodeId, PatchId};
use crate::model::name::{Name, RelPath};
use crate::model::patch::{Attr, Content, Register, Value};
use crate::model::time::Time;
use crate::model::view;
use crate::store::{Store, Volume};

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which node.
    pub node: NodeId,
    /// The patch that gave it its content.
    pub patch: PatchId,
    /// Where.
    pub path: RelPath,
    /// What.
    pub content: Content,
    /// Mode and attributes.
    pub attr: Attr,
    /// Whether all its bytes are here.
    pub held: bool,
}

/// The time that a patch stands for as a revision.
pub fn at_revision(volume: &Volume, patch: PatchId) -> Result<Time, EngineError> {
    let known = volume.patch(patch)?.ok_or_else(|| EngineError::NoPatch(patch.to_string()))?;
    Ok(known.time)
}

/// Hands over a directory's entries in order, depth first where `recursive`; or the one of a file. For the local eye
/// as this disk shows them, and what it does not show yet as all see it.
pub fn ls(
    volume: &Volume,
    (facts, eye): (&dyn Facts, Eye),
    path: &RelPath,
    recursive: bool,
    each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let absent = || EngineError::NoPath(path.to_string());
    let node = at(facts, eye, path)?.ok_or_else(absent)?;
    let is_dir = node == NodeId::ROOT || facts.node(node)?.is_some_and(|state| state.is_dir);
    if is_dir {
        return below(volume, (facts, eye), node, path, recursive, each);
    }
    let (above, name) = path.split_last().ok_or_else(absent)?;
    let folder = at(facts, eye, &above)?.ok_or_else(absent)?;
    for (here, node, shown) in children(facts, eye, folder)? {
        if here == *name {
            // Whoever takes one entry has no more to stop.
            let _ = each(entry(volume, facts, node, path.clone(), shown.patches)?);
        }
    }
    Ok(())
}

fn at(facts: &dyn Facts, eye: Eye, path: &RelPath) -> Result<Option<NodeId>, Unreadable> {
    match view::node_at(facts, eye, path)? {
        None if eye == Eye::Local => view::node_at(facts, Eye::Canonical, path),
        found => Ok(found),
    }
}

fn children(facts: &dyn Facts, eye: Eye, folder: NodeId) -> Result<Vec<(Name, NodeId, Shown)>, Unreadable> {
    let mut children = view::children(facts, eye, folder)?;
    if eye == Eye::Local {
        let names: BTreeSet<Name> = children.iter().map(|(name, ..)| name.clone()).collect();
        for (name, node, shown) in view::children(facts, Eye::Canonical, folder)? {
            if facts.shown(node)?.is_none() && !names.contains(&name) {
                children.push((name, node, shown));
            }
        }
        children.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Ok(children)
}

fn below(
    volume: &Volume,
    (facts, eye): (&dyn Facts, Eye),
    folder: NodeId,
    path: &RelPath,
    recursive: bool,
    each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let children = |folder| children(facts, eye, folder).map(Vec::into_iter);
    // The directories on the way, each with what is left of it.
    let mut open = vec![(path.clone(), children(folder)?)];
    while let Some((folder, ahead)) = open.last_mut() {
        let Some((name, node, shown)) = ahead.next() else {
            open.pop();
            continue;
        };
        let path = folder.join(&name);
        let one = entry(volume, facts, node, path.clone(), shown.patches)?;
        let is_dir = one.content == Content::Dir;
        if each(one).is_break() {
            break;
        }
        // What lies deeper is in nobody's tree.
        if recursive && is_dir && path.0.len() < DEPTH_MAX {
            open.push((path, children(node)?));
        }
    }
    Ok(())
}

fn entry(
    volume: &Volume,
    facts: &dyn Facts,
    node: NodeId,
    path: RelPath,
    patches: [PatchId; 3],
) -> Result<Entry, EngineError> {
    let value = |register: Register| -> Result<Option<Value>, EngineError> {
        let known = facts.patch(patches[register as usize])?;
        Ok(known.and_then(|known| known.patch.value(register)))
    };
    let Some(Value::Content(content)) = value(Register::Content)? else {
        return Err(EngineError::NoPatch(patches[Register::Content as usize].to_string()));
    };
    let attr = match value(Register::Attr)? {
        Some(Value::Attr(attr)) => attr,
        _ => Attr::default(),
    };
    let held = match &content {
        Content::File { len, root, .. } => *len == 0 || !volume.is_missing(*root)? && !volume.is_released(*root)?,
        _ => true,
    };
    Ok(Entry { node, patch: patches[Register::Content as usize], path, content, attr, held })
}

/// Hands over the bytes of the content that a patch set, in order, holes as zeros, in pieces of at most a chunk.
pub fn cat(
    store: &Store,
    facts: &dyn Facts,
    patch: PatchId,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let known = facts.patch(patch)?.ok_or_else(|| EngineError::NoPatch(patch.to_string()))?;
    let (root, len) = match &known.patch.content {
        Some(Content::File { len, root, .. }) => (*root, *len),
        Some(Content::Symlink { target }) => {
            let _ = each(target);
            return Ok(());
        }
        _ => return Err(EngineError::NoBytes(patch)),
    };
    let (mut at, mut stopped) = (0, false);
    let mut sink = |offset: u64, bytes: &[u8]| {
        let more = zeros(at, offset, each).is_continue() && each(bytes).is_continue();
        at = offset + bytes.len() as u64;
        stopped = !more;
        if more { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    };
    match content::read(store, &mut Unpacker::new(), (root, len), 0..len, &mut sink) {
        Err(_) if stopped => return Ok(()),
        Err(content::ContentError::Lacking(_)) => return Err(EngineError::NotHeld(patch)),
        other => other?,
    }
    let _ = zeros(at, len, each);
    Ok(())
}

fn zeros(from: u64, to: u64, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
    let piece = [0; 16 << 10];
    let mut left = to.saturating_sub(from);
    while left > 0 {
        let now = left.min(piece.len() as u64);
        each(&piece[..now as usize])?;
        left -= now;
    }
    ControlFlow::Continue(())
}
