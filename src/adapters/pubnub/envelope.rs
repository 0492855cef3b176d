//! What a subscriber is told: one broadcast as PubNub's envelope.
//!
//! **Why what only PubNub has rides in the draft's tag:** a publisher's uuid is unproven, so it must not become the
//! client that other dialects show as verified.

use super::presence_leases::is_ours;
use crate::core::ids::Text;
use crate::core::message::{
    Broadcast, ContentKind, Draft, PresenceAction, PresenceChange, Publication,
};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Marks a tag as ours.
const MARK: &str = "pubnub ";
/// A timetoken counts 100 ns.
pub(super) const TICKS_PER_SECOND: u64 = 10_000_000;

/// What a message carries beside the vendor-free part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Extra {
    /// Kind: 1 = signal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) e: Option<u8>,
    /// Publisher's uuid, as it says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) i: Option<String>,
    /// Publisher's sequence number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) s: Option<u64>,
    /// Where and when it began, if elsewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) o: Option<Value>,
}

impl Extra {
    /// As a draft's tag.
    pub(super) fn tag(&self) -> Option<Text> {
        let json = serde_json::to_string(self).ok()?;
        Some(format!("{MARK}{json}").into())
    }

    /// From a draft, whichever dialect made it.
    pub(super) fn of(draft: &Draft) -> Self {
        let json = draft.tag.as_deref().and_then(|tag| tag.strip_prefix(MARK));
        let mut extra: Self = json
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        if extra.i.is_none() {
            extra.i = draft.client.as_deref().map(str::to_owned);
        }
        extra
    }
}

/// The payload as a JSON text.
pub(super) fn payload(draft: &Draft) -> Cow<'_, str> {
    let quoted = |text: &str| Cow::Owned(Value::from(text).to_string());
    match (draft.kind, std::str::from_utf8(&draft.data)) {
        (ContentKind::Json, Ok(json)) => Cow::Borrowed(json),
        (ContentKind::Text, Ok(text)) => quoted(text),
        (ContentKind::Binary | ContentKind::Json | ContentKind::Text, _) => {
            quoted(&base64::engine::general_purpose::STANDARD.encode(&draft.data))
        }
    }
}

/// The publisher's own data for filters, as a JSON text.
pub(super) fn meta(draft: &Draft) -> Option<&str> {
    let meta = draft.meta.as_ref()?;
    std::str::from_utf8(meta)
        .ok()
        .filter(|meta| !meta.is_empty())
}

/// The event name of a message, where PubNub can show it as a custom message type.
pub(super) fn custom_type(draft: &Draft) -> Option<&str> {
    Some(&*draft.name).filter(|name| is_custom_type(name))
}

/// Whether a text can be a custom message type.
pub(super) fn is_custom_type(text: &str) -> bool {
    let letters = |one: u8| one.is_ascii_alphanumeric() || one == b'-' || one == b'_';
    (3..=50).contains(&text.len())
        && text.bytes().all(letters)
        && !text.starts_with(['-', '_'])
        && !text.starts_with("pn-")
        && !text.starts_with("pn_")
}

/// Where an envelope is written to: the node's region, the keyset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Never 0: clients take that for an error.
    pub(super) region: u64,
    /// The subscribe key of the request's path.
    pub(super) subscribe_key: &'a str,
}

/// Appends an envelope, or nothing when it is not to be shown. `channel` is the name published to, `matched` the
/// subscription if that has to be said.
pub(super) fn write(
    broadcast: &Broadcast,
    channel: &str,
    matched: Option<&str>,
    place: Place<'_>,
    out: &mut String,
) -> bool {
    match broadcast {
        Broadcast::Message(one) => message(one, channel, matched, place, out),
        Broadcast::Presence(one) => {
            let Some(data) = presence(one) else {
                return false;
            };
            presence_event((one.timetoken, &data), channel, matched, place, out);
        }
        Broadcast::Count(_) => return false,
    }
    true
}

/// Appends what happened in a channel's presence set at a time.
pub(super) fn presence_event(
    (at, data): (u64, &Value),
    channel: &str,
    matched: Option<&str>,
    place: Place<'_>,
    out: &mut String,
) {
    let name = format!("{channel}-pnpres");
    head(at, &name, matched, place, out);
    let _ = write!(out, ",\"d\":{data}}}");
}

