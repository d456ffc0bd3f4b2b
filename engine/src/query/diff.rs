//! Differences for people: of two versions of a file, of two trees. Texts line by line; of the rest which stretches
//! are new, from the manifests alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use super::forks::first_attested;
use super::tree::{Entry, cat, ls};
use crate::content::{ContentError, changed_ranges};
use crate::error::EngineError;
use crate::limits::TEXT_BYTES_MAX;
use crate::model::facts::{Eye, Facts};
use crate::model::ids::{NodeId, PatchId, PeerId};
use crate::model::name::RelPath;
use crate::model::patch::{Attr, Content};
use crate::model::time::Time;
use crate::plan::text;
use crate::store::{Store, Volume};

/// One of two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Where it stands.
    pub path: RelPath,
    /// What it is.
    pub content: Content,
    /// Mode and attributes, of what stands in a tree.
    pub attr: Option<Attr>,
    /// The patch that gave it its content, whose that is, and when.
    pub by: (PatchId, PeerId, Time),
}

/// How two versions differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// None: it was not there.
    pub before: Option<Version>,
    /// None: it is not there.
    pub after: Option<Version>,
    /// Of the contents.
    pub contents: Contents,
}

/// How two contents differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Not at all, or there is nothing to compare.
    Same,
    /// The hunks of a unified diff.
    Text(String),
    /// Not text: the stretches of the later one that the earlier one has not.
    Ranges(Vec<Range<u64>>),
    /// What is needed to tell is not here.
    Lacking,
}

/// The version that a patch wrote.
pub fn version(volume: &Volume, patch: PatchId, path: RelPath) -> Result<Version, EngineError> {
    let known = volume.patch(patch)?.ok_or_else(|| EngineError::NoPatch(patch.to_string()))?;
    let content = known.patch.content.clone().ok_or(EngineError::NoBytes(patch))?;
    let by = (patch, first_attested(volume, patch)?, known.time);
    Ok(Version { path, content, attr: None, by })
}

/// Compares two versions of one thing; a deleted one, like none, has no content.
pub fn compare(
    store: &Store,
    volume: &Volume,
    before: Option<Version>,
    after: Option<Version>,
) -> Result<Difference, EngineError> {
    let contents = contents(store, volume, before.as_ref(), after.as_ref())?;
    Ok(Difference { before, after, contents })
}

/// Hands over what differs between two trees at a path: what is there later in its order, then what no longer is.
/// What is in a directory that was moved is told only where it differs otherwise.
pub fn compare_trees(
    store: &Store,
    volume: &Volume,
    (before, after): (&dyn Facts, &dyn Facts),
    path: &RelPath,
    each: &mut dyn FnMut(Difference) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let (before, after) = (listed(volume, before, path)?, listed(volume, after, path)?);
    if before.is_none() && after.is_none() {
        return Err(EngineError::NoPath(path.to_string()));
    }
    trees(store, volume, (&before.unwrap_or_default(), &after.unwrap_or_default()), each)
}

