//! Random schedules: a few peers, random operations, partial pulls that the disk may not show yet, and resolves
//! at any time. A failure names its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::slice;
use std::sync::Arc;

use super::peer::{Entry, Peer, Plain, Seen, sync};
use super::script::{effect, run};
use super::seed::Seed;
use crate::model::facts::Eye;
use crate::model::patch::{Content, Register, Value};
use crate::model::view::{Fork, ForkKind, is_living};
use crate::plan::resolve::{Choice, ResolveError};

/// How the peers of a schedule go about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// Partial pulls and resolves in between.
    Wild,
    /// Everybody has everything before anybody acts.
    Calm,
    /// Each in a folder of its own.
    Apart,
}

const MIXES: [&str; 3] = ["+++===-->>>!", "++====-->>!", ">>>>>>>+-="];
const BASES: [&str; 2] = ["+a/; +b/; +c/", "+a/; +a/b/; +b/; +c/; +c/a x"];
const BUSY: &str = "+a/; +b/; +c/; +a/a x; +b/a y";

/// A random operation that makes sense on what this disk shows (below `only`).
pub(super) fn word(peer: &Peer, seed: &mut Seed, mix: &str, only: &str) -> Option<String> {
    let tree = peer.tree();
    let paths: Vec<&String> = tree.keys().filter(|path| path.starts_with(only)).collect();
    let depth = |path: &str| path.matches('/').count();
    let deep = |path: &&&String| peer.is_dir(tree[**path]) && depth(path) < 2 + depth(only);
    let mut folders = vec![only.to_owned()];
    folders.extend(paths.iter().filter(deep).map(|path| format!("{path}/")));
    let spot = format!("{}{}", seed.pick(&folders), seed.pick(&["a", "b", "c"]));
    let x = *seed.pick(&["x", "y", "z"]);
    let op = mix.as_bytes()[seed.below(mix.len())];
    if op == b'+' {
        let new = [format!("+{spot} {x}"), format!("+{spot} {x}"), format!("+{spot}/"), format!("+{spot} @{x}")];
        return (!tree.contains_key(&spot)).then(|| seed.pick(&new).clone());
    }
    if paths.is_empty() {
        return None;
    }
    let at = *seed.pick(&paths);
    let (node, target) = (tree[at], tree.get(&spot));
    match op {
        b'>' => {
            let empty = !tree.keys().any(|path| path.starts_with(&format!("{spot}/")));
            let fits = target.is_none_or(|target| peer.is_dir(node) == peer.is_dir(*target) && empty);
            let inside = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
            (fits && !inside(&spot, at) && !inside(at, &spot)).then(|| format!("{at}>{spot}"))
        }
        b'-' => Some(format!("-{at}")),
        b'!' => Some(format!("!{at} {}", seed.pick(&[5, 7]))),
        _ => {
            let new = seed.pick(&[format!("={at} {x}"), format!("={at}/"), format!("={at} @{x}")]).clone();
            let now = effect(&peer.plain(), &new);
            (!now.get(at).is_some_and(|(content, _)| content.same(&peer.content(node)))).then_some(new)
        }
    }
}

/// Does it; checks that it superseded only bytes that this disk showed (I2) and, where nothing is forked or not
/// shown yet, that the tree is what the user made.
fn act(peer: &mut Peer, word: &str) {
    let before = peer.facts.disk.clone();
    let living: BTreeSet<_> = peer.facts.nodes.keys().filter(|n| is_living(&peer.facts, **n).unwrap()).collect();
    let settled = before == peer.seen(Eye::Local).shown && living.into_iter().eq(before.keys());
    let want = (peer.forks().is_empty() && settled).then(|| effect(&peer.plain(), word));
    let known = peer.entries.len();
    run(peer, word);
    // What the log says already is noted without an entry.
    for patch in peer.entries[known..].iter().flat_map(|entry| &entry.patches) {
        for superseded in patch.supersedes.of(Register::Content) {
            let value = peer.value(*superseded, Register::Content);
            let showed = |value: &Value| {
                let was = before[&patch.node].patch(Register::Content);
                peer.value(was, Register::Content).same(value)
            };
            assert!(value.is_dead() || showed(&value), "I2: superseded bytes it never showed");
        }
    }
    if let Some(want) = want {
        assert_eq!(want, peer.plain(), "captured: {word}");
    }
}

