//! Files that are written through a map of them: no event tells of a write, and not every write changes a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use pfs_tests::{Mount, eventually};

use super::{followed, program, wrote_nothing};
use crate::pair;

/// Writes one half, says so, and the other when it is told to.
const WRITER: &str = r#"
import mmap, sys
with open(sys.argv[1], "wb+") as file:
    file.truncate(8192)
    with mmap.mmap(file.fileno(), 8192) as mapped:
        mapped[0:5] = b"first"
        print("first", flush=True)
        sys.stdin.readline()
        mapped[5:11] = b"second"
"#;

#[test]
fn what_is_written_through_a_map_is_there_in_the_end() {
    let world = tempfile::tempdir().unwrap();
    // In memory nothing is ever written back; elsewhere that would change a time after a while.
    let _memory = Mount::new(&world.path().join("anna/tree"), 16);
    let (anna, ben) = pair(world.path());
    let mut writer = program(&anna.dir, "python3", &["-c", WRITER, "mapped"]);
    let mut writer = writer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(writer.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    anna.write("beside", "so that somebody looks");
    eventually("the first half has crossed", || ben.read("mapped").is_some_and(|text| text.starts_with("first")));
    // What was read right after it was written is read again anyway; this has been for a while.
    anna.write("beside again", "so that somebody looks once more");
    eventually("somebody has looked once more", || ben.read("beside again").is_some());
    writeln!(writer.stdin.take().unwrap()).unwrap();
    assert!(writer.wait().unwrap().success());
    followed(&anna, &ben);
    assert!(ben.read("mapped").unwrap().starts_with("firstsecond"));
    wrote_nothing(&ben);
}
