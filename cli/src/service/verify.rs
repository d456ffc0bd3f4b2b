//! Verifying: every stored chunk is read again; what is broken is named by the files that need it, and healed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pfs_engine::content::{self, Noted, note_chunks};
use pfs_engine::handle::{Lacking, VolumeReport};
use pfs_engine::model::facts::Facts as _;
use pfs_engine::model::ids::{ChunkId, NodeId, PatchId};
use pfs_engine::model::patch::{Content, Root};
use pfs_engine::query;
use pfs_engine::store::{Store, Volume};
use pfs_engine::{Engine, EngineError, Rotten};

use super::history::raw;
use super::peer::Running;
use super::target;
use crate::api::service::{ErrorKind, OnProgress, Result, ServiceError};
use crate::api::types::{HealedFile, Problem, Progress, RawPath, Stage, Verified, VerifyRequest};

/// Between two looks at how far healing has come.
const POLL: Duration = Duration::from_millis(100);
/// Nothing has been healed for so long: nobody has what is missing.
const PATIENCE: Duration = Duration::from_mins(1);
const PAGE: usize = 64;

/// Re-hashes what is stored.
pub(super) fn verify(running: &Running, request: &VerifyRequest, progress: OnProgress<'_>) -> Result<Verified> {
    let engine = &running.engine;
    let volumes = target::some_volumes(engine, request.volume.as_deref())?;
    let only = request.volume.as_ref().map(|_| chunks_of(running, &volumes)).transpose()?;
    let only = only.as_ref();
    let (tell, told) = mpsc::channel();
    let found = thread::scope(|scope| {
        let worker = scope.spawn(move || {
            // Nobody listens only once the work is over.
            engine.verify(only, request.repair, &|chunks, bytes| _ = tell.send((chunks, bytes)))
        });
        for (_, bytes) in told {
            progress(Progress { stage: Stage::Verifying, files: 0, bytes, files_total: None, bytes_total: None });
        }
        worker.join()
    });
    let found = found.map_err(|_| ServiceError::new(ErrorKind::Failed, "verifying ended by a fault in pfs"))?;
    let (found, lacking) = found?;
    let mut hurt = Vec::new();
    if request.repair && running.net.is_some() {
        hurt = damages(engine, &volumes, &found.broken.iter().copied().collect())?;
        heal(running, &found.broken, &lacking, progress)?;
    }
    let here = engine.store().has_chunks(&found.broken)?;
    let repaired = if request.repair { here.iter().filter(|here| **here).count() } else { 0 };
    let broken: BTreeSet<ChunkId> = if request.repair { BTreeSet::new() } else { found.broken.into_iter().collect() };
    let damaged = damages(engine, &volumes, &broken)?;
    let is_well =
        |problem: &Problem| damaged.iter().all(|bad| (&bad.volume, &bad.path) != (&problem.volume, &problem.path));
    let healed = hurt.into_iter().filter(is_well).map(|problem| (problem.volume, problem.path));
    let healed = healed.map(|(volume, path)| HealedFile { volume, path, kept: None });
    let (mut healed, mut damaged): (Vec<_>, _) = (healed.collect(), damaged.clone());
    trees(running, &volumes, request.repair, progress, (&mut healed, &mut damaged))?;
    Ok(Verified { chunks: found.chunks, bytes: found.bytes, repaired: repaired as u64, healed, damaged })
}

/// Files in the trees whose bytes are not what was captured.
fn trees(
    running: &Running,
    volumes: &[VolumeReport],
    repair: bool,
    progress: OnProgress<'_>,
    (healed, damaged): (&mut Vec<HealedFile>, &mut Vec<Problem>),
) -> Result<()> {
    for report in volumes {
        let (tell, told) = mpsc::channel();
        let found = thread::scope(|scope| {
            let worker =
                scope.spawn(move || running.engine.verify_tree(report.id, repair, &|bytes| _ = tell.send(bytes)));
            for bytes in told {
                progress(Progress { stage: Stage::Verifying, files: 0, bytes, files_total: None, bytes_total: None });
            }
            worker.join()
        });
        let found = found.map_err(|_| ServiceError::new(ErrorKind::Failed, "verifying ended by a fault in pfs"))?;
        for Rotten { path, kept, trouble, .. } in found? {
            let (volume, path) = (report.state.name.clone(), RawPath::from(path.to_bytes()));
            if let Some(kept) = kept {
                let kept = Some(RawPath::from(kept.into_os_string().into_vec()));
                healed.push(HealedFile { volume, path, kept });
            } else {
                let trouble = trouble.map_or_else(String::new, |why| format!("; not put right: {why}"));
                let reason =
                    format!("in the tree its bytes are not what was captured, and nobody wrote to it{trouble}");
                damaged.push(Problem { volume, path, reason });
            }
        }
    }
    Ok(())
}

