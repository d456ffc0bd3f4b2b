use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::model::samples;

fn lengths(bytes: &[u8]) -> Vec<usize> {
    cuts(bytes, true).map(|chunk| chunk.len()).collect()
}

/// Cuts through windows of `size` bytes, as a reader that never holds more does.
fn lengths_through_windows(bytes: &[u8], size: usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = (at + size).min(bytes.len());
        let before = lengths.len();
        lengths.extend(cuts(&bytes[at..end], end == bytes.len()).map(|chunk| chunk.len()));
        at += lengths[before..].iter().sum::<usize>();
        assert!(lengths.len() > before, "a window settles a cut");
    }
    lengths
}

#[test]
fn the_cut_points_are_those_of_format_1() {
    let mut found = String::new();
    for (name, bytes) in samples::named() {
        let lengths: Vec<_> = lengths(&bytes).iter().map(ToString::to_string).collect();
        writeln!(found, "{name}: {}", lengths.join(" ")).expect("a string takes everything");
    }
    samples::assert_golden("cut/1/lengths.txt", &found, include_str!("../../../../fixtures/golden/cut/1/lengths.txt"));
}

#[test]
fn small_files_stay_whole() {
    assert_eq!(lengths(&[]), []);
    for len in [1, CHUNK_BYTES_MIN - 1, CHUNK_BYTES_MIN] {
        assert_eq!(lengths(&samples::random("small", len)), [len]);
    }
}

/// A hole is stepped over without being read because of this.
#[test]
fn zeros_are_cut_at_the_maximum() {
    assert_eq!(lengths(&vec![0; 3 * CHUNK_BYTES_MAX + 1]), [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, 1]);
    let then_data = [vec![0; CHUNK_BYTES_MAX], samples::random("after zeros", CHUNK_BYTES_MAX)].concat();
    assert_eq!(lengths(&then_data)[0], CHUNK_BYTES_MAX);
}

#[test]
fn windows_do_not_matter() {
    for (name, bytes) in samples::named() {
        let whole = lengths(&bytes);
        for size in [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 1 << 20] {
            assert_eq!(lengths_through_windows(&bytes, size), whole, "{name} through windows of {size}");
        }
    }
}

#[test]
fn chunks_come_to_the_average() {
    let lengths = lengths(&samples::random("average", 32 << 20));
    assert!(lengths.iter().all(|len| *len <= CHUNK_BYTES_MAX));
    assert!(lengths[..lengths.len() - 1].iter().all(|len| *len >= CHUNK_BYTES_MIN));
    let average = (32 << 20) / lengths.len();
    assert!((CHUNK_BYTES_AVG * 3 / 4..CHUNK_BYTES_AVG * 3 / 2).contains(&average), "{average}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// After an insertion the cuts fall back into step within a few chunks.
    #[test]
    fn an_insertion_moves_few_cuts(seed in any::<u32>(), at in 0_usize..2 << 20, inserted in 1_usize..100) {
        let bytes = samples::random(&seed.to_string(), 2 << 20);
        let edited = [&bytes[..at], &samples::random("inserted", inserted), &bytes[at..]].concat();
        let ends = |bytes: &[u8]| cuts(bytes, true).map(|chunk| bytes.len() - chunk.end).collect::<Vec<_>>();
        let (old, new) = (ends(&bytes), ends(&edited));
        let after = bytes.len() - at;
        let moved = new.iter().filter(|end| **end < after && !old.contains(end)).count();
        prop_assert!(moved <= 8, "{moved} of {} cuts moved", new.len());
    }
}
