//! Capture: what the disk shows becomes patches. Look, arrange, read in batches on a pool, commit each batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::append::Draft;
use super::look::{Problem, look};
use super::loss::{Gone, with_all_below};
use super::read::{Batch, Taken, Untaken, batches_of, read_batch, wall_time};
use super::{Control, Held};
use crate::disk::{DiskError, Hint, Kind, Tree};
use crate::engine::{Event, OnProgress, Progress};
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::limits::BATCH_FILES;
use crate::model::facts::{Eye, Facts};
use crate::model::ids::{NodeId, VolumeId};
use crate::model::name::{Name, RelPath};
use crate::model::overlay::Changes;
use crate::model::patch::{Attr, Content, Patch, Register, Value};
use crate::model::time::Time;
use crate::model::view;
use crate::plan::capture::{Arranged, Read, Seen, Shape, arrange};
use crate::plan::change::Pen;
use crate::plan::scan::{Difference, may_hide_writes};

/// What a capture did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// Patches written.
    pub patches: u64,
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is not carried, and why.
    pub problems: Vec<Problem>,
}

/// What is known while a capture goes on: where new directories stand.
struct Work {
    id: VolumeId,
    joining: bool,
    /// Whether the disk may show what nobody noted: some of what the log wants has not been brought there.
    lagging: bool,
    /// Where the file system keeps no attributes, that they are missing says nothing.
    keeps_xattrs: bool,
    folders: BTreeMap<RelPath, NodeId>,
    captured: Captured,
    progress: Option<OnProgress>,
    total: Option<u64>,
}

/// A file that is being written all the time is read again this soon.
const UNSTABLE_PAUSE: Duration = Duration::from_millis(100);
/// After this time it is taken as it is; the next look takes it again.
const UNSTABLE_PATIENCE: Duration = Duration::from_secs(2);
/// After this time nobody waits for it any longer.
const UNSTABLE_FORGOTTEN: Duration = Duration::from_secs(20);

/// What one look did, and when to look again, if it had to wait.
struct Slice {
    captured: Captured,
    again: Option<Instant>,
}

impl Captured {
    fn add(&mut self, more: Self) {
        self.patches += more.patches;
        self.files += more.files;
        self.bytes += more.bytes;
        self.problems.extend(more.problems);
    }
}

impl Held {
    /// Files that were open for writing until now and look as they did when they were read, soon after they had
    /// been written to: they may have been written to since.
    fn doubtful(&self, tree: &Tree, closed: &BTreeSet<RelPath>) -> Result<Vec<Seen>, EngineError> {
        let mut doubtful = Vec::new();
        for path in closed {
            let Some(node) = view::node_at(&self.volume, Eye::Local, path)? else { continue };
            let Some(record) = self.volume.record(node)? else { continue };
            let is_doubtful = record.stat.kind == Kind::File && may_hide_writes(&record.stat, record.read_at);
            if is_doubtful && tree.stat(path).is_ok_and(|stat| stat == Some(record.stat)) {
                let difference = Difference::Touched(record.clone(), record.stat);
                doubtful.push(Seen { path: path.clone(), difference, vacated: None });
            }
        }
        Ok(doubtful)
    }

    /// A file changed while it was read: once more after a pause.
    fn read_again(&mut self, path: RelPath) {
        let folder = path.split_last().map(|(folder, _)| folder).unwrap_or_default();
        let now = self.env.now();
        self.dirty.again(folder, now + UNSTABLE_PAUSE);
        self.unstable.entry(path).or_insert(now);
    }

    /// Files that have been changing for so long that they are taken as they are.
    fn out_of_patience(&mut self, now: Instant) -> BTreeSet<RelPath> {
        self.unstable.retain(|_, since| now.duration_since(*since) < UNSTABLE_FORGOTTEN);
        let waited = self.unstable.iter().filter(|(_, since)| now.duration_since(**since) >= UNSTABLE_PATIENCE);
        waited.map(|(path, _)| path.clone()).collect()
    }
}

