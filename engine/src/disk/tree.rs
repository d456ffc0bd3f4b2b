//! One tracked directory: its marker, and looking at what is in it.
//!
//! What must hold: below the root every access starts at the root's descriptor and follows no symlink, so that
//! nothing outside is ever read or written, whatever stands in the tree.

use std::ffi::CString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::ignores::{IGNORE_FILE, Ignores, Rules, rules_below};
use super::reader::FileReader;
use super::{DiskError, Found, Kind, Listing, Skipped, Stat, attrs, private, sys};
use crate::failpoint::{self, Point};
use crate::limits::DEPTH_MAX;
use crate::model::ids::VolumeId;
use crate::model::name::{Name, RESERVED, RelPath};
use crate::model::patch::Attr;

/// Below `.pfs`: the file that says which volume the tree is.
const MARKER: &str = "volume";
/// Below `.pfs`: keeps it out of a git repository that is tracked from its root. To git it would be a new file, to
/// be committed, and to be put away by a stash or a checkout, the marker with it.
const GIT_IGNORE: &str = ".gitignore";
/// Below `.pfs`: temporary files, and what is on its way.
pub(super) const TMP: &str = "tmp";
/// Below `.pfs`: bytes that nobody has captured and that have no place in the tree.
pub(super) const SET_ASIDE: &str = "set-aside";

/// A tracked directory, open.
pub struct Tree {
    root: PathBuf,
    volume: VolumeId,
    fd: OwnedFd,
    dev: u64,
    ignores: Ignores,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("root", &self.root).field("volume", &self.volume).finish_non_exhaustive()
    }
}

/// The nearest directory, `path` itself or above it, that is tracked, and the volume that it is.
pub fn marker_above(path: &Path) -> Option<(PathBuf, VolumeId)> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|dir| {
        let fd = fs::open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let volume = read_marker(&fd).ok()??;
        Some((dir.to_owned(), volume))
    })
}

/// A directory's absolute path without symlinks, as it is remembered.
pub fn canonical_dir(path: &Path) -> Result<PathBuf, DiskError> {
    let real = std::fs::canonicalize(path).map_err(|source| DiskError::io(path.display(), source))?;
    if real.is_dir() { Ok(real) } else { Err(DiskError::io(path.display(), Errno::NOTDIR)) }
}

impl Tree {
    /// Makes a directory a tracked one. Where it already is this volume's, nothing changes.
    pub fn create(root: &Path, volume: VolumeId) -> Result<Self, DiskError> {
        let tree = Self::open_unmarked(root, volume)?;
        let trouble = |errno| DiskError::io(root.join(".pfs").display(), errno);
        match read_marker(&tree.fd).map_err(trouble)? {
            Some(other) if other != volume => {
                return Err(DiskError::Tracked { path: root.display().to_string(), volume: other });
            }
            Some(_) => {}
            None => {
                let own = private::make_dir(&tree.fd, ".pfs").map_err(trouble)?;
                private::make_dir(&own, TMP).map_err(trouble)?;
                private::write(&own, GIT_IGNORE, b"*\n").map_err(trouble)?;
                failpoint::pass(Point::TrackMarker);
                private::write(&own, MARKER, format!("{volume}\n").as_bytes()).map_err(trouble)?;
                fs::fsync(&tree.fd).map_err(trouble)?;
            }
        }
        Ok(tree)
    }

    /// Opens a tracked directory; `DiskError::Marker` where it is not, or is another volume.
    pub fn open(root: &Path, volume: VolumeId) -> Result<Self, DiskError> {
        let tree = Self::open_unmarked(root, volume)?;
        tree.check_marker()?;
        Ok(tree)
    }

