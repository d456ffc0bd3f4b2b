//! Forks and how they are closed.

use serde::{Deserialize, Serialize};

use super::{Named, RawPath, Target, WallTime};
use crate::api::service::ErrorKind;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForksRequest {
    pub(crate) target: Option<Target>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fork {
    /// The volume's name.
    pub(crate) volume: String,
    pub(crate) path: RawPath,
    pub(crate) kind: ForkKind,
    /// The latest common ancestor of the heads, where there is exactly one.
    pub(crate) base: Option<Base>,
    pub(crate) heads: Vec<Head>,
    /// How it can be settled.
    pub(crate) choices: Vec<Way>,
}

/// A choice by its name only, as the command line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    Take,
    Ours,
    Theirs,
    Newest,
    Both,
    Delete,
    /// Text whose changes go together.
    Merge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ForkKind {
    Content,
    Kind,
    Delete,
    Place,
    Name,
    Cycle,
    Attr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) patch: String,
    /// None for what has no bytes.
    pub(crate) size: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) patch: String,
    pub(crate) origin: Named,
    pub(crate) time: WallTime,
    /// What this side did, in words: `edited`, `deleted`, `moved to b/c`.
    pub(crate) summary: String,
    /// None for what has no bytes.
    pub(crate) size: Option<u64>,
    /// Whether it is the one on disk here.
    pub(crate) shown: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResolveRequest {
    /// Files, or directories for every fork below them.
    pub(crate) targets: Vec<Target>,
    pub(crate) choice: Choice,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Choice {
    /// This head: an id or its unique prefix.
    Take(String),
    /// The head on disk here.
    Ours,
    /// The head that is not; refused where there are several.
    Theirs,
    /// The head made last.
    Newest,
    /// Keep every side, the others beside the one that is shown.
    Both,
    /// None of them: delete.
    Delete,
    /// What all of them made of the text that they began from; left open where that contradicts itself.
    Merge,
    /// The bytes of that file (absolute), for exactly one fork.
    With(RawPath),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) resolved: Vec<Closed>,
    /// What was asked for and is not settled, in the order of the request.
    pub(crate) left: Vec<Left>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Closed {
    pub(crate) volume: String,
    pub(crate) path: RawPath,
    /// The patch that closed it.
    pub(crate) patch: String,
    /// The side that stands now; none where it was deleted, or where it is something of several sides.
    pub(crate) kept: Option<Head>,
    /// Where the other sides stand now, if they do.
    pub(crate) beside: Vec<RawPath>,
    /// Whether none stands.
    pub(crate) deleted: bool,
    /// Whether what stands was put together from all sides.
    #[serde(default)]
    pub(crate) merged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    /// Of the fork; none where none was found.
    pub(crate) volume: Option<String>,
    /// Of the fork; as it was typed where none was found.
    pub(crate) path: RawPath,
    pub(crate) kind: ErrorKind,
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
}
