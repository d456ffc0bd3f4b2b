//! Settling forks: one entry closes one fork.

use super::Control;
use super::Gone;
use super::append::Draft;
use crate::engine::Event;
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::model::ids::{PatchId, VolumeId};
use crate::model::patch::Patch;
use crate::model::view::Fork;
use crate::plan::resolve::{Choice, ResolveError, resolve};
use crate::query;

impl Control {
    /// Closes a fork as chosen, and brings the tree to it as far as the bytes are here. Gives the patches
    /// that close it.
    pub(crate) fn resolve(&mut self, id: VolumeId, fork: &Fork, choice: &Choice) -> Result<Vec<PatchId>, EngineError> {
        // What is on disk and not captured would be set aside by the resolution unseen.
        self.capture(id, Gone::Asked, None)?;
        let (me, store) = (self.keys.peer(), self.store.clone());
        let held = self.held(id)?;
        let time = held.tick();
        let volume = held.volume.clone();
        let authors = query::authors(&volume, &held.more.roster, me, fork)?;
        let (patches, changes) = resolve(id, &volume, time, fork, (choice, &authors))?;
        // New bytes were put into the store before this job: what they share with an old version may have been let
        // go of in between.
        if matches!(choice, Choice::With { .. }) && !held.lacking_of(&store, &patches)?.is_empty() {
            return Err(ResolveError::Changed.into());
        }
        let ids = patches.iter().map(Patch::id).collect();
        failpoint::pass(Point::ResolveBefore);
        self.append_patches(id, time, patches, Draft { changes, ..Draft::default() })?;
        failpoint::pass(Point::ResolveAfter);
        self.settle(id)?;
        self.tell(&Event::Changed(id));
        Ok(ids)
    }
}
