//! Differences: of versions, of trees, of the sides of a fork.

use std::ops::ControlFlow;

use pfs_engine::model::facts::{Eye, Facts};
use pfs_engine::model::ids::{NodeId, PatchId};
use pfs_engine::model::past::Past;
use pfs_engine::model::patch::{Content, Register, Value};
use pfs_engine::model::time::Time;
use pfs_engine::model::view::ForkKind;
use pfs_engine::query::{self, Contents, Difference, ForkReport, LogScope, Version};

use super::forks::{at_or_below, path_of};
use super::history::{content_in, raw, version_at, version_now};
use super::peer::Running;
use super::target::{self, Spot};
use super::words;
use crate::api::service::{Result, Sink};
use crate::api::types::{Change, DiffItem, DiffRequest, DiffSide, Mode, NodeKind, Revision, Stretch};

/// Head against head under a fork, else what was against what is.
pub(super) fn diff(running: &Running, request: &DiffRequest, each: Sink<'_, DiffItem>) -> Result<()> {
    let spot = target::spot(&running.engine, &request.target)?;
    let (store, volume) = (running.engine.store(), &spot.volume);
    let mut hand_on = |found: &Difference| each(item(&spot, found));
    if request.from.is_none() {
        let sides = sides(&spot)?;
        if !sides.is_empty() {
            for (one, other) in sides {
                if hand_on(&query::compare(store, volume, Some(one), Some(other))?).is_break() {
                    break;
                }
            }
            return Ok(());
        }
    }
    let node = query::node_by_path(volume, &spot.path)?;
    if node == NodeId::ROOT || volume.node(node)?.is_some_and(|state| state.is_dir) {
        return trees(running, &spot, node, request, &mut hand_on);
    }
    let after = match &request.to {
        Some(to) => version_at(&spot, to)?,
        None => version_now(&spot)?,
    };
    let before = match &request.from {
        Some(from) => Some(version_at(&spot, from)?),
        None => before(&spot, after)?,
    };
    let version = |patch: PatchId| query::version(volume, patch, spot.path.clone());
    let found = query::compare(store, volume, before.map(version).transpose()?, Some(version(after)?))?;
    if found.contents != Contents::Same {
        // Whoever takes one item has no more to stop.
        let _ = hand_on(&found);
    }
    Ok(())
}

fn trees(
    running: &Running,
    spot: &Spot,
    node: NodeId,
    request: &DiffRequest,
    hand_on: &mut dyn FnMut(&Difference) -> ControlFlow<()>,
) -> Result<()> {
    let (store, volume) = (running.engine.store(), &spot.volume);
    let time = |at: &Revision| -> Result<Time> {
        Ok(match at {
            Revision::Time(time) => words::last_of(*time),
            Revision::Patch(prefix) => query::at_revision(volume, target::patch_in(volume, prefix)?)?,
        })
    };
    let from = match &request.from {
        Some(from) => time(from)?,
        None => before_last(running, spot, node)?,
    };
    let to = match &request.to {
        Some(to) => time(to)?,
        None => Time(u64::MAX),
    };
    let (before, after) = (Past::new(volume, from), Past::new(volume, to));
    Ok(query::compare_trees(store, volume, (&before, &after), &spot.path, &mut |found| hand_on(&found))?)
}

/// The time just before the last change of a directory, or of anything below it.
fn before_last(running: &Running, spot: &Spot, node: NodeId) -> Result<Time> {
    let scope = if node == NodeId::ROOT { LogScope::Volume } else { LogScope::Below(node) };
    let mut last = Time(0);
    query::log(running.engine.store(), &spot.volume, &scope, (None, None), None, &mut |report| {
        last = report.time;
        ControlFlow::Break(())
    })?;
    Ok(Time(last.0.saturating_sub(1)))
}

