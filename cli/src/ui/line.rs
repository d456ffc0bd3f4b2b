//! One line of output: styled pieces of text in which nothing can steer a terminal.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use unicode_width::UnicodeWidthStr as _;

/// What a piece of text is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    /// All is well.
    Good,
    /// Somebody should look.
    Warn,
    /// Somebody must look.
    Bad,
    /// Something to copy: an id, a command.
    Id,
}

impl Style {
    fn escape(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[1;31m",
            Self::Id => "\x1b[36m",
        }
    }
}

/// Pieces of text in a row. Every piece is escaped as it comes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Style, String)>);

impl Line {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    #[must_use]
    pub(crate) fn add(mut self, style: Style, text: impl Display) -> Self {
        self.0.push((style, harmless(&text.to_string())));
        self
    }

    /// Adds plain text.
    #[must_use]
    pub(crate) fn text(self, text: impl Display) -> Self {
        self.add(Style::Plain, text)
    }

    /// Adds bold text.
    #[must_use]
    pub(crate) fn bold(self, text: impl Display) -> Self {
        self.add(Style::Bold, text)
    }

    /// Adds text that matters less.
    #[must_use]
    pub(crate) fn dim(self, text: impl Display) -> Self {
        self.add(Style::Dim, text)
    }

    /// Adds text that must be seen.
    #[must_use]
    pub(crate) fn bad(self, text: impl Display) -> Self {
        self.add(Style::Bad, text)
    }

    /// Adds text that somebody should look at.
    #[must_use]
    pub(crate) fn warn(self, text: impl Display) -> Self {
        self.add(Style::Warn, text)
    }

    /// Adds text to copy.
    #[must_use]
    pub(crate) fn id(self, text: impl Display) -> Self {
        self.add(Style::Id, text)
    }

    /// Adds the pieces of another line.
    #[must_use]
    pub(crate) fn line(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Columns on a terminal.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.width()).sum()
    }

    /// The text with its newline, coloured or not, without spaces at the end.
    pub(crate) fn render(&self, color: bool) -> String {
        let mut out = String::new();
        let last = self.0.iter().rposition(|(_, text)| !text.trim_end_matches(' ').is_empty());
        let shown = last.map_or(0, |at| at + 1);
        for (at, (style, text)) in self.0[..shown].iter().enumerate() {
            let text = if at + 1 == shown { text.trim_end_matches(' ') } else { text };
            match style.escape() {
                escape if color && !escape.is_empty() => write!(out, "{escape}{text}\x1b[0m"),
                _ => write!(out, "{text}"),
            }
            .expect("a string takes every write");
        }
        out.push('\n');
        out
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::new().text(text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new().text(text)
    }
}

/// The text with characters that steer a terminal, or reorder what is read, made visible.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // A tab moves no further than to the right.
        let steers = c.is_control() && c != '\t' || is_directional(c);
        if steers { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// JSON with such characters as `\u` escapes. They stand only within strings, so it says the same.
pub(super) fn harmless_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(|c| c.is_control() || is_directional(c)) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() || is_directional(c) {
            write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes every write");
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Line separators and the marks by which a name can pose as another.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{Line, harmless_json};

    #[test]
    fn nothing_steers_the_terminal() {
        let nasty = "a\x1b[2Jb\rc\nd\u{9b}31m\u{202e}gpj.exe\u{7f}";
        let shown = Line::from(nasty).render(true);
        assert_eq!(shown, "a\\u{1b}[2Jb\\rc\\nd\\u{9b}31m\\u{202e}gpj.exe\\u{7f}\n");
    }

    #[test]
    fn json_stays_json() {
        let nasty = "a\u{7f}b\u{9b}31m\u{202e}é\u{1b}";
        let json = serde_json::to_string(nasty).unwrap();
        let shown = harmless_json(&json);
        assert_eq!(shown, r#""a\u007fb\u009b31m\u202eé\u001b""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), nasty);
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        let line = Line::new().text("it is ").bad("bad").text("  ");
        assert_eq!(line.render(false), "it is bad\n");
        assert_eq!(line.render(true), "it is \x1b[1;31mbad\x1b[0m\n");
        assert_eq!(Line::from("日本").width(), 4);
    }
}
