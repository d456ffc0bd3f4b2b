//! The interface as other programs see it, and what the client makes of it.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use tower::ServiceExt as _;

use super::client::Client;
use super::router::{Api, router};
use super::service::{ErrorKind, Service as _};
use super::types::{CaptureRequest, CatRequest, LogRequest, Target};
use crate::connect::Purpose;
use crate::home::Home;
use crate::tests::fake;

fn fake_router(dir: &tempfile::TempDir) -> Router {
    let service = fake::open(&Home::new(Some(dir.path().into())).unwrap(), &Purpose::Command).unwrap();
    router(Api { service, stop: Arc::new(Notify::new()) })
}

fn post(dir: &tempfile::TempDir, route: &str, body: &str) -> (StatusCode, String) {
    let request = Request::post(route).body(Body::from(body.to_owned())).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let response = fake_router(dir).oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    })
}

fn target(text: &str) -> Target {
    Target { text: text.into(), absolute: text.into() }
}

fn log_of(text: &str) -> LogRequest {
    LogRequest { target: Some(target(text)), limit: None, since: None, until: None, origin: None }
}

#[test]
fn failures_have_a_status_and_a_kind() {
    let dir = tempfile::tempdir().unwrap();
    let table = [
        ("/v1/nothing", "{}", 404, "not_found"),
        ("/v1/status", "{", 400, "usage"),
        ("/v1/untrack", "{}", 400, "usage"),
        ("/v1/untrack", r#"{"volume":"missing"}"#, 404, "not_found"),
        ("/v1/capture", r#"{"volume":"refused"}"#, 409, "refused"),
        ("/v1/cat", r#"{"target":{"text":"missing","absolute":"/"}}"#, 404, "not_found"),
        ("/v1/ls", r#"{"target":{"text":"\\q","absolute":"/"},"recursive":false}"#, 400, "usage"),
    ];
    for (route, body, status, kind) in table {
        let (got, text) = post(&dir, route, body);
        assert_eq!(got, status, "{route} {text}");
        assert!(text.starts_with(&format!(r#"{{"kind":"{kind}","message":"#)), "{route} {text}");
    }
}

#[test]
fn long_replies_are_lines_and_say_how_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let kinds = |route: &str, body: &str| -> Vec<String> {
        let (status, text) = post(&dir, route, body);
        assert_eq!(status, 200);
        let kind = |line: &str| line[2..].split('"').next().unwrap().to_owned();
        text.lines().map(kind).collect()
    };
    assert_eq!(kinds("/v1/log", "{}"), ["item", "item", "item", "done"]);
    let half = r#"{"target":{"text":"half","absolute":"/"}}"#;
    assert_eq!(kinds("/v1/log", half), ["item", "item", "item", "error"]);
    let captured = kinds("/v1/capture", "{}");
    assert_eq!((captured[0].as_str(), captured.last().unwrap().as_str()), ("progress", "done"));
}

#[test]
fn the_client_gives_back_what_the_service_said() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::of_router(fake_router(&dir)).unwrap();

    let mut seen = 0;
    let half = client.log(&log_of("half"), &mut |_| {
        seen += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((seen, half.unwrap_err().message.as_str()), (3, "the store is damaged"));

    let refused = client
        .capture(&CaptureRequest { volume: Some("half".to_owned()), force: false, bring_back: false }, &mut |_| ());
    assert_eq!(refused.unwrap_err().message, "the disk went away");

    let cat = |text: &str| CatRequest { target: target(text), at: None, head: None };
    let mut bytes = Vec::new();
    let all = client.cat(&cat("big"), &mut |piece| {
        bytes.extend(piece);
        ControlFlow::Continue(())
    });
    all.unwrap();
    assert!(bytes.chunks(256 << 10).map(|piece| (piece.len(), piece[0])).eq((0..100).map(|n| (256 << 10, n))));
    let broken = client.cat(&cat("half"), &mut |_| ControlFlow::Continue(()));
    assert!(broken.unwrap_err().message.contains("a chunk is damaged"));
}

#[test]
fn a_client_without_its_daemon_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::of_socket(dir.path().join("none.sock")).unwrap();
    let error = client.shutdown().unwrap_err();
    assert!(error.kind == ErrorKind::Failed && error.message.starts_with("no answer from the daemon"), "{error}");
}
