//! From what a tree shows to what it should show: the steps, in an order that never loses a byte and never
//! finds its own way barred.
//!
//! What moves out of the way comes first, then what goes, then directories and arrivals from the top down,
//! then bytes and attributes. A step that cannot be done leaves its node as it was; the next look plans anew.

mod bars;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::bars::Left;
use crate::disk::{Expect, Kind, Stat, Step};
use crate::limits::{DEPTH_MAX, DISK_DEPTH_MAX};
use crate::model::facts::Shown;
use crate::model::ids::NodeId;
use crate::model::name::{Name, RelPath};
use crate::model::patch::{Attr, Content, Register};

/// One node that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Task {
    /// Which.
    pub node: NodeId,
    /// What the disk shows of it, with the signature; nothing if it is not there.
    pub have: Option<(Shown, Stat)>,
    /// What it should show, with the values; nothing if it should not be there.
    pub want: Option<Wanted>,
    /// Whether the signature may be that of bytes which nobody has captured: see `scan::is_racy`.
    pub racy: bool,
}

impl Task {
    /// Whether nothing is to be done on disk: what it shows is only called otherwise.
    pub fn needs_no_step(&self) -> bool {
        match (&self.have, &self.want) {
            (None, None) => true,
            (Some((have, _)), Some(want)) => {
                let stays = (have.folder, &have.name) == (want.shown.folder, &want.shown.name);
                let link = matches!(want.content, Content::Symlink { .. });
                stays && !want.rewrite && (!want.reattr || link)
            }
            _ => false,
        }
    }

    /// Whether the disk is to be looked at once more before anything is done there. Also before a move: what it
    /// leaves has a signature of its own, which then proves as little and is no longer racy.
    pub fn needs_look(&self) -> bool {
        let is_file = self.have.as_ref().is_some_and(|(_, stat)| stat.kind != Kind::Dir);
        self.racy && is_file && !self.needs_no_step()
    }
}

/// What a node should show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// Patches and place.
    pub shown: Shown,
    /// The content; never `Gone`.
    pub content: Content,
    /// Mode and attributes.
    pub attr: Attr,
    /// Whether its content differs in value from what the disk shows.
    pub rewrite: bool,
    /// Whether its attributes differ in value from what the disk shows.
    pub reattr: bool,
}

/// One step and the node it is for; the last step of a node completes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// For which node.
    pub node: NodeId,
    /// What to do.
    pub step: Step,
}

/// The steps of a batch, in their order, and what they leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What to do.
    pub steps: Vec<Planned>,
    /// Nodes that cannot be shown as they should before a directory comes to stand elsewhere: a path would have
    /// too many names.
    pub barred: BTreeSet<NodeId>,
}

/// Where nodes stand while the plan is being made.
struct Layout<'a> {
    before: &'a dyn Fn(NodeId) -> Option<(NodeId, Name)>,
    occupied: &'a dyn Fn(NodeId, &Name) -> Option<NodeId>,
    at: BTreeMap<NodeId, Option<(NodeId, Name)>>,
    taken: BTreeMap<(NodeId, Name), Option<NodeId>>,
}

impl Layout<'_> {
    fn place(&self, node: NodeId) -> Option<(NodeId, Name)> {
        self.at.get(&node).cloned().unwrap_or_else(|| (self.before)(node))
    }

    fn holder(&self, folder: NodeId, name: &Name) -> Option<NodeId> {
        self.taken.get(&(folder, name.clone())).copied().unwrap_or_else(|| (self.occupied)(folder, name))
    }

    fn path(&self, node: NodeId) -> Option<RelPath> {
        let (mut names, mut at) = (Vec::new(), node);
        while at != NodeId::ROOT {
            let (folder, name) = self.place(at)?;
            names.push(name);
            at = folder;
            if names.len() > DISK_DEPTH_MAX {
                return None;
            }
        }
        names.reverse();
        Some(RelPath(names))
    }

    fn below(&self, mut node: NodeId, above: NodeId) -> bool {
        for _ in 0..=DISK_DEPTH_MAX {
            if node == above {
                return true;
            }
            match self.place(node) {
                Some((folder, _)) => node = folder,
                None => return false,
            }
        }
        true
    }

    fn put(&mut self, node: NodeId, to: Option<(NodeId, Name)>) {
        if let Some(from) = self.place(node)
            && self.holder(from.0, &from.1) == Some(node)
        {
            self.taken.insert(from, None);
        }
        if let Some(to) = &to {
            self.taken.insert(to.clone(), Some(node));
        }
        self.at.insert(node, to);
    }
}

