//! How it stands: each volume's state, what too few peers hold, who is here.

use std::os::unix::ffi::OsStrExt as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pfs_engine::NoRoom;
use pfs_engine::handle::VolumeReport;
use pfs_engine::model::entry::Holding;
use pfs_engine::model::frontier::Frontier;
use pfs_engine::plan::losses::Loss;
use pfs_engine::store::Volume;

use super::errors::ways_on;
use super::peer::Running;
use super::words::{holding, role, wall};
use super::{members, target};
use crate::api::service::Result;
use crate::api::types::{Jobs, Replicas, Status, StatusRequest, ThisPeer, Under, VolumeState, VolumeStatus};
use crate::ui::human::{count, quoted, size};

/// Entries looked at to find the oldest that too few peers hold.
const OLDEST_ENTRIES_MAX: usize = 4096;
const PAGE: usize = 64;

/// Volumes, peers, forks, exposure.
pub(super) fn status(running: &Running, request: &StatusRequest) -> Result<Status> {
    let engine = &running.engine;
    engine.check_trees()?;
    let reports = match &request.target {
        Some(target) => vec![target::spot(engine, target)?.report],
        None => target::volumes(engine)?,
    };
    let peers = members::statuses(running, &reports);
    let volumes = reports.iter().map(|report| of_volume(running, report)).collect::<Result<_>>()?;
    let name = engine.name()?;
    let peer = ThisPeer { id: engine.peer().to_string(), name, version: env!("CARGO_PKG_VERSION").to_owned() };
    Ok(Status { peer, daemon: running.daemon.clone(), volumes, peers, jobs: Jobs::default() })
}

fn of_volume(running: &Running, report: &VolumeReport) -> Result<VolumeStatus> {
    let engine = &running.engine;
    let volume = engine.volume(report.id)?;
    let own = report.roster.members.get(&engine.peer());
    let state = state(running, report, &volume)?;
    let here = &report.state;
    Ok(VolumeStatus {
        id: report.id.to_string(),
        name: here.name.clone(),
        path: target::path_of(report),
        role: role(own.map_or(here.role, |own| own.role)),
        holding: holding(own.map_or(here.holding, |own| own.holding)),
        state,
        reason: here.halted.as_ref().map(|why| reason(report, why)),
        problem: problem(running, report),
        files: here.files,
        bytes: here.bytes,
        patches: here.patches,
        forks: volume.forks()?.len() as u64,
        skipped: report.skipped,
        replicas: replicas(running, report, &volume)?,
    })
}

/// What stands in the way of a volume that is not halted: the work itself, or members that want no part in it.
fn problem(running: &Running, report: &VolumeReport) -> Option<String> {
    if report.state.halted.is_some() {
        return None;
    }
    let members = &report.roster.members;
    let disowns = |peer: &pfs_net::PeerStatus| peer.disowns && members.contains_key(&peer.peer);
    let by = running.node_peers().into_iter().find(disowns);
    let disowned = || Some(format!("{} does not take this peer for a member: it may have been removed", by?.name));
    let no_room = report.no_room.as_ref().map(|NoRoom { path, needs, free, on }| {
        let (file, on) = (quoted(path), quoted(on.as_os_str().as_bytes()));
        format!("{file} needs {}, {} are free on {on}", size(*needs), size(*free))
    });
    report.last_error.clone().or(no_room).or_else(|| disputed(report)).or_else(disowned)
}

/// A log of which there are two forms, and what may be done about it.
fn disputed(report: &VolumeReport) -> Option<String> {
    let origin = report.disputes.keys().next()?.origin;
    let name = target::named_peer(report, origin).name;
    Some(format!(
        "{name} wrote one log in two ways, as after its disk went back in time: nothing more is taken of that log; {name} \
         settles it when it hears of it, or if it is not honest: `pfs peers remove {}`",
        quoted(name.as_bytes())
    ))
}

/// Why a volume is halted, and the commands to go on where there are any.
fn reason(report: &VolumeReport, why: &str) -> String {
    let ways_on = ways_on(&report.state.name);
    match report.lost {
        Some(Loss { files, of, since_ms }) => {
            let since = wall(since_ms).0.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M");
            format!("{} of {} files are gone since {since}; {ways_on}", count(files), count(of))
        }
        None if report.emptied => format!("{why}; {ways_on}"),
        None => why.to_owned(),
    }
}

/// How a volume stands.
pub(super) fn state(running: &Running, report: &VolumeReport, volume: &Volume) -> Result<VolumeState> {
    if report.state.halted.is_some() {
        return Ok(VolumeState::Halted);
    }
    if report.capturing {
        return Ok(VolumeState::Capturing);
    }
    let me = running.engine.peer();
    let others: Vec<_> = report.roster.members.keys().filter(|peer| **peer != me).collect();
    let here: Vec<_> = others.iter().filter(|peer| running.shares(***peer, report.id)).collect();
    if here.is_empty() && !others.is_empty() {
        return Ok(VolumeState::Waiting);
    }
    let ours = volume.frontier();
    let even = |theirs: &Frontier| ours.covers(theirs) && theirs.covers(&ours);
    let is_even = here.iter().all(|peer| report.remote.get(**peer).is_some_and(even));
    if is_even && !is_pending(running, report, volume)? { Ok(VolumeState::Synced) } else { Ok(VolumeState::Syncing) }
}

/// Whether the tree is not as the log has it, or bytes are lacking.
pub(super) fn is_pending(running: &Running, report: &VolumeReport, volume: &Volume) -> Result<bool> {
    // An engine without a node does not work on its trees, so it is never done with that.
    let works = running.net.is_some() && report.busy;
    let lags = !volume.stale(None, 1)?.is_empty();
    Ok(works || lags || !volume.missing(None, 1)?.is_empty())
}

/// What is known now: a peer counts as holding what the frontier covers that it announced last.
fn replicas(running: &Running, report: &VolumeReport, volume: &Volume) -> Result<Replicas> {
    let me = running.engine.peer();
    let known = running.net.is_some() || report.roster.members.keys().all(|peer| *peer == me);
    let target = report.roster.genesis.as_ref().map_or(1, |(_, replicas)| *replicas);
    let ours = volume.frontier();
    let holders = report.roster.members.iter().filter(|(peer, info)| **peer != me && info.holding != Holding::None);
    let told: Vec<&Frontier> = holders.filter_map(|(peer, _)| report.remote.get(peer)).collect();
    let complete = volume.missing(None, 1)?.is_empty();
    let enough = |covering: usize| covering + usize::from(complete) >= usize::from(target);
    if enough(told.iter().filter(|theirs| theirs.covers(&ours)).count()) {
        return Ok(Replicas { target, under: Under::default(), known });
    }
    let (mut before, mut oldest, mut seen) = (None, None, 0);
    'log: while seen < OLDEST_ENTRIES_MAX {
        let heads = volume.recent(before, PAGE)?;
        let Some(last) = heads.last() else { break };
        before = Some((last.time, last.log, last.seq));
        seen += heads.len();
        for head in heads {
            if enough(told.iter().filter(|theirs| theirs.seq(head.log) >= head.seq).count()) {
                break 'log;
            }
            oldest = Some(head.time);
        }
    }
    let now_ms = Timestamp::now().as_millisecond() as u64;
    let oldest_s = oldest.map_or(0, |time| now_ms.saturating_sub(time.ms()) / 1000);
    let under = Under { files: report.state.files, bytes: report.state.bytes, oldest_s };
    Ok(Replicas { target, under, known })
}
