//! What one register can show, and how its patches descend from each other.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::facts::{Facts, Known, Unreadable};
use crate::model::ids::{NodeId, PatchId};
use crate::model::patch::{Content, Place, Register, Value};
use crate::model::time::Time;

/// All that a register can show, best first: live heads on this disk's own branch, other live heads, what was
/// there before; each newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// Patches that set the register to something that lives.
    pub patches: Vec<PatchId>,
    /// How many of them are heads.
    pub live: usize,
}

/// The rank of a patch: newer is greater.
pub(super) type Rank = (Time, PatchId);

/// What a register of a node can show. `mine` is the patch that this disk shows of it.
pub fn choices(
    facts: &dyn Facts,
    node: NodeId,
    register: Register,
    mine: Option<PatchId>,
) -> Result<Choices, Unreadable> {
    let mut choices = live_choices(facts, node, register, mine)?;
    choices.live = choices.patches.len();
    let mut older = Vec::new();
    for id in writers(facts, node, register)? {
        let Some(known) = facts.patch(id)? else { continue };
        if !choices.patches.contains(&id) && !is_dead(&known, register) {
            older.push((known.time, id));
        }
    }
    choices.patches.extend(newest_first(older));
    Ok(choices)
}

/// The first part of `choices`: heads that live.
pub(super) fn live_choices(
    facts: &dyn Facts,
    node: NodeId,
    register: Register,
    mine: Option<PatchId>,
) -> Result<Choices, Unreadable> {
    let Some(state) = facts.node(node)? else { return Ok(Choices::default()) };
    let heads = state.heads(register);
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for id in heads {
        let Some(known) = facts.patch(*id)? else { continue };
        if is_dead(&known, register) {
            continue;
        }
        let own = match mine {
            Some(_) if heads.len() == 1 => true,
            Some(mine) => is_on_branch(facts, mine, *id, register)?,
            None => false,
        };
        if own { near.push((known.time, *id)) } else { far.push((known.time, *id)) }
    }
    let mut patches: Vec<PatchId> = newest_first(near).chain(newest_first(far)).collect();
    if mine.is_some() {
        prefer_newest_equal(facts, &mut patches, register)?;
    }
    Ok(Choices { live: patches.len(), patches })
}

/// Of several heads that say the same as the best the newest is best: shown once, it would be so anyway.
fn prefer_newest_equal(facts: &dyn Facts, patches: &mut [PatchId], register: Register) -> Result<(), Unreadable> {
    let [first, _, ..] = patches else { return Ok(()) };
    let Some(best) = value(facts, *first, register)? else { return Ok(()) };
    let mut newest = None;
    for (at, id) in patches.iter().enumerate() {
        let Some(known) = facts.patch(*id)? else { continue };
        if known.patch.value(register).is_some_and(|value| value.same(&best)) {
            newest = newest.max(Some((known.time, *id, at)));
        }
    }
    if let Some((_, _, at)) = newest {
        patches[..=at].rotate_right(1);
    }
    Ok(())
}

fn newest_first(mut ranks: Vec<Rank>) -> impl Iterator<Item = PatchId> {
    ranks.sort_unstable_by_key(|rank| Reverse(*rank));
    ranks.into_iter().map(|(_, id)| id)
}

/// Whether a head says what this disk shows, or descends from it.
fn is_on_branch(facts: &dyn Facts, mine: PatchId, head: PatchId, register: Register) -> Result<bool, Unreadable> {
    let same = match (value(facts, mine, register)?, value(facts, head, register)?) {
        (Some(mine), Some(head)) => mine.same(&head),
        _ => false,
    };
    Ok(same || is_ancestor(facts, mine, head, register)?)
}

/// The value that a patch gives a register.
pub(super) fn value(facts: &dyn Facts, id: PatchId, register: Register) -> Result<Option<Value>, Unreadable> {
    Ok(facts.patch(id)?.and_then(|known| known.patch.value(register)))
}

pub(super) fn is_dead(known: &Known, register: Register) -> bool {
    match register {
        Register::Place => known.patch.place == Some(Place::Nowhere),
        Register::Content => known.patch.content == Some(Content::Gone),
        Register::Attr => false,
    }
}

/// Every patch that set a register of a node, in no order that means anything.
pub fn writers(facts: &dyn Facts, node: NodeId, register: Register) -> Result<Vec<PatchId>, Unreadable> {
    let Some(state) = facts.node(node)? else { return Ok(Vec::new()) };
    let mut writers: Vec<PatchId> = state.heads(register).to_vec();
    let mut seen: BTreeSet<PatchId> = writers.iter().copied().collect();
    let mut next = 0;
    while let Some(id) = writers.get(next).copied() {
        next += 1;
        let Some(known) = facts.patch(id)? else { continue };
        let before = known.patch.supersedes.of(register).iter();
        writers.extend(before.filter(|id| seen.insert(**id)));
    }
    Ok(writers)
}

/// Whether `new` supersedes `old` in a register, directly or through others. What is superseded is never later
/// than what supersedes it, so the walk ends early.
pub fn is_ancestor(facts: &dyn Facts, old: PatchId, new: PatchId, register: Register) -> Result<bool, Unreadable> {
    let Some(oldest) = facts.patch(old)?.map(|known| known.time) else { return Ok(false) };
    let (mut rest, mut seen) = (vec![new], BTreeSet::new());
    while let Some(id) = rest.pop() {
        let Some(known) = facts.patch(id)? else { continue };
        if known.time < oldest {
            continue;
        }
        for before in known.patch.supersedes.of(register) {
            if *before == old {
                return Ok(true);
            }
            if seen.insert(*before) {
                rest.push(*before);
            }
        }
    }
    Ok(false)
}

/// The unique latest common ancestor of a register's heads; none where they have none, or several equally late.
pub fn base(facts: &dyn Facts, node: NodeId, register: Register) -> Result<Option<PatchId>, Unreadable> {
    let Some(state) = facts.node(node)? else { return Ok(None) };
    let mut common: Option<BTreeSet<PatchId>> = None;
    for head in state.heads(register) {
        let past = past(facts, *head, register)?;
        common = Some(match common {
            Some(common) => common.intersection(&past).copied().collect(),
            None => past,
        });
    }
    let common = common.unwrap_or_default();
    let mut latest = common.clone();
    for id in &common {
        if latest.contains(id) {
            for before in past(facts, *id, register)? {
                latest.remove(&before);
            }
        }
    }
    Ok(if latest.len() == 1 { latest.pop_first() } else { None })
}

/// Everything that a patch supersedes in a register, directly or through others.
fn past(facts: &dyn Facts, id: PatchId, register: Register) -> Result<BTreeSet<PatchId>, Unreadable> {
    let (mut past, mut rest) = (BTreeSet::new(), vec![id]);
    while let Some(id) = rest.pop() {
        let Some(known) = facts.patch(id)? else { continue };
        let before = known.patch.supersedes.of(register).iter();
        rest.extend(before.filter(|id| past.insert(**id)));
    }
    Ok(past)
}
