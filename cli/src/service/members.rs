//! Members: invite, peers, remove, address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use pfs_engine::handle::VolumeReport;
use pfs_engine::model::entry;
use pfs_engine::model::ids::PeerId;
use pfs_net::proto::limits::{ADDRESSES_MAX, PEERS_MAX};
use pfs_net::proto::message::Secret;
use pfs_net::{DEFAULT_PORT, Local as _, Ticket, TicketPeer};

use super::peer::Running;
use super::target;
use super::words::{holding, ms, role, wall};
use crate::api::service::{ErrorKind, Result, ServiceError};
use crate::api::types::{
    InviteRequest, Invited, Membership, Named, PeerAddress, PeerAddressRequest, PeerRemoveRequest, PeerRemoved,
    PeerStatus, Role,
};
use crate::ui::human;

/// Opens an invite.
pub(super) fn invite(running: &Running, request: &InviteRequest) -> Result<Invited> {
    let engine = &running.engine;
    if request.role != Role::Writer {
        let message = format!("there are no members of role {} yet, only writers", human::role(request.role));
        return Err(ServiceError::new(ErrorKind::Usage, message).hint("leave --role out"));
    }
    let report = target::volume(engine, &request.volume)?;
    let (wanted, expires_ms) = (entry::Role::Writer, ms(request.expires));
    let secret = engine.invite(report.id, wanted, expires_ms, request.uses)?;
    let listening = running.listening()?;
    let mut peers = vec![TicketPeer { peer: engine.peer(), name: engine.name()?, addresses: own_addresses(listening) }];
    let others = report.roster.members.iter().filter(|(peer, _)| **peer != engine.peer());
    for (peer, info) in others.filter(|(_, info)| info.role == entry::Role::Writer) {
        let addresses = running.local.addresses(*peer);
        if !addresses.is_empty() && peers.len() < PEERS_MAX {
            peers.push(TicketPeer { peer: *peer, name: info.name.clone(), addresses });
        }
    }
    let volume_name = report.state.name.clone();
    let ticket = Ticket { volume: report.id, volume_name, secret: Secret(secret), role: wanted, expires_ms, peers };
    Ok(Invited {
        ticket: ticket.to_string(),
        expires: wall(expires_ms),
        volume: report.state.name,
        role: request.role,
        uses: request.uses,
        listening: running.daemon.is_some(),
    })
}

/// Where this peer can be reached if it listens there: this machine's addresses, loopback last.
fn own_addresses(listening: Option<SocketAddr>) -> Vec<SocketAddr> {
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), DEFAULT_PORT);
    let listening = listening.unwrap_or(any);
    if !listening.ip().is_unspecified() {
        return vec![listening];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine's addresses are unknown");
        Vec::new()
    });
    let mut found: Vec<IpAddr> =
        interfaces.iter().map(if_addrs::Interface::ip).filter(|ip| is_worth_a_try(*ip)).collect();
    found.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    found.dedup();
    found.truncate(ADDRESSES_MAX - 1);
    found.push(Ipv4Addr::LOCALHOST.into());
    found.into_iter().map(|ip| SocketAddr::new(ip, listening.port())).collect()
}

/// Loopback is added for all; a link-local address means nothing without its link.
fn is_worth_a_try(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// The other members.
pub(super) fn peers(running: &Running, volume: Option<&str>) -> Result<Vec<PeerStatus>> {
    Ok(statuses(running, &target::some_volumes(&running.engine, volume)?))
}

/// The other members of these volumes: what the log says of them, and the node, if there is one.
pub(super) fn statuses(running: &Running, reports: &[VolumeReport]) -> Vec<PeerStatus> {
    let me = running.engine.peer();
    let mut found: BTreeMap<PeerId, PeerStatus> = BTreeMap::new();
    for report in reports {
        for (peer, info) in report.roster.members.iter().filter(|(peer, _)| **peer != me) {
            let status = found.entry(*peer).or_insert_with(|| PeerStatus {
                id: peer.to_string(),
                name: info.name.clone(),
                connected: false,
                address: running.local.addresses(*peer).first().map(SocketAddr::to_string),
                rtt_ms: None,
                last_seen: None,
                known: running.net.is_some(),
                volumes: Vec::new(),
            });
            status.volumes.push(Membership {
                volume: report.state.name.clone(),
                role: role(info.role),
                holding: holding(info.holding),
                disputed: report.disputes.keys().any(|log| log.origin == *peer),
            });
        }
    }
    for here in running.node_peers() {
        let Some(status) = found.get_mut(&here.peer) else { continue };
        status.connected = here.connected;
        status.rtt_ms = here.rtt_ms.map(|ms| (ms * 10.0).round() / 10.0);
        status.last_seen = here.last_seen_ms.map(wall);
        status.address = here.address.map(|address| address.to_string()).or(status.address.take());
    }
    found.into_values().collect()
}

/// Ends a peer's membership.
pub(super) fn remove(running: &Running, request: &PeerRemoveRequest) -> Result<PeerRemoved> {
    let engine = &running.engine;
    let reports = target::some_volumes(engine, request.volume.as_deref())?;
    let peer = target::peer(&reports, &request.peer)?;
    if peer == engine.peer() {
        return Err(ServiceError::new(ErrorKind::Usage, "this is the peer of this home itself")
            .hint("to leave a volume: `pfs untrack VOLUME`; the files stay"));
    }
    let shared: Vec<_> = reports.iter().filter(|report| report.roster.members.contains_key(&peer)).collect();
    let Some(first) = shared.first() else {
        return Err(ServiceError::new(ErrorKind::NotFound, format!("`{}` is no member any more", request.peer)));
    };
    let named = target::named_peer(first, peer);
    for report in &shared {
        engine.remove_member(report.id, peer)?;
    }
    Ok(PeerRemoved { peer: named, volumes: shared.iter().map(|report| report.state.name.clone()).collect() })
}

/// Says where a peer can be reached.
pub(super) fn address(running: &Running, request: &PeerAddressRequest) -> Result<PeerAddress> {
    let reports = target::volumes(&running.engine)?;
    let peer = target::peer(&reports, &request.peer)?;
    let found = request.address.to_socket_addrs().map_err(|error| {
        ServiceError::new(ErrorKind::NotFound, format!("looking up `{}`: {error}", request.address))
            .hint("give an address like 192.168.1.7:7440")
    })?;
    let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    running.local.learn_addresses(peer, addresses.clone());
    if let Some(net) = &running.net {
        net.node.learn(peer, addresses);
    }
    let known = reports.iter().find(|report| report.roster.members.contains_key(&peer));
    let peer = known
        .map_or_else(|| Named { id: peer.to_string(), name: peer.short() }, |report| target::named_peer(report, peer));
    Ok(PeerAddress { peer, address: request.address.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_says_where_this_machine_is() {
        let one: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        assert_eq!(own_addresses(Some(one)), [one]);
        let any = own_addresses(Some("[::]:4711".parse().unwrap()));
        assert_eq!(any.last(), Some(&one));
        assert!(any.len() <= ADDRESSES_MAX && any.iter().all(|address| !address.ip().is_unspecified()));
        assert!(own_addresses(None).iter().all(|address| address.port() == DEFAULT_PORT));
    }
}
