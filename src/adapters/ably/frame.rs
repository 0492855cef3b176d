//! ProtocolMessages: what stands in a WebSocket message.
//!
//! Absent is absent: a `null` would mean something to clients.

use super::codes::Fault;
use super::limits;
use super::member::PresenceMessage;
use super::message::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The numbers of actions.
pub(super) mod action {
    pub(in super::super) const HEARTBEAT: u8 = 0;
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const NACK: u8 = 2;
    pub(in super::super) const CONNECTED: u8 = 4;
    pub(in super::super) const DISCONNECT: u8 = 5;
    pub(in super::super) const DISCONNECTED: u8 = 6;
    pub(in super::super) const CLOSE: u8 = 7;
    pub(in super::super) const CLOSED: u8 = 8;
    pub(in super::super) const ERROR: u8 = 9;
    pub(in super::super) const ATTACH: u8 = 10;
    pub(in super::super) const ATTACHED: u8 = 11;
    pub(in super::super) const DETACH: u8 = 12;
    pub(in super::super) const DETACHED: u8 = 13;
    pub(in super::super) const PRESENCE: u8 = 14;
    pub(in super::super) const MESSAGE: u8 = 15;
    pub(in super::super) const SYNC: u8 = 16;
    pub(in super::super) const AUTH: u8 = 17;
    pub(in super::super) const OBJECT: u8 = 19;
    pub(in super::super) const OBJECT_SYNC: u8 = 20;
    pub(in super::super) const ANNOTATION: u8 = 21;
}

/// The bits of flags.
pub(super) mod flag {
    pub(in super::super) const HAS_PRESENCE: u64 = 1;
    pub(in super::super) const HAS_BACKLOG: u64 = 1 << 1;
    pub(in super::super) const RESUMED: u64 = 1 << 2;
    pub(in super::super) const ATTACH_RESUME: u64 = 1 << 5;
}

/// One frame. What is `None` is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ProtocolMessage {
    pub(super) action: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) channel_serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connection_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub(super) connection_details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub(super) error: Option<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flags: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) msg_serial: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) messages: Option<Vec<Message>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) presence: Option<Vec<PresenceMessage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) params: Option<BTreeMap<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth: Option<Auth>,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub(super) res: Option<Vec<Accepted>>,
}

/// A token handed in.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Auth {
    pub(super) access_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

/// What an acknowledged frame came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Accepted {
    pub(super) serials: Vec<String>,
}

/// What a connection is told of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Details {
    pub(super) connection_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    pub(super) max_message_size: u64,
    pub(super) max_frame_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_inbound_rate: Option<u64>,
    pub(super) connection_state_ttl: u64,
    pub(super) max_idle_interval: u64,
    pub(super) server_id: String,
    pub(super) site_code: &'static str,
}

impl ProtocolMessage {
    /// An empty one.
    pub(super) fn new(action: u8) -> Self {
        Self {
            action,
            ..Self::default()
        }
    }

    /// An empty one about a channel.
    pub(super) fn about(action: u8, channel: &str) -> Self {
        Self {
            channel: Some(channel.to_owned()),
            ..Self::new(action)
        }
    }
}

/// A channel as a client names it: the name the broker knows, and parameters in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelName {
    pub(super) name: String,
    pub(super) params: BTreeMap<String, String>,
}

impl ChannelName {
    /// Reads a name, qualified (`[?rewind=1]c`) or not.
    ///
    /// # Errors
    /// 40010.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let bad = super::codes::channel_name;
        let (params, name) = match text.strip_prefix("[?") {
            Some(rest) => {
                let (params, name) = rest.split_once(']').ok_or_else(bad)?;
                let pairs = params.split('&').filter_map(|pair| pair.split_once('='));
                let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
                (pairs.map(pair).collect(), name)
            }
            None => (BTreeMap::new(), text),
        };
        let usable = !name.is_empty()
            && name.len() <= limits::NAME_BYTES
            && !name.starts_with([':', '['])
            && !name.contains(['\n', '\r']);
        match usable {
            true => Ok(Self {
                name: name.to_owned(),
                params,
            }),
            false => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn names_are_as_documented() {
        for bad in ["", ":hell", "[x]", "a\nb", "[?rewind=1]", "[?rewind=1"] {
            assert_eq!(ChannelName::parse(bad).unwrap_err().code, 40010, "{bad}");
        }
        let name = ChannelName::parse("[?rewind=1&x=y]c:d").unwrap();
        assert_eq!((&*name.name, &*name.params["rewind"]), ("c:d", "1"));
    }

    #[test]
    fn what_is_absent_is_left_out_and_zeroes_are_not() {
        let mut ack = ProtocolMessage::new(action::ACK);
        (ack.msg_serial, ack.count) = (Some(0), Some(1));
        let text = serde_json::to_string(&ack).unwrap();
        assert_eq!(text, r#"{"action":1,"msgSerial":0,"count":1}"#);
        let read: ProtocolMessage =
            serde_json::from_str(r#"{"action":10,"channel":null,"params":{"rewind":1},"x":[]}"#)
                .unwrap();
        assert_eq!((read.action, read.channel), (10, None));
    }
}
