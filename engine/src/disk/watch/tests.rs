//! Every system's watcher is held to the same; on Linux both run.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use super::{Hint, inotify, portable};
use crate::disk::DiskError;
use crate::model::name::RelPath;

/// So long a hint may take on a machine under load; usually it is there in a millisecond.
const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    dir: TempDir,
    hints: Receiver<Hint>,
    _watch: Box<dyn std::any::Any>,
}

type Start = fn(&Path, std::sync::mpsc::Sender<Hint>) -> Box<dyn std::any::Any>;

const SYSTEMS: [Start; 2] = [
    |root, hints| Box::new(inotify::Watch::start(root, move |hint| drop(hints.send(hint))).unwrap()),
    |root, hints| Box::new(portable::Watch::start(root, move |hint| drop(hints.send(hint))).unwrap()),
];

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn worlds(prepare: impl Fn(&Path)) -> impl Iterator<Item = World> {
    SYSTEMS.into_iter().map(move |start| {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".pfs/tmp")).unwrap();
        fs::create_dir(dir.path().join("marks")).unwrap();
        prepare(dir.path());
        let (send, hints) = channel();
        let watch = start(dir.path(), send);
        World { dir, hints, _watch: watch }
    })
}

impl World {
    fn full(&self, at: &str) -> std::path::PathBuf {
        self.dir.path().join(at)
    }

    /// Waits for hints by which somebody would look at each of these directories.
    fn expect(&self, folders: &[&str]) {
        let mut left: Vec<_> = folders.iter().map(|folder| path(folder)).collect();
        while !left.is_empty() {
            match self.hints.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no hint for {left:?}")) {
                Hint::Closed(_) => {}
                Hint::Dirty(at) => left.retain(|folder| *folder != at),
                Hint::Below(at) => left.retain(|folder| !folder.0.starts_with(&at.0)),
                Hint::Blind(error) => panic!("{error}"),
            }
        }
    }

    /// All hints before those at a change that is made now.
    fn until_now(&self) -> Vec<Hint> {
        let mark = format!("marks/{}", fs::read_dir(self.full("marks")).unwrap().count());
        fs::create_dir(self.full(&mark)).unwrap();
        let mut hints = Vec::new();
        loop {
            match self.hints.recv_timeout(DEADLINE).expect("the mark is hinted at") {
                Hint::Below(at) if at == path(&mark) => return hints,
                Hint::Dirty(at) if at == path("marks") => {}
                hint => hints.push(hint),
            }
        }
    }
}