/// Whether a change of a presence set is told at all: once per client, not once per connection.
pub(super) fn is_told(change: &PresenceChange) -> bool {
    change.client_transition || change.action == PresenceAction::Update || restated(change)
}

/// Whether a PubNub client that was there has said its state to another node.
fn restated(change: &PresenceChange) -> bool {
    change.action == PresenceAction::Enter
        && is_ours(change.member.connection)
        && state(&change.member.data).is_some()
}

fn head(at: u64, channel: &str, matched: Option<&str>, place: Place<'_>, out: &mut String) {
    let Place {
        region,
        subscribe_key,
    } = place;
    let (channel, key) = (Value::from(channel), Value::from(subscribe_key));
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "{{\"a\":\"2\",\"f\":0,\"p\":{{\"t\":\"{at}\",\"r\":{region}}},\"k\":{key},\"c\":{channel}"
    );
    if let Some(matched) = matched {
        let _ = write!(out, ",\"b\":{}", Value::from(matched));
    }
}

fn message(
    one: &Publication,
    channel: &str,
    matched: Option<&str>,
    place: Place<'_>,
    out: &mut String,
) {
    let (draft, extra) = (&one.draft, Extra::of(&one.draft));
    head(one.timetoken, channel, matched, place, out);
    let _ = write!(out, ",\"d\":{}", payload(draft));
    if let Some(publisher) = extra.i {
        let _ = write!(out, ",\"i\":{}", Value::from(publisher));
    }
    if let Some(sequence) = extra.s {
        let _ = write!(out, ",\"s\":{sequence}");
    }
    // A message has no kind: clients take 0 for a file.
    if let Some(kind) = extra.e.filter(|kind| *kind != 0) {
        let _ = write!(out, ",\"e\":{kind}");
    }
    if let Some(meta) = meta(draft) {
        let _ = write!(out, ",\"u\":{meta}");
    }
    if let Some(name) = custom_type(draft) {
        let _ = write!(out, ",\"cmt\":\"{name}\"");
    }
    if let Some(origin) = extra.o {
        let _ = write!(out, ",\"o\":{origin}");
    }
    out.push('}');
}

/// What happened in a presence set, in PubNub's words.
fn presence(change: &PresenceChange) -> Option<Value> {
    let state = state(&change.member.data);
    let action = match change.action {
        PresenceAction::Enter if change.client_transition => "join",
        PresenceAction::Leave if change.client_transition => "leave",
        PresenceAction::Timeout if change.client_transition => "timeout",
        PresenceAction::Update => "state-change",
        // Its client has come to another node with a state: which one it is there, nobody knows here.
        PresenceAction::Enter if restated(change) => "state-change",
        PresenceAction::Enter | PresenceAction::Leave | PresenceAction::Timeout => return None,
    };
    let mut shown = json!({
        "action": action,
        "timestamp": change.timetoken / TICKS_PER_SECOND,
        "uuid": &*change.member.client,
        "occupancy": change.clients,
    });
    if let (Some(state), Some(map)) = (state, shown.as_object_mut()) {
        map.insert("data".into(), state);
    }
    Some(shown)
}

