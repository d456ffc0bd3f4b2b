//! Two engines in one process, joined by hand.

#![allow(dead_code, clippy::unwrap_used, reason = "each family uses its part; a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pfs_engine::handle::VolumeReport;
use pfs_engine::model::entry::{Holding, Role};
use pfs_engine::model::ids::VolumeId;
use pfs_engine::{Engine, Options};

pub(crate) struct Peer {
    engine: Option<Engine>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) home: tempfile::TempDir,
}

impl Peer {
    pub(crate) fn new(name: &str) -> Self {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Engine::init(home.path(), name).unwrap();
        let mut peer = Self { engine: None, dir, home };
        peer.open(true);
        peer
    }

    pub(crate) fn close(&mut self) {
        self.engine = None;
    }

    /// Closes the engine and opens it anew: live as in a daemon, or one that does only what it is asked for.
    pub(crate) fn open(&mut self, live: bool) {
        self.close();
        self.engine = Some(Engine::open(self.home.path(), Options { live }).unwrap());
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::fs::write(self.at(path), text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.at(path)).ok()
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.at(from), self.at(to)).unwrap();
    }

    pub(crate) fn forks(&self, id: VolumeId) -> usize {
        self.engine().volume(id).unwrap().forks().unwrap().len()
    }

    /// Whether nothing is left to look at, to write or to fetch.
    pub(crate) fn rests(&self, id: VolumeId) -> bool {
        self.is_idle(id) && self.engine().volume(id).unwrap().stale(None, 1).unwrap().is_empty()
    }

    /// Whether it has nothing to do, though the tree may not be as it should.
    pub(crate) fn is_idle(&self, id: VolumeId) -> bool {
        let report = self.report(id);
        !report.busy && !report.capturing
    }

    pub(crate) fn report(&self, id: VolumeId) -> VolumeReport {
        self.engine().volumes().unwrap().into_iter().find(|report| report.id == id).unwrap()
    }
}

/// Two members of a volume, both live. The first tracked what it holds.
pub(crate) fn pair(furnish: impl FnOnce(&Peer)) -> (Peer, Peer, VolumeId) {
    let a = Peer::new("anna");
    furnish(&a);
    let (id, captured) = a.engine().track(a.dir.path(), "v", 2, None).unwrap();
    assert_eq!(captured.problems, vec![]);
    let b = joined(&a, id, "ben");
    settle(&a, &b, id);
    (a, b, id)
}

/// A new member, live, that has been told nothing yet.
pub(crate) fn joined(a: &Peer, id: VolumeId, name: &str) -> Peer {
    let b = Peer::new(name);
    let secret = a.engine().invite(id, Role::Writer, u64::MAX, 1).unwrap();
    b.engine().adopt(id, "v", b.dir.path(), Holding::All).unwrap();
    a.engine().admit(id, secret, b.engine().peer(), name.into(), Holding::All).unwrap();
    b
}

/// Hands entries over until neither has news for the other, and the chunks that they want.
pub(crate) fn sync(a: &Peer, b: &Peer, id: VolumeId) {
    for _ in 0..3 {
        for (from, to) in [(a, b), (b, a)] {
            tell(from, to, id);
        }
    }
    for (from, to) in [(a, b), (b, a)] {
        fetch(from.engine(), to.engine(), id);
    }
}

/// The one connection that two engines ever have here.
pub(crate) const LINK: u64 = 1;

/// Hands entries over one way.
pub(crate) fn tell(from: &Peer, to: &Peer, id: VolumeId) {
    let (from, to) = (from.engine(), to.engine());
    loop {
        let entries = from.volume(id).unwrap().entries_after(&to.volume(id).unwrap().frontier(), 1 << 20).unwrap();
        if entries.is_empty() {
            break;
        }
        to.receive(id, entries).unwrap();
    }
    to.peer_has(id, from.peer(), from.volume(id).unwrap().frontier()).unwrap();
    to.peer_up(from.peer(), LINK).unwrap();
}

fn fetch(from: &Engine, to: &Engine, id: VolumeId) {
    loop {
        let ids = to.wanted(id, from.peer(), LINK).unwrap();
        if ids.is_empty() {
            break;
        }
        let chunks = ids.into_iter().map(|id| (id, from.store().chunk(id).unwrap())).collect();
        to.deliver(id, from.peer(), chunks).unwrap();
    }
}

/// Syncs until both rest.
pub(crate) fn settle(a: &Peer, b: &Peer, id: VolumeId) {
    eventually("both rest", || {
        sync(a, b, id);
        let even = a.engine().volume(id).unwrap().frontier() == b.engine().volume(id).unwrap().frontier();
        even && a.rests(id) && b.rests(id)
    });
}

pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !check() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every file below a directory and its bytes, and every directory, without what is pfs's own.
pub(crate) fn tree(dir: &Path) -> std::collections::BTreeMap<PathBuf, Option<Vec<u8>>> {
    let (mut tree, mut ahead) = (std::collections::BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(dir.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            let full = dir.join(&path);
            if path == Path::new(".pfs") {
                continue;
            }
            if full.is_dir() {
                ahead.push(path.clone());
                tree.insert(path, None);
            } else {
                tree.insert(path, Some(std::fs::read(full).unwrap()));
            }
        }
    }
    tree
}
