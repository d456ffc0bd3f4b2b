//! The real service: one engine and, where peers are needed, one node, behind the `Service` trait.
//!
//! The engine opens with the first question that needs it, so that a home without a peer opens, too. Each theme
//! of the trait has a file here; `target` says what people mean, `errors` what went wrong in their words.

mod diff;
mod errors;
mod events;
mod forks;
#[cfg(test)]
mod fuzz;
mod gc;
mod history;
mod join;
mod members;
mod peer;
mod resolve;
mod restore;
mod status;
mod target;
#[cfg(test)]
mod tests;
mod verify;
mod volumes;
mod words;

use std::sync::Arc;

use crate::api::service::{OnProgress, Result, Service, Sink};
use crate::api::types::{
    CaptureRequest, Captured, CatRequest, Collected, DiffItem, DiffRequest, EventLine, EventsRequest, Fork,
    ForksRequest, GcRequest, InitRequest, Initialised, InviteRequest, Invited, JoinRequest, Joined, LogLine,
    LogRequest, LsLine, LsRequest, PeerAddress, PeerAddressRequest, PeerRemoveRequest, PeerRemoved, PeerStatus,
    PeersRequest, ResolveRequest, Resolved, RestoreRequest, Restored, ShowRequest, Shown, Status, StatusRequest,
    TrackRequest, UntrackRequest, Untracked, Verified, VerifyRequest,
};
use crate::connect::Purpose;
use crate::home::Home;
use peer::Peer;

/// Opens the service of a home, whose lock the caller holds.
pub(crate) fn open(home: &Home, purpose: &Purpose) -> Result<Arc<dyn Service>> {
    let peer = Arc::new(Peer::new(home, purpose));
    if matches!(purpose, Purpose::Daemon { .. }) {
        volumes::init(&peer, &InitRequest { name: None })?;
        peer.networked()?;
        let started = peer.keep_open().and_then(|()| gc::keep_lean(&peer));
        started.map_err(|error| errors::io(format!("starting a thread: {error}"), &error))?;
    }
    Ok(peer)
}

impl Service for Peer {
    fn init(&self, request: &InitRequest) -> Result<Initialised> {
        volumes::init(self, request)
    }

    fn track(&self, request: &TrackRequest, progress: OnProgress<'_>) -> Result<Captured> {
        volumes::track(self, request, progress)
    }

    fn untrack(&self, request: &UntrackRequest) -> Result<Untracked> {
        volumes::untrack(&self.running()?, request)
    }

    fn capture(&self, request: &CaptureRequest, progress: OnProgress<'_>) -> Result<Vec<Captured>> {
        volumes::capture(&self.running()?, request, progress)
    }

    fn status(&self, request: &StatusRequest) -> Result<Status> {
        status::status(&self.running()?, request)
    }

    fn log(&self, request: &LogRequest, each: Sink<'_, LogLine>) -> Result<()> {
        history::log(&self.running()?, request, each)
    }

    fn show(&self, request: &ShowRequest) -> Result<Shown> {
        words::show(&self.running()?, request)
    }

    fn cat(&self, request: &CatRequest, each: Sink<'_, Vec<u8>>) -> Result<()> {
        history::cat(&self.running()?, request, each)
    }

    fn ls(&self, request: &LsRequest, each: Sink<'_, LsLine>) -> Result<()> {
        history::ls(&self.running()?, request, each)
    }

    fn diff(&self, request: &DiffRequest, each: Sink<'_, DiffItem>) -> Result<()> {
        diff::diff(&self.running()?, request, each)
    }

    fn forks(&self, request: &ForksRequest) -> Result<Vec<Fork>> {
        forks::forks(&self.running()?, request)
    }

    fn resolve(&self, request: &ResolveRequest) -> Result<Resolved> {
        Ok(resolve::resolve(&self.running()?, request))
    }

    fn restore(&self, request: &RestoreRequest) -> Result<Restored> {
        restore::restore(&self.running()?, request)
    }

    fn invite(&self, request: &InviteRequest) -> Result<Invited> {
        members::invite(&self.running()?, request)
    }

    fn join(&self, request: &JoinRequest, progress: OnProgress<'_>) -> Result<Joined> {
        join::join(self, request, progress)
    }

    fn peers(&self, request: &PeersRequest) -> Result<Vec<PeerStatus>> {
        members::peers(&self.running()?, request.volume.as_deref())
    }

    fn peer_remove(&self, request: &PeerRemoveRequest) -> Result<PeerRemoved> {
        members::remove(&self.running()?, request)
    }

    fn peer_address(&self, request: &PeerAddressRequest) -> Result<PeerAddress> {
        members::address(&self.running()?, request)
    }

    fn verify(&self, request: &VerifyRequest, progress: OnProgress<'_>) -> Result<Verified> {
        verify::verify(&self.running()?, request, progress)
    }

    fn gc(&self, request: &GcRequest) -> Result<Collected> {
        gc::gc(&self.running()?, request)
    }

    fn events(&self, request: &EventsRequest, each: Sink<'_, EventLine>) -> Result<()> {
        events::events(self, request, each)
    }

    fn stopping(&self) {
        self.bell().stop();
    }

    fn shutdown(&self) -> Result<()> {
        self.close();
        Ok(())
    }
}
