//! Peers: how one engine talks to others.
//!
//! ```text
//!   engine ── Local ──▶ Node ──▶ one link a peer ──▶ io (quinn: control stream, chunk streams)
//!                         │            │
//!                         │            └─ proto::Session: what to say, what to send, what to refuse (pure)
//!                         └─ whom to dial and when (proto::reach, pure), who is here, who heard of whom
//! ```
//!
//! Two peers tell each other what they have of each volume that both are members of, send exactly what the
//! other lacks, and push what is new at once. Chunks travel on streams of their own, so bulk never holds up
//! the log. Start at [`Node::start`]; what it needs of the engine is [`Local`]; the conversation is
//! [`proto::session`].

mod engine;
mod io;
mod local;
mod node;
pub mod proto;

pub use engine::EngineLocal;
pub use io::endpoint::BindError;
pub use local::{AdmitRefusal, DeliverError, Local, LocalError, LocalEvent, MemberInfo, ReceiveError};
pub use node::join::JoinError;
pub use node::{DEFAULT_PORT, Node, NodeError, NodeOptions, PeerStatus};
pub use proto::ticket::{Ticket, TicketError, TicketPeer};
