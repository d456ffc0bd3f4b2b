//! Chunk streams: one request each, answered in the order asked, beside the control stream.

use std::sync::Arc;

use bytes::Bytes;
use pfs_engine::model::ids::{ChunkId, VolumeId};
use quinn::{Connection, ReadExactError, RecvStream, SendStream, WriteError};
use tokio::task::spawn_blocking;

use super::endpoint::Link;
use crate::local::{DeliverError, Local};
use crate::proto::frame::{HEADER_BYTES, body_bytes, framed, header};
use crate::proto::limits::{DELIVER_BYTES, FETCH_IDS, SERVE_IDS, STORED_CHUNK_BYTES_MAX, WANT_BYTES_MAX};
use crate::proto::message::Want;
use crate::proto::session::ProtocolViolation;

/// Why a chunk stream ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The connection or the other end of the stream went away.
    #[error("the stream broke")]
    Broken,
    /// The other end broke the protocol.
    #[error(transparent)]
    Violation(#[from] ProtocolViolation),
    /// The other end sent forged bytes.
    #[error("forged: {0}")]
    Hostile(String),
    /// Our own engine failed.
    #[error("the local peer failed")]
    Local,
}

/// Asks for what the engine wants of this volume from this peer. Gives how many chunks were asked for.
pub(super) async fn fetch(
    local: Arc<dyn Local>,
    link: Link,
    number: u64,
    volume: VolumeId,
) -> Result<usize, StreamError> {
    let peer = link.peer;
    let ids = blocking(&local, move |local| local.wanted(volume, peer, number, FETCH_IDS)).await?;
    let ids = ids.map_err(|_| StreamError::Local)?;
    if ids.is_empty() {
        return Ok(0);
    }
    let (mut send, mut recv) = open(&link.quinn).await?;
    send.write_all(&framed(&Want { volume, ids: ids.clone() }.encode())).await?;
    // An error here shows when the answers are read.
    let _ = send.finish();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (n, &id) in ids.iter().enumerate() {
        let chunk = read_frame(&mut recv, STORED_CHUNK_BYTES_MAX).await?;
        bytes += chunk.len();
        batch.push((id, (!chunk.is_empty()).then_some(chunk)));
        if bytes >= DELIVER_BYTES || n + 1 == ids.len() {
            bytes = 0;
            let chunks = std::mem::take(&mut batch);
            deliver(&local, volume, &link, chunks).await?;
        }
    }
    Ok(ids.len())
}

async fn deliver(
    local: &Arc<dyn Local>,
    volume: VolumeId,
    link: &Link,
    chunks: Vec<(ChunkId, Option<Vec<u8>>)>,
) -> Result<(), StreamError> {
    let peer = link.peer;
    blocking(local, move |local| local.deliver(volume, peer, chunks)).await?.map_err(|error| match error {
        DeliverError::Hostile(evidence) => StreamError::Hostile(evidence),
        DeliverError::Local(_) => StreamError::Local,
    })
}

/// Answers one request. To one that is no member every chunk is lacking, as it is for one that asks for a
/// volume that does not exist.
pub(super) async fn serve(
    local: Arc<dyn Local>,
    link: Link,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), StreamError> {
    let body = read_frame(&mut recv, WANT_BYTES_MAX).await?;
    let Want { volume, ids } = Want::decode(&body).map_err(ProtocolViolation::from)?;
    let peer = link.peer;
    let member = blocking(&local, move |local| local.members(volume).is_ok_and(|members| members.contains_key(&peer)));
    let member = member.await?;
    let mut batches = ids.chunks(SERVE_IDS).map(<[ChunkId]>::to_vec);
    let read = |ids: Option<Vec<ChunkId>>| {
        let local = local.clone();
        async move {
            match ids {
                Some(ids) if member => blocking(&local, move |local| local.chunks(volume, &ids)).await?.map(Some),
                Some(ids) => Ok(Some(vec![None; ids.len()])),
                None => Ok(None),
            }
            .map_err(|_| StreamError::Local)
        }
    };
    let mut ready = read(batches.next()).await?;
    while let Some(chunks) = ready {
        let (written, next) = futures_util::future::join(write_chunks(&mut send, chunks), read(batches.next())).await;
        written?;
        ready = next?;
    }
    // An error here shows at the asker.
    let _ = send.finish();
    Ok(())
}

/// Writes without copying: the engine's bytes go to the transport as they are.
async fn write_chunks(send: &mut SendStream, chunks: Vec<Option<Vec<u8>>>) -> Result<(), StreamError> {
    let mut pieces = Vec::with_capacity(chunks.len() * 2);
    for chunk in chunks {
        let chunk = chunk.unwrap_or_default();
        pieces.push(Bytes::copy_from_slice(&header(chunk.len())));
        pieces.push(Bytes::from(chunk));
    }
    send.write_all_chunks(&mut pieces).await?;
    Ok(())
}

async fn read_frame(recv: &mut RecvStream, max: usize) -> Result<Vec<u8>, StreamError> {
    let mut header = [0; HEADER_BYTES];
    recv.read_exact(&mut header).await?;
    let mut body = vec![0; body_bytes(header, max).map_err(ProtocolViolation::from)?];
    recv.read_exact(&mut body).await?;
    Ok(body)
}

async fn open(connection: &Connection) -> Result<(SendStream, RecvStream), StreamError> {
    connection.open_bi().await.map_err(|_| StreamError::Broken)
}

/// Calls the engine off the async threads.
async fn blocking<T: Send + 'static>(
    local: &Arc<dyn Local>,
    call: impl FnOnce(&dyn Local) -> T + Send + 'static,
) -> Result<T, StreamError> {
    let local = local.clone();
    spawn_blocking(move || call(&*local)).await.map_err(|_| StreamError::Local)
}

impl From<WriteError> for StreamError {
    fn from(_: WriteError) -> Self {
        Self::Broken
    }
}

impl From<ReadExactError> for StreamError {
    fn from(_: ReadExactError) -> Self {
        Self::Broken
    }
}
