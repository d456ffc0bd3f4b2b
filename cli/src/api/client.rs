//! Asks a peer through its API: over the home's socket where a daemon runs, else of the same router in this
//! process. It is a `Service` itself, so commands do not know the difference.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::http::header::HOST;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::service::{ErrorKind, OnProgress, Result, Service, ServiceError, Sink};
use super::stream::Event;
use super::types::{
    CaptureRequest, Captured, CatRequest, Collected, DiffItem, DiffRequest, EventLine, EventsRequest, Fork,
    ForksRequest, GcRequest, InitRequest, Initialised, InviteRequest, Invited, JoinRequest, Joined, LogLine,
    LogRequest, LsLine, LsRequest, PeerAddress, PeerAddressRequest, PeerRemoveRequest, PeerRemoved, PeerStatus,
    PeersRequest, ResolveRequest, Resolved, RestoreRequest, Restored, ShowRequest, Shown, Status, StatusRequest,
    TrackRequest, UntrackRequest, Untracked, Verified, VerifyRequest,
};

/// One event is never longer: far above the longest path with its ids.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// Speaks the API.
pub(crate) struct Client {
    runtime: Runtime,
    to: To,
}

/// Who answers.
enum To {
    /// The daemon behind this socket.
    Socket(PathBuf),
    /// This process.
    Here(Router),
}

impl Client {
    /// A client of the daemon behind `socket`, which need not run yet.
    pub(crate) fn of_socket(socket: PathBuf) -> io::Result<Self> {
        Ok(Self { runtime: runtime()?, to: To::Socket(socket) })
    }

    /// A client of this process's own router.
    pub(crate) fn of_router(router: Router) -> io::Result<Self> {
        Ok(Self { runtime: runtime()?, to: To::Here(router) })
    }

    /// Sends one request; an error reply is an `Err`.
    async fn send<Q: Serialize>(&self, method: &str, request: &Q) -> Result<Response> {
        let json = serde_json::to_vec(request).expect("requests have string keys only");
        let request = Request::post(format!("/v1/{method}")).header(HOST, "pfs").body(Body::from(json));
        let request = request.expect("the parts are valid");
        let response = match &self.to {
            To::Socket(path) => ask(path, request).await?,
            To::Here(router) => match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken_off)?.to_bytes();
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| {
            ServiceError::new(ErrorKind::Failed, format!("the daemon answered {method} with {status}")).hint(
                "the daemon and this program may be of different versions: `pfs daemon stop`, then `pfs daemon start`",
            )
        }))
    }

    fn call<Q: Serialize, R: DeserializeOwned>(&self, method: &str, request: &Q) -> Result<R> {
        self.runtime.block_on(async {
            let body = self.send(method, request).await?.into_body();
            decode(&body.collect().await.map_err(broken_off)?.to_bytes())
        })
    }

    /// Reads events until the last one.
    fn events<Q: Serialize, T: DeserializeOwned, R: DeserializeOwned>(
        &self,
        method: &str,
        request: &Q,
        mut each: impl FnMut(Part<T>) -> ControlFlow<()>,
    ) -> Result<Option<R>> {
        self.runtime.block_on(async {
            let mut body = self.send(method, request).await?.into_body();
            let mut buffer = Vec::new();
            while let Some(data) = next(&mut body).await? {
                buffer.extend_from_slice(&data);
                let mut rest = buffer.as_slice();
                while let Some(end) = rest.iter().position(|&b| b == b'\n') {
                    let flow = match decode(&rest[..end])? {
                        Event::Progress(progress) => each(Part::Progress(progress)),
                        Event::Item(item) => each(Part::Item(item)),
                        Event::Done(result) => return Ok(Some(result)),
                        Event::Error(error) => return Err(error),
                    };
                    if flow.is_break() {
                        return Ok(None);
                    }
                    rest = &rest[end + 1..];
                }
                let read = buffer.len() - rest.len();
                buffer.drain(..read);
                if buffer.len() > EVENT_BYTES_MAX {
                    return Err(cut_off("an event is too long"));
                }
            }
            Err(cut_off("the reply ended early"))
        })
    }

    fn long<Q: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        request: &Q,
        progress: OnProgress<'_>,
    ) -> Result<R> {
        let done = self.events(method, request, |part: Part<()>| {
            if let Part::Progress(report) = part {
                progress(report);
            }
            ControlFlow::Continue(())
        })?;
        Ok(done.expect("reading goes on to the result"))
    }

    fn list<Q: Serialize, T: DeserializeOwned>(&self, method: &str, request: &Q, each: Sink<'_, T>) -> Result<()> {
        let end = self.events(method, request, |part| match part {
            Part::Item(item) => each(item),
            Part::Progress(_) => ControlFlow::Continue(()),
        });
        end.map(|_: Option<()>| ())
    }
}

