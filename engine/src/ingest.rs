//! From a file's bytes to its root: cut, hash, and pack what the store does not have yet.
//!
//! What comes out depends on the bytes alone, not on holes, threads or windows. A file is never in memory as a
//! whole: a small one passes through the thread that ingests it, a large one through all cores, a window being
//! read and cut while the one before it is hashed and packed.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::slice;

use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use crate::disk::FileReader;
use crate::limits::CHUNK_BYTES_MAX;
use crate::model::chunk::Packer;
use crate::model::cut::cuts;
use crate::model::ids::ChunkId;
use crate::model::manifest::{ListChunk, ManifestBuilder, ManifestError, Piece};
use crate::model::patch::Root;

/// Read at once from files that one thread ingests; two such windows a thread.
const WINDOW_BYTES: usize = 1 << 20;
/// Read at once from files that all cores ingest; two such windows, and what is packed of one, for the time it takes.
const WIDE_WINDOW_BYTES: usize = 4 << 20;
/// Files from here on are worth all cores.
pub(crate) const WIDE_FROM_BYTES: u64 = 2 * WIDE_WINDOW_BYTES as u64;
/// Strips that a window is dealt out in, so that the core that cuts the next one can still help.
const LANES_A_CORE: usize = 2;

const _: () =
    assert!(WINDOW_BYTES >= 2 * CHUNK_BYTES_MAX, "a window settles a cut, whatever is left of the one before");

/// The bytes of a file.
#[expect(clippy::len_without_is_empty, reason = "an empty file is a file")]
pub trait Bytes {
    /// How many there are.
    fn len(&self) -> u64;

    /// Reads from `offset` on into `buf`; how many bytes it read, 0 only at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The next stretch, from `offset` on, that is not a hole; none if only zeros are left. Saying less is allowed:
    /// holes that are not named are read.
    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        Some(offset..self.len())
    }
}

impl Bytes for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = &self[(offset as usize).min(<[u8]>::len(self))..];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl Bytes for FileReader {
    fn len(&self) -> u64 {
        self.stat().len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Self::read_at(self, offset, buf)
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        Self::data_from(self, offset)
    }
}

/// Which of these chunks need not be packed because they are stored already: one answer each, in order.
pub type Known<'a> = &'a (dyn Fn(&[ChunkId]) -> Vec<bool> + Sync);

/// Takes a chunk that is not known: its id and its stored form.
pub type Sink<'a> = &'a mut dyn FnMut(ChunkId, Vec<u8>);

/// Why a file could not be ingested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// It could not be read.
    #[error("reading at byte {at}: {source}")]
    Io {
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// It ended before the length that it had at first.
    #[error("ended at byte {at}, before its {len} bytes")]
    Shrunk {
        /// Where it ended.
        at: u64,
        /// What it had at first.
        len: u64,
    },
    /// Its manifest has too many levels.
    #[error(transparent)]
    TooLarge(#[from] ManifestError),
}

/// Ingests files one after the other. Keeps its buffers between them, so have one a thread.
#[derive(Default)]
pub struct Ingest {
    packer: Packer,
    windows: [Window; 2],
}

impl Ingest {
    /// One with no buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads all of `bytes` and gives `sink` every chunk of it, data and lists, that is not `known`. Returns the
    /// length and the root.
    ///
    /// A chunk may come more than once if the bytes repeat themselves further apart than a window. Whether the
    /// bytes changed meanwhile is for the caller to find out.
    ///
    /// Call it from threads outside rayon's pool: a worker of the pool that waits for its lanes may take up another
    /// file meanwhile, and another one in that, each with windows of its own.
    pub fn ingest(&mut self, bytes: &dyn Bytes, known: Known<'_>, sink: Sink<'_>) -> Result<(u64, Root), IngestError> {
        let source = Source::new(bytes);
        if source.len < WIDE_FROM_BYTES {
            return pump(source, WINDOW_BYTES, &mut self.windows, slice::from_mut(&mut self.packer), known, sink);
        }
        // What a large file needs is let go after it.
        let mut lanes: Vec<_> = (0..LANES_A_CORE * rayon::current_num_threads()).map(|_| Packer::new()).collect();
        pump(source, WIDE_WINDOW_BYTES, &mut [Window::default(), Window::default()], &mut lanes, known, sink)
    }
}

/// Moves a file through two windows: while one is hashed and packed in as many lanes as there are packers, the
/// next one is read and cut.
fn pump(
    mut source: Source<'_>,
    window_bytes: usize,
    [window, next]: &mut [Window; 2],
    lanes: &mut [Packer],
    known: Known<'_>,
    sink: Sink<'_>,
) -> Result<(u64, Root), IngestError> {
    let mut manifest = ManifestBuilder::new();
    source.fill(&[], window_bytes, window)?;
    loop {
        manifest.push_hole(window.hole);
        let settled = if let [packer] = lanes {
            source.fill(window.unsettled(), window_bytes, next)?;
            settle(packer, window, &window.chunks, known)
        } else {
            let mut settled = Vec::new();
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| settled = settle_in_lanes(lanes, window, known));
                source.fill(window.unsettled(), window_bytes, next)
            })?;
            settled
        };
        add(settled, &mut manifest, sink);
        store_lists(manifest.take_lists(), &mut lanes[0], known, sink);
        if next.is_empty() {
            break;
        }
        std::mem::swap(window, next);
    }
    let (root, lists) = manifest.finish()?;
    store_lists(lists, &mut lanes[0], known, sink);
    Ok((source.len, root))
}

/// A stretch of a file: first a hole, perhaps of no bytes, then bytes that begin where a chunk does.
#[derive(Default)]
struct Window {
    hole: u64,
    /// Grows to the largest window so far; the first `len` bytes count.
    buffer: Vec<u8>,
    len: usize,
    /// Ranges of the buffer, one after the other from its start.
    chunks: Vec<Range<usize>>,
}