/// The steps for these tasks. `before` and `occupied` say where nodes stand on disk now, `barred` what earlier
/// plans left out. A task whose directory is not there yet has no step.
pub fn plan(
    tasks: &[Task],
    before: &dyn Fn(NodeId) -> Option<(NodeId, Name)>,
    occupied: &dyn Fn(NodeId, &Name) -> Option<NodeId>,
    barred: &BTreeSet<NodeId>,
) -> Plan {
    let Left { barred, early } = bars::left(tasks, before, occupied, barred);
    let is_left = |task: &&Task| barred.contains(&task.node) || early.contains(&task.node);
    let tasks: Vec<&Task> = tasks.iter().filter(|task| !is_left(task)).collect();
    Plan { steps: steps(&tasks, before, occupied), barred }
}

fn steps(
    tasks: &[&Task],
    before: &dyn Fn(NodeId) -> Option<(NodeId, Name)>,
    occupied: &dyn Fn(NodeId, &Name) -> Option<NodeId>,
) -> Vec<Planned> {
    let mut layout = Layout { before, occupied, at: BTreeMap::new(), taken: BTreeMap::new() };
    let mut plan = Vec::new();
    let parked = make_way(tasks, &mut layout, &mut plan);
    remove(tasks, NodeId::ROOT, &mut layout, &mut plan);
    arrive(tasks, &parked, &mut layout, &mut plan);
    plan
}

fn target(task: &Task) -> Option<(NodeId, Name)> {
    task.want.as_ref().map(|want| (want.shown.folder, want.shown.name.clone()))
}

fn moves(task: &Task) -> bool {
    match (&task.have, target(task)) {
        (Some((have, _)), Some(to)) => (have.folder, have.name.clone()) != to,
        _ => false,
    }
}

/// Renames straight what can be renamed straight; parks the rest.
fn make_way(tasks: &[&Task], layout: &mut Layout<'_>, plan: &mut Vec<Planned>) -> BTreeSet<NodeId> {
    let leaving: BTreeSet<NodeId> = tasks.iter().filter(|t| t.want.is_none()).map(|t| t.node).collect();
    let mut parked = BTreeSet::new();
    // What is inside something that is parked cannot be reached: it leaves before, and what is to go goes.
    let mut moving: Vec<&Task> = tasks.iter().copied().filter(|task| moves(task)).collect();
    moving.sort_by_cached_key(|task| Reverse(layout.path(task.node).map(|path| path.0.len())));
    for task in moving {
        let (Some((_, stat)), Some(to)) = (&task.have, target(task)) else { continue };
        let Some(from) = layout.path(task.node) else { continue };
        let stays = to.0 == NodeId::ROOT || layout.place(to.0).is_some() && !leaving.contains(&to.0);
        let free = layout.holder(to.0, &to.1).is_none();
        match layout.path(to.0) {
            Some(folder) if stays && free && !layout.below(to.0, task.node) => {
                let step = Step::Move { from, to: folder.join(&to.1), expect: *stat };
                plan.push(Planned { node: task.node, step });
                layout.put(task.node, Some(to));
            }
            _ => {
                if stat.kind == Kind::Dir {
                    remove(tasks, task.node, layout, plan);
                }
                plan.push(Planned { node: task.node, step: Step::Park { node: task.node, from, expect: *stat } });
                layout.put(task.node, None);
                parked.insert(task.node);
            }
        }
    }
    parked
}

