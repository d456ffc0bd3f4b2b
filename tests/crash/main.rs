//! Daemons that are killed at any moment: nothing that was written is lost, both trees become equal, and nothing
//! forks that nobody wrote twice.
//!
//! Each peer works in a folder of its own, and in a shared one when it has all that the other did there: so every
//! fork would be a false one, and what a folder must hold at the end is known. A seed says what happens; when the kill hits is up to the machine, so a seed is no script.
//! `PFS_CRASH_SEEDS=40..80` runs others than the usual ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod points;
mod syncs;
mod work;

use std::thread;
use std::time::Duration;

use pfs_tests::{Peer, eventually, eventually_equal};
use work::{Dice, Worker};

#[test]
fn kills_at_any_moment_lose_nothing_and_fork_nothing() {
    for seed in seeds() {
        run(seed);
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("PFS_CRASH_SEEDS") else { return 0..3 };
    let (from, to) = asked.split_once("..").expect("PFS_CRASH_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[expect(clippy::print_stdout, reason = "what the test runner shows of a test that failed")]
fn run(seed: u64) {
    println!("seed {seed}");
    let world = tempfile::tempdir().unwrap();
    let mut dice = Dice(seed);
    let mut peers = [Peer::new(world.path(), "anna"), Peer::new(world.path(), "ben")];
    let mut workers = [Worker::new(&peers[0].at("anna's")), Worker::new(&peers[1].at("ben's"))];
    let mut shared = Worker::new(&peers[0].at("shared"));
    workers[0].furnish(&mut dice);
    shared.furnish(&mut dice);
    peers[0].ok(&["track", &peers[0].dir.display().to_string(), "--name", "v"]);
    peers[0].start();
    peers[1].join(&peers[0].ticket("v"));
    workers[1].furnish(&mut dice);
    peers[1].start();
    for round in 0..8 {
        eventually("the shared folder is the same", || {
            let amiss: Vec<_> = peers.iter().map(|peer| shared.amiss_in(&peer.dir)).collect();
            amiss.iter().all(Vec::is_empty)
        });
        shared.move_to(&peers[round % 2].dir);
        shared.work(&mut dice);
        let victim = dice.below(2);
        for worker in &mut workers {
            worker.work(&mut dice);
        }
        thread::sleep(Duration::from_millis(dice.below(150) as u64));
        peers[victim].kill();
        // What arrives right after the start meets a tree that nobody has looked at.
        let busy = if dice.below(3) == 0 { victim } else { 1 - victim };
        workers[busy].work(&mut dice);
        peers[victim].start();
    }
    let [anna, ben] = &peers;
    eventually_equal(&[anna, ben]);
    eventually("both rest", || peers.iter().all(|peer| peer.state() == "synced"));
    eventually_equal(&[anna, ben]);
    for worker in workers.iter().chain([&shared]) {
        assert_eq!(worker.amiss_in(&anna.dir), Vec::<String>::new(), "seed {seed}");
    }
    for peer in &peers {
        assert_eq!(peer.json(&["forks"]), serde_json::json!([]), "seed {seed}: {}", peer.name);
        assert!(peer.ok(&["verify"]).contains("all is well"), "seed {seed}");
    }
}
