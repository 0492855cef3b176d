//! Bodies: bounded while they arrive and again while they are unpacked.
//!
//! **Why the Content-Encoding header is not looked at:** clients label gzip as deflate and zlib as gzip.

use super::limits::BODY_BYTES;
use actix_web::web;
use bytes::Bytes;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use serde::de::IgnoredAny;
use std::io::Read;
use std::time::Duration;

/// Longest wait for a body.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBody {
    /// More than [`BODY_BYTES`], packed or unpacked.
    TooLarge,
    /// It did not arrive, or cannot be unpacked.
    Broken,
}

/// Reads the body of a request within its bounds.
pub(super) async fn read(payload: web::Payload) -> Result<Bytes, NoBody> {
    let limited = payload.to_bytes_limited(BODY_BYTES);
    let read = tokio::time::timeout(BODY_WITHIN, limited).await;
    let read = read.map_err(|_late| NoBody::Broken)?;
    let bytes = read.map_err(|_limit| NoBody::TooLarge)?;
    bytes.map_err(|_broken| NoBody::Broken)
}

/// Unpacks it, if it is packed: gzip and zlib say so in their first bytes; what is neither and no JSON is raw
/// deflate.
pub(super) fn unpacked(body: &Bytes) -> Result<Bytes, NoBody> {
    let mut head = body.iter().copied();
    match (head.next(), head.next()) {
        (Some(0x1f), Some(0x8b)) => inflate(GzDecoder::new(&body[..])),
        (Some(0x78), Some(second)) if (0x7800 | u16::from(second)).is_multiple_of(31) => {
            inflate(ZlibDecoder::new(&body[..]))
        }
        (None, _) => Ok(body.clone()),
        (Some(_), _) if serde_json::from_slice::<IgnoredAny>(body).is_ok() => Ok(body.clone()),
        (Some(_), _) => inflate(DeflateDecoder::new(&body[..])),
    }
}

fn inflate(packed: impl Read) -> Result<Bytes, NoBody> {
    let mut out = Vec::new();
    let limit = u64::try_from(BODY_BYTES).unwrap_or(u64::MAX);
    let read = packed.take(limit + 1).read_to_end(&mut out);
    read.map_err(|_broken| NoBody::Broken)?;
    if out.len() > BODY_BYTES {
        return Err(NoBody::TooLarge);
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    fn packed(text: &[u8]) -> [Bytes; 3] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text).unwrap();
        zlib.write_all(text).unwrap();
        raw.write_all(text).unwrap();
        let all = [gzip.finish(), zlib.finish(), raw.finish()];
        all.map(|bytes| Bytes::from(bytes.unwrap()))
    }

    #[test]
    fn every_packing_is_seen_whatever_its_label() {
        for text in [&b"{\"a\":[1,2,3]}"[..], b"\"hello\"", b"42"] {
            assert_eq!(unpacked(&Bytes::copy_from_slice(text)).unwrap(), text);
            for body in packed(text) {
                assert_eq!(unpacked(&body).unwrap(), text);
            }
        }
        assert_eq!(unpacked(&Bytes::new()).unwrap(), Bytes::new());
    }

    #[test]
    fn a_bomb_is_refused_and_garbage_too() {
        for body in packed(&vec![b' '; BODY_BYTES + 1]) {
            assert!(body.len() < 10_000);
            assert_eq!(unpacked(&body), Err(NoBody::TooLarge));
        }
        for bad in [&b"\x1f\x8bxxxx"[..], b"\x78\x9c\xff\xff", b"\x06\x07\x08"] {
            let unpacked = unpacked(&Bytes::copy_from_slice(bad));
            assert_eq!(unpacked, Err(NoBody::Broken), "{bad:?}");
        }
    }
}
