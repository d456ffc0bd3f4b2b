//! A small engine in memory: logs of signed entries, members by their entries, chunks stored raw.
#![allow(dead_code, reason = "every test file uses its part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use pfs_engine::handle::Received;
use pfs_engine::model::entry::{Body, Entry, Genesis, Holding, Invite, Member, Role, SignedEntry};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{ChunkId, EntryHash, Epoch, LogId, NodeId, PeerId, VolumeId};
use pfs_engine::model::keys::Keypair;
use pfs_engine::model::patch::{Attr, Patch};
use pfs_engine::model::time::Time;
use pfs_net::proto::message::Secret;
use pfs_net::{
    AdmitRefusal, DeliverError, Local, LocalError, LocalEvent, MemberInfo, ReceiveError, Ticket, TicketPeer,
};

/// The fake wall clock: invites before it have expired.
pub(crate) const NOW_MS: u64 = 1_000_000;

#[derive(Default)]
struct Volume {
    /// In the order of arrival, which is a causal one.
    entries: Vec<SignedEntry>,
    frontier: Frontier,
    last: BTreeMap<LogId, EntryHash>,
    named: Frontier,
    chunks: BTreeMap<ChunkId, Vec<u8>>,
    wanted: BTreeSet<ChunkId>,
    asked: BTreeMap<ChunkId, PeerId>,
    lacking: BTreeSet<(PeerId, ChunkId)>,
}

#[derive(Default)]
struct State {
    volumes: BTreeMap<VolumeId, Volume>,
    addresses: BTreeMap<PeerId, Vec<SocketAddr>>,
    up: BTreeMap<PeerId, u64>,
}

type Callback = Box<dyn Fn(LocalEvent) + Send + Sync>;

pub(crate) struct Fake {
    keys: Keypair,
    name: String,
    state: Mutex<State>,
    callbacks: Mutex<Vec<Callback>>,
    /// Entries that arrived twice.
    pub(crate) repeats: AtomicU64,
    /// Chunks that arrived.
    pub(crate) delivered: AtomicU64,
    /// Ups and downs of a peer that did not alternate.
    pub(crate) misuses: AtomicU64,
    /// Serve chunks with a flipped byte.
    pub(crate) forges: bool,
}

impl Fake {
    pub(crate) fn new(seed: u8, name: &str) -> Self {
        Self {
            keys: Keypair::from_seed(&[seed; 32]),
            name: name.to_owned(),
            state: Mutex::default(),
            callbacks: Mutex::default(),
            repeats: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            misuses: AtomicU64::new(0),
            forges: false,
        }
    }

    pub(crate) fn create(&self) -> VolumeId {
        let genesis = Genesis {
            name: "docs".into(),
            creator: self.keys.peer(),
            creator_name: self.name.clone(),
            nonce: [7; 16],
            replicas: 2,
        };
        let volume = genesis.volume();
        self.register(volume);
        self.append(volume, Body::Genesis(genesis));
        volume
    }

    pub(crate) fn register(&self, volume: VolumeId) {
        self.lock().volumes.entry(volume).or_default();
    }

    pub(crate) fn log(&self) -> LogId {
        LogId { origin: self.keys.peer(), epoch: Epoch(1) }
    }

    /// Appends to the own log.
    pub(crate) fn append(&self, volume: VolumeId, body: Body) {
        let log = self.log();
        let mut state = self.lock();
        let held = state.volumes.get_mut(&volume).expect("registered");
        let news = held.frontier.0.iter().filter(|(dep, seq)| **dep != log && held.named.seq(**dep) < **seq);
        let deps: Vec<_> = news.map(|(&dep, &seq)| (dep, seq)).collect();
        let prev = held.last.get(&log).copied().unwrap_or(EntryHash::NONE);
        let seq = held.frontier.seq(log) + 1;
        let entry = Entry { volume, log, seq, prev, deps, time: Time::from_ms(NOW_MS), body };
        held.named = held.frontier.clone();
        held.add(entry.sign(&self.keys));
        drop(state);
        self.tell(LocalEvent::Members(volume));
        self.tell(LocalEvent::Appended(volume));
    }

