//! Bringing back what was: one series of entries makes a path what it was.

use std::collections::BTreeMap;

use super::append::{Draft, contents};
use super::{Control, Gone, Held};
use crate::content::{ContentError, Lacking, lacking};
use crate::engine::Event;
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::model::ids::{PatchId, VolumeId};
use crate::model::name::RelPath;
use crate::model::patch::{Patch, Root};
use crate::plan::restore::{Deed, Restored, Wish, restore};
use crate::store::Store;

/// What a restore did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// The patches, in order. None: it is as it was.
    pub patches: Vec<PatchId>,
    /// What became of each path.
    pub deeds: BTreeMap<RelPath, Deed>,
    /// Contents that stand again and are not all here, and their lengths: they come from other members.
    pub lacking: BTreeMap<Root, u64>,
}

impl Control {
    /// Makes a path what it was, and brings the tree to it as far as the bytes are here. With `dry` nothing is
    /// looked at on disk and nothing is written.
    pub(crate) fn restore(&mut self, id: VolumeId, wish: &Wish, dry: bool) -> Result<RestoreReport, EngineError> {
        if !dry && self.held(id)?.state.path.is_some() {
            // What is on disk and not captured would contest it.
            self.capture(id, Gone::Asked, None)?;
        }
        let store = self.store.clone();
        let held = self.held(id)?;
        let time = held.tick();
        let volume = held.volume.clone();
        let Restored { patches, changes, deeds } = restore(id, &volume, time, wish)?;
        let lacking = held.lacking_of(&store, &patches)?;
        let report = RestoreReport { patches: patches.iter().map(Patch::id).collect(), deeds, lacking };
        if dry || patches.is_empty() {
            return Ok(report);
        }
        let missing = report.lacking.iter().map(|(root, len)| (*root, Some(*len))).collect();
        failpoint::pass(Point::RestoreBefore);
        self.append_patches(id, time, patches, Draft { changes, missing, ..Draft::default() })?;
        failpoint::pass(Point::RestoreAfter);
        self.held(id)?.queue.look_again();
        self.settle(id)?;
        self.tell(&Event::Changed(id));
        if !report.lacking.is_empty() {
            self.tell(&Event::Wanted(id));
        }
        Ok(report)
    }
}

impl Held {
    /// The contents of patches that cannot be read from here.
    pub(super) fn lacking_of(&self, store: &Store, patches: &[Patch]) -> Result<BTreeMap<Root, u64>, EngineError> {
        let mut missing = BTreeMap::new();
        for (root, len) in contents(patches) {
            let here = match lacking(store, root, len, 1) {
                Ok(lacking) => lacking == Lacking::Nothing && !self.volume.is_missing(root)?,
                Err(ContentError::Store(error)) => return Err(error.into()),
                // Of what is broken here nothing more is known: others may have it whole.
                Err(_) => false,
            };
            if !here {
                missing.insert(root, len);
            }
        }
        Ok(missing)
    }
}
