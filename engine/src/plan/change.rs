//! What a user did, as patches: births, edits, moves and deletes of one entry, each seeing those before it.
//!
//! A patch supersedes only bytes that this disk showed. The record of what the disk shows follows every patch,
//! because the disk already shows what is being captured.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::draft::{self, Over, Values, draft, place};
use crate::model::facts::{Eye, Facts, Shown, Unreadable};
use crate::model::ids::{NodeId, PatchId, VolumeId};
use crate::model::name::Name;
use crate::model::overlay::{ApplyError, Changes, Overlay};
use crate::model::patch::{Attr, Content, Patch, PatchError, Place, Register, Value};
use crate::model::time::Time;
use crate::model::view::{self, choices, is_ancestor, writers};

/// Why a change cannot be written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PenError {
    /// It is about a node that this disk does not show.
    #[error("{0:?} is not shown on this disk")]
    NotShown(NodeId),
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

/// What became of a thing that a joining directory already held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The node that it is.
    pub node: NodeId,
    /// Whether a patch was needed to say so.
    pub wrote: bool,
}

/// Writes the patches of one entry.
pub struct Pen<'a> {
    volume: VolumeId,
    time: Time,
    overlay: Overlay<'a>,
    patches: Vec<Patch>,
}

impl<'a> Pen<'a> {
    /// A pen over what is known; `time` is that of the entry to be.
    pub fn new(volume: VolumeId, facts: &'a dyn Facts, time: Time) -> Self {
        Self { volume, time, overlay: Overlay::new(facts), patches: Vec::new() }
    }

    /// What is known, with everything written so far.
    pub fn facts(&self) -> &dyn Facts {
        &self.overlay
    }

    /// The patches in order, and all that they change.
    pub fn finish(self) -> (Vec<Patch>, Changes) {
        (self.patches, self.overlay.into_changes())
    }

    /// Something new stands in `folder`: a new node, or one that was deleted right there and goes on, or one
    /// that others placed there and this disk does not show yet.
    pub fn birth(&mut self, folder: NodeId, name: Name, content: Content, attr: Attr) -> Result<NodeId, PenError> {
        let patch = draft::birth(self.volume, &self.overlay, (folder, name.clone()), content, attr)?;
        let node = patch.node;
        self.write(patch, Some((folder, name)))?;
        Ok(node)
    }

    /// The same for a tree that lags behind the log: where that is what the log wants there, it has arrived
    /// already and nobody noted it.
    pub fn found(&mut self, folder: NodeId, name: Name, content: Content, attr: Attr) -> Result<NodeId, PenError> {
        let Some((node, shown)) = view::wanted_at(&self.overlay, folder, &name)? else {
            return self.birth(folder, name, content, attr);
        };
        let value = |register| draft::value(&self.overlay, shown.patch(register), register);
        let same = value(Register::Content)?.is_some_and(|value| value.same(&Value::Content(content.clone())));
        if !same || self.overlay.shown(node)?.is_some() {
            return self.birth(folder, name, content, attr);
        }
        let reattr = value(Register::Attr)?.is_none_or(|value| value != Value::Attr(attr.clone()));
        self.overlay.show(node, Some(shown));
        if reattr && !matches!(content, Content::Symlink { .. }) {
            self.change(node, None, Some(attr))?;
        }
        Ok(node)
    }

    /// New bytes or a new symlink target, new attributes, or both. What the log says already is only noted.
    pub fn change(&mut self, node: NodeId, content: Option<Content>, attr: Option<Attr>) -> Result<(), PenError> {
        let mut shown = self.shown(node)?;
        let nothing_said = content.is_none() && attr.is_none();
        let mut values = Values { place: None, content, attr };
        let mut noted = false;
        for register in [Register::Content, Register::Attr] {
            let value = match register {
                Register::Content => values.content.clone().map(Value::Content),
                _ => values.attr.clone().map(Value::Attr),
            };
            if let Some(value) = value
                && let Some(arrived) = self.arrived(node, shown.patch(register), register, &value)?
            {
                shown.patches[register as usize] = arrived;
                values.clear(register);
                noted = true;
            }
        }
        let patch = draft(&self.overlay, node, values, Over::Seen(&shown))?;
        if noted {
            self.overlay.show(node, Some(shown));
        }
        if nothing_said || Register::ALL.into_iter().any(|register| patch.sets(register)) {
            self.write(patch, None)?;
        }
        Ok(())
    }

