//! Messages: the protocol's object, and the core's draft and publication behind it.
//!
//! **Why the encoding rides in the draft's tag:** `json`, `utf-8` or a cipher are the clients' business and come back
//! as they went in; only the outermost `base64` belongs to the wire form and is done and undone here.

use super::codes::Fault;
use super::format::Format;
use super::position;
use crate::core::ids::Text;
use crate::core::message::{ContentKind, Draft, Publication};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// In front of the encoding in a draft's tag.
const TAG: &str = "ably/";
/// In front of an id that the publisher chose: no such id can be taken for one that a connection gave.
const CHOSEN: char = '~';

/// The payload on a wire.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// A JSON string.
    Text(String),
    /// Bytes that MessagePack carries as they are.
    Binary(Vec<u8>),
    /// A JSON value written in place.
    Json(Value),
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Binary(bytes) => to.serialize_bytes(bytes),
            Self::Json(value) => value.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Data;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("data")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Data, E> {
                Ok(Data::Text(text.to_owned()))
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Data, E> {
                Ok(Data::Binary(bytes.to_vec()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Data, E> {
                Ok(Data::Json(value.into()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Data, E> {
                Ok(Data::Json(value.into()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Data, E> {
                Ok(Data::Json(value.into()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Data, E> {
                Ok(Data::Json(value.into()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Data, A::Error> {
                Value::deserialize(de::value::MapAccessDeserializer::new(map)).map(Data::Json)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Data, A::Error> {
                Value::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(Data::Json)
            }
        }
        from.deserialize_any(Any)
    }
}

/// A payload without its wire form: bytes, what they are, and the encoding that is the clients' business.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    pub(super) binary: bool,
    /// There was none at all.
    pub(super) absent: bool,
    pub(super) encoding: String,
}

impl Payload {
    /// Undoes the wire form.
    ///
    /// # Errors
    /// 40000 for broken base64.
    pub(super) fn read(data: Option<&Data>, encoding: Option<&str>) -> Result<Self, Fault> {
        let encoding = encoding.unwrap_or_default();
        let payload = |bytes: Vec<u8>, binary, encoding: &str| Self {
            bytes: bytes.into(),
            binary,
            absent: false,
            encoding: encoding.to_owned(),
        };
        Ok(match data {
            None => Self {
                absent: true,
                encoding: encoding.to_owned(),
                ..Self::default()
            },
            Some(Data::Binary(bytes)) => payload(bytes.clone(), true, encoding),
            Some(Data::Json(value)) => {
                let encoding = match encoding {
                    "" => "json",
                    given => given,
                };
                payload(value.to_string().into_bytes(), false, encoding)
            }
            Some(Data::Text(text)) => {
                let inner = match encoding {
                    "base64" => Some(""),
                    other => other.strip_suffix("/base64"),
                };
                match inner {
                    None => payload(text.clone().into_bytes(), false, encoding),
                    Some(inner) => {
                        let bytes = STANDARD
                            .decode(text)
                            .map_err(|_| Fault::bad("The data is not base64"))?;
                        payload(bytes, true, inner)
                    }
                }
            }
        })
    }

    /// Does the wire form: (data, encoding).
    pub(super) fn write(&self, format: Format) -> (Option<Data>, Option<String>) {
        let named = |encoding: &str| (!encoding.is_empty()).then(|| encoding.to_owned());
        if self.absent {
            return (None, named(&self.encoding));
        }
        let text = || String::from_utf8(self.bytes.to_vec()).ok();
        if !self.binary
            && let Some(text) = text()
        {
            return (Some(Data::Text(text)), named(&self.encoding));
        }
        match format {
            Format::MsgPack => (
                Some(Data::Binary(self.bytes.to_vec())),
                named(&self.encoding),
            ),
            Format::Json => {
                let encoding = match &*self.encoding {
                    "" => "base64".to_owned(),
                    inner => format!("{inner}/base64"),
                };
                (
                    Some(Data::Text(STANDARD.encode(&self.bytes))),
                    Some(encoding),
                )
            }
        }
    }
}

/// A message on a wire. What is `None` is left out.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Data>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connection_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extras: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<Version>,
    /// On publishing over REST: in whose name.
    #[serde(skip_serializing)]
    pub(super) connection_key: Option<String>,
}

/// Which version of a message this is; there is only ever the first.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct Version {
    serial: String,
    timestamp: u64,
}

impl Message {
    /// What counts against the size limit.
    pub(super) fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let data = match &self.data {
            None => 0,
            Some(Data::Text(text)) => text.len(),
            Some(Data::Binary(bytes)) => bytes.len(),
            Some(Data::Json(value)) => value.to_string().len(),
        };
        let extras = self
            .extras
            .as_ref()
            .map_or(0, |extras| extras.to_string().len());
        length(&self.name) + length(&self.client_id) + data + extras
    }

    /// As the core takes it. `id` is what it is called when the publisher chose none.
    ///
    /// # Errors
    /// 40000 for a broken payload, 40032 for extras that are no object.
    pub(super) fn draft(&self, client: Option<Text>, id: String) -> Result<Draft, Fault> {
        if !matches!(self.action, None | Some(0)) {
            return Err(Fault::new(
                40000,
                400,
                "Only creating messages is supported",
            ));
        }
        let payload = Payload::read(self.data.as_ref(), self.encoding.as_deref())?;
        let extras = extras(self.extras.as_ref())?;
        let extras = extras.map(|extras| Bytes::from(extras.to_string()));
        let ephemeral = self
            .extras
            .as_ref()
            .is_some_and(|extras| extras.get("ephemeral") == Some(&Value::Bool(true)));
        let is_json = payload.encoding == "json"
            && serde_json::from_slice::<de::IgnoredAny>(&payload.bytes).is_ok();
        let kind = match (payload.binary, is_json) {
            (true, _) => ContentKind::Binary,
            (false, true) => ContentKind::Json,
            (false, false) => ContentKind::Text,
        };
        let absent = if payload.absent { "-" } else { "" };
        let id = self
            .id
            .as_ref()
            .map_or(id, |chosen| format!("{CHOSEN}{chosen}"));
        Ok(Draft {
            id: Some(id.into()),
            name: self.name.as_deref().unwrap_or_default().into(),
            data: payload.bytes,
            kind,
            meta: extras,
            client,
            connection: None,
            except: None,
            store: !ephemeral,
            retain_ms: None,
            tag: Some(format!("{TAG}{absent}{}", payload.encoding).into()),
        })
    }

    /// As clients of this protocol see a publication of any dialect.
    pub(super) fn of(publication: &Publication, format: Format) -> Self {
        let draft = &publication.draft;
        let own = draft.tag.as_deref().and_then(|tag| tag.strip_prefix(TAG));
        let (absent, encoding) = match own {
            Some(tag) => match tag.strip_prefix('-') {
                Some(encoding) => (true, encoding),
                None => (false, tag),
            },
            None if draft.kind == ContentKind::Json => (false, "json"),
            None => (false, ""),
        };
        let payload = Payload {
            bytes: draft.data.clone(),
            binary: draft.kind == ContentKind::Binary,
            absent,
            encoding: encoding.to_owned(),
        };
        let (data, encoding) = payload.write(format);
        let serial = position::serial(publication.timetoken, publication.position);
        let timestamp = publication.timetoken / position::TICKS_PER_MS;
        let extras = draft.meta.as_ref().filter(|_| own.is_some());
        Self {
            id: Some(match &draft.id {
                Some(id) => id.strip_prefix(CHOSEN).unwrap_or(id).to_owned(),
                None => format!("{serial}:0"),
            }),
            name: (!draft.name.is_empty()).then(|| draft.name.to_string()),
            data,
            encoding,
            client_id: draft.client.as_ref().map(|client| client.to_string()),
            connection_id: draft.connection.map(position::connection),
            timestamp: Some(timestamp),
            extras: extras.and_then(|meta| serde_json::from_slice(meta).ok()),
            action: Some(0),
            version: Some(Version {
                serial: serial.clone(),
                timestamp,
            }),
            serial: Some(serial),
            connection_key: None,
        }
    }
}

/// What stands beside a payload, of a message or a presence message.
///
/// # Errors
/// 40032 for anything but an object.
pub(super) fn extras(said: Option<&Value>) -> Result<Option<&Value>, Fault> {
    match said {
        None | Some(Value::Null) => Ok(None),
        Some(extras @ Value::Object(_)) => Ok(Some(extras)),
        Some(_) => Err(Fault::new(40032, 400, "extras must be an object")),
    }
}

/// The ids of one publish: none, one, or `base:0`, `base:1`, ….
///
/// # Errors
/// 40031 for anything else.
pub(super) fn check_ids(messages: &[Message]) -> Result<(), Fault> {
    let bad = || {
        Fault::new(
            40031,
            400,
            "The ids of several messages must be base:0, base:1, …",
        )
    };
    let [first, _, ..] = messages else {
        return Ok(());
    };
    if messages.iter().all(|one| one.id.is_none()) {
        return Ok(());
    }
    let base = first.id.as_deref().and_then(|id| id.strip_suffix(":0"));
    let base = base.ok_or_else(bad)?;
    let mut numbered = messages.iter().enumerate();
    let fits = |(at, one): (usize, &Message)| one.id.as_deref() == Some(&format!("{base}:{at}"));
    match numbered.all(fits) {
        true => Ok(()),
        false => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::ids::{ConnectionId, Position};
    use proptest::prelude::*;

    fn through(message: &Message, into: Format) -> Message {
        let draft = message.draft(None, "c:0:0".into()).unwrap();
        let publication = Publication {
            draft: Box::new(Draft {
                connection: Some(ConnectionId(1, 2)),
                ..draft
            }),
            position: Position { epoch: 1, seq: 1 },
            timetoken: 10_000,
        };
        Message::of(&publication, into)
    }

    fn message(json: &str) -> Message {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn data_and_encoding_come_back_as_they_went_in() {
        for json in [
            r#"{"data":"hi"}"#,
            r#"{"data":"{\"a\":1}","encoding":"json"}"#,
            r#"{"data":"AAEC","encoding":"base64"}"#,
            r#"{"data":"AAEC","encoding":"utf-8/cipher+aes-128-cbc/base64"}"#,
            r#"{"name":"n"}"#,
            r#"{"data":""}"#,
        ] {
            let sent = message(json);
            let got = through(&sent, Format::Json);
            assert_eq!(
                (got.data, got.encoding, got.name),
                (sent.data, sent.encoding, sent.name),
                "{json}"
            );
        }
    }

    #[test]
    fn binary_is_transcoded_between_the_forms() {
        let packed = through(
            &message(r#"{"data":"AAEC","encoding":"base64"}"#),
            Format::MsgPack,
        );
        assert_eq!(
            (packed.data.clone(), packed.encoding.clone()),
            (Some(Data::Binary(vec![0, 1, 2])), None)
        );
        let bytes = Format::MsgPack.write(&packed);
        let read: Message = Format::MsgPack.read(&bytes).unwrap();
        assert_eq!(read.data, packed.data);
        let back = through(&read, Format::Json);
        assert_eq!(
            (back.data, back.encoding.as_deref()),
            (Some(Data::Text("AAEC".into())), Some("base64"))
        );
    }

    #[test]
    fn objects_in_place_become_json_text() {
        let got = through(
            &message(r#"{"data":{"a":[1]},"extras":{"headers":{"x":1}},"size":9}"#),
            Format::Json,
        );
        assert_eq!(
            (got.data, got.encoding.as_deref()),
            (Some(Data::Text(r#"{"a":[1]}"#.into())), Some("json"))
        );
        assert_eq!(got.extras, Some(serde_json::json!({"headers": {"x": 1}})));
    }

    #[test]
    fn chosen_ids_are_shown_as_chosen_and_never_pass_for_others() {
        assert_eq!(
            through(&message(r#"{"id":"c:0:0"}"#), Format::Json)
                .id
                .as_deref(),
            Some("c:0:0")
        );
        let chosen = message(r#"{"id":"c:0:0"}"#)
            .draft(None, String::new())
            .unwrap();
        let given = message("{}").draft(None, "c:0:0".into()).unwrap();
        assert_ne!(chosen.id, given.id);
        let ids = |ids: &[&str]| {
            let all: Vec<_> = ids
                .iter()
                .map(|id| message(&format!(r#"{{"id":"{id}"}}"#)))
                .collect();
            check_ids(&all).is_ok()
        };
        assert!(ids(&["a"]) && ids(&["a:0", "a:1"]) && !ids(&["a", "b"]) && !ids(&["a:0", "a:2"]));
    }

    proptest! {
        #[test]
        fn any_bytes_read_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Format::MsgPack.read::<Message>(&bytes);
            let _ = Format::Json.read::<Message>(&bytes);
        }
    }
}
