//! The points that daemons come by while people work: at each of them, the first time and later.

use pfs_engine::failpoint::Point;
use pfs_tests::{Peer, eventually, eventually_nothing};

use super::{Deed, assert_killed, in_step, killing, pair, points_of};
use crate::work::{Dice, Worker};

/// Nothing takes more rounds of work.
const ROUNDS_MAX: u32 = 12;

/// Two peers at work in a folder each, so that every fork would be a false one.
struct World {
    peers: [Peer; 2],
    workers: [Worker; 2],
    dice: Dice,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (peers, mut dice) = (pair(dir.path()), Dice(seed));
        let mut workers = [Worker::new(&peers[0].at("anna's")), Worker::new(&peers[1].at("ben's"))];
        for worker in &mut workers {
            worker.furnish(&mut dice);
        }
        let mut world = Self { peers, workers, dice, _dir: dir };
        world.in_step();
        world
    }

    fn work(&mut self) {
        for worker in &mut self.workers {
            worker.do_everything(&mut self.dice);
        }
    }

    /// What is not at both as its user left it.
    fn amiss(&self) -> Vec<String> {
        let of = |peer: &Peer| self.workers.iter().flat_map(|worker| worker.amiss_in(&peer.dir)).collect::<Vec<_>>();
        self.peers.iter().flat_map(of).collect()
    }

    fn is_even(&self) -> bool {
        self.amiss().is_empty()
    }

    /// Everybody works until ben's daemon is dead.
    fn work_until_dead(&mut self, point: Point) {
        for _ in 0..ROUNDS_MAX {
            let mut is_dead = false;
            eventually(point.name(), || {
                is_dead = self.peers[1].has_died();
                is_dead || self.is_even()
            });
            if is_dead {
                return assert_killed(self.peers[1].end(), point);
            }
            self.work();
        }
        panic!("{} was not reached by {ROUNDS_MAX} rounds of work", point.name());
    }

    fn in_step(&mut self) {
        eventually_nothing("everything is everywhere", || self.amiss());
        in_step(self.peers.each_ref());
        assert_eq!(self.amiss(), Vec::<String>::new());
    }

    /// Ben dies when he passes a point for the nth time, and goes on.
    fn die_at(&mut self, point: Point, nth: u32) {
        self.peers[1].stop();
        // Also what was done while nobody looked.
        self.work();
        self.peers[1].launch(&killing(point, nth));
        self.work_until_dead(point);
        if nth > 1 {
            // What arrives right after the start meets a tree that nobody has looked at.
            self.work();
        }
        self.peers[1].start();
        self.in_step();
    }
}

#[expect(clippy::print_stdout, reason = "what the test runner shows of a test that failed")]
fn go_through(test: &str, passings: &[u32]) {
    let points = points_of(test, &[Deed::Work]);
    if points.is_empty() {
        return;
    }
    let mut world = World::new(passings.len() as u64);
    for (point, nth) in points.into_iter().zip(passings.iter().cycle()) {
        println!("{}:{nth}", point.name());
        world.die_at(point, *nth);
    }
}

#[test]
fn a_daemon_dies_at_every_point_of_its_work() {
    go_through("a_daemon_dies_at_every_point_of_its_work", &[1]);
}

#[test]
fn a_daemon_dies_at_every_point_later_on() {
    go_through("a_daemon_dies_at_every_point_later_on", &[2, 3]);
}

#[test]
fn a_daemon_dies_as_it_starts_and_as_it_stops() {
    let points = points_of("a_daemon_dies_as_it_starts_and_as_it_stops", &[Deed::Start, Deed::Stop]);
    if points.is_empty() {
        return;
    }
    let mut world = World::new(7);
    // A daemon opens its store, says what it has, and opens it again to work.
    for (point, nth) in points.into_iter().flat_map(|point| [(point, 1), (point, 2)]) {
        world.peers[1].stop();
        world.work();
        world.peers[1].launch(&killing(point, nth));
        if (point, nth) == (Point::EngineClose, 2) {
            eventually_nothing("all is done", || world.amiss());
            world.peers[1].run(&["daemon", "stop"]);
            eventually("it ends", || world.peers[1].has_died());
            assert_killed(world.peers[1].end(), point);
        } else {
            world.work_until_dead(point);
        }
        world.peers[1].start();
        world.in_step();
    }
}
