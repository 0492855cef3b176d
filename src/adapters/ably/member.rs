//! Presence members: the protocol's object, and the core's entry behind it.
//!
//! **Why an entry's data is an envelope:** the core keeps one opaque value per member; the protocol needs the id that
//! orders a member's changes and the encoding beside it. Other dialects' members have none and are shown with an id of
//! the broker's own.

use super::codes::Fault;
use super::format::Format;
use super::message::{self, Data, Payload};
use super::position::{self, TICKS_PER_MS};
use crate::core::message::{Member, PresenceAction, PresenceChange};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const PRESENT: u8 = 1;
const ENTER: u8 = 2;
const LEAVE: u8 = 3;
const UPDATE: u8 = 4;

/// A presence message on a wire. What is `None` is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PresenceMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) action: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connection_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Data>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extras: Option<Value>,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Be there with this data.
    Present,
    /// The member leaves the set.
    Leave,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    ably: Inside,
}

#[derive(Serialize, Deserialize)]
struct Inside {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extras: Option<Value>,
    /// Put in place only to be the last word of a member that leaves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaves: bool,
}

impl PresenceMessage {
    /// Whether it says more than who and what: a leave that does is carried by an entry of its own.
    pub(super) fn carries(&self) -> bool {
        self.data.is_some() || self.extras.is_some()
    }

    /// What it asks for.
    ///
    /// # Errors
    /// 40000 for anything a client does not send.
    pub(super) fn asks(&self) -> Result<Asked, Fault> {
        match self.action {
            ENTER | UPDATE | PRESENT => Ok(Asked::Present),
            LEAVE => Ok(Asked::Leave),
            _other => Err(Fault::bad("unknown presence action")),
        }
    }

    /// The entry's value. `id` is what it is called when the client gave none.
    ///
    /// # Errors
    /// 40000 for a broken payload, 40032 for extras that are no object.
    pub(super) fn envelope(&self, id: String) -> Result<Bytes, Fault> {
        let payload = Payload::read(self.data.as_ref(), self.encoding.as_deref())?;
        let (data, encoding) = payload.write(Format::Json);
        let extras = message::extras(self.extras.as_ref())?;
        let inside = Inside {
            id: self.id.clone().unwrap_or(id),
            data,
            encoding,
            extras: extras.cloned(),
            leaves: self.action == LEAVE,
        };
        let bytes = serde_json::to_vec(&Envelope { ably: inside });
        bytes
            .map(Bytes::from)
            .map_err(|_| Fault::bad("The data cannot be kept"))
    }

    fn of(member: &Member, action: u8, timetoken: u64, format: Format) -> Self {
        let connection = position::connection(member.connection);
        let inside = serde_json::from_slice::<Envelope>(&member.data).ok();
        let inside = inside.map_or_else(|| foreign(member), |envelope| envelope.ably);
        let payload = Payload::read(inside.data.as_ref(), inside.encoding.as_deref());
        let (data, encoding) = payload.unwrap_or_default().write(format);
        Self {
            id: Some(inside.id),
            action,
            client_id: Some(member.client.to_string()),
            connection_id: Some(connection),
            data,
            encoding,
            timestamp: Some(timetoken / TICKS_PER_MS),
            extras: inside.extras,
        }
    }

    /// Somebody who is there.
    pub(super) fn present(member: &Member, format: Format) -> Self {
        Self::of(member, PRESENT, member.since, format)
    }

    /// A change; `None` for one that is only there to carry a last word.
    pub(super) fn change(change: &PresenceChange, format: Format) -> Option<Self> {
        let member = &change.member;
        let leaves = has_last_word(member);
        let action = match change.action {
            _carrier if !is_shown(change) => return None,
            PresenceAction::Enter => ENTER,
            PresenceAction::Update => UPDATE,
            PresenceAction::Leave | PresenceAction::Timeout => LEAVE,
        };
        let mut message = Self::of(member, action, change.timetoken, format);
        if action == LEAVE && !leaves {
            let said = change.action == PresenceAction::Leave;
            let own = message.id.as_deref().filter(|_| said).and_then(behind);
            message.id = Some(own.unwrap_or_else(|| synthesized(change)));
        }
        Some(message)
    }
}

/// Whether the member's entry is its last word.
fn has_last_word(member: &Member) -> bool {
    let envelope = serde_json::from_slice::<Envelope>(&member.data);
    envelope.is_ok_and(|envelope| envelope.ably.leaves)
}

/// Whether clients see this change: not one that is only there to carry a last word.
pub(super) fn is_shown(change: &PresenceChange) -> bool {
    match change.action {
        PresenceAction::Enter | PresenceAction::Update => !has_last_word(&change.member),
        PresenceAction::Leave | PresenceAction::Timeout => true,
    }
}

