//! The two wire forms of every object: JSON and MessagePack.

use super::codes::Fault;
use crate::core::refusals::Rule;
use crate::core::session::Frame;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How deep a value may be nested.
const DEPTH: usize = 64;

/// A wire form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text; binary data as base64.
    Json,
    /// MessagePack in binary frames.
    MsgPack,
}

impl Format {
    /// The media type, exactly as clients compare it.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MsgPack => "application/x-msgpack",
        }
    }

    /// Writes a value.
    pub(super) fn write(self, value: &impl Serialize) -> Vec<u8> {
        // Our own shapes always have a form; were one not to, an empty frame is ignored by clients.
        match self {
            Self::Json => serde_json::to_vec(value).unwrap_or_default(),
            Self::MsgPack => rmp_serde::to_vec_named(value).unwrap_or_default(),
        }
    }

    /// As one message on the transport.
    pub(super) fn frame(self, value: &impl Serialize) -> Frame {
        let bytes = self.write(value);
        match self {
            Self::Json => Frame::Text(String::from_utf8(bytes).unwrap_or_default().into()),
            Self::MsgPack => Frame::Binary(Bytes::from(bytes)),
        }
    }

    /// Reads a value that has been bounded in size before.
    ///
    /// # Errors
    /// 40000 when it is not of the shape.
    pub(super) fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, Fault> {
        let read = match self {
            Self::Json => serde_json::from_slice(bytes).ok(),
            Self::MsgPack => {
                let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
                reader.set_max_depth(DEPTH);
                T::deserialize(&mut reader).ok()
            }
        };
        let shape = || Fault::bad("The body is not of the expected shape");
        read.ok_or_else(|| shape().because(Rule::BadMessage))
    }
}
