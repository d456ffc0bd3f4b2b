//! The store against its promises; whatever can be asked of both backends is asked of both.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod conformance;
mod durability;
mod history;
mod layout;
mod records;

use std::sync::Arc;

use tempfile::TempDir;

use super::{Batch, Medium, Record, Store, Volume, VolumeState};
use crate::disk::{Inode, Kind, Stat};
use crate::model::entry::{Body, Entry, Holding, Role, SignedEntry};
use crate::model::facts::{Known, Shown};
use crate::model::frontier::Frontier;
use crate::model::ids::{ChunkId, Epoch, LogId, NodeId, PatchId, VolumeId};
use crate::model::keys::Keypair;
use crate::model::name::Name;
use crate::model::patch::{Attr, Content, Patch};
use crate::model::time::{Mtime, Time};

const VOLUME: VolumeId = VolumeId([7; 32]);

/// Both stores, and what keeps the second one's directory.
fn both() -> ([Store; 2], TempDir) {
    let dir = tempfile::tempdir().unwrap();
    ([Store::on(&Medium::new()).unwrap(), Store::open(dir.path()).unwrap()], dir)
}

fn state() -> VolumeState {
    VolumeState::new("photos", Role::Writer, Holding::All)
}

/// A number's node, patch or chunk.
fn id(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_be_bytes()).as_bytes()
}

fn node(n: u64) -> NodeId {
    NodeId(id(n))
}

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn chunk(n: u64, len: usize) -> (ChunkId, Vec<u8>) {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&n.to_be_bytes()).finalize_xof().fill(&mut bytes);
    (ChunkId(id(n)), bytes)
}

/// A patch that nothing else equals.
fn patch(n: u64) -> Patch {
    Patch {
        content: Some(Content::Symlink { target: n.to_string().into_bytes() }),
        attr: Some(Attr { mode: 0o644, ..Attr::default() }),
        ..Patch::new(node(n))
    }
}

fn known(n: u64, time: u64) -> (PatchId, Known) {
    (patch(n).id(), Known { patch: Arc::new(patch(n)), time: Time(time) })
}

/// A peer that appends entries to one log after the other.
struct Author {
    keys: Keypair,
    log: LogId,
}

impl Author {
    fn new(seed: u8) -> Self {
        let keys = Keypair::from_seed(&[seed; 32]);
        Self { log: LogId { origin: keys.peer(), epoch: Epoch(u64::from(seed) << 56) }, keys }
    }

    /// The entry that follows what the volume holds of this log.
    fn next(&self, volume: &Volume, time: u64, patches: Vec<Patch>) -> SignedEntry {
        self.follow(volume, time, Body::Patches(patches))
    }

    fn follow(&self, volume: &Volume, time: u64, body: Body) -> SignedEntry {
        let (seq, prev) = volume.head(self.log).unwrap().unwrap_or((0, crate::model::ids::EntryHash::NONE));
        let entry =
            Entry { volume: volume.id(), log: self.log, seq: seq + 1, prev, deps: vec![], time: Time(time), body };
        entry.sign(&self.keys)
    }
}

fn batch_of(entries: impl IntoIterator<Item = SignedEntry>) -> Batch {
    Batch { entries: entries.into_iter().collect(), ..Batch::new(VOLUME) }
}

/// What the disk shows of node `n`.
fn record(n: u64, folder: u64, at: &str, ino: u64) -> Record {
    let time = |secs| Mtime { secs, nanos: 999_999_999 };
    let stat = Stat {
        kind: Kind::File,
        inode: Inode { dev: 3, ino, born: time(-1) },
        len: n,
        mtime: time(i64::MIN),
        ctime: time(i64::MAX),
        mode: 0o640,
    };
    let patches = [PatchId(id(n)), PatchId(id(n + 1)), PatchId(id(n))];
    Record { node: node(n), shown: Shown { patches, folder: node(folder), name: name(at) }, stat, read_at: time(5) }
}

fn frontier(logs: impl IntoIterator<Item = (LogId, u64)>) -> Frontier {
    Frontier(logs.into_iter().filter(|&(_, seq)| seq > 0).collect())
}
