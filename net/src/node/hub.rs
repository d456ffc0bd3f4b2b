//! The node at work: one task that tells the engine and dials, one that accepts, one for every link.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pfs_engine::model::ids::{PeerId, VolumeId};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep_until, timeout};

use super::roster::{Notice, Parting, Roster};
use super::{NodeError, NodeOptions, PeerStatus};
use crate::io::discovery::Discovery;
use crate::io::driver::{self, Ended, Host, Parts};
use crate::io::endpoint::{DialError, Endpoint, Knock, Link};
use crate::io::mailbox::Mailbox;
use crate::local::{Local, LocalError, LocalEvent};
use crate::proto::limits::{ADDRESSES_MAX, DIAL, FAREWELL, LINKS_MAX};
use crate::proto::message::{Bye, Hello, PROTOCOL_VERSION, PeerNews, bounded_text};
use crate::proto::session::Close;

const AGENT: &str = concat!("pfs/", env!("CARGO_PKG_VERSION"));

/// Shared by all tasks of a node.
pub(super) struct Hub {
    local: Arc<dyn Local>,
    endpoint: Endpoint,
    me: PeerId,
    run: u64,
    started: Instant,
    roster: Mutex<Roster>,
    /// The roster has something for the engine, or somebody to dial.
    news: Notify,
    /// A link settled or ended.
    links: Notify,
    closing: watch::Sender<bool>,
    /// The engine is told and the socket is closed.
    done: watch::Sender<bool>,
    discovery: Mutex<Option<Discovery>>,
}

impl Hub {
    pub(super) async fn start(local: Arc<dyn Local>, options: NodeOptions) -> Result<Arc<Self>, NodeError> {
        let me = local.peer();
        let run = getrandom::u64().map_err(NodeError::Random)?;
        let hub = Arc::new(Self {
            endpoint: Endpoint::bind(&local.keys(), options.listen)?,
            me,
            run,
            started: Instant::now(),
            roster: Mutex::new(Roster::new(me, run)),
            news: Notify::new(),
            links: Notify::new(),
            closing: watch::channel(false).0,
            done: watch::channel(false).0,
            discovery: Mutex::new(None),
            local,
        });
        let weak = Arc::downgrade(&hub);
        hub.local.subscribe(Box::new(move |event| {
            if let Some(hub) = weak.upgrade() {
                hub.on_local(event);
            }
        }));
        hub.refresh_all().await;
        if options.discovery {
            let weak = Arc::downgrade(&hub);
            let found = move |peer, addresses: Vec<SocketAddr>| {
                weak.upgrade().inspect(|hub| hub.learn(peer, addresses));
            };
            *lock(&hub.discovery) = Discovery::start(me, hub.listening().port(), found);
        }
        tokio::spawn(accept_all(hub.clone()));
        tokio::spawn(work(hub.clone()));
        Ok(hub)
    }

    pub(super) fn me(&self) -> PeerId {
        self.me
    }

    pub(super) fn listening(&self) -> SocketAddr {
        self.endpoint.listening()
    }

