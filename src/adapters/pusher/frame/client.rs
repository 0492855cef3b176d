//! The frames that clients send, as far as they can be understood without judging anybody.

use super::envelope::Envelope;
pub(crate) use super::envelope::Value;
use super::json;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A frame that makes sense.
#[derive(Debug)]
pub(crate) enum Command<'a> {
    /// The command `pusher:subscribe`.
    Subscribe(Subscribe),
    /// The command `pusher:unsubscribe`.
    Unsubscribe {
        /// The channel it is about.
        channel: String,
    },
    /// The command `pusher:signin`.
    SignIn(SignIn),
    /// The command `pusher:ping`.
    Ping,
    /// The command `pusher:pong`.
    Pong,
    /// An event of the client's own, `client-…`.
    Event(ClientEvent<'a>),
    /// A command that this broker does not serve.
    Unsupported {
        /// Its name, as it is written on the wire.
        event: Cow<'a, str>,
    },
}

/// The data of `pusher:subscribe`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscribe {
    /// The channel it is about.
    pub(crate) channel: String,
    /// `key:signature`; empty and absent are the same.
    pub(crate) auth: Option<String>,
    /// Exactly as it was signed.
    pub(crate) channel_data: Option<String>,
}

/// The data of `pusher:signin`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SignIn {
    /// The key and the signature, `key:signature`.
    pub(crate) auth: String,
    /// Exactly as it was signed.
    pub(crate) user_data: String,
}

/// A client event.
#[derive(Debug)]
pub(crate) struct ClientEvent<'a> {
    /// Its name, `client-` included.
    pub(crate) event: Cow<'a, str>,
    /// To which channel.
    pub(crate) channel: Cow<'a, str>,
    /// The data as the client wrote it.
    pub(crate) data: Option<Value<'a>>,
}

/// Why a frame makes no sense, for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default)]
    auth: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channel_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_data: Option<&'a RawValue>,
}

/// Reads a frame.
///
/// # Errors
/// When it is no JSON object, or a member that is needed is missing or of the wrong kind.
pub(crate) fn parse(text: &str) -> Result<Command<'_>, Malformed> {
    let envelope = Envelope::read(text).ok_or(Malformed("Malformed message: not a JSON object"))?;
    let event = envelope
        .event
        .ok_or(Malformed("Malformed message: `event` is missing"))?;
    let event = event
        .text()
        .ok_or(Malformed("Malformed message: `event` is no string"))?;
    match &*event {
        "pusher:subscribe" => subscribe(envelope.data).map(Command::Subscribe),
        "pusher:unsubscribe" => unsubscribe(envelope.data),
        "pusher:signin" => sign_in(envelope.data).map(Command::SignIn),
        "pusher:ping" => Ok(Command::Ping),
        "pusher:pong" => Ok(Command::Pong),
        _ if event.starts_with("client-") => {
            let channel = envelope
                .channel
                .ok_or(Malformed("Malformed client event: `channel` is missing"))?;
            let channel = channel
                .text()
                .ok_or(Malformed("Malformed client event: `channel` is no string"))?;
            Ok(Command::Event(ClientEvent {
                event,
                channel,
                data: envelope.data,
            }))
        }
        _ => Ok(Command::Unsupported { event }),
    }
}

/// Reads command data, given as an object or as a string holding one.
fn data<T>(
    value: Option<Value<'_>>,
    read: impl FnOnce(Data<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let otherwise = "Malformed message: `data` is neither an object nor a string holding one";
    let value = value.ok_or(Malformed("Malformed message: `data` is missing"))?;
    let object = json::object(value.stringified());
    read(object.ok_or(Malformed(otherwise))?)
}

fn text(raw: Option<&RawValue>, otherwise: &'static str) -> Result<Option<String>, Malformed> {
    raw.map(|raw| {
        json::string(raw)
            .map(Cow::into_owned)
            .ok_or(Malformed(otherwise))
    })
    .transpose()
}

fn channel(raw: Option<&RawValue>) -> Result<String, Malformed> {
    text(raw, "Malformed message: `channel` is no string")?
        .ok_or(Malformed("Malformed message: `channel` is missing"))
}

fn subscribe(value: Option<Value<'_>>) -> Result<Subscribe, Malformed> {
    data(value, |data| {
        let auth = text(data.auth, "Malformed subscription: `auth` is no string")?;
        let otherwise = "Malformed subscription: `channel_data` is no string";
        Ok(Subscribe {
            channel: channel(data.channel)?,
            auth: auth.filter(|auth| !auth.is_empty()),
            channel_data: text(data.channel_data, otherwise)?,
        })
    })
}

fn unsubscribe<'a>(value: Option<Value<'_>>) -> Result<Command<'a>, Malformed> {
    data(value, |data| {
        channel(data.channel).map(|channel| Command::Unsubscribe { channel })
    })
}

