//! Bringing the tree on disk up to date with the view, in batches that are synced once.
//!
//! A window holds the nodes that are not as they should be, as many as memory allows; as soon as the bytes of
//! some are here they are carried out together. What the disk refuses because it shows something that nobody
//! captured is looked at first and planned anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::append::Draft;
use super::held::{Cursor, Duty};
use super::read::wall_time;
use super::source::FromStore;
use super::{Control, Held};
use crate::disk::SetAside;
use crate::disk::{DiskError, Kind, Outcome, Stat, Step};
use crate::engine::Event;
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::limits::{STEP_BATCH_BYTES, STEP_BATCH_NODES, WINDOW_NODES};
use crate::model::codec;
use crate::model::facts::{Eye, Facts, Shown};
use crate::model::ids::{NodeId, VolumeId};
use crate::model::overlay::Overlay;
use crate::model::patch::{Attr, Content, Register, Value};
use crate::model::view;
use crate::plan::materialise::{Plan, Planned, Task, Wanted, attainable, plan};
use crate::plan::scan::is_racy;
use crate::store::{Batch, Store, Volume, VolumeState};

/// How long a node rests after the disk showed something that nobody expected.
const AFTER_SURPRISE: Duration = Duration::from_millis(500);
/// How long a node rests whose record is taken once more: until what it was taken of is older than a tick.
const AFTER_DOUBT: Duration = Duration::from_millis(30);
/// How often that is waited for where no daemon does: somebody may write to the file all the time.
const DOUBTS_MAX: usize = 10;
/// How long a node rests after a step failed: a full disk, a file system that is read-only.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

impl Control {
    /// Carries out one batch; the loop comes back while there is more.
    pub(super) fn materialise(&mut self, id: VolumeId) -> Result<(), EngineError> {
        let store = self.store.clone();
        let held = self.held(id)?;
        held.window.due = None;
        held.window.end_rests(held.env.now());
        let wanted = held.refill(&store)?;
        let changed = held.carry_out(&store)?;
        if held.window.cursor.after().is_some() && held.window.has_room() {
            held.window.wake(held.env.now());
        }
        if let Some(until) = held.window.next_rest_end() {
            held.window.wake(until);
        }
        if wanted {
            self.tell(&Event::Wanted(id));
        }
        if changed {
            self.tell(&Event::Changed(id));
        }
        Ok(())
    }

    /// Brings the tree up to date as far as the bytes here allow; for an engine that is not live.
    pub(crate) fn settle(&mut self, id: VolumeId) -> Result<(), EngineError> {
        let env = Arc::clone(&self.env);
        for _ in 0..DOUBTS_MAX {
            while self.held(id)?.window.due.is_some_and(|due| due <= env.now()) {
                self.materialise(id)?;
                self.breathe();
            }
            if !std::mem::take(&mut self.held(id)?.window.doubt) {
                break;
            }
            env.pause(AFTER_DOUBT);
            self.capture_hinted(id)?;
        }
        Ok(())
    }
}

impl Held {
    /// Takes stale nodes into the window while there is room. Says whether there is something to fetch.
    fn refill(&mut self, store: &Store) -> Result<bool, EngineError> {
        let Some(after) = self.window.cursor.after() else { return Ok(false) };
        if !self.window.has_room() {
            return Ok(false);
        }
        let room = WINDOW_NODES - self.window.tasks.len();
        let stale = self.volume.stale(after, room)?;
        self.window.cursor = Cursor::behind(stale.last().copied().filter(|_| stale.len() == room));
        let is_fresh = |node: &NodeId| self.window.is_fresh(*node);
        let fresh: BTreeSet<NodeId> = stale.into_iter().filter(is_fresh).collect();
        self.plan_nodes(store, fresh)
    }

