//! The only room that prints. Results go to standard output, notes, progress and errors to standard error;
//! colour and progress bars only where a person watches.
//!
//! Text from outside (names, messages) reaches the terminal only through `Line`, which escapes control characters.

pub(crate) mod human;
mod line;
mod log;
mod progress;
mod table;

use std::io::{self, IsTerminal as _, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

pub(crate) use self::line::{Line, Style};
pub(crate) use self::log::start as start_log;
pub(crate) use self::progress::Progress;
pub(crate) use self::table::{Align, Pager, Table};
use crate::error::CommandError;

/// How output shall look, from the global options.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// Only what was asked for, and errors.
    pub(crate) quiet: bool,
}

/// When and where it is, for times that people read.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
}

impl Clock {
    /// The machine's.
    pub(crate) fn system() -> Self {
        Self { now: Timestamp::now(), zone: TimeZone::system() }
    }
}

/// Where output goes.
pub(crate) struct Ui {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    options: Options,
    color: Color,
    bars: bool,
    pub(crate) clock: Clock,
}

/// Which streams are coloured.
#[derive(Debug, Clone, Copy, Default)]
struct Color {
    out: bool,
    err: bool,
}

impl Ui {
    /// Standard output and standard error.
    pub(crate) fn standard(options: Options) -> Self {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            out: Box::new(io::BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            options,
            color: Color { out: allowed && out, err: allowed && err },
            bars: err && !options.quiet && !options.json,
            clock: Clock::system(),
        }
    }

    /// Elsewhere, without colour and progress bars.
    #[cfg(test)]
    pub(crate) fn to(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, options: Options, clock: Clock) -> Self {
        Self { out, err, options, color: Color::default(), bars: false, clock }
    }

    /// Prints a result: as one line of JSON, or as the lines that `plain` makes of it.
    pub(crate) fn result<T: Serialize>(
        &mut self,
        value: &T,
        plain: impl FnOnce(&T, &Clock) -> Vec<Line>,
    ) -> Result<(), CommandError> {
        if self.options.json {
            return self.json(value);
        }
        let lines = plain(value, &self.clock);
        self.lines(&lines)
    }

    /// Prints what was done: like a result, but `-q` silences its plain form.
    pub(crate) fn done<T: Serialize>(
        &mut self,
        value: &T,
        plain: impl FnOnce(&T, &Clock) -> Vec<Line>,
    ) -> Result<(), CommandError> {
        if self.options.quiet && !self.options.json {
            return Ok(());
        }
        self.result(value, plain)
    }

    /// Prints what was asked for: like a result, but with `-q` only the one thing that matters of it.
    pub(crate) fn answer<T: Serialize>(
        &mut self,
        value: &T,
        essence: impl FnOnce(&T) -> Line,
        plain: impl FnOnce(&T, &Clock) -> Vec<Line>,
    ) -> Result<(), CommandError> {
        if self.options.quiet { self.result(value, |value, _| vec![essence(value)]) } else { self.result(value, plain) }
    }

    /// One line of JSON.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CommandError> {
        let json = serde_json::to_string(value).expect("results have string keys only");
        self.bytes(line::harmless_json(&json).as_bytes())?;
        self.bytes(b"\n")
    }

    /// Lines to standard output.
    pub(crate) fn lines(&mut self, lines: &[Line]) -> Result<(), CommandError> {
        for line in lines {
            let text = line.render(self.color.out);
            self.bytes(text.as_bytes())?;
        }
        Ok(())
    }

    /// One item of a long list: a line of JSON, or a row of the pager's table.
    pub(crate) fn item<T: Serialize, const N: usize>(
        &mut self,
        item: &T,
        pager: &mut Pager,
        cells: impl FnOnce(&T, &Clock) -> [Line; N],
    ) -> Result<(), CommandError> {
        if self.options.json {
            return self.json(item);
        }
        let lines = pager.row(cells(item, &self.clock));
        self.lines(&lines)
    }

    /// Bytes to standard output, as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        self.out.write_all(bytes).map_err(|error| CommandError::output(&error))
    }

    /// Makes everything printed so far visible.
    pub(crate) fn flush(&mut self) -> Result<(), CommandError> {
        self.out.flush().map_err(|error| CommandError::output(&error))
    }

    /// A line to standard error, unless quiet.
    pub(crate) fn note(&mut self, line: &Line) {
        if !self.options.quiet {
            self.complain(line);
        }
    }

    /// What failed and what to do next. Where standard error is gone there is nobody to tell.
    pub(crate) fn error(&mut self, error: &CommandError) {
        if self.options.json {
            let json = serde_json::json!({ "error": error }).to_string();
            let _ = writeln!(self.err, "{}", line::harmless_json(&json));
            return;
        }
        self.complain(&Line::new().bad("error").text(": ").text(&error.message));
        if let Some(hint) = &error.hint {
            self.complain(&Line::new().bold("hint").text(": ").text(hint));
        }
    }

    /// A bar for long work, where somebody watches.
    pub(crate) fn progress(&self) -> Progress {
        if self.bars { Progress::visible() } else { Progress::hidden() }
    }

    fn complain(&mut self, line: &Line) {
        let _ = self.err.write_all(line.render(self.color.err).as_bytes());
    }
}
