//! Encodings: how one broadcast becomes the bytes that every subscriber of a kind gets.
//!
//! **Must never know:** any dialect; adapters bring encoders, the transport brings framing, `server` pairs them.

use crate::core::ids::ChannelKey;
use crate::core::message::Broadcast;
use crate::core::session::Frame;
use bytes::Bytes;
use std::sync::Arc;

/// A dialect's way of writing a broadcast, the same for all its subscribers.
pub trait Encoder: Send + Sync + 'static {
    /// The frame, or `None` when this dialect does not show this kind of broadcast. Called once per
    /// broadcast and node, not per subscriber.
    fn encode(&self, channel: &ChannelKey, broadcast: &Broadcast) -> Option<Frame>;
}

/// Names an (encoder, framing) pair within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodingId(pub u8);

/// A broadcast in several encodings. Mostly there is one, and that takes no memory of its own.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    first: Option<(EncodingId, Bytes)>,
    others: Option<Arc<Vec<(EncodingId, Bytes)>>>,
}

impl Frames {
    fn push(&mut self, frame: (EncodingId, Bytes)) {
        match (&mut self.first, &mut self.others) {
            (first @ None, _) => *first = Some(frame),
            (Some(_), Some(others)) => Arc::make_mut(others).push(frame),
            (Some(_), others @ None) => *others = Some(Arc::new(vec![frame])),
        }
    }

    /// Each encoding's bytes.
    pub fn iter(&self) -> impl Iterator<Item = &(EncodingId, Bytes)> {
        self.first
            .iter()
            .chain(self.others.iter().flat_map(|others| others.iter()))
    }

    /// The bytes in this encoding.
    #[must_use]
    pub fn of(&self, encoding: EncodingId) -> Option<&Bytes> {
        let found = self.iter().find(|(id, _)| *id == encoding);
        found.map(|(_, bytes)| bytes)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl FromIterator<(EncodingId, Bytes)> for Frames {
    fn from_iter<I: IntoIterator<Item = (EncodingId, Bytes)>>(frames: I) -> Self {
        let mut all = Self::default();
        for frame in frames {
            all.push(frame);
        }
        all
    }
}

/// A way in which broadcasts are encoded: a dialect's encoder and a transport's framing.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_finds_its_own_bytes() {
        for count in 0..4_u8 {
            let all = (0..count).map(|id| (EncodingId(id), Bytes::from(vec![id])));
            let frames: Frames = all.collect();
            assert_eq!(frames.is_empty(), count == 0);
            assert_eq!(frames.iter().count(), usize::from(count));
            for id in 0..4 {
                let found = frames.of(EncodingId(id)).map(|bytes| &**bytes);
                assert_eq!(found, (id < count).then_some(&[id][..]));
            }
        }
    }
}
