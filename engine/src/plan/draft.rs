//! Drafts of patches: new values, and what they supersede. One rule for what a user did and for what a
//! resolution decides; the two differ only in what they have seen.

use crate::limits::SUPERSEDES_MAX;
use crate::model::facts::{Facts, Shown, Unreadable};
use crate::model::ids::{NodeId, PatchId, VolumeId};
use crate::model::name::Name;
use crate::model::patch::{Attr, Content, Patch, Place, Register, Value};
use crate::model::view::{Choices, choices, lives};

/// The registers that a patch sets.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    pub(super) place: Option<Place>,
    pub(super) content: Option<Content>,
    pub(super) attr: Option<Attr>,
}

impl Values {
    /// A delete.
    pub(super) fn gone() -> Self {
        Self { place: Some(Place::Nowhere), content: Some(Content::Gone), attr: None }
    }

    /// Without that register.
    pub(super) fn clear(&mut self, register: Register) {
        match register {
            Register::Place => self.place = None,
            Register::Content => self.content = None,
            Register::Attr => self.attr = None,
        }
    }

    /// With that value of its register.
    pub(super) fn set(&mut self, value: Value) {
        match value {
            Value::Place(place) => self.place = Some(place),
            Value::Content(content) => self.content = Some(content),
            Value::Attr(attr) => self.attr = Some(attr),
        }
    }

    /// Whether it sets anything.
    pub(super) fn is_empty(&self) -> bool {
        self.place.is_none() && self.content.is_none() && self.attr.is_none()
    }

    /// A move.
    pub(super) fn placed(place: Place) -> Self {
        Self { place: Some(place), ..Self::default() }
    }
}

