//! The sources of pfs as tidy sees them: code without comments and strings, what is tested apart from what tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where code is.
pub(crate) const CRATES: [&str; 5] = ["engine", "net", "cli", "fixtures", "tests"];

/// One file.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Of Rust: `text` with every comment, string and `#[cfg(test)]` item blanked; lines stay where they are.
    pub(crate) code: String,
}

/// All of them.
pub(crate) struct Tree {
    /// What pfs consists of.
    pub(crate) sources: Vec<Source>,
    /// Rust that only tests compile.
    pub(crate) tests: Vec<Source>,
    /// Documents and scripts.
    pub(crate) texts: Vec<Source>,
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository")
}

impl Tree {
    pub(crate) fn read() -> Self {
        let rust: Vec<_> =
            CRATES.iter().flat_map(|name| files_below(&root().join(name))).filter(|p| is(p, "rs")).collect();
        let rust: Vec<_> = rust.iter().map(|path| Source::read(path)).collect();
        let test_modules: BTreeSet<_> = rust.iter().flat_map(Source::test_modules).collect();
        let is_test = |source: &Source| {
            let in_module = |module: &String| {
                let rest = source.path.strip_prefix(module.as_str());
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            let in_src = source.path.split('/').nth(1) == Some("src");
            !in_src || source.path.starts_with("tests/") || test_modules.iter().any(in_module)
        };
        let (tests, sources) = rust.into_iter().partition(is_test);
        let scripts = files_below(&root().join(".ci"));
        let documents = files_below(&root().join("docs"));
        let top = fs::read_dir(root()).expect("the root can be read").map(|entry| entry.expect("it can").path());
        let top = top.filter(|path| path.is_file() && (is(path, "md") || path.ends_with("Makefile")));
        let texts = top.chain(documents).chain(scripts).map(|path| Source::read(&path)).collect();
        Self { sources, tests, texts }
    }

    /// The document at `path`.
    pub(crate) fn text(&self, path: &str) -> &Source {
        self.texts.iter().find(|text| text.path == path).unwrap_or_else(|| panic!("there is no {path}"))
    }
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let code = if is(path, "rs") { without_tests(&only_code(&text)) } else { String::new() };
        Self { path: normal(path.strip_prefix(root()).expect("it was found there")), text, code }
    }

    pub(crate) fn is_markdown(&self) -> bool {
        is(Path::new(&self.path), "md")
    }

    /// Lines of the code that name `name`.
    pub(crate) fn lines_naming(&self, name: &str) -> impl Iterator<Item = usize> {
        lines_with(&self.code, name)
    }

    /// The modules that it declares for tests only, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.strip_suffix("/mod.rs").or(self.path.strip_suffix("/lib.rs")) {
            Some(folder) => folder,
            None => self.path.strip_suffix("/main.rs").unwrap_or(&self.path[..self.path.len() - ".rs".len()]),
        };
        let code = only_code(&self.text);
        let after = code.split("#[cfg(test)]").skip(1);
        let names = after.filter_map(|rest| rest.split_once(';').map(|(item, _)| item));
        let names = names.filter_map(|item| item.split_once("mod ").map(|(_, name)| name.trim()));
        names.filter(|name| name.chars().all(is_word)).map(|name| format!("{folder}/{name}")).collect()
    }
}

/// The numbers of the lines where `wanted` stands as a word of its own.
pub(crate) fn lines_with(text: &str, wanted: &str) -> impl Iterator<Item = usize> {
    let stands = move |line: &str| {
        line.match_indices(wanted).any(|(at, _)| {
            let before = line[..at].chars().next_back().is_none_or(|c| !is_word(c));
            let after = line[at + wanted.len()..].chars().next().is_none_or(|c| !is_word(c) || wanted.ends_with('!'));
            before && after
        })
    };
    text.lines().enumerate().filter(move |(_, line)| stands(line)).map(|(at, _)| at + 1)
}

/// The files below a folder, in order.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// A path without `.` and `..`.
pub(crate) fn normal(path: &Path) -> String {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_str().expect("our names are UTF-8")),
            _ => {}
        }
    }
    parts.join("/")
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Rust with the insides of comments, strings and characters blanked.
fn only_code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => 1 + string_bytes(&rest[1..]),
            'r' if !code.ends_with(is_word) => raw_string_bytes(rest).unwrap_or(0),
            '\'' => char_bytes(rest).unwrap_or(0),
            _ => 0,
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of a string behind its opening quote.
fn string_bytes(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    rest.len()
}

fn raw_string_bytes(rest: &str) -> Option<usize> {
    let hashes = rest[1..].find(|c| c != '#')?;
    let inside = rest[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - inside.len() + inside.find(&close)? + close.len())
}

/// The length of a character literal; none for a lifetime.
fn char_bytes(rest: &str) -> Option<usize> {
    let mut chars = rest[1..].char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        return rest[1..].char_indices().skip(2).find(|(_, c)| *c == '\'').map(|(at, _)| at + 2);
    }
    chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 2)
}

/// Code with every item behind `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..][..item_bytes(&rest[at..])];
        kept.extend(item.chars().filter(|c| *c == '\n'));
        rest = &rest[at + item.len()..];
    }
    kept + rest
}

/// The length of an item: to its semicolon, or to the end of its braces.
fn item_bytes(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn code_is_told_from_text() {
    let text = "a('\"', '\\'', 'x'); // fs\nlet s: &'static str = \"//\\\" fs\"; r#\"\"fs\"# /* fs\n*/ b\n#[cfg(test)]\nmod t { fs }\nc";
    let code = without_tests(&only_code(text));
    assert!(!code.contains("fs"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count(), "lines stay where they are");
    for (line, kept) in [(0, "a("), (1, "&'static str"), (2, "b"), (5, "c")] {
        assert!(code.lines().nth(line).is_some_and(|line| line.contains(kept)), "{kept} in {code}");
    }
    assert_eq!(lines_with("fsx\nfs\nx::fs", "fs").collect::<Vec<_>>(), [2, 3], "words, not parts of words");
}
