//! The log for people: patches newest first, each with what it did, to what, and who says so.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;

use super::forks::first_attested;
use super::{Spot, path_by};
use crate::content::changed_ranges;
use crate::error::EngineError;
use crate::limits::LOOK_BACK_MAX;
use crate::model::facts::{Facts, Known};
use crate::model::ids::{LogId, NodeId, PatchId, PeerId};
use crate::model::name::{Name, RelPath};
use crate::model::patch::{Content, Patch, Place, Register, Root, Value};
use crate::model::time::Time;
use crate::store::{Store, Volume};

/// What a patch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The node began, or began again.
    Create,
    /// New content.
    Edit,
    /// The node is gone.
    Delete,
    /// A new place.
    Rename,
    /// New mode or attributes.
    Attr,
    /// Several heads became one.
    Resolve,
    /// The content that the node had before, or had before it was gone.
    Restore,
}

/// One patch, put into words.
#[derive(Debug, Clone)]
pub struct PatchReport {
    /// Which.
    pub id: PatchId,
    /// The patch.
    pub patch: Patch,
    /// Of the earliest entry that carries it.
    pub time: Time,
    /// Whose entry that is.
    pub origin: PeerId,
    /// The node's path after it; before it, for a delete. By the names that folders had then.
    pub path: RelPath,
    /// What it did.
    pub action: Action,
    /// Where the node was, for a rename.
    pub from: Option<RelPath>,
    /// Bytes of the file after it.
    pub size: Option<u64>,
    /// Bytes in pieces that the version it superseded, or the most alike of several, had not.
    pub new_bytes: u64,
}

/// Which part of a volume's log is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogScope {
    /// All of it.
    Volume,
    /// One file's or link's.
    Node(NodeId),
    /// That of a directory and of everything that stands or last stood below it.
    Below(NodeId),
}

/// Hands over patches newest first until told to stop. `since` and `until` bound their times, both included.
pub fn log(
    store: &Store,
    volume: &Volume,
    scope: &LogScope,
    (since, until): (Option<Time>, Option<Time>),
    origin: Option<PeerId>,
    each: &mut dyn FnMut(PatchReport) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let fits = |report: &PatchReport| {
        since.is_none_or(|since| report.time >= since)
            && until.is_none_or(|until| report.time <= until)
            && origin.is_none_or(|origin| report.origin == origin)
    };
    if let LogScope::Node(node) = scope {
        for (id, known) in patches_of(volume, *node)? {
            let report = report(store, volume, id, &known)?;
            if fits(&report) && each(report).is_break() {
                break;
            }
        }
        return Ok(());
    }
    let mut told = BTreeSet::new();
    let mut before: Option<(Time, LogId, u64)> = None;
    loop {
        let heads = volume.recent(before, PAGE)?;
        let Some(last) = heads.last() else { return Ok(()) };
        before = Some((last.time, last.log, last.seq));
        for head in heads {
            if since.is_some_and(|since| head.time < since) {
                return Ok(());
            }
            for id in head.patches.iter().rev() {
                let Some(known) = volume.patch(*id)? else { continue };
                // Later attestations of a patch are told with the first.
                if known.time != head.time || !in_scope(volume, scope, known.patch.node)? || !told.insert(*id) {
                    continue;
                }
                let report = report(store, volume, *id, &known)?;
                if fits(&report) && each(report).is_break() {
                    return Ok(());
                }
            }
            told.clear();
        }
    }
}

/// Entries read at once.
const PAGE: usize = 64;

fn in_scope(facts: &dyn Facts, scope: &LogScope, node: NodeId) -> Result<bool, EngineError> {
    let LogScope::Below(above) = scope else { return Ok(true) };
    let mut at = node;
    for _ in 0..crate::limits::DEPTH_MAX {
        if at == *above {
            return Ok(true);
        }
        match super::last_place(facts, at)? {
            Some((folder, _)) => at = folder,
            None => break,
        }
    }
    Ok(at == *above)
}

/// Every patch of a node, newest first.
fn patches_of(facts: &dyn Facts, node: NodeId) -> Result<Vec<(PatchId, Known)>, EngineError> {
    let Some(state) = facts.node(node)? else { return Ok(Vec::new()) };
    let mut rest: Vec<PatchId> = state.heads.concat();
    let (mut seen, mut patches) = (BTreeSet::new(), Vec::new());
    while let Some(id) = rest.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(known) = facts.patch(id)? else { continue };
        for register in Register::ALL {
            rest.extend(known.patch.supersedes.of(register));
        }
        patches.push((id, known));
    }
    patches.sort_by_key(|(id, known)| std::cmp::Reverse((known.time, *id)));
    Ok(patches)
}

/// Puts one patch into words.
pub fn report(store: &Store, volume: &Volume, id: PatchId, known: &Known) -> Result<PatchReport, EngineError> {
    let patch = &known.patch;
    let origin = first_attested(volume, id)?;
    let action = action(volume, patch)?;
    let (then, before) = (known.time, Time(known.time.0.saturating_sub(1)));
    let path = match &patch.place {
        Some(Place::At { parent, name }) => path_at(volume, *parent, then)?.join(name),
        Some(Place::Nowhere) => path_at(volume, patch.node, before)?,
        None => path_at(volume, patch.node, then)?,
    };
    let from = match (action, superseded_places(volume, patch)?.pop()) {
        (Action::Rename, Some((parent, name))) => Some(path_at(volume, parent, before)?.join(&name)),
        _ => None,
    };
    let file = match &patch.content {
        Some(Content::File { len, root, .. }) => Some((*root, *len)),
        _ => None,
    };
    let size = file.map(|(_, len)| len);
    let new_bytes = file.map_or(Ok(0), |file| new_bytes(store, volume, patch, file))?;
    Ok(PatchReport { id, patch: (**patch).clone(), time: known.time, origin, path, action, from, size, new_bytes })
}

