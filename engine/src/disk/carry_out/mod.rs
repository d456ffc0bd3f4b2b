//! Carrying out a batch of steps: new bytes are written beside the tree and made durable with one sync, then the
//! steps change the tree in their order, then what changed is made durable. Never a sync per file.
//!
//! What must hold: bytes that nobody has captured are never lost. What a step replaces or removes is first taken
//! to `.pfs/tmp` in one atomic rename, compared with what the step expected, and put back if it differs. It is
//! destroyed last of all, and only if it has not changed on the way; else it is set aside.

mod batch;
mod dirs;
mod temp;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rayon::prelude::*;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use self::batch::Batch;
use self::dirs::WORKABLE;
use self::temp::Temp;
use super::tree::{SET_ASIDE, TMP};
use super::{DiskError, Expect, Kind, Outcome, Stat, Step, Tree, private, sys};
use crate::failpoint::{self, Point};
use crate::limits::SYNC_EACH_MAX;
use crate::model::ids::NodeId;
use crate::model::name::{Name, RelPath};
use crate::model::patch::Root;

/// Where the bytes of files come from.
pub trait Source: Sync {
    /// Gives the pieces of a file with their offsets to `sink`, ascending. Holes are not given. An error of
    /// `sink` ends the reading and is handed on.
    fn read(&self, root: Root, len: u64, sink: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>)
    -> Result<(), SourceError>;
}

/// Why the bytes of a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// They could not be written.
    #[error(transparent)]
    Sink(#[from] io::Error),
    /// A chunk is missing or broken.
    #[error("{0}")]
    Unavailable(String),
}

/// What became of a batch.
#[derive(Debug)]
pub struct Carried {
    /// For each step, in their order.
    pub outcomes: Vec<Outcome>,
    /// What was changed by somebody while it was on its way out of the tree.
    pub set_aside: Vec<SetAside>,
    /// What could come neither to where it should go nor back to where it was, ascending. It must come back to the
    /// tree (or be set aside) before anybody looks at that: what is parked must not be taken for removed.
    pub left_parked: Vec<NodeId>,
}

impl Carried {
    fn nothing(steps: &[Step], errno: Errno) -> Self {
        Self { outcomes: all_failed(steps, errno), set_aside: Vec::new(), left_parked: Vec::new() }
    }
}

/// Bytes that nobody has captured, kept outside the tracked tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where they were; unknown after a crash.
    pub from: Option<RelPath>,
    /// Where they are now.
    pub kept: PathBuf,
}

impl Tree {
    /// Carries out `steps` in their order. A step that fails leaves everything as it was and the others go on. What
    /// an `Unpark` cannot put where it should go comes back to where it was.
    /// If the new bytes cannot be made durable, no step is done; if the changes themselves cannot, every step
    /// fails although the tree may show them.
    pub fn carry_out(&self, steps: &[Step], source: &dyn Source) -> Carried {
        let tmp = match self.tmp_dir() {
            Ok(tmp) => tmp,
            Err(errno) => return Carried::nothing(steps, errno),
        };
        let temps = match write_temps(self, &tmp, steps, source) {
            Ok(temps) => temps,
            Err(errno) => return Carried::nothing(steps, errno),
        };
        failpoint::pass(Point::DiskTemps);
        let mut batch = Batch::new(self, tmp);
        let each = steps.iter().zip(temps);
        let carried =
            each.map(|(step, temp)| batch.carry_out(step, temp)).inspect(|_| failpoint::pass(Point::DiskStep));
        let mut outcomes: Vec<_> = carried.collect();
        let left_parked = batch.bring_parked_back();
        batch.finish_modes();
        batch.refresh_dirs(steps, &mut outcomes);
        match batch.make_durable() {
            Ok(()) => {
                failpoint::pass(Point::DiskSynced);
                batch.destroy_gone();
            }
            Err(errno) => outcomes = all_failed(steps, errno),
        }
        Carried { outcomes, set_aside: batch.into_set_aside(), left_parked }
    }

    /// The nodes that a batch or a crash has left parked; an `Unpark` puts each back.
    pub fn parked(&self) -> Result<Vec<NodeId>, DiskError> {
        let mut nodes = Vec::new();
        for name in self.tmp_names()? {
            nodes.extend(name.strip_prefix(temp::PARK).and_then(|hex| hex.parse::<NodeId>().ok()));
        }
        nodes.sort_unstable();
        Ok(nodes)
    }

