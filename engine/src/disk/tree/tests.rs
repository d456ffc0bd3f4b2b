use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::sync::Arc;

use super::{Tree, marker_above};
use crate::disk::carry_out::testing::{World, path, without_privileges};
use crate::disk::{DiskError, Kind, Skipped, sys};
use crate::model::ids::VolumeId;
use crate::model::name::{NameError, RelPath};

const VOLUME: VolumeId = VolumeId([7; 32]);

fn names(tree: &Tree, dir: &str) -> Vec<String> {
    tree.list(&path(dir)).unwrap().found.iter().map(|found| found.name.to_string()).collect()
}

#[test]
fn the_marker_decides_whose_tree_it_is() {
    let world = World::new();
    let (root, other) = (world.dir.path(), VolumeId([8; 32]));
    assert_eq!(Tree::open(root, VOLUME).unwrap().volume(), VOLUME);
    Tree::create(root, VOLUME).unwrap();
    assert!(matches!(Tree::open(root, other), Err(DiskError::Marker { .. })));
    assert!(matches!(Tree::create(root, other), Err(DiskError::Tracked { volume: VOLUME, .. })));
    fs::create_dir_all(root.join("a/b")).unwrap();
    assert_eq!(marker_above(&root.join("a/b")), Some((root.to_owned(), VOLUME)));
    assert_eq!(fs::read(root.join(".pfs/.gitignore")).unwrap(), b"*\n", "git takes no notice of it");
    world.tree.remove_marker().unwrap();
    assert!(matches!(world.tree.check_marker(), Err(DiskError::Marker { .. })));
    assert_eq!(marker_above(&root.join("a/b")), None);
    assert!(!root.join(".pfs").exists());
    let none = root.join("none");
    assert!(matches!(Tree::open(&none, VOLUME), Err(DiskError::Absent { .. })));
}

#[test]
fn another_directory_in_its_place_is_not_the_tree() {
    let above = tempfile::tempdir().unwrap();
    let (root, away) = (above.path().join("root"), above.path().join("away"));
    fs::create_dir(&root).unwrap();
    let tree = Tree::create(&root, VOLUME).unwrap();
    tree.check_marker().unwrap();
    fs::rename(&root, &away).unwrap();
    assert!(matches!(tree.check_marker(), Err(DiskError::Marker { .. })));
    fs::create_dir(&root).unwrap();
    Tree::create(&root, VOLUME).unwrap();
    assert!(matches!(tree.check_marker(), Err(DiskError::Marker { .. })), "marked alike, but not what was opened");
}

#[test]
fn a_broken_marker_is_none() {
    let world = World::new();
    for bytes in [&b""[..], b"\xff", b"0707", &[b'7'; 200]] {
        fs::write(world.full(".pfs/volume"), bytes).unwrap();
        assert!(matches!(world.tree.check_marker(), Err(DiskError::Marker { .. })));
    }
    fs::remove_file(world.full(".pfs/volume")).unwrap();
    symlink("/etc/passwd", world.full(".pfs/volume")).unwrap();
    assert!(matches!(world.tree.check_marker(), Err(DiskError::Marker { .. })));
}

#[test]
fn a_listing_is_sorted_and_says_what_it_leaves_out() {
    let world = World::new();
    let raw = |bytes: &[u8]| world.dir.path().join(OsStr::from_bytes(bytes));
    for name in [&b"b"[..], b"a", b"\xff\xfe", b"bad\nname", b"Z"] {
        fs::write(raw(name), b"12").unwrap();
    }
    fs::create_dir(raw(b"d")).unwrap();
    symlink("nowhere", raw(b"l")).unwrap();
    assert!(Command::new("mkfifo").arg(raw(b"pipe")).status().unwrap().success());
    let listing = world.tree.list(&RelPath::root()).unwrap();
    let found: Vec<_> = listing.found.iter().map(|f| (f.name.as_bytes(), f.stat.kind, f.stat.len)).collect();
    let expected: [(&[u8], _, _); 6] = [
        (b"Z", Kind::File, 2),
        (b"a", Kind::File, 2),
        (b"b", Kind::File, 2),
        (b"d", Kind::Dir, 0),
        (b"l", Kind::Symlink, 7),
        (b"\xff\xfe", Kind::File, 2),
    ];
    assert_eq!(found, expected);
    let skipped =
        [(b"bad\nname".to_vec(), Skipped::Name(NameError::Forbidden(b'\n'))), (b"pipe".to_vec(), Skipped::Special)];
    assert_eq!(listing.skipped, skipped);
    assert!(!listing.ignored);
    for found in listing.found {
        let at = RelPath(vec![found.name.clone()]);
        assert_eq!(world.tree.stat(&at).unwrap(), Some(found.stat), "one signature however it is taken");
    }
}

