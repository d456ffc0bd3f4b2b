//! Bringing back what was: a path becomes what it was at a time, by new patches over everything known there now.
//!
//! Judged by the canonical view, of then and of now, so that peers which bring the same back write the same patches.
//! A node that stood below the path then is the same node again, wherever below it stands now, and also where it is
//! gone. One that stands elsewhere now is left there: its place is taken by what stands in it now, or by a new node.
//! What the disk shows is not touched: it does not show any of this yet.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{self, Over, Values, chained, draft};
use crate::limits::DEPTH_MAX;
use crate::model::facts::{Eye, Facts, Shown, Unreadable};
use crate::model::ids::{NodeId, PatchId, VolumeId};
use crate::model::name::{Name, RelPath};
use crate::model::overlay::{ApplyError, Changes, Overlay};
use crate::model::past::Past;
use crate::model::patch::{Attr, Content, Patch, PatchError, Place, Register, Value};
use crate::model::time::Time;
use crate::model::view::{children, is_living, lives, node_at, update};

/// What is to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What becomes as it was: everything that stood at or below this path then. Where nothing did, what stands here
    /// now, as it was where it stood then.
    pub path: RelPath,
    /// The time that is meant by "then".
    pub until: Time,
    /// Of a file or symlink: the content that this patch gave it, rather than the one that was shown then.
    pub version: Option<PatchId>,
    /// A copy is made here, where nothing stands, and the path itself stays as it is.
    pub to: Option<RelPath>,
}

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Something stands there again.
    Back,
    /// What stands there has other bytes or attributes.
    Changed,
    /// What stood at that other path stands there again.
    Moved(RelPath),
    /// What stands there goes.
    Removed,
    /// It looks as it did, and what contested that is superseded.
    Settled,
}

/// What brings it back.
#[derive(Debug)]
pub struct Restored {
    /// None where everything is as it was.
    pub patches: Vec<Patch>,
    /// What they change.
    pub changes: Changes,
    /// By path.
    pub deeds: BTreeMap<RelPath, Deed>,
}

/// Why nothing is brought back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There was nothing.
    #[error("nothing was there then")]
    NothingThen,
    /// The copy would stand where something is.
    #[error("{0} is there already")]
    Taken(RelPath),
    /// A file stands where a directory on the way would have to be.
    #[error("{0} is no directory")]
    InTheWay(RelPath),
    /// Directories were moved into each other at the time, and nobody had said yet where they are to be.
    #[error("directories below it were moved into each other then")]
    Cycle,
    /// Something would not be shown as it was.
    #[error("{0} cannot be shown as it was")]
    Unattainable(RelPath),
    /// A value is out of its bounds.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// It contradicts what is known.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The store failed.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Works out the patches that fulfil a wish; `time` is that of the entry to be.
pub fn restore(volume: VolumeId, facts: &dyn Facts, time: Time, wish: &Wish) -> Result<Restored, RestoreError> {
    let past = Past::new(facts, wish.until);
    let target = wish.to.as_ref().unwrap_or(&wish.path);
    let standing = node_at(facts, Eye::Canonical, target)?;
    if wish.to.is_some() && standing.is_some() {
        return Err(RestoreError::Taken(target.clone()));
    }
    let now = standing.map_or(Ok(Vec::new()), |node| things(facts, target, node))?;
    let then = source(facts, &past, wish)?;
    if then.is_empty() {
        return Err(RestoreError::NothingThen);
    }
    refuse_cycles(&past, &now, &then)?;
    let mut wanted = ways(facts, &past, wish, target)?;
    let above = wanted.len();
    wanted.extend(then);
    let mut plan = Plan::new(volume, (facts, &past), &now, &wanted)?;
    plan.begin(target, above)?;
    for thing in &wanted {
        plan.put(thing)?;
    }
    plan.remove_rest(&now)?;
    let mut overlay = Overlay::new(facts);
    for patch in &plan.patches {
        patch.check(volume)?;
        overlay.apply(patch.clone().into(), patch.id(), time)?;
    }
    check(&overlay, target, &wanted[above..])?;
    Ok(Restored { deeds: plan.deeds(&now, &wanted), patches: plan.patches, changes: overlay.into_changes() })
}

/// Something that stands in a tree.
#[derive(Debug, Clone)]
struct Thing {
    path: RelPath,
    node: NodeId,
    shown: Shown,
    content: Content,
    attr: Attr,
}

/// Something that shall stand.
#[derive(Debug, Clone)]
struct Wanted {
    path: RelPath,
    /// What it was; none of what is to be a node of its own.
    node: Option<NodeId>,
    content: Content,
    attr: Attr,
    /// Whether this content is meant and no other, also where it was contested then as it is now.
    exact: bool,
}

