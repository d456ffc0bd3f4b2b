//! Bringing back what was: the path is as it was then, nothing else changes, and what was done at the same time
//! elsewhere becomes a fork.

use std::collections::BTreeMap;

use super::peer::{Peer, Plain, sync};
use super::rows::words;
use super::schedules::{agree, resolve_all, word};
use super::script::run;
use super::seed::Seed;
use crate::model::facts::{Eye, Facts};
use crate::model::ids::NodeId;
use crate::model::name::{BESIDE, RelPath};
use crate::model::past::Past;
use crate::model::patch::{Content, Register};
use crate::model::time::Time;
use crate::model::view::{ForkKind, children};
use crate::plan::restore::{Deed, RestoreError, Wish};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn wish(text: &str, until: u64) -> Wish {
    Wish { path: path(text), until: Time(until), version: None, to: None }
}

/// The tree as all see it.
fn plain(facts: &dyn Facts) -> Plain {
    let (mut plain, mut rest) = (Plain::new(), vec![(String::new(), NodeId::ROOT)]);
    while let Some((folder, node)) = rest.pop() {
        for (name, node, shown) in children(facts, Eye::Canonical, node).unwrap() {
            let path = if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") };
            let content = facts.patch(shown.patch(Register::Content)).unwrap().unwrap().patch.content.clone().unwrap();
            let attr = facts.patch(shown.patch(Register::Attr)).unwrap().unwrap().patch.attr.clone().unwrap();
            if content == Content::Dir {
                rest.push((path.clone(), node));
            }
            plain.insert(path, (content, attr));
        }
    }
    plain
}

fn is_at(path: &str, top: &str) -> bool {
    top.is_empty() || path == top || path.starts_with(&format!("{top}/"))
}

/// The parts of a tree at and below a path, and all the rest of it.
fn parts(tree: Plain, top: &str) -> (Plain, Plain) {
    tree.into_iter().partition(|(path, _)| is_at(path, top))
}

/// One peer that did this, what it brings back of the time before the words that follow `|`, and what it has then.
fn back(script: &str, what: &str) -> (Peer, BTreeMap<RelPath, Deed>) {
    let (before, after) = script.split_once('|').unwrap();
    let mut peer = Peer::new('A');
    run(&mut peer, before);
    let then = peer.clock();
    run(&mut peer, after);
    let deeds = peer.restore(&wish(what, then)).unwrap();
    assert!(peer.forks().is_empty(), "{script}");
    (peer, deeds)
}

#[test]
fn a_path_becomes_what_it_was() {
    for (script, what, want) in [
        ("+f 0 | =f 1; =f 2", "f", "f=0"),
        ("+f 0; +g 0 | =f 1; =g 1", "f", "f=0 g=1"),
        ("+f 0 | -f", "f", "f=0"),
        ("+f 0 | -f; +f 1", "f", "f=0"),
        ("+f 0 | !f 7", "f", "f=0"),
        ("+f 0 | =f @x", "f", "f=0"),
        ("+f 0 | =f/; +f/x 1", "f", "f=0"),
        ("+d/; +d/f 0 | =d f", "d", "d/ d/f=0"),
        ("+d/; +d/e/; +d/e/f 0 | -d", "d/e/f", "d/ d/e/ d/e/f=0"),
        ("+d/; +d/e/; +d/e/f 0; +d/g 1 | -d", "d/e", "d/ d/e/ d/e/f=0"),
        ("+d/; +d/f 0; +d/g 0 | d/f>d/h; -d/g; +d/k 1", "d", "d/ d/f=0 d/g=0"),
        ("+d/; +d/f 0 | d>e; =e/f 1", "d", "d/ d/f=0 e/ e/f=1"),
        ("+d/; +d/f 0 | d>e; =e/f 1", "e", "e/ e/f=0"),
        ("+f 0 | f>g; =g 1", "g", "g=0"),
        ("+d/; +d/f 0 | d/f>f; =f 1", "d", "d/ d/f=0 f=1"),
        ("+d/; +d/f 0 | d/f>f; +d/f 2", "d", "d/ d/f=0 f=0"),
        ("+d/; +d/f 0; +f 1 | f>d/g", "d", "d/ d/f=0"),
        ("+d/; +d/a/; +d/b/ | d/a>d/b/a; d/b>d/c", "d", "d/ d/a/ d/b/"),
        ("+d/; +d/a/; +d/a/b/; +d/a/b/f 0 | d/a/b>d/b; d/a>d/b/a", "d", "d/ d/a/ d/a/b/ d/a/b/f=0"),
        ("+a 1; +b 2 | a>c; b>a; c>b", "", "a=1 b=2"),
        ("+a 1; +b 2 | a>c; b>a; c>b", "a", "a=1 b=1"),
        ("+a/; +a/f 1 | -a; +b 2; +a 3", "", "a/ a/f=1"),
    ] {
        let (peer, _) = back(script, what);
        assert_eq!(words(&peer), want, "{script}, restored {what}");
    }
}

