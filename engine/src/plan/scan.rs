//! What one look at a directory means: how it differs from what the last look recorded.
//!
//! Pure: a listing and the records of that directory in, differences out. Equal stat signatures mean equal
//! things, unless the record is racy: read so soon after its last write that a later write could show the
//! same times.

use crate::disk::{Found, Kind, Stat};
use crate::model::ids::NodeId;
use crate::model::time::Mtime;
use crate::store::Record;

/// How one name of a directory differs from its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Recorded, no longer there.
    Gone(Record),
    /// There, not recorded.
    New(Found),
    /// A file or symlink that may have other bytes or attributes than recorded, or a directory with another
    /// mode or other names in it, and so perhaps other attributes.
    Touched(Record, Stat),
}

impl Difference {
    /// The node, where something still stands by its name.
    pub fn in_place(&self) -> Option<NodeId> {
        match self {
            Self::Touched(record, _) => Some(record.node),
            Self::Gone(_) | Self::New(_) => None,
        }
    }
}

/// What a listing says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// By name, ascending; of one name `Gone` before `New`.
    pub differences: Vec<Difference>,
    /// Directories still in their places: where the look goes on.
    pub known: Vec<Record>,
}

/// Writes within this time of a look may be invisible in the stat signature: file systems stamp times with the
/// granularity of the kernel's tick, 10 ms at the most.
const RACY_NANOS: i128 = 20_000_000;
/// So long after the clock was read the file may have been opened, and have changed before that. What is dated
/// further ahead was not dated by a write: another one would show.
const AHEAD_NANOS: i128 = 2_000_000_000;

/// Whether a later write could have left a record's signature as it is. Every write sets the change time, which
/// nobody can set back; a file system that keeps none has the modification time, which may also come from another
/// machine, whose clock goes a little ahead.
pub fn is_racy(stat: &Stat, read_at: Mtime) -> bool {
    let age = |time| nanos(read_at) - nanos(time);
    (-AHEAD_NANOS..RACY_NANOS).contains(&age(stat.ctime)) || (-RACY_NANOS..RACY_NANOS).contains(&age(stat.mtime))
}

/// A write to a page that is mapped changes the times only if it is the first since the page was written back,
/// which happens within half a minute where there is a disk.
const WRITTEN_BACK_NANOS: i128 = 60_000_000_000;

/// Whether a file with this signature, still open for writing when it was read, may have changed without a trace.
pub fn may_hide_writes(stat: &Stat, read_at: Mtime) -> bool {
    nanos(stat.mtime) > nanos(read_at) - WRITTEN_BACK_NANOS
}

fn nanos(time: Mtime) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}

/// Compares a listing with the records of the same directory. Both ascend by name.
pub fn compare(listing: Vec<Found>, records: Vec<Record>) -> Compared {
    let mut compared = Compared::default();
    let mut records = records.into_iter().peekable();
    for found in listing {
        while let Some(record) = records.next_if(|r| r.shown.name < found.name) {
            compared.differences.push(Difference::Gone(record));
        }
        match records.next_if(|r| r.shown.name == found.name) {
            None => compared.differences.push(Difference::New(found)),
            Some(record) => compare_one(record, found, &mut compared),
        }
    }
    compared.differences.extend(records.map(Difference::Gone));
    compared
}

fn compare_one(record: Record, found: Found, compared: &mut Compared) {
    let (was, now) = (record.stat, found.stat);
    match (was.kind == Kind::Dir, now.kind == Kind::Dir) {
        (true, true) if was.inode == now.inode => {
            if (was.mode, was.ctime) != (now.mode, now.ctime) {
                compared.differences.push(Difference::Touched(record.clone(), now));
            }
            compared.known.push(record);
        }
        (false, false) => {
            if was != now || is_racy(&was, record.read_at) {
                compared.differences.push(Difference::Touched(record, now));
            }
        }
        _ => {
            compared.differences.push(Difference::Gone(record));
            compared.differences.push(Difference::New(found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Inode;

    fn at(nanos: i64) -> Mtime {
        Mtime { secs: 1000 + nanos.div_euclid(1_000_000_000), nanos: nanos.rem_euclid(1_000_000_000) as u32 }
    }

    fn is_racy_with(mtime: i64, ctime: i64) -> bool {
        let inode = Inode { dev: 1, ino: 1, born: at(0) };
        let stat = Stat { kind: Kind::File, inode, len: 1, mtime: at(mtime), ctime: at(ctime), mode: 0o644 };
        is_racy(&stat, at(0))
    }

    #[test]
    fn a_signature_proves_nothing_that_a_write_could_leave_as_it_is() {
        const MS: i64 = 1_000_000;
        for (mtime, ctime, racy) in [
            (-5 * MS, -5 * MS, true),
            (-30 * MS, -30 * MS, false),
            // The bytes are new, and their time was set back.
            (-9000 * MS, -5 * MS, true),
            // It changed between the look at the clock and the look at the file.
            (500 * MS, 500 * MS, true),
            // A file system that keeps no change time.
            (-5 * MS, -900_000 * MS, true),
            // Dated by a clock that is ahead; a write now would date it otherwise.
            (300 * MS, -30 * MS, false),
            (3_600_000 * MS, -30 * MS, false),
            (-30 * MS, 3_600_000 * MS, false),
        ] {
            assert_eq!(is_racy_with(mtime, ctime), racy, "{mtime} {ctime}");
        }
    }
}
