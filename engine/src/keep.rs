//! Bytes that come from nowhere in a tracked tree: what somebody settles a fork with.

use std::path::Path;

use crate::disk::{DiskError, FileReader};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ingest::{Bytes, Ingest, IngestError};
use crate::model::ids::ChunkId;
use crate::model::patch::Content;
use crate::model::time::Mtime;
use crate::store::Store;

/// Chunks are handed to the store in pieces of this size.
const PUT_BYTES: usize = 1 << 20;

impl Engine {
    /// Takes in the bytes of any file. Its chunks are in the store on return, and durable with the patch that names
    /// them.
    pub fn keep_file(&self, path: &Path) -> Result<Content, EngineError> {
        let file = FileReader::open(path)?;
        let before = *file.stat();
        let named = path.display().to_string();
        let content = keep(self.store(), &file, (&named, before.mtime))?;
        if file.restat()? == before { Ok(content) } else { Err(DiskError::Unstable { path: named }.into()) }
    }

    /// The same for a text, as if it had been written now.
    pub fn keep_text(&self, text: &str) -> Result<Content, EngineError> {
        let ms = self.now_ms();
        let mtime = Mtime { secs: (ms / 1000).cast_signed(), nanos: (ms % 1000) as u32 * 1_000_000 };
        keep(self.store(), &text.as_bytes(), ("a merged text", mtime))
    }
}

fn keep(store: &Store, bytes: &dyn Bytes, (named, mtime): (&str, Mtime)) -> Result<Content, EngineError> {
    let known = |ids: &[ChunkId]| store.has_chunks(ids).unwrap_or_else(|_| vec![false; ids.len()]);
    let (mut chunks, mut held, mut failed) = (Vec::new(), 0, None);
    let mut sink = |id, stored: Vec<u8>| {
        held += stored.len();
        chunks.push((id, stored));
        if held > PUT_BYTES {
            held = 0;
            failed = store.put_chunks(std::mem::take(&mut chunks)).err().or(failed.take());
        }
    };
    let (len, root) = Ingest::new().ingest(bytes, &known, &mut sink).map_err(|error| match error {
        IngestError::Io { source, .. } => DiskError::Io { path: named.to_owned(), source },
        IngestError::Shrunk { .. } | IngestError::TooLarge(_) => DiskError::Unstable { path: named.to_owned() },
    })?;
    store.put_chunks(chunks)?;
    failed.map_or(Ok(Content::File { len, root, mtime }), |error| Err(error.into()))
}
