//! The system calls whose shape differs between systems, and the one way in which a path below a root is opened.
//!
//! What must hold: nothing here follows a symlink, and nothing leads out of the directory that is given.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{Inode, Kind, Stat};
use crate::model::name::RelPath;
use crate::model::time::Mtime;

pub(super) type Result<T> = std::result::Result<T, Errno>;

/// For reading a thing's bytes or attributes; never waits for the other end of a fifo.
pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// For naming what is in a directory; wants no permission on the directory itself where the system can do that.
#[cfg(target_os = "linux")]
pub(super) const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub(super) const HANDLE: OFlags = READ;

/// Opens `path` below `root`: without a symlink or another file system on the way.
#[cfg(target_os = "linux")]
pub(super) fn open_beneath(root: impl AsFd, path: &RelPath, flags: OFlags) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    const PATH_MAX: usize = 4096;
    let bytes = if path.0.is_empty() { b".".to_vec() } else { path.to_bytes() };
    if bytes.len() < PATH_MAX {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        match fs::openat2(root.as_fd(), bytes, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS) => {}
            result => return result,
        }
    }
    walk(root, path, flags)
}

/// Opens `path` below `root`: without a symlink on the way.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_beneath(root: impl AsFd, path: &RelPath, flags: OFlags) -> Result<OwnedFd> {
    walk(root, path, flags)
}

/// `open_beneath` one component at a time: for systems without `openat2`, and for paths beyond `PATH_MAX`.
pub(super) fn walk(root: impl AsFd, path: &RelPath, flags: OFlags) -> Result<OwnedFd> {
    let Some((last, folders)) = path.0.split_last() else {
        return fs::openat(root, c".", flags, Mode::empty());
    };
    let mut folder = None::<OwnedFd>;
    for name in folders {
        let above = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        folder = Some(fs::openat(above, name.as_bytes(), HANDLE | OFlags::DIRECTORY, Mode::empty())?);
    }
    let above = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
    fs::openat(above, last.as_bytes(), flags | OFlags::NOFOLLOW, Mode::empty())
}

/// A signature, with what is used once and not kept.
pub(super) struct Seen {
    pub(super) stat: Stat,
    /// Another file system is mounted there, as far as the system tells.
    pub(super) mounted: bool,
    /// Bytes that are allocated for it.
    pub(super) allocated: u64,
}

/// What stands in `folder` under `name`; a symlink is not followed.
pub(super) fn stat_at(folder: impl AsFd, name: impl rustix::path::Arg) -> Result<Seen> {
    look(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// What is open.
#[cfg(target_os = "linux")]
pub(super) fn stat_fd(fd: impl AsFd) -> Result<Seen> {
    look(fd, c"", AtFlags::EMPTY_PATH)
}

/// What is open.
#[cfg(not(target_os = "linux"))]
pub(super) fn stat_fd(fd: impl AsFd) -> Result<Seen> {
    fs::fstat(fd).map(|raw| seen(&raw))
}

#[cfg(target_os = "linux")]
fn look(fd: impl AsFd, name: impl rustix::path::Arg, flags: AtFlags) -> Result<Seen> {
    use rustix::fs::{StatxAttributes, StatxFlags, StatxTimestamp};
    let time = |t: StatxTimestamp| Mtime { secs: t.tv_sec, nanos: t.tv_nsec };
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let raw = fs::statx(fd, name, flags | AtFlags::NO_AUTOMOUNT, wanted)?;
    let kind = kind(FileType::from_raw_mode(raw.stx_mode.into()));
    let has_birth = raw.stx_mask & StatxFlags::BTIME.bits() != 0;
    let inode = Inode {
        dev: fs::makedev(raw.stx_dev_major, raw.stx_dev_minor),
        ino: raw.stx_ino,
        born: if has_birth { time(raw.stx_btime) } else { Mtime::default() },
    };
    let len = if kind == Kind::Dir { 0 } else { raw.stx_size };
    let (mtime, ctime) = (time(raw.stx_mtime), time(raw.stx_ctime));
    Ok(Seen {
        stat: Stat { kind, inode, len, mtime, ctime, mode: raw.stx_mode & 0o777 },
        mounted: raw.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        allocated: raw.stx_blocks * 512,
    })
}

#[cfg(not(target_os = "linux"))]
fn look(fd: impl AsFd, name: impl rustix::path::Arg, flags: AtFlags) -> Result<Seen> {
    fs::statat(fd, name, flags).map(|raw| seen(&raw))
}

#[cfg(not(target_os = "linux"))]
fn seen(raw: &fs::Stat) -> Seen {
    let time = |secs, nanos| Mtime { secs, nanos: nanos as u32 };
    let kind = kind(FileType::from_raw_mode(raw.st_mode));
    #[cfg(target_vendor = "apple")]
    let born = time(raw.st_birthtime, raw.st_birthtime_nsec);
    #[cfg(not(target_vendor = "apple"))]
    let born = Mtime::default();
    let stat = Stat {
        kind,
        inode: Inode { dev: raw.st_dev as u64, ino: raw.st_ino as u64, born },
        len: if kind == Kind::Dir { 0 } else { raw.st_size as u64 },
        mtime: time(raw.st_mtime, raw.st_mtime_nsec),
        ctime: time(raw.st_ctime, raw.st_ctime_nsec),
        mode: (raw.st_mode & 0o777) as u16,
    };
    Seen { stat, mounted: false, allocated: raw.st_blocks as u64 * 512 }
}

pub(super) fn kind(of: FileType) -> Kind {
    match of {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    }
}

/// Calls `each` for everything in an open directory but `.` and `..`, in the file system's own order. The type
/// is unknown on some file systems.
#[cfg(target_os = "linux")]
pub(super) fn for_each_name(folder: impl AsFd, mut each: impl FnMut(&CStr, FileType)) -> Result<()> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 16 << 10];
    let mut names = fs::RawDir::new(folder, &mut buffer);
    while let Some(entry) = names.next() {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            each(entry.file_name(), entry.file_type());
        }
    }
    Ok(())
}

