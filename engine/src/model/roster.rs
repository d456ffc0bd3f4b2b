//! Who belongs to a volume, as a pure fold over its entries: members, open invites, removed peers.
//!
//! Entries apply in causal order, so each is judged by what its author must have known. A removal ends a peer's
//! sessions; what it appended before reaches everybody through the members that already had it, so that all
//! views still converge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::{Body, Entry, Holding, Invite, Role};
use super::ids::PeerId;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it holds.
    pub holding: Holding,
}

/// An invite and how often it was used, as far as is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OpenInvite {
    invite: Invite,
    used: u32,
}

/// The membership of one volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The volume's name and wanted replicas, from its genesis; nothing before that has arrived.
    pub genesis: Option<(String, u8)>,
    /// Current members.
    pub members: BTreeMap<PeerId, MemberInfo>,
    /// Peers that were members once, as they were then.
    pub removed: BTreeMap<PeerId, MemberInfo>,
    invites: BTreeMap<[u8; 32], OpenInvite>,
}

/// Why an entry is not allowed to its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAllowed {
    /// Its author is no member.
    #[error("{0:?} is no member of this volume")]
    Stranger(PeerId),
    /// The author's role does not write.
    #[error("{0:?} may not write in this volume")]
    Role(PeerId),
    /// A second beginning.
    #[error("the volume has begun already")]
    Begun,
    /// It admits by an invite that nobody opened, or with rights that the invite does not give.
    #[error("a member was admitted without an invite for it")]
    NoInvite,
}

/// Why a peer that knows a secret is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAdmitted {
    /// Nobody opened an invite with this secret, as far as is known here.
    #[error("no such invite is known here")]
    Unknown,
    /// Its time is over.
    #[error("the invite has expired")]
    Expired,
    /// It was used as often as it may be.
    #[error("the invite has been used")]
    Used,
    /// The peer was removed from the volume.
    #[error("this peer was removed from the volume")]
    Removed,
}

impl MemberInfo {
    /// Of two that one peer was admitted as the lesser stands.
    fn rank(&self) -> (bool, Role, Holding, &str) {
        (!self.role.writes(), self.role, self.holding, &self.name)
    }
}

impl Roster {
    /// Whether this entry may follow what is known.
    pub fn permits(&self, entry: &Entry) -> Result<(), NotAllowed> {
        let origin = entry.log.origin;
        if let Body::Genesis(_) = entry.body {
            return if self.genesis.is_none() { Ok(()) } else { Err(NotAllowed::Begun) };
        }
        let author = self.members.get(&origin).or_else(|| self.removed.get(&origin));
        let member = author.ok_or(NotAllowed::Stranger(origin))?;
        match &entry.body {
            // One without patches only names what the next one depends on.
            Body::Patches(patches) if !patches.is_empty() && !member.role.writes() => Err(NotAllowed::Role(origin)),
            Body::Invite(_) | Body::Remove(_) if member.role != Role::Writer => Err(NotAllowed::Role(origin)),
            // Any member admits, so that the inviter may be away. Uses and expiry are judged by who admits: to
            // others, uses that members apart gave at once may be one too many, and any time can be claimed.
            Body::Member(new) => match self.invites.get(&new.invite) {
                Some(open) if open.invite.role == new.role => Ok(()),
                _ => Err(NotAllowed::NoInvite),
            },
            Body::Genesis(_) | Body::Patches(_) | Body::Invite(_) | Body::Remove(_) | Body::Withdraw(_) => Ok(()),
        }
    }

