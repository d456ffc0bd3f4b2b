//! What outlives a restart, a crash, another version, a failing disk.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::backend::{Backend, Changes, Direction, Durability, Visit};
use super::super::memory::Medium;
use super::super::rocks::Rocks;
use super::super::schema::{FORMAT_KEY, Span, Table};
use super::super::{Batch, FORMAT_VERSION, Store, StoreError};
use super::{Author, VOLUME, batch_of, both, chunk, frontier, node, patch, record, state};
use crate::model::facts::{Eye, Facts};
use crate::model::ids::ChunkId;

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let authors = [1, 2, 3].map(Author::new);
    {
        let store = Store::open(dir.path()).unwrap();
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        for (n, author) in authors.iter().enumerate() {
            for m in 0..=n as u64 {
                store.commit(batch_of([author.next(&volume, m, vec![patch(m)])])).unwrap();
            }
        }
        let mut batch = Batch::new(VOLUME);
        batch.records = [(node(1), Some(record(1, 0, "a", 1)))].into();
        batch.reverted = [(Eye::Canonical, [node(3)].into())].into();
        batch.state = Some(crate::store::VolumeState { files: 5, next_arrival: 999, ..state() });
        store.commit(batch).unwrap();
        store.set_meta("key", b"value").unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.meta("key").unwrap(), Some(b"value".to_vec()));
    assert_eq!(store.meta("format").unwrap(), None, "the store's own keys are not the caller's");
    let volume = store.volume(VOLUME).unwrap();
    assert_eq!(volume.frontier(), frontier(authors.iter().zip(1..).map(|(author, seq)| (author.log, seq))));
    assert_eq!((volume.state().files, volume.state().next_arrival), (5, 7));
    assert_eq!(volume.record(node(1)).unwrap(), Some(record(1, 0, "a", 1)));
    assert_eq!(volume.reverted(Eye::Canonical).unwrap(), [node(3)].into());
    let next = authors[0].next(&volume, 9, vec![patch(9)]);
    store.commit(batch_of([next])).unwrap();
    assert_eq!(volume.recent(None, 1).unwrap()[0].arrival, 7);
}

#[test]
fn chunks_come_and_go() {
    let (stores, _dir) = both();
    for store in stores {
        let chunks: Vec<_> = [0, 1, 511, 512, 70_000].iter().zip(0..).map(|(&len, n)| chunk(n, len)).collect();
        store.put_chunks(chunks[..3].to_vec()).unwrap();
        store.put_chunks(chunks.clone()).unwrap();
        store.sync_chunks().unwrap();
        for (id, bytes) in &chunks {
            assert_eq!(store.chunk(*id).unwrap().as_ref(), Some(bytes));
        }
        let absent = chunk(77, 1).0;
        assert_eq!(store.has_chunks(&[chunks[4].0, absent, chunks[0].0]).unwrap(), [true, false, true]);
        let mut ids: Vec<_> = chunks.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        assert_eq!(store.chunk_ids(None, 2).unwrap(), ids[..2]);
        assert_eq!(store.chunk_ids(Some(ids[1]), 9).unwrap(), ids[2..]);

        store.remove_chunks(&ids[..1]).unwrap();
        store.remove_chunks(&[absent]).unwrap();
        assert_eq!((store.chunk(ids[0]).unwrap(), store.chunk_ids(None, 9).unwrap()), (None, ids[1..].to_vec()));
        let (id, bytes) = chunks.into_iter().find(|(id, _)| *id == ids[0]).unwrap();
        store.put_chunks(vec![(id, bytes.clone())]).unwrap();
        assert_eq!(store.chunk(id).unwrap(), Some(bytes));
    }
}

fn blob_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let blobs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "blob"));
    blobs.map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn removed_chunks_give_their_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let chunks: Vec<_> = (0..200).map(|n| chunk(n, 10_000)).collect();
    store.put_chunks(chunks.clone()).unwrap();
    store.sync_chunks().unwrap();
    for (id, _) in &chunks[20..] {
        store.remove_chunks(&[*id]).unwrap();
    }
    assert!(blob_bytes(dir.path()) > 2_000_000);
    store.reclaim_chunks().unwrap();
    assert!(blob_bytes(dir.path()) < 300_000);
    for (id, bytes) in &chunks[..20] {
        assert_eq!(store.chunk(*id).unwrap().as_ref(), Some(bytes));
    }
    assert_eq!(store.chunk_ids(None, usize::MAX).unwrap().len(), 20);
}