#[test]
fn what_is_the_same_again_keeps_its_history() {
    let (peer, deeds) = back("+d/; +d/f 0 | d/f>d/g; =d/g 1", "d");
    let birth = NodeId::born(super::peer::VOLUME, peer.tree()["d"], &"f".try_into().unwrap(), false, 0);
    assert_eq!(peer.tree()["d/f"], birth);
    assert_eq!(deeds, BTreeMap::from([(path("d/f"), Deed::Moved(path("d/g")))]));
    let (peer, deeds) = back("+d/; +d/f 0; +d/g 0; +d/h 0 | -d/f; =d/g 1; +d/i 1", "d");
    assert_eq!(peer.facts.nodes.len(), 5, "no node but those that were");
    let want = [("d/f", Deed::Back), ("d/g", Deed::Changed), ("d/i", Deed::Removed)];
    assert_eq!(deeds, want.map(|(at, deed)| (path(at), deed)).into());
}

#[test]
fn a_copy_stands_beside_it() {
    let mut peer = Peer::new('A');
    run(&mut peer, "+d/; +d/f 0; +g 0");
    let then = peer.clock();
    run(&mut peer, "=d/f 1; d/f>h; -d");
    let to = |at: &str| Wish { to: Some(path(at)), ..wish("d", then) };
    assert!(matches!(peer.restore(&to("h")), Err(RestoreError::Taken(_))));
    assert!(matches!(peer.restore(&to("h/x")), Err(RestoreError::InTheWay(at)) if at == path("h")));
    peer.restore(&to("old/of/d")).unwrap();
    assert_eq!(words(&peer), "g=0 h=1 old/ old/of/ old/of/d/ old/of/d/f=0");
    assert!(matches!(peer.restore(&to("old/of/d")), Err(RestoreError::Taken(_))));
}

#[test]
fn nothing_comes_of_nothing() {
    let mut peer = Peer::new('A');
    run(&mut peer, "+f 0");
    let then = peer.clock();
    run(&mut peer, "+g 0; +h/; -g");
    for nothing in [wish("g", then), wish("h", then), wish("no", then), wish("", 0)] {
        assert!(matches!(peer.restore(&nothing), Err(RestoreError::NothingThen)), "{nothing:?}");
    }
    let known = peer.entries.len();
    assert!(peer.restore(&wish("f", then)).unwrap().is_empty());
    assert!(peer.restore(&wish("", peer.clock())).unwrap().is_empty());
    assert_eq!(peer.entries.len(), known, "what is as it was needs no entry");
    assert!(matches!(peer.restore(&wish("f/x", peer.clock())), Err(RestoreError::NothingThen)));
}

#[test]
fn open_forks_below_are_settled() {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[0], "+d/; +d/f 0; +d/g 0; +d/h 0");
    let then = peers[0].clock();
    sync(&mut peers);
    run(&mut peers[0], "=d/f 1; -d/g; d/h>d/i; !d/f 5");
    run(&mut peers[1], "=d/f 2; =d/g 2; d/h>d/j; !d/f 7");
    sync(&mut peers);
    assert_eq!(peers[1].forks().len(), 4);
    // It looks as it did already, by its own heads.
    let open = peers[1].clock();
    assert!(peers[1].restore(&wish("d", open)).unwrap().is_empty());
    peers[1].restore(&wish("d", then)).unwrap();
    sync(&mut peers);
    for peer in &peers {
        assert!(peer.forks().is_empty());
        assert_eq!(words(peer), "d/ d/f=0 d/g=0 d/h=0");
    }
}

#[test]
fn a_version_is_meant_whatever_was_shown_then() {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[0], "+f 0");
    sync(&mut peers);
    run(&mut peers[0], "=f 1");
    run(&mut peers[1], "=f 2");
    sync(&mut peers);
    let node = peers[0].tree()["f"];
    for head in peers[0].heads(node, Register::Content) {
        let (mut peer, want) = (peers[0].clone(), peers[0].value(head, Register::Content));
        let until = peer.facts.patches[&head].time;
        peer.restore(&Wish { version: Some(head), until, ..wish("f", 0) }).unwrap();
        assert!(peer.forks().is_empty());
        assert_eq!(
            peer.content(node),
            if let crate::model::patch::Value::Content(content) = want { content } else { unreachable!() }
        );
    }
}