    /// Appends one entry of `patches` patches.
    pub(crate) fn write(&self, volume: VolumeId, patches: usize) {
        let seq = self.frontier_of(volume).total();
        let patch = |n: usize| {
            let key = [&self.keys.peer().0[..], &seq.to_le_bytes(), &n.to_le_bytes()].concat();
            let attr = Some(Attr { mode: 0o644, ..Attr::default() });
            Patch { attr, ..Patch::new(NodeId(blake3::hash(&key).into())) }
        };
        self.append(volume, Body::Patches((0..patches).map(patch).collect()));
    }

    /// The first entry that it writes to a volume.
    pub(crate) fn entry_of(&self, volume: VolumeId) -> Vec<SignedEntry> {
        self.register(volume);
        self.write(volume, 1);
        self.entries_after(volume, &Frontier::default(), 1).expect("registered")
    }

    /// A genesis.
    pub(crate) fn one_entry(&self) -> Vec<SignedEntry> {
        let volume = self.create();
        self.entries_after(volume, &Frontier::default(), 1).expect("registered")
    }

    pub(crate) fn invite(&self, volume: VolumeId, secret: [u8; 16], uses: u32, expires_ms: u64) {
        let invite = Invite { id: Invite::id_of(&secret), role: Role::Writer, uses, expires_ms };
        self.append(volume, Body::Invite(invite));
    }

    pub(crate) fn make_member(&self, volume: VolumeId, peer: &Self) {
        let invite = [0; 32];
        let (peer, name) = (peer.keys.peer(), peer.name.clone());
        let member = Member { peer, name, role: Role::Writer, holding: Holding::All, invite };
        self.append(volume, Body::Member(member));
    }

    pub(crate) fn ticket(volume: VolumeId, secret: [u8; 16], peers: &[(&Self, SocketAddr)]) -> Ticket {
        let peer = |(fake, address): &(&Self, SocketAddr)| TicketPeer {
            peer: fake.keys.peer(),
            name: fake.name.clone(),
            addresses: vec![*address],
        };
        Ticket {
            volume,
            volume_name: "docs".into(),
            secret: Secret(secret),
            role: Role::Writer,
            expires_ms: NOW_MS,
            peers: peers.iter().map(peer).collect(),
        }
    }

    pub(crate) fn put_chunk(&self, volume: VolumeId, bytes: Vec<u8>) -> ChunkId {
        let id = ChunkId(blake3::hash(&bytes).into());
        self.lock().volumes.get_mut(&volume).expect("registered").chunks.insert(id, bytes);
        id
    }

    pub(crate) fn want(&self, volume: VolumeId, ids: impl IntoIterator<Item = ChunkId>) {
        self.lock().volumes.get_mut(&volume).expect("registered").wanted.extend(ids);
        self.tell(LocalEvent::Wanted(volume));
    }

    /// Chunks that are still wanted and nobody was found to lack.
    pub(crate) fn missing(&self, volume: VolumeId) -> usize {
        self.lock().volumes[&volume].wanted.len()
    }

    pub(crate) fn lacking(&self, volume: VolumeId) -> usize {
        self.lock().volumes[&volume].lacking.len()
    }

    pub(crate) fn frontier_of(&self, volume: VolumeId) -> Frontier {
        self.lock().volumes.get(&volume).map(|held| held.frontier.clone()).unwrap_or_default()
    }

    pub(crate) fn is_up(&self, peer: PeerId) -> bool {
        self.lock().up.contains_key(&peer)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }

    fn tell(&self, event: LocalEvent) {
        self.callbacks.lock().expect("no callback panics").iter().for_each(|callback| callback(event));
    }
}

impl Volume {
    fn add(&mut self, signed: SignedEntry) {
        let SignedEntry { entry, .. } = &signed;
        self.frontier.advance(entry.log, entry.seq);
        self.last.insert(entry.log, entry.hash());
        self.entries.push(signed);
    }

