//! Chunks: what names one, and the form in which it is stored and sent.
//!
//! The id is of the raw bytes, so how a chunk is compressed is nobody's business but the packer's, and whoever
//! unpacks proves that the bytes are those that were asked for. Stored forms come from disks and from peers:
//! every length is checked before anything is allocated or decoded for it.
//!
//! Stored form: one byte for the codec (0 raw, 1 zstd), the raw length as four bytes little endian, the payload.

use zstd::bulk::{Compressor, Decompressor};

use super::ids::ChunkId;
use crate::limits::CHUNK_BYTES_MAX;

const HEADER_BYTES: usize = 5;
const RAW: u8 = 0;
const ZSTD: u8 = 1;
/// Level 1 is where compression keeps up with a disk; higher levels can rewrite a chunk under the same id.
const ZSTD_LEVEL: i32 = 1;
/// Compression pays where it saves at least one part in so many.
const SAVES_ONE_IN: usize = 32;

/// No stored form is longer.
pub const STORED_BYTES_MAX: usize = HEADER_BYTES + CHUNK_BYTES_MAX;

impl ChunkId {
    /// The id of a chunk with these raw bytes.
    pub fn of(raw: &[u8]) -> Self {
        Self::derive("pfs v1 chunk", raw)
    }
}

/// Whether there is nothing but zeros in `raw`.
pub fn is_zero(raw: &[u8]) -> bool {
    let (blocks, rest) = raw.as_chunks::<64>();
    blocks.iter().all(|block| *block == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

/// Why a stored form is not that of the chunk it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// It ends before its header does.
    #[error("chunk {0:?} is cut off in its header")]
    Short(ChunkId),
    /// A codec that this version does not know.
    #[error("chunk {id:?} has the unknown codec {codec}")]
    Codec {
        /// Which chunk.
        id: ChunkId,
        /// The codec byte.
        codec: u8,
    },
    /// A raw length that no chunk has, or one that does not fit the payload.
    #[error("chunk {id:?} claims {raw} bytes in a payload of {payload}")]
    Length {
        /// Which chunk.
        id: ChunkId,
        /// The raw length that it claims.
        raw: usize,
        /// The length of its payload.
        payload: usize,
    },
    /// The payload does not decompress to the length that it claims.
    #[error("chunk {0:?} does not decompress")]
    Damaged(ChunkId),
    /// The raw bytes are another chunk's.
    #[error("chunk {wanted:?} has the bytes of {found:?}")]
    Mismatch {
        /// Which chunk was meant.
        wanted: ChunkId,
        /// Which one it is.
        found: ChunkId,
    },
}

/// Makes stored forms. Keeps zstd's tables between chunks, so have one a thread.
pub struct Packer {
    zstd: Compressor<'static>,
    scratch: Vec<u8>,
}

impl Packer {
    /// A packer with fresh tables.
    pub fn new() -> Self {
        let zstd = Compressor::new(ZSTD_LEVEL).expect("level 1 exists");
        Self { zstd, scratch: Vec::new() }
    }

    /// The stored form of `raw`, of 1 to [`CHUNK_BYTES_MAX`] bytes.
    pub fn pack(&mut self, raw: &[u8]) -> Vec<u8> {
        debug_assert!((1..=CHUNK_BYTES_MAX).contains(&raw.len()), "{} bytes are no chunk", raw.len());
        // zstd stops by itself where its output would pass the end of this buffer.
        let worth = raw.len() - raw.len().div_ceil(SAVES_ONE_IN);
        if self.scratch.len() < worth {
            self.scratch.resize(worth, 0);
        }
        match self.zstd.compress_to_buffer(raw, &mut self.scratch[..worth]) {
            Ok(len) => stored(ZSTD, raw.len(), &self.scratch[..len]),
            Err(_) => stored(RAW, raw.len(), raw),
        }
    }
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

fn stored(codec: u8, raw_len: usize, payload: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEADER_BYTES + payload.len());
    stored.push(codec);
    stored.extend_from_slice(&(raw_len as u32).to_le_bytes());
    stored.extend_from_slice(payload);
    stored
}

/// Reads stored forms and proves them. Keeps zstd's tables and a buffer between chunks, so have one a thread.
#[derive(Default)]
pub struct Unpacker {
    /// Made for the first compressed chunk: it costs more than a small chunk does.
    zstd: Option<Decompressor<'static>>,
    scratch: Vec<u8>,
}

impl Unpacker {
    /// An unpacker with fresh tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The raw bytes of the chunk `id`, from its stored form.
    pub fn unpack<'a>(&'a mut self, id: ChunkId, stored: &'a [u8]) -> Result<&'a [u8], ChunkError> {
        let raw = self.decode(id, stored)?;
        match ChunkId::of(raw) {
            found if found == id => Ok(raw),
            found => Err(ChunkError::Mismatch { wanted: id, found }),
        }
    }

    fn decode<'a>(&'a mut self, id: ChunkId, stored: &'a [u8]) -> Result<&'a [u8], ChunkError> {
        let Some((&[codec, ref len @ ..], payload)) = stored.split_first_chunk::<HEADER_BYTES>() else {
            return Err(ChunkError::Short(id));
        };
        let len = u32::from_le_bytes(*len) as usize;
        let fits = match codec {
            RAW => payload.len() == len,
            ZSTD => payload.len() < len,
            codec => return Err(ChunkError::Codec { id, codec }),
        };
        if !fits || len == 0 || len > CHUNK_BYTES_MAX {
            return Err(ChunkError::Length { id, raw: len, payload: payload.len() });
        }
        if codec == RAW {
            return Ok(payload);
        }
        if self.scratch.len() < len {
            self.scratch.resize(len, 0);
        }
        let raw = &mut self.scratch[..len];
        let fresh = || Decompressor::new().expect("no dictionary can be wrong");
        match self.zstd.get_or_insert_with(fresh).decompress_to_buffer(payload, raw) {
            Ok(filled) if filled == len => Ok(raw),
            _ => Err(ChunkError::Damaged(id)),
        }
    }
}

#[cfg(test)]
mod tests;
