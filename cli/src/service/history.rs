//! The past and the tree: log, cat, ls.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;

use pfs_engine::EngineError;
use pfs_engine::handle::VolumeReport;
use pfs_engine::model::facts::{Eye, Facts, Unreadable};
use pfs_engine::model::ids::{NodeId, PatchId, PeerId};
use pfs_engine::model::name::RelPath;
use pfs_engine::model::past::Past;
use pfs_engine::model::patch::{Content, Register};
use pfs_engine::model::time::Time;
use pfs_engine::model::view;
use pfs_engine::query::{self, Entry, LogScope, PatchReport};
use pfs_engine::store::{Store, Volume};

use super::forks;
use super::peer::Running;
use super::target::{self, Spot};
use super::words;
use crate::api::service::{ErrorKind, Result, ServiceError, Sink};
use crate::api::types::{
    CatRequest, ForkKind, LogLine, LogRequest, LsLine, LsRequest, Mode, NodeKind, RawPath, Revision,
};

/// Patches of one volume that are read before the others have caught up with it.
const AHEAD: usize = 64;

/// One volume's part of a log.
struct Source {
    report: VolumeReport,
    volume: Volume,
    scope: LogScope,
}

/// Which patches are wanted.
#[derive(Clone, Copy)]
struct Bounds {
    times: (Option<Time>, Option<Time>),
    origin: Option<PeerId>,
}

type Told = std::result::Result<PatchReport, EngineError>;

/// History, newest first.
pub(super) fn log(running: &Running, request: &LogRequest, each: Sink<'_, LogLine>) -> Result<()> {
    let engine = &running.engine;
    let spots = target::spots(engine, request.target.as_ref())?;
    let sources = spots.into_iter().map(source_of).collect::<Result<Vec<_>>>()?;
    let reports: Vec<_> = sources.iter().map(|source| source.report.clone()).collect();
    let origin = request.origin.as_deref().map(|text| target::peer(&reports, text)).transpose()?;
    let times = (request.since.map(words::first_of), request.until.map(words::last_of));
    let mut left = request.limit.unwrap_or(u64::MAX);
    let mut tell = |source: &Source, told: &PatchReport| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        each(line(source, told))?;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    Ok(merged(engine.store(), &sources, Bounds { times, origin }, &mut tell)?)
}

/// A volume's own root stands for all of it.
fn source_of(spot: Spot) -> Result<Source> {
    let Spot { report, volume, path } = spot;
    let node = query::node_by_path(&volume, &path)?;
    let is_dir = volume.node(node)?.is_some_and(|state| state.is_dir);
    let scope = match node {
        NodeId::ROOT => LogScope::Volume,
        node if is_dir => LogScope::Below(node),
        node => LogScope::Node(node),
    };
    Ok(Source { report, volume, scope })
}

/// The logs of several volumes as one: each is read by a thread of its own, and the newest head goes first.
fn merged(
    store: &Store,
    sources: &[Source],
    bounds: Bounds,
    tell: &mut dyn FnMut(&Source, &PatchReport) -> ControlFlow<()>,
) -> std::result::Result<(), EngineError> {
    thread::scope(|scope| {
        let mut lanes = Vec::new();
        for source in sources {
            let (send, receive) = mpsc::sync_channel::<Told>(AHEAD);
            scope.spawn(move || {
                let mut hand_on = |report| match send.send(Ok(report)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                };
                let Source { volume, scope, .. } = source;
                let done = query::log(store, volume, scope, bounds.times, bounds.origin, &mut hand_on);
                if let Err(error) = done {
                    // Whoever listened may have enough already.
                    let _ = send.send(Err(error));
                }
            });
            lanes.push((source, receive.into_iter().peekable()));
        }
        loop {
            let mut newest = None;
            for (at, (_, lane)) in lanes.iter_mut().enumerate() {
                // A failure goes first, so that it is told at once.
                let rank = lane.peek().map(|told| told.as_ref().map_or(Time(u64::MAX), |report| report.time));
                newest = newest.max(rank.map(|rank| (rank, Reverse(at))));
            }
            let Some((_, Reverse(at))) = newest else { return Ok(()) };
            let (source, lane) = &mut lanes[at];
            let Some(told) = lane.next() else { continue };
            if tell(source, &told?).is_break() {
                return Ok(());
            }
        }
    })
}

