//! Names for what gives way: `notes.txt` of ben becomes `notes (ben).txt`, beside the one that keeps its name. They
//! say whose it is and keep the extension, so that people know it and programs open it.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::NAME_BYTES_MAX;
use crate::model::ids::PatchId;
use crate::model::name::Name;

/// Who wrote the sides of a fork.
#[derive(Debug, Clone, Default)]
pub struct Authors {
    /// What people call them, by patch.
    pub names: BTreeMap<PatchId, String>,
    /// The patches that this peer wrote.
    pub own: BTreeSet<PatchId>,
}

/// Longer names of peers are cut: the file's own name matters more.
const AUTHOR_BYTES_MAX: usize = 60;
/// What is longer, behind the last dot, is no extension but a part of the name.
const EXTENSION_BYTES_MAX: usize = 16;
/// The one extension that another one follows.
const ARCHIVE: &[u8] = b".tar";

/// The first such name that is free.
pub(super) fn free(name: &Name, is_dir: bool, author: Option<&str>, used: &BTreeSet<Name>) -> Name {
    let author = author.map(presentable).filter(|author| !author.is_empty());
    let first = author.clone().into_iter();
    let more = (2_u64..).map(|number| match &author {
        Some(author) => format!("{author} {number}"),
        None => number.to_string(),
    });
    let mut names = first.chain(more).map(|mark| marked(name, is_dir, &mark));
    names.find(|name| !used.contains(name)).expect("there are more numbers than names in a directory")
}

/// What a name can hold of what people call a peer, which may be anything.
fn presentable(author: &str) -> String {
    let kept: String = author.chars().filter(|c| !c.is_control() && *c != '/').collect();
    kept[..kept.floor_char_boundary(AUTHOR_BYTES_MAX)].trim().to_owned()
}

fn marked(name: &Name, is_dir: bool, mark: &str) -> Name {
    let bytes = name.as_bytes();
    let (stem, extension) = bytes.split_at(if is_dir { bytes.len() } else { extension_at(bytes) });
    let mark = format!(" ({mark})");
    let mut end = stem.len().min(NAME_BYTES_MAX - mark.len() - extension.len());
    // A cut inside a character would leave a name that is no text though the whole was.
    while end < stem.len() && end > 1 && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    let marked = [&stem[..end], mark.as_bytes(), extension].concat();
    Name::try_from(marked).expect("parts of a name around printable text are a name")
}

/// Where the extension begins, with its dot; the end where there is none.
fn extension_at(name: &[u8]) -> usize {
    let dot = name.iter().rposition(|&b| b == b'.').filter(|&dot| dot > 0);
    let is_extension = |dot: &usize| {
        let extension = &name[dot + 1..];
        (1..=EXTENSION_BYTES_MAX).contains(&extension.len()) && !extension.contains(&b' ')
    };
    let Some(dot) = dot.filter(is_extension) else { return name.len() };
    // A packed archive says in two what it is.
    let stem = &name[..dot];
    if stem.len() > ARCHIVE.len() && stem.ends_with(ARCHIVE) { dot - ARCHIVE.len() } else { dot }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::try_from(text).unwrap()
    }

    #[test]
    fn it_says_whose_it_is_and_keeps_the_extension() {
        let table = [
            ("notes.txt", Some("ben"), "notes (ben).txt"),
            ("notes", Some("ben"), "notes (ben)"),
            (".bashrc", Some("ben"), ".bashrc (ben)"),
            ("a.tar.gz", Some("ben's laptop"), "a (ben's laptop).tar.gz"),
            ("a.tar", Some("ben"), "a (ben).tar"),
            (".tar.gz", Some("ben"), ".tar (ben).gz"),
            ("a.b.gz", Some("ben"), "a.b (ben).gz"),
            ("v1. the end", Some("ben"), "v1. the end (ben)"),
            ("dot.", Some("ben"), "dot. (ben)"),
            ("notes.txt", None, "notes (2).txt"),
            ("notes.txt", Some("../\n\u{7f}"), "notes (..).txt"),
            ("notes.txt", Some("/\0 "), "notes (2).txt"),
        ];
        for (given, author, want) in table {
            assert_eq!(free(&name(given), false, author, &BTreeSet::new()), name(want), "{given} of {author:?}");
        }
        assert_eq!(free(&name("conf.d"), true, Some("ben"), &BTreeSet::new()), name("conf.d (ben)"));
    }

    #[test]
    fn it_is_free() {
        let used = ["a (ben).c", "a (ben 2).c", "a (2).c"].map(name).into();
        assert_eq!(free(&name("a.c"), false, Some("ben"), &used), name("a (ben 3).c"));
        assert_eq!(free(&name("a.c"), false, None, &used), name("a (3).c"));
    }

    #[test]
    fn it_is_never_too_long_and_stays_text() {
        let long = format!("{}.jpeg", "é".repeat(125));
        let got = free(&name(&long), false, Some(&"ü".repeat(100)), &BTreeSet::new());
        let text = std::str::from_utf8(got.as_bytes()).unwrap();
        assert!(text.len() <= NAME_BYTES_MAX && text.starts_with('é') && text.ends_with("ü).jpeg"), "{text}");
    }
}
