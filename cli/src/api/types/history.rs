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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoreRequest {
    pub(crate) target: Target,
    pub(crate) at: Revision,
    /// Where a copy is to stand; none: the target itself becomes what it was.
    pub(crate) to: Option<Target>,
    /// Only to say what would be done.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// The volume's name.
    pub(crate) volume: String,
    /// What became as it was, or where the copy stands.
    pub(crate) path: RawPath,
    /// Patches written, or that would be.
    pub(crate) patches: u64,
    /// The first of them; none where everything is as it was.
    pub(crate) patch: Option<String>,
    pub(crate) dry_run: bool,
    /// How many paths, by what became of them.
    pub(crate) counts: RestoredCounts,
    /// The first of them, by path.
    pub(crate) changes: Vec<RestoredPath>,
    /// Contents that come from other members.
    pub(crate) lacking: Lacking,
}

/// How many paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoredCounts {
    pub(crate) back: u64,
    pub(crate) changed: u64,
    pub(crate) moved: u64,
    pub(crate) removed: u64,
    pub(crate) settled: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestoredPath {
    /// Below the volume's root.
    pub(crate) path: RawPath,
    pub(crate) change: Deed,
    /// Where it stood, if it was moved.
    pub(crate) from: Option<RawPath>,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Deed {
    /// Something stands there again.
    Back,
    /// Other bytes or attributes.
    Changed,
    /// It stands there again.
    Moved,
    /// It was not there then.
    Removed,
    /// It looked so already, and a fork of it was settled.
    Settled,
}

/// Contents that are not all here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lacking {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiffRequest {
    pub(crate) target: Target,
    /// None: the sides of its fork or, where it has none, what was before its last change.
    pub(crate) from: Option<Revision>,
    /// None: now.
    pub(crate) to: Option<Revision>,
}

/// How one thing differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiffItem {
    /// The volume's name.
    pub(crate) volume: String,
    /// Where it stands after it; before it, if it no longer does.
    pub(crate) path: RawPath,
    pub(crate) change: Change,
    /// Where it stood, if that was elsewhere.
    pub(crate) from: Option<RawPath>,
    pub(crate) before: Option<DiffSide>,
    pub(crate) after: Option<DiffSide>,
    /// The hunks of a unified diff, of text.
    pub(crate) text: Option<String>,
    /// What is not text: the stretches of the later version that the earlier one has not.
    pub(crate) ranges: Option<Vec<Stretch>>,
    /// Whether what is needed to tell more is not here.
    pub(crate) lacking: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    Added,
    Removed,
    /// Its bytes, perhaps also its path or attributes.
    Changed,
    /// Its path, perhaps also its attributes.
    Moved,
    /// Its attributes only.
    Attr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiffSide {
    /// That wrote these bytes.
    pub(crate) patch: String,
    pub(crate) origin: Named,
    pub(crate) time: WallTime,
    pub(crate) kind: NodeKind,
    pub(crate) size: u64,
    /// None where versions of one file are compared.
    pub(crate) mode: Option<Mode>,
}

/// Bytes from `start` on, `end` left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stretch {
    pub(crate) start: u64,
    pub(crate) end: u64,
}
