//! What an engine takes from its machine besides files: the time, and chance. A simulation brings its own.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::EngineError;

/// Time and chance.
pub trait Environment: Send + Sync + fmt::Debug {
    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// The wall clock, since 1970: what entries and looks are dated by.
    fn wall(&self) -> Duration;

    /// Returns when that time has passed.
    fn pause(&self, time: Duration);

    /// Fills `bytes` with what nobody can guess.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EngineError>;

    /// The wall clock in milliseconds.
    fn wall_ms(&self) -> u64 {
        self.wall().as_millis() as u64
    }
}

/// The machine that the program runs on.
#[derive(Debug, Clone, Copy)]
pub struct Machine;

impl Environment for Machine {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn pause(&self, time: Duration) {
        sleep(time);
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<(), EngineError> {
        getrandom::fill(bytes).map_err(|error| EngineError::Random(error.to_string()))
    }
}
