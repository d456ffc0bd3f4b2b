//! Patches: one change of one node, as values and what they supersede.
//!
//! A patch names no peer and no time: two peers that make the same change make the same patch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{ChunkId, NodeId, PatchId, VolumeId};
use super::name::Name;
use super::time::Mtime;
use crate::limits::{SUPERSEDES_MAX, SYMLINK_BYTES_MAX, XATTR_BYTES_MAX};

/// One of a node's three versioned facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Register {
    /// Where it stands.
    Place,
    /// What it is.
    Content,
    /// Mode and extended attributes.
    Attr,
}

impl Register {
    /// All three, in canonical order; `ALL[r as usize] == r`.
    pub const ALL: [Self; 3] = [Self::Place, Self::Content, Self::Attr];
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// In a directory, under a name.
    At {
        /// The directory's node.
        parent: NodeId,
        /// The name there.
        name: Name,
    },
    /// Deleted.
    Nowhere,
}

/// Where a file's bytes are: the root of its manifest.
///
/// At depth 0 `id` is the only chunk itself; at depth 1 it is a chunk that lists pieces of the file; at depth
/// n one that lists lists of depth n − 1. An empty file has depth 0 and the id of no bytes, which is never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Root {
    /// The chunk.
    pub id: ChunkId,
    /// Levels of lists above the data.
    pub depth: u8,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Content {
    /// A regular file.
    File {
        /// Bytes.
        len: u64,
        /// Its manifest.
        root: Root,
        /// Travels with the bytes, never compared.
        mtime: Mtime,
    },
    /// A symbolic link; the target is opaque bytes, never followed.
    Symlink {
        /// As `readlink` gives it.
        target: Vec<u8>,
    },
    /// A directory. A node that is one stays one.
    Dir,
    /// Deleted.
    Gone,
}

/// Mode and extended attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attr {
    /// Permission bits, `0o777` at the most.
    pub mode: u16,
    /// `user.*` only, by full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The value of any register.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    /// Of the place register.
    Place(Place),
    /// Of the content register.
    Content(Content),
    /// Of the attr register.
    Attr(Attr),
}

impl Value {
    /// Whether it says that the node is deleted.
    pub fn is_dead(&self) -> bool {
        matches!(self, Self::Place(Place::Nowhere) | Self::Content(Content::Gone))
    }

    /// Equality of values: everything but the mtime.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Content(a), Self::Content(b)) => a.same(b),
            _ => self == other,
        }
    }
}

impl Content {
    /// Equality of contents: everything but the mtime.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { len, root, .. }, Self::File { len: other_len, root: other_root, .. }) => {
                (len, root) == (other_len, other_root)
            }
            _ => self == other,
        }
    }
}

/// For each register the patches that a patch supersedes, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Supersedes([Vec<PatchId>; 3]);

impl Supersedes {
    /// The superseded patches of one register.
    pub fn of(&self, register: Register) -> &[PatchId] {
        &self.0[register as usize]
    }

    /// Sets the superseded patches of one register; order and repetition do not matter.
    pub fn set(&mut self, register: Register, patches: impl IntoIterator<Item = PatchId>) {
        let mut list: Vec<_> = patches.into_iter().collect();
        list.sort_unstable();
        list.dedup();
        self.0[register as usize] = list;
    }
}

/// One change of one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Patch {
    /// Which node.
    pub node: NodeId,
    /// What it supersedes, register by register; nothing in a register that it does not set.
    pub supersedes: Supersedes,
    /// The new place, if it sets one.
    pub place: Option<Place>,
    /// The new content, if it sets one.
    pub content: Option<Content>,
    /// The new attributes, if it sets them.
    pub attr: Option<Attr>,
    /// Of a delete: the directory delete that it is part of.
    pub within: Option<PatchId>,
    /// Of a birth: the salt with which its node's id was made.
    pub born: Option<u32>,
}

