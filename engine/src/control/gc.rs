//! Letting go of old versions: first it is written down that they need not be held, then their chunks are deleted, a
//! few at a time. No capture is under way meanwhile, for both are work of the control thread.

use std::collections::{BTreeMap, BTreeSet};

use super::Control;
use super::append::Draft;
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::gc::Needs;
use crate::model::ids::{ChunkId, LogId, VolumeId};
use crate::model::patch::Root;

/// What was deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Swept {
    pub(crate) chunks: u64,
    /// As stored.
    pub(crate) bytes: u64,
}

impl Control {
    /// Notes that these contents need not be held, less those that something has come to refer to since.
    pub(crate) fn release(
        &mut self,
        needs: &mut Needs,
        released: BTreeMap<VolumeId, BTreeSet<Root>>,
    ) -> Result<(), EngineError> {
        let fresh = self.bring_up_to_date(needs)?;
        let store = self.store.clone();
        for (id, roots) in released {
            let Some(held) = self.volumes.get_mut(&id) else { continue };
            let released: BTreeSet<Root> = roots.difference(&fresh).copied().collect();
            held.fetch.forget_roots(&released);
            held.commit(&store, Draft { released, ..Draft::default() })?;
        }
        Ok(())
    }

    /// Deletes those of these chunks that nothing needs.
    pub(crate) fn sweep(&mut self, needs: &mut Needs, ids: &[ChunkId]) -> Result<Swept, EngineError> {
        self.bring_up_to_date(needs)?;
        let (mut idle, mut bytes) = (Vec::new(), 0);
        for id in ids.iter().filter(|id| !needs.needs(**id)) {
            // One that cannot be read stays: `verify --repair` lets go of it.
            if let Some(stored) = self.store.chunk(*id).unwrap_or_default() {
                bytes += stored.len() as u64;
                idle.push(*id);
            }
        }
        failpoint::pass(Point::GcSweep);
        self.store.remove_chunks(&idle)?;
        failpoint::pass(Point::GcSwept);
        Ok(Swept { chunks: idle.len() as u64, bytes })
    }

    /// The logs of which a form was given up, by volume.
    pub(crate) fn withdrawn(&self) -> BTreeMap<VolumeId, BTreeMap<LogId, u64>> {
        self.volumes.iter().map(|(id, held)| (*id, held.more.withdrawn.clone())).collect()
    }

    /// Takes in what has come since, and what is on its way: a chunk that was asked for, or that was found here while
    /// a content was put together, is needed although nothing may refer to it yet. Gives the contents of new entries.
    fn bring_up_to_date(&mut self, needs: &mut Needs) -> Result<BTreeSet<Root>, EngineError> {
        let mut fresh = BTreeSet::new();
        let withdrawn = self.withdrawn();
        for held in self.volumes.values() {
            let id = held.volume.id();
            if needs.withdrawn.get(&id) != withdrawn.get(&id) {
                needs.seen.remove(&id);
            }
            for wanted in held.fetch.wanted() {
                needs.coming.insert((wanted.root, wanted.len));
            }
            needs.noted.chunks.extend(held.fetch.chunks().into_iter().map(|id| (id, 0)));
            fresh.append(&mut needs.catch_up(&self.store, &held.volume)?);
        }
        needs.withdrawn = withdrawn;
        Ok(fresh)
    }
}
