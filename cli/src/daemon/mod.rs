//! The daemon: one service, served on the home's socket until somebody asks it to stop; and how it is
//! started, stopped and looked at from outside.

mod control;
pub(crate) mod unit;

use std::fs::{self, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

pub(crate) use self::control::{Report, start, status, stop};
use crate::api::router::{Api, router};
use crate::api::service::{ErrorKind, Service};
use crate::api::types::{InitRequest, Status, StatusRequest};
use crate::connect::{Context, PATIENCE, Purpose, is_served};
use crate::error::CommandError;
use crate::home::Home;
use crate::ui::{Line, Ui, human};

/// How long running requests may take to end once the daemon is to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Runs a daemon in this process until it is interrupted or asked to stop.
pub(crate) fn run(purpose: &Purpose, cx: &mut Context) -> Result<(), CommandError> {
    let home = &cx.home;
    home.create()?;
    let Ok(_lock) = home.lock_or(PATIENCE, || is_served(home).then_some(()))? else {
        return Err(already_runs(home)?);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::io("starting the daemon", home.dir().display(), &error))?;
    let service = (cx.open)(home, purpose)?;
    let served = runtime.block_on(serve(home, &service, &mut cx.ui));
    cx.ui.note(&Line::from("stopping"));
    runtime.shutdown_timeout(GRACE);
    let closed = service.shutdown();
    // It is stale from now on; should it stay, the next daemon replaces it.
    let _ = fs::remove_file(home.socket());
    served.and(closed.map_err(CommandError::from))
}

/// Leaves the terminal's session, so that its end does not end the daemon.
pub(crate) fn leave_session() -> Result<(), CommandError> {
    let left = rustix::process::setsid().map_err(io::Error::from);
    left.map(|_| ()).map_err(|error| CommandError::io("leaving the session", "the daemon", &error))
}

async fn serve(home: &Home, service: &Arc<dyn Service>, ui: &mut Ui) -> Result<(), CommandError> {
    let failed = |error| CommandError::io("serving", home.socket().display(), &error);
    let stop = Arc::new(Notify::new());
    let stopped = until_stopped(Arc::clone(&stop)).map_err(failed)?;
    let asked = Arc::clone(service);
    let status = tokio::task::spawn_blocking(move || {
        asked.init(&InitRequest { name: None })?;
        asked.status(&StatusRequest { target: None })
    });
    let status = status.await.map_err(|fault| CommandError::new(ErrorKind::Failed, fault.to_string()))??;
    // From here on commands ask the daemon, so it says that it is up only now.
    let listener = bind(home)?;
    announce(&status, ui);
    let (ended, mut end) = tokio::sync::watch::channel(());
    let stopping = Arc::clone(service);
    let graceful = async move {
        stopped.await;
        stopping.stopping();
        drop(ended);
    };
    let api = Api { service: Arc::clone(service), stop };
    let server = axum::serve(listener, router(api)).with_graceful_shutdown(graceful).into_future();
    tokio::select! {
        done = server => done.map_err(failed),
        () = async { let _ = end.changed().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

/// Replaces what a dead daemon left. The caller holds the home's lock, so no live one can be meant.
fn bind(home: &Home) -> Result<UnixListener, CommandError> {
    let socket = home.socket();
    let fresh = home.dir().join("api.sock.new");
    let bound = || -> io::Result<UnixListener> {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        // Closed to others before it has the name that anybody would connect to.
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        fs::rename(&fresh, &socket)?;
        Ok(listener)
    };
    bound().map_err(|error| {
        let error = CommandError::io("making the socket", socket.display(), &error);
        error.hint("a socket's path has at most 107 bytes: try a shorter --home")
    })
}

/// Ends at SIGINT, at SIGTERM or when the API was asked to stop. Signals are caught from the call on.
fn until_stopped(stop: Arc<Notify>) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = stop.notified() => {}
        }
    })
}

fn announce(status: &Status, ui: &mut Ui) {
    let peer = &status.peer;
    ui.note(&Line::new().text(format!("pfs {}, peer ", peer.version)).bold(&peer.name).text(" ").id(&peer.id));
    if let Some(daemon) = &status.daemon {
        ui.note(&Line::from(format!("listening on {}", daemon.listen)));
    }
    for volume in &status.volumes {
        let path = volume.path.as_ref().map_or_else(String::new, |path| format!("  {}", human::on_disk(path)));
        ui.note(&Line::new().text("volume ").bold(&volume.name).text(path));
    }
}

/// Two daemons on one home: names the one that was first.
fn already_runs(home: &Home) -> Result<CommandError, CommandError> {
    let pid = home.try_lock()?.err().and_then(|holder| holder.pid);
    let pid = pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
    let message = format!("a daemon already runs on {}{pid}", home.dir().display());
    Ok(CommandError::new(ErrorKind::Failed, message)
        .hint("`pfs daemon stop` stops it; --home names another peer's home"))
}
