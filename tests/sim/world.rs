//! The simulated world: peers, the connections between them, one clock; what happens to them, and the trace of it.

use std::collections::BTreeMap;
use std::time::Duration;

use pfs_engine::gc::Order;
use pfs_engine::handle::VolumeReport;
use pfs_engine::model::codec;
use pfs_engine::model::entry::{Holding, Role};
use pfs_engine::model::facts::Facts as _;
use pfs_engine::model::ids::VolumeId;
use pfs_engine::model::patch::Register;
use pfs_engine::model::view::Fork;
use pfs_engine::plan::resolve::Choice;
use pfs_engine::plan::retain::Retention;
use pfs_net::Local as _;
use tempfile::TempDir;

use super::act::{Act, Deed, Who};
use super::chance::Dice;
use super::disk::{digest, memory_dir};
use super::machine::Clock;
use super::peer::{Came, Check, Peer};
use super::wire::Wire;

/// How the users of a world go about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Everybody at everything.
    Free,
    /// Each in a directory of their own: nothing may ever fork.
    Apart,
    /// One after the other, when everything is at rest: nothing may ever fork.
    Turns,
}

/// How a world is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Of keys and what else nobody can guess.
    pub(crate) seed: u64,
    pub(crate) peers: usize,
    /// Who is connected at rest: everybody with everybody, or each with the next.
    pub(crate) mesh: bool,
    pub(crate) how: How,
    /// Whether all trees hold something before they are one volume.
    pub(crate) full: bool,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    pub(crate) peers: Vec<Peer>,
    pub(crate) wires: BTreeMap<(usize, usize), Wire>,
    pub(crate) volume: VolumeId,
    wires_made: u64,
    /// Whether old versions were let go of.
    pub(crate) let_go: bool,
    trace: blake3::Hasher,
    /// The trace in words, where it is wanted.
    pub(crate) told: Option<Vec<String>>,
    pub(crate) _dir: TempDir,
}

/// A file that nobody touches: without it a tree could be emptied, which halts its volume until a person looks.
pub(crate) const KEPT: &str = "kept";

impl World {
    /// Peers that are members of one volume and have just met.
    pub(crate) fn new(plan: Plan, aloud: bool) -> Check<Self> {
        let dir = tempfile::Builder::new().prefix("pfs-sim").tempdir_in(memory_dir()).expect("a place for trees");
        let clock = Clock::new();
        let mut peers: Vec<Peer> =
            (0..plan.peers).map(|index| Peer::new(dir.path(), index, &clock, plan.seed)).collect();
        peers[0].does(&Deed::Write(KEPT.into(), "kept".into()))?;
        if plan.full {
            peers.iter_mut().try_for_each(|peer| furnish(peer, plan.seed))?;
        }
        let root = peers[0].user.root.clone();
        let volume = well(peers[0].call(|engine| engine.track(&root, "v", 1, None))?)?.0;
        peers[0].volume = Some(volume);
        for index in 1..plan.peers {
            let secret = well(peers[0].call(|engine| engine.invite(volume, Role::Writer, u64::MAX, 1))?)?;
            let root = peers[index].user.root.clone();
            well(peers[index].call(|engine| engine.adopt(volume, "v", &root, Holding::All))?)?;
            peers[index].volume = Some(volume);
            let (peer, name) = (peers[index].local().ok_or("it runs")?.peer(), peers[index].name.to_string());
            well(peers[0].call(|engine| engine.admit(volume, secret, peer, name, Holding::All))?)?;
        }
        let told = aloud.then(Vec::new);
        let (wires, trace) = (BTreeMap::new(), blake3::Hasher::new());
        let (wires_made, let_go) = (0, false);
        Ok(Self { plan, clock, peers, wires, volume, wires_made, let_go, trace, told, _dir: dir })
    }

