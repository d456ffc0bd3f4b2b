//! Reading one file: positioned reads, holes, and the signature before and after, by which the caller judges
//! whether what was read is one version of it.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{DiskError, Kind, Stat, attrs, sys};
use crate::model::name::RelPath;
use crate::model::patch::Attr;

/// An open file (or directory, for its attributes).
#[derive(Debug)]
pub struct FileReader {
    fd: OwnedFd,
    path: String,
    stat: Stat,
    allocated: u64,
}

impl FileReader {
    pub(super) fn new(fd: OwnedFd, path: &RelPath) -> Result<Self, DiskError> {
        let seen = sys::stat_fd(&fd).map_err(|errno| DiskError::io(path, errno))?;
        Ok(Self { fd, path: path.to_string(), stat: seen.stat, allocated: seen.allocated })
    }

    /// Opens any file of this machine, following symlinks.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let named = path.display().to_string();
        let failed = |errno| DiskError::io(&named, errno);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let seen = sys::stat_fd(&fd).map_err(failed)?;
        match seen.stat.kind {
            Kind::File => Ok(Self { fd, path: named, stat: seen.stat, allocated: seen.allocated }),
            Kind::Dir => Err(failed(Errno::ISDIR)),
            _ => Err(failed(Errno::INVAL)),
        }
    }

    /// The signature when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// The signature now.
    pub fn restat(&self) -> Result<Stat, DiskError> {
        sys::stat_fd(&self.fd).map(|seen| seen.stat).map_err(|errno| DiskError::io(&self.path, errno))
    }

    /// Mode and `user.*` attributes, without opening the file once more.
    pub fn attr(&self) -> Result<Attr, DiskError> {
        let xattrs = attrs::read(&self.fd).map_err(|errno| DiskError::io(&self.path, errno))?;
        Ok(Attr { mode: self.stat.mode, xattrs })
    }

    /// Reads bytes from `offset` on; fewer than asked for only at the end, where it gives 0, or by chance.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::pread(&self.fd, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// The next run of bytes, at `offset` or after, that is not a hole; nothing when only a hole is left.
    pub fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        let len = self.stat.len;
        if offset >= len {
            return None;
        }
        if self.allocated >= len {
            return Some(offset..len);
        }
        let start = match fs::seek(&self.fd, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return None,
            Err(_) => return Some(offset..len),
        };
        let end = fs::seek(&self.fd, SeekFrom::Hole(start)).unwrap_or(len);
        (start < len).then(|| start..end.clamp(start, len))
    }
}