    pub(super) fn peers(&self) -> Vec<PeerStatus> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.roster().statuses(self.now_ms(), wall)
    }

    pub(super) fn shares(&self, peer: PeerId, volume: VolumeId) -> bool {
        self.roster().shares(peer, volume)
    }

    pub(super) fn learn(&self, peer: PeerId, mut addresses: Vec<SocketAddr>) {
        addresses.truncate(ADDRESSES_MAX);
        self.roster().learn(peer, &addresses, self.now_ms());
        self.news.notify_one();
    }

    pub(super) async fn has_volume(&self, volume: VolumeId) -> bool {
        self.blocking(move |local| local.volumes().contains(&volume)).await.unwrap_or(false)
    }

    /// The settled connection to a peer, dialled if there is none.
    pub(super) async fn reach(
        self: &Arc<Self>,
        peer: PeerId,
        addresses: Vec<SocketAddr>,
    ) -> Result<Arc<Mailbox>, DialError> {
        if let Some(mailbox) = self.roster().mailbox_of(peer) {
            return Ok(mailbox);
        }
        let link = self.endpoint.dial(peer, addresses).await?;
        self.attach(link);
        let settled = async {
            loop {
                let changed = self.links.notified();
                if let Some(mailbox) = self.roster().mailbox_of(peer) {
                    return mailbox;
                }
                changed.await;
            }
        };
        timeout(DIAL, settled).await.map_err(|_| DialError::Unreachable)
    }

    /// Every task ends soon; nobody waits.
    pub(super) fn stop(&self) {
        self.closing.send_replace(true);
        *lock(&self.discovery) = None;
        self.roster().links.values().for_each(|held| held.mailbox.bye(Bye::Shutdown));
    }

    pub(super) async fn shutdown(&self) {
        self.stop();
        let mut done = self.done.subscribe();
        // The sender lives as long as the hub.
        let _ = done.wait_for(|done| *done).await;
    }

    /// Waits until every link has said goodbye. Whoever does not take it in time finds out by silence.
    async fn farewell(&self) {
        let quiet = async {
            loop {
                let changed = self.links.notified();
                if self.roster().links.is_empty() {
                    return;
                }
                changed.await;
            }
        };
        let _ = timeout(FAREWELL, quiet).await;
    }

    fn on_local(&self, event: LocalEvent) {
        let mut roster = self.roster();
        match event {
            LocalEvent::Appended(volume) => {
                roster.links.values().for_each(|held| held.mailbox.changed(volume));
            }
            // Frontiers only grow within a session: new ones begin with what is so now.
            LocalEvent::Withdrawn(_) => roster.links.values().for_each(|held| held.mailbox.bye(Bye::Shutdown)),
            LocalEvent::Members(volume) => {
                roster.links.values().for_each(|held| held.mailbox.changed(volume));
                roster.stale.insert(volume);
                self.news.notify_one();
            }
            LocalEvent::Wanted(_) => roster.links.values().for_each(|held| held.mailbox.wanted()),
            LocalEvent::Closing => {
                drop(roster);
                self.stop();
            }
        }
    }

    /// A connection begins its life.
    fn attach(self: &Arc<Self>, link: Link) {
        let now_ms = self.now_ms();
        let Some((id, mailbox)) = self.roster().add_link(&link, now_ms) else { return link.close() };
        if *self.closing.borrow() {
            mailbox.bye(Bye::Shutdown);
        }
        let hub = self.clone();
        tokio::spawn(async move {
            let hello = hub.hello().await;
            let host: Arc<dyn Host> = hub.clone();
            let peer = link.peer;
            let ended = driver::run(Parts { id, link, mailbox, local: hub.local.clone(), host }, hello).await;
            let parting = match &ended {
                Ended::Closed(close @ (Close::Violation(_) | Close::Hostile(_))) => {
                    tracing::warn!(peer = %peer, reason = %close, "session ended with evidence");
                    Parting::Distrusted
                }
                Ended::Closed(close @ Close::Remote(Bye::Removed | Bye::Stranger)) => {
                    tracing::info!(peer = %peer, reason = %close, "not taken for a member");
                    Parting::Disowned
                }
                Ended::Closed(close) => {
                    tracing::debug!(peer = %peer, reason = %close, "session ended");
                    Parting::Ordinary
                }
                Ended::Lost => {
                    tracing::debug!(peer = %peer, "connection lost");
                    Parting::Ordinary
                }
            };
            hub.roster().end_link(id, parting, hub.now_ms());
            hub.news.notify_one();
            hub.links.notify_waiters();
        });
    }

    async fn hello(&self) -> Hello {
        let name = self.blocking(<dyn Local>::name).await.unwrap_or_default();
        Hello {
            protocol: PROTOCOL_VERSION,
            name: bounded_text(&name),
            agent: AGENT.to_owned(),
            run: self.run,
            addresses: vec![self.listening()],
        }
    }

    async fn refresh_all(&self) {
        let volumes = self.blocking(<dyn Local>::volumes).await.unwrap_or_default();
        self.refresh(volumes.into_iter().collect()).await;
    }

    /// Looks up the members of volumes.
    async fn refresh(&self, volumes: BTreeSet<VolumeId>) {
        for volume in volumes {
            let members = self.blocking(move |local| match local.members(volume) {
                Err(LocalError::UnknownVolume(_)) => Ok(BTreeMap::new()),
                result => result,
            });
            match members.await {
                Some(Ok(members)) => self.roster().set_members(volume, &members, self.now_ms()),
                Some(Err(error)) => {
                    tracing::warn!(%volume, error = &error as &dyn std::error::Error, "members unknown");
                }
                None => {}
            }
        }
    }

    /// Tells the engine who came and went, in order; chunks are asked for only after it knows.
    async fn tell_all(&self) {
        loop {
            let notice = self.roster().notices.pop_front();
            let Some(notice) = notice else { return };
            self.tell(notice).await;
        }
    }

    async fn tell(&self, notice: Notice) {
        match notice {
            Notice::Up { peer, address, link } => {
                self.blocking(move |local| local.peer_up(peer, link, address)).await;
                if let Some(held) = self.roster().links.get(&link) {
                    held.mailbox.settled();
                }
            }
            Notice::Down(peer) => {
                self.blocking(move |local| local.peer_down(peer)).await;
            }
            Notice::Learned(peer, addresses) => {
                self.blocking(move |local| local.learn_addresses(peer, addresses)).await;
            }
        }
    }

    async fn dial(self: Arc<Self>, peer: PeerId, mut addresses: Vec<SocketAddr>) {
        let stored = self.blocking(move |local| local.addresses(peer)).await.unwrap_or_default();
        addresses.extend(stored);
        let mut seen = BTreeSet::new();
        addresses.retain(|address| seen.insert(*address));
        let reached = match self.endpoint.dial(peer, addresses).await {
            Ok(link) => {
                self.attach(link);
                true
            }
            Err(DialError::WrongKey { address, met }) => {
                tracing::warn!(%address, expected = %peer, %met, "another peer at a known address");
                false
            }
            Err(DialError::Unreachable) => false,
        };
        self.roster().dialled(peer, reached, self.now_ms());
        self.news.notify_one();
    }

    /// Calls the engine off the async threads; nothing if that call did not come back.
    async fn blocking<T: Send + 'static>(&self, call: impl FnOnce(&dyn Local) -> T + Send + 'static) -> Option<T> {
        let local = self.local.clone();
        spawn_blocking(move || call(&*local)).await.ok()
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        lock(&self.roster)
    }
}

