//! The pen's own rules: what the schedules do not look at.

use super::peer::{Peer, VOLUME, file, mode, sync};
use super::script::run;
use crate::model::ids::NodeId;
use crate::model::name::Name;
use crate::model::patch::{Attr, Content, Patch, Place, Supersedes};
use crate::model::time::Time;
use crate::plan::change::{Pen, PenError};

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn pen(peer: &Peer) -> Pen<'_> {
    Pen::new(VOLUME, &peer.facts, Time(100))
}

#[test]
fn later_patches_of_an_entry_see_earlier_ones() {
    let peer = Peer::new('A');
    let mut pen = pen(&peer);
    let folder = pen.birth(NodeId::ROOT, name("d"), Content::Dir, mode(7)).unwrap();
    let node = pen.birth(folder, name("f"), file("1"), mode(6)).unwrap();
    pen.change(node, Some(file("2")), Some(mode(7))).unwrap();
    pen.place(node, NodeId::ROOT, name("g")).unwrap();
    assert_eq!(pen.facts().shown_at(NodeId::ROOT, &name("g")).unwrap(), Some(node));
    assert_eq!(pen.facts().shown_at(folder, &name("f")).unwrap(), None);
    pen.remove(&[folder]).unwrap();
    assert_eq!(pen.facts().shown(folder).unwrap(), None);
    let (patches, changes) = pen.finish();
    assert_eq!(patches.len(), 5);
    assert_eq!(changes.nodes[&node].heads.concat().len(), 3, "one head a register");
    assert!(patches.iter().all(|patch| changes.patches.contains_key(&patch.id())));
}

#[test]
fn only_a_node_that_nobody_knows_is_born() {
    let mut peer = Peer::new('A');
    run(&mut peer, "+f 1; -f; +f 2; f>g; +f 3");
    let born = peer.entries.iter().flat_map(|entry| &entry.patches).map(|patch| patch.born).collect::<Vec<_>>();
    assert_eq!(born, [Some(0), None, None, None, Some(1)]);
}

#[test]
fn what_goes_with_its_folder_says_so() {
    let mut peer = Peer::new('A');
    run(&mut peer, "+d/; +d/e/; +d/e/f 1; -d");
    let patches = &peer.entries.last().unwrap().patches;
    let within: Vec<_> = patches.iter().map(|patch| patch.within).collect();
    assert_eq!(within, [None, Some(patches[0].id()), Some(patches[1].id())]);
}

/// Whoever deletes one of two nodes that share a name places the other there again; its file still has the name
/// that it has on disk.
#[test]
fn deleting_one_of_two_settles_who_has_the_name() {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[0], "+a 1; +b 2");
    sync(&mut peers);
    run(&mut peers[0], "a>p");
    run(&mut peers[1], "b>p");
    sync(&mut peers);
    let tree = peers[0].tree();
    let (gone, stays) = (tree["p"], *tree.iter().find(|(path, _)| path.starts_with("p~")).unwrap().1);
    let before = peers[0].facts.disk[&stays].clone();
    let mut pen = pen(&peers[0]);
    pen.remove(&[gone]).unwrap();
    let shown = pen.facts().shown(stays).unwrap().unwrap();
    assert_eq!((shown.folder, &shown.name), (before.folder, &before.name));
    let (patches, _) = pen.finish();
    let place = Place::At { parent: NodeId::ROOT, name: name("p") };
    assert_eq!((patches[1].node, &patches[1].place), (stays, &Some(place)));
    assert_eq!(patches.len(), 2);
}

#[test]
fn a_directory_whose_delete_is_not_shown_yet_contests_it_when_it_moves() {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[0], "+d/; +d/f 1");
    sync(&mut peers);
    run(&mut peers[1], "-d");
    let entries = peers[1].entries.clone();
    peers[0].receive(&entries);
    run(&mut peers[0], "d>e");
    assert_eq!(super::rows::words(&peers[0]), "e/ e/f=1");
    assert_eq!(peers[0].forks().len(), 1);
}

#[test]
fn what_cannot_be_written_down_is_refused() {
    let mut peer = Peer::new('A');
    run(&mut peer, "+f 1");
    let node = peer.tree()["f"];
    let mut pen = pen(&peer);
    let unknown = NodeId([9; 32]);
    assert!(matches!(pen.change(unknown, Some(file("2")), None), Err(PenError::NotShown(n)) if n == unknown));
    assert!(matches!(pen.remove(&[unknown]), Err(PenError::NotShown(_))));
    assert!(matches!(pen.place(unknown, NodeId::ROOT, name("x")), Err(PenError::NotShown(_))));
    assert!(matches!(pen.change(node, Some(Content::Dir), None), Err(PenError::Apply(_))), "a file stays one");
    assert!(matches!(pen.place(node, node, name("x")), Err(PenError::Apply(_))), "a file holds nothing");
    assert!(matches!(pen.change(node, None, None), Err(PenError::Patch(_))), "nothing to say");
    let too_open = Attr { mode: 0o7777, ..Attr::default() };
    assert!(matches!(pen.change(node, None, Some(too_open)), Err(PenError::Patch(_))));
    let (patches, changes): (Vec<Patch>, _) = pen.finish();
    assert!(patches.is_empty() && changes.patches.is_empty() && changes.disk.is_empty());
}

/// What others placed there and this disk does not show yet is forked with, not overwritten.
#[test]
fn a_birth_where_others_have_written_supersedes_nothing_unseen() {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[1], "+f theirs");
    let entries = peers[1].entries.clone();
    peers[0].receive(&entries);
    run(&mut peers[0], "+f ours");
    assert_eq!(peers[0].forks().len(), 1);
    assert_eq!(peers[0].plain()["f"].0, file("ours"), "and the disk keeps what it shows");
    let patch = &peers[0].entries.last().unwrap().patches[0];
    assert_eq!(patch.supersedes, Supersedes::default());
}

/// A file may have the very name that something would be shown by beside another; then that one makes way.
#[test]
fn a_name_that_something_is_shown_by_can_be_taken() {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[0], "+a 1; +b 2");
    sync(&mut peers);
    run(&mut peers[0], "a>p");
    run(&mut peers[1], "b>p");
    sync(&mut peers);
    let at = peers[0].canonical_tree();
    let (beside, node) = at.iter().find(|(path, _)| path.starts_with("p~")).map(|(p, n)| (p.clone(), *n)).unwrap();
    let mut other = Peer::new('C');
    run(&mut other, &format!("+{beside} 3"));
    let entries = other.entries.clone();
    for peer in &mut peers {
        peer.receive(&entries);
        peer.settle();
    }
    let now = peers[0].canonical_tree();
    assert_eq!((now.len(), peers[0].forks().len()), (3, 1));
    assert_eq!(now[&beside], other.tree()[&beside], "a name of its own goes before one for want of another");
    assert!(now.iter().any(|(path, n)| *n == node && path.len() == beside.len() + 1), "{now:?}");
    run(&mut peers[0], &format!("-{beside}"));
    assert_eq!(peers[0].canonical_tree(), at);
}
