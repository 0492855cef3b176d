//! A client frame's outermost object: `event`, `channel`, `data`.
//!
//! **Why two ways to read it:** what the SDKs write (no white space, no other members) is read in one pass that hands
//! strings on where they stand. Anything else, and everything that is wrong, is left to serde; a test holds that
//! both ways read the same.

use super::json;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The object, as far as this dialect reads it.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) event: Option<Value<'a>>,
    pub(super) channel: Option<Value<'a>>,
    pub(super) data: Option<Value<'a>>,
}

/// A member's value.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// Anything else but null, which counts as absent.
    Other(&'a RawValue),
}

impl<'a> Value<'a> {
    /// The string, if it is one.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) => None,
        }
    }

    /// As the string that Pusher carries: a string is itself, anything else its JSON text.
    pub(crate) fn stringified(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Other(raw) => raw.get(),
        }
    }
}

impl<'a> Envelope<'a> {
    /// `None` for anything but one JSON object.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        quick(text).or_else(|| careful(text))
    }
}

/// What the SDKs write; `None` for anything else.
fn quick(text: &str) -> Option<Envelope<'_>> {
    let mut envelope = Envelope::default();
    let mut rest = text.strip_prefix('{')?;
    loop {
        let (place, after) = if let Some(after) = rest.strip_prefix("\"event\":") {
            (&mut envelope.event, after)
        } else if let Some(after) = rest.strip_prefix("\"channel\":") {
            (&mut envelope.channel, after)
        } else {
            (&mut envelope.data, rest.strip_prefix("\"data\":")?)
        };
        let (value, after) = value(after)?;
        if place.replace(value).is_some() {
            return None;
        }
        if after == "}" {
            return Some(envelope);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// The value that the text begins with, and what follows it.
fn value(text: &str) -> Option<(Value<'_>, &str)> {
    match text.as_bytes().first()? {
        b'"' => string(text).map(|(text, after)| (Value::Text(text), after)),
        b'n' => None,
        _ => {
            let mut values = serde_json::Deserializer::from_str(text).into_iter();
            let raw = values.next()?.ok()?;
            Some((Value::Other(raw), text.get(values.byte_offset()..)?))
        }
    }
}

/// The string that the text begins with, and what follows it.
fn string(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let within = text.strip_prefix('"')?;
    let (mut at, mut escaped) = (0, false);
    loop {
        at += json::special(within.as_bytes().get(at..)?)?;
        match within.as_bytes().get(at)? {
            b'"' => break,
            b'\\' => (at, escaped) = (at + 2, true),
            _ => return None,
        }
    }
    let after = within.get(at + 1..)?;
    let found = match escaped {
        false => Cow::Borrowed(within.get(..at)?),
        true => json::unescaped(text.get(..at + 2)?)?,
    };
    Some((found, after))
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

fn careful(text: &str) -> Option<Envelope<'_>> {
    let members: Members<'_> = json::object(text)?;
    let value = |raw| json::string(raw).map_or(Value::Other(raw), Value::Text);
    Some(Envelope {
        event: members.event.map(value),
        channel: members.channel.map(value),
        data: members.data.map(value),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn shown(envelope: &Envelope<'_>) -> String {
        let of = |value: &Option<Value<'_>>| match value {
            Some(Value::Text(text)) => format!("text {text:?}"),
            Some(Value::Other(raw)) => format!("other {raw}"),
            None => "none".to_owned(),
        };
        [&envelope.event, &envelope.channel, &envelope.data]
            .map(of)
            .join(", ")
    }

    #[test]
    fn what_sdks_write_is_read_in_one_pass() {
        for frame in [
            r#"{"event":"client-a","channel":"private-x","data":"plain text, long enough for two looks"}"#,
            r#"{"event":"client-a","data":{"a":[1,"}"],"b":null},"channel":"private-x"}"#,
            r#"{"event":"client-a","channel":"private-x","data":"{\"a\":\"\u00e9\\\\\"}"}"#,
            r#"{"event":"pusher:ping","data":{}}"#,
            r#"{"data":-1.5e3,"event":"x"}"#,
        ] {
            let read = quick(frame).unwrap();
            assert_eq!(shown(&read), shown(&careful(frame).unwrap()));
        }
    }

    #[test]
    fn the_rest_is_left_to_the_careful() {
        for frame in [
            r#"{ "event":"x"}"#,
            r#"{"event":"x"} "#,
            r#"{"event":"x","more":1}"#,
            r#"{"event":"x","event":"y"}"#,
            r#"{"event":null}"#,
            r#"{"event":"\x"}"#,
            "{\"event\":\"a\nb\"}",
            r#"{"event":"x""#,
            r#"{"event":"x","#,
            r#"{"event":"x\"#,
            r#"{"event"}"#,
            r#"{"event":1x}"#,
            "{}",
            "",
            "[]",
        ] {
            assert!(quick(frame).is_none(), "{frame}");
        }
    }

    /// Pieces of frames, in an order that is nearly right now and then.
    const PIECES: [&str; 31] = [
        r#""event":"client-a""#,
        r#""channel":"private-x""#,
        r#""data":{"a":1}"#,
        r#""data":"x\ny""#,
        ",",
        ",",
        ",",
        "{",
        "}",
        ":",
        r#""event""#,
        r#""data""#,
        r#""x""#,
        r#""a\"b\\""#,
        r#""\u00e9é""#,
        r#""\ud800""#,
        "null",
        "1",
        "-0.5e2",
        "tru",
        "true",
        "{}",
        r#"{"a":[1,{}]}"#,
        "[",
        "]",
        " ",
        "\"",
        "\\",
        "\u{7}",
        "é",
        "a string that is looked at more than once",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn both_ways_read_the_same(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..12), whole in any::<bool>()) {
            let text = pieces.concat();
            let text = if whole { format!("{{{text}}}") } else { text };
            if let Some(read) = quick(&text) {
                let careful = careful(&text);
                prop_assert!(careful.is_some(), "only the quick way took it: {text}");
                prop_assert_eq!(shown(&read), shown(&careful.unwrap()));
            }
        }
    }
}
