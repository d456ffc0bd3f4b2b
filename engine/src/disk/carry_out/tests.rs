use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use super::temp;
use super::testing::{MTIME, Memory, World, attr, done, make_dir, node, path, root_of, without_privileges, write_file};
use crate::disk::{DiskError, Expect, Kind, Outcome, Step};
use crate::model::patch::Attr;

fn is_unexpected(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unexpected)
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done(_))
}

fn is_absent(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(DiskError::Absent { .. }))
}

#[test]
fn a_new_file_has_its_bytes_time_mode_and_attributes() {
    let world = World::new();
    let xattrs = [(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![])].into();
    let attr = Attr { mode: 0o751, xattrs };
    let (at, expect, root) = (path("f"), Expect::Absent, root_of(b"hello"));
    let step = Step::WriteFile { at, expect, len: 5, root, mtime: MTIME, attr: attr.clone() };
    let stat = done(&world, &world.carry_out(&[step], &Memory::of(b"hello"))[0], "f");
    assert_eq!((stat.kind, stat.len, stat.mtime, stat.mode), (Kind::File, 5, MTIME, 0o751));
    assert_eq!(world.bytes("f"), b"hello");
    if world.tree.keeps_xattrs().unwrap() {
        assert_eq!(world.tree.attr(&path("f"), &stat).unwrap(), attr);
    } else {
        println!("not checked here: extended attributes, which the file system of the temporary directory lacks");
    }
    assert_eq!(world.in_tmp(), [""; 0]);
}

#[test]
fn only_user_attributes_are_written() {
    let world = World::new();
    let xattrs = [(b"trusted.evil".to_vec(), b"1".to_vec())].into();
    let step = Step::MakeDir { at: path("d"), attr: Attr { mode: 0o755, xattrs } };
    assert!(is_done(&world.one(step)));
    assert_eq!(world.tree.attr(&path("d"), &world.stat("d")).unwrap().xattrs.len(), 0);
}

#[test]
fn a_file_replaces_exactly_what_was_expected() {
    let world = World::new();
    let old = world.put("f", b"old");
    let source = Memory::of(b"new");
    let replaced = world.carry_out(&[write_file("f", Expect::Stat(old), b"new")], &source);
    let now = done(&world, &replaced[0], "f");
    assert_eq!(world.bytes("f"), b"new");

    assert!(is_unexpected(&world.carry_out(&[write_file("f", Expect::Stat(old), b"new")], &source)[0]), "stale");
    assert!(is_unexpected(&world.carry_out(&[write_file("f", Expect::Absent, b"new")], &source)[0]), "not absent");
    assert!(is_unexpected(&world.carry_out(&[write_file("g", Expect::Stat(now), b"new")], &source)[0]), "absent");
    assert_eq!(world.stat("f"), now);
    assert!(world.is_absent("g"));
    assert_eq!(world.in_tmp(), [""; 0]);
}

