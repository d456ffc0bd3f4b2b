//! The watcher on inotify: one watch a directory, known by its number; a directory's path is that of the
//! directory above and its name, so that a rename within the tree changes one record, whatever is below.
//!
//! What must hold: once every event has been read, each directory is watched and its path is right. Events are read
//! after the fact, when other directories may stand at the paths that they name, or none. So what came to a place is
//! walked through again by the event that tells of it: where a path was not right yet, another such event follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{self, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Hint;
use crate::disk::{DiskError, Kind, sys};
use crate::model::name::{Name, RESERVED, RelPath};

/// The number of a watch.
type Wd = i32;

/// As many events as the kernel hands over at once.
const EVENT_BYTES: usize = 64 << 10;

/// Everything that changes what a scan would find; not that something is opened or read.
const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR);

/// The running watcher.
#[derive(Debug)]
pub(super) struct Watch {
    events: Arc<OwnedFd>,
    root: Wd,
    stop: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // This queues an event, which wakes the thread; if the root is gone, the thread has ended already.
        let _ = inotify::remove_watch(&self.events, self.root);
    }
}

impl Watch {
    pub(super) fn start(root: &Path, on_hint: impl Fn(Hint) + Send + 'static) -> Result<Self, DiskError> {
        let trouble = |errno| DiskError::io(root.display(), errno);
        let events = Arc::new(inotify::init(CreateFlags::CLOEXEC).map_err(trouble)?);
        let fd = fs::openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let mut watched = Watched::new(fd.map_err(trouble)?, Arc::clone(&events));
        watched.enter(None, RelPath::root())?;
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Self { events, root: watched.root_wd, stop: Arc::clone(&stop) };
        let thread = thread::Builder::new().name("pfs-watch".into());
        let spawned = thread.spawn(move || follow(&mut watched, &stop, &on_hint));
        spawned.map_err(|source| DiskError::io(root.display(), source))?;
        Ok(watch)
    }
}

/// Reads events until the watch is dropped or the root is gone.
fn follow(watched: &mut Watched, stop: &AtomicBool, on_hint: &impl Fn(Hint)) {
    let mut buffer = vec![MaybeUninit::uninit(); EVENT_BYTES];
    let events = Arc::clone(&watched.events);
    let mut reader = Reader::new(&*events, &mut buffer);
    loop {
        let mut hints = Hints::default();
        let ended = loop {
            match reader.next() {
                Ok(event) => watched.note(&event, &mut hints),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    on_hint(Hint::Blind(DiskError::io("inotify", errno)));
                    return;
                }
            }
            if reader.is_buffer_empty() {
                break stop.load(Ordering::Acquire) || !watched.dirs.contains_key(&watched.root_wd);
            }
        };
        if !stop.load(Ordering::Acquire) {
            watched.forget_moved_out();
            hints.give(on_hint);
        }
        if ended {
            return;
        }
    }
}

/// What one reading of events comes to, each place once.
#[derive(Default)]
struct Hints {
    dirty: BTreeSet<RelPath>,
    closed: BTreeSet<RelPath>,
    below: BTreeSet<RelPath>,
    blind: Option<DiskError>,
}

impl Hints {
    fn give(self, on_hint: &impl Fn(Hint)) {
        self.dirty.into_iter().map(Hint::Dirty).for_each(on_hint);
        self.closed.into_iter().map(Hint::Closed).for_each(on_hint);
        self.below.into_iter().map(Hint::Below).for_each(on_hint);
        self.blind.into_iter().map(Hint::Blind).for_each(on_hint);
    }
}

struct Watched {
    root: OwnedFd,
    root_wd: Wd,
    events: Arc<OwnedFd>,
    /// Each directory's place: the directory above it and its name there. The root has none.
    dirs: HashMap<Wd, Option<(Wd, Name)>>,
    children: HashMap<Wd, BTreeMap<Name, Wd>>,
    /// Directories that were renamed, by the cookie of their event; whereto, another event says.
    moving: BTreeMap<u32, Wd>,
    /// Those of `moving` that were there before the last reading: they have left the tree.
    moved_out: BTreeMap<u32, Wd>,
}

impl Watched {
    fn new(root: OwnedFd, events: Arc<OwnedFd>) -> Self {
        let (dirs, children) = (HashMap::new(), HashMap::new());
        let (moving, moved_out) = (BTreeMap::new(), BTreeMap::new());
        Self { root, root_wd: -1, events, dirs, children, moving, moved_out }
    }