/// I1, I6, I12 after a full exchange.
pub(super) fn agree(peers: &mut [Peer]) -> BTreeSet<Fork> {
    sync(peers);
    let first = &peers[0];
    for peer in peers.iter() {
        assert_eq!(peer.seen(Eye::Canonical), first.seen(Eye::Canonical), "I12: canonical views differ");
        let living = peer.facts.nodes.keys().filter(|node| is_living(&peer.facts, **node).unwrap());
        assert!(living.into_iter().all(|node| peer.facts.disk.contains_key(node)), "I6: one path each");
        assert_eq!(peer.tree().len(), peer.facts.disk.len(), "I6: one node each");
        assert_eq!(peer.facts.disk, peer.seen(Eye::Local).shown, "the disk shows what it should");
        if first.forks().is_empty() {
            assert_eq!(
                (peer.tree(), peer.plain()),
                (first.canonical_tree(), first.plain()),
                "no fork, yet trees differ"
            );
        }
    }
    first.forks().clone()
}

/// Some choice that fits the fork.
pub(super) fn any_choice(peer: &Peer, fork: &Fork, seed: &mut Seed) -> Choice {
    let node = *seed.pick(&fork.nodes);
    let several = fork.nodes.len() > 1;
    let (heads, several) = match fork.kind {
        ForkKind::Attr => (peer.heads(node, Register::Attr), false),
        ForkKind::Place | ForkKind::Cycle | ForkKind::Name => (peer.heads(node, Register::Place), several),
        ForkKind::Kind if several => (peer.heads(node, Register::Place), true),
        ForkKind::Content | ForkKind::Kind => (peer.heads(node, Register::Content), false),
        ForkKind::Delete => ([peer.heads(node, Register::Content), peer.heads(node, Register::Place)].concat(), false),
    };
    let head = *seed.pick(&heads);
    let others = [Choice::Ours, Choice::Theirs, Choice::Newest, Choice::Both, Choice::Delete];
    match seed.below(10) {
        0..5 => Choice::Take(head),
        5 if several => Choice::Only(head),
        _ => seed.pick(&others).clone(),
    }
}

/// Resolves by choices until one fits; says what did not.
fn resolve(peer: &mut Peer, fork: &Fork, seed: &mut Seed) {
    for _ in 0..100 {
        let choice = any_choice(peer, fork, seed);
        match peer.resolve(fork, &choice) {
            Ok(()) => return,
            // Without the move that a dead head of place is, a node that shares a name is known by an older one.
            Err(ResolveError::NoSide(_)) if fork.nodes.len() > 1 => {}
            Err(ResolveError::NotShown | ResolveError::Several(_)) if choice != Choice::Newest => {}
            Err(ResolveError::NotBoth(_) | ResolveError::NotDelete(_)) if !choice.fits(fork.kind) => {}
            // What was not shown before may settle a fork by being shown.
            Err(ResolveError::NotOpen) if !peer.forks().contains(fork) => return,
            Err(error) => panic!("{choice:?} of {fork:?}: {error}"),
        }
    }
    panic!("no choice fits {fork:?}");
}

pub(super) fn resolve_all(peer: &mut Peer, seed: &mut Seed) {
    for _ in 0..100 {
        let Some(fork) = peer.forks().first().cloned() else { return };
        resolve(peer, &fork, seed);
    }
    panic!("resolving does not end");
}