/// A node and everything below it, at a path and below that, parents first; of the root only what is below it.
fn things(facts: &dyn Facts, path: &RelPath, node: NodeId) -> Result<Vec<Thing>, Unreadable> {
    let mut things = Vec::new();
    if node != NodeId::ROOT {
        let shown = update(facts, Eye::Canonical, &BTreeSet::from([node]))?.shown.remove(&node).flatten();
        things.extend(shown.map(|shown| thing(facts, path.clone(), node, shown)).transpose()?.flatten());
        if things.first().is_none_or(|thing| thing.content != Content::Dir) {
            return Ok(things);
        }
    }
    let mut rest = vec![(path.clone(), node)];
    while let Some((folder, node)) = rest.pop() {
        for (name, node, shown) in children(facts, Eye::Canonical, node)? {
            let Some(found) = thing(facts, folder.join(&name), node, shown)? else { continue };
            if found.content == Content::Dir && found.path.0.len() < DEPTH_MAX {
                rest.push((found.path.clone(), node));
            }
            things.push(found);
        }
    }
    Ok(things)
}

fn thing(facts: &dyn Facts, path: RelPath, node: NodeId, shown: Shown) -> Result<Option<Thing>, Unreadable> {
    let content = draft::content(facts, shown.patch(Register::Content))?;
    let attr = facts.patch(shown.patch(Register::Attr))?.and_then(|known| known.patch.attr.clone());
    Ok(content.map(|content| Thing { path, node, shown, content, attr: attr.unwrap_or_default() }))
}

/// What stood there then, by the paths that it shall have.
fn source(facts: &dyn Facts, past: &dyn Facts, wish: &Wish) -> Result<Vec<Wanted>, RestoreError> {
    let target = wish.to.as_ref().unwrap_or(&wish.path);
    let version = match wish.version {
        Some(patch) => facts.patch(patch)?.map(|known| known.patch),
        None => None,
    };
    let node = match &version {
        Some(patch) => Some(patch.node),
        None => match node_at(past, Eye::Canonical, &wish.path)? {
            Some(node) => Some(node),
            None => node_at(facts, Eye::Canonical, &wish.path)?,
        },
    };
    let Some(node) = node else { return Ok(Vec::new()) };
    let mut wanted = Vec::new();
    for thing in things(past, target, node)? {
        let node = wish.to.is_none().then_some(thing.node);
        wanted.push(Wanted { path: thing.path, node, content: thing.content, attr: thing.attr, exact: false });
    }
    if let (Some(content), Some(first)) = (version.and_then(|patch| patch.content.clone()), wanted.first_mut()) {
        (first.content, first.exact) = (content, true);
    }
    Ok(wanted)
}

/// The view of the past knows nothing of cycles, so what stood in one would be taken for gone.
fn refuse_cycles(past: &dyn Facts, now: &[Thing], then: &[Wanted]) -> Result<(), RestoreError> {
    let then: BTreeSet<NodeId> = then.iter().filter_map(|wanted| wanted.node).collect();
    let mut missed = BTreeSet::new();
    for thing in now.iter().filter(|thing| thing.content == Content::Dir && !then.contains(&thing.node)) {
        if past.node(thing.node)?.is_some() {
            missed.insert(thing.node);
        }
    }
    let is_cut = !update(past, Eye::Canonical, &missed)?.reverted.is_empty();
    if is_cut { Err(RestoreError::Cycle) } else { Ok(()) }
}

/// The directories on the way to the target that do not stand now, as they were or as new ones, from the top down.
fn ways(facts: &dyn Facts, past: &dyn Facts, wish: &Wish, target: &RelPath) -> Result<Vec<Wanted>, RestoreError> {
    let mut ways = Vec::new();
    for depth in 1..target.0.len() {
        let path = RelPath(target.0[..depth].to_vec());
        if let Some(node) = node_at(facts, Eye::Canonical, &path)? {
            let is_dir = facts.node(node)?.is_some_and(|state| state.is_dir);
            if is_dir {
                continue;
            }
            return Err(RestoreError::InTheWay(path));
        }
        let mut way = Wanted { path, node: None, content: Content::Dir, attr: new_folder(), exact: false };
        if wish.to.is_none()
            && let Some(node) = node_at(past, Eye::Canonical, &way.path)?
            && let Some(was) = update(past, Eye::Canonical, &BTreeSet::from([node]))?.shown.remove(&node).flatten()
            && let Some(was) = thing(past, way.path.clone(), node, was)?
            && was.content == Content::Dir
        {
            (way.node, way.attr) = (Some(node), was.attr);
        }
        ways.push(way);
    }
    Ok(ways)
}

