//! The engine's handle: one peer's truth behind a channel.
//!
//! One control thread owns all decisions and all commits. A handle sends it jobs and waits for their results;
//! reads that decide nothing go straight to the store.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::control::{Control, Job, Lanes, Mode};
use crate::disk::{Home, Inode, Lock, canonical_dir};
use crate::environment::{Environment, Machine};
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::model::ids::{PeerId, VolumeId};
use crate::model::keys::Keypair;
use crate::store::{Store, StoreError, Volume};

/// What others are told, as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A volume's log has new entries, durable here.
    Appended(VolumeId),
    /// A volume's membership changed, or a volume came or went.
    Members(VolumeId),
    /// The end of a log was taken away: what others were told of it holds no more.
    Withdrawn(VolumeId),
    /// There are chunks to fetch.
    Wanted(VolumeId),
    /// The tree of a volume changed on disk, or its state did.
    Changed(VolumeId),
    /// The engine is closing.
    Closing,
}

/// Progress of long work: files and bytes done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files done.
    pub files: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Files in all, once known.
    pub files_total: Option<u64>,
}

/// Where long work reports.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// How an engine runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Watch the trees and capture by itself: what a daemon does.
    pub live: bool,
}

/// A handle on one peer's engine. Clones share it; the last one dropped closes it.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    home: Home,
    keys: Keypair,
    env: Arc<dyn Environment>,
    store: Store,
    /// Nothing while it closes.
    worker: Option<Worker>,
    _lock: Lock,
}

/// Who does the work.
enum Worker {
    /// The control thread.
    Thread(Senders, JoinHandle<()>),
    /// Whoever asks.
    Caller(Box<Mutex<Control>>),
}

/// A file of the home: how far the store had come when it was closed in good order, and which file it is itself.
/// Where it is not there, or the store is not that far, or the file is another one (the home was put back from a
/// copy), the last entries of this peer's own may be lost while others have them.
const CLOSED: &str = "closed";

struct Senders {
    urgent: Sender<Job>,
    work: Sender<Job>,
}

/// In which order the control thread takes jobs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Short, also between the batches of long work: what the network brings.
    Urgent,
    /// One after the other: what people ask for.
    Work,
}

impl Engine {
    /// Makes this peer, if the home holds none: a key and an empty store. Says whether it was made now.
    pub fn init(home: &Path, name: &str) -> Result<bool, EngineError> {
        let home = Home::open(home)?;
        if home.read("key")?.is_some() {
            return Ok(false);
        }
        // The store is there before the key, so that a peer never lacks it.
        if !Store::open(&home.path().join("store"))?.volumes().is_empty() {
            return Err(EngineError::KeyLost(home.path().to_owned()));
        }
        let mut seed = [0; 32];
        Machine.fill(&mut seed)?;
        home.write("name", name.as_bytes())?;
        home.write("key", &seed)?;
        Ok(true)
    }

    /// Opens the peer of that home. Only one process at a time can.
    pub fn open(home: &Path, options: Options) -> Result<Self, EngineError> {
        let mode = if options.live { Mode::Live } else { Mode::Asked };
        Self::open_with(home, mode, Arc::new(Machine), || Store::open_existing(&home.join("store")))
    }

    /// Opens the peer of that home over another store and in another environment, for simulations: it has no
    /// thread and no watcher, works on its callers', and by itself only in `step`.
    pub fn open_driven(home: &Path, store: Store, env: Arc<dyn Environment>) -> Result<Self, EngineError> {
        Self::open_with(home, Mode::Driven, env, || Ok(store))
    }

    fn open_with(
        home: &Path,
        mode: Mode,
        env: Arc<dyn Environment>,
        store: impl FnOnce() -> Result<Store, StoreError>,
    ) -> Result<Self, EngineError> {
        let files = Home::open(home)?;
        let keys = keys_of(&files)?;
        let name = String::from_utf8_lossy(&files.read("name")?.unwrap_or_default()).into_owned();
        let lock = files.lock()?;
        let store = store()?;
        let is_whole = closed_at(&files)?.is_some_and(|position| store.position() >= position);
        files.remove(CLOSED)?;
        failpoint::pass(Point::EngineOpen);
        let (urgent, urgent_jobs) = unbounded();
        let (work, work_jobs) = unbounded();
        let lanes = Lanes { urgent: urgent_jobs, work: work_jobs };
        let named = (name, canonical_dir(home)?);
        let mut control = Control::new(store.clone(), keys.clone(), named, (mode, Arc::clone(&env)), lanes)?;
        if !is_whole {
            control.begin_new_logs()?;
        }
        let worker = if mode == Mode::Driven {
            control.begin();
            Worker::Caller(Box::new(Mutex::new(control)))
        } else {
            let thread = std::thread::Builder::new().name("pfs-control".into()).spawn(move || control.run());
            Worker::Thread(Senders { urgent, work }, thread.map_err(|error| EngineError::Thread(error.to_string()))?)
        };
        Ok(Self(Arc::new(Shared { home: files, keys, env, store, worker: Some(worker), _lock: lock })))
    }

