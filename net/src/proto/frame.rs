//! Frames: a big-endian `u32` length, then that many bytes. The length is checked before anything is kept
//! for it, and memory grows only with bytes that have arrived.

/// Bytes of the length in front of a frame.
pub const HEADER_BYTES: usize = 4;

/// A frame longer than its reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {bytes} bytes, where {max} are allowed")]
pub struct FrameTooLarge {
    /// As announced.
    pub bytes: usize,
    /// The bound at that time.
    pub max: usize,
}

/// The header of a frame with a body of `bytes`.
pub fn header(bytes: usize) -> [u8; HEADER_BYTES] {
    u32::try_from(bytes).expect("every body is bounded far below 4 GiB").to_be_bytes()
}

/// Header and body in one piece.
pub fn framed(body: &[u8]) -> Vec<u8> {
    [&header(body.len()), body].concat()
}

/// The length that a header announces, if it is within `max`.
pub fn body_bytes(header: [u8; HEADER_BYTES], max: usize) -> Result<usize, FrameTooLarge> {
    let bytes = u32::from_be_bytes(header) as usize;
    if bytes > max { Err(FrameTooLarge { bytes, max }) } else { Ok(bytes) }
}

/// Cuts a stream of bytes into the bodies of its frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    read: usize,
}

impl FrameDecoder {
    /// Adds what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole body; nothing until it has all arrived.
    pub fn next_frame(&mut self, max: usize) -> Result<Option<&[u8]>, FrameTooLarge> {
        let Some((header, rest)) = self.buffer[self.read..].split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let bytes = body_bytes(*header, max)?;
        if rest.len() < bytes {
            return Ok(None);
        }
        let start = self.read + HEADER_BYTES;
        self.read = start + bytes;
        Ok(Some(&self.buffer[start..self.read]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cut in 1usize..97,
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            let mut decoder = FrameDecoder::default();
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(body) = decoder.next_frame(300).expect("within bounds") {
                    found.push(body.to_vec());
                }
            }
            prop_assert_eq!(found, bodies);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_exceed_the_bound(bytes: Vec<u8>, max in 0usize..1000) {
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes);
            while let Ok(Some(body)) = decoder.next_frame(max) {
                prop_assert!(body.len() <= max);
            }
        }
    }

    #[test]
    fn a_long_frame_is_refused_by_its_header_alone() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&header(1001));
        assert_eq!(decoder.next_frame(1000), Err(FrameTooLarge { bytes: 1001, max: 1000 }));
        assert_eq!(decoder.next_frame(1001), Ok(None));
    }
}
