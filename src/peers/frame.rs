//! Frames between nodes: `[u32 length, big endian][kind u8][codec record: version u8, body]`.
//!
//! **Why payloads are copied out of the read buffer:** a 200-byte publication kept in a history ring would pin
//! the whole buffer it was read from.

use super::repair::Copies;
use crate::core::channel::replica::protocol::PeerMessage;
use crate::core::ids::ChannelKey;
use crate::core::query::{Query, QueryAnswer};
use bytes::{Buf as _, BytesMut};
use gatecast_cluster::codec::{self, CodecError};
use std::sync::Arc;

/// Longest frame, bytes, without its length field.
pub const MAX_FRAME: usize = 16 << 20;
/// Version of all bodies. A new one means a new decoder beside the old.
const VERSION: u8 = 2;
const LENGTH: usize = 4;

/// One frame on a link between nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// For a channel's actor.
    Channel {
        /// The channel it is about.
        key: Arc<ChannelKey>,
        /// The message, for the replica on the other node.
        message: PeerMessage,
    },
    /// A question apart from any channel.
    Query {
        /// Comes back with the answer.
        id: u64,
        /// The question itself.
        query: Query,
    },
    /// Its answer; none when it cannot be answered.
    QueryAnswer {
        /// From the question.
        id: u64,
        /// What was found.
        found: Option<QueryAnswer>,
    },
    /// A sign of life.
    Alive,
    /// What the sender has in channels whose home the receiver is: one number for each bucket.
    Digest(Vec<u64>),
    /// Buckets in which that was not what the receiver had heard: both say again what they have there.
    Differs(Vec<u8>),
    /// How many copies are missing at the receiver.
    Copies(Copies),
}

/// Why bytes are not a frame. The link ends: what follows cannot be understood either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`], or empty.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// A kind this version does not know.
    #[error("frame kind {0}")]
    Kind(u8),
    /// The body does not decode.
    #[error(transparent)]
    Body(#[from] CodecError),
}

const CHANNEL: u8 = 1;
const QUERY: u8 = 2;
const QUERY_ANSWER: u8 = 3;
const ALIVE: u8 = 4;
const DIGEST: u8 = 5;
const DIFFERS: u8 = 6;
const COPIES: u8 = 7;