    /// This peer's id.
    pub fn peer(&self) -> PeerId {
        self.0.keys.peer()
    }

    /// This peer's key pair.
    pub fn keys(&self) -> Keypair {
        self.0.keys.clone()
    }

    /// This peer's home.
    pub fn home(&self) -> &Path {
        self.0.home.path()
    }

    pub(crate) fn env(&self) -> &dyn Environment {
        &*self.0.env
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// A volume's read handle.
    pub fn volume(&self, id: VolumeId) -> Result<Volume, EngineError> {
        self.0.store.volume(id).ok_or(EngineError::NoVolume(id))
    }

    /// Runs `job` on the control thread, if there is one, and waits for its result.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce(&mut Control) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let lanes = match self.0.worker.as_ref().ok_or(EngineError::Closed)? {
            Worker::Thread(lanes, _) => lanes,
            Worker::Caller(control) => return job(&mut control.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        let (reply, result): (Sender<Result<T, EngineError>>, Receiver<_>) = bounded(1);
        let job: Job = Box::new(move |control| {
            // Whoever asked may have gone; the work is done all the same.
            let _ = reply.send(job(control));
        });
        let sender = match lane {
            Lane::Urgent => &lanes.urgent,
            Lane::Work => &lanes.work,
        };
        sender.send(job).map_err(|_| EngineError::Closed)?;
        result.recv().map_err(|_| EngineError::Closed)?
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without senders the thread ends.
        let thread = match self.worker.take() {
            Some(Worker::Thread(_, thread)) => Some(thread),
            Some(Worker::Caller(_)) | None => None,
        };
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
        if let Err(error) = self.note_closed() {
            tracing::debug!(%error, "nobody will know that the store was closed in good order");
        }
    }
}

impl Shared {
    fn note_closed(&self) -> Result<(), EngineError> {
        self.store.sync_chunks()?;
        failpoint::pass(Point::EngineClose);
        Ok(self.home.write_with(CLOSED, |inode| closed(self.store.position(), inode).into_bytes())?)
    }
}

/// What the note says in a certain file.
fn closed(position: u64, Inode { dev, ino, born }: Inode) -> String {
    format!("{position} in {dev} {ino} {} {}\n", born.secs, born.nanos)
}

/// The position in the note; nothing without one, or where it was copied.
fn closed_at(home: &Home) -> Result<Option<u64>, EngineError> {
    let (Some(note), Some(inode)) = (home.read(CLOSED)?, home.inode(CLOSED)?) else { return Ok(None) };
    let text = String::from_utf8_lossy(&note);
    let position = text.split(' ').next().and_then(|position| position.parse().ok());
    Ok(position.filter(|position| closed(*position, inode) == text))
}

fn keys_of(home: &Home) -> Result<Keypair, EngineError> {
    let Some(bytes) = home.read("key")? else {
        let path = home.path().to_owned();
        let is_orphan = Store::is_at(&path.join("store")) && !Store::open(&path.join("store"))?.volumes().is_empty();
        return Err(if is_orphan { EngineError::KeyLost(path) } else { EngineError::NoPeer(path) });
    };
    let len = bytes.len();
    let seed =
        <[u8; 32]>::try_from(bytes).map_err(|_| EngineError::KeyDamaged { path: home.path().join("key"), len })?;
    Ok(Keypair::from_seed(&seed))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use pfs_fixtures::damage::damaged;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A note that was damaged, or written for another file, does not vouch for the store.
        #[test]
        fn only_the_note_that_was_written_counts(damage in damaged(vec![vec![b'7'; 3]]), in_place: bool) {
            let dir = tempfile::tempdir().unwrap();
            let home = Home::open(dir.path()).unwrap();
            home.write_with(CLOSED, |inode| closed(7, inode).into_bytes()).unwrap();
            prop_assert_eq!(closed_at(&home).unwrap(), Some(7));
            let note = home.read(CLOSED).unwrap().unwrap();
            let other = [&damage[..], &note[1..]].concat();
            if in_place {
                std::fs::write(dir.path().join(CLOSED), &other).unwrap();
                let number = std::str::from_utf8(&damage).ok().and_then(|text| text.parse::<u64>().ok());
                let is_one = number.filter(|number| number.to_string().as_bytes() == damage);
                prop_assert_eq!(closed_at(&home).unwrap(), is_one);
            } else {
                home.write(CLOSED, &note).unwrap();
                prop_assert_eq!(closed_at(&home).unwrap(), None, "a copy is another file");
            }
        }
    }
}