#[test]
fn a_directory_of_more_names_than_one_call_gives() {
    let world = World::new();
    (0..3000).for_each(|i| fs::write(world.full(&format!("file with a rather long name {i:05}")), b"").unwrap());
    let names = names(&world.tree, "");
    assert_eq!(names.len(), 3000);
    assert!(names.is_sorted());
}

#[test]
fn mounts_are_skipped_and_not_entered() {
    let world = World::new();
    fs::create_dir(world.full("mnt")).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(world.full("mnt")).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("not run here: mounts_are_skipped_and_not_entered (mounting is not allowed)");
        return;
    }
    let (listing, inside) = (world.tree.list(&RelPath::root()), world.tree.list(&path("mnt")));
    assert!(Command::new("umount").arg(world.full("mnt")).status().unwrap().success());
    assert_eq!(listing.unwrap().skipped, [(b"mnt".to_vec(), Skipped::Mount)]);
    assert!(inside.is_err());
}

#[test]
fn what_is_not_there_or_something_else_is_said_apart() {
    let world = World::new();
    world.put("f", b"f");
    fs::create_dir(world.full("d")).unwrap();
    symlink("f", world.full("l")).unwrap();
    assert!(Command::new("mkfifo").arg(world.full("pipe")).status().unwrap().success());
    assert!(matches!(world.tree.read(&path("none")), Err(DiskError::Absent { .. })));
    for at in ["d", "l", "pipe", "f/x"] {
        assert!(matches!(world.tree.read(&path(at)), Err(DiskError::Unstable { .. })), "{at}");
    }
    assert!(matches!(world.tree.read_link(&path("f")), Err(DiskError::Unstable { .. })));
    assert!(matches!(world.tree.list(&path("f")), Err(DiskError::Unstable { .. })));
    assert!(matches!(world.tree.list(&path("none")), Err(DiskError::Absent { .. })));
    assert_eq!(world.tree.stat(&path("f/x")).unwrap(), None);
    assert_eq!(world.tree.stat(&path("l/x")).unwrap(), None);
    assert_eq!(world.tree.stat(&RelPath::root()).unwrap().unwrap().kind, Kind::Dir);
}