/// One random operation of a schedule, noted in `log`.
fn step(peers: &mut [Peer], seed: &mut Seed, how: How, mix: &str, log: &mut Vec<String>) {
    let (at, from) = (seed.below(peers.len()), seed.below(peers.len()));
    let source = peers[from].entries.clone();
    let (peer, source_name) = (peers[at].name, peers[from].name);
    if how == How::Wild && seed.percent(30) {
        let (count, shows) = (seed.below(source.len() + 1), seed.percent(70));
        log.push(format!("{peer}<{source_name}{count}{}", if shows { "" } else { " unseen" }));
        peers[at].receive(&source[..count]);
        if shows {
            peers[at].settle();
        }
        return;
    }
    let forks: Vec<Fork> = peers[at].forks().iter().cloned().collect();
    if how == How::Wild && seed.percent(10) && !forks.is_empty() {
        let fork = seed.pick(&forks);
        log.push(format!("{peer} resolves {}", fork.kind));
        return resolve(&mut peers[at], fork, seed);
    }
    let only = if how == How::Apart { format!("{}/", peer.to_lowercase()) } else { String::new() };
    if let Some(word) = word(&peers[at], seed, mix, &only) {
        log.push(format!("{peer}: {word}"));
        act(&mut peers[at], &word);
    }
}

fn below(peer: &Peer, folder: &str) -> Plain {
    peer.plain().into_iter().filter(|(path, _)| path.starts_with(folder)).collect()
}

/// A whole schedule; gives the peers and the kinds of the forks that it came to.
fn schedule(number: u64, steps: usize, how: How, log: &mut Vec<String>) -> (Vec<Peer>, BTreeSet<ForkKind>) {
    let mut seed = Seed(number);
    let count = *seed.pick(&[2, 2, 3]);
    let mut peers: Vec<Peer> = "ABC".chars().take(count).map(Peer::new).collect();
    let mix = *seed.pick(&MIXES);
    let base = *seed.pick(&[BASES[0], BASES[1], BUSY]);
    run(&mut peers[0], base);
    sync(&mut peers);
    for _ in 0..steps {
        step(&mut peers, &mut seed, how, mix, log);
        if how == How::Calm {
            assert!(agree(&mut peers).is_empty(), "a fork though nothing was concurrent");
        }
    }
    let folder = |peer: &Peer| format!("{}/", peer.name.to_lowercase());
    let mine: Vec<(String, Plain)> = peers.iter().map(|peer| (folder(peer), below(peer, &folder(peer)))).collect();
    let forks = agree(&mut peers);
    if how == How::Apart {
        assert!(forks.is_empty(), "a fork though nobody touched the same thing");
        for (folder, mine) in mine {
            assert!(peers.iter().all(|peer| below(peer, &folder) == mine), "what nobody else touched is as it was");
        }
    }
    if !forks.is_empty() && seed.percent(50) {
        for peer in &mut peers[..2] {
            log.push(format!("{} resolves all", peer.name));
            resolve_all(peer, &mut seed);
        }
        agree(&mut peers);
    }
    log.push("the first resolves all".into());
    resolve_all(&mut peers[0], &mut seed);
    assert!(agree(&mut peers).is_empty(), "forks left");
    (peers, forks.iter().map(|fork| fork.kind).collect())
}

/// Schedules of these numbers; gives how many came to each kind of fork.
fn schedules(numbers: std::ops::Range<u64>, steps: usize, how: How) -> BTreeMap<ForkKind, usize> {
    let mut found = BTreeMap::new();
    for number in numbers {
        for kind in named(number, |log| schedule(number, steps, how, log)).1 {
            *found.entry(kind).or_default() += 1;
        }
    }
    found
}

/// Names the seed and the schedule of a failure.
#[expect(clippy::print_stderr, reason = "the test harness captures it")]
fn named<T>(number: u64, play: impl FnOnce(&mut Vec<String>) -> T) -> T {
    let mut log = Vec::new();
    catch_unwind(AssertUnwindSafe(|| play(&mut log))).unwrap_or_else(|failure| {
        eprintln!("seed {number}: {}", log.join("; "));
        resume_unwind(failure)
    })
}

