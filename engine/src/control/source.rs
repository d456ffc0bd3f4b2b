//! Where the bytes of files that are written come from.

use std::sync::{Mutex, PoisonError};

use crate::content::{self, ContentError};
use crate::disk::{Source, SourceError};
use crate::model::chunk::Unpacker;
use crate::model::patch::Root;
use crate::store::Store;

/// For steps that write no bytes.
pub(crate) struct NoSource;

impl Source for NoSource {
    fn read(&self, _: Root, _: u64, _: &mut dyn FnMut(u64, &[u8]) -> std::io::Result<()>) -> Result<(), SourceError> {
        Err(SourceError::Unavailable("this batch writes no bytes".into()))
    }
}

/// Bytes out of the store.
pub(super) struct FromStore<'a> {
    store: &'a Store,
    /// Those that no thread uses just now.
    unpackers: Mutex<Vec<Unpacker>>,
}

impl<'a> FromStore<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, unpackers: Mutex::default() }
    }
}

impl Source for FromStore<'_> {
    fn read(
        &self,
        root: Root,
        len: u64,
        sink: &mut dyn FnMut(u64, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), SourceError> {
        let idle = || self.unpackers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unpacker = idle().pop().unwrap_or_default();
        let done = content::read(self.store, &mut unpacker, (root, len), 0..len, sink);
        idle().push(unpacker);
        done.map_err(|error| match error {
            ContentError::Sink(error) => SourceError::Sink(error),
            other => SourceError::Unavailable(other.to_string()),
        })
    }
}