#[cfg(test)]
thread_local! {
    /// How many messages of channels this thread has encoded.
    pub(super) static ENCODED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Encodes a channel's message without owning it.
///
/// # Errors
/// When it would be longer than [`MAX_FRAME`].
pub fn encode_channel(key: &Arc<ChannelKey>, message: &PeerMessage) -> Result<Vec<u8>, FrameError> {
    #[cfg(test)]
    ENCODED.with(|count| count.set(count.get() + 1));
    whole(CHANNEL, &(key, message))
}

/// Encodes any frame, length included.
///
/// # Errors
/// When it would be longer than [`MAX_FRAME`].
pub fn encode(frame: &Frame) -> Result<Vec<u8>, FrameError> {
    match frame {
        Frame::Channel { key, message } => encode_channel(key, message),
        Frame::Query { id, query } => whole(QUERY, &(id, query)),
        Frame::QueryAnswer { id, found } => whole(QUERY_ANSWER, &(id, found)),
        Frame::Alive => whole(ALIVE, &()),
        Frame::Digest(digest) => whole(DIGEST, digest),
        Frame::Differs(buckets) => whole(DIFFERS, buckets),
        Frame::Copies(copies) => whole(COPIES, copies),
    }
}

fn whole<T: serde::Serialize>(kind: u8, body: &T) -> Result<Vec<u8>, FrameError> {
    let limit = u64::try_from(MAX_FRAME - 2).unwrap_or(u64::MAX);
    let body = codec::encode(VERSION, body, limit)?;
    let length = u32::try_from(body.len() + 1).map_err(|_| FrameError::Length(body.len()))?;
    let mut bytes = Vec::with_capacity(LENGTH + 1 + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Takes the next whole frame from the front of `bytes`; `None` when more must be read first.
///
/// # Errors
/// When what is there is no frame.
pub fn take(bytes: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some((head, _)) = bytes.split_first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_FRAME {
        return Err(FrameError::Length(length));
    }
    if bytes.len() < LENGTH + length {
        return Ok(None);
    }
    bytes.advance(LENGTH);
    let frame = bytes.split_to(length);
    decode(&frame).map(Some)
}

fn decode(frame: &[u8]) -> Result<Frame, FrameError> {
    let (kind, body) = frame.split_first().ok_or(FrameError::Length(0))?;
    let limit = u64::try_from(MAX_FRAME).unwrap_or(u64::MAX);
    match *kind {
        CHANNEL => {
            let (key, message) = codec::decode(VERSION, body, limit)?;
            Ok(Frame::Channel { key, message })
        }
        QUERY => {
            let (id, query) = codec::decode(VERSION, body, limit)?;
            Ok(Frame::Query { id, query })
        }
        QUERY_ANSWER => {
            let (id, found) = codec::decode(VERSION, body, limit)?;
            Ok(Frame::QueryAnswer { id, found })
        }
        ALIVE => {
            let () = codec::decode(VERSION, body, limit)?;
            Ok(Frame::Alive)
        }
        DIGEST => codec::decode(VERSION, body, limit)
            .map(Frame::Digest)
            .map_err(FrameError::from),
        DIFFERS => codec::decode(VERSION, body, limit)
            .map(Frame::Differs)
            .map_err(FrameError::from),
        COPIES => codec::decode(VERSION, body, limit)
            .map(Frame::Copies)
            .map_err(FrameError::from),
        other => Err(FrameError::Kind(other)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::core::channel::replica::protocol::LeftConnection;
    use crate::core::ids::{AppId, ConnectionId};
    use proptest::prelude::*;

    fn left() -> Frame {
        Frame::Channel {
            key: ChannelKey::channel(AppId(7), "room"),
            message: PeerMessage::Left(LeftConnection {
                connection: ConnectionId(3, 4),
                gone: true,
                subscribers: 5,
            }),
        }
    }

    #[test]
    fn the_bytes_of_a_frame_are_frozen() {
        let bytes = encode(&left()).unwrap();
        let mut golden = vec![0, 0, 0, 13, CHANNEL, VERSION, 7, 0, 4];
        golden.extend_from_slice(b"room");
        golden.extend_from_slice(&[4, 3, 4, 1, 5]);
        golden[3] = u8::try_from(golden.len() - 4).unwrap();
        assert_eq!(bytes, golden);
    }

    #[test]
    fn what_is_said_of_digests_and_copies_is_frozen() {
        let copies = Copies {
            start: 7,
            placed: true,
            missing: 3,
        };
        let all = [
            (Frame::Digest(vec![1, 2]), vec![DIGEST, VERSION, 2, 1, 2]),
            (Frame::Differs(vec![9]), vec![DIFFERS, VERSION, 1, 9]),
            (Frame::Copies(copies), vec![COPIES, VERSION, 7, 1, 3]),
        ];
        for (frame, body) in all {
            let bytes = encode(&frame).unwrap();
            assert_eq!(bytes[LENGTH..], body, "{frame:?}");
            let mut bytes = BytesMut::from(&bytes[..]);
            assert_eq!(take(&mut bytes), Ok(Some(frame)));
        }
    }

    #[test]
    fn frames_come_out_whole_however_they_were_cut() {
        let mut all = encode(&left()).unwrap();
        all.extend(encode(&Frame::Alive).unwrap());
        let mut buffer = BytesMut::new();
        let mut out = Vec::new();
        for byte in all {
            buffer.extend_from_slice(&[byte]);
            out.extend(take(&mut buffer).unwrap());
        }
        assert_eq!(out, [left(), Frame::Alive]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_length_above_the_cap_is_refused_before_anything_is_kept() {
        let mut bytes = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 1][..]);
        assert_eq!(take(&mut bytes), Err(FrameError::Length(0xffff_ffff)));
        let mut bytes = BytesMut::from(&[0, 0, 0, 2, 99, 1][..]);
        assert_eq!(take(&mut bytes), Err(FrameError::Kind(99)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(kind in 0u8..6, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut frame = u32::try_from(body.len() + 2).unwrap().to_be_bytes().to_vec();
            frame.extend([kind, VERSION]);
            frame.extend(&body);
            let _ = take(&mut BytesMut::from(&frame[..]));
            let _ = take(&mut BytesMut::from(&body[..]));
        }

        #[test]
        fn a_damaged_frame_is_an_error_or_a_frame_never_a_panic(at in 4usize..20, flip in 1u8..) {
            let mut bytes = encode(&left()).unwrap();
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= flip;
            let _ = take(&mut BytesMut::from(&bytes[..]));
        }
    }
}