fn line(source: &Source, told: &PatchReport) -> LogLine {
    let supersedes = Register::ALL.iter().flat_map(|register| told.patch.supersedes.of(*register));
    let supersedes: BTreeSet<&PatchId> = supersedes.collect();
    LogLine {
        patch: told.id.to_string(),
        time: words::wall(told.time.ms()),
        origin: target::named_peer(&source.report, told.origin),
        volume: source.report.state.name.clone(),
        path: raw(&told.path),
        action: words::action(told.action),
        from: told.from.as_ref().map(raw),
        size: told.size,
        supersedes: supersedes.into_iter().map(PatchId::to_string).collect(),
        new_bytes: told.new_bytes,
    }
}

/// The bytes of any version.
pub(super) fn cat(running: &Running, request: &CatRequest, each: Sink<'_, Vec<u8>>) -> Result<()> {
    let spot = target::spot(&running.engine, &request.target)?;
    let patch = match (&request.head, &request.at) {
        (Some(head), _) => head_of(&spot, head)?,
        (None, Some(at)) => version_at(&spot, at)?,
        (None, None) => version_now(&spot)?,
    };
    let mut hand_on = |bytes: &[u8]| each(bytes.to_vec());
    query::cat(running.engine.store(), &spot.volume, patch, &mut hand_on).map_err(|error| match error {
        EngineError::NotHeld(_) if is_released(&spot.volume, patch) => let_go(&spot.path),
        EngineError::NotHeld(_) => not_held(running, &spot.path),
        EngineError::NoBytes(_) => no_bytes(&spot.volume, &spot.path),
        other => other.into(),
    })
}

/// The side of a fork that was named; where it only moves the file or sets its mode, the bytes are the file's.
fn head_of(spot: &Spot, head: &str) -> Result<PatchId> {
    let patch = target::patch_in(&spot.volume, head)?;
    let known = spot.volume.patch(patch)?;
    let known = known.ok_or_else(|| EngineError::NoPatch(head.to_owned()))?;
    if !is_at(spot, known.patch.node)? {
        let other = query::last_path(&spot.volume, known.patch.node)?;
        let message = format!("patch {} is no version of {}, but of {other}", patch.short(), spot.path);
        return Err(ServiceError::new(ErrorKind::NotFound, message)
            .hint("`pfs forks PATH` shows the sides of a fork, `pfs log PATH` every version"));
    }
    if known.patch.content.is_some() {
        return Ok(patch);
    }
    let found = content_in(&spot.volume, Eye::Canonical, known.patch.node)?;
    found.ok_or_else(|| no_bytes(&spot.volume, &spot.path))
}

/// Whether a node stands at a spot for anybody, stood there last, or is one of those that want its name.
pub(super) fn is_at(spot: &Spot, node: NodeId) -> Result<bool> {
    let Spot { volume, path, .. } = spot;
    let mut at = vec![view::node_at(volume, Eye::Local, path)?, view::node_at(volume, Eye::Canonical, path)?];
    at.push(query::node_by_path(volume, path).ok());
    if at.contains(&Some(node)) {
        return Ok(true);
    }
    let forks = forks::at_or_below(spot)?;
    Ok(forks.iter().any(|fork| forks::path_of(fork) == *path && fork.fork.nodes.contains(&node)))
}

pub(super) fn version_now(spot: &Spot) -> Result<PatchId> {
    let Spot { volume, path, .. } = spot;
    let found = || -> std::result::Result<Option<PatchId>, Unreadable> {
        if let Some(node) = view::node_at(volume, Eye::Local, path)? {
            return Ok(volume.shown(node)?.map(|shown| shown.patch(Register::Content)));
        }
        match view::node_at(volume, Eye::Canonical, path)? {
            Some(node) => content_in(volume, Eye::Canonical, node),
            None => Ok(None),
        }
    };
    match found()? {
        Some(patch) => Ok(patch),
        None if *path == RelPath::root() => Err(no_bytes(volume, path)),
        None => Err(EngineError::NoPath(path.to_string()).into()),
    }
}

/// What stood at the path then; failing that, what is known by it now, as it was then.
pub(super) fn version_at(spot: &Spot, at: &Revision) -> Result<PatchId> {
    let Spot { volume, path, .. } = spot;
    let until = match at {
        Revision::Time(time) => words::last_of(*time),
        Revision::Patch(prefix) => {
            let patch = target::patch_in(volume, prefix)?;
            let known = volume.patch(patch)?;
            let own = known.filter(|known| matches!(known.patch.content, Some(Content::File { .. })));
            if let Some(own) = own
                && query::last_path(volume, own.patch.node)? == *path
            {
                return Ok(patch);
            }
            query::at_revision(volume, patch)?
        }
    };
    let past = Past::new(volume, until);
    let node = match view::node_at(&past, Eye::Canonical, path)? {
        Some(node) => node,
        None => query::node_by_path(volume, path)?,
    };
    let found = content_in(&past, Eye::Canonical, node)?;
    found.ok_or_else(|| {
        ServiceError::new(ErrorKind::NotFound, format!("{path} was not there then"))
            .hint("`pfs log PATH` shows when it was")
    })
}

