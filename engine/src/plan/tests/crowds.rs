//! Registers with more heads than one patch can supersede: nothing that a user does or decides may fail for them.

use super::peer::{Peer, file, mode, sync};
use super::script::run;
use crate::limits::SUPERSEDES_MAX;
use crate::model::ids::{NodeId, PatchId};
use crate::model::name::Name;
use crate::model::patch::{Content, Patch, Place, Register};
use crate::model::time::Mtime;
use crate::model::view::ForkKind;
use crate::plan::resolve::Choice;

/// What the `n`th patch of a crowd says.
type Says = fn(Patch, u16) -> Patch;

const CROWDS: [u16; 3] = [SUPERSEDES_MAX as u16, 65, 200];

/// Two peers that share `base`, where one of them wrote `count` patches of `path` that supersede nothing.
fn crowded(base: &str, path: &str, count: u16, says: Says) -> ([Peer; 2], NodeId) {
    let mut peers = [Peer::new('A'), Peer::new('B')];
    run(&mut peers[0], base);
    sync(&mut peers);
    let node = peers[0].tree()[path];
    peers[1].forge((0..count).map(|n| says(Patch::new(node), n)).collect());
    sync(&mut peers);
    (peers, node)
}

fn contents(patch: Patch, n: u16) -> Patch {
    Patch { content: Some(file(&format!("c{n}"))), ..patch }
}

/// Heads that all say what the file of `+f 0` says.
fn touches(patch: Patch, n: u16) -> Patch {
    let Content::File { len, root, .. } = file("0") else { unreachable!("it is a file") };
    let mtime = Mtime { secs: 1 + i64::from(n), nanos: 0 };
    Patch { content: Some(Content::File { len, root, mtime }), ..patch }
}

fn places(patch: Patch, n: u16) -> Patch {
    Patch { place: Some(at(&format!("p{n}"))), ..patch }
}

/// Heads that all say one place, made different by the attributes.
fn one_place(patch: Patch, n: u16) -> Patch {
    Patch { place: Some(at("p")), ..attrs(patch, n) }
}

fn attrs(patch: Patch, n: u16) -> Patch {
    Patch { attr: Some(mode(0o100 + n)), ..patch }
}

fn at(name: &str) -> Place {
    Place::At { parent: NodeId::ROOT, name: Name::try_from(name).unwrap() }
}

fn the_head(peer: &Peer, node: NodeId, register: Register) -> PatchId {
    let heads = peer.heads(node, register);
    assert_eq!(heads.len(), 1, "{register:?}");
    heads[0]
}

#[test]
fn what_a_user_does_leaves_one_head() {
    use Register::{Attr, Content, Place};
    let cases: [(Says, &str, &[Register], usize); 7] = [
        (touches, "=f 2", &[Content], 1),
        (touches, "-f", &[Place, Content], 0),
        (attrs, "!f 7", &[Attr], 1),
        (attrs, "-f", &[Place, Content], 0),
        (places, "-f", &[Place, Content], 0),
        (places, "f>g", &[Place], 1),
        (contents, "f>g", &[Place], 1),
    ];
    for (says, act, registers, files) in cases {
        for count in CROWDS {
            let (mut peers, node) = crowded("+f 0", "f", count, says);
            run(&mut peers[0], act);
            sync(&mut peers);
            for peer in &peers {
                for register in registers {
                    the_head(peer, node, *register);
                }
                assert_eq!(peer.tree().len(), files, "{act}");
            }
        }
    }
}

#[test]
fn what_was_deleted_is_born_again_over_all_its_heads() {
    for count in CROWDS {
        let (mut peers, node) = crowded("+f 0", "f", count, attrs);
        run(&mut peers[0], "-f; +f 3");
        sync(&mut peers);
        for peer in &peers {
            assert_eq!(peer.tree(), [("f".to_owned(), node)].into());
            for register in Register::ALL {
                the_head(peer, node, register);
            }
        }
    }
}

#[test]
fn a_resolution_leaves_one_head_and_is_the_same_at_all_who_choose_alike() {
    let cases: [(Says, Register, ForkKind); 3] = [
        (contents, Register::Content, ForkKind::Content),
        (places, Register::Place, ForkKind::Place),
        (attrs, Register::Attr, ForkKind::Attr),
    ];
    for (says, register, kind) in cases {
        for count in CROWDS {
            let (mut peers, node) = crowded("+f 0", "f", count, says);
            let fork = peers[0].forks().first().unwrap().clone();
            assert_eq!(fork.kind, kind);
            for peer in &mut peers {
                peer.resolve(&fork, &Choice::Newest).unwrap();
            }
            sync(&mut peers);
            let heads = peers.each_ref().map(|peer| the_head(peer, node, register));
            assert_eq!(heads[0], heads[1]);
            assert!(peers.iter().all(|peer| peer.forks().is_empty()));
        }
    }
}

/// What was in a directory names the patch of its delete that stays, not one on the way there.
#[test]
fn what_goes_with_a_crowded_directory_goes_with_its_last_patch() {
    for count in CROWDS {
        let (mut peers, folder) = crowded("+d/; +d/in 1", "d", count, one_place);
        let inside = peers[0].tree()["d/in"];
        run(&mut peers[0], "-d");
        assert_goes_with(&peers[0], inside, folder);

        let (mut peers, folder) = crowded("+d/; +d/in 1; +b/", "d", count, one_place);
        let (inside, other) = (peers[0].tree()["d/in"], peers[0].tree()["b"]);
        let mut place = Patch { place: Some(at("p")), ..Patch::new(other) };
        place.supersedes.set(Register::Place, peers[1].heads(other, Register::Place));
        peers[1].forge(vec![place]);
        sync(&mut peers);
        let fork = peers[0].forks().iter().find(|fork| fork.kind == ForkKind::Name).unwrap().clone();
        let keeper = peers[0].heads(other, Register::Place)[0];
        peers[0].resolve(&fork, &Choice::Only(keeper)).unwrap();
        assert_goes_with(&peers[0], inside, folder);
    }
}

fn assert_goes_with(peer: &Peer, inside: NodeId, folder: NodeId) {
    let delete = the_head(peer, inside, Register::Content);
    let delete = &peer.facts.patches[&delete].patch;
    assert_eq!(delete.content, Some(Content::Gone));
    assert_eq!(delete.within, Some(the_head(peer, folder, Register::Content)));
    assert_eq!(delete.within, Some(the_head(peer, folder, Register::Place)));
}
