//! Modes and extended attributes of open things. Only `user.*` travels, and a file system that keeps no
//! extended attributes has none to give and takes none.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use super::sys::{self, Result};
use super::{Kind, Stat};
use crate::limits::XATTR_BYTES_MAX;
use crate::model::patch::Attr;

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

const PREFIX: &[u8] = b"user.";
/// The usual list of names fits; the rest is asked for again with room for all that Linux allows.
const USUAL_LIST_BYTES: usize = 512;

/// What every symlink has: its own mode and attributes mean nothing.
pub(super) fn of_symlink() -> Attr {
    Attr { mode: 0o777, xattrs: BTreeMap::new() }
}

/// The `user.*` attributes; `E2BIG` where they are more than pfs carries.
pub(super) fn read(fd: impl AsFd) -> Result<Xattrs> {
    let mut xattrs = BTreeMap::new();
    let mut bytes = 0;
    let mut value = Vec::new();
    for name in names(&fd)?.split(|&b| b == 0).filter(|name| name.starts_with(PREFIX)) {
        value.resize(XATTR_BYTES_MAX, 0);
        let len = match fs::fgetxattr(&fd, name, value.as_mut_slice()) {
            Err(Errno::NODATA) => continue,
            Err(Errno::RANGE) => return Err(Errno::TOOBIG),
            result => result?,
        };
        bytes += name.len() + len;
        if bytes > XATTR_BYTES_MAX {
            return Err(Errno::TOOBIG);
        }
        xattrs.insert(name.to_vec(), value[..len].to_vec());
    }
    Ok(xattrs)
}

fn names(fd: impl AsFd) -> Result<Vec<u8>> {
    let mut list = vec![0; USUAL_LIST_BYTES];
    let len = loop {
        match fs::flistxattr(&fd, list.as_mut_slice()) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => break 0,
            Err(Errno::RANGE) if list.len() < XATTR_BYTES_MAX => list.resize(XATTR_BYTES_MAX, 0),
            Err(Errno::RANGE) => return Err(Errno::TOOBIG),
            result => break result?,
        }
    };
    list.truncate(len);
    Ok(list)
}

/// Makes `fd`, which is as `now` says, have exactly these attributes; if that fails, those that it had.
pub(super) fn write(fd: impl AsFd, now: &Stat, attr: &Attr) -> Result<()> {
    let have = read(&fd)?;
    let mut mode = now.mode;
    let changed = if have == attr.xattrs {
        Ok(())
    } else if mode & 0o200 == 0 {
        // Only who may write a file may write its attributes, even its owner.
        mode |= 0o600;
        fs::fchmod(&fd, sys::bits(mode)).and_then(|()| exchange(&fd, &have, &attr.xattrs))
    } else {
        exchange(&fd, &have, &attr.xattrs)
    };
    let changed = changed.and_then(|()| if mode == attr.mode { Ok(()) } else { fs::fchmod(&fd, sys::bits(attr.mode)) });
    changed.inspect_err(|_| restore(&fd, now.mode, &have))
}

/// From one set of attributes to another.
fn exchange(fd: impl AsFd, have: &Xattrs, want: &Xattrs) -> Result<()> {
    match set(&fd, want) {
        Ok(()) => remove_others(&fd, have.keys(), want),
        // Where there is no room for both, what goes makes room for what comes.
        Err(Errno::NOSPC | Errno::DQUOT | Errno::TOOBIG | Errno::RANGE) => {
            remove_others(&fd, have.keys(), want)?;
            set(&fd, want)
        }
        Err(errno) => Err(errno),
    }
}

/// As far as it goes: it has just been like that, and the error that is known is the one to be told.
fn restore(fd: impl AsFd, mode: u16, xattrs: &Xattrs) {
    let restored = read(&fd)
        .and_then(|now| remove_others(&fd, now.keys(), xattrs))
        .and_then(|()| set(&fd, xattrs))
        .and(fs::fchmod(&fd, sys::bits(mode)));
    if let Err(errno) = restored {
        tracing::warn!(%errno, "attributes that could not be set have left others than there were");
    }
}

fn remove_others<'a>(fd: impl AsFd, names: impl Iterator<Item = &'a Vec<u8>>, keep: &Xattrs) -> Result<()> {
    for name in names.filter(|name| !keep.contains_key(*name)) {
        match fs::fremovexattr(&fd, name.as_slice()) {
            Err(Errno::NODATA) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Sets attributes on top of those that are there.
pub(super) fn set(fd: impl AsFd, xattrs: &Xattrs) -> Result<()> {
    for (name, value) in xattrs.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        match fs::fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

/// Whether a thing of this kind has attributes at all.
pub(super) fn has_any(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Dir)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it cannot run")]
mod tests;
