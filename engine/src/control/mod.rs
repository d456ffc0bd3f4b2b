//! The control thread: gather facts, plan, execute, commit. It alone decides and it alone writes.
//!
//! Long work goes in batches; between them what the network brings is taken in, so that a peer never waits for
//! the end of a scan. Reading, hashing, compressing and writing files happen on pools.

mod append;
mod capture;
mod fetch;
mod gc;
mod held;
mod join;
mod look;
mod loss;
mod materialise;
mod members;
mod read;
mod receive;
mod recover;
mod resolve;
mod restore;
mod room;
pub(crate) mod rot;
mod source;
pub(crate) mod verify;
mod window;
mod withdraw;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};

pub(crate) use append::{contents, shown_contents};
pub use capture::Captured;
pub(crate) use fetch::Answer;
pub use held::Dispute;
use held::Duty;
pub(crate) use held::{EMPTIED, Held};
pub use look::Problem;
pub(crate) use loss::Gone;
pub use restore::RestoreReport;
pub use room::NoRoom;
pub use rot::Rotten;
pub use verify::Verified;

use crate::disk::Hint;
use crate::engine::Event;
use crate::environment::Environment;
use crate::error::EngineError;
use crate::model::ids::{PeerId, VolumeId};
use crate::model::keys::Keypair;
use crate::store::Store;

/// A piece of work for the control thread.
pub(crate) type Job = Box<dyn FnOnce(&mut Control) + Send>;

/// What a control does besides what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Asked,
    /// It watches the trees, captures, and brings them up to date.
    Live,
    /// The same, but when somebody calls `step`, who also says where to look.
    Driven,
}

impl Mode {
    pub(crate) fn is_active(self) -> bool {
        self != Self::Asked
    }
}

/// Where the control thread gets its work from.
pub(crate) struct Lanes {
    pub(crate) urgent: Receiver<Job>,
    pub(crate) work: Receiver<Job>,
}

/// Both ends of a queue.
type Channel<T> = (Sender<T>, Receiver<T>);

/// Who is told of events.
pub(crate) type Subscriber = Box<dyn Fn(Event) + Send>;

/// The control thread's state.
pub(crate) struct Control {
    pub(crate) env: Arc<dyn Environment>,
    pub(crate) store: Store,
    pub(crate) keys: Keypair,
    pub(crate) name: String,
    /// Where this peer's own files are: never to be captured.
    pub(crate) home: PathBuf,
    pub(crate) volumes: BTreeMap<VolumeId, Held>,
    /// Peers that are connected now, members or not yet, each with the number of the connection that counts.
    pub(crate) up: BTreeMap<PeerId, u64>,
    /// Whether what a crash left in a tree is being looked at.
    recovering: bool,
    mode: Mode,
    lanes: Lanes,
    hints: Channel<(VolumeId, Hint)>,
    subscribers: Vec<Subscriber>,
}

/// How long the loop sleeps when nothing is due.
const IDLE: Duration = Duration::from_hours(1);
/// Waiting this long after a failure gives a full disk or a missing mount time to come back.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

impl Control {
    pub(crate) fn new(
        store: Store,
        keys: Keypair,
        (name, home): (String, PathBuf),
        (mode, env): (Mode, Arc<dyn Environment>),
        lanes: Lanes,
    ) -> Result<Self, EngineError> {
        let (volumes, up, hints, subscribers) = (BTreeMap::new(), BTreeMap::new(), unbounded(), Vec::new());
        let recovering = false;
        let mut control =
            Self { env, store, keys, name, home, volumes, up, recovering, mode, lanes, hints, subscribers };
        for id in control.store.volumes() {
            let held = Held::open(&control.store, id, Arc::clone(&control.env))?;
            if held.is_unborn() {
                held.forget(&control.store)?;
                continue;
            }
            control.volumes.insert(id, held);
            control.attach(id);
        }
        Ok(control)
    }

    /// What this peer appends from now on goes to new logs: the ends of the old ones may be lost here.
    pub(crate) fn begin_new_logs(&mut self) -> Result<(), EngineError> {
        self.volumes.values_mut().try_for_each(|held| held.begin_new_log(&self.store))
    }

    /// Before anything else: what a crash left.
    pub(crate) fn begin(&mut self) {
        for id in self.volumes.keys().copied().collect::<Vec<_>>() {
            self.recover(id);
        }
    }

    /// Does what is due now. Gives when something will be due next.
    pub(crate) fn step(&mut self) -> Option<Instant> {
        self.take_hints();
        self.duties();
        self.next_due()
    }

    /// Works until every handle is dropped.
    pub(crate) fn run(&mut self) {
        self.begin();
        loop {
            match self.next_job() {
                Ok(Some(job)) => job(self),
                Ok(None) => {}
                Err(Closed) => break,
            }
            self.step();
        }
        self.tell(&Event::Closing);
    }

    /// Between batches of long work: takes in what the network brings; but not before it is known what a crash
    /// left in a tree.
    pub(crate) fn breathe(&mut self) {
        if self.recovering {
            return;
        }
        // Not what comes meanwhile, or whoever sends without end would stop the work.
        for _ in 0..self.lanes.urgent.len() {
            let Ok(job) = self.lanes.urgent.try_recv() else { break };
            job(self);
        }
        // A volume's hints are bounded once they are taken.
        self.take_hints();
    }

    pub(crate) fn subscribe(&mut self, subscriber: Subscriber) {
        self.subscribers.push(subscriber);
    }

