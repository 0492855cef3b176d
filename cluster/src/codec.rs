//! The one place that names bincode: `[version u8][bincode]`, with a byte limit always on.
//!
//! **Why a version byte in front of everything:** bincode cannot skip or default a field; a record is therefore a
//! frozen struct per version, and a reader must know which.

use serde::{Serialize, de::DeserializeOwned};

/// Why bytes cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No bytes at all.
    #[error("empty record")]
    Empty,
    /// A version this reader does not know.
    #[error("record version {found} (this reader knows {known})")]
    Version {
        /// What was found.
        found: u8,
        /// What is known.
        known: u8,
    },
    /// Damaged, over the limit, or with bytes left over.
    #[error("record does not decode: {0}")]
    Malformed(String),
}

/// Encodes `value` behind its version byte.
///
/// # Errors
/// When the encoding would exceed `limit` bytes.
pub fn encode<T: Serialize>(version: u8, value: &T, limit: u64) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![version];
    options(limit)
        .serialize_into(&mut bytes, value)
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    Ok(bytes)
}

/// Decodes a record of this version. The whole slice must be used up.
///
/// # Errors
/// When the version differs or the bytes are not exactly one `T` within `limit`.
pub fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8], limit: u64) -> Result<T, CodecError> {
    let (found, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *found != version {
        return Err(CodecError::Version {
            found: *found,
            known: version,
        });
    }
    options(limit)
        .deserialize(body)
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

/// Bytes that `value` takes up, without the version byte; none if it cannot be encoded.
#[must_use]
pub fn size<T: Serialize>(value: &T) -> Option<usize> {
    let size = options(u64::MAX).serialized_size(value).ok()?;
    usize::try_from(size).ok()
}

use bincode::Options as _;

fn options(limit: u64) -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_varint_encoding()
        .with_limit(limit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    #[test]
    fn a_record_carries_its_version_and_nothing_else() {
        let bytes = encode(3, &(7u8, "x"), 64).expect("small");
        assert_eq!(bytes, [3, 7, 1, b'x']);
        assert_eq!(
            decode::<(u8, String)>(3, &bytes, 64),
            Ok((7, "x".to_owned()))
        );
        assert_eq!(
            decode::<(u8, String)>(4, &bytes, 64),
            Err(CodecError::Version { found: 3, known: 4 })
        );
    }

    #[test]
    fn trailing_bytes_and_oversize_are_refused() {
        let mut bytes = encode(1, &7u8, 64).expect("small");
        bytes.push(0);
        assert!(matches!(
            decode::<u8>(1, &bytes, 64),
            Err(CodecError::Malformed(_))
        ));
        assert!(encode(1, &[0u64; 100].as_slice(), 8).is_err());
    }
}