    fn open_unmarked(root: &Path, volume: VolumeId) -> Result<Self, DiskError> {
        let trouble = |errno| match errno {
            Errno::NOENT => DiskError::Absent { path: root.display().to_string() },
            errno => DiskError::io(root.display(), errno),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::openat(CWD, root, flags, Mode::empty()).map_err(trouble)?;
        let dev = sys::stat_fd(&fd).map_err(trouble)?.stat.inode.dev;
        Ok(Self { root: root.to_owned(), volume, fd, dev, ignores: Ignores::default() })
    }

    /// Whether what now stands at the root's path is still the directory that was opened, with its marker.
    pub fn check_marker(&self) -> Result<(), DiskError> {
        let here = fs::openat(CWD, &self.root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let same = here.and_then(|fd| {
            let (now, opened) = (sys::stat_fd(&fd)?, sys::stat_fd(&self.fd)?);
            Ok(now.stat.inode == opened.stat.inode && read_marker(&fd)? == Some(self.volume))
        });
        if matches!(same, Ok(true)) { Ok(()) } else { Err(DiskError::Marker { path: self.root.display().to_string() }) }
    }

    /// The tree is tracked no longer. What was set aside, or is still parked, stays in `.pfs`.
    pub fn remove_marker(&self) -> Result<(), DiskError> {
        self.sweep()?;
        let trouble = |errno| DiskError::io(self.root.join(".pfs").display(), errno);
        let own = self.own_dir().map_err(trouble)?;
        for name in [MARKER, GIT_IGNORE] {
            match fs::unlinkat(&own, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(trouble(errno)),
            }
        }
        for (folder, name) in [(&own, TMP), (&own, SET_ASIDE), (&self.fd, ".pfs")] {
            match fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(trouble(errno)),
            }
        }
        fs::fsync(&self.fd).map_err(trouble)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which volume it is.
    pub fn volume(&self) -> VolumeId {
        self.volume
    }

    /// Whether its file system keeps `user.*` attributes. Where it does not, `attr` never gives any, and that
    /// they are missing says nothing.
    pub fn keeps_xattrs(&self) -> Result<bool, DiskError> {
        const PROBE: &str = "user.pfs.probe";
        let trouble = |errno| DiskError::io(self.root.display(), errno);
        let tmp = self.tmp_dir().map_err(trouble)?;
        match fs::fsetxattr(&tmp, PROBE, b"", XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => Ok(false),
            result => result.and_then(|()| fs::fremovexattr(&tmp, PROBE)).map(|()| true).map_err(trouble),
        }
    }

    /// One directory by itself.
    #[cfg(test)]
    pub(crate) fn list(&self, dir: &RelPath) -> Result<Listing, DiskError> {
        Ok(self.list_by(dir, &self.rules_above(dir))?.0)
    }

    /// The rules of the directory that holds `dir`; opens every directory on the way.
    pub fn rules_above(&self, dir: &RelPath) -> Arc<Rules> {
        self.ignores.above(&self.fd, dir)
    }

    /// One directory, without what ignore patterns hide by the rules of the directory that holds it. Gives also its
    /// own rules, for what it holds. Calls from many threads do not disturb each other.
    pub fn list_by(&self, dir: &RelPath, above: &Arc<Rules>) -> Result<(Listing, Arc<Rules>), DiskError> {
        let mut rules = rules_below(above, dir);
        let mut listing = Listing { ignored: rules.is_hidden(), ..Listing::default() };
        if listing.ignored {
            return Ok((listing, rules));
        }
        let fd = self.open_at(dir, sys::READ | OFlags::DIRECTORY)?;
        listing.inode = Some(sys::stat_fd(&fd).map_err(|errno| DiskError::io(dir, errno))?.stat.inode);
        let mut names = Vec::new();
        let mut has_patterns = false;
        sys::for_each_name(&fd, |name, kind| {
            has_patterns |= name.to_bytes() == IGNORE_FILE.as_bytes();
            names.push((CString::from(name), kind));
        })
        .map_err(|errno| DiskError::io(dir, errno))?;
        if has_patterns {
            rules = self.ignores.with_own(rules, dir, &fd);
        }
        listing.found.reserve(names.len());
        for (raw, kind) in names {
            if dir.0.is_empty() && raw.to_bytes() == RESERVED {
                continue;
            }
            match self.look(&fd, &raw, kind) {
                Ok(Some(found)) if rules.hide(&dir.0, &found.name, found.stat.kind == Kind::Dir) => {
                    listing.ignored = true;
                }
                Ok(Some(_)) if dir.0.len() >= DEPTH_MAX => listing.skipped.push((raw.into_bytes(), Skipped::Deep)),
                Ok(found) => listing.found.extend(found),
                Err(why) => listing.skipped.push((raw.into_bytes(), why)),
            }
        }
        listing.found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        listing.skipped.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok((listing, rules))
    }

    /// One entry of a directory; nothing if it has just gone.
    fn look(&self, folder: &OwnedFd, raw: &CString, kind: FileType) -> Result<Option<Found>, Skipped> {
        let name = Name::try_from(raw.as_bytes()).map_err(Skipped::Name)?;
        if kind != FileType::Unknown && sys::kind(kind) == Kind::Special {
            return Err(Skipped::Special);
        }
        let seen = match sys::stat_at(folder, raw.as_c_str()) {
            Ok(seen) => seen,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Skipped::Unreadable(std::io::Error::from(errno).to_string())),
        };
        // Of files the device says nothing: overlay file systems give that of the layer below.
        if seen.mounted || (seen.stat.kind == Kind::Dir && seen.stat.inode.dev != self.dev) {
            return Err(Skipped::Mount);
        }
        if seen.stat.kind == Kind::Special { Err(Skipped::Special) } else { Ok(Some(Found { name, stat: seen.stat })) }
    }

    /// What stands at a path; nothing also where something other than a directory stands on the way.
    pub fn stat(&self, path: &RelPath) -> Result<Option<Stat>, DiskError> {
        let seen = match path.split_last() {
            None => sys::stat_fd(&self.fd),
            Some((folder, name)) => self.handle(&folder).and_then(|fd| sys::stat_at(&fd, name.as_bytes())),
        };
        match seen {
            Ok(seen) => Ok(Some(seen.stat)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(DiskError::io(path, errno)),
        }
    }

    /// Mode and `user.*` attributes of what was listed as `stat`; `DiskError::Unstable` if that is no longer there.
    pub fn attr(&self, path: &RelPath, stat: &Stat) -> Result<Attr, DiskError> {
        if !attrs::has_any(stat.kind) {
            return Ok(attrs::of_symlink());
        }
        let file = FileReader::new(self.open_at(path, sys::READ)?, path)?;
        if file.stat().inode != stat.inode {
            return Err(DiskError::Unstable { path: path.to_string() });
        }
        Ok(Attr { mode: stat.mode, ..file.attr()? })
    }

    /// The target of a symlink, as it is.
    pub fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, DiskError> {
        let Some((folder, name)) = path.split_last() else {
            return Err(DiskError::Unstable { path: path.to_string() });
        };
        let target = self.handle(&folder).and_then(|fd| fs::readlinkat(&fd, name.as_bytes(), Vec::new()));
        match target {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::INVAL) => Err(DiskError::Unstable { path: path.to_string() }),
            Err(errno) => Err(refused(path, errno)),
        }
    }

    /// Opens a regular file for reading; `DiskError::Unstable` if something else stands there.
    pub fn read(&self, path: &RelPath) -> Result<FileReader, DiskError> {
        let file = FileReader::new(self.open_at(path, sys::READ)?, path)?;
        if file.stat().kind == Kind::File { Ok(file) } else { Err(DiskError::Unstable { path: path.to_string() }) }
    }

    fn open_at(&self, path: &RelPath, flags: OFlags) -> Result<OwnedFd, DiskError> {
        sys::open_beneath(&self.fd, path, flags).map_err(|errno| refused(path, errno))
    }

    /// A directory to name things in.
    pub(super) fn handle(&self, dir: &RelPath) -> sys::Result<OwnedFd> {
        sys::open_beneath(&self.fd, dir, sys::HANDLE | OFlags::DIRECTORY)
    }

    /// The root itself.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// `.pfs`.
    pub(super) fn own_dir(&self) -> sys::Result<OwnedFd> {
        private::open_dir(&self.fd, ".pfs")
    }

    /// `.pfs/tmp`, made anew if somebody has removed it.
    pub(super) fn tmp_dir(&self) -> sys::Result<OwnedFd> {
        private::make_dir(self.own_dir()?, TMP)
    }
}

fn read_marker(root: &OwnedFd) -> sys::Result<Option<VolumeId>> {
    const HEX_BYTES: u64 = 64;
    let own = match private::open_dir(root, ".pfs") {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        result => result?,
    };
    let text = private::read(&own, MARKER, HEX_BYTES + 2)?;
    Ok(text.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| text.trim_end().parse().ok()))
}

/// What was listed is not what stands there now, or it could not be opened.
fn refused(path: &RelPath, errno: Errno) -> DiskError {
    let path = path.to_string();
    match errno {
        Errno::NOENT => DiskError::Absent { path },
        Errno::LOOP | Errno::NOTDIR => DiskError::Unstable { path },
        errno => DiskError::Io { path, source: errno.into() },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it cannot run")]
mod tests;
