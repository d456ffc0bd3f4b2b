//! The session under anything that a peer can say and anything that this side can answer, in any order: it never
//! panics, what it says is in form, what it asks for and keeps stays inside the limits, and who is no member learns
//! nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;

use pfs_engine::handle::{Parted, Received};
use pfs_engine::model::entry::{Body, Entry, Holding, SignedEntry};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{EntryHash, NodeId, VolumeId};
use pfs_engine::model::patch::{Content, Patch};
use pfs_engine::model::time::Time;
use pfs_fixtures::damage::damaged;
use pfs_heap::peak_of;
use pfs_net::proto::limits::{FRAME_BYTES_MAX, JOINS_MAX, WINDOW_BYTES};
use pfs_net::proto::message::{Bye, Hello, Message, PROTOCOL_VERSION, PeerNews, Refusal, Secret, entry_bytes};
use pfs_net::proto::session::{Action, Session, StoreRefusal};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::samples::{author, frontier, log, messages, volume};
use crate::{Checked, run};

/// What a session may have allocated at the most: what waits to be stored, what was sent, what is being decoded, twice
/// over, for that is how lists grow; and the log of this test.
const MEMORY: usize = 6 * WINDOW_BYTES;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    /// The body of a frame comes.
    Body(Vec<u8>),
    /// The remote says something that has its place, perhaps.
    Volume(usize, u64),
    Frontier(usize, u64, u32),
    /// So many entries of that log from there on, of some bytes each or of many.
    Entries(usize, (u64, u64), usize, bool),
    Join(usize),
    Joined(usize),
    Flood(Flood),
    /// A call to the engine comes back: which, and how.
    Answer(Index, Outcome),
    /// What this side has of a volume, and whether it lists the remote.
    Standing(usize, Option<u64>, bool),
    Show(usize, u64),
    Ask(usize),
    Gossip(usize, usize),
    Time(u64),
    Close,
}

#[derive(Debug, Clone, Copy)]
enum Flood {
    Volumes,
    Logs,
    Joins,
    Pings,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Good,
    /// Good, and a log has two forms.
    Parted(u64),
    NotYet,
    Failed,
    Hostile,
}

fn volumes() -> [VolumeId; 3] {
    [volume(), VolumeId([1; 32]), VolumeId([2; 32])]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let of = || 0..3_usize;
    let bodies = damaged(messages().iter().map(Message::encode).collect());
    let outcome = prop_oneof![
        6 => Just(Outcome::Good),
        2 => (0..5_u64).prop_map(Outcome::Parted),
        1 => Just(Outcome::NotYet),
        1 => Just(Outcome::Failed),
        1 => Just(Outcome::Hostile),
    ];
    let flood = prop_oneof![Just(Flood::Volumes), Just(Flood::Logs), Just(Flood::Joins), Just(Flood::Pings)];
    let event = prop_oneof![
        2 => bodies.prop_map(Event::Body),
        4 => (of(), 0..6_u64).prop_map(|(of, logs)| Event::Volume(of, logs)),
        4 => (of(), 0..6_u64, 0..3_u32).prop_map(|(of, logs, taken)| Event::Frontier(of, logs, taken)),
        4 => (of(), (0..5_u64, 0..5_u64), 1..5_usize, prop::bool::weighted(0.1))
            .prop_map(|(of, from, count, large)| Event::Entries(of, from, count, large)),
        2 => of().prop_map(Event::Join),
        1 => of().prop_map(Event::Joined),
        1 => flood.prop_map(Event::Flood),
        8 => (any::<Index>(), outcome).prop_map(|(which, outcome)| Event::Answer(which, outcome)),
        5 => (of(), prop::option::weighted(0.8, 0..6_u64), prop::bool::weighted(0.7))
            .prop_map(|(of, logs, listed)| Event::Standing(of, logs, listed)),
        1 => (of(), 0..5_u64).prop_map(|(of, seq)| Event::Show(of, seq)),
        1 => of().prop_map(Event::Ask),
        1 => (of(), 0..4_usize).prop_map(|(of, peers)| Event::Gossip(of, peers)),
        1 => prop_oneof![0..2000_u64, 0..100_000_u64].prop_map(Event::Time),
        1 => prop::bool::weighted(0.05).prop_map(|close| if close { Event::Close } else { Event::Time(1) }),
    ];
    prop::collection::vec(event, 0..60)
}

fn entry(of: VolumeId, (epoch, seq): (u64, u64), body: Body) -> SignedEntry {
    let prev = EntryHash([2; 32]);
    let entry = Entry { volume: of, log: log(epoch), seq, prev, deps: Vec::new(), time: Time(1), body };
    SignedEntry { signature: ([1; 32], [2; 32]), entry }
}

/// A body of some 1.2 MB.
static LARGE: LazyLock<Body> = LazyLock::new(|| {
    let link = |n: u16| {
        let target = [&n.to_be_bytes()[..], &[b'x'; 4000]].concat();
        Patch { content: Some(Content::Symlink { target }), ..Patch::new(NodeId([9; 32])) }
    };
    Body::Patches((0..300).map(link).collect())
});

