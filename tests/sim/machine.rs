//! The time and the chance of a simulation: one clock that only moves when it is moved, and dice for each peer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pfs_engine::EngineError;
use pfs_engine::environment::Environment;

use super::chance::Dice;

/// Far from any time that a file system would give of itself, so that it shows where one gets in.
const EPOCH: Duration = Duration::from_secs(1_000_000_000);

/// The clock of all peers.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    pub(crate) start: Instant,
    passed_ms: Arc<AtomicU64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), passed_ms: Arc::default() }
    }

    pub(crate) fn ms(&self) -> u64 {
        self.passed_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms())
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.passed_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// As a file system dates what is written now, by the tick of its kernel.
    pub(crate) fn stamp(&self) -> Duration {
        const TICK_MS: u64 = 4;
        EPOCH + Duration::from_millis(self.ms() / TICK_MS * TICK_MS)
    }
}

/// What one peer's engine runs on.
#[derive(Debug)]
pub(crate) struct Machine {
    clock: Clock,
    dice: Mutex<Dice>,
}

impl Machine {
    pub(crate) fn new(clock: Clock, seed: u64) -> Self {
        Self { clock, dice: Mutex::new(Dice(seed)) }
    }
}

impl Environment for Machine {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> Duration {
        EPOCH + Duration::from_millis(self.clock.ms())
    }

    fn pause(&self, time: Duration) {
        self.clock.pass(time.as_millis() as u64);
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<(), EngineError> {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.fill_with(|| dice.next() as u8);
        Ok(())
    }
}
