//! Bringing a world to rest: everybody runs, everybody is connected, nothing fails, and what there is to do is done.

use std::collections::BTreeSet;

use pfs_engine::handle::VolumeReport;
use pfs_engine::model::facts::{Eye, Facts as _, Shown};
use pfs_engine::model::view::{Fork, update};

use super::act::{Act, Who};
use super::oracles;
use super::peer::{Came, Check, Peer};
use super::wire::Wire;
use super::world::{How, World, rests};

/// So long a world may take until it rests, by its own clock. The longest rest that an engine takes is 15 s, and a
/// peer is asked again for what it did not have after 5 minutes.
const PATIENCE_MS: u64 = 20 * 60_000;
/// And so many rounds.
const ROUNDS_MAX: usize = 20_000;
/// So often old versions are let go of by themselves where they once were.
const LET_GO_ROUNDS: usize = 40;

impl World {
    /// Brings everything to rest, and checks it. Gives the open forks.
    pub(crate) fn rest(&mut self) -> Check<BTreeSet<Fork>> {
        self.heal()?;
        self.settle()?;
        let forks = oracles::check(&self.peers, self.let_go)?;
        if self.plan.how != How::Free && !forks.is_empty() {
            return Err(format!("forks though nobody touched what somebody else had touched unseen: {forks:?}"));
        }
        self.tell(|| format!("at rest with {} forks", forks.len()));
        Ok(forks)
    }

    /// Ends all faults.
    fn heal(&mut self) -> Check {
        for who in 0..self.peers.len() {
            if self.peers[who].has_trouble_ahead() || self.peers[who].engine().is_none() {
                self.act(&Act::Killed(Who(who)))?;
                self.act(&Act::Starts(Who(who)))?;
            }
            self.peers[who].looks();
            if !self.peers[who].damaged.is_empty() {
                self.peers[who].repair()?;
            }
        }
        Ok(())
    }

    fn connect(&mut self) {
        for a in 0..self.peers.len() {
            for b in a + 1..self.peers.len() {
                if self.plan.mesh || b == a + 1 {
                    self.meet(a, b);
                } else {
                    self.part(a, b);
                }
            }
        }
    }

    fn settle(&mut self) -> Check {
        let end = self.clock.ms() + PATIENCE_MS;
        for round in 0..ROUNDS_MAX {
            self.connect();
            if self.let_go && round % LET_GO_ROUNDS == LET_GO_ROUNDS - 1 {
                // What others have let go of can be had from nobody, until the rule applies here as well.
                (0..self.peers.len()).try_for_each(|who| self.let_go_of_old(who))?;
            }
            let mut dues = Vec::new();
            for who in 0..self.peers.len() {
                let due = self.peers[who].works().map_err(|error| format!("at rest: {error}"))?;
                dues.push(due.map(|due| due.saturating_duration_since(self.clock.start)));
                self.spread();
            }
            while self.deliver()? {}
            if self.is_at_rest() {
                return Ok(());
            }
            let now = self.clock.ms();
            if now >= end {
                break;
            }
            let busy = self.wires.values().any(|wire| !wire.is_idle()) || self.peers.iter().any(Peer::has_hints);
            let next = self.next_due_ms(&dues).unwrap_or(now + 1000).max(now + u64::from(!busy));
            self.tick(next - now)?;
        }
        let states: Vec<String> = self.peers.iter().map(unrest).collect();
        Err(format!("I12: it never comes to rest: {}", states.join("; ")))
    }

    /// Everything that can happen on a connection, once through. Says whether anything did.
    fn deliver(&mut self) -> Check<bool> {
        let mut any = false;
        let pairs: Vec<_> = self.wires.keys().copied().collect();
        for (a, b) in pairs {
            for (here, there) in [(a, b), (b, a)] {
                any |= self.hear(here, there, 0)?.is_some();
                self.spread();
            }
        }
        Ok(any)
    }

    fn is_at_rest(&self) -> bool {
        let connected = self.wires.values().all(Wire::is_idle);
        let frontier = self.peers[0].observe(|_, volume| volume.frontier());
        let let_go = self.let_go;
        connected
            && self.peers.iter().all(|peer| {
                let idle = peer.report().is_some_and(|report| rests(&report)) && !peer.has_hints();
                let even = peer.observe(|_, volume| {
                    let none_stale = volume.stale(None, 1).is_ok_and(|stale| stale.is_empty());
                    let missing = volume.missing(None, usize::MAX).unwrap_or_default();
                    // What others have let go of before it came here can be had from nobody.
                    let none_missing = missing.is_empty()
                        || let_go
                            && oracles::current(volume)
                                .is_ok_and(|current| missing.iter().all(|(root, _)| !current.contains_key(root)));
                    none_stale && none_missing && Some(volume.frontier()) == frontier
                });
                idle && even == Some(true)
            })
    }

    /// Everybody looks once more: nothing is new, and nothing changes.
    pub(crate) fn rests_for_good(&mut self) -> Check {
        let volume = self.volume;
        self.peers.iter_mut().for_each(Peer::calm);
        self.rest()?;
        for peer in &mut self.peers {
            let before = peer.tree();
            match peer.call(|engine| engine.capture(volume, None))? {
                Came::Well(captured) if captured.patches == 0 && captured.problems.is_empty() => {}
                Came::Well(captured) => return Err(format!("{}: I9: a second look gave {captured:?}", peer.name)),
                Came::Spoilt => return Err(format!("{}: it failed without a reason", peer.name)),
            }
            peer.works()?;
            if peer.tree() != before {
                return Err(format!("{}: I9: a second look changed the tree", peer.name));
            }
        }
        self.spread();
        Ok(())
    }
}

/// What keeps a peer from resting, in short.
fn unrest(peer: &Peer) -> String {
    let report = peer.report();
    let report = report.as_ref().map(|report| {
        let VolumeReport { busy, capturing, last_error, state, .. } = report;
        format!("busy {busy}, capturing {capturing}, error {last_error:?}, halted {:?}", state.halted)
    });
    let lacks = peer.observe(|_, volume| {
        let stale: BTreeSet<_> = volume.stale(None, 9).unwrap_or_default().into_iter().collect();
        let wanted = update(volume, Eye::Local, &stale).map(|update| update.shown).unwrap_or_default();
        let stale: Vec<String> = stale
            .into_iter()
            .map(|node| {
                let place = |shown: Option<Shown>| shown.map(|shown| (shown.folder, shown.name));
                let (has, wants) = (volume.shown(node).ok().flatten(), wanted.get(&node).cloned().flatten());
                format!("{node:?} has {:?} wants {:?}", place(has), place(wants))
            })
            .collect();
        let missing = volume.missing(None, 9).map(|missing| missing.len()).unwrap_or_default();
        format!("{} entries, stale {stale:?}, {missing} contents missing", volume.frontier().total())
    });
    let tree: Vec<String> = peer.tree().keys().cloned().collect();
    format!("{}: {}, {}, tree {tree:?}", peer.name, report.unwrap_or_default(), lacks.unwrap_or_default())
}