    pub(crate) fn tell(&self, event: &Event) {
        for subscriber in &self.subscribers {
            subscriber(event.clone());
        }
    }

    pub(crate) fn held(&mut self, id: VolumeId) -> Result<&mut Held, EngineError> {
        self.volumes.get_mut(&id).ok_or(EngineError::NoVolume(id))
    }

    /// Opens the tree of a volume and, in a daemon, watches it. What stands in the way halts the volume.
    pub(crate) fn attach(&mut self, id: VolumeId) {
        let (store, hints, mode) = (self.store.clone(), self.hints.0.clone(), self.mode);
        let Some(held) = self.volumes.get_mut(&id) else { return };
        if let Some(path) = held.path().filter(|path| lie_in_each_other(path, &self.home)) {
            return held.halt(EngineError::AroundHome { path, home: self.home.clone() }.to_string());
        }
        held.attach(&store, mode, move |hint| {
            // The loop may have ended; then nobody needs hints.
            let _ = hints.send((id, hint));
        });
    }

    fn next_job(&mut self) -> Result<Option<Job>, Closed> {
        match self.lanes.urgent.try_recv() {
            Ok(job) => return Ok(Some(job)),
            Err(TryRecvError::Disconnected) => return Err(Closed),
            Err(TryRecvError::Empty) => {}
        }
        let due = self.next_due();
        let timeout = due.map_or(IDLE, |due| due.saturating_duration_since(self.env.now()));
        if timeout.is_zero() {
            return Ok(self.lanes.work.try_recv().ok());
        }
        crossbeam_channel::select! {
            recv(self.lanes.urgent) -> job => job.map(Some).map_err(|_| Closed),
            recv(self.lanes.work) -> job => job.map(Some).map_err(|_| Closed),
            recv(self.hints.1) -> hint => {
                if let Ok((id, hint)) = hint {
                    self.take_hint(id, hint);
                }
                Ok(None)
            }
            default(timeout) => Ok(None),
        }
    }

    fn take_hints(&mut self) {
        while let Ok((id, hint)) = self.hints.1.try_recv() {
            self.take_hint(id, hint);
        }
    }

    pub(crate) fn take_hint(&mut self, id: VolumeId, hint: Hint) {
        if let Some(held) = self.volumes.get_mut(&id) {
            held.dirty.hint(hint, self.env.now());
        }
    }

    fn next_due(&self) -> Option<Instant> {
        if !self.mode.is_active() {
            return None;
        }
        self.volumes.values().filter_map(Held::next_due).min()
    }

    /// What a live engine does by itself: captures what was hinted at, and brings trees up to date.
    fn duties(&mut self) {
        if !self.mode.is_active() {
            return;
        }
        let ids: Vec<VolumeId> = self.volumes.keys().copied().collect();
        for id in ids {
            self.return_to(id);
            let Some(held) = self.volumes.get_mut(&id) else { continue };
            held.look_fully_in_time(held.env.now());
            let (look_due, work_due) = held.due(held.env.now());
            let mut outcome = Ok(());
            if held.join_is_due() {
                outcome = self.finish_join(id);
            }
            if look_due && outcome.is_ok() {
                outcome = self.capture_hinted(id);
            }
            let looked = look_due && outcome.is_ok();
            if work_due && outcome.is_ok() {
                outcome = self.materialise(id);
            }
            self.note_outcome(id, looked, outcome);
            self.nudge(id);
        }
    }

    /// What one peer does not answer another is asked for, and what nobody had is asked for again: nothing else
    /// would make them look.
    fn nudge(&mut self, id: VolumeId) {
        if self.volumes.get_mut(&id).is_some_and(Held::is_to_nudge) {
            self.tell(&Event::Wanted(id));
        }
    }

    /// A failed duty is tried again after a while.
    fn note_outcome(&mut self, id: VolumeId, looked: bool, outcome: Result<(), EngineError>) {
        let Some(held) = self.volumes.get_mut(&id) else { return };
        if let Err(error) = outcome {
            tracing::warn!(volume = %id.short(), %error, "will try again");
            held.rest_until = Some(held.env.now() + AFTER_FAILURE);
            held.window.wake(held.env.now());
            held.trouble(Duty::Look, Some(error.to_string()));
        } else if looked {
            held.trouble(Duty::Look, None);
        }
    }
}

impl Control {
    /// A volume that stands still because its disk was gone goes on when the disk is back.
    fn return_to(&mut self, id: VolumeId) {
        let Some(held) = self.volumes.get_mut(&id) else { return };
        let waits = held.state.halted.is_some() && held.halted_by_loss().is_none() && held.state.path.is_some();
        if waits && held.rest_until.is_none_or(|until| until <= held.env.now()) {
            held.rest_until = Some(held.env.now() + AFTER_FAILURE);
            self.attach(id);
            self.recover(id);
        }
    }

    /// Halts the volumes whose directory is gone, for somebody who wants to know now.
    pub(crate) fn check_trees(&mut self) {
        for held in self.volumes.values_mut().filter(|held| held.state.halted.is_none()) {
            if let Some(Err(error)) = held.tree.as_ref().map(|tree| tree.check_marker()) {
                held.halt(error.to_string());
            }
        }
    }
}

/// Every handle is gone.
struct Closed;

/// Whether one of two directories holds the other, or they are the same.
pub(crate) fn lie_in_each_other(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests;
