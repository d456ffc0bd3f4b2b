//! A user at a tree: deeds on real files, dated by the simulated clock, and what a watcher would hint at them. And
//! the tree as it stands, to be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use pfs_engine::disk::Hint;
use pfs_engine::model::name::RelPath;

use super::act::Deed;
use super::chance::Dice;
use super::machine::Clock;

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    File { mode: u32, bytes: Vec<u8> },
    Dir { mode: u32 },
    Link(String),
}

/// Everything in a tree but what is pfs's own, by path.
pub(crate) type Tree = BTreeMap<String, Thing>;

/// A user's hands on a tree.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) root: PathBuf,
    pub(crate) clock: Clock,
}

/// The bytes that a token stands for: small ones are the token itself, those of a capital letter are long.
pub(crate) fn bytes_of(token: &str) -> Vec<u8> {
    const LONG_BYTES: usize = 150_000;
    if !token.starts_with(char::is_uppercase) {
        return token.as_bytes().to_vec();
    }
    let mut dice = Dice(token.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte)));
    (0..LONG_BYTES / 8).flat_map(|_| dice.next().to_le_bytes()).collect()
}

impl User {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Whether every directory on the way is one, and no link.
    fn reaches(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.into_iter().all(|folder| self.is_dir(folder))
    }

    fn is_dir(&self, path: &str) -> bool {
        fs::symlink_metadata(self.at(path)).is_ok_and(|meta| meta.is_dir())
    }

    fn is_file(&self, path: &str) -> bool {
        fs::symlink_metadata(self.at(path)).is_ok_and(|meta| meta.is_file())
    }

    fn is_there(&self, path: &str) -> bool {
        fs::symlink_metadata(self.at(path)).is_ok()
    }

    /// Does it, if it can be done, and says what a watcher would hint at.
    pub(crate) fn act(&self, deed: &Deed) -> io::Result<Vec<Hint>> {
        let mut hints = Vec::new();
        let (first, second) = deed.paths();
        if !self.reaches(first) || second.is_some_and(|second| !self.reaches(second)) {
            return Ok(hints);
        }
        match deed {
            Deed::Write(at, token) => {
                if !self.is_there(at) || self.is_file(at) {
                    self.put(at, &bytes_of(token), OpenOptions::new().create(true).truncate(true), &mut hints)?;
                }
            }
            Deed::Append(at, token) => {
                if self.is_file(at) {
                    self.put(at, &bytes_of(token), OpenOptions::new().append(true), &mut hints)?;
                }
            }
            Deed::Truncate(at) => {
                if self.is_file(at) {
                    self.put(at, b"", OpenOptions::new().truncate(true), &mut hints)?;
                }
            }
            Deed::Save(at, token) => {
                if !self.is_dir(at) {
                    let beside = format!("{at}.new");
                    self.put(&beside, &bytes_of(token), OpenOptions::new().create(true).truncate(true), &mut hints)?;
                    fs::rename(self.at(&beside), self.at(at))?;
                }
            }
            Deed::Backup(at, token) => {
                if self.is_file(at) {
                    let old = format!("{at}.old");
                    fs::rename(self.at(at), self.at(&old))?;
                    self.put(at, &bytes_of(token), OpenOptions::new().create(true).truncate(true), &mut hints)?;
                    fs::remove_file(self.at(&old))?;
                }
            }
            Deed::Mkdir(at) => {
                if !self.is_there(at) {
                    fs::create_dir(self.at(at))?;
                    fs::set_permissions(self.at(at), Permissions::from_mode(0o755))?;
                    came(at, &mut hints);
                }
            }
            Deed::Remove(at) => self.remove(at, &mut hints)?,
            Deed::Move(from, to) => self.rename(from, to, &mut hints)?,
            Deed::Chmod(at, mode) => {
                if self.is_dir(at) || self.is_file(at) {
                    // Whoever owns a directory can still work in it.
                    let mode = if self.is_dir(at) { mode | 0o700 } else { mode | 0o600 };
                    fs::set_permissions(self.at(at), Permissions::from_mode(mode))?;
                    hints.extend(folder_of(at).map(Hint::Dirty));
                }
            }
            Deed::Link(at, target) => {
                if !self.is_there(at) {
                    symlink(target, self.at(at))?;
                    hints.extend(folder_of(at).map(Hint::Dirty));
                }
            }
            Deed::Swap(a, b) => self.swap(a, b, &mut hints)?,
        }
        Ok(hints)
    }

    fn put(&self, at: &str, bytes: &[u8], how: &mut OpenOptions, hints: &mut Vec<Hint>) -> io::Result<()> {
        let is_new = !self.is_there(at);
        let mut file: File = how.write(true).open(self.at(at))?;
        file.write_all(bytes)?;
        if is_new {
            file.set_permissions(Permissions::from_mode(0o644))?;
        }
        file.set_modified(UNIX_EPOCH + self.clock.stamp())?;
        hints.extend(folder_of(at).map(Hint::Dirty));
        hints.extend(parse(at).map(Hint::Closed));
        Ok(())
    }

