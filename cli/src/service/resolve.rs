//! Closing forks: all that can be closed are, each with a word on what became of it; what cannot is told path by
//! path.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use pfs_engine::EngineError;
use pfs_engine::model::facts::Facts as _;
use pfs_engine::model::ids::{PatchId, VolumeId};
use pfs_engine::model::patch::{Patch, Place, Register, Value};
use pfs_engine::model::view::{Fork, ForkKind};
use pfs_engine::plan::resolve::{self, ResolveError};
use pfs_engine::query::{self, ForkReport, HeadReport, MergeError};

use super::forks::{at_or_below, concerns, path_of, side};
use super::history::raw;
use super::peer::Running;
use super::target::{self, Spot};
use crate::api::service::{ErrorKind, Result, ServiceError};
use crate::api::types::{Choice, Closed, Left, RawPath, ResolveRequest, Resolved, Target};

/// What was tried so far, and is not to be tried or told twice.
type Tried = BTreeMap<(VolumeId, Fork), ForkReport>;

/// Closes the forks at and below some paths.
pub(super) fn resolve(running: &Running, request: &ResolveRequest) -> Resolved {
    let (mut done, mut tried) = (Resolved::default(), Tried::new());
    for wanted in &request.targets {
        // To settle some can lay others open, so they are looked up anew until there are none left to try.
        loop {
            let (spot, open) = match open_at(running, wanted, &request.choice, &tried) {
                Ok(found) => found,
                Err(error) => {
                    done.left.push(left(None, wanted.text.clone(), error));
                    break;
                }
            };
            if open.is_empty() {
                break;
            }
            if let (Choice::With(file), false) = (&request.choice, open.len() == 1 && request.targets.len() == 1) {
                done.left.push(left(None, wanted.text.clone(), not_one(file, &wanted.text)));
                break;
            }
            for fork in open {
                tried.insert((spot.report.id, fork.fork.clone()), fork.clone());
                match close(running, &spot, &fork, &request.choice) {
                    Ok(closed) => done.resolved.extend(closed),
                    Err(error) => done.left.push(left(Some(&spot), raw(&path_of(&fork)), error)),
                }
            }
        }
    }
    done
}

/// One file cannot say how several forks end.
fn not_one(file: &RawPath, path: &RawPath) -> ServiceError {
    let message = format!("{file} can settle exactly one fork, and {path} is not the only one that is meant");
    ServiceError::new(ErrorKind::Usage, message).hint("`pfs forks PATH` lists them: name the path of one")
}

fn left(spot: Option<&Spot>, path: RawPath, error: ServiceError) -> Left {
    let ServiceError { kind, message, hint } = error;
    Left { volume: spot.map(|spot| spot.report.state.name.clone()), path, kind, reason: message, hint }
}

/// The open forks that a path and a choice mean and that were not tried yet. Who has a name comes first: that settles
/// whether those which share it are there. That all of them have been tried is no failure.
fn open_at(running: &Running, wanted: &Target, choice: &Choice, tried: &Tried) -> Result<(Spot, Vec<ForkReport>)> {
    let spot = target::spot(&running.engine, wanted)?;
    let mut open = at_or_below(&spot)?;
    let is_meant = |fork: &ForkReport| match choice {
        Choice::Take(prefix) => fork.heads.iter().any(|head| head.patch.to_string().starts_with(prefix)),
        _ => true,
    };
    open.retain(is_meant);
    let is_tried = |((volume, _), fork): (&(VolumeId, Fork), &ForkReport)| {
        *volume == spot.report.id && concerns(fork, &spot.path) && is_meant(fork)
    };
    let is_known = !open.is_empty() || tried.iter().any(is_tried);
    open.retain(|fork| !tried.contains_key(&(spot.report.id, fork.fork.clone())));
    open.sort_by_key(|fork| fork.fork.nodes.len() == 1);
    if is_known {
        return Ok((spot, open));
    }
    Err(match choice {
        Choice::Take(prefix) => {
            ServiceError::new(ErrorKind::NotFound, format!("`{prefix}` is no side of a fork at {}", wanted.text))
                .hint("`pfs forks` shows the sides and their ids")
        }
        _ => EngineError::NoFork(wanted.text.to_string()).into(),
    })
}

