//! Two honest peers with real engines and trees behind real nodes, and a member that keeps no rules.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pfs_engine::model::entry::{Body, Entry, Holding, Role, SignedEntry};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{EntryHash, Epoch, LogId, NodeId, VolumeId};
use pfs_engine::model::keys::Keypair;
use pfs_engine::model::name::Name;
use pfs_engine::model::patch::{Attr, Content, Patch, Place};
use pfs_engine::model::time::Time;
use pfs_engine::{Engine, Options};
use pfs_net::proto::message::{Message, Secret};
use pfs_net::{EngineLocal, Node, NodeOptions, Ticket, TicketPeer};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::raw::Raw;

/// A real peer.
pub(crate) struct Peer {
    pub(crate) engine: Engine,
    pub(crate) node: Node,
    pub(crate) dir: PathBuf,
}

/// Two honest peers that share a volume, and a third that is a member of it, too, and hostile.
pub(crate) struct World {
    pub(crate) anna: Peer,
    pub(crate) ben: Peer,
    pub(crate) mallory: Keypair,
    pub(crate) volume: VolumeId,
    written: u32,
    _dir: tempfile::TempDir,
    _turn: Turn,
}

/// Memory and descriptors are those of the process: while a test measures them, no other runs.
static TURNS: RwLock<()> = RwLock::const_new(());

#[expect(dead_code, reason = "held for as long as the test runs")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

async fn peer(dir: &Path, name: &str) -> Peer {
    let (home, tree) = (dir.join(name).join("home"), dir.join(name).join("tree"));
    std::fs::create_dir_all(&tree).expect("a temporary directory takes folders");
    Engine::init(&home, name).expect("a new home");
    let engine = Engine::open(&home, Options { live: true }).expect("a new peer");
    let local = Arc::new(EngineLocal::new(engine.clone()).expect("an open engine"));
    let listen = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let node = Node::start(local, NodeOptions { listen, discovery: false }).await.expect("a free port");
    Peer { engine, node, dir: tree }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at(Turn::Shared(TURNS.read().await)).await
    }

    /// For a test that measures.
    pub(crate) async fn alone() -> Self {
        Self::at(Turn::Alone(TURNS.write().await)).await
    }

    async fn at(turn: Turn) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (anna, ben) = (peer(dir.path(), "anna").await, peer(dir.path(), "ben").await);
        std::fs::write(anna.dir.join("first"), "x").expect("a file");
        let (volume, _) = anna.engine.track(&anna.dir, "v", 2, None).expect("a directory");
        let secret = anna.engine.invite(volume, Role::Writer, u64::MAX, 2).expect("a volume");
        let mallory = Keypair::from_seed(&[66; 32]);
        anna.engine.admit(volume, secret, mallory.peer(), "mallory".into(), Holding::All).expect("an open invite");
        ben.engine.adopt(volume, "v", &ben.dir, Holding::All).expect("an empty directory");
        let addresses = vec![anna.node.listening()];
        let ticket = Ticket {
            volume,
            volume_name: "v".into(),
            secret: Secret(secret),
            role: Role::Writer,
            expires_ms: u64::MAX,
            peers: vec![TicketPeer { peer: anna.engine.peer(), name: "anna".into(), addresses }],
        };
        ben.node.join(&ticket, Holding::All).await.expect("anna admits ben");
        let mut world = Self { anna, ben, mallory, volume, written: 0, _dir: dir, _turn: turn };
        world.honest_peers_go_on().await;
        world
    }

    pub(crate) async fn stranger(&self) -> Raw {
        self.another_stranger().await.expect("there is room for one")
    }

    pub(crate) async fn another_stranger(&self) -> Option<Raw> {
        Raw::connect(&Keypair::from_seed(&[99; 32]), self.anna.node.listening()).await
    }

    /// A connection of mallory's that has been told what anna has.
    pub(crate) async fn member(&self) -> Raw {
        let raw = Raw::connect(&self.mallory, self.anna.node.listening()).await;
        let mut raw = raw.expect("there is room for a member");
        raw.greet().await;
        loop {
            match raw.hear().await.expect("a member is talked to") {
                Message::Volume { volume, .. } if volume == self.volume => return raw,
                _ => {}
            }
        }
    }

    /// The same, with mallory's own first words about the volume.
    pub(crate) async fn in_session(&self) -> Raw {
        let mut raw = self.member().await;
        raw.say(Message::Volume { volume: self.volume, frontier: Frontier::default() }).await;
        raw
    }

    /// A file that anna writes comes to ben, and one of ben's to anna.
    pub(crate) async fn honest_peers_go_on(&mut self) {
        for (from, to) in [(&self.anna, &self.ben), (&self.ben, &self.anna)] {
            self.written += 1;
            let name = format!("written-{}", self.written);
            std::fs::write(from.dir.join(&name), name.repeat(100)).expect("a tree takes files");
            until("an honest file", || std::fs::read(to.dir.join(&name)).is_ok_and(|b| b.len() == name.len() * 100))
                .await;
        }
    }

    pub(crate) fn entry(&self, seq: u64, prev: EntryHash, body: Body) -> Entry {
        let log = LogId { origin: self.mallory.peer(), epoch: Epoch(1) };
        let deps = self.anna.engine.volume(self.volume).expect("a volume").frontier().0.into_iter().collect();
        // Later than all that anna has.
        let time = Time::from_ms(self.anna.engine.now_ms() + 60_000);
        Entry { volume: self.volume, log, seq, prev, deps, time, body }
    }

    pub(crate) fn patches(&self, patches: Vec<Patch>) -> SignedEntry {
        self.entry(1, EntryHash::NONE, Body::Patches(patches)).sign(&self.mallory)
    }
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A directory born in the root.
pub(crate) fn birth(volume: VolumeId, name: &str) -> Patch {
    let name = Name::try_from(name.as_bytes()).expect("a name");
    let node = NodeId::born(volume, NodeId::ROOT, &name, true, 0);
    Patch {
        place: Some(Place::At { parent: NodeId::ROOT, name }),
        content: Some(Content::Dir),
        attr: Some(Attr { mode: 0o755, ..Attr::default() }),
        born: Some(0),
        ..Patch::new(node)
    }
}
