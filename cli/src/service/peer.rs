//! What runs in this process: the engine, its network side, and the node while there is one.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use pfs_engine::disk::free_space;
use pfs_engine::model::ids::{PeerId, VolumeId};
use pfs_engine::{Engine, Options};
use pfs_net::{BindError, EngineLocal, Node, NodeError, NodeOptions};
use tokio::runtime::{self, Runtime};

use super::errors;
use super::events::Bell;
use crate::api::service::{ErrorKind, Result, ServiceError};
use crate::api::types::{DaemonInfo, WallTime};
use crate::connect::Purpose;
use crate::home::Home;

/// How long what the node still does may take once it has said goodbye.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks whether the store still takes writes.
const TEND: Duration = Duration::from_secs(2);
/// A store that had no room is opened again once there is this much.
const ROOM_BYTES_MIN: u64 = 32_000_000;
/// Where the store keeps the address that the last daemon listened on, as text.
const LISTEN_KEY: &str = "listen";

/// The peer of one home, running or not.
pub(super) struct Peer {
    home: Home,
    purpose: Purpose,
    since: WallTime,
    /// Where a daemon listens, from its first start on.
    listen: OnceLock<SocketAddr>,
    running: Mutex<Option<Running>>,
    closed: AtomicBool,
    /// Held while a thread of the daemon's own works on the store, which is not closed before it lets go.
    caring: Mutex<()>,
    bell: Arc<Bell>,
}

/// A peer that runs. Clones share it.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) engine: Engine,
    pub(super) local: Arc<EngineLocal>,
    pub(super) net: Option<Arc<Net>>,
    /// Of the daemon, if this is one.
    pub(super) daemon: Option<DaemonInfo>,
}

/// A node and the threads that drive it.
pub(super) struct Net {
    pub(super) node: Node,
    /// Ends after the node, which needs it.
    pub(super) runtime: Runtime,
}

impl Peer {
    /// Nothing is opened yet.
    pub(super) fn new(home: &Home, purpose: &Purpose) -> Self {
        Self {
            home: home.clone(),
            purpose: *purpose,
            since: WallTime(Timestamp::now()),
            listen: OnceLock::new(),
            running: Mutex::new(None),
            closed: AtomicBool::new(false),
            caring: Mutex::default(),
            bell: Arc::default(),
        }
    }

    /// Rung by whatever happens in the engine.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// The peer as its purpose has it: a daemon with its node, a command without.
    pub(super) fn running(&self) -> Result<Running> {
        if self.listen.get().is_some() {
            return self.networked();
        }
        let mut slot = self.slot();
        if let Some(running) = &*slot {
            return Ok(running.clone());
        }
        let running = self.open(false)?;
        Ok(slot.insert(running).clone())
    }

