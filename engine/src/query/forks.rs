//! Open forks for people: both sides of each, who made them and when, what they come from, which one is on disk.

use super::last_path;
use crate::error::EngineError;
use crate::model::codec;
use crate::model::facts::Facts;
use crate::model::ids::{NodeId, PatchId, PeerId};
use crate::model::name::RelPath;
use crate::model::patch::{Content, Place, Register, Value};
use crate::model::roster::Roster;
use crate::model::time::Time;
use crate::model::view::{self, Fork, ForkKind};
use crate::plan::resolve::{Authors, marks};
use crate::store::{StoreError, Volume};

/// An open fork.
#[derive(Debug, Clone)]
pub struct ForkReport {
    /// The fork, to be given to `resolve`.
    pub fork: Fork,
    /// Where its (first) node stands.
    pub path: RelPath,
    /// The latest common ancestor of its heads: the patch, and the file's bytes.
    pub base: Option<(PatchId, Option<u64>)>,
    /// Its sides.
    pub heads: Vec<HeadReport>,
}

/// One side of a fork.
#[derive(Debug, Clone)]
pub struct HeadReport {
    /// The patch to take for this side.
    pub patch: PatchId,
    /// Of which node.
    pub node: NodeId,
    /// Who made it first.
    pub origin: PeerId,
    /// When.
    pub time: Time,
    /// What it says of its node.
    pub value: Value,
    /// Where that node stands by it.
    pub path: RelPath,
    /// Bytes, of a file.
    pub size: Option<u64>,
    /// Whether it is the side on disk here.
    pub shown: bool,
}

/// The open forks of a volume.
pub fn forks(volume: &Volume) -> Result<Vec<ForkReport>, EngineError> {
    let mut reports = Vec::new();
    for row in volume.forks()? {
        let fork: Fork = codec::decode(&row).map_err(|_| StoreError::Corrupt { what: "an open fork".into() })?;
        reports.push(report(volume, fork)?);
    }
    reports.sort_by(|a, b| (&a.path, a.fork.kind).cmp(&(&b.path, b.fork.kind)));
    Ok(reports)
}

fn report(volume: &Volume, fork: Fork) -> Result<ForkReport, EngineError> {
    let path = match fork.nodes.first() {
        Some(node) => shown_path(volume, *node)?,
        None => RelPath::root(),
    };
    let (mut heads, mut base) = (Vec::new(), None);
    for node in &fork.nodes {
        let marked = standing(volume, &fork, *node)?;
        if !marked.is_empty() {
            heads.extend(marked);
            continue;
        }
        for register in registers(fork.kind) {
            let Some(state) = volume.node(*node)? else { continue };
            let mut values: Vec<Value> = Vec::new();
            for patch in state.heads(*register) {
                let Some(head) = head(volume, *node, *patch, *register)? else { continue };
                if fork.nodes.len() == 1 && values.iter().any(|value| value.same(&head.value)) {
                    continue;
                }
                values.push(head.value.clone());
                heads.push(head);
            }
            if fork.nodes.len() == 1 && base.is_none() {
                base = view::base(volume, *node, *register)?;
            }
        }
    }
    heads.sort_by_key(|head| std::cmp::Reverse((head.time, head.patch)));
    heads.dedup_by_key(|head| (head.patch, head.node));
    let base = match base {
        Some(patch) => Some((patch, size(volume, patch)?)),
        None => None,
    };
    Ok(ForkReport { fork, path, base, heads })
}

/// Of a node that shares its name with others what it stands by, without the deletes that contest it: those are a
/// fork of their own.
fn standing(volume: &Volume, fork: &Fork, node: NodeId) -> Result<Vec<HeadReport>, EngineError> {
    let mut heads = Vec::new();
    if fork.nodes.len() == 1 || fork.kind == ForkKind::Cycle {
        return Ok(heads);
    }
    for (register, patch) in marks(volume, fork.kind, node)? {
        let Some(mut head) = head(volume, node, patch, register)? else { continue };
        if fork.kind == ForkKind::Name && register != Register::Place {
            head.path = last_path(volume, node)?;
        }
        heads.push(head);
    }
    Ok(heads)
}

/// Who wrote the heads of a fork's nodes, and the contents that those which are gone had: what people call them, each
/// by its first attestation, and which of these patches `me` attests.
pub fn authors(volume: &Volume, roster: &Roster, me: PeerId, fork: &Fork) -> Result<Authors, EngineError> {
    let mut authors = Authors::default();
    for node in &fork.nodes {
        let mut patches = volume.node(*node)?.map(|state| state.heads.concat()).unwrap_or_default();
        patches.extend(view::choices(volume, *node, Register::Content, None)?.patches.first());
        for patch in patches {
            let origin = first_attested(volume, patch)?;
            let info = roster.members.get(&origin).or_else(|| roster.removed.get(&origin));
            authors.names.insert(patch, info.map_or_else(|| origin.short(), |info| info.name.clone()));
            if volume.attestations(patch)?.iter().any(|(log, ..)| log.origin == me) {
                authors.own.insert(patch);
            }
        }
    }
    Ok(authors)
}

/// Who says so first, of those that are known here.
pub(super) fn first_attested(volume: &Volume, patch: PatchId) -> Result<PeerId, EngineError> {
    let attested = volume.attestations(patch)?;
    let first = attested.iter().min_by_key(|(log, seq, time)| (*time, *log, *seq));
    Ok(first.map_or(PeerId([0; 32]), |(log, _, _)| log.origin))
}

/// Which registers the sides of a fork are read from.
fn registers(kind: ForkKind) -> &'static [Register] {
    match kind {
        ForkKind::Content | ForkKind::Kind => &[Register::Content],
        ForkKind::Delete => &[Register::Content, Register::Place],
        ForkKind::Place | ForkKind::Name | ForkKind::Cycle => &[Register::Place],
        ForkKind::Attr => &[Register::Attr],
    }
}

fn head(volume: &Volume, node: NodeId, patch: PatchId, register: Register) -> Result<Option<HeadReport>, EngineError> {
    let Some(known) = volume.patch(patch)? else { return Ok(None) };
    let Some(value) = known.patch.value(register) else { return Ok(None) };
    let origin = first_attested(volume, patch)?;
    let path = match &value {
        Value::Place(Place::At { parent, name }) => shown_path(volume, *parent)?.join(name),
        _ => shown_path(volume, node)?,
    };
    let shown = volume.shown(node)?.is_some_and(|shown| shown.patch(register) == patch);
    Ok(Some(HeadReport { patch, node, origin, time: known.time, value, path, size: size(volume, patch)?, shown }))
}

fn shown_path(volume: &Volume, node: NodeId) -> Result<RelPath, EngineError> {
    match view::path_of(volume, crate::model::facts::Eye::Local, node)? {
        Some(path) => Ok(path),
        None => last_path(volume, node),
    }
}

fn size(volume: &Volume, patch: PatchId) -> Result<Option<u64>, EngineError> {
    Ok(volume.patch(patch)?.and_then(|known| match &known.patch.content {
        Some(Content::File { len, .. }) => Some(*len),
        _ => None,
    }))
}
