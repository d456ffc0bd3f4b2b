//! Who is here, who could be, and what is known of them. No calls to the engine, no waiting: the hub asks and
//! carries out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use pfs_engine::model::ids::{PeerId, VolumeId};

use super::PeerStatus;
use crate::io::endpoint::Link;
use crate::io::mailbox::Mailbox;
use crate::local::MemberInfo;
use crate::proto::limits::{ADDRESSES_MAX, DIAL, LINKS_MAX, PEERS_MAX, REMEMBERED_PEERS_MAX, STRANGER_LINKS_MAX};
use crate::proto::message::{Bye, PeerNews};
use crate::proto::reach::{Backoff, Dialled, replaces};

/// What the engine has to be told, in order.
#[derive(Debug)]
pub(super) enum Notice {
    Up { peer: PeerId, address: SocketAddr, link: u64 },
    Down(PeerId),
    Learned(PeerId, Vec<SocketAddr>),
}

/// How a link ended, as far as dialling again is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    Ordinary,
    /// The peer broke the protocol or sent forged bytes.
    Distrusted,
    /// The peer does not take us for a member of anything.
    Disowned,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) link: Link,
    pub(super) mailbox: Arc<Mailbox>,
    met: Option<Dialled>,
    /// Volumes that both sides have said they have.
    open: BTreeSet<VolumeId>,
    since_ms: u64,
}

/// One peer, connected or heard of.
#[derive(Debug)]
struct Known {
    name: String,
    member_of: BTreeSet<VolumeId>,
    /// Best first.
    addresses: Vec<SocketAddr>,
    /// The connection that stays.
    settled: Option<u64>,
    backoff: Backoff,
    due_ms: u64,
    dialling: bool,
    /// It ended a session because it does not take us for a member.
    disowns: bool,
    /// Milliseconds of the node's clock.
    seen_ms: Option<u64>,
    sent_bytes: u64,
    received_bytes: u64,
}

/// Everything the node knows of others.
#[derive(Debug)]
pub(super) struct Roster {
    me: PeerId,
    seed: u64,
    next_link: u64,
    pub(super) links: BTreeMap<u64, Held>,
    peers: BTreeMap<PeerId, Known>,
    pub(super) notices: VecDeque<Notice>,
    /// Volumes whose members are to be looked up.
    pub(super) stale: BTreeSet<VolumeId>,
}