impl Control {
    /// Looks at the whole tree. On return everything that was on disk when it began is in the log. A volume that
    /// was halted goes on if what halted it is over, or if a person says what became of what is gone.
    pub(crate) fn capture(
        &mut self,
        id: VolumeId,
        gone: Gone,
        progress: Option<&OnProgress>,
    ) -> Result<Captured, EngineError> {
        if self.held(id)?.state.halted.is_some() {
            self.attach(id);
        }
        let marked = gone == Gone::Meant && self.mark_again(id)?;
        let gone = if marked { Gone::Asked } else { gone };
        let (mut names, mut all) = (BTreeSet::new(), BTreeSet::from([RelPath::root()]));
        self.held(id)?.dirty.take();
        let (mut captured, end) = (Captured::default(), self.env.now() + UNSTABLE_FORGOTTEN);
        loop {
            match self.capture_in(id, (&names, &all), gone, progress) {
                Ok(slice) => captured.add(slice.captured),
                Err(error) => {
                    // What had been hinted at has not been looked at.
                    let now = self.env.now();
                    self.held(id)?.dirty.hint(Hint::Below(RelPath::root()), now);
                    return Err(error);
                }
            }
            // Nothing but what is to be read again has been noted since.
            if self.held(id)?.dirty.due().is_none() || self.env.now() > end {
                captured.problems.sort();
                captured.problems.dedup();
                if gone == Gone::BringBack {
                    self.settle(id)?;
                }
                return Ok(captured);
            }
            self.env.pause(UNSTABLE_PAUSE);
            self.breathe();
            (names, all) = self.held(id)?.dirty.take();
        }
    }

    /// A person says that a directory without marker is the right one. Whether it had to be marked.
    fn mark_again(&mut self, id: VolumeId) -> Result<bool, EngineError> {
        let held = self.held(id)?;
        let (Some(path), true) = (held.path(), held.state.halted.is_some()) else { return Ok(false) };
        if !matches!(Tree::open(&path, id), Err(DiskError::Marker { .. })) {
            return Ok(false);
        }
        Tree::create(&path, id)?;
        self.attach(id);
        Ok(true)
    }

    /// Looks at what the watcher hinted at: names first, so that a moved directory is a move at once.
    pub(super) fn capture_hinted(&mut self, id: VolumeId) -> Result<(), EngineError> {
        let (mut names, below) = self.held(id)?.dirty.take();
        if self.held(id)?.more.joining {
            return Ok(());
        }
        names.extend(below.iter().filter_map(|path| path.split_last().map(|(above, _)| above)));
        if below.contains(&RelPath::root()) {
            // All of it is looked at anyway, and what is gone is judged as a whole.
            names.clear();
        }
        match self.capture_slices(id, &names, &below) {
            Ok(None) => Ok(()),
            Ok(Some(at)) => {
                self.held(id)?.dirty.put_back(names, below, at);
                Ok(())
            }
            Err(error) => {
                if let Ok(held) = self.held(id) {
                    held.dirty.hint(Hint::Below(RelPath::root()), held.env.now());
                }
                Err(error)
            }
        }
    }

