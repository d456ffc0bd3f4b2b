//! A file's content read back from its chunks: its bytes, its pieces, what of it is lacking.
//!
//! Every chunk is proven against its id before a byte of it is used, and every list against the length that
//! the list above it, or the patch, gives it. Nothing here needs more memory than a chunk and a list a level.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use crate::limits::{COMPARED_PIECES_MAX, PIECE_BYTES_MIN, PIECES_SMALL_MAX};
use crate::model::chunk::{ChunkError, Unpacker};
use crate::model::facts::Unreadable;
use crate::model::ids::ChunkId;
use crate::model::manifest::{ManifestError, Piece, decode_list};
use crate::model::patch::Root;
use crate::store::Store;

/// Where chunks are.
pub trait Chunks: Sync {
    /// The stored form of a chunk; none if it is not here.
    fn stored(&self, id: ChunkId) -> Result<Option<Vec<u8>>, Unreadable>;

    /// Which of these chunks are here: one answer each, in order.
    fn has(&self, ids: &[ChunkId]) -> Result<Vec<bool>, Unreadable>;
}

impl Chunks for Store {
    fn stored(&self, id: ChunkId) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.chunk(id)?)
    }

    fn has(&self, ids: &[ChunkId]) -> Result<Vec<bool>, Unreadable> {
        Ok(self.has_chunks(ids)?)
    }
}

/// Why a content could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A chunk of it is not here.
    #[error("chunk {0:?} is not here")]
    Lacking(ChunkId),
    /// A chunk of it is here, but not what it should be.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A list of it is no list, so this content cannot be read anywhere.
    #[error("list {id:?}: {source}")]
    Manifest {
        /// The list, or the root.
        id: ChunkId,
        /// Why.
        source: ManifestError,
    },
    /// A chunk has another length than its list says, so this content cannot be read anywhere.
    #[error("chunk {id:?} has not the {expected} bytes that its list gives it")]
    Length {
        /// Which chunk.
        id: ChunkId,
        /// What its list says.
        expected: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Unreadable),
    /// Whoever takes the bytes failed.
    #[error("the bytes could not be taken: {0}")]
    Sink(#[source] io::Error),
}

/// Takes bytes of a file: their offset in it, and the bytes. They come in ascending order.
pub type ByteSink<'a> = &'a mut dyn FnMut(u64, &[u8]) -> io::Result<()>;

/// Reads those of a content's `len` bytes that lie in `range`. Holes are not delivered.
pub fn read(
    chunks: &dyn Chunks,
    unpacker: &mut Unpacker,
    (root, len): (Root, u64),
    range: Range<u64>,
    sink: ByteSink<'_>,
) -> Result<(), ContentError> {
    for found in pieces(chunks, root, len, range.clone()) {
        let (offset, piece) = found?;
        let Piece::Data { id, len } = piece else { continue };
        let stored = chunks.stored(id)?.ok_or(ContentError::Lacking(id))?;
        let raw = unpacker.unpack(id, &stored)?;
        if raw.len() != len as usize {
            return Err(ContentError::Length { id, expected: len });
        }
        let start = range.start.max(offset);
        let end = range.end.min(offset + u64::from(len));
        let wanted = &raw[(start - offset) as usize..(end - offset) as usize];
        sink(start, wanted).map_err(ContentError::Sink)?;
    }
    Ok(())
}

/// The chunks and holes of a content of `len` bytes that touch `range`, in order, each with its offset.
///
/// Lists that do not touch the range are not read. Ends after an error, which too many small pieces are: a few lists
/// that name each other over and over would go on for years.
pub fn pieces(chunks: &dyn Chunks, root: Root, len: u64, range: Range<u64>) -> Pieces<'_> {
    Pieces { lists: Lists::new(chunks), root: Some((root, len)), range, at: 0, levels: Vec::new(), count: 0 }
}

/// See [`pieces`].
pub struct Pieces<'a> {
    lists: Lists<'a>,
    /// What is not begun yet.
    root: Option<(Root, u64)>,
    range: Range<u64>,
    /// The offset of the next piece.
    at: u64,
    /// What is left of the lists that lead to it, the root first; the list at the end has depth 1, or is the chunk.
    levels: Vec<(u8, std::vec::IntoIter<Piece>)>,
    /// Pieces of the range so far, lists among them.
    count: u64,
}

