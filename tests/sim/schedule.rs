//! Schedules: random ones from a seed, those that are written down, and the cutting down of those that fail.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use super::act::{Act, Deed, NoAct, Who};
use super::chance::Dice;
use super::disk::Thing;
use super::peer::Check;
use super::world::{How, KEPT, Plan, World};

/// A world and what happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) plan: Plan,
    pub(crate) acts: Vec<Act>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { seed, peers, mesh, how, full } = self.plan;
        let (shape, how) = (if mesh { "mesh" } else { "line" }, format!("{how:?}").to_lowercase());
        write!(f, "{seed} {peers} {shape} {how}{}", if full { " full" } else { "" })?;
        self.acts.iter().try_for_each(|act| write!(f, "; {act}"))
    }
}

impl FromStr for Script {
    type Err = NoAct;

    fn from_str(text: &str) -> Result<Self, NoAct> {
        let mut parts = text.split(';');
        let head = parts.next().unwrap_or_default();
        let plan = || {
            let (head, full) = head.trim_end().strip_suffix(" full").map_or((head, false), |head| (head, true));
            let [seed, peers, shape, how] = head.split_whitespace().collect::<Vec<_>>()[..] else { return None };
            let how = match how {
                "free" => How::Free,
                "apart" => How::Apart,
                "turns" => How::Turns,
                _ => return None,
            };
            Some(Plan { seed: seed.parse().ok()?, peers: peers.parse().ok()?, mesh: shape == "mesh", how, full })
        };
        let plan = plan().ok_or_else(|| NoAct(head.to_owned()))?;
        let acts = parts.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { plan, acts })
    }
}

/// What came of a schedule.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) script: Script,
    /// The trace in words, if it was wanted, and what it comes to.
    pub(crate) told: Vec<String>,
    pub(crate) trace: Option<blake3::Hash>,
    /// How many stores failed.
    pub(crate) struck: usize,
    pub(crate) failed: Option<String>,
}

/// The schedule of a seed.
pub(crate) fn play_seed(seed: u64, aloud: bool) -> Played {
    let mut dice = Dice(seed);
    let how = *dice.pick(&[How::Free, How::Free, How::Free, How::Free, How::Apart, How::Turns]);
    let (peers, mesh, full) = (*dice.pick(&[2, 2, 3]), dice.percent(60), how == How::Free && dice.percent(20));
    let plan = Plan { seed, peers, mesh, how, full };
    let length = match how {
        How::Turns => 4 + dice.below(8),
        How::Free | How::Apart => 10 + dice.below(50),
    };
    play(plan, aloud, |world, acts| {
        for step in 0..length {
            let act = any_act(world, &mut dice, step);
            acts.push(act.clone());
            world.act(&act)?;
            if how == How::Turns && matches!(act, Act::Does(..)) || dice.percent(1) {
                acts.push(Act::Rest);
                world.act(&Act::Rest)?;
            }
        }
        Ok(())
    })
}

/// A schedule that is written down.
pub(crate) fn play_script(script: &Script, aloud: bool) -> Played {
    let Script { plan, acts } = script;
    play(*plan, aloud, |world, played| {
        for act in acts {
            played.push(act.clone());
            world.act(act)?;
        }
        Ok(())
    })
}

fn play(plan: Plan, aloud: bool, acts: impl FnOnce(&mut World, &mut Vec<Act>) -> Check) -> Played {
    let script = Script { plan, acts: Vec::new() };
    let mut played = Played { script, told: Vec::new(), trace: None, struck: 0, failed: None };
    let mut world = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(World::new(plan, aloud)?);
        world.rest()?;
        acts(world, &mut played.script.acts)?;
        finish(world)
    }));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    played.failed = outcome.err();
    if let Some(world) = world {
        played.trace = Some(world.trace());
        played.struck = world.peers.iter().map(|peer| peer.struck).sum();
        played.told = world.told.unwrap_or_default();
    }
    played
}

/// The end of every schedule: all comes to rest, the first peer settles every fork, and nothing is left to do.
fn finish(world: &mut World) -> Check {
    const RESOLVES_MAX: usize = 200;
    let mut forks = world.rest()?;
    let mut choice = 2;
    while !forks.is_empty() {
        world.act(&Act::Resolves(Who(0), 0, choice))?;
        forks = world.forks_of(0)?.into_iter().collect();
        choice += 1;
        if choice > RESOLVES_MAX {
            return Err(format!("I11: forks that nobody can settle: {forks:?}"));
        }
        if forks.is_empty() {
            forks = world.rest()?;
        }
    }
    world.rests_for_good()
}

