//! What is asked and what is answered, field by field as the command line's contract promises it: times are
//! RFC 3339 with milliseconds, ids hexadecimal, sizes bytes. Fields may be added, never renamed.

mod fork;
mod gc;
mod history;
mod member;
mod volume;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) use self::fork::*;
pub(crate) use self::gc::*;
pub(crate) use self::history::*;
pub(crate) use self::member::*;
pub(crate) use self::volume::*;
pub(crate) use super::path::RawPath;

/// A wall-clock time; in JSON RFC 3339 in UTC with exactly three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WallTime(pub(crate) Timestamp);

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WallTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

/// Permission bits; in JSON octal, as `chmod` takes them: `"0644"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u16);

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u16::from_str_radix(&String::deserialize(deserializer)?, 8).map(Self).map_err(de::Error::custom)
    }
}

/// A peer or volume by id and by the name that people use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    /// Hexadecimal, 64 digits.
    pub(crate) id: String,
    pub(crate) name: String,
}

/// A PATH or VOLUME argument: as typed (`VOLUME`, `VOLUME:path` or a path on disk), and made absolute
/// without following its last component, for the case that it is a path on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) text: RawPath,
    pub(crate) absolute: RawPath,
}

/// A REV argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Revision {
    /// A patch id or its unique prefix, at least 6 lower-case hexadecimal digits.
    Patch(String),
    /// The tree as it was then.
    Time(WallTime),
}

/// What a member may do. Of those that do not work yet the command line does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Reads and writes.
    Writer,
    /// Follows; never writes.
    #[value(hide = true)]
    Mirror,
    /// Stores; has no tree.
    #[value(hide = true)]
    Vault,
    /// Writes through other peers; holds nothing.
    #[value(hide = true)]
    Thin,
}

/// How much of a volume's contents a member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Holding {
    /// A full copy.
    All,
    /// What placement gives it, what it wrote, what it uses.
    #[value(hide = true)]
    Share,
    /// Nothing (thin members only).
    #[value(skip)]
    None,
}

/// How far long work has come. Totals are absent while they are not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) files_total: Option<u64>,
    pub(crate) bytes_total: Option<u64>,
}

/// What long work is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Looking at names and stat signatures.
    Scanning,
    /// Reading, hashing and storing contents.
    Capturing,
    /// Receiving from peers.
    Fetching,
    /// Writing to the tracked directory.
    Writing,
    /// Hashing what is stored.
    Verifying,
}

/// Something that could not be carried or done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) volume: String,
    pub(crate) path: RawPath,
    pub(crate) reason: String,
}
