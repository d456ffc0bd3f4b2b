//! What cannot be shown where it should. For long: a path would have too many names, or what has the name, or is the
//! directory, is itself barred. All of it stays as it is; only when a directory comes to stand elsewhere is there a
//! reason to look again. Or for this plan only: what has the name, or the directory, has its turn in another one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Task, target};
use crate::limits::{DEPTH_MAX, DISK_DEPTH_MAX};
use crate::model::ids::NodeId;
use crate::model::name::Name;

/// Tasks that are not for this plan.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Those that cannot be done before a directory comes to stand elsewhere.
    pub(super) barred: BTreeSet<NodeId>,
    /// Those whose directory is not there yet, or where another stands that does not go with this plan.
    pub(super) early: BTreeSet<NodeId>,
}

struct Bars<'a> {
    tasks: BTreeMap<NodeId, &'a Task>,
    before: &'a dyn Fn(NodeId) -> Option<(NodeId, Name)>,
    known: &'a BTreeSet<NodeId>,
    left: Left,
    /// How many names the path of a directory will have; nothing where it does not stand.
    depths: BTreeMap<NodeId, Option<usize>>,
}

/// Which of the tasks are not to be planned; `known` are barred since earlier plans.
pub(super) fn left(
    tasks: &[Task],
    before: &dyn Fn(NodeId) -> Option<(NodeId, Name)>,
    occupied: &dyn Fn(NodeId, &Name) -> Option<NodeId>,
    known: &BTreeSet<NodeId>,
) -> Left {
    let by_node = tasks.iter().map(|task| (task.node, task)).collect();
    let mut bars = Bars { tasks: by_node, before, known, left: Left::default(), depths: BTreeMap::new() };
    loop {
        let (barred, early) = (bars.left.barred.len(), bars.left.early.len());
        for task in tasks {
            let Some((folder, name)) = target(task) else { continue };
            let in_its_way = occupied(folder, &name).filter(|other| *other != task.node);
            if in_its_way.is_some_and(|other| bars.is_barred(other)) {
                bars.left.barred.insert(task.node);
            } else if in_its_way.is_some_and(|other| !bars.goes(other)) {
                bars.left.early.insert(task.node);
            } else {
                match bars.depth(folder) {
                    Some(depth) if depth >= DEPTH_MAX => _ = bars.left.barred.insert(task.node),
                    Some(_) => {}
                    None => _ = bars.left.early.insert(task.node),
                }
            }
        }
        bars.keep_holders();
        if bars.left.barred.len() > barred {
            bars.left.early.clear();
        } else if bars.left.early.len() == early {
            return bars.left;
        }
        bars.depths.clear();
    }
}

impl Bars<'_> {
    fn is_barred(&self, node: NodeId) -> bool {
        self.known.contains(&node) || self.left.barred.contains(&node)
    }

    /// Whether this plan brings a node to where it should be.
    fn goes(&self, node: NodeId) -> bool {
        self.tasks.contains_key(&node) && !self.is_barred(node) && !self.left.early.contains(&node)
    }

    /// Where a node will stand.
    fn place(&self, node: NodeId) -> Option<NodeId> {
        match self.tasks.get(&node).filter(|_| self.goes(node)) {
            Some(task) => target(task).map(|(folder, _)| folder),
            None => (self.before)(node).map(|(folder, _)| folder),
        }
    }

    fn depth(&mut self, folder: NodeId) -> Option<usize> {
        let (mut chain, mut at) = (Vec::new(), folder);
        let mut depth = loop {
            if at == NodeId::ROOT {
                break Some(0);
            }
            if let Some(known) = self.depths.get(&at) {
                break *known;
            }
            match self.place(at) {
                // A ring of directories on their way into each other: they wait like those that are too deep.
                Some(_) if chain.len() > DISK_DEPTH_MAX => break Some(DEPTH_MAX),
                Some(above) => {
                    chain.push(at);
                    at = above;
                }
                None => break self.is_barred(at).then_some(DEPTH_MAX),
            }
        };
        for node in chain.into_iter().rev() {
            depth = depth.map(|depth| depth + 1);
            self.depths.insert(node, depth);
        }
        depth
    }

    /// A directory does not go while something barred is in it.
    fn keep_holders(&mut self) {
        let is_leaving = |task: &&&Task| task.want.is_none();
        if !self.tasks.values().any(|task| is_leaving(&task)) {
            return;
        }
        for node in self.known.iter().chain(&self.left.barred.clone()) {
            let mut at = (self.before)(*node);
            while let Some((folder, _)) = at {
                if !self.tasks.get(&folder).is_some_and(|task| is_leaving(&task)) || !self.left.barred.insert(folder) {
                    break;
                }
                at = (self.before)(folder);
            }
        }
    }
}
