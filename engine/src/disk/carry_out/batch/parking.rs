//! What is out of the tree between its `Park` and its `Unpark`. What must hold: when the batch ends, each such thing
//! is where it should go, or where it was, or the caller knows that it is neither. A thing that nobody knows to be
//! parked would be taken for removed, with everything in it.

use rustix::io::Errno;

use super::{Batch, Done, Place, refused};
use crate::disk::carry_out::dirs::Dirs;
use crate::disk::carry_out::temp;
use crate::disk::{Inode, Kind, Stat, sys};
use crate::failpoint::{self, Point};
use crate::model::ids::NodeId;
use crate::model::name::RelPath;

/// What a batch has parked, and what it takes to bring that back.
#[derive(Default)]
pub(super) struct Parking {
    /// In the order in which they were parked: what stands in a directory before the directory.
    parked: Vec<Parked>,
    /// The directories that the batch has renamed, from where and to where.
    moves: Vec<(RelPath, RelPath)>,
}

struct Parked {
    node: NodeId,
    from: RelPath,
    /// The directory that it was in, which other steps may have renamed since.
    folder: Inode,
    /// How many directories had been renamed before.
    moves_before: usize,
}

impl Parking {
    /// A directory has been renamed.
    pub(super) fn moved(&mut self, from: &RelPath, to: &RelPath) {
        self.moves.push((from.clone(), to.clone()));
    }

    /// Where something was, as that place is called now.
    fn origin(&self, parked: &Parked) -> RelPath {
        let moves = self.moves[parked.moves_before..].iter();
        moves.fold(parked.from.clone(), |path, (from, to)| match path.0.strip_prefix(&from.0[..]) {
            Some(rest) => RelPath([&to.0, rest].concat()),
            None => path,
        })
    }
}

impl Batch<'_> {
    pub(super) fn park(&mut self, node: NodeId, from: &RelPath, expect: &Stat) -> Done<()> {
        let (here, there) = (self.place(from)?, self.in_tmp(temp::parking(node)));
        let folder = sys::stat_fd(&*here.folder).map_err(|errno| refused(from, errno))?.stat.inode;
        let result = self.relocate(from, &here, &there, Some(expect));
        // Also if it was not what was expected, and its old name was taken before it could go back.
        if !matches!(there.stat(), Ok(None)) {
            let moves_before = self.parking.moves.len();
            self.parking.parked.push(Parked { node, from: from.clone(), folder, moves_before });
        }
        self.touch_folder_of(from);
        failpoint::pass(Point::DiskParked);
        result.map(|_| ())
    }

    pub(super) fn unpark(&mut self, node: NodeId, to: &RelPath) -> Done<Stat> {
        let (here, there) = (self.in_tmp(temp::parking(node)), self.place(to)?);
        let stat = self.relocate(to, &here, &there, None)?;
        if let Some(index) = self.parking.parked.iter().position(|parked| parked.node == node) {
            let parked = self.parking.parked.remove(index);
            if stat.kind == Kind::Dir {
                let from = self.parking.origin(&parked);
                self.parking.moved(&from, to);
            }
        }
        self.touch_folder_of(to);
        Ok(stat)
    }

    /// Puts what is still parked back to where it was. Returns what has no place there either.
    pub(in crate::disk::carry_out) fn bring_parked_back(&mut self) -> Vec<NodeId> {
        let mut left = Vec::new();
        // A directory comes back before what was in it.
        while let Some(parked) = self.parking.parked.pop() {
            let at = self.parking.origin(&parked);
            let mut back = self.bring_back_one(&parked, &at);
            if matches!(back, Err(Errno::ACCESS)) && self.loosen_folder_of(&at) {
                back = self.bring_back_one(&parked, &at);
            }
            if let Err(errno) = back {
                tracing::warn!(node = %parked.node.short(), %at, %errno, "it stays parked: it has no place to go to");
                left.push(parked.node);
            }
        }
        left.sort_unstable();
        left.dedup();
        left
    }

    fn bring_back_one(&mut self, parked: &Parked, at: &RelPath) -> sys::Result<()> {
        let here = self.in_tmp(temp::parking(parked.node));
        let (Some(found), Some((folder, name))) = (here.stat()?, at.split_last()) else { return Ok(()) };
        let fd = self.dirs.open(&folder)?;
        if sys::stat_fd(&*fd)?.stat.inode != parked.folder {
            return Err(Errno::NOENT);
        }
        let there = Place { folder: fd, name: name.as_bytes().to_vec() };
        let rename = || sys::rename_new(here.spot(), there.spot());
        if found.kind == Kind::Dir { Dirs::while_loose(here.spot(), rename) } else { rename() }?;
        self.dirs.touch(&folder);
        Ok(())
    }

    fn loosen_folder_of(&mut self, path: &RelPath) -> bool {
        path.split_last().is_some_and(|(folder, _)| self.dirs.loosen(&folder))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