/// A random act that makes sense now.
fn any_act(world: &World, dice: &mut Dice, step: usize) -> Act {
    let count = world.peers.len();
    let who = Who(dice.below(count));
    let other = Who((who.0 + 1 + dice.below(count - 1)) % count);
    if world.plan.how == How::Turns {
        return Act::Does(who, any_deed(world, who, dice, step));
    }
    if world.peers[who.0].engine().is_none() && dice.percent(40) {
        return Act::Starts(who);
    }
    match dice.below(if world.plan.how == How::Free { 104 } else { 102 }) {
        0..32 => Act::Does(who, any_deed(world, who, dice, step)),
        32..37 => Act::Races(who, 1 + dice.below(120), any_deed(world, who, dice, step)),
        37..52 => Act::Works(who),
        52..74 => Act::Hears(who, other, dice.below(8)),
        74..82 => Act::Tick(1 + dice.below(60) as u64),
        82..84 => Act::Tick(100 << dice.below(10)),
        84..86 => Act::Looks(who),
        86..88 => Act::Captures(who),
        88..90 => Act::Resolves(who, dice.below(4), dice.below(16)),
        90..93 => Act::Meets(who, other),
        93..95 => Act::Parts(who, other),
        95 => Act::Killed(who),
        96 => Act::Unplugged(who, dice.below(6)),
        97 => Act::Starts(who),
        98 => Act::Dies(who, 1 + dice.below(150)),
        99 => Act::Fills(who, 1 + dice.below(150)),
        100 => Act::Flips(who, dice.below(100)),
        101 => Act::LetsGo(who),
        102 => Act::Keeps(who),
        _ => Act::Returns(who),
    }
}

/// Something that a user could do to the tree as it is.
fn any_deed(world: &World, Who(who): Who, dice: &mut Dice, step: usize) -> Deed {
    const DEPTH: usize = 2;
    let tree = world.peers[who].tree();
    let only = if world.plan.how == How::Apart { format!("{}/", (b'a' + who as u8) as char) } else { String::new() };
    if !only.is_empty() && !tree.contains_key(only.trim_end_matches('/')) {
        return Deed::Mkdir(only.trim_end_matches('/').to_owned());
    }
    let mine: Vec<&String> = tree.keys().filter(|path| path.starts_with(&only) && *path != KEPT).collect();
    let depth = |path: &str| path[only.len()..].matches('/').count();
    let mut folders = vec![only.clone()];
    let is_dir = |path: &&&String| matches!(tree[**path], Thing::Dir { .. }) && depth(path) < DEPTH;
    folders.extend(mine.iter().filter(is_dir).map(|path| format!("{path}/")));
    let mut spot = || format!("{}{}", dice.pick(&folders), dice.pick(&["a", "b", "c"]));
    let (new, to) = (spot(), spot());
    let token = match dice.below(100) {
        0..12 => (*dice.pick(&["same", "alike"])).to_owned(),
        12..14 => format!("L{step}"),
        14..18 => format!("{step:<30}"),
        _ => format!("{}{step:03}", (b'a' + who as u8) as char),
    };
    let token = token.replace(' ', "-");
    let at = if mine.is_empty() || dice.percent(25) { new } else { (*dice.pick(&mine)).clone() };
    match dice.below(100) {
        0..22 => Deed::Write(at, token),
        22..34 => Deed::Save(at, token),
        34..38 => Deed::Backup(at, token),
        38..43 => Deed::Append(at, token),
        43..45 => Deed::Truncate(at),
        45..59 => Deed::Mkdir(to),
        59..68 => Deed::Remove(at),
        68..86 => Deed::Move(at, to),
        86..90 => Deed::Chmod(at, *dice.pick(&[0o640, 0o755, 0o700])),
        90..95 => Deed::Link(to, (*dice.pick(&["a", "none"])).to_owned()),
        _ => Deed::Swap(
            at,
            (*dice.pick(&mine.iter().map(|path| (*path).clone()).chain([to]).collect::<Vec<_>>())).clone(),
        ),
    }
}

/// Drops acts from a script that fails as long as it still fails.
pub(crate) fn shrink(script: &Script) -> (Script, String) {
    let mut best = script.clone();
    let mut why = play_script(&best, false).failed.unwrap_or_else(|| "not when replayed".into());
    let mut size = best.acts.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut dropped = false;
        while at < best.acts.len() {
            let mut fewer = best.clone();
            fewer.acts.drain(at..(at + size).min(best.acts.len()));
            match play_script(&fewer, false).failed {
                Some(failed) => (best, why, dropped) = (fewer, failed, true),
                None => at += size,
            }
        }
        size = if size == 1 && dropped { 1 } else { size / 2 };
    }
    (best, why)
}
