use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::disk::carry_out::testing::{Memory, World, done, make_dir, path, without_privileges, write_file};
use crate::disk::{Expect, Outcome, Stat, Step};
use crate::limits::XATTR_BYTES_MAX;
use crate::model::patch::Attr;

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

fn xattrs<const N: usize>(pairs: [(&str, Vec<u8>); N]) -> Xattrs {
    pairs.map(|(name, value)| (name.as_bytes().to_vec(), value)).into()
}

/// Some go, some change, and the last is larger than most file systems take.
fn before_and_after() -> (Xattrs, Xattrs) {
    let before = xattrs([("user.a", b"old".to_vec()), ("user.b", b"old".to_vec())]);
    let too_large = vec![1; XATTR_BYTES_MAX - 1000];
    (before, xattrs([("user.b", b"new".to_vec()), ("user.c", b"new".to_vec()), ("user.d", too_large)]))
}

fn set(world: &World, at: &str, expect: Stat, mode: u16, xattrs: &Xattrs) -> Outcome {
    world.one(Step::SetAttr { at: path(at), expect, attr: Attr { mode, xattrs: xattrs.clone() } })
}

fn chmod(world: &World, at: &str, mode: u16) {
    fs::set_permissions(world.full(at), fs::Permissions::from_mode(mode.into())).unwrap();
}

/// Whether the file system refuses what is too large.
fn refuses(world: &World) -> bool {
    let refuses = world.tree.keeps_xattrs().unwrap() && {
        let probe = world.put("probe", b"");
        matches!(set(world, "probe", probe, 0o644, &before_and_after().1), Outcome::Failed(_))
    };
    if !refuses {
        println!("not run here: the file system of the temporary directory takes attributes of any size, or none");
    }
    refuses
}

#[test]
fn attributes_that_cannot_all_be_set_stay_as_they_were() {
    without_privileges(|| {
        let world = World::new();
        if !refuses(&world) {
            return;
        }
        let (before, after) = before_and_after();
        for mode in [0o644, 0o444, 0o000] {
            let stat = world.put("f", b"f");
            let stat = done(&world, &set(&world, "f", stat, mode, &before), "f");
            assert!(matches!(set(&world, "f", stat, 0o755, &after), Outcome::Failed(_)), "{mode:o}");
            assert_eq!(world.stat("f").mode, mode);
            chmod(&world, "f", 0o600);
            assert_eq!(world.tree.attr(&path("f"), &stat).unwrap().xattrs, before, "{mode:o}");
        }
    });
}

#[test]
fn a_directory_whose_attributes_cannot_be_set_keeps_the_mode_it_had() {
    without_privileges(|| {
        let world = World::new();
        if !refuses(&world) {
            return;
        }
        let (before, after) = before_and_after();
        for (mode, wanted) in [(0o755, 0o555), (0o555, 0o755), (0o555, 0o500), (0o000, 0o444)] {
            let made = world.one(Step::MakeDir { at: path("d"), attr: Attr { mode, xattrs: before.clone() } });
            let expect = done(&world, &made, "d");
            // The batch works in the directory, for which its mode has to be another meanwhile.
            let refused = Step::SetAttr { at: path("d"), expect, attr: Attr { mode: wanted, xattrs: after.clone() } };
            let steps = [write_file("d/f", Expect::Absent, b"f"), refused];
            let outcomes = world.carry_out(&steps, &Memory::of(b"f"));
            assert!(matches!(outcomes[..], [Outcome::Done(_), Outcome::Failed(_)]), "{outcomes:?}");
            assert_eq!(world.stat("d").mode, mode, "instead of {wanted:o}");
            assert_eq!(world.in_tmp(), [""; 0]);
            chmod(&world, "d", 0o755);
            assert_eq!(world.tree.attr(&path("d"), &expect).unwrap().xattrs, before);

            let refused = set(&world, "d", expect, wanted, &after);
            assert!(matches!(refused, Outcome::Failed(_)));
            assert_eq!(world.stat("d").mode, 0o755);
            fs::remove_dir_all(world.full("d")).unwrap();
        }
        assert!(matches!(world.one(make_dir("d", 0o755)), Outcome::Done(_)));
    });
}

#[test]
fn what_goes_makes_room_for_what_comes() {
    const MORE_THAN_HALF_OF_A_BLOCK: usize = 3000;
    let world = World::new();
    if !refuses(&world) {
        return;
    }
    let large = |name| xattrs([(name, vec![7; MORE_THAN_HALF_OF_A_BLOCK])]);
    let stat = world.put("f", b"f");
    let stat = done(&world, &set(&world, "f", stat, 0o644, &large("user.a")), "f");
    let stat = done(&world, &set(&world, "f", stat, 0o644, &large("user.b")), "f");
    assert_eq!(world.tree.attr(&path("f"), &stat).unwrap().xattrs, large("user.b"));
}
