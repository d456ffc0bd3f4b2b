//! One peer of a simulation: a real engine over a store in memory, on a real directory, moved on by the schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pfs_engine::disk::{Hint, Home};
use pfs_engine::handle::VolumeReport;
use pfs_engine::ingest::Ingest;
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{ChunkId, EntryHash, LogId, PeerId, VolumeId};
use pfs_engine::model::keys::Keypair;
use pfs_engine::model::name::RelPath;
use pfs_engine::model::patch::{Content, Root};
use pfs_engine::store::{Access, Medium, Store, StoreError, Volume};
use pfs_engine::{Engine, EngineError};
use pfs_net::{EngineLocal, Local as _, LocalEvent};

use super::act::Deed;
use super::disk::{Thing, Tree, User, hints_between, set_aside, snapshot};
use super::machine::{Clock, Machine};

/// What went wrong, in words.
pub(crate) type Check<T = ()> = Result<T, String>;

/// What is to befall a store.
#[derive(Debug, Default)]
struct Troubles {
    /// Accesses until the process is killed.
    dies: Option<usize>,
    dead: bool,
    /// Accesses until there is no room.
    fills: Option<usize>,
    full: bool,
    /// Nothing happens while the simulation itself looks.
    suspended: bool,
    /// Accesses until the user does something.
    races: Vec<(usize, Deed)>,
    /// What the watcher would say of that.
    hints: Vec<Hint>,
    /// What the user wrote so, and did away with so, since last asked.
    written: BTreeSet<Vec<u8>>,
    undone: BTreeSet<Vec<u8>>,
}

/// A running process.
struct Running {
    engine: Engine,
    local: EngineLocal,
}

pub(crate) struct Peer {
    pub(crate) name: char,
    pub(crate) user: User,
    key: [u8; 32],
    home: PathBuf,
    medium: Medium,
    machine: Arc<Machine>,
    troubles: Arc<Mutex<Troubles>>,
    running: Option<Running>,
    events: Arc<Mutex<Vec<LocalEvent>>>,
    hints: Vec<Hint>,
    pub(crate) volume: Option<VolumeId>,
    /// Entries that were ever seen in its log, and where its log was last read to.
    pub(crate) seen: BTreeMap<(LogId, u64), EntryHash>,
    read_to: Frontier,
    /// Contents that its log holds, and their lengths.
    pub(crate) contents: BTreeMap<Root, u64>,
    /// A copy of its home.
    kept: Option<(Medium, BTreeSet<ChunkId>)>,
    /// Chunks of its store that are not what they were.
    pub(crate) damaged: BTreeSet<ChunkId>,
    /// How often its store failed.
    pub(crate) struck: usize,
}

/// What an engine said to one call that a fault may have spoilt.
pub(crate) enum Came<T> {
    Well(T),
    /// It failed, as it may after what befell its store.
    Spoilt,
}

