//! One peer's session: everything said with one peer over one connection, as a state machine.
//!
//! Inputs are the `handle_*` methods and the answers to actions (`standing`, `loaded`, `stored`, `admitted`);
//! every one takes the time where it matters. After each input the driver drains `poll_action` until it gives
//! nothing, and arranges to be back by `poll_timeout`. A peer that breaks the rules ends the session and
//! nothing else.

use std::collections::{BTreeMap, BTreeSet};

use pfs_engine::handle::Received;
use pfs_engine::model::entry::{Holding, SignedEntry};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{LogId, VolumeId};

use super::exchange::{Common, Exchange};
use super::frame::FrameTooLarge;
use super::limits::{
    FRAME_BYTES_MAX, JOINS_MAX, PING_AFTER_MS, SESSION_LOGS_MAX, SILENCE_MS_MAX, STRANGE_VOLUMES_MAX,
    STRANGER_FRAME_BYTES_MAX, STRANGER_LOGS_MAX, STRANGER_MS_MAX, VOLUMES_MAX,
};
use super::message::{Bye, Hello, Message, MessageError, PROTOCOL_VERSION, PeerNews, Refusal, Secret, bounded_text};

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Put it on the control stream, after what was put there before.
    Send(Message),
    /// The remote's `Hello` came.
    Met(Hello),
    /// Look up what our side has of a volume and whether the remote is a member; answer with `standing`.
    Look {
        /// Which volume.
        volume: VolumeId,
    },
    /// Read entries in causal order; answer with `loaded`.
    Load {
        /// Which volume.
        volume: VolumeId,
        /// Beyond this.
        after: Frontier,
        /// About as much.
        bytes_max: usize,
    },
    /// Verify entries and make them durable; answer with `stored`.
    Store {
        /// Which volume.
        volume: VolumeId,
        /// In the order in which they came.
        entries: Vec<SignedEntry>,
    },
    /// Make the remote a member if the secret is an open invite's; answer with `admitted`.
    Admit {
        /// Which volume.
        volume: VolumeId,
        /// The invite's.
        secret: Secret,
        /// What people call the remote.
        name: String,
        /// What it will hold.
        holding: Holding,
    },
    /// The answer to `join`.
    Joined {
        /// Which volume.
        volume: VolumeId,
        /// Whether we are a member, or why not.
        result: Result<(), Refusal>,
    },
    /// The remote, a member, durably has at least this.
    Holds {
        /// Which volume.
        volume: VolumeId,
        /// Not only what is new.
        frontier: Frontier,
    },
    /// The two sides take each other for members of a volume: chunks can be asked for.
    Open {
        /// Which volume.
        volume: VolumeId,
    },
    /// A member told where others are.
    Heard {
        /// Which volume.
        volume: VolumeId,
        /// Hearsay.
        peers: Vec<PeerNews>,
    },
    /// The session is over; nothing follows.
    Close(Close),
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Close {
    /// The remote said so.
    #[error("the peer ended the session: {0}")]
    Remote(Bye),
    /// We said so.
    #[error("this side ended the session: {0}")]
    Local(Bye),
    /// The remote broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] ProtocolViolation),
    /// The remote sent what no honest peer sends.
    #[error("the peer sent something forged: {0}")]
    Hostile(String),
}

/// How a peer broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolViolation {
    /// A frame longer than allowed at that time.
    #[error(transparent)]
    Frame(#[from] FrameTooLarge),
    /// Bytes that are no message, or one out of bounds.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A message that has no place here.
    #[error("{0} out of turn")]
    OutOfState(&'static str),
    /// An entry of another volume than its message.
    #[error("an entry of another volume")]
    WrongVolume,
    /// More than the window, or more volumes or joins than a session has.
    #[error("more than was agreed")]
    Flood,
    /// A frame of a chunk stream out of form.
    #[error("a chunk stream out of form")]
    Chunks,
}

/// Why received entries were not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreRefusal {
    /// Forged; the evidence in words.
    Hostile(String),
    /// What they depend on is not here.
    NotYet,
    /// Our side failed.
    Failed,
}

/// The conversation with one peer.
#[derive(Debug)]
pub struct Session {
    exchanges: BTreeMap<VolumeId, Exchange>,
    common: Common,
    /// Joins that we asked for and that were not answered.
    joining: BTreeSet<VolumeId>,
    joins_heard: u32,
    met: bool,
    closed: bool,
    started_ms: u64,
    heard_ms: u64,
    pinged: bool,
}

