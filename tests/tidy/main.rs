//! Tidy: the rules of the house that can be read off the sources. Each test is one rule; it names every file and
//! line that breaks it. `source` reads the tree.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use source::{Source, Tree};

/// Rooms that decide and do nothing else, so that a test can replay every decision.
const PURE: [&str; 3] = ["engine/src/model/", "engine/src/plan/", "net/src/proto/"];

/// What a pure room cannot name: I/O, clocks, threads, randomness, and collections without an order.
const IMPURE: [&str; 21] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::sync::mpsc",
    "std::os",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "crossbeam_channel",
    "getrandom",
    "quinn",
    "rand",
    "rayon",
    "rocksdb",
    "rustix",
    "tokio",
];

/// Something that only some places may name.
struct Reserved {
    names: &'static [&'static str],
    /// Folders, or single files with the reason beside them.
    places: &'static [&'static str],
}

const RESERVED: [Reserved; 5] = [
    Reserved { names: &["rocksdb"], places: &["engine/src/store/"] },
    Reserved {
        names: &["std::fs", "rustix::fs"],
        places: &[
            "engine/src/disk/",
            "cli/src/home.rs",           // the home's folder and lock, before there is an engine
            "cli/src/daemon/mod.rs",     // the daemon's socket
            "cli/src/daemon/control.rs", // the log of a daemon in the background
            "cli/src/daemon/unit.rs",    // the systemd unit
            "cli/src/input.rs",          // paths as people type them, made absolute
            "cli/src/commands/track.rs", // the same
            "cli/src/service/target.rs", // the same
            "cli/src/service/join.rs",   // the directory that a join is to fill
        ],
    },
    Reserved { names: &["quinn"], places: &["net/src/io/"] },
    Reserved { names: &["tokio"], places: &["net/src/", "cli/src/"] },
    Reserved {
        names: &["print!", "println!", "eprint!", "eprintln!", "io::stdout", "io::stderr"],
        places: &["cli/src/ui/"],
    },
];

/// A file longer than this is worth a look, and is reported.
const LINES_GOOD: usize = 500;
/// No file is longer than this.
const LINES_MAX: usize = 600;
/// Packages in `Cargo.lock`: a new one is a decision, not an accident.
const PACKAGES_MAX: usize = 253;

#[test]
fn pure_rooms_name_nothing_impure() {
    let tree = Tree::read();
    let mut findings = Vec::new();
    for source in tree.sources.iter().filter(|source| PURE.iter().any(|room| source.path.starts_with(room))) {
        for name in IMPURE {
            let lines = source.lines_naming(name);
            findings.extend(lines.map(|line| format!("{}:{line}: a pure room names `{name}`", source.path)));
        }
    }
    none(&findings, "model, plan and proto take time and seeds as arguments, and use ordered maps");
}

#[test]
fn what_is_reserved_stays_in_its_room() {
    let tree = Tree::read();
    let mut findings = Vec::new();
    for Reserved { names, places } in RESERVED {
        for source in tree.sources.iter().filter(|source| !places.iter().any(|place| source.path.starts_with(place))) {
            for name in names {
                let lines = source.lines_naming(name);
                findings.extend(lines.map(|line| format!("{}:{line}: `{name}` outside {places:?}", source.path)));
            }
        }
    }
    none(&findings, "each of these has a room of its own; ask that room instead");
}

#[test]
fn exceptions_are_still_needed() {
    let tree = Tree::read();
    let mut findings = Vec::new();
    for Reserved { names, places } in RESERVED {
        for place in places.iter().filter(|place| !place.ends_with('/')) {
            let source = tree.sources.iter().find(|source| source.path == **place);
            let used = source.is_some_and(|source| names.iter().any(|name| source.lines_naming(name).next().is_some()));
            findings.extend((!used).then(|| format!("{place}: no longer names any of {names:?}")));
        }
    }
    none(&findings, "take them off the list in tests/tidy/main.rs");
}

/// `std::{fs, …}` would hide from the rules above.
#[test]
fn modules_of_std_are_imported_one_by_one() {
    let tree = Tree::read();
    let lines = tree.sources.iter().flat_map(|source| {
        let lines = source.code.lines().enumerate().filter(|(_, line)| line.contains("use std::{"));
        lines.map(|(at, _)| format!("{}:{}: `use std::{{`", source.path, at + 1))
    });
    none(&lines.collect::<Vec<_>>(), "one `use` a module, so that tidy sees which");
}

#[test]
fn files_stay_short() {
    let tree = Tree::read();
    let lines = |source: &&Source| source.text.lines().count();
    let long: Vec<_> = tree.sources.iter().chain(&tree.tests).filter(|source| lines(source) > LINES_GOOD).collect();
    for source in &long {
        // Past the harness, which shows the output of failed tests only.
        let _ = writeln!(std::io::stderr(), "tidy: {} has {} lines; is it one idea?", source.path, lines(source));
    }
    let too_long = long.iter().filter(|source| lines(source) > LINES_MAX);
    let findings = too_long.map(|source| format!("{}:{LINES_MAX}: {} lines", source.path, lines(source)));
    none(&findings.collect::<Vec<_>>(), "split it where it has a seam");
}

