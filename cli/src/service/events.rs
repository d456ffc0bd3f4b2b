//! What happens, as it happens, for those who wait for it: a desktop that tells its user, a script.
//!
//! A listener looks whenever something has happened, and is told how that differs from its last look. So nothing
//! piles up for one that is slow: it holds up only itself, and what came and went meanwhile it never hears of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use pfs_engine::model::ids::{PeerId, VolumeId};
use pfs_engine::model::view::Fork;
use pfs_engine::query;

use super::forks::path_of;
use super::history::raw;
use super::peer::{Peer, Running};
use super::{status, target, words};
use crate::api::service::{ErrorKind, Result, ServiceError, Sink};
use crate::api::types::{EventKind, EventLine, EventsRequest, Named, RawPath, VolumeState, WallTime};

/// Each holds a thread.
const LISTENERS_MAX: usize = 16;
/// Connections come and go without the engine's knowledge: so often is looked for them.
const LOOK: Duration = Duration::from_secs(1);

/// What happens in quick succession is looked at once.
const PAUSE: Duration = Duration::from_millis(200);

/// Tells those who wait that something happened.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
    listeners: AtomicUsize,
}

#[derive(Default)]
struct Rung {
    times: u64,
    stopped: bool,
}

impl Bell {
    /// Something happened. Never blocks for long: the engine's own thread calls it.
    pub(super) fn ring(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).times += 1;
        self.changed.notify_all();
    }

    /// Nothing more will be told.
    pub(super) fn stop(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.changed.notify_all();
    }

    /// Waits until it has been rung more often than `heard`, or for a while; nothing once it has stopped.
    fn wait(&self, heard: u64) -> Option<u64> {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |rung: &mut Rung| rung.times == heard && !rung.stopped;
        let waited = self.changed.wait_timeout_while(rung, LOOK, quiet);
        let (rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!rung.stopped).then_some(rung.times)
    }
}

/// One who listens.
struct Seat<'a>(&'a Bell);