    fn members(&self) -> BTreeMap<PeerId, MemberInfo> {
        let mut members = BTreeMap::new();
        for SignedEntry { entry, .. } in &self.entries {
            match &entry.body {
                Body::Genesis(genesis) => {
                    let name = genesis.creator_name.clone();
                    let info = MemberInfo { name, role: Role::Writer, holding: Holding::All };
                    members.insert(genesis.creator, info);
                }
                Body::Member(member) => {
                    let name = member.name.clone();
                    let info = MemberInfo { name, role: member.role, holding: member.holding };
                    members.insert(member.peer, info);
                }
                Body::Remove(peer) => _ = members.remove(peer),
                Body::Patches(_) | Body::Withdraw(_) | Body::Invite(_) => {}
            }
        }
        members
    }

    fn refused(&self, secret: &[u8; 16]) -> Option<AdmitRefusal> {
        let id = Invite::id_of(secret);
        let bodies = || self.entries.iter().map(|signed| &signed.entry.body);
        let invite = bodies().find_map(|body| match body {
            Body::Invite(invite) if invite.id == id => Some(invite.clone()),
            _ => None,
        });
        let uses = bodies().filter(|body| matches!(body, Body::Member(member) if member.invite == id)).count();
        match invite {
            None => Some(AdmitRefusal::Unknown),
            Some(invite) if invite.expires_ms < NOW_MS => Some(AdmitRefusal::Expired),
            Some(invite) if uses >= invite.uses as usize => Some(AdmitRefusal::UsedUp),
            Some(_) => None,
        }
    }

    fn receive(&mut self, signed: SignedEntry) -> Result<bool, ReceiveError> {
        let entry = &signed.entry;
        if self.frontier.seq(entry.log) >= entry.seq {
            return Ok(false);
        }
        signed.check().map_err(|error| ReceiveError::Hostile(error.to_string()))?;
        let held = |&(log, seq): &(LogId, u64)| self.frontier.seq(log) >= seq;
        if self.frontier.seq(entry.log) + 1 != entry.seq || !entry.deps.iter().all(held) {
            return Err(ReceiveError::NotYet);
        }
        if self.last.get(&entry.log).copied().unwrap_or(EntryHash::NONE) != entry.prev {
            return Err(ReceiveError::Hostile("the chain is broken".into()));
        }
        self.add(signed);
        Ok(true)
    }
}