fn hello() -> Hello {
    let (name, agent) = ("mallory".to_owned(), "none".to_owned());
    Hello { protocol: PROTOCOL_VERSION, name, agent, run: 7, addresses: Vec::new() }
}

/// One session, and what this side and the remote know of it.
struct Rig {
    session: Session,
    now_ms: u64,
    /// Calls to the engine that have not come back, and the bytes that are to be stored by each.
    calls: Vec<(Action, usize)>,
    /// Of each volume the bytes of messages of entries that the remote has not acknowledged.
    sent: BTreeMap<VolumeId, VecDeque<usize>>,
    /// Volumes of which this side has taken the remote for a member, or has nothing that it could tell.
    told: BTreeSet<VolumeId>,
    admits: u32,
    is_over: bool,
    said: u64,
}

#[test]
fn session() {
    let failed = run(&events(), 4, |events| {
        let (played, peak) = peak_of(|| play(&events));
        played?;
        prop_assert!(peak <= MEMORY, "{peak} bytes of memory");
        Ok(())
    });
    if let Some((error, events)) = failed {
        panic!("session: {error}\n{events:#?}");
    }
}

fn play(events: &[Event]) -> Checked {
    let mut rig = Rig {
        session: Session::new(hello(), 0),
        now_ms: 0,
        calls: Vec::new(),
        sent: BTreeMap::new(),
        told: BTreeSet::new(),
        admits: 0,
        is_over: false,
        said: 0,
    };
    rig.drain()?;
    // The first words are a frame like any other.
    if !matches!(events.first(), Some(Event::Body(_))) {
        rig.hear(Message::Hello(hello()))?;
    }
    for event in events {
        rig.happen(event)?;
        rig.drain()?;
    }
    Ok(())
}

impl Rig {
    fn happen(&mut self, event: &Event) -> Checked {
        let of = |n: &usize| volumes()[*n];
        let now_ms = self.now_ms;
        match event {
            Event::Body(body) => {
                if let Ok(message) = Message::decode(body) {
                    self.note(&message);
                }
                self.session.handle_frame(body, now_ms);
            }
            Event::Volume(n, logs) => self.hear(Message::Volume { volume: of(n), frontier: frontier(*logs) })?,
            Event::Frontier(n, logs, taken) => {
                self.hear(Message::Frontier { volume: of(n), frontier: frontier(*logs), taken: *taken })?;
            }
            Event::Entries(n, (epoch, from), count, large) => {
                let body = || if *large { LARGE.clone() } else { Body::Patches(Vec::new()) };
                let entries = (0..*count as u64).map(|more| entry(of(n), (*epoch, from + more), body())).collect();
                self.hear(Message::Entries { volume: of(n), entries })?;
            }
            Event::Join(n) => self.hear(join(of(n)))?,
            Event::Joined(n) => self.hear(Message::Joined { volume: of(n) })?,
            Event::Flood(flood) => self.flood(*flood)?,
            Event::Answer(which, outcome) if !self.calls.is_empty() => {
                let (call, _) = self.calls.remove(which.index(self.calls.len()));
                self.answer(call, *outcome);
            }
            Event::Answer(..) => {}
            Event::Standing(n, logs, listed) => self.stand(of(n), *logs, *listed),
            Event::Show(n, seq) => self.session.show(of(n), BTreeMap::from([(log(1), *seq)])),
            Event::Ask(n) => self.session.join(of(n), Secret([3; 16]), "me", Holding::All),
            Event::Gossip(n, peers) => {
                let news = PeerNews { peer: author().peer(), name: "a".into(), addresses: vec![], heard_ms_ago: 0 };
                self.session.gossip(of(n), vec![news; *peers]);
            }
            Event::Time(ms) => {
                self.now_ms += ms;
                if self.session.poll_timeout().is_some_and(|due| due <= self.now_ms) {
                    self.session.handle_timeout(self.now_ms);
                }
            }
            Event::Close => self.session.close(Bye::Shutdown),
        }
        Ok(())
    }

    fn hear(&mut self, message: Message) -> Checked {
        self.note(&message);
        self.session.handle_message(message, self.now_ms);
        self.drain()
    }

    /// What the remote says acknowledges what it was sent.
    fn note(&mut self, message: &Message) {
        if let Message::Frontier { volume, taken, .. } = message {
            let sent = self.sent.entry(*volume).or_default();
            sent.drain(..sent.len().min(*taken as usize));
        }
        if let Message::Joined { volume } = message {
            self.told.insert(*volume);
        }
    }

    fn flood(&mut self, flood: Flood) -> Checked {
        for n in 0..170_u64 {
            let strange = VolumeId(*blake3::hash(&n.to_le_bytes()).as_bytes());
            self.hear(match flood {
                Flood::Volumes => Message::Volume { volume: strange, frontier: frontier(1) },
                Flood::Logs => {
                    let logs = (n * 400..(n + 1) * 400).map(|epoch| (log(epoch), 1)).collect();
                    Message::Frontier { volume: volume(), frontier: Frontier(logs), taken: 0 }
                }
                Flood::Joins => join(strange),
                Flood::Pings => Message::Ping { token: n },
            })?;
        }
        Ok(())
    }

