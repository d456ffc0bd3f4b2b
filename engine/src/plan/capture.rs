//! What the differences of one look mean: who moved, who is gone, what is to be read.
//!
//! A file's identity is by path first, by inode second: one that was written over is an edit, one whose path
//! is gone and whose inode is elsewhere has moved. A directory's identity is by inode first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::scan::Difference;
use crate::disk::{Found, Kind, Stat};
use crate::model::ids::NodeId;
use crate::model::name::RelPath;
use crate::model::time::Mtime;
use crate::store::Record;

/// One difference, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The path as it is now (of something gone: as it was looked for).
    pub path: RelPath,
    /// What differs.
    pub difference: Difference,
    /// Of something new: the record with the same inode, if what it was taken of is no longer in its place.
    pub vacated: Option<Record>,
}

/// A thing whose bytes or attributes are to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Where it is.
    pub path: RelPath,
    /// As it was listed.
    pub stat: Stat,
    /// The node that it is; none for a birth.
    pub node: Option<NodeId>,
}

/// A change of the tree's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Shape {
    /// A known node is at another path.
    Move {
        /// Which.
        node: NodeId,
        /// Its new path.
        path: RelPath,
        /// As it was listed there.
        stat: Stat,
    },
    /// A directory nobody knew.
    NewDir {
        /// Its path.
        path: RelPath,
        /// As it was listed.
        stat: Stat,
    },
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Arranged {
    /// Nodes that are gone, as recorded; of a directory everything below goes too, but for what moved.
    pub gone: Vec<NodeId>,
    /// Nodes that moved: not gone, wherever they were.
    pub moved: BTreeSet<NodeId>,
    /// Moves and new directories; what must stand before something else comes before it.
    pub shape: Vec<Shape>,
    /// What to read, by path.
    pub read: Vec<Read>,
}

/// Arranges the differences of one look.
pub fn arrange(mut seen: Vec<Seen>) -> Arranged {
    seen.sort_by(|a, b| a.path.cmp(&b.path));
    // In a directory that has moved a file has kept its path: whatever else has its inode is no move of it.
    let in_place: BTreeSet<NodeId> = seen.iter().filter_map(|one| one.difference.in_place()).collect();
    let mut arranged = Arranged::default();
    let (mut moves, mut new_dirs) = (Vec::new(), BTreeMap::new());
    for Seen { path, difference, vacated } in seen {
        match difference {
            Difference::Gone(record) => arranged.gone.push(record.node),
            Difference::Touched(record, stat) => arranged.read.push(Read { path, stat, node: Some(record.node) }),
            Difference::New(found) => match vacated
                .filter(|record| !in_place.contains(&record.node) && is_same(record, &found, &arranged.moved))
            {
                Some(record) => {
                    arranged.moved.insert(record.node);
                    // A rename changes the ctime, so the signature proves nothing about bytes and attributes.
                    arranged.read.push(Read { path: path.clone(), stat: found.stat, node: Some(record.node) });
                    moves.push((record.node, path, found.stat));
                }
                None if found.stat.kind == Kind::Dir => {
                    new_dirs.insert(path, found.stat);
                }
                None => arranged.read.push(Read { path, stat: found.stat, node: None }),
            },
        }
    }
    let moved = &arranged.moved;
    arranged.gone.retain(|node| !moved.contains(node));
    arranged.shape = order(moves, new_dirs);
    arranged
}

/// Whether a new thing is the node of that record. Where the file system keeps no birth time, inode numbers
/// say nothing about files once they are free again.
fn is_same(record: &Record, found: &Found, moved: &BTreeSet<NodeId>) -> bool {
    let (was, now) = (&record.stat, &found.stat);
    let known_birth = now.inode.born != Mtime::default();
    let kinds = (was.kind == Kind::Dir) == (now.kind == Kind::Dir);
    kinds && (known_birth || (was.len, was.mtime) == (now.len, now.mtime)) && !moved.contains(&record.node)
}

/// Moves before births, so that a vacated name is free when something is born there; but a directory that is
/// to hold a moved thing comes before it.
fn order(moves: Vec<(NodeId, RelPath, Stat)>, mut new_dirs: BTreeMap<RelPath, Stat>) -> Vec<Shape> {
    let mut shape = Vec::new();
    for (node, path, stat) in moves {
        for depth in 1..path.0.len() {
            let above = RelPath(path.0[..depth].to_vec());
            if let Some(stat) = new_dirs.remove(&above) {
                shape.push(Shape::NewDir { path: above, stat });
            }
        }
        shape.push(Shape::Move { node, path, stat });
    }
    shape.extend(new_dirs.into_iter().map(|(path, stat)| Shape::NewDir { path, stat }));
    shape
}
