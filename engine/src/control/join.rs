//! The end of a join: what a directory already held is part of the volume.

use super::append::Draft;
use super::materialise::value;
use super::read::wall_time;
use super::source::NoSource;
use super::{Control, Gone, Held};
use crate::disk::{Kind, Outcome, Step};
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::limits::STEP_BATCH_NODES;
use crate::model::ids::{NodeId, VolumeId};
use crate::model::name::RelPath;
use crate::model::patch::{Register, Value};
use crate::store::Store;

impl Control {
    /// The first look at a directory that joined, once a member's entries are here: files that are a version of
    /// what the volume knows are that version, anything else is captured as this peer's own.
    pub(super) fn finish_join(&mut self, id: VolumeId) -> Result<(), EngineError> {
        self.capture(id, Gone::Asked, None)?;
        failpoint::pass(Point::JoinLooked);
        let store = self.store.clone();
        let held = self.held(id)?;
        held.dress(&store)?;
        held.more.joining = false;
        held.commit(&store, Draft::default())
    }
}

impl Held {
    /// Permission bits alone are no change of somebody who joins: a copy has what its copier's umask left. So it gets
    /// those that the volume has.
    fn dress(&mut self, store: &Store) -> Result<(), EngineError> {
        let mut steps: Vec<(NodeId, Step)> = Vec::new();
        let mut ahead = vec![(NodeId::ROOT, RelPath::root())];
        while let Some((folder, above)) = ahead.pop() {
            for record in self.volume.records_in(folder)? {
                let at = above.join(&record.shown.name);
                if record.stat.kind == Kind::Dir {
                    ahead.push((record.node, at.clone()));
                }
                if let Some(Value::Attr(attr)) = value(&self.volume, &record.shown, Register::Attr)?
                    && record.stat.kind != Kind::Symlink
                    && attr.mode != record.stat.mode
                {
                    steps.push((record.node, Step::SetAttr { at, expect: record.stat, attr }));
                }
            }
            if steps.len() >= STEP_BATCH_NODES {
                self.dress_these(store, std::mem::take(&mut steps))?;
            }
        }
        self.dress_these(store, steps)
    }

    /// What has changed meanwhile keeps what it has: the next look tells whose change that is.
    fn dress_these(&mut self, store: &Store, steps: Vec<(NodeId, Step)>) -> Result<(), EngineError> {
        let (nodes, steps): (Vec<NodeId>, Vec<Step>) = steps.into_iter().unzip();
        let (tree, read_at) = (self.tree()?, wall_time(&*self.env));
        let outcomes = tree.carry_out(&steps, &NoSource).outcomes;
        let dressed = nodes.into_iter().zip(outcomes).filter_map(|(node, outcome)| match outcome {
            Outcome::Done(Some(stat)) => Some((node, (stat, read_at))),
            _ => None,
        });
        self.commit(store, Draft { sightings: dressed.collect(), ..Draft::default() })
    }
}
