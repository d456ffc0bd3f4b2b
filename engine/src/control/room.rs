//! Room on disk: a file that needs more than is free is not begun. What the disk would refuse half-way costs time
//! and room that smaller files could have.

use std::path::{Path, PathBuf};

use super::Held;
use crate::content::{ContentError, pieces};
use crate::disk::free_space;
use crate::limits::SPARSE_PIECES_MAX;
use crate::model::facts::Eye;
use crate::model::manifest::Piece;
use crate::model::patch::{Content, Root};
use crate::model::view;
use crate::plan::materialise::Task;
use crate::store::Store;

/// A file that waits for room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRoom {
    /// The file, as bytes of its path in the volume.
    pub path: Vec<u8>,
    /// Bytes that writing it takes.
    pub needs: u64,
    /// Bytes that were free when it was last tried.
    pub free: u64,
    /// Where.
    pub on: PathBuf,
}

impl Held {
    /// Why a file cannot be written to the tree now, if it needs more than the `free` bytes.
    pub(super) fn no_room(&self, store: &Store, task: &Task, on: &Path, free: u64) -> Option<NoRoom> {
        let want = task.want.as_ref().filter(|want| want.rewrite)?;
        let Content::File { len, root, .. } = want.content else { return None };
        if len <= free {
            return None;
        }
        let known = self.window.no_room.get(&task.node).map(|known| known.needs);
        let needs = known.unwrap_or_else(|| allocated(store, root, len).unwrap_or(len));
        let folder = view::path_of(&self.volume, Eye::Local, want.shown.folder).ok().flatten().unwrap_or_default();
        let path = folder.join(&want.shown.name).to_bytes();
        (needs > free).then(|| NoRoom { path, needs, free, on: on.to_owned() })
    }

    /// Bytes that are free for the tree, as far as the system tells.
    pub(super) fn room(&self) -> Option<(PathBuf, u64)> {
        let path = self.path()?;
        free_space(&path).ok().map(|free| (path, free))
    }
}

/// What a file takes on disk: its holes take nothing. A list that is too long to go through has few.
fn allocated(store: &Store, root: Root, len: u64) -> Result<u64, ContentError> {
    let mut bytes = 0;
    for (count, piece) in pieces(store, root, len, 0..len).enumerate() {
        if count == SPARSE_PIECES_MAX {
            return Ok(len);
        }
        if let (_, Piece::Data { len, .. }) = piece? {
            bytes += u64::from(len);
        }
    }
    Ok(bytes)
}