/// The id of a member's own leave that came without one: of its connection, and behind what it said before. A client
/// that heard of its leave only in a synthesized one would enter again by itself.
fn behind(id: &str) -> Option<String> {
    let (front, index) = id.rsplit_once(':')?;
    position::parse_connection(front.split(':').next()?)?;
    let index: u64 = index.parse().ok()?;
    Some(format!("{front}:{}", index.saturating_add(1)))
}

/// Not said by the member itself: ordered by time, and so never of the connection's own name.
fn synthesized(change: &PresenceChange) -> String {
    format!("left-{}:0:0", change.timetoken)
}

/// A member of another dialect: its data as text or JSON.
fn foreign(member: &Member) -> Inside {
    let json = serde_json::from_slice::<Value>(&member.data).is_ok();
    let text = String::from_utf8(member.data.to_vec()).ok();
    Inside {
        id: format!(
            "{}:0:{}",
            position::connection(member.connection),
            member.since % TICKS_PER_MS
        ),
        data: text.filter(|text| !text.is_empty()).map(Data::Text),
        encoding: json.then(|| "json".to_owned()),
        extras: None,
        leaves: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::ids::{ConnectionId, NodeId, Position};

    fn change(action: PresenceAction, data: &Bytes) -> Option<PresenceMessage> {
        let member = Member {
            client: "bob".into(),
            connection: ConnectionId(1, 2),
            node: NodeId(1),
            data: data.clone(),
            since: 20_000,
        };
        let change = PresenceChange {
            action,
            member,
            client_transition: true,
            clients: 1,
            position: Position::default(),
            timetoken: 30_000,
        };
        PresenceMessage::change(&change, Format::Json)
    }

    fn envelope(json: &str) -> Bytes {
        let message: PresenceMessage = serde_json::from_str(json).unwrap();
        message.envelope("c:1:0".into()).unwrap()
    }

    #[test]
    fn ids_and_data_come_back() {
        let entered = envelope(r#"{"action":2,"data":"AAEC","encoding":"base64"}"#);
        let told = change(PresenceAction::Enter, &entered).unwrap();
        assert_eq!((told.id.as_deref(), told.action), (Some("c:1:0"), 2));
        assert_eq!(
            (told.data, told.encoding.as_deref()),
            (Some(Data::Text("AAEC".into())), Some("base64"))
        );
    }

    #[test]
    fn extras_come_back_from_enter_update_and_leave() {
        let extras = serde_json::json!({"headers": {"role": "host"}});
        for (number, action) in [
            (2, PresenceAction::Enter),
            (4, PresenceAction::Update),
            (3, PresenceAction::Leave),
        ] {
            let said = format!(r#"{{"action":{number},"extras":{extras}}}"#);
            let message: PresenceMessage = serde_json::from_str(&said).unwrap();
            assert!(message.carries());
            let told = change(action, &envelope(&said)).unwrap();
            assert_eq!((told.action, told.extras.as_ref()), (number, Some(&extras)));
        }
        let bare: PresenceMessage = serde_json::from_str(r#"{"action":3}"#).unwrap();
        assert!(!bare.carries());
        for bad in ["1", "[]", "\"x\""] {
            let said = format!(r#"{{"action":2,"extras":{bad}}}"#);
            let message: PresenceMessage = serde_json::from_str(&said).unwrap();
            assert_eq!(message.envelope("c:1:0".into()).unwrap_err().code, 40032);
        }
    }

    #[test]
    fn a_leave_of_its_own_keeps_its_id_and_others_are_synthesized() {
        let entered = envelope(r#"{"action":2,"data":"x"}"#);
        let gone = change(PresenceAction::Timeout, &entered).unwrap();
        assert_eq!((gone.action, gone.timestamp), (3, Some(3)));
        assert!(!gone.id.unwrap().starts_with("0000000100000002"));
        assert_eq!(gone.data, Some(Data::Text("x".into())));
        let message: PresenceMessage = serde_json::from_str(r#"{"action":2,"data":"x"}"#).unwrap();
        let entered = message.envelope("0000000100000002:4:0".into()).unwrap();
        let left = change(PresenceAction::Leave, &entered).unwrap();
        assert_eq!(left.id.as_deref(), Some("0000000100000002:4:1"));
        assert_eq!(left.data, Some(Data::Text("x".into())));
        let last = envelope(r#"{"action":3,"data":"bye"}"#);
        assert_eq!(change(PresenceAction::Update, &last), None);
        let left = change(PresenceAction::Leave, &last).unwrap();
        assert_eq!(
            (left.id.as_deref(), left.data),
            (Some("c:1:0"), Some(Data::Text("bye".into())))
        );
    }

    #[test]
    fn members_of_other_dialects_are_shown() {
        let told = change(PresenceAction::Enter, &Bytes::from_static(b"{\"n\":1}")).unwrap();
        assert_eq!(told.encoding.as_deref(), Some("json"));
        assert_eq!(told.data, Some(Data::Text("{\"n\":1}".into())));
    }
}
