use proptest::prelude::*;

use super::*;
use crate::limits::MANIFEST_DEPTH_MAX;
use crate::model::codec;
use crate::model::manifest::ManifestBuilder;

type Raws = BTreeMap<ChunkId, Vec<u8>>;

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

/// The raw bytes of a chunk; short ones, so that contents of many pieces are cheap.
fn chunk(n: u64) -> Vec<u8> {
    [&n.to_le_bytes()[..], &vec![b'.'; (n % 50) as usize]].concat()
}

/// A content of these chunks; its data and lists go to `raws`.
fn content(chunks: impl IntoIterator<Item = u64>, raws: &mut Raws) -> Wanted {
    let mut builder = ManifestBuilder::new();
    let mut len = 0;
    for raw in chunks.into_iter().map(chunk) {
        builder.push_data(ChunkId::of(&raw), raw.len() as u32);
        len += raw.len() as u64;
        raws.insert(ChunkId::of(&raw), raw);
    }
    raws.extend(builder.take_lists());
    let (root, lists) = builder.finish().expect("few pieces");
    raws.extend(lists);
    Wanted { root, len }
}

/// All chunks of a content that can be reached through lists in `raws`.
fn reachable(wanted: Wanted, raws: &Raws) -> BTreeSet<ChunkId> {
    let mut found = BTreeSet::new();
    let mut open: Vec<_> =
        wanted.root.piece(wanted.len).expect("sound").map(|p| (wanted.root.depth, p)).into_iter().collect();
    while let Some((depth, piece)) = open.pop() {
        let Some(id) = piece.chunk() else { continue };
        if let (Some(raw), true) = (raws.get(&id), depth > 0 && found.insert(id)) {
            open.extend(decode_list(depth, piece.bytes(), raw).expect("sound").into_iter().map(|p| (depth - 1, p)));
        }
        found.insert(id);
    }
    found
}

fn fetch() -> Fetch {
    Fetch::new(FetchLimits::default())
}

/// Answers all lookups from `store`; how many there were.
fn look_up(fetch: &mut Fetch, store: &Raws) -> usize {
    let lookups = fetch.unknown(usize::MAX);
    for Lookup { id, list } in &lookups {
        match store.get(id) {
            Some(raw) => fetch.here(*id, list.then_some(raw)),
            None => fetch.absent(*id),
        }
    }
    lookups.len()
}

fn small(raws: &mut Raws, numbers: impl IntoIterator<Item = u64>) -> Vec<Wanted> {
    numbers.into_iter().map(|n| content([n], raws)).collect()
}

#[test]
fn a_small_content_comes_in_one_ask() {
    let mut raws = Raws::new();
    let wanted = content([1], &mut raws);
    let mut fetch = fetch();
    assert!(fetch.want(wanted, 0));
    assert_eq!(fetch.unknown(10), [Lookup { id: wanted.root.id, list: false }]);
    assert_eq!(fetch.unknown(10), []);
    fetch.connected(peer(1));
    assert_eq!(fetch.next(peer(1), 0), None, "not before the store was asked");
    fetch.absent(wanted.root.id);
    assert_eq!(fetch.next(peer(2), 0), None, "nobody by that name");
    assert_eq!(fetch.next(peer(1), 0), Some(Ask { ids: vec![wanted.root.id] }));
    assert_eq!(fetch.next(peer(1), 0), None);
    fetch.arrived(wanted.root.id, &chunk(1));
    assert_eq!(fetch.finished(), [(wanted, Outcome::Complete)]);
    assert_eq!(fetch.finished(), []);
}

#[test]
fn what_is_here_is_not_asked_for() {
    let mut raws = Raws::new();
    let contents = [content([1], &mut raws), content(0..500, &mut raws), Wanted { root: Root::EMPTY, len: 0 }];
    let mut fetch = fetch();
    assert!(contents.iter().all(|wanted| fetch.want(*wanted, 0)));
    while look_up(&mut fetch, &raws) > 0 {}
    let finished: BTreeSet<_> = fetch
        .finished()
        .into_iter()
        .map(|(wanted, outcome)| {
            assert_eq!(outcome, Outcome::Complete);
            wanted
        })
        .collect();
    assert_eq!(finished, BTreeSet::from(contents));
}

