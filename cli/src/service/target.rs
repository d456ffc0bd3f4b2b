//! What people mean: a volume by name or id, a path in one, a peer, a patch.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use pfs_engine::Engine;
use pfs_engine::handle::VolumeReport;
use pfs_engine::model::ids::{PatchId, PeerId, VolumeId};
use pfs_engine::model::name::RelPath;
use pfs_engine::query;
use pfs_engine::store::Volume;

use crate::api::service::{ErrorKind, Result, ServiceError};
use crate::api::types::{Named, RawPath, Target};

/// As few digits of an id as count as one; what is shorter is a name.
const PREFIX_DIGITS_MIN: usize = 6;

/// A path in a volume.
pub(super) struct Spot {
    pub(super) report: VolumeReport,
    pub(super) volume: Volume,
    pub(super) path: RelPath,
}

/// Every volume here.
pub(super) fn volumes(engine: &Engine) -> Result<Vec<VolumeReport>> {
    Ok(engine.volumes()?)
}

/// The volume of that name, id or unique id prefix.
pub(super) fn volume(engine: &Engine, text: &str) -> Result<VolumeReport> {
    let all = volumes(engine)?;
    if text.is_empty() {
        return Err(ServiceError::new(ErrorKind::Usage, "the name of the volume is empty").hint(choice_of(&all)));
    }
    let found = find_volume(&all, text)?.cloned();
    found.ok_or_else(|| no_volume(text, &all))
}

/// That volume, or all.
pub(super) fn some_volumes(engine: &Engine, text: Option<&str>) -> Result<Vec<VolumeReport>> {
    match text {
        Some(text) => Ok(vec![volume(engine, text)?]),
        None => volumes(engine),
    }
}

/// The volume and the path in it: of `VOLUME`, `VOLUME:path`, or a path on disk inside a tracked directory.
pub(super) fn spot(engine: &Engine, target: &Target) -> Result<Spot> {
    let all = volumes(engine)?;
    let (report, below) = match named(&all, &target.text)? {
        Some(found) => found,
        None => on_disk(&all, &target.absolute).ok_or_else(|| no_path(target, &all))?,
    };
    let path = RelPath::parse(&below).map_err(|error| {
        let message = format!("`{}` cannot be a path in a volume: {error}", target.text);
        ServiceError::new(ErrorKind::Usage, message)
    })?;
    let volume = engine.volume(report.id)?;
    let path = as_shown(&volume, &below).filter(|_| query::node_by_path(&volume, &path).is_err()).unwrap_or(path);
    Ok(Spot { report, volume, path })
}

/// What output shows in this way, where there is or was such a thing: bytes that are no text are shown as `\xNN` and
/// a backslash as `\\`, and what is shown can be given back.
fn as_shown(volume: &Volume, typed: &[u8]) -> Option<RelPath> {
    let text = std::str::from_utf8(typed).ok().filter(|text| text.contains('\\'))?;
    let path = RelPath::parse(RawPath::unescape(text)?.as_bytes()).ok()?;
    query::node_by_path(volume, &path).is_ok().then_some(path)
}

/// What a target means; without one, all of every volume.
pub(super) fn spots(engine: &Engine, target: Option<&Target>) -> Result<Vec<Spot>> {
    if let Some(target) = target {
        return Ok(vec![spot(engine, target)?]);
    }
    let whole = |report: VolumeReport| {
        let volume = engine.volume(report.id)?;
        Ok(Spot { report, volume, path: RelPath::root() })
    };
    volumes(engine)?.into_iter().map(whole).collect()
}

/// The path on disk of a volume that has a tree here.
pub(super) fn path_of(report: &VolumeReport) -> Option<RawPath> {
    report.path.as_deref().map(RawPath::from)
}

/// A volume as answers name it.
pub(super) fn named_volume(report: &VolumeReport) -> Named {
    Named { id: report.id.to_string(), name: report.state.name.clone() }
}

/// A peer as the members of a volume know it, also one that is a member no more.
pub(super) fn named_peer(report: &VolumeReport, peer: PeerId) -> Named {
    let info = report.roster.members.get(&peer).or_else(|| report.roster.removed.get(&peer));
    let name = info.map_or_else(|| peer.short(), |info| info.name.clone());
    Named { id: peer.to_string(), name }
}

/// The peer of that name, id or unique id prefix among members of now and before.
pub(super) fn peer(all: &[VolumeReport], text: &str) -> Result<PeerId> {
    if text.is_empty() {
        return Err(
            ServiceError::new(ErrorKind::Usage, "the name of the peer is empty").hint("`pfs peers` lists the members")
        );
    }
    let known = all.iter().flat_map(|report| report.roster.members.iter().chain(&report.roster.removed));
    let (mut by_name, mut by_id) = (Vec::new(), Vec::new());
    for (peer, info) in known {
        if info.name == text && !by_name.contains(peer) {
            by_name.push(*peer);
        }
        if is_prefix(text) && peer.to_string().starts_with(text) && !by_id.contains(peer) {
            by_id.push(*peer);
        }
    }
    let found = if by_name.is_empty() { by_id } else { by_name };
    match found[..] {
        [one] => Ok(one),
        [] => {
            Err(ServiceError::new(ErrorKind::NotFound, format!("no peer `{text}` is or was a member of a volume here"))
                .hint("`pfs peers` lists the members"))
        }
        _ => {
            let ids: Vec<_> = found.iter().map(PeerId::short).collect();
            Err(ServiceError::new(ErrorKind::Usage, format!("`{text}` can be any of {}", ids.join(", ")))
                .hint("give more digits of the id"))
        }
    }
}

