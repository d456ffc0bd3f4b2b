//! Requests that are nearly right, against a real peer: every one has an answer in words, and none makes the service
//! panic. Those that write where a path says are left out, for a damaged path leads anywhere.

use std::fs;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use pfs_fixtures::damage::damaged;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tower::ServiceExt as _;

use super::open;
use crate::api::router::{Api, router};
use crate::api::types::{CaptureRequest, RawPath, TrackRequest};
use crate::connect::Purpose;
use crate::home::Home;

/// A peer with a volume `v`, in which `f` has two versions.
fn peer(dir: &tempfile::TempDir) -> Router {
    let home = Home::new(Some(dir.path().join("home"))).unwrap();
    let service = open(&home, &Purpose::Command).unwrap();
    let tree = dir.path().join("v");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/f"), "one\n").unwrap();
    let request = TrackRequest { dir: tree.as_path().into(), name: None, replicas: None };
    service.track(&request, &mut |_| {}).unwrap();
    fs::write(tree.join("sub/f"), "another\n").unwrap();
    service.capture(&CaptureRequest { volume: None, force: false, bring_back: false }, &mut |_| {}).unwrap();
    router(Api { service, stop: Arc::new(Notify::new()) })
}

/// What is asked of each route, in form.
const ASKED: [(&str, &str); 16] = [
    ("status", r#"{"target":{"text":"v:sub","absolute":"/"}}"#),
    (
        "log",
        r#"{"target":{"text":"v:sub/f","absolute":"/x"},"limit":3,"since":"2026-11-20T14:03:11.000Z","origin":"a"}"#,
    ),
    ("log", r#"{"until":"9999-12-30T22:00:00Z","limit":18446744073709551615}"#),
    ("show", r#"{"patch":"123456"}"#),
    ("cat", r#"{"target":{"text":"v:sub/f","absolute":"/x"},"at":{"time":"2026-11-20T14:03:11.000Z"}}"#),
    ("cat", r#"{"target":{"text":"v:sub/f","absolute":"/x"},"head":"123456"}"#),
    ("ls", r#"{"target":{"text":"v:","absolute":"/x"},"at":{"patch":"123456"},"recursive":true}"#),
    ("diff", r#"{"target":{"text":"v:","absolute":"/x"},"from":{"time":"0001-01-01T00:00:00Z"}}"#),
    ("forks", r#"{"target":{"text":"v:s\\xffub","absolute":"/x"}}"#),
    ("resolve", r#"{"targets":[{"text":"v:","absolute":"/x"}],"choice":"newest"}"#),
    ("invite", r#"{"volume":"v","role":"writer","expires":"2026-11-27T14:03:11.000Z","uses":1}"#),
    ("peers", r#"{"volume":"v"}"#),
    ("peer_remove", r#"{"peer":"ben","volume":"v"}"#),
    ("verify", r#"{"volume":"v","repair":false}"#),
    ("gc", r#"{"within":{"seconds":18446744073709551615},"last":4294967295,"dry_run":true,"remember":false}"#),
    ("capture", r#"{"volume":"v","force":false}"#),
];

#[test]
fn damaged_requests_are_answered_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let (router, runtime) = (peer(&dir), Runtime::new().unwrap());
    let asked = std::env::var("PFS_FUZZ_COUNT").ok().and_then(|count| count.parse().ok());
    let config = Config { cases: asked.unwrap_or(300), failure_persistence: None, ..Config::default() };
    for (route, body) in ASKED {
        let check = |body: Vec<u8>| {
            let (status, said) = runtime.block_on(ask(&router, route, body));
            prop_assert!(status != 500 && !said.contains("panicked"), "{status} {said}");
            prop_assert!(status == 200 || said.starts_with(r#"{"kind":"#), "{status} {said}");
            Ok::<_, TestCaseError>(())
        };
        check(body.as_bytes().to_vec()).unwrap_or_else(|error| panic!("{route}: undamaged: {error}"));
        let samples = ASKED.iter().map(|(_, body)| body.as_bytes().to_vec()).collect::<Vec<_>>();
        let samples = [vec![body.as_bytes().to_vec(); samples.len()], samples].concat();
        let played = TestRunner::new(config.clone())
            .run(&damaged(samples).prop_map(RawPath::from), |body| check(body.as_bytes().to_vec()));
        played.unwrap_or_else(|error| panic!("{route}: {error}"));
    }
}

async fn ask(router: &Router, route: &str, body: Vec<u8>) -> (u16, String) {
    let request = Request::post(format!("/v1/{route}")).body(Body::from(body)).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    // A body that breaks off says why where it broke.
    let said = match response.into_body().collect().await {
        Ok(said) => String::from_utf8_lossy(&said.to_bytes()).into_owned(),
        Err(error) => format!("{{\"kind\":\"{error}\"}}"),
    };
    (status, said)
}
