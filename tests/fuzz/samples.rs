//! Valid encodings of everything that peers send each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::LazyLock;

use pfs_engine::limits::SYMLINK_BYTES_MAX;
use pfs_engine::model::codec::encode;
use pfs_engine::model::entry::{Body, Entry, Genesis, Holding, Invite, Member, Role, SignedEntry, Withdraw};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{ChunkId, EntryHash, Epoch, LogId, NodeId, PatchId, PeerId, VolumeId};
use pfs_engine::model::keys::Keypair;
use pfs_engine::model::name::Name;
use pfs_engine::model::patch::{Attr, Content, Patch, Place, Register, Root};
use pfs_engine::model::time::{Mtime, Time};
use pfs_net::proto::message::{Bye, Hello, Message, PROTOCOL_VERSION, PeerNews, Refusal, Secret, Want};
use pfs_net::{Ticket, TicketPeer};

/// Made once: a key takes longer than most of what is fuzzed.
static AUTHOR: LazyLock<Keypair> = LazyLock::new(|| Keypair::from_seed(&[1; 32]));

pub(crate) fn author() -> &'static Keypair {
    &AUTHOR
}

pub(crate) fn genesis() -> Genesis {
    let creator = author().peer();
    Genesis { name: "photos".into(), creator, creator_name: "anna".into(), nonce: [3; 16], replicas: 2 }
}

pub(crate) fn volume() -> VolumeId {
    genesis().volume()
}

pub(crate) fn log(epoch: u64) -> LogId {
    LogId { origin: author().peer(), epoch: Epoch(epoch) }
}

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

/// Births, changes, moves and deletes of every kind of node.
pub(crate) fn patches() -> Vec<Patch> {
    let born = |text: &str, content: Content, attr: Attr| {
        let is_dir = matches!(content, Content::Dir);
        let node = NodeId::born(volume(), NodeId::ROOT, &name(text), is_dir, 7);
        let place = Some(Place::At { parent: NodeId::ROOT, name: name(text) });
        Patch { place, content: Some(content), attr: Some(attr), born: Some(7), ..Patch::new(node) }
    };
    let xattrs = BTreeMap::from([(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![0; 300])]);
    let file = |depth, len| {
        let mtime = Mtime { secs: -5, nanos: 999_999_999 };
        Content::File { len, root: Root { id: ChunkId([4; 32]), depth }, mtime }
    };
    let mut changed = Patch { content: Some(file(3, u64::MAX)), ..Patch::new(NodeId([5; 32])) };
    changed.supersedes.set(Register::Content, (0..60).map(|n| PatchId([n; 32])));
    let mut moved = Patch {
        place: Some(Place::At { parent: NodeId([6; 32]), name: name(&"n".repeat(255)) }),
        ..Patch::new(NodeId([5; 32]))
    };
    moved.supersedes.set(Register::Place, [PatchId([1; 32])]);
    let gone = Patch {
        place: Some(Place::Nowhere),
        content: Some(Content::Gone),
        within: Some(PatchId([2; 32])),
        ..Patch::new(NodeId([5; 32]))
    };
    vec![
        born("file", file(0, 9), Attr { mode: 0o640, xattrs }),
        born("dir", Content::Dir, Attr { mode: 0o755, ..Attr::default() }),
        born("link", Content::Symlink { target: vec![b'x'; SYMLINK_BYTES_MAX] }, Attr::default()),
        changed,
        moved,
        gone,
    ]
}

/// One entry of each kind.
pub(crate) fn entries() -> Vec<SignedEntry> {
    let deps: Vec<_> = (2..40).map(|epoch| (log(epoch), epoch << 30)).collect();
    let member = Member {
        peer: PeerId([8; 32]),
        name: "ben's laptop".into(),
        role: Role::Writer,
        holding: Holding::Share,
        invite: [9; 32],
    };
    let bodies = [
        Body::Patches(patches()),
        Body::Patches(Vec::new()),
        Body::Invite(Invite { id: [7; 32], role: Role::Thin, uses: 9, expires_ms: u64::MAX }),
        Body::Member(member),
        Body::Remove(PeerId([8; 32])),
        Body::Withdraw(Withdraw { log: log(2), seq: 9, hash: EntryHash([1; 32]) }),
    ];
    let first = (1, EntryHash::NONE, Vec::new(), Body::Genesis(genesis()));
    let later = bodies.into_iter().zip(2..).map(|(body, seq)| (seq, EntryHash([6; 32]), deps.clone(), body));
    let entry = |(seq, prev, deps, body)| {
        Entry { volume: volume(), log: log(1), seq, prev, deps, time: Time(seq << 50), body }.sign(author())
    };
    std::iter::once(first).chain(later).map(entry).collect()
}

fn addresses() -> Vec<SocketAddr> {
    ["127.0.0.1:7440", "[2001:db8::1]:9", "0.0.0.0:1"].map(|text| text.parse().unwrap()).to_vec()
}

pub(crate) fn frontier(logs: u64) -> Frontier {
    Frontier((1..=logs).map(|epoch| (log(epoch), epoch)).collect())
}

/// One message of each kind.
pub(crate) fn messages() -> Vec<Message> {
    let volume = volume();
    let peer = || PeerNews { peer: PeerId([8; 32]), name: "ben".into(), addresses: addresses(), heard_ms_ago: 9 };
    let (name, agent) = ("anna".to_owned(), "pfs/0".to_owned());
    vec![
        Message::Hello(Hello { protocol: PROTOCOL_VERSION, name, agent, run: u64::MAX, addresses: addresses() }),
        Message::Volume { volume, frontier: frontier(9) },
        Message::Entries { volume, entries: entries() },
        Message::Frontier { volume, frontier: frontier(1), taken: 1 },
        Message::Join { volume, secret: Secret([5; 16]), name: "carl".into(), holding: Holding::All },
        Message::Joined { volume },
        Message::Refused { volume, refusal: Refusal::UsedUp, text: "too late".into() },
        Message::Peers { volume, peers: vec![peer(), peer()] },
        Message::Ping { token: 1 << 60 },
        Message::Pong { token: 0 },
        Message::Bye { reason: Bye::Busy },
    ]
}

pub(crate) fn want() -> Want {
    Want { volume: volume(), ids: (0..40).map(|n| ChunkId([n; 32])).collect() }
}

pub(crate) fn ticket() -> Ticket {
    let peer = |n| TicketPeer { peer: PeerId([n; 32]), name: format!("peer {n}"), addresses: addresses() };
    Ticket {
        volume: volume(),
        volume_name: "photos".into(),
        secret: Secret([5; 16]),
        role: Role::Writer,
        expires_ms: 1 << 40,
        peers: vec![peer(1), peer(2)],
    }
}

/// The encodings of some values.
pub(crate) fn encoded<T: serde::Serialize>(values: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    values.into_iter().map(|value| encode(&value)).collect()
}