/// What others did meanwhile is neither lost nor overwritten.
#[test]
fn what_is_done_at_the_same_time_is_a_fork() {
    for (base, after, elsewhere, kinds) in [
        ("+f 0", "=f 1", "=f 2", &[ForkKind::Content][..]),
        ("+f 0", "-f", "+f 2", &[ForkKind::Content]),
        ("+f 0", "-f", "+g 2", &[]),
        ("+d/; +d/f 0", "-d/f; +d/g 1", "=d/g 2", &[ForkKind::Delete]),
        ("+d/; +d/f 0", "d/f>d/g", "d/g>d/h", &[ForkKind::Place]),
        ("+d/; +d/f 0", "=d/f 1", "+d/new 2", &[]),
    ] {
        let mut peers = [Peer::new('A'), Peer::new('B')];
        run(&mut peers[0], base);
        let then = peers[0].clock();
        run(&mut peers[0], after);
        sync(&mut peers);
        run(&mut peers[1], elsewhere);
        peers[0].restore(&wish("", then)).unwrap();
        let forks = agree(&mut peers);
        assert!(forks.iter().map(|fork| fork.kind).eq(kinds.iter().copied()), "{after} ‖ {elsewhere}: {forks:?}");
        // Both that bring the same back write the same.
        let mut both = [Peer::new('A'), Peer::new('B')];
        run(&mut both[0], base);
        run(&mut both[0], after);
        sync(&mut both);
        for peer in &mut both {
            peer.restore(&wish("", then)).unwrap();
        }
        assert!(agree(&mut both).is_empty());
    }
}

/// A random history of a few peers; whether bringing something random back of it kept the laws.
fn law(number: u64) -> bool {
    let mut seed = Seed(number);
    let mut peers: Vec<Peer> = "ABC".chars().take(*seed.pick(&[1, 2, 3])).map(Peer::new).collect();
    let mix = *seed.pick(&["+++===-->>>!", ">>>>>>>+-=", "++--->>"]);
    run(&mut peers[0], "+a/; +b/; +a/a x; +b/a y; +a/b/");
    sync(&mut peers);
    for _ in 0..12 {
        let (at, from) = (seed.below(peers.len()), seed.below(peers.len()));
        if seed.percent(25) {
            let source = peers[from].entries.clone();
            peers[at].receive(&source);
            peers[at].settle();
        } else if let Some(word) = word(&peers[at], &mut seed, mix, "") {
            run(&mut peers[at], &word);
        }
    }
    let then = 5 + seed.below(peers[0].clock() as usize - 4) as u64;
    let was = plain(&Past::new(&peers[0].facts, Time(then)));
    let now = plain(&peers[0].facts);
    let mut paths: Vec<String> = was.keys().chain(now.keys()).cloned().collect();
    paths.push(String::new());
    let top = seed.pick(&paths).clone();
    let (want, _) = parts(was, &top);
    let (_, rest) = parts(now, &top);
    let is_forked = !peers[0].forks().is_empty();
    match peers[0].restore(&wish(&top, then)) {
        // What is refused leaves everything as it is.
        Err(RestoreError::Cycle | RestoreError::NothingThen | RestoreError::InTheWay(_)) => return false,
        Err(RestoreError::Unattainable(_)) if is_forked => return false,
        other => _ = other.unwrap_or_else(|error| panic!("seed {number}: {top:?} at {then}: {error}")),
    }
    let (got, others) = parts(plain(&peers[0].facts), &top);
    if !want.is_empty() {
        assert_eq!(got, want, "seed {number}: {top} is not as it was at {then}");
    }
    // Directories on the way come back, too, and what wants the same name is called after that.
    let beside = format!("{top}{BESIDE}");
    let same = |tree: Plain| tree.into_iter().filter(|(path, _)| !path.starts_with(&beside)).collect::<Plain>();
    let mut others = same(others);
    others.retain(|path, _| rest.contains_key(path) || !is_at(&top, path));
    assert_eq!(others, same(rest.clone()), "seed {number}: more than {top} was touched");
    assert!(peers[0].restore(&wish(&top, then)).is_ok_and(|deeds| deeds.is_empty()), "seed {number}: {top} once more");
    // Where a cycle was cut, a disk takes two looks to show it.
    sync(&mut peers);
    agree(&mut peers);
    resolve_all(&mut peers[0], &mut seed);
    sync(&mut peers);
    assert!(agree(&mut peers).is_empty(), "seed {number}: forks left");
    true
}

#[test]
fn random_histories_come_back() {
    let count: u64 = std::env::var("PFS_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    let kept = (0..count).filter(|number| law(*number)).count() as u64;
    assert!(kept > count / 2, "most of them brought something back: {kept} of {count}");
}
