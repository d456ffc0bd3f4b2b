//! Frontiers: which entries a peer has. A frontier is always causally closed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::LogId;

/// For each log the highest sequence number held; logs have no gaps, and numbers start at 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier(pub BTreeMap<LogId, u64>);

impl Frontier {
    /// The highest sequence number held of `log`, 0 for none.
    pub fn seq(&self, log: LogId) -> u64 {
        self.0.get(&log).copied().unwrap_or(0)
    }

    /// Records that `log` is held up to `seq`.
    pub fn advance(&mut self, log: LogId, seq: u64) {
        let held = self.0.entry(log).or_default();
        *held = seq.max(*held);
    }

    /// Whether everything in `other` is in `self` too.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(&log, &seq)| self.seq(log) >= seq)
    }

    /// The entries of all logs together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
