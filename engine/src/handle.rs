//! What can be asked of an engine. Every method blocks until it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::control::rot::rotten;
use crate::control::verify::{lacking_contents, verify_chunks};
use crate::control::{Answer, Captured, Dispute, Gone, NoRoom, RestoreReport, Rotten, Subscriber, Verified};
use crate::disk::Hint;
use crate::engine::{Engine, Lane, OnProgress};
use crate::error::EngineError;
use crate::limits::RECEIVE_PATCHES;
use crate::model::chunk::Unpacker;
use crate::model::entry::{Holding, Role, SignedEntry};
use crate::model::frontier::Frontier;
use crate::model::ids::{ChunkId, LogId, PatchId, PeerId, VolumeId};
use crate::model::patch::Root;
use crate::model::roster::Roster;
use crate::model::view::Fork;
use crate::plan::losses::Loss;
use crate::plan::resolve::Choice;
use crate::plan::restore::Wish;
use crate::store::VolumeState;

/// A volume as the control thread has it in mind.
#[derive(Debug, Clone)]
pub struct VolumeReport {
    /// Which.
    pub id: VolumeId,
    /// As stored.
    pub state: VolumeState,
    /// Its members.
    pub roster: Roster,
    /// The tracked directory.
    pub path: Option<PathBuf>,
    /// Whether its directory is being looked at.
    pub capturing: bool,
    /// Whether something on disk or in the log is still to be brought together.
    pub busy: bool,
    /// Whether it is halted because everything in its root is gone.
    pub emptied: bool,
    /// What it is halted for, where much of the tree is gone.
    pub lost: Option<Loss>,
    /// Things in the tree that are not carried, as of the last looks at it.
    pub skipped: u64,
    /// What stands in the way of work that nobody waits for.
    pub last_error: Option<String>,
    /// Logs of which there are two forms, with the evidence: nothing more is taken of them.
    pub disputes: BTreeMap<LogId, Dispute>,
    /// A file that waits for room on the tree's disk, if any does.
    pub no_room: Option<NoRoom>,
    /// What other members said they have.
    pub remote: BTreeMap<PeerId, Frontier>,
}

/// Contents that are not all here, and their lengths, by volume.
pub type Lacking = BTreeMap<VolumeId, BTreeMap<Root, u64>>;

/// What came of entries that another peer sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// What is here now.
    pub frontier: Frontier,
    /// Logs of which the sender has another form than is here.
    pub parted: BTreeMap<LogId, Parted>,
}

/// Where two forms of a log differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parted {
    /// At this number.
    pub seq: u64,
    /// Whether they have everything before it in common; otherwise they may differ before.
    pub is_first: bool,
}

