use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::facts::{MemoryFacts, Shown};
use crate::model::ids::{ChunkId, VolumeId};
use crate::model::name::Name;
use crate::model::overlay::Overlay;
use crate::model::patch::{Attr, Patch};
use crate::model::time::Mtime;
use crate::model::view::is_living;
use crate::plan::change::Pen;

const VOLUME: VolumeId = VolumeId([7; 32]);
const DAY: u64 = 24 * 3600 * 1000;

fn file(n: u8) -> Content {
    Content::File { len: u64::from(n), root: Root { id: ChunkId([n; 32]), depth: 0 }, mtime: Mtime::default() }
}

/// A history in which each day's change is made by the pen.
#[derive(Default)]
struct World(MemoryFacts);

impl World {
    fn write(&mut self, day: u64, change: impl FnOnce(&mut Pen<'_>)) {
        let mut pen = Pen::new(VOLUME, &self.0, Time::from_ms(day * DAY));
        change(&mut pen);
        let (_, changes) = pen.finish();
        self.0.absorb(changes);
        for (node, state) in self.0.nodes.clone() {
            self.show(node, state.heads.map(|heads| heads[0]));
        }
    }

    /// What the disk shows of a file that is there.
    fn show(&mut self, node: NodeId, patches: [PatchId; 3]) {
        let is_there = is_living(&self.0, node).unwrap();
        let shown = Shown { patches, folder: NodeId::ROOT, name: Name::try_from("f").unwrap() };
        let mut overlay = Overlay::new(&self.0);
        overlay.show(node, is_there.then_some(shown));
        let changes = overlay.into_changes();
        self.0.absorb(changes);
    }

    /// The patches with bytes, oldest first.
    fn patches(&self, node: NodeId) -> Vec<PatchId> {
        let versions = versions(&self.0, node, 0, &Retention::default()).unwrap();
        versions.into_iter().rev().map(|version| version.patch).collect()
    }

    fn create(&mut self, day: u64) -> NodeId {
        let name = Name::try_from("f").unwrap();
        self.write(day, |pen| {
            pen.birth(NodeId::ROOT, name, file(1), Attr::default()).unwrap();
        });
        *self.0.nodes.keys().find(|node| **node != NodeId::ROOT).unwrap()
    }

    /// What becomes of each version on a day, by its length; oldest first.
    fn fates(&self, node: NodeId, today: u64, days: u64, last: u32) -> Vec<(u64, Fate)> {
        let retention = Retention { within_ms: days * DAY, last };
        let versions = versions(&self.0, node, today * DAY, &retention).unwrap();
        versions.into_iter().rev().map(|version| (version.len, version.fate)).collect()
    }
}

/// Written on days 0, 10, 20, 30 with as many bytes and one more.
fn edited() -> (World, NodeId) {
    let mut world = World::default();
    let node = world.create(0);
    for n in 1..4 {
        world.write(u64::from(n) * 10, |pen| pen.change(node, Some(file(n * 10 + 1)), None).unwrap());
    }
    (world, node)
}

#[test]
fn what_was_current_within_the_time_stays_and_so_do_the_newest() {
    let (world, node) = edited();
    let gone = |day: u64| Fate::Superseded(Time::from_ms(day * DAY));
    let all = [(1, gone(10)), (11, gone(20)), (21, gone(30)), (31, Fate::Current)];
    assert_eq!(world.fates(node, 100, 69, 0), all);
    assert_eq!(world.fates(node, 100, 70, 0), [all[0], all[1], (21, Fate::Recent), all[3]]);
    assert_eq!(world.fates(node, 100, 70, 3), [all[0], (11, Fate::Last), (21, Fate::Recent), all[3]]);
    assert_eq!(world.fates(node, 100, u64::MAX / DAY, 0)[..3].iter().filter(|(_, f)| *f == Fate::Recent).count(), 3);
}

#[test]
fn of_what_is_deleted_only_the_time_keeps_anything() {
    let (mut world, node) = edited();
    world.write(40, |pen| pen.remove(&[node]).unwrap());
    assert!(world.fates(node, 100, 59, 9).iter().all(|(_, fate)| matches!(fate, Fate::Superseded(_))));
    assert_eq!(world.fates(node, 100, 60, 9).last(), Some(&(31, Fate::Recent)));
}

#[test]
fn what_the_disk_shows_and_what_is_at_odds_stays() {
    let (mut world, node) = edited();
    let first = world.patches(node)[0];
    world.show(node, [first; 3]);
    assert_eq!(world.fates(node, 100, 0, 0)[0], (1, Fate::Current));

    let mut late = Patch { content: Some(file(99)), ..Patch::new(node) };
    late.supersedes.set(Register::Content, [first]);
    let mut overlay = Overlay::new(&world.0);
    overlay.apply(late.clone().into(), late.id(), Time::from_ms(50 * DAY)).unwrap();
    let changes = overlay.into_changes();
    world.0.absorb(changes);
    let fates: BTreeMap<u64, Fate> = world.fates(node, 100, 0, 0).into_iter().collect();
    assert_eq!([fates[&99], fates[&31]], [Fate::Current; 2]);
    assert_eq!([fates[&11], fates[&21]], [Fate::Forked; 2]);
}

proptest! {
    #[test]
    fn a_longer_rule_keeps_no_less(days in 0_u64..120, more in 0_u64..50, last in 0_u32..5, deleted: bool) {
        let (mut world, node) = edited();
        if deleted {
            world.write(40, |pen| pen.remove(&[node]).unwrap());
        }
        let kept = |days, last| {
            let fates = world.fates(node, 100, days, last);
            fates.into_iter().filter(|(_, fate)| !matches!(fate, Fate::Superseded(_))).map(|(len, _)| len)
                .collect::<BTreeSet<u64>>()
        };
        let (less, more) = (kept(days, last), kept(days + more, last + 1));
        prop_assert!(less.is_subset(&more));
        prop_assert!(deleted || less.contains(&31));
    }
}
