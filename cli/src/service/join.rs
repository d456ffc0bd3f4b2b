//! Joining: make room for the volume, ask its members, wait until the tree is as they know it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use pfs_engine::EngineError;
use pfs_engine::model::entry;
use pfs_engine::model::ids::VolumeId;
use pfs_net::Ticket;

use super::peer::{Net, Peer, Running};
use super::status::is_pending;
use super::words::role;
use super::{errors, target, volumes};
use crate::api::service::{ErrorKind, OnProgress, Result, ServiceError};
use crate::api::types::{Holding, InitRequest, JoinRequest, Joined, Progress, Stage};

/// Between two looks at how far it has come.
const POLL: Duration = Duration::from_millis(50);
/// Nothing has moved for so long: nobody is there to bring the rest.
const PATIENCE: Duration = Duration::from_mins(1);

/// Becomes a member; returns when the tree is as the members know it.
pub(super) fn join(peer: &Peer, request: &JoinRequest, progress: OnProgress<'_>) -> Result<Joined> {
    let ticket = request.ticket.parse::<Ticket>()?;
    if request.holding == Holding::Share {
        let message = "there are no members that hold a share yet, all hold everything";
        return Err(ServiceError::new(ErrorKind::Usage, message).hint("leave --holding out"));
    }
    let name = match &request.name {
        Some(name) => volumes::checked_name("volume", name)?,
        None => &ticket.volume_name,
    };
    let (dir, made) = room(request, name)?;
    volumes::init(peer, &InitRequest { name: None })?;
    let running = peer.networked()?;
    let entered = enter(&running, &ticket, (name, &dir), request.holding);
    if entered.is_err() && made {
        // Nothing was put into it: the engine has taken its own things out again.
        let _ = fs::remove_dir(&dir);
    }
    entered?;
    wait(&running, ticket.volume, progress)?;
    joined(&running, ticket.volume)
}

/// The directory for the tree, made if it is not there; and whether it was made now.
fn room(request: &JoinRequest, name: &str) -> Result<(PathBuf, bool)> {
    let dir = match &request.dir {
        Some(dir) => PathBuf::from(OsStr::from_bytes(dir.as_bytes())),
        // The name comes from another peer: it must not lead anywhere else.
        None => Path::new(OsStr::from_bytes(request.cwd.as_bytes())).join(
            volumes::checked_name("directory", name)
                .map_err(|error| error.hint("say where the files shall be: `pfs join TICKET DIR`"))?,
        ),
    };
    if dir.exists() {
        return Ok((dir, false));
    }
    let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if name.parse::<Ticket>().is_ok() {
        return Err(ServiceError::new(ErrorKind::Usage, "the directory to join in is named by a ticket")
            .hint("one ticket joins one volume: `pfs join TICKET [DIR]`"));
    }
    fs::create_dir_all(&dir).map_err(|error| errors::io(format!("making {}: {error}", dir.display()), &error))?;
    Ok((dir, true))
}

/// Takes the volume up and becomes a member of it; if that fails, lets go of it again.
fn enter(running: &Running, ticket: &Ticket, (name, dir): (&str, &Path), holding: Holding) -> Result<()> {
    let engine = &running.engine;
    let known = engine.store().volumes().contains(&ticket.volume);
    let holding = match holding {
        Holding::All => entry::Holding::All,
        Holding::Share => entry::Holding::Share,
        Holding::None => entry::Holding::None,
    };
    engine.adopt(ticket.volume, name, dir, holding)?;
    let net = running.net.as_deref().ok_or_else(no_network)?;
    let Net { node, runtime } = net;
    let admitted = runtime.block_on(node.join(ticket, holding)).map_err(|error| errors::join(&error, &ticket.peers));
    if admitted.is_err() && !known {
        engine.untrack(ticket.volume)?;
    }
    admitted
}

fn no_network() -> ServiceError {
    ServiceError::new(ErrorKind::Failed, "this process has no network")
}

/// What moves while a join goes on.
#[derive(PartialEq, Eq)]
struct Moved {
    entries: u64,
    files: u64,
    bytes: u64,
    chunks: u64,
}

fn wait(running: &Running, id: VolumeId, progress: OnProgress<'_>) -> Result<()> {
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let reports = target::volumes(&running.engine)?;
        let report = reports.into_iter().find(|report| report.id == id);
        let report = report.ok_or_else(|| EngineError::NoVolume(id))?;
        if let Some(reason) = report.state.halted {
            return Err(EngineError::Halted { name: report.state.name, reason }.into());
        }
        let volume = running.engine.volume(id)?;
        let ours = volume.frontier();
        let is_member = report.roster.members.contains_key(&running.engine.peer());
        let caught_up = report.remote.values().any(|theirs| !theirs.0.is_empty() && ours.covers(theirs));
        if is_member && caught_up && !is_pending(running, &report, &volume)? {
            return Ok(());
        }
        let (files, bytes) = (report.state.files, report.state.bytes);
        progress(Progress { stage: Stage::Fetching, files, bytes, files_total: None, bytes_total: None });
        let received = running.node_peers().iter().map(|peer| peer.received_bytes / NOISE_BYTES).sum();
        let moved = Some(Moved { entries: ours.total(), files, bytes, chunks: received });
        if moved != last {
            (last, since) = (moved, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            return Err(stuck(running, &report.state.name, report.last_error));
        }
        thread::sleep(POLL);
    }
}

/// What an idle connection brings in `PATIENCE` is far below this.
const NOISE_BYTES: u64 = 64 << 10;

fn stuck(running: &Running, volume: &str, last_error: Option<String>) -> ServiceError {
    let here = running.node_peers().iter().filter(|peer| peer.connected).count();
    let why = match (last_error, here) {
        (Some(error), _) => error,
        (None, 0) => "no member is connected any more".to_owned(),
        (None, _) => "the members that are connected do not have the rest".to_owned(),
    };
    let message = format!("joined {volume}, but nothing has arrived for {} s: {why}", PATIENCE.as_secs());
    ServiceError::new(ErrorKind::Timeout, message)
        .hint("nothing is lost: `pfs daemon start` goes on where this ended, `pfs status` shows how far it is")
}

fn joined(running: &Running, id: VolumeId) -> Result<Joined> {
    let reports = target::volumes(&running.engine)?;
    let report = reports.into_iter().find(|report| report.id == id);
    let report = report.ok_or_else(|| EngineError::NoVolume(id))?;
    let own = report.roster.members.get(&running.engine.peer());
    Ok(Joined {
        volume: report.state.name.clone(),
        path: target::path_of(&report),
        role: role(own.map_or(report.state.role, |own| own.role)),
        files: report.state.files,
        bytes: report.state.bytes,
        kept: running.daemon.is_some(),
    })
}
