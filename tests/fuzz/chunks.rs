//! Targets for what comes over chunk streams: stored forms, and the lists that some of them are.

use pfs_engine::content::{Chunks, ContentError, Noted, changed_ranges, lacking, note_chunks, pieces, read};
use pfs_engine::limits::{CHUNK_BYTES_MAX, MANIFEST_PIECES_MAX, PIECE_BYTES_MIN, PIECES_SMALL_MAX};
use pfs_engine::model::chunk::{Packer, Unpacker};
use pfs_engine::model::codec::encode;
use pfs_engine::model::facts::Unreadable;
use pfs_engine::model::ids::ChunkId;
use pfs_engine::model::manifest::{ManifestBuilder, Piece, decode_list};
use pfs_engine::model::patch::Root;
use pfs_fixtures::noise;
use proptest::prelude::*;

use crate::{fuzz, within};

/// The scratch of an unpacker is as long as the longest chunk, whatever a stored form claims.
const UNPACKING: (usize, usize) = (CHUNK_BYTES_MAX + (1 << 10), 1);
/// A list has at most so many pieces; and room is made for a mebibyte of what claims to be longer.
const LISTING: (usize, usize) = ((1 << 20) + MANIFEST_PIECES_MAX * 128, 8);

/// A stored form with a header of any codec and length.
fn stored_form(codec: u8, raw_len: u32, payload: &[u8]) -> Vec<u8> {
    [&[codec][..], &raw_len.to_le_bytes(), payload].concat()
}

#[test]
fn stored_forms() {
    let text: Vec<u8> = b"many a line like this\n".repeat(4000);
    let mut packer = Packer::new();
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    // Frames that do not say how long they are, several frames, and a window of 128 MiB.
    let mut unsized_frame = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    std::io::Write::write_all(&mut unsized_frame, &text).unwrap();
    let unsized_frame = unsized_frame.finish().unwrap();
    let mut wide = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    wide.window_log(27).unwrap();
    std::io::Write::write_all(&mut wide, &text).unwrap();
    let wide = wide.finish().unwrap();
    let samples = vec![
        packer.pack(&text),
        packer.pack(&noise(5000, 3)),
        packer.pack(&[0]),
        stored_form(1, CHUNK_BYTES_MAX as u32, &bomb),
        stored_form(1, u32::MAX, &bomb),
        stored_form(1, text.len() as u32, &unsized_frame),
        stored_form(1, text.len() as u32, &[&unsized_frame[..], &unsized_frame].concat()),
        stored_form(1, text.len() as u32, &wide),
    ];
    let ids = [ChunkId::of(&text), ChunkId::of(&noise(5000, 3)), ChunkId::of(&[0])];
    fuzz("stored_forms", samples, |bytes| {
        for id in ids {
            let raw = within(bytes, UNPACKING, || {
                let mut unpacker = Unpacker::new();
                unpacker.unpack(id, bytes).map(|raw| (ChunkId::of(raw), raw.len()))
            })?;
            if let Ok((found, len)) = raw {
                prop_assert_eq!(found, id);
                prop_assert!(len <= CHUNK_BYTES_MAX);
            }
        }
        Ok(())
    });
}

fn data(n: u8, len: u32) -> Piece {
    Piece::Data { id: ChunkId([n; 32]), len }
}

#[test]
fn lists() {
    let full: Vec<_> = (0..MANIFEST_PIECES_MAX).map(|n| data(n as u8, 1)).collect();
    let samples = [
        vec![data(1, 5), Piece::Hole { len: 1 << 40 }, data(2, CHUNK_BYTES_MAX as u32)],
        vec![Piece::List { id: ChunkId([1; 32]), len: u64::MAX }],
        vec![Piece::List { id: ChunkId([1; 32]), len: 9 }; 20],
        vec![Piece::Hole { len: u64::MAX }, data(1, 1)],
        full,
    ];
    fuzz("lists", samples.iter().map(encode).collect(), |bytes| {
        for (depth, len) in [(1, 5 + (1 << 40) + CHUNK_BYTES_MAX as u64), (2, u64::MAX), (8, 180), (1, 0), (0, 1)] {
            if let Ok(pieces) = within(bytes, LISTING, || decode_list(depth, len, bytes))? {
                prop_assert_eq!(encode(&pieces), bytes, "one list, one encoding");
                prop_assert!((1..=MANIFEST_PIECES_MAX).contains(&pieces.len()));
                prop_assert_eq!(pieces.iter().map(|piece| u128::from(piece.bytes())).sum::<u128>(), u128::from(len));
                let has_its_place = |piece: &Piece| matches!(piece, Piece::List { .. }) == (depth > 1);
                prop_assert!(pieces.iter().all(has_its_place));
            }
        }
        Ok(())
    });
}

/// What a peer sent.
struct Sent(Vec<(ChunkId, Vec<u8>)>);