/// Everything at a path; nothing where nothing is there.
fn listed(volume: &Volume, facts: &dyn Facts, path: &RelPath) -> Result<Option<Vec<Entry>>, EngineError> {
    let mut all = Vec::new();
    let mut take = |entry| {
        all.push(entry);
        ControlFlow::Continue(())
    };
    match ls(volume, (facts, Eye::Canonical), path, true, &mut take) {
        Ok(()) => Ok(Some(all)),
        Err(EngineError::NoPath(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn trees(
    store: &Store,
    volume: &Volume,
    (before, after): (&[Entry], &[Entry]),
    each: &mut dyn FnMut(Difference) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let was: BTreeMap<NodeId, &Entry> = before.iter().map(|entry| (entry.node, entry)).collect();
    let at: BTreeMap<&RelPath, &Entry> = before.iter().map(|entry| (&entry.path, entry)).collect();
    let stands: BTreeMap<&RelPath, NodeId> = after.iter().map(|entry| (&entry.path, entry.node)).collect();
    let folder = |path: &RelPath| path.split_last().map(|(folder, _)| folder);
    let mut paired = BTreeSet::new();
    for entry in after {
        // What has the same path is compared with that, whichever nodes they are.
        let earlier = at.get(&entry.path).or_else(|| was.get(&entry.node)).copied();
        let earlier = earlier.filter(|earlier| paired.insert(&earlier.path));
        let with_folder = earlier.is_some_and(|earlier| {
            let (from, to) = (folder(&earlier.path), folder(&entry.path));
            let from = from.and_then(|from| at.get(&from).map(|folder| folder.node));
            let to = to.and_then(|to| stands.get(&to).copied());
            from == to && earlier.path.0.last() == entry.path.0.last()
        });
        let is_same = earlier.is_some_and(|earlier| {
            let stays = earlier.path == entry.path || with_folder;
            stays && earlier.content.same(&entry.content) && earlier.attr == entry.attr
        });
        if is_same {
            continue;
        }
        let earlier = earlier.map(|earlier| entry_version(volume, earlier)).transpose()?;
        if each(compare(store, volume, earlier, Some(entry_version(volume, entry)?))?).is_break() {
            return Ok(());
        }
    }
    for gone in before.iter().filter(|entry| !paired.contains(&entry.path)) {
        if each(compare(store, volume, Some(entry_version(volume, gone)?), None)?).is_break() {
            break;
        }
    }
    Ok(())
}

fn entry_version(volume: &Volume, entry: &Entry) -> Result<Version, EngineError> {
    Ok(Version { attr: Some(entry.attr.clone()), ..version(volume, entry.patch, entry.path.clone())? })
}

fn contents(
    store: &Store,
    volume: &Volume,
    before: Option<&Version>,
    after: Option<&Version>,
) -> Result<Contents, EngineError> {
    let content = |version: Option<&Version>| version.map_or(Content::Gone, |version| version.content.clone());
    let (old, new) = (content(before), content(after));
    if old.same(&new) || is_bare(&old) && is_bare(&new) {
        return Ok(Contents::Same);
    }
    let texts = match (lines(store, volume, before), lines(store, volume, after)) {
        (Ok(Some(old)), Ok(Some(new))) => Some((old, new)),
        (Err(EngineError::NotHeld(_)), _) | (_, Err(EngineError::NotHeld(_))) => None,
        (Err(error), _) | (_, Err(error)) => return Err(error),
        _ => None,
    };
    if let Some((old, new)) = texts {
        return Ok(Contents::Text(text::unified(&old, &new)));
    }
    Ok(match (&old, &new) {
        (Content::File { root, len, .. }, Content::File { root: to, len: to_len, .. }) => {
            match changed_ranges(store, (*root, *len), (*to, *to_len)) {
                Ok(ranges) => Contents::Ranges(ranges),
                Err(ContentError::Lacking(_)) => Contents::Lacking,
                Err(error) => return Err(error.into()),
            }
        }
        (_, Content::File { len, .. }) => Contents::Ranges(std::iter::once(0..*len).collect()),
        _ => Contents::Ranges(Vec::new()),
    })
}

/// What has no bytes.
fn is_bare(content: &Content) -> bool {
    matches!(content, Content::Dir | Content::Gone)
}

/// The text of a version: of what is not there none, of a symlink its target. Nothing where it is no text, or longer
/// than anybody reads.
fn lines(store: &Store, volume: &Volume, version: Option<&Version>) -> Result<Option<String>, EngineError> {
    let Some(version) = version.filter(|version| !is_bare(&version.content)) else { return Ok(Some(String::new())) };
    if matches!(version.content, Content::File { len, .. } if len > TEXT_BYTES_MAX) {
        return Ok(None);
    }
    let bytes = bytes_of(store, volume, version.by.0)?;
    let is_link = matches!(version.content, Content::Symlink { .. });
    Ok(text::text(&bytes).map(|text| if is_link { format!("{text}\n") } else { text.to_owned() }))
}

/// All bytes of the content that a patch set, which are known to be few.
pub(crate) fn bytes_of(store: &Store, facts: &dyn Facts, patch: PatchId) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::new();
    let mut take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        ControlFlow::Continue(())
    };
    cat(store, facts, patch, &mut take)?;
    Ok(bytes)
}