    fn note(&mut self, event: &inotify::Event<'_>, hints: &mut Hints) {
        let (wd, what) = (event.wd(), event.events());
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.start_over(hints);
        }
        let is_own = wd == self.root_wd && event.file_name().is_some_and(|name| name.to_bytes() == RESERVED);
        let is_root = wd == self.root_wd && event.file_name().is_none();
        if is_root && what.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF)
            || is_own && what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM)
        {
            // The tree is no longer what it was: its marker tells.
            hints.below.insert(RelPath::root());
        }
        if what.contains(ReadFlags::IGNORED) {
            return self.forget(wd);
        }
        let (Some(raw), Some(folder), false) = (event.file_name(), self.path(wd), is_own) else { return };
        hints.dirty.insert(folder.clone());
        match Name::try_from(raw.to_bytes()) {
            Ok(name) if what.contains(ReadFlags::ISDIR) => self.note_dir(event, &folder, name, hints),
            Ok(name) if what.contains(ReadFlags::CLOSE_WRITE) => _ = hints.closed.insert(folder.join(&name)),
            _ => {}
        }
    }

    /// A directory came or went.
    fn note_dir(&mut self, event: &inotify::Event<'_>, folder: &RelPath, name: Name, hints: &mut Hints) {
        let (wd, what, cookie) = (event.wd(), event.events(), event.cookie());
        if what.contains(ReadFlags::MOVED_FROM) {
            let child = self.children.get_mut(&wd).and_then(|names| names.remove(&name));
            self.moving.extend(child.map(|child| (cookie, child)));
        } else if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            let path = folder.join(&name);
            let known = self.moving.remove(&cookie).or_else(|| self.moved_out.remove(&cookie));
            if let Some(child) = known {
                self.attach(child, Some((wd, name.clone())));
            }
            if let Err(error) = self.enter(Some((wd, name)), path.clone()) {
                hints.blind = Some(error);
            }
            hints.below.insert(path);
        }
    }

    /// Events were lost: everything is looked at again, and watched anew where need be.
    fn start_over(&mut self, hints: &mut Hints) {
        self.moving.clear();
        self.moved_out.clear();
        self.children.clear();
        self.dirs.clear();
        hints.below.insert(RelPath::root());
        hints.blind = self.enter(None, RelPath::root()).err();
    }

    /// Watches a directory and all below it, each before it is listed, so that nothing slips between. What
    /// cannot be opened is passed over, for a scan cannot list it either.
    fn enter(&mut self, place: Option<(Wd, Name)>, path: RelPath) -> Result<(), DiskError> {
        let mut ahead = vec![(place, path)];
        while let Some((place, path)) = ahead.pop() {
            let Ok(fd) = sys::open_beneath(&self.root, &path, sys::READ | OFlags::DIRECTORY) else { continue };
            // The magic link leads to what was opened, whatever stands at its path by now.
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let wd = match inotify::add_watch(&self.events, link, CHANGES) {
                Ok(wd) => wd,
                Err(Errno::NOSPC) => return Err(DiskError::WatchLimit { path: path.to_string() }),
                Err(errno) => return Err(DiskError::io(path, errno)),
            };
            if place.is_none() {
                self.root_wd = wd;
            }
            self.attach(wd, place);
            // A directory that cannot be listed has been removed meanwhile.
            let _ = sys::for_each_name(&fd, |raw, of| {
                let is_dir = of == FileType::Directory
                    || (of == FileType::Unknown
                        && sys::stat_at(&fd, raw).is_ok_and(|seen| seen.stat.kind == Kind::Dir));
                if is_dir && let Ok(name) = Name::try_from(raw.to_bytes()) {
                    let below = path.join(&name);
                    ahead.push((Some((wd, name)), below));
                }
            });
        }
        Ok(())
    }

    /// Notes where a directory stands.
    fn attach(&mut self, wd: Wd, place: Option<(Wd, Name)>) {
        if self.dirs.contains_key(&wd) {
            self.detach(wd);
            // It may have left the tree by one rename and come back by another.
            self.moving.retain(|_, left| *left != wd);
            self.moved_out.retain(|_, left| *left != wd);
        }
        if let Some((above, name)) = &place {
            self.children.entry(*above).or_default().insert(name.clone(), wd);
        }
        self.dirs.insert(wd, place);
    }

    fn detach(&mut self, wd: Wd) {
        if let Some(Some((above, name))) = self.dirs.remove(&wd)
            && let Some(names) = self.children.get_mut(&above)
            && names.get(&name) == Some(&wd)
        {
            names.remove(&name);
        }
    }

    /// A directory is watched no longer.
    fn forget(&mut self, wd: Wd) {
        self.detach(wd);
        self.children.remove(&wd);
    }

    /// A rename's two events come together or in two readings; what has not arrived by then is outside.
    fn forget_moved_out(&mut self) {
        for (_, wd) in std::mem::take(&mut self.moved_out) {
            let mut left = vec![wd];
            while let Some(wd) = left.pop() {
                left.extend(self.children.get(&wd).into_iter().flat_map(BTreeMap::values));
                self.forget(wd);
                // It may be gone already.
                let _ = inotify::remove_watch(&self.events, wd);
            }
        }
        self.moved_out = std::mem::take(&mut self.moving);
    }

    /// Where a watched directory stands now.
    fn path(&self, mut wd: Wd) -> Option<RelPath> {
        let mut names = Vec::new();
        while let Some((above, name)) = self.dirs.get(&wd)? {
            names.push(name.clone());
            wd = *above;
        }
        names.reverse();
        Some(RelPath(names))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests;
