//! Manifests: a file as the list of its pieces, and long lists cut into lists of lists.
//!
//! One byte sequence has one manifest, however its file is stored: a chunk of nothing but zeros is a hole,
//! adjacent holes are one, a file of a single chunk that is not a hole is that chunk, and an empty file is
//! [`Root::EMPTY`]. Lists are cut where the ids in them say so, as files are where their bytes do, so an
//! insertion changes a list or two on each level and leaves the others alone.

use serde::{Deserialize, Serialize};

use super::chunk::is_zero;
use super::codec;
use super::ids::ChunkId;
use super::patch::Root;
use crate::limits::{CHUNK_BYTES_MAX, MANIFEST_DEPTH_MAX, MANIFEST_PIECES_MAX, MANIFEST_PIECES_MIN};

/// A list ends after a piece whose id is zero in these bits: one in 64.
const LIST_MASK: u8 = 63;
/// A piece takes at most 43 bytes: its kind, an id and a length. What is longer is not decoded at all.
const LIST_BYTES_MAX: usize = 48 * MANIFEST_PIECES_MAX;

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Piece {
    /// A chunk of its bytes.
    Data {
        /// Which chunk.
        id: ChunkId,
        /// Bytes.
        len: u32,
    },
    /// Zeros, stored nowhere.
    Hole {
        /// Bytes.
        len: u64,
    },
    /// What another list, of one level less, holds.
    List {
        /// The chunk that is that list.
        id: ChunkId,
        /// Bytes of the file, over all its pieces.
        len: u64,
    },
}

impl Piece {
    /// What a chunk of a file with these bytes is in its manifest.
    pub fn of(raw: &[u8]) -> Self {
        if is_zero(raw) {
            Self::Hole { len: raw.len() as u64 }
        } else {
            Self::Data { id: ChunkId::of(raw), len: raw.len() as u32 }
        }
    }

    /// Bytes of the file that it stands for.
    pub fn bytes(&self) -> u64 {
        match *self {
            Self::Data { len, .. } => len.into(),
            Self::Hole { len } | Self::List { len, .. } => len,
        }
    }

    /// The chunk, if it is one.
    pub fn chunk(&self) -> Option<ChunkId> {
        match *self {
            Self::Data { id, .. } | Self::List { id, .. } => Some(id),
            Self::Hole { .. } => None,
        }
    }

    fn ends_list(&self) -> bool {
        self.chunk().is_some_and(|id| id.0[0] & LIST_MASK == 0)
    }
}

/// What cannot be a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not the encoding of a list of pieces.
    #[error("not a list of pieces")]
    Encoding,
    /// No pieces, or more than a list holds.
    #[error("a list of {0} pieces")]
    Count(usize),
    /// An empty piece, a chunk that is too long, two holes in a row, or a kind that its level does not have.
    #[error("piece {0} of a list is out of form")]
    Piece(usize),
    /// The pieces do not add up to what is said of them.
    #[error("pieces of other than {expected} bytes together")]
    Total {
        /// What the list above, or the patch, says.
        expected: u64,
    },
    /// Far more pieces than a file of that length is cut into.
    #[error("{count} pieces of a few bytes each")]
    Small {
        /// So many, and there may be more.
        count: u64,
    },
    /// More levels than any file needs.
    #[error("{0} levels of lists")]
    Depth(u8),
}

impl Root {
    /// The root of an empty file. Its chunk is never stored.
    pub const EMPTY: Self = Self {
        id: ChunkId([
            0x13, 0xe9, 0x82, 0x2a, 0x97, 0x12, 0xc4, 0xe1, 0xa3, 0x9d, 0xcf, 0x8b, 0xa7, 0x15, 0x79, 0xde, 0x20, 0x5e,
            0x38, 0x5f, 0xe3, 0x77, 0x97, 0xad, 0xba, 0xca, 0x04, 0x82, 0xfb, 0x60, 0x4f, 0x41,
        ]),
        depth: 0,
    };

    /// The one piece that is the whole file of `len` bytes; none where it is empty.
    pub fn piece(self, len: u64) -> Result<Option<Piece>, ManifestError> {
        match self.depth {
            0 if len == 0 && self == Self::EMPTY => Ok(None),
            0 if (1..=CHUNK_BYTES_MAX as u64).contains(&len) => Ok(Some(Piece::Data { id: self.id, len: len as u32 })),
            1..=MANIFEST_DEPTH_MAX if len > 0 => Ok(Some(Piece::List { id: self.id, len })),
            0..=MANIFEST_DEPTH_MAX => Err(ManifestError::Total { expected: len }),
            depth => Err(ManifestError::Depth(depth)),
        }
    }
}