impl Chunks for Sent {
    fn stored(&self, id: ChunkId) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.0.iter().find(|(known, _)| *known == id).map(|(_, stored)| stored.clone()))
    }

    fn has(&self, ids: &[ChunkId]) -> Result<Vec<bool>, Unreadable> {
        Ok(ids.iter().map(|id| self.0.iter().any(|(known, _)| known == id)).collect())
    }
}

/// A file whose top list is a damaged one, under its right hash: everything that goes through files meets it.
#[test]
fn manifests() {
    let (chunks, root) = manifest();
    let is_top = |id: ChunkId| id == root.id;
    let top = chunks.iter().find(|(id, _)| is_top(*id)).unwrap().1.clone();
    let top = Unpacker::new().unpack(root.id, &top).unwrap().to_vec();
    fuzz("manifests", vec![top], |raw| {
        if raw.is_empty() || raw.len() > CHUNK_BYTES_MAX {
            return Ok(());
        }
        let id = ChunkId::of(raw);
        let mut sent: Vec<_> = chunks.iter().filter(|(id, _)| !is_top(*id)).cloned().collect();
        sent.push((id, Packer::new().pack(raw)));
        let sent = Sent(sent);
        for len in [LEN, LEN + 1, 9, u64::MAX] {
            let bad = (Root { id, ..root }, len);
            let good = (root, LEN);
            within(raw, (4 << 20, 16), || {
                let mut bytes = 0;
                let end = len.min(2 * LEN);
                let mut sink = |_, raw: &[u8]| {
                    bytes += raw.len() as u64;
                    Ok(())
                };
                let read = read(&sent, &mut Unpacker::new(), bad, 0..end, &mut sink);
                assert!(bytes <= end, "{bytes} bytes of {end}: {read:?}");
                let went = pieces(&sent, bad.0, len, 0..end).take(10_000).all(|piece| piece.is_ok());
                let missing = lacking(&sent, bad.0, len, 100);
                assert!(went || missing.is_err() || missing.is_ok());
                let _ = note_chunks(&sent, bad.0, len, &mut Noted::default());
                for (a, b) in [(good, bad), (bad, good)] {
                    let ranges = changed_ranges(&sent, a, b).unwrap_or_default();
                    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= b.1));
                }
            })?;
        }
        Ok(())
    });
}

/// The length of the file of `manifest`.
const LEN: u64 = 200 * 1000 + (7 << 20);

/// A file of two levels of lists, with a hole, and all its chunks.
fn manifest() -> (Vec<(ChunkId, Vec<u8>)>, Root) {
    let (mut packer, mut builder, mut chunks) = (Packer::new(), ManifestBuilder::new(), Vec::new());
    for n in 0..200 {
        let raw = noise(1000, n);
        let id = ChunkId::of(&raw);
        builder.push_data(id, 1000);
        chunks.push((id, packer.pack(&raw)));
        if n == 50 {
            builder.push_hole(7 << 20);
        }
    }
    let (root, lists) = builder.finish().unwrap();
    assert!(root.depth > 1, "lists of lists");
    chunks.extend(lists.into_iter().map(|(id, raw)| (id, packer.pack(&raw))));
    (chunks, root)
}

/// A few lists that name each other over and over: a file of 2³⁰ pieces in four chunks. What goes through it stops at
/// a bound, and what compares it with another remembers no more than that.
#[test]
fn lists_that_repeat_each_other_take_no_memory() {
    let mut packer = Packer::new();
    let mut below = data(0, 1);
    if let Piece::Data { id, .. } = &mut below {
        *id = ChunkId::of(b"x");
    }
    let mut sent = vec![(ChunkId::of(b"x"), packer.pack(b"x"))];
    let mut len = 1;
    for depth in 1..=4 {
        let raw = encode(&vec![below; MANIFEST_PIECES_MAX]);
        let id = ChunkId::of(&raw);
        sent.push((id, packer.pack(&raw)));
        len *= MANIFEST_PIECES_MAX as u64;
        below = Piece::List { id, len };
        let root = Root { id, depth };
        let sent = Sent(sent.clone());
        let other = (Root { id: ChunkId::of(b"x"), depth: 0 }, 1);
        within(&[], (100 << 20, 0), || {
            let ranges = changed_ranges(&sent, other, (root, len));
            assert!(matches!(&ranges, Ok(found) if found.iter().all(|range| range.end <= len)), "{ranges:?}");
            let back = changed_ranges(&sent, (root, len), other);
            assert!(matches!(back, Ok(_) | Err(ContentError::Lacking(_))), "{back:?}");
            let missing = lacking(&sent, root, len, 100);
            assert!(missing.is_ok());
            let through = pieces(&sent, root, len, 0..len).take_while(Result::is_ok).count() as u64;
            assert!(through <= PIECES_SMALL_MAX + len / PIECE_BYTES_MIN, "{through} pieces of {len} bytes");
        })
        .unwrap();
    }
}
