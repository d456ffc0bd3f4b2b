//! A connection between two peers: the real session at each end, and around it what the driver does, one thing at
//! a time as the schedule says. What arrives on one stream keeps its order; streams and calls know none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pfs_engine::handle::Received;
use pfs_engine::model::entry::SignedEntry;
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{ChunkId, VolumeId};
use pfs_net::proto::limits::{FETCH_IDS, FETCHES, SERVE_IDS};
use pfs_net::proto::message::{Hello, Message, PROTOCOL_VERSION};
use pfs_net::proto::session::{Action, Close, Session, StoreRefusal};
use pfs_net::{DeliverError, EngineLocal, Local as _, LocalError, LocalEvent, ReceiveError};

use super::peer::{Check, Peer};

/// What a call to the engine brought, on its way to the session.
enum Answer {
    Looked(VolumeId, Option<(Option<Frontier>, bool)>),
    Loaded(VolumeId, Vec<SignedEntry>),
    Stored(VolumeId, Result<Received, StoreRefusal>),
}

/// A chunk in stored form, if it is there.
type Given = (ChunkId, Option<Vec<u8>>);

/// One end of a connection.
pub(crate) struct End {
    pub(crate) peer: usize,
    session: Session,
    /// Messages that have not arrived yet.
    inbox: VecDeque<Message>,
    /// Calls to the engine that have not begun.
    calls: VecDeque<Action>,
    /// Those that are done, and of which the session does not know.
    answers: VecDeque<Answer>,
    /// Volumes being looked up; true: look again afterwards.
    looking: BTreeMap<VolumeId, bool>,
    /// The peer introduced itself, and the engine knows that it is here.
    met: bool,
    settled: bool,
    open: BTreeSet<VolumeId>,
    /// There may be something to ask for.
    wants: bool,
    /// Requests under way from here.
    asked: usize,
    /// Requests from the other end, not answered yet.
    requests: VecDeque<(VolumeId, Vec<ChunkId>)>,
    /// Chunks that have not arrived yet; true: with them a request is answered.
    chunks: VecDeque<(VolumeId, Vec<Given>, bool)>,
}

/// A connection, with its number.
pub(crate) struct Wire {
    pub(crate) number: u64,
    pub(crate) ends: [End; 2],
    since_ms: u64,
    /// Why it is over, if it is.
    pub(crate) ended: Option<String>,
}

impl End {
    fn new(peer: usize, run: u64) -> Self {
        let hello =
            Hello { protocol: PROTOCOL_VERSION, name: "x".into(), agent: "sim".into(), run, addresses: Vec::new() };
        Self {
            peer,
            session: Session::new(hello, 0),
            inbox: VecDeque::new(),
            calls: VecDeque::new(),
            answers: VecDeque::new(),
            looking: BTreeMap::new(),
            met: false,
            settled: false,
            open: BTreeSet::new(),
            wants: false,
            asked: 0,
            requests: VecDeque::new(),
            chunks: VecDeque::new(),
        }
    }

    fn look(&mut self, volume: VolumeId) {
        if let Some(again) = self.looking.get_mut(&volume) {
            *again = true;
            return;
        }
        self.looking.insert(volume, false);
        self.calls.push_back(Action::Look { volume });
    }

    /// What could happen here next, in the order of the driver's `select`.
    fn ready(&self) -> Vec<Next> {
        let mut ready = Vec::new();
        let mut may = |is: bool, next| {
            if is {
                ready.push(next);
            }
        };
        may(!self.inbox.is_empty(), Next::Message);
        may(self.met && !self.settled, Next::Settle);
        may(!self.calls.is_empty(), Next::Call);
        may(!self.answers.is_empty(), Next::Answer);
        may(self.settled && self.wants && self.asked < FETCHES && !self.open.is_empty(), Next::Ask);
        may(!self.requests.is_empty(), Next::Serve);
        may(!self.chunks.is_empty(), Next::Chunks);
        ready
    }
}