    /// Looks at names, then below directories. Says when to look again, if that must wait.
    fn capture_slices(
        &mut self,
        id: VolumeId,
        names: &BTreeSet<RelPath>,
        below: &BTreeSet<RelPath>,
    ) -> Result<Option<Instant>, EngineError> {
        let none = BTreeSet::new();
        for slice in [(names, &none), (&none, below)] {
            let is_empty = slice.0.is_empty() && slice.1.is_empty() && self.held(id)?.dirty.closed.is_empty();
            if !is_empty && let Some(at) = self.capture_in(id, slice, Gone::Awaited, None)?.again {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// One look at everything.
    pub(super) fn capture_all(&mut self, id: VolumeId) -> Result<Captured, EngineError> {
        let all = BTreeSet::from([RelPath::root()]);
        Ok(self.capture_in(id, (&BTreeSet::new(), &all), Gone::Asked, None)?.captured)
    }

    fn capture_in(
        &mut self,
        id: VolumeId,
        (names, all): (&BTreeSet<RelPath>, &BTreeSet<RelPath>),
        gone: Gone,
        progress: Option<&OnProgress>,
    ) -> Result<Slice, EngineError> {
        let held = self.held(id)?;
        held.capturing = true;
        let closed = std::mem::take(&mut held.dirty.closed);
        let slice = self.capture_now(id, (names, all, &closed), gone, progress);
        let held = self.held(id)?;
        held.capturing = false;
        if !slice.as_ref().is_ok_and(|slice| slice.again.is_none()) {
            held.dirty.closed.extend(closed);
        }
        slice
    }

    fn capture_now(
        &mut self,
        id: VolumeId,
        (names, all, closed): (&BTreeSet<RelPath>, &BTreeSet<RelPath>, &BTreeSet<RelPath>),
        gone: Gone,
        progress: Option<&OnProgress>,
    ) -> Result<Slice, EngineError> {
        let store = self.store.clone();
        let held = self.held(id)?;
        let tree = held.tree_to_look_at()?;
        if let Err(error) = tree.check_marker() {
            held.halt(error.to_string());
            held.tree()?;
        }
        let mut looked = look(&tree, &held.volume, names, all)?;
        looked.seen.extend(held.doubtful(&tree, closed)?);
        held.judge_emptiness(&store, &looked, gone)?;
        let mut arranged = arrange(looked.seen);
        arranged.gone = with_all_below(&held.volume, &arranged)?;
        let again = held.judge_losses(&store, &arranged.gone, gone)?;
        if again.is_some() {
            return Ok(Slice { captured: Captured::default(), again });
        }
        if gone == Gone::BringBack {
            held.bring_back(&store, std::mem::take(&mut arranged.gone))?;
        }
        let (joining, lagging) = (held.more.joining, !held.volume.stale(None, 1)?.is_empty());
        let captured = Captured { problems: looked.problems, ..Captured::default() };
        let progress = progress.cloned();
        let total = progress.as_ref().map(|_| arranged.read.len() as u64);
        let keeps_xattrs = tree.keeps_xattrs()?;
        let folders = BTreeMap::new();
        let mut work = Work { id, joining, lagging, keeps_xattrs, folders, captured, progress, total };
        self.reshape(&mut work, &arranged)?;
        self.read_all(&mut work, &tree, arranged.read)?;
        failpoint::pass(Point::CaptureEnd);
        let held = self.held(id)?;
        held.note_skipped(names, all, &work.captured.problems);
        if held.more.under_way && all.contains(&RelPath::root()) {
            held.more.under_way = false;
            held.commit(&store, Draft::default())?;
        }
        Ok(Slice { captured: work.captured, again })
    }

    /// Deletes, moves and new directories.
    fn reshape(&mut self, work: &mut Work, arranged: &Arranged) -> Result<(), EngineError> {
        if arranged.gone.is_empty() && arranged.shape.is_empty() {
            return Ok(());
        }
        for (round, shape) in arranged.shape.chunks(BATCH_FILES).enumerate() {
            self.reshape_batch(work, if round == 0 { &arranged.gone } else { &[] }, shape)?;
        }
        if arranged.shape.is_empty() {
            self.reshape_batch(work, &arranged.gone, &[])?;
        }
        Ok(())
    }

    fn reshape_batch(&mut self, work: &mut Work, gone: &[NodeId], shape: &[Shape]) -> Result<(), EngineError> {
        failpoint::pass(Point::CaptureShape);
        let held = self.held(work.id)?;
        let (tree, time) = (held.tree()?, held.tick());
        let volume = held.volume.clone();
        let mut pen = Pen::new(work.id, &volume, time);
        let mut sightings = BTreeMap::new();
        pen.remove(gone)?;
        for one in shape {
            let (Shape::Move { path, .. } | Shape::NewDir { path, .. }) = one;
            let Some((above, name)) = path.split_last() else { continue };
            let Some(folder) = folder_at(pen.facts(), &work.folders, &above)? else { continue };
            let node = match one {
                Shape::Move { node, .. } => {
                    pen.place(*node, folder, name.clone())?;
                    // What it was last seen as stays recorded until it is read: if that does not come to be, the
                    // next look must see that it differs.
                    *node
                }
                Shape::NewDir { stat, .. } => {
                    let Ok(attr) = tree.attr(path, stat) else { continue };
                    let node = born(&mut pen, work, folder, name, Content::Dir, attr)?;
                    sightings.insert(node, (*stat, wall_time(&*held.env)));
                    node
                }
            };
            work.folders.insert(path.clone(), node);
        }
        let draft = Draft { sightings, ..Draft::default() };
        let written = pen.finish();
        self.write(work, time, written, draft)
    }

    /// Reads on the pool what differs, one batch ahead of the commits.
    fn read_all(&mut self, work: &mut Work, tree: &Arc<Tree>, reads: Vec<Read>) -> Result<(), EngineError> {
        let store = self.store.clone();
        let env = Arc::clone(&self.env);
        let patience = self.held(work.id)?.out_of_patience(env.now());
        match batches_of(&reads).next() {
            None => return Ok(()),
            Some(all) if all.len() == reads.len() => {
                // There is nothing to read ahead.
                self.record(work, read_batch(tree, &store, all, &patience, &*env)?)?;
                self.breathe();
                return Ok(());
            }
            Some(_) => {}
        }
        let (batches, ready) = bounded(1);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                for batch in batches_of(&reads) {
                    if batches.send(read_batch(tree, &store, batch, &patience, &*env)).is_err() {
                        break;
                    }
                }
            });
            let mut outcome = Ok(());
            for batch in &ready {
                outcome = batch.and_then(|batch| self.record(work, batch));
                if outcome.is_err() {
                    break;
                }
                self.breathe();
            }
            drop(ready);
            if reader.join().is_err() {
                return Err(EngineError::Thread("a reader panicked".into()));
            }
            outcome
        })
    }

    /// One batch becomes patches.
    fn record(&mut self, work: &mut Work, batch: Batch) -> Result<(), EngineError> {
        failpoint::pass(Point::CaptureRead);
        let held = self.held(work.id)?;
        for untaken in batch.untaken {
            match untaken {
                Untaken::Again(path) => held.read_again(path),
                Untaken::Problem(problem) => work.captured.problems.push(problem),
            }
        }
        let volume = held.volume.clone();
        let time = held.tick();
        let mut pen = Pen::new(work.id, &volume, time);
        let mut sightings = BTreeMap::new();
        for taken in batch.taken {
            if is_taken(&pen, work, &taken.read)? {
                held.read_again(taken.read.path);
                continue;
            }
            held.unstable.remove(&taken.read.path);
            work.captured.files += 1;
            if let Content::File { len, .. } = &taken.content {
                work.captured.bytes += len;
            }
            let sighting = (taken.stat, taken.read_at);
            if let Some(node) = note(&mut pen, work, taken)? {
                sightings.insert(node, sighting);
            }
        }
        if let Some(progress) = &work.progress {
            let (files, bytes) = (work.captured.files, work.captured.bytes);
            progress(Progress { files, bytes, files_total: work.total });
        }
        let draft = Draft { sightings, chunks: batch.chunks, ..Draft::default() };
        let written = pen.finish();
        self.write(work, time, written, draft)
    }

    /// Commits what a pen wrote; where it wrote no patch, only what the disk shows is noted.
    fn write(
        &mut self,
        work: &mut Work,
        time: Time,
        (patches, changes): (Vec<Patch>, Changes),
        mut draft: Draft,
    ) -> Result<(), EngineError> {
        draft.changes = changes;
        work.captured.patches += patches.len() as u64;
        if patches.is_empty() {
            let store = self.store.clone();
            return self.held(work.id)?.commit(&store, draft);
        }
        self.append_patches(work.id, time, patches, draft)?;
        self.tell(&Event::Changed(work.id));
        Ok(())
    }
}

