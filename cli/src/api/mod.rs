//! The daemon's interface: what can be asked of a peer, as a trait; the same over HTTP/JSON; and a client
//! that speaks it through the home's socket or, where no daemon runs, to the same router in its own process.
//!
//! Whoever asks cannot tell which of the two it was: requests, replies and errors are one set of types.

pub(crate) mod client;
pub(crate) mod path;
pub(crate) mod router;
pub(crate) mod service;
mod stream;
pub(crate) mod types;

#[cfg(test)]
mod tests;
