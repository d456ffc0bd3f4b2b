//! Letting go of old versions: gc.

use serde::{Deserialize, Serialize};

use super::{RawPath, WallTime};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GcRequest {
    /// What to keep, where it is not the rule that is kept by otherwise.
    pub(crate) within: Option<Within>,
    pub(crate) last: Option<u32>,
    pub(crate) dry_run: bool,
    /// Whether the daemon keeps by this rule from now on.
    pub(crate) remember: bool,
}

/// How long what is no longer current is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Within {
    Seconds(u64),
    Forever,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Collected {
    pub(crate) dry_run: bool,
    /// Let go of, or to be let go of.
    pub(crate) versions: u64,
    /// Of so many files.
    pub(crate) files: u64,
    /// What they take up that nothing else needs: raw in a dry run, on disk otherwise.
    pub(crate) bytes: u64,
    pub(crate) kept: Kept,
    /// By which rule.
    pub(crate) within: Within,
    pub(crate) last: u32,
    /// Some of the versions, those first that were replaced last.
    pub(crate) old: Vec<OldVersion>,
}

/// Versions that are kept, by why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) current: u64,
    pub(crate) forked: u64,
    pub(crate) recent: u64,
    pub(crate) last: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OldVersion {
    /// The volume's name.
    pub(crate) volume: String,
    pub(crate) path: RawPath,
    pub(crate) patch: String,
    pub(crate) time: WallTime,
    /// When another took its place.
    pub(crate) replaced: WallTime,
    pub(crate) size: u64,
}
