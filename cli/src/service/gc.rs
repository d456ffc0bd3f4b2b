//! Letting go of old versions, when asked and once a day.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pfs_engine::gc::{Old, Order};
use pfs_engine::model::codec;
use pfs_engine::model::ids::{NodeId, VolumeId};
use pfs_engine::plan::retain::{Fate, Retention};
use pfs_engine::query;
use pfs_engine::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::history::raw;
use super::peer::{Peer, Running};
use super::words;
use crate::api::service::Result;
use crate::api::types::{Collected, GcRequest, Kept, OldVersion, Within};

/// Where the store keeps the rule.
const KEY: &str = "retention";
/// Between two looks whether it is time.
const LOOK: Duration = Duration::from_mins(10);
/// Between two times that a daemon lets go of what is old.
const EVERY_MS: u64 = 24 * 3600 * 1000;
/// Versions that an answer names.
const NAMED_MAX: usize = 200;

/// The rule by which a peer keeps versions.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Rule {
    retention: Retention,
    /// When a daemon last kept it.
    kept_ms: u64,
}

impl Rule {
    fn read(store: &Store) -> Result<Self> {
        let Some(bytes) = store.meta(KEY)? else { return Ok(Self::default()) };
        Ok(codec::decode(&bytes).map_err(|_| StoreError::Corrupt { what: "the rule for old versions".into() })?)
    }

    fn write(&self, store: &Store) -> Result<()> {
        Ok(store.set_meta(KEY, &codec::encode(self))?)
    }
}

/// Lets go of what is old by a rule of today, or by that of every day.
pub(super) fn gc(running: &Running, request: &GcRequest) -> Result<Collected> {
    let store = running.engine.store();
    let mut rule = Rule::read(store)?;
    let Retention { within_ms, last } = &mut rule.retention;
    match request.within {
        Some(Within::Seconds(seconds)) => *within_ms = seconds.saturating_mul(1000),
        Some(Within::Forever) => *within_ms = u64::MAX,
        None => {}
    }
    *last = request.last.unwrap_or(*last);
    if request.remember && !request.dry_run {
        rule.write(store)?;
    }
    let retention = rule.retention;
    let order = Order { retention, orphans: true, dry_run: request.dry_run, reclaim: true };
    let mut old = Vec::new();
    let tally = running.engine.gc(&order, &mut |version| old.push(version), &|| true)?;
    let files: BTreeSet<(VolumeId, NodeId)> = old.iter().map(|old| (old.volume, old.node)).collect();
    old.sort_by_key(|old| std::cmp::Reverse(replaced_ms(old)));
    let named = old.iter().take(NAMED_MAX).map(|old| named(running, old)).collect::<Result<_>>()?;
    Ok(Collected {
        dry_run: request.dry_run,
        versions: tally.let_go,
        files: files.len() as u64,
        bytes: tally.bytes,
        kept: Kept { current: tally.current, forked: tally.forked, recent: tally.recent, last: tally.last },
        within: if retention.within_ms == u64::MAX {
            Within::Forever
        } else {
            Within::Seconds(retention.within_ms / 1000)
        },
        last: retention.last,
        old: named,
    })
}

fn replaced_ms(old: &Old) -> u64 {
    match old.version.fate {
        Fate::Superseded(at) => at.ms(),
        _ => u64::MAX,
    }
}

fn named(running: &Running, old: &Old) -> Result<OldVersion> {
    let volume = running.engine.volume(old.volume)?;
    Ok(OldVersion {
        volume: volume.state().name,
        path: raw(&query::last_path(&volume, old.node)?),
        patch: old.version.patch.to_string(),
        time: words::wall(old.version.time.ms()),
        replaced: words::wall(replaced_ms(old)),
        size: old.version.len,
    })
}

/// A daemon lets go of what is old once a day.
pub(super) fn keep_lean(peer: &Arc<Peer>) -> io::Result<()> {
    let peer = Arc::downgrade(peer);
    let tend = move || {
        loop {
            thread::sleep(LOOK);
            let Some(peer) = peer.upgrade().filter(|peer| !peer.is_closed()) else { return };
            if let Err(error) = peer.with_care(|running| keep_rule(&peer, running)) {
                tracing::warn!(%error, "old versions are not let go of");
            }
        }
    };
    thread::Builder::new().name("pfs-gc".into()).spawn(tend).map(|_| ())
}

fn keep_rule(peer: &Peer, running: &Running) -> Result<()> {
    let (engine, now_ms) = (&running.engine, running.engine.now_ms());
    let rule = Rule::read(engine.store())?;
    if now_ms.abs_diff(rule.kept_ms) < EVERY_MS {
        return Ok(());
    }
    let order = Order { retention: rule.retention, orphans: false, dry_run: false, reclaim: false };
    let tally = engine.gc(&order, &mut |_| {}, &|| !peer.is_closed())?;
    tracing::info!(versions = tally.let_go, bytes = tally.bytes, "old versions let go of");
    // The rule may have become another meanwhile.
    Rule { kept_ms: now_ms, ..Rule::read(engine.store())? }.write(engine.store())
}
