//! This peer and what it tracks: init, track, untrack, capture.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use pfs_engine::engine::OnProgress as EngineProgress;
use pfs_engine::handle::VolumeReport;
use pfs_engine::limits::CALLED_BYTES_MAX;
use pfs_engine::model::entry::Holding;
use pfs_engine::model::ids::{PeerId, VolumeId};
use pfs_engine::{Engine, EngineError, Problem as EngineProblem};

use super::peer::{Peer, Running};
use super::target;
use crate::api::service::{ErrorKind, OnProgress, Result, ServiceError};
use crate::api::types::{
    CaptureRequest, Captured, InitRequest, Initialised, Named, Problem, Progress, RawPath, Stage, TrackRequest,
    UntrackRequest, Untracked,
};
use crate::ui::human;

/// How many peers shall hold each content unless a volume says otherwise.
const REPLICAS: u8 = 2;

/// Creates this peer, or says which one there is.
pub(super) fn init(peer: &Peer, request: &InitRequest) -> Result<Initialised> {
    let name = match &request.name {
        Some(name) => checked_name("peer", name)?.to_owned(),
        None => host_name(),
    };
    let created = Engine::init(peer.home().dir(), &name)?;
    let engine = peer.running()?.engine;
    let has = engine.name()?;
    if request.name.as_ref().is_some_and(|wanted| *wanted != has) {
        let message = format!("this peer is called {has}: its name cannot be changed yet");
        return Err(ServiceError::new(ErrorKind::Usage, message)
            .hint("leave --name out to see who it is; another peer needs another --home"));
    }
    Ok(Initialised { id: engine.peer().to_string(), name: has, created })
}

/// Makes a directory a volume and captures it.
pub(super) fn track(peer: &Peer, request: &TrackRequest, progress: OnProgress<'_>) -> Result<Captured> {
    let dir = Path::new(OsStr::from_bytes(request.dir.as_bytes()));
    if dir.parent().is_none() {
        let message = "/ is the whole machine and cannot be a volume: this peer's own home is in it";
        return Err(ServiceError::new(ErrorKind::Refused, message)
            .hint("the home holds this peer's secret key: track the directories that are yours"));
    }
    let own = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = request.name.clone().or(own).unwrap_or_default();
    let name = checked_name("volume", &name).map_err(|error| error.hint("name it with --name"))?;
    init(peer, &InitRequest { name: None })?;
    let engine = peer.running()?.engine;
    let replicas = request.replicas.unwrap_or(REPLICAS);
    let (id, captured) = with_progress(&engine, Stage::Capturing, progress, |engine, told| {
        engine.track(dir, name, replicas, Some(told))
    })?;
    report(&engine, id, captured)
}

/// Forgets a volume; its files stay.
pub(super) fn untrack(running: &Running, request: &UntrackRequest) -> Result<Untracked> {
    let report = target::volume(&running.engine, &request.volume)?;
    let elsewhere = is_elsewhere(running, &report)?;
    if !request.force && report.state.patches > 0 && !elsewhere {
        return Err(out_of_reach(&report, others(running, &report).next().is_some()));
    }
    // Sessions come and go: what was true for the judgement is what is told.
    let shared = elsewhere || others(running, &report).any(|peer| running.shares(peer, report.id));
    running.engine.untrack(report.id)?;
    let path = target::path_of(&report).unwrap_or_default();
    Ok(Untracked { volume: target::named_volume(&report), path, shared })
}

/// The other members that hold anything.
fn others<'a>(running: &Running, report: &'a VolumeReport) -> impl Iterator<Item = PeerId> + 'a {
    let me = running.engine.peer();
    let members = report.roster.members.iter();
    members.filter(move |(peer, info)| **peer != me && info.holding != Holding::None).map(|(peer, _)| *peer)
}

/// Whether some other member has everything that is known here. What one said that is not connected may be true no
/// more, and who has let go of the volume does not say so: it only leaves it out of the next session.
fn is_elsewhere(running: &Running, report: &VolumeReport) -> Result<bool> {
    let ours = running.engine.volume(report.id)?.frontier();
    let has_all = |peer: &PeerId| report.remote.get(peer).is_some_and(|theirs| theirs.covers(&ours));
    Ok(others(running, report).any(|peer| has_all(&peer) && running.shares(peer, report.id)))
}