/// A larger batch: `PFS_SCHEDULES=20000 cargo test -p pfs-engine --lib schedules`.
fn batch(usual: u64) -> u64 {
    std::env::var("PFS_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

#[test]
fn wild_schedules_converge_lose_nothing_and_can_be_resolved() {
    let found = schedules(0..batch(600), 10, How::Wild);
    let all = [ForkKind::Content, ForkKind::Kind, ForkKind::Delete, ForkKind::Place, ForkKind::Name, ForkKind::Cycle];
    assert!(all.iter().all(|kind| found.contains_key(kind)), "every kind of fork came about: {found:?}");
}

#[test]
fn longer_wild_schedules() {
    schedules(1_000_000..1_000_000 + batch(200), 16, How::Wild);
}

#[test]
fn nothing_forks_where_nothing_is_concurrent() {
    schedules(0..batch(200), 10, How::Calm);
}

#[test]
fn nothing_forks_where_nobody_touches_the_same_thing() {
    schedules(0..batch(300), 10, How::Apart);
}

/// The canonical view of a cut is the same by whatever causal order, with duplicates, it was reached.
#[test]
fn every_order_of_arrival_gives_one_view() {
    for number in 0..batch(40) {
        let mut seed = Seed(number);
        let (peers, _) = named(number, |log| schedule(number, 6, How::Wild, log));
        let mut views: BTreeMap<BTreeMap<char, u64>, Seen> = BTreeMap::new();
        for _ in 0..12 {
            let (mut reader, mut left) = (Peer::new('R'), peers[0].entries.clone());
            while !left.is_empty() {
                let ready: Vec<usize> = (0..left.len()).filter(|i| reader.ready(&left[*i])).collect();
                let entry = left.remove(*seed.pick(&ready));
                reader.receive(&[entry]);
                let again = seed.pick(&reader.entries).clone();
                reader.receive(&[again]);
                let view = reader.seen(Eye::Canonical);
                let known = views.entry(reader.frontier.clone()).or_insert_with(|| view.clone());
                assert_eq!(known, view, "I1, I9: seed {number}");
            }
        }
    }
}

/// All orders in which these entries can arrive after what the reader has; the view of each cut must be one.
fn arrive_in_every_order(reader: &Peer, left: &[Arc<Entry>], views: &mut BTreeMap<BTreeMap<char, u64>, Seen>) -> usize {
    let mut orders = usize::from(left.is_empty());
    for at in (0..left.len()).filter(|at| reader.ready(&left[*at])) {
        let (mut reader, mut left) = (reader.clone(), left.to_vec());
        let entry = left.remove(at);
        reader.receive(slice::from_ref(&entry));
        reader.receive(&[entry]);
        let view = reader.seen(Eye::Canonical).clone();
        let known = views.entry(reader.frontier.clone()).or_insert_with(|| view.clone());
        assert_eq!(*known, view, "I1, I9");
        orders += arrive_in_every_order(&reader, &left, views);
    }
    orders
}

#[test]
fn all_orders_of_up_to_five_entries_give_one_view() {
    let mut orders = 0;
    for number in 0..batch(150) {
        let mut peers: Vec<Peer> = "ABC".chars().map(Peer::new).collect();
        run(&mut peers[0], BUSY);
        sync(&mut peers);
        let (base, mut seed) = (peers[0].clone(), Seed(number));
        // None of them knows of the others': any order goes.
        for step in 0..5 {
            let peer = &mut peers[step % 3];
            if let Some(word) = word(peer, &mut seed, MIXES[0], "") {
                run(peer, &word);
            }
        }
        let known = base.entries.len();
        let entries: Vec<_> = peers.iter().flat_map(|peer| peer.entries[known..].to_vec()).collect();
        orders += named(number, |_| arrive_in_every_order(&base, &entries, &mut BTreeMap::new()));
    }
    assert!(orders > 1000, "most entries of different peers are in no order: {orders}");
}

#[test]
fn a_directory_stays_one() {
    let mut peer = Peer::new('A');
    run(&mut peer, "+d/; =d f");
    assert_eq!(peer.tree().len(), 1);
    assert_ne!(peer.content(peer.tree()["d"]), Content::Dir);
    assert_eq!(peer.facts.nodes.len(), 2, "the file is another node");
}