fn sign_in(value: Option<Value<'_>>) -> Result<SignIn, Malformed> {
    data(value, |data| {
        let auth = text(data.auth, "Malformed sign-in: `auth` is no string")?;
        let user_data = text(
            data.user_data,
            "Malformed sign-in: `user_data` is no string",
        )?;
        Ok(SignIn {
            auth: auth.ok_or(Malformed("Malformed sign-in: `auth` is missing"))?,
            user_data: user_data.ok_or(Malformed("Malformed sign-in: `user_data` is missing"))?,
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn malformed(text: &str) -> &'static str {
        parse(text).unwrap_err().0
    }

    #[test]
    fn data_is_an_object_or_a_string_holding_one() {
        let wanted = Subscribe {
            channel: "private-x".into(),
            auth: Some("k:s".into()),
            channel_data: Some("{\"user_id\":\"1\"}".into()),
        };
        for frame in [
            r#" {"event":"pusher:subscribe","data":{"auth":"k:s","channel_data":"{\"user_id\":\"1\"}","channel":"private-x","more":[{}]},"x":1}"#,
            r#"{"data":"{\"auth\":\"k:s\",\"channel_data\":\"{\\\"user_id\\\":\\\"1\\\"}\",\"channel\":\"private-x\"}","event":"pusher:subscribe"}"#,
        ] {
            let Command::Subscribe(got) = parse(frame).unwrap() else {
                panic!("{frame}")
            };
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn public_subscriptions_carry_an_empty_auth() {
        let frame = r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"news"}}"#;
        let Command::Subscribe(got) = parse(frame).unwrap() else {
            panic!()
        };
        assert_eq!((got.auth, got.channel_data), (None, None));
    }

    #[test]
    fn escaped_event_names_are_understood() {
        let frame = r#"{"event":"pusher:\u0070ing"}"#;
        assert!(matches!(parse(frame).unwrap(), Command::Ping));
    }

    #[test]
    fn every_malformation_is_named() {
        let object = "Malformed message: not a JSON object";
        for text in [
            "",
            "nope",
            "[]",
            "\"x\"",
            "{",
            "{\"event\":\"a\",\"event\":\"b\"}",
            "[\"pusher:ping\"]",
            "null",
            "\u{0}",
        ] {
            assert_eq!(malformed(text), object, "{text}");
        }
        let cases = [
            ("{}", "Malformed message: `event` is missing"),
            (r#"{"event":null}"#, "Malformed message: `event` is missing"),
            (r#"{"event":1}"#, "Malformed message: `event` is no string"),
            (
                r#"{"event":"client-x"}"#,
                "Malformed client event: `channel` is missing",
            ),
            (
                r#"{"event":"client-x","channel":{}}"#,
                "Malformed client event: `channel` is no string",
            ),
            (
                r#"{"event":"pusher:subscribe"}"#,
                "Malformed message: `data` is missing",
            ),
            (
                r#"{"event":"pusher:subscribe","data":[]}"#,
                "Malformed message: `data` is neither an object nor a string holding one",
            ),
            (
                r#"{"event":"pusher:subscribe","data":"x"}"#,
                "Malformed message: `data` is neither an object nor a string holding one",
            ),
            (
                r#"{"event":"pusher:subscribe","data":{}}"#,
                "Malformed message: `channel` is missing",
            ),
            (
                r#"{"event":"pusher:unsubscribe","data":{"channel":7}}"#,
                "Malformed message: `channel` is no string",
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"a","auth":1}}"#,
                "Malformed subscription: `auth` is no string",
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"a","channel_data":{}}}"#,
                "Malformed subscription: `channel_data` is no string",
            ),
            (
                r#"{"event":"pusher:signin","data":{}}"#,
                "Malformed sign-in: `auth` is missing",
            ),
            (
                r#"{"event":"pusher:signin","data":{"auth":""}}"#,
                "Malformed sign-in: `user_data` is missing",
            ),
            (
                r#"{"event":"pusher:signin","data":{"auth":"","user_data":{}}}"#,
                "Malformed sign-in: `user_data` is no string",
            ),
        ];
        for (frame, text) in cases {
            assert_eq!(malformed(frame), text, "{frame}");
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!(
            "{{\"event\":\"client-x\",\"channel\":\"a\",\"data\":{}",
            "[".repeat(90_000)
        );
        assert_eq!(malformed(&deep), "Malformed message: not a JSON object");
        let closed = format!("{deep}{}}}", "]".repeat(90_000));
        assert!(matches!(parse(&closed), Ok(Command::Event(_))));
    }
}