    /// Takes what was left parked, and what has no place in the tree, to where nothing clears it away.
    pub fn set_parked_aside(&self, node: NodeId) -> Result<SetAside, DiskError> {
        let trouble = |errno| DiskError::io(self.root().join(".pfs").join(TMP).display(), errno);
        let tmp = self.tmp_dir().map_err(trouble)?;
        keep(self, (&tmp, temp::parking(node).as_bytes()), None).map_err(trouble)
    }

    /// Keeps the bytes of a file where nothing ever clears them away, so that they outlive what replaces it. It gets a
    /// second name only where it cannot be copied: that sets its change time, and until it is replaced it would look
    /// as if somebody had written to it.
    pub fn keep_aside(&self, path: &RelPath) -> Result<SetAside, DiskError> {
        self.copy_aside(path).or_else(|_| self.link_aside(path))
    }

    fn copy_aside(&self, path: &RelPath) -> io::Result<SetAside> {
        let tmp = self.tmp_dir()?;
        let name = temp::unique(temp::NEW, "");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = File::from(sys::open_beneath(self.fd(), path, sys::READ)?);
        let mut to = File::from(fs::openat(&tmp, name.as_str(), flags, Mode::RUSR | Mode::WUSR)?);
        let copied = io::copy(&mut from, &mut to).and_then(|_| to.sync_all());
        let kept = copied.and_then(|()| Ok(keep(self, (&tmp, name.as_bytes()), Some(path))?));
        if kept.is_err() {
            // What cannot be removed now is swept later.
            let _ = fs::unlinkat(&tmp, name.as_str(), AtFlags::empty());
        }
        kept
    }

    fn link_aside(&self, path: &RelPath) -> Result<SetAside, DiskError> {
        let link = || {
            let (above, name) = path.split_last().ok_or(Errno::INVAL)?;
            let folder = private::make_dir(self.own_dir()?, SET_ASIDE)?;
            let kept = aside(Some(path));
            sys::link_new((&self.handle(&above)?, name.as_bytes()), (&folder, kept.as_bytes()))?;
            fs::fsync(&folder)?;
            Ok(SetAside { from: Some(path.clone()), kept: self.root().join(".pfs").join(SET_ASIDE).join(kept) })
        };
        link().map_err(|errno: Errno| DiskError::io(path, errno))
    }

    /// Clears away what a crash has left in `.pfs/tmp`, except what is parked. Not while steps are carried out.
    pub fn sweep(&self) -> Result<Vec<SetAside>, DiskError> {
        let trouble = |errno| DiskError::io(self.root().join(".pfs").join(TMP).display(), errno);
        let tmp = self.tmp_dir().map_err(trouble)?;
        let mut set_aside = Vec::new();
        for name in self.tmp_names()? {
            let Ok(seen) = sys::stat_at(&tmp, name.as_bytes()) else { continue };
            if let Some((mode, ino)) = temp::owed(&name) {
                self.set_owed_mode(&tmp, &name, mode, ino);
                fs::unlinkat(&tmp, name.as_bytes(), AtFlags::empty()).map_err(trouble)?;
            } else if name.starts_with(temp::NEW) || temp::is_gone_unchanged(&name, &seen.stat) {
                let is_dir = seen.stat.kind == Kind::Dir;
                let how = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                fs::unlinkat(&tmp, name.as_bytes(), how).map_err(trouble)?;
            } else if name.starts_with(temp::GONE) {
                set_aside.push(keep(self, (&tmp, name.as_bytes()), None).map_err(trouble)?);
            }
        }
        Ok(set_aside)
    }

    /// Gives a directory the mode that a batch owed it, if it still stands there as that batch left it.
    fn set_owed_mode(&self, tmp: &OwnedFd, note: &str, mode: u16, ino: u64) {
        let set = || {
            let path = fs::readlinkat(tmp, note, Vec::new())?;
            let path = RelPath::parse(path.as_bytes()).map_err(|_| Errno::INVAL)?;
            let handle = self.handle(&path)?;
            let now = sys::stat_fd(&handle)?.stat;
            let is_owed = now.inode.ino == ino && now.mode == mode | WORKABLE;
            if is_owed { sys::chmod(&handle, mode) } else { Ok(()) }
        };
        if let Err(errno) = set() {
            tracing::debug!(note, %errno, "no directory has the mode that a crash left it");
        }
    }

    fn tmp_names(&self) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        let read = self
            .tmp_dir()
            .and_then(|tmp| sys::for_each_name(&tmp, |name, _| names.extend(name.to_str().map(str::to_owned))));
        read.map_err(|errno| DiskError::io(self.root().join(".pfs").join(TMP).display(), errno))?;
        names.sort_unstable();
        Ok(names)
    }
}

