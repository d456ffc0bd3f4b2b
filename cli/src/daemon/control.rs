//! A daemon seen from outside: start it in the background, stop it, ask whether it runs.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::api::client::Client;
use crate::api::service::{ErrorKind, Service as _};
use crate::api::types::{DaemonInfo, StatusRequest};
use crate::connect::{Context, is_served};
use crate::error::CommandError;
use crate::home::{Home, POLL};

/// How long a daemon may take until it answers, or until it is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a daemon that does not answer is taken for one that is being killed.
const DYING: Duration = Duration::from_secs(5);
/// As much of the log as helps to see why it did not start.
const LOG_LINES: usize = 10;

/// Whether a daemon runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) running: bool,
    #[serde(flatten)]
    pub(crate) daemon: Option<DaemonInfo>,
}

/// Whether a daemon runs on this home.
pub(crate) fn status(cx: &Context) -> Result<Report, CommandError> {
    if !is_served(&cx.home) {
        return Ok(Report { running: false, daemon: None });
    }
    let status = client(&cx.home)?.status(&StatusRequest { target: None })?;
    Ok(Report { running: status.daemon.is_some(), daemon: status.daemon })
}

/// Starts a daemon with these arguments, unless one runs; returns when it answers.
pub(crate) fn start(words: &[String], cx: &Context) -> Result<Report, CommandError> {
    if let Some(running) = running(cx)? {
        return Ok(running);
    }
    cx.home.create()?;
    let path = cx.home.log();
    let failed = |error: io::Error| CommandError::io("starting the daemon", path.display(), &error);
    let mut log = fs::OpenOptions::new().read(true).create(true).append(true).open(&path).map_err(failed)?;
    let before = log.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut child = spawn(words, cx, &log).map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if is_served(&cx.home) {
            return status(cx);
        }
        if let Some(ended) = child.try_wait().map_err(failed)? {
            let why = tail(&mut log, before).map_err(failed)?;
            return Err(CommandError::new(ErrorKind::Failed, format!("the daemon did not start ({ended}): {why}"))
                .hint(format!("the whole log is in {}", path.display())));
        }
        if Instant::now() >= deadline {
            let message = format!("the daemon, pid {}, is still starting", child.id());
            return Err(CommandError::new(ErrorKind::Timeout, message).hint(format!("see {}", path.display())));
        }
        thread::sleep(POLL);
    }
}

/// The daemon that runs already. One that was killed seems to listen until the system has taken it apart.
fn running(cx: &Context) -> Result<Option<Report>, CommandError> {
    let deadline = Instant::now() + DYING;
    while is_served(&cx.home) {
        match status(cx) {
            Ok(report) => return Ok(Some(report).filter(|report| report.running)),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => thread::sleep(POLL),
        }
    }
    Ok(None)
}

fn spawn(words: &[String], cx: &Context, log: &File) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--home").arg(cx.home.dir());
    command.args((0..cx.verbosity).map(|_| "-v"));
    command.args(["daemon", "run", "--detached"]).args(words);
    // Its working directory must not keep a file system busy.
    command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    command.spawn()
}

/// The last lines of what was logged after `before`, in one line.
fn tail(log: &mut File, before: u64) -> io::Result<String> {
    log.seek(SeekFrom::Start(before))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES)..].join("; "))
}

/// Stops the daemon, if one runs; returns when it has let go of the home.
pub(crate) fn stop(cx: &Context) -> Result<Option<Report>, CommandError> {
    if !is_served(&cx.home) {
        return Ok(None);
    }
    client(&cx.home)?.shutdown()?;
    let deadline = Instant::now() + PATIENCE;
    while let Err(holder) = cx.home.try_lock()? {
        if Instant::now() >= deadline {
            let pid = holder.pid.map_or_else(String::new, |pid| format!(", pid {pid},"));
            let message = format!("the daemon{pid} has not stopped within {} s", PATIENCE.as_secs());
            return Err(CommandError::new(ErrorKind::Timeout, message)
                .hint(format!("{} says what it is doing; to kill it loses nothing", cx.home.log().display())));
        }
        thread::sleep(POLL);
    }
    Ok(Some(Report { running: false, daemon: None }))
}

fn client(home: &Home) -> Result<Client, CommandError> {
    Client::of_socket(home.socket()).map_err(|e| CommandError::io("starting the client", home.dir().display(), &e))
}
