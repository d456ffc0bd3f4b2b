//! Pumps one connection: control stream to session, session's actions to the engine and back, chunk streams
//! beside it. One task a connection; what blocks runs elsewhere and answers through `jobs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use pfs_engine::handle::Received;
use pfs_engine::model::entry::SignedEntry;
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{LogId, PeerId, VolumeId};
use quinn::{Chunk, ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::chunks::{StreamError, fetch, serve};
use super::endpoint::Link;
use super::mailbox::{Mailbox, Wishes};
use crate::local::{AdmitRefusal, Local, LocalError, ReceiveError};
use crate::proto::frame::{FrameDecoder, framed};
use crate::proto::limits::{DIAL, FAREWELL, FETCHES, OUTBOX_MESSAGES_MAX, PEERS_MAX, SESSION_JOBS_MAX};
use crate::proto::message::{Hello, PeerNews, Refusal};
use crate::proto::session::{Action, Close, Session, StoreRefusal};

/// Bytes taken from the control stream at a time.
const READ_BYTES: usize = 64 << 10;

/// What a link tells the node. The calls return at once.
pub(crate) trait Host: Send + Sync + 'static {
    /// The peer introduced itself.
    fn met(&self, link: u64, hello: &Hello);
    /// Both sides take each other for members of a volume.
    fn opened(&self, link: u64, volume: VolumeId);
    /// A member of a volume told where others are.
    fn heard(&self, from: PeerId, volume: VolumeId, peers: Vec<PeerNews>);
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// One of the two sides said why.
    Closed(Close),
    /// It broke.
    Lost,
}

/// What a link is made of.
pub(crate) struct Parts {
    /// The node's number for it.
    pub(crate) id: u64,
    pub(crate) link: Link,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) local: Arc<dyn Local>,
    pub(crate) host: Arc<dyn Host>,
}

/// What the fetchers look at: counts up whenever there may be more to ask for, and of which volumes.
type FetchPlan = watch::Sender<(u64, BTreeSet<VolumeId>)>;

struct Driver {
    parts: Parts,
    session: Session,
    started: Instant,
    decoder: FrameDecoder,
    outbox: VecDeque<Bytes>,
    jobs: JoinSet<Answer>,
    /// Volumes being looked up; true: look again afterwards.
    looking: BTreeMap<VolumeId, bool>,
    joins: BTreeMap<VolumeId, oneshot::Sender<Result<(), Refusal>>>,
    plan: FetchPlan,
    streams: JoinSet<Result<(), StreamError>>,
    ended: Option<Ended>,
}

/// What a blocking call brought.
enum Answer {
    Looked(VolumeId, Option<(Option<Frontier>, bool)>, BTreeMap<LogId, u64>),
    Loaded(VolumeId, Vec<SignedEntry>),
    Stored(VolumeId, Result<Received, StoreRefusal>),
    Admitted(VolumeId, Result<(), Refusal>),
    Noted,
}

/// Talks until the connection ends.
pub(crate) async fn run(parts: Parts, hello: Hello) -> Ended {
    let Some((mut send, mut recv)) = control_stream(&parts.link).await else { return Ended::Lost };
    // Bulk must not hold up the log.
    let _ = send.set_priority(1);
    let mut driver = Driver {
        session: Session::new(hello, 0),
        started: Instant::now(),
        decoder: FrameDecoder::default(),
        outbox: VecDeque::new(),
        jobs: JoinSet::new(),
        looking: BTreeMap::new(),
        joins: BTreeMap::new(),
        plan: watch::channel((0, BTreeSet::new())).0,
        streams: JoinSet::new(),
        ended: None,
        parts,
    };
    for volume in driver.parts.local.volumes() {
        driver.look(volume);
    }
    let ended = loop {
        driver.act();
        if let Some(ended) = driver.ended.take() {
            break ended;
        }
        driver.turn(&mut send, &mut recv).await;
    };
    driver.farewell(&mut send).await;
    ended
}

async fn control_stream(link: &Link) -> Option<(SendStream, RecvStream)> {
    if link.dialled {
        return link.quinn.open_bi().await.ok();
    }
    timeout(DIAL, link.quinn.accept_bi()).await.ok()?.ok()
}