#[test]
fn asks_are_bounded() {
    let limits = FetchLimits { asks: 2, ask_chunks: 3, ask_bytes: 1000, ..FetchLimits::default() };
    let mut fetch = Fetch::new(limits);
    let contents = small(&mut Raws::new(), 0..20);
    assert!(contents.iter().all(|wanted| fetch.want(*wanted, 0)));
    look_up(&mut fetch, &Raws::new());
    fetch.connected(peer(1));
    let ids = |contents: &[Wanted]| Some(Ask { ids: contents.iter().map(|wanted| wanted.root.id).collect() });
    assert_eq!(fetch.next(peer(1), 0), ids(&contents[..3]));
    assert_eq!(fetch.next(peer(1), 0), ids(&contents[3..6]));
    assert_eq!(fetch.next(peer(1), 0), None, "two are enough");
    for n in 0..3 {
        fetch.arrived(contents[n as usize].root.id, &chunk(n));
    }
    fetch.limits.ask_bytes = contents[6].len + contents[7].len;
    assert_eq!(fetch.next(peer(1), 0), ids(&contents[6..8]));
    fetch.limits.ask_bytes = 1;
    fetch.connected(peer(2));
    assert_eq!(fetch.next(peer(2), 0), ids(&contents[8..9]), "one at least");
}

#[test]
fn the_window_is_bounded() {
    let mut fetch = Fetch::new(FetchLimits { contents: 2, ..FetchLimits::default() });
    let contents = small(&mut Raws::new(), 0..3);
    assert!(fetch.want(contents[0], 0) && fetch.want(contents[1], 0));
    assert!(!fetch.want(contents[2], 0));
    assert!(fetch.want(contents[0], 0), "already in the making");
    look_up(&mut fetch, &Raws::new());
    fetch.arrived(contents[0].root.id, &chunk(0));
    assert_eq!(fetch.room(), 1);
    assert!(fetch.want(contents[2], 0));
}

#[test]
fn lower_ranks_come_first() {
    let mut raws = Raws::new();
    let mut fetch = Fetch::new(FetchLimits { ask_chunks: 512, ..FetchLimits::default() });
    let (long, urgent) = (content(0..300, &mut raws), content([1000], &mut raws));
    assert!(fetch.want(long, 5));
    while look_up(&mut fetch, &reachable_lists(long, &raws)) > 0 {}
    assert!(fetch.want(urgent, 1));
    look_up(&mut fetch, &Raws::new());
    fetch.connected(peer(1));
    let ask = fetch.next(peer(1), 0).expect("much is missing");
    assert_eq!(ask.ids[0], urgent.root.id);
    assert_eq!(ask.ids.len(), 301);
}

/// A file may have the very bytes of another one's list.
#[test]
fn a_list_on_the_shelf_is_data_that_is_here() {
    let mut raws = Raws::new();
    let long = content(0..20_000, &mut raws);
    let lists = reachable_lists(long, &raws);
    let mut fetch = Fetch::new(FetchLimits { chunks: 1024, ..FetchLimits::default() });
    assert!(fetch.want(long, 0));
    while look_up(&mut fetch, &lists) > 0 {}
    let id = fetch.gaps.first_shelved().expect("there is no room for all lists");
    let same = Wanted { root: Root { id, depth: 0 }, len: lists[&id].len() as u64 };
    assert!(fetch.want(same, 0));
    assert_eq!(fetch.finished(), [(same, Outcome::Complete)]);
}

/// Only the lists of a content.
fn reachable_lists(wanted: Wanted, raws: &Raws) -> Raws {
    let is_list = |raw: &Vec<u8>| codec::decode::<Vec<Piece>>(raw).is_ok();
    let found = reachable(wanted, raws);
    raws.iter().filter(|(id, raw)| found.contains(id) && is_list(raw)).map(|(id, raw)| (*id, raw.clone())).collect()
}

#[test]
fn the_rarest_comes_first() {
    let contents = small(&mut Raws::new(), 0..3);
    let mut fetch = fetch();
    assert!(contents.iter().all(|wanted| fetch.want(*wanted, 0)));
    fetch.connected(peer(1));
    fetch.connected(peer(2));
    look_up(&mut fetch, &Raws::new());
    fetch.lacks(peer(2), contents[2].root.id);
    assert_eq!(fetch.next(peer(1), 0).expect("three are missing").ids[0], contents[2].root.id);
}

