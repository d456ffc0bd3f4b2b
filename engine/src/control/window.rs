//! The window: the nodes that are being brought up to date, as many as memory allows, and when their turn comes.
//! Bookkeeping only; what is done for them is in `materialise`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held::Cursor;
use super::room::NoRoom;
use crate::environment::Environment;
use crate::limits::{DEPTH_MAX, STEP_BATCH_NODES, WINDOW_NODES};
use crate::model::ids::NodeId;
use crate::model::patch::Root;
use crate::plan::materialise::Task;

/// The nodes being worked on.
#[derive(Debug)]
pub(crate) struct Window {
    env: Arc<dyn Environment>,
    pub(super) tasks: BTreeMap<NodeId, Task>,
    /// Tasks whose bytes are not all here, by content; and each with what it waits for.
    waiting: BTreeMap<Root, BTreeSet<NodeId>>,
    waits_for: BTreeMap<NodeId, Root>,
    /// Tasks that can be carried out.
    pub(super) ready: BTreeSet<NodeId>,
    /// Since when the longest waiting of them is.
    pub(super) ready_since: Option<Instant>,
    /// How far the stale nodes of the store have been taken in.
    pub(super) cursor: Cursor<NodeId>,
    pub(super) due: Option<Instant>,
    /// Nodes that the disk refused: not tried again before then.
    pub(super) resting: BTreeMap<NodeId, Instant>,
    /// Those of them that others stand in the way of. They are tried with the next that has rested, for that may be
    /// one of the others: by turns none of them would ever come to its place.
    deferred: BTreeSet<NodeId>,
    /// How often in a row it refused them.
    refusals: BTreeMap<NodeId, u32>,
    /// Nodes whose bytes nobody has who is connected, by content. They make room for others until a peer comes, or
    /// one of those that are here may have got them.
    unavailable: BTreeMap<Root, BTreeSet<NodeId>>,
    unavailable_nodes: BTreeSet<NodeId>,
    ask_again: Option<Instant>,
    /// How often in a row that was in vain.
    asked: u32,
    /// Nodes whose files are larger than what is free.
    pub(super) no_room: BTreeMap<NodeId, NoRoom>,
    /// Nodes that cannot be shown before a directory comes to stand elsewhere; nothing is due for them.
    pub(super) barred: BTreeSet<NodeId>,
    /// Whether some rest until the disk has been looked at once more.
    pub(super) doubt: bool,
}

/// How long until peers that lacked some bytes are asked for them again, after so many times in vain.
pub(super) fn ask_again_after(asked: u32) -> Duration {
    ASK_AGAIN_FIRST.saturating_mul(1 << asked.min(20)).min(ASK_AGAIN_MAX)
}

impl Window {
    pub(crate) fn new(env: Arc<dyn Environment>) -> Self {
        Self {
            tasks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waits_for: BTreeMap::new(),
            ready: BTreeSet::new(),
            ready_since: None,
            cursor: Cursor::Start,
            due: Some(env.now()),
            resting: BTreeMap::new(),
            deferred: BTreeSet::new(),
            refusals: BTreeMap::new(),
            unavailable: BTreeMap::new(),
            unavailable_nodes: BTreeSet::new(),
            ask_again: None,
            asked: 0,
            no_room: BTreeMap::new(),
            barred: BTreeSet::new(),
            doubt: false,
            env,
        }
    }
}

/// How long ready nodes wait for more of their batch while much is on its way: every batch costs a few syncs.
const GATHER: Duration = Duration::from_millis(300);
/// Contents on their way that are much.
const GATHER_FROM: usize = 64;
/// The longest that a node rests; what it takes to be worth another try tells sooner, as a rule.
const REST_MAX: Duration = Duration::from_secs(15);
/// How long until peers that lacked some bytes are asked for them again. One of them may be about to get them: it
/// hears of a file before it has it, and so do we.
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(1);
/// The longest that this becomes, twice as long each time.
const ASK_AGAIN_MAX: Duration = Duration::from_mins(5);
/// Nodes without bytes that are remembered; with more than these the window may fill up with them.
const UNAVAILABLE_MAX: usize = 1 << 16;

