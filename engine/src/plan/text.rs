//! Texts: how two differ line by line, and how changes that were made apart go together.

use std::ops::RangeInclusive;

use diffy::{DiffOptions, merge};

/// Bytes that are text to people: UTF-8 without NUL.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The hunks of a unified diff, each with its `@@` line; nothing where the texts are equal.
pub fn unified(before: &str, after: &str) -> String {
    let patch = DiffOptions::new().create_patch(before, after).to_string();
    patch.find("@@ ").map_or_else(String::new, |at| patch[at..].to_owned())
}

/// Puts together what several made of one text. Where two of them changed the same lines in different ways it fails
/// with those lines of the base, counted from 1.
pub fn merged<'a>(base: &str, sides: impl IntoIterator<Item = &'a str>) -> Result<String, Vec<RangeInclusive<usize>>> {
    let mut so_far = base.to_owned();
    for side in sides {
        so_far = merge(base, &so_far, side).map_err(|_| contested(base, &so_far, side))?;
    }
    Ok(so_far)
}

/// The lines of the base that both changed, or that stand between what both inserted.
fn contested(base: &str, one: &str, other: &str) -> Vec<RangeInclusive<usize>> {
    let mut contested: Vec<RangeInclusive<usize>> = Vec::new();
    let other = changed(base, other);
    for (start, end) in changed(base, one) {
        for (from, to) in other.iter().filter(|(from, to)| *from <= end && start <= *to) {
            let (first, last) = (start.min(*from), end.max(*to));
            let lines = first + 1..=last.max(first + 1);
            match contested.last_mut() {
                Some(known) if *lines.start() <= *known.end() => {
                    *known = *known.start()..=*lines.end().max(known.end());
                }
                _ => contested.push(lines),
            }
        }
    }
    contested
}

/// The stretches of lines of the base that a text has not as they are, from 0, their ends left out.
fn changed(base: &str, text: &str) -> Vec<(usize, usize)> {
    let mut options = DiffOptions::new();
    let patch = options.set_context_len(0).create_patch(base, text);
    let stretch = |hunk: &diffy::Hunk<'_, str>| {
        let range = hunk.old_range();
        // An insertion is numbered by the line before it.
        let start = if range.is_empty() { range.start() } else { range.start().saturating_sub(1) };
        (start, start + range.len())
    };
    patch.hunks().iter().map(stretch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_people_read() {
        assert_eq!(text("caf\u{e9}\n".as_bytes()), Some("caf\u{e9}\n"));
        assert_eq!((text(b"caf\xe9"), text(b"a\0b")), (None, None));
    }

    #[test]
    fn hunks_without_headers() {
        assert_eq!(unified("a\nb\n", "a\nc\n"), "@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert_eq!(unified("a", "a\n"), "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
        assert_eq!(unified("a\n", "a\n"), "");
        assert_eq!(unified("", "@@ a\n"), "@@ -0,0 +1 @@\n+@@ a\n");
    }

    #[test]
    fn changes_of_different_lines_go_together() {
        let base = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let first = base.replace("1\n", "one\n");
        let last = base.replace("9\n", "9\n10\n");
        let middle = base.replace("5\n", "");
        let all = merged(base, [first.as_str(), &last, &middle]).unwrap();
        assert_eq!(all, "one\n2\n3\n4\n6\n7\n8\n9\n10\n");
        assert_eq!(merged(base, [first.as_str(), &first]).unwrap(), first, "the same change twice");
    }

    #[test]
    fn changes_of_the_same_lines_are_told() {
        let base = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let lines = |one: &str, other: &str| merged(base, [one, other]).unwrap_err();
        assert_eq!(lines(&base.replace("2\n3\n", "x\n"), &base.replace("3\n", "y\n")), [2..=3]);
        assert_eq!(lines(&base.replace("2\n", "x\n"), &base.replace("2\n", "")), [2..=2]);
        assert_eq!(lines(&format!("{base}x\n"), &format!("{base}y\n")), [10..=10], "at the end");
        let two = base.replace("2\n", "x\n").replace("8\n", "x\n");
        assert_eq!(lines(&two, &base.replace("2\n", "y\n").replace("8\n", "y\n")), [2..=2, 8..=8]);
    }
}
