//! Files that are being saved the ways editors do it, over and over, some while they are still being read.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use pfs_tests::{Peer, eventually};

use super::{followed, program, succeeds, wrote_nothing};
use crate::pair;

/// What a person who saves again and again lets pass between two saves, at the least.
const BETWEEN_SAVES: Duration = Duration::from_millis(15);
/// What a program lets pass between two steps of a save.
const WITHIN_SAVE: Duration = Duration::from_millis(2);
/// Saves of each file.
const SAVES: usize = 60;
/// After so many of them, the one that saves looks at what has become of it.
const STANDS_AFTER: usize = 20;

/// How an editor saves.
struct Editor {
    name: &'static str,
    save: fn(&Path, &[u8]),
    /// Whether every look at the file finds a whole version.
    whole: bool,
    /// Whether the file is never away, so that its history is that of one node.
    stays: bool,
}

const EDITORS: [Editor; 7] = [
    Editor { name: "vim", save: vim, whole: false, stays: false },
    Editor { name: "vim-copy", save: vim_copy, whole: false, stays: true },
    Editor { name: "emacs", save: emacs, whole: false, stays: false },
    Editor { name: "gedit", save: gedit, whole: true, stays: true },
    Editor { name: "code", save: code, whole: false, stays: true },
    Editor { name: "sed", save: sed, whole: true, stays: true },
    Editor { name: "safe", save: safe, whole: true, stays: true },
];

/// Beside a file.
fn beside(file: &Path, before: &str, after: &str) -> PathBuf {
    file.with_file_name(format!("{before}{}{after}", file.file_name().unwrap().display()))
}

/// Sees whether it may write here, renames the old file out of the way, writes the new one, removes the old.
fn vim(file: &Path, bytes: &[u8]) {
    let (probe, swap, backup) = (file.with_file_name("4913"), beside(file, ".", ".swp"), beside(file, "", "~"));
    fs::write(&swap, "what was typed").unwrap();
    File::create(&probe).unwrap();
    fs::remove_file(&probe).unwrap();
    fs::rename(file, &backup).unwrap();
    let mut new = File::create(file).unwrap();
    thread::sleep(WITHIN_SAVE);
    new.write_all(bytes).unwrap();
    new.sync_all().unwrap();
    drop(new);
    fs::remove_file(&backup).unwrap();
    fs::remove_file(&swap).unwrap();
}

/// The same where the old file is copied: it has links, or belongs to somebody else.
fn vim_copy(file: &Path, bytes: &[u8]) {
    let backup = beside(file, "", "~");
    fs::copy(file, &backup).unwrap();
    code(file, bytes);
    fs::remove_file(&backup).unwrap();
}

/// Keeps what is typed in a file, locks with a link to nowhere, leaves the old version as a backup.
fn emacs(file: &Path, bytes: &[u8]) {
    let (auto, lock, backup) = (beside(file, "#", "#"), beside(file, ".#", ""), beside(file, "", "~"));
    symlink("you@example.net.4711:1700000000", &lock).unwrap();
    fs::write(&auto, &bytes[..bytes.len() / 2]).unwrap();
    thread::sleep(WITHIN_SAVE);
    fs::rename(file, &backup).unwrap();
    fs::write(file, bytes).unwrap();
    fs::remove_file(&auto).unwrap();
    fs::remove_file(&lock).unwrap();
}

/// Writes beside, keeps the old version by a second name, renames over.
fn gedit(file: &Path, bytes: &[u8]) {
    let (stream, backup) = (file.with_file_name(".goutputstream-X5K2T1"), beside(file, "", "~"));
    let mut new = File::create(&stream).unwrap();
    new.write_all(&bytes[..bytes.len() / 2]).unwrap();
    thread::sleep(WITHIN_SAVE);
    new.write_all(&bytes[bytes.len() / 2..]).unwrap();
    new.sync_all().unwrap();
    if backup.exists() {
        fs::remove_file(&backup).unwrap();
    }
    fs::hard_link(file, &backup).unwrap();
    fs::rename(&stream, file).unwrap();
}

/// Empties the file and writes it.
fn code(file: &Path, bytes: &[u8]) {
    let mut new = File::options().write(true).truncate(true).open(file).unwrap();
    thread::sleep(WITHIN_SAVE);
    for part in bytes.chunks(1000) {
        new.write_all(part).unwrap();
    }
}

/// The stream editor puts the whole text in place of what is there.
fn sed(file: &Path, bytes: &[u8]) {
    let script = beside(file, "../../", ".sed");
    let lines = String::from_utf8_lossy(bytes).replace('\n', "\\\n");
    fs::write(&script, format!("1c\\\n{}\n2,$d\n", lines.trim_end_matches("\\\n"))).unwrap();
    let (script, file) = (script.display().to_string(), file.display().to_string());
    succeeds(program(Path::new("/"), "sed", &["-i", "-f", &script, &file]));
}