impl Session {
    /// A session that begins with our `Hello`.
    pub fn new(hello: Hello, now_ms: u64) -> Self {
        let mut common = Common::default();
        common.send(Message::Hello(hello));
        Self {
            exchanges: BTreeMap::new(),
            common,
            joining: BTreeSet::new(),
            joins_heard: 0,
            met: false,
            closed: false,
            started_ms: now_ms,
            heard_ms: now_ms,
            pinged: false,
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.common.actions.pop_front()
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.closed {
            return None;
        }
        let alive = self.heard_ms + if self.pinged { SILENCE_MS_MAX } else { PING_AFTER_MS };
        let stranger = (!self.is_member()).then_some(self.started_ms + STRANGER_MS_MAX);
        let retry = self.exchanges.values().filter_map(Exchange::retry_at_ms).min();
        [Some(alive), stranger, retry].into_iter().flatten().min()
    }

    /// How long a frame the remote may send now.
    pub fn frame_bytes_max(&self) -> usize {
        if self.is_member() { FRAME_BYTES_MAX } else { STRANGER_FRAME_BYTES_MAX }
    }

    /// Whether the remote counts as a member of any volume.
    pub fn is_member(&self) -> bool {
        self.exchanges.values().any(Exchange::is_member)
    }

    /// Bytes arrived, a whole message or not.
    pub fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        self.pinged = false;
    }

    /// The body of a frame arrived.
    pub fn handle_frame(&mut self, body: &[u8], now_ms: u64) {
        match Message::decode(body) {
            Ok(message) => self.handle_message(message, now_ms),
            Err(error) => self.violated(error.into()),
        }
    }

    /// A message arrived.
    pub fn handle_message(&mut self, message: Message, now_ms: u64) {
        if self.closed {
            return;
        }
        self.heard(now_ms);
        if let Err(violation) = self.take(message).and_then(|()| self.check_logs()) {
            self.violated(violation);
        }
    }

    /// The remote broke the rules in a way that the driver saw.
    pub fn violated(&mut self, violation: ProtocolViolation) {
        self.end(Bye::Protocol, Close::Violation(violation));
    }

    /// The remote sent forged bytes; `evidence` says what.
    pub fn forged(&mut self, evidence: String) {
        self.end(Bye::Hostile, Close::Hostile(evidence));
    }

    /// Ends the session.
    pub fn close(&mut self, reason: Bye) {
        self.end(reason, Close::Local(reason));
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if self.closed {
            return;
        }
        if now_ms >= self.heard_ms + SILENCE_MS_MAX {
            return self.close(Bye::Silent);
        }
        if !self.is_member() && now_ms >= self.started_ms + STRANGER_MS_MAX {
            return self.close(Bye::Stranger);
        }
        if !self.pinged && now_ms >= self.heard_ms + PING_AFTER_MS {
            self.pinged = true;
            self.common.send(Message::Ping { token: now_ms });
        }
        for exchange in self.exchanges.values_mut() {
            exchange.handle_timeout(&mut self.common, now_ms);
        }
    }

    /// What our side has of a volume (`None`: it is none of ours), and whether the remote is a member by our
    /// log. At the start for every volume, and whenever either changed.
    pub fn standing(&mut self, volume: VolumeId, frontier: Option<Frontier>, listed: bool) {
        if self.closed {
            return;
        }
        let is_dropped = frontier.is_none();
        let removed = self.opening(volume, |exchange, common| exchange.standing(common, frontier, listed));
        if removed && !self.is_member() {
            self.close(Bye::Removed);
        } else if removed && is_dropped {
            // What was said of it holds as long as the session: only a new one leaves it out.
            self.close(Bye::Shutdown);
        }
    }

    /// Logs of which our side knows two forms, and from which entry on.
    pub fn show(&mut self, volume: VolumeId, disputes: BTreeMap<LogId, u64>) {
        if let Some(exchange) = self.exchanges.get_mut(&volume).filter(|_| !self.closed) {
            exchange.show(&mut self.common, disputes);
        }
    }

    /// The answer to `Action::Load`; empty where it failed.
    pub fn loaded(&mut self, volume: VolumeId, entries: Vec<SignedEntry>) {
        if let Some(exchange) = self.exchanges.get_mut(&volume).filter(|_| !self.closed) {
            exchange.loaded(&mut self.common, entries);
            self.pump_all();
        }
    }

    /// The answer to `Action::Store`.
    pub fn stored(&mut self, volume: VolumeId, result: Result<Received, StoreRefusal>, now_ms: u64) {
        let Some(exchange) = self.exchanges.get_mut(&volume).filter(|_| !self.closed) else { return };
        if let Err(evidence) = exchange.stored(&mut self.common, result, now_ms) {
            self.forged(evidence);
        }
    }

    /// The answer to `Action::Admit`.
    pub fn admitted(&mut self, volume: VolumeId, result: Result<(), Refusal>) {
        if self.closed {
            return;
        }
        match result {
            Ok(()) => {
                self.common.send(Message::Joined { volume });
                self.opening(volume, Exchange::vouch);
                self.common.actions.push_back(Action::Look { volume });
            }
            Err(refusal) => {
                let text = bounded_text(&refusal.to_string());
                self.common.send(Message::Refused { volume, refusal, text });
            }
        }
    }

    /// Asks the remote to admit us.
    pub fn join(&mut self, volume: VolumeId, secret: Secret, name: &str, holding: Holding) {
        if !self.closed {
            self.joining.insert(volume);
            self.common.actions.push_back(Action::Look { volume });
            self.common.send(Message::Join { volume, secret, name: bounded_text(name), holding });
        }
    }

