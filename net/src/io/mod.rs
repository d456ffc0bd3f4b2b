//! The only room with sockets: QUIC by quinn, TLS by rustls, discovery by mDNS. It moves bytes between the
//! wire, the session and the engine, and decides nothing.

pub(crate) mod chunks;
pub(crate) mod discovery;
pub(crate) mod driver;
pub(crate) mod endpoint;
mod identity;
pub(crate) mod mailbox;