impl<'a> Seat<'a> {
    fn take(bell: &'a Bell) -> Result<Self> {
        if bell.listeners.fetch_add(1, Ordering::AcqRel) < LISTENERS_MAX {
            return Ok(Self(bell));
        }
        drop(Self(bell));
        Err(ServiceError::new(ErrorKind::Failed, format!("{LISTENERS_MAX} listen to events already"))
            .hint("end one of them"))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Hands over what happens until nobody listens.
pub(super) fn events(peer: &Peer, request: &EventsRequest, each: Sink<'_, EventLine>) -> Result<()> {
    let running = peer.running()?;
    if running.daemon.is_none() {
        return Err(ServiceError::new(ErrorKind::Failed, "nothing happens here: no daemon runs")
            .hint("`pfs daemon start` starts one"));
    }
    let only = request.volume.as_deref().map(|text| target::volume(&running.engine, text)).transpose()?;
    let only = only.map(|report| report.id);
    let _seat = Seat::take(peer.bell())?;
    let mut before = Look::take(&running, only)?;
    drop(running);
    if each(event(EventKind::Listening, None)).is_break() {
        return Ok(());
    }
    let mut heard = 0;
    while let Some(rung) = peer.bell().wait(heard) {
        heard = rung;
        thread::sleep(PAUSE);
        let after = Look::take(&peer.running()?, only)?;
        for told in before.until(&after) {
            if each(told).is_break() {
                return Ok(());
            }
        }
        before = after;
    }
    Ok(())
}

fn event(kind: EventKind, volume: Option<&str>) -> EventLine {
    let time = WallTime(Timestamp::now());
    EventLine { time, kind, volume: volume.map(str::to_owned), path: None, fork: None, peer: None, reason: None }
}

/// How it stands.
struct Look {
    volumes: BTreeMap<VolumeId, Stand>,
    peers: BTreeMap<PeerId, String>,
}

/// How a volume stands.
struct Stand {
    name: String,
    forks: BTreeMap<Fork, RawPath>,
    halted: Option<String>,
    is_synced: bool,
}

impl Look {
    fn take(running: &Running, only: Option<VolumeId>) -> Result<Self> {
        let (mut volumes, mut members) = (BTreeMap::new(), BTreeSet::new());
        for report in target::volumes(&running.engine)? {
            if only.is_some_and(|only| only != report.id) {
                continue;
            }
            let volume = running.engine.volume(report.id)?;
            let forks = query::forks(&volume)?.into_iter().map(|fork| (fork.fork.clone(), raw(&path_of(&fork))));
            let is_synced = status::state(running, &report, &volume)? == VolumeState::Synced;
            members.extend(report.roster.members.keys().copied());
            let (name, halted) = (report.state.name.clone(), report.state.halted.clone());
            volumes.insert(report.id, Stand { name, forks: forks.collect(), halted, is_synced });
        }
        let peers = running.node_peers().into_iter().filter(|peer| peer.connected && members.contains(&peer.peer));
        Ok(Self { volumes, peers: peers.map(|peer| (peer.peer, peer.name)).collect() })
    }

    /// What happened between this look and a later one.
    fn until(&self, later: &Self) -> Vec<EventLine> {
        let mut told = Vec::new();
        for (id, now) in &later.volumes {
            if let Some(was) = self.volumes.get(id) {
                told.extend(was.until(now));
            }
        }
        let named = |(id, name): (&PeerId, &String)| Named { id: id.to_string(), name: name.clone() };
        let gone = self.peers.iter().filter(|(id, _)| !later.peers.contains_key(id));
        let came = later.peers.iter().filter(|(id, _)| !self.peers.contains_key(id));
        let of = |kind, peer| EventLine { peer: Some(named(peer)), ..event(kind, None) };
        told.extend(gone.map(|peer| of(EventKind::PeerDown, peer)));
        told.extend(came.map(|peer| of(EventKind::PeerUp, peer)));
        told
    }
}

impl Stand {
    fn until(&self, now: &Self) -> Vec<EventLine> {
        let of = |kind| event(kind, Some(&now.name));
        let about = |kind, (fork, path): (&Fork, &RawPath)| EventLine {
            path: Some(path.clone()),
            fork: Some(words::fork_kind(fork.kind)),
            ..of(kind)
        };
        let mut told = Vec::new();
        let closed = self.forks.iter().filter(|(fork, _)| !now.forks.contains_key(fork));
        let opened = now.forks.iter().filter(|(fork, _)| !self.forks.contains_key(fork));
        told.extend(closed.map(|fork| about(EventKind::ForkClosed, fork)));
        told.extend(opened.map(|fork| about(EventKind::ForkOpened, fork)));
        match (&self.halted, &now.halted) {
            (None, Some(reason)) => told.push(EventLine { reason: Some(reason.clone()), ..of(EventKind::Halted) }),
            (Some(_), None) => told.push(of(EventKind::Resumed)),
            _ => {}
        }
        if now.is_synced && !self.is_synced {
            told.push(of(EventKind::Synced));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_that_was_rung_before_is_heard() {
        let bell = Bell::default();
        bell.ring();
        assert_eq!(bell.wait(0), Some(1));
        bell.stop();
        assert_eq!(bell.wait(1), None, "nobody waits for a daemon that stops");
    }

    #[test]
    fn there_are_so_many_seats() {
        let bell = Bell::default();
        let mut seats: Vec<_> = (0..LISTENERS_MAX).map(|_| Seat::take(&bell).unwrap()).collect();
        assert!(Seat::take(&bell).is_err());
        seats.pop();
        assert!(Seat::take(&bell).is_ok());
    }

    #[test]
    fn only_what_is_otherwise_is_told() {
        let stand = |halted: Option<&str>, is_synced| Stand {
            name: "v".to_owned(),
            forks: BTreeMap::new(),
            halted: halted.map(str::to_owned),
            is_synced,
        };
        let table = [
            (stand(None, true), stand(None, true), &[][..]),
            (stand(None, true), stand(Some("why"), false), &[EventKind::Halted]),
            (stand(Some("why"), false), stand(None, true), &[EventKind::Resumed, EventKind::Synced]),
            (stand(Some("why"), false), stand(Some("other"), false), &[]),
        ];
        for (was, now, kinds) in table {
            assert!(was.until(&now).iter().map(|event| event.kind).eq(kinds.iter().copied()));
        }
    }
}