impl Driver {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Waits for whatever comes first, and handles it.
    async fn turn(&mut self, send: &mut SendStream, recv: &mut RecvStream) {
        let timeout_ms = self.session.poll_timeout().unwrap_or(u64::MAX >> 20);
        let due = self.started + Duration::from_millis(timeout_ms);
        let readable = self.outbox.len() < OUTBOX_MESSAGES_MAX && self.jobs.len() < SESSION_JOBS_MAX;
        let next = self.outbox.front().cloned();
        tokio::select! {
            read = recv.read_chunk(READ_BYTES, true), if readable => self.received(read),
            written = send.write(next.as_deref().unwrap_or_default()), if next.is_some() => self.written(&written),
            wishes = self.parts.mailbox.take() => self.grant(wishes),
            Some(answer) = self.jobs.join_next() => {
                if let Ok(answer) = answer { self.answered(answer) } else { self.ended = Some(Ended::Lost) }
            }
            Some(stream) = self.streams.join_next() => self.stream_ended(stream.unwrap_or(Err(StreamError::Local))),
            stream = self.parts.link.quinn.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let serving = serve(self.parts.local.clone(), self.parts.link.clone(), send, recv);
                    self.streams.spawn(serving);
                }
                Err(_) => self.ended = Some(Ended::Lost),
            },
            () = sleep_until(due.into()) => self.session.handle_timeout(self.now_ms()),
        }
    }

    fn received(&mut self, read: Result<Option<Chunk>, ReadError>) {
        let Ok(Some(chunk)) = read else {
            self.ended = Some(Ended::Lost);
            return;
        };
        let now_ms = self.now_ms();
        self.session.heard(now_ms);
        self.decoder.push(&chunk.bytes);
        loop {
            match self.decoder.next_frame(self.session.frame_bytes_max()) {
                Ok(Some(body)) => self.session.handle_frame(body, now_ms),
                Ok(None) => return,
                Err(error) => return self.session.violated(error.into()),
            }
        }
    }

    fn written(&mut self, written: &Result<usize, WriteError>) {
        match (written, self.outbox.front_mut()) {
            (Ok(bytes), Some(front)) => {
                front.advance(*bytes);
                if front.is_empty() {
                    self.outbox.pop_front();
                }
            }
            _ => self.ended = Some(Ended::Lost),
        }
    }

    /// What the node wished.
    fn grant(&mut self, wishes: Wishes) {
        for volume in wishes.changed {
            self.look(volume);
        }
        for (volume, news) in wishes.gossip {
            let peer = self.parts.link.peer;
            let news: Vec<_> = news.into_values().filter(|news| news.peer != peer).take(PEERS_MAX).collect();
            self.session.gossip(volume, news);
        }
        for request in wishes.joins {
            let name = self.parts.local.name();
            self.session.join(request.volume, request.secret, &name, request.holding);
            self.joins.insert(request.volume, request.answer);
        }
        if wishes.settled {
            for _ in 0..FETCHES {
                let Parts { id, link, local, .. } = &self.parts;
                self.streams.spawn(fetch_all(local.clone(), link.clone(), *id, self.plan.subscribe()));
            }
        }
        if wishes.settled || wishes.wanted {
            self.plan.send_modify(|(count, _)| *count += 1);
        }
        if let Some(reason) = wishes.bye {
            self.session.close(reason);
        }
    }

    /// Carries out what the session wants.
    fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send(message) => self.outbox.push_back(framed(&message.encode()).into()),
                Action::Met(hello) => self.parts.host.met(self.parts.id, &hello),
                Action::Look { volume } => self.look(volume),
                Action::Load { volume, after, bytes_max } => self.job(move |local, _| {
                    let entries = local.entries_after(volume, &after, bytes_max);
                    Answer::Loaded(volume, entries.inspect_err(|error| failed("entries", error)).unwrap_or_default())
                }),
                Action::Store { volume, entries } => self
                    .job(move |local, _| Answer::Stored(volume, local.receive(volume, entries).map_err(store_refusal))),
                Action::Admit { volume, secret, name, holding } => self.job(move |local, peer| {
                    Answer::Admitted(volume, local.admit(volume, secret.0, peer, name, holding).map_err(refusal))
                }),
                Action::Joined { volume, result } => {
                    if let Some(answer) = self.joins.remove(&volume) {
                        // Whoever asked may have given up.
                        let _ = answer.send(result);
                    }
                }
                Action::Holds { volume, frontier } => self.job(move |local, peer| {
                    local.peer_holds(volume, peer, &frontier);
                    Answer::Noted
                }),
                Action::Open { volume } => {
                    self.plan.send_modify(|(count, volumes)| {
                        *count += 1;
                        volumes.insert(volume);
                    });
                    self.parts.host.opened(self.parts.id, volume);
                }
                Action::Heard { volume, peers } => self.parts.host.heard(self.parts.link.peer, volume, peers),
                Action::Close(close) => self.ended = Some(Ended::Closed(close)),
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        let now_ms = self.now_ms();
        match answer {
            Answer::Looked(volume, seen, disputes) => {
                if let Some((frontier, listed)) = seen {
                    self.session.standing(volume, frontier, listed);
                    self.session.show(volume, disputes);
                }
                if self.looking.remove(&volume) == Some(true) {
                    self.look(volume);
                }
            }
            Answer::Loaded(volume, entries) => self.session.loaded(volume, entries),
            Answer::Stored(volume, result) => self.session.stored(volume, result, now_ms),
            Answer::Admitted(volume, result) => self.session.admitted(volume, result),
            Answer::Noted => {}
        }
    }

    /// Looks up a volume; one look at a time, so that what is seen is never older than what was seen before.
    fn look(&mut self, volume: VolumeId) {
        if let Some(again) = self.looking.get_mut(&volume) {
            *again = true;
            return;
        }
        self.looking.insert(volume, false);
        self.job(move |local, peer| {
            let seen = local.members(volume).and_then(|members| Ok((local.frontier(volume)?, members)));
            Answer::Looked(
                volume,
                match seen {
                    Ok((frontier, members)) => Some((Some(frontier), members.contains_key(&peer))),
                    Err(LocalError::UnknownVolume(_)) => Some((None, false)),
                    Err(error) => {
                        failed("members", &error);
                        None
                    }
                },
                local.disputes(volume),
            )
        });
    }

    fn stream_ended(&mut self, result: Result<(), StreamError>) {
        match result {
            Ok(()) => {}
            Err(StreamError::Violation(violation)) => self.session.violated(violation),
            Err(StreamError::Hostile(evidence)) => self.session.forged(evidence),
            // What was asked for is free again once the link is down.
            Err(StreamError::Broken | StreamError::Local) => self.ended = Some(Ended::Lost),
        }
    }

    fn job(&mut self, call: impl FnOnce(&dyn Local, PeerId) -> Answer + Send + 'static) {
        let local = self.parts.local.clone();
        let peer = self.parts.link.peer;
        self.jobs.spawn_blocking(move || call(&*local, peer));
    }

    /// Gets the last words out, if the other end still reads.
    async fn farewell(&mut self, send: &mut SendStream) {
        let words = async {
            let mut pieces: Vec<_> = self.outbox.drain(..).collect();
            if send.write_all_chunks(&mut pieces).await.is_ok() && send.finish().is_ok() {
                // Either it has arrived or nobody is there.
                let _ = send.stopped().await;
            }
        };
        let _ = timeout(FAREWELL, words).await;
        self.parts.link.close();
    }
}

