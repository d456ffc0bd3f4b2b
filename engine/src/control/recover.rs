//! After a crash: what it left in `.pfs/tmp` goes where it belongs.
//!
//! What must hold: a thing that a batch had parked is never taken for deleted. It returns to the place where it
//! was recorded or to the one where the batch was bringing it; where neither can be had it is set aside, and the
//! tree gets it anew from the history.

use std::collections::BTreeSet;

use super::append::Draft;
use super::look::recorded_below;
use super::materialise::warn_set_aside;
use super::source::NoSource;
use super::{Control, Held};
use crate::disk::{Kind, Outcome, Step, Tree};
use crate::error::EngineError;
use crate::limits::DEPTH_MAX;
use crate::model::facts::{Eye, Facts, Shown};
use crate::model::ids::{NodeId, VolumeId};
use crate::model::name::RelPath;
use crate::model::overlay::Overlay;
use crate::model::view;
use crate::store::Store;

impl Control {
    /// Looks at a tree that a crash may have left ahead of its records, before anything else is taken in: what the
    /// log wants there now is what the steps were bringing, and that is nobody's change.
    pub(super) fn recover(&mut self, id: VolumeId) {
        if !self.volumes.get(&id).is_some_and(Held::recovers) {
            return;
        }
        self.recovering = true;
        let looked = self.capture_all(id);
        self.recovering = false;
        match looked {
            Ok(_) => tracing::info!(volume = %id.short(), "recorded what a crash left unrecorded"),
            Err(error) => tracing::warn!(volume = %id.short(), %error, "what a crash left is not recorded yet"),
        }
    }
}

impl Held {
    /// Whether a crash came before the first entry of a volume that was to be made here.
    pub(super) fn is_unborn(&self) -> bool {
        !self.more.joining && self.is_blank()
    }

    /// Whether nothing of the volume is here yet.
    pub(super) fn is_blank(&self) -> bool {
        self.volume.frontier().0.is_empty()
    }

    /// Leaves nothing of an unborn volume, so that its directory can be tracked.
    pub(super) fn forget(self, store: &Store) -> Result<(), EngineError> {
        if let Some(path) = self.path()
            && let Ok(tree) = Tree::open(&path, self.volume.id())
        {
            tree.remove_marker()?;
        }
        Ok(store.remove_volume(self.volume.id())?)
    }

    /// Clears away what a crash left. Before the tree is looked at, and not while steps are carried out.
    pub(super) fn clear_up(&mut self, store: &Store, tree: &Tree) {
        match tree.sweep() {
            Ok(set_aside) => warn_set_aside(&set_aside),
            Err(error) => tracing::warn!(%error, "what a crash left behind could not be cleared away"),
        }
        self.return_parked(store, tree);
    }

    /// Brings back what a batch or a crash left parked; before anybody looks, who would take it for deleted. While
    /// that cannot be, the volume stands still.
    pub(super) fn return_parked(&mut self, store: &Store, tree: &Tree) {
        if let Err(error) = self.bring_back_parked(store, tree) {
            self.halt(format!("what was being moved could not be put back from .pfs/tmp: {error}"));
        }
    }

    fn bring_back_parked(&mut self, store: &Store, tree: &Tree) -> Result<(), EngineError> {
        let mut parked = tree.parked()?;
        loop {
            let before = parked.len();
            // What stands in a parked directory can only return after it.
            let mut left = Vec::new();
            for node in parked {
                if !self.unpark(tree, node)? {
                    left.push(node);
                }
            }
            parked = left;
            if parked.is_empty() || parked.len() == before {
                break;
            }
        }
        if parked.is_empty() { Ok(()) } else { self.let_go(store, tree, &parked) }
    }

    /// Puts a parked node back into the tree. Says whether it could.
    fn unpark(&self, tree: &Tree, node: NodeId) -> Result<bool, EngineError> {
        let recorded = self.volume.shown(node)?;
        let wanted = self.wanted(node)?;
        for shown in [recorded, wanted].into_iter().flatten() {
            let Some(folder) = self.folder_on_disk(tree, shown.folder)? else { continue };
            let carried = tree.carry_out(&[Step::Unpark { node, to: folder.join(&shown.name) }], &NoSource);
            if let [Outcome::Done(_)] = carried.outcomes[..] {
                tracing::info!(volume = %self.state.name, node = %node.short(), "put back what a crash left parked");
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wanted(&self, node: NodeId) -> Result<Option<Shown>, EngineError> {
        Ok(view::update(&self.volume, Eye::Local, &BTreeSet::from([node]))?.shown.remove(&node).flatten())
    }

    /// Where a directory is: where it was recorded, or where the log wants it.
    fn folder_on_disk(&self, tree: &Tree, folder: NodeId) -> Result<Option<RelPath>, EngineError> {
        if folder == NodeId::ROOT {
            return Ok(Some(RelPath::root()));
        }
        let inode = self.volume.record(folder)?.map(|record| record.stat.inode);
        let recorded = view::path_of(&self.volume, Eye::Local, folder)?;
        for path in [recorded, self.wanted_path(folder)?].into_iter().flatten() {
            let there = tree.stat(&path)?.filter(|stat| stat.kind == Kind::Dir);
            if there.is_some_and(|stat| inode.is_none_or(|inode| inode == stat.inode)) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    fn wanted_path(&self, node: NodeId) -> Result<Option<RelPath>, EngineError> {
        let (mut names, mut at) = (Vec::new(), node);
        while at != NodeId::ROOT {
            let Some(shown) = self.wanted(at)?.filter(|_| names.len() < DEPTH_MAX) else { return Ok(None) };
            names.push(shown.name);
            at = shown.folder;
        }
        names.reverse();
        Ok(Some(RelPath(names)))
    }

    /// The disk shows these no longer, nor what is below them; what the log wants of that is written anew.
    fn let_go(&mut self, store: &Store, tree: &Tree, parked: &[NodeId]) -> Result<(), EngineError> {
        let mut gone = Vec::new();
        for node in parked {
            let kept = tree.set_parked_aside(*node)?.kept;
            tracing::warn!(node = %node.short(), kept = %kept.display(), "a crash left it without a place");
            gone.push(*node);
            recorded_below(&self.volume, *node, &BTreeSet::new(), &mut gone)?;
        }
        let mut overlay = Overlay::new(&self.volume);
        for node in gone {
            overlay.show(node, None);
        }
        self.commit(store, Draft { changes: overlay.into_changes(), ..Draft::default() })
    }
}