/// Closes a fork; nothing if it was closed together with another one.
fn close(running: &Running, spot: &Spot, fork: &ForkReport, choice: &Choice) -> Result<Option<Closed>> {
    let wanted = match choice {
        Choice::Take(prefix) => {
            let sides: Vec<_> = fork.heads.iter().filter(|head| head.patch.to_string().starts_with(prefix)).collect();
            match sides[..] {
                [one] => resolve::Choice::Take(one.patch),
                _ => return Err(EngineError::Ambiguous(prefix.clone()).into()),
            }
        }
        Choice::Ours => resolve::Choice::Ours,
        Choice::Theirs => resolve::Choice::Theirs,
        Choice::Newest => resolve::Choice::Newest,
        Choice::Both => resolve::Choice::Both,
        Choice::Delete => resolve::Choice::Delete,
        Choice::Merge => {
            let engine = &running.engine;
            // Somebody may just have put it together by hand.
            engine.capture(spot.report.id, None)?;
            let merged = query::merged(engine.store(), &spot.volume, &fork.fork).map_err(not_merged)?;
            resolve::Choice::With { content: engine.keep_text(&merged.text)?, over: merged.over }
        }
        Choice::With(file) => {
            let path = Path::new(OsStr::from_bytes(file.as_bytes()));
            let node = fork.fork.nodes.first().map_or(Ok(None), |node| spot.volume.node(*node))?;
            let over = node.map(|node| node.heads(Register::Content).to_vec()).unwrap_or_default();
            resolve::Choice::With { content: running.engine.keep_file(path)?, over }
        }
    };
    match running.engine.resolve(spot.report.id, fork.fork.clone(), wanted) {
        Ok(closed_by) => closed(spot, fork, choice, &closed_by).map(Some),
        // Where it has become another fork, that one is next, unless it has no such side.
        Err(EngineError::Resolve(ResolveError::NotOpen))
            if !matches!(choice, Choice::Take(_)) || !is_open_still(spot, fork)? =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Why the sides do not go together.
fn not_merged(error: MergeError) -> ServiceError {
    let text = error.to_string();
    let (kind, hint) = match error {
        MergeError::Engine(error) => return error.into(),
        MergeError::Kind(_) => (ErrorKind::Refused, "`pfs forks` says what fits"),
        MergeError::Contested(_) => {
            (ErrorKind::Failed, "`pfs diff PATH` shows them: take a side, or give the text with --with FILE")
        }
        _ => (ErrorKind::Failed, "take a side, or give the bytes with --with FILE"),
    };
    ServiceError::new(kind, text).hint(hint)
}

/// Whether the same things are at odds still, perhaps in another way.
fn is_open_still(spot: &Spot, fork: &ForkReport) -> Result<bool> {
    let open = query::forks(&spot.volume)?;
    Ok(open.iter().any(|open| open.fork.nodes.iter().any(|node| fork.fork.nodes.contains(node))))
}

/// What became of a fork, by the patches that closed it.
fn closed(spot: &Spot, fork: &ForkReport, choice: &Choice, closed_by: &[PatchId]) -> Result<Closed> {
    let mut patches = Vec::new();
    for id in closed_by {
        patches.extend(spot.volume.patch(*id)?.map(|known| known.patch));
    }
    let patches: Vec<&Patch> = patches.iter().map(|patch| &**patch).collect();
    let deleted = *choice == Choice::Delete;
    let kept = kept(fork, &patches).filter(|_| !deleted).map(|head| side(spot, fork, head)).transpose()?;
    Ok(Closed {
        volume: spot.report.state.name.clone(),
        path: raw(&path_of(fork)),
        patch: closed_by.first().map(ToString::to_string).unwrap_or_default(),
        kept,
        beside: beside(spot, fork, &patches)?,
        deleted,
        merged: *choice == Choice::Merge,
    })
}

/// The one side that says what these patches say of its node; of nodes that shared a name the one that keeps it.
fn kept<'a>(fork: &'a ForkReport, patches: &[&Patch]) -> Option<&'a HeadReport> {
    let stands = |head: &&HeadReport| {
        let register = match head.value {
            Value::Place(_) => Register::Place,
            Value::Content(_) => Register::Content,
            Value::Attr(_) => Register::Attr,
        };
        let own = patches.iter().filter(|patch| patch.node == head.node);
        own.filter_map(|patch| patch.value(register)).any(|value| value.same(&head.value))
    };
    if fork.fork.nodes.len() > 1 && fork.fork.kind != ForkKind::Cycle {
        let keeper = patches.first()?.node;
        return fork.heads.iter().find(|head| head.node == keeper);
    }
    let mut standing = fork.heads.iter().filter(stands);
    standing.next().filter(|_| standing.next().is_none())
}

/// Where those stand that made room.
fn beside(spot: &Spot, fork: &ForkReport, patches: &[&Patch]) -> Result<Vec<RawPath>> {
    let mut beside = Vec::new();
    if !matches!(fork.fork.kind, ForkKind::Content | ForkKind::Kind | ForkKind::Name) {
        return Ok(beside);
    }
    for patch in patches.iter().skip(1) {
        if let Some(Place::At { parent, name }) = &patch.place {
            beside.push(raw(&query::last_path(&spot.volume, *parent)?.join(name)));
        }
    }
    Ok(beside)
}