/// Whether something new was found where another thing is still recorded, which the next look must settle first:
/// one place shows one node.
fn is_taken(pen: &Pen<'_>, work: &Work, read: &Read) -> Result<bool, EngineError> {
    let (None, Some((above, name))) = (read.node, read.path.split_last()) else { return Ok(false) };
    match folder_at(pen.facts(), &work.folders, &above)? {
        Some(folder) => Ok(pen.facts().shown_at(folder, name)?.is_some()),
        None => Ok(false),
    }
}

/// What a thing that was read means: a birth, a change, or nothing.
fn note(pen: &mut Pen<'_>, work: &Work, taken: Taken) -> Result<Option<NodeId>, EngineError> {
    let Taken { read, content, mut attr, .. } = taken;
    let Some((above, name)) = read.path.split_last() else { return Ok(None) };
    let node = match read.node {
        Some(node) if pen.facts().shown(node)?.is_some() => node,
        Some(_) => return Ok(None),
        None => {
            let Some(folder) = folder_at(pen.facts(), &work.folders, &above)? else { return Ok(None) };
            return born(pen, work, folder, name, content, attr).map(Some);
        }
    };
    let facts = pen.facts();
    let (was, mode) = (shown_value(facts, node, Register::Content)?, shown_value(facts, node, Register::Attr)?);
    if let Some(Value::Attr(known)) = &mode
        && !work.keeps_xattrs
    {
        attr.xattrs.clone_from(&known.xattrs);
    }
    let changed = !was.is_some_and(|was| was.same(&Value::Content(content.clone())));
    let reattr = !matches!(content, Content::Symlink { .. }) && mode != Some(Value::Attr(attr.clone()));
    if changed || reattr {
        pen.change(node, changed.then_some(content), reattr.then_some(attr))?;
    }
    Ok(Some(node))
}

