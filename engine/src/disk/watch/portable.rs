//! The watcher on whatever the `notify` crate finds on the system.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Hint;
use crate::disk::DiskError;
use crate::model::name::{RESERVED, RelPath};

/// The running watcher.
#[derive(Debug)]
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
}

impl Watch {
    pub(super) fn start(root: &Path, on_hint: impl Fn(Hint) + Send + 'static) -> Result<Self, DiskError> {
        // Events carry the resolved path.
        let root = root.canonicalize().map_err(|source| DiskError::io(root.display(), source))?;
        let below = root.clone();
        let on_event = move |event: notify::Result<Event>| match event {
            Ok(event) => hints(&below, &event).into_iter().for_each(&on_hint),
            Err(error) => on_hint(Hint::Blind(failure(&below, error))),
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(on_event, config).map_err(|error| failure(&root, error))?;
        watcher.watch(&root, RecursiveMode::Recursive).map_err(|error| failure(&root, error))?;
        Ok(Self { _watcher: watcher })
    }
}

fn failure(root: &Path, error: notify::Error) -> DiskError {
    let path = error.paths.first().map_or(root, PathBuf::as_path).display().to_string();
    match error.kind {
        ErrorKind::MaxFilesWatch => DiskError::WatchLimit { path },
        ErrorKind::Io(source) => DiskError::Io { path, source },
        kind => DiskError::Io { path, source: std::io::Error::other(format!("{kind:?}")) },
    }
}

fn hints(root: &Path, event: &Event) -> Vec<Hint> {
    if event.need_rescan() {
        return vec![Hint::Below(RelPath::root())];
    }
    let is_closed = matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)));
    if matches!(event.kind, EventKind::Access(_)) && !is_closed {
        return Vec::new();
    }
    event.paths.iter().flat_map(|path| hints_at(root, path, event.kind)).collect()
}

fn hints_at(root: &Path, path: &Path, kind: EventKind) -> Vec<Hint> {
    let Ok(relative) = path.strip_prefix(root) else { return Vec::new() };
    if relative.components().next().is_some_and(|first| first.as_os_str().as_bytes() == RESERVED) {
        return Vec::new();
    }
    let parse = |path: &Path| RelPath::parse(path.as_os_str().as_bytes()).ok();
    let mut hints = Vec::new();
    hints.extend(relative.parent().and_then(parse).map(Hint::Dirty));
    if let EventKind::Access(_) = kind {
        hints.extend(parse(relative).map(Hint::Closed));
    }
    let is_new = matches!(kind, EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)));
    let is_dir = || path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    if is_new && is_dir() {
        hints.extend(parse(relative).map(Hint::Below));
    }
    hints
}