/// What comes before the last event.
enum Part<T> {
    Progress(super::types::Progress),
    Item(T),
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

async fn ask(socket: &PathBuf, request: Request<Body>) -> Result<Response> {
    let lost = |why: String| {
        ServiceError::new(ErrorKind::Failed, format!("no answer from the daemon at {}: {why}", socket.display()))
            .hint("`pfs daemon status` says whether it runs; HOME/daemon.log says what happened")
    };
    let stream = UnixStream::connect(socket).await.map_err(|error| lost(error.to_string()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| lost(error.to_string()))?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| lost(error.to_string()))?;
    Ok(response.map(Body::new))
}

/// The next bytes of a body.
async fn next(body: &mut Body) -> Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken_off)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn decode<R: DeserializeOwned>(json: &[u8]) -> Result<R> {
    serde_json::from_slice(json).map_err(|error| {
        ServiceError::new(ErrorKind::Failed, format!("the daemon's reply cannot be read: {error}")).hint(
            "the daemon and this program may be of different versions: `pfs daemon stop`, then `pfs daemon start`",
        )
    })
}

/// A body that broke off: with the service's own words where it came from this process.
fn broken_off(error: axum::Error) -> ServiceError {
    match error.into_inner().downcast() {
        Ok(said) => *said,
        Err(other) => cut_off(other),
    }
}

fn cut_off(why: impl std::fmt::Display) -> ServiceError {
    ServiceError::new(ErrorKind::Failed, format!("the reply was cut off: {why}"))
        .hint("HOME/daemon.log says what happened; nothing is lost by asking again")
}

impl Service for Client {
    fn init(&self, request: &InitRequest) -> Result<Initialised> {
        self.call("init", request)
    }

    fn track(&self, request: &TrackRequest, progress: OnProgress<'_>) -> Result<Captured> {
        self.long("track", request, progress)
    }

    fn untrack(&self, request: &UntrackRequest) -> Result<Untracked> {
        self.call("untrack", request)
    }

    fn capture(&self, request: &CaptureRequest, progress: OnProgress<'_>) -> Result<Vec<Captured>> {
        self.long("capture", request, progress)
    }

    fn status(&self, request: &StatusRequest) -> Result<Status> {
        self.call("status", request)
    }

    fn log(&self, request: &LogRequest, each: Sink<'_, LogLine>) -> Result<()> {
        self.list("log", request, each)
    }

    fn show(&self, request: &ShowRequest) -> Result<Shown> {
        self.call("show", request)
    }

    fn cat(&self, request: &CatRequest, each: Sink<'_, Vec<u8>>) -> Result<()> {
        self.runtime.block_on(async {
            let mut body = self.send("cat", request).await?.into_body();
            while let Some(data) = next(&mut body).await? {
                if each(data.into()).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn ls(&self, request: &LsRequest, each: Sink<'_, LsLine>) -> Result<()> {
        self.list("ls", request, each)
    }

    fn diff(&self, request: &DiffRequest, each: Sink<'_, DiffItem>) -> Result<()> {
        self.list("diff", request, each)
    }

    fn forks(&self, request: &ForksRequest) -> Result<Vec<Fork>> {
        self.call("forks", request)
    }

    fn resolve(&self, request: &ResolveRequest) -> Result<Resolved> {
        self.call("resolve", request)
    }

    fn restore(&self, request: &RestoreRequest) -> Result<Restored> {
        self.call("restore", request)
    }

    fn invite(&self, request: &InviteRequest) -> Result<Invited> {
        self.call("invite", request)
    }

    fn join(&self, request: &JoinRequest, progress: OnProgress<'_>) -> Result<Joined> {
        self.long("join", request, progress)
    }

    fn peers(&self, request: &PeersRequest) -> Result<Vec<PeerStatus>> {
        self.call("peers", request)
    }

    fn peer_remove(&self, request: &PeerRemoveRequest) -> Result<PeerRemoved> {
        self.call("peer_remove", request)
    }

    fn peer_address(&self, request: &PeerAddressRequest) -> Result<PeerAddress> {
        self.call("peer_address", request)
    }

    fn verify(&self, request: &VerifyRequest, progress: OnProgress<'_>) -> Result<Verified> {
        self.long("verify", request, progress)
    }

    fn gc(&self, request: &GcRequest) -> Result<Collected> {
        self.call("gc", request)
    }

    fn events(&self, request: &EventsRequest, each: Sink<'_, EventLine>) -> Result<()> {
        self.list("events", request, each)
    }

    fn shutdown(&self) -> Result<()> {
        self.call("shutdown", &())
    }
}
