//! Reaching a peer: how long to wait before dialling again, and which of two connections stays.

use pfs_engine::model::ids::PeerId;

use super::limits::{GOOD_CONNECTION_MS, REDIAL_MS, REDIAL_MS_MAX};

/// Waits that double, with jitter, so that peers that lost each other together do not return together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    seed: u64,
    failures: u32,
}

impl Backoff {
    /// A fresh one; equal seeds give equal waits.
    pub fn new(seed: u64) -> Self {
        Self { seed, failures: 0 }
    }

    /// Milliseconds to wait after one more failure: between half and all of 200 ms, 400 ms … 30 s.
    pub fn failed(&mut self) -> u64 {
        let full = REDIAL_MS.saturating_mul(1 << self.failures.min(20)).min(REDIAL_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        full / 2 + mix(self.seed ^ u64::from(self.failures)) % (full / 2 + 1)
    }

    /// A connection ended that had held for so long: a good one forgives earlier failures.
    pub fn ended(&mut self, lasted_ms: u64) -> u64 {
        if lasted_ms >= GOOD_CONNECTION_MS {
            self.failures = 0;
        }
        self.failed()
    }

    /// The peer cannot be trusted just now: as long as ever.
    pub fn distrusted(&mut self) -> u64 {
        self.failures = self.failures.max(8);
        self.failed()
    }

    /// Something new is known about the peer: start over.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// One connection between two peers, as both of them see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialled {
    /// Who opened it.
    pub by: PeerId,
    /// The other side's run, from its `Hello`.
    pub run: u64,
}

/// Whether a new connection between `me` and `remote` replaces the one that is there.
///
/// A new run of the remote, or a second dial by the same side, means that the old connection is dead without
/// our knowing it yet. Otherwise both dialled at once, and both keep the connection of the lower peer.
pub fn replaces(me: PeerId, remote: PeerId, old: Dialled, new: Dialled) -> bool {
    old.run != new.run || old.by == new.by || new.by == me.min(remote)
}

/// The finaliser of splitmix64: spreads a seed over all bits.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: PeerId = PeerId([1; 32]);
    const HIGH: PeerId = PeerId([2; 32]);

    #[test]
    fn waits_grow_to_their_bound_and_start_over_after_a_good_connection() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            let waits: Vec<_> = (0..20).map(|_| backoff.failed()).collect();
            for (n, wait) in waits.iter().enumerate() {
                let full = (REDIAL_MS << n).min(REDIAL_MS_MAX);
                assert!((full / 2..=full).contains(wait), "wait {n} of seed {seed} is {wait}");
            }
            assert!(backoff.ended(GOOD_CONNECTION_MS - 1) >= REDIAL_MS_MAX / 2);
            assert!(backoff.ended(GOOD_CONNECTION_MS) <= REDIAL_MS);
            assert!(backoff.distrusted() >= REDIAL_MS_MAX / 2);
        }
    }

    #[test]
    fn both_sides_keep_the_same_connection_in_either_order() {
        let (low, high) = (Dialled { by: LOW, run: 7 }, Dialled { by: HIGH, run: 7 });
        for (me, remote) in [(LOW, HIGH), (HIGH, LOW)] {
            assert!(replaces(me, remote, high, low));
            assert!(!replaces(me, remote, low, high));
        }
    }

    #[test]
    fn a_peer_that_came_back_replaces_its_dead_connection() {
        let (old, new) = (Dialled { by: LOW, run: 7 }, Dialled { by: HIGH, run: 8 });
        assert!(replaces(LOW, HIGH, old, new), "the remote runs anew");
        assert!(replaces(LOW, HIGH, old, Dialled { by: LOW, run: 7 }), "the same side dialled again");
    }
}
