//! What the control thread keeps in mind of one volume.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Mode;
use super::fetch::Queue;
use super::look::Problem;
use super::window::Window;
use crate::disk::Tree;
use crate::disk::{Hint, Watcher};
use crate::environment::Environment;
use crate::error::EngineError;
use crate::handle::VolumeReport;
use crate::limits::FETCH_LATE_MS;
use crate::model::codec;
use crate::model::frontier::Frontier;
use crate::model::ids::{EntryHash, LogId, PeerId, VolumeId};
use crate::model::name::RelPath;
use crate::model::patch::Root;
use crate::model::roster::Roster;
use crate::plan::fetch::{Fetch, FetchLimits};
use crate::plan::losses::{Loss, Losses};
use crate::store::{Store, StoreError, Volume, VolumeState};

/// One volume in the hands of the control thread.
pub(crate) struct Held {
    pub(crate) env: Arc<dyn Environment>,
    pub(crate) volume: Volume,
    pub(crate) state: VolumeState,
    pub(crate) more: More,
    pub(crate) tree: Option<Arc<Tree>>,
    watcher: Option<Watcher>,
    pub(crate) dirty: Dirty,
    /// Whether its directory is being looked at.
    pub(crate) capturing: bool,
    pub(crate) window: Window,
    pub(crate) fetch: Fetch,
    pub(crate) queue: Queue,
    /// When peers that wait for something to fetch were last told to look because others may be late.
    pub(crate) nudged: Instant,
    /// Contents that became complete since the last commit.
    pub(crate) completed: BTreeSet<Root>,
    /// What other members said they have.
    pub(crate) remote: BTreeMap<PeerId, Frontier>,
    /// Files that changed while they were read, since when.
    pub(crate) unstable: BTreeMap<RelPath, Instant>,
    /// What is not carried, by path: what the last look at its directory said.
    skipped: BTreeSet<Vec<u8>>,
    /// Everything in the root was gone at once: only a person can say that this was meant.
    pub(crate) emptied: bool,
    /// What went lately.
    pub(super) losses: Losses,
    /// When the whole tree is looked at again, whatever the watcher said.
    full_look: Instant,
    /// After a failure nothing is tried before this.
    pub(crate) rest_until: Option<Instant>,
    /// What stands in the way of work that nobody waits for.
    troubles: BTreeMap<Duty, String>,
}

/// What a live engine does by itself; the order in which its troubles are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Duty {
    /// To look at the disk, and write down what is new.
    Look,
    /// To bring the disk up to date.
    Write,
    /// To put contents together.
    Fetch,
    /// To be told what changes on disk.
    Watch,
}

/// Why a volume stands still whose root is empty; kept in the store, so that it outlives a restart.
pub(crate) const EMPTIED: &str = "everything in its root is gone at once";

/// How far a list in the store has been gone through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Cursor<T> {
    /// From its beginning on.
    #[default]
    Start,
    /// From behind this one on.
    Behind(T),
    /// To its end.
    End,
}

impl<T: Copy> Cursor<T> {
    /// Behind the last one read, or at the end where there was none.
    pub(crate) fn behind(last: Option<T>) -> Self {
        last.map_or(Self::End, Self::Behind)
    }

    /// Where to go on: behind which one, if behind any; nothing at the end.
    #[expect(clippy::option_option, reason = "the store's lists take what they begin behind as an option")]
    pub(crate) fn after(self) -> Option<Option<T>> {
        match self {
            Self::Start => Some(None),
            Self::Behind(last) => Some(Some(last)),
            Self::End => None,
        }
    }
}

/// What the engine keeps of a volume inside its store row.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct More {
    pub(crate) roster: Roster,
    /// What this peer's own log has named as dependencies so far.
    pub(crate) named: Frontier,
    /// The directory joined with files in it, or could have: its first look has not been taken yet.
    pub(crate) joining: bool,
    /// Steps have begun that are not recorded: until the tree is looked at it may be ahead of the records.
    pub(crate) under_way: bool,
    /// So much went from the tree at once that a person must say whether it was meant.
    pub(crate) lost: Option<Loss>,
    /// Logs of which there are two forms: nothing more is taken of them.
    pub(crate) disputes: BTreeMap<LogId, Dispute>,
    /// Logs of which a form was given up: the last entry that all forms have in common. What others depended on
    /// beyond it may be in the log into which that form was copied.
    pub(crate) withdrawn: BTreeMap<LogId, u64>,
}