/// The one patch of any volume whose id begins so.
pub(super) fn patch(engine: &Engine, prefix: &str) -> Result<(VolumeReport, Volume, PatchId)> {
    let mut found = Vec::new();
    for report in volumes(engine)? {
        let volume = engine.volume(report.id)?;
        if let Some(patch) = query::patch_by_prefix(&volume, prefix)? {
            found.push((report, volume, patch));
        }
    }
    match found.len() {
        0 => Err(ServiceError::new(ErrorKind::NotFound, format!("no patch here begins with `{prefix}`"))
            .hint("`pfs log` lists patches")),
        1 => Ok(found.remove(0)),
        _ => Err(ServiceError::new(ErrorKind::Usage, format!("patches of several volumes begin with `{prefix}`"))
            .hint("give more digits")),
    }
}

/// The one patch of a volume whose id begins so.
pub(super) fn patch_in(volume: &Volume, prefix: &str) -> Result<PatchId> {
    let found = query::patch_by_prefix(volume, prefix)?;
    found.ok_or_else(|| {
        ServiceError::new(ErrorKind::NotFound, format!("no patch of this volume begins with `{prefix}`"))
            .hint("`pfs log PATH` lists a file's patches, `pfs forks` the sides of a fork")
    })
}

fn is_prefix(text: &str) -> bool {
    text.len() >= PREFIX_DIGITS_MIN && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn find_volume<'a>(all: &'a [VolumeReport], text: &str) -> Result<Option<&'a VolumeReport>> {
    if let Some(report) = all.iter().find(|report| report.state.name == text) {
        return Ok(Some(report));
    }
    let begins = |id: &VolumeId| is_prefix(text) && id.to_string().starts_with(text);
    let found: Vec<_> = all.iter().filter(|report| begins(&report.id)).collect();
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(ServiceError::new(ErrorKind::Usage, format!("several volumes' ids begin with `{text}`"))
            .hint("give more digits, or the name")),
    }
}

/// `VOLUME` or `VOLUME:path`.
fn named(all: &[VolumeReport], text: &RawPath) -> Result<Option<(VolumeReport, Vec<u8>)>> {
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|&b| b == b':');
    let cuts = [(bytes, &[][..])].into_iter().chain(colon.map(|at| (&bytes[..at], &bytes[at + 1..])));
    for (volume, path) in cuts {
        if let Ok(name) = std::str::from_utf8(volume)
            && let Some(report) = find_volume(all, name)?
        {
            return Ok(Some((report.clone(), path.to_vec())));
        }
    }
    Ok(None)
}

fn on_disk(all: &[VolumeReport], absolute: &RawPath) -> Option<(VolumeReport, Vec<u8>)> {
    let path = Path::new(OsStr::from_bytes(absolute.as_bytes()));
    let within = |path: &Path| {
        let roots = all.iter().filter_map(|report| Some((report, report.path.as_deref()?)));
        let (report, root) = roots.filter(|(_, root)| path.starts_with(root)).max_by_key(|(_, root)| depth(root))?;
        let below = path.strip_prefix(root).ok()?;
        Some((report.clone(), below.as_os_str().as_bytes().to_vec()))
    };
    // A link that leads into a tracked directory from outside is followed, one inside is what is meant.
    within(path).or_else(|| within(&fs::canonicalize(path).ok()?))
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

fn no_volume(text: &str, all: &[VolumeReport]) -> ServiceError {
    ServiceError::new(ErrorKind::NotFound, format!("there is no volume `{text}` here")).hint(choice_of(all))
}

fn no_path(target: &Target, all: &[VolumeReport]) -> ServiceError {
    let path = PathBuf::from(OsStr::from_bytes(target.absolute.as_bytes()));
    let message = format!("`{}` is neither a volume nor inside a tracked directory", target.text);
    let inside = path.components().any(|part| part.as_os_str() == ".pfs");
    ServiceError::new(ErrorKind::NotFound, message).hint(if inside {
        "`.pfs` is pfs's own and not part of the volume".to_owned()
    } else {
        choice_of(all)
    })
}

fn choice_of(all: &[VolumeReport]) -> String {
    if all.is_empty() {
        return "nothing is tracked here yet: `pfs track DIR` or `pfs join TICKET`".to_owned();
    }
    let names: Vec<_> = all.iter().map(|report| report.state.name.as_str()).collect();
    format!("the volumes here: {}", names.join(", "))
}