/// A volume goes with its history: nobody may lose that unawares.
fn out_of_reach(report: &VolumeReport, shared: bool) -> ServiceError {
    let (name, patches) = (&report.state.name, human::counted(report.state.patches, "patch", "patches"));
    let quoted = human::quoted(name.as_bytes());
    let (why, instead) = if shared {
        (
            "no other member is connected that is known to have all of it",
            "run the daemon until `pfs status` says synced".to_owned(),
        )
    } else {
        ("nobody else has it", format!("let somebody in with `pfs invite {quoted}`"))
    };
    let message = format!("untracking {name} would put its history ({patches}) out of reach: {why}");
    ServiceError::new(ErrorKind::Refused, message)
        .hint(format!("{instead}; or if that is meant: `pfs untrack {quoted} --force`, the files stay"))
}

/// Scans; returns when everything on disk is in the log.
pub(super) fn capture(running: &Running, request: &CaptureRequest, progress: OnProgress<'_>) -> Result<Vec<Captured>> {
    let engine = &running.engine;
    let mut all = Vec::new();
    for volume in target::some_volumes(engine, request.volume.as_deref())? {
        let captured = with_progress(engine, Stage::Capturing, progress, |engine, told| {
            if request.bring_back {
                engine.bring_back(volume.id, Some(told))
            } else if request.force {
                engine.capture_vouched(volume.id, Some(told))
            } else {
                engine.capture(volume.id, Some(told))
            }
        })?;
        all.push(report(engine, volume.id, captured)?);
    }
    Ok(all)
}

/// What people may call a peer or a volume: the latter goes before a `:` and becomes a directory.
pub(super) fn checked_name<'a>(of: &str, name: &'a str) -> Result<&'a str> {
    let wrong = |why: &str| Err(ServiceError::new(ErrorKind::Usage, format!("`{name}` cannot name a {of}: {why}")));
    match name {
        "" => wrong("it is empty"),
        "." | ".." | ".pfs" => wrong("it means something else"),
        _ if name.len() > CALLED_BYTES_MAX => wrong(&format!("it is longer than {CALLED_BYTES_MAX} bytes")),
        _ if name.contains(['/', ':']) => wrong("it holds a `/` or `:`"),
        _ if name.chars().any(char::is_control) => wrong("it holds control characters"),
        _ => Ok(name),
    }
}

/// Runs long work of the engine on a thread of its own and passes on what it tells.
fn with_progress<T: Send>(
    engine: &Engine,
    stage: Stage,
    progress: OnProgress<'_>,
    work: impl FnOnce(&Engine, EngineProgress) -> std::result::Result<T, EngineError> + Send,
) -> Result<T> {
    let (tell, told) = mpsc::channel();
    let tell: EngineProgress = Arc::new(move |done| {
        // Nobody listens only once the work is over.
        let _ = tell.send(done);
    });
    let done = thread::scope(|scope| {
        let worker = scope.spawn(|| work(engine, tell));
        for done in told {
            let (files, bytes, files_total) = (done.files, done.bytes, done.files_total);
            progress(Progress { stage, files, bytes, files_total, bytes_total: None });
        }
        worker.join()
    });
    let done = done.map_err(|_| ServiceError::new(ErrorKind::Failed, "the work ended by a fault in pfs"))?;
    Ok(done?)
}

fn report(engine: &Engine, id: VolumeId, captured: pfs_engine::Captured) -> Result<Captured> {
    let volume = engine.volume(id)?;
    let state = volume.state();
    let skipped = captured.problems.into_iter().map(|problem| skipped(&state.name, problem)).collect();
    Ok(Captured {
        volume: Named { id: id.to_string(), name: state.name },
        path: state.path.map(RawPath::from).unwrap_or_default(),
        files: state.files,
        bytes: state.bytes,
        patches: captured.patches,
        new_bytes: captured.bytes,
        skipped,
    })
}

fn skipped(volume: &str, problem: EngineProblem) -> Problem {
    Problem { volume: volume.to_owned(), path: RawPath::from(problem.path), reason: problem.why }
}

/// The machine's name without its domain.
fn host_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    let short = name.split('.').next().unwrap_or_default();
    checked_name("peer", short).map_or_else(|_| "peer".to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_paths_and_arguments() {
        for name in ["linux", "my photos", "café", "a.b", "...", &"x".repeat(CALLED_BYTES_MAX)] {
            assert_eq!(checked_name("volume", name), Ok(name));
        }
        for name in ["", ".", "..", ".pfs", "a/b", "a:b", "a\nb", "\u{1b}[31m", &"x".repeat(CALLED_BYTES_MAX + 1)] {
            assert_eq!(checked_name("volume", name).unwrap_err().kind, ErrorKind::Usage, "{name:?}");
        }
        assert!(checked_name("peer", &host_name()).is_ok());
    }
}