    /// Takes in an entry that is permitted.
    pub fn apply(&mut self, entry: &Entry) {
        match &entry.body {
            Body::Genesis(genesis) => {
                self.genesis = Some((genesis.name.clone(), genesis.replicas));
                let info = MemberInfo { name: genesis.creator_name.clone(), role: Role::Writer, holding: Holding::All };
                self.members.insert(genesis.creator, info);
            }
            Body::Patches(_) | Body::Withdraw(_) => {}
            Body::Invite(invite) => {
                self.invites.insert(invite.id, OpenInvite { invite: invite.clone(), used: 0 });
            }
            Body::Member(new) => {
                if let Some(open) = self.invites.get_mut(&new.invite) {
                    open.used += 1;
                }
                // Members apart may admit one peer in two ways at once: whichever arrives first, the better rights
                // stand. So nobody can take a peer's rights away by admitting it once more.
                let info = MemberInfo { name: new.name.clone(), role: new.role, holding: new.holding };
                let known = match self.removed.get_mut(&new.peer) {
                    Some(removed) => removed,
                    None => self.members.entry(new.peer).or_insert_with(|| info.clone()),
                };
                if info.rank() < known.rank() {
                    *known = info;
                }
            }
            Body::Remove(peer) => {
                if let Some(info) = self.members.remove(peer) {
                    self.removed.insert(*peer, info);
                }
            }
        }
    }