/// Reads a list of the level `depth`, 1 or more, that stands for `len` bytes of a file.
pub fn decode_list(depth: u8, len: u64, raw: &[u8]) -> Result<Vec<Piece>, ManifestError> {
    if raw.len() > LIST_BYTES_MAX {
        return Err(ManifestError::Encoding);
    }
    let pieces: Vec<Piece> = codec::decode(raw).map_err(|_| ManifestError::Encoding)?;
    if pieces.is_empty() || pieces.len() > MANIFEST_PIECES_MAX {
        return Err(ManifestError::Count(pieces.len()));
    }
    let mut total = 0_u64;
    let mut after_hole = false;
    for (index, piece) in pieces.iter().enumerate() {
        let fits = match piece {
            Piece::Data { len, .. } => depth == 1 && *len as usize <= CHUNK_BYTES_MAX,
            Piece::Hole { .. } => depth == 1 && !after_hole,
            Piece::List { .. } => depth > 1,
        };
        if !fits || piece.bytes() == 0 {
            return Err(ManifestError::Piece(index));
        }
        total = total.checked_add(piece.bytes()).ok_or(ManifestError::Total { expected: len })?;
        after_hole = matches!(piece, Piece::Hole { .. });
    }
    if total == len { Ok(pieces) } else { Err(ManifestError::Total { expected: len }) }
}

/// A list as a chunk: its id and its raw bytes.
pub type ListChunk = (ChunkId, Vec<u8>);

/// Builds a manifest piece by piece; holds one unfinished list a level.
#[derive(Debug, Default)]
pub struct ManifestBuilder {
    /// Of each level the pieces of its unfinished list; on level n they are chunks of data (0) or lists of depth n.
    levels: Vec<Vec<Piece>>,
    hole: u64,
    finished: Vec<ListChunk>,
}

impl ManifestBuilder {
    /// A manifest without pieces.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a chunk that is not all zeros, of 1 to [`CHUNK_BYTES_MAX`] bytes.
    pub fn push_data(&mut self, id: ChunkId, len: u32) {
        self.end_hole();
        self.push(0, Piece::Data { id, len });
    }

    /// Adds zeros, as many chunks of them as there are.
    pub fn push_hole(&mut self, len: u64) {
        self.hole += len;
    }

    /// The lists finished since the last call. They must be stored with the file's chunks.
    pub fn take_lists(&mut self) -> Vec<ListChunk> {
        std::mem::take(&mut self.finished)
    }

    /// The root, and the last lists.
    pub fn finish(mut self) -> Result<(Root, Vec<ListChunk>), ManifestError> {
        self.end_hole();
        let root = self.finish_levels();
        if root.depth > MANIFEST_DEPTH_MAX {
            return Err(ManifestError::Depth(root.depth));
        }
        Ok((root, self.finished))
    }

    fn finish_levels(&mut self) -> Root {
        let mut level = 0;
        while level < self.levels.len() {
            let is_top = level + 1 == self.levels.len();
            match self.levels[level][..] {
                [Piece::Data { id, .. } | Piece::List { id, .. }] if is_top => return Root { id, depth: level as u8 },
                [] => {}
                _ => self.finish_list(level),
            }
            level += 1;
        }
        Root::EMPTY
    }

    fn end_hole(&mut self) {
        let len = std::mem::take(&mut self.hole);
        if len > 0 {
            self.push(0, Piece::Hole { len });
        }
    }

    fn push(&mut self, level: usize, piece: Piece) {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        let list = &mut self.levels[level];
        list.push(piece);
        if list.len() >= MANIFEST_PIECES_MAX || list.len() >= MANIFEST_PIECES_MIN && piece.ends_list() {
            self.finish_list(level);
        }
    }

    fn finish_list(&mut self, level: usize) {
        let pieces = std::mem::take(&mut self.levels[level]);
        let raw = codec::encode(&pieces);
        let id = ChunkId::of(&raw);
        self.finished.push((id, raw));
        self.push(level + 1, Piece::List { id, len: pieces.iter().map(Piece::bytes).sum() });
    }
}

#[cfg(test)]
mod tests;
