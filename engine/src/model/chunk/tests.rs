use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::limits::CHUNK_BYTES_AVG;
use crate::model::samples;

#[test]
fn packs_and_unpacks() {
    let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
    for raw in [
        vec![0],
        b"a chunk".to_vec(),
        samples::lines(CHUNK_BYTES_MAX),
        samples::random("packed", CHUNK_BYTES_MAX),
        samples::lines(1000),
        vec![0; CHUNK_BYTES_MAX],
    ] {
        let stored = packer.pack(&raw);
        assert!(stored.len() <= HEADER_BYTES + raw.len());
        assert_eq!(unpacker.unpack(ChunkId::of(&raw), &stored).expect("it was just packed"), raw);
    }
}

#[test]
fn compresses_what_pays() {
    let mut packer = Packer::new();
    let lines = samples::lines(CHUNK_BYTES_AVG);
    assert!(packer.pack(&lines).len() < lines.len() / 4);
    let random = samples::random("packed", CHUNK_BYTES_AVG);
    assert_eq!(packer.pack(&random).len(), HEADER_BYTES + random.len());
}

/// Whatever later versions write, they read what the first one wrote.
#[test]
fn reads_the_stored_forms_of_format_1() {
    let frozen = include_str!("../../../../fixtures/golden/chunk/1/stored.txt");
    let raws = [b"pfs\n".to_vec(), samples::lines(2000)];
    assert_eq!(frozen.lines().count(), raws.len());
    for (line, raw) in frozen.lines().zip(raws) {
        let (id, stored) = line.split_once(' ').expect("id and stored form");
        let id: ChunkId = id.parse().expect("an id");
        let stored = HEXLOWER.decode(stored.as_bytes()).expect("hex");
        assert_eq!(Unpacker::new().unpack(id, &stored).expect("frozen"), raw);
    }
}

fn stored_form(codec: u8, raw_len: u32, payload: &[u8]) -> Vec<u8> {
    [&[codec][..], &raw_len.to_le_bytes(), payload].concat()
}

#[test]
fn refuses_what_is_not_the_chunk() {
    let raw = samples::lines(5000);
    let id = ChunkId::of(&raw);
    let zstd = Packer::new().pack(&raw)[HEADER_BYTES..].to_vec();
    let check = |stored: &[u8]| Unpacker::new().unpack(id, stored).map(<[u8]>::to_vec);
    let length = |raw, payload: &[u8]| Err(ChunkError::Length { id, raw, payload: payload.len() });

    assert_eq!(check(&stored_form(ZSTD, 5000, &zstd)), Ok(raw.clone()));
    assert_eq!(check(&[]), Err(ChunkError::Short(id)));
    assert_eq!(check(&[ZSTD, 1, 0, 0]), Err(ChunkError::Short(id)));
    assert_eq!(check(&stored_form(2, 5000, &raw)), Err(ChunkError::Codec { id, codec: 2 }));
    assert_eq!(check(&stored_form(RAW, 4999, &raw)), length(4999, &raw));
    assert_eq!(check(&stored_form(RAW, 0, &[])), length(0, &[]));
    assert_eq!(check(&stored_form(ZSTD, u32::MAX, &zstd)), length(u32::MAX as usize, &zstd));
    assert_eq!(check(&stored_form(ZSTD, 10, &zstd)), length(10, &zstd));
    assert_eq!(check(&stored_form(ZSTD, 4999, &zstd)), Err(ChunkError::Damaged(id)), "longer than it says");
    assert_eq!(check(&stored_form(ZSTD, 5001, &zstd)), Err(ChunkError::Damaged(id)), "shorter than it says");
    assert_eq!(check(&stored_form(ZSTD, 5000, &zstd[..zstd.len() - 1])), Err(ChunkError::Damaged(id)));
    let other = samples::lines(4000);
    assert_eq!(
        check(&Packer::new().pack(&other)),
        Err(ChunkError::Mismatch { wanted: id, found: ChunkId::of(&other) })
    );
}

/// A few bytes that decompress to gigabytes fill no more than what they claim.
#[test]
fn a_bomb_does_not_go_off() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).expect("it compresses");
    let id = ChunkId::of(&[0; 1]);
    let mut unpacker = Unpacker::new();
    let stored = stored_form(ZSTD, CHUNK_BYTES_MAX as u32, &bomb);
    assert_eq!(unpacker.unpack(id, &stored), Err(ChunkError::Damaged(id)));
    assert!(unpacker.scratch.capacity() <= CHUNK_BYTES_MAX);
}

#[test]
fn finds_zeros() {
    for len in [0, 1, 63, 64, 65, 1000] {
        let mut bytes = vec![0; len];
        assert!(is_zero(&bytes));
        for at in 0..len {
            bytes[at] = 1;
            assert!(!is_zero(&bytes), "byte {at} of {len}");
            bytes[at] = 0;
        }
    }
}

proptest! {
    #[test]
    fn anything_unpacks_or_is_refused(stored in proptest::collection::vec(any::<u8>(), 0..200), codec in 0_u8..3) {
        let id = ChunkId::of(b"wanted");
        prop_assert!(Unpacker::new().unpack(id, &stored).is_err());
        prop_assert!(Unpacker::new().unpack(id, &stored_form(codec, 100, &stored)).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0_u8..8, compressible in any::<bool>()) {
        let raw = if compressible { samples::lines(3000) } else { samples::random("flip", 3000) };
        let mut stored = Packer::new().pack(&raw);
        let at = at.index(stored.len());
        stored[at] ^= 1 << bit;
        // A flip may leave a form of the same bytes; it never passes for other bytes.
        if let Ok(read) = Unpacker::new().unpack(ChunkId::of(&raw), &stored) {
            prop_assert_eq!(read, raw);
        }
    }
}
