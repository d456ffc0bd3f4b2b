//! What each choice makes of each kind of fork.

use super::peer::{Peer, mode, sync};
use super::script::run;
use crate::model::facts::Eye;
use crate::model::patch::Register;
use crate::model::view::{Fork, ForkKind};
use crate::plan::resolve::{Choice, ResolveError};

/// Two peers that share `base` and then did one thing each.
fn apart(base: &str, one: &str, other: &str) -> [Peer; 2] {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[0], base);
    sync(&mut peers);
    run(&mut peers[0], one);
    run(&mut peers[1], other);
    sync(&mut peers);
    peers
}

fn only_fork(peer: &Peer) -> Fork {
    assert_eq!(peer.forks().len(), 1, "{:?}", peer.forks());
    peer.forks().first().unwrap().clone()
}

/// What the first peer's tree is once it chose.
fn after(base: &str, one: &str, other: &str, choice: &Choice) -> Result<String, ResolveError> {
    let mut peers = apart(base, one, other);
    let fork = only_fork(&peers[0]);
    peers[0].resolve(&fork, choice)?;
    sync(&mut peers);
    assert_eq!(peers[0].plain(), peers[1].plain());
    assert!(peers[1].forks().is_empty(), "{:?}", peers[1].forks());
    Ok(super::rows::words(&peers[0]))
}

#[test]
fn ours_is_what_this_disk_shows_and_theirs_the_other_side() {
    let forks = [
        ("+f 0", "=f a", "=f b", "f=a", "f=b"),
        ("+f 0", "f>g", "f>h", "g=0", "h=0"),
        ("+f 0", "=f a", "-f", "f=a", ""),
        ("+f 0", "=f a", "=f @t", "f=a", "f@t"),
        ("+a 1; +b 2", "a>p", "b>p", "p (B)=2 p=1", "p (A)=1 p=2"),
        ("+d/; +d/f 1", "d>e", "-d", "e/ e/f=1", ""),
        ("", "+f a", "+f/; +f/x 1", "f (B)/ f (B)/x=1 f=a", "f (A)=a f/ f/x=1"),
        ("+x/; +y/", "x>y/x", "y>x/y", "y/ y/x/", "x/ x/y/"),
    ];
    for (base, one, other, ours, theirs) in forks {
        assert_eq!(after(base, one, other, &Choice::Ours).unwrap(), ours, "{one} ‖ {other}");
        assert_eq!(after(base, one, other, &Choice::Theirs).unwrap(), theirs, "{one} ‖ {other}");
    }
}

#[test]
fn newest_is_the_side_written_last() {
    assert_eq!(after("+f 0", "+z 1; =f a", "=f b", &Choice::Newest).unwrap(), "f=a z=1");
    assert_eq!(after("+f 0", "=f a", "+z 1; =f b", &Choice::Newest).unwrap(), "f=b z=1");
    assert_eq!(after("+f 0", "=f a", "+z 1; -f", &Choice::Newest).unwrap(), "z=1");
    assert_eq!(after("+x/; +y/", "x>y/x", "+z 1; y>x/y", &Choice::Newest).unwrap(), "x/ x/y/ z=1");
}

#[test]
fn both_keeps_every_side_under_names_that_were_free() {
    assert_eq!(after("+f.c 0", "=f.c a", "=f.c b", &Choice::Both).unwrap(), "f (B).c=b f.c=a");
    assert_eq!(after("+f 0", "=f a", "=f @t", &Choice::Both).unwrap(), "f (B)@t f=a");
    assert_eq!(after("+a 1; +b 2", "a>p", "b>p", &Choice::Both).unwrap(), "p (B)=2 p=1");
}

#[test]
fn what_does_not_fit_the_kind_of_fork_is_refused() {
    let swapped = ("+x/; +y/", "x>y/x", "y>x/y");
    for (base, one, other) in [("+f 0", "=f a", "-f"), ("+f 0", "f>g", "f>h"), ("+f 0", "!f 5", "!f 7"), swapped] {
        let refused = after(base, one, other, &Choice::Both);
        assert!(matches!(refused, Err(ResolveError::NotBoth(_))), "{refused:?}");
    }
    for (base, one, other) in [("+f 0", "f>g", "f>h"), ("+f 0", "!f 5", "!f 7"), swapped] {
        let refused = after(base, one, other, &Choice::Delete);
        assert!(matches!(refused, Err(ResolveError::NotDelete(_))), "{refused:?}");
    }
}

