//! Every bound of the network, with its reason. What a peer sends is measured against these before anything
//! is allocated for it, and what we queue for a peer stops growing at them.

use std::time::Duration;

use pfs_engine::limits::{CHUNK_BYTES_MAX, ENTRY_BYTES_MAX, LOGS_MAX};

/// One frame of the control stream: the largest entry, its signature and the message around it.
pub const FRAME_BYTES_MAX: usize = ENTRY_BYTES_MAX + (64 << 10);
/// One frame from a peer that is not known as a member of anything: a greeting, a join, a frontier.
pub const STRANGER_FRAME_BYTES_MAX: usize = 64 << 10;
/// Entries are sent in messages of about this size, so that a push waits at most this long behind a transfer.
pub const ENTRIES_BYTES: usize = 1 << 20;
/// What one load of entries may come to: a message's worth, or one huge entry with its signature.
pub const LOAD_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Entries sent and not yet acknowledged, all volumes of a session together; also what a receiver holds for
/// one session at the most.
pub const WINDOW_BYTES: usize = 16 << 20;
/// Volumes that one session speaks of.
pub const VOLUMES_MAX: usize = 1024;
/// Of these, such of which the remote is no member by our knowledge.
pub const STRANGE_VOLUMES_MAX: usize = 64;
/// Logs that the remote can say it has, all volumes of a session together.
pub const SESSION_LOGS_MAX: usize = LOGS_MAX;
/// The same of one that is no member of anything here: a joiner, or a member whose admission we have not heard of.
pub const STRANGER_LOGS_MAX: usize = 4096;
/// Peers of one gossip message.
pub const PEERS_MAX: usize = 256;
/// Addresses of one peer, told or remembered.
pub const ADDRESSES_MAX: usize = 16;
/// A name, an agent or an explanation.
pub const TEXT_BYTES_MAX: usize = 512;
/// Attempts to join by one session.
pub const JOINS_MAX: u32 = 32;

/// Chunks of one request.
pub const WANT_IDS_MAX: usize = 512;
/// The request that names them.
pub const WANT_BYTES_MAX: usize = WANT_IDS_MAX * 32 + 256;
/// One chunk as it is stored: the raw bytes at the most, and a header.
pub const STORED_CHUNK_BYTES_MAX: usize = CHUNK_BYTES_MAX + (1 << 10);

/// Silence after which a peer is asked for a sign of life.
pub const PING_AFTER_MS: u64 = 30_000;
/// Silence after which a session is over.
pub const SILENCE_MS_MAX: u64 = 90_000;
/// How long a peer with which we share no volume may stay: it may join, or we may yet hear of its membership.
pub const STRANGER_MS_MAX: u64 = 60_000;
/// First wait before asking again for entries that could not be taken; doubles up to `RETRY_MS_MAX`.
pub const RETRY_MS: u64 = 1_000;
/// Longest such wait.
pub const RETRY_MS_MAX: u64 = 300_000;

/// First wait before dialling a peer again; doubles up to `REDIAL_MS_MAX`.
pub const REDIAL_MS: u64 = 200;
/// Longest such wait.
pub const REDIAL_MS_MAX: u64 = 30_000;
/// A connection that held this long was a good one: the next wait is short again.
pub const GOOD_CONNECTION_MS: u64 = 60_000;

/// Connections at once, settled or not.
pub const LINKS_MAX: usize = 256;
/// Of these, such whose peer is no member of anything here.
pub const STRANGER_LINKS_MAX: usize = 32;
/// Peers whose addresses are remembered, members or hearsay.
pub const REMEMBERED_PEERS_MAX: usize = 4096;
/// Calls of the engine that a session waits for; beyond it we do not read.
pub const SESSION_JOBS_MAX: usize = 64;
/// Control messages queued for a peer that does not read; beyond it we do not read either.
pub const OUTBOX_MESSAGES_MAX: usize = 64;
/// Streams that a peer may have open: the control stream and chunk requests.
pub const STREAMS_MAX: u32 = 9;
/// Chunk requests that we keep in flight to one peer.
pub const FETCHES: usize = 3;
/// Chunks that we ask for in one request: at 14 to 64 KiB each, 1.8 to 8 MiB.
pub const FETCH_IDS: usize = 128;
/// Received chunks are handed to the engine in batches of about this size.
pub const DELIVER_BYTES: usize = 1 << 20;
/// Chunks read from the engine at a time for a request, 1 MiB on average and 4 MiB at the most.
pub const SERVE_IDS: usize = 16;

/// Streams may run this far ahead of their reader: a gigabit link over 100 ms and more.
pub const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// All streams of a connection together.
pub const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Sent and not acknowledged on one connection.
pub const SEND_WINDOW_BYTES: u64 = 32 << 20;
/// The kernel's buffers for our one UDP socket; less where the system does not allow it.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// A connection in use is never silent for longer.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A connection on which nothing was heard for so long is gone.
pub const IDLE: Duration = Duration::from_secs(20);
/// How long one address may take to answer.
pub const DIAL: Duration = Duration::from_secs(8);
/// How long a member may take to answer a join.
pub const JOIN: Duration = Duration::from_secs(30);
/// How long a farewell may take to get out.
pub const FAREWELL: Duration = Duration::from_millis(500);

const _: () =
    assert!(WINDOW_BYTES >= 2 * LOAD_BYTES_MAX, "one load can wait for its acknowledgement while the next is read");
const _: () = assert!(FETCHES < STREAMS_MAX as usize, "the control stream has a place of its own");
const _: () = assert!(FETCH_IDS <= WANT_IDS_MAX);