/// What the content of a patch took the place of: the newest of what it superseded.
fn before(spot: &Spot, after: PatchId) -> Result<Option<PatchId>> {
    let mut newest = None;
    let known = spot.volume.patch(after)?;
    for id in known.iter().flat_map(|known| known.patch.supersedes.of(Register::Content)) {
        newest = newest.max(spot.volume.patch(*id)?.map(|known| (known.time, *id)));
    }
    Ok(newest.map(|(_, id)| id))
}

/// The pairs that show what a fork at this very path is about: the side that is on disk here against each other one;
/// where one deleted, what all began from against what the other made of it.
fn sides(spot: &Spot) -> Result<Vec<(Version, Version)>> {
    let mut pairs = Vec::new();
    for fork in at_or_below(spot)?.into_iter().filter(|fork| fork.path == spot.path || path_of(fork) == spot.path) {
        let mut versions = versions(spot, &fork)?;
        if fork.fork.kind == ForkKind::Delete
            && let Some((base, _)) = fork.base
            && spot.volume.patch(base)?.is_some_and(|known| known.patch.content.is_some())
        {
            versions.insert(0, query::version(&spot.volume, base, fork.path.clone())?);
        }
        let mut versions = versions.into_iter();
        let Some(first) = versions.next() else { continue };
        pairs.extend(versions.map(|other| (first.clone(), other)));
    }
    Ok(pairs)
}

/// The contents of a fork's sides that have any, the one on disk here first.
fn versions(spot: &Spot, fork: &ForkReport) -> Result<Vec<Version>> {
    let mut versions = Vec::new();
    for head in &fork.heads {
        let patch = match &head.value {
            Value::Content(Content::File { .. } | Content::Symlink { .. }) => Some(head.patch),
            _ if fork.fork.nodes.len() > 1 && fork.fork.kind != ForkKind::Cycle => {
                content_in(&spot.volume, Eye::Canonical, head.node)?
            }
            _ => None,
        };
        if let Some(patch) = patch {
            versions.push((!head.shown, query::version(&spot.volume, patch, head.path.clone())?));
        }
    }
    versions.sort_by_key(|(other, _)| *other);
    Ok(versions.into_iter().map(|(_, version)| version).collect())
}

fn item(spot: &Spot, found: &Difference) -> DiffItem {
    let Difference { before, after, contents } = found;
    let there = |version: &Option<Version>| version.clone().filter(|version| version.content != Content::Gone);
    let (before, after) = (there(before), there(after));
    let is_moved = matches!((&before, &after), (Some(before), Some(after)) if before.path != after.path);
    let change = match (&before, &after) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ if *contents != Contents::Same => Change::Changed,
        _ if is_moved => Change::Moved,
        _ => Change::Attr,
    };
    let path = after.as_ref().or(before.as_ref()).map_or_else(|| spot.path.clone(), |version| version.path.clone());
    let (text, ranges) = match contents {
        Contents::Text(text) => (Some(text.clone()), None),
        Contents::Ranges(ranges) => {
            (None, Some(ranges.iter().map(|range| Stretch { start: range.start, end: range.end }).collect()))
        }
        Contents::Same | Contents::Lacking => (None, None),
    };
    DiffItem {
        volume: spot.report.state.name.clone(),
        path: raw(&path),
        change,
        from: before.as_ref().filter(|_| is_moved).map(|before| raw(&before.path)),
        before: before.map(|version| side(spot, &version)),
        after: after.map(|version| side(spot, &version)),
        text,
        ranges,
        lacking: *contents == Contents::Lacking,
    }
}

fn side(spot: &Spot, version: &Version) -> DiffSide {
    let (patch, origin, time) = version.by;
    let (kind, size) = match &version.content {
        Content::File { len, .. } => (NodeKind::File, *len),
        Content::Symlink { target } => (NodeKind::Symlink, target.len() as u64),
        Content::Dir | Content::Gone => (NodeKind::Dir, 0),
    };
    DiffSide {
        patch: patch.to_string(),
        origin: target::named_peer(&spot.report, origin),
        time: words::wall(time.ms()),
        kind,
        size,
        mode: version.attr.as_ref().map(|attr| Mode(attr.mode)),
    }
}