fn damages(engine: &Engine, volumes: &[VolumeReport], broken: &BTreeSet<ChunkId>) -> Result<Vec<Problem>> {
    let mut damaged = Vec::new();
    for report in volumes {
        let volume = engine.volume(report.id)?;
        damaged.extend(damage(engine.store(), report, &volume, broken)?);
    }
    Ok(damaged)
}

/// What all versions of all files of some volumes consist of.
fn chunks_of(running: &Running, volumes: &[VolumeReport]) -> std::result::Result<BTreeSet<ChunkId>, EngineError> {
    let (store, mut noted) = (running.engine.store(), Noted::default());
    for report in volumes {
        let volume = running.engine.volume(report.id)?;
        each_file(&volume, &mut |_, _, root, len| {
            note_chunks(store, root, len, &mut noted)?;
            Ok(())
        })?;
    }
    Ok(noted.chunks.into_keys().collect())
}

/// Hands over every version of every file, newest first: its patch, its node, its content.
fn each_file(
    volume: &Volume,
    each: &mut dyn FnMut(PatchId, NodeId, Root, u64) -> std::result::Result<(), EngineError>,
) -> std::result::Result<(), EngineError> {
    let mut before = None;
    loop {
        let heads = volume.recent(before, PAGE)?;
        let Some(last) = heads.last() else { return Ok(()) };
        before = Some((last.time, last.log, last.seq));
        for id in heads.iter().flat_map(|head| &head.patches) {
            let Some(patch) = volume.patch(*id)?.map(|known| known.patch) else { continue };
            if let Some(Content::File { len, root, .. }) = &patch.content
                && !volume.is_released(*root)?
            {
                each(*id, patch.node, *root, *len)?;
            }
        }
    }
}

/// Waits while the members bring back what was let go of, now or by an earlier repair that was cut short.
fn heal(running: &Running, broken: &[ChunkId], lacking: &Lacking, progress: OnProgress<'_>) -> Result<()> {
    let (mut last, mut since, mut most) = (usize::MAX, Instant::now(), 0);
    loop {
        let left = left(&running.engine, broken, lacking)?;
        most = most.max(left);
        if left < last {
            (last, since) = (left, Instant::now());
        }
        if left == 0 || since.elapsed() > PATIENCE {
            return Ok(());
        }
        let (files, files_total) = ((most - left) as u64, Some(most as u64));
        progress(Progress { stage: Stage::Fetching, files, bytes: 0, files_total, bytes_total: None });
        thread::sleep(POLL);
    }
}

/// Chunks and contents that are not here yet.
fn left(engine: &Engine, broken: &[ChunkId], lacking: &Lacking) -> Result<usize> {
    let mut left = engine.store().has_chunks(broken)?.iter().filter(|here| !**here).count();
    for (id, roots) in lacking {
        let volume = engine.volume(*id)?;
        for root in roots.keys() {
            left += usize::from(volume.is_missing(*root)?);
        }
    }
    Ok(left)
}

/// The files of a volume, of now or before, whose bytes cannot all be read.
fn damage(
    store: &Store,
    report: &VolumeReport,
    volume: &Volume,
    broken: &BTreeSet<ChunkId>,
) -> std::result::Result<Vec<Problem>, EngineError> {
    let mut known: BTreeMap<Root, Option<&str>> = BTreeMap::new();
    let mut found: BTreeMap<RawPath, (PatchId, &str)> = BTreeMap::new();
    each_file(volume, &mut |id, node, root, len| {
        let why = *known.entry(root).or_insert_with(|| why_unreadable(store, root, len, broken));
        if let Some(why) = why {
            // Newest first: what is told of a file is its latest version that suffers.
            found.entry(raw(&query::last_path(volume, node)?)).or_insert((id, why));
        }
        Ok(())
    })?;
    let problem = |(path, (patch, why)): (RawPath, (PatchId, &str))| Problem {
        volume: report.state.name.clone(),
        path,
        reason: format!("version {}: {why}", patch.short()),
    };
    Ok(found.into_iter().map(problem).collect())
}

fn why_unreadable(store: &Store, root: Root, len: u64, broken: &BTreeSet<ChunkId>) -> Option<&'static str> {
    let mut noted = Noted::default();
    let read = note_chunks(store, root, len, &mut noted);
    if read.is_err() || broken.iter().any(|id| noted.chunks.contains_key(id)) {
        return Some(DAMAGED);
    }
    match content::lacking(store, root, len, 1) {
        Ok(content::Lacking::Nothing) => None,
        Ok(content::Lacking::Chunks(_)) => Some(LACKING),
        Err(_) => Some(DAMAGED),
    }
}

const DAMAGED: &str = "what is stored of it is damaged";
const LACKING: &str = "not all of its bytes are here";