/// Asks for chunks as long as there is something to ask for; ends only with an error.
async fn fetch_all(
    local: Arc<dyn Local>,
    link: Link,
    number: u64,
    mut plan: watch::Receiver<(u64, BTreeSet<VolumeId>)>,
) -> Result<(), StreamError> {
    loop {
        let volumes = plan.borrow_and_update().1.clone();
        let mut asked = 0;
        for volume in volumes {
            asked += fetch(local.clone(), link.clone(), number, volume).await?;
        }
        if asked == 0 && plan.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn store_refusal(error: ReceiveError) -> StoreRefusal {
    match error {
        ReceiveError::Hostile(evidence) => StoreRefusal::Hostile(evidence),
        ReceiveError::NotYet => StoreRefusal::NotYet,
        ReceiveError::Local(error) => {
            failed("receive", &error);
            StoreRefusal::Failed
        }
    }
}

fn refusal(refusal: AdmitRefusal) -> Refusal {
    match refusal {
        AdmitRefusal::Unknown => Refusal::Unknown,
        AdmitRefusal::Expired => Refusal::Expired,
        AdmitRefusal::UsedUp => Refusal::UsedUp,
        AdmitRefusal::Removed => Refusal::Removed,
        AdmitRefusal::Local(error) => {
            failed("admit", &error);
            Refusal::Unavailable
        }
    }
}

fn failed(what: &str, error: &LocalError) {
    tracing::warn!(what, error = error as &dyn std::error::Error, "the local peer could not answer");
}