/// Writes beside and renames over, without a pause.
fn safe(file: &Path, bytes: &[u8]) {
    let new = beside(file, "", ".new");
    fs::write(&new, bytes).unwrap();
    fs::rename(&new, file).unwrap();
}

/// What is saved: told apart by every line, and different in length from its neighbours.
fn version(editor: &str, n: usize) -> String {
    format!("{editor} saved this for the {n}. time\n").repeat(n * 37 % 200 + 1)
}

/// Which version this is, if it is a whole one.
fn version_of(editor: &str, text: &str) -> Option<usize> {
    (0..=SAVES).find(|n| version(editor, *n) == text)
}

/// A version that stood for so long that the other peer had it.
struct Stood {
    n: usize,
    patch: String,
    time: String,
}

/// Saves one file again and again. What stood is what the other saw.
fn edit(editor: &Editor, anna: &Peer, ben: &Peer) -> Vec<Stood> {
    let path = path_of(editor);
    let mut stood = Vec::new();
    for n in 1..=SAVES {
        (editor.save)(&anna.at(&path), version(editor.name, n).as_bytes());
        if n % STANDS_AFTER == 0 {
            eventually("a version that stands arrives", || ben.read(&path) == Some(version(editor.name, n)));
            let newest = &anna.lines(&["log", &path, "-n", "1"])[0];
            let text = |field: &str| newest[field].as_str().unwrap().to_owned();
            stood.push(Stood { n, patch: text("patch"), time: text("time") });
        }
        thread::sleep(BETWEEN_SAVES);
    }
    stood
}

fn path_of(editor: &Editor) -> String {
    format!("{}/text", editor.name)
}

#[test]
fn files_that_are_saved_by_editors() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    for editor in &EDITORS {
        anna.write(&path_of(editor), version(editor.name, 0));
    }
    followed(&anna, &ben);
    let stood: Vec<Vec<Stood>> = thread::scope(|scope| {
        let at_work: Vec<_> = EDITORS.iter().map(|editor| scope.spawn(|| edit(editor, &anna, &ben))).collect();
        at_work.into_iter().map(|one| one.join().unwrap()).collect()
    });
    followed(&anna, &ben);
    wrote_nothing(&ben);
    for (editor, stood) in EDITORS.iter().zip(stood) {
        assert_eq!(ben.read(&path_of(editor)), Some(version(editor.name, SAVES)));
        for peer in [&anna, &ben] {
            remembers(peer, editor, &stood);
        }
    }
}

/// What stood can be read again; what the log has of a file that is whole at every look is whole.
fn remembers(peer: &Peer, editor: &Editor, stood: &[Stood]) {
    let path = path_of(editor);
    for Stood { n, time, .. } in stood {
        let text = peer.ok(&["cat", &path, "--at", time]);
        assert_eq!(version_of(editor.name, &text), Some(*n), "{} {path} as of {time}", peer.name);
    }
    if !editor.stays {
        return;
    }
    let log = peer.lines(&["log", &path]);
    for Stood { n, patch, .. } in stood {
        assert!(log.iter().any(|line| line["patch"] == patch.as_str()), "{path}: version {n} is of another node");
    }
    let births = log.iter().filter(|line| line["action"] == "create").count();
    assert_eq!(births, 1, "{path}: {log:#?}");
    for line in log.iter().filter(|line| editor.whole && line["size"].is_u64()) {
        let text = peer.ok(&["cat", &path, "--at", line["patch"].as_str().unwrap()]);
        assert!(version_of(editor.name, &text).is_some(), "{path}: torn: {line}: {text}");
    }
}

#[test]
fn a_log_that_grows_by_small_pieces() {
    let world = tempfile::tempdir().unwrap();
    let (anna, ben) = pair(world.path());
    let line = |n: usize| format!("{n:06} something happened, and somebody wants to know of it\n");
    let mut log = File::options().create(true).append(true).open(anna.at("growing.log")).unwrap();
    for n in 0..2000 {
        for part in line(n).as_bytes().chunks(23) {
            log.write_all(part).unwrap();
        }
        if n % 4 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    followed(&anna, &ben);
    wrote_nothing(&ben);
    let whole = (0..2000).map(line).collect::<String>();
    assert_eq!(ben.read("growing.log").as_deref(), Some(&*whole));
    let versions = ben.lines(&["log", "growing.log"]);
    for version in &versions {
        let text = ben.ok(&["cat", "growing.log", "--at", version["patch"].as_str().unwrap()]);
        assert!(whole.starts_with(&text), "{version}: what was written is written in order");
    }
}
