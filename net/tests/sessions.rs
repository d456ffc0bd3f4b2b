//! Sessions wired to each other in memory, under a seeded scheduler: any interleaving, any loss of connections.

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;

use pfs_engine::model::entry::Holding;
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::VolumeId;
use pfs_net::Local;
use pfs_net::proto::limits::{PING_AFTER_MS, SILENCE_MS_MAX, STRANGE_VOLUMES_MAX, STRANGER_MS_MAX, WINDOW_BYTES};
use pfs_net::proto::message::{Bye, Hello, Message, PROTOCOL_VERSION, PeerNews, Refusal, Secret, entry_bytes};
use pfs_net::proto::session::{Action, Close, ProtocolViolation, Session, StoreRefusal};
use proptest::prelude::*;
use support::Fake;

/// Spreads a seed into choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// One end of a connection: what its session still wants done, and what is on the way to it.
struct End {
    peer: usize,
    session: Session,
    inbox: VecDeque<Message>,
    /// Calls to the engine that have not come back.
    calls: Vec<Action>,
}

struct World {
    peers: Vec<Fake>,
    volume: VolumeId,
    /// Two ends each.
    wires: Vec<[End; 2]>,
    /// What each peer was told that another one has.
    told: BTreeMap<(usize, usize), Frontier>,
    dice: Dice,
    trace: Vec<String>,
}

fn hello() -> Hello {
    Hello { protocol: PROTOCOL_VERSION, name: "x".into(), agent: "test".into(), run: 1, addresses: vec![] }
}

fn connect(pair: [usize; 2]) -> [End; 2] {
    pair.map(|peer| End { peer, session: Session::new(hello(), 0), inbox: VecDeque::new(), calls: Vec::new() })
}

impl World {
    fn new(count: u8, seed: u64) -> Self {
        let peers: Vec<_> = (1..=count).map(|n| Fake::new(n, &format!("peer {n}"))).collect();
        let volume = peers[0].create();
        for peer in &peers[1..] {
            peer.register(volume);
            peers[0].make_member(volume, peer);
        }
        let mut world =
            Self { peers, volume, wires: Vec::new(), told: BTreeMap::new(), dice: Dice(seed | 1), trace: Vec::new() };
        // A line of peers: the ends have no connection of their own.
        for n in 1..usize::from(count) {
            world.wires.push(connect([n - 1, n]));
        }
        (0..world.wires.len()).for_each(|wire| world.opened(wire));
        world
    }

    fn opened(&mut self, wire: usize) {
        for end in 0..2 {
            self.wires[wire][end].calls.push(Action::Look { volume: self.volume });
            self.drain(wire, end);
        }
    }

    fn drain(&mut self, wire: usize, end: usize) {
        while let Some(action) = self.wires[wire][end].session.poll_action() {
            self.trace.push(format!("{wire}.{end} {action:?}"));
            match action {
                Action::Send(message) => {
                    let sent = Message::decode(&message.encode()).expect("what is sent can be read");
                    self.wires[wire][1 - end].inbox.push_back(sent);
                }
                Action::Close(close) => panic!("honest sessions stay: {close}"),
                other => self.wires[wire][end].calls.push(other),
            }
        }
    }

    /// One message arrives, or one call comes back, on one end of one wire.
    fn step(&mut self) -> bool {
        let busy: Vec<_> = (0..self.wires.len())
            .flat_map(|wire| [(wire, 0), (wire, 1)])
            .filter(|&(wire, end)| !self.wires[wire][end].inbox.is_empty() || !self.wires[wire][end].calls.is_empty())
            .collect();
        if busy.is_empty() {
            return false;
        }
        let (wire, end) = busy[self.dice.below(busy.len())];
        let at = &mut self.wires[wire][end];
        if at.calls.is_empty() || (!at.inbox.is_empty() && self.dice.below(2) == 0) {
            let message = at.inbox.pop_front().expect("one of the two is not empty");
            at.session.handle_message(message, 0);
        } else {
            let call = at.calls.remove(0);
            self.call(wire, end, call);
        }
        self.drain(wire, end);
        true
    }