impl Peer {
    pub(crate) fn new(dir: &Path, index: usize, clock: &Clock, seed: u64) -> Self {
        let name = char::from(b'A' + index as u8);
        let (home, root) = (dir.join(format!("{name}.home")), dir.join(name.to_string()));
        fs::create_dir(&root).expect("a temporary directory takes folders");
        let files = Home::open(&home).expect("a temporary directory takes a home");
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(seed ^ (index as u64 + 1)).to_le_bytes());
        files.write("name", name.to_string().as_bytes()).expect("a home takes files");
        files.write("key", &key).expect("a home takes files");
        let mut peer = Self {
            name,
            user: User { root, clock: clock.clone() },
            key,
            home,
            medium: Medium::new(),
            machine: Arc::new(Machine::new(clock.clone(), seed.wrapping_mul(31).wrapping_add(index as u64))),
            troubles: Arc::default(),
            running: None,
            events: Arc::default(),
            hints: Vec::new(),
            volume: None,
            seen: BTreeMap::new(),
            read_to: Frontier::default(),
            contents: BTreeMap::new(),
            kept: None,
            damaged: BTreeSet::new(),
            struck: 0,
        };
        peer.start().expect("a new peer starts");
        peer
    }

    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.running.as_ref().map(|running| &running.engine)
    }

    pub(crate) fn local(&self) -> Option<&EngineLocal> {
        self.running.as_ref().map(|running| &running.local)
    }

    /// Looks at what it has stored, if it runs; nothing befalls the store meanwhile.
    pub(crate) fn observe<T>(&self, look: impl FnOnce(&Engine, &Volume) -> T) -> Option<T> {
        let engine = self.engine()?;
        let volume = engine.volume(self.volume?).ok()?;
        self.troubles(|troubles| troubles.suspended = true);
        let seen = look(engine, &volume);
        self.troubles(|troubles| troubles.suspended = false);
        Some(seen)
    }

    pub(crate) fn report(&self) -> Option<VolumeReport> {
        self.observe(|engine, volume| {
            let reports = engine.volumes().ok()?;
            reports.into_iter().find(|report| report.id == volume.id())
        })?
    }

    pub(crate) fn id(&self) -> PeerId {
        Keypair::from_seed(&self.key).peer()
    }

    pub(crate) fn tree(&self) -> Tree {
        snapshot(&self.user.root)
    }

    fn troubles<T>(&self, change: impl FnOnce(&mut Troubles) -> T) -> T {
        change(&mut self.troubles.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether anything may fail now.
    fn is_troubled(&self) -> bool {
        self.troubles(|troubles| troubles.dead || troubles.full)
    }

    pub(crate) fn dies_after(&mut self, accesses: usize) {
        self.troubles(|troubles| troubles.dies = Some(accesses));
    }

    pub(crate) fn fills_after(&mut self, accesses: usize) {
        self.troubles(|troubles| troubles.fills = Some(accesses));
    }

    pub(crate) fn races(&mut self, after: usize, deed: Deed) {
        self.troubles(|troubles| troubles.races.push((after, deed)));
    }

    /// Nothing befalls it any more.
    pub(crate) fn calm(&mut self) {
        self.troubles(|troubles| *troubles = Troubles::default());
    }

    /// The user does something now.
    pub(crate) fn does(&mut self, deed: &Deed) -> Check {
        let hints = self.user.act(deed).map_err(|error| format!("{}: {deed}: {error}", self.name))?;
        self.hints.extend(hints);
        // What was written while a connection was at work is on disk, or was done away with just now.
        self.troubles(|troubles| troubles.written.clear());
        Ok(())
    }

    pub(crate) fn looks(&mut self) {
        self.hints.push(Hint::Below(RelPath::root()));
    }

    /// Starts the process; one that runs is ended in good order before.
    pub(crate) fn start(&mut self) -> Check {
        if self.running.is_some() {
            self.end();
        }
        self.fate();
        self.guarded(|peer| {
            let store = Store::on(&peer.medium)?;
            let engine = Engine::open_driven(&peer.home, store, Arc::clone(&peer.machine) as _)?;
            let local = EngineLocal::new(engine.clone())?;
            let events = Arc::clone(&peer.events);
            let tell = move |event| events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            local.subscribe(Box::new(tell));
            peer.running = Some(Running { engine, local });
            Ok(())
        })?;
        Ok(())
    }

    /// Ends the process in good order, as far as that can be, and all that was to befall it.
    pub(crate) fn end(&mut self) {
        self.running = None;
        self.hints.clear();
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.struck += usize::from(self.is_troubled());
        self.troubles(|troubles| *troubles = Troubles::default());
    }

    /// Ends it without any warning.
    pub(crate) fn kill(&mut self) {
        let ran = self.running.is_some();
        self.end();
        if ran {
            // Only a process that ends in good order writes it.
            let _ = fs::remove_file(self.home.join("closed"));
        }
        self.medium.kill();
    }

    /// The machine loses its power.
    pub(crate) fn unplug(&mut self, kept: usize) {
        self.kill();
        self.medium.lose_power(kept);
    }

    /// Its home is copied.
    pub(crate) fn keep(&mut self) {
        self.kept = Some((self.medium.copy(), self.damaged.clone()));
    }

    /// The process is killed, and its home put back as it was copied. Says whether there was a copy.
    pub(crate) fn put_back(&mut self) -> bool {
        let Some((medium, damaged)) = &self.kept else { return false };
        let (medium, damaged) = (medium.copy(), damaged.clone());
        self.kill();
        (self.medium, self.damaged) = (medium, damaged);
        true
    }

    /// The chunks in its store that are what they should be.
    pub(crate) fn sound_chunks(&self) -> BTreeSet<ChunkId> {
        self.medium.chunks().into_iter().filter(|chunk| !self.damaged.contains(chunk)).collect()
    }

    pub(crate) fn damage(&mut self, chunk: ChunkId) {
        self.medium.flip(chunk);
        self.damaged.insert(chunk);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.troubles(|troubles| troubles.dead)
    }

    pub(crate) fn has_trouble_ahead(&self) -> bool {
        self.troubles(|troubles| troubles.dead || troubles.full || troubles.dies.is_some() || troubles.fills.is_some())
    }

    /// What befalls the store from now on is what `troubles` say.
    fn fate(&self) {
        let (troubles, user) = (Arc::clone(&self.troubles), self.user.clone());
        self.medium.set_fate(Some(Box::new(move |access| befall(&troubles, &user, access))));
    }

    /// Tells the engine what its watcher saw.
    fn tell_hints(&mut self) {
        self.hints.extend(self.troubles(|troubles| std::mem::take(&mut troubles.hints)));
        let hints = std::mem::take(&mut self.hints);
        if let (Some(engine), Some(id)) = (self.engine(), self.volume) {
            for hint in hints {
                // An engine that does not know the volume watches nothing.
                let _ = engine.hint(id, hint);
            }
        }
    }

    /// Does what is due; gives when something will be next.
    pub(crate) fn works(&mut self) -> Check<Option<Instant>> {
        self.tell_hints();
        let due = self.call(Engine::step)?;
        Ok(match due {
            Came::Well(due) => due,
            Came::Spoilt => None,
        })
    }

    /// What is damaged in its store is found, let go of, and had from others again.
    pub(crate) fn repair(&mut self) -> Check {
        let damaged = std::mem::take(&mut self.damaged);
        match self.call(|engine| engine.verify(None, true, &|_, _| ()))? {
            // Some may have been found before.
            Came::Well((verified, _)) if verified.broken.iter().all(|chunk| damaged.contains(chunk)) => Ok(()),
            Came::Well((verified, _)) => {
                Err(format!("{}: {damaged:?} were damaged, it found {:?}", self.name, verified.broken))
            }
            Came::Spoilt => Err(format!("{}: it failed without a reason", self.name)),
        }
    }

    /// Calls the engine, if it runs; checks what must hold after every call.
    pub(crate) fn call<T>(&mut self, call: impl FnOnce(&Engine) -> Result<T, EngineError>) -> Check<Came<T>> {
        if self.running.is_none() {
            return Ok(Came::Spoilt);
        }
        self.guarded(|peer| call(peer.engine().ok_or(EngineError::Closed)?))
    }

    /// Does something with the engine that may change the tree: no bytes may go from it that were not captured.
    fn guarded<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T, EngineError>) -> Check<Came<T>> {
        let before = self.tree();
        let result = call(self);
        self.hints.extend(self.troubles(|troubles| std::mem::take(&mut troubles.hints)));
        let result = match result {
            Ok(value) => Came::Well(value),
            Err(_) if self.is_troubled() => Came::Spoilt,
            Err(error @ EngineError::Resolve(_)) => return Err(format!("resolve: {error}")),
            Err(error) => return Err(format!("{}: {error:?}", self.name)),
        };
        self.read_log()?;
        let after = self.tree();
        self.lost_nothing(&before, &after)?;
        self.hints.extend(hints_between(&before, &after));
        Ok(result)
    }

    /// Takes note of what is new in the log.
    pub(crate) fn read_log(&mut self) -> Check {
        if self.is_dead() {
            return Ok(());
        }
        let Some(entries) = self.observe(|_, volume| volume.entries_after(&self.read_to, usize::MAX)) else {
            return Ok(());
        };
        let entries = entries.map_err(|error| format!("{}: {error:?}", self.name))?;
        let frontier = self.observe(|_, volume| volume.frontier()).unwrap_or_default();
        for signed in entries {
            let entry = &signed.entry;
            if let Some((log, seq)) = entry.deps.iter().find(|(log, seq)| frontier.seq(*log) < *seq) {
                return Err(format!("{}: I4: it has an entry that rests on entry {seq} of {log:?}", self.name));
            }
            if let Some(other) = self.seen.insert((entry.log, entry.seq), entry.hash())
                && other != entry.hash()
            {
                return Err(format!("{}: I5: two entries at one place of a log", self.name));
            }
            for patch in entry.patches() {
                if let Some(Content::File { len, root, .. }) = patch.content {
                    self.contents.insert(root, len);
                }
            }
            self.read_to.advance(entry.log, entry.seq);
        }
        Ok(())
    }

    /// I3: what went from the tree is in the log, or was set aside, unless the user did away with it.
    fn lost_nothing(&self, before: &Tree, after: &Tree) -> Check {
        let (written, undone) =
            self.troubles(|troubles| (std::mem::take(&mut troubles.written), std::mem::take(&mut troubles.undone)));
        if self.is_dead() || before == after && written.is_empty() {
            return Ok(());
        }
        let (mut before, after) = (bytes_in(before), bytes_in(after));
        before.extend(written);
        let lost = before.difference(&after).filter(|bytes| !bytes.is_empty() && !undone.contains(*bytes));
        for lost in lost {
            let is_kept = self.contents.contains_key(&root_of(lost)) || set_aside(&self.user.root).contains(lost);
            if !is_kept {
                let text = String::from_utf8_lossy(&lost[..lost.len().min(40)]).into_owned();
                return Err(format!("{}: I3: the bytes {text:?} were on disk and are nowhere", self.name));
            }
        }
        Ok(())
    }

    pub(crate) fn take_events(&mut self) -> Vec<LocalEvent> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn has_hints(&self) -> bool {
        !self.hints.is_empty() || self.troubles(|troubles| !troubles.hints.is_empty())
    }
}