#[test]
fn delete_takes_every_node_of_the_fork_with_all_below() {
    for (base, one, other) in [
        ("+f 0", "=f a", "=f b"),
        ("+f 0", "=f a", "-f"),
        ("+a 1; +b 2", "a>p", "b>p"),
        ("", "+f a", "+f/; +f/x 1"),
        ("+d/; +d/f 1; +d/e/; +d/e/g 1", "d>x", "-d"),
    ] {
        assert_eq!(after(base, one, other, &Choice::Delete).unwrap(), "", "{one} ‖ {other}");
    }
}

#[test]
fn a_head_names_its_side_and_nothing_else_does() {
    let mut peers = apart("+f 0; +z 1", "=f a", "=f b");
    let fork = only_fork(&peers[0]);
    let node = peers[0].tree()["f"];
    for head in peers[0].heads(node, Register::Content) {
        let (mut peer, want) = (peers[0].clone(), peers[0].value(head, Register::Content));
        peer.resolve(&fork, &Choice::Take(head)).unwrap();
        let now = peer.heads(node, Register::Content);
        assert_eq!(now.len(), 1);
        assert_eq!(peer.value(now[0], Register::Content), want);
    }
    let other = peers[0].heads(peers[0].tree()["z"], Register::Content)[0];
    let refused = peers[0].resolve(&fork, &Choice::Take(other));
    assert!(matches!(refused, Err(ResolveError::NoSide(patch)) if patch == other));
}

#[test]
fn only_deletes_the_others_that_share_the_name() {
    let mut peers = apart("+a 1; +b 2", "a>p", "b>p");
    let fork = only_fork(&peers[0]);
    let keeper = peers[0].heads(peers[0].tree()["p"], Register::Place)[0];
    peers[0].resolve(&fork, &Choice::Only(keeper)).unwrap();
    assert_eq!(super::rows::words(&peers[0]), "p=1");
}

#[test]
fn a_fork_that_is_not_open_is_refused() {
    let mut peers = apart("+f 0", "=f a", "=f b");
    let fork = only_fork(&peers[0]);
    let other = Fork { kind: ForkKind::Place, ..fork.clone() };
    assert!(matches!(peers[0].resolve(&other, &Choice::Ours), Err(ResolveError::NotOpen)));
    peers[0].resolve(&fork, &Choice::Ours).unwrap();
    assert!(matches!(peers[0].resolve(&fork, &Choice::Ours), Err(ResolveError::NotOpen)));
}

#[test]
fn theirs_says_nothing_among_three() {
    let mut peers = [Peer::new('A'), Peer::new('B'), Peer::new('C')];
    for (peer, word) in peers.iter_mut().zip(["+f a", "+f b", "+f c"]) {
        run(peer, word);
    }
    sync(&mut peers);
    let fork = only_fork(&peers[0]);
    assert!(matches!(peers[0].resolve(&fork, &Choice::Theirs), Err(ResolveError::Several(2))));
    peers[0].resolve(&fork, &Choice::Both).unwrap();
    assert_eq!(peers[0].tree().len(), 3);
}

/// A third peer that showed neither move chooses the one that the canonical view reverts.
#[test]
fn either_move_of_a_cycle_can_be_taken_by_who_made_none() {
    for top in ["x", "y"] {
        let mut peers = [Peer::new('A'), Peer::new('B'), Peer::new('C')];
        run(&mut peers[0], "+x/; +y/");
        sync(&mut peers);
        let taken = peers[2].tree()[top];
        run(&mut peers[0], "x>y/x");
        run(&mut peers[1], "y>x/y");
        sync(&mut peers);
        let fork = only_fork(&peers[2]);
        let moves = peers[2].heads(taken, Register::Place);
        peers[2].resolve(&fork, &Choice::Take(moves[0])).unwrap();
        let folder = peers[2].seen(Eye::Canonical).shown[&taken].folder;
        assert_ne!(folder, crate::model::ids::NodeId::ROOT, "the move of {top} holds");
    }
}

