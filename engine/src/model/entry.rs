//! Entries: what a peer appends to its log. Chained by hash, signed, and naming what they depend on.
//!
//! A signature covers the ids of the patches, not their bytes, so that a store can keep each patch once.

use serde::{Deserialize, Serialize};

use super::codec::encode;
use super::ids::{EntryHash, LogId, PatchId, PeerId, VolumeId};
use super::keys::Keypair;
use super::patch::{Patch, PatchError};
use super::time::Time;
use crate::limits::{CALLED_BYTES_MAX, ENTRY_DEPS_MAX, ENTRY_PATCHES_MAX};

/// What a member may do in a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Reads and writes.
    Writer,
    /// Follows; its log holds no patches.
    Mirror,
    /// Stores; has no tree.
    Vault,
    /// Writes through other peers; holds nothing.
    Thin,
}

impl Role {
    /// Whether its entries may hold patches.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Writer | Self::Thin)
    }
}

/// How much of a volume's contents a member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Holding {
    /// A full copy.
    All,
    /// What placement gives it, what it wrote, what it uses.
    Share,
    /// Nothing.
    None,
}

/// The first words of a volume; its id is their hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// What people call the volume.
    pub name: String,
    /// Who made it; its first member.
    pub creator: PeerId,
    /// What people call that peer.
    pub creator_name: String,
    /// Random, so that two volumes of one name differ.
    pub nonce: [u8; 16],
    /// How many replicas of each content are wanted.
    pub replicas: u8,
}

/// A right to join, to be used by whoever knows the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// `B3["pfs v1 invite"](secret)`: says which invite without telling the secret.
    pub id: [u8; 32],
    /// What who joins may do.
    pub role: Role,
    /// How many may join by it.
    pub uses: u32,
    /// Until when, wall clock.
    pub expires_ms: u64,
}

/// A peer becomes a member; appended by the member that admits it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub peer: PeerId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it holds.
    pub holding: Holding,
    /// By which invite.
    pub invite: [u8; 32],
}

/// What an entry says. New kinds are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The volume begins. Only as entry 1 of its creator's first log.
    Genesis(Genesis),
    /// Changes of nodes, captured together.
    Patches(Vec<Patch>),
    /// An invite is open.
    Invite(Invite),
    /// A peer is a member.
    Member(Member),
    /// A peer is no member any more.
    Remove(PeerId),
    /// Of another log of the same author, there are two forms; this one is given up for the other.
    Withdraw(Withdraw),
}

/// A peer whose disk went back in time continued a log that it had continued before. It copies what others have not
/// into a new log and gives up that form of the old one, so that all take the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// Which log.
    pub log: LogId,
    /// The first entry in which its forms differ.
    pub seq: u64,
    /// The hash of that entry in the form that is given up.
    pub hash: EntryHash,
}

/// One entry of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of which volume.
    pub volume: VolumeId,
    /// In whose log.
    pub log: LogId,
    /// Its number there, from 1, without gaps.
    pub seq: u64,
    /// The hash of entry `seq − 1`, or `EntryHash::NONE`.
    pub prev: EntryHash,
    /// What its author had of other logs and had not already named in this one.
    pub deps: Vec<(LogId, u64)>,
    /// By its author's clock: later than all that its author had of other logs, and no earlier than the entry before
    /// it; those of one commit have one time. Whoever takes it in asks `is_dated_after`.
    pub time: Time,
    /// What it says.
    pub body: Body,
}

/// An entry with its author's signature over its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedEntry {
    /// The entry.
    pub entry: Entry,
    /// Ed25519, in two halves for the encoder's sake.
    pub signature: ([u8; 32], [u8; 32]),
}

/// Why an entry is refused whatever else is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The signature is not the author's.
    #[error("entry {seq} of {origin:?} is not signed by it")]
    Signature {
        /// Whose log.
        origin: PeerId,
        /// Which entry.
        seq: u64,
    },
    /// Numbers or lists out of bounds.
    #[error("entry {seq} of {origin:?} is out of bounds")]
    Bounds {
        /// Whose log.
        origin: PeerId,
        /// Which entry.
        seq: u64,
    },
    /// What it calls a peer or a volume is too long, or would do things to a terminal.
    #[error("entry {seq} of {origin:?} calls something by what cannot be a name")]
    Name {
        /// Whose log.
        origin: PeerId,
        /// Which entry.
        seq: u64,
    },
    /// One of its patches cannot be one.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

impl Genesis {
    /// The id of the volume that begins so.
    pub fn volume(&self) -> VolumeId {
        VolumeId::derive("pfs v1 volume", &encode(self))
    }

