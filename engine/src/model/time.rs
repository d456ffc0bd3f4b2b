//! Hybrid logical time: wall-clock milliseconds with a counter below, so that what depends on something is
//! always later than it, whatever the clocks of the machines say.

use serde::{Deserialize, Serialize};

/// A hybrid time: 48 bits of milliseconds since 1970, 16 bits of counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The first time of that millisecond.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms << 16)
    }

    /// Wall-clock milliseconds since 1970.
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The next time: the wall clock's, or just after `self` where the wall clock is not ahead of it.
    #[must_use]
    pub const fn next(self, now_ms: u64) -> Self {
        let wall = Self::from_ms(now_ms);
        if wall.0 > self.0 { wall } else { Self(self.0 + 1) }
    }
}

/// A file's modification time as the file system keeps it: nanoseconds since 1970, may be negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mtime {
    /// Whole seconds since 1970.
    pub secs: i64,
    /// Nanoseconds after them, below 10⁹.
    pub nanos: u32,
}
