use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::model::chunk::Unpacker;
use crate::model::samples;

type Stored = BTreeMap<ChunkId, Vec<u8>>;

fn ingest(bytes: &dyn Bytes) -> (Root, Stored) {
    let mut stored = Stored::new();
    let (len, root) = Ingest::new()
        .ingest(bytes, &|ids| vec![false; ids.len()], &mut |id, form| _ = stored.insert(id, form))
        .expect("memory can be read");
    assert_eq!(len, bytes.len());
    (root, stored)
}

/// The same by the definition of a manifest: the whole file cut at once.
fn by_definition(bytes: &[u8]) -> Root {
    let mut manifest = ManifestBuilder::new();
    for chunk in cuts(bytes, true) {
        match Piece::of(&bytes[chunk]) {
            Piece::Data { id, len } => manifest.push_data(id, len),
            piece => manifest.push_hole(piece.bytes()),
        }
    }
    manifest.finish().expect("few pieces").0
}

/// A file that knows its holes, and counts what is read of it.
struct Sparse {
    bytes: Vec<u8>,
    data: Vec<Range<u64>>,
    read: AtomicU64,
}

impl Sparse {
    /// Zeros, but for random bytes in these ranges.
    fn new(len: usize, data: &[Range<usize>]) -> Self {
        let mut bytes = vec![0; len];
        for range in data {
            bytes[range.clone()].copy_from_slice(&samples::random(&format!("{range:?}"), range.len()));
        }
        let data = data.iter().map(|range| range.start as u64..range.end as u64).collect();
        Self { bytes, data, read: AtomicU64::new(0) }
    }
}

impl Bytes for Sparse {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.bytes.as_slice().read_at(offset, buf)
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        self.data.iter().find(|data| data.end > offset).map(|data| data.start.max(offset)..data.end)
    }
}

#[test]
fn the_root_is_that_of_the_definition() {
    for (name, bytes) in samples::named() {
        assert_eq!(ingest(&bytes.as_slice()).0, by_definition(&bytes), "{name}");
    }
}

#[test]
fn everything_is_stored_under_its_id() {
    for (name, bytes) in samples::named() {
        let (root, stored) = ingest(&bytes.as_slice());
        let mut unpacker = Unpacker::new();
        for (id, form) in &stored {
            assert!(unpacker.unpack(*id, form).is_ok(), "{name}");
        }
        assert_eq!(stored.contains_key(&root.id), root != Root::EMPTY, "{name}");
    }
}

#[test]
fn what_is_known_is_not_packed() {
    let bytes = samples::random("known", 12 << 20);
    let edited = [&bytes[..6 << 20], b"!", &bytes[6 << 20..]].concat();
    let (_, known) = ingest(&bytes.as_slice());
    let mut new = Stored::new();
    let has = |ids: &[ChunkId]| ids.iter().map(|id| known.contains_key(id)).collect();
    Ingest::new().ingest(&edited.as_slice(), &has, &mut |id, form| _ = new.insert(id, form)).expect("memory");
    assert!((2..=10).contains(&new.len()), "{} of {} chunks are new", new.len(), known.len());
    assert!(new.keys().all(|id| !known.contains_key(id)));

    let mut again = 0;
    Ingest::new().ingest(&bytes.as_slice(), &has, &mut |_, _| again += 1).expect("memory");
    assert_eq!(again, 0);
}

#[test]
fn a_chunk_that_repeats_is_packed_once_a_window() {
    let bytes = vec![7; 900 << 10];
    let mut ids = Vec::new();
    Ingest::new().ingest(&bytes.as_slice(), &|ids| vec![false; ids.len()], &mut |id, _| ids.push(id)).expect("memory");
    assert_eq!(ids.len(), 3, "the chunk, the last one, the list");
}

#[test]
fn holes_are_stepped_over() {
    let file = Sparse::new(300 << 20, &[100 << 20..(100 << 20) + 5000, 299 << 20..(299 << 20) + 1]);
    let read = || file.read.load(Ordering::Relaxed);
    let (root, stored) = ingest(&file);
    assert!(read() < 4 << 20, "{} bytes read", read());
    assert_eq!(stored.len(), 3, "the chunks around the data, and the list");
    assert_eq!(root, ingest(&file.bytes.as_slice()).0);
}

#[test]
fn a_file_that_ends_early_is_noticed() {
    struct Shrinking;
    impl Bytes for Shrinking {
        fn len(&self) -> u64 {
            9 << 20
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            Ok(((5 << 20) - offset.min(5 << 20)).min(buf.len() as u64) as usize)
        }
    }
    let result = Ingest::new().ingest(&Shrinking, &|ids| vec![true; ids.len()], &mut |_, _| {});
    assert!(matches!(result, Err(IngestError::Shrunk { at: 0x50_0000, len: 0x90_0000 })), "{result:?}");
}

#[test]
fn a_read_error_is_told() {
    struct Broken;
    impl Bytes for Broken {
        fn len(&self) -> u64 {
            1
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad sector"))
        }
    }
    let result = Ingest::new().ingest(&Broken, &|ids| vec![true; ids.len()], &mut |_, _| {});
    assert!(matches!(result, Err(IngestError::Io { at: 0, .. })), "{result:?}");
}

/// One `Ingest` for many files carries nothing from one to the next.
#[test]
fn buffers_are_reused() {
    let mut ingest = Ingest::new();
    let asked = Mutex::new(Vec::new());
    for (name, bytes) in samples::named().into_iter().chain(samples::named()) {
        let known = |ids: &[ChunkId]| {
            asked.lock().expect("nobody panics").extend_from_slice(ids);
            vec![true; ids.len()]
        };
        let (_, root) = ingest.ingest(&bytes.as_slice(), &known, &mut |_, _| {}).expect("memory");
        assert_eq!(root, by_definition(&bytes), "{name}");
    }
    assert!(!asked.into_inner().expect("nobody panics").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// How a file is stored does not show in its root.
    #[test]
    fn sparse_or_not_is_one_root(
        len in 1_usize..10 << 20,
        data in proptest::collection::vec((any::<prop::sample::Index>(), 1_usize..700_000), 0..5),
    ) {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (at, count) in data {
            let start = at.index(len);
            ranges.push(start..(start + count).min(len));
        }
        ranges.sort_by_key(|range| range.start);
        ranges.dedup_by(|next, before| next.start <= before.end);
        let file = Sparse::new(len, &ranges);
        prop_assert_eq!(ingest(&file).0, by_definition(&file.bytes));
    }
}
