//! Peers on the same network, by mDNS: says who and where we are, hears who and where others are. What is
//! heard is hearsay: the node dials only members, and they prove their keys.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use data_encoding::BASE32_NOPAD;
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use pfs_engine::model::ids::PeerId;

const SERVICE: &str = "_pfs._udp.local.";

/// Announces and listens until dropped.
pub(crate) struct Discovery(ServiceDaemon);

impl Discovery {
    /// Starts; nothing, and a line in the log, where the machine does not allow it.
    pub(crate) fn start(
        me: PeerId,
        port: u16,
        found: impl Fn(PeerId, Vec<SocketAddr>) + Send + 'static,
    ) -> Option<Self> {
        match Self::try_start(me, port, found) {
            Ok(discovery) => Some(discovery),
            Err(error) => {
                tracing::warn!(%error, "no discovery on the local network; peers are dialled by known addresses");
                None
            }
        }
    }

    fn try_start(
        me: PeerId,
        port: u16,
        found: impl Fn(PeerId, Vec<SocketAddr>) + Send + 'static,
    ) -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        let instance = label(me);
        let host = format!("pfs-{}.local.", me.short());
        let service = ServiceInfo::new(SERVICE, &instance, &host, (), port, None)?.enable_addr_auto();
        let discovery = Self(daemon);
        discovery.0.register(service)?;
        let events = discovery.0.browse(SERVICE)?;
        let listen = move || {
            while let Ok(event) = events.recv() {
                let ServiceEvent::ServiceResolved(service) = event else { continue };
                if let Some(peer) = peer_of(&service.fullname).filter(|&peer| peer != me) {
                    found(peer, addresses(&service));
                }
            }
        };
        thread::Builder::new()
            .name("pfs-discovery".into())
            .spawn(listen)
            .map_err(|error| mdns_sd::Error::Msg(error.to_string()))?;
        Ok(discovery)
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // The daemon says goodbye to the network by itself; nobody waits for it.
        let _ = self.0.shutdown();
    }
}

fn addresses(service: &ResolvedService) -> Vec<SocketAddr> {
    let mut addresses: Vec<IpAddr> = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).collect();
    addresses.sort_unstable();
    addresses.into_iter().filter(dialable).map(|ip| SocketAddr::new(ip, service.port)).collect()
}

/// Link-local IPv6 needs an interface beside the address, which does not travel.
fn dialable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

/// A DNS label has 63 bytes at the most: base32 fits a key into 52.
fn label(peer: PeerId) -> String {
    BASE32_NOPAD.encode(&peer.0).to_ascii_lowercase()
}

fn peer_of(fullname: &str) -> Option<PeerId> {
    let label = fullname.split('.').next()?.to_ascii_uppercase();
    BASE32_NOPAD.decode(label.as_bytes()).ok()?.try_into().ok().map(PeerId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_its_peer_and_nothing_else_does() {
        let peer = PeerId([0xa7; 32]);
        assert!(label(peer).len() <= 63);
        assert_eq!(peer_of(&format!("{}.{SERVICE}", label(peer))), Some(peer));
        assert_eq!(peer_of(&format!("printer.{SERVICE}")), None);
        assert_eq!(peer_of(""), None);
    }
}