    fn stand(&mut self, volume: VolumeId, logs: Option<u64>, listed: bool) {
        // A volume of which nothing is here is told to anybody: nothing can be told.
        if listed || logs == Some(0) {
            self.told.insert(volume);
        }
        self.session.standing(volume, logs.map(frontier), listed);
    }

    fn answer(&mut self, call: Action, outcome: Outcome) {
        let (now_ms, good) = (self.now_ms, matches!(outcome, Outcome::Good));
        match call {
            Action::Look { volume } => self.stand(volume, Some(2), good),
            Action::Load { volume, after, .. } => {
                let body = |epoch| if epoch == 1 { LARGE.clone() } else { Body::Patches(Vec::new()) };
                let first = |epoch| entry(volume, (epoch, after.seq(log(epoch)) + 1), body(epoch));
                let entries = if good { (1..4).map(first).collect() } else { Vec::new() };
                self.session.loaded(volume, entries);
            }
            Action::Store { volume, .. } => {
                let parted = |seq| BTreeMap::from([(log(1), Parted { seq, is_first: seq % 2 == 0 })]);
                let result = match outcome {
                    Outcome::Good => Ok(Received { frontier: frontier(4), parted: BTreeMap::new() }),
                    Outcome::Parted(seq) => Ok(Received { frontier: frontier(4), parted: parted(seq) }),
                    Outcome::NotYet => Err(StoreRefusal::NotYet),
                    Outcome::Failed => Err(StoreRefusal::Failed),
                    Outcome::Hostile => Err(StoreRefusal::Hostile("forged".into())),
                };
                self.session.stored(volume, result, now_ms);
            }
            Action::Admit { volume, .. } => {
                if good {
                    self.told.insert(volume);
                }
                self.session.admitted(volume, if good { Ok(()) } else { Err(Refusal::Expired) });
            }
            _ => {}
        }
    }

    /// Takes what the session wants, and looks whether it may.
    fn drain(&mut self) -> Checked {
        while let Some(action) = self.session.poll_action() {
            prop_assert!(!self.is_over, "{action:?} after the end");
            match action {
                Action::Send(message) => self.sends(&message)?,
                Action::Close(_) => self.is_over = true,
                Action::Holds { volume, .. } | Action::Heard { volume, .. } | Action::Open { volume } => {
                    self.of_member(volume)?;
                }
                Action::Admit { .. } => {
                    self.admits += 1;
                    self.calls.push((action, 0));
                }
                Action::Load { volume, .. } => {
                    self.of_member(volume)?;
                    self.calls.push((action, 0));
                }
                Action::Store { volume, ref entries } => {
                    self.of_member(volume)?;
                    let bytes = entries.iter().map(entry_bytes).sum();
                    self.calls.push((action, bytes));
                }
                Action::Look { .. } => self.calls.push((action, 0)),
                _ => {}
            }
        }
        self.is_within_limits()
    }

    fn of_member(&self, volume: VolumeId) -> Checked {
        prop_assert!(self.told.contains(&volume), "something of {volume:?} for one that is no member of it");
        Ok(())
    }

    fn sends(&mut self, message: &Message) -> Checked {
        let body = message.encode();
        prop_assert!(body.len() <= FRAME_BYTES_MAX);
        if body.len() < 64 << 10 {
            prop_assert_eq!(&Message::decode(&body).unwrap(), message, "in form");
        }
        prop_assert_eq!(matches!(message, Message::Hello(_)), self.said == 0, "hello first, and once");
        self.said += 1;
        match message {
            Message::Volume { volume, .. } | Message::Peers { volume, .. } => self.of_member(*volume)?,
            Message::Entries { volume, entries } => {
                self.of_member(*volume)?;
                self.sent.entry(*volume).or_default().push_back(entries.iter().map(entry_bytes).sum());
            }
            _ => {}
        }
        Ok(())
    }

    fn is_within_limits(&self) -> Checked {
        let count = |is: fn(&Action) -> bool| self.calls.iter().filter(|(call, _)| is(call)).count();
        let (stores, loads) = (count(is_store), count(is_load));
        let stored: usize = self.calls.iter().map(|(_, bytes)| bytes).sum();
        prop_assert!(stored <= WINDOW_BYTES, "{stored} bytes to be stored");
        prop_assert!(self.sent.values().flatten().sum::<usize>() <= WINDOW_BYTES, "sent and not acknowledged");
        // One of each at a time for a volume; one more may be left of a session that ended.
        prop_assert!(stores.max(loads) <= volumes().len() + 1, "{stores} stores, {loads} loads");
        prop_assert!(self.admits <= JOINS_MAX);
        prop_assert_eq!(self.session.poll_timeout().is_none(), self.is_over, "it is due as long as it lasts");
        Ok(())
    }
}

fn is_store(call: &Action) -> bool {
    matches!(call, Action::Store { .. })
}

fn is_load(call: &Action) -> bool {
    matches!(call, Action::Load { .. })
}

fn join(volume: VolumeId) -> Message {
    Message::Join { volume, secret: Secret([5; 16]), name: "guess".into(), holding: Holding::All }
}
