//! Broadcasts as frames: written once per node, shared by every subscriber.

use super::channel_name::{self, Class};
use super::frame::server;
use crate::core::delivery::encoding::Encoder;
use crate::core::ids::{ChannelKey, Space};
use crate::core::message::{Broadcast, Draft, PresenceAction, PresenceChange};
use crate::core::session::Frame;

/// In front of names that only the server may use; a client believes them.
const RESERVED: [&str; 2] = ["pusher:", "pusher_internal:"];

/// Messages of dialects that have no event names.
const UNNAMED: &str = "message";

/// The dialect's encoder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PusherEncoder;

impl Encoder for PusherEncoder {
    fn encode(&self, channel: &ChannelKey, broadcast: &Broadcast) -> Option<Frame> {
        match broadcast {
            Broadcast::Message(publication) => message(channel, &publication.draft),
            Broadcast::Presence(change) => presence(channel, change),
            Broadcast::Count(count) => subscription_count(channel, *count),
        }
    }
}

/// Whether only the server may send events of this name.
pub(super) fn is_reserved(event: &str) -> bool {
    RESERVED.iter().any(|prefix| event.starts_with(prefix))
}

/// A message; `None` for one of another dialect that would pass for one of the server's own.
pub(super) fn message(channel: &ChannelKey, draft: &Draft) -> Option<Frame> {
    if is_reserved(&draft.name) {
        return None;
    }
    let name = match &*draft.name {
        "" => UNNAMED,
        name => name,
    };
    let wire = channel_name::wire_name(channel);
    // Only client events on presence channels say who sent them.
    let told = channel_name::class(&wire) == Class::Presence && name.starts_with("client-");
    let user = draft.client.as_deref().filter(|_| told);
    Some(server::event(
        name,
        Some(&wire),
        &server::payload(&draft.data),
        user,
    ))
}

/// Members are users: only a user's first and last connection are news.
fn presence(channel: &ChannelKey, change: &PresenceChange) -> Option<Frame> {
    let shown = channel.space == Space::Channel
        && channel_name::class(&channel.name) == Class::Presence
        && change.client_transition;
    if !shown {
        return None;
    }
    match change.action {
        PresenceAction::Enter => Some(server::member_added(&channel.name, &change.member)),
        PresenceAction::Leave | PresenceAction::Timeout => {
            Some(server::member_removed(&channel.name, &change.member))
        }
        PresenceAction::Update => None,
    }
}

fn subscription_count(channel: &ChannelKey, count: u64) -> Option<Frame> {
    let shown =
        channel.space == Space::Channel && channel_name::class(&channel.name) != Class::Presence;
    let data = format!("{{\"subscription_count\":{count}}}");
    let name = "pusher_internal:subscription_count";
    shown.then(|| server::event(name, Some(&channel.name), &data, None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::pusher::frame::server::tests::{member, show};
    use crate::core::ids::{AppId, Position};
    use crate::core::message::{ContentKind, Publication};

    fn encoded(channel: &str, broadcast: Broadcast) -> Option<String> {
        let key = channel_name::key(AppId(3), channel);
        let frame = PusherEncoder.encode(&key, &broadcast)?;
        Some(show(&frame).to_owned())
    }

    fn published(name: &str, data: &'static [u8]) -> Broadcast {
        let draft = Draft {
            client: Some("u2".into()),
            ..Draft::new(name.into(), data.into(), ContentKind::Text)
        };
        let publication = Publication {
            draft: Box::new(draft),
            position: Position::default(),
            timetoken: 0,
        };
        Broadcast::Message(publication.into())
    }

    fn changed(action: PresenceAction, transition: bool) -> Broadcast {
        let change = PresenceChange {
            action,
            member: member("u2", "{\"n\":1}"),
            client_transition: transition,
            clients: 1,
            position: Position::default(),
            timetoken: 0,
        };
        Broadcast::Presence(change.into())
    }

    #[test]
    fn messages_name_their_sender_only_as_client_events_on_presence_channels() {
        let plain = r#"{"event":"e","channel":"presence-r","data":"x"}"#;
        assert_eq!(encoded("presence-r", published("e", b"x")).unwrap(), plain);
        let named = r#"{"event":"client-e","channel":"presence-r","data":"x","user_id":"u2"}"#;
        assert_eq!(
            encoded("presence-r", published("client-e", b"x")).unwrap(),
            named
        );
        let private = r#"{"event":"client-e","channel":"private-r","data":"x"}"#;
        assert_eq!(
            encoded("private-r", published("client-e", b"x")).unwrap(),
            private
        );
    }

    #[test]
    fn inbox_messages_carry_the_inbox_as_channel() {
        let wanted = r##"{"event":"e","channel":"#server-to-user-u2","data":"x"}"##;
        assert_eq!(
            encoded("#server-to-user-u2", published("e", b"x")).unwrap(),
            wanted
        );
        let entered = changed(PresenceAction::Enter, true);
        assert_eq!(encoded("#server-to-user-presence-x", entered), None);
        assert_eq!(encoded("#server-to-user-u2", Broadcast::Count(1)), None);
    }

    #[test]
    fn other_dialects_cannot_speak_as_the_server() {
        assert_eq!(encoded("a", published("pusher:error", b"{}")), None);
        assert_eq!(
            encoded("a", published("pusher_internal:member_added", b"{}")),
            None
        );
        let unnamed = r#"{"event":"message","channel":"a","data":"/w=="}"#;
        assert_eq!(encoded("a", published("", b"\xff")).unwrap(), unnamed);
    }

    #[test]
    fn only_first_and_last_connections_of_users_are_told() {
        let added = r#"{"event":"pusher_internal:member_added","channel":"presence-r","data":"{\"user_id\":\"u2\",\"user_info\":{\"n\":1}}"}"#;
        let removed = r#"{"event":"pusher_internal:member_removed","channel":"presence-r","data":"{\"user_id\":\"u2\"}"}"#;
        let told = |action, transition| encoded("presence-r", changed(action, transition));
        assert_eq!(told(PresenceAction::Enter, true).unwrap(), added);
        assert_eq!(told(PresenceAction::Leave, true).unwrap(), removed);
        assert_eq!(told(PresenceAction::Timeout, true).unwrap(), removed);
        assert_eq!(told(PresenceAction::Update, true), None);
        assert_eq!(told(PresenceAction::Enter, false), None);
        assert_eq!(told(PresenceAction::Leave, false), None);
        assert_eq!(encoded("room", changed(PresenceAction::Enter, true)), None);
    }

    #[test]
    fn counts_are_told_except_on_presence_channels() {
        let wanted = r#"{"event":"pusher_internal:subscription_count","channel":"private-r","data":"{\"subscription_count\":3}"}"#;
        assert_eq!(encoded("private-r", Broadcast::Count(3)).unwrap(), wanted);
        assert_eq!(encoded("presence-r", Broadcast::Count(3)), None);
    }
}