/// Runs one test of this file again in a process of its own, with `dir` to work on.
fn elsewhere(test: &str, dir: &Path) -> ExitStatus {
    let test = format!("store::tests::durability::{test}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &test]).env("PFS_STORE_TEST_DIR", dir).output().unwrap().status
}

/// Where the other process is to work, in that process.
fn here() -> Option<std::path::PathBuf> {
    std::env::var_os("PFS_STORE_TEST_DIR").map(Into::into)
}

#[test]
fn what_was_committed_survives_a_crash() {
    if let Some(dir) = here() {
        let store = Store::open(&dir).unwrap();
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        for n in 0..3 {
            store.put_chunks((n * 100..n * 100 + 50).map(|n| chunk(n, 3000)).collect()).unwrap();
            let mut batch = batch_of([Author::new(1).next(&volume, n, vec![patch(n)])]);
            batch.chunks = vec![chunk(n * 100 + 99, 100), chunk(n * 100, 3000)];
            store.commit(batch).unwrap();
        }
        // Nothing is synced behind the last commit: what it names is there because it made it so.
        std::process::abort();
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(!elsewhere("what_was_committed_survives_a_crash", dir.path()).success());

    let store = Store::open(dir.path()).unwrap();
    let volume = store.volume(VOLUME).unwrap();
    assert_eq!(volume.frontier(), frontier([(Author::new(1).log, 3)]));
    let small = (0..3).map(|n| chunk(n * 100 + 99, 100));
    let large = (0..3).flat_map(|n| (n * 100..n * 100 + 50).map(|n| chunk(n, 3000)));
    for (id, bytes) in small.chain(large) {
        assert_eq!(store.chunk(id).unwrap(), Some(bytes));
    }
}

#[test]
fn chunks_that_were_synced_survive_a_crash() {
    if let Some(dir) = here() {
        let store = Store::open(&dir).unwrap();
        store.put_chunks(vec![chunk(1, 3000)]).unwrap();
        store.sync_chunks().unwrap();
        store.put_chunks(vec![chunk(2, 3000)]).unwrap();
        std::process::abort();
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(!elsewhere("chunks_that_were_synced_survive_a_crash", dir.path()).success());

    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.chunk(chunk(1, 3000).0).unwrap(), Some(chunk(1, 3000).1));
    // Chunk 2 may be lost; what may not is that it is half there, or takes the place of a new one.
    store.put_chunks(vec![chunk(2, 3000)]).unwrap();
    assert_eq!(store.chunk(chunk(2, 3000).0).unwrap(), Some(chunk(2, 3000).1));
}

#[test]
fn a_second_process_is_told_at_once() {
    if let Some(dir) = here() {
        assert!(matches!(Store::open(&dir), Err(StoreError::Locked { path }) if path == dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked { path }) if path == dir.path()));
    assert!(elsewhere("a_second_process_is_told_at_once", dir.path()).success());
    drop(first);
    Store::open(dir.path()).unwrap();
}

fn write_version(backend: &dyn Backend, version: &[u8]) {
    let mut changes = Changes::default();
    changes.put(Table::Meta, FORMAT_KEY.to_vec(), version.to_vec());
    backend.write(changes, Durability::Synced).unwrap();
}

#[test]
fn other_formats_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    write_version(&Rocks::open(dir.path()).unwrap(), &(FORMAT_VERSION + 1).to_be_bytes());
    let refused = Store::open(dir.path());
    assert!(
        matches!(refused, Err(StoreError::Format { found, known }) if (found, known) == (FORMAT_VERSION + 1, FORMAT_VERSION)),
        "{refused:?}"
    );
    write_version(&Rocks::open(dir.path()).unwrap(), b"x");
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Corrupt { .. })));
}

#[test]
fn formats_with_other_tables_are_refused_untouched() {
    for (version, tables) in [(9_u32, ["entries", "novel"]), (FORMAT_VERSION, ["entries", "novel"])] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = rocksdb::DB::open_cf(&options, dir.path(), tables).unwrap();
        db.put(FORMAT_KEY, version.to_be_bytes()).unwrap();
        drop(db);
        match Store::open(dir.path()).unwrap_err() {
            StoreError::Format { found, .. } => assert_eq!((found, version), (9, 9)),
            StoreError::Corrupt { .. } => assert_eq!(version, FORMAT_VERSION),
            other => panic!("{other}"),
        }
        let names = rocksdb::DB::list_cf(&options, dir.path()).unwrap();
        assert_eq!(names.len(), 3, "{names:?}");
    }
}