    /// The head that descends from what this disk was recorded to show and says what it shows now: a crash can
    /// fall between a step and the note of it. A patch that said the same once more would contradict whatever
    /// the author of that head does next.
    fn arrived(
        &self,
        node: NodeId,
        recorded: PatchId,
        register: Register,
        value: &Value,
    ) -> Result<Option<PatchId>, PenError> {
        let heads = self.overlay.node(node)?.map(|state| state.heads(register).to_vec()).unwrap_or_default();
        let mut arrived = None;
        for head in heads.into_iter().filter(|head| *head != recorded) {
            let Some(known) = self.overlay.patch(head)? else { continue };
            if known.patch.value(register).is_some_and(|said| said.same(value))
                && is_ancestor(&self.overlay, recorded, head, register)?
            {
                arrived = arrived.max(Some((known.time, head)));
            }
        }
        Ok(arrived.map(|(_, head)| head))
    }

    /// These nodes are gone, parents first. A node deleted together with its folder says so. Of several nodes
    /// that share a name, those that stay are placed there again: whoever deletes one settles who has the name.
    /// Of one that the log has removed already it is only noted.
    pub fn remove(&mut self, nodes: &[NodeId]) -> Result<(), PenError> {
        let mut deletes = BTreeMap::new();
        let mut stay = BTreeSet::new();
        for node in nodes {
            let shown = self.shown(*node)?;
            if !view::is_living(&self.overlay, *node)? {
                self.overlay.show(*node, None);
                continue;
            }
            let within = deletes.get(&shown.folder).copied();
            if within.is_none() {
                stay.extend(self.namesakes(*node, &shown)?);
            }
            let delete = draft(&self.overlay, *node, Values::gone(), Over::Seen(&shown))?;
            deletes.insert(*node, self.write(Patch { within, ..delete }, None)?);
        }
        for node in stay.into_iter().filter(|node| !deletes.contains_key(node)) {
            if let Some(place) = self.shown_place(&self.shown(node)?)? {
                self.assert(node, place, None)?;
            }
        }
        Ok(())
    }

    /// A node was moved or renamed to `name` in `folder`. Where the log wants it there already, that is only noted.
    pub fn place(&mut self, node: NodeId, folder: NodeId, name: Name) -> Result<(), PenError> {
        let wanted = view::update(&self.overlay, Eye::Local, &BTreeSet::from([node]))?.shown.remove(&node).flatten();
        if let Some(wanted) = wanted.filter(|wanted| (wanted.folder, &wanted.name) == (folder, &name)) {
            let mut shown = self.shown(node)?;
            shown.patches[Register::Place as usize] = wanted.patch(Register::Place);
            self.overlay.show(node, Some(Shown { folder, name, ..shown }));
            return Ok(());
        }
        let place = Place::At { parent: folder, name: name.clone() };
        self.assert(node, place, Some((folder, name)))
    }