/// Why a patch cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The id of its node is not the hash of where it was born.
    #[error("the birth of {0:?} does not hash to it")]
    ForgedBirth(NodeId),
    /// It changes the root, which has no registers.
    #[error("a patch of the root")]
    OfRoot,
    /// It sets no register.
    #[error("the patch of {0:?} sets nothing")]
    Empty(NodeId),
    /// It supersedes patches in a register that it does not set, too many, or in disorder.
    #[error("the patch of {0:?} supersedes out of form")]
    Supersedes(NodeId),
    /// A value out of its bounds.
    #[error("the patch of {0:?} holds a value out of bounds")]
    Value(NodeId),
}

impl NodeId {
    /// The id of a node born under `parent` as `name`; `salt` tells successive births in one place apart.
    pub fn born(volume: VolumeId, parent: Self, name: &Name, is_dir: bool, salt: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("pfs v1 node");
        hasher.update(&volume.0).update(&parent.0).update(&[u8::from(is_dir)]).update(&salt.to_le_bytes());
        Self(hasher.update(name.as_bytes()).finalize().into())
    }
}

impl Patch {
    /// A patch of `node` that sets nothing yet.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            supersedes: Supersedes::default(),
            place: None,
            content: None,
            attr: None,
            within: None,
            born: None,
        }
    }

    /// Its content id.
    pub fn id(&self) -> PatchId {
        PatchId::derive("pfs v1 patch", &super::codec::encode(self))
    }

    /// The value it gives a register.
    pub fn value(&self, register: Register) -> Option<Value> {
        match register {
            Register::Place => self.place.clone().map(Value::Place),
            Register::Content => self.content.clone().map(Value::Content),
            Register::Attr => self.attr.clone().map(Value::Attr),
        }
    }

    /// Whether it sets a register.
    pub fn sets(&self, register: Register) -> bool {
        match register {
            Register::Place => self.place.is_some(),
            Register::Content => self.content.is_some(),
            Register::Attr => self.attr.is_some(),
        }
    }

    /// Everything that can be checked without knowing other patches. What comes from a peer passes here first.
    pub fn check(&self, volume: VolumeId) -> Result<(), PatchError> {
        let node = self.node;
        if node == NodeId::ROOT {
            return Err(PatchError::OfRoot);
        }
        if !Register::ALL.into_iter().any(|r| self.sets(r)) {
            return Err(PatchError::Empty(node));
        }
        for r in Register::ALL {
            let list = self.supersedes.of(r);
            let sorted = list.windows(2).all(|pair| pair[0] < pair[1]);
            if !sorted || list.len() > SUPERSEDES_MAX || (!self.sets(r) && !list.is_empty()) {
                return Err(PatchError::Supersedes(node));
            }
        }
        let fits = match &self.content {
            Some(Content::Symlink { target }) => !target.is_empty() && target.len() <= SYMLINK_BYTES_MAX,
            Some(Content::File { mtime, root, .. }) => mtime.nanos < 1_000_000_000 && root.depth <= 8,
            _ => true,
        } && self.attr.as_ref().is_none_or(Attr::fits);
        if !fits {
            return Err(PatchError::Value(node));
        }
        self.check_birth(volume)
    }

    fn check_birth(&self, volume: VolumeId) -> Result<(), PatchError> {
        let Some(salt) = self.born else { return Ok(()) };
        let (Some(Place::At { parent, name }), Some(content), Some(_)) = (&self.place, &self.content, &self.attr)
        else {
            return Err(PatchError::ForgedBirth(self.node));
        };
        let is_dir = matches!(content, Content::Dir);
        if NodeId::born(volume, *parent, name, is_dir, salt) != self.node {
            return Err(PatchError::ForgedBirth(self.node));
        }
        Ok(())
    }
}

impl Attr {
    fn fits(&self) -> bool {
        let bytes: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.mode <= 0o777 && bytes <= XATTR_BYTES_MAX && self.xattrs.keys().all(|name| name.starts_with(b"user."))
    }
}
