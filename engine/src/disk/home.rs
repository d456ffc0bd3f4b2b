//! pfs's home on this machine: small private files, and the lock that keeps a second process out.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{DiskError, Inode, private, sys};
use crate::limits::HOME_FILE_BYTES_MAX;

/// The engine's own; whoever drives an engine may have a lock of its own in the same home.
const LOCK: &str = "engine.lock";

/// The directory of pfs's own files.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    fd: OwnedFd,
}

/// While it lives, no other process gets it.
#[derive(Debug)]
pub struct Lock {
    _fd: OwnedFd,
}

impl Home {
    /// Opens the home, making it (for its owner alone) if it is not there.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| DiskError::io(path.display(), source))?;
        let fd = fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let fd = fd.map_err(|errno| DiskError::io(path.display(), errno))?;
        Ok(Self { path: path.to_owned(), fd })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file's bytes, at most `HOME_FILE_BYTES_MAX`; nothing if there is none of that name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        private::read(&self.fd, name, HOME_FILE_BYTES_MAX).map_err(|errno| self.trouble(name, errno))
    }

    /// Writes a file with mode 0600, durably and whole or not at all. One writer a name at a time.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        private::write(&self.fd, name, bytes).map_err(|errno| self.trouble(name, errno))
    }

    /// The same with bytes that may say which file they are in: a copy of it is another file.
    pub fn write_with(&self, name: &str, bytes: impl FnOnce(Inode) -> Vec<u8>) -> Result<(), DiskError> {
        private::write_with(&self.fd, name, bytes).map_err(|errno| self.trouble(name, errno))
    }

    /// Which file that is; nothing if there is none of that name.
    pub fn inode(&self, name: &str) -> Result<Option<Inode>, DiskError> {
        match sys::stat_at(&self.fd, name) {
            Ok(seen) => Ok(Some(seen.stat.inode)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.trouble(name, errno)),
        }
    }

    /// Takes a file away; none of that name will do. Not durable by itself.
    pub fn remove(&self, name: &str) -> Result<(), DiskError> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.trouble(name, errno)),
        }
    }

    /// Takes the lock, or says who has it.
    pub fn lock(&self) -> Result<Lock, DiskError> {
        let trouble = |errno| self.trouble(LOCK, errno);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, LOCK, flags, Mode::RUSR | Mode::WUSR).map_err(trouble)?;
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(self.busy()),
            Err(errno) => return Err(trouble(errno)),
        }
        fs::ftruncate(&fd, 0).map_err(trouble)?;
        rustix::io::pwrite(&fd, std::process::id().to_string().as_bytes(), 0).map_err(trouble)?;
        Ok(Lock { _fd: fd })
    }

    fn busy(&self) -> DiskError {
        let holder = self.read(LOCK).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
        let pid = holder.and_then(|text| text.trim().parse().ok());
        DiskError::Busy { path: self.path.join(LOCK).display().to_string(), pid }
    }

    fn trouble(&self, name: &str, errno: Errno) -> DiskError {
        DiskError::io(self.path.join(name).display(), errno)
    }
}

/// Bytes that may still be written to the file system that holds `path`.
pub fn free_space(path: &Path) -> Result<u64, DiskError> {
    let stat = fs::statvfs(path).map_err(|errno| DiskError::io(path.display(), errno))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it cannot run")]
mod tests;
