//! Points at which a test ends this process, or makes a write fail, to see what a crash there leaves behind. They
//! all have their names here, so that a test can go through every one.
//!
//! `PFS_FAIL=POINT[:NTH]=HOW` says what happens when the point is passed for the `NTH` time (1 if left out): `kill`
//! ends the process at once, `error` lets this one sync fail, `errors` this one and all that follow. Only the
//! feature `failpoints` together with debug assertions compiles that in; a release build has none of it.

use rustix::io::Errno;

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A point.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// What it is called in `PFS_FAIL`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// Open, and no longer marked as closed in good order.
    EngineOpen = "engine.open",
    /// Everything has ended but the note that it did so in good order.
    EngineClose = "engine.close",

    /// Entries are about to be written.
    StoreLogBefore = "store.log.before",
    /// Entries are durable, and nobody knows of it.
    StoreLogAfter = "store.log.after",
    /// A durable batch without entries is about to be written.
    StoreFactsBefore = "store.facts.before",
    /// It is durable.
    StoreFactsAfter = "store.facts.after",
    /// A batch that a loss of power may take is about to be written.
    StoreNoteBefore = "store.note.before",
    /// It is written.
    StoreNoteAfter = "store.note.after",
    /// Chunks are about to be put in bulk.
    StoreChunksBefore = "store.chunks.before",
    /// They are put, and not durable.
    StoreChunksAfter = "store.chunks.after",
    /// A durable write of any kind. It can fail.
    StoreSync = "store.sync",
    /// Making chunks durable. It can fail.
    StoreFlush = "store.flush",

    /// Files were read, and nothing is recorded of them.
    CaptureRead = "capture.read",
    /// Moves, deletes and directories were found, and nothing is recorded of them.
    CaptureShape = "capture.shape",
    /// All that was seen is recorded.
    CaptureEnd = "capture.end",

    /// Entries of others were found good.
    ReceiveBefore = "receive.before",
    /// They are durable; what follows from them has not begun.
    ReceiveAfter = "receive.after",
    /// Chunks came and are put; their contents do not count as complete.
    FetchCame = "fetch.came",

    /// It is noted that steps begin.
    MaterialiseSetOut = "materialise.set-out",
    /// The steps are done, and nothing is noted of them.
    MaterialiseDone = "materialise.done",
    /// What was done is noted.
    MaterialiseNoted = "materialise.noted",
    /// Making new files durable, before they come into the tree. It can fail.
    DiskSyncTemps = "disk.sync-temps",
    /// All new files of a batch are written, and durable.
    DiskTemps = "disk.temps",
    /// One step of a batch is done.
    DiskStep = "disk.step",
    /// Something was moved out of the way, to come back.
    DiskParked = "disk.parked",
    /// A new file is about to be swapped with what it replaces.
    DiskSwap = "disk.swap",
    /// They are swapped; whether it was what was to be replaced has not been looked at.
    DiskSwapped = "disk.swapped",
    /// A file has left the tree; whether it is what was to go has not been looked at.
    DiskTaken = "disk.taken",
    /// Making the steps of a batch durable. It can fail.
    DiskSync = "disk.sync",
    /// They are durable; what has left the tree is not destroyed.
    DiskSynced = "disk.synced",

    /// What closes a fork is worked out.
    ResolveBefore = "resolve.before",
    /// It is durable, and the tree is as it was.
    ResolveAfter = "resolve.after",
    /// What brings back what was is worked out.
    RestoreBefore = "restore.before",
    /// It is durable, and the tree is as it was.
    RestoreAfter = "restore.after",

    /// What is to be let go of is worked out.
    GcPlanned = "gc.planned",
    /// It is written down; its chunks are all there.
    GcReleased = "gc.released",
    /// Some chunks are about to be deleted.
    GcSweep = "gc.sweep",
    /// They are deleted.
    GcSwept = "gc.swept",
    /// The room of deleted chunks was given back, and is counted as idle.
    GcReclaimed = "gc.reclaimed",

    /// A volume is in the store, and its directory has no marker.
    TrackVolume = "track.volume",
    /// A directory is about to get its marker.
    TrackMarker = "track.marker",
    /// The directory is marked; the volume has no entry.
    TrackTree = "track.tree",
    /// The volume's first entry is durable, and nothing is captured.
    TrackBorn = "track.born",
    /// There is room for a volume, and its members have not been asked.
    JoinAdopted = "join.adopted",
    /// The directory that joined was looked at, and that is not noted.
    JoinLooked = "join.looked",
    /// A directory has no marker any more, and the volume is still in the store.
    UntrackMarker = "untrack.marker",

    /// Broken chunks are let go of, and the contents that lack them are not noted.
    RepairLetGo = "repair.let-go",
    /// The bytes of a rotten file are kept, and it still stands.
    RepairKept = "repair.kept",
}

impl Point {
    /// Those at which a write can fail.
    pub const FALLIBLE: &[Self] = &[Self::StoreSync, Self::StoreFlush, Self::DiskSyncTemps, Self::DiskSync];
}

/// Passes a point.
#[inline]
pub(crate) fn pass(point: Point) {
    // That it could fail matters only where it is asked for.
    let _ = attempt(point);
}

/// Passes a point at which a write can fail.
#[cfg(not(all(feature = "failpoints", debug_assertions)))]
#[inline]
#[allow(clippy::unnecessary_wraps, reason = "as where it can fail")]
pub(crate) fn attempt(_: Point) -> Result<(), Errno> {
    Ok(())
}

#[cfg(all(feature = "failpoints", debug_assertions))]
pub(crate) use armed::attempt;

#[cfg(all(feature = "failpoints", debug_assertions))]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Errno, Point};

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum How {
        Kill,
        Error,
        Errors,
    }

    struct Armed {
        point: Point,
        nth: u64,
        how: How,
        passed: AtomicU64,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let asked = std::env::var("PFS_FAIL").ok()?;
        Some(read(&asked).unwrap_or_else(|| panic!("PFS_FAIL={asked} is not POINT[:NTH]=kill|error|errors")))
    });

    fn read(asked: &str) -> Option<Armed> {
        let (at, how) = asked.split_once('=')?;
        let (name, nth) = at.split_once(':').unwrap_or((at, "1"));
        let how = match how {
            "kill" => How::Kill,
            "error" => How::Error,
            "errors" => How::Errors,
            _ => return None,
        };
        let point = *Point::ALL.iter().find(|point| point.name() == name)?;
        let can = how == How::Kill || Point::FALLIBLE.contains(&point);
        can.then(|| nth.parse().ok().map(|nth| Armed { point, nth, how, passed: AtomicU64::new(0) }))?
    }

    /// Passes a point at which a write can fail.
    pub(crate) fn attempt(point: Point) -> Result<(), Errno> {
        let Some(armed) = ARMED.as_ref().filter(|armed| armed.point == point) else { return Ok(()) };
        let passed = armed.passed.fetch_add(1, Ordering::Relaxed) + 1;
        let is_now = passed == armed.nth || armed.how == How::Errors && passed > armed.nth;
        if !is_now {
            return Ok(());
        }
        tracing::warn!(point = point.name(), passed, "made to fail");
        if armed.how == How::Kill {
            // No destructor runs, and nothing is flushed.
            let _ = kill_process(getpid(), Signal::KILL);
            std::process::abort();
        }
        Err(Errno::IO)
    }
}
