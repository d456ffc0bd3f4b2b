//! Watching a tracked tree. A hint says where to look again, within milliseconds; it never says what has changed.
//!
//! What must hold: whatever changes after `Watcher::start` has returned is hinted at, also in directories that
//! are new; where that can be promised no longer, `Hint::Blind` says so. Symlinks are not followed.
//!
//! On Linux this speaks to inotify itself. The `notify` crate, which serves the other systems, there asks for
//! every opening of a file too, so that a scan of ours floods the queue; and it reports a new directory before
//! it watches it, so that what comes into it meanwhile can be missed.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

use std::path::Path;

use super::DiskError;
use crate::model::name::RelPath;

#[cfg(target_os = "linux")]
use self::inotify as system;
#[cfg(not(target_os = "linux"))]
use self::portable as system;

/// Where to look again.
#[derive(Debug)]
pub enum Hint {
    /// At this directory, without what is below the directories in it.
    Dirty(RelPath),
    /// At this file, which was open for writing until now, and whose times may not tell of every write: one to a
    /// page that is mapped and not written back yet changes none.
    Closed(RelPath),
    /// At everything at and below this path: it is new, came from elsewhere, or events were lost.
    Below(RelPath),
    /// Not everything is watched any longer: look at everything now and then.
    Blind(DiskError),
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    _system: system::Watch,
}

impl Watcher {
    /// Watches the directory `root` and all below it, except `.pfs`. `on_hint` is called on a thread of its own.
    pub fn start(root: &Path, on_hint: impl Fn(Hint) + Send + 'static) -> Result<Self, DiskError> {
        Ok(Self { _system: system::Watch::start(root, on_hint)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it cannot run")]
mod tests;
