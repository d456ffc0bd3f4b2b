//! Bytes that are not what was asked for, and files that nobody can read: chunks that are others, cut off or bombs,
//! lists out of form, lists that do not add up or repeat each other without end.

use std::sync::atomic::Ordering;

use pfs_engine::limits::{CHUNK_BYTES_MAX, MANIFEST_PIECES_MAX};
use pfs_engine::model::chunk::Packer;
use pfs_engine::model::codec::encode;
use pfs_engine::model::ids::{ChunkId, NodeId};
use pfs_engine::model::manifest::Piece;
use pfs_engine::model::patch::{Content, Root};
use pfs_engine::model::time::Mtime;
use pfs_net::proto::frame::{framed, header};
use pfs_net::proto::limits::STORED_CHUNK_BYTES_MAX;
use pfs_net::proto::message::Bye;

use crate::raw::Answers;
use crate::trees::{born, file, tell};
use crate::world::{World, until};

fn stored(codec: u8, raw_len: u32, payload: &[u8]) -> Vec<u8> {
    framed(&[&[codec][..], &raw_len.to_le_bytes(), payload].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_end_the_session() {
    let mut world = World::alone().await;
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).expect("it compresses");
    let good = |n: usize| file(format!("the right bytes {n}").as_bytes()).1.1;
    let flipped = |n: usize| {
        let mut bytes = good(n);
        *bytes.last_mut().expect("it has bytes") ^= 1;
        framed(&bytes)
    };
    let answers = [
        ("other bytes", framed(&good(99)), Bye::Hostile),
        ("a flipped bit", flipped(1), Bye::Hostile),
        ("cut off", framed(&good(2)[..9]), Bye::Hostile),
        ("longer", framed(&[&good(3)[..], b"more"].concat()), Bye::Hostile),
        ("an unknown codec", stored(7, 15, b"the right bytes"), Bye::Hostile),
        ("a length that no chunk has", stored(1, u32::MAX, b"the right bytes"), Bye::Hostile),
        ("a bomb", stored(1, CHUNK_BYTES_MAX as u32, &bomb), Bye::Hostile),
        ("a bomb that owns up", stored(1, 64 << 20, &bomb), Bye::Hostile),
        ("a frame longer than any", header(STORED_CHUNK_BYTES_MAX + 1).to_vec(), Bye::Protocol),
        ("an endless frame", u32::MAX.to_be_bytes().to_vec(), Bye::Protocol),
    ];
    let files: Vec<_> = (0..answers.len()).map(|n| file(format!("the right bytes {n}").as_bytes())).collect();
    let births = files
        .iter()
        .enumerate()
        .map(|(n, (content, _))| born(world.volume, NodeId::ROOT, &format!("wrong {n}"), content.clone()));
    let raw = tell(&world, vec![births.collect()], Answers::default()).await;
    until("they are known", || world.ben.engine.volume(world.volume).is_ok_and(|v| v.frontier().0.len() > 2)).await;
    drop(raw);
    let before = pfs_heap::live();
    pfs_heap::take_peak();
    for ((_, (id, _)), (what, answer, bye)) in files.iter().zip(answers) {
        let mut raw = world.in_session().await;
        raw.answer(Answers { of: [(*id, answer)].into(), ..Answers::default() });
        assert_eq!(raw.bye().await, Some(bye), "{what}");
    }
    let took = pfs_heap::take_peak().saturating_sub(before);
    assert!(took < 32 << 20, "{took} bytes of memory for chunks of {CHUNK_BYTES_MAX}");
    world.honest_peers_go_on().await;
    for n in 0..files.len() {
        assert!(!world.anna.dir.join(format!("wrong {n}")).exists());
    }
    // Who has the right ones is believed all the same.
    let _raw = tell(&world, vec![], Answers::with(files.into_iter().map(|(_, chunk)| chunk))).await;
    until("all are there", || (0..10).all(|n| world.ben.dir.join(format!("wrong {n}")).exists())).await;
    world.honest_peers_go_on().await;
}

fn content(id: ChunkId, depth: u8, len: u64) -> Content {
    Content::File { len, root: Root { id, depth }, mtime: Mtime { secs: 1_700_000_000, nanos: 0 } }
}

/// A chunk and its stored form.
type Chunk = (ChunkId, Vec<u8>);

fn packed(raw: &[u8]) -> Chunk {
    (ChunkId::of(raw), Packer::new().pack(raw))
}

/// A list as a chunk.
fn list(pieces: &[Piece]) -> Chunk {
    packed(&encode(&pieces.to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_nobody_can_read_hold_up_nobody() {
    let mut world = World::new().await;
    let (id, _) = packed(b"some bytes");
    let data = |len| Piece::Data { id, len };
    let hole = |len| Piece::Hole { len };
    let inner = list(&[data(10)]);
    let below = |len| Piece::List { id: inner.0, len };
    // Of each: what is wrong, the root's depth and chunk, the length that the patch gives.
    let cases: Vec<(&str, u8, Chunk, u64)> = vec![
        ("a chunk that is shorter", 0, packed(b"some bytes"), 11),
        ("a chunk that is longer", 0, packed(b"some bytes"), 9),
        ("a file longer than a chunk", 0, packed(b"some bytes"), CHUNK_BYTES_MAX as u64 + 1),
        ("a file without bytes", 0, packed(b"some bytes"), 0),
        ("no list", 1, packed(b"no list at all"), 10),
        ("an empty list", 1, list(&[]), 10),
        ("more than the file has", 1, list(&[data(10), data(10)]), 15),
        ("less than the file has", 1, list(&[data(10)]), 15),
        ("more than a number holds", 1, list(&[hole(u64::MAX), data(10)]), 9),
        ("a piece of nothing", 1, list(&[data(0)]), 10),
        ("two holes in a row", 1, list(&[hole(5), hole(5)]), 10),
        ("a chunk that no chunk is", 1, list(&[data(u32::MAX)]), u32::MAX.into()),
        ("a list among data", 1, list(&[below(10)]), 10),
        ("data among lists", 2, list(&[data(10)]), 10),
        ("lists that do not add up", 2, list(&[below(10), below(11)]), 21),
        ("a list that is said to be longer", 2, list(&[below(20)]), 20),
        ("a chunk said to be longer", 1, list(&[data(20)]), 20),
        ("a hole that no disk has", 1, list(&[hole(u64::MAX)]), u64::MAX),
        ("many levels of one", 8, list(&[below(10)]), 10),
    ];
    let small = file(b"a small one that is sound");
    let mut births = vec![born(world.volume, NodeId::ROOT, "sound", small.0)];
    let mut chunks = vec![packed(b"some bytes"), inner.clone(), small.1];
    for (what, depth, (root, stored), len) in cases {
        births.push(born(world.volume, NodeId::ROOT, what, content(root, depth, len)));
        chunks.push((root, stored));
    }
    let answers = Answers::with(chunks);
    let asked = answers.asked.clone();
    let _raw = tell(&world, vec![births], answers).await;
    until("the sound one is there", || world.ben.dir.join("sound").exists()).await;
    until("the others were asked for", || asked.load(Ordering::Relaxed) > 8).await;
    for _ in 0..3 {
        world.honest_peers_go_on().await;
    }
    for peer in [&world.anna, &world.ben] {
        let there = std::fs::read_dir(&peer.dir).expect("a tree").flatten().map(|entry| entry.file_name());
        let there: Vec<_> = there.filter(|name| !name.to_string_lossy().starts_with("written-")).collect();
        assert!(there.len() <= 3, "{there:?}");
        // What cannot be read is no reason not to look at the rest.
        let (verified, lacking) = peer.engine.verify(None, false, &|_, _| ()).expect("what is here can be proven");
        assert_eq!(verified.broken, []);
        assert!(!lacking[&world.volume].is_empty());
        collect(peer);
    }
    world.honest_peers_go_on().await;
}

fn collect(peer: &crate::world::Peer) {
    let order = pfs_engine::gc::Order {
        retention: pfs_engine::plan::retain::Retention { within_ms: 0, last: 0 },
        orphans: true,
        dry_run: true,
        reclaim: false,
    };
    peer.engine.gc(&order, &mut |_| {}, &|| true).expect("what is old can be told");
}

/// A few lists that name each other over and over: gigabytes in some chunks. It takes time and room to write such a
/// file, and perhaps there is none; nobody waits for it, and no memory is needed.
#[tokio::test(flavor = "multi_thread")]
async fn lists_that_repeat_each_other_hold_up_nobody() {
    let mut world = World::alone().await;
    let tiny = packed(b"x");
    let large = packed(&vec![b'x'; CHUNK_BYTES_MAX]);
    let (mut births, mut chunks) = (Vec::new(), vec![tiny.clone(), large.clone()]);
    let bottoms = [
        ("tiny", Piece::Data { id: tiny.0, len: 1 }),
        ("large", Piece::Data { id: large.0, len: CHUNK_BYTES_MAX as u32 }),
        ("hole", Piece::Hole { len: 1 }),
    ];
    for (what, bottom) in bottoms {
        let mut piece = bottom;
        for depth in 1..=5 {
            let alike = if matches!(piece, Piece::Hole { .. }) { 1 } else { MANIFEST_PIECES_MAX };
            let (id, stored) = list(&vec![piece; alike]);
            let Some(len) = piece.bytes().checked_mul(alike as u64) else { break };
            piece = Piece::List { id, len };
            if depth > 2 {
                births.push(born(world.volume, NodeId::ROOT, &format!("{what} {depth}"), content(id, depth, len)));
            }
            chunks.push((id, stored));
        }
    }
    let before = pfs_heap::live();
    pfs_heap::take_peak();
    let answers = Answers::with(chunks);
    let asked = answers.asked.clone();
    let _raw = tell(&world, vec![births], answers).await;
    until("the lists were asked for", || asked.load(Ordering::Relaxed) > 10).await;
    for _ in 0..3 {
        world.honest_peers_go_on().await;
    }
    for peer in [&world.anna, &world.ben] {
        peer.engine.verify(None, false, &|_, _| ()).expect("what is here can be proven");
        collect(peer);
    }
    let took = pfs_heap::take_peak().saturating_sub(before);
    assert!(took < 128 << 20, "{took} bytes of memory");
    world.honest_peers_go_on().await;
}
