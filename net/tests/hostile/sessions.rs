//! Words out of form and out of turn, forged entries, floods: each ends the session, with the right last word.

use pfs_engine::limits::MANIFEST_DEPTH_MAX;
use pfs_engine::model::entry::Holding;
use pfs_engine::model::entry::{Body, SignedEntry};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{ChunkId, EntryHash, Epoch, LogId, NodeId, PeerId, VolumeId};
use pfs_engine::model::keys::Keypair;
use pfs_engine::model::patch::{Attr, Content, Patch, Register, Root};
use pfs_engine::model::time::{Mtime, Time};
use pfs_net::proto::frame::{framed, header};
use pfs_net::proto::limits::{FRAME_BYTES_MAX, JOINS_MAX, STRANGER_FRAME_BYTES_MAX, WANT_BYTES_MAX, WANT_IDS_MAX};
use pfs_net::proto::message::{Bye, Message, Secret, Want};

use crate::raw::Raw;
use crate::world::{World, birth, until};

fn made_up_logs(n: u64) -> Frontier {
    Frontier((0..n).map(|epoch| (LogId { origin: PeerId([7; 32]), epoch: Epoch(epoch) }, 1)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_form_ends_the_session_and_nothing_else() {
    let mut world = World::new().await;
    let volume = world.volume;
    let of_members: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", framed(&[0xa5; 300])),
        ("a frame longer than any", header(FRAME_BYTES_MAX + 1).to_vec()),
        ("an endless frame", u32::MAX.to_be_bytes().to_vec()),
        ("entries of which nothing was said", framed(&entries(volume, vec![world.patches(vec![])]))),
        ("an acknowledgement of nothing", framed(&frontier(volume, Frontier::default(), 1))),
        ("an answer to no join", framed(&Message::Joined { volume }.encode())),
    ];
    for (what, bytes) in of_members {
        let mut raw = world.member().await;
        raw.bytes(&bytes).await;
        assert_eq!(raw.bye().await, Some(Bye::Protocol), "{what}");
    }
    let before_hello = framed(&Message::Ping { token: 1 }.encode());
    let too_long = [&header(STRANGER_FRAME_BYTES_MAX + 1)[..], &[0; 64]].concat();
    for (what, bytes) in [("a ping before hello", before_hello), ("a member's frame from a stranger", too_long)] {
        let mut raw = world.stranger().await;
        raw.bytes(&bytes).await;
        assert_eq!(raw.bye().await, Some(Bye::Protocol), "{what}");
    }
    let mut raw = world.stranger().await;
    raw.greet().await;
    raw.greet().await;
    assert_eq!(raw.bye().await, Some(Bye::Protocol), "hello twice");
    let mut raw = world.stranger().await;
    raw.greet().await;
    for _ in 0..=JOINS_MAX {
        let (secret, name) = (Secret([1; 16]), "guess".to_owned());
        raw.say(Message::Join { volume, secret, name, holding: Holding::All }).await;
    }
    assert_eq!(raw.bye().await, Some(Bye::Protocol), "guessing secrets");
    world.honest_peers_go_on().await;
}

fn entries(volume: VolumeId, entries: Vec<SignedEntry>) -> Vec<u8> {
    Message::Entries { volume, entries }.encode()
}

fn frontier(volume: VolumeId, frontier: Frontier, taken: u32) -> Vec<u8> {
    Message::Frontier { volume, frontier, taken }.encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_entries_end_the_session_and_are_not_kept() {
    let mut world = World::new().await;
    let volume = world.volume;
    let good = birth(volume, "good");
    let mut signature = world.patches(vec![good.clone()]);
    signature.signature.1[5] ^= 1;
    let elsewhere = Patch { born: Some(1), ..good.clone() };
    let of_root = Patch { node: NodeId::ROOT, ..good.clone() };
    let stranger = Keypair::from_seed(&[99; 32]);
    let first = world.patches(vec![good.clone()]);
    let mut past = Patch { attr: Some(Attr { mode: 0o700, ..Attr::default() }), ..Patch::new(good.node) };
    past.supersedes.set(Register::Attr, [good.id()]);
    let other = birth(volume, "other");
    let foreign = Patch { node: other.node, ..past };
    let foreign = world.entry(2, first.entry.hash(), Body::Patches(vec![other, foreign])).sign(&world.mallory);
    let mut unlisted = world.entry(1, EntryHash::NONE, Body::Patches(vec![good.clone()]));
    unlisted.log.origin = stranger.peer();
    let mut deps = world.entry(1, EntryHash::NONE, Body::Patches(vec![good.clone()]));
    deps.deps = vec![(deps.log, 1)];
    let mut early = world.entry(2, first.entry.hash(), Body::Patches(Vec::new()));
    (early.time, early.deps) = (Time(1), Vec::new());
    let mut as_anna = world.patches(vec![good.clone()]);
    as_anna.entry.log.origin = world.anna.engine.peer();
    let root = Root { id: ChunkId([1; 32]), depth: MANIFEST_DEPTH_MAX + 1 };
    let content = Some(Content::File { len: 10, root, mtime: Mtime::default() });
    let deep = Patch { content, ..Patch::new(good.node) };
    let hostile: Vec<(&str, Vec<SignedEntry>)> = vec![
        ("an entry of anna's log by another key", vec![as_anna]),
        ("a file of more levels than any has", vec![world.patches(vec![deep])]),
        ("an entry dated before the one that it follows", vec![first.clone(), early.sign(&world.mallory)]),
        ("a forged signature", vec![signature]),
        ("a birth that does not hash to its node", vec![world.patches(vec![elsewhere])]),
        ("a patch of the root", vec![world.patches(vec![of_root])]),
        ("a patch of nothing", vec![world.patches(vec![Patch::new(good.node)])]),
        ("an entry of no member", vec![unlisted.sign(&stranger)]),
        ("an entry that depends on its own log", vec![deps.sign(&world.mallory)]),
        (
            "a first entry with a past",
            vec![world.entry(1, EntryHash([3; 32]), Body::Patches(vec![])).sign(&world.mallory)],
        ),
        ("a patch that supersedes another node's", vec![first, foreign]),
    ];
    for (what, list) in hostile {
        let mut raw = world.in_session().await;
        raw.bytes(&framed(&entries(volume, list))).await;
        assert_eq!(raw.bye().await, Some(Bye::Hostile), "{what}");
    }
    let mut foreign = world.entry(1, EntryHash::NONE, Body::Patches(vec![good.clone()]));
    foreign.volume = VolumeId([9; 32]);
    let mut raw = world.in_session().await;
    raw.bytes(&framed(&entries(volume, vec![foreign.sign(&world.mallory)]))).await;
    assert_eq!(raw.bye().await, Some(Bye::Protocol), "an entry of another volume");

    let log = LogId { origin: stranger.peer(), epoch: Epoch(1) };
    let known = world.anna.engine.volume(volume).expect("a volume").frontier();
    assert_eq!(known.seq(log), 0, "nothing of a stranger");
    // What was sound before the first that was not is kept, as the chain of anybody is.
    assert_eq!(known.seq(LogId { origin: world.mallory.peer(), epoch: Epoch(1) }), 1);
    world.honest_peers_go_on().await;
    assert!(world.ben.dir.join("good").is_dir(), "a hostile member's sound entry counts");
}

/// Who is a member no more is told nothing and believed nothing, whatever it had been let to say before.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_heard_no_more() {
    let mut world = World::new().await;
    let before = world.in_session().await;
    let late = world.patches(vec![birth(world.volume, "late")]);
    world.anna.engine.remove_member(world.volume, world.mallory.peer()).expect("anna is a writer");
    let ids = world.anna.engine.store().chunk_ids(None, 10).expect("a store");
    for mut raw in [before, Raw::connect(&world.mallory, world.anna.node.listening()).await.expect("there is room")] {
        raw.greet().await;
        raw.say(Message::Volume { volume: world.volume, frontier: made_up_logs(3) }).await;
        raw.bytes(&framed(&entries(world.volume, vec![late.clone()]))).await;
        let said = raw.bye().await;
        assert!(matches!(said, Some(Bye::Removed | Bye::Protocol) | None), "{said:?}");
    }
    let mut raw = Raw::connect(&world.mallory, world.anna.node.listening()).await.expect("there is room");
    raw.greet().await;
    assert_eq!(asked(&raw, world.volume, &ids).await, vec![0; ids.len()]);
    world.honest_peers_go_on().await;
    assert!(!world.anna.dir.join("late").exists() && !world.ben.dir.join("late").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_cannot_be_taken_now_are_not_taken_and_hold_up_nobody() {
    let mut world = World::new().await;
    let mut ahead = world.entry(1, EntryHash::NONE, Body::Patches(vec![birth(world.volume, "future")]));
    ahead.time = Time::from_ms(world.anna.engine.now_ms() + 10 * 24 * 3600 * 1000);
    let gap = world.entry(7, EntryHash([3; 32]), Body::Patches(vec![birth(world.volume, "gap")]));
    let unborn = Patch { attr: Some(Attr::default()), ..Patch::new(birth(world.volume, "none").node) };
    let nothing = world.entry(1, EntryHash::NONE, Body::Patches(vec![unborn]));
    let mut early = world.entry(1, EntryHash::NONE, Body::Patches(vec![birth(world.volume, "early")]));
    early.time = Time::from_ms(world.anna.engine.now_ms() - 24 * 3600 * 1000);
    for entry in [ahead, gap, nothing, early] {
        let mut raw = world.in_session().await;
        raw.say(Message::Entries { volume: world.volume, entries: vec![entry.sign(&world.mallory)] }).await;
        loop {
            match raw.hear().await.expect("the session goes on") {
                Message::Frontier { taken: 1, frontier, .. } => {
                    assert!(frontier.0.keys().all(|log| log.origin != world.mallory.peer()), "not taken");
                    break;
                }
                Message::Bye { reason } => panic!("{reason}"),
                _ => {}
            }
        }
        world.honest_peers_go_on().await;
    }
    assert!(!world.anna.dir.join("future").exists() && !world.anna.dir.join("gap").exists());
    assert!(!world.anna.dir.join("early").exists());
}

/// A member that writes a log in two ways ends nobody's session: of that log nothing more is taken, and anything else
/// goes on, its other logs too.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_two_forms_is_left_alone_and_holds_up_nobody() {
    let mut world = World::new().await;
    let volume = world.volume;
    let first = world.patches(vec![birth(volume, "one")]);
    let other = world.patches(vec![birth(volume, "other")]);
    let broken = world.entry(2, EntryHash([3; 32]), Body::Patches(vec![birth(volume, "two")])).sign(&world.mallory);
    let mut elsewhere = world.entry(1, EntryHash::NONE, Body::Patches(vec![birth(volume, "elsewhere")]));
    elsewhere.log.epoch = Epoch(2);
    let mut raw = world.in_session().await;
    for list in [vec![first.clone()], vec![other.clone()], vec![broken], vec![elsewhere.sign(&world.mallory)]] {
        raw.bytes(&framed(&entries(volume, list))).await;
    }
    until("what can be taken is there", || ["one", "elsewhere"].iter().all(|name| world.ben.dir.join(name).is_dir()))
        .await;
    assert!(!world.ben.dir.join("two").exists());
    let report = world.anna.engine.volumes().expect("an engine").remove(0);
    let dispute = report.disputes.get(&first.entry.log).expect("the evidence is kept");
    assert_eq!((dispute.seq, dispute.here, dispute.there), (1, first.entry.hash(), other.entry.hash()));
    // The session is the same.
    raw.say(Message::Ping { token: 7 }).await;
    while !matches!(raw.hear().await.expect("the session goes on"), Message::Pong { token: 7 }) {}
    world.honest_peers_go_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_logs_are_a_flood() {
    let mut world = World::new().await;
    let volume = world.volume;
    let mut raw = world.in_session().await;
    let mut said = 0;
    let reason = loop {
        // Every message within its bounds, all of them together without end.
        let logs = Frontier(made_up_logs(said + 20_000).0.into_iter().skip(said as usize).collect());
        raw.bytes(&framed(&frontier(volume, logs, 0))).await;
        said += 20_000;
        if raw.connection.close_reason().is_some() || said > 1_000_000 {
            break raw.bye().await;
        }
    };
    assert_eq!(reason, Some(Bye::Protocol));
    let mut stranger = world.stranger().await;
    stranger.greet().await;
    for n in 1..100 {
        let frontier = made_up_logs(800);
        stranger.say(Message::Volume { volume: VolumeId([n; 32]), frontier }).await;
    }
    assert_eq!(stranger.bye().await, Some(Bye::Protocol), "a stranger has less to say");
    world.honest_peers_go_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_and_who_never_ends_hold_up_nobody() {
    let mut world = World::new().await;
    let mut half = world.member().await;
    half.bytes(&[&header(1 << 20)[..], &[1; 1000]].concat()).await;
    let mut deaf = world.member().await;
    let pings: Vec<u8> = (0..2000).flat_map(|token| framed(&Message::Ping { token }.encode())).collect();
    for _ in 0..50 {
        deaf.bytes(&pings).await;
    }
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.extend(world.another_stranger().await);
    }
    world.honest_peers_go_on().await;
    // Everything that was asked is answered once it is read.
    let mut pongs = 0;
    while pongs < 100_000 {
        match deaf.hear().await {
            Some(Message::Pong { .. }) => pongs += 1,
            // Another connection of the same peer replaced this one.
            Some(Message::Bye { reason: Bye::Duplicate }) | None => break,
            Some(_) => {}
        }
    }
    half.bytes(&[0; 10]).await;
    world.honest_peers_go_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunk_streams_out_of_form_end_the_session_and_strangers_get_no_chunk() {
    let mut world = World::new().await;
    let ids = world.anna.engine.store().chunk_ids(None, 10).expect("a store");
    assert!(!ids.is_empty());
    let too_many = Want { volume: world.volume, ids: vec![ids[0]; WANT_IDS_MAX + 1] }.encode();
    for (what, bytes) in [
        ("garbage", framed(&[0xff; 40])),
        ("a long request", header(WANT_BYTES_MAX + 1).to_vec()),
        ("too many at once", framed(&too_many)),
    ] {
        let mut raw = world.in_session().await;
        let (mut send, _recv) = raw.connection.open_bi().await.expect("a chunk stream");
        send.write_all(&bytes).await.expect("it is open");
        assert_eq!(raw.bye().await, Some(Bye::Protocol), "{what}");
    }
    for (who, mut raw, of) in [
        ("a stranger", world.stranger().await, world.volume),
        ("a member, of a volume that is not", world.in_session().await, VolumeId([9; 32])),
    ] {
        if who == "a stranger" {
            raw.greet().await;
        }
        assert_eq!(asked(&raw, of, &ids).await, vec![0; ids.len()], "{who} is answered as if nothing were here");
    }
    let raw = world.in_session().await;
    assert!(asked(&raw, world.volume, &ids).await.iter().all(|len| *len > 0), "a member gets them");
    world.honest_peers_go_on().await;
}

/// The lengths of the answers to a request.
async fn asked(raw: &Raw, volume: VolumeId, ids: &[ChunkId]) -> Vec<u32> {
    let (mut send, mut recv) = raw.connection.open_bi().await.expect("a chunk stream");
    send.write_all(&framed(&Want { volume, ids: ids.to_vec() }.encode())).await.expect("it is open");
    let mut lengths = Vec::new();
    for _ in ids {
        let mut length = [0; 4];
        recv.read_exact(&mut length).await.expect("an answer");
        let length = u32::from_be_bytes(length);
        let mut body = vec![0; length as usize];
        recv.read_exact(&mut body).await.expect("as long as it says");
        lengths.push(length);
    }
    lengths
}
