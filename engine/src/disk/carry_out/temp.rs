//! What is in `.pfs/tmp`, by name: `new-…` is being written and belongs to nobody yet, `gone-…` has left the tree,
//! `park-…` comes back to it, `mode-…` is a note of a directory that has another mode only while a batch works in it.
//!
//! The name of what is gone carries its signature, so that even after a crash it is only destroyed unchanged; that of
//! what is swapped carries two. The
//! name of a note carries the mode and the inode; it is a link that leads to the directory.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};

use super::{Source, SourceError};
use crate::disk::{DiskError, Inode, Stat, Step, attrs, sys};
use crate::failpoint::{self, Point};
use crate::model::ids::NodeId;
use crate::model::patch::{Attr, Root};
use crate::model::time::Mtime;

pub(super) const NEW: &str = "new-";
pub(super) const GONE: &str = "gone-";
pub(super) const PARK: &str = "park-";
pub(super) const MODE: &str = "mode-";

/// Something new, complete, in `.pfs/tmp`.
pub(super) struct Temp {
    pub(super) name: String,
    pub(super) stat: Stat,
}

impl Temp {
    /// Removes it; if something else has come to stand there, that stays for the next sweep to judge.
    pub(super) fn discard(self, tmp: &OwnedFd) {
        if sys::stat_at(tmp, self.name.as_str()).is_ok_and(|seen| seen.stat.inode == self.stat.inode) {
            // What cannot be removed now is swept later.
            let _ = fs::unlinkat(tmp, self.name.as_str(), AtFlags::empty());
        }
    }
}

/// A name that nothing has had, not even before a crash.
pub(super) fn unique(prefix: &str, suffix: &str) -> String {
    static RUN: LazyLock<u128> =
        LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}{:x}_{:x}_{suffix}", *RUN, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The parking place of a node.
pub(super) fn parking(node: NodeId) -> String {
    format!("{PARK}{node}")
}

/// Where something with this signature goes when it leaves the tree.
pub(super) fn gone(stat: &Stat) -> String {
    unique(GONE, &signature(stat))
}

/// Where something new goes that is about to be swapped with what has the other signature: of the two, either may
/// stand under that name when a crash comes.
pub(super) fn swap(new: &Stat, old: &Stat) -> String {
    unique(GONE, &format!("{}_{}", signature(new), signature(old)))
}

/// Whether a thing named by `gone` or `swap` still is what it was.
pub(super) fn is_gone_unchanged(name: &str, now: &Stat) -> bool {
    let now = signature(now);
    name.strip_prefix(GONE).is_some_and(|rest| rest.split('_').skip(2).any(|signature| signature == now))
}

/// A note of the mode that a directory shall have.
pub(super) fn owing(inode: Inode, mode: u16) -> String {
    unique(MODE, &format!("{mode:o}.{:x}", inode.ino))
}

/// What a note says: the mode and the inode number.
pub(super) fn owed(name: &str) -> Option<(u16, u64)> {
    let (_, owed) = name.strip_prefix(MODE)?.rsplit_once('_')?;
    let (mode, ino) = owed.split_once('.')?;
    Some((u16::from_str_radix(mode, 8).ok()?, u64::from_str_radix(ino, 16).ok()?))
}

fn signature(stat: &Stat) -> String {
    let Stat { kind, inode, len, mtime, .. } = stat;
    format!("{kind:?}.{:x}.{len:x}.{}.{}", inode.ino, mtime.secs, mtime.nanos)
}

/// Writes what the step needs, if it needs anything; `sync`: and makes it durable by itself.
pub(super) fn write(tmp: &OwnedFd, step: &Step, source: &dyn Source, sync: bool) -> Option<Result<Temp, DiskError>> {
    let name = unique(NEW, "");
    let (at, stat) = match step {
        Step::WriteFile { at, len, root, mtime, attr, .. } => {
            let file = NewFile { len: *len, root: *root, mtime: *mtime, attr, sync };
            (at, file.write(tmp, &name, source))
        }
        Step::WriteLink { at, target, .. } => (at, write_link(tmp, &name, target).map_err(SourceError::Sink)),
        _ => return None,
    };
    Some(match stat {
        Ok(stat) => Ok(Temp { name, stat }),
        Err(error) => {
            // What cannot be removed now is swept later.
            let _ = fs::unlinkat(tmp, name, AtFlags::empty());
            let path = at.to_string();
            Err(match error {
                SourceError::Sink(source) => DiskError::Io { path, source },
                SourceError::Unavailable(reason) => DiskError::Source { path, reason },
            })
        }
    })
}

fn write_link(tmp: &OwnedFd, name: &str, target: &[u8]) -> std::io::Result<Stat> {
    fs::symlinkat(target, tmp, name)?;
    Ok(sys::stat_at(tmp, name)?.stat)
}

struct NewFile<'a> {
    len: u64,
    root: Root,
    mtime: Mtime,
    attr: &'a Attr,
    sync: bool,
}

impl NewFile<'_> {
    fn write(&self, tmp: &OwnedFd, name: &str, source: &dyn Source) -> Result<Stat, SourceError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(tmp, name, flags, Mode::RUSR | Mode::WUSR).map_err(std::io::Error::from)?;
        let file = File::from(fd);
        let mut end = 0;
        source.read(self.root, self.len, &mut |offset, bytes| {
            end = offset.saturating_add(bytes.len() as u64);
            if end > self.len {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "more bytes than the file has"));
            }
            file.write_all_at(bytes, offset)
        })?;
        if end < self.len {
            file.set_len(self.len)?;
        }
        Ok(self.dress(&file)?)
    }

    /// Attributes first, while the mode lets us; the time last, because writing sets it.
    fn dress(&self, file: &File) -> std::io::Result<Stat> {
        attrs::set(file, &self.attr.xattrs)?;
        fs::fchmod(file, sys::bits(self.attr.mode))?;
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let last_modification = Timespec { tv_sec: self.mtime.secs, tv_nsec: self.mtime.nanos.into() };
        fs::futimens(file, &Timestamps { last_access, last_modification })?;
        if self.sync {
            failpoint::attempt(Point::DiskSyncTemps)?;
            fs::fsync(file)?;
        }
        Ok(sys::stat_fd(file)?.stat)
    }
}

#[cfg(test)]
mod tests;