#[test]
fn a_reader_sees_that_the_file_has_changed() {
    let world = World::new();
    let stat = world.put("f", b"hello");
    let reader = world.tree.read(&path("f")).unwrap();
    assert_eq!((*reader.stat(), reader.restat().unwrap()), (stat, stat));
    let mut buffer = [0; 16];
    assert_eq!(reader.read_at(1, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer[..4], b"ello");
    assert_eq!(reader.read_at(5, &mut buffer).unwrap(), 0);
    assert_eq!((reader.data_from(0), reader.data_from(3), reader.data_from(5)), (Some(0..5), Some(3..5), None));
    fs::write(world.full("f"), b"longer than before").unwrap();
    assert_ne!(reader.restat().unwrap(), stat);
    fs::rename(world.full("f"), world.full("g")).unwrap();
    world.put("f", b"another");
    assert!(matches!(world.tree.attr(&path("f"), &stat), Err(DiskError::Unstable { .. })));
}

#[test]
fn more_attributes_than_pfs_carries_are_an_error() {
    let world = World::new();
    if !world.tree.keeps_xattrs().unwrap() {
        println!("not run here: more_attributes_than_pfs_carries_are_an_error (no extended attributes)");
        return;
    }
    let stat = world.put("f", b"f");
    let file = fs::File::open(world.full("f")).unwrap();
    let set = |name: String| rustix::fs::fsetxattr(&file, name, &[1; 3000], rustix::fs::XattrFlags::empty());
    let fitting = (0..30).take_while(|i| set(format!("user.{i}")).is_ok()).count();
    match world.tree.attr(&path("f"), &stat) {
        Ok(attr) => assert_eq!(attr.xattrs.len(), fitting, "this file system itself holds no more"),
        Err(error) => assert!(matches!(error, DiskError::Io { .. }) && fitting > 20, "{error}"),
    }
}

#[test]
fn the_walk_goes_where_the_system_call_goes() {
    let world = World::new();
    let stat = world.put("a/b/f", b"f");
    symlink("a", world.full("l")).unwrap();
    symlink("f", world.full("a/b/l")).unwrap();
    let root = world.tree.fd();
    let inode = |at: &str| sys::walk(root, &path(at), sys::READ).and_then(sys::stat_fd).map(|seen| seen.stat.inode);
    assert_eq!(inode("a/b/f").unwrap(), stat.inode);
    assert_eq!(inode("").unwrap(), world.stat("").inode);
    for at in ["l/b/f", "a/b/l", "a/b/f/x", "a/none/f", "none"] {
        assert!(inode(at).is_err(), "{at}");
    }
}

#[test]
fn a_path_longer_than_the_system_takes_is_still_reached() {
    let world = World::new();
    let name = "d".repeat(200);
    let deep = RelPath::parse(vec![name.as_str(); 30].join("/").as_bytes()).unwrap();
    for depth in 0..30 {
        let parent = world.tree.handle(&RelPath(deep.0[..depth].to_vec())).unwrap();
        rustix::fs::mkdirat(parent, name.as_str(), rustix::fs::Mode::RWXU).unwrap();
    }
    assert_eq!(world.tree.stat(&deep).unwrap().unwrap().kind, Kind::Dir);
    assert_eq!(world.tree.list(&deep).unwrap().found, []);
}

/// For root every directory can be read.
#[test]
fn a_directory_that_cannot_be_read_is_an_error_and_never_empty() {
    without_privileges(|| {
        let world = World::new();
        world.put("d/f", b"f");
        fs::set_permissions(world.full("d"), fs::Permissions::from_mode(0o000)).unwrap();
        assert!(matches!(world.tree.list(&path("d")), Err(DiskError::Io { .. })));
        assert!(matches!(world.tree.stat(&path("d/f")), Err(DiskError::Io { .. })));
        fs::set_permissions(world.full("d"), fs::Permissions::from_mode(0o700)).unwrap();
    });
}

#[test]
fn ignore_patterns_hold_from_their_directory_down() {
    let world = World::new();
    world.put(".pfsignore", b"*.o\r\n/build/\n# a comment\n\n[\xff\ntarget/\n!keep.o\n");
    for at in ["a.o", "keep.o", "build/x", "src/a.o", "src/build/x", "src/target/x/y", "src/c"] {
        world.put(at, b"");
    }
    assert_eq!(names(&world.tree, ""), [".pfsignore", "keep.o", "src"]);
    assert_eq!(names(&world.tree, "src"), ["build", "c"]);
    assert!(world.tree.list(&path("src")).unwrap().ignored);
    assert!(!world.tree.list(&path("src/build")).unwrap().ignored);
    for hidden in ["build", "src/target", "src/target/x"] {
        let listing = world.tree.list(&path(hidden)).unwrap();
        assert!(listing.ignored && listing.found.is_empty(), "{hidden}");
    }
}

#[test]
fn deeper_patterns_win_and_changed_ones_count_at_once() {
    let world = World::new();
    world.put(".pfsignore", b"*.log\n");
    world.put("a/b/.pfsignore", b"!*.log\nsecret\n");
    for at in ["a/x.log", "a/b/x.log", "a/b/secret", "a/b/c/x.log", "a/b/c/secret"] {
        world.put(at, b"");
    }
    assert_eq!(names(&world.tree, "a"), ["b"]);
    assert_eq!(names(&world.tree, "a/b"), [".pfsignore", "c", "x.log"]);
    assert_eq!(names(&world.tree, "a/b/c"), ["x.log"]);
    world.put("a/b/.pfsignore", b"!*.log\nx.???\n");
    assert_eq!(names(&world.tree, "a/b/c"), ["secret"]);
    fs::remove_file(world.full("a/b/.pfsignore")).unwrap();
    assert_eq!(names(&world.tree, "a/b/c"), ["secret"]);
    fs::remove_file(world.full(".pfsignore")).unwrap();
    assert_eq!(names(&world.tree, "a/b/c"), ["secret", "x.log"]);
}

#[test]
fn an_ignore_file_that_is_a_link_or_directory_says_nothing() {
    let world = World::new();
    world.put("patterns", b"f\n");
    world.put("f", b"");
    symlink("patterns", world.full(".pfsignore")).unwrap();
    assert_eq!(names(&world.tree, ""), [".pfsignore", "f", "patterns"]);
    fs::remove_file(world.full(".pfsignore")).unwrap();
    fs::create_dir(world.full(".pfsignore")).unwrap();
    assert_eq!(names(&world.tree, ""), [".pfsignore", "f", "patterns"]);
}

#[test]
fn rules_that_are_handed_down_hide_the_same() {
    let world = World::new();
    world.put(".pfsignore", b"*.log\nout/\nb/c/hidden\n");
    world.put("a/b/.pfsignore", b"!*.log\n!out/\nsecret\n");
    world.put("a/out/.pfsignore", b"!*\n");
    for at in ["x.log", "out/y", "a/x.log", "a/out/y", "a/b/out/y", "a/b/secret/x", "a/b/c/hidden/x", "a/b/c/x.log"] {
        world.put(at, b"");
    }
    let mut ahead = vec![(RelPath::root(), world.tree.rules_above(&RelPath::root()))];
    let mut listed = 0;
    while let Some((dir, above)) = ahead.pop() {
        let (listing, rules) = world.tree.list_by(&dir, &above).unwrap();
        assert_eq!(listing, world.tree.list(&dir).unwrap(), "{dir}");
        listed += 1;
        // What is hidden is gone into as well.
        for entry in fs::read_dir(world.full(&dir.to_string())).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() && entry.file_name() != ".pfs" {
                let name = crate::model::name::Name::try_from(entry.file_name().to_str().unwrap()).unwrap();
                ahead.push((dir.join(&name), Arc::clone(&rules)));
            }
        }
    }
    assert_eq!(listed, 9);
}
