//! Reading for a capture, on the pool: bytes are cut, hashed, packed and handed to the store; what comes back is
//! what the control thread needs to write patches. A file counts as read only if it was one version of itself.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::look::Problem;
use crate::disk::{DiskError, Kind, Stat, Tree};
use crate::environment::Environment;
use crate::error::EngineError;
use crate::ingest::{Ingest, IngestError, WIDE_FROM_BYTES};
use crate::limits::{BATCH_BYTES, BATCH_FILES, CHUNKS_INLINE_BYTES_MAX};
use crate::model::ids::ChunkId;
use crate::model::name::RelPath;
use crate::model::patch::{Attr, Content};
use crate::model::time::Mtime;
use crate::plan::capture::Read;
use crate::store::Store;

/// A thing that was read, ready to become a patch.
pub(super) struct Taken {
    pub(super) read: Read,
    pub(super) stat: Stat,
    pub(super) read_at: Mtime,
    pub(super) content: Content,
    pub(super) attr: Attr,
}

/// How reading a thing ended, if not well.
pub(super) enum Untaken {
    /// It went or changed meanwhile; the next look tells.
    Again(RelPath),
    /// It cannot be read.
    Problem(Problem),
}

/// A batch off the pool.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) taken: Vec<Taken>,
    pub(super) untaken: Vec<Untaken>,
    pub(super) chunks: Vec<(ChunkId, Vec<u8>)>,
}

/// Cuts the work into batches that are bounded in files and bytes.
pub(super) fn batches_of(reads: &[Read]) -> impl Iterator<Item = &[Read]> {
    let mut rest = reads;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |read: &&Read| {
            let fits = bytes < BATCH_BYTES;
            bytes += read.stat.len;
            fits
        };
        let count = rest.iter().take(BATCH_FILES).take_while(fits).count();
        let (batch, after) = rest.split_at(count);
        rest = after;
        (count > 0).then_some(batch)
    })
}

/// Reads a batch: small files side by side, large ones one after the other, each of them on all cores.
pub(super) fn read_batch(
    tree: &Tree,
    store: &Store,
    reads: &[Read],
    patience: &BTreeSet<RelPath>,
    env: &dyn Environment,
) -> Result<Batch, EngineError> {
    let total: u64 = reads.iter().map(|read| read.stat.len).sum();
    let inline = total <= CHUNKS_INLINE_BYTES_MAX;
    let read = |ingest: &mut Ingest, read: &Read| {
        read_one(tree, store, env, ingest, read, (inline, patience.contains(&read.path)))
    };
    let (small, large): (Vec<&Read>, Vec<&Read>) = reads.iter().partition(|read| read.stat.len < WIDE_FROM_BYTES);
    let mut parts: Vec<Batch> =
        small.par_iter().map_init(Ingest::new, |ingest, one| read(ingest, one)).collect::<Result<_, _>>()?;
    let mut ingest = Ingest::new();
    for one in large {
        parts.push(read(&mut ingest, one)?);
    }
    let mut batch = Batch::default();
    for mut part in parts {
        batch.taken.append(&mut part.taken);
        batch.untaken.append(&mut part.untaken);
        batch.chunks.append(&mut part.chunks);
    }
    Ok(batch)
}

fn read_one(
    tree: &Tree,
    store: &Store,
    env: &dyn Environment,
    ingest: &mut Ingest,
    read: &Read,
    (inline, as_it_is): (bool, bool),
) -> Result<Batch, EngineError> {
    let mut batch = Batch::default();
    let mut chunks = Vec::new();
    match take(tree, store, env, (ingest, &mut chunks), read, as_it_is) {
        Ok(Some(taken)) => batch.taken.push(taken),
        Ok(None) => batch.untaken.push(Untaken::Again(read.path.clone())),
        Err(EngineError::Disk(DiskError::Absent { .. } | DiskError::Unstable { .. })) => {
            batch.untaken.push(Untaken::Again(read.path.clone()));
        }
        Err(EngineError::Disk(error)) => {
            let why = super::look::reason(error);
            batch.untaken.push(Untaken::Problem(Problem { path: read.path.to_bytes(), why }));
        }
        Err(error) => return Err(error),
    }
    if inline {
        batch.chunks = chunks;
    } else {
        store.put_chunks(chunks)?;
    }
    Ok(batch)
}

/// Reads one thing. Nothing: it went, or changed meanwhile and is not to be taken as it is.
fn take(
    tree: &Tree,
    store: &Store,
    env: &dyn Environment,
    (ingest, chunks): (&mut Ingest, &mut Vec<(ChunkId, Vec<u8>)>),
    read: &Read,
    as_it_is: bool,
) -> Result<Option<Taken>, EngineError> {
    let read_at = wall_time(env);
    let content = match read.stat.kind {
        Kind::Dir => Content::Dir,
        Kind::Symlink => Content::Symlink { target: tree.read_link(&read.path)? },
        Kind::Special => return Ok(None),
        Kind::File => {
            let file = tree.read(&read.path)?;
            let known = |ids: &[ChunkId]| store.has_chunks(ids).unwrap_or_else(|_| vec![false; ids.len()]);
            let mut held = 0;
            let mut failed = None;
            let mut sink = |id, bytes: Vec<u8>| {
                held += bytes.len();
                chunks.push((id, bytes));
                if held > PUT_BYTES {
                    held = 0;
                    failed = store.put_chunks(std::mem::take(chunks)).err().or(failed.take());
                }
            };
            let (len, root) = match ingest.ingest(&file, &known, &mut sink) {
                Ok(done) => done,
                Err(IngestError::Io { source, .. }) => {
                    return Err(DiskError::Io { path: read.path.to_string(), source }.into());
                }
                Err(IngestError::Shrunk { .. } | IngestError::TooLarge(_)) => return Ok(None),
            };
            if let Some(error) = failed {
                return Err(error.into());
            }
            let (before, after) = (*file.stat(), file.restat()?);
            if (before != after || len != after.len) && !as_it_is {
                return Ok(None);
            }
            let attr = file.attr()?;
            let content = Content::File { len, root, mtime: before.mtime };
            // The signature before the read: where the file changed meanwhile, the next look sees it differ.
            return Ok(Some(Taken { read: read.clone(), stat: before, read_at, content, attr }));
        }
    };
    let attr = if content == Content::Dir { tree.attr(&read.path, &read.stat)? } else { Attr::default() };
    Ok(Some(Taken { read: read.clone(), stat: read.stat, read_at, content, attr }))
}

/// Chunks of one file are handed to the store in pieces of this size.
const PUT_BYTES: usize = 1 << 20;

pub(super) fn wall_time(env: &dyn Environment) -> Mtime {
    let since = env.wall();
    Mtime { secs: since.as_secs().cast_signed(), nanos: since.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Inode;

    fn read(len: u64) -> Read {
        let (inode, time) = (Inode { dev: 1, ino: 1, born: Mtime::default() }, Mtime::default());
        let stat = Stat { kind: Kind::File, inode, len, mtime: time, ctime: time, mode: 0o644 };
        Read { path: RelPath::root(), stat, node: None }
    }

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let reads: Vec<Read> = (0..5000).map(|i| read(i * 10_000)).collect();
        let batches: Vec<&[Read]> = batches_of(&reads).collect();
        assert_eq!(batches.concat(), reads);
        for batch in batches {
            let before_last: u64 = batch[..batch.len() - 1].iter().map(|read| read.stat.len).sum();
            assert!(batch.len() <= BATCH_FILES && before_last < BATCH_BYTES);
        }
    }
}
