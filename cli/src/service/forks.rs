//! Open forks.

use pfs_engine::model::facts::Eye;
use pfs_engine::model::name::{Name, RelPath};
use pfs_engine::model::patch::{Content, Place, Value};
use pfs_engine::model::view::{self, ForkKind as EngineForkKind};
use pfs_engine::plan::resolve::{self, Choice};
use pfs_engine::query::{self, ForkReport, HeadReport};
use pfs_engine::store::Volume;

use super::history::raw;
use super::peer::Running;
use super::target::{self, Spot};
use super::words;
use crate::api::service::Result;
use crate::api::types::{Base, Fork, ForksRequest, Head, RawPath, Way};

/// Open forks, by volume and path.
pub(super) fn forks(running: &Running, request: &ForksRequest) -> Result<Vec<Fork>> {
    let mut all = Vec::new();
    for spot in target::spots(&running.engine, request.target.as_ref())? {
        for found in at_or_below(&spot)? {
            all.push(told(running, &spot, &found)?);
        }
    }
    all.sort_by(|a, b| (&a.volume, &a.path).cmp(&(&b.volume, &b.path)));
    Ok(all)
}

/// The open forks of what is at a spot or below it.
pub(super) fn at_or_below(spot: &Spot) -> Result<Vec<ForkReport>> {
    let mut all = query::forks(&spot.volume)?;
    all.retain(|fork| concerns(fork, &spot.path));
    Ok(all)
}

/// Whether a fork is about something at a path or below it, for any of its sides.
pub(super) fn concerns(fork: &ForkReport, path: &RelPath) -> bool {
    let below = |other: &RelPath| other.0.starts_with(&path.0);
    below(&fork.path) || fork.heads.iter().any(|head| below(&head.path))
}

/// Of several things of one name, the name that all of them want.
pub(super) fn path_of(fork: &ForkReport) -> RelPath {
    match fork.heads.first() {
        Some(head) if fork.fork.kind == EngineForkKind::Name => head.path.clone(),
        _ => fork.path.clone(),
    }
}

fn told(running: &Running, spot: &Spot, fork: &ForkReport) -> Result<Fork> {
    Ok(Fork {
        volume: spot.report.state.name.clone(),
        path: raw(&path_of(fork)),
        kind: words::fork_kind(fork.fork.kind),
        base: fork.base.map(|(patch, size)| Base { patch: patch.to_string(), size }),
        heads: fork.heads.iter().map(|head| side(spot, fork, head)).collect::<Result<_>>()?,
        choices: ways(running, spot, fork)?,
    })
}

/// One side of a fork.
pub(super) fn side(spot: &Spot, fork: &ForkReport, head: &HeadReport) -> Result<Head> {
    Ok(Head {
        patch: head.patch.to_string(),
        origin: target::named_peer(&spot.report, head.origin),
        time: words::wall(head.time.ms()),
        summary: summary(&spot.volume, fork.fork.kind, head)?,
        size: head.size,
        shown: head.shown,
    })
}

/// How a fork can be settled.
fn ways(running: &Running, spot: &Spot, fork: &ForkReport) -> Result<Vec<Way>> {
    let authors = query::authors(&spot.volume, &spot.report.roster, running.engine.peer(), &fork.fork)?;
    let mut ways = vec![Way::Take];
    for (way, choice) in [
        (Way::Ours, Choice::Ours),
        (Way::Theirs, Choice::Theirs),
        (Way::Newest, Choice::Newest),
        (Way::Both, Choice::Both),
        (Way::Delete, Choice::Delete),
    ] {
        if resolve::settles(&spot.volume, &fork.fork, (&choice, &authors))? {
            ways.push(way);
        }
    }
    if query::merged(running.engine.store(), &spot.volume, &fork.fork).is_ok() {
        ways.push(Way::Merge);
    }
    Ok(ways)
}

/// What one side did.
fn summary(volume: &Volume, kind: EngineForkKind, head: &HeadReport) -> Result<String> {
    if kind == EngineForkKind::Name {
        return standing(volume, head);
    }
    Ok(match &head.value {
        Value::Place(Place::At { parent, name }) if kind == EngineForkKind::Cycle => {
            let into = query::last_path(volume, *parent)?;
            let into = into.0.last().map_or_else(|| "the root".to_owned(), |name| raw_name(name).to_string());
            format!("moved {} into {into}", raw_name(name))
        }
        Value::Content(Content::File { .. }) => "edited".to_owned(),
        Value::Content(Content::Symlink { target }) => format!("made a symlink to {}", RawPath::from(target.clone())),
        Value::Content(Content::Dir) => "made a directory".to_owned(),
        Value::Content(Content::Gone) | Value::Place(Place::Nowhere) => "deleted".to_owned(),
        Value::Place(Place::At { .. }) => format!("moved to {}", raw(&head.path)),
        Value::Attr(attr) => words::attr_words(attr),
    })
}

fn raw_name(name: &Name) -> RawPath {
    RawPath::from(name.as_bytes().to_vec())
}

/// Of several things of one name: which has it, and where the others stand meanwhile.
fn standing(volume: &Volume, head: &HeadReport) -> Result<String> {
    let here = match view::path_of(volume, Eye::Local, head.node)? {
        Some(path) => Some(path),
        None => view::path_of(volume, Eye::Canonical, head.node)?,
    };
    Ok(match here {
        Some(path) if path == head.path => "has the name".to_owned(),
        Some(path) => match path.split_last() {
            Some((_, name)) => format!("stands at {}", RawPath::from(name.as_bytes().to_vec())),
            None => "has the name".to_owned(),
        },
        None => "is not shown".to_owned(),
    })
}
