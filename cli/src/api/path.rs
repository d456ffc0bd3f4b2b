//! Paths and names as they travel in JSON and are shown to people. Names on disk are bytes, JSON strings are
//! not: bytes that are not UTF-8 are written `\xNN` and a backslash is written `\\`, so nothing is lost.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A path or name as raw bytes. In JSON it is a string with `\xNN` for bytes that are not UTF-8 and `\\` for
/// a backslash; the plain output escapes control characters too.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RawPath(Vec<u8>);

impl RawPath {
    /// The bytes as the kernel takes them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What follows the last `/`.
    pub(crate) fn last(&self) -> Self {
        let start = self.0.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        Self(self.0[start..].to_vec())
    }

    /// The reversible text form that JSON carries.
    fn escaped(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for part in self.0.utf8_chunks() {
            text.push_str(&part.valid().replace('\\', r"\\"));
            for byte in part.invalid() {
                write!(text, "\\x{byte:02x}").expect("a string takes every write");
            }
        }
        text
    }

    /// The inverse of `escaped`; nothing where a backslash is followed by anything else.
    pub(crate) fn unescape(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            bytes.extend_from_slice(before.as_bytes());
            if let Some(tail) = after.strip_prefix('\\') {
                bytes.push(b'\\');
                rest = tail;
            } else {
                let digits = after.strip_prefix('x')?.get(..2)?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &after[3..];
            }
        }
        bytes.extend_from_slice(rest.as_bytes());
        Some(Self(bytes))
    }
}

impl From<&Path> for RawPath {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<&OsStr> for RawPath {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&str> for RawPath {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for RawPath {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// The text form. It may hold control characters: printing is the `ui`'s, which escapes those.
impl fmt::Display for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped())
    }
}

impl Serialize for RawPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.escaped())
    }
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::unescape(&text).ok_or_else(|| de::Error::custom(format!("a stray backslash in {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::RawPath;

    #[test]
    fn every_byte_survives_the_text_form() {
        let all: Vec<u8> = (0..=255).chain(*b"\\x41 \\\\ caf\xc3\xa9").collect();
        let text = serde_json::to_string(&RawPath::from(all.clone())).unwrap();
        assert_eq!(serde_json::from_str::<RawPath>(&text).unwrap().as_bytes(), all);
        assert_eq!(RawPath::from(b"caf\xe9 \\".to_vec()).to_string(), r"caf\xe9 \\");
    }

    #[test]
    fn stray_backslashes_are_refused() {
        for text in ["\\", "\\x", "\\x4", "\\xg0", "\\n", "a\\xé"] {
            assert!(RawPath::unescape(text).is_none(), "{text}");
        }
    }
}