impl Window {
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether nodes wait for their bytes.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty() || !self.unavailable.is_empty()
    }

    /// A node waits for that content.
    pub(super) fn wait_for(&mut self, node: NodeId, root: Root) {
        self.waiting.entry(root).or_default().insert(node);
        self.waits_for.insert(node, root);
    }

    /// Contents on their way.
    pub(super) fn on_their_way(&self) -> usize {
        self.waiting.len()
    }

    /// These nodes changed in the log or on disk; `stale` of them are not as they should be.
    pub(crate) fn touched(&mut self, touched: &BTreeSet<NodeId>, stale: &[NodeId]) {
        for node in touched {
            self.forget(*node);
        }
        if touched.iter().any(|node| self.barred.contains(node)) {
            self.unbar();
        }
        if !stale.is_empty() {
            for node in stale {
                self.resting.remove(node);
                self.deferred.remove(node);
            }
            self.begin_anew();
        }
    }

    /// Whether a node is being brought up to date, or cannot be.
    pub(super) fn holds(&self, node: NodeId) -> bool {
        self.tasks.contains_key(&node) || self.barred.contains(&node) || self.unavailable_nodes.contains(&node)
    }

    /// Whether a stale node is to be planned.
    pub(super) fn is_fresh(&self, node: NodeId) -> bool {
        !self.holds(node) && !self.resting.contains_key(&node)
    }

    /// A node cannot be shown as it should.
    pub(super) fn bar(&mut self, node: NodeId) {
        self.barred.insert(node);
    }

    /// What was barred is planned anew: there may be a way now.
    pub(super) fn unbar(&mut self) {
        self.barred.clear();
        self.begin_anew();
    }

    /// A file is larger than what is free: it makes way for others until there may be room.
    pub(super) fn wait_for_room(&mut self, node: NodeId, why: NoRoom, first: Duration) {
        self.ready.remove(&node);
        self.tasks.remove(&node);
        self.no_room.insert(node, why);
        self.rest(node, first);
    }

    /// For people: what cannot be shown, if anything.
    pub(super) fn bars(&self) -> Option<String> {
        (!self.barred.is_empty()).then(|| {
            let count = self.barred.len();
            format!(
                "too deep: {count} files and directories cannot be shown here; a path has {DEPTH_MAX} names at the most"
            )
        })
    }

    /// A content is all here now.
    pub(crate) fn arrived(&mut self, root: Root) {
        let nodes = self.waiting.remove(&root).unwrap_or_default();
        for node in nodes {
            self.waits_for.remove(&node);
            // Its task may have been carried out as far as it could be without.
            if self.tasks.contains_key(&node) {
                self.ready.insert(node);
            }
        }
        self.pace(self.env.now());
        if let Some(nodes) = self.unavailable.remove(&root) {
            self.unavailable_nodes.retain(|node| !nodes.contains(node));
            self.begin_anew();
        }
    }

    /// Nobody who is connected has all of that content: what waits for it makes room. Says whether anything did.
    pub(crate) fn make_room(&mut self, root: Root) -> bool {
        if self.unavailable_nodes.len() >= UNAVAILABLE_MAX {
            return false;
        }
        let Some(nodes) = self.waiting.remove(&root) else { return false };
        for node in &nodes {
            self.waits_for.remove(node);
            // What is ready goes on with what it can have.
            if !self.ready.contains(node) {
                self.tasks.remove(node);
                self.unavailable_nodes.insert(*node);
            }
        }
        self.unavailable.insert(root, nodes);
        let at = *self.ask_again.get_or_insert_with(|| self.env.now() + ask_again_after(self.asked));
        self.wake(at);
        true
    }

    /// Somebody may have what nobody had.
    pub(crate) fn ask_again(&mut self) {
        (self.ask_again, self.asked) = (None, 0);
        if !self.unavailable.is_empty() {
            self.unavailable.clear();
            self.unavailable_nodes.clear();
            self.begin_anew();
        }
    }

    /// Goes through all stale nodes once more.
    fn begin_anew(&mut self) {
        self.cursor = Cursor::Start;
        self.wake(self.env.now());
    }

    /// Whether much is on its way.
    pub(crate) fn gathers(&self) -> bool {
        self.waiting.len() >= GATHER_FROM
    }

    /// When the ready nodes are to be carried out.
    pub(super) fn ripe_at(&self, now: Instant) -> Option<Instant> {
        let since = self.ready_since.filter(|_| !self.ready.is_empty())?;
        let enough = self.ready.len() >= STEP_BATCH_NODES || !self.gathers();
        Some(if enough { now } else { since + GATHER })
    }

    pub(super) fn pace(&mut self, now: Instant) {
        if self.ready.is_empty() {
            self.ready_since = None;
        } else {
            self.ready_since.get_or_insert(now);
        }
        if let Some(at) = self.ripe_at(now) {
            self.wake(at);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.tasks.len() <= WINDOW_NODES / 2
    }

    pub(crate) fn wake(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The disk refused a node, or could not prove what it shows: it rests for so long, and twice as long each
    /// time that this comes again.
    pub(super) fn rest(&mut self, node: NodeId, first: Duration) {
        let refusals = self.refusals.entry(node).or_default();
        let until = self.env.now() + first.saturating_mul(1 << (*refusals).min(20)).min(REST_MAX);
        *refusals += 1;
        self.resting.insert(node, until);
        self.wake(until);
    }

    /// Another node stands in the way of this one, and may rest: so does this one.
    pub(super) fn defer(&mut self, node: NodeId, first: Duration) {
        self.rest(node, first);
        self.deferred.insert(node);
    }

    /// Nodes that have rested are stale like any other, and so are those that somebody may have got bytes for.
    pub(super) fn end_rests(&mut self, now: Instant) {
        let before = self.resting.len();
        self.resting.retain(|_, until| *until > now);
        if self.resting.len() < before {
            let deferred = std::mem::take(&mut self.deferred);
            self.resting.retain(|node, _| !deferred.contains(node));
            self.cursor = Cursor::Start;
        }
        if self.ask_again.is_some_and(|at| at <= now) {
            let asked = self.asked + 1;
            self.ask_again();
            self.asked = asked;
        }
    }

    /// When the next of those end.
    pub(super) fn next_rest_end(&self) -> Option<Instant> {
        self.resting.values().copied().chain(self.ask_again).min()
    }

    fn forget(&mut self, node: NodeId) {
        self.resting.remove(&node);
        self.deferred.remove(&node);
        self.refusals.remove(&node);
        self.no_room.remove(&node);
        self.ready.remove(&node);
        self.tasks.remove(&node);
        self.unavailable_nodes.remove(&node);
        if let Some(root) = self.waits_for.remove(&node)
            && let Some(nodes) = self.waiting.get_mut(&root)
        {
            nodes.remove(&node);
            if nodes.is_empty() {
                self.waiting.remove(&root);
            }
        }
    }
}