    fn call(&mut self, wire: usize, end: usize, call: Action) {
        let other = self.wires[wire][1 - end].peer;
        let remote = self.peers[other].peer();
        let at = &mut self.wires[wire][end];
        let local = &self.peers[at.peer];
        match call {
            Action::Look { volume } => {
                let listed = local.members(volume).expect("registered").contains_key(&remote);
                at.session.standing(volume, Some(local.frontier_of(volume)), listed);
            }
            Action::Load { volume, after, bytes_max } => {
                at.session.loaded(volume, local.entries_after(volume, &after, bytes_max).expect("registered"));
            }
            Action::Store { volume, entries } => {
                let result = local.receive(volume, entries).map_err(|error| panic!("honest entries: {error}"));
                at.session.stored(volume, result, 0);
                let peer = at.peer;
                self.changed(peer);
            }
            Action::Holds { frontier, .. } => {
                let told = self.told.entry((at.peer, other)).or_default();
                frontier.0.into_iter().for_each(|(log, seq)| told.advance(log, seq));
                assert!(self.peers[other].frontier_of(self.volume).covers(told), "nobody is said to have too much");
            }
            _ => {}
        }
    }

    /// Every session of a peer looks again.
    fn changed(&mut self, peer: usize) {
        for end in self.wires.iter_mut().flatten().filter(|end| end.peer == peer) {
            end.calls.push(Action::Look { volume: self.volume });
        }
    }

    fn write(&mut self) {
        let peer = self.dice.below(self.peers.len());
        if self.peers[peer].frontier_of(self.volume).total() > 0 {
            let patches = 1 + self.dice.below(20);
            self.peers[peer].write(self.volume, patches);
            self.changed(peer);
        }
    }

    fn reconnect(&mut self) {
        let wire = self.dice.below(self.wires.len());
        let [a, b] = &self.wires[wire];
        self.wires[wire] = connect([a.peer, b.peer]);
        self.opened(wire);
    }

    fn run(&mut self, steps: usize, breaks: bool) {
        for _ in 0..steps {
            match self.dice.below(40) {
                0 => self.write(),
                1 if breaks => self.reconnect(),
                _ => _ = self.step(),
            }
        }
        let mut left = 200_000;
        while self.step() {
            left -= 1;
            assert!(left > 0, "sessions never come to rest");
        }
    }