#[test]
fn nothing_is_left_open() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let macros = [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("#[ign", "ore")];
    let tree = Tree::read();
    let mut findings = Vec::new();
    for source in tree.sources.iter().chain(&tree.tests).chain(&tree.texts) {
        for mark in marks {
            let lines = source::lines_with(&source.text, mark);
            findings.extend(lines.map(|line| format!("{}:{line}: {mark}", source.path)));
        }
        for name in macros {
            findings.extend(source.lines_naming(name).map(|line| format!("{}:{line}: {name}", source.path)));
        }
    }
    none(&findings, "do it, drop it, or write an issue");
}

#[test]
fn documents_state_the_versions_of_the_code() {
    let tree = Tree::read();
    let pairs = [
        ("pub const FORMAT_VERSION: u32 = ", "docs/format.md", "Format version: **"),
        ("pub const PROTOCOL_VERSION: u32 = ", "docs/protocol.md", "Protocol version: **"),
    ];
    for (constant, document, statement) in pairs {
        let in_code: Vec<_> = tree.sources.iter().filter_map(|source| number_after(&source.code, constant)).collect();
        let [version] = in_code[..] else {
            panic!("`{constant}` stands {} times in the code, not once", in_code.len())
        };
        let text = &tree.text(document).text;
        let stated = number_after(text, statement);
        assert_eq!(stated, Some(version), "{document} does not state `{statement}{version}**`: describe what changed");
        let history = format!("\n| {version} | ");
        assert!(text.contains(&history), "{document} has no row for version {version} in its list of versions");
    }
}

#[test]
fn dependencies_stay_few() {
    let lock = fs::read_to_string(source::root().join("Cargo.lock")).expect("Cargo.lock can be read");
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    assert!(packages <= PACKAGES_MAX, "Cargo.lock:1: {packages} packages, more than {PACKAGES_MAX}: is each worth it?");
}

/// Whoever asks for that feature gives it to every crate that is built with it.
#[test]
fn failpoints_are_for_tests_alone() {
    let manifest =
        |name: &str| fs::read_to_string(source::root().join(name).join("Cargo.toml")).expect("a crate has one");
    let asking: Vec<_> = source::CRATES.into_iter().filter(|name| manifest(name).contains("\"failpoints\"")).collect();
    assert_eq!(asking, ["tests"], "a program of a release must not end because a variable says so");
}

#[test]
fn every_golden_is_read_by_a_test() {
    let tree = Tree::read();
    let golden = source::root().join("fixtures/golden");
    let files = source::files_below(&golden);
    assert!(!files.is_empty(), "fixtures/golden is empty");
    let forgotten = files.iter().map(|file| relative(file, &golden)).filter(|file| {
        let names_it = |source: &&Source| source.text.contains(file.as_str());
        tree.tests.iter().chain(&tree.sources).find(names_it).is_none()
    });
    let findings = forgotten.map(|file| format!("fixtures/golden/{file}:1: no test names it"));
    none(&findings.collect::<Vec<_>>(), "frozen bytes that nobody reads guard nothing");
}

#[test]
fn every_document_can_be_found() {
    let tree = Tree::read();
    let doors = ["README.md", "docs/design.md"].map(|door| tree.text(door));
    let linked: BTreeSet<_> = doors.iter().flat_map(|door| links(door).map(|(_, target)| target)).collect();
    let documents = tree.texts.iter().filter(|text| text.path.starts_with("docs/") && text.is_markdown());
    let lost =
        documents.filter(|text| !doors.iter().any(|door| door.path == text.path) && !linked.contains(&text.path));
    let findings: Vec<_> = lost.map(|text| format!("{}:1: nothing links to it", text.path)).collect();
    none(&findings, "link it from a door");
}

#[test]
fn links_lead_somewhere() {
    let tree = Tree::read();
    let texts = tree.texts.iter().filter(|text| text.is_markdown());
    let broken = texts.flat_map(|text| {
        let dead = links(text).filter(|(_, target)| !source::root().join(target).exists());
        dead.map(|(line, target)| format!("{}:{line}: a link to {target}, which does not exist", text.path))
    });
    none(&broken.collect::<Vec<_>>(), "mend them");
}

/// Fails with the findings, if there are any, and what to do about them.
fn none(findings: &[String], advice: &str) {
    assert!(findings.is_empty(), "{advice}:\n  {}", findings.join("\n  "));
}

/// The number that stands behind `start`.
fn number_after(text: &str, start: &str) -> Option<u32> {
    let (_, rest) = text.split_once(start)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

/// Lines with a link into the repository, and the path from its root that the link leads to.
fn links(text: &Source) -> impl Iterator<Item = (usize, String)> {
    let folder = Path::new(&text.path).parent().expect("a file is in a folder");
    text.text.lines().enumerate().flat_map(move |(at, line)| {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let inside = targets.filter(|target| !target.is_empty() && !target.contains("://"));
        inside.map(move |target| (at + 1, source::normal(&folder.join(target))))
    })
}

fn relative(file: &Path, folder: &Path) -> String {
    file.strip_prefix(folder).expect("it was found there").display().to_string()
}
