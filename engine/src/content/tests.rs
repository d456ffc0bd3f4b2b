use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::ingest::Ingest;
use crate::model::chunk::Packer;
use crate::model::codec;
use crate::model::samples;

/// Chunks in memory; counts what is read.
#[derive(Default)]
struct Memory {
    stored: BTreeMap<ChunkId, Vec<u8>>,
    read: Mutex<Vec<ChunkId>>,
}

impl Memory {
    fn add(&mut self, bytes: &[u8]) -> Root {
        let mut sink = |id, form| _ = self.stored.insert(id, form);
        Ingest::new().ingest(&bytes, &|ids| vec![false; ids.len()], &mut sink).expect("memory").1
    }

    fn add_list(&mut self, pieces: &[Piece]) -> ChunkId {
        let raw = codec::encode(&pieces.to_vec());
        let id = ChunkId::of(&raw);
        self.stored.insert(id, Packer::new().pack(&raw));
        id
    }

    fn read_since(&self) -> usize {
        std::mem::take(&mut *self.read.lock().expect("nobody panics")).len()
    }
}

impl Chunks for Memory {
    fn stored(&self, id: ChunkId) -> Result<Option<Vec<u8>>, Unreadable> {
        self.read.lock().expect("nobody panics").push(id);
        Ok(self.stored.get(&id).cloned())
    }

    fn has(&self, ids: &[ChunkId]) -> Result<Vec<bool>, Unreadable> {
        Ok(ids.iter().map(|id| self.stored.contains_key(id)).collect())
    }
}

/// What `read` delivers, on a ground of zeros.
fn read_range(memory: &Memory, root: Root, len: usize, range: Range<usize>) -> Result<Vec<u8>, ContentError> {
    let mut bytes = vec![0; range.len()];
    let mut last = 0;
    let wanted = range.start as u64..range.end as u64;
    read(memory, &mut Unpacker::new(), (root, len as u64), wanted, &mut |offset, data| {
        assert!(offset >= last && !data.is_empty(), "in order");
        last = offset + data.len() as u64;
        let at = offset as usize - range.start;
        bytes[at..at + data.len()].copy_from_slice(data);
        Ok(())
    })?;
    Ok(bytes)
}

fn ids(memory: &Memory, root: Root, len: usize) -> Vec<ChunkId> {
    let pieces = pieces(memory, root, len as u64, 0..len as u64);
    pieces.filter_map(|piece| piece.expect("all here").1.chunk()).collect()
}

#[test]
fn what_was_ingested_is_read() {
    for (name, bytes) in samples::named() {
        let mut memory = Memory::default();
        let root = memory.add(&bytes);
        assert!(read_range(&memory, root, bytes.len(), 0..bytes.len()).expect("all here") == bytes, "{name}");
        assert_eq!(lacking(&memory, root, bytes.len() as u64, 10).expect("all here"), Lacking::Nothing, "{name}");
    }
}

#[test]
fn what_a_content_consists_of_is_noted_with_its_lists() {
    for (name, bytes) in samples::named() {
        let mut memory = Memory::default();
        let (root, mut noted) = (memory.add(&bytes), Noted::default());
        note_chunks(&memory, root, bytes.len() as u64, &mut noted).expect("memory");
        assert!(noted.chunks.keys().eq(memory.stored.keys()), "{name}: all that was stored for it, and nothing else");
        memory.read_since();
        note_chunks(&memory, root, bytes.len() as u64, &mut noted).expect("memory");
        assert_eq!(memory.read_since(), 0, "{name}: nothing is read twice");
    }
}

#[test]
fn a_range_reads_what_it_touches() {
    let bytes = samples::random("32m", 32 << 20);
    let mut memory = Memory::default();
    let root = memory.add(&bytes);
    let range = 20_000_000..20_000_010;
    assert_eq!(read_range(&memory, root, bytes.len(), range.clone()).expect("all here"), bytes[range]);
    assert!(memory.read_since() <= usize::from(root.depth) + 2);
}

#[test]
fn a_wrong_length_is_refused() {
    let mut memory = Memory::default();
    for bytes in [samples::lines(100), samples::lines(1 << 20)] {
        let root = memory.add(&bytes);
        for len in [bytes.len() - 1, bytes.len() + 1] {
            let error = read_range(&memory, root, len, 0..len).expect_err("it is not that long");
            assert!(matches!(error, ContentError::Length { .. } | ContentError::Manifest { .. }), "{error:?}");
        }
    }
    assert!(matches!(read_range(&memory, Root::EMPTY, 1, 0..1), Err(ContentError::Lacking(_))));
}

#[test]
fn a_wrong_chunk_is_refused() {
    let mut memory = Memory::default();
    let bytes = samples::random("2m", 2 << 20);
    let root = memory.add(&bytes);
    let data = ids(&memory, root, bytes.len());
    let other = memory.stored[&data[1]].clone();
    memory.stored.insert(data[0], other);
    let error = read_range(&memory, root, bytes.len(), 0..bytes.len()).expect_err("two are the same");
    assert!(matches!(error, ContentError::Chunk(ChunkError::Mismatch { .. })), "{error:?}");
}

#[test]
fn an_error_of_the_sink_is_its_own() {
    let mut memory = Memory::default();
    let root = memory.add(b"bytes");
    let full = read(&memory, &mut Unpacker::new(), (root, 5), 0..5, &mut |_, _| Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(full, Err(ContentError::Sink(error)) if error.kind() == io::ErrorKind::StorageFull));
}