#[test]
fn a_change_after_the_look_is_never_overwritten() {
    let world = World::new();
    let same_len = world.put("bytes", b"old");
    let same_bytes = world.put("mode", b"old");
    let elsewhere = world.put("saved", b"old");
    world.put("bytes", b"OLD");
    fs::set_permissions(world.full("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    world.put("saved.new", b"old");
    fs::rename(world.full("saved.new"), world.full("saved")).unwrap();
    let steps = [("bytes", same_len), ("mode", same_bytes), ("saved", elsewhere)]
        .map(|(at, stat)| write_file(at, Expect::Stat(stat), b"new"));
    assert!(world.carry_out(&steps, &Memory::of(b"new")).iter().all(is_unexpected));
    assert_eq!(world.bytes("bytes"), b"OLD");
    assert_eq!(world.stat("mode").mode, 0o600);
    assert_eq!(world.bytes("saved"), b"old");
}

#[test]
fn a_directory_never_gives_way_to_a_file() {
    let world = World::new();
    world.put("d/f", b"kept");
    let expect = Expect::Stat(world.stat("d"));
    assert!(is_unexpected(&world.carry_out(&[write_file("d", expect, b"new")], &Memory::of(b"new"))[0]));
    assert_eq!(world.bytes("d/f"), b"kept");
}

#[test]
fn holes_stay_holes() {
    const LEN: u64 = 64 << 20;
    let world = World::new();
    let root = root_of(b"sparse");
    let mut source = Memory::default();
    source.0.insert(root.id, vec![(1 << 20, vec![1; 4096])]);
    let (at, expect) = (path("f"), Expect::Absent);
    let step = Step::WriteFile { at, expect, len: LEN, root, mtime: MTIME, attr: attr(0o644) };
    assert_eq!(done(&world, &world.carry_out(&[step], &source)[0], "f").len, LEN);
    assert!(fs::metadata(world.full("f")).unwrap().blocks() * 512 < LEN / 8);
    let reader = world.tree.read(&path("f")).unwrap();
    assert_eq!(reader.data_from(0), Some(1 << 20..(1 << 20) + 4096));
    assert_eq!(reader.data_from((1 << 20) + 4096), None);
}

#[test]
fn a_source_that_fails_or_gives_too_much_fails_its_step_alone() {
    let world = World::new();
    let mut source = Memory::of(b"good");
    source.0.insert(root_of(b"x").id, vec![(0, b"longer than it said".to_vec())]);
    let steps = [("none", &b"none"[..]), ("x", b"x"), ("good", b"good")]
        .map(|(at, bytes)| write_file(at, Expect::Absent, bytes));
    let outcomes = world.carry_out(&steps, &source);
    assert!(matches!(outcomes[0], Outcome::Failed(DiskError::Source { .. })));
    assert!(matches!(outcomes[1], Outcome::Failed(DiskError::Io { .. })));
    done(&world, &outcomes[2], "good");
    assert!(world.is_absent("none") && world.is_absent("x"));
    assert_eq!(world.in_tmp(), [""; 0]);
}

/// The source has no bytes at all, and nobody asks it for any.
#[test]
fn nothing_is_written_where_something_unexpected_stands() {
    let world = World::new();
    let (f, g) = (world.put("f", b"f"), world.put("d/g", b"g"));
    let link = Step::WriteLink { at: path("f"), expect: Expect::Absent, target: b"x".to_vec() };
    let steps = [
        write_file("f", Expect::Absent, b"new"),
        write_file("d/g", Expect::Stat(f), b"new"),
        write_file("none/g", Expect::Stat(g), b"new"),
        link,
    ];
    for (step, outcome) in steps.iter().zip(world.carry_out(&steps, &Memory::default())) {
        assert!(is_unexpected(&outcome), "{step:?}: {outcome:?}");
    }
}

#[test]
fn what_an_earlier_step_makes_of_a_place_is_what_counts() {
    let world = World::new();
    let (f, g) = (world.put("f", b"f"), world.put("d/g", b"g"));
    let steps = [
        Step::Remove { at: path("f"), expect: f },
        write_file("f", Expect::Absent, b"new"),
        Step::Move { from: path("d"), to: path("e"), expect: world.stat("d") },
        write_file("e/g", Expect::Stat(g), b"new"),
        make_dir("d", 0o755),
        write_file("d/g", Expect::Absent, b"new"),
    ];
    let outcomes = world.carry_out(&steps, &Memory::of(b"new"));
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert!(["f", "d/g", "e/g"].iter().all(|at| world.bytes(at) == b"new"));
}

#[test]
fn links_are_opaque_and_take_part_like_files() {
    let world = World::new();
    let old = world.put("f", b"old");
    let link = |at: &str, expect, target: &[u8]| Step::WriteLink { at: path(at), expect, target: target.to_vec() };
    let steps = [
        link("l", Expect::Absent, b"/etc/passwd"),
        link("f", Expect::Stat(old), b"\xff"),
        link("n", Expect::Absent, b"a\0b"),
    ];
    let outcomes = world.carry_out(&steps, &Memory::default());
    assert_eq!(done(&world, &outcomes[0], "l").kind, Kind::Symlink);
    let stat = done(&world, &outcomes[1], "f");
    assert!(matches!(outcomes[2], Outcome::Failed(_)), "no system can hold that target");
    assert_eq!(world.tree.read_link(&path("l")).unwrap(), b"/etc/passwd");
    assert_eq!(world.tree.read_link(&path("f")).unwrap(), b"\xff");
    let back = world.carry_out(&[write_file("f", Expect::Stat(stat), b"file")], &Memory::of(b"file"));
    assert_eq!(done(&world, &back[0], "f").kind, Kind::File);
}

#[test]
fn moves_need_what_is_expected_and_a_free_place() {
    let world = World::new();
    let (a, b) = (world.put("a", b"a"), world.put("b", b"b"));
    world.put("d/f", b"f");
    let step = |from: &str, to: &str, expect| Step::Move { from: path(from), to: path(to), expect };
    assert!(is_unexpected(&world.one(step("a", "b", a))), "taken");
    assert!(is_unexpected(&world.one(step("a", "c", b))), "another");
    assert!(is_unexpected(&world.one(step("none", "c", b))), "nothing there");
    assert!(is_absent(&world.one(step("a", "none/c", a))), "no directory");
    assert!(is_unexpected(&world.one(step("a", "b/c", a))), "below a file");
    assert!(matches!(world.one(step("d", "d/e", world.stat("d"))), Outcome::Failed(_)), "into itself");
    assert_eq!((world.stat("a"), world.stat("b")), (a, b));
    done(&world, &world.one(step("a", "d/a", a)), "d/a");
    done(&world, &world.one(step("d", "e", world.stat("d"))), "e");
    assert_eq!(world.bytes("e/a"), b"a");
}

#[test]
fn what_the_batch_itself_has_moved_is_still_as_expected() {
    let world = World::new();
    let stat = world.put("a", b"a");
    let steps = [
        Step::Move { from: path("a"), to: path("b"), expect: stat },
        Step::SetAttr { at: path("b"), expect: stat, attr: attr(0o600) },
        write_file("b", Expect::Stat(stat), b"new"),
    ];
    let outcomes = world.carry_out(&steps, &Memory::of(b"new"));
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert_eq!(world.bytes("b"), b"new");
}

#[test]
fn parking_swaps_names() {
    let world = World::new();
    let (a, _) = (world.put("a/f", b"a"), world.put("b", b"b"));
    assert_eq!(a.len, 1);
    let steps = [
        Step::Park { node: node(1), from: path("a"), expect: world.stat("a") },
        Step::Move { from: path("b"), to: path("a"), expect: world.stat("b") },
        Step::Unpark { node: node(1), to: path("b") },
    ];
    let outcomes = world.carry_out(&steps, &Memory::default());
    assert!(matches!(outcomes[0], Outcome::Done(None)));
    done(&world, &outcomes[1], "a");
    done(&world, &outcomes[2], "b");
    assert_eq!((world.bytes("a"), world.bytes("b/f")), (b"b".to_vec(), b"a".to_vec()));
    assert!(is_absent(&world.one(Step::Unpark { node: node(1), to: path("c") })));
}

#[test]
fn what_is_parked_outlives_a_crash_and_a_sweep() {
    let world = World::new();
    let stat = world.put("a", b"a");
    world.put("b", b"b");
    assert!(is_unexpected(&world.one(Step::Park { node: node(2), from: path("b"), expect: stat })));
    // The process dies here: nobody brings it back.
    fs::rename(world.full("a"), world.full(".pfs/tmp").join(temp::parking(node(1)))).unwrap();
    fs::write(world.full(".pfs/tmp/new-1"), b"half").unwrap();
    assert_eq!(world.tree.sweep().unwrap(), []);
    assert_eq!(world.tree.parked().unwrap(), [node(1)]);
    assert_eq!(world.in_tmp().len(), 1);
    assert!(is_unexpected(&world.one(Step::Unpark { node: node(1), to: path("b") })), "taken");
    done(&world, &world.one(Step::Unpark { node: node(1), to: path("a") }), "a");
    assert_eq!(world.tree.parked().unwrap(), []);
}

#[test]
fn removal_takes_only_what_is_expected_and_empty() {
    let world = World::new();
    let (f, g) = (world.put("d/f", b"f"), world.put("d/g", b"g"));
    let step = |at: &str, expect| Step::Remove { at: path(at), expect };
    assert!(is_unexpected(&world.one(step("d/f", g))));
    assert!(is_unexpected(&world.one(step("d/none", g))));
    assert!(is_unexpected(&world.one(step("d", g))));
    assert!(matches!(world.one(step("d", world.stat("d"))), Outcome::NotEmpty));
    symlink("f", world.full("d/l")).unwrap();
    let steps = [step("d/f", f), step("d/g", g), step("d/l", world.stat("d/l")), step("d", world.stat("d"))];
    assert!(world.carry_out(&steps, &Memory::default()).iter().all(|o| matches!(o, Outcome::Done(None))));
    assert!(world.is_absent("d"));
    assert_eq!(world.in_tmp(), [""; 0]);
}

#[test]
fn a_directory_may_be_removed_and_made_again_in_one_batch() {
    let world = World::new();
    let stat = world.put("d/f", b"f");
    let steps = [
        Step::Remove { at: path("d/f"), expect: stat },
        Step::Remove { at: path("d"), expect: world.stat("d") },
        make_dir("d", 0o750),
        write_file("d/f", Expect::Absent, b"new"),
    ];
    let outcomes = world.carry_out(&steps, &Memory::of(b"new"));
    assert_eq!(done(&world, &outcomes[2], "d").mode, 0o750);
    done(&world, &outcomes[3], "d/f");
}

#[test]
fn directories_are_made_or_taken_as_they_are() {
    let world = World::new();
    world.put("f", b"f");
    fs::create_dir(world.full("old")).unwrap();
    let outcomes = world.carry_out(
        &[make_dir("new", 0o2777), make_dir("old", 0o700), make_dir("f", 0o755), make_dir("none/d", 0o755)],
        &Memory::default(),
    );
    assert_eq!(done(&world, &outcomes[0], "new").mode, 0o777);
    assert_eq!(done(&world, &outcomes[1], "old").mode, 0o700);
    assert!(is_unexpected(&outcomes[2]));
    assert!(is_absent(&outcomes[3]));
}

#[test]
fn attributes_are_set_exactly_and_only_on_what_is_expected() {
    let world = World::new();
    let (f, g) = (world.put("f", b"f"), world.put("g", b"g"));
    let xattrs = |name: &[u8]| [(name.to_vec(), b"v".to_vec())].into();
    let step = |at: &str, expect, mode, name: &[u8]| Step::SetAttr {
        at: path(at),
        expect,
        attr: Attr { mode, xattrs: xattrs(name) },
    };
    assert!(is_unexpected(&world.one(step("f", g, 0o600, b"user.x"))));
    assert_eq!(world.stat("f"), f);
    let first = done(&world, &world.one(step("f", f, 0o400, b"user.x")), "f");
    let second = done(&world, &world.one(step("f", first, 0o500, b"user.y")), "f");
    assert_eq!((second.mode, second.mtime), (0o500, f.mtime));
    if world.tree.keeps_xattrs().unwrap() {
        assert_eq!(world.tree.attr(&path("f"), &second).unwrap().xattrs, xattrs(b"user.y"));
    }
    symlink("f", world.full("l")).unwrap();
    let link = world.stat("l");
    done(&world, &world.one(step("l", link, 0o777, b"user.x")), "l");
}

#[test]
fn a_symlink_in_place_of_a_directory_leads_nowhere() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), b"outside").unwrap();
    let f = world.put("d/f", b"f");
    let d = world.stat("d");
    fs::rename(world.full("d"), outside.path().join("d")).unwrap();
    symlink(outside.path(), world.full("d")).unwrap();
    let steps = [
        write_file("d/new", Expect::Absent, b"new"),
        write_file("d/f", Expect::Stat(f), b"new"),
        Step::Remove { at: path("d/f"), expect: f },
        Step::Move { from: path("d/f"), to: path("f"), expect: f },
        Step::Park { node: node(1), from: path("d/f"), expect: f },
        Step::SetAttr { at: path("d/f"), expect: f, attr: attr(0) },
        Step::WriteLink { at: path("d/l"), expect: Expect::Absent, target: b"x".to_vec() },
        make_dir("d/d2", 0o755),
        make_dir("d", 0o700),
        Step::SetAttr { at: path("d"), expect: d, attr: attr(0o700) },
        Step::Remove { at: path("d"), expect: d },
    ];
    for (step, outcome) in steps.iter().zip(world.carry_out(&steps, &Memory::of(b"new"))) {
        assert!(is_unexpected(&outcome), "{step:?}: {outcome:?}");
    }
    let names: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(fs::read(outside.path().join("f")).unwrap(), b"outside");
    assert!(world.tree.list(&path("d")).is_err() && world.tree.read(&path("d/f")).is_err());
    assert!(world.is_absent("d/f"));
}

