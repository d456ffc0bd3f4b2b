//! Which versions of a file are kept, and why.
//!
//! A version is what a patch says of a file's content. It is let go of only if no rule keeps it; what is current for
//! anybody, or part of a fork, is always kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::facts::{Facts, Unreadable};
use crate::model::ids::{NodeId, PatchId};
use crate::model::patch::{Content, Register, Root};
use crate::model::time::Time;

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// What was current at any moment of this many milliseconds before now; `u64::MAX`: of all time.
    pub within_ms: u64,
    /// So many of the newest versions of every file that is there.
    pub last: u32,
}

/// Three months, and three versions of what has not changed in that time.
impl Default for Retention {
    fn default() -> Self {
        Self { within_ms: 90 * 24 * 3600 * 1000, last: 3 }
    }
}

/// What becomes of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Kept: nothing supersedes it, or this disk shows it.
    Current,
    /// Kept: the file has a fork, whose sides and base may all be wanted.
    Forked,
    /// Kept: it was current not long ago.
    Recent,
    /// Kept: one of the newest.
    Last,
    /// Let go of: another took its place at that time.
    Superseded(Time),
}

/// One version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The patch that made it.
    pub patch: PatchId,
    /// When.
    pub time: Time,
    /// Where its bytes are.
    pub root: Root,
    /// How many.
    pub len: u64,
    /// What becomes of it.
    pub fate: Fate,
}

/// Every version of a node that has bytes, newest first; none of what never was a file.
pub fn versions(
    facts: &dyn Facts,
    node: NodeId,
    now_ms: u64,
    retention: &Retention,
) -> Result<Vec<Version>, Unreadable> {
    let heads = facts.node(node)?.map(|state| state.heads(Register::Content).to_vec()).unwrap_or_default();
    let History { made, superseded } = history(facts, &heads)?;
    let shown = facts.shown(node)?.map(|shown| shown.patch(Register::Content));
    let is_there = heads.iter().any(|head| made.contains_key(head));
    let mut versions: Vec<Version> = Vec::new();
    for (patch, (time, root, len)) in made {
        let fate = match superseded.get(&patch) {
            None => Fate::Current,
            Some(_) if shown == Some(patch) => Fate::Current,
            Some(_) if heads.len() > 1 => Fate::Forked,
            Some(by) if by.ms().saturating_add(retention.within_ms) >= now_ms => Fate::Recent,
            Some(by) => Fate::Superseded(*by),
        };
        versions.push(Version { patch, time, root, len, fate });
    }
    versions.sort_by_key(|version| std::cmp::Reverse((version.time, version.patch)));
    if is_there {
        for version in versions.iter_mut().take(retention.last as usize) {
            if let Fate::Superseded(_) = version.fate {
                version.fate = Fate::Last;
            }
        }
    }
    Ok(versions)
}

/// The patches of a content register.
#[derive(Default)]
struct History {
    /// Those that have bytes: when they were made, and the bytes.
    made: BTreeMap<PatchId, (Time, Root, u64)>,
    /// When each patch was first superseded.
    superseded: BTreeMap<PatchId, Time>,
}

fn history(facts: &dyn Facts, heads: &[PatchId]) -> Result<History, Unreadable> {
    let (mut history, mut seen) = (History::default(), BTreeSet::new());
    let mut rest = heads.to_vec();
    while let Some(id) = rest.pop() {
        let Some(known) = facts.patch(id)?.filter(|_| seen.insert(id)) else { continue };
        if let Some(Content::File { len, root, .. }) = known.patch.content
            && len > 0
        {
            history.made.insert(id, (known.time, root, len));
        }
        for old in known.patch.supersedes.of(Register::Content) {
            let first = history.superseded.entry(*old).or_insert(known.time);
            *first = known.time.min(*first);
            rest.push(*old);
        }
    }
    Ok(history)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests;
