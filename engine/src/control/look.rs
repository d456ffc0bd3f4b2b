//! Looking at a tree: directories are listed and compared with their records, several at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{DiskError, Found, Kind, Listing, Rules, Skipped, Tree};
use crate::error::EngineError;
use crate::limits::DEPTH_MAX;
use crate::model::facts::{Eye, Facts};
use crate::model::ids::NodeId;
use crate::model::name::RelPath;
use crate::model::view;
use crate::plan::capture::Seen;
use crate::plan::scan::{Difference, compare};
use crate::store::{Record, Volume};

/// Something on disk that pfs does not carry, and why; told to people, never an error of the look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The path, as bytes.
    pub path: Vec<u8>,
    /// Why.
    pub why: String,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) seen: Vec<Seen>,
    pub(super) problems: Vec<Problem>,
    /// Whether the root was listed and holds nothing at all, though it did.
    pub(super) emptied: bool,
    /// Whether something that the root held is still there.
    pub(super) some_left: bool,
}

/// How far a look goes below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// This directory, and below it what is new.
    Names,
    /// Everything below.
    All,
}

/// A directory, and the ignore rules of the one that holds it; in `see`, a directory and its own.
type Ruled<'a> = (&'a RelPath, &'a Arc<Rules>);

struct Look<'a> {
    tree: &'a Tree,
    volume: &'a Volume,
    /// Whether a recorded directory is where it was recorded.
    standing: Mutex<BTreeMap<NodeId, bool>>,
    /// Directories are listed once a look: what is seen twice would be born twice.
    listed: Mutex<BTreeSet<RelPath>>,
    looked: Mutex<Looked>,
    failed: Mutex<Option<EngineError>>,
}