#[test]
fn what_nobody_has_is_unavailable_until_somebody_may() {
    let wanted = small(&mut Raws::new(), [1])[0];
    let mut fetch = fetch();
    assert!(fetch.want(wanted, 0));
    look_up(&mut fetch, &Raws::new());
    assert_eq!(fetch.finished(), [], "alone, one waits");
    fetch.connected(peer(1));
    fetch.connected(peer(2));
    assert!(fetch.next(peer(1), 0).is_some());
    fetch.lacks(peer(1), wanted.root.id);
    assert!(fetch.next(peer(2), 0).is_some());
    fetch.gone(peer(2));
    assert_eq!(fetch.finished(), [(wanted, Outcome::Unavailable)]);
    assert!(fetch.want(wanted, 0));
    look_up(&mut fetch, &Raws::new());
    assert!(fetch.next(peer(1), 0).is_some(), "wanted anew, asked anew");
}

#[test]
fn a_late_answer_makes_another_peer_be_asked() {
    let wanted = small(&mut Raws::new(), [1])[0];
    let ask = Some(Ask { ids: vec![wanted.root.id] });
    let mut fetch = Fetch::new(FetchLimits { late_ms: 100, ..FetchLimits::default() });
    assert!(fetch.want(wanted, 0));
    look_up(&mut fetch, &Raws::new());
    (1..=3).for_each(|n| fetch.connected(peer(n)));
    assert!(!fetch.awaits());
    assert_eq!(fetch.next(peer(1), 1000), ask);
    assert!(fetch.awaits());
    assert_eq!(fetch.next(peer(2), 1099), None);
    assert_eq!(fetch.next(peer(1), 1100), None, "it was asked");
    assert_eq!(fetch.next(peer(2), 1100), ask);
    assert_eq!(fetch.next(peer(3), 2000), None, "two at the most");
    fetch.gone(peer(1));
    fetch.lacks(peer(2), wanted.root.id);
    assert_eq!(fetch.next(peer(3), 2000), ask);
    fetch.arrived(wanted.root.id, &chunk(1));
    assert_eq!(fetch.finished(), [(wanted, Outcome::Complete)]);
    assert!(!fetch.awaits());
}