    /// Whether it calls things by what can be names; to be asked before anything is made for it.
    pub fn check(&self) -> Result<(), EntryError> {
        let fits = is_called(&self.name) && is_called(&self.creator_name);
        if fits { Ok(()) } else { Err(EntryError::Name { origin: self.creator, seq: 1 }) }
    }
}

impl Invite {
    /// The id under which an invite with this secret is published.
    pub fn id_of(secret: &[u8]) -> [u8; 32] {
        blake3::derive_key("pfs v1 invite", secret)
    }
}

/// What the hash of an entry covers of its body.
#[derive(Serialize)]
enum Digest<'a> {
    Patches(&'a [PatchId]),
    Other(&'a Body),
}

impl Entry {
    /// The link of the chain and what is signed.
    pub fn hash(&self) -> EntryHash {
        self.hash_with(&self.patches().iter().map(Patch::id).collect::<Vec<_>>())
    }

    /// The same for whoever has worked out the ids of its patches, in their order.
    pub fn hash_with(&self, patches: &[PatchId]) -> EntryHash {
        let digest = match &self.body {
            Body::Patches(_) => Digest::Patches(patches),
            other => Digest::Other(other),
        };
        let bytes = encode(&(self.volume, self.log, self.seq, self.prev, &self.deps, self.time, digest));
        EntryHash::derive("pfs v1 entry", &bytes)
    }

    /// Signs it with its author's key.
    pub fn sign(self, keys: &Keypair) -> SignedEntry {
        debug_assert_eq!(keys.peer(), self.log.origin, "a peer signs only its own log");
        let bytes = keys.sign(&self.hash().0);
        let (low, high) = bytes.split_at(32);
        let half = |part: &[u8]| part.try_into().expect("half of 64 bytes");
        SignedEntry { signature: (half(low), half(high)), entry: self }
    }

    /// Its patches; none where it is about members.
    pub fn patches(&self) -> &[Patch] {
        match &self.body {
            Body::Patches(patches) => patches,
            Body::Genesis(_) | Body::Invite(_) | Body::Member(_) | Body::Remove(_) | Body::Withdraw(_) => &[],
        }
    }
}

impl Entry {
    /// Whether its time fits: later than each entry of others that it depends on, no earlier than those of its author:
    /// the one before it, and those in other logs. Everything that asks what came before something else relies on it.
    pub fn is_dated_after(&self, before: Option<Time>, deps: impl IntoIterator<Item = (LogId, Time)>) -> bool {
        let fits = |(log, time): (LogId, Time)| {
            if log.origin == self.log.origin { time <= self.time } else { time < self.time }
        };
        before.is_none_or(|before| before <= self.time) && deps.into_iter().all(fits)
    }

    /// Everything that can be checked without its signature and other entries: bounds, names, patches. Its author
    /// asks as well, before it signs: an entry that others refuse is the last of its log.
    pub fn check(&self) -> Result<(), EntryError> {
        let Self { volume, log, seq, prev, deps, body, .. } = self;
        let (origin, seq) = (log.origin, *seq);
        let first = (seq == 1) == (*prev == EntryHash::NONE);
        let own = deps.iter().any(|(dep, _)| dep == log);
        if seq == 0 || !first || own || deps.len() > ENTRY_DEPS_MAX || self.patches().len() > ENTRY_PATCHES_MAX {
            return Err(EntryError::Bounds { origin, seq });
        }
        if let Body::Genesis(genesis) = body
            && (genesis.volume() != *volume || genesis.creator != origin || seq != 1 || !deps.is_empty())
        {
            return Err(EntryError::Bounds { origin, seq });
        }
        match body {
            Body::Genesis(genesis) => genesis.check()?,
            Body::Member(member) if !is_called(&member.name) => return Err(EntryError::Name { origin, seq }),
            Body::Withdraw(given) if given.log.origin != origin || given.log == *log || given.seq < 2 => {
                return Err(EntryError::Bounds { origin, seq });
            }
            Body::Member(_) | Body::Patches(_) | Body::Invite(_) | Body::Remove(_) | Body::Withdraw(_) => {}
        }
        self.patches().iter().try_for_each(|patch| patch.check(*volume).map_err(EntryError::from))
    }
}

/// Whether people may call a peer or a volume so.
fn is_called(name: &str) -> bool {
    name.len() <= CALLED_BYTES_MAX && !name.contains(char::is_control)
}

impl SignedEntry {
    /// Everything that can be checked without knowing other entries: that of `Entry::check`, and the signature.
    pub fn check(&self) -> Result<(), EntryError> {
        self.entry.check()?;
        let (origin, seq) = (self.entry.log.origin, self.entry.seq);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&self.signature.0);
        signature[32..].copy_from_slice(&self.signature.1);
        if !origin.verifies(&self.entry.hash().0, &signature) {
            return Err(EntryError::Signature { origin, seq });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