/// A member's data, where it is an object with something in it.
pub(super) fn state(data: &[u8]) -> Option<Value> {
    let state: Value = serde_json::from_slice(data).ok()?;
    state
        .as_object()
        .is_some_and(|map| !map.is_empty())
        .then_some(state)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::ids::{ConnectionId, NodeId, Position};
    use crate::core::message::Member;

    const PLACE: Place<'_> = Place {
        region: 12,
        subscribe_key: "sub-open",
    };

    pub(crate) fn draft(data: &'static str, kind: ContentKind) -> Draft {
        Draft {
            meta: Some(r#"{"lang":"en"}"#.as_bytes().into()),
            ..Draft::new("text-x".into(), data.as_bytes().into(), kind)
        }
    }

    pub(crate) fn publication(draft: Draft, timetoken: u64) -> Broadcast {
        Broadcast::Message(
            Publication {
                draft: Box::new(draft),
                position: Position::default(),
                timetoken,
            }
            .into(),
        )
    }

    fn shown(broadcast: &Broadcast, matched: Option<&str>) -> Option<Value> {
        let mut out = String::new();
        write(broadcast, "c1", matched, PLACE, &mut out)
            .then(|| serde_json::from_str(&out).unwrap())
    }

    #[test]
    fn a_message_is_written_as_recorded() {
        let extra = Extra {
            i: Some("alice".into()),
            s: Some(1),
            ..Extra::default()
        };
        let mut draft = draft(r#"{"text":"hi"}"#, ContentKind::Json);
        draft.tag = extra.tag();
        let wanted = json!({
            "a": "2", "f": 0, "i": "alice", "s": 1, "p": {"t": "17953525498620000", "r": 12},
            "k": "sub-open", "c": "c1", "d": {"text": "hi"}, "u": {"lang": "en"}, "cmt": "text-x",
        });
        let message = publication(draft, 17_953_525_498_620_000);
        assert_eq!(shown(&message, None).unwrap(), wanted);
        let matched = shown(&message, Some("g1")).unwrap();
        assert_eq!(matched.get("b"), Some(&json!("g1")));
    }

    #[test]
    fn only_signals_name_their_kind() {
        let mut signal = draft("\"x\"", ContentKind::Json);
        let extra = Extra {
            e: Some(1),
            ..Extra::default()
        };
        signal.tag = extra.tag();
        assert_eq!(
            shown(&publication(signal, 1), None).unwrap().get("e"),
            Some(&json!(1))
        );
        let plain = draft("1", ContentKind::Json);
        assert_eq!(shown(&publication(plain, 1), None).unwrap().get("e"), None);
    }

    #[test]
    fn other_dialects_messages_are_json_too() {
        let mut foreign = draft("say \"hi\"", ContentKind::Text);
        foreign.name = "client-x y".into();
        foreign.client = Some("u2".into());
        foreign.tag = Some("their own".into());
        let shown = shown(&publication(foreign, 1), None).unwrap();
        assert_eq!(shown.get("d"), Some(&json!("say \"hi\"")));
        assert_eq!(shown.get("i"), Some(&json!("u2")));
        assert_eq!(shown.get("cmt"), None);
        let binary = draft("\u{1}\u{2}", ContentKind::Binary);
        assert_eq!(payload(&binary), "\"AQI=\"");
    }

    #[test]
    fn presence_is_told_once_per_client() {
        let change = |action, transition, data: &str| {
            let member = Member {
                client: "alice".into(),
                connection: ConnectionId(1, 1),
                node: NodeId(1),
                data: data.as_bytes().to_vec().into(),
                since: 0,
            };
            let change = PresenceChange {
                action,
                member,
                client_transition: transition,
                clients: 2,
                position: Position::default(),
                timetoken: 17_953_525_500_000_000,
            };
            shown(&Broadcast::Presence(change.into()), None)
        };
        let join = change(PresenceAction::Enter, true, "").unwrap();
        let data =
            json!({"action": "join", "timestamp": 1_795_352_550, "uuid": "alice", "occupancy": 2});
        assert_eq!(
            (join.get("c"), join.get("d")),
            (Some(&json!("c1-pnpres")), Some(&data))
        );
        assert_eq!((join.get("i"), join.get("e")), (None, None));
        let update = change(PresenceAction::Update, false, r#"{"mood":"ok"}"#).unwrap();
        assert_eq!(update.pointer("/d/data/mood"), Some(&json!("ok")));
        assert_eq!(update.pointer("/d/action"), Some(&json!("state-change")));
        assert!(change(PresenceAction::Enter, false, "").is_none());
        assert!(change(PresenceAction::Leave, false, "").is_none());
        assert!(change(PresenceAction::Timeout, true, "").is_some());
    }

    #[test]
    fn custom_types_have_a_form() {
        for good in ["abc", "a-b_c", "0bc"] {
            assert!(is_custom_type(good));
        }
        for bad in [
            "ab",
            "-abc",
            "_abc",
            "pn-abc",
            "pn_abc",
            "a b c",
            &"x".repeat(51),
        ] {
            assert!(!is_custom_type(bad), "{bad}");
        }
    }
}
