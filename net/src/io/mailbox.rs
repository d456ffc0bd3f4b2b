//! What the node wants of one link, gathered until the link's task looks: the same wish twice is one wish, so a
//! slow link holds no queue.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pfs_engine::model::entry::Holding;
use pfs_engine::model::ids::{PeerId, VolumeId};
use tokio::sync::{Notify, oneshot};

use crate::proto::message::{Bye, PeerNews, Refusal, Secret};

/// A join to be asked of the peer at the other end. Dropped unanswered if the link ends first.
#[derive(Debug)]
pub(crate) struct JoinRequest {
    pub(crate) volume: VolumeId,
    pub(crate) secret: Secret,
    pub(crate) holding: Holding,
    pub(crate) answer: oneshot::Sender<Result<(), Refusal>>,
}

/// All that was wished since last taken.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Volumes whose log or members changed here.
    pub(super) changed: BTreeSet<VolumeId>,
    /// News of other members.
    pub(super) gossip: BTreeMap<VolumeId, BTreeMap<PeerId, PeerNews>>,
    pub(super) joins: Vec<JoinRequest>,
    /// The link is the peer's settled one: chunks may be asked for.
    pub(super) settled: bool,
    /// There is something to ask for.
    pub(super) wanted: bool,
    pub(super) bye: Option<Bye>,
}

/// The node's side puts in, the link's task takes out.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    wishes: Mutex<Wishes>,
    arrived: Notify,
}

impl Mailbox {
    pub(crate) fn changed(&self, volume: VolumeId) {
        self.put(|wishes| _ = wishes.changed.insert(volume));
    }

    pub(crate) fn gossip(&self, volume: VolumeId, news: impl IntoIterator<Item = PeerNews>) {
        self.put(|wishes| {
            let peers = wishes.gossip.entry(volume).or_default();
            peers.extend(news.into_iter().map(|news| (news.peer, news)));
        });
    }

    pub(crate) fn join(&self, request: JoinRequest) {
        self.put(|wishes| wishes.joins.push(request));
    }

    pub(crate) fn settled(&self) {
        self.put(|wishes| wishes.settled = true);
    }

    pub(crate) fn wanted(&self) {
        self.put(|wishes| wishes.wanted = true);
    }

    pub(crate) fn bye(&self, reason: Bye) {
        self.put(|wishes| wishes.bye = Some(reason));
    }

    /// Waits until something is wished, and takes all of it. Safe to drop while waiting.
    pub(super) async fn take(&self) -> Wishes {
        self.arrived.notified().await;
        take(&mut *self.lock())
    }

    fn put(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.lock());
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
