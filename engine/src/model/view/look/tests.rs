//! Directories in directories in directories: nothing in a look may take a frame of the stack a level.

use std::sync::Arc;

use super::*;
use crate::model::facts::{Known, MemoryFacts};
use crate::model::patch::{Attr, Content, Patch, Supersedes};
use crate::model::time::Time;

const LEVELS: u64 = 100_000;

fn bytes(n: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

/// The directory of a level; level 0 is the root.
fn node(level: u64) -> NodeId {
    NodeId(bytes(level))
}

fn birth(level: u64) -> PatchId {
    PatchId(bytes(2 * level))
}

fn delete(level: u64) -> PatchId {
    PatchId(bytes(2 * level + 1))
}

/// A chain of directories, each deleted as a part of the delete of the one that holds it.
fn deleted_chain() -> MemoryFacts {
    let mut facts = MemoryFacts::default();
    let name = Name::try_from("d").unwrap();
    for level in 1..=LEVELS {
        let (node, parent) = (node(level), node(level - 1));
        let place = Some(Place::At { parent, name: name.clone() });
        let supersedes = Supersedes::default();
        let (content, attr) = (Some(Content::Dir), Some(Attr::default()));
        let born = Patch { node, supersedes, place, content, attr, within: None, born: Some(0) };
        let mut supersedes = Supersedes::default();
        supersedes.set(Register::Place, [birth(level)]);
        supersedes.set(Register::Content, [birth(level)]);
        let within = (level > 1).then(|| delete(level - 1));
        let (place, content) = (Some(Place::Nowhere), Some(Content::Gone));
        let gone = Patch { node, supersedes, place, content, attr: None, within, born: None };
        for (id, patch) in [(birth(level), born), (delete(level), gone)] {
            facts.patches.insert(id, Known { patch: Arc::new(patch), time: Time::default() });
        }
        let heads = [vec![delete(level)], vec![delete(level)], vec![birth(level)]];
        facts.nodes.insert(node, NodeState { is_dir: true, heads });
        facts.placed.insert((parent, name.clone(), node));
    }
    facts
}

/// Makes a place of a level's node live beside its delete.
fn contest(facts: &mut MemoryFacts, level: u64) {
    let heads = &mut facts.nodes.get_mut(&node(level)).unwrap().heads[Register::Place as usize];
    heads.push(birth(level));
}

#[test]
fn what_lives_far_below_keeps_all_that_holds_it() {
    let mut facts = deleted_chain();
    assert!(!Look::new(&facts, Eye::Canonical).in_tree(node(1)).unwrap());
    contest(&mut facts, LEVELS);
    let mut look = Look::new(&facts, Eye::Canonical);
    assert!(look.in_tree(node(1)).unwrap());
    assert!(look.in_tree(node(LEVELS / 2)).unwrap());
    assert!(!look.living(node(LEVELS / 2)).unwrap());
}

#[test]
fn a_contested_delete_keeps_all_that_it_took_along() {
    let mut facts = deleted_chain();
    assert!(!Look::new(&facts, Eye::Canonical).living(node(LEVELS)).unwrap());
    contest(&mut facts, 1);
    let mut look = Look::new(&facts, Eye::Canonical);
    assert!(look.living(node(LEVELS)).unwrap());
    assert!(look.living(node(LEVELS / 2)).unwrap());
}
