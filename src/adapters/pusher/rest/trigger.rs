//! The bodies of `/events` and `/batch_events`, checked before anything is published.

use super::fault::Fault;
use super::info::Info;
use crate::adapters::pusher::{auth, channel_name, codes, encoder, frame::json, limits};
use crate::core::authority::App;
use crate::core::ids::{ConnectionId, Text};
use crate::core::message::Draft;
use crate::core::refusals::Rule;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One event for some channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    /// The name of the event.
    pub(super) name: Text,
    /// Its payload, as subscribers get it.
    pub(super) data: Bytes,
    /// Where to; at least one.
    pub(super) channels: Vec<String>,
    /// The connection that does not get it.
    pub(super) except: Option<ConnectionId>,
    /// What is asked about the channels, if `info` was given.
    pub(super) info: Option<Info>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default)]
    socket_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, default)]
    batch: Option<Vec<&'a RawValue>>,
}

/// Reads and checks the body of `/events`.
///
/// # Errors
/// 400 with what is wrong, 413 for too much data.
pub(super) fn event(body: &[u8], app: &App) -> Result<Trigger, Fault> {
    let body: Body<'_> = json::object(text(body)?).ok_or_else(no_object)?;
    let channels = match (body.channels, body.channel) {
        (Some(list), None) => serde_json::from_str(list.get())
            .map_err(|_| Fault::bad("Invalid channels: must be a list of strings"))?,
        (None, Some(one)) => vec![string(one, "channel")?],
        (None, None) => return Err(Fault::bad("Missing required parameter: channels")),
        (Some(_), Some(_)) => return Err(Fault::bad("Give channels or channel, not both")),
    };
    trigger(&body, channels, app)
}

/// Reads and checks the body of `/batch_events`: all events are good, or none is published.
///
/// # Errors
/// As [`event`], with the place of the first bad one.
pub(super) fn batch(body: &[u8], app: &App) -> Result<Vec<Trigger>, Fault> {
    let batch: Batch<'_> = json::object(text(body)?).ok_or_else(no_object)?;
    let batch = batch
        .batch
        .ok_or_else(|| Fault::bad("Missing required parameter: batch"))?;
    let max = limits::EVENTS_PER_BATCH.of(app);
    if batch.len() as u64 > max {
        let text = format!("The batch exceeds the allowed maximum ({max} events)");
        return Err(Fault::bad(text));
    }
    let read = |(index, raw): (usize, &RawValue)| {
        let read = || {
            let body: Body<'_> = json::object(raw.get()).ok_or_else(no_object)?;
            let missing = || Fault::bad("Missing required parameter: channel");
            let channel = string(body.channel.ok_or_else(missing)?, "channel")?;
            trigger(&body, vec![channel], app)
        };
        read().map_err(|fault: Fault| {
            let text = format!("batch[{index}]: {}", fault.text);
            Fault::new(fault.status, text).because(fault.why)
        })
    };
    batch.into_iter().enumerate().map(read).collect()
}

