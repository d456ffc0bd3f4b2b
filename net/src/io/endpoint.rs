//! The one UDP socket of a peer: it dials, it is dialled, and it hands out links to peers that proved their key.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};

use pfs_engine::model::ids::PeerId;
use pfs_engine::model::keys::Keypair;
use quinn::{EndpointConfig, MtuDiscoveryConfig, TransportConfig, VarInt, default_runtime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::identity::{Identity, IdentityError, proven};
use crate::proto::limits::{
    ADDRESSES_MAX, CONNECTION_WINDOW_BYTES, DIAL, FAREWELL, IDLE, KEEP_ALIVE, SEND_WINDOW_BYTES, SOCKET_BUFFER_BYTES,
    STREAM_WINDOW_BYTES, STREAMS_MAX,
};

/// TLS wants a name; ours says nothing.
const SERVER_NAME: &str = "pfs.invalid";

/// Packets are as large as Ethernet carries them over IPv6, or as small as every path carries them: one probe
/// tells. The search for what lies between costs more than a reconnect, and gains nothing where packets are
/// batched; nor do larger packets over loopback.
const MTU_MIN: u16 = 1200;
const MTU_MAX: u16 = 1452;

/// Why a peer cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another program, or another pfs, has the port.
    #[error("UDP port {port} is in use")]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {address}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The peer's key cannot be used.
    #[error("the peer's key cannot be used for TLS")]
    Identity(#[from] IdentityError),
}

/// Why nobody was reached.
#[derive(Debug)]
pub(crate) enum DialError {
    /// At that address is another peer.
    WrongKey { address: SocketAddr, met: PeerId },
    /// No answer from any.
    Unreachable,
}

/// The socket and our identity on it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    quinn: quinn::Endpoint,
    identity: Identity,
    transport: Arc<TransportConfig>,
    listening: SocketAddr,
}

/// One connection to a peer that proved its key.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(super) quinn: quinn::Connection,
    /// Who is at the other end.
    pub(crate) peer: PeerId,
    /// Whether we opened it.
    pub(crate) dialled: bool,
}

/// One that wants to connect.
pub(crate) struct Knock(quinn::Incoming);

impl Endpoint {
    pub(crate) fn bind(keys: &Keypair, listen: SocketAddr) -> Result<Self, BindError> {
        let identity = Identity::new(keys)?;
        let transport = Arc::new(transport());
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(identity.server()?));
        server.transport_config(transport.clone());
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::PortInUse { port: listen.port() },
            _ => BindError::Io { address: listen, source },
        };
        let socket = open_socket(listen).map_err(failed)?;
        let runtime = default_runtime().ok_or_else(|| failed(io::Error::other("no tokio runtime")))?;
        let quinn = quinn::Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(failed)?;
        let listening = quinn.local_addr().map_err(failed)?;
        Ok(Self { quinn, identity, transport, listening })
    }

    pub(crate) fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// The next that knocks; nothing once the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Knock> {
        self.quinn.accept().await.map(Knock)
    }

    /// Dials all addresses at once and takes the first that answers as `peer`.
    pub(crate) async fn dial(&self, peer: PeerId, addresses: Vec<SocketAddr>) -> Result<Link, DialError> {
        let mut attempts = JoinSet::new();
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let endpoint = self.clone();
            attempts.spawn(async move { endpoint.dial_one(peer, address).await });
        }
        let mut error = DialError::Unreachable;
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(wrong @ DialError::WrongKey { .. })) => error = wrong,
                Ok(Err(DialError::Unreachable)) | Err(_) => {}
            }
        }
        Err(error)
    }

    async fn dial_one(&self, peer: PeerId, address: SocketAddr) -> Result<Link, DialError> {
        let met = Arc::new(OnceLock::new());
        let crypto = self.identity.client(peer, met.clone()).map_err(|_| DialError::Unreachable)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.transport.clone());
        let connecting =
            self.quinn.connect_with(config, self.suited(address), SERVER_NAME).map_err(|_| DialError::Unreachable)?;
        match timeout(DIAL, connecting).await {
            Ok(Ok(quinn)) => Ok(Link { quinn, peer, dialled: true }),
            Ok(Err(_)) | Err(_) => Err(match met.get() {
                Some(&met) if met != peer => DialError::WrongKey { address, met },
                _ => DialError::Unreachable,
            }),
        }
    }

    /// An IPv4 address as a dual-stack socket wants it.
    fn suited(&self, address: SocketAddr) -> SocketAddr {
        match (self.listening.ip(), address.ip()) {
            (IpAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            _ => address,
        }
    }

    /// Closes what is still open and lets the last packets out.
    pub(crate) async fn close(&self) {
        self.quinn.close(VarInt::from_u32(0), b"");
        // Whoever does not hear of it finds out by silence.
        let _ = timeout(FAREWELL, self.quinn.wait_idle()).await;
    }
}

impl Knock {
    /// Turned away without a handshake.
    pub(crate) fn refuse(self) {
        self.0.refuse();
    }

    /// Shakes hands; nothing if that failed.
    pub(crate) async fn answer(self) -> Option<Link> {
        let quinn = timeout(DIAL, self.0.into_future()).await.ok()?.ok()?;
        let peer = proven(&quinn)?;
        Some(Link { quinn, peer, dialled: false })
    }
}

impl Link {
    /// Where the other end is now; IPv4 as such.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.quinn.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// Round trip in milliseconds.
    pub(crate) fn rtt_ms(&self) -> f64 {
        self.quinn.rtt().as_secs_f64() * 1e3
    }

    /// Bytes on the wire so far, packet headers included: (sent, received).
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let stats = self.quinn.stats();
        (stats.udp_tx.bytes, stats.udp_rx.bytes)
    }

    /// Ends the connection at once.
    pub(crate) fn close(&self) {
        self.quinn.close(VarInt::from_u32(0), b"");
    }
}

fn transport() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_MAX).minimum_change(MTU_MAX - MTU_MIN);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IDLE.try_into().expect("20 seconds are a QUIC timeout")))
        .mtu_discovery_config(Some(mtu));
    config
}

/// Binds; where the machine has no IPv6 and any address will do, to any IPv4 address.
fn open_socket(listen: SocketAddr) -> io::Result<UdpSocket> {
    match bind_socket(listen) {
        Err(error) if listen.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && error.kind() != io::ErrorKind::AddrInUse => {
            bind_socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.port()))
        }
        result => result,
    }
}

fn bind_socket(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The system may allow less; a smaller buffer is only slower.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&listen.into())?;
    Ok(socket.into())
}
