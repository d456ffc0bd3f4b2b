//! The engine as the network's local side: every question of [`Local`] answered by one call, every failure
//! told apart by whose fault it is. What peers say of their addresses is kept in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pfs_engine::handle::{DeliverError as EngineDeliverError, Received};
use pfs_engine::limits::ASK_CHUNKS_MAX;
use pfs_engine::model::codec;
use pfs_engine::model::entry::{Holding, SignedEntry};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{ChunkId, LogId, PeerId, VolumeId};
use pfs_engine::model::keys::Keypair;
use pfs_engine::model::roster::NotAdmitted;
use pfs_engine::store::StoreError;
use pfs_engine::{Engine, EngineError, Event};

use crate::local::{AdmitRefusal, DeliverError, Local, LocalError, LocalEvent, MemberInfo, ReceiveError};
use crate::proto::limits::{ADDRESSES_MAX, FETCH_IDS, REMEMBERED_PEERS_MAX};

/// Where the store keeps who listens where.
const ADDRESSES_KEY: &str = "addresses";

const _: () = assert!(ASK_CHUNKS_MAX <= FETCH_IDS, "one ask of the engine fits into one request");

/// Who listens where, the surest address first.
type Addresses = BTreeMap<PeerId, Vec<SocketAddr>>;

/// An engine behind the network's questions.
pub struct EngineLocal {
    engine: Engine,
    name: String,
    addresses: Mutex<Addresses>,
}

impl EngineLocal {
    /// The network's side of this engine, with the addresses that were learned before.
    pub fn new(engine: Engine) -> Result<Self, EngineError> {
        let name = engine.name()?;
        let addresses = match engine.store().meta(ADDRESSES_KEY)? {
            Some(bytes) => {
                codec::decode(&bytes).map_err(|_| StoreError::Corrupt { what: "peers' addresses".into() })?
            }
            None => Addresses::new(),
        };
        Ok(Self { engine, name, addresses: Mutex::new(addresses) })
    }

    fn kept(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members_of_any(&self) -> BTreeSet<PeerId> {
        let reports = self.engine.volumes().unwrap_or_default();
        reports.into_iter().flat_map(|report| report.roster.members.into_keys()).collect()
    }
}

impl Local for EngineLocal {
    fn peer(&self) -> PeerId {
        self.engine.peer()
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn keys(&self) -> Keypair {
        self.engine.keys()
    }

    fn volumes(&self) -> Vec<VolumeId> {
        self.engine.store().volumes()
    }

    fn frontier(&self, volume: VolumeId) -> Result<Frontier, LocalError> {
        Ok(self.engine.volume(volume).map_err(failed)?.frontier())
    }

    fn disputes(&self, volume: VolumeId) -> BTreeMap<LogId, u64> {
        let reports = self.engine.volumes().unwrap_or_default();
        let report = reports.into_iter().find(|report| report.id == volume);
        report.into_iter().flat_map(|report| report.disputes).map(|(log, dispute)| (log, dispute.seq)).collect()
    }

    fn members(&self, volume: VolumeId) -> Result<BTreeMap<PeerId, MemberInfo>, LocalError> {
        let reports = self.engine.volumes().map_err(failed)?;
        let report = reports.into_iter().find(|report| report.id == volume);
        let roster = report.ok_or(LocalError::UnknownVolume(volume))?.roster;
        let info = |info: pfs_engine::model::roster::MemberInfo| MemberInfo {
            name: info.name,
            role: info.role,
            holding: info.holding,
        };
        Ok(roster.members.into_iter().map(|(peer, member)| (peer, info(member))).collect())
    }

    fn entries_after(
        &self,
        volume: VolumeId,
        after: &Frontier,
        bytes_max: usize,
    ) -> Result<Vec<SignedEntry>, LocalError> {
        let volume = self.engine.volume(volume).map_err(failed)?;
        volume.entries_after(after, bytes_max).map_err(|error| failed(error.into()))
    }

    fn receive(&self, volume: VolumeId, entries: Vec<SignedEntry>) -> Result<Received, ReceiveError> {
        self.engine.receive(volume, entries).map_err(|error| match error {
            EngineError::NotYet { .. } => ReceiveError::NotYet,
            EngineError::Entry(_)
            | EngineError::NotAllowed(_)
            | EngineError::Apply(_)
            | EngineError::Backdated { .. }
            | EngineError::NotCopied { .. } => ReceiveError::Hostile(error.to_string()),
            other => ReceiveError::Local(failed(other)),
        })
    }

    fn admit(
        &self,
        volume: VolumeId,
        secret: [u8; 16],
        peer: PeerId,
        name: String,
        holding: Holding,
    ) -> Result<(), AdmitRefusal> {
        self.engine.admit(volume, secret, peer, name, holding).map_err(|error| match error {
            EngineError::NoVolume(_) | EngineError::NotAdmitted(NotAdmitted::Unknown) => AdmitRefusal::Unknown,
            EngineError::NotAdmitted(NotAdmitted::Expired) => AdmitRefusal::Expired,
            EngineError::NotAdmitted(NotAdmitted::Used) => AdmitRefusal::UsedUp,
            EngineError::NotAdmitted(NotAdmitted::Removed) => AdmitRefusal::Removed,
            other => AdmitRefusal::Local(failed(other)),
        })
    }

    fn chunks(&self, _volume: VolumeId, ids: &[ChunkId]) -> Result<Vec<Option<Vec<u8>>>, LocalError> {
        let store = self.engine.store();
        let read = |id: &ChunkId| match store.chunk(*id) {
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::warn!(chunk = %id.short(), %error, "not served; `pfs verify --repair` heals it");
                Ok(None)
            }
            result => result.map_err(|error| failed(error.into())),
        };
        ids.iter().map(read).collect()
    }

