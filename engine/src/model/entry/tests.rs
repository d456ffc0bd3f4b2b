//! What an entry may be, whoever wrote it.

use proptest::prelude::*;

use super::*;
use crate::model::ids::Epoch;

fn author() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn log(epoch: u64) -> LogId {
    LogId { origin: author().peer(), epoch: Epoch(epoch) }
}

/// An entry of a log that has begun.
fn entry(body: Body) -> Entry {
    let (volume, prev) = (VolumeId([7; 32]), EntryHash([7; 32]));
    Entry { volume, log: log(1), seq: 2, prev, deps: Vec::new(), time: Time(1), body }
}

fn member(name: String) -> Entry {
    let (peer, role, holding) = (PeerId([2; 32]), Role::Writer, Holding::All);
    entry(Body::Member(Member { peer, name, role, holding, invite: [0; 32] }))
}

fn genesis(name: String, creator_name: String) -> Entry {
    let genesis = Genesis { name, creator: author().peer(), creator_name, nonce: [0; 16], replicas: 2 };
    let volume = genesis.volume();
    Entry { volume, seq: 1, prev: EntryHash::NONE, ..entry(Body::Genesis(genesis)) }
}

#[test]
fn names_are_bounded_and_do_nothing_to_a_terminal() {
    let made: [fn(String) -> Entry; 3] =
        [member, |name| genesis(name, "anna".into()), |name| genesis("photos".into(), name)];
    let refused = |entry: &Entry| Err(EntryError::Name { origin: entry.log.origin, seq: entry.seq });
    for make in made {
        for name in ["anna", "ben's laptop", "zo\u{eb}", &"x".repeat(CALLED_BYTES_MAX)] {
            assert_eq!(make(name.to_owned()).check(), Ok(()), "{name}");
        }
        let long = [CALLED_BYTES_MAX + 1, 1 << 20].map(|len| "x".repeat(len));
        for name in ["a\nb", "\u{1b}[2J", "\0", &"\u{eb}".repeat(CALLED_BYTES_MAX), &long[0], &long[1]] {
            let entry = make(name.to_owned());
            assert_eq!(entry.check(), refused(&entry));
            assert_eq!(entry.clone().sign(&author()).check(), refused(&entry), "whoever signed it");
        }
    }
}

#[test]
fn dependencies_are_bounded() {
    let depends = |count: usize| {
        let deps = (2..).map(|epoch| (log(epoch), 1)).take(count).collect();
        Entry { deps, ..entry(Body::Patches(Vec::new())) }.check()
    };
    assert_eq!(depends(ENTRY_DEPS_MAX), Ok(()));
    assert_eq!(depends(ENTRY_DEPS_MAX + 1), Err(EntryError::Bounds { origin: author().peer(), seq: 2 }));
}

#[test]
fn only_its_author_signs_it() {
    let signed = member("ben".into()).sign(&author());
    assert_eq!(signed.check(), Ok(()));
    let mut other = signed.clone();
    other.entry = member("carl".into());
    assert_eq!(other.check(), Err(EntryError::Signature { origin: author().peer(), seq: 2 }));
}

proptest! {
    /// However the clocks of honest peers go, what they append is dated after what they had.
    #[test]
    fn honest_entries_are_dated_after_what_they_depend_on(
        steps in prop::collection::vec((0..3_usize, 0..3_usize, 0..1_000_u64), 1..60),
    ) {
        // Of each peer the latest time that it has seen, and its own last entry and that of others.
        let mut seen = [Time::default(); 3];
        let mut last = [None; 3];
        for (writer, reader, wall_ms) in steps {
            let before = last[writer];
            let known = seen[writer];
            let time = known.next(wall_ms);
            let entry = Entry { time, ..entry(Body::Patches(Vec::new())) };
            let other = LogId { origin: PeerId([9; 32]), ..log(1) };
            prop_assert!(entry.is_dated_after(before, [(other, known), (log(2), known)]));
            prop_assert!(!entry.is_dated_after(before, [(other, time)]), "no earlier is not later");
            prop_assert!(entry.is_dated_after(before, [(log(2), time)]), "but it will do among one's own");
            (seen[writer], last[writer]) = (time, Some(time));
            seen[reader] = seen[reader].max(time);
        }
    }
}
