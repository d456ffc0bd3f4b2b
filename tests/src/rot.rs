//! Bit rot: a file holds other bytes, and looks as it did when it was captured.

use std::fs::{self, File};
use std::time::{Duration, UNIX_EPOCH};

use pfs_engine::disk::Tree;
use pfs_engine::model::facts::Eye;
use pfs_engine::model::name::RelPath;
use pfs_engine::model::time::Mtime;
use pfs_engine::model::view::node_at;
use pfs_engine::store::{Batch, Record, Store};

use crate::Peer;

/// Gives a file of a peer's only volume other bytes, as a failing disk does: its records say of the file as it is now
/// that it is the one that was captured. No daemon may run.
pub fn rot(peer: &Peer, path: &str, bytes: &[u8]) {
    let store = Store::open_existing(&peer.home.join("store")).expect("no daemon runs");
    let [id] = store.volumes()[..] else { panic!("{} has one volume", peer.name) };
    let volume = store.volume(id).expect("it is listed");
    let at = RelPath::parse(path.as_bytes()).expect("a path in the tree");
    let node = node_at(&volume, Eye::Local, &at).expect("the store can be read").expect("it is captured");
    let record = volume.record(node).expect("the store can be read").expect("it is on disk");
    assert_eq!(record.stat.len, bytes.len() as u64, "rot changes no length");
    fs::write(peer.at(path), bytes).expect("the tree takes files");
    let Mtime { secs, nanos } = record.stat.mtime;
    let modified = UNIX_EPOCH + Duration::new(secs.unsigned_abs(), nanos);
    let file = File::options().write(true).open(peer.at(path)).expect("it was just written");
    file.set_modified(modified).expect("a file takes a time");
    let tree = Tree::open(&peer.dir, id).expect("it is tracked");
    let stat = tree.stat(&at).expect("the tree can be read").expect("it was just written");
    // As if nobody could have written to it since it was read.
    let read_at = Mtime { secs: stat.ctime.secs + 100, nanos: 0 };
    let records = [(node, Some(Record { stat, read_at, ..record }))].into();
    store.commit(Batch { records, ..Batch::new(id) }).expect("the store takes it");
}