/// Where a node stood at a time or, if it was gone, had stood last.
fn path_at(facts: &dyn Facts, node: NodeId, until: Time) -> Result<RelPath, EngineError> {
    path_by(node, &|node| place_at(facts, node, until))
}

/// The latest place that was known by then. Only moves are gone through, of which there are few.
fn place_at(facts: &dyn Facts, node: NodeId, until: Time) -> Result<Spot, EngineError> {
    let mut rest = facts.node(node)?.map(|state| state.heads(Register::Place).to_vec()).unwrap_or_default();
    let (mut seen, mut latest) = (BTreeSet::new(), None);
    while let Some(id) = rest.pop() {
        let Some(known) = facts.patch(id)?.filter(|_| seen.insert(id)) else { continue };
        match &known.patch.place {
            Some(Place::At { parent, name }) if known.time <= until => {
                latest = latest.max(Some((known.time, id, *parent, name.clone())));
            }
            _ => rest.extend(known.patch.supersedes.of(Register::Place)),
        }
    }
    Ok(latest.map(|(_, _, parent, name)| (parent, name)))
}

fn action(facts: &dyn Facts, patch: &Patch) -> Result<Action, EngineError> {
    let was = superseded(facts, patch, Register::Content)?;
    let is_back = was.iter().all(Value::is_dead) && patch.place.is_some();
    Ok(match (&patch.content, &patch.place) {
        _ if patch.born.is_some() => Action::Create,
        (Some(content), _) if *content != Content::Gone && is_back => {
            // A directory that is made anew says all that it is.
            let is_anew = *content == Content::Dir && patch.attr.is_some();
            if !is_anew && was_before(facts, patch, content)? { Action::Restore } else { Action::Create }
        }
        _ if settles(facts, patch)? => Action::Resolve,
        (Some(Content::Gone), _) | (None, Some(Place::Nowhere)) => Action::Delete,
        (Some(content), _) if was_before(facts, patch, content)? => Action::Restore,
        (Some(_), _) => Action::Edit,
        (None, Some(_)) => Action::Rename,
        (None, None) => Action::Attr,
    })
}

/// Whether it brings back what the node was before what it supersedes, as far back as is looked.
fn was_before(facts: &dyn Facts, patch: &Patch, content: &Content) -> Result<bool, EngineError> {
    let mut rest = VecDeque::from(patch.supersedes.of(Register::Content).to_vec());
    let (mut direct, mut seen) = (rest.len(), BTreeSet::new());
    while let Some(id) = rest.pop_front().filter(|_| seen.len() < LOOK_BACK_MAX) {
        let is_direct = direct > 0;
        direct = direct.saturating_sub(1);
        let Some(known) = facts.patch(id)?.filter(|_| seen.insert(id)) else { continue };
        if known.patch.content.as_ref().is_some_and(|was| was.same(content)) {
            // What says the same as the one before it brings nothing back.
            return Ok(!is_direct);
        }
        rest.extend(known.patch.supersedes.of(Register::Content));
    }
    Ok(false)
}

/// Whether it ends a contradiction: heads of different values, or that something else had the name where it stays.
fn settles(facts: &dyn Facts, patch: &Patch) -> Result<bool, EngineError> {
    for register in Register::ALL {
        let values = superseded(facts, patch, register)?;
        if values.iter().any(|value| !value.same(&values[0])) {
            return Ok(true);
        }
    }
    let Some(Place::At { parent, name }) = &patch.place else { return Ok(false) };
    Ok(superseded_places(facts, patch)?.iter().any(|(was_in, was)| was_in == parent && was == name))
}

/// The values that a patch supersedes in a register.
fn superseded(facts: &dyn Facts, patch: &Patch, register: Register) -> Result<Vec<Value>, EngineError> {
    let mut values = Vec::new();
    for id in patch.supersedes.of(register) {
        values.extend(facts.patch(*id)?.and_then(|known| known.patch.value(register)));
    }
    Ok(values)
}

fn superseded_places(facts: &dyn Facts, patch: &Patch) -> Result<Vec<(NodeId, Name)>, EngineError> {
    let at = |value| if let Value::Place(Place::At { parent, name }) = value { Some((parent, name)) } else { None };
    Ok(superseded(facts, patch, Register::Place)?.into_iter().filter_map(at).collect())
}

fn new_bytes(store: &Store, facts: &dyn Facts, patch: &Patch, (root, len): (Root, u64)) -> Result<u64, EngineError> {
    let mut fewest = len;
    for was in superseded(facts, patch, Register::Content)? {
        let Value::Content(Content::File { len: was_len, root: was, .. }) = was else { continue };
        // Where the lists of either are not here yet, all that is known is the whole.
        if let Ok(ranges) = changed_ranges(store, (was, was_len), (root, len)) {
            fewest = fewest.min(ranges.iter().map(|range| range.end - range.start).sum());
        }
    }
    Ok(fewest)
}

/// The patch whose id begins so, if there is exactly one.
pub fn patch_by_prefix(volume: &Volume, prefix: &str) -> Result<Option<PatchId>, EngineError> {
    let mut found = volume.patches_with_prefix(prefix, 2)?;
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop()),
        _ => Err(EngineError::Ambiguous(prefix.to_owned())),
    }
}
