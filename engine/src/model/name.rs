//! Names of files: single path components as the kernel gives them, checked once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_BYTES_MAX;

/// What stands between a name and what is shown beside it in a name fork: `p~pfs~1a2b3c4d`.
pub const BESIDE: &str = "~pfs~";

/// The directory of pfs's own at the root of every tracked tree; never tracked.
pub const RESERVED: &[u8] = b".pfs";

/// One path component: 1–255 bytes, not necessarily UTF-8; without `/`, NUL and control characters;
/// not `.`, `..` or `.pfs`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Name(Box<[u8]>);

/// Why bytes are not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No bytes at all.
    #[error("the name is empty")]
    Empty,
    /// More than 255 bytes.
    #[error("the name has {0} bytes, more than {NAME_BYTES_MAX}")]
    TooLong(usize),
    /// `/`, NUL or a control character.
    #[error("the name holds the byte {0:#04x}, which pfs does not carry")]
    Forbidden(u8),
    /// `.`, `..` or `.pfs`.
    #[error("the name is reserved")]
    Reserved,
}

impl Name {
    /// The bytes as the kernel takes them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Name {
    type Error = NameError;

    fn try_from(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(bytes.len()));
        }
        if let Some(&byte) = bytes.iter().find(|&&b| b < 0x20 || b == 0x7f || b == b'/') {
            return Err(NameError::Forbidden(byte));
        }
        if bytes == b"." || bytes == b".." || bytes == RESERVED {
            return Err(NameError::Reserved);
        }
        Ok(Self(bytes.into()))
    }
}

impl TryFrom<Vec<u8>> for Name {
    type Error = NameError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, NameError> {
        Self::try_from(bytes.as_slice())
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.as_bytes())
    }
}

impl From<Name> for Vec<u8> {
    fn from(name: Name) -> Self {
        name.0.into_vec()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// A path below a volume's root: names from the top down. Empty: the root itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelPath(pub Vec<Name>);

impl RelPath {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// `a/b/c` as names.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        let parts = bytes.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
        parts.map(Name::try_from).collect::<Result<_, _>>().map(Self)
    }

    /// This path with one more component.
    #[must_use]
    pub fn join(&self, name: &Name) -> Self {
        Self(self.0.iter().chain([name]).cloned().collect())
    }

    /// The directory that holds it, and its name there; nothing for the root.
    pub fn split_last(&self) -> Option<(Self, &Name)> {
        self.0.split_last().map(|(name, folder)| (Self(folder.to_vec()), name))
    }

    /// The bytes with `/` between the names.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/')
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}
