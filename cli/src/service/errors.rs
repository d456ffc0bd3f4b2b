//! Failures in people's words: what failed, on what and why; and what to do next.

use std::error::Error;
use std::io;

use pfs_engine::EngineError;
use pfs_engine::disk::DiskError;
use pfs_engine::model::facts::Unreadable;
use pfs_engine::model::view::ForkKind;
use pfs_engine::plan::resolve::ResolveError;
use pfs_engine::plan::restore::RestoreError;
use pfs_engine::store::StoreError;
use pfs_net::proto::message::Refusal;
use pfs_net::{JoinError, TicketError, TicketPeer};

use crate::api::service::{ErrorKind, ServiceError};
use crate::error::io_hint;
use crate::ui::human::quoted;

/// Files that go one by one are deletes like any others until nothing is left.
const BEFORE_IT_HALTED: &str = "nothing more is spread; what was deleted before pfs saw it as one has gone out \
                                as deletes and is in the history (`pfs log`, `pfs cat --at`)";

/// The ways on for a volume that stands still for what is gone from its tree.
pub(super) fn ways_on(volume: &str) -> String {
    let name = quoted(volume.as_bytes());
    format!("if that was meant: `pfs capture {name} --force`; to have it back: `pfs capture {name} --bring-back`")
}

fn failure(kind: ErrorKind, message: impl Into<String>, hint: &str) -> ServiceError {
    ServiceError::new(kind, message).hint(hint)
}

/// An error with all that caused it.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        // Transparent errors say the same again.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// What an error comes from in the end, without what others say about it.
pub(super) fn cause(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

impl From<EngineError> for ServiceError {
    fn from(error: EngineError) -> Self {
        engine(error)
    }
}

impl From<Unreadable> for ServiceError {
    fn from(error: Unreadable) -> Self {
        engine(error.into())
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        store(&error)
    }
}

impl From<TicketError> for ServiceError {
    fn from(error: TicketError) -> Self {
        failure(ErrorKind::Usage, error.to_string(), "`pfs invite VOLUME` on a member's machine prints one")
    }
}

fn engine(error: EngineError) -> ServiceError {
    let text = error.to_string();
    match error {
        EngineError::NoPeer(home) => failure(
            ErrorKind::NotFound,
            format!("there is no peer in {}", home.display()),
            "`pfs track DIR` makes one and its first volume, `pfs join TICKET` joins another's",
        ),
        EngineError::NoVolume(_) => failure(ErrorKind::NotFound, text, "`pfs status` lists the volumes"),
        EngineError::Tracked { .. } => failure(ErrorKind::Usage, text, "`pfs status` shows it"),
        EngineError::Nested { .. } => failure(
            ErrorKind::Refused,
            text,
            "track directories beside each other; `pfs untrack VOLUME` ends the other one, its files stay",
        ),
        EngineError::AroundHome { .. } => failure(
            ErrorKind::Refused,
            text,
            "the home holds this peer's secret key: keep it elsewhere with --home, or track a directory without it",
        ),
        EngineError::KeyLost(_) | EngineError::KeyDamaged { .. } => failure(
            ErrorKind::Failed,
            text,
            "put the file `key` back from a copy; without one, join the volumes anew with another --home",
        ),
        EngineError::NameTaken(_) => failure(ErrorKind::Usage, text, "give this one another name here with --name"),
        EngineError::NotADirectory(_) => failure(ErrorKind::Usage, text, "name a directory"),
        EngineError::Halted { ref name, .. } => ServiceError::new(ErrorKind::Refused, text).hint(format!(
            "{BEFORE_IT_HALTED}; if its disk is not mounted, mount it and run the command again; if the directory is \
             the right one and only lost its marker: `pfs capture {} --force`",
            quoted(name.as_bytes())
        )),
        EngineError::Emptied { ref name } | EngineError::Lost { ref name, .. } => {
            let again = format!("put it back and run `pfs capture {}`", quoted(name.as_bytes()));
            ServiceError::new(ErrorKind::Refused, text)
                .hint(format!("{BEFORE_IT_HALTED}; {again}, or {}", ways_on(name)))
        }
        EngineError::NoPath(_) => {
            failure(ErrorKind::NotFound, text, "`pfs ls` shows what is there, `pfs log` what was")
        }
        EngineError::NoPatch(_) => failure(ErrorKind::NotFound, text, "`pfs log` lists patches"),
        EngineError::NotHeld(_) => failure(
            ErrorKind::Failed,
            text,
            "it comes from the other members: `pfs status` shows whether a daemon runs and who is connected",
        ),
        EngineError::Ambiguous(_) => failure(ErrorKind::Usage, text, "give more digits"),
        EngineError::NoBytes(_) => {
            failure(ErrorKind::Usage, text, "it made or deleted a directory, or only moved something")
        }
        EngineError::NoFork(_) => failure(ErrorKind::NotFound, text, "`pfs forks` lists the open forks"),
        EngineError::Resolve(error) => unsettled(&error),
        EngineError::Restore(error) => not_restored(&error),
        EngineError::Name(_) => ServiceError::new(ErrorKind::Usage, text),
        EngineError::NotAllowed(_) => failure(ErrorKind::Refused, text, "`pfs peers` shows what the members may do"),
        EngineError::Clock { .. } => failure(ErrorKind::Failed, text, "set the clocks of the machines"),
        EngineError::Closed => failure(ErrorKind::Failed, text, "if this was no shutdown, restart and look at the log"),
        EngineError::Disk(error) => disk(error),
        EngineError::Store(error) => store(&error),
        other => ServiceError::new(ErrorKind::Failed, chain(&other)),
    }
}

/// Why a choice does not settle a fork.
fn unsettled(error: &ResolveError) -> ServiceError {
    let text = error.to_string();
    match error {
        ResolveError::NotOpen => failure(ErrorKind::NotFound, text, "`pfs forks` lists the open forks"),
        ResolveError::NoSide(_) => failure(ErrorKind::NotFound, text, "`pfs forks` shows the sides and their ids"),
        ResolveError::NotShown | ResolveError::Several(_) => {
            failure(ErrorKind::Usage, text, "name one with --take PATCH: `pfs forks` shows the sides and their ids")
        }
        ResolveError::NotBoth(ForkKind::Delete) => {
            failure(ErrorKind::Refused, text, "what fits: --take PATCH, --ours, --theirs, --newest, --delete")
        }
        ResolveError::Changed => failure(ErrorKind::Failed, text, "look at it with `pfs forks`, then run it again"),
        ResolveError::NotBoth(_) | ResolveError::NotDelete(_) | ResolveError::NotWith(_) => {
            failure(ErrorKind::Refused, text, "what fits: --take PATCH, --ours, --theirs, --newest")
        }
        _ => ServiceError::new(ErrorKind::Failed, chain(error)),
    }
}

/// Why nothing is brought back.
fn not_restored(error: &RestoreError) -> ServiceError {
    let text = error.to_string();
    match error {
        RestoreError::NothingThen => failure(ErrorKind::NotFound, text, "`pfs log PATH` shows when it was"),
        RestoreError::Taken(_) => failure(ErrorKind::Refused, text, "name a path with --to where nothing is"),
        RestoreError::InTheWay(_) => {
            failure(ErrorKind::Refused, text, "restore that path itself, or name another one with --to")
        }
        RestoreError::Cycle => {
            failure(ErrorKind::Refused, text, "restore the directories one by one, or to a later time")
        }
        RestoreError::Unattainable(_) => failure(
            ErrorKind::Refused,
            text,
            "settle the forks there first (`pfs forks`), or make a copy with --to; nothing was changed",
        ),
        _ => ServiceError::new(ErrorKind::Failed, chain(error)),
    }
}

/// What the file system refused.
fn disk(error: DiskError) -> ServiceError {
    let text = error.to_string();
    match error {
        DiskError::Absent { .. } => ServiceError::new(ErrorKind::NotFound, text),
        DiskError::Io { source, .. } => io(text, &source),
        DiskError::Marker { .. } => failure(
            ErrorKind::Refused,
            text,
            "mount it; if the directory was replaced on purpose, `pfs untrack` the volume and track or join it anew",
        ),
        DiskError::Tracked { .. } => failure(
            ErrorKind::Refused,
            text,
            "another peer's home tracks it, or did: only if that peer is no more, remove `.pfs` in it and try again",
        ),
        DiskError::Busy { .. } => failure(ErrorKind::Timeout, text, "wait until it is done, or stop it"),
        _ => ServiceError::new(ErrorKind::Failed, text),
    }
}

fn store(error: &StoreError) -> ServiceError {
    let text = chain(error);
    let (kind, hint) = match error {
        StoreError::Locked { .. } => (ErrorKind::Timeout, "another program has it open: wait until it is done"),
        StoreError::Format { .. } => (ErrorKind::Failed, "use the version of pfs that wrote it, or a newer one"),
        StoreError::Corrupt { .. } | StoreError::Gone { .. } => (
            ErrorKind::Failed,
            "no tracked file was touched; keep the home for a look, join the volumes anew with another --home",
        ),
        StoreError::Full | StoreError::Poisoned { .. } => (
            ErrorKind::Failed,
            "make room on the disk of --home, 32 MB at least: a daemon then goes on by itself, \
             without one run the command again",
        ),
        _ => return ServiceError::new(ErrorKind::Failed, text),
    };
    failure(kind, text, hint)
}

/// What the system refused.
pub(super) fn io(text: String, source: &io::Error) -> ServiceError {
    let kind = match source.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::NotADirectory => ErrorKind::Usage,
        _ => ErrorKind::Failed,
    };
    match io_hint(source.kind()) {
        Some(hint) => failure(kind, text, hint),
        None => ServiceError::new(kind, text),
    }
}