/// Chunks that are not what their ids say.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The peer that sent them is broken or hostile.
    #[error("chunk {0} does not hash to its id")]
    Broken(ChunkId),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Engine {
    /// Volumes, one by one as they are.
    pub fn volumes(&self) -> Result<Vec<VolumeReport>, EngineError> {
        self.ask(Lane::Urgent, |control| Ok(control.volumes.values().map(crate::control::Held::report).collect()))
    }

    /// What people call this peer.
    pub fn name(&self) -> Result<String, EngineError> {
        self.ask(Lane::Urgent, |control| Ok(control.name.clone()))
    }

    /// Makes a directory a volume and captures it.
    pub fn track(
        &self,
        dir: &Path,
        name: &str,
        replicas: u8,
        progress: Option<OnProgress>,
    ) -> Result<(VolumeId, Captured), EngineError> {
        let (dir, name) = (dir.to_owned(), name.to_owned());
        self.ask(Lane::Work, move |control| control.track(&dir, &name, replicas, progress.as_ref()))
    }

    /// Stops tracking a volume; its files stay.
    pub fn untrack(&self, id: VolumeId) -> Result<(), EngineError> {
        self.ask(Lane::Work, move |control| control.untrack(id))
    }

    /// Captures everything that is on disk now.
    pub fn capture(&self, id: VolumeId, progress: Option<OnProgress>) -> Result<Captured, EngineError> {
        self.ask(Lane::Work, move |control| control.capture(id, Gone::Asked, progress.as_ref()))
    }

    /// The same where a person vouches for what the disk shows: that so much or everything is gone was meant, or a
    /// directory without its marker is the right one. Not both at once.
    pub fn capture_vouched(&self, id: VolumeId, progress: Option<OnProgress>) -> Result<Captured, EngineError> {
        self.ask(Lane::Work, move |control| control.capture(id, Gone::Meant, progress.as_ref()))
    }

    /// The same where what is gone was not meant to go: it is brought back from the history, as far as the bytes
    /// are here.
    pub fn bring_back(&self, id: VolumeId, progress: Option<OnProgress>) -> Result<Captured, EngineError> {
        self.ask(Lane::Work, move |control| control.capture(id, Gone::BringBack, progress.as_ref()))
    }

    /// Notices volumes whose directory is gone: they are halted from now on.
    pub fn check_trees(&self) -> Result<(), EngineError> {
        self.ask(Lane::Urgent, |control| {
            control.check_trees();
            Ok(())
        })
    }

    /// Closes a fork. Gives the patches that close it.
    pub fn resolve(&self, id: VolumeId, fork: Fork, choice: Choice) -> Result<Vec<PatchId>, EngineError> {
        self.ask(Lane::Work, move |control| control.resolve(id, &fork, &choice))
    }

    /// Makes a path what it was by new patches; with `dry` only says what they would do.
    pub fn restore(&self, id: VolumeId, wish: Wish, dry: bool) -> Result<RestoreReport, EngineError> {
        self.ask(Lane::Work, move |control| control.restore(id, &wish, dry))
    }

    /// Opens an invite; gives its secret.
    pub fn invite(&self, id: VolumeId, role: Role, expires_ms: u64, uses: u32) -> Result<[u8; 16], EngineError> {
        self.ask(Lane::Work, move |control| control.invite(id, role, expires_ms, uses))
    }

    /// Makes room for a volume that its members are to fill. Gives the directory as it is tracked.
    pub fn adopt(&self, id: VolumeId, name: &str, dir: &Path, holding: Holding) -> Result<PathBuf, EngineError> {
        let (name, dir) = (name.to_owned(), dir.to_owned());
        self.ask(Lane::Work, move |control| control.adopt(id, &name, &dir, holding))
    }

    /// Lets a peer in that knows the secret of an invite.
    pub fn admit(
        &self,
        id: VolumeId,
        secret: [u8; 16],
        peer: PeerId,
        name: String,
        holding: Holding,
    ) -> Result<(), EngineError> {
        self.ask(Lane::Urgent, move |control| control.admit(id, secret, peer, &name, holding))
    }

    /// Ends a peer's membership.
    pub fn remove_member(&self, id: VolumeId, peer: PeerId) -> Result<(), EngineError> {
        self.ask(Lane::Work, move |control| control.remove_member(id, peer))
    }

    /// Takes in entries of other peers, verified and durable on return. What depends on entries that are not here is
    /// left out, and so is what comes of a log whose author has written it in two forms.
    pub fn receive(&self, id: VolumeId, entries: Vec<SignedEntry>) -> Result<Received, EngineError> {
        // Signatures are checked here, on the caller's thread, so that they hold up nobody else.
        entries.iter().try_for_each(SignedEntry::check)?;
        let (mut entries, mut parted, mut lacks) = (entries.into_iter().peekable(), BTreeMap::new(), None);
        loop {
            let mut batch: Vec<SignedEntry> = entries.next().into_iter().collect();
            let mut patches = batch.iter().map(|signed| signed.entry.patches().len()).sum::<usize>();
            while let Some(next) = entries.next_if(|next| patches + next.entry.patches().len() <= RECEIVE_PATCHES) {
                patches += next.entry.patches().len();
                batch.push(next);
            }
            match self.ask(Lane::Urgent, move |control| control.receive(id, batch)) {
                Ok(received) => parted.extend(received.parted),
                // What does not depend on it may be among the rest.
                Err(error @ EngineError::NotYet { .. }) => lacks = Some(error),
                Err(error) => return Err(error),
            }
            if entries.peek().is_none() {
                let frontier = self.volume(id)?.frontier();
                let lacks = lacks.filter(|_| parted.is_empty());
                return lacks.map_or(Ok(Received { frontier, parted }), Err);
            }
        }
    }

    /// A member said what it has of a volume.
    pub fn peer_has(&self, id: VolumeId, peer: PeerId, frontier: Frontier) -> Result<(), EngineError> {
        self.ask(Lane::Urgent, move |control| control.peer_has(id, peer, frontier))
    }

    /// A peer can be asked for chunks, over the connection with that number; to be told `peer_down` before it
    /// comes to be another.
    pub fn peer_up(&self, peer: PeerId, link: u64) -> Result<(), EngineError> {
        self.ask(Lane::Urgent, move |control| {
            control.peer_up(peer, link);
            Ok(())
        })
    }

    /// A peer can no longer be asked.
    pub fn peer_down(&self, peer: PeerId) -> Result<(), EngineError> {
        self.ask(Lane::Urgent, move |control| {
            control.peer_down(peer);
            Ok(())
        })
    }

    /// What to ask a peer for now over a connection, which is nothing unless it is the one that counts; it counts
    /// as asked until it is delivered or the peer is down.
    pub fn wanted(&self, id: VolumeId, peer: PeerId, link: u64) -> Result<Vec<ChunkId>, EngineError> {
        self.ask(Lane::Urgent, move |control| control.wanted(id, peer, link))
    }

    /// A peer's answers: chunks in stored form, or that it lacks them.
    pub fn deliver(
        &self,
        id: VolumeId,
        peer: PeerId,
        chunks: Vec<(ChunkId, Option<Vec<u8>>)>,
    ) -> Result<(), DeliverError> {
        let (mut unpacker, mut answers, mut keep) = (Unpacker::new(), Vec::new(), Vec::new());
        for (id, stored) in chunks {
            let Some(stored) = stored else {
                answers.push(Answer { id, came: false });
                continue;
            };
            unpacker.unpack(id, &stored).map_err(|_| DeliverError::Broken(id))?;
            answers.push(Answer { id, came: true });
            keep.push((id, stored));
        }
        self.store().put_chunks(keep).map_err(EngineError::from)?;
        Ok(self.ask(Lane::Urgent, move |control| control.answered(id, peer, answers))?)
    }

    /// Reads every row and proves every stored chunk, or these; with `repair`, lets go of what is broken and fetches it anew. Gives
    /// what was found, and the contents that are not all here.
    pub fn verify(
        &self,
        only: Option<&BTreeSet<ChunkId>>,
        repair: bool,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(Verified, Lacking), EngineError> {
        self.store().read_rows()?;
        let verified = verify_chunks(self.store(), only, progress)?;
        let broken = verified.broken.clone();
        if repair {
            self.ask(Lane::Work, move |control| control.heal(&broken))?;
        }
        let mut lacking = BTreeMap::new();
        for id in self.store().volumes() {
            lacking.insert(id, lacking_contents(self.store(), &self.volume(id)?)?);
        }
        Ok((verified, lacking))
    }

    /// Compares the files of a volume's tree with what was captured of them, where their signatures say that nobody
    /// wrote to them; with `repair`, captured bytes take the place of others, which are kept. Nothing where there is
    /// no tree, or the volume stands still.
    pub fn verify_tree(&self, id: VolumeId, repair: bool, progress: &dyn Fn(u64)) -> Result<Vec<Rotten>, EngineError> {
        let volume = self.volume(id)?;
        let Ok(tree) = self.ask(Lane::Urgent, move |control| control.tree_of(id)) else { return Ok(Vec::new()) };
        let mut found = rotten(self.store(), (&volume, &tree), self.env(), progress)?;
        if !repair || found.is_empty() {
            return Ok(found);
        }
        self.ask(Lane::Work, move |control| {
            control.mend(id, &mut found)?;
            Ok(found)
        })
    }

    /// Calls back on every event, on the control thread: the callback must not block.
    pub fn subscribe(&self, subscriber: Subscriber) -> Result<(), EngineError> {
        self.ask(Lane::Urgent, move |control| {
            control.subscribe(subscriber);
            Ok(())
        })
    }

    /// Of an engine without a thread: does what is due now, and gives when something will be due next.
    pub fn step(&self) -> Result<Option<Instant>, EngineError> {
        self.ask(Lane::Work, |control| Ok(control.step()))
    }

    /// Says where to look again, as the watcher of an engine that has one does.
    pub fn hint(&self, id: VolumeId, hint: Hint) -> Result<(), EngineError> {
        self.ask(Lane::Urgent, move |control| {
            control.take_hint(id, hint);
            Ok(())
        })
    }

    /// Wall-clock milliseconds since 1970, as entries are dated by.
    pub fn now_ms(&self) -> u64 {
        self.env().wall_ms()
    }
}
