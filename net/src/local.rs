//! What the network needs of the engine. Every method may block; the node calls them off its async threads.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;

use pfs_engine::handle::Received;
use pfs_engine::model::entry::{Holding, Role, SignedEntry};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{ChunkId, LogId, PeerId, VolumeId};
use pfs_engine::model::keys::Keypair;

/// Why the local peer cannot answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// No such volume here, or no longer.
    #[error("no volume {0}")]
    UnknownVolume(VolumeId),
    /// The engine failed.
    #[error("the local peer could not answer")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// Why received entries were not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// No honest peer sends this: a broken chain, a wrong signature, a patch that cannot be. Ends the session.
    #[error("hostile entries: {0}")]
    Hostile(String),
    /// They depend on entries that are not here.
    #[error("the entries depend on some that have not arrived")]
    NotYet,
    /// The engine failed; they are asked for again later.
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// Why delivered chunks were not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    /// The bytes are not the chunk's. Ends the session.
    #[error("hostile chunk: {0}")]
    Hostile(String),
    /// The engine failed.
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// Why a peer is not admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitRefusal {
    /// No such volume, or no invite with that secret.
    #[error("no such invite")]
    Unknown,
    /// Too late.
    #[error("the invite has expired")]
    Expired,
    /// As many as may have joined.
    #[error("the invite is used up")]
    UsedUp,
    /// The peer was removed from the volume.
    #[error("the peer was removed")]
    Removed,
    /// The engine failed.
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// A current member of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it holds.
    pub holding: Holding,
}

/// What the engine tells the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalEvent {
    /// A volume's frontier moved, or the volume is new here.
    Appended(VolumeId),
    /// The end of a log was taken away, so frontiers that were told hold no more.
    Withdrawn(VolumeId),
    /// A volume's members changed.
    Members(VolumeId),
    /// There are chunks to ask for.
    Wanted(VolumeId),
    /// The engine is closing.
    Closing,
}

/// One peer's engine, as the network sees it.
pub trait Local: Send + Sync + 'static {
    /// This peer.
    fn peer(&self) -> PeerId;
    /// What people call it.
    fn name(&self) -> String;
    /// Its key pair, which TLS proves.
    fn keys(&self) -> Keypair;
    /// Every volume here, those without any entries included.
    fn volumes(&self) -> Vec<VolumeId>;
    /// What is durably here of a volume.
    fn frontier(&self, volume: VolumeId) -> Result<Frontier, LocalError>;
    /// Logs of the volume of which two forms are known here, and from which entry on.
    fn disputes(&self, _volume: VolumeId) -> BTreeMap<LogId, u64> {
        BTreeMap::new()
    }
    /// The volume's current members, this peer included.
    fn members(&self, volume: VolumeId) -> Result<BTreeMap<PeerId, MemberInfo>, LocalError>;
    /// Entries beyond `after` in causal order: about `bytes_max` bytes encoded, and at least one if there are any.
    fn entries_after(
        &self,
        volume: VolumeId,
        after: &Frontier,
        bytes_max: usize,
    ) -> Result<Vec<SignedEntry>, LocalError>;
    /// Verifies entries and makes them durable; those already here are skipped.
    fn receive(&self, volume: VolumeId, entries: Vec<SignedEntry>) -> Result<Received, ReceiveError>;
    /// Makes a peer a member by an invite's secret; a peer that is one already by that invite stays one.
    fn admit(
        &self,
        volume: VolumeId,
        secret: [u8; 16],
        peer: PeerId,
        name: String,
        holding: Holding,
    ) -> Result<(), AdmitRefusal>;
    /// Chunks as they are stored, in the order asked; `None` for one that is not here.
    fn chunks(&self, volume: VolumeId, ids: &[ChunkId]) -> Result<Vec<Option<Vec<u8>>>, LocalError>;
    /// What to ask this peer for now, `max_ids` at the most: nothing over a connection that is not the one it is
    /// up by. It counts as asked until it is delivered or the peer is down.
    fn wanted(&self, volume: VolumeId, peer: PeerId, link: u64, max_ids: usize) -> Result<Vec<ChunkId>, LocalError>;
    /// Answers to what was asked, in stored form; `None`: the peer lacks it. Verified before they are kept.
    /// Must tolerate what is no longer asked for, such as a late answer after `peer_down`.
    fn deliver(
        &self,
        volume: VolumeId,
        peer: PeerId,
        chunks: Vec<(ChunkId, Option<Vec<u8>>)>,
    ) -> Result<(), DeliverError>;
    /// A peer is connected, over the link with that number. Ups and downs of one peer alternate.
    fn peer_up(&self, peer: PeerId, link: u64, address: SocketAddr);
    /// It no longer is: what it was asked for can be asked of others.
    fn peer_down(&self, peer: PeerId);
    /// Where a peer was said to listen.
    fn addresses(&self, peer: PeerId) -> Vec<SocketAddr>;
    /// Remembers where a peer listens, the surest first.
    fn learn_addresses(&self, peer: PeerId, addresses: Vec<SocketAddr>);
    /// A member says that it durably has at least this of a volume; for `synced` and `wait`.
    fn peer_holds(&self, _volume: VolumeId, _peer: PeerId, _frontier: &Frontier) {}
    /// Calls back on every event, from any thread. The callback does not block.
    fn subscribe(&self, callback: Box<dyn Fn(LocalEvent) + Send + Sync>);
}
