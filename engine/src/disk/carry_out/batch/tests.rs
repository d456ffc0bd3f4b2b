//! Races, played move by move: what somebody does between two of our system calls.

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::io::Errno;

use super::Batch;
use crate::disk::carry_out::temp::{self, Temp};
use crate::disk::carry_out::testing::{Memory, World, attr, make_dir, path, write_file};
use crate::disk::sys;
use crate::disk::{Expect, Outcome, Stat, Step};

fn batch(world: &World) -> Batch<'_> {
    Batch::new(&world.tree, world.tree.tmp_dir().unwrap())
}

fn written(world: &World, step: &Step) -> Option<Temp> {
    let tmp = world.tree.tmp_dir().unwrap();
    temp::write(&tmp, step, &Memory::of(b"new"), false).map(Result::unwrap)
}

fn kept(batch: Batch<'_>) -> Vec<Vec<u8>> {
    batch.into_set_aside().iter().map(|aside| fs::read(&aside.kept).unwrap()).collect()
}

/// A crash right before the swap, or right behind it: neither the new file nor the old one is somebody's work.
#[test]
fn what_a_swap_leaves_in_a_crash_is_swept() {
    let world = World::new();
    for (is_swapped, write) in [(false, None), (true, None), (true, Some(b"written meanwhile"))] {
        let old = world.put("f", b"old");
        let step = write_file("f", Expect::Stat(old), b"new");
        let new = written(&world, &step).unwrap();
        let tmp = world.full(".pfs/tmp");
        let swap = tmp.join(temp::swap(&new.stat, &old));
        fs::rename(tmp.join(&new.name), &swap).unwrap();
        if is_swapped {
            fs::rename(world.full("f"), tmp.join("other")).unwrap();
            fs::rename(&swap, world.full("f")).unwrap();
            fs::rename(tmp.join("other"), &swap).unwrap();
        }
        if let Some(bytes) = write {
            fs::write(&swap, bytes).unwrap();
        }
        let kept: Vec<_> = world.tree.sweep().unwrap().iter().map(|aside| fs::read(&aside.kept).unwrap()).collect();
        assert_eq!(kept, write.iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>());
        assert_eq!(world.in_tmp(), [""; 0]);
    }
}

/// The file has changed between the last look and the swap.
#[test]
fn a_swap_of_something_else_is_undone() {
    let world = World::new();
    let looked_at = world.put("f", b"old");
    let mut new = written(&world, &write_file("f", Expect::Absent, b"new")).unwrap();
    fs::write(world.full("f"), b"edited").unwrap();
    let mut batch = batch(&world);
    let place = batch.place(&path("f")).unwrap();
    let outcome = batch.replace(&path("f"), &place, &looked_at, &mut new);
    assert!(matches!(outcome, Err(Outcome::Unexpected)));
    assert_eq!(world.bytes("f"), b"edited");
    new.discard(&world.tree.tmp_dir().unwrap());
    batch.destroy_gone();
    assert_eq!(world.in_tmp(), [""; 0]);
    assert!(kept(batch).is_empty());
}

#[test]
fn a_removal_of_something_else_is_undone() {
    let world = World::new();
    let looked_at = world.put("f", b"old");
    fs::write(world.full("f"), b"edited").unwrap();
    let mut batch = batch(&world);
    let place = batch.place(&path("f")).unwrap();
    assert!(matches!(batch.take_out(&path("f"), &place, &looked_at), Err(Outcome::Unexpected)));
    assert_eq!(world.bytes("f"), b"edited");
    assert_eq!(world.in_tmp(), [""; 0]);
}

/// Somebody still has the old file open and writes to it after it has left the tree.
#[test]
fn what_is_written_to_a_replaced_or_removed_file_is_set_aside() {
    for remove in [false, true] {
        let world = World::new();
        let stat = world.put("f", b"old");
        let mut open = fs::OpenOptions::new().append(true).open(world.full("f")).unwrap();
        let mut batch = batch(&world);
        let step = if remove {
            Step::Remove { at: path("f"), expect: stat }
        } else {
            write_file("f", Expect::Stat(stat), b"new")
        };
        let new = written(&world, &step).map(Ok);
        assert!(matches!(batch.carry_out(&step, new), Outcome::Done(_)));
        open.write_all(b" and more").unwrap();
        batch.destroy_gone();
        assert_eq!(kept(batch), [b"old and more"]);
        assert_eq!(world.is_absent("f"), remove);
        assert_eq!(world.in_tmp(), [""; 0]);
    }
}