#[test]
fn directories_that_forbid_writing_are_filled_and_changed() {
    without_privileges(|| {
        let world = World::new();
        let steps = [
            make_dir("sealed", 0o000),
            make_dir("sealed/below", 0o555),
            write_file("sealed/below/f", Expect::Absent, b"new"),
            make_dir("open", 0o755),
        ];
        let outcomes = world.carry_out(&steps, &Memory::of(b"new"));
        assert!(outcomes.iter().all(is_done), "{outcomes:?}");
        assert_eq!(done(&world, &outcomes[0], "sealed").mode, 0o000);
        let Outcome::Done(Some(f)) = outcomes[2] else { panic!() };

        let steps = [
            write_file("sealed/below/f", Expect::Stat(f), b"newer"),
            write_file("sealed/below/g", Expect::Absent, b"new"),
        ];
        let mut source = Memory::of(b"new");
        source.add(b"newer");
        let outcomes = world.carry_out(&steps, &source);
        assert!(outcomes.iter().all(is_done), "{outcomes:?}");
        assert_eq!(world.stat("sealed").mode, 0o000);

        let (sealed, open) = (world.stat("sealed"), world.stat("open"));
        let inside = Step::Move { from: path("sealed"), to: path("open/sealed"), expect: sealed };
        let closed = Step::SetAttr { at: path("open"), expect: open, attr: attr(0o500) };
        assert!(world.carry_out(&[inside, closed], &Memory::default()).iter().all(is_done));
        let moved = world.stat("open/sealed");
        assert_eq!((world.stat("open").mode, moved.mode), (0o500, 0o000));
        let back = Step::Move { from: path("open/sealed"), to: path("back"), expect: moved };
        assert!(is_done(&world.one(back)));
        assert_eq!((world.stat("open").mode, world.stat("back").mode), (0o500, 0o000));

        fs::set_permissions(world.full("back"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(world.stat("back/below").mode, 0o555);
        assert_eq!(world.bytes("back/below/f"), b"newer");
        fs::set_permissions(world.full("back/below"), fs::Permissions::from_mode(0o755)).unwrap();
    });
}

#[test]
fn attributes_of_unreadable_files_are_set_by_their_owner() {
    without_privileges(|| {
        let world = World::new();
        world.put("f", b"f");
        fs::set_permissions(world.full("f"), fs::Permissions::from_mode(0o000)).unwrap();
        let sealed = world.stat("f");
        assert!(matches!(world.tree.read(&path("f")), Err(DiskError::Io { .. })));
        let xattrs: std::collections::BTreeMap<_, _> = [(b"user.x".to_vec(), b"v".to_vec())].into();
        let step = |expect, mode| {
            let attr = Attr { mode, xattrs: xattrs.clone() };
            Step::SetAttr { at: path("f"), expect, attr }
        };
        let read_only = done(&world, &world.one(step(sealed, 0o444)), "f");
        let sealed = done(&world, &world.one(step(read_only, 0o000)), "f");
        assert_eq!(sealed.mode, 0);
        let replaced = world.carry_out(&[write_file("f", Expect::Stat(sealed), b"new")], &Memory::of(b"new"));
        done(&world, &replaced[0], "f");
    });
}

#[test]
fn modes_without_any_right_are_kept() {
    let world = World::new();
    let (at, expect, root) = (path("f"), Expect::Absent, root_of(b"f"));
    let file = Step::WriteFile { at, expect, len: 1, root, mtime: MTIME, attr: attr(0) };
    let outcomes = world.carry_out(&[file, make_dir("d", 0)], &Memory::of(b"f"));
    assert_eq!(done(&world, &outcomes[0], "f").mode, 0);
    assert_eq!(done(&world, &outcomes[1], "d").mode, 0);
}

#[test]
fn a_full_disk_fails_what_does_not_fit() {
    let mount = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(mount.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("not run here: a_full_disk_fails_what_does_not_fit (mounting a small tmpfs is not allowed)");
        return;
    }
    let tree = crate::disk::Tree::create(mount.path(), crate::model::ids::VolumeId([1; 32])).unwrap();
    let (big, small) = (vec![1; 1 << 20], b"small".to_vec());
    let mut source = Memory::of(&big);
    source.add(&small);
    let steps = [write_file("big", Expect::Absent, &big), write_file("small", Expect::Absent, &small)];
    let outcomes = tree.carry_out(&steps, &source).outcomes;
    let left = fs::read_dir(mount.path().join(".pfs/tmp")).unwrap().count();
    let free = crate::disk::free_space(mount.path()).unwrap();
    drop(tree);
    assert!(Command::new("umount").arg(mount.path()).status().unwrap().success());
    assert!(
        matches!(&outcomes[0], Outcome::Failed(DiskError::Io { source, .. })
        if source.kind() == std::io::ErrorKind::StorageFull),
        "{outcomes:?}"
    );
    assert!(is_done(&outcomes[1]));
    assert_eq!(left, 0);
    assert!(free > 256 << 10);
}

#[test]
fn a_thousand_files_in_many_directories() {
    let world = World::new();
    let mut source = Memory::default();
    let mut steps: Vec<_> = (0..100).map(|i| make_dir(&format!("d{i}"), 0o755)).collect();
    for i in 0..1000 {
        let bytes = format!("file {i}").into_bytes();
        source.add(&bytes);
        steps.push(write_file(&format!("d{}/f{i}", i % 100), Expect::Absent, &bytes));
    }
    let outcomes = world.carry_out(&steps, &source);
    for (i, outcome) in outcomes[100..].iter().enumerate() {
        done(&world, outcome, &format!("d{}/f{i}", i % 100));
        assert_eq!(world.bytes(&format!("d{}/f{i}", i % 100)), format!("file {i}").into_bytes());
    }
    for (i, outcome) in outcomes[..100].iter().enumerate() {
        done(&world, outcome, &format!("d{i}"));
    }
}

/// What was to come into a directory does not come into another one that stands in its place.
#[test]
fn nothing_is_done_below_a_directory_that_did_not_come() {
    let world = World::new();
    for dir in ["old", "new", "parked"] {
        fs::create_dir(world.full(dir)).unwrap();
    }
    let (new, parked, kept) = (world.stat("new"), world.stat("parked"), world.put("old/kept", b"1"));
    let steps = [
        Step::Park { node: node(1), from: path("parked"), expect: parked },
        Step::Move { from: path("new"), to: path("old"), expect: new },
        make_dir("old/dir", 0o755),
        write_file("old/file", Expect::Absent, b"new"),
        Step::Move { from: path("old/kept"), to: path("kept"), expect: kept },
        Step::Unpark { node: node(1), to: path("old") },
        make_dir("older", 0o755),
    ];
    let outcomes = world.carry_out(&steps, &Memory::of(b"new"));
    assert!(outcomes[1..6].iter().all(is_unexpected), "{outcomes:?}");
    assert!(is_done(&outcomes[6]));
    assert_eq!(fs::read_dir(world.full("old")).unwrap().count(), 1);
    assert!(!world.is_absent("old/kept") && !world.is_absent("parked") && !world.is_absent("new"));
}