fn new_folder() -> Attr {
    Attr { mode: 0o755, ..Attr::default() }
}

/// That the outcome is what was wanted, and nothing else stands there.
fn check(after: &dyn Facts, target: &RelPath, wanted: &[Wanted]) -> Result<(), RestoreError> {
    let unattainable = |path: &RelPath| RestoreError::Unattainable(path.clone());
    let node = node_at(after, Eye::Canonical, target)?.ok_or_else(|| unattainable(target))?;
    let stands = things(after, target, node)?;
    let mut stands: BTreeMap<&RelPath, &Thing> = stands.iter().map(|thing| (&thing.path, thing)).collect();
    for want in wanted {
        let is_so = |thing: &&Thing| thing.content.same(&want.content) && thing.attr == want.attr;
        stands.remove(&want.path).filter(is_so).ok_or_else(|| unattainable(&want.path))?;
    }
    stands.into_keys().next().map_or(Ok(()), |path| Err(unattainable(path)))
}

/// The patches in the making.
struct Plan<'a> {
    volume: VolumeId,
    facts: &'a dyn Facts,
    past: &'a dyn Facts,
    /// What stands there now.
    now: BTreeMap<NodeId, &'a Thing>,
    spots: BTreeMap<&'a RelPath, NodeId>,
    /// The nodes of then that can be the same again.
    free: BTreeSet<NodeId>,
    /// Which node comes to stand where.
    chosen: BTreeMap<RelPath, NodeId>,
    /// Nodes with patches.
    written: BTreeSet<NodeId>,
    patches: Vec<Patch>,
}

impl<'a> Plan<'a> {
    fn new(
        volume: VolumeId,
        (facts, past): (&'a dyn Facts, &'a dyn Facts),
        now: &'a [Thing],
        wanted: &[Wanted],
    ) -> Result<Self, Unreadable> {
        let spots = now.iter().map(|thing| (&thing.path, thing.node)).collect();
        let now: BTreeMap<NodeId, &Thing> = now.iter().map(|thing| (thing.node, thing)).collect();
        let then: BTreeSet<NodeId> = wanted.iter().filter_map(|wanted| wanted.node).collect();
        let away: BTreeSet<NodeId> = then.iter().filter(|node| !now.contains_key(node)).copied().collect();
        let shown = update(facts, Eye::Canonical, &away)?.shown;
        let is_elsewhere = |node: &NodeId| shown.get(node).is_some_and(Option::is_some);
        let free = then.into_iter().filter(|node| now.contains_key(node) || !is_elsewhere(node)).collect();
        let (chosen, written, patches) = Default::default();
        Ok(Self { volume, facts, past, now, spots, free, chosen, written, patches })
    }

    /// Where to start from: the lowest directory on the way to the target that stands now.
    fn begin(&mut self, target: &RelPath, above: usize) -> Result<(), RestoreError> {
        let depth = target.0.len().saturating_sub(1 + above);
        let path = RelPath(target.0[..depth].to_vec());
        let node = node_at(self.facts, Eye::Canonical, &path)?;
        let node = node.ok_or_else(|| RestoreError::Unattainable(path.clone()))?;
        self.chosen.insert(path, node);
        Ok(())
    }

    /// One thing comes to stand where it shall.
    fn put(&mut self, want: &Wanted) -> Result<(), RestoreError> {
        let unattainable = || RestoreError::Unattainable(want.path.clone());
        let (above, name) = want.path.split_last().ok_or_else(unattainable)?;
        let folder = *self.chosen.get(&above).ok_or_else(unattainable)?;
        let (node, born) = self.node_for(want, folder, name)?;
        let values = self.values(want, node, (folder, name.clone()))?;
        if !values.is_empty() {
            let over = if born.is_some() { Over::Nothing } else { Over::Heads };
            let patch = Patch { born, ..draft(self.facts, node, values, over)? };
            self.write(patch);
        }
        self.chosen.insert(want.path.clone(), node);
        Ok(())
    }

    fn write(&mut self, patch: Patch) -> PatchId {
        self.written.insert(patch.node);
        let (before, last) = chained(patch);
        let id = last.id();
        self.patches.extend(before);
        self.patches.push(last);
        id
    }