    fn plan_nodes(&mut self, store: &Store, mut nodes: BTreeSet<NodeId>) -> Result<bool, EngineError> {
        let (mut settled, mut wanted) = (BTreeSet::new(), false);
        while !nodes.is_empty() {
            let view = view::update(&self.volume, Eye::Local, &nodes)?;
            let mut above = BTreeSet::new();
            for node in &nodes {
                let want = view.shown.get(node).cloned().flatten();
                let Some(task) = task(&self.volume, *node, want)? else {
                    settled.insert(*node);
                    continue;
                };
                if task.needs_look() {
                    self.look_first(&task)?;
                    continue;
                }
                let folder = task.want.as_ref().map(|want| want.shown.folder);
                if let Some(folder) = folder.filter(|f| *f != NodeId::ROOT && !self.window.holds(*f))
                    && self.volume.shown(folder)?.is_none()
                {
                    above.insert(folder);
                }
                wanted |= self.admit(task)?;
            }
            nodes = &above - &nodes;
        }
        if !settled.is_empty() {
            self.settled(store, &settled)?;
        }
        self.window.pace(self.env.now());
        Ok(wanted)
    }

    /// A file was recorded so soon after it was written that its signature does not prove what is in it.
    fn look_first(&mut self, task: &Task) -> Result<(), EngineError> {
        let folder = task.have.as_ref().map_or(NodeId::ROOT, |(have, _)| have.folder);
        if let Some(folder) = view::path_of(&self.volume, Eye::Local, folder)? {
            self.dirty.again(folder, self.env.now());
        }
        self.window.rest(task.node, AFTER_DOUBT);
        self.window.doubt = true;
        Ok(())
    }

    /// Notes that nodes are as they should be.
    fn settled(&self, store: &Store, nodes: &BTreeSet<NodeId>) -> Result<(), EngineError> {
        let mut batch = Batch::new(self.volume.id());
        batch.stale = nodes.iter().map(|node| (*node, false)).collect();
        Ok(store.commit_relaxed(batch)?)
    }

    /// A task goes to those that are ready, or waits for its bytes. Says whether it waits.
    fn admit(&mut self, mut task: Task) -> Result<bool, EngineError> {
        let node = task.node;
        let content = task.want.as_ref().map(|want| (want.rewrite, want.content.clone()));
        let needs = match content {
            Some((true, Content::File { len, root, .. }))
                if len > 0 && !self.completed.contains(&root) && self.volume.is_missing(root)? =>
            {
                Some((root, len))
            }
            _ => None,
        };
        if let Some((root, len)) = needs {
            self.queue.tree_wants(crate::plan::fetch::Wanted { root, len });
            self.window.wait_for(node, root);
            let have = match &task.have {
                Some((shown, _)) => value(&self.volume, shown, Register::Content)?,
                None => None,
            };
            let have = match have {
                Some(Value::Content(content)) => Some(content),
                _ => None,
            };
            let moves = matches!((&task.have, &task.want), (Some((have, _)), Some(want))
                if (have.folder, &have.name) != (want.shown.folder, &want.shown.name));
            if moves && attainable(&mut task, have, false) {
                self.window.ready.insert(node);
            }
        } else {
            self.window.ready.insert(node);
        }
        self.window.tasks.insert(node, task);
        Ok(needs.is_some())
    }

    /// Carries out what is ready, up to a batch.
    fn carry_out(&mut self, store: &Store) -> Result<bool, EngineError> {
        match self.window.ripe_at(self.env.now()) {
            None if self.completed.is_empty() => return Ok(false),
            // While more is on its way the next batch notes what is complete.
            None if self.window.on_their_way() > 0 && self.completed.len() < WINDOW_NODES => return Ok(false),
            None => {
                self.commit(store, Draft::default())?;
                return Ok(false);
            }
            Some(at) if at > self.env.now() => {
                self.window.wake(at);
                return Ok(false);
            }
            Some(_) => {}
        }
        let tree = self.tree()?;
        if let Err(error) = tree.check_marker() {
            self.halt(error.to_string());
            return Err(error.into());
        }
        let batch = self.next_batch(store)?;
        if batch.is_empty() {
            self.window.pace(self.env.now());
            return Ok(false);
        }
        let volume = &self.volume;
        let before = |node| volume.shown(node).ok().flatten().map(|shown| (shown.folder, shown.name));
        let occupied = |folder, name: &_| volume.shown_at(folder, name).ok().flatten();
        let planned = plan(&batch, &before, &occupied, &self.window.barred);
        let list: Vec<Step> = planned.steps.iter().map(|one| one.step.clone()).collect();
        self.set_out(store)?;
        failpoint::pass(Point::MaterialiseSetOut);
        let begun = self.env.now();
        let carried = tree.carry_out(&list, &FromStore::new(store));
        let took = self.env.now().duration_since(begun);
        tracing::debug!(steps = list.len(), waiting = self.window.on_their_way(), ?took, "carried out");
        warn_set_aside(&carried.set_aside);
        failpoint::pass(Point::MaterialiseDone);
        self.note(store, &batch, &planned, carried.outcomes)?;
        failpoint::pass(Point::MaterialiseNoted);
        if !carried.left_parked.is_empty() {
            self.return_parked(store, &tree);
        }
        self.window.ready_since = None;
        self.window.pace(self.env.now());
        Ok(true)
    }