/// Somebody saves a file at the old name while the removal is being undone.
#[test]
fn what_cannot_go_back_is_set_aside() {
    let world = World::new();
    let looked_at = world.put("f", b"old");
    let mut open = fs::OpenOptions::new().write(true).open(world.full("f")).unwrap();
    let mut batch = batch(&world);
    let place = batch.place(&path("f")).unwrap();
    batch.take_out(&path("f"), &place, &looked_at).unwrap();
    world.put("f", b"saved");
    open.rewind().unwrap();
    open.write_all(b"edited").unwrap();
    batch.bring_back(&path("f"), &place);
    assert_eq!(world.bytes("f"), b"saved");
    assert_eq!(kept(batch), [b"edited"]);
}

/// The process died right after a swap, before it could look at what it had swapped out.
#[test]
fn a_sweep_destroys_only_what_was_expected_to_go() {
    let world = World::new();
    let (captured, looked_at) = (world.put("captured", b"old"), world.put("edited", b"old"));
    fs::write(world.full("edited"), b"edited").unwrap();
    let gone = |at: &str, stat: &Stat| fs::rename(world.full(at), world.full(".pfs/tmp").join(temp::gone(stat)));
    gone("captured", &captured).unwrap();
    gone("edited", &looked_at).unwrap();
    let swept = world.tree.sweep().unwrap();
    assert_eq!(swept.iter().map(|aside| fs::read(&aside.kept).unwrap()).collect::<Vec<_>>(), [b"edited"]);
    assert_eq!(world.in_tmp(), [""; 0]);
}

/// The user saves the file between our rename and our look at the result.
#[test]
fn a_change_right_after_the_rename_is_not_taken_for_ours() {
    let world = World::new();
    let new = written(&world, &write_file("f", Expect::Absent, b"new")).unwrap();
    let ours = new.stat;
    let edited = world.put("edited", b"edited");
    assert!(!crate::disk::carry_out::is_unchanged(&ours, &edited));
    let same_len = Stat { inode: ours.inode, mtime: ours.mtime, ..edited };
    assert!(!crate::disk::carry_out::is_unchanged(&ours, &same_len));
}

#[test]
fn file_systems_that_replace_are_not_asked_to_rename_a_file() {
    let world = World::new();
    let a = world.put("a", b"a");
    world.put("b", b"b");
    symlink("nowhere", world.full("link")).unwrap();
    fs::create_dir(world.full("empty")).unwrap();
    let root = world.tree.fd();
    let rename = |from: &[u8], to: &[u8]| sys::rename_by_link((root, from), (root, to));
    for taken in ["b", "link", "empty"] {
        assert_eq!(rename(b"a", taken.as_bytes()), Err(Errno::EXIST), "{taken}");
    }
    assert_eq!((world.stat("a"), world.bytes("b")), (a, b"b".to_vec()));
    rename(b"a", b"c").unwrap();
    assert!(world.is_absent("a"));
    assert_eq!((world.stat("c").inode, fs::metadata(world.full("c")).unwrap().nlink()), (a.inode, 1));
    rename(b"link", b"link2").unwrap();
    assert_eq!(fs::read_link(world.full("link2")).unwrap().as_os_str(), "nowhere");
    assert!(world.is_absent("link"));
    assert_eq!(rename(b"none", b"d"), Err(Errno::NOENT));
}

#[test]
fn directories_are_renamed_to_free_names_even_where_the_file_system_replaces() {
    let world = World::new();
    world.put("d/f", b"f");
    world.put("e/g", b"g");
    world.put("file", b"file");
    let root = world.tree.fd();
    let rename = |to: &[u8]| sys::rename_by_link((root, b"d"), (root, to));
    assert_eq!((rename(b"e"), rename(b"file")), (Err(Errno::EXIST), Err(Errno::EXIST)));
    rename(b"new").unwrap();
    assert_eq!(
        (world.bytes("new/f"), world.bytes("e/g"), world.bytes("file")),
        (b"f".into(), b"g".into(), b"file".into())
    );
}

/// A file system that replaces, and somebody who saves the file (in place, or as another one) right after the look.
#[test]
fn a_move_by_link_takes_away_only_what_it_has_linked() {
    for saved_as in [None, Some("in place"), Some("another")] {
        let world = World::new();
        let looked_at = world.put("a", b"old");
        let mut batch = batch(&world);
        let (from, to) = (batch.place(&path("a")).unwrap(), batch.place(&path("b")).unwrap());
        match saved_as {
            None => {}
            Some("in place") => fs::write(world.full("a"), b"edited").unwrap(),
            Some(_) => {
                fs::write(world.full("other"), b"edited").unwrap();
                fs::rename(world.full("other"), world.full("a")).unwrap();
            }
        }
        let moved = batch.move_by_link(&path("b"), &from, &to, &looked_at);
        assert_eq!(moved.is_ok(), saved_as.is_none());
        match saved_as {
            None => assert!(world.is_absent("a") && world.bytes("b") == b"old"),
            Some(_) => assert_eq!(world.bytes("a"), b"edited"),
        }
        batch.destroy_gone();
        assert_eq!(world.in_tmp(), [""; 0], "{saved_as:?}");
        assert!(kept(batch).is_empty());
    }
}