/// What a patch supersedes in the registers that it sets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Over<'a> {
    /// Of content what a disk shows, and heads equal to it: other heads' bytes were not seen. Of place and
    /// attributes all heads: there are no bytes to lose.
    Seen(&'a Shown),
    /// All heads.
    Heads,
    /// The heads that say that the node is deleted.
    Dead,
    /// Of each register one patch.
    Shown(&'a [PatchId; 3]),
    /// Nothing: a side of its own.
    Nothing,
}

/// A patch of `node`. It may supersede more than one patch can: what is written is what `chained` makes of it.
pub(super) fn draft(facts: &dyn Facts, node: NodeId, values: Values, over: Over<'_>) -> Result<Patch, Unreadable> {
    let Values { place, content, attr } = values;
    let mut patch = Patch { place, content, attr, ..Patch::new(node) };
    for register in Register::ALL {
        if !patch.sets(register) {
            continue;
        }
        let heads = facts.node(node)?.map(|state| state.heads(register).to_vec()).unwrap_or_default();
        let superseded = match over {
            Over::Heads => heads,
            Over::Dead => dead(facts, heads, register)?,
            Over::Nothing => Vec::new(),
            Over::Shown(patches) => vec![patches[register as usize]],
            Over::Seen(_) if register != Register::Content => heads,
            Over::Seen(shown) => with_equals(facts, heads, shown.patch(register))?,
        };
        patch.supersedes.set(register, superseded);
    }
    Ok(patch)
}

/// A draft as its author writes it: the patch that stays, and what goes before it. Where it supersedes more than
/// `SUPERSEDES_MAX`, patches that say the same do so bit by bit, each superseding the one before it as well.
pub(super) fn chained(mut draft: Patch) -> (Vec<Patch>, Patch) {
    let all = std::mem::take(&mut draft.supersedes);
    let mut rest = Register::ALL.map(|register| all.of(register).iter().copied());
    let mut links: Vec<Patch> = Vec::new();
    loop {
        let (mut link, before) = (draft.clone(), links.last().map(Patch::id));
        for (register, rest) in Register::ALL.into_iter().zip(&mut rest) {
            let before = before.filter(|_| draft.sets(register));
            let more = rest.take(SUPERSEDES_MAX - usize::from(before.is_some()));
            link.supersedes.set(register, before.into_iter().chain(more));
        }
        if rest.iter().all(|rest| rest.len() == 0) {
            return (links, link);
        }
        links.push(link);
    }
}

/// Something new stands in a folder under a name: a new node, or one that was deleted right there and goes on,
/// or one that others placed there and this disk does not show yet.
pub(super) fn birth(
    volume: VolumeId,
    facts: &dyn Facts,
    (folder, name): (NodeId, Name),
    content: Content,
    attr: Attr,
) -> Result<Patch, Unreadable> {
    let is_dir = content == Content::Dir;
    let here = Place::At { parent: folder, name: name.clone() };
    let mut salt = 0;
    loop {
        let node = NodeId::born(volume, folder, &name, is_dir, salt);
        let over = match rebirth(facts, node, &here)? {
            Rebirth::Unknown => Over::Nothing,
            Rebirth::Gone => Over::Heads,
            Rebirth::Unseen => Over::Dead,
            Rebirth::Elsewhere => {
                salt += 1;
                continue;
            }
        };
        let values = Values { place: Some(here), content: Some(content), attr: Some(attr) };
        let born = matches!(over, Over::Nothing).then_some(salt);
        return Ok(Patch { born, ..draft(facts, node, values, over)? });
    }
}

/// How a birth and a node that would have the same id go together.
enum Rebirth {
    /// Nobody knows the node.
    Unknown,
    /// It was deleted right there.
    Gone,
    /// It is there, but this disk does not show it yet.
    Unseen,
    /// It stands somewhere else, or is on this disk.
    Elsewhere,
}

fn rebirth(facts: &dyn Facts, node: NodeId, here: &Place) -> Result<Rebirth, Unreadable> {
    if facts.node(node)?.is_none() {
        return Ok(Rebirth::Unknown);
    }
    let mut is_here = false;
    for id in current(facts, node, Register::Place)? {
        is_here |= place(facts, id)?.as_ref() == Some(here);
    }
    Ok(if !is_here || facts.shown(node)?.is_some() {
        Rebirth::Elsewhere
    } else if lives(facts, node)? {
        Rebirth::Unseen
    } else {
        Rebirth::Gone
    })
}

/// The live heads of a register; where there is none, what was there before.
pub(super) fn current(facts: &dyn Facts, node: NodeId, register: Register) -> Result<Vec<PatchId>, Unreadable> {
    let Choices { mut patches, live } = choices(facts, node, register, None)?;
    patches.truncate(live.max(1));
    Ok(patches)
}

fn dead(facts: &dyn Facts, heads: Vec<PatchId>, register: Register) -> Result<Vec<PatchId>, Unreadable> {
    let mut dead = Vec::new();
    for head in heads {
        if value(facts, head, register)?.is_some_and(|value| value.is_dead()) {
            dead.push(head);
        }
    }
    Ok(dead)
}

fn with_equals(facts: &dyn Facts, heads: Vec<PatchId>, mine: PatchId) -> Result<Vec<PatchId>, Unreadable> {
    let mut equals = vec![mine];
    let Some(content) = value(facts, mine, Register::Content)? else { return Ok(equals) };
    for head in heads {
        if value(facts, head, Register::Content)?.is_some_and(|value| value.same(&content)) {
            equals.push(head);
        }
    }
    Ok(equals)
}

/// The value that a patch gives a register.
pub(super) fn value(facts: &dyn Facts, patch: PatchId, register: Register) -> Result<Option<Value>, Unreadable> {
    Ok(facts.patch(patch)?.and_then(|known| known.patch.value(register)))
}

/// The content that a patch sets.
pub(super) fn content(facts: &dyn Facts, patch: PatchId) -> Result<Option<Content>, Unreadable> {
    Ok(facts.patch(patch)?.and_then(|known| known.patch.content.clone()))
}

/// The place that a patch sets.
pub(super) fn place(facts: &dyn Facts, patch: PatchId) -> Result<Option<Place>, Unreadable> {
    Ok(facts.patch(patch)?.and_then(|known| known.patch.place.clone()))
}