fn trigger(body: &Body<'_>, channels: Vec<String>, app: &App) -> Result<Trigger, Fault> {
    check_channels(&channels, app)?;
    let missing = |name: &str| Fault::bad(format!("Missing required parameter: {name}"));
    let name = string(body.name.ok_or_else(|| missing("name"))?, "name")?;
    check_name(&name, app)?;
    let data = json::stringified(body.data.ok_or_else(|| missing("data"))?);
    let max = limits::EVENT_BYTES.of(app);
    if data.len() as u64 > max {
        let text =
            format!("The data content of this event exceeds the allowed maximum ({max} bytes).");
        return Err(Fault::new(413, text).because(Rule::MessageTooLarge));
    }
    let except = match body.socket_id.map(|raw| string(raw, "socket_id")) {
        Some(text) => auth::parse_socket_id(&text?)
            .map_err(|()| Fault::bad("Invalid socket_id: must be of the form 123.456"))?,
        None => None,
    };
    let info = match body.info.map(|raw| string(raw, "info")) {
        Some(text) => Some(Info::parse(&text?)?),
        None => None,
    };
    Ok(Trigger {
        name: name.into(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        channels,
        except,
        info,
    })
}

fn check_channels(channels: &[String], app: &App) -> Result<(), Fault> {
    let max = limits::CHANNELS_PER_EVENT.of(app);
    if channels.is_empty() {
        return Err(Fault::bad("Missing required parameter: channels"));
    }
    if channels.len() as u64 > max {
        let text = format!("The channels exceed the allowed maximum ({max} channels)");
        return Err(Fault::bad(text).because(Rule::LimitReached));
    }
    channels
        .iter()
        .try_for_each(|name| check_channel(name, app))
}

/// Whether events may be sent to a channel of this name: a channel, or a user's inbox.
pub(super) fn check_channel(name: &str, app: &App) -> Result<(), Fault> {
    let good = match channel_name::inbox_user(name) {
        Some(user) => !user.is_empty() && user.len() as u64 <= limits::USER_ID_BYTES.of(app),
        None => channel_name::is_valid(name, limits::CHANNEL_NAME_BYTES.of(app)),
    };
    let bad = || {
        let quoted = Value::from(codes::clip(name, 200));
        Fault::bad(format!("Invalid channel name: {quoted}")).because(Rule::ChannelName)
    };
    good.then_some(()).ok_or_else(bad)
}

fn check_name(name: &str, app: &App) -> Result<(), Fault> {
    let max = limits::EVENT_NAME_BYTES.of(app);
    if name.is_empty() {
        return Err(Fault::bad("Missing required parameter: name"));
    }
    if name.len() as u64 > max {
        let text = format!("The event name exceeds the allowed maximum ({max} bytes)");
        return Err(Fault::bad(text));
    }
    if encoder::is_reserved(name) {
        let text = "Invalid event name: pusher: and pusher_internal: are reserved";
        return Err(Fault::bad(text));
    }
    Ok(())
}

fn text(body: &[u8]) -> Result<&str, Fault> {
    let broken = || Fault::bad("The body is not UTF-8").because(Rule::BadMessage);
    std::str::from_utf8(body).map_err(|_| broken())
}

fn no_object() -> Fault {
    let text = "Could not parse the body: not a JSON object of the expected shape";
    Fault::bad(text).because(Rule::BadMessage)
}

fn string(raw: &RawValue, name: &str) -> Result<String, Fault> {
    json::string(raw)
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| Fault::bad(format!("Invalid {name}: must be a string")))
}

