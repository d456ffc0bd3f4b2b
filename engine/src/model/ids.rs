//! Identities. Every id is 32 bytes, printed as lower-case hex, and made by hashing in a domain of its own,
//! so that no value of one kind can pass for one of another.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// Text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a 64-digit hexadecimal id: {0:?}")]
pub struct ParseIdError(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first 8 hex digits, for people.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..4])
            }

            /// The id of `bytes` in the domain `context`.
            #[allow(dead_code, reason = "some ids are keys or given, not hashed")]
            pub(crate) fn derive(context: &'static str, bytes: &[u8]) -> Self {
                Self(blake3::Hasher::new_derive_key(context).update(bytes).finalize().into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bytes = HEXLOWER.decode(text.as_bytes()).ok();
                bytes.and_then(|b| b.try_into().ok()).map(Self).ok_or_else(|| ParseIdError(text.to_owned()))
            }
        }
    };
}

id! {
    /// A node: one file, directory or symlink of a volume, wherever it now stands.
    NodeId
}
id! {
    /// A patch: the hash of its canonical encoding, without peer and time.
    PatchId
}
id! {
    /// A chunk: the hash of its raw bytes.
    ChunkId
}
id! {
    /// An entry of a log; also the link of the hash chain.
    EntryHash
}
id! {
    /// A volume: the hash of its genesis.
    VolumeId
}
id! {
    /// A peer: its Ed25519 public key.
    PeerId
}

impl NodeId {
    /// The volume's root directory. It has no patches of its own.
    pub const ROOT: Self = Self([0; 32]);
}

impl EntryHash {
    /// What the first entry of a log names as its predecessor.
    pub const NONE: Self = Self([0; 32]);
}

/// One run of a peer's log: a fresh random number whenever a peer starts a log, so that a peer restored from
/// a backup never uses a sequence number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Names one log: whose, and which run of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The peer that appends to it.
    pub origin: PeerId,
    /// Which of that peer's runs.
    pub epoch: Epoch,
}