impl Window {
    fn is_empty(&self) -> bool {
        self.hole == 0 && self.len == 0
    }

    /// What follows the last cut that these bytes settle.
    fn unsettled(&self) -> &[u8] {
        let settled = self.chunks.last().map_or(0, |chunk| chunk.end);
        &self.buffer[settled..self.len]
    }
}

/// Reads a file window by window.
struct Source<'a> {
    bytes: &'a dyn Bytes,
    len: u64,
    /// Where the next window begins: after the last settled cut.
    at: u64,
    /// What is known not to be a hole, if it ends after `at`.
    data: Range<u64>,
}

impl<'a> Source<'a> {
    fn new(bytes: &'a dyn Bytes) -> Self {
        Self { bytes, len: bytes.len(), at: 0, data: 0..0 }
    }

    /// The next window, of at most `size` bytes; `unsettled` are the bytes of it that were read with the last one.
    fn fill(&mut self, unsettled: &[u8], size: usize, window: &mut Window) -> Result<(), IngestError> {
        window.hole = self.skip_hole();
        let unsettled = if window.hole > 0 { &[] } else { unsettled };
        // Beyond its data no more is read than settles the cut that leads into the hole.
        let until = self.data.end.saturating_add(CHUNK_BYTES_MAX as u64).min(self.len);
        let len = (until - self.at).min(size as u64).max(unsettled.len() as u64) as usize;
        if window.buffer.len() < len {
            window.buffer.resize(len, 0);
        }
        window.len = len;
        window.buffer[..unsettled.len()].copy_from_slice(unsettled);
        self.read(self.at + unsettled.len() as u64, &mut window.buffer[unsettled.len()..len])?;

        let to_end = self.at + len as u64 == self.len;
        window.chunks.clear();
        window.chunks.extend(cuts(&window.buffer[..len], to_end));
        self.at += window.chunks.last().map_or(0, |chunk| chunk.end as u64);
        Ok(())
    }

    /// Steps over the chunks of a hole without reading them: as long as zeros settle the next cut, it is
    /// [`CHUNK_BYTES_MAX`] away. Returns how many bytes that were.
    fn skip_hole(&mut self) -> u64 {
        if self.at < self.data.end || self.at == self.len {
            return 0;
        }
        let next = self.bytes.data_from(self.at).filter(|data| data.start < self.len);
        let hole = match next {
            None => {
                self.data = self.len..self.len;
                self.len - self.at
            }
            Some(data) => {
                self.data = data.start.max(self.at)..data.end.clamp(self.at + 1, self.len);
                (self.data.start - self.at) / CHUNK_BYTES_MAX as u64 * CHUNK_BYTES_MAX as u64
            }
        };
        self.at += hole;
        hole
    }

    fn read(&self, mut at: u64, mut buffer: &mut [u8]) -> Result<(), IngestError> {
        while !buffer.is_empty() {
            match self.bytes.read_at(at, buffer) {
                Ok(0) => return Err(IngestError::Shrunk { at, len: self.len }),
                Ok(count) => {
                    at += count as u64;
                    buffer = &mut buffer[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(IngestError::Io { at, source }),
            }
        }
        Ok(())
    }
}

/// A chunk of a file, and its stored form if that is not known.
struct Settled {
    piece: Piece,
    stored: Option<Vec<u8>>,
}

fn settle_in_lanes(lanes: &mut [Packer], window: &Window, known: Known<'_>) -> Vec<Settled> {
    let strip = window.chunks.len().div_ceil(lanes.len()).max(1);
    let strips = lanes.par_iter_mut().zip(window.chunks.par_chunks(strip));
    strips.flat_map_iter(|(packer, chunks)| settle(packer, window, chunks, known)).collect()
}

/// Hashes these chunks, and packs those that are not known, each once.
fn settle(packer: &mut Packer, window: &Window, chunks: &[Range<usize>], known: Known<'_>) -> Vec<Settled> {
    let pieces: Vec<_> = chunks.iter().map(|chunk| Piece::of(&window.buffer[chunk.clone()])).collect();
    let mut unknown = unknown(pieces.iter().filter_map(Piece::chunk).collect(), known);
    let settled = pieces.into_iter().zip(chunks).map(|(piece, chunk)| {
        let is_new = piece.chunk().is_some_and(|id| unknown.remove(&id));
        Settled { piece, stored: is_new.then(|| packer.pack(&window.buffer[chunk.clone()])) }
    });
    settled.collect()
}

fn unknown(mut ids: Vec<ChunkId>, known: Known<'_>) -> BTreeSet<ChunkId> {
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return BTreeSet::new();
    }
    let answers = known(&ids);
    assert_eq!(answers.len(), ids.len(), "one answer for each chunk");
    ids.into_iter().zip(answers).filter_map(|(id, known)| (!known).then_some(id)).collect()
}

fn add(settled: Vec<Settled>, manifest: &mut ManifestBuilder, sink: Sink<'_>) {
    for Settled { piece, stored } in settled {
        match piece {
            Piece::Data { id, len } => {
                manifest.push_data(id, len);
                if let Some(stored) = stored {
                    sink(id, stored);
                }
            }
            Piece::Hole { len } | Piece::List { len, .. } => manifest.push_hole(len),
        }
    }
}

fn store_lists(lists: Vec<ListChunk>, packer: &mut Packer, known: Known<'_>, sink: Sink<'_>) {
    let mut unknown = unknown(lists.iter().map(|(id, _)| *id).collect(), known);
    for (id, raw) in lists {
        if unknown.remove(&id) {
            sink(id, packer.pack(&raw));
        }
    }
}

#[cfg(test)]
mod tests;
