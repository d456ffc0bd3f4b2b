//! What the sides of a content fork made of one text, put together.

use std::ops::RangeInclusive;

use super::diff::bytes_of;
use crate::error::EngineError;
use crate::limits::TEXT_BYTES_MAX;
use crate::model::facts::{Facts, Unreadable};
use crate::model::ids::PatchId;
use crate::model::patch::{Content, Register};
use crate::model::view::{self, Fork, ForkKind};
use crate::plan::text;
use crate::store::{Store, Volume};

/// Sides that go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The text.
    pub text: String,
    /// The heads that it was made of.
    pub over: Vec<PatchId>,
}

/// Why sides do not go together by themselves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Only contents can be merged.
    #[error("the sides of a {0} fork cannot be merged")]
    Kind(ForkKind),
    /// There is no one version that all sides began from.
    #[error("the sides have no common version to merge them by")]
    NoBase,
    /// One of them is not text, or longer than anybody reads.
    #[error("only text of at most {} KB can be merged, and patch {} holds something else", TEXT_BYTES_MAX >> 10, .0.short())]
    NotText(PatchId),
    /// The sides changed the same lines, these of the base.
    #[error("both sides changed {} of the version that they began from", lines(.0))]
    Contested(Vec<RangeInclusive<usize>>),
    /// The bytes could not be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<Unreadable> for MergeError {
    fn from(error: Unreadable) -> Self {
        Self::Engine(error.into())
    }
}

/// `line 3`, `lines 3-5 and 9`.
fn lines(ranges: &[RangeInclusive<usize>]) -> String {
    let one = |range: &RangeInclusive<usize>| match (range.start(), range.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start}-{end}"),
    };
    let each: Vec<_> = ranges.iter().map(one).collect();
    let is_one = matches!(ranges, [only] if only.start() == only.end());
    match each.split_last() {
        Some((last, [])) => format!("{} {last}", if is_one { "line" } else { "lines" }),
        Some((last, rest)) => format!("lines {} and {last}", rest.join(", ")),
        None => "the same lines".to_owned(),
    }
}

/// Puts together what all sides of a fork made of the text that they began from.
pub fn merged(store: &Store, volume: &Volume, fork: &Fork) -> Result<Merged, MergeError> {
    let ([node], ForkKind::Content) = (&fork.nodes[..], fork.kind) else { return Err(MergeError::Kind(fork.kind)) };
    let over = volume.node(*node)?.map(|state| state.heads(Register::Content).to_vec()).unwrap_or_default();
    let base = view::base(volume, *node, Register::Content)?.ok_or(MergeError::NoBase)?;
    let base = text_of(store, volume, base)?;
    let sides = over.iter().map(|head| text_of(store, volume, *head)).collect::<Result<Vec<_>, _>>()?;
    let text = text::merged(&base, sides.iter().map(String::as_str)).map_err(MergeError::Contested)?;
    Ok(Merged { text, over })
}

fn text_of(store: &Store, volume: &Volume, patch: PatchId) -> Result<String, MergeError> {
    let known = volume.patch(patch)?.map(|known| known.patch);
    let is_short = |content: &Content| matches!(content, Content::File { len, .. } if *len <= TEXT_BYTES_MAX);
    if !known.is_some_and(|patch| patch.content.as_ref().is_some_and(is_short)) {
        return Err(MergeError::NotText(patch));
    }
    let bytes = bytes_of(store, volume, patch)?;
    text::text(&bytes).map(str::to_owned).ok_or(MergeError::NotText(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_words() {
        let table: [(&[RangeInclusive<usize>], &str); 4] = [
            (&[3..=3], "line 3"),
            (&[3..=5], "lines 3-5"),
            (&[3..=5, 9..=9], "lines 3-5 and 9"),
            (&[1..=1, 3..=5, 9..=9], "lines 1, 3-5 and 9"),
        ];
        for (ranges, words) in table {
            assert_eq!(lines(ranges), words);
        }
    }
}
