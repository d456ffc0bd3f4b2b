//! The invite ticket: one string that says which volume, by what right, and whom to ask.
//!
//! `pfs1`, then base32 without padding of: version `u8`, length of the body `u16` big-endian, body (postcard),
//! the first four bytes of the BLAKE3 of all that. Case and surrounding blanks do not matter.

use core::net::SocketAddr;
use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, DecodeKind};
use pfs_engine::model::codec;
use pfs_engine::model::entry::Role;
use pfs_engine::model::ids::{PeerId, VolumeId};
use serde::{Deserialize, Serialize};

use super::limits::{ADDRESSES_MAX, PEERS_MAX};
use super::message::Secret;

const PREFIX: &str = "pfs1";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 3;
const CHECK_BYTES: usize = 4;

/// One that can be asked to admit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketPeer {
    /// Who.
    pub peer: PeerId,
    /// What people call it.
    pub name: String,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
}

/// The right to join a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Which volume.
    pub volume: VolumeId,
    /// What people call it.
    pub volume_name: String,
    /// What the invite's id is the hash of.
    pub secret: Secret,
    /// What who joins may do.
    pub role: Role,
    /// Until when, wall clock.
    pub expires_ms: u64,
    /// Members to ask, best first.
    pub peers: Vec<TicketPeer>,
}

/// Why a text is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not begin like one.
    #[error("this is no ticket: a ticket begins with `{PREFIX}`")]
    Foreign,
    /// The end is missing.
    #[error("the ticket is cut short: copy all of it, it is one long word")]
    Truncated,
    /// A character is wrong.
    #[error("the ticket is mistyped: copy it again")]
    Mistyped,
    /// From a later pfs.
    #[error("the ticket is of version {0}: a newer pfs made it, update this one")]
    Newer(u8),
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = codec::encode(self);
        let len = u16::try_from(body.len()).map_err(|_| fmt::Error)?;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&body);
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim().to_ascii_uppercase();
        let digits = text.strip_prefix(&PREFIX.to_ascii_uppercase()).ok_or(TicketError::Foreign)?;
        let bytes = decode_digits(digits)?;
        let (&[version, high, low], rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(TicketError::Truncated)?;
        let wanted = usize::from(u16::from_be_bytes([high, low])) + CHECK_BYTES;
        if rest.len() < wanted {
            return Err(TicketError::Truncated);
        }
        let (covered, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TicketError::Truncated)?;
        if rest.len() > wanted || check_of(covered) != *check {
            return Err(TicketError::Mistyped);
        }
        if version != VERSION {
            return Err(TicketError::Newer(version));
        }
        let ticket: Self = codec::decode(&covered[HEADER_BYTES..]).map_err(|_| TicketError::Mistyped)?;
        let bounded =
            ticket.peers.len() <= PEERS_MAX && ticket.peers.iter().all(|peer| peer.addresses.len() <= ADDRESSES_MAX);
        if bounded { Ok(ticket) } else { Err(TicketError::Mistyped) }
    }
}

/// The bytes of the digits. A text cut off anywhere leaves a digit too many or bits of a byte that is not all
/// there, and is told from a mistyped one by that.
fn decode_digits(digits: &str) -> Result<Vec<u8>, TicketError> {
    BASE32_NOPAD.decode(digits.as_bytes()).map_err(|error| match error.kind {
        DecodeKind::Length | DecodeKind::Trailing => TicketError::Truncated,
        DecodeKind::Symbol | DecodeKind::Padding => TicketError::Mistyped,
    })
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash is longer than its check")
}

#[cfg(test)]
mod tests;