impl Roster {
    pub(super) fn new(me: PeerId, seed: u64) -> Self {
        Self {
            me,
            seed,
            next_link: 0,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            notices: VecDeque::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Takes a connection in; nothing if there are too many, or if it leads to ourselves.
    pub(super) fn add_link(&mut self, link: &Link, now_ms: u64) -> Option<(u64, Arc<Mailbox>)> {
        let is_member = |peer| self.peers.get(&peer).is_some_and(|known| !known.member_of.is_empty());
        let strangers = self.links.values().filter(|held| !held.link.dialled && !is_member(held.link.peer)).count();
        let full = self.links.len() >= LINKS_MAX
            || (!link.dialled && !is_member(link.peer) && strangers >= STRANGER_LINKS_MAX);
        if full || link.peer == self.me {
            return None;
        }
        let id = self.next_link;
        self.next_link += 1;
        let mailbox = Arc::<Mailbox>::default();
        let held =
            Held { link: link.clone(), mailbox: mailbox.clone(), met: None, open: BTreeSet::new(), since_ms: now_ms };
        self.links.insert(id, held);
        Some((id, mailbox))
    }

    /// A link's peer introduced itself: of two connections to one peer, one stays.
    pub(super) fn met(&mut self, id: u64, run: u64, name: &str, addresses: Vec<SocketAddr>, now_ms: u64) {
        let me = self.me;
        let Some(held) = self.links.get_mut(&id) else { return };
        let (peer, address) = (held.link.peer, held.link.address());
        let new = Dialled { by: if held.link.dialled { me } else { peer }, run };
        held.met = Some(new);
        let proven = held.link.dialled.then_some(address);
        let old = self.peers.get(&peer).and_then(|known| known.settled).filter(|old| *old != id);
        if let Some(old) = old {
            let stays = self.links.get(&old).and_then(|held| held.met).is_some_and(|old| !replaces(me, peer, old, new));
            let leaves = if stays { id } else { old };
            if let Some(held) = self.links.get(&leaves) {
                held.mailbox.bye(Bye::Duplicate);
            }
            if stays {
                return;
            }
            self.notices.push_back(Notice::Down(peer));
        }
        let known = self.know(peer);
        known.settled = Some(id);
        known.dialling = false;
        if known.member_of.is_empty() {
            name.clone_into(&mut known.name);
        }
        known.seen_ms = Some(now_ms);
        let fresh: Vec<_> = proven.into_iter().chain(addresses).collect();
        known.remember(&fresh);
        self.notices.push_back(Notice::Up { peer, address, link: id });
        self.notices.push_back(Notice::Learned(peer, fresh));
    }

    /// A link is gone.
    pub(super) fn end_link(&mut self, id: u64, parting: Parting, now_ms: u64) {
        let Some(held) = self.links.remove(&id) else { return };
        let peer = held.link.peer;
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let (sent, received) = held.link.traffic();
        known.sent_bytes += sent;
        known.received_bytes += received;
        let lasted = now_ms.saturating_sub(held.since_ms);
        known.disowns |= parting == Parting::Disowned;
        if parting == Parting::Distrusted {
            known.due_ms = now_ms + known.backoff.distrusted();
        }
        if known.settled == Some(id) {
            known.settled = None;
            known.seen_ms = Some(now_ms);
            if parting != Parting::Distrusted {
                known.due_ms = now_ms + known.backoff.ended(lasted);
            }
            self.notices.push_back(Notice::Down(peer));
        }
        if known.settled.is_none() && known.member_of.is_empty() {
            self.peers.remove(&peer);
        }
    }

    /// What the log says of a volume's members.
    pub(super) fn set_members(&mut self, volume: VolumeId, members: &BTreeMap<PeerId, MemberInfo>, now_ms: u64) {
        for (peer, known) in &mut self.peers {
            if !members.contains_key(peer) {
                known.member_of.remove(&volume);
            }
        }
        for (&peer, info) in members.iter().filter(|(peer, _)| **peer != self.me) {
            let known = self.peers.entry(peer).or_insert_with(|| Known::new(self.seed, peer));
            info.name.clone_into(&mut known.name);
            if known.member_of.insert(volume) && known.member_of.len() == 1 {
                known.due_ms = now_ms;
            }
        }
    }

    /// Where a peer may be, by hearsay: if that is news, it is tried at once.
    pub(super) fn learn(&mut self, peer: PeerId, addresses: &[SocketAddr], now_ms: u64) {
        let room = self.peers.len() < REMEMBERED_PEERS_MAX || self.peers.contains_key(&peer);
        if peer == self.me || !room {
            return;
        }
        let known = self.know(peer);
        if known.remember(addresses) {
            known.backoff.reset();
            known.due_ms = now_ms;
            if !known.member_of.is_empty() {
                self.notices.push_back(Notice::Learned(peer, addresses.to_vec()));
            }
        }
    }

    /// Members to dial now, with the addresses known here; they count as being dialled.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Vec<(PeerId, Vec<SocketAddr>)> {
        let due = self.peers.iter_mut().filter(|(_, known)| known.is_missed() && known.due_ms <= now_ms);
        due.map(|(&peer, known)| {
            known.dialling = true;
            (peer, known.addresses.clone())
        })
        .collect()
    }

    /// When there is somebody to dial next.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.peers.values().filter(|known| known.is_missed()).map(|known| known.due_ms).min()
    }

