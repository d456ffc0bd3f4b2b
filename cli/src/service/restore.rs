//! Making a path what it was.

use pfs_engine::model::facts::Facts as _;
use pfs_engine::model::patch::Content;
use pfs_engine::plan::restore::{Deed as EngineDeed, RestoreError, Wish};
use pfs_engine::{EngineError, RestoreReport, query};

use super::history::{is_at, raw};
use super::peer::Running;
use super::target::{self, Spot};
use super::words;
use crate::api::service::{ErrorKind, Result, ServiceError};
use crate::api::types::{Deed, Lacking, RestoreRequest, Restored, RestoredCounts, RestoredPath, Revision};

/// More paths than these are only counted.
const TOLD_MAX: usize = 1000;

/// One path.
pub(super) fn restore(running: &Running, request: &RestoreRequest) -> Result<Restored> {
    let spot = target::spot(&running.engine, &request.target)?;
    let wish = wish(running, &spot, request)?;
    let done = running.engine.restore(spot.report.id, wish.clone(), request.dry_run).map_err(|error| match error {
        EngineError::Restore(RestoreError::NothingThen) => nothing_then(&spot),
        other => other.into(),
    })?;
    Ok(told(&spot, &wish, &done, request.dry_run))
}

fn wish(running: &Running, spot: &Spot, request: &RestoreRequest) -> Result<Wish> {
    let to = match &request.to {
        None => None,
        Some(to) => {
            let there = target::spot(&running.engine, to)?;
            if there.report.id != spot.report.id {
                let message =
                    format!("{} is in volume {}, not in {}", to.text, there.report.state.name, spot.report.state.name);
                return Err(ServiceError::new(ErrorKind::Usage, message)
                    .hint("a copy stands in the same volume: `pfs cat --at` writes a file anywhere"));
            }
            Some(there.path)
        }
    };
    let (mut version, until) = match &request.at {
        Revision::Time(time) => (None, words::last_of(*time)),
        Revision::Patch(prefix) => {
            let patch = target::patch_in(&spot.volume, prefix)?;
            (Some(patch), query::at_revision(&spot.volume, patch)?)
        }
    };
    if let Some(patch) = version {
        // A patch of something else, or one that gave it no bytes, only says when.
        let known = spot.volume.patch(patch)?.map(|known| known.patch);
        let has_bytes = |content: &Content| matches!(content, Content::File { .. } | Content::Symlink { .. });
        let own = known.filter(|patch| patch.content.as_ref().is_some_and(has_bytes));
        if !own.map_or(Ok(false), |patch| is_at(spot, patch.node))? {
            version = None;
        }
    }
    Ok(Wish { path: spot.path.clone(), until, version, to })
}

fn nothing_then(spot: &Spot) -> ServiceError {
    let path = if spot.path.0.is_empty() { "the volume".to_owned() } else { spot.path.to_string() };
    ServiceError::new(ErrorKind::NotFound, format!("{path} was not there then"))
        .hint("`pfs log PATH` shows when it was; `pfs ls DIR --at REV` shows what was there then")
}

fn told(spot: &Spot, wish: &Wish, done: &RestoreReport, dry_run: bool) -> Restored {
    let mut counts = RestoredCounts::default();
    let mut changes = Vec::new();
    for (path, deed) in &done.deeds {
        let (count, change, from) = match deed {
            EngineDeed::Back => (&mut counts.back, Deed::Back, None),
            EngineDeed::Changed => (&mut counts.changed, Deed::Changed, None),
            EngineDeed::Moved(from) => (&mut counts.moved, Deed::Moved, Some(raw(from))),
            EngineDeed::Removed => (&mut counts.removed, Deed::Removed, None),
            EngineDeed::Settled => (&mut counts.settled, Deed::Settled, None),
        };
        *count += 1;
        if changes.len() < TOLD_MAX {
            changes.push(RestoredPath { path: raw(path), change, from });
        }
    }
    let lacking = Lacking { files: done.lacking.len() as u64, bytes: done.lacking.values().sum() };
    Restored {
        volume: spot.report.state.name.clone(),
        path: raw(wish.to.as_ref().unwrap_or(&wish.path)),
        patches: done.patches.len() as u64,
        patch: done.patches.first().map(ToString::to_string),
        dry_run,
        counts,
        changes,
        lacking,
    }
}
