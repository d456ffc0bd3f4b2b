//! The steps themselves, one after the other.

mod parking;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{self, AtFlags, Mode};
use rustix::io::Errno;

use self::parking::Parking;
use super::dirs::{Dirs, WORKABLE};
use super::temp::{self, Temp};
use super::{SetAside, is_unchanged, keep};
use crate::disk::{DiskError, Expect, Inode, Kind, Outcome, Stat, Step, Tree, attrs, sys};
use crate::failpoint::{self, Point};
use crate::model::name::RelPath;
use crate::model::patch::Attr;

/// What a step's outcome is if it is not done.
type Done<T> = Result<T, Outcome>;

/// Something that has left the tree and is destroyed once that is durable.
struct Gone {
    place: Place,
    stat: Stat,
    from: RelPath,
}

/// A name in an open directory, owned.
#[derive(Clone)]
struct Place {
    folder: Rc<OwnedFd>,
    name: Vec<u8>,
}

impl Place {
    fn spot(&self) -> sys::Spot<'_> {
        (&self.folder, &self.name)
    }

    fn stat(&self) -> sys::Result<Option<Stat>> {
        match sys::stat_at(&*self.folder, &*self.name) {
            Ok(seen) => Ok(Some(seen.stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// One batch at work.
pub(super) struct Batch<'t> {
    tree: &'t Tree,
    tmp: Rc<OwnedFd>,
    dirs: Dirs<'t>,
    /// What our own renames made of signatures: as it was before the batch, and as it is now.
    renamed: HashMap<Inode, (Stat, Stat)>,
    parking: Parking,
    /// Where a directory was to come and did not: what stands there is another one than later steps mean.
    astray: BTreeSet<RelPath>,
    gone: Vec<Gone>,
    set_aside: Vec<SetAside>,
}

impl<'t> Batch<'t> {
    pub(super) fn new(tree: &'t Tree, tmp: OwnedFd) -> Self {
        let tmp = Rc::new(tmp);
        let dirs = Dirs::new(tree, Rc::clone(&tmp));
        let (renamed, parking, astray) = (HashMap::new(), Parking::default(), BTreeSet::new());
        Self { tree, tmp, dirs, renamed, parking, astray, gone: Vec::new(), set_aside: Vec::new() }
    }

    /// One step, with what was written for it.
    pub(super) fn carry_out(&mut self, step: &Step, temp: Option<Result<Temp, Outcome>>) -> Outcome {
        let mut temp = match temp.transpose() {
            Ok(temp) => temp,
            Err(outcome) => return outcome,
        };
        match step {
            Step::Park { expect, .. } | Step::Move { expect, .. } if expect.kind != Kind::Dir => {}
            Step::Park { .. } | Step::Move { .. } | Step::Unpark { .. } => self.dirs.finish_modes(),
            _ => {}
        }
        let mut result = if self.leads_astray(step) { Err(Outcome::Unexpected) } else { self.attempt(step, &mut temp) };
        if matches!(&result, Err(Outcome::Failed(error)) if is_denied(error)) && self.loosen_for(step) {
            result = self.attempt(step, &mut temp);
        }
        if let (Err(_), Step::Move { .. } | Step::Unpark { .. } | Step::MakeDir { .. }) = (&result, step) {
            self.astray.insert(step.at().clone());
        }
        if let Some(left) = temp {
            left.discard(&self.tmp);
        }
        result.map_or_else(|outcome| outcome, Outcome::Done)
    }

    /// Whether a path of a step goes through a directory that is not the one that is meant.
    fn leads_astray(&self, step: &Step) -> bool {
        let through =
            |path: &RelPath| (1..path.0.len()).any(|depth| self.astray.contains(&RelPath(path.0[..depth].to_vec())));
        !self.astray.is_empty() && step.paths().any(through)
    }

    /// Does a step; takes `temp` if it is used up.
    fn attempt(&mut self, step: &Step, temp: &mut Option<Temp>) -> Done<Option<Stat>> {
        match step {
            Step::Park { node, from, expect } => self.park(*node, from, expect).map(|()| None),
            Step::Unpark { node, to } => self.unpark(*node, to).map(Some),
            Step::Move { from, to, expect } => {
                let (here, there) = (self.place(from)?, self.place(to)?);
                let stat = self.relocate(from, &here, &there, Some(expect))?;
                self.touch_folder_of(from);
                self.touch_folder_of(to);
                if stat.kind == Kind::Dir {
                    self.parking.moved(from, to);
                }
                Ok(Some(stat))
            }
            Step::Remove { at, expect } => self.remove(at, expect).map(|()| None),
            Step::MakeDir { at, attr } => self.make_dir(at, attr).map(Some),
            Step::WriteFile { at, expect, .. } | Step::WriteLink { at, expect, .. } => {
                self.put(at, expect, temp).map(Some)
            }
            Step::SetAttr { at, expect, attr } => self.set_attr(at, expect, attr).map(Some),
        }
    }

    fn loosen_for(&mut self, step: &Step) -> bool {
        let folder = |path: &RelPath| path.split_last().map(|(folder, _)| folder).unwrap_or_default();
        let changed = match step {
            Step::Move { from, .. } => self.dirs.loosen(&folder(from)),
            Step::MakeDir { at, .. } => self.dirs.loosen(at),
            _ => false,
        };
        self.dirs.loosen(&folder(step.at())) || changed
    }

    /// Renames what must be there (anything, if nothing is expected) to a free place.
    fn relocate(&mut self, path: &RelPath, from: &Place, to: &Place, expect: Option<&Stat>) -> Done<Stat> {
        let before = match (from.stat().map_err(|errno| refused(path, errno))?, expect) {
            (Some(found), Some(expect)) if !self.is_expected(&found, expect) => return Err(Outcome::Unexpected),
            (Some(found), _) => found,
            (None, Some(_)) => return Err(Outcome::Unexpected),
            (None, None) => return Err(Outcome::Failed(DiskError::Absent { path: path.to_string() })),
        };
        self.rename(path, from, to, &before)?;
        match to.stat() {
            Ok(Some(after)) if is_unchanged(&before, &after) => {
                self.remember(before, after);
                return Ok(after);
            }
            // If its old name is taken by now, it stays at the new one, for the next scan; or parked.
            Ok(Some(other)) => drop(self.rename(path, to, from, &other)),
            Ok(None) | Err(_) => {}
        }
        Err(Outcome::Unexpected)
    }

    fn rename(&mut self, path: &RelPath, from: &Place, to: &Place, before: &Stat) -> Done<()> {
        let is_ours = |place: &Place| Rc::ptr_eq(&place.folder, &self.tmp);
        let leaves = is_ours(to);
        let rename =
            || if leaves { sys::rename_out(from.spot(), to.spot()) } else { sys::rename_new(from.spot(), to.spot()) };
        let renamed = match before.kind {
            Kind::Dir => Dirs::while_loose(from.spot(), rename),
            _ if leaves || is_ours(from) => rename(),
            _ => match sys::try_rename_new(from.spot(), to.spot()) {
                Ok(false) => return self.move_by_link(path, from, to, before),
                result => result.map(|_| ()),
            },
        };
        renamed.map_err(|errno| refused(path, errno))
    }

    /// Renames a file within the tree where the file system replaces what has the new name, and takes away only
    /// what has got that name.
    fn move_by_link(&mut self, path: &RelPath, from: &Place, to: &Place, before: &Stat) -> Done<()> {
        sys::link_new(from.spot(), to.spot()).map_err(|errno| refused(path, errno))?;
        let out = self.take_out(path, from, before);
        if out.is_err() {
            // If it has changed, both names stay for the next scan.
            let _ = self.take_out(path, to, before);
        } else if let Some(twice) = self.gone.pop() {
            // What cannot be removed now is swept later.
            let _ = fs::unlinkat(&*twice.place.folder, &*twice.place.name, AtFlags::empty());
        }
        out
    }

    fn remove(&mut self, at: &RelPath, expect: &Stat) -> Done<()> {
        let place = self.place(at)?;
        let found = self.expected(at, &place, expect)?;
        if found.kind == Kind::Dir {
            fs::unlinkat(&*place.folder, &*place.name, AtFlags::REMOVEDIR).map_err(|errno| refused(at, errno))?;
            self.dirs.removed(at);
        } else {
            self.take_out(at, &place, &found)?;
        }
        self.touch_folder_of(at);
        Ok(())
    }

    /// Takes a file or link out of the tree, to be destroyed when the batch is durable.
    fn take_out(&mut self, at: &RelPath, place: &Place, found: &Stat) -> Done<()> {
        let gone = self.in_tmp(temp::gone(found));
        sys::rename_out(place.spot(), gone.spot()).map_err(|errno| refused(at, errno))?;
        failpoint::pass(Point::DiskTaken);
        if self.is_captured(at, &gone, found) {
            return Ok(());
        }
        if sys::rename_new(gone.spot(), place.spot()).is_err() {
            self.set_aside(&gone, at);
        }
        Err(Outcome::Unexpected)
    }

    /// Whether what has just left the tree is what was found there; then it waits to be destroyed.
    fn is_captured(&mut self, at: &RelPath, gone: &Place, found: &Stat) -> bool {
        let Ok(Some(now)) = gone.stat() else { return false };
        let same = is_unchanged(found, &now);
        if same {
            self.remember(*found, now);
            self.gone.push(Gone { place: gone.clone(), stat: now, from: at.clone() });
        }
        same
    }

    /// Puts something new into its place.
    fn put(&mut self, at: &RelPath, expect: &Expect, temp: &mut Option<Temp>) -> Done<Stat> {
        let place = self.place(at)?;
        let Some(new) = temp else { return Err(Outcome::Unexpected) };
        match expect {
            Expect::Absent => {
                let from = self.in_tmp(new.name.clone());
                sys::rename_new(from.spot(), place.spot()).map_err(|errno| refused(at, errno))?;
            }
            Expect::Stat(old) => {
                let found = self.expected(at, &place, old)?;
                if found.kind == Kind::Dir {
                    return Err(Outcome::Unexpected);
                }
                self.replace(at, &place, &found, new)?;
            }
        }
        self.touch_folder_of(at);
        let written = new.stat;
        *temp = None;
        // If somebody has changed it at once, the caller must not take that for what was written.
        Ok(match place.stat() {
            Ok(Some(now)) if is_unchanged(&written, &now) => now,
            _ => written,
        })
    }

    /// Swaps the new thing and what was found: at every moment one of the two stands there, whole.
    fn replace(&mut self, at: &RelPath, place: &Place, found: &Stat, new: &mut Temp) -> Done<()> {
        let from = self.in_tmp(new.name.clone());
        // Under this name a sweep after a crash destroys only what is new, or what was expected to go.
        let swap = self.in_tmp(temp::swap(&new.stat, found));
        sys::rename_out(from.spot(), swap.spot()).map_err(|errno| refused(at, errno))?;
        new.name.clone_from(&String::from_utf8_lossy(&swap.name).into_owned());
        failpoint::pass(Point::DiskSwap);
        if !sys::exchange(swap.spot(), place.spot()).map_err(|errno| refused(at, errno))? {
            self.take_out(at, place, found)?;
            let put = sys::rename_new(swap.spot(), place.spot());
            return put.map_err(|errno| {
                self.bring_back(at, place);
                refused(at, errno)
            });
        }
        failpoint::pass(Point::DiskSwapped);
        if self.is_captured(at, &swap, found) {
            return Ok(());
        }
        let back = sys::exchange(swap.spot(), place.spot());
        let is_ours = swap.stat().is_ok_and(|now| now.is_some_and(|now| now.inode == new.stat.inode));
        if back.is_err() || !is_ours {
            self.set_aside(&swap, at);
        }
        Err(Outcome::Unexpected)
    }

    /// Undoes the last `take_out`.
    fn bring_back(&mut self, at: &RelPath, place: &Place) {
        if let Some(gone) = self.gone.pop()
            && sys::rename_new(gone.place.spot(), place.spot()).is_err()
        {
            self.set_aside(&gone.place, at);
        }
    }

    fn make_dir(&mut self, at: &RelPath, attr: &Attr) -> Done<Stat> {
        let place = self.place(at)?;
        let trouble = |errno| refused(at, errno);
        let new = self.in_tmp(temp::unique(temp::NEW, ""));
        let made = self.make_dir_aside(at, &new, attr);
        let came = made.and_then(|stat| sys::rename_new(new.spot(), place.spot()).map(|()| stat));
        if came.is_err() {
            // What cannot be removed now is swept later.
            let _ = fs::unlinkat(&*new.folder, &*new.name, AtFlags::REMOVEDIR);
            self.dirs.mode_is_set(at);
        }
        self.touch_folder_of(at);
        match came {
            Ok(stat) => Ok(stat),
            Err(Errno::EXIST) => {
                let found = place.stat().map_err(trouble)?.filter(|found| found.kind == Kind::Dir);
                self.dress(at, &place, &found.ok_or(Outcome::Unexpected)?, attr)
            }
            Err(errno) => Err(trouble(errno)),
        }
    }

    /// Makes a directory for `at` outside the tree: with another mode or without its attributes it must not stand
    /// there, not even for a moment.
    fn make_dir_aside(&mut self, at: &RelPath, new: &Place, attr: &Attr) -> sys::Result<Stat> {
        let workable = Attr { mode: attr.mode | WORKABLE, xattrs: attr.xattrs.clone() };
        fs::mkdirat(&*new.folder, &*new.name, sys::bits(workable.mode))?;
        let mut stat = sys::stat_at(&*new.folder, &*new.name)?.stat;
        if stat.mode != workable.mode || !workable.xattrs.is_empty() {
            let fd = fs::openat(&*new.folder, &*new.name, sys::READ, Mode::empty())?;
            attrs::write(&fd, &stat, &workable)?;
            stat = sys::stat_fd(&fd)?.stat;
        }
        if workable.mode != attr.mode {
            self.dirs.set_mode_later(at, stat.inode, attr.mode);
        }
        Ok(stat)
    }

    fn set_attr(&mut self, at: &RelPath, expect: &Stat, attr: &Attr) -> Done<Stat> {
        let place = self.place(at)?;
        let found = self.expected(at, &place, expect)?;
        if attrs::has_any(found.kind) { self.dress(at, &place, &found, attr) } else { Ok(found) }
    }

    /// Gives the file or directory that was found these attributes; or leaves those that it has.
    fn dress(&mut self, at: &RelPath, place: &Place, found: &Stat, attr: &Attr) -> Done<Stat> {
        let trouble = |errno| refused(at, errno);
        let fd = open_readable(at, place, found)?;
        let owed = self.dirs.owed(at, found.inode);
        let later = found.kind == Kind::Dir && attr.mode & WORKABLE != WORKABLE;
        let mut now_attr = Cow::Borrowed(attr);
        if later {
            // What comes into it in this batch must still find the way.
            now_attr.to_mut().mode |= WORKABLE;
            self.dirs.set_mode_later(at, found.inode, attr.mode);
        }
        let written = sys::stat_fd(&fd).and_then(|now| attrs::write(&fd, &now.stat, &now_attr));
        if let Err(errno) = written {
            match owed {
                Some(mode) => self.dirs.set_mode_later(at, found.inode, mode),
                None => self.dirs.mode_is_set(at),
            }
            set_back(at, fs::fchmod(&fd, sys::bits(found.mode)));
            return Err(trouble(errno));
        }
        if !later {
            self.dirs.mode_is_set(at);
        }
        self.dirs.touch(at);
        let after = sys::stat_fd(&fd).map_err(trouble)?.stat;
        // Of the bytes only what was found is known: if they have changed since, the next scan must see it.
        let known = Stat { mode: after.mode, ctime: after.ctime, ..*found };
        self.remember(*found, known);
        Ok(known)
    }

    pub(super) fn finish_modes(&mut self) {
        self.dirs.finish_modes();
    }

    /// What came into the directories has changed their times, and some have got their modes only now.
    pub(super) fn refresh_dirs(&self, steps: &[Step], outcomes: &mut [Outcome]) {
        for (step, outcome) in steps.iter().zip(outcomes) {
            if let Outcome::Done(Some(stat)) = outcome
                && stat.kind == Kind::Dir
                && let Ok(Some(now)) = self.tree.stat(step.at())
                && now.inode == stat.inode
            {
                *stat = now;
            }
        }
    }

    pub(super) fn make_durable(&self) -> sys::Result<()> {
        failpoint::attempt(Point::DiskSync)?;
        self.dirs.make_durable()
    }

    /// Destroys what has left the tree, unless somebody has changed it through an open descriptor.
    pub(super) fn destroy_gone(&mut self) {
        for Gone { place, stat, from } in std::mem::take(&mut self.gone) {
            match place.stat() {
                Ok(Some(now)) if !is_unchanged(&stat, &now) => self.set_aside(&place, &from),
                // What cannot be removed now is swept later.
                Ok(_) | Err(_) => drop(fs::unlinkat(&*place.folder, &*place.name, AtFlags::empty())),
            }
        }
    }

    pub(super) fn into_set_aside(self) -> Vec<SetAside> {
        self.set_aside
    }

    fn set_aside(&mut self, place: &Place, from: &RelPath) {
        match keep(self.tree, place.spot(), Some(from)) {
            Ok(kept) => self.set_aside.push(kept),
            // It is where it is, and the next sweep tries again.
            Err(errno) => tracing::warn!(%from, %errno, "changed bytes stay in .pfs/tmp"),
        }
    }

    /// Where a path's last name stands.
    fn place(&mut self, path: &RelPath) -> Done<Place> {
        let Some((folder, name)) = path.split_last() else { return Err(Outcome::Unexpected) };
        let fd = self.dirs.open(&folder).map_err(|errno| refused(path, errno))?;
        Ok(Place { folder: fd, name: name.as_bytes().to_vec() })
    }

    fn in_tmp(&self, name: String) -> Place {
        Place { folder: Rc::clone(&self.tmp), name: name.into_bytes() }
    }

    fn touch_folder_of(&mut self, path: &RelPath) {
        if let Some((folder, _)) = path.split_last() {
            self.dirs.touch(&folder);
        }
    }

    fn expected(&self, at: &RelPath, place: &Place, expect: &Stat) -> Done<Stat> {
        let found = place.stat().map_err(|errno| refused(at, errno))?;
        found.filter(|found| self.is_expected(found, expect)).ok_or(Outcome::Unexpected)
    }

    /// What a step expects may have been renamed by a step before it.
    fn is_expected(&self, found: &Stat, expect: &Stat) -> bool {
        if expect.kind == Kind::Dir {
            return found.kind == Kind::Dir && found.inode == expect.inode;
        }
        found == expect || self.renamed.get(&found.inode) == Some(&(*expect, *found))
    }

    fn remember(&mut self, before: Stat, after: Stat) {
        if before.kind != Kind::Dir {
            self.renamed.entry(after.inode).and_modify(|known| known.1 = after).or_insert((before, after));
        }
    }
}

/// Opens what was found for reading its attributes, even where its mode does not let its owner read: then it has
/// a wider one.
fn open_readable(at: &RelPath, place: &Place, found: &Stat) -> Done<OwnedFd> {
    let open = |flags| {
        let fd = fs::openat(&*place.folder, &*place.name, flags, Mode::empty())?;
        Ok((sys::stat_fd(&fd)?.stat.inode == found.inode).then_some(fd))
    };
    let it =
        |opened: sys::Result<Option<OwnedFd>>| opened.map_err(|errno| refused(at, errno))?.ok_or(Outcome::Unexpected);
    match open(sys::READ) {
        Err(Errno::ACCESS) => {}
        result => return it(result),
    }
    let handle = it(open(sys::HANDLE))?;
    sys::chmod(&handle, found.mode | WORKABLE).map_err(|errno| refused(at, errno))?;
    let opened = it(open(sys::READ));
    if opened.is_err() {
        set_back(at, sys::chmod(&handle, found.mode));
    }
    opened
}

fn set_back(at: &RelPath, result: sys::Result<()>) {
    if let Err(errno) = result {
        tracing::warn!(%at, %errno, "it keeps a wider mode than it had");
    }
}

fn is_denied(error: &DiskError) -> bool {
    matches!(error, DiskError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
}

/// What the system's refusal means for a step.
fn refused(path: &RelPath, errno: Errno) -> Outcome {
    match errno {
        // A symlink or a file where a directory was, or something where nothing was.
        Errno::EXIST | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => Outcome::Unexpected,
        Errno::NOTEMPTY => Outcome::NotEmpty,
        Errno::NOENT => Outcome::Failed(DiskError::Absent { path: path.to_string() }),
        errno => Outcome::Failed(DiskError::io(path, errno)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it cannot run")]
mod tests;
