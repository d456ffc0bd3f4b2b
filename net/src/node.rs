//! Joins one engine and many sessions: listens, dials the members of every volume, keeps one connection a
//! peer, and passes on what the engine and the peers have to say.

mod hub;
pub(crate) mod join;
mod roster;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use pfs_engine::model::entry::Holding;
use pfs_engine::model::ids::{PeerId, VolumeId};

use crate::io::endpoint::BindError;
use crate::local::Local;
use crate::proto::ticket::Ticket;
use hub::Hub;
use join::JoinError;

/// The port on which a peer listens if nothing else is said.
pub const DEFAULT_PORT: u16 = 7440;

/// How a node is reached and finds others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeOptions {
    /// Where to listen; port 0: any free one. Any IPv6 address means IPv4 too, and alone where there is no IPv6.
    pub listen: SocketAddr,
    /// Whether to announce and look for peers on the local network.
    pub discovery: bool,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self { listen: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), DEFAULT_PORT), discovery: true }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gave no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
}

/// A member of any volume here, as the network sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// What people call it.
    pub name: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// Where it is, or was last known to listen.
    pub address: Option<SocketAddr>,
    /// Whether it ended a session because it does not take this peer for a member of anything.
    pub disowns: bool,
    /// Round trip, while connected.
    pub rtt_ms: Option<f64>,
    /// When it was last connected, wall clock since 1970; now while it is.
    pub last_seen_ms: Option<u64>,
    /// Bytes sent to it since the node started, packet headers of QUIC included.
    pub sent_bytes: u64,
    /// Bytes received from it, likewise.
    pub received_bytes: u64,
}

/// A running node. Dropping it ends it without farewell.
#[derive(Debug)]
pub struct Node {
    hub: Arc<Hub>,
}

impl Node {
    /// Starts to listen and to dial on the tokio runtime that it is called on.
    pub async fn start(local: Arc<dyn Local>, options: NodeOptions) -> Result<Self, NodeError> {
        Ok(Self { hub: Hub::start(local, options).await? })
    }

    /// Where it listens: the address asked for, with the port that the system chose for port 0.
    pub fn listening(&self) -> SocketAddr {
        self.hub.listening()
    }

    /// The members of all volumes here but this peer, by id.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.hub.peers()
    }

    /// Whether a peer is connected now and both have told each other that they have a volume.
    pub fn shares(&self, peer: PeerId, volume: VolumeId) -> bool {
        self.hub.shares(peer, volume)
    }

    /// Tells where a peer listens; if it is a member it is dialled at once.
    pub fn learn(&self, peer: PeerId, addresses: Vec<SocketAddr>) {
        self.hub.learn(peer, addresses);
    }

    /// Asks the ticket's peers to admit this one. The volume must be known to the local side, without entries;
    /// they arrive after this returns.
    pub async fn join(&self, ticket: &Ticket, holding: Holding) -> Result<(), JoinError> {
        join::join(&self.hub, ticket, holding).await
    }

    /// Says goodbye to every peer and stops, within about a second. The port is free again soon after the node
    /// is dropped.
    pub async fn shutdown(&self) {
        self.hub.shutdown().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.hub.stop();
    }
}