/// Two different entries of one number in one log, both signed by its author: the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// The lowest number at which they are known to differ.
    pub seq: u64,
    /// The hash of the one that is here.
    pub here: EntryHash,
    /// The hash of the other.
    pub there: EntryHash,
}

/// Where the disk is to be looked at again, by what the watcher hinted.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    shallow: BTreeSet<RelPath>,
    below: BTreeSet<RelPath>,
    /// Files that were open for writing, since a look has last succeeded.
    pub(crate) closed: BTreeSet<RelPath>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// A look waits until hints have been quiet for this long …
const QUIET: Duration = Duration::from_millis(5);
/// … but no longer than this.
const PATIENCE: Duration = Duration::from_millis(100);
/// … or than this while much is brought to disk: most hints are of what is written here itself.
const PATIENCE_WITH_OWN: Duration = Duration::from_secs(2);
/// A watcher can miss things; a full look cannot. Volumes take theirs at different times.
fn full_look_after(id: VolumeId) -> Duration {
    Duration::from_secs(45 * 60 + u64::from(id.0[0]) * 7)
}

/// Directories remembered one by one before the whole tree is taken as dirty.
const DIRTY_MAX: usize = 4096;

impl Dirty {
    pub(crate) fn hint(&mut self, hint: Hint, now: Instant) {
        match hint {
            Hint::Dirty(path) => self.shallow.insert(path),
            Hint::Closed(path) => self.closed.insert(path),
            Hint::Below(path) => self.below.insert(path),
            Hint::Blind(error) => {
                tracing::warn!(%error, "not everything is watched");
                self.below.insert(RelPath::root())
            }
        };
        if self.closed.len() > DIRTY_MAX {
            // So many are not watched one by one: those whose times tell are found all the same.
            self.closed.clear();
        }
        if self.shallow.len() + self.below.len() > DIRTY_MAX {
            self.shallow.clear();
            self.below = BTreeSet::from([RelPath::root()]);
        }
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// To be looked at again, not before `at`.
    pub(crate) fn again(&mut self, folder: RelPath, at: Instant) {
        self.shallow.insert(folder);
        self.first.get_or_insert(at);
        self.last = Some(at);
    }

    /// When to look, if there is anything to look at.
    pub(crate) fn due(&self) -> Option<Instant> {
        let (first, last) = (self.first?, self.last?);
        Some((last + QUIET).min(first + PATIENCE).max(first))
    }

    /// The same while much is brought to disk.
    fn due_beside_own(&self) -> Option<Instant> {
        if self.is_everything() { self.due() } else { self.first.map(|first| first + PATIENCE_WITH_OWN) }
    }

    /// Whether the whole tree is to be looked at.
    fn is_everything(&self) -> bool {
        self.below.contains(&RelPath::root())
    }

    /// What was taken is to be looked at later, with what comes meanwhile.
    pub(crate) fn put_back(&mut self, names: BTreeSet<RelPath>, below: BTreeSet<RelPath>, at: Instant) {
        self.shallow.extend(names);
        self.below.extend(below);
        (self.first, self.last) = (Some(at), Some(at));
    }

    /// The directories to look at, shallow ones and whole subtrees.
    pub(crate) fn take(&mut self) -> (BTreeSet<RelPath>, BTreeSet<RelPath>) {
        (self.first, self.last) = (None, None);
        (std::mem::take(&mut self.shallow), std::mem::take(&mut self.below))
    }
}

impl Held {
    pub(crate) fn open(store: &Store, id: VolumeId, env: Arc<dyn Environment>) -> Result<Self, EngineError> {
        let volume = store.volume(id).ok_or(EngineError::NoVolume(id))?;
        let state = volume.state();
        let more = if state.roster.is_empty() {
            More::default()
        } else {
            codec::decode(&state.roster).map_err(|_| StoreError::Corrupt { what: "a volume's membership".into() })?
        };
        let emptied = state.halted.as_deref() == Some(EMPTIED);
        Ok(Self {
            volume,
            state,
            more,
            tree: None,
            watcher: None,
            dirty: Dirty::default(),
            capturing: false,
            window: Window::new(Arc::clone(&env)),
            fetch: Fetch::new(FetchLimits::default()),
            queue: Queue::new(),
            nudged: env.now(),
            completed: BTreeSet::new(),
            remote: BTreeMap::new(),
            unstable: BTreeMap::new(),
            skipped: BTreeSet::new(),
            emptied,
            losses: Losses::default(),
            full_look: env.now() + full_look_after(id),
            rest_until: None,
            troubles: BTreeMap::new(),
            env,
        })
    }