    /// Notes that steps begin. A crash before they are recorded must not make them look like somebody's changes.
    pub(super) fn set_out(&mut self, store: &Store) -> Result<(), EngineError> {
        self.more.under_way = true;
        let mut batch = Batch::new(self.volume.id());
        batch.state = Some(VolumeState { roster: codec::encode(&self.more), ..self.state.clone() });
        Ok(store.commit_relaxed(batch)?)
    }

    /// Takes ready tasks whose folder stands or comes along, up to the bounds of a batch.
    fn next_batch(&mut self, store: &Store) -> Result<Vec<Task>, EngineError> {
        let (mut batch, mut bytes, mut too_large) = (Vec::new(), 0, Vec::new());
        let room = self.room();
        for node in &self.window.ready {
            let Some(task) = self.window.tasks.get(node) else { continue };
            if let Some(why) = room.as_ref().and_then(|(on, free)| self.no_room(store, task, on, *free)) {
                too_large.push((*node, why));
                continue;
            }
            if let Some(Wanted { content: Content::File { len, .. }, rewrite: true, .. }) = &task.want {
                // Anybody may say of a file that it is as long as a number can be.
                bytes = len.saturating_add(bytes);
            }
            batch.push(task.clone());
            if batch.len() >= STEP_BATCH_NODES || bytes >= STEP_BATCH_BYTES {
                break;
            }
        }
        for (node, why) in too_large {
            tracing::warn!(node = %node.short(), needs = why.needs, free = why.free, "not begun: no room for it");
            self.window.wait_for_room(node, why, AFTER_FAILURE);
        }
        self.bring_folders(&mut batch);
        self.hold_back(&mut batch)?;
        for task in &batch {
            self.window.ready.remove(&task.node);
            self.window.tasks.remove(&task.node);
            self.window.no_room.remove(&task.node);
        }
        Ok(batch)
    }

    /// A directory that is to go waits for a batch that takes along, or comes behind, all that it holds.
    fn hold_back(&self, batch: &mut Vec<Task>) -> Result<(), EngineError> {
        let mut chosen: BTreeSet<NodeId> = batch.iter().map(|task| task.node).collect();
        let leaving =
            |task: &&Task| task.want.is_none() && matches!(&task.have, Some((_, stat)) if stat.kind == Kind::Dir);
        let folders: BTreeMap<NodeId, NodeId> =
            (batch.iter().filter(leaving)).filter_map(|task| Some((task.node, task.have.as_ref()?.0.folder))).collect();
        let mut early = Vec::new();
        for node in folders.keys() {
            if self.volume.shown_in(*node)?.iter().any(|(_, held)| !chosen.contains(held)) {
                early.push(*node);
            }
        }
        while let Some(node) = early.pop() {
            if chosen.remove(&node) {
                early.extend(folders.get(&node).filter(|above| folders.contains_key(above)));
            }
        }
        // Where nothing else is left, the disk shall say what stands in the way.
        if !chosen.is_empty() {
            batch.retain(|task| chosen.contains(&task.node));
        }
        Ok(())
    }

