//! Where files are cut into chunks: FastCDC of 2020 with normalization level 1, so that a cut depends on the
//! bytes around it and not on where they stand in the file.
//!
//! A cut is settled by the [`CHUNK_BYTES_MAX`] bytes that follow the one before it, so a file is cut through a
//! sliding window. The cut points are part of the format: the same bytes must give the same chunks for ever.

use std::ops::Range;

use fastcdc::v2020::{self, MASKS};

use crate::limits::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

const AVG_BITS: usize = CHUNK_BYTES_AVG.ilog2() as usize;
/// Which bits of the rolling hash must be zero for a cut: more of them before the average size, fewer after it.
const MASK_BEFORE: u64 = MASKS[AVG_BITS + 1];
const MASK_AFTER: u64 = MASKS[AVG_BITS - 1];

/// The chunks at the front of `window`, a stretch of a file that begins where a chunk does, as ranges of it.
///
/// They end where the window does not settle the next cut; with `to_end`, where the window reaches to the end of
/// the file, they cover all of it. A window of [`CHUNK_BYTES_MAX`] bytes or more always settles one.
pub fn cuts(window: &[u8], to_end: bool) -> Cuts<'_> {
    Cuts { window, at: 0, to_end }
}

/// See [`cuts`].
#[derive(Debug)]
pub struct Cuts<'a> {
    window: &'a [u8],
    at: usize,
    to_end: bool,
}

impl Iterator for Cuts<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let ahead = &self.window[self.at..];
        let settled = if self.to_end { !ahead.is_empty() } else { ahead.len() >= CHUNK_BYTES_MAX };
        settled.then(|| {
            let start = self.at;
            self.at += chunk_bytes(ahead);
            start..self.at
        })
    }
}

/// The length of the chunk at the front of `ahead`.
fn chunk_bytes(ahead: &[u8]) -> usize {
    let (_hash, len) = v2020::cut(
        ahead,
        CHUNK_BYTES_MIN,
        CHUNK_BYTES_AVG,
        CHUNK_BYTES_MAX,
        MASK_BEFORE,
        MASK_AFTER,
        MASK_BEFORE << 1,
        MASK_AFTER << 1,
    );
    len
}

#[cfg(test)]
mod tests;