    /// The tracked directory.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.state.path.clone().map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
    }

    /// The tree, if the volume may be worked on.
    pub(crate) fn tree(&self) -> Result<Arc<Tree>, EngineError> {
        if self.state.halted.as_deref() == Some(EMPTIED) {
            return Err(EngineError::Emptied { name: self.state.name.clone() });
        }
        if let Some(loss) = self.stands_for() {
            return Err(EngineError::Lost { name: self.state.name.clone(), loss });
        }
        if let Some(reason) = &self.state.halted {
            return Err(EngineError::Halted { name: self.state.name.clone(), reason: reason.clone() });
        }
        self.tree.clone().ok_or(EngineError::NoTree(self.volume.id()))
    }

    /// The same, also while much of it or all is gone: something may be back.
    pub(crate) fn tree_to_look_at(&self) -> Result<Arc<Tree>, EngineError> {
        match (&self.tree, self.halted_by_loss()) {
            (Some(tree), Some(reason)) if self.state.halted.as_ref() == Some(&reason) => Ok(Arc::clone(tree)),
            _ => self.tree(),
        }
    }

    /// Why it stands still for what is gone from the tree, if it does; also while its disk is away.
    pub(super) fn halted_by_loss(&self) -> Option<String> {
        if self.emptied {
            return Some(EMPTIED.to_owned());
        }
        self.more.lost.map(|Loss { files, of, .. }| format!("{files} of {of} files are gone at once"))
    }

    /// What it stands still for just now, where that is neither another reason nor an empty root.
    fn stands_for(&self) -> Option<Loss> {
        self.more.lost.filter(|_| !self.emptied && self.state.halted == self.halted_by_loss())
    }

    pub(crate) fn attach(&mut self, store: &Store, mode: Mode, on_hint: impl Fn(Hint) + Send + 'static) {
        let Some(path) = self.path() else { return };
        self.state.halted = self.halted_by_loss();
        // A crash may have come between the volume that is to be joined and its marker.
        let open = if self.more.joining && self.is_blank() { Tree::create } else { Tree::open };
        match open(&path, self.volume.id()) {
            Ok(tree) => self.tree = Some(Arc::new(tree)),
            Err(error) => {
                tracing::warn!(volume = %self.state.name, %error, "halted");
                self.state.halted = Some(error.to_string());
                return;
            }
        }
        if let Some(tree) = self.tree.clone() {
            self.clear_up(store, &tree);
        }
        if mode == Mode::Live {
            let watched = Watcher::start(&path, on_hint);
            let trouble = watched.as_ref().err().map(|error| format!("changes are found once an hour only: {error}"));
            self.trouble(Duty::Watch, trouble);
            self.watcher = watched.ok();
        }
        if mode.is_active() {
            // What happened while nobody watched.
            self.dirty.hint(Hint::Below(RelPath::root()), self.env.now());
        }
    }

    /// Whether a crash came between steps and the record of them, and the tree can be looked at.
    pub(crate) fn recovers(&self) -> bool {
        self.more.under_way && self.state.halted.is_none() && self.tree.is_some()
    }

    /// Takes the whole tree as dirty when it is time.
    pub(crate) fn look_fully_in_time(&mut self, now: Instant) {
        if now >= self.full_look {
            self.full_look = now + full_look_after(self.volume.id());
            self.dirty.hint(Hint::Below(RelPath::root()), now);
        }
    }

    /// Lets go of the tree: no watch, no descriptor.
    pub(crate) fn detach(&mut self) {
        self.watcher = None;
        self.tree = None;
    }

