//! `pfs`: a patch-based, versioned file-system sync engine. Parse, run, exit code.
//!
//! `commands` holds one file a command; each asks a `Service` (`api`), which a daemon or this very process
//! answers (`connect`), and prints through `ui`.

mod api;
mod commands;
mod connect;
mod daemon;
mod error;
mod home;
mod input;
mod service;
#[cfg(test)]
mod tests;
mod ui;

use std::process::ExitCode;

/// The store, the sessions and the pools allocate from many threads; the system's allocator would keep what each
/// of them once had.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    commands::main(std::env::args_os(), service::open)
}