#[test]
fn a_making_that_was_cut_short_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(rocksdb::DB::open_cf(&options, dir.path(), ["volumes", "entries"]).unwrap());
    Store::open(dir.path()).unwrap().set_meta("key", b"value").unwrap();
    assert!(Store::open(dir.path()).unwrap().meta("key").unwrap().is_some());
}

#[test]
fn rows_without_a_version_are_damage() {
    let memory = Medium::new();
    let mut changes = Changes::default();
    changes.put(Table::Chunks, vec![1; 32], vec![]);
    memory.write(changes, Durability::Synced).unwrap();
    assert!(matches!(Store::over(Box::new(memory)), Err(StoreError::Corrupt { .. })));
}

/// A backend whose disk can fill up, for rows, for blob files or for both.
struct Failing<B> {
    inner: B,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    write: AtomicBool,
    flush: AtomicBool,
}

impl Faults {
    fn set(&self, write: bool, flush: bool) {
        self.write.store(write, Ordering::Relaxed);
        self.flush.store(flush, Ordering::Relaxed);
    }
}

fn unless(fault: &AtomicBool) -> Result<(), StoreError> {
    if fault.load(Ordering::Relaxed) { Err(StoreError::Full) } else { Ok(()) }
}

impl<B: Backend> Backend for Failing<B> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(table, key)
    }
    fn multi_get(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.inner.multi_get(table, keys)
    }
    fn position(&self) -> u64 {
        self.inner.position()
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.inner.has(table, key)
    }
    fn scan(&self, table: Table, span: &Span, direction: Direction, visit: Visit<'_>) -> Result<(), StoreError> {
        self.inner.scan(table, span, direction, visit)
    }
    fn write(&self, changes: Changes, durability: Durability) -> Result<(), StoreError> {
        unless(&self.faults.write).and_then(|()| self.inner.write(changes, durability))
    }
    fn flush(&self, table: Table) -> Result<(), StoreError> {
        unless(&self.faults.flush).and_then(|()| self.inner.flush(table))
    }
    fn bytes(&self, table: Table) -> Result<u64, StoreError> {
        self.inner.bytes(table)
    }

    fn compact(&self, table: Table) -> Result<(), StoreError> {
        unless(&self.faults.flush).and_then(|()| self.inner.compact(table))
    }
}

#[test]
fn after_a_failed_write_there_are_no_more() {
    type Write = fn(&Store) -> Result<(), StoreError>;
    let writes: [Write; 6] = [
        |store| store.set_meta("key", b"value"),
        |store| store.put_chunks(vec![chunk(1, 10)]),
        |store| store.sync_chunks(),
        |store| store.remove_chunks(&[ChunkId([1; 32])]),
        |store| store.commit(Batch { stale: [(node(1), true)].into(), ..Batch::new(VOLUME) }),
        |store| store.remove_volume(VOLUME),
    ];
    for first in writes {
        let dir = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        let inner = Rocks::open(dir.path()).unwrap();
        let store = Store::over(Box::new(Failing { inner, faults: Arc::clone(&faults) })).unwrap();
        let volume = store.create_volume(VOLUME, &state()).unwrap();
        store.put_chunks(vec![chunk(0, 10)]).unwrap();

        faults.set(true, true);
        assert!(matches!(first(&store), Err(StoreError::Full)));
        faults.set(false, false);
        for next in writes {
            assert!(matches!(next(&store), Err(StoreError::Poisoned { .. })));
        }
        assert_eq!(volume.stale(None, 9).unwrap(), [], "reading goes on, of what was there before");
        assert_eq!(volume.frontier().total(), 0);
        drop((store, volume));
        let store = Store::open(dir.path()).unwrap();
        for write in writes {
            write(&store).unwrap();
        }
    }
}

#[test]
fn chunks_are_durable_before_the_rows_that_name_them() {
    let faults = Arc::new(Faults::default());
    let store = Store::over(Box::new(Failing { inner: Medium::new(), faults: Arc::clone(&faults) })).unwrap();
    let volume = store.create_volume(VOLUME, &state()).unwrap();
    let entry = Author::new(1).next(&volume, 1, vec![patch(1)]);
    store.put_chunks(vec![chunk(1, 10)]).unwrap();
    faults.set(false, true);
    assert!(matches!(store.commit(batch_of([entry])), Err(StoreError::Full)));
    assert_eq!(volume.entry(Author::new(1).log, 1).unwrap(), None);
    assert_eq!(volume.frontier().total(), 0);
}
