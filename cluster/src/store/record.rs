//! One stored record: `[version u8][crc32 u32 LE][body]`, the checksum taken over key and body.
//!
//! **Why the key is part of the checksum:** a record found under another key than it was written to is as damaged as
//! one with a flipped bit.

use super::StoreError;

/// Version of the envelope.
const VERSION: u8 = 1;
/// Bytes in front of the body.
const HEADER_BYTES: usize = 5;

/// Wraps `body` for storage under `key`.
pub(super) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&checksum(key, body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Unwraps what was stored under `key` of `tree`; the tree is named in the error only.
pub(super) fn open<'a>(tree: &str, key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let damaged = |what: &str| StoreError::damaged(tree, key, what);
    let (version, rest) = bytes.split_first().ok_or_else(|| damaged("it is empty"))?;
    if *version != VERSION {
        return Err(damaged("its format is not known to this version"));
    }
    let (sum, body) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| damaged("it is cut short"))?;
    if u32::from_le_bytes(*sum) != checksum(key, body) {
        return Err(damaged("its checksum does not match"));
    }
    Ok(body)
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn any_flipped_bit_and_any_other_key_is_noticed() {
        let sealed = seal(b"k", b"body");
        assert_eq!(open("t", b"k", &sealed).unwrap(), b"body");
        assert!(open("t", b"j", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone();
            bytes[at] ^= 1;
            assert!(open("t", b"k", &bytes).is_err(), "byte {at}");
            assert!(open("t", b"k", &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
