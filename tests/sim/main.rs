//! The simulator: peers with real engines and real sessions, on one seeded scheduler. Their clock, their chance,
//! the disk below their stores and the connections between them are simulated; their trees are real directories,
//! and everything runs on one thread, so that a seed gives one run and no other.
//!
//! `act` are the words of a schedule, `schedule` makes, replays and cuts down such; `world` lets things happen,
//! `rest` brings it to rest, `oracles` says what must hold then. `docs/safety.md` tells what that proves.

mod act;
mod chance;
mod crashes;
mod disk;
mod machine;
mod oracles;
mod pairs;
mod peer;
mod rest;
mod schedule;
mod wire;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use tracing_subscriber::EnvFilter;

use schedule::{Played, Script, play_script, play_seed, shrink};

/// Schedules that were found to fail, cut down.
const REGRESSIONS: &str = include_str!("regressions.txt");

/// So many seeds are played in any case.
const SEEDS: u64 = 10_000;

/// Runs on a thread whose pool is itself, so that nothing runs beside it.
fn alone<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let alone = scope.spawn(|| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
            let _pool = pool.expect("a thread of its own is in no pool");
            run()
        });
        alone.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A number that whoever runs this may set.
fn asked(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}

/// What a person needs to know of a schedule that failed.
fn tell(played: &Played) -> String {
    let Played { script, failed, .. } = played;
    let (short, why) = shrink(script);
    let failed = failed.as_deref().unwrap_or_default();
    format!("seed {}: {failed}\ncut down: {why}\n{short}", script.plan.seed)
}

/// Plays so many schedules on all cores, until enough of them have failed; says what failed.
fn play_all(count: usize, play: impl Fn(usize) -> Played + Sync) -> Vec<String> {
    const FAILURES_MAX: usize = 5;
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let failed = || failures.lock().expect("a schedule's panic is caught");
    let work = || {
        while failed().len() < FAILURES_MAX {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let played = play(number);
            if played.failed.is_some() {
                let told = tell(&played);
                failed().push(told);
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..workers).for_each(|_| _ = scope.spawn(|| alone(work))));
    failures.into_inner().expect("a schedule's panic is caught")
}

/// Every seed holds: all that `oracles` says, whatever happened.
#[test]
#[expect(clippy::print_stdout, reason = "what the test runner shows of a test")]
fn random_schedules_hold() {
    if env::var_os("PFS_LOG").is_some() {
        let filter = EnvFilter::from_env("PFS_LOG");
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
    }
    if let Some(seed) = asked("PFS_SIM_SEED") {
        return alone(|| replay(&play_seed(seed, true)));
    }
    if let Some(script) = env::var("PFS_SIM_SCRIPT").ok().filter(|script| !script.is_empty()) {
        let script: Script = script.parse().expect("a script can be read");
        return alone(|| replay(&play_script(&script, true)));
    }
    let (first, count) = (asked("PFS_SIM_FIRST").unwrap_or(0), asked("PFS_SIM_COUNT").unwrap_or(SEEDS));
    let begun = Instant::now();
    let failures = play_all(count as usize, |number| play_seed(first + number as u64, false));
    let took = begun.elapsed().max(Duration::from_millis(1));
    println!("{count} schedules in {took:.1?}: {:.0} a second", count as f64 / took.as_secs_f64());
    assert!(failures.is_empty(), "{} schedules fail:\n{}", failures.len(), failures.join("\n"));
}

/// Says all that happened.
#[expect(clippy::print_stdout, reason = "what the test runner shows of a test")]
fn replay(played: &Played) {
    played.told.iter().for_each(|line| println!("{line}"));
    println!("{}", played.script);
    assert!(played.failed.is_none(), "{}", tell(played));
}

/// A seed gives one run and no other, and a script that was written down gives that run again.
#[test]
fn one_seed_gives_one_trace() {
    if !disk::every_change_shows() {
        return pfs_tests::not_run("one_seed_gives_one_trace", "this file system gives several changes one time");
    }
    alone(|| {
        for seed in 0..asked("PFS_SIM_TWICE").unwrap_or(100) {
            let (once, again) = (play_seed(seed, true), play_seed(seed, true));
            let first = once.told.iter().zip(&again.told).find(|(a, b)| a != b);
            assert_eq!((once.trace, &once.failed), (again.trace, &again.failed), "seed {seed}: {first:?}");
            let script: Script = once.script.to_string().parse().expect("a script can be read");
            assert_eq!(script, once.script);
            let replayed = play_script(&script, true);
            let first = once.told.iter().zip(&replayed.told).find(|(a, b)| a != b);
            assert_eq!(once.trace, replayed.trace, "seed {seed} written down: {first:?}");
        }
    });
}

/// All pairs of deeds, connected and apart, in all orders.
#[test]
fn every_pair_of_deeds_holds() {
    let scripts = pairs::scripts();
    let failures = play_all(scripts.len(), |number| play_script(&scripts[number], false));
    assert!(failures.is_empty(), "{} pairs fail:\n{}", failures.len(), failures.join("\n"));
}

/// A fault at each access to a store, in each kind of work.
#[test]
#[expect(clippy::print_stdout, reason = "what the test runner shows of a test")]
fn faults_at_every_access_hold() {
    let total = AtomicUsize::new(0);
    let failures = play_all(crashes::COUNT, |number| {
        let (played, count) = crashes::play_through(number);
        assert!(count > 1, "no fault ever came: {}", played.script);
        total.fetch_add(count, Ordering::Relaxed);
        played
    });
    println!("{} faults", total.into_inner());
    assert!(failures.is_empty(), "{} works fail:\n{}", failures.len(), failures.join("\n"));
}

/// What once failed does not fail any more.
#[test]
fn regressions_hold() {
    alone(|| {
        for line in REGRESSIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let script: Script = line.parse().expect("a script can be read");
            let played = play_script(&script, true);
            let told = played.told.join("\n");
            assert!(played.failed.is_none(), "{line}\n{}\n{told}", played.failed.unwrap_or_default());
        }
    });
}
