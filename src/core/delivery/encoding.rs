//! Encodings: how one broadcast becomes the bytes that every subscriber of a kind gets.
//!
//! **Must never know:** any dialect; adapters bring encoders, the transport brings framing, `server` pairs them.

use crate::core::connection::Frame;
use crate::core::ids::ChannelKey;
use crate::core::message::Broadcast;
use bytes::Bytes;

/// A dialect's way of writing a broadcast, the same for all its subscribers.
pub trait Encoder: Send + Sync + 'static {
    /// The frame, or `None` when this dialect does not show this kind of broadcast. Called once per
    /// broadcast and node, not per subscriber.
    fn encode(&self, channel: &ChannelKey, broadcast: &Broadcast) -> Option<Frame>;
}

/// Names an (encoder, framing) pair within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodingId(pub u8);

/// One pair.
pub struct Encoding {
    /// The dialect's part.
    pub encoder: Box<dyn Encoder>,
    /// The transport's part: the complete bytes on the wire (server frames carry no mask).
    pub framing: fn(Frame) -> Bytes,
}

/// All encodings of this process; fixed at start.
#[derive(Default)]
pub struct Encodings {
    pairs: Vec<Encoding>,
}

impl std::fmt::Debug for Encodings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encodings({})", self.pairs.len())
    }
}

impl Encodings {
    /// Adds a pair and names it.
    pub fn add(&mut self, encoding: Encoding) -> EncodingId {
        let id = EncodingId(u8::try_from(self.pairs.len()).unwrap_or(u8::MAX));
        self.pairs.push(encoding);
        id
    }

    /// Encodes a broadcast to wire bytes.
    #[must_use]
    pub fn encode(&self, id: EncodingId, key: &ChannelKey, broadcast: &Broadcast) -> Option<Bytes> {
        let pair = self.pairs.get(usize::from(id.0))?;
        pair.encoder.encode(key, broadcast).map(pair.framing)
    }
}