/// One access to the store.
fn befall(troubles: &Mutex<Troubles>, user: &User, access: Access) -> Result<(), StoreError> {
    let mut troubles = troubles.lock().unwrap_or_else(PoisonError::into_inner);
    if troubles.suspended {
        return Ok(());
    }
    let mut raced = Vec::new();
    for (left, deed) in &mut troubles.races {
        *left = left.saturating_sub(1);
        if *left == 0 {
            raced.push(deed.clone());
        }
    }
    troubles.races.retain(|(left, _)| *left > 0);
    for deed in raced {
        let before = bytes_in(&snapshot(&user.root));
        // A deed that cannot be done now is not done.
        troubles.hints.extend(user.act(&deed).unwrap_or_default());
        let after = bytes_in(&snapshot(&user.root));
        troubles.written.extend(after.difference(&before).cloned());
        troubles.undone.extend(before.difference(&after).cloned());
    }
    if let Some(left) = &mut troubles.dies {
        *left = left.saturating_sub(1);
        troubles.dead |= *left == 0;
    }
    if let Some(left) = &mut troubles.fills {
        *left = left.saturating_sub(1);
        troubles.full |= *left == 0;
    }
    if troubles.dead {
        return Err(StoreError::Io("the process was killed".into()));
    }
    if troubles.full && access == Access::Write {
        return Err(StoreError::Full);
    }
    Ok(())
}

/// The contents of all files of a tree.
fn bytes_in(tree: &Tree) -> BTreeSet<Vec<u8>> {
    let files = tree.values().filter_map(|thing| match thing {
        Thing::File { bytes, .. } => Some(bytes.clone()),
        Thing::Dir { .. } | Thing::Link(_) => None,
    });
    files.collect()
}

/// The root of a content.
pub(crate) fn root_of(bytes: &[u8]) -> Root {
    let known = |ids: &[ChunkId]| vec![true; ids.len()];
    Ingest::new().ingest(&bytes, &known, &mut |_, _| {}).expect("bytes in memory can be read").1
}