#[test]
fn an_attr_fork_has_sides_too() {
    let mut peers = apart("+f 0", "!f 5", "!f 7");
    let fork = only_fork(&peers[1]);
    peers[1].resolve(&fork, &Choice::Theirs).unwrap();
    assert_eq!(peers[1].plain()["f"].1, mode(5));
}

/// Closes every fork as one command does, those of several nodes first; what the tree is then at all.
fn after_all(base: &str, scripts: [&str; 2], who: usize, choice: &Choice) -> String {
    let mut peers = apart(base, scripts[0], scripts[1]);
    for _ in 0..10 {
        let Some(fork) = peers[who].forks().iter().max_by_key(|fork| fork.nodes.len()).cloned() else { break };
        peers[who].resolve(&fork, choice).unwrap();
    }
    sync(&mut peers);
    assert_eq!(peers[0].plain(), peers[1].plain());
    assert!(peers[0].forks().is_empty(), "{choice:?} left {:?}", peers[0].forks());
    super::rows::words(&peers[0])
}

#[test]
fn of_a_delete_fork_ours_is_what_this_peer_wrote() {
    for (base, one, other, ours, theirs) in [
        ("+f 0", "-f", "=f b", "", "f=b"),
        ("+f 0", "-f", "f>g", "", "g=0"),
        ("+d/; +d/f 1", "-d", "d>e", "", "e/ e/f=1"),
        ("+d/; +d/f 1; +d/g 2", "-d", "=d/f b", "", "d/ d/f=b"),
    ] {
        assert_eq!(after_all(base, [one, other], 0, &Choice::Ours), ours, "{one} ‖ {other}");
        assert_eq!(after_all(base, [one, other], 0, &Choice::Theirs), theirs, "{one} ‖ {other}");
        assert_eq!(after_all(base, [one, other], 1, &Choice::Ours), theirs, "{one} ‖ {other}");
        assert_eq!(after_all(base, [one, other], 1, &Choice::Theirs), ours, "{one} ‖ {other}");
    }
}

/// A third peer wrote neither side: its disk says what is its own.
#[test]
fn of_a_delete_fork_that_others_wrote_ours_is_what_the_disk_shows() {
    let mut peers = [Peer::new('A'), Peer::new('B'), Peer::new('C')];
    run(&mut peers[0], "+f 0");
    sync(&mut peers);
    run(&mut peers[0], "-f");
    run(&mut peers[1], "=f b");
    sync(&mut peers);
    let fork = only_fork(&peers[2]);
    let mut other = peers[2].clone();
    peers[2].resolve(&fork, &Choice::Ours).unwrap();
    assert_eq!(super::rows::words(&peers[2]), "f=b");
    other.resolve(&fork, &Choice::Theirs).unwrap();
    assert_eq!(super::rows::words(&other), "");
}

