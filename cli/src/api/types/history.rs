//! The past: log, show, cat, ls.

use serde::{Deserialize, Serialize};

use super::{ForkKind, Mode, Named, RawPath, Revision, Target, WallTime};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRequest {
    /// None: every volume.
    pub(crate) target: Option<Target>,
    /// At most so many; none: all.
    pub(crate) limit: Option<u64>,
    pub(crate) since: Option<WallTime>,
    pub(crate) until: Option<WallTime>,
    /// Name, id or unique id prefix.
    pub(crate) origin: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogLine {
    pub(crate) patch: String,
    pub(crate) time: WallTime,
    pub(crate) origin: Named,
    /// The volume's name.
    pub(crate) volume: String,
    /// Below the volume's root, after the patch (before it, for a delete).
    pub(crate) path: RawPath,
    pub(crate) action: Action,
    /// Where it was, for a rename.
    pub(crate) from: Option<RawPath>,
    /// After the patch; none for directories and deletes.
    pub(crate) size: Option<u64>,
    pub(crate) supersedes: Vec<String>,
    /// In chunks that no earlier patch had.
    pub(crate) new_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Create,
    Edit,
    Delete,
    Rename,
    Attr,
    Resolve,
    Restore,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShowRequest {
    /// An id or its unique prefix.
    pub(crate) patch: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) patch: String,
    pub(crate) volume: String,
    pub(crate) node: String,
    pub(crate) path: RawPath,
    pub(crate) action: Action,
    pub(crate) from: Option<RawPath>,
    pub(crate) size: Option<u64>,
    /// Every peer that made this change, earliest first.
    pub(crate) attested: Vec<Attestation>,
    /// What it sets, and what that superseded.
    pub(crate) sets: Vec<Setting>,
    /// The directory delete that it is part of.
    pub(crate) within: Option<String>,
    pub(crate) chunks: Chunks,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attestation {
    pub(crate) origin: Named,
    pub(crate) time: WallTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) register: Register,
    /// The value in words: `file, 1204 bytes`, `at drivers/net/foo.c`, `gone`, `mode 0644`.
    pub(crate) value: String,
    pub(crate) supersedes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Register {
    Place,
    Content,
    Attr,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chunks {
    pub(crate) total: u64,
    /// Those that no earlier patch had, in file order.
    pub(crate) new: Vec<NewChunk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewChunk {
    pub(crate) id: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CatRequest {
    pub(crate) target: Target,
    /// At most one of the two; neither: what the volume shows now.
    pub(crate) at: Option<Revision>,
    /// One head of a fork: an id or its unique prefix.
    pub(crate) head: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LsRequest {
    pub(crate) target: Target,
    pub(crate) at: Option<Revision>,
    pub(crate) recursive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LsLine {
    /// Below the volume's root.
    pub(crate) path: RawPath,
    pub(crate) kind: NodeKind,
    /// 0 for directories.
    pub(crate) size: u64,
    pub(crate) mode: Mode,
    /// None for directories and symlinks.
    pub(crate) mtime: Option<WallTime>,
    /// Whether all its bytes are here.
    pub(crate) held: bool,
    /// Of an open fork of this node.
    pub(crate) fork: Option<ForkKind>,
    /// Of a symlink.
    pub(crate) target: Option<RawPath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeKind {
    File,
    Dir,
    Symlink,
}
