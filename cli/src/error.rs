//! Why a command failed, in the form that people get it: what failed, on what, why; and what to do next.

use std::fmt::Display;
use std::io;

use serde::Serialize;

use crate::api::service::{ErrorKind, ServiceError};

/// What a command failed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CommandError {
    pub(crate) kind: Kind,
    /// What failed, on what and why.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

/// What kind of failure; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Kind {
    /// The service said so, or the command itself found out.
    Service(ErrorKind),
    /// Whoever read the output has gone: nobody to tell.
    NoReader,
}

/// The part of every command's help that scripts need.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; with `status --check`, something needs a person
  2  wrong usage
  3  no such path, peer, patch or volume
  4  timed out
  5  refused to protect data";

impl CommandError {
    /// Without a hint.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind: Kind::Service(kind), message: message.into(), hint: None }
    }

    /// A failed operation of the system: what was attempted, on what.
    pub(crate) fn io(what: impl Display, on: impl Display, source: &io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Failed,
        };
        let error = Self::new(kind, format!("{what}: {on}: {source}"));
        match io_hint(source.kind()) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Standard output took no more.
    pub(crate) fn output(source: &io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self { kind: Kind::NoReader, message: source.to_string(), hint: None },
            _ => Self::new(ErrorKind::Failed, format!("writing to standard output: {source}")),
        }
    }

    /// With what to do next.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::NoReader => 0,
            Kind::Service(kind) => exit_code(kind),
        }
    }
}

/// The exit code of a kind of failure, as `EXIT_CODES` tells them.
pub(crate) fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Failed => 1,
        ErrorKind::Usage => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::Timeout => 4,
        ErrorKind::Refused => 5,
    }
}

/// What to do about what the system refused, where there is one thing to do.
pub(crate) fn io_hint(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::PermissionDenied => Some("this user may not: look at the owner and mode with `ls -ld`"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room on that disk, then run the command again")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("remount it writable"),
        io::ErrorKind::NotADirectory => Some("name a directory"),
        _ => None,
    }
}

impl From<ServiceError> for CommandError {
    fn from(error: ServiceError) -> Self {
        Self { kind: Kind::Service(error.kind), message: error.message, hint: error.hint }
    }
}
