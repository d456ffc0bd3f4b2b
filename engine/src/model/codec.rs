//! Canonical bytes of every stored, hashed and sent value: postcard, and nothing but its one encoding.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not the canonical encoding of the wanted value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the encoding of a {what}")]
pub struct DecodeError {
    /// The wanted type.
    pub what: &'static str,
}

/// The canonical encoding of a value.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("our values have no maps of unknown length and no foreign serializers")
}

/// Reads a value back; refuses bytes left over and encodings that `encode` would not write.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let error = DecodeError { what: std::any::type_name::<T>() };
    match postcard::take_from_bytes::<T>(bytes) {
        Ok((value, [])) if encode(&value) == bytes => Ok(value),
        _ => Err(error),
    }
}