impl Trigger {
    /// The message for one of its channels.
    pub(super) fn draft(&self, channel: &str, app: &App) -> Draft {
        let data = std::str::from_utf8(&self.data).unwrap_or_default();
        Draft {
            id: None,
            name: self.name.clone(),
            data: self.data.clone(),
            kind: json::kind(data),
            meta: None,
            client: None,
            connection: None,
            except: self.except,
            store: true,
            retain_ms: channel_name::is_cache(channel).then(|| limits::CACHE_MS.of(app)),
            tag: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::pusher::fixture;

    fn read(body: &str) -> Result<Trigger, Fault> {
        event(body.as_bytes(), &fixture::app())
    }

    fn refused(body: &str) -> (u16, String) {
        let fault = read(body).unwrap_err();
        (fault.status, fault.text.into_owned())
    }

    #[test]
    fn events_as_the_libraries_send_them() {
        let trigger = read(r#"{"name":"e3","data":"{\"x\":1}","channels":["news","other"],"socket_id":"12.34","info":"subscription_count"}"#).unwrap();
        assert_eq!((&*trigger.name, &*trigger.data), ("e3", &b"{\"x\":1}"[..]));
        assert_eq!(trigger.channels, ["news", "other"]);
        assert_eq!(trigger.except, Some(ConnectionId(12, 34)));
        assert!(trigger.info.unwrap().subscription_count);
        let cached = trigger.draft("private-cache-x", &fixture::app());
        assert_eq!(cached.retain_ms, Some(1_800_000));
        assert_eq!(trigger.draft("news", &fixture::app()).retain_ms, None);
    }

    #[test]
    fn other_clients_may_send_one_channel_and_plain_json() {
        let trigger =
            read(r##"{"name":"e","data":{"x": [1]},"channel":"#server-to-user-u 1","more":1}"##)
                .unwrap();
        assert_eq!((&*trigger.data, trigger.info), (&b"{\"x\": [1]}"[..], None));
        assert_eq!(trigger.channels, ["#server-to-user-u 1"]);
    }

    #[test]
    fn bad_events_are_named() {
        let not_json = "Could not parse the body: not a JSON object of the expected shape";
        for body in ["", "[]", "{", "null", "[1,2,3,4,5,6]"] {
            assert_eq!(refused(body), (400, not_json.into()), "{body}");
        }
        let cases = [
            (
                r#"{"name":"e","data":"x"}"#,
                "Missing required parameter: channels",
            ),
            (
                r#"{"name":"e","data":"x","channels":[]}"#,
                "Missing required parameter: channels",
            ),
            (
                r#"{"name":"e","data":"x","channels":"a"}"#,
                "Invalid channels: must be a list of strings",
            ),
            (
                r#"{"name":"e","data":"x","channels":["a"],"channel":"b"}"#,
                "Give channels or channel, not both",
            ),
            (
                r#"{"name":"e","data":"x","channel":"a b"}"#,
                "Invalid channel name: \"a b\"",
            ),
            (
                r##"{"name":"e","data":"x","channel":"#server-to-user-"}"##,
                "Invalid channel name: \"#server-to-user-\"",
            ),
            (
                r#"{"data":"x","channel":"a"}"#,
                "Missing required parameter: name",
            ),
            (
                r#"{"name":"","data":"x","channel":"a"}"#,
                "Missing required parameter: name",
            ),
            (
                r#"{"name":1,"data":"x","channel":"a"}"#,
                "Invalid name: must be a string",
            ),
            (
                r#"{"name":"pusher:x","data":"x","channel":"a"}"#,
                "Invalid event name: pusher: and pusher_internal: are reserved",
            ),
            (
                r#"{"name":"e","channel":"a"}"#,
                "Missing required parameter: data",
            ),
            (
                r#"{"name":"e","data":"x","channel":"a","socket_id":"1"}"#,
                "Invalid socket_id: must be of the form 123.456",
            ),
            (
                r#"{"name":"e","data":"x","channel":"a","socket_id":1}"#,
                "Invalid socket_id: must be a string",
            ),
            (
                r#"{"name":"e","data":"x","channel":"a","info":"x"}"#,
                "Invalid info: known are user_count, subscription_count and cache",
            ),
        ];
        for (body, text) in cases {
            assert_eq!(refused(body), (400, text.into()), "{body}");
        }
        assert_eq!(
            event(b"\xff", &fixture::app()).unwrap_err().text,
            "The body is not UTF-8"
        );
    }

    #[test]
    fn limits_are_those_of_the_app() {
        let data = |bytes: usize| {
            format!(
                r#"{{"name":"e","channel":"a","data":"{}"}}"#,
                "x".repeat(bytes)
            )
        };
        assert!(read(&data(10_240)).is_ok());
        let text = "The data content of this event exceeds the allowed maximum (10240 bytes).";
        assert_eq!(refused(&data(10_241)), (413, text.into()));
        let channels = |n: usize| {
            format!(
                r#"{{"name":"e","data":"","channels":[{}]}}"#,
                vec!["\"a\""; n].join(",")
            )
        };
        assert!(read(&channels(100)).is_ok());
        assert_eq!(
            refused(&channels(101)),
            (
                400,
                "The channels exceed the allowed maximum (100 channels)".into()
            )
        );
        let name = |n: usize| format!(r#"{{"name":"{}","data":"","channel":"a"}}"#, "e".repeat(n));
        assert!(read(&name(200)).is_ok());
        assert_eq!(refused(&name(201)).0, 400);
        let mut app = fixture::app();
        fixture::set(&mut app, "event_bytes", 20_000);
        assert!(event(data(20_000).as_bytes(), &app).is_ok());
    }

    #[test]
    fn batches_are_bounded_and_good_as_a_whole() {
        let app = fixture::app();
        let event = r#"{"channel":"a","name":"e","data":"x"}"#;
        let body = |n: usize| format!(r#"{{"batch":[{}]}}"#, vec![event; n].join(","));
        assert_eq!(batch(body(10).as_bytes(), &app).unwrap().len(), 10);
        let over = batch(body(11).as_bytes(), &app).unwrap_err();
        assert_eq!(
            over,
            Fault::bad("The batch exceeds the allowed maximum (10 events)")
        );
        let mixed = format!(r#"{{"batch":[{event},{{"name":"e","data":"x"}}]}}"#);
        let fault = batch(mixed.as_bytes(), &app).unwrap_err();
        assert_eq!(
            fault,
            Fault::bad("batch[1]: Missing required parameter: channel")
        );
        assert_eq!(batch(b"{}", &app).unwrap_err().status, 400);
        assert_eq!(batch(b"{\"batch\":{}}", &app).unwrap_err().status, 400);
    }
}