/// The patch whose content a node shows.
pub(super) fn content_in(
    facts: &dyn Facts,
    eye: Eye,
    node: NodeId,
) -> std::result::Result<Option<PatchId>, Unreadable> {
    let shown = view::update(facts, eye, &BTreeSet::from([node]))?.shown.remove(&node).flatten();
    Ok(shown.map(|shown| shown.patch(Register::Content)))
}

/// A directory's names, or the one line of a file.
pub(super) fn ls(running: &Running, request: &LsRequest, each: Sink<'_, LsLine>) -> Result<()> {
    let Spot { report, volume, path } = target::spot(&running.engine, &request.target)?;
    let Some(at) = &request.at else {
        let kinds = kinds_by_node(&volume)?;
        let mut hand_on = |entry: Entry| each(ls_line(&entry, kinds.get(&entry.node).copied()));
        let eye = if report.path.is_some() { Eye::Local } else { Eye::Canonical };
        return Ok(query::ls(&volume, (&volume, eye), &path, request.recursive, &mut hand_on)?);
    };
    let until = match at {
        Revision::Time(time) => words::last_of(*time),
        Revision::Patch(prefix) => query::at_revision(&volume, target::patch_in(&volume, prefix)?)?,
    };
    let past = Past::new(&volume, until);
    let mut hand_on = |entry: Entry| each(ls_line(&entry, None));
    Ok(query::ls(&volume, (&past, Eye::Canonical), &path, request.recursive, &mut hand_on)?)
}

fn kinds_by_node(volume: &Volume) -> Result<BTreeMap<NodeId, ForkKind>> {
    let forks = query::forks(volume)?;
    let kinds = forks.iter().flat_map(|report| {
        let kind = words::fork_kind(report.fork.kind);
        report.fork.nodes.iter().map(move |node| (*node, kind))
    });
    Ok(kinds.collect())
}

fn ls_line(entry: &Entry, fork: Option<ForkKind>) -> LsLine {
    let (kind, size, mtime, target) = match &entry.content {
        Content::File { len, mtime, .. } => (NodeKind::File, *len, words::mtime(*mtime), None),
        Content::Symlink { target } => {
            (NodeKind::Symlink, target.len() as u64, None, Some(RawPath::from(target.clone())))
        }
        Content::Dir | Content::Gone => (NodeKind::Dir, 0, None, None),
    };
    let mode = Mode(entry.attr.mode);
    LsLine { path: raw(&entry.path), kind, size, mode, mtime, held: entry.held, fork, target }
}

pub(super) fn raw(path: &RelPath) -> RawPath {
    RawPath::from(path.to_bytes())
}

fn no_bytes(volume: &Volume, path: &RelPath) -> ServiceError {
    let what = if *path == RelPath::root() { "the volume's root".to_owned() } else { path.to_string() };
    let is_dir = |node| node == NodeId::ROOT || volume.node(node).ok().flatten().is_some_and(|state| state.is_dir);
    let (why, hint) = if query::node_by_path(volume, path).is_ok_and(is_dir) {
        ("is a directory", "`pfs ls` lists it")
    } else {
        ("is deleted", "`pfs log PATH` shows versions for --at")
    };
    ServiceError::new(ErrorKind::Usage, format!("{what} {why}: it has no bytes")).hint(hint)
}

/// Bytes that only other members have.
/// Whether the bytes of a version were let go of here.
fn is_released(volume: &Volume, patch: PatchId) -> bool {
    let content = volume.patch(patch).ok().flatten().and_then(|known| known.patch.content.clone());
    matches!(content, Some(Content::File { root, .. }) if volume.is_released(root).unwrap_or(false))
}

fn let_go(path: &RelPath) -> ServiceError {
    ServiceError::new(ErrorKind::NotFound, format!("this peer has let go of the bytes of this version of {path}"))
        .hint("another member that keeps more may have them: ask there; `pfs gc --help` says what is kept")
}

fn not_held(running: &Running, path: &RelPath) -> ServiceError {
    let connected = running.node_peers().iter().filter(|peer| peer.connected).count();
    let hint = match (&running.daemon, connected) {
        (None, _) => "no daemon runs: `pfs daemon start` fetches it from the other members",
        (Some(_), 0) => "no other member is connected: `pfs peers` shows who was last seen when",
        (Some(_), _) => "it is being fetched from the members that are connected: try again soon",
    };
    ServiceError::new(ErrorKind::Failed, format!("the bytes of this version of {path} are not here yet")).hint(hint)
}
