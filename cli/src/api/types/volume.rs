//! This peer and its volumes: init, track, untrack, capture, status, verify.

use serde::{Deserialize, Serialize};

use super::{ForkKind, Holding, Named, PeerStatus, Problem, RawPath, Role, Target, WallTime};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitRequest {
    /// None: the machine's host name, or the name that the peer already has.
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Initialised {
    pub(crate) id: String,
    pub(crate) name: String,
    /// False where there was a peer already.
    pub(crate) created: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrackRequest {
    /// Absolute.
    pub(crate) dir: RawPath,
    /// None: the directory's own name.
    pub(crate) name: Option<String>,
    /// None: as the engine sets it.
    pub(crate) replicas: Option<u8>,
}

/// What one capture of one volume found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Captured {
    pub(crate) volume: Named,
    pub(crate) path: RawPath,
    /// In the volume now.
    pub(crate) files: u64,
    /// In the volume now.
    pub(crate) bytes: u64,
    /// Made by this capture.
    pub(crate) patches: u64,
    /// Stored by this capture.
    pub(crate) new_bytes: u64,
    /// Reported and not carried.
    pub(crate) skipped: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UntrackRequest {
    /// Name, id or unique id prefix.
    pub(crate) volume: String,
    /// Also where no other peer is known to have its history.
    #[serde(default)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Untracked {
    pub(crate) volume: Named,
    pub(crate) path: RawPath,
    /// Whether another member is connected that has it, by whom it can be joined again.
    pub(crate) shared: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CaptureRequest {
    /// Name, id or unique id prefix; none: all.
    pub(crate) volume: Option<String>,
    /// Somebody vouches for what the disk shows, where the volume is halted.
    #[serde(default)]
    pub(crate) force: bool,
    /// What is gone is brought back from the history.
    #[serde(default)]
    pub(crate) bring_back: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusRequest {
    pub(crate) target: Option<Target>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) peer: ThisPeer,
    /// None where the command serves itself.
    pub(crate) daemon: Option<DaemonInfo>,
    pub(crate) volumes: Vec<VolumeStatus>,
    /// The other members of these volumes.
    pub(crate) peers: Vec<PeerStatus>,
    pub(crate) jobs: Jobs,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThisPeer {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Of the program.
    pub(crate) version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DaemonInfo {
    pub(crate) pid: u32,
    /// `address:port` as bound.
    pub(crate) listen: String,
    pub(crate) since: WallTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeStatus {
    pub(crate) id: String,
    pub(crate) name: String,
    /// None where this peer keeps no tree of it.
    pub(crate) path: Option<RawPath>,
    pub(crate) role: Role,
    pub(crate) holding: Holding,
    pub(crate) state: VolumeState,
    /// Why, where it is halted.
    pub(crate) reason: Option<String>,
    /// What stands in the way of work that is tried again by itself.
    pub(crate) problem: Option<String>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) patches: u64,
    pub(crate) forks: u64,
    /// Things in the tree that are not carried, as a daemon last saw it.
    pub(crate) skipped: u64,
    pub(crate) replicas: Replicas,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VolumeState {
    Capturing,
    Syncing,
    Synced,
    /// No peer is connected.
    Waiting,
    /// Needs a person; `reason` says why.
    Halted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replicas {
    pub(crate) target: u8,
    /// What fewer peers hold than that, as far as it is known.
    pub(crate) under: Under,
    /// Whether it is known what the other members hold: only while a daemon runs here, or if there are none.
    pub(crate) known: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Under {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Age of the oldest, seconds.
    pub(crate) oldest_s: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Jobs {
    pub(crate) queued: u64,
    pub(crate) active: u64,
    pub(crate) failed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerifyRequest {
    /// Name, id or unique id prefix; none: all.
    pub(crate) volume: Option<String>,
    /// Whether to heal from other peers.
    pub(crate) repair: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verified {
    /// Checked.
    pub(crate) chunks: u64,
    /// Checked.
    pub(crate) bytes: u64,
    /// Healed from other peers.
    pub(crate) repaired: u64,
    /// Files that were damaged and are well now.
    #[serde(default)]
    pub(crate) healed: Vec<HealedFile>,
    /// What is still damaged or missing.
    pub(crate) damaged: Vec<Problem>,
}

/// A file whose bytes are right again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealedFile {
    /// The volume's name.
    pub(crate) volume: String,
    pub(crate) path: RawPath,
    /// Where the wrong bytes are, that were in its place in the tree; none where what was stored was damaged.
    #[serde(default)]
    pub(crate) kept: Option<RawPath>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventsRequest {
    /// Name, id or unique id prefix; none: all.
    pub(crate) volume: Option<String>,
}

/// Something that a person may want to be told at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventLine {
    pub(crate) time: WallTime,
    pub(crate) kind: EventKind,
    /// The volume's name; none of what is about no volume.
    pub(crate) volume: Option<String>,
    /// Of the fork.
    pub(crate) path: Option<RawPath>,
    /// Of the fork.
    pub(crate) fork: Option<ForkKind>,
    pub(crate) peer: Option<Named>,
    /// Why it is halted.
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventKind {
    /// From now on is told what happens.
    Listening,
    ForkOpened,
    ForkClosed,
    /// A volume stands still and needs a person.
    Halted,
    /// It goes on.
    Resumed,
    /// All connected members have the same, and so has the tree.
    Synced,
    PeerUp,
    PeerDown,
}
