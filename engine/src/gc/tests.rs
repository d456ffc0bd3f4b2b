//! What comes between the look at everything and the deletes.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use pfs_fixtures::noise;

use super::*;
use crate::engine::Options;

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

/// A capture finds the chunks of a version stored that are about to be deleted, and stores none of them again.
#[test]
fn what_is_referred_to_again_before_the_deletes_stays() {
    for before_release in [true, false] {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let past = noise(900_000, 1);
        let (engine, id) = with_past(dir.path(), home.path(), &past);
        let Plan { released, garbage, mut needs, .. } =
            plan(engine.store(), &NOTHING_OLD, engine.now_ms(), &mut |_| {}).unwrap();
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
        let (root, len) = *crate::control::contents(
            volume.entries_after(&Frontier::default(), 1 << 20).unwrap().iter().flat_map(|e| e.entry.patches()),
        )
        .iter()
        .map(|(root, len)| (*root, *len))
        .collect::<Vec<_>>()
        .iter()
        .max_by_key(|(_, len)| *len)
        .unwrap();
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