    fn wanted(&self, volume: VolumeId, peer: PeerId, link: u64, max_ids: usize) -> Result<Vec<ChunkId>, LocalError> {
        let ids = self.engine.wanted(volume, peer, link).map_err(failed)?;
        debug_assert!(ids.len() <= max_ids, "what is left out would never be asked for again");
        Ok(ids)
    }

    fn deliver(
        &self,
        volume: VolumeId,
        peer: PeerId,
        chunks: Vec<(ChunkId, Option<Vec<u8>>)>,
    ) -> Result<(), DeliverError> {
        self.engine.deliver(volume, peer, chunks).map_err(|error| match error {
            EngineDeliverError::Broken(_) => DeliverError::Hostile(error.to_string()),
            EngineDeliverError::Engine(error) => DeliverError::Local(failed(error)),
        })
    }

    fn peer_up(&self, peer: PeerId, link: u64, _address: SocketAddr) {
        told(self.engine.peer_up(peer, link));
    }

    fn peer_down(&self, peer: PeerId) {
        told(self.engine.peer_down(peer));
    }

    fn addresses(&self, peer: PeerId) -> Vec<SocketAddr> {
        self.kept().get(&peer).cloned().unwrap_or_default()
    }

    fn learn_addresses(&self, peer: PeerId, addresses: Vec<SocketAddr>) {
        let is_full = |kept: &Addresses| kept.len() >= REMEMBERED_PEERS_MAX && !kept.contains_key(&peer);
        // Anybody may introduce themselves; where there is no room, only members are remembered.
        let members = if is_full(&self.kept()) { Some(self.members_of_any()) } else { None };
        let mut kept = self.kept();
        if let Some(members) = members {
            if !members.contains(&peer) {
                return;
            }
            kept.retain(|peer, _| members.contains(peer));
        }
        let known = kept.entry(peer).or_default();
        let mut seen = BTreeSet::new();
        let all = addresses.iter().chain(&*known).copied();
        let merged: Vec<_> = all.filter(|&address| seen.insert(address)).take(ADDRESSES_MAX).collect();
        if *known == merged {
            return;
        }
        *known = merged;
        if let Err(error) = self.engine.store().set_meta(ADDRESSES_KEY, &codec::encode(&*kept)) {
            tracing::warn!(%error, "addresses are not remembered");
        }
    }

