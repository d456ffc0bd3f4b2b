//! The engine's values as answers have them, and one patch put into words.

use jiff::Timestamp;
use pfs_engine::EngineError;
use pfs_engine::content::{ContentError, changed_ranges, pieces};
use pfs_engine::handle::VolumeReport;
use pfs_engine::limits::COMPARED_PIECES_MAX;
use pfs_engine::model::entry;
use pfs_engine::model::facts::Facts;
use pfs_engine::model::ids::{LogId, PatchId};
use pfs_engine::model::manifest::{ManifestError, Piece};
use pfs_engine::model::patch::{Attr, Content, Patch, Place, Register as EngineRegister, Root};
use pfs_engine::model::time::{Mtime, Time};
use pfs_engine::model::view::ForkKind as EngineForkKind;
use pfs_engine::query::{self, Action as EngineAction};
use pfs_engine::store::{Store, Volume};

use super::peer::Running;
use super::target;
use crate::api::service::Result;
use crate::api::types::{
    Action, Attestation, Chunks, ForkKind, Holding, NewChunk, RawPath, Register, Role, Setting, ShowRequest, Shown,
    WallTime,
};

pub(super) fn role(role: entry::Role) -> Role {
    match role {
        entry::Role::Writer => Role::Writer,
        entry::Role::Mirror => Role::Mirror,
        entry::Role::Vault => Role::Vault,
        entry::Role::Thin => Role::Thin,
    }
}

pub(super) fn holding(holding: entry::Holding) -> Holding {
    match holding {
        entry::Holding::All => Holding::All,
        entry::Holding::Share => Holding::Share,
        entry::Holding::None => Holding::None,
    }
}

pub(super) fn fork_kind(kind: EngineForkKind) -> ForkKind {
    match kind {
        EngineForkKind::Content => ForkKind::Content,
        EngineForkKind::Kind => ForkKind::Kind,
        EngineForkKind::Delete => ForkKind::Delete,
        EngineForkKind::Place => ForkKind::Place,
        EngineForkKind::Name => ForkKind::Name,
        EngineForkKind::Cycle => ForkKind::Cycle,
        EngineForkKind::Attr => ForkKind::Attr,
    }
}

pub(super) fn action(action: EngineAction) -> Action {
    match action {
        EngineAction::Create => Action::Create,
        EngineAction::Edit => Action::Edit,
        EngineAction::Delete => Action::Delete,
        EngineAction::Rename => Action::Rename,
        EngineAction::Attr => Action::Attr,
        EngineAction::Resolve => Action::Resolve,
        EngineAction::Restore => Action::Restore,
    }
}

/// The wall time of milliseconds since 1970. Times beyond what a calendar holds are its end.
pub(super) fn wall(ms: u64) -> WallTime {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    WallTime(time.unwrap_or(Timestamp::MAX))
}

/// A file's modification time; none where a calendar does not hold it.
pub(super) fn mtime(time: Mtime) -> Option<WallTime> {
    Timestamp::new(time.secs, i32::try_from(time.nanos).ok()?).ok().map(WallTime)
}

/// Milliseconds since 1970; none are before that.
pub(super) fn ms(time: WallTime) -> u64 {
    u64::try_from(time.0.as_millisecond()).unwrap_or(0)
}

/// The first time of that millisecond.
pub(super) fn first_of(time: WallTime) -> Time {
    Time::from_ms(ms(time))
}

/// The last time of that millisecond.
pub(super) fn last_of(time: WallTime) -> Time {
    Time(Time::from_ms(ms(time).saturating_add(1)).0.saturating_sub(1))
}

/// One patch.
pub(super) fn show(running: &Running, request: &ShowRequest) -> Result<Shown> {
    let engine = &running.engine;
    let (report, volume, id) = target::patch(engine, &request.patch)?;
    let known = volume.patch(id)?;
    let known = known.ok_or_else(|| EngineError::NoPatch(id.to_string()))?;
    let told = query::report(engine.store(), &volume, id, &known)?;
    let patch = &*known.patch;
    let new = new_chunks(engine.store(), &volume, patch)?;
    Ok(Shown {
        patch: id.to_string(),
        volume: report.state.name.clone(),
        node: patch.node.to_string(),
        path: RawPath::from(told.path.to_bytes()),
        action: action(told.action),
        from: told.from.map(|from| RawPath::from(from.to_bytes())),
        size: told.size,
        attested: attested(&report, volume.attestations(id)?),
        sets: settings(&volume, patch)?,
        within: patch.within.map(|within| within.to_string()),
        chunks: new,
    })
}

