//! A tracked directory and a source in memory, for the tests of this room.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::disk::{Carried, Expect, Outcome, Source, SourceError, Stat, Step, Tree};
use crate::model::ids::{ChunkId, NodeId, VolumeId};
use crate::model::name::RelPath;
use crate::model::patch::{Attr, Root};
use crate::model::time::Mtime;

pub(crate) const MTIME: Mtime = Mtime { secs: 1_234_567_890, nanos: 123_456_789 };

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) tree: Tree,
}

/// A file's pieces are its id's first byte, repeated, where the map says.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<ChunkId, Vec<(u64, Vec<u8>)>>);

impl Source for Memory {
    fn read(
        &self,
        root: Root,
        _len: u64,
        sink: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), SourceError> {
        let pieces = self.0.get(&root.id).ok_or_else(|| SourceError::Unavailable(format!("{:?}", root.id)))?;
        Ok(pieces.iter().try_for_each(|(offset, bytes)| sink(*offset, bytes))?)
    }
}

impl Memory {
    /// One file in one piece.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut memory = Self::default();
        memory.add(bytes);
        memory
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) -> Root {
        let root = root_of(bytes);
        self.0.insert(root.id, vec![(0, bytes.to_vec())]);
        root
    }
}

pub(crate) fn root_of(bytes: &[u8]) -> Root {
    Root { id: ChunkId(blake3::hash(bytes).into()), depth: 0 }
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

pub(crate) fn attr(mode: u16) -> Attr {
    Attr { mode, xattrs: BTreeMap::new() }
}

pub(crate) fn node(byte: u8) -> NodeId {
    NodeId([byte; 32])
}

pub(crate) fn write_file(at: &str, expect: Expect, bytes: &[u8]) -> Step {
    let (at, root, len) = (path(at), root_of(bytes), bytes.len() as u64);
    Step::WriteFile { at, expect, len, root, mtime: MTIME, attr: attr(0o644) }
}

pub(crate) fn make_dir(at: &str, mode: u16) -> Step {
    Step::MakeDir { at: path(at), attr: attr(mode) }
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::create(dir.path(), VolumeId([7; 32])).unwrap();
        Self { dir, tree }
    }

    pub(crate) fn full(&self, at: &str) -> PathBuf {
        self.dir.path().join(at)
    }

    pub(crate) fn put(&self, at: &str, bytes: &[u8]) -> Stat {
        std::fs::create_dir_all(self.full(at).parent().unwrap()).unwrap();
        std::fs::write(self.full(at), bytes).unwrap();
        self.stat(at)
    }

    pub(crate) fn stat(&self, at: &str) -> Stat {
        self.tree.stat(&path(at)).unwrap().unwrap_or_else(|| panic!("{at} is not there"))
    }

    pub(crate) fn is_absent(&self, at: &str) -> bool {
        self.tree.stat(&path(at)).unwrap().is_none()
    }

    pub(crate) fn bytes(&self, at: &str) -> Vec<u8> {
        std::fs::read(self.full(at)).unwrap()
    }

    pub(crate) fn carry_out(&self, steps: &[Step], source: &dyn Source) -> Vec<Outcome> {
        let Carried { outcomes, set_aside, left_parked } = self.tree.carry_out(steps, source);
        assert_eq!(set_aside, [], "nobody disturbs this test");
        assert_eq!(left_parked, [], "everything has a place");
        assert_eq!(outcomes.len(), steps.len());
        outcomes
    }

    /// One step that needs no bytes.
    pub(crate) fn one(&self, step: Step) -> Outcome {
        self.carry_out(&[step], &Memory::default()).remove(0)
    }

    pub(crate) fn in_tmp(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.full(".pfs/tmp")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// The signature that a step promised, which must be what a listing shows.
pub(crate) fn done(world: &World, outcome: &Outcome, at: &str) -> Stat {
    let Outcome::Done(Some(stat)) = outcome else { panic!("{at}: {outcome:?}") };
    let (folder, name) = path(at).split_last().map(|(folder, name)| (folder, name.clone())).unwrap();
    let listing = world.tree.list(&folder).unwrap();
    let found = listing.found.iter().find(|found| found.name == name).unwrap();
    assert_eq!(found.stat, *stat, "{at}: a listing gives what the step said");
    *stat
}

/// Runs `body` where modes forbid what they say, as they do not for root: on threads without its capabilities.
pub(crate) fn without_privileges(body: impl FnOnce() + Send) {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    let pool = rayon::ThreadPoolBuilder::new().start_handler(move |_| set_capabilities(None, none).unwrap());
    pool.build().unwrap().install(body);
}