    /// The folders that a batch's nodes are to stand in come along where they do not stand yet.
    fn bring_folders(&self, batch: &mut Vec<Task>) {
        let mut chosen: BTreeSet<NodeId> = batch.iter().map(|task| task.node).collect();
        let mut next = 0;
        while let Some(task) = batch.get(next) {
            next += 1;
            let Some(folder) = task.want.as_ref().map(|want| want.shown.folder) else { continue };
            if let Some(above) = self.window.tasks.get(&folder)
                && self.window.ready.contains(&folder)
                && chosen.insert(folder)
            {
                batch.push(above.clone());
            }
        }
    }

    /// Records what was done; what was not is tried again.
    fn note(
        &mut self,
        store: &Store,
        batch: &[Task],
        planned: &Plan,
        outcomes: Vec<Outcome>,
    ) -> Result<(), EngineError> {
        let mut ends = self.ends(&planned.steps, outcomes);
        self.keep_holders(&planned.steps, &mut ends)?;
        let read_at = wall_time(&*self.env);
        let mut overlay = Overlay::new(&self.volume);
        let (mut sightings, mut deferred, mut failed) = (BTreeMap::new(), Vec::new(), None);
        for task in batch {
            match ends.remove(&task.node) {
                Some(Ok(stat)) => {
                    let shown = task.want.as_ref().map(|want| want.shown.clone());
                    let stat = stat.or(task.have.as_ref().map(|(_, stat)| *stat));
                    if let (Some(_), Some(stat)) = (&shown, stat) {
                        sightings.insert(task.node, (left_as(task, stat), read_at));
                    }
                    overlay.show(task.node, shown);
                }
                Some(Err(Refused::Failed(error))) => {
                    tracing::warn!(node = %task.node.short(), %error, "not brought up to date");
                    failed = Some(error.to_string());
                    self.window.rest(task.node, AFTER_FAILURE);
                }
                Some(Err(Refused::Unexpected)) if self.is_in_the_way_of(task)? => {
                    self.window.defer(task.node, AFTER_SURPRISE);
                }
                Some(Err(Refused::Unexpected)) => self.window.rest(task.node, AFTER_SURPRISE),
                None if planned.barred.contains(&task.node) => self.window.bar(task.node),
                // No step was needed: only what the disk shows is called otherwise.
                None if task.needs_no_step() => {
                    overlay.show(task.node, task.want.as_ref().map(|want| want.shown.clone()));
                }
                None => deferred.push(task.node),
            }
        }
        let stands_still = overlay.changes().touched.is_empty();
        let changes = overlay.into_changes();
        self.trouble(Duty::Write, failed);
        self.more.under_way = false;
        self.commit(store, Draft { changes, sightings, ..Draft::default() })?;
        for node in deferred {
            // What was done may have made room for it.
            if stands_still {
                self.window.defer(node, AFTER_SURPRISE);
            } else {
                self.window.cursor = Cursor::Start;
            }
        }
        Ok(())
    }
}

impl Held {
    /// Whether another node is recorded where this one is to stand.
    fn is_in_the_way_of(&self, task: &Task) -> Result<bool, EngineError> {
        let Some(Wanted { shown, .. }) = &task.want else { return Ok(false) };
        Ok(self.volume.shown_at(shown.folder, &shown.name)?.is_some_and(|other| other != task.node))
    }

    /// How the steps of each node ended. Where the disk showed otherwise than recorded it is looked at: wherever the
    /// node was, for a step before may have left another signature of it there.
    fn ends(&mut self, planned: &[Planned], outcomes: Vec<Outcome>) -> Ends {
        let (mut ends, mut surprising) = (Ends::new(), BTreeSet::new());
        for (one, outcome) in planned.iter().zip(outcomes) {
            if matches!(outcome, Outcome::NotEmpty | Outcome::Unexpected | Outcome::Failed(DiskError::Absent { .. })) {
                tracing::debug!(step = ?one.step, ?outcome, "the disk shows otherwise than recorded");
                surprising.insert(one.node);
            }
            let end = match outcome {
                Outcome::Done(stat) => Ok(stat),
                // What is left there is not tracked; if it should be, the next look tells.
                Outcome::NotEmpty => Ok(None),
                Outcome::Unexpected => Err(Refused::Unexpected),
                Outcome::Failed(error) => Err(Refused::Failed(error)),
            };
            let kept = ends.entry(one.node).or_insert_with(|| Ok(None));
            if kept.is_ok() {
                *kept = end;
            }
        }
        for one in planned.iter().filter(|one| surprising.contains(&one.node)) {
            for path in one.step.paths() {
                self.dirty.again(path.split_last().map(|(folder, _)| folder).unwrap_or_default(), self.env.now());
            }
        }
        ends
    }

