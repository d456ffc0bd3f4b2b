//! What can go wrong in the engine, by what a caller would do about it.

use std::path::PathBuf;

use crate::content::ContentError;
use crate::disk::DiskError;
use crate::model::facts::Unreadable;
use crate::model::ids::{PatchId, VolumeId};
use crate::model::name::NameError;
use crate::model::overlay::ApplyError;
use crate::model::roster::{NotAdmitted, NotAllowed};
use crate::plan::change::PenError;
use crate::plan::losses::Loss;
use crate::plan::resolve::ResolveError;
use crate::plan::restore::RestoreError;
use crate::store::StoreError;

/// An operation of the engine failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The home holds no peer yet.
    #[error("{0} holds no peer")]
    NoPeer(PathBuf),
    /// The operating system gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
    /// A thread could not be started.
    #[error("no thread: {0}")]
    Thread(String),
    /// The engine has been closed, or its control thread died.
    #[error("the engine is closed")]
    Closed,
    /// Nobody tracks that volume here.
    #[error("volume {0} is not tracked here")]
    NoVolume(VolumeId),
    /// The directory is tracked already.
    #[error("{path} is tracked already, as volume {name}")]
    Tracked {
        /// Which directory.
        path: PathBuf,
        /// As which volume.
        name: String,
    },
    /// A tracked directory inside another.
    #[error("{path} and the tracked {other} lie one inside the other")]
    Nested {
        /// The new one.
        path: PathBuf,
        /// The tracked one.
        other: PathBuf,
    },
    /// A tracked directory and this peer's home, one inside the other: the key would go to every member.
    #[error("{path} and pfs's own home {home} lie one inside the other")]
    AroundHome {
        /// The directory.
        path: PathBuf,
        /// The home.
        home: PathBuf,
    },
    /// The store has volumes, and the key of the peer that they belong to is gone.
    #[error("{0} has no key, but a store with volumes of the peer whose key it was")]
    KeyLost(PathBuf),
    /// The key is no key.
    #[error("the key {path} is damaged: it has {len} bytes, not 32")]
    KeyDamaged {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// A volume of that name is here already.
    #[error("a volume named {0} is tracked already")]
    NameTaken(String),
    /// The directory cannot be tracked.
    #[error("{0} is not a directory")]
    NotADirectory(PathBuf),
    /// The volume stands still until a person looks.
    #[error("volume {name} is halted: {reason}")]
    Halted {
        /// Which volume.
        name: String,
        /// Why.
        reason: String,
    },
    /// Everything in the volume's root vanished at once; only a person can say that this was meant.
    #[error("volume {name} is halted: {}", crate::control::EMPTIED)]
    Emptied {
        /// Which volume.
        name: String,
    },
    /// So much went at once that only a person can say that this was meant.
    #[error("volume {name} is halted: {} of {} files are gone at once", loss.files, loss.of)]
    Lost {
        /// Which volume.
        name: String,
        /// How much.
        loss: Loss,
    },
    /// The volume has no tree here.
    #[error("volume {0} has no tree on this peer")]
    NoTree(VolumeId),
    /// No such path in the volume, now or ever.
    #[error("{0} is not in the volume")]
    NoPath(String),
    /// No such patch.
    #[error("no patch {0}")]
    NoPatch(String),
    /// The bytes are not here.
    #[error("the content of patch {0} is not held here")]
    NotHeld(PatchId),
    /// A list of a content that is said to be here cannot be read, so that it is unknown what is needed.
    #[error("list {0:?} of a file that is kept cannot be read: nothing can be let go of")]
    ListsLost(crate::model::ids::ChunkId),
    /// More than one patch begins so.
    #[error("more than one patch begins with {0}")]
    Ambiguous(String),
    /// A patch that sets no bytes.
    #[error("patch {0} has no bytes")]
    NoBytes(PatchId),
    /// The path has no fork.
    #[error("{0} has no fork")]
    NoFork(String),
    /// A path that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An entry that is not signed, bounded or formed as it must be.
    #[error(transparent)]
    Entry(#[from] crate::model::entry::EntryError),
    /// An entry that its author may not append.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// A peer that is not let in.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// An entry that does not follow what is known here.
    #[error("entry {seq} does not follow what is known of its log")]
    NotYet {
        /// Its number.
        seq: u64,
    },
    /// An entry dated before what it depends on, or before the one that it follows: no honest clock does that.
    #[error("entry {seq} of a log is dated before what it depends on")]
    Backdated {
        /// Its number.
        seq: u64,
    },
    /// A form of a log is given up of which something is nowhere else: it would be lost.
    #[error("entry {seq} gives up what was not copied")]
    NotCopied {
        /// Its number.
        seq: u64,
    },
    /// An entry from the far future: somebody's clock is wrong.
    #[error("an entry is dated {ahead_s} s ahead of this machine's clock")]
    Clock {
        /// How far.
        ahead_s: u64,
    },
    /// A patch that does not fit what is known.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A change that cannot be made.
    #[error(transparent)]
    Pen(#[from] PenError),
    /// A fork that cannot be settled so.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A path that cannot be made what it was.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Bytes that cannot be put together.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The file system.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fact that could not be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}
