//! Hostile bytes: every decoder of what comes from peers, and the session that hears them, under bytes that are nearly
//! right. None panics, none allocates more than its input and the limits allow, and what is taken is canonical.
//!
//! `samples` are the valid encodings that are damaged, `decoders` has a target for each decoder, `session` one for
//! the conversation. Decoders that are private to their crate are under the same damage beside their code.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod chunks;
mod decoders;
mod samples;
mod session;

use std::env;
use std::fmt::Debug;

use data_encoding::HEXLOWER;
use pfs_fixtures::damage::damaged;
use pfs_heap::peak_of;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

#[global_allocator]
static HEAP: pfs_heap::Counted = pfs_heap::Counted;

/// Inputs that once failed, one a line: the target and the bytes.
const REGRESSIONS: &str = include_str!("regressions.txt");

/// Cases of each target, unless asked for more.
const CASES: u32 = 20_000;

/// Whether an input was handled as it should be.
type Checked = Result<(), TestCaseError>;

/// Plays what once failed, then so many damaged samples.
fn fuzz(target: &str, samples: Vec<Vec<u8>>, check: impl Fn(&[u8]) -> Checked) {
    for sample in &samples {
        check(sample).unwrap_or_else(|error| panic!("{target}: an undamaged sample: {error}"));
    }
    for line in REGRESSIONS.lines() {
        let (of, hex) = line.split_once(' ').unwrap();
        if of == target {
            let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
            check(&bytes).unwrap_or_else(|error| panic!("{target}: a regression: {error}\n{line}"));
        }
    }
    let failed = run(&damaged(samples), 1, |bytes| check(&bytes));
    if let Some((error, bytes)) = failed {
        panic!("{target}: {error}\nfor tests/fuzz/regressions.txt:\n{target} {}", HEXLOWER.encode(&bytes));
    }
}

/// Plays so many cases, one in `share` of those asked for; gives the smallest input that fails, if any does.
fn run<S: Strategy>(strategy: &S, share: u32, check: impl Fn(S::Value) -> Checked) -> Option<(String, S::Value)>
where
    S::Value: Debug,
{
    let asked = env::var("PFS_FUZZ_COUNT").ok().and_then(|count| count.parse().ok());
    let cases = asked.unwrap_or(CASES).div_ceil(share);
    let config = Config { cases, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
    match TestRunner::new(config).run(strategy, check) {
        Ok(()) => None,
        Err(TestError::Fail(reason, input)) => Some((reason.to_string(), input)),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// Does something with `bytes`, for which no more may be allocated than `each` bytes for each of them, and `fixed`.
fn within<T>(bytes: &[u8], (fixed, each): (usize, usize), work: impl FnOnce() -> T) -> Result<T, TestCaseError> {
    let (done, peak) = peak_of(work);
    prop_assert!(peak <= fixed + each * bytes.len(), "{} bytes took {peak} bytes of memory", bytes.len());
    Ok(done)
}