/// Calls `each` for everything in an open directory but `.` and `..`, in the file system's own order.
#[cfg(not(target_os = "linux"))]
pub(super) fn for_each_name(folder: impl AsFd, mut each: impl FnMut(&CStr, FileType)) -> Result<()> {
    for entry in fs::Dir::read_from(folder)? {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            each(entry.file_name(), entry.file_type());
        }
    }
    Ok(())
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Everything of the file system that holds `fd` is on disk afterwards.
#[cfg(target_os = "linux")]
pub(super) fn sync_all_of(fd: impl AsFd) -> Result<()> {
    fs::syncfs(fd)
}

/// Everything that was written is on disk afterwards.
#[cfg(not(target_os = "linux"))]
pub(super) fn sync_all_of(fd: impl AsFd) -> Result<()> {
    fs::sync();
    fs::fsync(fd)
}

/// Sets the mode of what a `HANDLE` stands for.
#[cfg(target_os = "linux")]
pub(super) fn chmod(handle: impl AsFd, mode: u16) -> Result<()> {
    use std::os::fd::AsRawFd;
    // `fchmod` refuses handles; the magic link leads to exactly what the handle stands for.
    let link = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    fs::chmodat(fs::CWD, link, bits(mode), AtFlags::empty())
}

/// Sets the mode of what a `HANDLE` stands for.
#[cfg(not(target_os = "linux"))]
pub(super) fn chmod(handle: impl AsFd, mode: u16) -> Result<()> {
    fs::fchmod(handle, bits(mode))
}

/// Permission bits as the system takes them.
pub(super) fn bits(mode: u16) -> Mode {
    Mode::from_raw_mode((mode & 0o777).into())
}

/// A name in an open directory.
pub(super) type Spot<'a> = (&'a OwnedFd, &'a [u8]);

/// Renames to a name that must be free, or says that this file system would replace what has that name.
pub(super) fn try_rename_new(from: Spot<'_>, to: Spot<'_>) -> Result<bool> {
    match fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Renames a directory, or what stands in a directory of our own, to a name that must be free.
pub(super) fn rename_new(from: Spot<'_>, to: Spot<'_>) -> Result<()> {
    if try_rename_new(from, to)? { Ok(()) } else { rename_by_link(from, to) }
}

/// `rename_new` on file systems that cannot refuse by themselves. A link refuses in one step; where there are no
/// links it cannot be done. A directory replaces at most an empty one.
pub(super) fn rename_by_link(from: Spot<'_>, to: Spot<'_>) -> Result<()> {
    if stat_at(from.0, from.1)?.stat.kind == Kind::Dir {
        return rename_checked(from, to);
    }
    link_new(from, to)?;
    fs::unlinkat(from.0, from.1, AtFlags::empty())
}

/// Gives something that is no directory another name, which must be free. A symlink is not followed.
pub(super) fn link_new(from: Spot<'_>, to: Spot<'_>) -> Result<()> {
    fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
}

/// Renames to a free name in a directory of our own, where nobody else makes one.
pub(super) fn rename_out(from: Spot<'_>, to: Spot<'_>) -> Result<()> {
    if try_rename_new(from, to)? { Ok(()) } else { rename_checked(from, to) }
}

fn rename_checked(from: Spot<'_>, to: Spot<'_>) -> Result<()> {
    match stat_at(to.0, to.1) {
        Err(Errno::NOENT) => fs::renameat(from.0, from.1, to.0, to.1),
        Err(errno) => Err(errno),
        Ok(_) => Err(Errno::EXIST),
    }
}

/// Swaps two things in one step, or says that this file system cannot.
pub(super) fn exchange(a: Spot<'_>, b: Spot<'_>) -> Result<bool> {
    match fs::renameat_with(a.0, a.1, b.0, b.1, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