    /// Takes in one thing of a directory that joins with files in it; called parents first, after everything
    /// known was received. What equals any version that this path has had is that version, and is to be brought
    /// up to date; where its node is gone it is asserted again. Anything else is this peer's own change, beside
    /// what is known. Permission bits alone are no change: a copy has whatever its copier's umask left.
    pub fn adopt(&mut self, folder: NodeId, name: Name, content: Content, attr: Attr) -> Result<Adopted, PenError> {
        let here = Place::At { parent: folder, name: name.clone() };
        let Some(Recognised { node, lives, version, mut shown }) = self.recognise(&here, &content)? else {
            let node = self.birth(folder, name, content, attr)?;
            return Ok(Adopted { node, wrote: true });
        };
        let mut values = Values::default();
        match version {
            Some(version) => shown[Register::Content as usize] = version,
            None if lives => values.content = Some(content.clone()),
            None => {}
        }
        match self.attr_version(node, &attr, shown[Register::Attr as usize])? {
            Some(version) => shown[Register::Attr as usize] = version,
            None if lives || content != Content::Dir => values.attr = Some(attr),
            None => {}
        }
        if !lives && content != Content::Dir {
            (values.place, values.content) = (Some(here), Some(content));
        }
        self.overlay.show(node, Some(Shown { patches: shown, folder, name }));
        let over = if lives { Over::Nothing } else { Over::Shown(&shown) };
        let patch = draft(&self.overlay, node, values, over)?;
        let wrote = Register::ALL.into_iter().any(|register| patch.sets(register));
        if wrote {
            self.write(patch, None)?;
        }
        Ok(Adopted { node, wrote })
    }

    /// Which of the nodes that ever stood here it is: one that lives before one that is gone, one that stands
    /// here now before one that has moved on. A living one that has moved on, and never was this, is another.
    fn recognise(&self, here: &Place, content: &Content) -> Result<Option<Recognised>, PenError> {
        let Place::At { parent, name } = here else { return Ok(None) };
        let facts = &self.overlay;
        let mut once = BTreeSet::new();
        for node in facts.placed_as(*parent, name)? {
            if facts.node(node)?.is_some_and(|state| state.is_dir == (*content == Content::Dir)) {
                once.insert(node);
            }
        }
        if once.is_empty() {
            return Ok(None);
        }
        let seen = view::update(facts, Eye::Canonical, &once)?.shown;
        let mut ranked = Vec::new();
        for node in once {
            let stands = seen.get(&node).cloned().flatten();
            let is_here = stands.as_ref().is_some_and(|shown| (&shown.folder, &shown.name) == (parent, name));
            ranked.push((!view::is_living(facts, node)?, !is_here, node, stands));
        }
        ranked.sort_by_key(|(gone, away, node, _)| (*gone, *away, *node));
        let Some((gone, away, node, stands)) = ranked.into_iter().next() else { return Ok(None) };
        let wanted = Value::Content(content.clone());
        let version = self.newest(node, Register::Content, |value| value.same(&wanted))?;
        if version.is_none() && away && !gone {
            return Ok(None);
        }
        let shown = match stands {
            Some(shown) => shown.patches,
            None => self.last_shown(node)?,
        };
        Ok(Some(Recognised { node, lives: !gone, version, shown }))
    }

    /// What a deleted node was.
    fn last_shown(&self, node: NodeId) -> Result<[PatchId; 3], PenError> {
        let mut patches = Vec::new();
        for register in Register::ALL {
            patches.extend(choices(&self.overlay, node, register, None)?.patches.first());
        }
        patches.try_into().map_err(|_| PenError::NotShown(node))
    }

    /// The attributes as they ever were; where only permission bits are new, those of now.
    fn attr_version(&self, node: NodeId, attr: &Attr, now: PatchId) -> Result<Option<PatchId>, PenError> {
        let wanted = Value::Attr(attr.clone());
        if let Some(version) = self.newest(node, Register::Attr, |value| *value == wanted)? {
            return Ok(Some(version));
        }
        let known = |value: &Value| matches!(value, Value::Attr(Attr { xattrs, .. }) if *xattrs == attr.xattrs);
        Ok(self.newest(node, Register::Attr, known)?.map(|_| now))
    }

