//! The HTTP/JSON interface: one route a method, `POST /v1/<method>` with the request as JSON. Lists and long
//! work answer with newline-delimited events, `cat` with bytes. Errors are `{kind, message, hint}`.
//!
//! By hand: `curl --unix-socket HOME/api.sock -d '{}' http://pfs/v1/status`.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::service::{ErrorKind, OnProgress, Result, Service, ServiceError, Sink};
use super::stream::{Event, reply};

/// The content type of streamed events.
const EVENTS: &str = "application/x-ndjson";

/// A method that reports progress.
type Long<Q, R> = fn(&dyn Service, &Q, OnProgress<'_>) -> Result<R>;
/// A method that hands out items.
type List<Q, T> = fn(&dyn Service, &Q, Sink<'_, T>) -> Result<()>;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Api {
    /// Who answers.
    pub(crate) service: Arc<dyn Service>,
    /// Told when somebody asks the daemon to stop.
    pub(crate) stop: Arc<Notify>,
}

/// The whole interface.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/init", call(|s, q| s.init(q)))
        .route("/v1/track", long(|s, q, p| s.track(q, p)))
        .route("/v1/untrack", call(|s, q| s.untrack(q)))
        .route("/v1/capture", long(|s, q, p| s.capture(q, p)))
        .route("/v1/status", call(|s, q| s.status(q)))
        .route("/v1/log", list(|s, q, each| s.log(q, each)))
        .route("/v1/show", call(|s, q| s.show(q)))
        .route("/v1/cat", bytes(|s, q, each| s.cat(q, each)))
        .route("/v1/ls", list(|s, q, each| s.ls(q, each)))
        .route("/v1/diff", list(|s, q, each| s.diff(q, each)))
        .route("/v1/forks", call(|s, q| s.forks(q)))
        .route("/v1/resolve", call(|s, q| s.resolve(q)))
        .route("/v1/restore", call(|s, q| s.restore(q)))
        .route("/v1/invite", call(|s, q| s.invite(q)))
        .route("/v1/join", long(|s, q, p| s.join(q, p)))
        .route("/v1/peers", call(|s, q| s.peers(q)))
        .route("/v1/peer_remove", call(|s, q| s.peer_remove(q)))
        .route("/v1/peer_address", call(|s, q| s.peer_address(q)))
        .route("/v1/verify", long(|s, q, p| s.verify(q, p)))
        .route("/v1/gc", call(|s, q| s.gc(q)))
        .route("/v1/events", live(|s, q, each| s.events(q, each)))
        .route("/v1/shutdown", post(shutdown))
        .fallback(async || Refusal(ServiceError::new(ErrorKind::NotFound, "the API has no such route")))
        .with_state(api)
}

/// An error as a reply.
pub(super) struct Refusal(pub(super) ServiceError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Refused => StatusCode::CONFLICT,
            ErrorKind::Usage => StatusCode::BAD_REQUEST,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

/// Asks for the daemon's end and answers at once; the end comes when running requests are answered.
async fn shutdown(State(api): State<Api>) -> Json<()> {
    api.stop.notify_one();
    Json(())
}

fn parse<Q: DeserializeOwned>(body: &[u8]) -> Result<Q> {
    serde_json::from_slice(body)
        .map_err(|error| ServiceError::new(ErrorKind::Usage, format!("the request cannot be read: {error}")))
}

/// A method with one answer.
fn call<Q, R>(method: fn(&dyn Service, &Q) -> Result<R>) -> MethodRouter<Api>
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
{
    post(async move |State(api): State<Api>, body: Bytes| {
        let answer = tokio::task::spawn_blocking(move || method(&*api.service, &parse(&body)?)).await;
        match answer {
            Ok(Ok(result)) => Json(result).into_response(),
            Ok(Err(error)) => Refusal(error).into_response(),
            Err(fault) => Refusal(ServiceError::new(ErrorKind::Failed, fault.to_string())).into_response(),
        }
    })
}

/// A method that reports progress before its answer.
fn long<Q, R>(method: Long<Q, R>) -> MethodRouter<Api>
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
{
    post(async move |State(api): State<Api>, body: Bytes| {
        reply(EVENTS, move |mut sender| {
            let result = parse(&body).and_then(|q| method(&*api.service, &q, &mut |p| sender.progress(p)));
            sender.finish(result);
        })
        .await
    })
}

/// A method that answers with a list.
fn list<Q, T>(method: List<Q, T>) -> MethodRouter<Api>
where
    Q: DeserializeOwned + Send + 'static,
    T: Serialize + Send + 'static,
{
    post(async move |State(api): State<Api>, body: Bytes| {
        reply(EVENTS, move |mut sender| {
            let mut each = |item| sender.event(&Event::<T, ()>::Item(item));
            let result = parse(&body).and_then(|q| method(&*api.service, &q, &mut each));
            sender.finish(result);
        })
        .await
    })
}

/// A method that answers with a list that goes on: each item travels at once.
fn live<Q, T>(method: List<Q, T>) -> MethodRouter<Api>
where
    Q: DeserializeOwned + Send + 'static,
    T: Serialize + Send + 'static,
{
    post(async move |State(api): State<Api>, body: Bytes| {
        reply(EVENTS, move |mut sender| {
            let mut each = |item| sender.at_once(&Event::<T, ()>::Item(item));
            let result = parse(&body).and_then(|q| method(&*api.service, &q, &mut each));
            sender.finish(result);
        })
        .await
    })
}

/// A method that answers with bytes.
fn bytes<Q>(method: List<Q, Vec<u8>>) -> MethodRouter<Api>
where
    Q: DeserializeOwned + Send + 'static,
{
    post(async move |State(api): State<Api>, body: Bytes| {
        reply("application/octet-stream", move |mut sender| {
            let mut each =
                |piece: Vec<u8>| if piece.is_empty() { ControlFlow::Continue(()) } else { sender.frame(piece) };
            let result = parse(&body).and_then(|q| method(&*api.service, &q, &mut each));
            if let Err(error) = result {
                sender.fail(error);
            }
        })
        .await
    })
}