impl Local for Fake {
    fn peer(&self) -> PeerId {
        self.keys.peer()
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn keys(&self) -> Keypair {
        self.keys.clone()
    }

    fn volumes(&self) -> Vec<VolumeId> {
        self.lock().volumes.keys().copied().collect()
    }

    fn frontier(&self, volume: VolumeId) -> Result<Frontier, LocalError> {
        let state = self.lock();
        state.volumes.get(&volume).map(|held| held.frontier.clone()).ok_or(LocalError::UnknownVolume(volume))
    }

    fn members(&self, volume: VolumeId) -> Result<BTreeMap<PeerId, MemberInfo>, LocalError> {
        let state = self.lock();
        state.volumes.get(&volume).map(Volume::members).ok_or(LocalError::UnknownVolume(volume))
    }

    fn entries_after(&self, volume: VolumeId, after: &Frontier, max: usize) -> Result<Vec<SignedEntry>, LocalError> {
        let state = self.lock();
        let held = state.volumes.get(&volume).ok_or(LocalError::UnknownVolume(volume))?;
        let mut bytes = 0;
        let lacked = held.entries.iter().filter(|signed| after.seq(signed.entry.log) < signed.entry.seq);
        let page = lacked.take_while(|signed| {
            let first = bytes == 0;
            bytes += pfs_net::proto::message::entry_bytes(signed);
            first || bytes <= max
        });
        Ok(page.cloned().collect())
    }

    fn receive(&self, volume: VolumeId, entries: Vec<SignedEntry>) -> Result<Received, ReceiveError> {
        let mut state = self.lock();
        let held = state.volumes.get_mut(&volume).ok_or(LocalError::UnknownVolume(volume))?;
        for signed in entries {
            if !held.receive(signed)? {
                self.repeats.fetch_add(1, Ordering::Relaxed);
            }
        }
        let frontier = held.frontier.clone();
        drop(state);
        self.tell(LocalEvent::Members(volume));
        self.tell(LocalEvent::Appended(volume));
        Ok(Received { frontier, ..Received::default() })
    }

    fn admit(
        &self,
        volume: VolumeId,
        secret: [u8; 16],
        peer: PeerId,
        name: String,
        holding: Holding,
    ) -> Result<(), AdmitRefusal> {
        let state = self.lock();
        let held = state.volumes.get(&volume).ok_or(AdmitRefusal::Unknown)?;
        if held.members().contains_key(&peer) {
            return Ok(());
        }
        if let Some(refusal) = held.refused(&secret) {
            return Err(refusal);
        }
        drop(state);
        let member = Member { peer, name, role: Role::Writer, holding, invite: Invite::id_of(&secret) };
        self.append(volume, Body::Member(member));
        Ok(())
    }

    fn chunks(&self, volume: VolumeId, ids: &[ChunkId]) -> Result<Vec<Option<Vec<u8>>>, LocalError> {
        let state = self.lock();
        let held = state.volumes.get(&volume).ok_or(LocalError::UnknownVolume(volume))?;
        let mut found: Vec<_> = ids.iter().map(|id| held.chunks.get(id).cloned()).collect();
        if self.forges {
            found.iter_mut().flatten().for_each(|bytes| bytes[0] ^= 1);
        }
        Ok(found)
    }

    fn wanted(&self, volume: VolumeId, peer: PeerId, link: u64, max_ids: usize) -> Result<Vec<ChunkId>, LocalError> {
        let mut state = self.lock();
        if state.up.get(&peer) != Some(&link) {
            return Ok(Vec::new());
        }
        let held = state.volumes.get_mut(&volume).ok_or(LocalError::UnknownVolume(volume))?;
        let open = |id: &&ChunkId| !held.asked.contains_key(id) && !held.lacking.contains(&(peer, **id));
        let ids: Vec<_> = held.wanted.iter().filter(open).take(max_ids).copied().collect();
        held.asked.extend(ids.iter().map(|&id| (id, peer)));
        Ok(ids)
    }

    fn deliver(
        &self,
        volume: VolumeId,
        peer: PeerId,
        chunks: Vec<(ChunkId, Option<Vec<u8>>)>,
    ) -> Result<(), DeliverError> {
        for (id, bytes) in &chunks {
            if bytes.as_ref().is_some_and(|bytes| *blake3::hash(bytes).as_bytes() != id.0) {
                return Err(DeliverError::Hostile(format!("{id} is not the hash of its bytes")));
            }
        }
        let mut state = self.lock();
        let held = state.volumes.get_mut(&volume).ok_or(LocalError::UnknownVolume(volume))?;
        for (id, bytes) in chunks {
            held.asked.remove(&id);
            if let Some(bytes) = bytes {
                held.wanted.remove(&id);
                held.chunks.insert(id, bytes);
                self.delivered.fetch_add(1, Ordering::Relaxed);
            } else {
                held.lacking.insert((peer, id));
            }
        }
        drop(state);
        self.tell(LocalEvent::Wanted(volume));
        Ok(())
    }

    fn peer_up(&self, peer: PeerId, link: u64, _address: SocketAddr) {
        if self.lock().up.insert(peer, link).is_some() {
            self.misuses.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn peer_down(&self, peer: PeerId) {
        let mut state = self.lock();
        if state.up.remove(&peer).is_none() {
            self.misuses.fetch_add(1, Ordering::Relaxed);
        }
        for held in state.volumes.values_mut() {
            held.asked.retain(|_, asked| *asked != peer);
            held.lacking.retain(|(lacking, _)| *lacking != peer);
        }
    }

    fn addresses(&self, peer: PeerId) -> Vec<SocketAddr> {
        self.lock().addresses.get(&peer).cloned().unwrap_or_default()
    }

    fn learn_addresses(&self, peer: PeerId, addresses: Vec<SocketAddr>) {
        self.lock().addresses.insert(peer, addresses);
    }

    fn subscribe(&self, callback: Callback) {
        self.callbacks.lock().expect("no callback panics").push(callback);
    }
}