    /// The newest patch of a register whose value is `wanted`.
    fn newest(
        &self,
        node: NodeId,
        register: Register,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Option<PatchId>, PenError> {
        let mut newest = None;
        for id in writers(&self.overlay, node, register)? {
            let Some(known) = self.overlay.patch(id)? else { continue };
            if known.patch.value(register).is_some_and(|value| wanted(&value)) {
                newest = newest.max(Some((known.time, id)));
            }
        }
        Ok(newest.map(|(_, id)| id))
    }

    /// Other nodes that this disk shows under the same name in the same folder, as far as a folder can.
    fn namesakes(&self, node: NodeId, shown: &Shown) -> Result<Vec<NodeId>, PenError> {
        let place = self.shown_place(shown)?;
        let Some(Place::At { parent, name }) = &place else { return Ok(Vec::new()) };
        let mut namesakes = Vec::new();
        for other in self.overlay.placed_as(*parent, name)? {
            if let Some(shown) = self.overlay.shown(other)?
                && other != node
                && self.shown_place(&shown)? == place
            {
                namesakes.push(other);
            }
        }
        Ok(namesakes)
    }

    /// Puts a node somewhere by name. A directory that is gone, and shown only because of what lives below it,
    /// becomes a real one again.
    fn assert(&mut self, node: NodeId, place: Place, spot: Option<(NodeId, Name)>) -> Result<(), PenError> {
        let shown = self.shown(node)?;
        let patch = if self.is_implied(node)? {
            let values = Values { content: Some(Content::Dir), ..Values::placed(place) };
            draft(&self.overlay, node, values, Over::Heads)?
        } else {
            draft(&self.overlay, node, Values::placed(place), Over::Seen(&shown))?
        };
        self.write(patch, spot)?;
        Ok(())
    }

    /// A dead directory that the view still shows. One whose delete this disk has not followed yet is not:
    /// moving that one contests the delete.
    fn is_implied(&self, node: NodeId) -> Result<bool, PenError> {
        if view::is_living(&self.overlay, node)? {
            return Ok(false);
        }
        let update = view::update(&self.overlay, Eye::Local, &BTreeSet::from([node]))?;
        Ok(update.shown.get(&node).is_some_and(Option::is_some))
    }

    fn shown(&self, node: NodeId) -> Result<Shown, PenError> {
        self.overlay.shown(node)?.ok_or(PenError::NotShown(node))
    }

    fn shown_place(&self, shown: &Shown) -> Result<Option<Place>, PenError> {
        Ok(place(&self.overlay, shown.patch(Register::Place))?)
    }

    /// Applies what was drafted and notes that the disk shows it; `spot` is where the node now stands, if that changed.
    fn write(&mut self, patch: Patch, spot: Option<(NodeId, Name)>) -> Result<PatchId, PenError> {
        let (before, patch) = draft::chained(patch);
        for link in before {
            self.apply(link)?;
        }
        let (id, node) = (self.apply(patch.clone())?, patch.node);
        let shown = if patch.place == Some(Place::Nowhere) {
            None
        } else {
            let before = self.overlay.shown(node)?;
            let at = spot.or_else(|| before.as_ref().map(|shown| (shown.folder, shown.name.clone())));
            let (folder, name) = at.ok_or(PenError::NotShown(node))?;
            let mut patches = before.map_or([id; 3], |shown| shown.patches);
            for register in Register::ALL {
                if patch.sets(register) {
                    patches[register as usize] = id;
                }
            }
            Some(Shown { patches, folder, name })
        };
        self.overlay.show(node, shown);
        Ok(id)
    }

    fn apply(&mut self, patch: Patch) -> Result<PatchId, PenError> {
        patch.check(self.volume)?;
        let id = patch.id();
        self.overlay.apply(Arc::new(patch.clone()), id, self.time)?;
        self.patches.push(patch);
        Ok(id)
    }
}

/// A node that a joining directory already held.
struct Recognised {
    node: NodeId,
    lives: bool,
    /// The newest patch with the content found.
    version: Option<PatchId>,
    /// What the canonical view shows of it, or last did.
    shown: [PatchId; 3],
}