    /// Stands still until a person looks; the reason is shown in the status.
    pub(crate) fn halt(&mut self, reason: String) {
        tracing::warn!(volume = %self.state.name, reason, "halted");
        self.state.halted = Some(reason);
        self.watcher = None;
    }

    /// Notes what stands in the way of a duty, or that nothing does.
    pub(crate) fn trouble(&mut self, duty: Duty, trouble: Option<String>) {
        match trouble {
            Some(why) => self.troubles.insert(duty, why),
            None => self.troubles.remove(&duty),
        };
    }

    /// Notes what could not be carried when directories were looked at, some of them with all that is below.
    pub(crate) fn note_skipped(&mut self, names: &BTreeSet<RelPath>, all: &BTreeSet<RelPath>, problems: &[Problem]) {
        let bytes = |paths: &BTreeSet<RelPath>| paths.iter().map(RelPath::to_bytes).collect::<BTreeSet<_>>();
        let (names, all) = (bytes(names), bytes(all));
        let is_seen = |path: &[u8]| {
            let slashes: Vec<usize> = (0..path.len()).filter(|at| path[*at] == b'/').collect();
            let folder = &path[..slashes.last().copied().unwrap_or(0)];
            let mut above = slashes.iter().copied().chain([0, path.len()]).map(|end| &path[..end]);
            names.contains(path) || names.contains(folder) || above.any(|folder| all.contains(folder))
        };
        self.skipped.retain(|path| !is_seen(path));
        self.skipped.extend(problems.iter().map(|problem| problem.path.clone()));
    }

    /// For people.
    pub(crate) fn report(&self) -> VolumeReport {
        let work = self.window.due().is_some() || !self.completed.is_empty() || self.window.waits();
        VolumeReport {
            id: self.volume.id(),
            state: self.state.clone(),
            roster: self.more.roster.clone(),
            path: self.path(),
            capturing: self.capturing,
            busy: self.dirty.due().is_some() || self.more.joining || work,
            emptied: self.state.halted.as_deref() == Some(EMPTIED),
            lost: self.stands_for(),
            skipped: self.skipped.len() as u64,
            last_error: self.troubles.values().next().cloned().or_else(|| self.window.bars()),
            disputes: self.more.disputes.clone(),
            no_room: self.window.no_room.values().next().cloned(),
            remote: self.told(),
        }
    }

    /// Whether everything that some member has is here, so that the directory that joined can be looked at.
    pub(crate) fn join_is_due(&self) -> bool {
        let frontier = self.volume.frontier();
        let caught_up = |remote: &Frontier| !remote.0.is_empty() && frontier.covers(remote);
        self.more.joining && self.state.halted.is_none() && self.told().values().any(caught_up)
    }

    /// Whether a look at the disk and work on the disk are due.
    pub(crate) fn due(&self, now: Instant) -> (bool, bool) {
        let rests = self.rest_until.is_some_and(|until| until > now);
        if rests || self.state.halted.is_some() || self.tree.is_none() {
            return (false, false);
        }
        (self.look_due().is_some_and(|due| due <= now), self.work_is_due(now))
    }

    /// When something will be due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.state.path.as_ref()?;
        if self.state.halted.is_some() || self.tree.is_none() {
            return self.rest_until;
        }
        let work = self.window.due().filter(|_| self.may_work());
        let due = [self.look_due(), work, self.nudge_due(), self.queue.again()]
            .into_iter()
            .flatten()
            .fold(self.full_look, Instant::min);
        Some(self.rest_until.map_or(due, |until| due.max(until)))
    }

    fn look_due(&self) -> Option<Instant> {
        if self.window.gathers() { self.dirty.due_beside_own() } else { self.dirty.due() }
    }

    /// A look at everything comes before the steps: after a crash the tree may be ahead of the records.
    fn may_work(&self) -> bool {
        !self.more.joining && !self.dirty.is_everything()
    }

    /// When to look whether another peer is to be asked for what one has not answered.
    pub(crate) fn nudge_due(&self) -> Option<Instant> {
        self.fetch.awaits().then(|| self.nudged + Duration::from_millis(FETCH_LATE_MS))
    }

    fn work_is_due(&self, now: Instant) -> bool {
        self.may_work() && self.window.due().is_some_and(|due| due <= now)
    }
}
