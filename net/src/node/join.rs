//! Joining a volume by a ticket: reach one of its peers, ask, hear the answer.

use std::net::SocketAddr;
use std::sync::Arc;

use pfs_engine::model::entry::Holding;
use pfs_engine::model::ids::{PeerId, VolumeId};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::hub::Hub;
use crate::io::endpoint::DialError;
use crate::io::mailbox::JoinRequest;
use crate::proto::limits::JOIN;
use crate::proto::message::Refusal;
use crate::proto::ticket::{Ticket, TicketPeer};

/// How often a peer is asked anew after the connection ended before its answer.
const ATTEMPTS: usize = 4;

/// Why this peer did not become a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The volume was not made known here before.
    #[error("the volume {0} is not registered here")]
    NotRegistered(VolumeId),
    /// None of the ticket's peers answered.
    #[error("no peer of the ticket could be reached at {}", list(.tried))]
    Unreachable {
        /// Where it was tried.
        tried: Vec<SocketAddr>,
    },
    /// Where a peer of the ticket should be, another is.
    #[error("at {address} is the peer {}, not {} as the ticket says", .met.short(), .expected.short())]
    WrongKey {
        /// Where.
        address: SocketAddr,
        /// Who should be there.
        expected: PeerId,
        /// Who is.
        met: PeerId,
    },
    /// A member said no.
    #[error("{by} refused: {refusal}")]
    Refused {
        /// What people call the member.
        by: String,
        /// Why.
        refusal: Refusal,
    },
}

fn list(addresses: &[SocketAddr]) -> String {
    if addresses.is_empty() {
        return "any address: the ticket has none".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Asks the peers one after the other; the most telling of the errors is the answer.
pub(super) async fn join(hub: &Arc<Hub>, ticket: &Ticket, holding: Holding) -> Result<(), JoinError> {
    if !hub.has_volume(ticket.volume).await {
        return Err(JoinError::NotRegistered(ticket.volume));
    }
    let mut worst = JoinError::Unreachable { tried: Vec::new() };
    let mut tried = Vec::new();
    for peer in ticket.peers.iter().filter(|peer| peer.peer != hub.me()) {
        tried.extend_from_slice(&peer.addresses);
        match ask(hub, ticket, peer, holding).await {
            Ok(()) => return Ok(()),
            Err(error) if telling(&error) >= telling(&worst) => worst = error,
            Err(_) => {}
        }
    }
    Err(match worst {
        JoinError::Unreachable { .. } => JoinError::Unreachable { tried },
        other => other,
    })
}

fn telling(error: &JoinError) -> u8 {
    match error {
        JoinError::NotRegistered(_) | JoinError::Unreachable { .. } => 0,
        JoinError::WrongKey { .. } => 1,
        JoinError::Refused { refusal: Refusal::Unknown | Refusal::Unavailable, .. } => 2,
        JoinError::Refused { .. } => 3,
    }
}

async fn ask(hub: &Arc<Hub>, ticket: &Ticket, peer: &TicketPeer, holding: Holding) -> Result<(), JoinError> {
    for _ in 0..ATTEMPTS {
        let mailbox = hub.reach(peer.peer, peer.addresses.clone()).await.map_err(|error| match error {
            DialError::WrongKey { address, met } => JoinError::WrongKey { address, expected: peer.peer, met },
            DialError::Unreachable => JoinError::Unreachable { tried: peer.addresses.clone() },
        })?;
        let (answer, answered) = oneshot::channel();
        mailbox.join(JoinRequest { volume: ticket.volume, secret: ticket.secret, holding, answer });
        match timeout(JOIN, answered).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(refusal))) => return Err(JoinError::Refused { by: peer.name.clone(), refusal }),
            // The connection ended first, perhaps because another of the same two peers stayed.
            Ok(Err(_)) => {}
            Err(_) => break,
        }
    }
    Err(JoinError::Unreachable { tried: peer.addresses.clone() })
}
