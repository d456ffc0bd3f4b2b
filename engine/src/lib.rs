//! One peer's truth: what was written, by whom, and what the tree on this disk should show.
//!
//! ```text
//!   disk ── look ──▶ plan::capture ──▶ patches ─▶ one entry ─▶ one commit ──▶ store
//!    ▲                                                            ▲              │
//!    └── steps ◀── plan::materialise ◀── model::view ◀── facts ───┼──────────────┘
//!                                          entries of other peers ┘
//! ```
//!
//! `model` holds pure values, `plan` pure decisions; `store` is the only room that knows RocksDB, `disk` the only
//! one that touches the file system. `control` is the one thread that gathers facts, lets the plans decide,
//! carries them out and commits; [`Engine`] is a handle on it. Begin with `control/capture.rs` and
//! `control/materialise.rs`: the two ways through the picture.

pub mod content;
pub(crate) mod control;
pub mod disk;
pub mod engine;
pub mod environment;
pub mod error;
pub mod failpoint;
pub mod gc;
pub mod handle;
pub mod ingest;
mod keep;
pub mod limits;
pub mod model;
pub mod plan;
pub mod query;
pub mod store;

pub use control::{Captured, Dispute, NoRoom, Problem, RestoreReport, Rotten, Verified};
pub use engine::{Engine, Event, Options, Progress};
pub use error::EngineError;