    /// A directory is noted as gone only with all that was recorded in it: what it held would have no place, and
    /// nothing would ever look for it again.
    fn keep_holders(&mut self, planned: &[Planned], ends: &mut Ends) -> Result<(), EngineError> {
        // In their order the deepest are removed first.
        for one in planned {
            let Step::Remove { at, expect } = &one.step else { continue };
            if expect.kind != Kind::Dir || !matches!(ends.get(&one.node), Some(Ok(_))) {
                continue;
            }
            let held = self.volume.shown_in(one.node)?;
            if held.iter().any(|(_, node)| !matches!(ends.get(node), Some(Ok(_)))) {
                ends.insert(one.node, Err(Refused::Unexpected));
                self.dirty.again(at.split_last().map(|(folder, _)| folder).unwrap_or_default(), self.env.now());
            }
        }
        Ok(())
    }
}

/// How the steps of each node ended.
type Ends = BTreeMap<NodeId, Result<Option<Stat>, Refused>>;

enum Refused {
    Unexpected,
    Failed(DiskError),
}

/// Tells where bytes went that somebody wrote while their file was on its way out of the tree.
pub(crate) fn warn_set_aside(set_aside: &[SetAside]) {
    for one in set_aside {
        let from = one.from.as_ref().map_or_else(String::new, ToString::to_string);
        tracing::warn!(from, kept = %one.kept.display(), "written to while it was replaced; the bytes were kept");
    }
}

/// What is recorded of a node as it was left: a directory's mode that no step has set is somebody's change, which the
/// next look must see.
fn left_as(task: &Task, stat: Stat) -> Stat {
    match (&task.have, &task.want) {
        (Some((_, was)), Some(want)) if stat.kind == Kind::Dir && !want.reattr => Stat { mode: was.mode, ..stat },
        _ => stat,
    }
}

/// What is to be done for a node; nothing if it is as it should be.
fn task(volume: &Volume, node: NodeId, want: Option<Shown>) -> Result<Option<Task>, EngineError> {
    let record = volume.record(node)?;
    let racy = record.as_ref().is_some_and(|record| is_racy(&record.stat, record.read_at));
    let have = record.map(|record| (record.shown, record.stat));
    if have.as_ref().map(|(shown, _)| shown) == want.as_ref() {
        return Ok(None);
    }
    let want = match want {
        None => None,
        Some(shown) => Some(wanted(volume, have.as_ref().map(|(shown, _)| shown), shown)?),
    };
    Ok(Some(Task { node, have, want, racy }))
}

fn wanted(volume: &Volume, have: Option<&Shown>, shown: Shown) -> Result<Wanted, EngineError> {
    let (mut content, mut attr) = (None, None);
    if let Some(Value::Content(value)) = value(volume, &shown, Register::Content)? {
        content = Some(value);
    }
    if let Some(Value::Attr(value)) = value(volume, &shown, Register::Attr)? {
        attr = Some(value);
    }
    let content = content.ok_or(EngineError::NoPatch(shown.patch(Register::Content).to_string()))?;
    let attr = attr.unwrap_or_else(Attr::default);
    let (mut rewrite, mut reattr) = (true, true);
    if let Some(have) = have {
        let was = value(volume, have, Register::Content)?;
        rewrite = !was.is_some_and(|was| was.same(&Value::Content(content.clone())));
        reattr = value(volume, have, Register::Attr)? != Some(Value::Attr(attr.clone()));
    }
    Ok(Wanted { shown, content, attr, rewrite, reattr })
}

pub(super) fn value(volume: &Volume, shown: &Shown, register: Register) -> Result<Option<Value>, EngineError> {
    Ok(volume.patch(shown.patch(register))?.and_then(|known| known.patch.value(register)))
}
