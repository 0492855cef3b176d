//! Broadcasts as frames: written once per node and wire form, shared by every subscriber.

use super::format::Format;
use super::frame::{ProtocolMessage, action};
use super::member::PresenceMessage;
use super::message::Message;
use super::position;
use crate::core::delivery::encoding::Encoder;
use crate::core::ids::{ChannelKey, Space};
use crate::core::message::{Broadcast, PresenceChange, Publication};
use crate::core::session::Frame;

/// The dialect's encoder in one wire form.
#[derive(Clone, Copy, Debug)]
pub(super) struct AblyEncoder(pub(super) Format);

impl Encoder for AblyEncoder {
    fn encode(&self, channel: &ChannelKey, broadcast: &Broadcast) -> Option<Frame> {
        if channel.space != Space::Channel {
            return None;
        }
        match broadcast {
            Broadcast::Message(publication) => Some(message(&channel.name, publication, self.0)),
            Broadcast::Presence(change) => presence(&channel.name, change, self.0),
            Broadcast::Count(_) => None,
        }
    }
}

/// The frame that carries a publication.
pub(super) fn message(channel: &str, publication: &Publication, format: Format) -> Frame {
    let message = Message::of(publication, format);
    let id = message.id.as_deref().unwrap_or_default();
    let frame = ProtocolMessage {
        id: Some(id.rsplit_once(':').map_or(id, |(base, _)| base).to_owned()),
        channel_serial: Some(position::channel_serial(publication.position)),
        connection_id: message.connection_id.clone(),
        timestamp: message.timestamp,
        messages: Some(vec![message]),
        ..ProtocolMessage::about(action::MESSAGE, channel)
    };
    format.frame(&frame)
}

/// A presence change, if it is to be seen.
pub(super) fn presence(channel: &str, change: &PresenceChange, format: Format) -> Option<Frame> {
    let presence = PresenceMessage::change(change, format)?;
    let frame = ProtocolMessage {
        id: presence.id.clone(),
        channel_serial: Some(position::channel_serial(change.position)),
        connection_id: presence.connection_id.clone(),
        timestamp: presence.timestamp,
        presence: Some(vec![presence]),
        ..ProtocolMessage::about(action::PRESENCE, channel)
    };
    Some(format.frame(&frame))
}