    /// A dial came to an end.
    pub(super) fn dialled(&mut self, peer: PeerId, reached: bool, now_ms: u64) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.dialling = false;
        // One that answers but does not introduce itself is dialled again by and by.
        known.due_ms = now_ms + if reached { DIAL.as_millis() as u64 } else { known.backoff.failed() };
    }

    /// The mailbox of a peer's settled connection.
    pub(super) fn mailbox_of(&self, peer: PeerId) -> Option<Arc<Mailbox>> {
        let settled = self.peers.get(&peer).and_then(|known| known.settled);
        settled.and_then(|id| self.links.get(&id)).map(|held| held.mailbox.clone())
    }

    /// Whether a peer is connected and said in this session that it has a volume.
    pub(super) fn shares(&self, peer: PeerId, volume: VolumeId) -> bool {
        let settled = self.peers.get(&peer).and_then(|known| known.settled);
        settled.and_then(|id| self.links.get(&id)).is_some_and(|held| held.open.contains(&volume))
    }

    /// A peer and this one take each other for members of a volume.
    pub(super) fn opened(&mut self, id: u64, volume: VolumeId) {
        let peer = self.links.get_mut(&id).map(|held| {
            held.open.insert(volume);
            held.link.peer
        });
        if let Some(known) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
            known.disowns = false;
        }
    }

    /// A volume was opened with a peer: who else of it is where, for that peer; and its news for the others.
    pub(super) fn introduce(&self, id: u64, volume: VolumeId, now_ms: u64) {
        let Some(held) = self.links.get(&id) else { return };
        let newcomer = held.link.peer;
        let others = self.peers.iter().filter(|(peer, known)| **peer != newcomer && known.member_of.contains(&volume));
        let mut news = Vec::new();
        for (&peer, known) in others {
            news.extend(known.news(peer, now_ms));
            let settled = known.settled.and_then(|id| self.links.get(&id));
            let about = self.peers.get(&newcomer).and_then(|known| known.news(newcomer, now_ms));
            if let (Some(settled), Some(about)) = (settled, about) {
                settled.mailbox.gossip(volume, [about]);
            }
        }
        news.truncate(PEERS_MAX);
        held.mailbox.gossip(volume, news);
    }

    /// Members of anything here, by id; `wall_ms` is the wall clock at `now_ms`.
    pub(super) fn statuses(&self, now_ms: u64, wall_ms: u64) -> Vec<PeerStatus> {
        let members = self.peers.iter().filter(|(_, known)| !known.member_of.is_empty());
        members
            .map(|(&peer, known)| {
                let link = known.settled.and_then(|id| self.links.get(&id)).map(|held| &held.link);
                let (sent, received) = link.map(Link::traffic).unwrap_or_default();
                let seen_ms = if link.is_some() { Some(now_ms) } else { known.seen_ms };
                PeerStatus {
                    peer,
                    name: known.name.clone(),
                    connected: link.is_some(),
                    address: link.map(Link::address).or_else(|| known.addresses.first().copied()),
                    disowns: known.disowns,
                    rtt_ms: link.map(Link::rtt_ms),
                    last_seen_ms: seen_ms.map(|seen| wall_ms.saturating_sub(now_ms.saturating_sub(seen))),
                    sent_bytes: known.sent_bytes + sent,
                    received_bytes: known.received_bytes + received,
                }
            })
            .collect()
    }

    fn know(&mut self, peer: PeerId) -> &mut Known {
        self.peers.entry(peer).or_insert_with(|| Known::new(self.seed, peer))
    }
}

impl Known {
    fn new(seed: u64, peer: PeerId) -> Self {
        let own = peer.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self {
            name: peer.short(),
            member_of: BTreeSet::new(),
            addresses: Vec::new(),
            settled: None,
            backoff: Backoff::new(seed ^ own),
            due_ms: 0,
            dialling: false,
            disowns: false,
            seen_ms: None,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    /// A member that is not here and that nobody is dialling.
    fn is_missed(&self) -> bool {
        self.settled.is_none() && !self.dialling && !self.member_of.is_empty()
    }

    /// Puts addresses in front; whether any of them is new.
    fn remember(&mut self, addresses: &[SocketAddr]) -> bool {
        let news = addresses.iter().any(|address| !self.addresses.contains(address));
        let mut seen = BTreeSet::new();
        let all = addresses.iter().chain(&self.addresses).copied();
        self.addresses = all.filter(|&address| seen.insert(address)).take(ADDRESSES_MAX).collect();
        news
    }

    fn news(&self, peer: PeerId, now_ms: u64) -> Option<PeerNews> {
        let seen = if self.settled.is_some() { Some(now_ms) } else { self.seen_ms };
        let heard_ms_ago = now_ms.saturating_sub(seen?);
        let addresses = self.addresses.clone();
        (!addresses.is_empty()).then(|| PeerNews { peer, name: self.name.clone(), addresses, heard_ms_ago })
    }
}