    fn frontiers(&self) -> Vec<Frontier> {
        self.peers.iter().map(|peer| peer.frontier_of(self.volume)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_schedule_ends_with_equal_frontiers(seed: u64, count in 2u8..5, breaks: bool) {
        let mut world = World::new(count, seed);
        world.run(400, breaks);
        let frontiers = world.frontiers();
        prop_assert!(frontiers[0].total() >= u64::from(count));
        prop_assert!(frontiers.windows(2).all(|pair| pair[0] == pair[1]), "{frontiers:?}");
        for wire in &world.wires {
            for pair in [[0, 1], [1, 0]].map(|ends| ends.map(|end| wire[end].peer)) {
                prop_assert_eq!(&world.told[&pair.into()], &frontiers[0], "each knows what its neighbour has");
            }
        }
        if !breaks {
            let repeats: u64 = world.peers.iter().map(|peer| peer.repeats.load(Ordering::Relaxed)).sum();
            prop_assert_eq!(repeats, 0, "on a line of connections nothing arrives twice");
        }
    }

    #[test]
    fn one_seed_gives_one_trace(seed: u64) {
        let trace = || {
            let mut world = World::new(3, seed);
            world.run(150, true);
            world.trace
        };
        prop_assert_eq!(trace(), trace());
    }

    #[test]
    fn no_bytes_make_a_session_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut session = Session::new(hello(), 0);
        session.handle_message(Message::Hello(hello()), 0);
        for frame in frames {
            session.handle_frame(&frame, 1);
        }
        while session.poll_action().is_some() {}
    }
}

/// A session that has met its peer, and the volume of a fake that takes it for a member or not.
fn met(listed: bool) -> (Session, Fake, VolumeId) {
    let fake = Fake::new(1, "anna");
    let volume = fake.create();
    let mut session = Session::new(hello(), 0);
    session.handle_message(Message::Hello(hello()), 0);
    session.standing(volume, Some(fake.frontier_of(volume)), listed);
    (session, fake, volume)
}

fn actions(session: &mut Session) -> Vec<Action> {
    std::iter::from_fn(|| session.poll_action()).collect()
}

fn violation(session: &mut Session) -> ProtocolViolation {
    match actions(session).pop() {
        Some(Action::Close(Close::Violation(violation))) => violation,
        other => panic!("no violation: {other:?}"),
    }
}

#[test]
fn one_that_is_no_member_hears_of_no_volume() {
    let (mut session, fake, volume) = met(false);
    session.handle_message(Message::Volume { volume, frontier: Frontier::default() }, 0);
    let said = actions(&mut session);
    assert!(said.iter().all(|action| matches!(action, Action::Send(Message::Hello(_)) | Action::Met(_))), "{said:?}");

    session.standing(volume, Some(fake.frontier_of(volume)), true);
    let said = actions(&mut session);
    assert!(matches!(said[0], Action::Send(Message::Volume { .. })), "answered once its membership is known");
    assert!(said.iter().any(|action| matches!(action, Action::Load { after, .. } if after.0.is_empty())), "{said:?}");
}

#[test]
fn messages_out_of_turn_end_the_session() {
    let mut early = Session::new(hello(), 0);
    early.handle_message(Message::Ping { token: 1 }, 0);
    assert_eq!(violation(&mut early), ProtocolViolation::OutOfState("a message before Hello"));

    let volume = VolumeId([1; 32]);
    let frontier = Frontier::default();
    let entries = || Fake::new(1, "anna").one_entry();
    for message in [
        Message::Hello(hello()),
        Message::Frontier { volume, frontier, taken: 0 },
        Message::Entries { volume, entries: entries() },
        Message::Joined { volume },
        Message::Refused { volume, refusal: Refusal::Expired, text: String::new() },
    ] {
        let (mut session, _, _) = met(true);
        session.handle_message(message.clone(), 0);
        assert!(matches!(violation(&mut session), ProtocolViolation::OutOfState(_)), "{message:?}");
        session.handle_message(Message::Ping { token: 1 }, 0);
        assert_eq!(actions(&mut session), [], "a closed session says nothing");
    }
}

#[test]
fn acknowledging_what_was_never_sent_ends_the_session() {
    let (mut session, fake, volume) = met(true);
    let frontier = fake.frontier_of(volume);
    session.handle_message(Message::Volume { volume, frontier: frontier.clone() }, 0);
    session.handle_message(Message::Frontier { volume, frontier, taken: 1 }, 0);
    assert!(matches!(violation(&mut session), ProtocolViolation::OutOfState(_)));
}

#[test]
fn an_entry_of_another_volume_and_too_many_volumes_end_the_session() {
    let (mut session, _, volume) = met(true);
    session.handle_message(Message::Volume { volume, frontier: Frontier::default() }, 0);
    let mut entries = Fake::new(2, "bert").one_entry();
    entries[0].entry.volume = VolumeId([2; 32]);
    session.handle_message(Message::Entries { volume, entries }, 0);
    assert_eq!(violation(&mut session), ProtocolViolation::WrongVolume);

    let (mut session, _, _) = met(true);
    for n in 0..=STRANGE_VOLUMES_MAX {
        session.handle_message(Message::Volume { volume: VolumeId([n as u8; 32]), frontier: Frontier::default() }, 0);
    }
    assert_eq!(violation(&mut session), ProtocolViolation::Flood);
}

#[test]
fn what_is_not_stored_yet_is_bounded() {
    let (mut session, _, volume) = met(true);
    session.handle_message(Message::Volume { volume, frontier: Frontier::default() }, 0);
    let writer = Fake::new(2, "bert");
    writer.register(volume);
    writer.write(volume, 3000);
    let entries = writer.entries_after(volume, &Frontier::default(), usize::MAX).expect("registered");
    let bytes: usize = entries.iter().map(entry_bytes).sum();
    for _ in 0..=WINDOW_BYTES / bytes {
        session.handle_message(Message::Entries { volume, entries: entries.clone() }, 0);
    }
    assert_eq!(violation(&mut session), ProtocolViolation::Flood);
}

#[test]
fn a_sender_stops_at_its_window_and_goes_on_when_it_is_acknowledged() {
    let (mut session, fake, volume) = met(true);
    (0..60).for_each(|_| fake.write(volume, 9_000));
    session.standing(volume, Some(fake.frontier_of(volume)), true);
    session.handle_message(Message::Volume { volume, frontier: Frontier::default() }, 0);
    let mut sent = Frontier::default();
    let mut unanswered = VecDeque::new();
    let mut most = 0;
    loop {
        let todo = actions(&mut session);
        let stopped = todo.is_empty();
        for action in todo {
            match action {
                Action::Load { volume, after, bytes_max } => {
                    session.loaded(volume, fake.entries_after(volume, &after, bytes_max).expect("registered"));
                }
                Action::Send(Message::Entries { entries, .. }) => {
                    for signed in &entries {
                        sent.advance(signed.entry.log, signed.entry.seq);
                    }
                    unanswered.push_back(entries.iter().map(entry_bytes).sum::<usize>());
                }
                _ => {}
            }
        }
        most = most.max(unanswered.iter().sum::<usize>());
        if sent == fake.frontier_of(volume) {
            break;
        }
        if stopped {
            assert!(unanswered.iter().sum::<usize>() > WINDOW_BYTES / 2, "stopped too early");
            unanswered.pop_front();
            session.handle_message(Message::Frontier { volume, frontier: Frontier::default(), taken: 1 }, 0);
        }
    }
    assert!((WINDOW_BYTES / 2..=WINDOW_BYTES).contains(&most), "{most} bytes were unacknowledged");
}

#[test]
fn news_during_a_load_that_brings_nothing_is_loaded_next() {
    let (mut session, fake, volume) = met(true);
    session.handle_message(Message::Volume { volume, frontier: Frontier::default() }, 0);
    let loads =
        |session: &mut Session| actions(session).iter().filter(|action| matches!(action, Action::Load { .. })).count();
    assert_eq!(loads(&mut session), 1);
    let first = fake.entries_after(volume, &Frontier::default(), 1 << 20).expect("registered");
    session.handle_message(Message::Frontier { volume, frontier: fake.frontier_of(volume), taken: 0 }, 0);
    fake.write(volume, 1);
    session.standing(volume, Some(fake.frontier_of(volume)), true);
    session.loaded(volume, first);
    assert_eq!(loads(&mut session), 1, "the load was of an older state");
    session.loaded(volume, Vec::new());
    assert_eq!(loads(&mut session), 0, "one that has nothing is not asked for ever");
}

#[test]
fn entries_that_could_not_be_taken_are_asked_for_again_later() {
    let (mut session, fake, volume) = met(true);
    session.handle_message(Message::Volume { volume, frontier: Frontier::default() }, 0);
    session.handle_message(Message::Entries { volume, entries: Fake::new(2, "bert").entry_of(volume) }, 0);
    assert!(actions(&mut session).iter().any(|action| matches!(action, Action::Store { .. })));
    session.stored(volume, Err(StoreRefusal::NotYet), 5_000);
    let answer = Message::Frontier { volume, frontier: Frontier::default(), taken: 1 };
    assert_eq!(actions(&mut session), [Action::Send(answer)]);
    let due = session.poll_timeout().expect("an open session has one");
    assert!(due > 5_000 && due < 5_000 + PING_AFTER_MS);
    session.handle_timeout(due);
    let again = Message::Volume { volume, frontier: fake.frontier_of(volume) };
    assert_eq!(actions(&mut session), [Action::Send(again)]);

    session.handle_message(Message::Entries { volume, entries: Fake::new(2, "bert").entry_of(volume) }, due);
    session.stored(volume, Err(StoreRefusal::Hostile("forged".into())), due);
    assert_eq!(actions(&mut session).pop(), Some(Action::Close(Close::Hostile("forged".into()))));
}

#[test]
fn a_join_leads_to_the_log_or_to_the_reason() {
    let fake = Fake::new(1, "anna");
    let volume = fake.create();
    let mut joiner = Session::new(hello(), 0);
    joiner.handle_message(Message::Hello(hello()), 0);
    joiner.standing(volume, Some(Frontier::default()), false);
    joiner.join(volume, Secret([1; 16]), "bert", Holding::All);
    joiner.handle_message(Message::Joined { volume }, 0);
    let said = actions(&mut joiner);
    assert!(said.contains(&Action::Joined { volume, result: Ok(()) }));
    let first = Action::Send(Message::Volume { volume, frontier: Frontier::default() });
    assert!(said.contains(&first), "it says that it has nothing: {said:?}");

    let (mut admitter, _, volume) = met(false);
    let join = Message::Join { volume, secret: Secret([1; 16]), name: "bert".into(), holding: Holding::All };
    admitter.handle_message(join, 0);
    assert!(matches!(actions(&mut admitter).last(), Some(Action::Admit { .. })));
    admitter.admitted(volume, Err(Refusal::UsedUp));
    let refused = actions(&mut admitter);
    assert!(matches!(refused[..], [Action::Send(Message::Refused { refusal: Refusal::UsedUp, .. })]), "{refused:?}");
    admitter.admitted(volume, Ok(()));
    let said = actions(&mut admitter);
    assert!(matches!(said[..2], [Action::Send(Message::Joined { .. }), Action::Send(Message::Volume { .. })]));
}

#[test]
fn silence_strangers_and_the_removed_are_let_go() {
    let last = |session: &mut Session| actions(session).pop();
    let (mut silent, _, _) = met(true);
    silent.handle_timeout(PING_AFTER_MS);
    assert!(matches!(last(&mut silent), Some(Action::Send(Message::Ping { .. }))));
    silent.handle_timeout(SILENCE_MS_MAX);
    assert_eq!(last(&mut silent), Some(Action::Close(Close::Local(Bye::Silent))));

    let (mut stranger, _, _) = met(false);
    stranger.handle_message(Message::Ping { token: 1 }, STRANGER_MS_MAX - 1);
    assert_eq!(stranger.poll_timeout(), Some(STRANGER_MS_MAX));
    stranger.handle_timeout(STRANGER_MS_MAX);
    assert_eq!(last(&mut stranger), Some(Action::Close(Close::Local(Bye::Stranger))));

    let (mut removed, fake, volume) = met(true);
    removed.standing(volume, Some(fake.frontier_of(volume)), false);
    assert_eq!(last(&mut removed), Some(Action::Close(Close::Local(Bye::Removed))));

    let mut other = Session::new(hello(), 0);
    other.handle_message(Message::Hello(Hello { protocol: PROTOCOL_VERSION + 1, ..hello() }), 0);
    assert_eq!(last(&mut other), Some(Action::Close(Close::Local(Bye::Version))));
}

#[test]
fn what_a_peer_has_is_told_once_it_counts_as_a_member() {
    let (mut session, fake, volume) = met(false);
    let frontier = fake.frontier_of(volume);
    session.handle_message(Message::Volume { volume, frontier: frontier.clone() }, 0);
    let holds = |actions: Vec<Action>| actions.into_iter().find(|action| matches!(action, Action::Holds { .. }));
    assert_eq!(holds(actions(&mut session)), None, "what strangers say counts for nothing");
    session.standing(volume, Some(frontier.clone()), true);
    assert_eq!(holds(actions(&mut session)), Some(Action::Holds { volume, frontier }));
}

#[test]
fn hearsay_counts_only_from_members() {
    let peers =
        || vec![PeerNews { peer: Fake::new(5, "x").peer(), name: "x".into(), addresses: vec![], heard_ms_ago: 0 }];
    for listed in [false, true] {
        let (mut session, _, volume) = met(listed);
        session.handle_message(Message::Peers { volume, peers: peers() }, 0);
        let heard: BTreeSet<_> =
            actions(&mut session).iter().map(|action| matches!(action, Action::Heard { .. })).collect();
        assert_eq!(heard.contains(&true), listed);
    }
}

#[test]
fn meeting_again_with_nothing_new_takes_one_message_a_side_after_the_greeting() {
    let mut world = World::new(3, 1);
    world.run(200, false);
    world.wires.truncate(1);
    world.wires[0] = connect([0, 1]);
    world.opened(0);
    world.trace.clear();
    world.run(0, false);
    let sent: Vec<_> = world.trace.iter().filter(|line| line.contains("Send(")).collect();
    assert_eq!(sent.len(), 2, "the greeting was before, the frontiers are all: {sent:?}");
    let volume = Message::Volume { volume: world.volume, frontier: world.peers[0].frontier_of(world.volume) };
    let bytes = 2 * (Message::Hello(hello()).encode().len() + volume.encode().len());
    assert!(bytes < 512, "{bytes} bytes");
}
