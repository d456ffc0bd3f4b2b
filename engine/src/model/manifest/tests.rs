use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::model::cut::cuts;
use crate::model::samples;

type Lists = BTreeMap<ChunkId, Vec<u8>>;

/// Adjacent holes joined.
fn joined(pieces: &[Piece]) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Hole { len }), Piece::Hole { len: more }) => *len += more,
            _ => joined.push(*piece),
        }
    }
    joined
}

fn build(pieces: &[Piece]) -> (Root, Lists) {
    let mut builder = ManifestBuilder::new();
    let mut lists = Lists::new();
    for piece in pieces {
        match *piece {
            Piece::Data { id, len } => builder.push_data(id, len),
            Piece::Hole { len } => builder.push_hole(len),
            Piece::List { .. } => unreachable!("files have no lists"),
        }
        lists.extend(builder.take_lists());
    }
    let (root, last) = builder.finish().expect("few pieces");
    lists.extend(last);
    (root, lists)
}

fn flatten(lists: &Lists, depth: u8, piece: Piece, pieces: &mut Vec<Piece>) {
    let Piece::List { id, len } = piece else { return pieces.push(piece) };
    for piece in decode_list(depth, len, &lists[&id]).expect("just built") {
        flatten(lists, depth - 1, piece, pieces);
    }
}

fn read(root: Root, lists: &Lists, len: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if let Some(piece) = root.piece(len).expect("just built") {
        flatten(lists, root.depth, piece, &mut pieces);
    }
    pieces
}

fn total(pieces: &[Piece]) -> u64 {
    pieces.iter().map(Piece::bytes).sum()
}

fn data(n: u32) -> Piece {
    Piece::Data { id: ChunkId::of(&n.to_le_bytes()), len: 1 + n % 1000 }
}

fn any_piece() -> impl Strategy<Value = Piece> {
    prop_oneof![4 => any::<u32>().prop_map(data), 1 => (1_u64..1 << 40).prop_map(|len| Piece::Hole { len })]
}

#[test]
fn the_roots_are_those_of_format_1() {
    let mut found = String::new();
    for (name, bytes) in samples::named() {
        let pieces: Vec<_> = cuts(&bytes, true).map(|chunk| Piece::of(&bytes[chunk])).collect();
        let (root, lists) = build(&pieces);
        let list_bytes: usize = lists.values().map(Vec::len).sum();
        writeln!(
            found,
            "{name}: {} bytes, depth {}, root {}, {list_bytes} bytes of lists",
            bytes.len(),
            root.depth,
            root.id
        )
        .expect("a string takes everything");
    }
    samples::assert_golden(
        "manifest/1/roots.txt",
        &found,
        include_str!("../../../../fixtures/golden/manifest/1/roots.txt"),
    );
}

#[test]
fn one_file_one_form() {
    assert_eq!(Root::EMPTY.id, ChunkId::of(&[]));
    assert_eq!(build(&[]), (Root::EMPTY, Lists::new()));
    let Piece::Data { id, .. } = data(7) else { unreachable!() };
    assert_eq!(build(&[data(7)]), (Root { id, depth: 0 }, Lists::new()), "a single chunk is its own root");

    let (hole, lists) = build(&[Piece::Hole { len: 5 }]);
    assert_eq!((hole.depth, lists.len()), (1, 1), "a hole is listed even if it is the whole file");
    assert_eq!(build(&[Piece::Hole { len: 2 }, Piece::Hole { len: 3 }]), (hole, lists));
}

#[test]
fn a_root_fits_its_length() {
    let id = ChunkId::of(b"x");
    let piece = |depth, len| Root { id, depth }.piece(len);
    assert_eq!(Root::EMPTY.piece(0), Ok(None));
    assert_eq!(Root::EMPTY.piece(1), Ok(Some(Piece::Data { id: Root::EMPTY.id, len: 1 })), "its hash will tell");
    assert_eq!(piece(0, 0), Err(ManifestError::Total { expected: 0 }));
    assert_eq!(
        piece(0, CHUNK_BYTES_MAX as u64 + 1),
        Err(ManifestError::Total { expected: CHUNK_BYTES_MAX as u64 + 1 })
    );
    assert_eq!(piece(1, 0), Err(ManifestError::Total { expected: 0 }));
    assert_eq!(piece(1, 3), Ok(Some(Piece::List { id, len: 3 })));
    assert_eq!(piece(MANIFEST_DEPTH_MAX + 1, 3), Err(ManifestError::Depth(MANIFEST_DEPTH_MAX + 1)));
}

