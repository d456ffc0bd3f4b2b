//! Whoever asks without end, reads or writes a byte at a time, or opens whatever can be opened: honest peers go on, and
//! what this costs is inside the limits.

use std::fs;
use std::time::Duration;

use pfs_engine::model::ids::{ChunkId, NodeId, PeerId};
use pfs_net::proto::frame::framed;
use pfs_net::proto::limits::{
    ADDRESSES_MAX, CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, PEERS_MAX, SEND_WINDOW_BYTES, SERVE_IDS,
    STORED_CHUNK_BYTES_MAX, STRANGER_LINKS_MAX, STREAMS_MAX, WANT_IDS_MAX, WINDOW_BYTES,
};
use pfs_net::proto::message::{Message, PeerNews, Want};
use tokio::time::{sleep, timeout};

use crate::raw::{Answers, Raw};
use crate::trees::{born, file, tell};
use crate::world::{World, until};

/// What one connection may cost the side that suffers it, and what this test has at the other end.
const CONNECTION_BYTES: usize = 2 * (CONNECTION_WINDOW_BYTES as usize + SEND_WINDOW_BYTES as usize)
    + WINDOW_BYTES
    + 2 * FRAME_BYTES_MAX
    + 2 * STREAMS_MAX as usize * SERVE_IDS * STORED_CHUNK_BYTES_MAX;

/// Descriptors that this process has open.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux tells").count()
}

/// Chunks worth asking for: half a megabyte each of anna's that do not compress.
async fn with_large_files(world: &World) -> Vec<ChunkId> {
    for n in 0..8_u8 {
        let mut bytes = vec![0; 1 << 20];
        blake3::Hasher::new().update(&[n]).finalize_xof().fill(&mut bytes);
        fs::write(world.anna.dir.join(format!("large {n}")), bytes).expect("a file");
    }
    until("they are captured", || world.ben.dir.join("large 7").exists()).await;
    world.anna.engine.store().chunk_ids(None, WANT_IDS_MAX).expect("a store")
}

/// Every stream that may be open asks for as much as may be asked, and nobody reads what comes; and again and again.
#[tokio::test(flavor = "multi_thread")]
async fn asking_without_reading_costs_what_is_allowed() {
    let mut world = World::alone().await;
    let ids = with_large_files(&world).await;
    let want = Want { volume: world.volume, ids: ids.iter().cycle().take(WANT_IDS_MAX).copied().collect() };
    let (before, open) = (pfs_heap::live(), descriptors());
    pfs_heap::take_peak();
    let raw = world.in_session().await;
    let mut asked = Vec::new();
    for _ in 0..4 * STREAMS_MAX {
        // Beyond the limit nothing opens before another one ends.
        let Ok(opened) = timeout(Duration::from_millis(200), raw.connection.open_bi()).await else { break };
        let (mut send, recv) = opened.expect("the session goes on");
        send.write_all(&framed(&want.encode())).await.expect("it is open");
        asked.push((send, recv));
    }
    assert!(asked.len() < STREAMS_MAX as usize, "the control stream is one of them: {}", asked.len());
    for _ in 0..3 {
        world.honest_peers_go_on().await;
    }
    // A byte at a time, from each in turn.
    for _ in 0..300 {
        for (_, recv) in &mut asked {
            let mut byte = [0];
            recv.read_exact(&mut byte).await.expect("it is answered");
        }
    }
    // Asked, given up, asked again.
    drop(asked);
    for _ in 0..200 {
        let Ok((mut send, mut recv)) = raw.connection.open_bi().await else { break };
        if send.write_all(&framed(&want.encode())).await.is_err() {
            break;
        }
        let _ = (recv.stop(0_u32.into()), send.reset(0_u32.into()));
    }
    world.honest_peers_go_on().await;
    let took = pfs_heap::take_peak().saturating_sub(before);
    assert!(took < CONNECTION_BYTES, "{took} bytes of memory, {CONNECTION_BYTES} are allowed");
    let more = descriptors().saturating_sub(open);
    // This test's own socket, and files of the store.
    assert!(more < 40, "{more} more descriptors");
}

