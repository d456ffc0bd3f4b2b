//! What comes between the look at everything and the deletes.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use pfs_fixtures::noise;

use super::*;
use crate::content::read;
use crate::engine::Options;
use crate::model::chunk::{Packer, Unpacker};
use crate::model::codec::encode;
use crate::model::entry::{Body, Entry, Holding, Role};
use crate::model::ids::{EntryHash, Epoch};
use crate::model::keys::Keypair;
use crate::model::manifest::Piece;
use crate::model::name::Name;
use crate::model::patch::{Attr, Content, Patch, Place};
use crate::model::time::{Mtime, Time};

const NOTHING_OLD: Retention = Retention { within_ms: 0, last: 0 };

/// A volume whose only file had these bytes before it had others.
fn with_past(dir: &std::path::Path, home: &std::path::Path, past: &[u8]) -> (Engine, VolumeId) {
    Engine::init(home, "anna").unwrap();
    let engine = Engine::open(home, Options { live: false }).unwrap();
    fs::write(dir.join("f"), past).unwrap();
    let (id, _) = engine.track(dir, "v", 1, None).unwrap();
    fs::write(dir.join("f"), "now").unwrap();
    engine.capture(id, None).unwrap();
    // Later than the millisecond of the edit.
    sleep(Duration::from_millis(2));
    (engine, id)
}

/// What `Engine::gc` works out before it deletes anything.
fn looked(engine: &Engine) -> Plan {
    let withdrawn = engine.ask(Lane::Urgent, |control| Ok(control.withdrawn())).unwrap();
    let mut plan = plan(engine.store(), &NOTHING_OLD, engine.now_ms(), &mut |_| {}).unwrap();
    plan.needs.withdrawn = withdrawn;
    plan
}

/// The longest content that the log of a volume names.
fn longest(volume: &Volume) -> (Root, u64) {
    let entries = volume.entries_after(&Frontier::default(), 1 << 20).unwrap();
    let named = contents(entries.iter().flat_map(|signed| signed.entry.patches()));
    named.into_iter().max_by_key(|(_, len)| *len).unwrap()
}

/// A capture finds the chunks of a version stored that are about to be deleted, and stores none of them again.
#[test]
fn what_is_referred_to_again_before_the_deletes_stays() {
    for before_release in [true, false] {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let past = noise(900_000, 1);
        let (engine, id) = with_past(dir.path(), home.path(), &past);
        let Plan { released, garbage, mut needs, .. } = looked(&engine);
        assert_eq!((released[&id].len(), garbage.len() > 5), (1, true));
        let again = || {
            fs::write(dir.path().join("again"), &past).unwrap();
            assert_eq!(engine.capture(id, None).unwrap().problems, vec![]);
        };
        if before_release {
            again();
        }
        needs = engine.ask(Lane::Work, move |control| control.release(&mut needs, released).map(|()| needs)).unwrap();
        if !before_release {
            again();
        }
        let ids: Vec<ChunkId> = garbage.into_iter().collect();
        let swept = engine.ask(Lane::Work, move |control| control.sweep(&mut needs, &ids)).unwrap();
        assert_eq!(swept.chunks, 0);
        let (verified, lacking) = engine.verify(None, false, &|_, _| {}).unwrap();
        assert_eq!((verified.broken, lacking[&id].len()), (vec![], 0));
        let volume = engine.volume(id).unwrap();
        let (root, len) = longest(&volume);
        assert_eq!((len, volume.is_released(root).unwrap()), (900_000, false));
    }
}

#[test]
fn where_it_is_unknown_what_is_needed_nothing_is_deleted() {
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, id) = with_past(dir.path(), home.path(), &noise(100_000, 1));
    fs::write(dir.path().join("g"), noise(900_000, 2)).unwrap();
    engine.capture(id, None).unwrap();
    let versions = {
        let mut roots = Vec::new();
        each_version(&engine.volume(id).unwrap(), 0, &NOTHING_OLD, &mut |_, version| {
            roots.push((version.len, version.root));
            Ok(())
        })
        .unwrap();
        roots
    };
    let list = versions.iter().find(|(len, _)| *len == 900_000).unwrap().1;
    assert!(list.depth > 0);
    engine.store().remove_chunks(&[list.id]).unwrap();
    let before = engine.store().chunk_ids(None, 1000).unwrap();
    let order = Order { retention: NOTHING_OLD, orphans: true, dry_run: false, reclaim: true };
    let refused = engine.gc(&order, &mut |_| {}, &|| true);
    assert!(matches!(refused, Err(EngineError::ListsLost(lost)) if lost == list.id), "{refused:?}");
    assert_eq!(engine.store().chunk_ids(None, 1000).unwrap(), before);
}

/// Takes in an entry of a member that keeps no rules: files with these contents.
fn told_by_a_liar(engine: &Engine, id: VolumeId, contents: &[(Root, u64)]) {
    let liar = Keypair::from_seed(&[66; 32]);
    let secret = engine.invite(id, Role::Writer, u64::MAX, 1).unwrap();
    engine.admit(id, secret, liar.peer(), "mallory".into(), Holding::All).unwrap();
    let birth = |(n, (root, len)): (usize, &(Root, u64))| {
        let name = Name::try_from(format!("liar's {n}").as_str()).unwrap();
        let node = NodeId::born(id, NodeId::ROOT, &name, false, 0);
        let content = Content::File { len: *len, root: *root, mtime: Mtime::default() };
        let place = Some(Place::At { parent: NodeId::ROOT, name });
        let attr = Some(Attr { mode: 0o644, ..Attr::default() });
        Patch { place, content: Some(content), attr, born: Some(0), ..Patch::new(node) }
    };
    let body = Body::Patches(contents.iter().enumerate().map(birth).collect());
    let volume = engine.volume(id).unwrap();
    let (deps, time) = (volume.frontier().0.into_iter().collect(), Time(volume.state().time.0 + 1));
    let log = LogId { origin: liar.peer(), epoch: Epoch(1) };
    let entry = Entry { volume: id, log, seq: 1, prev: EntryHash::NONE, deps, time, body };
    engine.receive(id, vec![entry.sign(&liar)]).unwrap();
}