fn shown_value(facts: &dyn Facts, node: NodeId, register: Register) -> Result<Option<Value>, EngineError> {
    let Some(shown) = facts.shown(node)? else { return Ok(None) };
    Ok(facts.patch(shown.patch(register))?.and_then(|known| known.patch.value(register)))
}

fn born(
    pen: &mut Pen<'_>,
    work: &Work,
    folder: NodeId,
    name: &Name,
    content: Content,
    attr: Attr,
) -> Result<NodeId, EngineError> {
    if work.joining {
        return Ok(pen.adopt(folder, name.clone(), content, attr)?.node);
    }
    if work.lagging {
        return Ok(pen.found(folder, name.clone(), content, attr)?);
    }
    Ok(pen.birth(folder, name.clone(), content, attr)?)
}

fn folder_at(
    facts: &dyn Facts,
    folders: &BTreeMap<RelPath, NodeId>,
    path: &RelPath,
) -> Result<Option<NodeId>, EngineError> {
    let mut at = path.clone();
    let mut below = Vec::new();
    let mut node = loop {
        if at == RelPath::root() {
            break NodeId::ROOT;
        }
        if let Some(node) = folders.get(&at) {
            break *node;
        }
        let Some((above, name)) = at.split_last() else { break NodeId::ROOT };
        below.push(name.clone());
        at = above;
    };
    for name in below.into_iter().rev() {
        match facts.shown_at(node, &name)? {
            Some(next) => node = next,
            None => return Ok(None),
        }
    }
    Ok(Some(node))
}
