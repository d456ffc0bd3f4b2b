//! Guards: what is gone from a tree is not written down as deleted before a person has said so, where all of it or
//! most of it went at once. Until then the volume stands still, also across restarts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Held;
use super::append::Draft;
use super::held::EMPTIED;
use super::look::{Looked, recorded_below};
use crate::disk::Kind;
use crate::error::EngineError;
use crate::model::facts::Facts;
use crate::model::ids::NodeId;
use crate::model::overlay::Overlay;
use crate::model::view;
use crate::plan::capture::Arranged;
use crate::plan::losses::{Losses, Verdict};
use crate::store::Store;

/// What becomes of things that are gone from the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// They are deleted; where that is too much at once, a person is asked. A delete that goes on is waited for.
    Awaited,
    /// The same without waiting.
    Asked,
    /// They are deleted: a person said so.
    Meant,
    /// They are brought back: a person said so.
    BringBack,
}

impl Gone {
    /// Whether nobody has said yet what becomes of them.
    pub(super) const fn is_judged(self) -> bool {
        matches!(self, Self::Awaited | Self::Asked)
    }
}

impl Held {
    /// Halts where nothing is left of what the root held, until something is back or a person says that it was
    /// meant. New things in the root do not count: what was there is still gone.
    pub(super) fn judge_emptiness(&mut self, store: &Store, looked: &Looked, gone: Gone) -> Result<(), EngineError> {
        let nothing_left = looked.emptied || (self.emptied && !looked.some_left);
        let was = std::mem::replace(&mut self.emptied, nothing_left && gone.is_judged());
        if self.emptied {
            self.halt(EMPTIED.to_owned());
        } else if was {
            self.state.halted = self.halted_by_loss();
        }
        if self.emptied != was {
            self.commit(store, Draft::default())?;
        }
        if self.emptied { self.tree().map(|_| ()) } else { Ok(()) }
    }

    /// Halts where too much is gone at once. Says when to look again, if the deletes are to wait.
    pub(super) fn judge_losses(
        &mut self,
        store: &Store,
        going: &[NodeId],
        gone: Gone,
    ) -> Result<Option<Instant>, EngineError> {
        let mut files = 0;
        for node in going {
            let is_file = self.volume.record(*node)?.is_some_and(|record| record.stat.kind != Kind::Dir);
            // What the log has removed already is nobody's loss.
            files += u64::from(is_file && view::is_living(&self.volume, *node)?);
        }
        let is_broad = files > 0 && self.leaves_the_root(going)?;
        let (now_ms, stood) = (self.env.wall_ms(), self.more.lost);
        let verdict = match gone {
            Gone::Awaited | Gone::Asked => {
                self.losses.judge((files, self.state.files, is_broad), stood, now_ms, gone == Gone::Awaited)
            }
            Gone::Meant | Gone::BringBack => Verdict::Write,
        };
        let lost = match verdict {
            Verdict::Wait(at_ms) => {
                return Ok(Some(self.env.now() + Duration::from_millis(at_ms.saturating_sub(now_ms))));
            }
            Verdict::Halt(loss) => Some(loss),
            Verdict::Write => None,
        };
        if !gone.is_judged() {
            self.losses = Losses::default();
        }
        if lost != stood {
            self.more.lost = lost;
            self.state.halted = self.halted_by_loss();
            self.commit(store, Draft::default())?;
        }
        if let (Some(_), Some(reason)) = (lost, self.halted_by_loss()) {
            self.halt(reason);
        }
        self.tree().map(|_| None)
    }

    /// What is gone was not meant to go: the disk shows it no longer, so what the log wants of it is written anew.
    pub(super) fn bring_back(&mut self, store: &Store, going: Vec<NodeId>) -> Result<(), EngineError> {
        let mut overlay = Overlay::new(&self.volume);
        for node in going {
            overlay.show(node, None);
        }
        self.commit(store, Draft { changes: overlay.into_changes(), ..Draft::default() })
    }

    /// Whether at least half of what stands in the root goes.
    fn leaves_the_root(&self, going: &[NodeId]) -> Result<bool, EngineError> {
        let going: BTreeSet<&NodeId> = going.iter().collect();
        let root = self.volume.records_in(NodeId::ROOT)?;
        Ok(root.iter().filter(|record| going.contains(&record.node)).count() * 2 >= root.len())
    }
}

/// What is gone with all that was recorded below it, each once, parents first.
pub(super) fn with_all_below(facts: &dyn Facts, arranged: &Arranged) -> Result<Vec<NodeId>, EngineError> {
    let mut going = Vec::new();
    for node in &arranged.gone {
        going.push(*node);
        recorded_below(facts, *node, &arranged.moved, &mut going)?;
    }
    let mut known = BTreeSet::new();
    going.retain(|node| known.insert(*node));
    Ok(going)
}