#[test]
fn a_move_by_link_finds_a_name_that_is_taken() {
    let world = World::new();
    let (a, b) = (world.put("a", b"a"), world.put("b", b"b"));
    let mut batch = batch(&world);
    let (from, to) = (batch.place(&path("a")).unwrap(), batch.place(&path("b")).unwrap());
    assert!(matches!(batch.move_by_link(&path("b"), &from, &to, &a), Err(Outcome::Unexpected)));
    assert_eq!((world.stat("a"), world.stat("b")), (a, b));
}

/// The process may die at any time: a directory that stands in the tree has its mode already, for another one
/// would be taken for a change of somebody's.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_comes_into_the_tree_with_its_mode() {
    use rustix::fs::inotify;
    let world = World::new();
    let events = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&events, world.dir.path(), inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO).unwrap();
    assert!(matches!(world.one(make_dir("d", 0o777)), Outcome::Done(Some(Stat { mode: 0o777, .. }))));
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let event = inotify::Reader::new(&events, &mut buffer).next().unwrap().events();
    assert!(event.contains(inotify::ReadFlags::MOVED_TO), "{event:?}");
    assert_eq!(world.in_tmp(), [""; 0]);
}

#[test]
fn modes_that_a_batch_owed_are_set_by_the_next_sweep() {
    let world = World::new();
    world.put("old/f", b"f");
    fs::set_permissions(world.full("old"), fs::Permissions::from_mode(0o755)).unwrap();
    let old = world.stat("old");
    let mut batch = batch(&world);
    assert!(matches!(batch.carry_out(&make_dir("new", 0o555), None), Outcome::Done(_)));
    let set_attr = Step::SetAttr { at: path("old"), expect: old, attr: attr(0o500) };
    assert!(matches!(batch.carry_out(&set_attr, None), Outcome::Done(_)));
    let write = write_file("new/f", Expect::Absent, b"new");
    let temp = written(&world, &write).map(Ok);
    assert!(matches!(batch.carry_out(&write, temp), Outcome::Done(_)));
    drop(batch);
    assert_eq!(world.tree.sweep().unwrap(), []);
    assert_eq!((world.stat("new").mode, world.stat("old").mode), (0o555, 0o500));
    assert_eq!(world.in_tmp(), [""; 0]);
}

/// Somebody has given the directory another mode since, or has put another one into its place.
#[test]
fn modes_that_are_owed_no_longer_are_left_alone() {
    let world = World::new();
    let mut batch = batch(&world);
    for at in ["changed", "replaced"] {
        assert!(matches!(batch.carry_out(&make_dir(at, 0o500), None), Outcome::Done(_)));
    }
    drop(batch);
    fs::set_permissions(world.full("changed"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::rename(world.full("replaced"), world.full("moved")).unwrap();
    fs::create_dir(world.full("replaced")).unwrap();
    fs::set_permissions(world.full("replaced"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(world.tree.sweep().unwrap(), []);
    assert_eq!((world.stat("changed").mode, world.stat("replaced").mode), (0o750, 0o700));
    assert_eq!(world.in_tmp(), [""; 0]);
}

#[test]
fn a_directory_that_never_came_into_the_tree_is_swept() {
    let world = World::new();
    fs::create_dir(world.full(".pfs/tmp/new-0_0_")).unwrap();
    assert_eq!(world.tree.sweep().unwrap(), []);
    assert_eq!(world.in_tmp(), [""; 0]);
}

/// To a file system that folds names `readme` and `README` are one place: whatever came first stays, whole.
#[test]
fn where_two_names_are_one_place_nothing_is_overwritten() {
    let world = World::new();
    let mut memory = Memory::of(b"first");
    memory.add(b"second");
    let link = Step::WriteLink { at: path("readme"), expect: Expect::Absent, target: b"x".to_vec() };
    let steps = [
        (write_file("readme", Expect::Absent, b"first"), true),
        (write_file("readme", Expect::Absent, b"second"), false),
        (link, false),
        (make_dir("folder", 0o755), true),
        (write_file("folder/f", Expect::Absent, b"first"), true),
        // A folder is taken as it is, with what is in it.
        (make_dir("folder", 0o755), true),
        (write_file("folder/f", Expect::Absent, b"second"), false),
        (write_file("folder", Expect::Absent, b"second"), false),
    ];
    let list: Vec<Step> = steps.iter().map(|(step, _)| step.clone()).collect();
    for ((step, is_done), outcome) in steps.iter().zip(world.carry_out(&list, &memory)) {
        let fits = if *is_done { matches!(outcome, Outcome::Done(_)) } else { matches!(outcome, Outcome::Unexpected) };
        assert!(fits, "{step:?}: {outcome:?}");
    }
    assert!(["readme", "folder/f"].iter().all(|at| world.bytes(at) == b"first"));
}