#[test]
fn every_change_is_hinted_at() {
    for world in worlds(|root| fs::create_dir_all(root.join("a/b")).unwrap()) {
        fs::write(world.full("a/b/f"), b"1").unwrap();
        world.expect(&["a/b"]);
        fs::write(world.full("a/b/f"), b"2").unwrap();
        world.expect(&["a/b"]);
        fs::set_permissions(world.full("a/b/f"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        world.expect(&["a/b"]);
        fs::rename(world.full("a/b/f"), world.full("a/g")).unwrap();
        world.expect(&["a/b", "a"]);
        fs::remove_file(world.full("a/g")).unwrap();
        world.expect(&["a"]);
        fs::remove_dir(world.full("a/b")).unwrap();
        world.expect(&["a"]);
    }
}

#[test]
fn new_and_moved_directories_are_watched() {
    let outside = tempfile::tempdir().unwrap();
    for (i, world) in worlds(|root| fs::create_dir(root.join("a")).unwrap()).enumerate() {
        fs::create_dir_all(world.full("new/x/y")).unwrap();
        world.expect(&["new/x/y"]);
        let from = outside.path().join(i.to_string());
        fs::create_dir_all(from.join("x/y")).unwrap();
        fs::rename(&from, world.full("a/in")).unwrap();
        world.expect(&["a/in/x"]);
        fs::rename(world.full("a/in"), world.full("moved")).unwrap();
        world.expect(&["moved"]);
    }
}

/// What comes into a directory that is renamed is hinted at under its new name, deep below as well.
#[test]
fn paths_follow_renames() {
    let prepare = |root: &Path| fs::create_dir_all(root.join("a/x/y")).unwrap();
    let world = worlds(prepare).next().unwrap();
    fs::rename(world.full("a"), world.full("b")).unwrap();
    fs::create_dir(world.full("a")).unwrap();
    fs::rename(world.full("b/x"), world.full("a/z")).unwrap();
    world.expect(&["a/z"]);
    world.until_now();
    fs::write(world.full("a/z/y/f"), b"1").unwrap();
    let hints = world.until_now();
    assert!(!hints.is_empty());
    assert!(
        hints
            .iter()
            .all(|hint| matches!(hint, Hint::Dirty(at) | Hint::Closed(at) if at.0.starts_with(&path("a/z/y").0))),
        "{hints:?}"
    );
}

/// New directories are watched before they are hinted at, so whoever looks then misses nothing that comes later.
#[test]
fn nothing_slips_in_between_hint_and_watch() {
    let world = worlds(|_| {}).next().unwrap();
    for i in 0..200 {
        let dir = format!("d{i}/x");
        fs::create_dir_all(world.full(&dir)).unwrap();
        world.expect(&[&format!("d{i}")]);
        fs::write(world.full(&dir).join("f"), b"1").unwrap();
        world.expect(&[&dir]);
    }
}

/// As a batch of steps does it that parks a directory and puts it back.
#[test]
fn what_comes_back_is_watched_again() {
    let world = worlds(|root| fs::create_dir_all(root.join("d/sub")).unwrap()).next().unwrap();
    for place in ["e", "d"] {
        let (from, parked) = (if place == "e" { "d" } else { "e" }, world.full(".pfs/tmp/parked"));
        fs::rename(world.full(from), &parked).unwrap();
        fs::rename(parked, world.full(place)).unwrap();
        // What has left is let go of when something else has happened.
        for _ in 0..3 {
            world.until_now();
        }
        let files = [format!("{place}/f"), format!("{place}/sub/f")];
        for file in files {
            fs::write(world.full(&file), "x").unwrap();
        }
        world.expect(&[place, &format!("{place}/sub")]);
    }
}

#[test]
fn what_has_left_the_tree_is_watched_no_longer() {
    let outside = tempfile::tempdir().unwrap();
    let world = worlds(|root| fs::create_dir_all(root.join("a/x")).unwrap()).next().unwrap();
    fs::rename(world.full("a"), outside.path().join("a")).unwrap();
    world.until_now();
    world.until_now();
    fs::write(outside.path().join("a/x/f"), b"1").unwrap();
    assert!(world.until_now().is_empty());
}

#[test]
fn reading_and_what_is_ours_or_outside_is_not_hinted_at() {
    let outside = tempfile::tempdir().unwrap();
    let prepare = |root: &Path| {
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/f"), b"1").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("link")).unwrap();
    };
    for world in worlds(prepare) {
        fs::read(world.full("a/f")).unwrap();
        fs::read_dir(world.full("a")).unwrap().for_each(drop);
        fs::write(world.full(".pfs/tmp/new"), b"1").unwrap();
        fs::create_dir(world.full(".pfs/set-aside")).unwrap();
        fs::write(outside.path().join("f"), b"1").unwrap();
        let hints = world.until_now();
        assert!(hints.is_empty(), "{hints:?}");
    }
}

#[test]
fn a_root_that_is_not_there_is_an_error() {
    let gone = tempfile::tempdir().unwrap().path().join("none");
    assert!(matches!(super::Watcher::start(&gone, |_| {}), Err(DiskError::Io { .. })));
}

#[test]
fn a_lost_root_is_hinted_at() {
    let is_all = |hint: Hint| matches!(hint, Hint::Below(at) if at.0.is_empty());
    let lose: [fn(&Path); 2] =
        [|root| fs::remove_dir_all(root).unwrap(), |root| fs::rename(root, root.with_extension("moved")).unwrap()];
    for lose in lose {
        let above = tempfile::tempdir().unwrap();
        let root = above.path().join("root");
        fs::create_dir_all(root.join(".pfs")).unwrap();
        let (send, hints) = channel();
        let _watch = SYSTEMS[0](&root, send);
        lose(&root);
        while !is_all(hints.recv_timeout(DEADLINE).unwrap()) {}
    }
}

#[test]
fn an_overflow_of_the_queue_is_hinted_at_and_survived() {
    const BEARABLE: usize = 100_000;
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > BEARABLE {
        println!("not run here: an_overflow_of_the_queue_is_hinted_at_and_survived (the queue holds {limit})");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Each hint waits until it is taken, so that nobody reads the queue meanwhile.
    let (send, hints) = std::sync::mpsc::sync_channel(0);
    let _watch = inotify::Watch::start(dir.path(), move |hint| drop(send.send(hint))).unwrap();
    fs::write(dir.path().join("first"), b"").unwrap();
    (0..limit).for_each(|i| drop(fs::File::create(dir.path().join(format!("f{i}"))).unwrap()));
    fs::create_dir_all(dir.path().join("later/x")).unwrap();
    while !matches!(hints.recv_timeout(DEADLINE).unwrap(), Hint::Below(at) if at.0.is_empty()) {}
    fs::write(dir.path().join("later/x/f"), b"1").unwrap();
    while !matches!(hints.recv_timeout(DEADLINE).unwrap(), Hint::Dirty(at) if at == path("later/x")) {}
}
