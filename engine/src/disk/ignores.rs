//! Ignore patterns: `.pfsignore` files in gitignore syntax, each for its own directory and all below it.
//!
//! The files themselves are the truth whenever a look begins; only what they were parsed to is kept, by their
//! signature. A look hands the rules of a directory on to those below it, so that no file is opened twice.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{self, Mode, OFlags};

use super::reader::FileReader;
use super::{Kind, Stat, sys};
use crate::limits::IGNORE_FILE_BYTES_MAX;
use crate::model::name::{Name, RelPath};

/// The file that holds a directory's patterns. It is tracked like any other.
pub const IGNORE_FILE: &str = ".pfsignore";

/// A file changed this shortly before it was read may change again without its times showing it.
const RACY: Duration = Duration::from_secs(2);

/// Parsed ignore files, by directory.
#[derive(Default)]
pub(super) struct Ignores {
    parsed: RwLock<HashMap<RelPath, (Stat, Arc<Gitignore>)>>,
}

/// What decides in one directory.
#[derive(Clone, Default)]
pub struct Rules {
    /// The patterns from the root down to it, each with the depth of its directory.
    patterns: Vec<(usize, Arc<Gitignore>)>,
    /// Whether the directory itself or one above it is ignored.
    hidden: bool,
}

impl Ignores {
    /// The rules of the directory that holds `dir`.
    pub(super) fn above(&self, root: &OwnedFd, dir: &RelPath) -> Arc<Rules> {
        let mut rules = Arc::default();
        for depth in 0..dir.0.len() {
            let above = RelPath(dir.0[..depth].to_vec());
            rules = rules_below(&rules, &above);
            if rules.hidden {
                break;
            }
            if let Ok(fd) = sys::open_beneath(root, &above, sys::HANDLE | OFlags::DIRECTORY) {
                rules = self.with_own(rules, &above, &fd);
            }
        }
        rules
    }

    /// The rules of a directory whose own patterns, if it has any, are not among them yet.
    pub(super) fn with_own(&self, mut rules: Arc<Rules>, dir: &RelPath, fd: &OwnedFd) -> Arc<Rules> {
        let Ok(fd) = fs::openat(fd, IGNORE_FILE, sys::READ, Mode::empty()) else { return rules };
        let Ok(file) = FileReader::new(fd, dir) else { return rules };
        if file.stat().kind != Kind::File {
            return rules;
        }
        let matcher = self.known(dir, file.stat()).unwrap_or_else(|| self.parse(dir, &file));
        if !matcher.is_empty() {
            Arc::make_mut(&mut rules).patterns.push((dir.0.len(), matcher));
        }
        rules
    }

    fn known(&self, dir: &RelPath, stat: &Stat) -> Option<Arc<Gitignore>> {
        let parsed = self.parsed.read().unwrap_or_else(PoisonError::into_inner);
        parsed.get(dir).filter(|(of, _)| of == stat).map(|(_, matcher)| Arc::clone(matcher))
    }

    fn parse(&self, dir: &RelPath, file: &FileReader) -> Arc<Gitignore> {
        let matcher = Arc::new(parse(dir, &contents(file)));
        if !is_racy(file.stat()) {
            let mut parsed = self.parsed.write().unwrap_or_else(PoisonError::into_inner);
            parsed.insert(dir.clone(), (*file.stat(), Arc::clone(&matcher)));
        }
        matcher
    }
}

/// The rules of `dir` by those of the directory that holds it, without its own patterns.
pub(super) fn rules_below(above: &Arc<Rules>, dir: &RelPath) -> Arc<Rules> {
    let mut rules = Arc::clone(above);
    if let Some((name, folders)) = dir.0.split_last()
        && !rules.hidden
        && rules.hide(folders, name, true)
    {
        Arc::make_mut(&mut rules).hidden = true;
    }
    rules
}

impl Rules {
    /// Whether nothing in the directory counts.
    pub(super) fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether something in `folders`, a directory that is not ignored, is. The deepest file that has anything to
    /// say decides.
    pub(super) fn hide(&self, folders: &[Name], name: &Name, is_dir: bool) -> bool {
        for (at, matcher) in self.patterns.iter().rev() {
            let parts: Vec<_> = folders[*at..].iter().chain([name]).map(Name::as_bytes).collect();
            let path = parts.join(&b'/');
            match matcher.matched(Path::new(OsStr::from_bytes(&path)), is_dir) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

fn contents(file: &FileReader) -> Vec<u8> {
    let mut bytes = vec![0; file.stat().len.min(IGNORE_FILE_BYTES_MAX) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(filled as u64, &mut bytes[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(n) => filled += n,
        }
    }
    bytes.truncate(filled);
    bytes
}

/// Lines that are no patterns are passed over, as git does.
fn parse(dir: &RelPath, bytes: &[u8]) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in bytes.split(|&b| b == b'\n') {
        let added = std::str::from_utf8(line).map(|line| builder.add_line(None, line.trim_end_matches('\r')));
        if !matches!(added, Ok(Ok(_))) {
            tracing::warn!(%dir, line = %String::from_utf8_lossy(line), "not an ignore pattern");
        }
    }
    builder.build().unwrap_or_else(|error| {
        tracing::warn!(%dir, %error, "the ignore patterns are left out");
        Gitignore::empty()
    })
}

fn is_racy(stat: &Stat) -> bool {
    let Ok(secs) = u64::try_from(stat.ctime.secs) else { return true };
    let changed = UNIX_EPOCH + Duration::new(secs, stat.ctime.nanos);
    SystemTime::now().duration_since(changed).is_ok_and(|age| age < RACY)
}

#[cfg(test)]
mod tests;