    /// One line of the trace.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        self.trace.update(line.as_bytes());
        if let Some(told) = &mut self.told {
            told.push(line);
        }
    }

    /// What all of it comes to.
    pub(crate) fn trace(&self) -> blake3::Hash {
        self.trace.finalize()
    }

    /// Lets something happen.
    pub(crate) fn act(&mut self, act: &Act) -> Check {
        let count = self.peers.len();
        let outcome = match act {
            Act::Rest => self.rest().map(|_| None),
            Act::Tick(ms) => self.tick(*ms).map(|()| None),
            Act::Meets(a, b) | Act::Parts(a, b) | Act::Hears(a, b, _) if a.0.max(b.0) >= count || a == b => Ok(None),
            Act::Meets(a, b) => {
                self.meet(a.0, b.0);
                Ok(None)
            }
            Act::Parts(a, b) => {
                self.part(a.0, b.0);
                Ok(None)
            }
            Act::Hears(a, b, pick) => self.hear(a.0, b.0, *pick),
            Act::Does(who, _)
            | Act::Races(who, ..)
            | Act::Works(who)
            | Act::Looks(who)
            | Act::Captures(who)
            | Act::Resolves(who, ..)
            | Act::Killed(who)
            | Act::Unplugged(who, _)
            | Act::Starts(who)
            | Act::Dies(who, _)
            | Act::Fills(who, _)
            | Act::Flips(who, _)
            | Act::Keeps(who)
            | Act::Returns(who)
            | Act::LetsGo(who) => {
                if who.0 < count {
                    self.act_on(*who, act)
                } else {
                    Ok(None)
                }
            }
        };
        let outcome = outcome.map_err(|error| format!("{act}: {error}"))?;
        self.spread();
        let state = act.who().and_then(|who| self.peers.get(who.0)).map_or(String::new(), state);
        self.tell(|| format!("{act}{} {state}", outcome.map_or(String::new(), |outcome| format!(" [{outcome}]"))));
        Ok(())
    }

    fn act_on(&mut self, Who(who): Who, act: &Act) -> Check<Option<String>> {
        let peer = &mut self.peers[who];
        match act {
            Act::Does(_, deed) => peer.does(deed)?,
            Act::Races(_, after, deed) => peer.races(*after, deed.clone()),
            Act::Works(_) => _ = peer.works()?,
            Act::Looks(_) => peer.looks(),
            Act::Captures(_) => {
                let volume = self.volume;
                peer.call(|engine| engine.capture(volume, None))?;
            }
            Act::Resolves(_, fork, choice) => return self.resolve(who, *fork, *choice),
            Act::Killed(_) => {
                peer.kill();
                self.cut(who);
            }
            Act::Unplugged(_, kept) => {
                peer.unplug(*kept);
                self.cut(who);
            }
            Act::Starts(_) => {
                self.cut(who);
                self.peers[who].start()?;
            }
            Act::Dies(_, after) => peer.dies_after(*after),
            Act::Fills(_, after) => peer.fills_after(*after),
            Act::Flips(_, chunk) => self.flip(who, *chunk)?,
            Act::Keeps(_) => peer.keep(),
            Act::Returns(_) => self.put_back(who)?,
            Act::LetsGo(_) => self.let_go_of_old(who)?,
            _ => {}
        }
        Ok(None)
    }

    /// One chunk at one peer is damaged; the others have it whole, once everything is at rest.
    fn flip(&mut self, who: usize, nth: usize) -> Check {
        if self.let_go {
            return Ok(());
        }
        self.rest()?;
        let mut others =
            (0..self.peers.len()).filter(|other| *other != who).map(|other| self.peers[other].sound_chunks());
        let first = others.next().unwrap_or_default();
        let held = others.fold(first, |held, more| &held & &more);
        let sound: Vec<_> = (&self.peers[who].sound_chunks() & &held).into_iter().collect();
        if let Some(chunk) = sound.get(nth % sound.len().max(1)) {
            self.peers[who].damage(*chunk);
        }
        Ok(())
    }

    /// A home is put back from its copy, when the others have all that it had.
    fn put_back(&mut self, who: usize) -> Check {
        self.rest()?;
        if self.peers[who].put_back() {
            self.cut(who);
            self.peers[who].start()?;
        }
        Ok(())
    }

    /// Lets go of all versions but the current ones and those before them.
    pub(crate) fn let_go_of_old(&mut self, who: usize) -> Check {
        if self.peers.iter().any(|peer| !peer.damaged.is_empty()) {
            return Ok(());
        }
        self.let_go = true;
        let retention = Retention { within_ms: 0, last: 1 };
        let order = Order { retention, orphans: true, dry_run: false, reclaim: false };
        self.peers[who].call(|engine| engine.gc(&order, &mut |_| (), &|| true)).map(|_| ())
    }

    pub(crate) fn tick(&mut self, ms: u64) -> Check {
        self.clock.pass(ms);
        let now = self.clock.ms();
        self.wires.values_mut().try_for_each(|wire| wire.tick(now))
    }

    /// Connects two peers that run.
    pub(crate) fn meet(&mut self, a: usize, b: usize) {
        let pair = (a.min(b), a.max(b));
        let run = [pair.0, pair.1].iter().all(|peer| self.peers[*peer].engine().is_some());
        if run && !self.wires.contains_key(&pair) {
            self.wires_made += 1;
            let wire = Wire::new(self.wires_made, [pair.0, pair.1], self.clock.ms(), &[self.volume]);
            self.wires.insert(pair, wire);
        }
    }

    /// Their connection breaks: what was on its way is lost.
    pub(crate) fn part(&mut self, a: usize, b: usize) {
        let pair = (a.min(b), a.max(b));
        if self.wires.remove(&pair).is_some() {
            for (here, there) in [(pair.0, pair.1), (pair.1, pair.0)] {
                let gone = self.peers[there].id();
                if let Some(local) = self.peers[here].local() {
                    local.peer_down(gone);
                }
            }
        }
    }

    /// A process is no more: all its connections break.
    fn cut(&mut self, who: usize) {
        for other in 0..self.peers.len() {
            self.part(who, other);
        }
    }

    /// One thing happens at one end of a connection.
    pub(crate) fn hear(&mut self, a: usize, b: usize, pick: usize) -> Check<Option<String>> {
        let pair = (a.min(b), a.max(b));
        let now = self.clock.ms();
        let Some(wire) = self.wires.get_mut(&pair) else { return Ok(None) };
        let Some(end) = wire.end_of(a) else { return Ok(None) };
        let said = wire.step(&self.peers, end, pick, now)?;
        self.peers[a].read_log()?;
        Ok(said)
    }

    /// What engines have to say reaches their connections; those that died are no more, and what ended ends.
    pub(crate) fn spread(&mut self) {
        for who in 0..self.peers.len() {
            for event in self.peers[who].take_events() {
                self.wires.values_mut().for_each(|wire| wire.tell(who, event));
            }
            if self.peers[who].is_dead() {
                self.peers[who].kill();
                self.cut(who);
            }
        }
        let ended: Vec<_> = self.wires.iter().filter(|(_, wire)| wire.ended.is_some()).map(|(pair, _)| *pair).collect();
        for (a, b) in ended {
            self.tell(|| format!("{a} and {b} end"));
            self.part(a, b);
        }
    }

    /// A person settles a fork, if there is one and that choice fits it.
    fn resolve(&mut self, who: usize, fork: usize, choice: usize) -> Check<Option<String>> {
        if self.peers[who].engine().is_none() || self.peers[who].is_dead() {
            return Ok(None);
        }
        let forks = self.forks_of(who)?;
        let Some(fork) = forks.get(fork % forks.len().max(1)).cloned() else { return Ok(None) };
        let node = fork.nodes[choice % fork.nodes.len()];
        let state = self.peers[who].observe(|_, volume| volume.node(node));
        let state = state.ok_or("it runs")?.map_err(|error| error.to_string())?.ok_or("a node of a fork")?;
        let heads: Vec<_> = Register::ALL.iter().flat_map(|register| state.heads(*register).to_vec()).collect();
        let others = [Choice::Ours, Choice::Theirs, Choice::Newest, Choice::Both, Choice::Delete];
        let chosen = match others.get(choice % 8) {
            Some(choice) => choice.clone(),
            None if heads.is_empty() => Choice::Newest,
            None => Choice::Take(heads[choice % heads.len()]),
        };
        let (id, kind) = (self.volume, fork.kind);
        let closed = self.peers[who].call(|engine| match engine.resolve(id, fork, chosen.clone()) {
            // Not every choice fits every fork, and the capture before it may settle one.
            Err(pfs_engine::EngineError::Resolve(error)) => Ok(Err(error.to_string())),
            result => result.map(Ok),
        })?;
        Ok(Some(match closed {
            Came::Well(Ok(patches)) => format!("{kind} {chosen:?}: {}", patches.len()),
            Came::Well(Err(why)) => format!("{kind} {chosen:?}: {why}"),
            Came::Spoilt => "spoilt".into(),
        }))
    }

    /// Forks that a peer sees.
    pub(crate) fn forks_of(&self, who: usize) -> Check<Vec<Fork>> {
        let rows = self.peers[who].observe(|_, volume| volume.forks()).ok_or("it runs")?;
        let rows = rows.map_err(|error| error.to_string())?;
        rows.iter().map(|row| codec::decode(row).map_err(|error| error.to_string())).collect()
    }

    /// When something will happen by itself if nothing else does.
    pub(crate) fn next_due_ms(&self, engines: &[Option<Duration>]) -> Option<u64> {
        let engines = engines.iter().flatten().map(|due| due.as_millis() as u64 + 1);
        let wires = self.wires.values().filter_map(Wire::due_ms);
        engines.chain(wires).min()
    }
}

