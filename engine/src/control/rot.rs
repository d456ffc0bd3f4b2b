//! Bit rot in a tree: a file whose bytes are not what was captured though its signature is. Nobody wrote them, so
//! they are no change and never become a patch; the captured bytes take their place again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::append::Draft;
use super::materialise::value;
use super::read::wall_time;
use super::source::FromStore;
use super::{Control, Held};
use crate::content::{self, ContentError};
use crate::disk::{Expect, FileReader, Kind, Outcome, Stat, Step, Tree};
use crate::environment::Environment;
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::limits::CHUNK_BYTES_MAX;
use crate::model::chunk::Unpacker;
use crate::model::ids::{NodeId, VolumeId};
use crate::model::name::RelPath;
use crate::model::overlay::Overlay;
use crate::model::patch::{Attr, Content, Register, Root, Value};
use crate::plan::scan::may_hide_writes;
use crate::store::{Record, Store, Volume};

/// A file of a tree whose bytes are not what was captured, though nothing says that it was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotten {
    /// Which node.
    pub(crate) node: NodeId,
    /// Where it is.
    pub path: RelPath,
    /// Once the captured bytes have taken their place: where those that were there are kept.
    pub kept: Option<PathBuf>,
    /// Why they could not.
    pub trouble: Option<String>,
}

/// Compares the files of a tree that look as they did when they were captured with what was captured. Reads only,
/// and leaves out what the store cannot tell, and what may have been written to a moment ago.
pub(crate) fn rotten(
    store: &Store,
    (volume, tree): (&Volume, &Tree),
    env: &dyn Environment,
    progress: &dyn Fn(u64),
) -> Result<Vec<Rotten>, EngineError> {
    let (mut found, mut unpacker, mut read) = (Vec::new(), Unpacker::new(), 0);
    let mut ahead = vec![(NodeId::ROOT, RelPath::root())];
    while let Some((folder, above)) = ahead.pop() {
        for record in volume.records_in(folder)? {
            let path = above.join(&record.shown.name);
            if record.stat.kind == Kind::Dir {
                ahead.push((record.node, path));
                continue;
            }
            let Some(content) = captured(volume, &record)? else { continue };
            if may_hide_writes(&record.stat, wall_time(env)) || !looks_the_same(tree, &path, &record.stat) {
                continue;
            }
            let Ok(reader) = tree.read(&path) else { continue };
            read += record.stat.len;
            if differs(store, &mut unpacker, &reader, content) && looks_the_same(tree, &path, &record.stat) {
                found.push(Rotten { node: record.node, path, kept: None, trouble: None });
            }
            progress(read);
        }
    }
    Ok(found)
}

/// The content that a file was captured with, if it has any bytes.
fn captured(volume: &Volume, record: &Record) -> Result<Option<(Root, u64)>, EngineError> {
    match value(volume, &record.shown, Register::Content)? {
        Some(Value::Content(Content::File { len, root, .. })) if len > 0 && len == record.stat.len => {
            Ok(Some((root, len)))
        }
        _ => Ok(None),
    }
}

fn looks_the_same(tree: &Tree, path: &RelPath, stat: &Stat) -> bool {
    tree.stat(path).is_ok_and(|now| now.as_ref() == Some(stat))
}

/// Whether a file holds other bytes than a content. What the store does not have, or has damaged, tells nothing.
fn differs(store: &Store, unpacker: &mut Unpacker, file: &FileReader, (root, len): (Root, u64)) -> bool {
    let (mut at, mut buffer) = (0, vec![0; CHUNK_BYTES_MAX]);
    let mut same = |from: u64, bytes: &[u8], at: &mut u64| {
        holds(file, &mut buffer, (*at, from), None)?;
        *at = from + bytes.len() as u64;
        holds(file, &mut buffer, (from, *at), Some(bytes))
    };
    let compared = content::read(store, unpacker, (root, len), 0..len, &mut |from, bytes| same(from, bytes, &mut at));
    match compared {
        Ok(()) => holds(file, &mut buffer, (at, len), None).is_err(),
        Err(ContentError::Sink(_)) => true,
        Err(_) => false,
    }
}

/// Fails unless the file holds these bytes in that range, or zeros where none are given.
fn holds(file: &FileReader, buffer: &mut [u8], (mut at, end): (u64, u64), bytes: Option<&[u8]>) -> io::Result<()> {
    let from = at;
    while at < end {
        let most = buffer.len().min((end - at) as usize);
        let read = file.read_at(at, &mut buffer[..most])?;
        let past = (at - from) as usize;
        let is_so = match bytes {
            Some(bytes) => bytes[past..past + read] == buffer[..read],
            None => buffer[..read].iter().all(|byte| *byte == 0),
        };
        if read == 0 || !is_so {
            return Err(io::Error::other("it holds other bytes"));
        }
        at += read as u64;
    }
    Ok(())
}

impl Control {
    /// The tree of a volume, for whoever reads it elsewhere.
    pub(crate) fn tree_of(&mut self, id: VolumeId) -> Result<Arc<Tree>, EngineError> {
        self.held(id)?.tree()
    }

    /// Puts captured bytes in the place of rotten ones, which are kept.
    pub(crate) fn mend(&mut self, id: VolumeId, found: &mut [Rotten]) -> Result<(), EngineError> {
        let store = self.store.clone();
        let held = self.held(id)?;
        let tree = held.tree()?;
        for one in found {
            match held.mend(&store, &tree, one)? {
                Ok(kept) => one.kept = Some(kept),
                Err(trouble) => one.trouble = Some(trouble),
            }
        }
        Ok(())
    }
}

impl Held {
    fn mend(&mut self, store: &Store, tree: &Tree, one: &Rotten) -> Result<Result<PathBuf, String>, EngineError> {
        let changed = || Ok(Err("it has changed meanwhile".to_owned()));
        let Some(record) = self.volume.record(one.node)? else { return changed() };
        let Some((root, len)) = captured(&self.volume, &record)? else { return changed() };
        let Some(Value::Content(Content::File { mtime, .. })) = value(&self.volume, &record.shown, Register::Content)?
        else {
            return changed();
        };
        let attr = match value(&self.volume, &record.shown, Register::Attr)? {
            Some(Value::Attr(attr)) => attr,
            _ => Attr::default(),
        };
        if !looks_the_same(tree, &one.path, &record.stat) {
            return changed();
        }
        let kept = match tree.keep_aside(&one.path) {
            Ok(kept) => kept.kept,
            Err(error) => return Ok(Err(format!("its bytes could not be kept: {error}"))),
        };
        failpoint::pass(Point::RepairKept);
        // A second name, if it took one, changes the change time and nothing else.
        let now = tree.stat(&one.path)?;
        let Some(expect) = now.filter(|now| Stat { ctime: record.stat.ctime, ..*now } == record.stat) else {
            return changed();
        };
        let expect = Expect::Stat(expect);
        let step = Step::WriteFile { at: one.path.clone(), expect, len, root, mtime, attr };
        let read_at = wall_time(&*self.env);
        let mut carried = tree.carry_out(&[step], &FromStore::new(store));
        match carried.outcomes.pop() {
            Some(Outcome::Done(Some(stat))) => {
                let mut overlay = Overlay::new(&self.volume);
                overlay.show(one.node, Some(record.shown));
                let sightings = [(one.node, (stat, read_at))].into();
                self.commit(store, Draft { changes: overlay.into_changes(), sightings, ..Draft::default() })?;
                Ok(Ok(kept))
            }
            Some(Outcome::Failed(error)) => Ok(Err(error.to_string())),
            _ => changed(),
        }
    }
}
