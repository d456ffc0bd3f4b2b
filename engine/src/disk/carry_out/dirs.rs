//! The directories in which a batch works: open ones, those whose changes have yet to be made durable, and those
//! that let their owner write only while the batch lasts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;

use super::temp;
use crate::disk::{Inode, Tree, sys};
use crate::limits::{OPEN_DIRS_MAX, SYNC_EACH_MAX};
use crate::model::name::RelPath;

/// What an owner needs of a directory to work in it.
pub(super) const WORKABLE: u16 = 0o700;

/// The directories of one batch.
pub(super) struct Dirs<'t> {
    tree: &'t Tree,
    open: HashMap<RelPath, Rc<OwnedFd>>,
    touched: BTreeSet<RelPath>,
    /// Which mode each shall have in the end.
    loosened: BTreeMap<RelPath, Owed>,
    tmp: Rc<OwnedFd>,
}

/// The mode that a directory shall have, and the note of it in `.pfs/tmp`: after a crash the mode that it had
/// meanwhile must not be taken for anybody's change.
struct Owed {
    inode: Inode,
    mode: u16,
    note: String,
}

impl<'t> Dirs<'t> {
    pub(super) fn new(tree: &'t Tree, tmp: Rc<OwnedFd>) -> Self {
        Self { tree, open: HashMap::new(), touched: BTreeSet::new(), loosened: BTreeMap::new(), tmp }
    }

    pub(super) fn open(&mut self, path: &RelPath) -> sys::Result<Rc<OwnedFd>> {
        if let Some(fd) = self.open.get(path) {
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(self.tree.handle(path)?);
        if self.open.len() >= OPEN_DIRS_MAX {
            self.open.clear();
        }
        self.open.insert(path.clone(), Rc::clone(&fd));
        Ok(fd)
    }

    /// Something in (or about) what stands at this path has changed.
    pub(super) fn touch(&mut self, path: &RelPath) {
        if !self.touched.contains(path) {
            self.touched.insert(path.clone());
        }
    }

    pub(super) fn removed(&mut self, path: &RelPath) {
        self.open.remove(path);
        self.touched.remove(path);
        self.mode_is_set(path);
    }

    pub(super) fn mode_is_set(&mut self, path: &RelPath) {
        if let Some(owed) = self.loosened.remove(path) {
            self.strike(&owed);
        }
    }

    /// Lets the owner work in the directories from the root down to `path`. Says whether anything has changed.
    pub(super) fn loosen(&mut self, path: &RelPath) -> bool {
        let mut changed = false;
        for depth in 0..=path.0.len() {
            changed |= self.loosen_one(&RelPath(path.0[..depth].to_vec())).unwrap_or(false);
        }
        changed
    }

    fn loosen_one(&mut self, path: &RelPath) -> sys::Result<bool> {
        let handle = self.tree.handle(path)?;
        let stat = sys::stat_fd(&handle)?.stat;
        if stat.mode & WORKABLE == WORKABLE {
            return Ok(false);
        }
        if !self.loosened.contains_key(path) {
            self.set_mode_later(path, stat.inode, stat.mode);
        }
        sys::chmod(&handle, stat.mode | WORKABLE)?;
        Ok(true)
    }

    /// The mode that a directory is to have later, if that is not the one it has.
    pub(super) fn owed(&self, path: &RelPath, inode: Inode) -> Option<u16> {
        self.loosened.get(path).filter(|owed| owed.inode == inode).map(|owed| owed.mode)
    }

    /// The mode that a directory shall have once the batch's work in it is done; noted before it gets another.
    pub(super) fn set_mode_later(&mut self, path: &RelPath, inode: Inode, mode: u16) {
        let note = temp::owing(inode, mode);
        // A path that is too long for a link is not noted: a crash leaves the wider mode.
        let target = [b"./", &path.to_bytes()[..]].concat();
        let _ = fs::symlinkat(target, &*self.tmp, note.as_str());
        if let Some(before) = self.loosened.insert(path.clone(), Owed { inode, mode, note }) {
            self.strike(&before);
        }
    }

    fn strike(&self, owed: &Owed) {
        // What cannot be removed now is swept later.
        let _ = fs::unlinkat(&*self.tmp, owed.note.as_str(), AtFlags::empty());
    }

    /// Gives every directory the mode that it shall have, from the bottom up. Also before directories move, for
    /// then their paths are others.
    pub(super) fn finish_modes(&mut self) {
        for (path, owed) in std::mem::take(&mut self.loosened).into_iter().rev() {
            if let Ok(handle) = self.tree.handle(&path) {
                let still = sys::stat_fd(&handle).is_ok_and(|now| now.stat.inode == owed.inode);
                if still && let Err(errno) = sys::chmod(&handle, owed.mode) {
                    tracing::warn!(%path, %errno, "the directory keeps a wider mode than it should have");
                }
                self.touch(&path);
            }
            self.strike(&owed);
        }
        self.open.clear();
    }

    /// Everything that was touched is on disk afterwards.
    pub(super) fn make_durable(&self) -> sys::Result<()> {
        if self.touched.len() > SYNC_EACH_MAX {
            return sys::sync_all_of(self.tree.fd());
        }
        for path in &self.touched {
            match sys::open_beneath(self.tree.fd(), path, sys::READ) {
                Ok(fd) => fs::fsync(&fd)?,
                // Moved since, or not to be read: then with everything else.
                Err(_) => return sys::sync_all_of(self.tree.fd()),
            }
        }
        Ok(())
    }

    /// Runs `rename` of a directory, which must let its owner write to go elsewhere.
    pub(super) fn while_loose(from: sys::Spot<'_>, rename: impl Fn() -> sys::Result<()>) -> sys::Result<()> {
        let first = rename();
        if !matches!(first, Err(Errno::ACCESS)) {
            return first;
        }
        let handle = fs::openat(from.0, from.1, sys::HANDLE | OFlags::DIRECTORY, fs::Mode::empty())?;
        let stat = sys::stat_fd(&handle)?.stat;
        if stat.mode & WORKABLE == WORKABLE {
            return first;
        }
        sys::chmod(&handle, stat.mode | WORKABLE)?;
        let second = rename();
        sys::chmod(&handle, stat.mode)?;
        second
    }
}
