use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Home, free_space};
use crate::disk::DiskError;
use crate::limits::HOME_FILE_BYTES_MAX;

#[test]
fn files_are_private_and_replaced_whole() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("a/home");
    let home = Home::open(&path).unwrap();
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(home.read("key").unwrap(), None);
    home.write("key", b"first, and longer").unwrap();
    home.write("key", b"second").unwrap();
    assert_eq!(home.read("key").unwrap().unwrap(), b"second");
    assert_eq!(mode("key"), 0o600);
    fs::write(path.join("key.new"), b"an interrupted write").unwrap();
    Home::open(&path).unwrap().write("key", b"").unwrap();
    assert_eq!(home.read("key").unwrap().unwrap(), b"");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn a_file_beyond_the_bound_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    fs::File::create(dir.path().join("huge")).unwrap().set_len(HOME_FILE_BYTES_MAX + 1).unwrap();
    assert!(matches!(home.read("huge"), Err(DiskError::Io { .. })));
}

#[test]
fn the_lock_keeps_others_out_and_names_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let lock = home.lock().unwrap();
    let other = Home::open(dir.path()).unwrap();
    let pid = std::process::id();
    assert!(matches!(other.lock(), Err(DiskError::Busy { pid: Some(holder), .. }) if holder == pid));
    drop(lock);
    other.lock().unwrap();
}

#[test]
fn there_is_space_on_the_disk_but_not_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    assert!(free_space(dir.path()).unwrap() > 0);
    assert!(free_space(&dir.path().join("none")).is_err());
}