fn attested(report: &VolumeReport, mut by: Vec<(LogId, u64, Time)>) -> Vec<Attestation> {
    by.sort_by_key(|(log, seq, time)| (*time, *log, *seq));
    let one = |(log, _, time): (LogId, u64, Time)| Attestation {
        origin: target::named_peer(report, log.origin),
        time: wall(time.ms()),
    };
    by.into_iter().map(one).collect()
}

fn settings(volume: &Volume, patch: &Patch) -> std::result::Result<Vec<Setting>, EngineError> {
    let mut sets = Vec::new();
    let mut set = |register, of: EngineRegister, value| {
        let supersedes = patch.supersedes.of(of).iter().map(PatchId::to_string).collect();
        sets.push(Setting { register, value, supersedes });
    };
    if let Some(place) = &patch.place {
        set(Register::Place, EngineRegister::Place, place_words(volume, place)?);
    }
    if let Some(content) = &patch.content {
        set(Register::Content, EngineRegister::Content, content_words(content));
    }
    if let Some(attr) = &patch.attr {
        set(Register::Attr, EngineRegister::Attr, attr_words(attr));
    }
    Ok(sets)
}

fn place_words(volume: &Volume, place: &Place) -> std::result::Result<String, EngineError> {
    Ok(match place {
        Place::At { parent, name } => format!("at {}", query::last_path(volume, *parent)?.join(name)),
        Place::Nowhere => "gone".to_owned(),
    })
}

fn content_words(content: &Content) -> String {
    match content {
        Content::File { len, .. } => format!("file, {len} bytes"),
        Content::Symlink { target } => format!("symlink to {}", RawPath::from(target.clone())),
        Content::Dir => "directory".to_owned(),
        Content::Gone => "gone".to_owned(),
    }
}

pub(super) fn attr_words(attr: &Attr) -> String {
    let mode = format!("mode {:04o}", attr.mode);
    match attr.xattrs.len() {
        0 => mode,
        1 => format!("{mode}, 1 extended attribute"),
        n => format!("{mode}, {n} extended attributes"),
    }
}

/// The chunks of a patch's file, as far as its lists are here; new are those that no version which it superseded
/// had.
fn new_chunks(store: &Store, volume: &Volume, patch: &Patch) -> std::result::Result<Chunks, EngineError> {
    let Some(file) = file_of(patch) else { return Ok(Chunks::default()) };
    let all = match data_pieces(store, file) {
        // Of what cannot be read anywhere, or goes on without end, there is nothing to tell.
        Err(ContentError::Lacking(_) | ContentError::Manifest { .. }) => return Ok(Chunks::default()),
        other => other?,
    };
    let mut fresh: Vec<&NewChunk> = all.iter().collect();
    for before in patch.supersedes.of(EngineRegister::Content) {
        let Some(before) = volume.patch(*before)?.and_then(|known| file_of(&known.patch)) else { continue };
        // Where the lists of that version are not here, nothing is known of it.
        if let Ok(changed) = changed_ranges(store, before, file) {
            fresh.retain(|chunk| changed.iter().any(|range| range.contains(&chunk.offset)));
        }
    }
    Ok(Chunks { total: all.len() as u64, new: fresh.into_iter().cloned().collect() })
}

fn file_of(patch: &Patch) -> Option<(Root, u64)> {
    match &patch.content {
        Some(Content::File { len, root, .. }) => Some((*root, *len)),
        _ => None,
    }
}

fn data_pieces(store: &Store, (root, len): (Root, u64)) -> std::result::Result<Vec<NewChunk>, ContentError> {
    let mut found = Vec::new();
    for piece in pieces(store, root, len, 0..len) {
        if let (offset, Piece::Data { id, len }) = piece? {
            found.push(NewChunk { id: id.to_string(), offset, size: len.into() });
        }
        if found.len() > COMPARED_PIECES_MAX {
            let source = ManifestError::Count(found.len());
            return Err(ContentError::Manifest { id: root.id, source });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_is_all_of_its_millisecond() {
        let time = WallTime("2026-11-20T14:00:00.042Z".parse().unwrap());
        assert_eq!((first_of(time).ms(), last_of(time).ms()), (ms(time), ms(time)));
        assert_eq!(last_of(time).0 + 1, Time::from_ms(ms(time) + 1).0);
        assert_eq!(wall(ms(time)), time);
        assert_eq!(wall(u64::MAX), WallTime(Timestamp::MAX));
        assert_eq!(ms(WallTime("1969-12-31T23:59:59Z".parse().unwrap())), 0);
    }
}
