//! What this peer appends: that others can take it in.

use std::fs;

use super::*;
use crate::engine::{Engine, Options};
use crate::limits::CALLED_BYTES_MAX;
use crate::model::entry::{Holding, Role};
use crate::model::frontier::Frontier;
use crate::model::ids::PeerId;
use crate::model::roster::NotAllowed;

/// Two directories: a home, and what is tracked.
fn peer(name: &str) -> (tempfile::TempDir, tempfile::TempDir, Engine) {
    let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Engine::init(home.path(), name).unwrap();
    let engine = Engine::open(home.path(), Options { live: false }).unwrap();
    (home, dir, engine)
}

/// Logs of one peer, each with one entry that says nothing.
fn begun_logs(volume: VolumeId, keys: &Keypair, count: usize) -> Vec<SignedEntry> {
    let begun = (1..).take(count).map(|epoch| {
        let log = LogId { origin: keys.peer(), epoch: Epoch(epoch) };
        let (deps, body) = (Vec::new(), Body::Patches(Vec::new()));
        Entry { volume, log, seq: 1, prev: EntryHash::NONE, deps, time: Time(1), body }.sign(keys)
    });
    begun.collect()
}

/// Hands over all that another peer lacks, as it would be sent.
fn tell(from: &Engine, to: &Engine, id: VolumeId) {
    loop {
        let lacks = to.volume(id).unwrap().frontier();
        let entries = from.volume(id).unwrap().entries_after(&lacks, 1 << 20).unwrap();
        if entries.is_empty() {
            return;
        }
        to.receive(id, entries).unwrap();
    }
}

#[test]
fn dependencies_are_spread_over_as_many_entries_as_it_takes() {
    let log = |epoch| LogId { origin: PeerId([9; 32]), epoch: Epoch(epoch) };
    let deps: Vec<(LogId, u64)> = (1..8).map(|epoch| (log(epoch), epoch)).collect();
    let says = |peer: u8| Body::Remove(PeerId([peer; 32]));
    for most in 1..10 {
        for count in 0..deps.len() {
            let spread = spread(&deps[..count], vec![says(1), says(2)], most);
            assert_eq!(spread.len(), count.div_ceil(most).max(1) + 1);
            assert!(spread.iter().all(|(deps, _)| deps.len() <= most));
            let named: Vec<_> = spread.iter().flat_map(|(deps, _)| deps.clone()).collect();
            assert_eq!(named, deps[..count]);
            let (ahead, said) = spread.split_at(spread.len() - 2);
            assert!(ahead.iter().all(|(_, body)| *body == Body::Patches(Vec::new())));
            assert_eq!((&said[0].1, &said[1].1), (&says(1), &says(2)));
            assert!(said[1].0.is_empty(), "all is named before the first of them");
        }
    }
}

#[test]
fn an_entry_that_depends_on_more_logs_than_one_can_name_is_taken_by_others() {
    let (_home, dir, anna) = peer("anna");
    let (id, _) = anna.track(dir.path(), "v", 1, None).unwrap();
    let ben = Keypair::from_seed(&[2; 32]);
    let secret = anna.invite(id, Role::Writer, u64::MAX, 1).unwrap();
    anna.admit(id, secret, ben.peer(), "ben".into(), Holding::All).unwrap();
    let logs = ENTRY_DEPS_MAX + 7;
    anna.receive(id, begun_logs(id, &ben, logs)).unwrap();
    fs::write(dir.path().join("f"), "1").unwrap();
    anna.capture(id, None).unwrap();

    let all = anna.volume(id).unwrap().entries_after(&Frontier::default(), usize::MAX).unwrap();
    let own: Vec<_> = all.iter().filter(|signed| signed.entry.log.origin == anna.peer()).collect();
    assert!(own.iter().all(|signed| signed.check().is_ok()));
    assert_eq!(own.iter().map(|signed| signed.entry.deps.len()).sum::<usize>(), logs, "each is named once");

    let (_home, dir, carla) = peer("carla");
    carla.adopt(id, "v", dir.path(), Holding::All).unwrap();
    tell(&anna, &carla, id);
    assert_eq!(carla.volume(id).unwrap().frontier(), anna.volume(id).unwrap().frontier());
}

/// A name that cannot be one leaves no volume behind.
#[test]
fn a_volume_by_a_name_that_others_would_refuse_is_not_made() {
    let (_home, dir, anna) = peer("anna");
    let refusal = anna.track(dir.path(), "a\nb", 1, None);
    assert!(matches!(refusal, Err(EngineError::Entry(_))), "{refusal:?}");
    assert_eq!(anna.store().volumes(), []);
    assert!(!dir.path().join(".pfs/volume").exists());
    anna.track(dir.path(), "v", 1, None).unwrap();
}

/// What others would refuse is refused here, and the log goes on as if nobody had asked.
#[test]
fn an_entry_that_others_would_refuse_is_not_appended() {
    let (_home, dir, anna) = peer("anna");
    let (id, _) = anna.track(dir.path(), "v", 1, None).unwrap();
    let (ben, carl) = (Keypair::from_seed(&[2; 32]), Keypair::from_seed(&[3; 32]));
    let secret = anna.invite(id, Role::Writer, u64::MAX, 2).unwrap();
    anna.admit(id, secret, ben.peer(), "ben".into(), Holding::All).unwrap();
    anna.receive(id, begun_logs(id, &ben, 3)).unwrap();

    let before = anna.volume(id).unwrap().frontier();
    let long = "x".repeat(CALLED_BYTES_MAX + 1);
    let refusal = anna.admit(id, secret, carl.peer(), long, Holding::All);
    assert!(matches!(refusal, Err(EngineError::Entry(_))), "{refusal:?}");
    assert_eq!(anna.volume(id).unwrap().frontier(), before);
    let refusal = anna.receive(id, begun_logs(id, &carl, 1));
    assert!(matches!(refusal, Err(EngineError::NotAllowed(NotAllowed::Stranger(_)))), "{refusal:?}");

    anna.admit(id, secret, carl.peer(), "carl".into(), Holding::All).unwrap();
    let news = anna.volume(id).unwrap().entries_after(&before, usize::MAX).unwrap();
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].entry.deps.len(), 3, "what the refused one would have named is named");
}