#[test]
fn a_content_that_contradicts_itself_is_broken() {
    let mut raws = Raws::new();
    let good = content(0..100, &mut raws);
    let longer = Wanted { len: good.len + 1, ..good };
    let no_list = Wanted { root: Root { id: ChunkId::of(&chunk(5)), depth: 1 }, len: 9 };
    let wrong_len = Wanted { root: Root { id: ChunkId::of(&chunk(6)), depth: 0 }, len: 9 };
    let too_deep = Wanted { root: Root { depth: MANIFEST_DEPTH_MAX + 1, ..good.root }, len: 9 };
    let mut fetch = fetch();
    for wanted in [good, longer, no_list, wrong_len, too_deep] {
        assert!(fetch.want(wanted, 0));
    }
    while look_up(&mut fetch, &Raws::new()) > 0 {}
    fetch.connected(peer(1));
    while let Some(ask) = fetch.next(peer(1), 0) {
        ask.ids.iter().for_each(|id| fetch.arrived(*id, &raws[id]));
        look_up(&mut fetch, &Raws::new());
    }
    let finished: BTreeMap<_, _> = fetch.finished().into_iter().collect();
    assert_eq!(finished.len(), 5);
    for (wanted, outcome) in finished {
        assert_eq!(outcome == Outcome::Complete, wanted == good, "{outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Broken(_)), wanted != good);
    }
    assert_eq!(fetch.gaps.ids(|_| true), []);
}

#[test]
fn what_is_forgotten_is_not_asked_for() {
    let mut raws = Raws::new();
    let (a, b) = (content(0..100, &mut raws), content(50..60, &mut raws));
    let mut fetch = fetch();
    assert!(fetch.want(a, 0) && fetch.want(b, 0));
    let lists: Raws = [a, b].iter().flat_map(|wanted| reachable_lists(*wanted, &raws)).collect();
    while look_up(&mut fetch, &lists) > 0 {}
    fetch.forget(a);
    fetch.connected(peer(1));
    let asked: BTreeSet<_> = fetch.next(peer(1), 0).expect("b is missing").ids.into_iter().collect();
    assert_eq!(asked, (50..60).map(|n| ChunkId::of(&chunk(n))).collect());
}

/// Lists of lists of the same list: few bytes that stand for more pieces than anyone can count.
#[test]
fn lists_that_repeat_are_followed_once() {
    let mut raws = Raws::from([(ChunkId::of(&chunk(0)), chunk(0))]);
    let mut piece = Piece::Data { id: ChunkId::of(&chunk(0)), len: 8 };
    for _ in 0..5 {
        let raw = codec::encode(&vec![piece; 1000]);
        piece = Piece::List { id: ChunkId::of(&raw), len: 1000 * piece.bytes() };
        raws.insert(ChunkId::of(&raw), raw);
    }
    let Piece::List { id, len } = piece else { unreachable!() };
    let wanted = Wanted { root: Root { id, depth: 5 }, len };
    let mut fetch = fetch();
    assert!(fetch.want(wanted, 0));
    let mut lookups = 0;
    while fetch.finished.is_empty() {
        lookups += look_up(&mut fetch, &raws);
        assert!(lookups <= 6);
    }
    assert_eq!(fetch.finished(), [(wanted, Outcome::Complete)]);
}

/// One content far longer than the window, from several peers.
#[test]
fn a_long_content_passes_through_a_small_window() {
    let mut raws = Raws::new();
    let wanted = content(0..60_000, &mut raws);
    let mut world = World::new(FetchLimits { chunks: 1024, asks: 2, ask_chunks: 50, ..FetchLimits::default() }, 3, 7);
    world.held = vec![raws.clone(), raws.clone(), raws.clone()];
    assert!(world.fetch.want(wanted, 0));
    world.settle();
    assert_eq!(world.fetch.finished(), [(wanted, Outcome::Complete)]);
    assert!(world.store == raws);
}

/// Everything around a `Fetch`: a store, peers that hold some chunks, and what they were asked and did not answer yet.
struct World {
    fetch: Fetch,
    limits: FetchLimits,
    store: Raws,
    held: Vec<Raws>,
    open: BTreeMap<u8, Vec<ChunkId>>,
    seed: u64,
}

impl World {
    fn new(limits: FetchLimits, peers: u8, seed: u64) -> Self {
        let mut fetch = Fetch::new(limits.clone());
        (0..peers).for_each(|n| fetch.connected(peer(n)));
        let open = (0..peers).map(|n| (n, Vec::new())).collect();
        Self { fetch, limits, store: Raws::new(), held: vec![Raws::new(); peers.into()], open, seed }
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as usize % below
    }

    fn ask(&mut self, n: u8) -> bool {
        let Some(ask) = self.fetch.next(peer(n), 0) else { return false };
        assert!(!ask.ids.is_empty() && ask.ids.len() <= self.limits.ask_chunks);
        for id in &ask.ids {
            assert!(!self.store.contains_key(id), "asked for what is here");
            assert!(self.open.values().all(|open| !open.contains(id)), "asked for twice at once");
        }
        self.open.entry(n).or_default().extend(ask.ids);
        true
    }

    /// A peer answers any of what it was asked.
    fn answer(&mut self, n: u8) -> bool {
        let count = self.open.get(&n).map_or(0, Vec::len);
        if count == 0 {
            return false;
        }
        let at = self.random(count);
        let id = self.open.get_mut(&n).expect("it has some").swap_remove(at);
        match self.held[usize::from(n)].get(&id) {
            Some(raw) => {
                assert!(self.store.insert(id, raw.clone()).is_none(), "came twice");
                self.fetch.arrived(id, raw);
            }
            None => self.fetch.lacks(peer(n), id),
        }
        true
    }

    fn look_up(&mut self) -> bool {
        let max = 1 + self.random(50);
        let lookups = self.fetch.unknown(max);
        assert!(lookups.len() <= max);
        for Lookup { id, list } in &lookups {
            match self.store.get(id) {
                Some(raw) => self.fetch.here(*id, list.then_some(raw)),
                None => self.fetch.absent(*id),
            }
        }
        !lookups.is_empty()
    }

    fn check_bounds(&self) {
        let below = self.fetch.gaps.below();
        assert!(below.count <= self.limits.chunks + usize::from(MANIFEST_DEPTH_MAX) * MANIFEST_PIECES_MAX);
        assert!(self.fetch.gaps.ids(|_| true).len() <= below.count + self.limits.contents);
        assert!(self.fetch.contents.len() <= self.limits.contents);
        assert!(self.fetch.peers.values().all(|asks| asks.len() <= self.limits.asks));
    }

    /// Until nothing moves any more, with whoever is connected.
    fn settle(&mut self) {
        loop {
            let mut moved = self.look_up();
            for n in 0..self.held.len() as u8 {
                moved |= self.ask(n);
                moved |= self.answer(n);
            }
            if !moved {
                return;
            }
        }
    }

    /// One thing happens.
    fn step(&mut self, queue: &mut Vec<Wanted>) {
        let n = self.random(self.held.len()) as u8;
        match self.random(20) {
            0 => {
                if let Some(wanted) = queue.pop() {
                    let rank = self.random(3) as u32;
                    if !self.fetch.want(wanted, rank) {
                        queue.push(wanted);
                    }
                }
            }
            1..4 => _ = self.look_up(),
            4..10 => _ = self.ask(n),
            10..19 => _ = self.answer(n),
            _ if self.open.remove(&n).is_some() => self.fetch.gone(peer(n)),
            _ => {
                self.open.insert(n, Vec::new());
                self.fetch.connected(peer(n));
            }
        }
        self.check_bounds();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Peers lack, drop and come back at random: in the end all that somebody has is here, and came once; nothing
    /// is ever asked of two at once; the bounds hold at every step.
    #[test]
    fn everything_that_somebody_has_arrives(seed: u64, sizes in proptest::collection::vec(prop_oneof![1..4_u64, 1..2000_u64], 1..40)) {
        let limits = FetchLimits { contents: 8, chunks: 1024, bytes: 50_000, asks: 2, ask_bytes: 2000, ask_chunks: 20, late_ms: 1 };
        let mut world = World::new(limits, 3, seed);
        let mut raws = Raws::new();
        let wanted: Vec<_> = sizes.iter().map(|size| {
            let first = world.random(1000) as u64;
            content(first..first + size, &mut raws)
        }).collect();
        for (id, raw) in &raws {
            if world.random(10) == 0 {
                world.store.insert(*id, raw.clone());
            }
            for n in 0..3 {
                if world.random(3) > 0 {
                    world.held[n].insert(*id, raw.clone());
                }
            }
        }

        let mut queue = wanted.clone();
        let mut finished = Vec::new();
        for _ in 0..2000 {
            world.step(&mut queue);
            finished.extend(world.fetch.finished());
        }
        for n in 0..3 {
            world.open.entry(n).or_default();
            world.fetch.connected(peer(n));
        }
        // With all peers there, what was unavailable is wanted again, once.
        queue.extend(finished.iter().filter(|(_, outcome)| *outcome == Outcome::Unavailable).map(|(wanted, _)| *wanted));
        let mut last = BTreeMap::new();
        loop {
            while let Some(wanted) = queue.pop_if(|wanted| world.fetch.want(*wanted, 0)) {
                last.remove(&wanted);
            }
            world.settle();
            last.extend(world.fetch.finished());
            world.check_bounds();
            if queue.is_empty() && world.fetch.contents.is_empty() {
                break;
            }
        }
        finished.extend(last);

        let somewhere: Raws = world.held.iter().flatten().chain(&world.store).map(|(id, raw)| (*id, raw.clone())).collect();
        for wanted in wanted {
            let found = reachable(wanted, &somewhere);
            let outcome = finished.iter().rfind(|(content, _)| *content == wanted).map(|(_, outcome)| outcome.clone());
            let complete = found.iter().all(|id| world.store.contains_key(id));
            prop_assert_eq!(outcome, Some(if complete { Outcome::Complete } else { Outcome::Unavailable }));
            for id in found {
                prop_assert_eq!(world.store.contains_key(&id), somewhere.contains_key(&id));
            }
        }
        prop_assert_eq!(world.fetch.gaps.ids(|_| true), vec![]);
    }
}