/// One thing that can happen at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Message,
    Settle,
    Call,
    Answer,
    Ask,
    Serve,
    Chunks,
}

impl Wire {
    pub(crate) fn new(number: u64, peers: [usize; 2], now_ms: u64, volumes: &[VolumeId]) -> Self {
        let ends = peers.map(|peer| End::new(peer, number));
        let mut wire = Self { number, ends, since_ms: now_ms, ended: None };
        for end in 0..2 {
            for volume in volumes {
                wire.ends[end].look(*volume);
            }
            // A new session has only its greeting to say.
            let _ = wire.act(end);
        }
        wire
    }

    pub(crate) fn end_of(&self, peer: usize) -> Option<usize> {
        self.ends.iter().position(|end| end.peer == peer)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.ends.iter().all(|end| end.ready().is_empty())
    }

    /// Milliseconds of the simulation at which a session wants to be back.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let due = self.ends.iter().filter_map(|end| end.session.poll_timeout()).min()?;
        Some(self.since_ms + due)
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Check {
        let now = now_ms - self.since_ms;
        for end in 0..2 {
            while self.ends[end].session.poll_timeout().is_some_and(|due| due <= now) {
                self.ends[end].session.handle_timeout(now);
                self.act(end)?;
            }
        }
        Ok(())
    }

    /// The engine at one end has news.
    pub(crate) fn tell(&mut self, peer: usize, event: LocalEvent) {
        for end in self.ends.iter_mut().filter(|end| end.peer == peer) {
            match event {
                LocalEvent::Appended(volume) | LocalEvent::Members(volume) => end.look(volume),
                LocalEvent::Wanted(_) => end.wants = true,
                _ => {}
            }
        }
    }

    /// One thing happens at one end. Says whether anything did, and what.
    pub(crate) fn step(&mut self, peers: &[Peer], end: usize, pick: usize, now_ms: u64) -> Check<Option<String>> {
        let ready = self.ends[end].ready();
        let Some(next) = ready.get(pick % ready.len().max(1)).copied() else { return Ok(None) };
        let now = now_ms - self.since_ms;
        let remote = peers[self.ends[1 - end].peer].local().map(pfs_net::Local::peer);
        let Some((local, remote)) = peers[self.ends[end].peer].local().zip(remote) else { return Ok(None) };
        let number = self.number;
        let at = &mut self.ends[end];
        match next {
            Next::Message => {
                let message = at.inbox.pop_front().ok_or("an inbox")?;
                at.session.handle_message(message, now);
            }
            Next::Settle => {
                local.peer_up(remote, number, ([127, 0, 0, 1], 1).into());
                (at.settled, at.wants) = (true, true);
            }
            Next::Call => {
                let call = at.calls.remove(pick % at.calls.len()).ok_or("a call")?;
                let answer = carry_out(local, remote, call);
                at.answers.extend(answer);
            }
            Next::Answer => {
                let answer = at.answers.remove(pick % at.answers.len()).ok_or("an answer")?;
                self.answered(end, answer, now);
            }
            Next::Ask => self.ask(end, local, remote),
            Next::Serve => {
                let (volume, ids) = at.requests.pop_front().ok_or("a request")?;
                self.serve(end, local, remote, volume, &ids);
            }
            Next::Chunks => {
                let (volume, chunks, last) = at.chunks.pop_front().ok_or("chunks")?;
                at.asked -= usize::from(last);
                at.wants = true;
                match local.deliver(volume, remote, chunks) {
                    Ok(()) => {}
                    Err(DeliverError::Local(_)) => self.ended = Some("the engine failed".into()),
                    Err(error) => return Err(format!("honest chunks were refused: {error}")),
                }
            }
        }
        self.act(end)?;
        Ok(Some(format!("{next:?}")))
    }