impl Pieces<'_> {
    fn step(&mut self) -> Result<Option<(u64, Piece)>, ContentError> {
        if let Some((root, len)) = self.root.take() {
            let top: Vec<_> = top(root, len)?.into_iter().collect();
            self.levels.push((root.depth, top.into_iter()));
        }
        while let Some((depth, rest)) = self.levels.last_mut() {
            let depth = *depth;
            let Some(piece) = rest.next() else {
                self.levels.pop();
                continue;
            };
            let start = self.at;
            let end = start + piece.bytes();
            if start >= self.range.end {
                break;
            }
            self.at = end;
            if end <= self.range.start {
                continue;
            }
            self.count += 1;
            if self.count > PIECES_SMALL_MAX + end.saturating_sub(self.range.start) / PIECE_BYTES_MIN {
                let source = ManifestError::Small { count: self.count };
                return Err(ContentError::Manifest { id: piece.chunk().unwrap_or(Root::EMPTY.id), source });
            }
            let Piece::List { id, len } = piece else { return Ok(Some((start, piece))) };
            let below = self.lists.open(id, depth, len)?;
            self.at = start;
            self.levels.push((depth - 1, below.into_iter()));
        }
        self.levels.clear();
        Ok(None)
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<(u64, Piece), ContentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.levels.clear();
        }
        step.transpose()
    }
}

/// What some contents consist of.
#[derive(Debug, Default)]
pub struct Noted {
    /// Every chunk, lists and data: how many bytes of data it is; 0 for lists.
    pub chunks: BTreeMap<ChunkId, u32>,
    /// Lists that were opened, and how deep they were said to be: of the same bytes one may be another's data.
    opened: BTreeSet<(ChunkId, u8)>,
}

impl Noted {
    /// Adds what others consist of.
    pub fn append(&mut self, mut more: Self) {
        self.chunks.append(&mut more.chunks);
        self.opened.append(&mut more.opened);
    }
}

/// Notes every chunk that a content of `len` bytes consists of, lists and data, as far as its lists can be read. Says
/// whether all could be that are any: what is no list can be read nowhere, and has nothing below it. What has been
/// noted before is not looked at again.
pub fn note_chunks(chunks: &dyn Chunks, root: Root, len: u64, noted: &mut Noted) -> Result<bool, Unreadable> {
    let mut whole = true;
    let mut lists = Lists::new(chunks);
    let mut rest: Vec<_> = top(root, len).into_iter().flatten().map(|piece| (root.depth, piece)).collect();
    while let Some((depth, piece)) = rest.pop() {
        let (id, len) = match piece {
            Piece::List { id, len } => (id, len),
            Piece::Data { id, len } => {
                noted.chunks.insert(id, len);
                continue;
            }
            Piece::Hole { .. } => continue,
        };
        noted.chunks.entry(id).or_default();
        if !noted.opened.insert((id, depth)) {
            continue;
        }
        match lists.open(id, depth, len) {
            Ok(below) => rest.extend(below.into_iter().map(|piece| (depth - 1, piece))),
            Err(ContentError::Store(error)) => return Err(error),
            // Another content may give it the length that it has.
            Err(ContentError::Manifest { .. }) => _ = noted.opened.remove(&(id, depth)),
            Err(_) => whole = false,
        }
    }
    Ok(whole)
}

/// What a content needs that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lacking {
    /// Nothing: all of it can be read.
    Nothing,
    /// These chunks, each once, and perhaps more: what lies below a list is unknown until that list is here.
    Chunks(Vec<ChunkId>),
}

/// What of a content of `len` bytes is not in `chunks`: up to `max` chunks, in the order of the file.
pub fn lacking(chunks: &dyn Chunks, root: Root, len: u64, max: usize) -> Result<Lacking, ContentError> {
    let mut lists = Lists::new(chunks);
    let mut missing = Missing { chunks: Vec::new(), seen: BTreeSet::new(), max };
    let top: Vec<_> = top(root, len)?.into_iter().collect();
    let mut levels = vec![(root.depth, missing.note(chunks, &top)?.into_iter())];
    while let Some((depth, rest)) = levels.last_mut() {
        let depth = *depth;
        match rest.next() {
            _ if missing.chunks.len() >= max => break,
            None => _ = levels.pop(),
            Some((id, len)) => {
                let below = lists.open(id, depth, len)?;
                levels.push((depth - 1, missing.note(chunks, &below)?.into_iter()));
            }
        }
    }
    Ok(if missing.chunks.is_empty() { Lacking::Nothing } else { Lacking::Chunks(missing.chunks) })
}

/// Collects chunks that are not here. A list that occurs again is not looked at again, so that lists which
/// repeat each other level by level take no longer than they are.
struct Missing {
    chunks: Vec<ChunkId>,
    seen: BTreeSet<ChunkId>,
    max: usize,
}