    /// Tells the remote where other members of a volume are, if it is a member itself.
    pub fn gossip(&mut self, volume: VolumeId, peers: Vec<PeerNews>) {
        let open = self.exchanges.get(&volume).is_some_and(Exchange::is_open);
        if open && !self.closed && !peers.is_empty() {
            self.common.send(Message::Peers { volume, peers });
        }
    }

    fn take(&mut self, message: Message) -> Result<(), ProtocolViolation> {
        match (message, self.met) {
            (Message::Hello(hello), false) => self.take_hello(hello),
            (Message::Hello(_), true) => return Err(ProtocolViolation::OutOfState("a second Hello")),
            (Message::Bye { reason }, _) => self.finish(Close::Remote(reason)),
            (_, false) => return Err(ProtocolViolation::OutOfState("a message before Hello")),
            (Message::Volume { volume, frontier }, true) => {
                self.check_room(volume)?;
                self.opening(volume, |exchange, common| exchange.heard_volume(common, frontier));
            }
            (Message::Entries { volume, entries }, true) => {
                let exchange = self.exchanges.get_mut(&volume).ok_or(ProtocolViolation::OutOfState("Entries"))?;
                exchange.heard_entries(&mut self.common, entries)?;
            }
            (Message::Frontier { volume, frontier, taken }, true) => {
                let exchange = self.exchanges.get_mut(&volume).ok_or(ProtocolViolation::OutOfState("Frontier"))?;
                exchange.heard_frontier(&mut self.common, &frontier, taken)?;
                self.pump_all();
            }
            (Message::Join { volume, secret, name, holding }, true) => {
                self.check_room(volume)?;
                self.joins_heard += 1;
                if self.joins_heard > JOINS_MAX {
                    return Err(ProtocolViolation::Flood);
                }
                self.common.actions.push_back(Action::Admit { volume, secret, name, holding });
            }
            (Message::Joined { volume }, true) => {
                self.answered(volume, Ok(()))?;
                self.opening(volume, Exchange::vouch);
            }
            (Message::Refused { volume, refusal, text: _ }, true) => self.answered(volume, Err(refusal))?,
            (Message::Peers { volume, peers }, true) => {
                if self.exchanges.get(&volume).is_some_and(Exchange::is_member) {
                    self.common.actions.push_back(Action::Heard { volume, peers });
                }
            }
            (Message::Ping { token }, true) => self.common.send(Message::Pong { token }),
            (Message::Pong { .. }, true) => {}
        }
        Ok(())
    }

    fn take_hello(&mut self, hello: Hello) {
        if hello.protocol == PROTOCOL_VERSION {
            self.met = true;
            self.common.actions.push_back(Action::Met(hello));
        } else {
            self.close(Bye::Version);
        }
    }

    fn answered(&mut self, volume: VolumeId, result: Result<(), Refusal>) -> Result<(), ProtocolViolation> {
        if !self.joining.remove(&volume) {
            return Err(ProtocolViolation::OutOfState("the answer to a join"));
        }
        self.common.actions.push_back(Action::Joined { volume, result });
        Ok(())
    }

    /// The remote may not make us remember more volumes than a session has.
    fn check_room(&self, volume: VolumeId) -> Result<(), ProtocolViolation> {
        let strange = self.exchanges.values().filter(|exchange| exchange.is_strange()).count();
        let full = self.exchanges.len() >= VOLUMES_MAX || strange >= STRANGE_VOLUMES_MAX;
        if full && !self.exchanges.contains_key(&volume) { Err(ProtocolViolation::Flood) } else { Ok(()) }
    }

    /// The remote may not make us remember more logs than volumes have.
    fn check_logs(&self) -> Result<(), ProtocolViolation> {
        let max = if self.is_member() { SESSION_LOGS_MAX } else { STRANGER_LOGS_MAX };
        let logs: usize = self.exchanges.values().map(Exchange::logs).sum();
        if logs > max { Err(ProtocolViolation::Flood) } else { Ok(()) }
    }

    /// Does something with a volume's exchange, and says if that opened it.
    fn opening<T>(&mut self, volume: VolumeId, change: impl FnOnce(&mut Exchange, &mut Common) -> T) -> T {
        let exchange = self.exchanges.entry(volume).or_insert_with(|| Exchange::new(volume));
        let before = exchange.is_open();
        let result = change(exchange, &mut self.common);
        if exchange.is_open() && !before {
            self.common.actions.push_back(Action::Open { volume });
        }
        result
    }

    /// The window has room again: whichever volume waited for it goes on.
    fn pump_all(&mut self) {
        for exchange in self.exchanges.values_mut() {
            exchange.pump(&mut self.common);
        }
    }

    fn end(&mut self, bye: Bye, close: Close) {
        if !self.closed {
            self.common.send(Message::Bye { reason: bye });
            self.finish(close);
        }
    }

    fn finish(&mut self, close: Close) {
        self.closed = true;
        self.common.actions.push_back(Action::Close(close));
    }
}
