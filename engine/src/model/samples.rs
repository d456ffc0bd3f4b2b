//! Named inputs for tests and goldens. What a name stands for never changes.

/// `len` bytes that nobody can compress, another stream for every seed.
pub(crate) fn random(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Numbered lines, `len` bytes of them.
pub(crate) fn lines(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..).flat_map(|n: u32| format!("line {n} of the sample\n").into_bytes()).take(len).collect();
    bytes.shrink_to_fit();
    bytes
}

/// The inputs whose cuts and roots are pinned.
pub(crate) fn named() -> Vec<(&'static str, Vec<u8>)> {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    vec![
        ("empty", vec![]),
        ("byte", vec![7]),
        ("zero-byte", vec![0]),
        ("random-16k", random("16k", 16 * KIB)),
        ("random-16k+1", random("16k", 16 * KIB + 1)),
        ("random-2m", random("2m", 2 * MIB)),
        ("random-32m", random("32m", 32 * MIB)),
        ("lines-1m", lines(MIB)),
        ("zeros-16k", vec![0; 16 * KIB]),
        ("zeros-3m", vec![0; 3 * MIB]),
        ("ones-1m", vec![1; MIB]),
        ("random-zeros-random", [random("a", 100_000), vec![0; 3 * MIB], random("b", 100_001)].concat()),
        ("zeros-random-zeros", [vec![0; 1_000_000], random("c", 300_000), vec![0; 500_000]].concat()),
    ]
}

/// Compares what was found with a frozen file of `fixtures/golden`. A difference is a change of the format: what
/// peers hold would no longer be found under its id.
pub(crate) fn assert_golden(path: &str, found: &str, frozen: &str) {
    assert!(found == frozen, "fixtures/golden/{path} differs; found:\n{found}");
}