/// All new files and links of a batch, durable; or why nothing of it may be used. Where something unexpected
/// stands already, nothing is written: it might be much, and again and again.
#[allow(clippy::type_complexity, reason = "for each step: none needed, or written, or not")]
fn write_temps(
    tree: &Tree,
    tmp: &OwnedFd,
    steps: &[Step],
    source: &dyn Source,
) -> Result<Vec<Option<Result<Temp, Outcome>>>, Errno> {
    let files = steps.iter().filter(|step| matches!(step, Step::WriteFile { .. })).count();
    let links = steps.iter().filter(|step| matches!(step, Step::WriteLink { .. })).count();
    // A link cannot be synced by itself.
    let one_by_one = links == 0 && files <= SYNC_EACH_MAX;
    let write = |(step, untouched): (&Step, bool)| {
        if untouched && finds_other_than_expected(tree, step) {
            return Some(Err(Outcome::Unexpected));
        }
        temp::write(tmp, step, source, one_by_one).map(|written| written.map_err(Outcome::Failed))
    };
    let temps: Vec<_> = match files + links {
        0 => steps.iter().map(|_| None).collect(),
        1 => steps.iter().zip(untouched(steps)).map(write).collect(),
        _ => steps.par_iter().zip(untouched(steps)).map(write).collect(),
    };
    let sync = || failpoint::attempt(Point::DiskSyncTemps).and_then(|()| sys::sync_all_of(tree.fd()));
    if !one_by_one && let Err(errno) = sync() {
        for temp in temps.into_iter().flatten().flatten() {
            temp.discard(tmp);
        }
        return Err(errno);
    }
    Ok(temps)
}

/// Of each step, whether no step before it is about its path or anything above that.
fn untouched(steps: &[Step]) -> Vec<bool> {
    let mut touched = BTreeSet::<&[Name]>::new();
    let each = steps.iter().map(|step| {
        let path = &step.at().0[..];
        let untouched = (0..=path.len()).all(|depth| !touched.contains(&path[..depth]));
        touched.insert(path);
        if let Step::Move { from, .. } = step {
            touched.insert(&from.0);
        }
        untouched
    });
    each.collect()
}

/// Whether what stands at the place of a new file or link is not what the step is to find there.
fn finds_other_than_expected(tree: &Tree, step: &Step) -> bool {
    let (Step::WriteFile { at, expect, .. } | Step::WriteLink { at, expect, .. }) = step else { return false };
    match (tree.stat(at), expect) {
        (Ok(found), Expect::Absent) => found.is_some(),
        (Ok(found), Expect::Stat(stat)) => found != Some(*stat),
        // A directory that cannot be entered is opened up when the step is done.
        (Err(_), _) => false,
    }
}

fn all_failed(steps: &[Step], errno: Errno) -> Vec<Outcome> {
    steps.iter().map(|step| Outcome::Failed(DiskError::io(step.at(), errno))).collect()
}

/// Moves something out of `.pfs/tmp` to where nothing ever clears it away.
fn keep(tree: &Tree, what: sys::Spot<'_>, from: Option<&RelPath>) -> Result<SetAside, Errno> {
    let folder = private::make_dir(tree.own_dir()?, SET_ASIDE)?;
    let kept = aside(from);
    sys::rename_out(what, (&folder, kept.as_bytes()))?;
    fs::fsync(&folder)?;
    let kept = tree.root().join(".pfs").join(SET_ASIDE).join(kept);
    Ok(SetAside { from: from.cloned(), kept })
}

/// A fresh name that tells what it was.
fn aside(from: Option<&RelPath>) -> String {
    // Made readable, its bytes may become three times as many.
    const LABEL_BYTES_MAX: usize = 50;
    let label = from.and_then(|path| path.0.last()).map_or(&[][..], Name::as_bytes);
    temp::unique("", &String::from_utf8_lossy(&label[..label.len().min(LABEL_BYTES_MAX)]))
}

/// Whether two signatures, one from before a rename and one from after it, are of the same unchanged thing. The
/// rename itself sets the change time.
fn is_unchanged(before: &Stat, after: &Stat) -> bool {
    if before.kind == Kind::Dir {
        return before.inode == after.inode;
    }
    Stat { ctime: before.ctime, ..*after } == *before
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it cannot run")]
pub(super) mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it cannot run")]
mod tests;