/// Why the members did not let this peer in.
pub(super) fn join(error: &JoinError, asked: &[TicketPeer]) -> ServiceError {
    let text = chain(error);
    match error {
        JoinError::Unreachable { .. } => {
            let names: Vec<_> = asked.iter().map(|peer| peer.name.as_str()).collect();
            let hint = format!(
                "look whether a daemon runs on {} (`pfs daemon start`), whether both machines are on one network, \
                 and whether a firewall blocks UDP on that port",
                names.join(" or ")
            );
            ServiceError::new(ErrorKind::Failed, text).hint(hint)
        }
        JoinError::WrongKey { .. } => failure(
            ErrorKind::Refused,
            text,
            "the ticket may be old, or somebody else has the address: get a new ticket",
        ),
        JoinError::Refused { refusal, .. } => {
            let (kind, hint) = match refusal {
                Refusal::Unknown => (
                    ErrorKind::NotFound,
                    "if the ticket is fresh, the member that answered has not heard of it yet: try again soon",
                ),
                Refusal::Expired => (ErrorKind::Failed, "ask for a new ticket: `pfs invite VOLUME`"),
                Refusal::UsedUp => (ErrorKind::Failed, "each ticket is good for one peer unless made with --uses N"),
                Refusal::Removed => (ErrorKind::Refused, "join as another peer, with another --home"),
                _ => (ErrorKind::Failed, "try again; the daemon's log on the other machine says why"),
            };
            failure(kind, text, hint)
        }
        _ => ServiceError::new(ErrorKind::Failed, text),
    }
}