    fn peer_holds(&self, volume: VolumeId, peer: PeerId, frontier: &Frontier) {
        told(self.engine.peer_has(volume, peer, frontier.clone()));
    }

    fn subscribe(&self, callback: Box<dyn Fn(LocalEvent) + Send + Sync>) {
        told(self.engine.subscribe(Box::new(move |event| {
            let event = match event {
                Event::Appended(volume) => LocalEvent::Appended(volume),
                Event::Members(volume) => LocalEvent::Members(volume),
                Event::Withdrawn(volume) => LocalEvent::Withdrawn(volume),
                Event::Wanted(volume) => LocalEvent::Wanted(volume),
                Event::Closing => LocalEvent::Closing,
                Event::Changed(_) => return,
            };
            callback(event);
        })));
    }
}

fn failed(error: EngineError) -> LocalError {
    match error {
        EngineError::NoVolume(volume) => LocalError::UnknownVolume(volume),
        other => LocalError::Failed(Box::new(other)),
    }
}

/// What the network tells is only news: an engine that is closing, or has let go of the volume, needs none.
fn told(result: Result<(), EngineError>) {
    if let Err(error) = result {
        tracing::debug!(%error, "the engine took no notice");
    }
}

#[cfg(test)]
mod tests {
    use pfs_engine::Options;

    use super::*;

    fn address(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 7440))
    }

    #[test]
    fn addresses_are_remembered_the_surest_first_and_within_bounds() {
        let home = tempfile::tempdir().unwrap();
        Engine::init(home.path(), "anna").unwrap();
        let open = || EngineLocal::new(Engine::open(home.path(), Options::default()).unwrap()).unwrap();
        let peer = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            PeerId(id)
        };
        let local = open();
        local.learn_addresses(peer(1), vec![address(1), address(2)]);
        local.learn_addresses(peer(1), vec![address(3), address(1)]);
        assert_eq!(local.addresses(peer(1)), [address(3), address(1), address(2)]);
        local.learn_addresses(peer(2), (0..100).map(address).collect());
        assert_eq!(local.addresses(peer(2)).len(), ADDRESSES_MAX);
        drop(local);

        let local = open();
        assert_eq!(local.addresses(peer(1)), [address(3), address(1), address(2)], "also after a restart");
        local.kept().extend((3..=REMEMBERED_PEERS_MAX).map(|n| (peer(n), vec![address(n)])));
        local.learn_addresses(peer(9_999), vec![address(1)]);
        assert_eq!(local.addresses(peer(9_999)), [], "there is no room for one that is no member");
        local.learn_addresses(peer(1), vec![address(4)]);
        assert_eq!(local.addresses(peer(1))[0], address(4), "those that are known can be learned of all the same");
    }

    #[test]
    fn what_the_engine_does_not_have_is_said_so() {
        let home = tempfile::tempdir().unwrap();
        Engine::init(home.path(), "anna").unwrap();
        let local = EngineLocal::new(Engine::open(home.path(), Options::default()).unwrap()).unwrap();
        let (volume, peer) = (VolumeId([7; 32]), PeerId([7; 32]));
        assert_eq!((local.name().as_str(), local.volumes().len()), ("anna", 0));
        assert!(matches!(local.frontier(volume), Err(LocalError::UnknownVolume(_))));
        assert!(matches!(local.members(volume), Err(LocalError::UnknownVolume(_))));
        let admitted = local.admit(volume, [0; 16], peer, "ben".into(), Holding::All);
        assert!(matches!(admitted, Err(AdmitRefusal::Unknown)), "{admitted:?}");
        let forged = vec![(ChunkId([1; 32]), Some(b"no such bytes".to_vec()))];
        assert!(matches!(local.deliver(volume, peer, forged), Err(DeliverError::Hostile(_))));
        assert_eq!(local.chunks(volume, &[ChunkId([1; 32])]).unwrap(), [None]);
    }
}