    /// Which node it shall be, and the salt of one that is not born yet.
    fn node_for(&self, want: &Wanted, folder: NodeId, name: &Name) -> Result<(NodeId, Option<u32>), RestoreError> {
        if let Some(node) = want.node.filter(|node| self.free.contains(node)) {
            return Ok((node, None));
        }
        let is_dir = want.content == Content::Dir;
        // Whatever has its place now goes on as that, unless it has a place of its own.
        if let Some(node) = self.spots.get(&want.path).filter(|node| !self.free.contains(node))
            && self.facts.node(*node)?.is_some_and(|state| state.is_dir == is_dir)
        {
            return Ok((*node, None));
        }
        let mut salt = 0;
        loop {
            let node = NodeId::born(self.volume, folder, name, is_dir, salt);
            if self.facts.node(node)?.is_none() {
                return Ok((node, Some(salt)));
            }
            salt += 1;
        }
    }

    /// What is to be said of a node so that it is as wanted. What is said already, by all its heads or by the same
    /// heads as then, is not said again.
    fn values(&self, want: &Wanted, node: NodeId, (parent, name): (NodeId, Name)) -> Result<Values, RestoreError> {
        let stands =
            self.now.get(&node).is_some_and(|thing| (thing.shown.folder, &thing.shown.name) == (parent, &name));
        let here = self.now.contains_key(&node) && lives(self.facts, node)?;
        let place = Value::Place(Place::At { parent, name });
        let (content, attr) = (Value::Content(want.content.clone()), Value::Attr(want.attr.clone()));
        let mut values = Values::default();
        if !(stands && here && self.is_said(want, node, Register::Place, &place)?) {
            values.set(place);
        }
        if !(here && self.is_said(want, node, Register::Content, &content)?) {
            values.set(content);
        }
        if !self.is_said(want, node, Register::Attr, &attr)? {
            values.set(attr);
        }
        Ok(values)
    }

    fn is_said(&self, want: &Wanted, node: NodeId, register: Register, value: &Value) -> Result<bool, Unreadable> {
        let heads = self.facts.node(node)?.map(|state| state.heads(register).to_vec()).unwrap_or_default();
        let is_exact = want.exact && register == Register::Content;
        if want.node == Some(node) && !is_exact {
            let then = self.past.node(node)?.map(|state| state.heads(register).to_vec());
            if then.is_some_and(|then| then == heads) {
                return Ok(true);
            }
        }
        for head in &heads {
            if !draft::value(self.facts, *head, register)?.is_some_and(|said| said.same(value)) {
                return Ok(false);
            }
        }
        Ok(!heads.is_empty())
    }

    /// What stands there now and shall not is deleted, with everything in it.
    fn remove_rest(&mut self, now: &[Thing]) -> Result<(), RestoreError> {
        let used: BTreeSet<NodeId> = self.chosen.values().copied().collect();
        let mut deletes = BTreeMap::new();
        for thing in now.iter().filter(|thing| !used.contains(&thing.node)) {
            // A directory that is gone, and shown for what is in it, goes with that.
            if is_living(self.facts, thing.node)? {
                let within = deletes.get(&thing.shown.folder).copied();
                let delete = draft(self.facts, thing.node, Values::gone(), Over::Heads)?;
                deletes.insert(thing.node, self.write(Patch { within, ..delete }));
            }
        }
        Ok(())
    }

    /// The same as people see it.
    fn deeds(&self, now: &[Thing], wanted: &[Wanted]) -> BTreeMap<RelPath, Deed> {
        let stood: BTreeMap<&RelPath, &Thing> = now.iter().map(|thing| (&thing.path, thing)).collect();
        let (mut deeds, mut left) = (BTreeMap::new(), BTreeSet::new());
        let paths: BTreeSet<&RelPath> = wanted.iter().map(|want| &want.path).collect();
        for want in wanted {
            let node = self.chosen.get(&want.path).copied();
            let was = node.and_then(|node| self.now.get(&node)).map(|thing| &thing.path);
            let deed = match stood.get(&want.path) {
                Some(thing) if !thing.content.same(&want.content) || thing.attr != want.attr => Deed::Changed,
                Some(_) if node.is_some_and(|node| self.written.contains(&node)) => Deed::Settled,
                Some(_) => continue,
                None => match was.filter(|was| !paths.contains(was)) {
                    Some(was) => {
                        left.insert(was);
                        Deed::Moved(was.clone())
                    }
                    None => Deed::Back,
                },
            };
            deeds.insert(want.path.clone(), deed);
        }
        let gone = now.iter().filter(|thing| !paths.contains(&thing.path) && !left.contains(&thing.path));
        deeds.extend(gone.map(|thing| (thing.path.clone(), Deed::Removed)));
        deeds
    }
}