/// Looks at some directories by name and at others with everything below.
pub(super) fn look(
    tree: &Tree,
    volume: &Volume,
    names: &BTreeSet<RelPath>,
    all: &BTreeSet<RelPath>,
) -> Result<Looked, EngineError> {
    let (standing, listed) = (Mutex::default(), Mutex::default());
    let look = Look { tree, volume, standing, listed, looked: Mutex::default(), failed: Mutex::default() };
    let starts = look.starts(names, all)?;
    rayon::scope(|scope| {
        for (path, (node, reach)) in starts {
            let look = &look;
            scope.spawn(move |scope| look.folder(scope, (&path, &look.tree.rules_above(&path)), Some(node), reach));
        }
    });
    match look.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(look.looked.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

impl Look<'_> {
    /// The recorded directories to begin at, each once. One that is not recorded, or no longer where it was, is
    /// seen from the one that holds it.
    fn starts(
        &self,
        names: &BTreeSet<RelPath>,
        all: &BTreeSet<RelPath>,
    ) -> Result<BTreeMap<RelPath, (NodeId, Reach)>, EngineError> {
        let mut starts = BTreeMap::new();
        let wanted = all.iter().map(|path| (path, Reach::All)).chain(names.iter().map(|path| (path, Reach::Names)));
        for (path, mut reach) in wanted {
            let mut path = path.clone();
            let node = loop {
                if let Some(node) = view::node_at(self.volume, Eye::Local, &path)?
                    && self.stands(node)?
                {
                    break node;
                }
                reach = Reach::Names;
                path = path.split_last().map(|(above, _)| above).unwrap_or_default();
            };
            let below_another = (0..path.0.len()).any(|depth| all.contains(&RelPath(path.0[..depth].to_vec())));
            if !below_another {
                starts.entry(path).or_insert((node, reach));
            }
        }
        Ok(starts)
    }

    /// Whether a recorded directory, and each that holds it, is where it was recorded.
    fn stands(&self, node: NodeId) -> Result<bool, EngineError> {
        let (mut chain, mut at) = (Vec::new(), node);
        let mut stands = loop {
            if at == NodeId::ROOT {
                break true;
            }
            if let Some(stands) = self.standing.lock().unwrap_or_else(PoisonError::into_inner).get(&at) {
                break *stands;
            }
            // Nobody looks for anything below a path that is too long.
            let record = self.volume.record(at)?.filter(|_| chain.len() < DEPTH_MAX);
            let Some(record) = record else { break false };
            at = record.shown.folder;
            chain.push(record);
        };
        let mut path = if chain.is_empty() { None } else { view::path_of(self.volume, Eye::Local, at)? };
        for Record { node, shown, stat, .. } in chain.into_iter().rev() {
            path = path.map(|path| path.join(&shown.name));
            stands = stands
                && path.as_ref().is_some_and(|path| {
                    let there = self.tree.stat(path).unwrap_or(Some(stat));
                    there.is_some_and(|there| there.kind == Kind::Dir && there.inode == stat.inode)
                });
            self.standing.lock().unwrap_or_else(PoisonError::into_inner).insert(node, stands);
        }
        Ok(stands)
    }

    fn folder<'s>(&'s self, scope: &rayon::Scope<'s>, at: Ruled<'_>, node: Option<NodeId>, reach: Reach) {
        if let Err(error) = self.compare_folder(scope, at, node, reach) {
            self.fail(error);
        }
    }

    fn compare_folder<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        (path, above): Ruled<'_>,
        node: Option<NodeId>,
        reach: Reach,
    ) -> Result<(), EngineError> {
        let mut records = node.map_or(Ok(Vec::new()), |node| self.volume.records_in(node))?;
        let (mut listing, rules) = match self.tree.list_by(path, above) {
            Ok(listing) => listing,
            Err(error) if *path == RelPath::root() => return Err(error.into()),
            // It went, or is something else by now; the directory above tells.
            Err(DiskError::Absent { .. } | DiskError::Unstable { .. }) => return Ok(()),
            // Nobody knows what is in it: all that is recorded stays as it is.
            Err(error) => {
                self.looked().problems.push(Problem { path: path.to_bytes(), why: reason(error) });
                return Ok(());
            }
        };
        if !self.is_first_listing_of(path, node, &listing)? {
            return Ok(());
        }
        let held = records.len();
        self.keep_recorded(path, &mut records, &mut listing);
        let emptied = *path == RelPath::root() && listing.found.is_empty() && self.any_lives(&records)?;
        let compared = compare(listing.found, records);
        let gone = compared.differences.iter().filter(|one| matches!(one, Difference::Gone(_))).count();
        let some_left = *path == RelPath::root() && gone < held;
        for record in compared.known {
            if reach == Reach::All {
                let (below, rules) = (path.join(&record.shown.name), Arc::clone(&rules));
                scope.spawn(move |scope| self.folder(scope, (&below, &rules), Some(record.node), Reach::All));
            }
        }
        let mut seen = Vec::with_capacity(compared.differences.len());
        for difference in compared.differences {
            if let Some(one) = self.see(scope, (path, &rules), difference, reach)? {
                seen.push(one);
            }
        }
        let mut looked = self.looked();
        looked.emptied |= emptied;
        looked.some_left |= some_left || seen.iter().any(|one| folder_is_root(&one.path) && one.vacated.is_some());
        looked.seen.append(&mut seen);
        looked.problems.extend(listing.skipped.into_iter().map(|(name, why)| problem(path, &name, &why)));
        Ok(())
    }

    /// Whether the log has not removed all of these.
    fn any_lives(&self, records: &[Record]) -> Result<bool, EngineError> {
        for record in records {
            if view::is_living(self.volume, record.node)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether this is the directory that was meant, and no other thread has listed it. If another has come to
    /// stand there, the directory above tells.
    fn is_first_listing_of(
        &self,
        path: &RelPath,
        node: Option<NodeId>,
        listing: &Listing,
    ) -> Result<bool, EngineError> {
        if let (Some(node), Some(inode)) = (node.filter(|node| *node != NodeId::ROOT), listing.inode)
            && self.volume.record(node)?.is_none_or(|record| record.stat.inode != inode)
        {
            return Ok(false);
        }
        Ok(self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone()))
    }

    /// What is recorded and still there is not gone, though a pattern hides it now: patterns are about what
    /// nobody tracks yet. What is skipped for another reason (unreadable, another file system mounted over it)
    /// stays as it is recorded: its record is left out.
    fn keep_recorded(&self, path: &RelPath, records: &mut Vec<Record>, listing: &mut Listing) {
        let Listing { found, skipped, .. } = listing;
        let mut hidden = Vec::new();
        records.retain(|record| {
            let name = &record.shown.name;
            if found.binary_search_by(|f| f.name.cmp(name)).is_ok() {
                return true;
            }
            if skipped.binary_search_by(|(skipped, _)| skipped[..].cmp(name.as_bytes())).is_ok() {
                return false;
            }
            match self.tree.stat(&path.join(name)) {
                Ok(stat) => hidden.extend(stat.map(|stat| Found { name: name.clone(), stat })),
                Err(_) => return false,
            }
            true
        });
        if !hidden.is_empty() {
            found.append(&mut hidden);
            found.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }

    fn see<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        (folder, rules): Ruled<'_>,
        difference: Difference,
        reach: Reach,
    ) -> Result<Option<Seen>, EngineError> {
        let name = match &difference {
            Difference::Gone(record) | Difference::Touched(record, _) => &record.shown.name,
            Difference::New(found) => &found.name,
        };
        let path = folder.join(name);
        let Difference::New(found) = &difference else {
            return Ok(Some(Seen { path, difference, vacated: None }));
        };
        let vacated = self.vacated(found)?;
        if found.stat.kind == Kind::Dir {
            let node = vacated.as_ref().map(|record| record.node);
            if node.is_none() && self.holds_only_ignored((&path, rules)) {
                return Ok(None);
            }
            if node.is_none() || reach == Reach::All {
                let (below, rules) = (path.clone(), Arc::clone(rules));
                scope.spawn(move |scope| self.folder(scope, (&below, &rules), node, reach));
            }
        }
        Ok(Some(Seen { path, difference, vacated }))
    }

    /// The record with this inode, if that thing is no longer where it was recorded: not there by its path, or
    /// there only because a directory on the way is another now.
    fn vacated(&self, found: &Found) -> Result<Option<Record>, EngineError> {
        let Some(node) = self.volume.node_by_inode(found.stat.inode)? else { return Ok(None) };
        let Some(record) = self.volume.record(node)? else { return Ok(None) };
        let path = view::path_of(self.volume, Eye::Local, node)?;
        let there = path.map_or(Ok(None), |path| self.tree.stat(&path));
        let stays = match there {
            Ok(None) => false,
            // Nobody can tell: what cannot be looked at stays as it is recorded.
            Err(_) => true,
            Ok(Some(stat)) if record.stat.kind == Kind::Dir => stat.inode == found.stat.inode,
            // By path first: whatever file is there now is that node.
            Ok(Some(stat)) => stat.kind != Kind::Dir,
        };
        let stays = stays && self.stands(record.shown.folder)?;
        Ok((!stays).then_some(record))
    }

    /// What a delete could not take away because patterns hide it is not born again.
    fn holds_only_ignored(&self, (path, above): Ruled<'_>) -> bool {
        match self.tree.list_by(path, above) {
            Ok((listing, _)) => listing.ignored && listing.found.is_empty(),
            Err(DiskError::Absent { .. } | DiskError::Unstable { .. }) => true,
            // The look into it tells why.
            Err(_) => false,
        }
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: EngineError) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

fn folder_is_root(path: &RelPath) -> bool {
    path.0.len() == 1
}

/// Why something could not be looked at; its path is told beside it.
pub(super) fn reason(error: DiskError) -> String {
    match error {
        DiskError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn problem(folder: &RelPath, name: &[u8], why: &Skipped) -> Problem {
    let mut path = folder.to_bytes();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    let why = match why {
        Skipped::Name(error) => error.to_string(),
        Skipped::Special => "a socket, device or fifo is not carried".into(),
        Skipped::Deep => format!("too deep: a path has {DEPTH_MAX} names at the most"),
        Skipped::Mount => "another file system is mounted here".into(),
        Skipped::Unreadable(error) => error.clone(),
    };
    Problem { path, why }
}

/// The nodes recorded below a directory, parents first; not those in `moved`, nor what is below them.
pub(super) fn recorded_below(
    facts: &dyn Facts,
    folder: NodeId,
    moved: &BTreeSet<NodeId>,
    out: &mut Vec<NodeId>,
) -> Result<(), EngineError> {
    let mut ahead = vec![folder];
    while let Some(folder) = ahead.pop() {
        for (_, node) in facts.shown_in(folder)? {
            if !moved.contains(&node) {
                out.push(node);
                ahead.push(node);
            }
        }
    }
    Ok(())
}
