//! A home that was put back from a copy: it goes on in new logs, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use pfs_engine::handle::Parted;
use pfs_engine::model::ids::{LogId, VolumeId};
use support::{LINK, Peer, eventually, fetch, joined, pair, settle, sync};

/// As a backup program copies it: everything that is in it, as other files. No process is started for it: that would
/// hold the locks of other tests for a moment.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn own_log(peer: &Peer, id: VolumeId) -> Option<LogId> {
    peer.engine().volume(id).unwrap().state().log
}

#[test]
fn an_old_copy_of_a_home_goes_on_in_new_logs() {
    let (mut a, b, id) = pair(|a| a.write("f", "1"));
    let kept = tempfile::tempdir().unwrap();
    a.close();
    copy(a.home.path(), kept.path());
    a.open(true);
    a.write("g", "after the copy");
    eventually("it crosses", || {
        settle(&a, &b, id);
        b.read("g").is_some()
    });
    let log = own_log(&a, id);
    a.close();
    // Over what is there, file by file.
    fs::remove_dir_all(a.home.path().join("store")).unwrap();
    copy(kept.path(), a.home.path());
    a.open(true);
    a.write("h", "after it was put back");
    a.engine().capture(id, None).unwrap();
    assert_ne!(own_log(&a, id), log, "others have more of the old one");
    settle(&a, &b, id);
    for peer in [&a, &b] {
        assert_eq!(peer.read("g").as_deref(), Some("after the copy"));
        assert_eq!(peer.read("h").as_deref(), Some("after it was put back"));
        assert_eq!(peer.forks(id), 0);
    }
}

#[test]
fn a_home_that_moved_goes_on_in_its_log() {
    let (mut a, _b, id) = pair(|a| a.write("f", "1"));
    let log = own_log(&a, id);
    a.close();
    let other = a.home.path().with_extension("moved");
    fs::rename(a.home.path(), &other).unwrap();
    let engine = pfs_engine::Engine::open(&other, pfs_engine::Options { live: false }).unwrap();
    assert_eq!(engine.volume(id).unwrap().state().log, log);
    drop(engine);
    fs::rename(&other, a.home.path()).unwrap();
    a.open(false);
    assert_eq!(own_log(&a, id), log);
}

/// The whole machine goes back to what was kept, so that nothing shows it: the note of the last closing is the same
/// file as before.
fn goes_back(peer: &mut Peer, kept: &Path) {
    peer.close();
    for (what, at) in [("home", peer.home.path()), ("tree", peer.dir.path())] {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let is_dir = entry.file_type().unwrap().is_dir();
            if is_dir { fs::remove_dir_all(entry.path()).unwrap() } else { fs::remove_file(entry.path()).unwrap() }
        }
        copy(&kept.join(what), at);
    }
    let note = peer.home.path().join("closed");
    let (text, meta) = (fs::read_to_string(&note).unwrap(), fs::metadata(&note).unwrap());
    let born = meta.created().map_or(Duration::ZERO, |at| at.duration_since(UNIX_EPOCH).unwrap());
    let (position, dev, ino) = (text.split(' ').next().unwrap(), meta.dev(), meta.ino());
    fs::write(&note, format!("{position} in {dev} {ino} {} {}\n", born.as_secs(), born.subsec_nanos())).unwrap();
    peer.open(false);
}

fn write(peer: &Peer, id: VolumeId, path: &str, text: &str) {
    peer.write(path, text);
    peer.engine().capture(id, None).unwrap();
}

/// What a session does where the other side has another form of a log: each shows its own, from further back each
/// time, until it is known where they part.
fn show(from: &Peer, to: &Peer, id: VolumeId, (log, parted): (LogId, Parted), steps: u32) {
    let volume = from.engine().volume(id).unwrap();
    let back = if parted.is_first { 0 } else { 1 << steps };
    let mut after = volume.frontier();
    after.0.insert(log, parted.seq.saturating_sub(back).max(1) - 1);
    let received = to.engine().receive(id, volume.entries_after(&after, usize::MAX).unwrap()).unwrap();
    if let Some(parted) = received.parted.get(&log).filter(|_| steps < 9) {
        show(to, from, id, (log, *parted), steps + 1);
    }
}

fn hand_over(from: &Peer, to: &Peer, id: VolumeId) {
    let lacks = to.engine().volume(id).unwrap().frontier();
    let entries = from.engine().volume(id).unwrap().entries_after(&lacks, usize::MAX).unwrap();
    // What waits for something comes again.
    let Ok(received) = to.engine().receive(id, entries) else { return };
    for parted in received.parted {
        show(to, from, id, parted, 0);
    }
}

#[test]
fn two_forms_of_a_log_are_settled_by_its_author_and_all_have_all() {
    for (first, second) in [(2, 5), (5, 2), (1, 1), (3, 3)] {
        let (mut a, b, id) = pair(|a| a.write("f", "f"));
        let c = joined(&a, id, "carl");
        settle(&a, &c, id);
        settle(&a, &b, id);
        let kept = tempfile::tempdir().unwrap();
        a.close();
        copy(a.home.path(), &kept.path().join("home"));
        copy(a.dir.path(), &kept.path().join("tree"));
        a.open(false);
        for n in 0..first {
            write(&a, id, &format!("first {n}"), "first");
        }
        hand_over(&a, &b, id);
        b.engine().peer_up(a.engine().peer(), LINK).unwrap();
        eventually("the bytes have come, too", || {
            fetch(a.engine(), b.engine(), id);
            b.at(&format!("first {}", first - 1)).exists()
        });
        goes_back(&mut a, kept.path());
        for n in 0..second {
            write(&a, id, &format!("second {n}"), "second");
        }
        hand_over(&a, &c, id);
        write(&b, id, "of ben", "ben");
        write(&c, id, "of carl", "carl");
        // Before the author hears of it.
        hand_over(&b, &c, id);
        hand_over(&c, &b, id);
        write(&a, id, "late", "late");
        eventually("all know the same", || {
            for (from, to) in [(&a, &b), (&b, &a), (&a, &c), (&c, &a), (&b, &c), (&c, &b)] {
                hand_over(from, to, id);
            }
            let frontiers = [&a, &b, &c].map(|peer| peer.engine().volume(id).unwrap().frontier());
            frontiers.iter().all(|frontier| *frontier == frontiers[0])
        });
        a.open(true);
        eventually("all are in step", || {
            sync(&a, &b, id);
            sync(&a, &c, id);
            [&a, &b, &c].iter().all(|peer| peer.rests(id))
        });
        for peer in [&a, &b, &c] {
            let report = peer.report(id);
            assert!(report.disputes.is_empty(), "{:?}", report.disputes);
            assert_eq!(peer.forks(id), 0);
            assert_eq!(support::tree(peer.dir.path()).len(), 4 + first + second);
        }
        // Who comes later takes it as it was settled.
        let d = joined(&b, id, "dora");
        settle(&b, &d, id);
        assert_eq!(support::tree(d.dir.path()), support::tree(a.dir.path()));
    }
}
