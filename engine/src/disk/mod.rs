//! The only room that touches the file system: looking, reading, watching, and carrying out steps on a tracked tree.
//!
//! Nothing here decides. A step names what it expects to find; where the disk shows something else the step
//! is left undone and says so, because those bytes have not been captured.

mod attrs;
mod carry_out;
mod home;
mod ignores;
mod private;
mod reader;
mod sys;
mod tree;
mod watch;

use serde::{Deserialize, Serialize};

pub use self::carry_out::{Carried, SetAside, Source, SourceError};
pub use self::home::{Home, Lock, free_space};
pub use self::ignores::{IGNORE_FILE, Rules};
pub use self::reader::FileReader;
pub use self::tree::{Tree, canonical_dir, marker_above};
pub use self::watch::{Hint, Watcher};

use crate::model::ids::{NodeId, VolumeId};
use crate::model::name::{NameError, RelPath};
use crate::model::patch::{Attr, Root};
use crate::model::time::Mtime;

/// What kind of thing a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A socket, device or fifo: reported and skipped.
    Special,
}

/// The stat signature of a thing on disk: while it is equal, so is what it was taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Device, inode number and birth time (zero where the file system keeps none) together identify a file.
    pub inode: Inode,
    /// Bytes; 0 for directories.
    pub len: u64,
    /// Content change.
    pub mtime: Mtime,
    /// Content or attribute change; also set by renames on most file systems.
    pub ctime: Mtime,
    /// Permission bits, `0o777` at the most.
    pub mode: u16,
}

/// The identity of a file on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Inode {
    /// Device number.
    pub dev: u64,
    /// Inode number; re-used at once on ext4.
    pub ino: u64,
    /// Birth time; zero where there is none.
    pub born: Mtime,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: crate::model::name::Name,
    /// Its signature.
    pub stat: Stat,
}

/// A directory as it was listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Which directory it was; none if it was not opened, because a pattern hides it.
    pub inode: Option<Inode>,
    /// What pfs tracks, ascending by name.
    pub found: Vec<Found>,
    /// Whether ignore patterns hid something.
    pub ignored: bool,
    /// What pfs cannot carry: the raw name, and why.
    pub skipped: Vec<(Vec<u8>, Skipped)>,
}

/// Why an entry is not carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// Its name.
    Name(NameError),
    /// A socket, device or fifo.
    Special,
    /// Another file system is mounted there.
    Mount,
    /// Its path has too many names.
    Deep,
    /// It could not be looked at.
    Unreadable(String),
}

/// What a step expects to find at its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// A thing with this signature (of a directory only its inode counts).
    Stat(Stat),
}

/// One change of the tree on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Take a thing out of the tree, to be put back by `Unpark` in the same batch. If that is not done, it comes
    /// back to where it was; see `Carried::left_parked`.
    Park {
        /// Which node; names the parking place, so that a crash can be undone.
        node: NodeId,
        /// From where.
        from: RelPath,
        /// What must be there.
        expect: Stat,
    },
    /// Put a parked thing back. The place must be empty.
    Unpark {
        /// Which node.
        node: NodeId,
        /// To where.
        to: RelPath,
    },
    /// Rename within the tree. The new place must be empty.
    Move {
        /// From where.
        from: RelPath,
        /// To where.
        to: RelPath,
        /// What must be at `from`.
        expect: Stat,
    },
    /// Remove a file or symlink, or a directory if nothing is left in it.
    Remove {
        /// What.
        at: RelPath,
        /// What must be there.
        expect: Stat,
    },
    /// Make a directory. One that is there already will do.
    MakeDir {
        /// Where.
        at: RelPath,
        /// With this mode and these attributes.
        attr: Attr,
    },
    /// Write a file from chunks.
    WriteFile {
        /// Where.
        at: RelPath,
        /// What is there now.
        expect: Expect,
        /// Bytes.
        len: u64,
        /// The manifest; the store has all of it.
        root: Root,
        /// Set on the file.
        mtime: Mtime,
        /// Set on the file.
        attr: Attr,
    },
    /// Write a symlink.
    WriteLink {
        /// Where.
        at: RelPath,
        /// What is there now.
        expect: Expect,
        /// Opaque.
        target: Vec<u8>,
    },
    /// Set mode and attributes.
    SetAttr {
        /// Where.
        at: RelPath,
        /// What must be there.
        expect: Stat,
        /// The new ones.
        attr: Attr,
    },
}

impl Step {
    /// The path that it is about: the new one, if it has two.
    pub fn at(&self) -> &RelPath {
        match self {
            Self::Park { from: path, .. }
            | Self::Unpark { to: path, .. }
            | Self::Move { to: path, .. }
            | Self::Remove { at: path, .. }
            | Self::MakeDir { at: path, .. }
            | Self::WriteFile { at: path, .. }
            | Self::WriteLink { at: path, .. }
            | Self::SetAttr { at: path, .. } => path,
        }
    }

    /// All paths that it is about.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        let from = if let Self::Move { from, .. } = self { Some(from) } else { None };
        from.into_iter().chain([self.at()])
    }
}

/// How a step ended.
#[derive(Debug)]
pub enum Outcome {
    /// Done and durable; the signature of what is now at the step's (new) path, none after a removal or parking.
    Done(Option<Stat>),
    /// The disk shows something that was not expected; nothing was changed.
    Unexpected,
    /// A directory could not be removed because something is left in it.
    NotEmpty,
    /// It could not be done; nothing was changed.
    Failed(DiskError),
}

/// Trouble with the file system.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Nothing at that path.
    #[error("{path} is not there")]
    Absent {
        /// Which path.
        path: String,
    },
    /// The system refused or failed.
    #[error("{path}: {source}")]
    Io {
        /// Which path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The root has no marker, or another volume's: perhaps its disk is not mounted.
    #[error("{path} does not carry this volume's marker; is its disk mounted?")]
    Marker {
        /// The tracked directory.
        path: String,
    },
    /// The directory is already tracked, as another volume.
    #[error("{path} is already tracked, as volume {volume}")]
    Tracked {
        /// The tracked directory.
        path: String,
        /// Which volume it is.
        volume: VolumeId,
    },
    /// Another process holds the lock.
    #[error("{path} is in use by another process{}", pid.map_or(String::new(), |pid| format!(" ({pid})")))]
    Busy {
        /// The lock.
        path: String,
        /// Which process, where it says so.
        pid: Option<u32>,
    },
    /// The system watches no more directories for this user.
    #[error(
        "{path}: the limit of watched directories is reached; raise it with \
         `sysctl fs.inotify.max_user_watches=1048576` (lasting: in /etc/sysctl.d)"
    )]
    WatchLimit {
        /// The first directory that is not watched.
        path: String,
    },
    /// A chunk that a step needs could not be had from the store.
    #[error("the store did not give a chunk of {path}: {reason}")]
    Source {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The file kept changing while it was read.
    #[error("{path} changed while it was read")]
    Unstable {
        /// Which file.
        path: String,
    },
}

impl DiskError {
    fn io(path: impl std::fmt::Display, source: impl Into<std::io::Error>) -> Self {
        Self::Io { path: path.to_string(), source: source.into() }
    }
}
