//! Members: invite, join, peers.

use serde::{Deserialize, Serialize};

use super::{Holding, Named, RawPath, Role, WallTime};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InviteRequest {
    /// Name, id or unique id prefix.
    pub(crate) volume: String,
    pub(crate) role: Role,
    pub(crate) expires: WallTime,
    pub(crate) uses: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invited {
    /// Secret: whoever has it can join.
    pub(crate) ticket: String,
    pub(crate) expires: WallTime,
    /// The volume's name.
    pub(crate) volume: String,
    pub(crate) role: Role,
    pub(crate) uses: u32,
    /// Whether a daemon runs here, which can let somebody in.
    pub(crate) listening: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    pub(crate) ticket: String,
    /// Absolute; none: a directory of the volume's name here in `cwd`.
    pub(crate) dir: Option<RawPath>,
    /// Absolute.
    pub(crate) cwd: RawPath,
    /// What the volume is called here; none: as its members call it.
    #[serde(default)]
    pub(crate) name: Option<String>,
    pub(crate) holding: Holding,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Joined {
    /// The volume's name.
    pub(crate) volume: String,
    /// None where the role has no tree.
    pub(crate) path: Option<RawPath>,
    pub(crate) role: Role,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Whether a daemon keeps it in step from now on.
    pub(crate) kept: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeersRequest {
    /// Name, id or unique id prefix; none: all.
    pub(crate) volume: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRemoveRequest {
    /// Name, id or unique id prefix.
    pub(crate) peer: String,
    /// Name, id or unique id prefix; none: from every volume that both are members of.
    pub(crate) volume: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRemoved {
    pub(crate) peer: Named,
    /// Names of the volumes that it is no member of any more.
    pub(crate) volumes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerAddressRequest {
    /// Name, id or unique id prefix.
    pub(crate) peer: String,
    /// `host:port`.
    pub(crate) address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerAddress {
    pub(crate) peer: Named,
    pub(crate) address: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerStatus {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) connected: bool,
    /// The one in use, else the last known.
    pub(crate) address: Option<String>,
    /// Rounded to a tenth.
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) last_seen: Option<WallTime>,
    /// Whether anything is known of its being there: only while a daemon runs here.
    pub(crate) known: bool,
    /// In which of this peer's volumes it is a member.
    pub(crate) volumes: Vec<Membership>,
}

/// Round-trip times are finite, so equality is total.
impl Eq for PeerStatus {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// The volume's name.
    pub(crate) volume: String,
    pub(crate) role: Role,
    pub(crate) holding: Holding,
    /// It wrote one of its logs in two ways; nothing more of that log is taken until it has settled that.
    #[serde(default)]
    pub(crate) disputed: bool,
}