/// Frames that come a byte at a time, on the control stream and on streams that ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_at_a_time_holds_up_nobody() {
    let mut world = World::new().await;
    let frame = framed(&Message::Ping { token: 7 }.encode());
    let mut raw = world.in_session().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX - 1 {
        streams.push(raw.connection.open_bi().await.expect("a stream"));
    }
    let want = framed(&Want { volume: world.volume, ids: vec![ChunkId([7; 32])] }.encode());
    for n in 0..want.len() {
        raw.bytes(frame.get(n..=n).unwrap_or_default()).await;
        for (send, _) in &mut streams {
            send.write_all(&want[n..=n]).await.expect("it is open");
        }
        sleep(Duration::from_millis(10)).await;
    }
    world.honest_peers_go_on().await;
    // What comes so is a frame in the end, and the session goes on.
    while !matches!(raw.hear().await.expect("it goes on"), Message::Pong { token: 7 }) {}
    for (_, recv) in &mut streams {
        let mut answer = [1; 4];
        recv.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, [0; 4], "nobody has that chunk");
    }
    // The other way round: what anna asks for comes a byte at a time, and does not hold up what others have.
    let (content, chunk) = file(&vec![b'y'; 200_000]);
    let birth = born(world.volume, NodeId::ROOT, "slow", content);
    let slow = Answers { pace: Some(Duration::from_millis(200)), ..Answers::with([chunk.clone()]) };
    let _raw = tell(&world, vec![vec![birth]], slow).await;
    for _ in 0..2 {
        world.honest_peers_go_on().await;
    }
    fs::write(world.ben.dir.join("the same"), vec![b'y'; 200_000]).expect("a file");
    until("it comes from whoever is faster", || world.anna.dir.join("the same").exists()).await;
    world.honest_peers_go_on().await;
}

/// More news of peers than anybody can remember, each in form.
#[tokio::test(flavor = "multi_thread")]
async fn made_up_peers_are_forgotten() {
    let mut world = World::alone().await;
    let before = pfs_heap::live();
    pfs_heap::take_peak();
    let mut raw = world.in_session().await;
    for n in 0..200_u32 {
        let news = |m: u32| {
            let peer = PeerId(*blake3::hash(&[n.to_le_bytes(), m.to_le_bytes()].concat()).as_bytes());
            let addresses = (0..ADDRESSES_MAX as u16).map(|port| ([10, 0, 0, m as u8], port + 1).into()).collect();
            PeerNews { peer, name: "x".repeat(500), addresses, heard_ms_ago: 0 }
        };
        raw.say(Message::Peers { volume: world.volume, peers: (0..PEERS_MAX as u32).map(news).collect() }).await;
    }
    raw.say(Message::Ping { token: 7 }).await;
    while !matches!(raw.hear().await.expect("the session goes on"), Message::Pong { token: 7 }) {}
    let took = pfs_heap::take_peak().saturating_sub(before);
    assert!(took < CONNECTION_BYTES, "{took} bytes of memory");
    drop(raw);
    world.honest_peers_go_on().await;
    let kept = pfs_heap::live().saturating_sub(before);
    assert!(kept < 32 << 20, "{kept} bytes are kept of 51200 peers that are none");
}

/// Connections that say nothing, and such that begin and end without a word: there is room for so many, and descriptors
/// are none of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_take_no_descriptors() {
    let mut world = World::alone().await;
    // Those of this test are counted as well, one each: so the silent ones come first, and end.
    let open = descriptors();
    let mut silent: Vec<Raw> = Vec::new();
    for _ in 0..STRANGER_LINKS_MAX + 10 {
        silent.extend(world.another_stranger().await);
    }
    world.honest_peers_go_on().await;
    let ours = descriptors() - open;
    assert!(ours <= 2 * (STRANGER_LINKS_MAX + 10) + 20, "{ours} more descriptors");
    drop(silent);
    for _ in 0..50 {
        drop(world.another_stranger().await);
    }
    world.honest_peers_go_on().await;
    until("all are given back", || descriptors() <= open + 20).await;
}
