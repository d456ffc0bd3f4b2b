use std::collections::BTreeMap;

use pfs_engine::model::ids::{Epoch, LogId};
use proptest::prelude::*;

use super::*;

fn frontier() -> impl Strategy<Value = Frontier> {
    let log = (any::<[u8; 32]>(), any::<u64>())
        .prop_map(|(origin, epoch)| LogId { origin: PeerId(origin), epoch: Epoch(epoch) });
    prop::collection::btree_map(log, any::<u64>(), 0..8).prop_map(|logs: BTreeMap<_, _>| Frontier(logs))
}

/// Flow and scope of an IPv6 address mean something on one machine only and do not travel.
fn address() -> impl Strategy<Value = SocketAddr> {
    any::<SocketAddr>().prop_map(|address| SocketAddr::new(address.ip(), address.port()))
}

fn news() -> impl Strategy<Value = PeerNews> {
    let addresses = prop::collection::vec(address(), 0..ADDRESSES_MAX);
    (any::<[u8; 32]>(), ".{0,40}", addresses, any::<u64>()).prop_map(|(peer, name, addresses, heard_ms_ago)| PeerNews {
        peer: PeerId(peer),
        name,
        addresses,
        heard_ms_ago,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let volume = || any::<[u8; 32]>().prop_map(VolumeId);
    prop_oneof![
        (any::<u32>(), ".{0,40}", any::<u64>(), prop::collection::vec(address(), 0..ADDRESSES_MAX)).prop_map(
            |(protocol, name, run, addresses)| Message::Hello(Hello {
                protocol,
                agent: name.clone(),
                name,
                run,
                addresses
            })
        ),
        (volume(), frontier()).prop_map(|(volume, frontier)| Message::Volume { volume, frontier }),
        (volume(), frontier(), any::<u32>()).prop_map(|(volume, frontier, taken)| Message::Frontier {
            volume,
            frontier,
            taken
        }),
        (volume(), any::<[u8; 16]>(), ".{0,40}").prop_map(|(volume, secret, name)| Message::Join {
            volume,
            secret: Secret(secret),
            name,
            holding: Holding::Share
        }),
        volume().prop_map(|volume| Message::Refused { volume, refusal: Refusal::Removed, text: "no".into() }),
        (volume(), prop::collection::vec(news(), 0..4)).prop_map(|(volume, peers)| Message::Peers { volume, peers }),
        any::<u64>().prop_map(|token| Message::Pong { token }),
        Just(Message::Bye { reason: Bye::Busy }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn arbitrary_and_damaged_bytes_never_panic(message in message(), noise: Vec<u8>, at: prop::sample::Index, byte: u8) {
        let _ = Message::decode(&noise);
        let _ = Want::decode(&noise);
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(other) = Message::decode(&bytes) {
            prop_assert_eq!(&other.encode(), &bytes, "one value, one encoding");
        }
        bytes.truncate(at);
        prop_assert!(Message::decode(&bytes).is_err(), "a cut message is none");
    }
}

#[test]
fn lists_and_texts_out_of_bounds_are_refused() {
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let news = |addresses| PeerNews { peer: PeerId([1; 32]), name: String::new(), addresses, heard_ms_ago: 0 };
    let volume = VolumeId([1; 32]);
    let bad = [
        Message::Join { volume, secret: Secret([0; 16]), name: long.clone(), holding: Holding::All },
        Message::Refused { volume, refusal: Refusal::Expired, text: long },
        Message::Peers { volume, peers: vec![news(vec![]); PEERS_MAX + 1] },
        Message::Peers { volume, peers: vec![news(vec![address; ADDRESSES_MAX + 1])] },
        Message::Entries { volume, entries: vec![] },
    ];
    for message in bad {
        assert!(matches!(Message::decode(&message.encode()), Err(MessageError::Bounds { .. })), "{message:?}");
    }
    let want = Want { volume, ids: vec![ChunkId([0; 32]); WANT_IDS_MAX + 1] };
    assert!(matches!(Want::decode(&want.encode()), Err(MessageError::Bounds { .. })));
    assert!(bounded_text(&"ä".repeat(TEXT_BYTES_MAX)).len() <= TEXT_BYTES_MAX);
}

#[test]
fn a_secret_does_not_show() {
    assert_eq!(format!("{:?}", Secret([7; 16])), "Secret(..)");
}
