use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Batch;
use crate::disk::carry_out::testing::{Memory, World, make_dir, node, path, without_privileges};
use crate::disk::{Carried, Outcome, Step};
use crate::model::ids::NodeId;

fn park(world: &World, byte: u8, from: &str) -> Step {
    Step::Park { node: node(byte), from: path(from), expect: world.stat(from) }
}

fn unpark(byte: u8, to: &str) -> Step {
    Step::Unpark { node: node(byte), to: path(to) }
}

fn relocate(world: &World, from: &str, to: &str) -> Step {
    Step::Move { from: path(from), to: path(to), expect: world.stat(from) }
}

/// Carries out the steps, and before the last `of_last` ones somebody puts a file where they are to go. Which steps
/// were done, and what was left parked.
fn disturbed(world: &World, steps: &[Step], of_last: usize, stranger: &str) -> (Vec<bool>, Vec<NodeId>) {
    let mut batch = Batch::new(&world.tree, world.tree.tmp_dir().unwrap());
    let mut done = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if index + of_last == steps.len() {
            world.put(stranger, b"stranger");
        }
        done.push(matches!(batch.carry_out(step, None), Outcome::Done(_)));
    }
    (done, batch.bring_parked_back())
}

#[test]
fn what_was_to_go_into_a_directory_that_cannot_be_made_comes_back() {
    let world = World::new();
    world.put("d/f", b"f");
    world.put("n", b"a file of that name");
    let steps = [park(&world, 1, "d"), make_dir("n", 0o755), unpark(1, "n/d")];
    let Carried { outcomes, set_aside, left_parked } = world.tree.carry_out(&steps, &Memory::default());
    assert!(matches!(outcomes[..], [Outcome::Done(None), Outcome::Unexpected, Outcome::Unexpected]), "{outcomes:?}");
    assert!(set_aside.is_empty() && left_parked.is_empty());
    assert_eq!((world.bytes("d/f"), world.bytes("n")), (b"f".to_vec(), b"a file of that name".to_vec()));
    assert_eq!(world.in_tmp(), [""; 0]);
}

#[test]
fn a_swap_whose_second_half_finds_a_strangers_file_leaves_the_first_parked() {
    let world = World::new();
    world.put("a/f", b"a");
    world.put("b", b"b");
    let steps = [park(&world, 1, "a"), relocate(&world, "b", "a"), unpark(1, "b")];
    let (done, left) = disturbed(&world, &steps, 1, "b");
    assert_eq!((done, left), (vec![true, true, false], vec![node(1)]));
    assert_eq!((world.bytes("a"), world.bytes("b")), (b"b".to_vec(), b"stranger".to_vec()));
    assert_eq!(world.tree.parked().unwrap(), [node(1)], "whole, for the caller to find a place");
    assert!(matches!(world.one(unpark(1, "c")), Outcome::Done(Some(_))));
    assert_eq!(world.bytes("c/f"), b"a");
}

#[test]
fn a_swap_whose_first_half_fails_is_undone() {
    let world = World::new();
    world.put("a", b"a");
    world.put("b", b"b");
    let steps = [park(&world, 1, "a"), relocate(&world, "b", "a"), unpark(1, "b")];
    world.put("b", b"edited");
    let outcomes = world.carry_out(&steps, &Memory::default());
    assert!(matches!(outcomes[..], [Outcome::Done(None), Outcome::Unexpected, Outcome::Unexpected]), "{outcomes:?}");
    assert_eq!((world.bytes("a"), world.bytes("b")), (b"a".to_vec(), b"edited".to_vec()));
    assert_eq!(world.in_tmp(), [""; 0]);
}

/// `a` → `b` → `c` → `d`: whatever a stranger takes, each of the three is in the tree or known to be parked.
#[test]
fn of_a_chain_of_three_nothing_vanishes() {
    for (stranger, of_last, expected) in [
        ("d", 3, vec![("a", "b"), ("c", "c")]),
        ("b", 2, vec![("a", "a"), ("b", "c"), ("c", "d")]),
        ("c", 1, vec![("a", "b"), ("c", "d")]),
    ] {
        let world = World::new();
        for name in ["a", "b", "c"] {
            world.put(&format!("{name}/f"), name.as_bytes());
        }
        let steps =
            [park(&world, 1, "a"), park(&world, 2, "b"), relocate(&world, "c", "d"), unpark(1, "b"), unpark(2, "c")];
        let (_, left) = disturbed(&world, &steps, of_last, stranger);
        for (name, at) in &expected {
            assert_eq!(world.bytes(&format!("{at}/f")), name.as_bytes(), "{stranger} was taken");
        }
        let parked = if expected.len() == 3 { vec![] } else { vec![node(2)] };
        assert_eq!((&left, world.tree.parked().unwrap()), (&parked, parked.clone()), "{stranger} was taken");
        assert_eq!(world.bytes(stranger), b"stranger");
    }
}

#[test]
fn it_comes_back_into_its_directory_wherever_that_stands_now() {
    let world = World::new();
    world.put("a/sub/x", b"x");
    world.put("b/sub/y", b"y");
    let steps = [
        park(&world, 1, "a/sub/x"),
        park(&world, 2, "a"),
        relocate(&world, "b", "a"),
        unpark(2, "b"),
        unpark(1, "none/x"),
    ];
    let outcomes = world.carry_out(&steps, &Memory::default());
    assert!(matches!(outcomes[4], Outcome::Failed(_)), "{outcomes:?}");
    assert_eq!((world.bytes("b/sub/x"), world.bytes("a/sub/y")), (b"x".to_vec(), b"y".to_vec()));
    assert!(world.is_absent("a/sub/x"), "that is another directory by now");
}

#[test]
fn what_was_in_a_parked_directory_comes_back_after_it() {
    let world = World::new();
    world.put("d/x", b"x");
    let steps = [park(&world, 1, "d/x"), park(&world, 2, "d"), unpark(1, "none/x"), unpark(2, "none/d")];
    world.carry_out(&steps, &Memory::default());
    assert_eq!(world.bytes("d/x"), b"x");
    assert_eq!(world.in_tmp(), [""; 0]);
}

#[test]
fn what_was_in_a_directory_that_is_gone_stays_parked() {
    let world = World::new();
    world.put("d/x", b"x");
    let steps = [
        park(&world, 1, "d/x"),
        Step::Remove { at: path("d"), expect: world.stat("d") },
        make_dir("d", 0o755),
        unpark(1, "none/x"),
    ];
    let carried = world.tree.carry_out(&steps, &Memory::default());
    assert_eq!(carried.left_parked, [node(1)]);
    assert_eq!(world.tree.parked().unwrap(), [node(1)]);
    assert!(world.is_absent("d/x"), "it is another directory");
}

#[test]
fn it_comes_back_into_a_directory_that_forbids_writing() {
    without_privileges(|| {
        let world = World::new();
        world.put("sealed/d/f", b"f");
        let seal = |at: &str, mode| fs::set_permissions(world.full(at), fs::Permissions::from_mode(mode)).unwrap();
        seal("sealed/d", 0o555);
        let step = park(&world, 1, "sealed/d");
        seal("sealed", 0o555);
        let outcomes = world.carry_out(&[step, unpark(1, "none/d")], &Memory::default());
        assert!(matches!(outcomes[..], [Outcome::Done(None), Outcome::Failed(_)]), "{outcomes:?}");
        assert_eq!((world.stat("sealed").mode, world.stat("sealed/d").mode), (0o555, 0o555));
        assert_eq!(world.bytes("sealed/d/f"), b"f");
        seal("sealed", 0o755);
        seal("sealed/d", 0o755);
    });
}