impl Host for Hub {
    fn met(&self, link: u64, hello: &Hello) {
        let now_ms = self.now_ms();
        let mut roster = self.roster();
        let Some(held) = roster.links.get(&link) else { return };
        let from = held.link.address().ip();
        let told = hello.addresses.iter().filter(|address| address.port() != 0);
        let meant = |address: &SocketAddr| {
            let ip = if address.ip().is_unspecified() { from } else { address.ip() };
            SocketAddr::new(ip, address.port())
        };
        let addresses = told.map(meant).collect();
        roster.met(link, hello.run, &hello.name, addresses, now_ms);
        drop(roster);
        self.news.notify_one();
        self.links.notify_waiters();
    }

    fn opened(&self, link: u64, volume: VolumeId) {
        let mut roster = self.roster();
        roster.opened(link, volume);
        roster.introduce(link, volume, self.now_ms());
    }

    fn heard(&self, from: PeerId, volume: VolumeId, peers: Vec<PeerNews>) {
        tracing::debug!(%from, %volume, count = peers.len(), "heard of peers");
        let now_ms = self.now_ms();
        let mut roster = self.roster();
        for news in &peers {
            roster.learn(news.peer, &news.addresses, now_ms);
        }
        drop(roster);
        self.news.notify_one();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("me", &self.me).field("listening", &self.listening()).finish_non_exhaustive()
    }
}

/// Answers whoever knocks, so many at a time.
async fn accept_all(hub: Arc<Hub>) {
    let places = Arc::new(Semaphore::new(LINKS_MAX));
    while let Some(knock) = hub.endpoint.accept().await {
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(answer(Arc::downgrade(&hub), knock, place));
            }
            Err(_) => knock.refuse(),
        }
    }
}

async fn answer(hub: Weak<Hub>, knock: Knock, _place: tokio::sync::OwnedSemaphorePermit) {
    if let (Some(link), Some(hub)) = (knock.answer().await, hub.upgrade()) {
        hub.attach(link);
    }
}

/// Tells the engine what happened and dials who is due, until the node closes.
async fn work(hub: Arc<Hub>) {
    let mut closing = hub.closing.subscribe();
    while !*closing.borrow_and_update() {
        hub.tell_all().await;
        let stale = std::mem::take(&mut hub.roster().stale);
        hub.refresh(stale).await;
        let due = hub.roster().take_due(hub.now_ms());
        for (peer, addresses) in due {
            tokio::spawn(hub.clone().dial(peer, addresses));
        }
        let next_ms = hub.roster().next_due_ms();
        let due = async {
            match next_ms {
                Some(ms) => sleep_until((hub.started + Duration::from_millis(ms)).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = hub.news.notified() => {}
            () = due => {}
            _ = closing.changed() => {}
        }
    }
    hub.farewell().await;
    hub.tell_all().await;
    hub.endpoint.close().await;
    hub.done.send_replace(true);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