/// Somebody says of the chunks of a file that they are a longer one, or lie deeper. Nobody can read that, and it is no
/// reason to let go of the file, or to let go of nothing any more.
#[test]
fn what_a_liar_says_of_a_file_lets_nothing_go() {
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, id) = with_past(dir.path(), home.path(), &noise(100_000, 1));
    fs::write(dir.path().join("g"), noise(3_000_000, 2)).unwrap();
    engine.capture(id, None).unwrap();
    let (root, len) = longest(&engine.volume(id).unwrap());
    assert!(root.depth > 0);
    // A list that holds that file's, with another length: by its id it may come before or behind the file's own.
    let mut told = vec![(root, len + 1), (Root { depth: root.depth + 1, ..root }, len)];
    for more in 1..9 {
        let raw = encode(&vec![Piece::List { id: root.id, len: len + more }]);
        let chunk = (ChunkId::of(&raw), Packer::new().pack(&raw));
        told.push((Root { id: chunk.0, depth: root.depth + 1 }, len + more));
        engine.store().put_chunks(vec![chunk]).unwrap();
    }
    told_by_a_liar(&engine, id, &told);
    sleep(Duration::from_millis(2));
    let order = Order { retention: NOTHING_OLD, orphans: true, dry_run: false, reclaim: true };
    let tally = engine.gc(&order, &mut |_| {}, &|| true).unwrap();
    assert_eq!((tally.let_go, tally.chunks > 0), (1, true), "what was old is let go of all the same");
    let mut bytes = 0;
    let mut count = |_, raw: &[u8]| {
        bytes += raw.len() as u64;
        Ok(())
    };
    read(engine.store(), &mut Unpacker::new(), (root, len), 0..len, &mut count).unwrap();
    assert_eq!(bytes, len);
    let (verified, lacking) = engine.verify(None, false, &|_, _| ()).unwrap();
    assert_eq!((verified.broken, lacking[&id].contains_key(&root)), (vec![], true), "the liar's cannot be read");
}

/// A directory is deleted here and moved elsewhere: what is in it lives again, though no entry names its bytes.
#[test]
fn what_lives_again_before_the_deletes_stays_and_after_them_is_missing() {
    for heard in [Heard::BeforeRelease, Heard::BeforeSweep, Heard::Afterwards] {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (theirs, their_home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Engine::init(home.path(), "anna").unwrap();
        Engine::init(their_home.path(), "ben").unwrap();
        let open = |home: &std::path::Path| Engine::open(home, Options { live: false }).unwrap();
        let (anna, ben) = (open(home.path()), open(their_home.path()));
        for dir in [&dir, &theirs] {
            fs::create_dir(dir.path().join("d")).unwrap();
            fs::write(dir.path().join("d/f"), noise(300_000, 1)).unwrap();
            fs::write(dir.path().join("g"), "g").unwrap();
        }
        let (id, _) = anna.track(dir.path(), "v", 1, None).unwrap();
        let secret = anna.invite(id, Role::Writer, u64::MAX, 1).unwrap();
        ben.adopt(id, "v", theirs.path(), Holding::All).unwrap();
        anna.admit(id, secret, ben.peer(), "ben".into(), Holding::All).unwrap();
        tell(&anna, &ben, id);
        ben.capture(id, None).unwrap();
        fs::rename(theirs.path().join("d"), theirs.path().join("e")).unwrap();
        ben.capture(id, None).unwrap();
        fs::remove_dir_all(dir.path().join("d")).unwrap();
        anna.capture(id, None).unwrap();
        sleep(Duration::from_millis(2));
        let Plan { released, garbage, mut needs, .. } = looked(&anna);
        let root = *released[&id].first().unwrap();
        if heard == Heard::BeforeRelease {
            tell(&ben, &anna, id);
        }
        needs = anna.ask(Lane::Work, move |control| control.release(&mut needs, released).map(|()| needs)).unwrap();
        if heard == Heard::BeforeSweep {
            tell(&ben, &anna, id);
        }
        let ids: Vec<ChunkId> = garbage.into_iter().collect();
        let count = ids.len() as u64;
        let swept = anna.ask(Lane::Work, move |control| control.sweep(&mut needs, &ids)).unwrap();
        if heard == Heard::Afterwards {
            tell(&ben, &anna, id);
        }
        let volume = anna.volume(id).unwrap();
        assert!(!volume.is_released(root).unwrap());
        let is_late = heard == Heard::Afterwards;
        assert_eq!(swept.chunks, if is_late { count } else { 0 }, "{heard:?}");
        // In between it is to be looked up whether all of it is still here.
        let is_missing = volume.is_missing(root).unwrap();
        assert!(is_missing == is_late || heard == Heard::BeforeSweep, "{heard:?}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    BeforeRelease,
    BeforeSweep,
    Afterwards,
}

fn tell(from: &Engine, to: &Engine, id: VolumeId) {
    let known = to.volume(id).unwrap().frontier();
    to.receive(id, from.volume(id).unwrap().entries_after(&known, 1 << 20).unwrap()).unwrap();
}
