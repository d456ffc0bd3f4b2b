//! What can go wrong with the store, by what a caller does about it.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::model::facts::Unreadable;
use crate::model::ids::{LogId, VolumeId};

/// Trouble with the store. Absence is never an error of a read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another handle of this one, has it open.
    #[error("the store at {} is in use by another process", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// It was written by another version of pfs.
    #[error("the store has format {found}, this version of pfs knows only format {known}")]
    Format {
        /// What the store says of itself.
        found: u32,
        /// What this version reads and writes.
        known: u32,
    },
    /// Bytes that this version cannot have written.
    #[error("the store is damaged: {what}")]
    Corrupt {
        /// Where, and how it shows.
        what: String,
    },
    /// The disk has no room left, or the quota is used up.
    #[error("there is no space left for the store")]
    Full,
    /// There is none where one should be.
    #[error("there is no store at {}, or it lacks the file CURRENT", path.display())]
    Gone {
        /// Where.
        path: PathBuf,
    },
    /// An earlier write failed, so nobody knows what is durable: only reopening tells.
    #[error("{why}; the store takes no more until it is reopened")]
    Poisoned {
        /// How that write failed.
        why: String,
    },
    /// The system refused or failed.
    #[error("the store failed: {0}")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A volume of that id is there already.
    #[error("volume {} is in the store already", volume.short())]
    Exists {
        /// Which volume.
        volume: VolumeId,
    },
    /// No volume of that id, or not any more.
    #[error("volume {} is not in the store", volume.short())]
    Absent {
        /// Which volume.
        volume: VolumeId,
    },
    /// An entry that does not follow the last one held of its log; nothing was written.
    #[error("entry {found} of {log:?} does not follow entry {held}")]
    Gap {
        /// Which log.
        log: LogId,
        /// The last entry held of it, 0 for none.
        held: u64,
        /// The entry that was to be stored.
        found: u64,
    },
    /// A patch that a commit re-times but nobody brought; nothing was written.
    #[error("a commit re-times a patch that is not there: {0}")]
    Dangling(crate::model::ids::PatchId),
}

impl StoreError {
    /// Damage: `what` says where.
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

impl From<Errno> for StoreError {
    fn from(errno: Errno) -> Self {
        Self::Io(Box::new(errno))
    }
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}
