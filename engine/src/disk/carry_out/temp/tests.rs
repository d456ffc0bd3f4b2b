//! Names in `.pfs/tmp` as anybody may make them: only what was written is taken for that.

use pfs_fixtures::damage::damaged;
use proptest::prelude::*;

use super::*;
use crate::disk::Kind;

fn stat() -> Stat {
    let time = Mtime { secs: 1_700_000_000, nanos: 5 };
    let inode = Inode { dev: 1, ino: 77, born: time };
    Stat { kind: Kind::File, inode, len: 9, mtime: time, ctime: time, mode: 0o640 }
}

proptest! {
    #[test]
    fn no_name_is_taken_for_a_note_by_accident(
        bytes in damaged(vec![owing(stat().inode, 0o755).into_bytes(), gone(&stat()).into_bytes()]),
    ) {
        let name = String::from_utf8_lossy(&bytes);
        if let Some((mode, ino)) = owed(&name) {
            prop_assert!(name.starts_with(MODE), "{} {}", mode, ino);
        }
        if is_gone_unchanged(&name, &stat()) {
            prop_assert!(name.ends_with(&signature(&stat())));
            let longer = Stat { len: 10, ..stat() };
            prop_assert!(!is_gone_unchanged(&name, &longer));
        }
    }
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(owed(&owing(stat().inode, 0o7)), Some((0o7, 77)));
    assert!(is_gone_unchanged(&gone(&stat()), &stat()));
}