    /// The role that an invite gives to a peer that knows its secret, if it may be used now.
    pub fn admits(&self, peer: PeerId, secret: &[u8], now_ms: u64) -> Result<Role, NotAdmitted> {
        if self.removed.contains_key(&peer) {
            return Err(NotAdmitted::Removed);
        }
        let open = self.invites.get(&Invite::id_of(secret)).ok_or(NotAdmitted::Unknown)?;
        if let Some(member) = self.members.get(&peer) {
            return Ok(member.role);
        }
        if open.used >= open.invite.uses {
            return Err(NotAdmitted::Used);
        }
        if open.invite.expires_ms <= now_ms {
            return Err(NotAdmitted::Expired);
        }
        Ok(open.invite.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::{Genesis, Member};
    use crate::model::ids::{EntryHash, Epoch, LogId, NodeId};
    use crate::model::patch::Patch;
    use crate::model::time::Time;

    fn entry(origin: u8, body: Body) -> Entry {
        let genesis = Genesis {
            name: "v".into(),
            creator: PeerId([1; 32]),
            creator_name: "a".into(),
            nonce: [0; 16],
            replicas: 2,
        };
        let log = LogId { origin: PeerId([origin; 32]), epoch: Epoch(1) };
        Entry { volume: genesis.volume(), log, seq: 1, prev: EntryHash::NONE, deps: Vec::new(), time: Time(1), body }
    }

    fn begun() -> Roster {
        let mut roster = Roster::default();
        let genesis = Genesis {
            name: "v".into(),
            creator: PeerId([1; 32]),
            creator_name: "a".into(),
            nonce: [0; 16],
            replicas: 2,
        };
        roster.apply(&entry(1, Body::Genesis(genesis)));
        roster
    }

    fn invite(uses: u32) -> Body {
        Body::Invite(Invite { id: Invite::id_of(b"secret"), role: Role::Writer, uses, expires_ms: 100 })
    }

    fn joins(peer: u8) -> Body {
        let peer = PeerId([peer; 32]);
        let invite = Invite::id_of(b"secret");
        Body::Member(Member { peer, name: "b".into(), role: Role::Writer, holding: Holding::All, invite })
    }

    #[test]
    fn an_invite_admits_as_often_and_as_long_as_it_says() {
        let mut roster = begun();
        let b = PeerId([2; 32]);
        assert_eq!(roster.admits(b, b"secret", 0), Err(NotAdmitted::Unknown));
        roster.apply(&entry(1, invite(1)));
        assert_eq!(roster.admits(b, b"other", 0), Err(NotAdmitted::Unknown));
        assert_eq!(roster.admits(b, b"secret", 100), Err(NotAdmitted::Expired));
        assert_eq!(roster.admits(b, b"secret", 99), Ok(Role::Writer));
        roster.apply(&entry(1, joins(2)));
        assert_eq!(roster.admits(PeerId([3; 32]), b"secret", 99), Err(NotAdmitted::Used));
        assert_eq!(roster.admits(b, b"secret", 99), Ok(Role::Writer), "asking twice is harmless");
    }

    /// Whoever invites may be away, so every member that knows of an invite can admit by it; by two members apart
    /// more may come than it says. Only writers invite, remove and write.
    #[test]
    fn every_member_admits_and_only_writers_write() {
        for role in [Role::Mirror, Role::Vault] {
            let mut roster = begun();
            let info = MemberInfo { name: "c".into(), role, holding: Holding::All };
            roster.members.insert(PeerId([3; 32]), info);
            roster.apply(&entry(1, invite(1)));
            let not_its_role = Err(NotAllowed::Role(PeerId([3; 32])));
            let patch = Patch::new(NodeId([9; 32]));
            assert_eq!(roster.permits(&entry(3, Body::Patches(vec![patch]))), not_its_role);
            assert_eq!(roster.permits(&entry(3, invite(1))), not_its_role);
            assert_eq!(roster.permits(&entry(3, Body::Remove(PeerId([1; 32])))), not_its_role);
            assert_eq!(roster.permits(&entry(3, Body::Patches(Vec::new()))), Ok(()), "it only names others");
            roster.apply(&entry(1, joins(2)));
            assert_eq!(roster.permits(&entry(3, joins(4))), Ok(()));
        }
    }

    #[test]
    fn a_peer_admitted_twice_keeps_the_better_rights_in_any_order() {
        let as_role = |role, name: &str| {
            let (peer, invite) = (PeerId([2; 32]), Invite::id_of(b"secret"));
            entry(1, Body::Member(Member { peer, name: name.into(), role, holding: Holding::All, invite }))
        };
        let better =
            [(Role::Writer, "b"), (Role::Thin, "b"), (Role::Mirror, "b"), (Role::Vault, "b"), (Role::Vault, "c")];
        let removal = entry(1, Body::Remove(PeerId([2; 32])));
        for (at, (role, name)) in better.into_iter().enumerate() {
            for (other, other_name) in better.into_iter().skip(at) {
                let (one, two) = (as_role(role, name), as_role(other, other_name));
                let orders =
                    [[&one, &two, &removal], [&two, &one, &removal], [&one, &removal, &two], [&two, &removal, &one]];
                let rosters = orders.map(|order| {
                    let mut roster = begun();
                    for entry in order {
                        roster.apply(entry);
                    }
                    roster
                });
                assert!(rosters.iter().all(|roster| *roster == rosters[0]));
                let kept = &rosters[0].removed[&PeerId([2; 32])];
                assert_eq!((kept.role, kept.name.as_str()), (role, name));
            }
        }
    }

    #[test]
    fn strangers_append_nothing_and_removed_peers_are_not_admitted_again() {
        let mut roster = begun();
        let b = PeerId([2; 32]);
        assert_eq!(roster.permits(&entry(2, Body::Patches(Vec::new()))), Err(NotAllowed::Stranger(b)));
        assert_eq!(roster.permits(&entry(1, joins(2))), Err(NotAllowed::NoInvite));
        roster.apply(&entry(1, invite(1)));
        assert_eq!(roster.permits(&entry(1, joins(2))), Ok(()));
        roster.apply(&entry(1, joins(2)));
        assert_eq!(roster.permits(&entry(2, Body::Patches(Vec::new()))), Ok(()));
        roster.apply(&entry(1, Body::Remove(b)));
        assert_eq!(roster.permits(&entry(2, Body::Patches(Vec::new()))), Ok(()), "others may have had it before");
        roster.apply(&entry(1, joins(2)));
        assert!(!roster.members.contains_key(&b), "a removal stands");
        assert_eq!(roster.admits(b, b"secret", 0), Err(NotAdmitted::Removed));
    }
}
