//! Real nodes over QUIC on loopback, with a fake engine each.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pfs_engine::model::entry::{Body, Holding};
use pfs_net::proto::message::Refusal;
use pfs_net::{BindError, JoinError, Local, Node, NodeError, NodeOptions};
use support::{Fake, NOW_MS};

const SECRET: [u8; 16] = [9; 16];

fn any() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)
}

async fn start(fake: &Arc<Fake>) -> Node {
    start_at(fake, any()).await
}

async fn start_at(fake: &Arc<Fake>, listen: SocketAddr) -> Node {
    Node::start(fake.clone(), NodeOptions { listen, discovery: false }).await.expect("a free port")
}

/// Waits for as long as the slowest machine may need.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn connected(node: &Node, peer: &Fake) -> bool {
    node.peers().iter().any(|status| status.peer == peer.peer() && status.connected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_gets_everything_and_both_sides_push_what_is_new() {
    let (anna, bert) = (Arc::new(Fake::new(1, "anna")), Arc::new(Fake::new(2, "bert")));
    let volume = anna.create();
    (0..50).for_each(|n| anna.write(volume, n + 1));
    anna.invite(volume, SECRET, 1, NOW_MS);
    let (a, b) = (start(&anna).await, start(&bert).await);
    bert.register(volume);
    b.join(&Fake::ticket(volume, SECRET, &[(&anna, a.listening())]), Holding::All).await.expect("admitted");
    until("the whole log", || anna.frontier_of(volume) == bert.frontier_of(volume)).await;
    anna.write(volume, 3);
    bert.write(volume, 3);
    until("both writes", || {
        bert.frontier_of(volume).total() == 55 && anna.frontier_of(volume) == bert.frontier_of(volume)
    })
    .await;
    assert_eq!(anna.repeats.load(Ordering::Relaxed), 0, "nothing came back to where it was from");
    let status = b.peers().remove(0);
    assert!(status.connected && status.name == "anna" && status.sent_bytes > 0 && status.received_bytes > 0);
    a.shutdown().await;
    until("anna gone", || !connected(&b, &anna)).await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_travel_both_ways_and_who_lacks_one_says_so() {
    let (anna, bert, a, b, volume) = two_members().await;
    let bytes = |n: u32| vec![n as u8; 1 + n as usize * 700];
    let of_anna: Vec<_> = (0..300).map(|n| anna.put_chunk(volume, bytes(n))).collect();
    let of_bert: Vec<_> = (300..350).map(|n| bert.put_chunk(volume, [bytes(n), vec![1]].concat())).collect();
    let nowhere = pfs_engine::model::ids::ChunkId([3; 32]);
    bert.want(volume, of_anna.into_iter().chain([nowhere]));
    anna.want(volume, of_bert);
    until("all chunks", || bert.missing(volume) == 1 && anna.missing(volume) == 0).await;
    until("the answer about the last", || bert.lacking(volume) == 1).await;
    drop((a, b));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_chunks_are_never_kept() {
    let mut anna = Fake::new(1, "anna");
    anna.forges = true;
    let (anna, bert) = (Arc::new(anna), Arc::new(Fake::new(2, "bert")));
    let (_a, b, volume) = join_two(&anna, &bert).await;
    let id = anna.put_chunk(volume, vec![5; 1000]);
    bert.want(volume, [id]);
    until("the session to end", || !connected(&b, &anna)).await;
    assert_eq!(bert.missing(volume), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_know_one_third_meet() {
    let (anna, bert, a, b, volume) = two_members().await;
    let cleo = Arc::new(Fake::new(3, "cleo"));
    anna.invite(volume, [8; 16], 1, NOW_MS);
    cleo.register(volume);
    let c = start(&cleo).await;
    c.join(&Fake::ticket(volume, [8; 16], &[(&anna, a.listening())]), Holding::All).await.expect("admitted");
    until("bert and cleo to meet", || connected(&b, &cleo) && connected(&c, &bert)).await;
    a.shutdown().await;
    bert.write(volume, 1);
    until("an entry without anna", || cleo.frontier_of(volume) == bert.frontier_of(volume)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_key_is_not_taken_for_the_expected_one() {
    let (anna, eve, bert) = (Fake::new(1, "anna"), Arc::new(Fake::new(9, "eve")), Arc::new(Fake::new(2, "bert")));
    let volume = anna.create();
    bert.register(volume);
    let (e, b) = (start(&eve).await, start(&bert).await);
    let error =
        b.join(&Fake::ticket(volume, SECRET, &[(&anna, e.listening())]), Holding::All).await.expect_err("refused");
    assert!(matches!(error, JoinError::WrongKey { met, .. } if met == eve.peer()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tickets_are_refused_and_say_why() {
    let anna = Arc::new(Fake::new(1, "anna"));
    let volume = anna.create();
    anna.invite(volume, [1; 16], 1, NOW_MS - 1);
    anna.invite(volume, [2; 16], 0, NOW_MS);
    let (bert, a) = (Arc::new(Fake::new(2, "bert")), start(&anna).await);
    let b = start(&bert).await;
    let unregistered = b.join(&Fake::ticket(volume, [1; 16], &[]), Holding::All).await;
    assert!(matches!(unregistered, Err(JoinError::NotRegistered(_))));
    bert.register(volume);
    for (secret, expected) in [([1; 16], Refusal::Expired), ([2; 16], Refusal::UsedUp), ([3; 16], Refusal::Unknown)] {
        let error =
            b.join(&Fake::ticket(volume, secret, &[(&anna, a.listening())]), Holding::All).await.expect_err("refused");
        assert!(matches!(error, JoinError::Refused { refusal, .. } if refusal == expected), "{error}");
    }
    assert_eq!(bert.frontier_of(volume).total(), 0, "one that is no member gets nothing");
    let nobody = UdpSocket::bind(any()).expect("a free port").local_addr().expect("bound");
    let error = b
        .join(&Fake::ticket(volume, [3; 16], &[(&Fake::new(7, "x"), nobody)]), Holding::All)
        .await
        .expect_err("refused");
    assert!(matches!(&error, JoinError::Unreachable { tried } if *tried == [nobody]), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sees_nothing_of_a_volume() {
    let (anna, bert) = (Arc::new(Fake::new(1, "anna")), Arc::new(Fake::new(2, "bert")));
    let volume = anna.create();
    let id = anna.put_chunk(volume, vec![1; 100]);
    let (a, b) = (start(&anna).await, start(&bert).await);
    bert.register(volume);
    let refused = b.join(&Fake::ticket(volume, [3; 16], &[(&anna, a.listening())]), Holding::All).await;
    assert!(matches!(refused, Err(JoinError::Refused { refusal: Refusal::Unknown, .. })));
    bert.want(volume, [id]);
    anna.write(volume, 1);
    anna.make_member(volume, &bert);
    until("a member's right", || bert.frontier_of(volume).total() == 3 && bert.missing(volume) == 0).await;
    anna.append(volume, Body::Remove(bert.peer()));
    until("the removed to be gone", || !anna.is_up(bert.peer())).await;
    assert!(a.peers().is_empty(), "no member is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_goes_on_where_it_was() {
    let (anna, bert, a, b, volume) = two_members().await;
    let address = b.listening();
    drop(b);
    until("bert gone", || !connected(&a, &bert)).await;
    anna.write(volume, 2);
    let held = bert.frontier_of(volume);
    let b = loop {
        let options = NodeOptions { listen: address, discovery: false };
        match Node::start(bert.clone(), options).await {
            Ok(node) => break node,
            Err(NodeError::Bind(BindError::PortInUse { .. })) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(bert.frontier_of(volume), held);
    until("what was missed", || anna.frontier_of(volume) == bert.frontier_of(volume)).await;
    until("chunks can flow", || connected(&a, &bert) && connected(&b, &anna)).await;
    assert_eq!(bert.repeats.load(Ordering::Relaxed), 0, "nothing was sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_dial_each_other_at_once_keep_one_connection_and_lose_nothing() {
    for round in 0..10 {
        let (anna, bert) = (Arc::new(Fake::new(1, "anna")), Arc::new(Fake::new(2, "bert")));
        let volume = anna.create();
        anna.make_member(volume, &bert);
        bert.register(volume);
        for signed in anna.entries_after(volume, &bert.frontier_of(volume), 1 << 20).expect("a volume") {
            bert.receive(volume, vec![signed]).expect("honest");
        }
        let (a, b) = (start(&anna).await, start(&bert).await);
        (0..20).for_each(|_| anna.write(volume, 1));
        (0..20).for_each(|_| bert.write(volume, 1));
        a.learn(bert.peer(), vec![b.listening()]);
        b.learn(anna.peer(), vec![a.listening()]);
        until("all entries", || {
            anna.frontier_of(volume).total() == 42 && anna.frontier_of(volume) == bert.frontier_of(volume)
        })
        .await;
        until("one connection", || connected(&a, &bert) && connected(&b, &anna)).await;
        anna.write(volume, round + 1);
        until("the last entry", || anna.frontier_of(volume) == bert.frontier_of(volume)).await;
        let misuses = [&anna, &bert].map(|fake| fake.misuses.load(Ordering::Relaxed));
        assert_eq!(misuses, [0, 0], "ups and downs alternate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_address_takes_ipv4_too_and_no_lack_of_multicast_stops_a_node() {
    let (anna, bert) = (Arc::new(Fake::new(1, "anna")), Arc::new(Fake::new(2, "bert")));
    let volume = anna.create();
    anna.invite(volume, SECRET, 1, NOW_MS);
    bert.register(volume);
    let listen = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let a = Node::start(anna.clone(), NodeOptions { listen, discovery: true }).await.expect("a free port");
    let b = Node::start(bert.clone(), NodeOptions { listen, discovery: true }).await.expect("a free port");
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), a.listening().port());
    b.join(&Fake::ticket(volume, SECRET, &[(&anna, address)]), Holding::All).await.expect("admitted");
    until("the log", || anna.frontier_of(volume) == bert.frontier_of(volume)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let anna = Arc::new(Fake::new(1, "anna"));
    let a = start(&anna).await;
    let options = NodeOptions { listen: a.listening(), discovery: false };
    let error = Node::start(Arc::new(Fake::new(2, "bert")), options).await.expect_err("refused");
    let NodeError::Bind(BindError::PortInUse { port }) = error else { panic!("{error}") };
    assert_eq!(port, a.listening().port());
}

async fn two_members() -> (Arc<Fake>, Arc<Fake>, Node, Node, pfs_engine::model::ids::VolumeId) {
    let (anna, bert) = (Arc::new(Fake::new(1, "anna")), Arc::new(Fake::new(2, "bert")));
    let (a, b, volume) = join_two(&anna, &bert).await;
    (anna, bert, a, b, volume)
}

async fn join_two(anna: &Arc<Fake>, bert: &Arc<Fake>) -> (Node, Node, pfs_engine::model::ids::VolumeId) {
    let volume = anna.create();
    anna.invite(volume, SECRET, 1, NOW_MS);
    bert.register(volume);
    let (a, b) = (start(anna).await, start(bert).await);
    b.join(&Fake::ticket(volume, SECRET, &[(anna, a.listening())]), Holding::All).await.expect("admitted");
    until("bert a member", || anna.frontier_of(volume) == bert.frontier_of(volume)).await;
    until("both to know it", || connected(&a, bert) && connected(&b, anna)).await;
    (a, b, volume)
}