impl Missing {
    /// Notes which of these pieces' chunks are not here; returns the lists that are: which, and of how many bytes.
    fn note(&mut self, chunks: &dyn Chunks, pieces: &[Piece]) -> Result<Vec<(ChunkId, u64)>, ContentError> {
        let stored: Vec<_> = pieces.iter().filter_map(|piece| Some((piece.chunk()?, piece))).collect();
        let ids: Vec<_> = stored.iter().map(|(id, _)| *id).collect();
        let here = chunks.has(&ids)?;
        let mut lists = Vec::new();
        for ((id, piece), here) in stored.into_iter().zip(here) {
            match piece {
                Piece::List { len, .. } if here && self.seen.insert(id) => lists.push((id, *len)),
                _ if !here && self.chunks.len() < self.max && self.seen.insert(id) => self.chunks.push(id),
                _ => {}
            }
        }
        Ok(lists)
    }
}

/// The stretches of content `b` that are not pieces of content `a` (each a root and a length), without reading
/// any data and without reading lists that both have.
///
/// A piece is carried over wherever in `a` it stood, so after an insertion only what is around it is listed.
/// (A piece that repeats itself may be listed although a list that both have holds it too.) What `a` has and `b`
/// has not leaves no stretch. Lists can name each other over and over: beyond `COMPARED_PIECES_MAX` of a level the
/// rest is not opened, and counts as changed.
pub fn changed_ranges(chunks: &dyn Chunks, a: (Root, u64), b: (Root, u64)) -> Result<Vec<Range<u64>>, ContentError> {
    let mut lists = Lists::new(chunks);
    let mut old: BTreeSet<Piece> = top(a.0, a.1)?.into_iter().collect();
    let mut new: Vec<(u64, Piece)> = top(b.0, b.1)?.map(|piece| (0, piece)).into_iter().collect();
    let mut unopened = Vec::new();
    for depth in (1..=a.0.depth.max(b.0.depth)).rev() {
        // Lists that both have are the same all the way down.
        let in_new: BTreeSet<Piece> = new.iter().map(|(_, piece)| *piece).collect();
        new.retain(|(_, piece)| !old.contains(piece));
        old.retain(|piece| !in_new.contains(piece));
        if depth <= a.0.depth {
            let below = lists.below(depth, old.into_iter().map(|piece| (0, piece)), &mut Vec::new())?;
            old = below.into_iter().map(|(_, piece)| piece).collect();
        }
        if depth <= b.0.depth {
            new = lists.below(depth, new.into_iter(), &mut unopened)?;
        }
    }
    new.retain(|(_, piece)| !old.contains(piece));
    let changed = new.into_iter().map(|(start, piece)| start..start + piece.bytes());
    unopened.extend(changed);
    unopened.sort_unstable_by_key(|range| range.start);
    let mut ranges = Vec::new();
    for range in unopened {
        extend(&mut ranges, range);
    }
    Ok(ranges)
}

/// Adds a stretch that comes behind those that are there.
fn extend(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

fn top(root: Root, len: u64) -> Result<Option<Piece>, ContentError> {
    root.piece(len).map_err(|source| ContentError::Manifest { id: root.id, source })
}

/// Reads lists.
struct Lists<'a> {
    chunks: &'a dyn Chunks,
    unpacker: Unpacker,
}

impl<'a> Lists<'a> {
    fn new(chunks: &'a dyn Chunks) -> Self {
        Self { chunks, unpacker: Unpacker::new() }
    }

    /// The pieces of a list of that depth.
    fn open(&mut self, id: ChunkId, depth: u8, len: u64) -> Result<Vec<Piece>, ContentError> {
        let stored = self.chunks.stored(id)?.ok_or(ContentError::Lacking(id))?;
        let raw = self.unpacker.unpack(id, &stored)?;
        decode_list(depth, len, raw).map_err(|source| ContentError::Manifest { id, source })
    }

    /// The pieces one level below these of that depth, each with its offset; lists that would be too many are left.
    fn below(
        &mut self,
        depth: u8,
        pieces: impl Iterator<Item = (u64, Piece)>,
        unopened: &mut Vec<Range<u64>>,
    ) -> Result<Vec<(u64, Piece)>, ContentError> {
        let mut below = Vec::new();
        for (mut at, piece) in pieces {
            let Piece::List { id, len } = piece else { continue };
            if below.len() >= COMPARED_PIECES_MAX {
                extend(unopened, at..at + len);
                continue;
            }
            for piece in self.open(id, depth, len)? {
                below.push((at, piece));
                at += piece.bytes();
            }
        }
        Ok(below)
    }
}

#[cfg(test)]
mod tests;
