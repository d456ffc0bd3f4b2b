//! Small files of pfs's own: written whole or not at all, readable by their owner alone.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::Inode;
use super::sys::{self, Result};

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens a directory of pfs's own.
pub(super) fn open_dir(above: impl AsFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(above, name, flags, Mode::empty())
}

/// Opens a directory of pfs's own, making it first if it is not there.
pub(super) fn make_dir(above: impl AsFd, name: &str) -> Result<OwnedFd> {
    match open_dir(&above, name) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    match fs::mkdirat(&above, name, Mode::RWXU) {
        Ok(()) => fs::fsync(&above)?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    open_dir(&above, name)
}

/// A file's bytes; nothing if it is not there, `EFBIG` if it is larger than `max`.
pub(super) fn read(folder: impl AsFd, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
    let fd = match fs::openat(&folder, name, sys::READ, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        result => result?,
    };
    let len = sys::stat_fd(&fd)?.stat.len;
    if len > max {
        return Err(Errno::FBIG);
    }
    let mut bytes = vec![0; len as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(&fd, &mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Err(Errno::INTR) => {}
            result => filled += result?,
        }
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

/// Replaces a file; after a crash it is the old one or the new one, whole.
pub(super) fn write(folder: impl AsFd, name: &str, bytes: &[u8]) -> Result<()> {
    write_with(folder, name, |_| bytes.to_vec())
}

/// The same with bytes that may say which file they are in.
pub(super) fn write_with(folder: impl AsFd, name: &str, bytes: impl FnOnce(Inode) -> Vec<u8>) -> Result<()> {
    let temp = format!("{name}.new");
    // What an interrupted write left is worth nothing.
    match fs::unlinkat(&folder, &temp, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(&folder, &temp, flags, OWNER_ONLY)?;
    let bytes = bytes(sys::stat_fd(&fd)?.stat.inode);
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(&fd, &bytes[written..], written as u64) {
            Err(Errno::INTR) => {}
            result => written += result?,
        }
    }
    fs::fsync(&fd)?;
    fs::renameat(&folder, &temp, &folder, name)?;
    fs::fsync(&folder)
}