#[test]
fn refuses_lists_out_of_form() {
    let check = |depth, pieces: &[Piece]| decode_list(depth, total(pieces), &codec::encode(&pieces.to_vec()));
    let (id, hole) = (ChunkId::of(b"x"), Piece::Hole { len: 1 });
    let list = Piece::List { id, len: 1 };
    assert_eq!(check(1, &[hole, data(1), hole]), Ok(vec![hole, data(1), hole]));
    assert_eq!(check(2, &[list, list]), Ok(vec![list, list]));
    assert_eq!(check(1, &[]), Err(ManifestError::Count(0)));
    assert_eq!(check(1, &vec![data(1); MANIFEST_PIECES_MAX]).map(|pieces| pieces.len()), Ok(MANIFEST_PIECES_MAX));
    assert_eq!(check(1, &vec![data(1); MANIFEST_PIECES_MAX + 1]), Err(ManifestError::Count(MANIFEST_PIECES_MAX + 1)));
    assert_eq!(check(1, &[hole, hole]), Err(ManifestError::Piece(1)));
    assert_eq!(check(1, &[data(1), list]), Err(ManifestError::Piece(1)));
    assert_eq!(check(2, &[list, data(1)]), Err(ManifestError::Piece(1)));
    assert_eq!(check(2, &[hole]), Err(ManifestError::Piece(0)));
    assert_eq!(check(1, &[Piece::Data { id, len: 0 }]), Err(ManifestError::Piece(0)));
    assert_eq!(check(1, &[Piece::Data { id, len: CHUNK_BYTES_MAX as u32 + 1 }]), Err(ManifestError::Piece(0)));
    assert_eq!(check(2, &[Piece::List { id, len: 0 }]), Err(ManifestError::Piece(0)));
}

#[test]
fn refuses_lists_that_do_not_add_up() {
    let id = ChunkId::of(b"x");
    let raw = codec::encode(&vec![data(1), data(2)]);
    let len = total(&[data(1), data(2)]);
    assert!(decode_list(1, len, &raw).is_ok());
    assert_eq!(decode_list(1, len + 1, &raw), Err(ManifestError::Total { expected: len + 1 }));
    assert_eq!(decode_list(1, len, &[&raw[..], &[0]].concat()), Err(ManifestError::Encoding));
    assert_eq!(decode_list(1, len, &raw[..raw.len() - 1]), Err(ManifestError::Encoding));
    let overflow = codec::encode(&vec![Piece::List { id, len: u64::MAX }, Piece::List { id, len: 2 }]);
    assert_eq!(decode_list(2, 1, &overflow), Err(ManifestError::Total { expected: 1 }));
}

#[test]
fn the_longest_list_is_read() {
    let id = ChunkId([0xff; 32]);
    let pieces = vec![Piece::List { id, len: u64::MAX / MANIFEST_PIECES_MAX as u64 }; MANIFEST_PIECES_MAX];
    assert_eq!(decode_list(2, total(&pieces), &codec::encode(&pieces)), Ok(pieces));
}

proptest! {
    #[test]
    fn what_is_built_is_read(pieces in proptest::collection::vec(any_piece(), 0..3000)) {
        let (root, lists) = build(&pieces);
        prop_assert_eq!(read(root, &lists, total(&pieces)), joined(&pieces));
        for raw in lists.values() {
            prop_assert!(raw.len() <= LIST_BYTES_MAX);
        }
    }

    #[test]
    fn an_insertion_changes_few_lists(at in 0_usize..20_000, seed in any::<u32>()) {
        let mut pieces: Vec<_> = (0..20_000).map(|n| data(n ^ seed)).collect();
        let (_, old) = build(&pieces);
        pieces.insert(at, data(seed ^ 0x10_0000));
        let (root, new) = build(&pieces);
        let old: BTreeSet<_> = old.into_keys().collect();
        let changed = new.keys().filter(|id| !old.contains(id)).count();
        prop_assert!(changed <= 4 * usize::from(root.depth), "{changed} new lists in {} levels", root.depth);
    }

    #[test]
    fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..500), depth in 0_u8..10, len: u64) {
        if let Ok(pieces) = decode_list(depth, len, &raw) {
            prop_assert_eq!(total(&pieces), len);
        }
    }

    /// No second encoding of a list passes.
    #[test]
    fn every_flipped_bit_is_another_list(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let pieces = vec![data(1), Piece::Hole { len: 300 }, data(2)];
        let mut raw = codec::encode(&pieces);
        let at = at.index(raw.len());
        raw[at] ^= 1 << bit;
        prop_assert_ne!(decode_list(1, total(&pieces), &raw), Ok(pieces));
    }
}