    fn remove(&self, at: &str, hints: &mut Vec<Hint>) -> io::Result<()> {
        if self.is_dir(at) {
            let below = format!("{at}/");
            for folder in snapshot(&self.root).into_keys().filter(|path| path.starts_with(&below)) {
                hints.extend(folder_of(&folder).map(Hint::Dirty));
            }
            fs::remove_dir_all(self.at(at))?;
        } else if self.is_there(at) {
            fs::remove_file(self.at(at))?;
        }
        hints.extend(folder_of(at).map(Hint::Dirty));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str, hints: &mut Vec<Hint>) -> io::Result<()> {
        let inside = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
        if !self.is_there(from) || inside(to, from) || inside(from, to) {
            return Ok(());
        }
        // A directory replaces only an empty one, and no file replaces a directory.
        if self.is_there(to) && (self.is_dir(from) || self.is_dir(to)) && fs::remove_dir(self.at(to)).is_err() {
            return Ok(());
        }
        fs::rename(self.at(from), self.at(to))?;
        hints.extend(folder_of(from).map(Hint::Dirty));
        if self.is_dir(to) {
            came(to, hints);
        } else {
            hints.extend(folder_of(to).map(Hint::Dirty));
        }
        Ok(())
    }

    fn swap(&self, a: &str, b: &str, hints: &mut Vec<Hint>) -> io::Result<()> {
        let inside = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
        if a == b || !self.is_there(a) || !self.is_there(b) || inside(a, b) || inside(b, a) {
            return Ok(());
        }
        let aside = self.at("aside");
        fs::rename(self.at(a), &aside)?;
        fs::rename(self.at(b), self.at(a))?;
        fs::rename(&aside, self.at(b))?;
        hints.extend(folder_of("aside").map(Hint::Dirty));
        for at in [a, b] {
            if self.is_dir(at) {
                came(at, hints);
            } else {
                hints.extend(folder_of(at).map(Hint::Dirty));
            }
        }
        Ok(())
    }
}

fn came(at: &str, hints: &mut Vec<Hint>) {
    hints.extend(folder_of(at).map(Hint::Dirty));
    hints.extend(parse(at).map(Hint::Below));
}

fn parse(path: &str) -> Option<RelPath> {
    RelPath::parse(path.as_bytes()).ok()
}

fn folder_of(path: &str) -> Option<RelPath> {
    path.rsplit_once('/').map_or_else(|| Some(RelPath::root()), |(folder, _)| parse(folder))
}

/// The tree as it stands.
pub(crate) fn snapshot(root: &Path) -> Tree {
    let (mut tree, mut ahead) = (Tree::new(), vec![String::new()]);
    while let Some(folder) = ahead.pop() {
        for entry in fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if folder.is_empty() && name == ".pfs" {
                continue;
            }
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let Ok(meta) = entry.metadata() else { continue };
            let mode = meta.permissions().mode() & 0o777;
            let thing = if meta.is_dir() {
                ahead.push(path.clone());
                Thing::Dir { mode }
            } else if meta.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap_or_default();
                Thing::Link(target.to_string_lossy().into_owned())
            } else {
                Thing::File { mode, bytes: fs::read(entry.path()).unwrap_or_default() }
            };
            tree.insert(path, thing);
        }
    }
    tree
}

/// What a watcher would hint at if the one tree became the other.
pub(crate) fn hints_between(before: &Tree, after: &Tree) -> Vec<Hint> {
    let mut hints = Vec::new();
    let paths = before.keys().chain(after.keys()).collect::<BTreeSet<_>>();
    for path in paths.into_iter().filter(|path| before.get(*path) != after.get(*path)) {
        hints.extend(folder_of(path).map(Hint::Dirty));
        if matches!(after.get(path), Some(Thing::Dir { .. })) && !matches!(before.get(path), Some(Thing::Dir { .. })) {
            hints.extend(parse(path).map(Hint::Below));
        }
    }
    hints
}

/// What a tree comes to.
pub(crate) fn digest(tree: &Tree) -> blake3::Hash {
    let mut all = blake3::Hasher::new();
    for (path, thing) in tree {
        all.update(path.as_bytes());
        let (kind, bytes): (String, &[u8]) = match thing {
            Thing::File { mode, bytes } => (format!(":{mode:o}:{}:", bytes.len()), bytes),
            Thing::Dir { mode } => (format!("/{mode:o}"), b""),
            Thing::Link(target) => (format!("@{}:", target.len()), target.as_bytes()),
        };
        all.update(kind.as_bytes()).update(bytes);
    }
    all.finalize()
}

/// Whether a file system gives every change of a file that was looked at a time of its own.
pub(crate) fn every_change_shows() -> bool {
    let dir = tempfile::tempdir_in(memory_dir()).expect("a place for trees");
    let path = dir.path().join("file");
    fs::write(&path, "").expect("a temporary directory takes files");
    let mut times = BTreeSet::new();
    for mode in (0..100).map(|change| 0o600 + change % 2) {
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its owner may");
        let meta = fs::metadata(&path).expect("it is there");
        times.insert((meta.ctime(), meta.ctime_nsec()));
    }
    times.len() == 100
}

/// Where files are kept in memory, if there is such a place.
pub(crate) fn memory_dir() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { env::temp_dir() }
}

/// The bytes that the engine has set aside in a tree.
pub(crate) fn set_aside(root: &Path) -> Vec<Vec<u8>> {
    let kept = fs::read_dir(root.join(".pfs/set-aside")).into_iter().flatten().flatten();
    kept.filter_map(|entry| fs::read(entry.path()).ok()).collect()
}
