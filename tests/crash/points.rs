//! Every failpoint, one after the other: ben dies there, is started again, and nothing is lost, nothing forks, both
//! trees are the same and all that is stored can be read. A point that nothing passes fails the test by its name.

mod commands;
mod volumes;
mod works;

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Output};

use pfs_engine::failpoint::Point;
use pfs_tests::{Peer, eventually, eventually_equal, not_run};

/// What it takes to come by a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Two daemons, and users who work at both.
    Work,
    /// A daemon that starts.
    Start,
    /// A daemon that is told to stop.
    Stop,
    /// `pfs resolve`.
    Resolve,
    /// `pfs restore`.
    Restore,
    /// `pfs gc`.
    Gc,
    /// `pfs verify --repair` of a damaged store.
    Repair,
    /// `pfs verify --repair` of a damaged tree.
    Mend,
    /// `pfs track`.
    Track,
    /// `pfs track`, or `pfs join`.
    TrackOrJoin,
    /// `pfs join`.
    Join,
    /// `pfs untrack`.
    Untrack,
}

fn deed(point: Point) -> Deed {
    match point {
        Point::EngineOpen => Deed::Start,
        Point::EngineClose => Deed::Stop,
        Point::StoreLogBefore
        | Point::StoreLogAfter
        | Point::StoreFactsBefore
        | Point::StoreFactsAfter
        | Point::StoreNoteBefore
        | Point::StoreNoteAfter
        | Point::StoreChunksBefore
        | Point::StoreChunksAfter
        | Point::StoreSync
        | Point::StoreFlush
        | Point::CaptureRead
        | Point::CaptureShape
        | Point::CaptureEnd
        | Point::ReceiveBefore
        | Point::ReceiveAfter
        | Point::FetchCame
        | Point::MaterialiseSetOut
        | Point::MaterialiseDone
        | Point::MaterialiseNoted
        | Point::DiskSyncTemps
        | Point::DiskTemps
        | Point::DiskStep
        | Point::DiskParked
        | Point::DiskSwap
        | Point::DiskSwapped
        | Point::DiskTaken
        | Point::DiskSync
        | Point::DiskSynced => Deed::Work,
        Point::ResolveBefore | Point::ResolveAfter => Deed::Resolve,
        Point::RestoreBefore | Point::RestoreAfter => Deed::Restore,
        Point::GcPlanned | Point::GcReleased | Point::GcSweep | Point::GcSwept | Point::GcReclaimed => Deed::Gc,
        Point::TrackVolume | Point::TrackMarker | Point::TrackTree => Deed::TrackOrJoin,
        Point::TrackBorn => Deed::Track,
        Point::JoinAdopted | Point::JoinLooked => Deed::Join,
        Point::UntrackMarker => Deed::Untrack,
        Point::RepairLetGo => Deed::Repair,
        Point::RepairKept => Deed::Mend,
    }
}

/// Whether pfs was built with failpoints. Where it was not, says that this test could not run.
pub(crate) fn points_built(test: &str) -> bool {
    if !cfg!(debug_assertions) {
        not_run(test, "a release build has no failpoints");
    }
    cfg!(debug_assertions)
}

/// The points that these take one past; none where pfs was built without.
fn points_of(test: &str, deeds: &[Deed]) -> Vec<Point> {
    if !points_built(test) {
        return Vec::new();
    }
    Point::ALL.iter().copied().filter(|point| deeds.contains(&deed(*point))).collect()
}

fn killing(point: Point, nth: u32) -> String {
    format!("{}:{nth}=kill", point.name())
}

/// Whether it was the failpoint that ended a process.
#[track_caller]
fn assert_killed(status: ExitStatus, point: Point) {
    assert_eq!(status.signal(), Some(9), "{}: {status}, and not by the point", point.name());
}

/// Runs a command that dies at a point.
#[track_caller]
fn dies(peer: &Peer, point: Point, args: &[&str]) {
    let Output { status, stdout, stderr } = peer.command(args).env("PFS_FAIL", killing(point, 1)).output().unwrap();
    let said = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert_eq!(status.signal(), Some(9), "{} was never reached: {status}: {said:?}", point.name());
}

/// Starts ben's daemon with that point; returns when it answers, so that no command does its work instead of it.
fn launch(ben: &mut Peer, point: Point) {
    ben.launch(&killing(point, 1));
    eventually("it answers", || ben.run(&["daemon", "status"]).code == 0);
}

/// Asks ben's daemon, which dies of it.
#[track_caller]
fn daemon_dies(ben: &mut Peer, point: Point, args: &[&str]) {
    let asked = ben.run(args);
    // The answer may be cut off before the process is gone.
    assert!(asked.code == 1 || ben.has_died(), "{} was never reached: {asked:?}", point.name());
    eventually(point.name(), || ben.has_died());
    assert_killed(ben.end(), point);
}

/// Two peers whose daemons run and that share `v`.
pub(crate) fn pair(world: &std::path::Path) -> [Peer; 2] {
    let (mut anna, mut ben) = (Peer::new(world, "anna"), Peer::new(world, "ben"));
    anna.write("stays", "1\n");
    anna.ok(&["track", &anna.dir.display().to_string(), "--name", "v"]);
    anna.start();
    ben.start();
    ben.join(&anna.ticket("v"));
    eventually_equal(&[&anna, &ben]);
    [anna, ben]
}

/// Both have the same, know it, can prove it, and nothing is left lying about.
pub(crate) fn in_step(peers: [&Peer; 2]) {
    let [anna, ben] = peers;
    eventually_equal(&[anna, ben]);
    eventually("both rest", || peers.iter().all(|peer| peer.state() == "synced"));
    eventually_equal(&[anna, ben]);
    for peer in peers {
        assert_eq!(peer.json(&["forks"]), serde_json::json!([]), "{}", peer.name);
        let verified = peer.run(&["verify"]);
        assert!(verified.out.contains("all is well"), "{}: {verified:?}", peer.name);
        assert_eq!(left_in(peer), Vec::<String>::new(), "{}", peer.name);
    }
}

/// What was set aside, and what nobody cleared away.
fn left_in(peer: &Peer) -> Vec<String> {
    let all = ["tmp", "set-aside"].map(|folder| peer.at(".pfs").join(folder));
    let names = all.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    names.map(|entry| entry.unwrap().path().display().to_string()).collect()
}