    /// The same, but a command, too, works on its trees and talks to peers from here on.
    pub(super) fn networked(&self) -> Result<Running> {
        let mut slot = self.slot();
        if let Some(running) = slot.as_ref().filter(|running| running.net.is_some()) {
            return Ok(running.clone());
        }
        if self.is_closed() {
            return Err(ServiceError::new(ErrorKind::Failed, "the daemon is stopping"));
        }
        // What a command opened before has neither watch nor node.
        drop(slot.take());
        let mut running = self.open(true)?;
        let node = match self.purpose {
            Purpose::Daemon { listen, discovery } => {
                NodeOptions { listen: self.listen.get().copied().unwrap_or(listen), discovery }
            }
            Purpose::Command => {
                NodeOptions { listen: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0), discovery: false }
            }
        };
        let net = Net::start(&running.local, node)?;
        if let Purpose::Daemon { .. } = self.purpose {
            let listen = self.listen.get_or_init(|| net.node.listening()).to_string();
            running.engine.store().set_meta(LISTEN_KEY, listen.as_bytes())?;
            running.daemon = Some(DaemonInfo { pid: std::process::id(), listen, since: self.since });
        }
        running.net = Some(Arc::new(net));
        Ok(slot.insert(running).clone())
    }

    /// Ends sessions and closes the store; what was asked before may still hold it for a moment.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _caring = self.caring.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.slot().take();
        running.into_iter().for_each(Running::end);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Does a piece of work that nobody asked for; it ends soon after the peer is closed.
    pub(super) fn with_care(&self, work: impl FnOnce(&Running) -> Result<()>) -> Result<()> {
        let _caring = self.caring.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() {
            return Ok(());
        }
        work(&self.running()?)
    }

    /// Opens a daemon's store again whenever a write to it has failed, as soon as there is room for it: what was
    /// not written is still in the trees, where the next look finds it, or with the other members.
    pub(super) fn keep_open(self: &Arc<Self>) -> io::Result<()> {
        let peer = Arc::downgrade(self);
        let tend = move || {
            while let Some(peer) = peer.upgrade().filter(|peer| !peer.is_closed()) {
                peer.reopen_if_failed();
                drop(peer);
                thread::sleep(TEND);
            }
        };
        thread::Builder::new().name("pfs-tend".into()).spawn(tend).map(|_| ())
    }

    fn reopen_if_failed(&self) {
        let failed = match &mut *self.slot() {
            None => None,
            slot @ Some(_) => {
                let failure = slot.as_ref().and_then(|running| running.engine.store().failure().cloned());
                let Some(failure) = failure else { return };
                let free = free_space(self.home.dir());
                if failure.is_full && free.is_ok_and(|free| free < ROOM_BYTES_MIN) {
                    return;
                }
                slot.take()
            }
        };
        failed.into_iter().for_each(Running::end);
        match self.networked() {
            Ok(_) => tracing::info!("the store is open again"),
            Err(error) => tracing::warn!(%error, "the store cannot be opened again yet"),
        }
    }

    fn open(&self, live: bool) -> Result<Running> {
        let engine = Engine::open(self.home.dir(), Options { live })?;
        let bell = Arc::clone(&self.bell);
        engine.subscribe(Box::new(move |_| bell.ring()))?;
        let local = Arc::new(EngineLocal::new(engine.clone())?);
        Ok(Running { engine, local, net: None, daemon: None })
    }

    fn slot(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn end(self) {
        let Self { engine, local, net, .. } = self;
        if let Some(net) = net {
            net.runtime.block_on(net.node.shutdown());
            if let Some(Net { node, runtime }) = Arc::into_inner(net) {
                drop(node);
                runtime.shutdown_timeout(GRACE);
            }
        }
        drop((local, engine));
    }

    /// Where the daemon of this home listens, or the last one listened.
    pub(super) fn listening(&self) -> Result<Option<SocketAddr>> {
        if let (Some(_), Some(net)) = (&self.daemon, &self.net) {
            return Ok(Some(net.node.listening()));
        }
        let kept = self.engine.store().meta(LISTEN_KEY)?;
        Ok(kept.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| text.parse().ok()))
    }

    /// Whether a peer is connected and has a volume now; never without a node.
    pub(super) fn shares(&self, peer: PeerId, volume: VolumeId) -> bool {
        self.net.as_ref().is_some_and(|net| net.node.shares(peer, volume))
    }

    /// The other members that the node knows; none without a node.
    pub(super) fn node_peers(&self) -> Vec<pfs_net::PeerStatus> {
        self.net.as_ref().map(|net| net.node.peers()).unwrap_or_default()
    }
}

impl Net {
    fn start(local: &Arc<EngineLocal>, options: NodeOptions) -> Result<Self> {
        let failed = |what: String| ServiceError::new(ErrorKind::Failed, what);
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(2).thread_name("pfs-net").enable_all().build();
        let runtime = runtime.map_err(|error| failed(format!("starting the network: {error}")))?;
        let node = runtime.block_on(Node::start(local.clone(), options)).map_err(|error| {
            let hint = match error {
                NodeError::Bind(BindError::PortInUse { .. }) => {
                    "another pfs or another program uses it: name another with --listen, port 0 takes any free one"
                }
                _ => "name an address of this machine with --listen, like 0.0.0.0:7440",
            };
            failed(format!("listening on {}: {}", options.listen, errors::cause(&error))).hint(hint)
        })?;
        Ok(Self { node, runtime })
    }
}
