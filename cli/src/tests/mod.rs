//! The whole program against a fake peer: what every command asks, prints and exits with, and the daemon.
//!
//! Goldens lie in `tests/golden`, one file a command. `PFS_BLESS=1 cargo test -p pfs-cli` writes them anew.

mod daemon;
pub(crate) mod fake;
mod goldens;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::{CommandFactory as _, FromArgMatches as _};
use jiff::tz::TimeZone;

use crate::commands::{Cli, execute};
use crate::home::Home;
use crate::ui::{Clock, Options, Ui};

/// What a command left behind.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: u8,
}

/// Output that can be read afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that goes away at once.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn clock() -> Clock {
    Clock { now: "2026-11-20T14:03:11Z".parse().unwrap(), zone: TimeZone::UTC }
}

/// Runs `pfs` with these arguments on a home whose peer is the fake.
pub(crate) fn pfs(home: &Path, args: &[&str]) -> Ran {
    let out = Shared::default();
    let ran = pfs_to(Box::new(out.clone()), home, args);
    Ran { out: out.text() + &ran.out, ..ran }
}

fn pfs_to(out: Box<dyn Write + Send>, home: &Path, args: &[&str]) -> Ran {
    let words = ["pfs", "--home", home.to_str().unwrap()].into_iter().chain(args.iter().copied());
    let parsed = Cli::command().term_width(100).try_get_matches_from(words);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap();
            let text = error.render().to_string();
            let (out, err) = if error.use_stderr() { (String::new(), text) } else { (text, String::new()) };
            return Ran { out, err, code };
        }
    };
    let err = Shared::default();
    let options = Options { json: args.contains(&"--json"), quiet: args.contains(&"-q") };
    let ui = Ui::to(out, Box::new(err.clone()), options, clock());
    let code = execute(cli, ui, fake::open);
    Ran { out: String::new(), err: err.text(), code }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["log", "endless"][..], &["log", "endless", "--json"], &["cat", "big"], &["status"]] {
        let ran = pfs_to(Box::new(Closed), dir.path(), args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    }
    let asked = std::fs::read_to_string(fake::asked(&Home::new(Some(dir.path().into())).unwrap())).unwrap();
    assert_eq!(asked.matches("log_ended").count(), 2, "an endless list ends when nobody reads it");
}

#[test]
fn no_home_is_made_by_asking() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("none");
    assert_eq!(pfs(&home, &["status"]).code, 3);
    assert!(!home.exists());
    assert_eq!(pfs(&home, &["init"]).code, 0);
    assert!(home.exists());
}