#[test]
fn lacking_names_what_can_be_known() {
    let bytes = samples::random("32m", 32 << 20);
    let mut memory = Memory::default();
    let root = memory.add(&bytes);
    let len = bytes.len() as u64;
    let data = ids(&memory, root, bytes.len());
    let lacks = |memory: &Memory, max| match lacking(memory, root, len, max).expect("readable") {
        Lacking::Chunks(ids) => ids,
        Lacking::Nothing => vec![],
    };

    for id in [data[3], data[200]] {
        memory.stored.remove(&id);
    }
    assert_eq!(lacks(&memory, 10), [data[3], data[200]]);
    assert_eq!(lacks(&memory, 1), [data[3]]);
    assert!(
        matches!(read_range(&memory, root, bytes.len(), 0..bytes.len()), Err(ContentError::Lacking(id)) if id == data[3])
    );

    memory.stored.remove(&root.id);
    assert_eq!(lacks(&memory, 10), [root.id], "what is below a list is not known without it");
    let small = memory.add(b"small");
    memory.stored.clear();
    assert_eq!(lacking(&memory, small, 5, 10).expect("readable"), Lacking::Chunks(vec![small.id]));
}

/// Lists that repeat one another stand for more pieces than anyone can count.
#[test]
fn lists_that_repeat_take_no_longer_than_they_are() {
    let mut memory = Memory::default();
    let mut id = memory.add_list(&[Piece::Data { id: ChunkId::of(b"x"), len: 1 }]);
    let mut len = 1;
    for _ in 1..6 {
        id = memory.add_list(&vec![Piece::List { id, len }; 1000]);
        len *= 1000;
    }
    let found = lacking(&memory, Root { id, depth: 6 }, len, 10).expect("readable");
    assert_eq!(found, Lacking::Chunks(vec![ChunkId::of(b"x")]));
}

#[test]
fn a_list_that_is_none_is_refused() {
    let mut memory = Memory::default();
    let root = Root { depth: 1, ..memory.add(b"not a list") };
    assert!(matches!(lacking(&memory, root, 10, 1), Err(ContentError::Manifest { .. })));
    let mut found = pieces(&memory, root, 10, 0..10);
    assert!(matches!(found.next(), Some(Err(ContentError::Manifest { .. }))));
    assert!(found.next().is_none());
}

#[test]
fn an_insertion_changes_what_is_around_it() {
    let mut memory = Memory::default();
    let old = samples::random("32m", 32 << 20);
    let new = [&old[..9_000_000], b"!", &old[9_000_000..]].concat();
    let a = (memory.add(&old), old.len() as u64);
    let b = (memory.add(&new), new.len() as u64);
    memory.read_since();
    let changed = changed_ranges(&memory, a, b).expect("all here");
    assert!(memory.read_since() <= 16, "lists that both have are not read");
    let [range] = &changed[..] else { panic!("one stretch, not {changed:?}") };
    assert!(range.contains(&9_000_000) && range.end - range.start < 1 << 20, "{range:?}");
    assert_eq!(changed_ranges(&memory, a, a).expect("all here"), []);
}

#[test]
fn contents_of_unlike_depth_are_compared() {
    let mut memory = Memory::default();
    let large = samples::random("32m", 32 << 20);
    let first = cuts_of(&large)[0].clone();
    let a = (memory.add(&large[first.clone()]), first.len() as u64);
    let b = (memory.add(&large), large.len() as u64);
    let empty = (Root::EMPTY, 0);
    assert_eq!((a.0.depth, b.0.depth), (0, 2));
    assert_eq!(changed_ranges(&memory, a, b).expect("all here"), vec![a.1..b.1]);
    assert_eq!(changed_ranges(&memory, b, a).expect("all here"), []);
    assert_eq!(changed_ranges(&memory, empty, b).expect("all here"), vec![0..b.1]);
    assert_eq!(changed_ranges(&memory, b, empty).expect("all here"), []);
}

fn cuts_of(bytes: &[u8]) -> Vec<Range<usize>> {
    crate::model::cut::cuts(bytes, true).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_range_is_read(len in 1_usize..3 << 20, zeros in 0_usize..1 << 20, a: prop::sample::Index, b: prop::sample::Index) {
        let bytes = [samples::random("range", len), vec![0; zeros], samples::lines(len / 2)].concat();
        let mut memory = Memory::default();
        let root = memory.add(&bytes);
        let (a, b) = (a.index(bytes.len()), b.index(bytes.len() + 1));
        let range = a.min(b)..a.max(b);
        prop_assert!(read_range(&memory, root, bytes.len(), range.clone()).expect("all here") == bytes[range]);
    }

    /// Asking for what is lacking, and getting it, ends with nothing lacking.
    #[test]
    fn asking_round_by_round_ends(seed: u32, max in 1_usize..100) {
        let bytes = samples::random(&seed.to_string(), 12 << 20);
        let mut there = Memory::default();
        let root = there.add(&bytes);
        let mut here = Memory::default();
        let mut rounds = 0;
        while let Lacking::Chunks(ids) = lacking(&here, root, bytes.len() as u64, max).expect("readable") {
            prop_assert!(!ids.is_empty() && ids.len() <= max);
            for id in ids {
                prop_assert!(here.stored.insert(id, there.stored[&id].clone()).is_none(), "only what is not here");
            }
            rounds += 1;
            prop_assert!(rounds <= there.stored.len());
        }
        prop_assert!(here.stored == there.stored);
    }
}
