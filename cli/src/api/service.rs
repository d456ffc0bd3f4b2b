//! What can be asked of a peer. Three things answer: the real service over engine and network, the API
//! client, which passes the question on, and the tests' fake.
//!
//! Every method blocks until it is answered. Lists and long work go through callbacks, so that nothing is
//! collected that can be handed on.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::types::{
    CaptureRequest, Captured, CatRequest, Collected, DiffItem, DiffRequest, EventLine, EventsRequest, Fork,
    ForksRequest, GcRequest, InitRequest, Initialised, InviteRequest, Invited, JoinRequest, Joined, LogLine,
    LogRequest, LsLine, LsRequest, PeerAddress, PeerAddressRequest, PeerRemoveRequest, PeerRemoved, PeerStatus,
    PeersRequest, Progress, ResolveRequest, Resolved, RestoreRequest, Restored, ShowRequest, Shown, Status,
    StatusRequest, TrackRequest, UntrackRequest, Untracked, Verified, VerifyRequest,
};

/// Takes a list item by item; breaks when nobody listens any more, upon which the method returns `Ok` early.
pub(crate) type Sink<'a, T> = &'a mut (dyn FnMut(T) -> ControlFlow<()> + Send);

/// Told how far long work has come, as often as the work likes. The work goes on whether or not anybody listens.
pub(crate) type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// What every method may fail with.
pub(crate) type Result<T> = std::result::Result<T, ServiceError>;

/// One peer, as its people see it.
///
/// Where the home holds no peer yet, `init`, `track` and `join` make one and everything else is `NotFound`.
pub(crate) trait Service: Send + Sync {
    /// Creates this peer, or says which one there is.
    fn init(&self, request: &InitRequest) -> Result<Initialised>;
    /// Makes a directory a volume and captures it.
    fn track(&self, request: &TrackRequest, progress: OnProgress<'_>) -> Result<Captured>;
    /// Forgets a volume; its files stay.
    fn untrack(&self, request: &UntrackRequest) -> Result<Untracked>;
    /// Scans; returns when everything on disk is in the log. One result a volume.
    fn capture(&self, request: &CaptureRequest, progress: OnProgress<'_>) -> Result<Vec<Captured>>;
    /// Volumes, peers, forks, exposure, jobs.
    fn status(&self, request: &StatusRequest) -> Result<Status>;
    /// History, newest first.
    fn log(&self, request: &LogRequest, each: Sink<'_, LogLine>) -> Result<()>;
    /// One patch.
    fn show(&self, request: &ShowRequest) -> Result<Shown>;
    /// The bytes of any version, in order, in pieces of at most a chunk.
    fn cat(&self, request: &CatRequest, each: Sink<'_, Vec<u8>>) -> Result<()>;
    /// A directory's names in order (depth first, where recursive), or the one line of a file.
    fn ls(&self, request: &LsRequest, each: Sink<'_, LsLine>) -> Result<()>;
    /// How versions, trees or the sides of a fork differ.
    fn diff(&self, request: &DiffRequest, each: Sink<'_, DiffItem>) -> Result<()>;
    /// Open forks, by volume and path.
    fn forks(&self, request: &ForksRequest) -> Result<Vec<Fork>>;
    /// Closes forks.
    fn resolve(&self, request: &ResolveRequest) -> Result<Resolved>;
    /// Makes a path what it was, by new patches.
    fn restore(&self, request: &RestoreRequest) -> Result<Restored>;
    /// Opens an invite.
    fn invite(&self, request: &InviteRequest) -> Result<Invited>;
    /// Becomes a member; returns when the tree is as the members know it.
    fn join(&self, request: &JoinRequest, progress: OnProgress<'_>) -> Result<Joined>;
    /// The other members.
    fn peers(&self, request: &PeersRequest) -> Result<Vec<PeerStatus>>;
    /// Ends a peer's membership.
    fn peer_remove(&self, request: &PeerRemoveRequest) -> Result<PeerRemoved>;
    /// Says where a peer can be reached.
    fn peer_address(&self, request: &PeerAddressRequest) -> Result<PeerAddress>;
    /// Re-hashes what is stored.
    fn verify(&self, request: &VerifyRequest, progress: OnProgress<'_>) -> Result<Verified>;
    /// Lets go of old versions.
    fn gc(&self, request: &GcRequest) -> Result<Collected>;
    /// Hands over what happens from now on, until nobody listens or the peer stops.
    fn events(&self, request: &EventsRequest, each: Sink<'_, EventLine>) -> Result<()>;
    /// The peer is about to stop: what only waits for more to happen is to end.
    fn stopping(&self) {}
    /// Ends sessions, makes everything durable and closes the store. Nothing is asked afterwards.
    fn shutdown(&self) -> Result<()>;
}

/// What kind of failure, as far as callers act differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorKind {
    /// No such path, peer, patch or volume.
    NotFound,
    /// Refused to protect data.
    Refused,
    /// What was asked makes no sense.
    Usage,
    /// Not done within its time.
    Timeout,
    /// Anything else.
    Failed,
}

/// Why something was not done: `message` says what failed, on what and why; `hint` what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ServiceError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl ServiceError {
    /// Without a hint.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// With what to do next.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}
