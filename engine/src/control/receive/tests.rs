//! What is taken in of others, what is refused, and what a failure leaves.

use std::fs;

use super::*;
use crate::engine::{Engine, Options};
use crate::model::entry::{Entry, Holding, Role};
use crate::model::ids::Epoch;
use crate::model::keys::Keypair;

struct Peer {
    _home: tempfile::TempDir,
    dir: tempfile::TempDir,
    engine: Engine,
}

impl Peer {
    fn new(name: &str) -> Self {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Engine::init(home.path(), name).unwrap();
        let engine = Engine::open(home.path(), Options { live: false }).unwrap();
        Self { _home: home, dir, engine }
    }

    fn write(&self, id: VolumeId, name: &str) {
        fs::write(self.dir.path().join(name), name).unwrap();
        self.engine.capture(id, None).unwrap();
    }

    fn all(&self, id: VolumeId) -> Vec<SignedEntry> {
        self.engine.volume(id).unwrap().entries_after(&Frontier::default(), usize::MAX).unwrap()
    }

    fn frontier(&self, id: VolumeId) -> Frontier {
        self.engine.volume(id).unwrap().frontier()
    }

    fn log(&self, id: VolumeId) -> Option<LogId> {
        self.engine.volume(id).unwrap().state().log
    }
}

/// A volume of anna's with a member whose entries are written by hand.
fn with_member() -> (Peer, VolumeId, Keypair) {
    let anna = Peer::new("anna");
    let (id, _) = anna.engine.track(anna.dir.path(), "v", 1, None).unwrap();
    let ben = Keypair::from_seed(&[2; 32]);
    let secret = anna.engine.invite(id, Role::Writer, u64::MAX, 1).unwrap();
    anna.engine.admit(id, secret, ben.peer(), "ben".into(), Holding::All).unwrap();
    (anna, id, ben)
}

/// An entry that says nothing, of a log of its author's.
fn empty(id: VolumeId, keys: &Keypair, seq: u64, prev: EntryHash, deps: &Frontier, time: Time) -> SignedEntry {
    let log = LogId { origin: keys.peer(), epoch: Epoch(1) };
    let deps = deps.0.iter().map(|(dep, seq)| (*dep, *seq)).collect();
    Entry { volume: id, log, seq, prev, deps, time, body: Body::Patches(Vec::new()) }.sign(keys)
}

#[test]
fn an_entry_dated_before_what_it_follows_is_refused() {
    let (anna, id, ben) = with_member();
    let latest = anna.engine.volume(id).unwrap().state().time;
    let known = anna.frontier(id);
    let first = |time| empty(id, &ben, 1, EntryHash::NONE, &known, time);
    for early in [Time(0), Time(latest.0 - 1), latest] {
        let refused = anna.engine.receive(id, vec![first(early)]);
        assert!(matches!(refused, Err(EngineError::NotYet { seq: 1 })), "{refused:?}");
        assert_eq!(anna.frontier(id), known);
    }
    let sound = first(Time(latest.0 + 1));
    let none = Frontier::default();
    let second = |time| empty(id, &ben, 2, sound.entry.hash(), &none, time);
    // Within one message, and of two.
    let refused = anna.engine.receive(id, vec![sound.clone(), second(latest)]);
    assert!(matches!(refused, Err(EngineError::Backdated { seq: 2 })), "{refused:?}");
    let refused = anna.engine.receive(id, vec![second(latest)]);
    assert!(matches!(refused, Err(EngineError::Backdated { seq: 2 })), "{refused:?}");
    assert_eq!(anna.frontier(id).seq(sound.entry.log), 1, "what came before it is kept");
    anna.engine.receive(id, vec![second(sound.entry.time)]).unwrap();
}

/// The store fails; nothing of what was to be written is taken for known.
#[test]
fn a_commit_that_fails_leaves_the_membership_as_it_was() {
    let (anna, id, _) = with_member();
    let carl = Peer::new("carl");
    carl.engine.adopt(id, "v", carl.dir.path(), Holding::All).unwrap();
    let roster = || carl.engine.volumes().unwrap().remove(0).roster;
    carl.engine.store().remove_volume(id).unwrap();
    let failed = carl.engine.receive(id, anna.all(id));
    assert!(matches!(failed, Err(EngineError::Store(StoreError::Absent { .. }))), "{failed:?}");
    assert_eq!(roster(), Roster::default());
}

/// Others have more of this peer's log than itself: it appends nothing more to it, whether the entries come before or
/// after it has something to say.
#[test]
fn a_peer_older_than_its_log_goes_on_in_another() {
    for pulled_first in [true, false] {
        let anna = Peer::new("anna");
        let (id, _) = anna.engine.track(anna.dir.path(), "v", 1, None).unwrap();
        let (log, volume) = (anna.log(id).unwrap(), anna.engine.volume(id).unwrap());
        let (seq, prev) = volume.head(log).unwrap().unwrap();
        let (time, body) = (Time(volume.state().time.0 + 1), Body::Patches(Vec::new()));
        let lost = Entry { volume: id, log, seq: seq + 1, prev, deps: Vec::new(), time, body };
        let lost = lost.sign(&anna.engine.keys());
        let mut theirs = anna.frontier(id);
        theirs.advance(log, seq + 1);
        anna.engine.peer_has(id, PeerId([9; 32]), theirs).unwrap();
        if pulled_first {
            anna.engine.receive(id, vec![lost.clone()]).unwrap();
        }
        anna.write(id, "f");
        let new = anna.log(id);
        assert_ne!(new, Some(log));
        if !pulled_first {
            anna.engine.receive(id, vec![lost]).unwrap();
        }
        assert_eq!(anna.frontier(id).seq(log), seq + 1);
        anna.write(id, "g");
        assert_eq!(anna.log(id), new, "once is enough");
    }
}

/// A message about the form that was given up is on its way while it is given up: nobody waits for those entries.
#[test]
fn what_was_said_of_a_form_that_is_given_up_is_not_waited_for() {
    let anna = Peer::new("anna");
    let (id, _) = anna.engine.track(anna.dir.path(), "v", 1, None).unwrap();
    anna.write(id, "f");
    let (log, volume) = (anna.log(id).unwrap(), anna.engine.volume(id).unwrap());
    let seq = volume.frontier().seq(log);
    let last = volume.entry(log, seq).unwrap().unwrap().entry;
    let other = Entry { body: Body::Patches(Vec::new()), ..last }.sign(&anna.engine.keys());
    anna.engine.receive(id, vec![other.clone()]).unwrap();
    assert_ne!(anna.log(id), Some(log), "the form that was here is given up");
    let mut said = anna.frontier(id);
    said.advance(log, seq + 5);
    let ben = PeerId([9; 32]);
    anna.engine.peer_has(id, ben, said).unwrap();
    let told = || anna.engine.volumes().unwrap().remove(0).remote.remove(&ben).unwrap();
    assert_eq!(told(), anna.frontier(id));
    // What comes of the form that stays counts as before.
    anna.engine.receive(id, vec![other]).unwrap();
    assert_eq!((told().seq(log), anna.frontier(id).seq(log)), (seq, seq));
}
