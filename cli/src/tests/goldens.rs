//! What people and scripts see of every command, frozen.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{fake, pfs};
use crate::home::Home;

/// Every command line that has a golden, by command.
const CASES: &[(&str, &[&str])] = &[
    ("init", &["init", "init --name anna --json", "init --help"]),
    (
        "track",
        &["track DIR", "track DIR --name linux --replicas 2 --json", "track DIR -q", "track /no/such", "track --help"],
    ),
    (
        "untrack",
        &["untrack linux", "untrack linux --force", "untrack linux --json", "untrack missing", "untrack --help"],
    ),
    (
        "capture",
        &["capture", "capture idle", "capture linux --json", "capture refused", "capture half", "capture --help"],
    ),
    (
        "status",
        &[
            "status",
            "status --json",
            "status served",
            "status alone",
            "status served --check",
            "status halted --check",
            "status halted --json",
            "status empty",
            "status missing",
            "status --help",
        ],
    ),
    (
        "log",
        &[
            "log",
            "log --json",
            "log linux:drivers -n 3 --since 3d --until 2026-11-20T12:00:00Z --origin ben",
            "log half",
            "log --since yesterday",
            "log --help",
        ],
    ),
    ("show", &["show 9F3C21ab", "show 9f3c21ab --json", "show 9f3c", "show --help"]),
    (
        "cat",
        &[
            "cat linux:foo.c",
            "cat foo.c --at 2h",
            "cat foo.c --head be0be0be",
            "cat foo.c --at 2h --head be0be0be",
            "cat half",
            "cat --help",
        ],
    ),
    (
        "diff",
        &[
            "diff linux:foo.c",
            "diff foo.c 3d --json",
            "diff foo.c 9f3c21ab 2026-11-20T12:00:00Z",
            "diff same",
            "diff half",
            "diff missing",
            "diff foo.c yesterday",
            "diff --help",
        ],
    ),
    ("ls", &["ls", "ls -l", "ls drivers -R --at 0badcafe", "ls --json", "ls missing", "ls --help"]),
    ("forks", &["forks", "forks --json", "forks none", "forks none --json", "forks --help"]),
    (
        "resolve",
        &[
            "resolve a --take 9f3c21ab",
            "resolve a b --ours --json",
            "resolve nofork a stuck b --newest",
            "resolve stuck nofork --both",
            "resolve a --theirs",
            "resolve a --both",
            "resolve a --delete",
            "resolve a stuck --merge",
            "resolve a --with merged.txt",
            "resolve a",
            "resolve a --ours --theirs",
            "resolve a --take xyz",
            "resolve --help",
        ],
    ),
    (
        "restore",
        &[
            "restore linux:d --at 3d",
            "restore far --at 9f3c21ab --to linux:old/d --dry-run",
            "restore d --at 2026-11-20T12:00:00Z --json",
            "restore same --at 2h",
            "restore d --at 2h -q",
            "restore d",
            "restore missing --at 2h",
            "restore --help",
        ],
    ),
    (
        "invite",
        &[
            "invite linux",
            "invite linux -q",
            "invite linux --role vault --expires 30m --uses 3 --json",
            "invite linux --role vault --uses 2",
            "invite linux --expires soon",
            "invite --help",
        ],
    ),
    (
        "join",
        &[
            "join pfs1abc",
            "join pfs1abc DIR --holding share --json",
            "join pfs1abc --holding share",
            "join missing",
            "join pfs1abc pfs1def pfs1ghi",
            "join --help",
        ],
    ),
    (
        "peers",
        &[
            "peers",
            "peers linux --json",
            "peers alone",
            "peers remove ben",
            "peers remove ben --volume linux --json",
            "peers address ben 192.168.1.7:7440",
            "peers address ben here",
            "peers remov",
            "peers remov ben",
            "peers missing",
            "peers --help",
        ],
    ),
    (
        "gc",
        &[
            "gc",
            "gc --dry-run",
            "gc --keep-within 1y --keep-last 5 --remember --json",
            "gc --keep-within forever --keep-last 7",
            "gc --keep-within soon",
            "gc --dry-run --remember",
            "gc --help",
        ],
    ),
    ("events", &["events", "events linux --json", "events missing", "events --help"]),
    ("verify", &["verify", "verify --json", "verify damaged", "verify linux --repair", "verify --help"]),
    ("daemon", &["daemon status", "daemon status --json", "daemon stop", "daemon run --help", "daemon --help"]),
    ("service", &["service --help"]),
    ("pfs", &["--help", "frobnicate", "completions --help", "man --help", "man frobnicate"]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// One command line and everything that came of it, without what differs from machine to machine.
fn transcript(line: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let tracked = dir.path().join("tracked");
    let home = dir.path().join("home");
    fs::create_dir(&tracked).unwrap();
    fs::create_dir(&home).unwrap();
    let words: Vec<_> =
        line.split(' ').map(|word| if word == "DIR" { tracked.to_str().unwrap() } else { word }).collect();
    let ran = pfs(&home, &words);
    let asked = fs::read_to_string(fake::asked(&Home::new(Some(home)).unwrap())).unwrap_or_default();
    let mut text = format!("$ pfs {line}\n");
    for asked in asked.lines() {
        writeln!(text, "asks {asked}").unwrap();
    }
    text += &ran.out;
    for complaint in ran.err.lines() {
        writeln!(text, "{}", format!("stderr: {complaint}").trim_end()).unwrap();
    }
    writeln!(text, "exit {}", ran.code).unwrap();
    let cwd = fs::canonicalize(".").unwrap();
    let real = fs::canonicalize(dir.path()).unwrap();
    text.replace(real.to_str().unwrap(), "/tmp/it").replace(cwd.to_str().unwrap(), "/cwd")
}

#[test]
fn every_command_prints_its_golden() {
    let bless = std::env::var_os("PFS_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, lines) in CASES {
        let text: Vec<_> = lines.iter().map(|line| transcript(line)).collect();
        let text = text.join("\n");
        let path = folder().join(name).with_extension("txt");
        if bless {
            fs::write(&path, &text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        if golden != text {
            wrong.push(difference(name, &golden, &text));
        }
    }
    assert!(wrong.is_empty(), "{}\nPFS_BLESS=1 accepts what is printed now", wrong.join("\n"));
}

/// The first line that differs.
fn difference(name: &str, golden: &str, now: &str) -> String {
    let (mut golden, mut now) = (golden.lines(), now.lines());
    loop {
        let pair = (golden.next(), now.next());
        if pair.0 != pair.1 || pair.0.is_none() {
            return format!("{name}: expected {:?}\n{name}: printed  {:?}", pair.0, pair.1);
        }
    }
}

#[test]
fn no_golden_is_forgotten() {
    let files: BTreeSet<_> = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
    let cases: BTreeSet<_> = CASES.iter().map(|(name, _)| format!("{name}.txt").into()).collect();
    assert_eq!(files, cases);
}

#[test]
fn nothing_that_is_printed_steers_a_terminal() {
    for (_, lines) in CASES {
        for line in *lines {
            let text = transcript(line);
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "pfs {line}");
        }
    }
}

#[test]
fn scripts_and_pages_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = pfs(dir.path(), &["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("resolve"), "{shell}");
    }
    assert!(pfs(dir.path(), &["man"]).out.contains(".SH SUBCOMMANDS"));
    assert!(pfs(dir.path(), &["man", "resolve"]).out.contains("newest"));
}
