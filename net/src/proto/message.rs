//! What peers say to each other: on the control stream, and in a request for chunks.
//!
//! Every message is one postcard value in one frame. New kinds are added at the end and raise the protocol
//! version; `Hello` stays readable for ever, so that two versions can tell each other that they differ.

use core::net::SocketAddr;
use std::fmt;

use pfs_engine::model::codec::{self, DecodeError};
use pfs_engine::model::entry::{Holding, SignedEntry};
use pfs_engine::model::frontier::Frontier;
use pfs_engine::model::ids::{ChunkId, PeerId, VolumeId};
use serde::{Deserialize, Serialize};

use super::limits::{ADDRESSES_MAX, PEERS_MAX, TEXT_BYTES_MAX, WANT_IDS_MAX};

/// The version of the conversation; both sides must speak the same.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a ticket holds and a joiner shows: who knows it may join.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The first message of each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `PROTOCOL_VERSION` of the sender.
    pub protocol: u32,
    /// What people call the sender.
    pub name: String,
    /// Program and version.
    pub agent: String,
    /// A random number of this run of the sender's process: a different one means that older connections
    /// lead to a process that is no more.
    pub run: u64,
    /// Where the sender listens. An unspecified IP stands for the one that the connection comes from.
    pub addresses: Vec<SocketAddr>,
}

/// What one member tells another about a third.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerNews {
    /// Who.
    pub peer: PeerId,
    /// What people call it.
    pub name: String,
    /// Where it was reached or said that it listens.
    pub addresses: Vec<SocketAddr>,
    /// How long ago it was last heard; 0 while connected.
    pub heard_ms_ago: u64,
}

/// Why a join was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such volume, or no invite with that secret has arrived there yet.
    #[error("it knows no such invite")]
    Unknown,
    /// Too late.
    #[error("the invite has expired")]
    Expired,
    /// As many as may have joined.
    #[error("the invite is used up")]
    UsedUp,
    /// This peer was removed from the volume.
    #[error("this peer was removed from the volume")]
    Removed,
    /// The member could not do it now.
    #[error("it could not admit anyone just now")]
    Unavailable,
}

/// Why a side ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Bye {
    /// The peer is going down.
    #[error("the peer is shutting down")]
    Shutdown,
    /// Another connection of the same two peers stays.
    #[error("another connection to the same peer is used")]
    Duplicate,
    /// The other side is no member any more.
    #[error("no longer a member")]
    Removed,
    /// No volume in common, and no join for a while.
    #[error("no volume in common")]
    Stranger,
    /// The other side broke the protocol.
    #[error("the protocol was broken")]
    Protocol,
    /// The other side sent what no honest peer sends.
    #[error("something forged was sent")]
    Hostile,
    /// The two speak different versions.
    #[error("another protocol version is spoken")]
    Version,
    /// No sign of life.
    #[error("nothing was heard for too long")]
    Silent,
    /// As many connections as may be.
    #[error("too many connections")]
    Busy,
}

/// One message of the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// First, once.
    Hello(Hello),
    /// "I am a member, and this is exactly what I have": forget what you thought you had sent me.
    Volume {
        /// Which volume.
        volume: VolumeId,
        /// All of what the sender durably has.
        frontier: Frontier,
    },
    /// Entries that the receiver lacks, in causal order.
    Entries {
        /// Which volume.
        volume: VolumeId,
        /// About 1 MiB, or one entry.
        entries: Vec<SignedEntry>,
    },
    /// What the sender now durably has, at least of the logs that moved since it last said so.
    Frontier {
        /// Which volume.
        volume: VolumeId,
        /// Added to what was said before.
        frontier: Frontier,
        /// How many `Entries` messages, oldest first, it answers; 0 where the news came from elsewhere.
        taken: u32,
    },
    /// "Admit me, I know the secret."
    Join {
        /// Which volume.
        volume: VolumeId,
        /// The invite's.
        secret: Secret,
        /// What people call the joiner.
        name: String,
        /// What the joiner will hold.
        holding: Holding,
    },
    /// "You are a member."
    Joined {
        /// Of which volume.
        volume: VolumeId,
    },
    /// "You are not."
    Refused {
        /// Of which volume.
        volume: VolumeId,
        /// Why.
        refusal: Refusal,
        /// The same for people.
        text: String,
    },
    /// Where other members of a volume are.
    Peers {
        /// Which volume.
        volume: VolumeId,
        /// Members other than the two that talk.
        peers: Vec<PeerNews>,
    },
    /// "Are you there?"
    Ping {
        /// Comes back in the `Pong`.
        token: u64,
    },
    /// "I am."
    Pong {
        /// The `Ping`'s.
        token: u64,
    },
    /// Last.
    Bye {
        /// Why.
        reason: Bye,
    },
}

/// The one message of a chunk stream's asker. The answers come in the order asked: a frame with the chunk as
/// it is stored, or an empty frame from a peer that lacks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Of which volume.
    pub volume: VolumeId,
    /// `WANT_IDS_MAX` at the most.
    pub ids: Vec<ChunkId>,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not the encoding of one.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A list or text longer than its bound.
    #[error("{what} is out of bounds")]
    Bounds {
        /// Which.
        what: &'static str,
    },
}

impl Message {
    /// The body of its frame.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the body of a frame and checks its bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let message: Self = codec::decode(bytes)?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Hello(hello) => {
                text("the peer's name", &hello.name)?;
                text("the agent", &hello.agent)?;
                within("the list of addresses", hello.addresses.len(), ADDRESSES_MAX)
            }
            Self::Join { name, .. } => text("the peer's name", name),
            Self::Refused { text: why, .. } => text("the explanation", why),
            Self::Peers { peers, .. } => {
                within("the list of peers", peers.len(), PEERS_MAX)?;
                peers.iter().try_for_each(|news| {
                    text("the peer's name", &news.name)?;
                    within("the list of addresses", news.addresses.len(), ADDRESSES_MAX)
                })
            }
            Self::Entries { entries, .. } => within("an empty message of entries", usize::from(entries.is_empty()), 0),
            Self::Volume { .. }
            | Self::Frontier { .. }
            | Self::Joined { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Bye { .. } => Ok(()),
        }
    }
}

impl Want {
    /// The body of its frame.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the body of a frame and checks its bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let want: Self = codec::decode(bytes)?;
        within("the list of chunks", want.ids.len(), WANT_IDS_MAX)?;
        Ok(want)
    }
}

fn text(what: &'static str, text: &str) -> Result<(), MessageError> {
    within(what, text.len(), TEXT_BYTES_MAX)
}

fn within(what: &'static str, len: usize, max: usize) -> Result<(), MessageError> {
    if len > max { Err(MessageError::Bounds { what }) } else { Ok(()) }
}

/// What an entry adds to a message; both sides count their windows by it.
pub fn entry_bytes(entry: &SignedEntry) -> usize {
    postcard::experimental::serialized_size(entry).expect("counting bytes cannot fail for our values")
}

/// `text` cut to what a message may carry, at a character's boundary.
pub fn bounded_text(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests;
