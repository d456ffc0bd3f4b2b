//! Verifying: everything that is stored is read again and proven; what is broken is let go of, so that it is
//! fetched from a peer that has it.

use std::collections::{BTreeMap, BTreeSet};

use super::append::Draft;
use super::{Control, Held};
use crate::content::{self, ContentError, Lacking};
use crate::engine::Event;
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::limits::LOOKUPS_MAX;
use crate::model::chunk::Unpacker;
use crate::model::ids::{ChunkId, VolumeId};
use crate::model::patch::{Content, Root};
use crate::store::{Store, Volume};

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Chunks read.
    pub chunks: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Chunks whose bytes are not what their ids say.
    pub broken: Vec<ChunkId>,
}

/// Reads every chunk of the store, or these, and proves it. Reads only.
pub(crate) fn verify_chunks(
    store: &Store,
    only: Option<&BTreeSet<ChunkId>>,
    progress: &dyn Fn(u64, u64),
) -> Result<Verified, EngineError> {
    let (mut verified, mut unpacker, mut after) = (Verified::default(), Unpacker::new(), None);
    loop {
        let ids = store.chunk_ids(after, LOOKUPS_MAX)?;
        let Some(last) = ids.last() else { return Ok(verified) };
        after = Some(*last);
        for id in ids.into_iter().filter(|id| only.is_none_or(|only| only.contains(id))) {
            // A chunk that cannot be read at all is as broken as one that reads wrong.
            let stored = store.chunk(id).ok().flatten().unwrap_or_default();
            verified.chunks += 1;
            verified.bytes += stored.len() as u64;
            if unpacker.unpack(id, &stored).is_err() {
                verified.broken.push(id);
            }
        }
        progress(verified.chunks, verified.bytes);
    }
}

/// The contents of a volume that are not all here, and their lengths.
pub(crate) fn lacking_contents(store: &Store, volume: &Volume) -> Result<BTreeMap<Root, u64>, EngineError> {
    let (mut lacking, mut before) = (BTreeMap::new(), None);
    loop {
        let heads = volume.recent(before, 64)?;
        let Some(last) = heads.last() else { return Ok(lacking) };
        before = Some((last.time, last.log, last.seq));
        for patch in heads.iter().flat_map(|head| &head.patches) {
            let content =
                crate::model::facts::Facts::patch(volume, *patch)?.and_then(|known| known.patch.content.clone());
            if let Some(Content::File { len, root, .. }) = content
                && len > 0
                && !volume.is_released(root)?
                && !is_whole(store, root, len)?
            {
                lacking.insert(root, len);
            }
        }
    }
}

/// Whether all of a content is here. One that nobody can read, because a list of it is none, is whole nowhere.
fn is_whole(store: &Store, root: Root, len: u64) -> Result<bool, EngineError> {
    match content::lacking(store, root, len, 1) {
        Ok(lacking) => Ok(lacking == Lacking::Nothing),
        Err(error @ ContentError::Store(_)) => Err(error.into()),
        Err(_) => Ok(false),
    }
}

impl Control {
    /// Lets go of broken chunks and fetches what now lacks them.
    pub(crate) fn heal(&mut self, broken: &[ChunkId]) -> Result<u64, EngineError> {
        let store = self.store.clone();
        store.remove_chunks(broken)?;
        failpoint::pass(Point::RepairLetGo);
        let ids: Vec<VolumeId> = self.volumes.keys().copied().collect();
        let mut count = 0;
        for id in ids {
            let held = self.held(id)?;
            count += held.mark_lacking(&store)?;
            self.tell(&Event::Wanted(id));
        }
        Ok(count)
    }
}

impl Held {
    fn mark_lacking(&mut self, store: &Store) -> Result<u64, EngineError> {
        let lacking = lacking_contents(store, &self.volume)?;
        let count = lacking.len() as u64;
        if count > 0 {
            let missing = lacking.into_iter().map(|(root, len)| (root, Some(len))).collect();
            self.commit(store, Draft { missing, ..Draft::default() })?;
            self.queue.look_again();
        }
        Ok(count)
    }
}