/// Removes what is to go from below a directory, the deepest first.
fn remove(tasks: &[&Task], above: NodeId, layout: &mut Layout<'_>, plan: &mut Vec<Planned>) {
    let mut going: Vec<(RelPath, NodeId, Stat)> = Vec::new();
    for task in tasks.iter().filter(|task| task.want.is_none() && layout.below(task.node, above)) {
        if let (Some((_, stat)), Some(path)) = (&task.have, layout.path(task.node)) {
            going.push((path, task.node, *stat));
        }
    }
    going.sort_by(|a, b| b.0.cmp(&a.0));
    for (at, node, expect) in going {
        plan.push(Planned { node, step: Step::Remove { at, expect } });
        layout.put(node, None);
    }
}

/// Brings in what is to come, from the top down: a directory before what it holds.
fn arrive(tasks: &[&Task], parked: &BTreeSet<NodeId>, layout: &mut Layout<'_>, plan: &mut Vec<Planned>) {
    let by_node: BTreeMap<NodeId, &Task> = tasks.iter().map(|task| (task.node, *task)).collect();
    let mut done = BTreeSet::new();
    for task in tasks {
        let mut chain = vec![*task];
        while let Some(above) = chain.last().and_then(|task| task_above(task, &by_node, layout)) {
            if done.contains(&above.node) || chain.len() > DEPTH_MAX {
                break;
            }
            chain.push(above);
        }
        for task in chain.into_iter().rev() {
            if done.insert(task.node) {
                arrive_one(task, parked, layout, plan);
            }
        }
    }
}

/// The task of the nearest directory above a task's place that has one: until that has arrived there may be no path
/// to the place.
fn task_above<'t>(task: &Task, by_node: &BTreeMap<NodeId, &'t Task>, layout: &Layout<'_>) -> Option<&'t Task> {
    let mut folder = target(task)?.0;
    for _ in 0..=DISK_DEPTH_MAX {
        if let Some(above) = by_node.get(&folder) {
            return Some(above);
        }
        folder = layout.place(folder)?.0;
    }
    None
}

fn arrive_one(task: &Task, parked: &BTreeSet<NodeId>, layout: &mut Layout<'_>, plan: &mut Vec<Planned>) {
    let (Some(want), Some(to)) = (&task.want, target(task)) else { return };
    let Some(at) = layout.path(to.0).map(|folder| folder.join(&to.1)) else { return };
    let node = task.node;
    if parked.contains(&node) {
        plan.push(Planned { node, step: Step::Unpark { node, to: at.clone() } });
    }
    layout.put(node, Some(to));
    let expect = task.have.as_ref().map_or(Expect::Absent, |(_, stat)| Expect::Stat(*stat));
    let step = match (&want.content, &task.have) {
        (Content::Dir, None) => Step::MakeDir { at, attr: want.attr.clone() },
        (Content::File { len, root, mtime }, have) if have.is_none() || want.rewrite => {
            let (len, root, mtime) = (*len, *root, *mtime);
            Step::WriteFile { at, expect, len, root, mtime, attr: want.attr.clone() }
        }
        (Content::Symlink { target }, have) if have.is_none() || want.rewrite => {
            Step::WriteLink { at, expect, target: target.clone() }
        }
        (_, Some((_, stat))) if want.reattr && !matches!(want.content, Content::Symlink { .. }) => {
            Step::SetAttr { at, expect: *stat, attr: want.attr.clone() }
        }
        _ => return,
    };
    plan.push(Planned { node, step });
}

/// What can be shown now of what should be: where the wanted bytes are not here yet, the place and the
/// attributes go ahead without them.
pub fn attainable(task: &mut Task, have_content: Option<Content>, bytes_are_here: bool) -> bool {
    let Some(want) = &mut task.want else { return true };
    if bytes_are_here || !want.rewrite {
        return true;
    }
    let (Some((have, _)), Some(content)) = (&task.have, have_content) else { return false };
    want.shown.patches[Register::Content as usize] = have.patch(Register::Content);
    want.content = content;
    want.rewrite = false;
    true
}

#[cfg(test)]
mod tests;
