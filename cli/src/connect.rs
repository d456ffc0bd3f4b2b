//! From a home to somebody who answers: its daemon, or the service opened in this process.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::api::client::Client;
use crate::api::router::{Api, router};
use crate::api::service::{self, ErrorKind, Service};
use crate::error::CommandError;
use crate::home::{Home, Lock};
use crate::ui::Ui;

/// How long a command waits for another one to let go of the home.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a service is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One command. It may dial peers where the command needs them; it neither listens nor watches.
    Command,
    /// A daemon: captures, listens, syncs until it is shut down.
    Daemon {
        /// Port 0: any free one.
        listen: SocketAddr,
        /// Whether to find and be found on the local network.
        discovery: bool,
    },
}

/// Opens the service of a home, whose lock the caller holds. A home without a peer opens, too.
pub(crate) type Open = fn(&Home, &Purpose) -> service::Result<Arc<dyn Service>>;

/// What every command works with.
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) home: Home,
    pub(crate) open: Open,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
}

impl Context {
    /// Asks the peer of this home.
    pub(crate) fn ask<T>(
        &mut self,
        question: impl FnOnce(&dyn Service, &mut Ui) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        if !self.home.dir().exists() {
            let message = format!("there is no peer in {}", self.home.dir().display());
            return Err(CommandError::new(ErrorKind::NotFound, message)
                .hint("`pfs track DIR` makes one and its first volume, `pfs join TICKET` joins another's"));
        }
        let connection = Connection::open(&self.home, self.open)?;
        let answer = question(&connection.client, &mut self.ui);
        let closed = connection.close();
        answer.and_then(|answer| closed.map(|()| answer))
    }

    /// Asks the peer of this home, which need not exist yet.
    pub(crate) fn ask_or_create<T>(
        &mut self,
        question: impl FnOnce(&dyn Service, &mut Ui) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        self.home.create()?;
        self.ask(question)
    }
}

/// Somebody who answers.
struct Connection {
    client: Client,
    /// The service, where it runs in this process, and the right to do so.
    here: Option<(Arc<dyn Service>, Lock)>,
}

impl Connection {
    fn open(home: &Home, open: Open) -> Result<Self, CommandError> {
        let started = |error| CommandError::io("starting the client", home.dir().display(), &error);
        let served = || is_served(home).then_some(());
        let Ok(lock) = home.lock_or(PATIENCE, served)? else {
            let client = Client::of_socket(home.socket()).map_err(started)?;
            return Ok(Self { client, here: None });
        };
        let service = open(home, &Purpose::Command)?;
        let api = Api { service: Arc::clone(&service), stop: Arc::new(Notify::new()) };
        let client = Client::of_router(router(api)).map_err(started)?;
        Ok(Self { client, here: Some((service, lock)) })
    }

    fn close(self) -> Result<(), CommandError> {
        if let Some((service, _lock)) = &self.here {
            service.shutdown()?;
        }
        Ok(())
    }
}

/// Whether a daemon answers on the home's socket.
pub(crate) fn is_served(home: &Home) -> bool {
    UnixStream::connect(home.socket()).is_ok()
}
