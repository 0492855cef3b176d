//! Lifecycle events in Pusher's words.

use crate::adapters::pusher::channel_name::{self, Class};
use crate::adapters::pusher::{auth, frame::server};
use crate::core::ids::{Space, Text};
use crate::core::lifecycle::{LifecycleEvent, LifecycleKind};
use crate::core::message::Publication;
use serde::Serialize;

/// One event, ready to stand in a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Its name, as it is written on the wire.
    pub(super) name: &'static str,
    /// Its name for ever.
    pub(super) id: Text,
    /// The event as JSON.
    pub(super) json: Vec<u8>,
}

#[derive(Default, Serialize)]
struct Body<'a> {
    name: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<u64>,
}

/// What is said of an event; `None` for what Pusher says nothing of.
pub(super) fn said(event: &LifecycleEvent) -> Option<Said> {
    let channel = &*event.channel.name;
    if event.channel.space != Space::Channel {
        return None;
    }
    let presence = channel_name::class(channel) == Class::Presence;
    let plain = |name| body(name, channel);
    let (name, json) = match &event.kind {
        LifecycleKind::Occupied => ("channel_occupied", plain("channel_occupied")),
        LifecycleKind::Vacated => ("channel_vacated", plain("channel_vacated")),
        LifecycleKind::Joined(user) if presence => {
            ("member_added", member("member_added", channel, user))
        }
        LifecycleKind::Left(user) if presence => {
            ("member_removed", member("member_removed", channel, user))
        }
        LifecycleKind::Published(publication) => (
            "client_event",
            client_event(channel, presence, publication)?,
        ),
        LifecycleKind::Missed if channel_name::is_cache(channel) => {
            ("cache_miss", plain("cache_miss"))
        }
        LifecycleKind::Counted(count) if !presence => {
            ("subscription_count", counted(channel, *count))
        }
        LifecycleKind::Joined(_)
        | LifecycleKind::Left(_)
        | LifecycleKind::Missed
        | LifecycleKind::Counted(_) => {
            return None;
        }
    };
    let id = event.id.to_string().into();
    Some(Said { name, id, json })
}

fn json(body: &Body<'_>) -> Vec<u8> {
    // Texts and numbers into memory: cannot fail.
    serde_json::to_vec(body).unwrap_or_default()
}

fn body(name: &str, channel: &str) -> Vec<u8> {
    json(&Body {
        name,
        channel,
        ..Body::default()
    })
}

fn member(name: &str, channel: &str, user: &str) -> Vec<u8> {
    json(&Body {
        name,
        channel,
        user_id: Some(user),
        ..Body::default()
    })
}

fn counted(channel: &str, count: u64) -> Vec<u8> {
    json(&Body {
        name: "subscription_count",
        channel,
        subscription_count: Some(count),
        ..Body::default()
    })
}

/// Its data is a string, as it was relayed.
fn client_event(channel: &str, presence: bool, publication: &Publication) -> Option<Vec<u8>> {
    let draft = &publication.draft;
    if !draft.name.starts_with("client-") {
        return None;
    }
    let data = server::payload(&draft.data);
    Some(json(&Body {
        name: "client_event",
        channel,
        event: Some(&draft.name),
        data: Some(&data),
        socket_id: draft.connection.map(auth::socket_id),
        user_id: draft.client.as_deref().filter(|_| presence),
        ..Body::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{AppId, ChannelKey, ConnectionId, Position};
    use crate::core::lifecycle::EventId;
    use crate::core::message::{ContentKind, Draft};

    fn text(channel: &str, kind: LifecycleKind) -> Option<String> {
        let event = LifecycleEvent {
            channel: ChannelKey::channel(AppId(3), channel),
            id: EventId { at: 1, epoch: 2 },
            at_ms: 1,
            kind,
        };
        said(&event).map(|one| String::from_utf8_lossy(&one.json).into_owned())
    }

    fn published(name: &str) -> LifecycleKind {
        let draft = Draft {
            id: None,
            name: name.into(),
            data: bytes::Bytes::from_static(b"{\"yolo\":\"woot\"}"),
            kind: ContentKind::Json,
            meta: None,
            client: Some("u1".into()),
            connection: Some(ConnectionId(12, 34)),
            except: None,
            store: true,
            retain_ms: None,
            tag: None,
        };
        let publication = Publication {
            draft: Box::new(draft),
            position: Position::default(),
            timetoken: 0,
        };
        LifecycleKind::Published(publication.into())
    }

    #[test]
    fn every_event_as_the_libraries_read_it() {
        let cases = [
            (
                "a",
                LifecycleKind::Occupied,
                r#"{"name":"channel_occupied","channel":"a"}"#,
            ),
            (
                "a",
                LifecycleKind::Vacated,
                r#"{"name":"channel_vacated","channel":"a"}"#,
            ),
            (
                "presence-a",
                LifecycleKind::Joined("u1".into()),
                r#"{"name":"member_added","channel":"presence-a","user_id":"u1"}"#,
            ),
            (
                "presence-a",
                LifecycleKind::Left("u1".into()),
                r#"{"name":"member_removed","channel":"presence-a","user_id":"u1"}"#,
            ),
            (
                "cache-a",
                LifecycleKind::Missed,
                r#"{"name":"cache_miss","channel":"cache-a"}"#,
            ),
            (
                "a",
                LifecycleKind::Counted(3),
                r#"{"name":"subscription_count","channel":"a","subscription_count":3}"#,
            ),
            (
                "presence-a",
                published("client-x"),
                r#"{"name":"client_event","channel":"presence-a","event":"client-x","data":"{\"yolo\":\"woot\"}","socket_id":"12.34","user_id":"u1"}"#,
            ),
            (
                "private-a",
                published("client-x"),
                r#"{"name":"client_event","channel":"private-a","event":"client-x","data":"{\"yolo\":\"woot\"}","socket_id":"12.34"}"#,
            ),
        ];
        for (channel, kind, wanted) in cases {
            assert_eq!(text(channel, kind).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn nothing_is_said_where_pusher_says_nothing() {
        assert_eq!(text("private-a", LifecycleKind::Joined("u1".into())), None);
        assert_eq!(text("my-cache-a", LifecycleKind::Missed), None);
        assert_eq!(text("presence-a", LifecycleKind::Counted(2)), None);
        assert_eq!(text("private-a", published("server-said")), None);
        let inbox = LifecycleEvent {
            channel: ChannelKey::user(AppId(3), "u"),
            id: EventId { at: 1, epoch: 2 },
            at_ms: 1,
            kind: LifecycleKind::Occupied,
        };
        assert_eq!(said(&inbox), None);
    }
}