    fn answered(&mut self, end: usize, answer: Answer, now: u64) {
        let at = &mut self.ends[end];
        match answer {
            Answer::Looked(volume, seen) => {
                if let Some((frontier, listed)) = seen {
                    at.session.standing(volume, frontier, listed);
                }
                if at.looking.remove(&volume) == Some(true) {
                    at.look(volume);
                }
            }
            Answer::Loaded(volume, entries) => at.session.loaded(volume, entries),
            Answer::Stored(volume, result) => at.session.stored(volume, result, now),
        }
    }

    fn ask(&mut self, end: usize, local: &EngineLocal, remote: pfs_engine::model::ids::PeerId) {
        let at = &mut self.ends[end];
        at.wants = false;
        let mut asks = Vec::new();
        for volume in at.open.clone() {
            match local.wanted(volume, remote, self.number, FETCH_IDS) {
                Ok(ids) if ids.is_empty() => {}
                Ok(ids) => asks.push((volume, ids)),
                Err(_) => self.ended = Some("the engine failed".into()),
            }
        }
        let at = &mut self.ends[end];
        at.wants |= !asks.is_empty();
        at.asked += asks.len();
        self.ends[1 - end].requests.extend(asks);
    }

    fn serve(
        &mut self,
        end: usize,
        local: &EngineLocal,
        remote: pfs_engine::model::ids::PeerId,
        volume: VolumeId,
        ids: &[ChunkId],
    ) {
        let is_member = local.members(volume).is_ok_and(|members| members.contains_key(&remote));
        let mut batches = ids.chunks(SERVE_IDS).peekable();
        while let Some(batch) = batches.next() {
            let chunks = if is_member { local.chunks(volume, batch) } else { Ok(vec![None; batch.len()]) };
            let Ok(chunks) = chunks else {
                self.ended = Some("the engine failed".into());
                return;
            };
            let given = batch.iter().copied().zip(chunks).collect();
            self.ends[1 - end].chunks.push_back((volume, given, batches.peek().is_none()));
        }
    }

    /// Carries out what a session wants.
    fn act(&mut self, end: usize) -> Check {
        while let Some(action) = self.ends[end].session.poll_action() {
            let at = &mut self.ends[end];
            match action {
                Action::Send(message) => {
                    let sent = Message::decode(&message.encode()).map_err(|error| format!("unreadable: {error}"))?;
                    self.ends[1 - end].inbox.push_back(sent);
                }
                Action::Met(_) => at.met = true,
                Action::Look { volume } => at.look(volume),
                Action::Open { volume } => {
                    at.open.insert(volume);
                    at.wants = true;
                }
                Action::Close(close @ (Close::Violation(_) | Close::Hostile(_))) => {
                    return Err(format!("an honest session ended: {close}"));
                }
                Action::Close(close) => self.ended = Some(close.to_string()),
                call @ (Action::Load { .. } | Action::Store { .. } | Action::Holds { .. }) => at.calls.push_back(call),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Calls the engine for a session, as the driver does.
fn carry_out(local: &EngineLocal, remote: pfs_engine::model::ids::PeerId, call: Action) -> Option<Answer> {
    Some(match call {
        Action::Look { volume } => {
            let seen = local.members(volume).and_then(|members| Ok((local.frontier(volume)?, members)));
            let seen = match seen {
                Ok((frontier, members)) => Some((Some(frontier), members.contains_key(&remote))),
                Err(LocalError::UnknownVolume(_)) => Some((None, false)),
                Err(_) => None,
            };
            Answer::Looked(volume, seen)
        }
        Action::Load { volume, after, bytes_max } => {
            Answer::Loaded(volume, local.entries_after(volume, &after, bytes_max).unwrap_or_default())
        }
        Action::Store { volume, entries } => {
            let stored = local.receive(volume, entries).map_err(|error| match error {
                ReceiveError::Hostile(evidence) => StoreRefusal::Hostile(evidence),
                ReceiveError::NotYet => StoreRefusal::NotYet,
                _ => StoreRefusal::Failed,
            });
            Answer::Stored(volume, stored)
        }
        Action::Holds { volume, frontier } => {
            local.peer_holds(volume, remote, &frontier);
            return None;
        }
        _ => return None,
    })
}
