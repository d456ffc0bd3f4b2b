//! Builds, archives, copies, and folders that move while something in them is written.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pfs_tests::not_run;

use super::{followed, program, succeeds, wrote_nothing};
use crate::pair;

const UNITS: i32 = 8;

const MAKEFILE: &str = "\
objects = $(patsubst %.c,out/%.o,$(wildcard *.c))
all: out/program
out/program: out/all.a
\t$(CC) -o $@ out/all.a
out/all.a: $(objects)
\t$(AR) rc $@ $(objects)
out/%.o: %.c
\t@mkdir -p out
\t$(CC) -c -o $@ $<
clean:
\trm -rf out
";

#[test]
fn a_build_that_is_made_again_and_again() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    anna.write("build/Makefile", MAKEFILE);
    let calls: Vec<_> = (0..UNITS).map(|n| format!("f{n}()")).collect();
    anna.write(
        "build/main.c",
        format!("int {};\nint main(void) {{ return {}; }}\n", calls.join(", "), calls.join(" + ")),
    );
    let make = |dir: &Path, target: &str| succeeds(program(dir, "make", &["-s", "-j2", target]));
    for round in 0..4 {
        for n in 0..UNITS {
            anna.write(&format!("build/unit{n}.c"), format!("int f{n}(void) {{ return {round}; }}\n"));
        }
        make(&anna.at("build"), "all");
        if round % 2 == 0 {
            make(&anna.at("build"), "clean");
        }
    }
    followed(&anna, &ben);
    wrote_nothing(&ben);
    // It can be run, and there is nothing to be made: files are as old as where they come from.
    let ended = program(&ben.dir, "build/out/program", &[]).status().unwrap();
    assert_eq!(ended.code(), Some(3 * UNITS));
    make(&ben.at("build"), "all");
    followed(&ben, &anna);
    wrote_nothing(&ben);
}

/// A source tree of so many files, of which another `edition` has other bytes in most.
fn furnish_sources(dir: &Path, edition: usize) {
    for n in 0..2000 {
        let folder = dir.join(format!("part{}/{}", n % 9, n % 40));
        fs::create_dir_all(&folder).unwrap();
        let text = if n % 5 == 0 { "the same\n".to_owned() } else { format!("{edition}: {n}\n").repeat(n % 30 + 1) };
        fs::write(folder.join(format!("{n}.txt")), text).unwrap();
    }
}

#[test]
fn an_archive_over_what_is_there() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    for edition in 0..3 {
        let sources = world.path().join(format!("{edition}/sources"));
        furnish_sources(&sources, edition);
        let above = sources.parent().unwrap();
        succeeds(program(above, "tar", &["cf", "../sources.tar", "sources"]));
        succeeds(program(&anna.dir, "tar", &["xf", "../../sources.tar"]));
    }
    followed(&anna, &ben);
    let from = format!("{}/1/sources/", world.path().display());
    if program(&anna.dir, "rsync", &["--version"]).output().is_ok() {
        succeeds(program(&anna.dir, "rsync", &["-a", "--inplace", "--delete", &from, "sources/"]));
    } else {
        not_run("rsync over what is there", "there is no rsync; cp instead");
        succeeds(program(&anna.dir, "cp", &["-R", &format!("{from}."), "sources/"]));
    }
    succeeds(program(&anna.dir, "cp", &["-R", "sources", "copy"]));
    succeeds(program(&anna.dir, "mv", &["sources/part3", "copy/part4/moved"]));
    succeeds(program(&anna.dir, "rm", &["-r", "copy/part5", "sources/part6"]));
    let made = followed(&anna, &ben);
    assert!(made.contains_key(Path::new("copy/part4/moved/3/3.txt")));
    wrote_nothing(&ben);
}

#[test]
fn folders_that_move_while_files_in_them_are_written() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    anna.write("from/in/file", "");
    anna.write("elsewhere/other", "");
    followed(&anna, &ben);
    let mut written = String::new();
    let mut file = File::options().append(true).open(anna.at("from/in/file")).unwrap();
    let moving = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            let places = ["from", "to", "elsewhere/deep", "elsewhere/deeper"];
            for round in 0..78 {
                let (here, there) = (places[round % 4], places[(round + 1) % 4]);
                succeeds(program(&anna.dir, "mv", &[here, there]));
            }
            moving.store(false, Ordering::Relaxed);
        });
        while moving.load(Ordering::Relaxed) {
            let line = format!("line {}\n", written.len());
            file.write_all(line.as_bytes()).unwrap();
            written.push_str(&line);
            thread::yield_now();
        }
    });
    file.write_all(b"the end\n").unwrap();
    written.push_str("the end\n");
    let made = followed(&anna, &ben);
    assert!(made.contains_key(Path::new("elsewhere/deep/in/file")) && !made.contains_key(Path::new("from")));
    assert_eq!(ben.read("elsewhere/deep/in/file"), Some(written));
    wrote_nothing(&ben);
    let moved = ben.lines(&["log", "elsewhere/deep"]);
    assert!(moved.iter().any(|line| line["action"] == "rename"), "{moved:?}");
}
