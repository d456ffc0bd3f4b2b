//! Replies of many parts: newline-delimited JSON events, and raw bytes. A stream of events ends with `done` or
//! `error`; one that ends with neither was cut off, and the reader says so.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::router::Refusal;
use super::service::{Result, ServiceError};
use super::types::Progress;

/// Frames between the working thread and the socket: enough to keep both busy.
const FRAMES: usize = 4;
/// Lines are sent once they come to this, or after `PATIENCE`.
const FRAME_BYTES: usize = 16 << 10;
/// How long a line may wait for others, and the least time between two reports of progress.
const PATIENCE: Duration = Duration::from_millis(100);

/// One line of a reply: any number of `progress` or `item`, then one `done` or `error`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event<T, R> {
    /// How far the work has come.
    Progress(Progress),
    /// One item of a list.
    Item(T),
    /// The result.
    Done(R),
    /// It failed after it had begun.
    Error(ServiceError),
}

/// The working thread's end of a reply.
pub(super) struct Sender {
    frames: mpsc::Sender<Result<Bytes>>,
    pending: Vec<u8>,
    sent: Option<Instant>,
}

impl Sender {
    /// Puts bytes on the wire as one frame. Breaks when nobody reads any more.
    pub(super) fn frame(&mut self, bytes: Vec<u8>) -> ControlFlow<()> {
        self.sent = Some(Instant::now());
        match self.frames.blocking_send(Ok(bytes.into())) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Adds an event; several travel together where they come fast.
    pub(super) fn event<T: Serialize, R: Serialize>(&mut self, event: &Event<T, R>) -> ControlFlow<()> {
        serde_json::to_writer(&mut self.pending, event).expect("replies have string keys only");
        self.pending.push(b'\n');
        let last = matches!(event, Event::Done(_) | Event::Error(_));
        if last || self.pending.len() >= FRAME_BYTES || self.is_due() {
            let bytes = std::mem::take(&mut self.pending);
            return self.frame(bytes);
        }
        ControlFlow::Continue(())
    }

    /// The same, but nothing waits.
    pub(super) fn at_once<T: Serialize, R: Serialize>(&mut self, event: &Event<T, R>) -> ControlFlow<()> {
        self.event(event)?;
        let bytes = std::mem::take(&mut self.pending);
        if bytes.is_empty() { ControlFlow::Continue(()) } else { self.frame(bytes) }
    }

    /// Reports progress, unless it did so just now.
    pub(super) fn progress(&mut self, progress: Progress) {
        if self.is_due() {
            // The work is worth finishing whether or not anybody watches.
            let _ = self.event::<(), ()>(&Event::Progress(progress));
        }
    }

    /// Ends a list or long work. A failure before anything was sent becomes the whole reply.
    pub(super) fn finish<R: Serialize>(mut self, result: Result<R>) {
        let _ = match result {
            Ok(result) => self.event(&Event::<(), R>::Done(result)),
            Err(error) if self.sent.is_some() => self.event(&Event::<(), R>::Error(error)),
            Err(error) => {
                self.fail(error);
                return;
            }
        };
    }

    /// Breaks the reply off; before its first frame the error becomes the whole reply.
    pub(super) fn fail(self, error: ServiceError) {
        let _ = self.frames.blocking_send(Err(error));
    }

    fn is_due(&self) -> bool {
        self.sent.is_none_or(|at| at.elapsed() >= PATIENCE)
    }
}

/// Runs blocking work and replies with what it sends, once its first frame says that it did not fail at once.
pub(super) async fn reply(kind: &'static str, work: impl FnOnce(Sender) + Send + 'static) -> Response {
    let (frames, mut received) = mpsc::channel(FRAMES);
    tokio::task::spawn_blocking(move || work(Sender { frames, pending: Vec::new(), sent: None }));
    let first = match received.recv().await {
        Some(Err(error)) => return Refusal(error).into_response(),
        first => first,
    };
    let frames = stream::unfold((first, received), async |(first, mut received)| {
        let frame = match first {
            Some(frame) => Some(frame),
            None => received.recv().await,
        };
        frame.map(|frame| (frame, (None, received)))
    });
    ([(CONTENT_TYPE, kind)], Body::from_stream(frames)).into_response()
}