/// Some of what is in a tree before it is tracked is the same everywhere, some is not.
fn furnish(peer: &mut Peer, seed: u64) -> Check {
    let (mut same, mut own) = (Dice(seed ^ 0x5eed), Dice(seed ^ u64::from(u32::from(peer.name))));
    let token = |dice: &mut Dice| (*dice.pick(&["same", "alike", "other", "Long"])).to_owned();
    for deed in [Deed::Mkdir("a".into()), Deed::Write("b".into(), token(&mut same)), Deed::Link("c".into(), "b".into())]
    {
        peer.does(&deed)?;
    }
    for _ in 0..4 {
        let at = (*own.pick(&["a/a", "a/b", "a/c", "b", "c", "d"])).to_owned();
        let deed = match own.below(6) {
            0 => Deed::Mkdir(at),
            1 => Deed::Remove(at),
            2 => Deed::Chmod(at, 0o700),
            _ => Deed::Write(at, token(&mut own)),
        };
        peer.does(&deed)?;
    }
    Ok(())
}

/// What can be seen of a peer in short; nothing of it may depend on anything but the schedule.
fn state(peer: &Peer) -> String {
    let seen = peer.observe(|_, volume| {
        let (forks, stale) = (volume.forks().map_or(99, |forks| forks.len()), volume.stale(None, 99));
        (volume.frontier().total(), forks, stale.map_or(99, |stale| stale.len()))
    });
    let Some((frontier, forks, stale)) = seen else { return format!("{}:-", peer.name) };
    let digest = digest(&peer.tree()).to_hex();
    format!("{}:{frontier}/{forks}/{stale}/{}", peer.name, &digest[..6])
}

/// What an engine said that has no reason to fail.
fn well<T>(came: Came<T>) -> Check<T> {
    match came {
        Came::Well(value) => Ok(value),
        Came::Spoilt => Err("it failed without a reason".into()),
    }
}

/// Whether nothing is left to look at, to write or to fetch.
pub(crate) fn rests(report: &VolumeReport) -> bool {
    !report.busy && !report.capturing
}