/// A deletes a file and puts something else by its name while B edits it: who has the name and whether the file is
/// there are two forks, and one choice settles both. What stands beside says whose bytes it holds.
#[test]
fn who_has_a_name_is_settled_together_with_whether_it_is_there() {
    let (ours, theirs, both, delete) = (Choice::Ours, Choice::Theirs, Choice::Both, Choice::Delete);
    for (base, replaced, edited, of_a, of_b) in [
        ("+f.c 0", "=f.c/; +f.c/x 1", "=f.c e", "f (B).c=e f.c/ f.c/x=1", "f.c (A)/ f.c (A)/x=1 f.c=e"),
        ("+f 0; +g 1", "-f; g>f", "=f e", "f (B)=e f=1", "f (A)=1 f=e"),
        ("+d/; +d/o 1; +d/u 2", "=d f", "=d/o e", "d (A)/ d (A)/o=e d=f", "d (A)=f d/ d/o=e"),
        (
            "+d/; +d/o 1; +d/e/; +d/e/u 2",
            "-d; +d f",
            "d>k; k>d",
            "d (B)/ d (B)/e/ d (B)/e/u=2 d (B)/o=1 d=f",
            "d (A)=f d/ d/e/ d/e/u=2 d/o=1",
        ),
    ] {
        let scripts = [replaced, edited];
        assert_eq!(after_all(base, scripts, 0, &ours), of_a, "{replaced} ‖ {edited}");
        assert_eq!(after_all(base, scripts, 0, &theirs), of_b, "{replaced} ‖ {edited}");
        assert_eq!(after_all(base, scripts, 0, &both), of_a, "{replaced} ‖ {edited}");
        assert_eq!(after_all(base, scripts, 1, &ours), of_b, "{replaced} ‖ {edited}");
        assert_eq!(after_all(base, scripts, 1, &theirs), of_a, "{replaced} ‖ {edited}");
        assert_eq!(after_all(base, scripts, 1, &both), of_b, "{replaced} ‖ {edited}");
        for who in [0, 1] {
            assert_eq!(after_all(base, scripts, who, &delete), "", "{replaced} ‖ {edited}");
        }
    }
    for who in [0, 1] {
        let newest = |one, other| after_all("+f 0", [one, other], who, &Choice::Newest);
        assert_eq!(newest("=f/", "+z 1; +y 1; +x 1; =f e"), "f (A)/ f=e x=1 y=1 z=1", "the edit came last");
        assert_eq!(newest("+z 1; +y 1; +x 1; =f/", "=f e"), "f (B)=e f/ x=1 y=1 z=1", "the directory came last");
    }
}

/// What contests the bytes of a node is not settled by who has its name.
#[test]
fn contents_that_differ_stay_a_fork_where_only_the_name_was_settled() {
    let mut peers = [Peer::new('A'), Peer::new('B'), Peer::new('C')];
    run(&mut peers[0], "+f 0");
    sync(&mut peers);
    for (peer, word) in peers.iter_mut().zip(["=f/", "=f b", "=f c"]) {
        run(peer, word);
    }
    sync(&mut peers);
    let shared = peers[0].forks().iter().find(|fork| fork.nodes.len() > 1).cloned().unwrap();
    peers[0].resolve(&shared, &Choice::Ours).unwrap();
    assert_eq!(only_fork(&peers[0]).kind, ForkKind::Content);
    let fork = only_fork(&peers[0]);
    peers[0].resolve(&fork, &Choice::Newest).unwrap();
    sync(&mut peers);
    assert_eq!(super::rows::words(&peers[2]), "f (C)=c f/");
}

#[test]
fn other_bytes_settle_what_is_about_bytes() {
    let with = |peer: &Peer, path: &str| Choice::With {
        content: super::peer::file("new"),
        over: peer.heads(peer.tree()[path], Register::Content),
    };
    for (base, one, other, want) in [
        ("+f 0", "=f a", "=f b", "f=new"),
        ("", "+f a", "+f b", "f=new"),
        ("+f 0", "-f", "=f b", "f=new"),
        ("+f 0", "=f @a", "=f b", "f=new"),
    ] {
        let mut peers = apart(base, one, other);
        let fork = only_fork(&peers[0]);
        let choice = with(&peers[0], "f");
        peers[0].resolve(&fork, &choice).unwrap();
        sync(&mut peers);
        assert_eq!(super::rows::words(&peers[1]), want, "{one} ‖ {other}");
        assert!(peers[1].forks().is_empty());
    }
    let mut peers = apart("+f 0", "!f 5", "!f 7");
    let (fork, choice) = (only_fork(&peers[0]), with(&peers[0], "f"));
    assert!(matches!(peers[0].resolve(&fork, &choice), Err(ResolveError::NotWith(ForkKind::Attr))));
}

/// Bytes that were made of some heads say nothing of others.
#[test]
fn other_bytes_are_for_the_heads_that_they_were_made_of() {
    let mut peers = apart("+f 0", "=f a", "=f b");
    let fork = only_fork(&peers[0]);
    let over = peers[0].heads(peers[0].tree()["f"], Register::Content);
    run(&mut peers[1], "=f c");
    sync(&mut peers);
    let choice = Choice::With { content: super::peer::file("new"), over };
    assert!(matches!(peers[0].resolve(&fork, &choice), Err(ResolveError::Changed)));
    assert_eq!(only_fork(&peers[0]), fork);
}
