//! Small JSON tasks: a string out of a raw value, a raw value into a string.
//!
//! **Why not serde for a string that needs no unescaping, or no escaping:** it looks at such a string byte by byte. These
//! two look at sixteen at a time, and they are most of what a message costs in this room.

use crate::core::message::ContentKind;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Bytes looked at together.
const CHUNK_BYTES: usize = 16;

/// A JSON string, borrowed when nothing in it was escaped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Str<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of a JSON object; `None` for anything else. (A derived struct would take an array as well.)
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let is_object = text.trim_start().starts_with('{');
    is_object.then(|| serde_json::from_str(text).ok()).flatten()
}

/// The text of a JSON string; `None` for any other kind of value.
pub(crate) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    // A raw value is well formed: between its quotes only a backslash stands for anything else.
    let within = text.strip_prefix('"')?.strip_suffix('"')?;
    if !any(within.as_bytes(), |byte| byte == b'\\') {
        return Some(Cow::Borrowed(within));
    }
    unescaped(text)
}

/// The text of a JSON string, quotes included; `None` when it is not well formed.
pub(super) fn unescaped(quoted: &str) -> Option<Cow<'_, str>> {
    let Str(text) = serde_json::from_str(quoted).ok()?;
    Some(text)
}

/// Where the first byte is that may not stand in a string as it is.
pub(super) fn special(bytes: &[u8]) -> Option<usize> {
    position(bytes, is_special)
}

/// A value as the string that Pusher carries: a string is itself, anything else its JSON text.
pub(crate) fn stringified(raw: &RawValue) -> Cow<'_, str> {
    string(raw).unwrap_or(Cow::Borrowed(raw.get()))
}

/// A user id: a non-empty string, or a number in its own digits.
pub(crate) fn id(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Some(Cow::Borrowed(text));
    }
    string(raw).filter(|id| !id.is_empty())
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = special(rest.as_bytes()) {
        // What is special is ASCII, so both sides are whole characters.
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(plain);
        let mut after = special.chars();
        if let Some(one) = after.next() {
            push_escaped(out, one);
        }
        rest = after.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// RFC 8259 §7: what may not stand in a string as it is.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escaped(out: &mut String, special: char) {
    match special {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        other => {
            let digit = |number: u32| char::from_digit(number & 0xf, 16).unwrap_or('0');
            out.push_str("\\u00");
            out.push(digit(u32::from(other) >> 4));
            out.push(digit(u32::from(other)));
        }
    }
}

/// Whether a byte is among these.
fn any(bytes: &[u8], is: impl Fn(u8) -> bool) -> bool {
    let (chunks, rest) = bytes.as_chunks::<CHUNK_BYTES>();
    chunks.iter().any(|chunk| has(chunk, &is)) || rest.iter().any(|byte| is(*byte))
}

/// Where the first such byte is.
fn position(bytes: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    let (chunks, rest) = bytes.as_chunks::<CHUNK_BYTES>();
    let clean = chunks.iter().take_while(|chunk| !has(chunk, &is)).count();
    let near = chunks.get(clean).map_or(rest, |chunk| chunk);
    let at = near.iter().position(|byte| is(*byte))?;
    Some(clean * CHUNK_BYTES + at)
}

/// Without an early way out, so that it is done for all bytes at once.
fn has(chunk: &[u8; CHUNK_BYTES], is: impl Fn(u8) -> bool) -> bool {
    chunk.iter().fold(false, |found, byte| found | is(*byte))
}

/// Whether the text is one well-formed JSON value.
pub(crate) fn is_json(text: &str) -> bool {
    // What no value begins with is told apart at once: making an error of it costs more than the look.
    let begins = |byte: &u8| {
        matches!(
            byte,
            b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'
        )
    };
    let first = text
        .as_bytes()
        .iter()
        .find(|byte| !byte.is_ascii_whitespace());
    first.is_some_and(begins) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// What a payload is to subscribers who tell text from JSON: Pusher's clients send JSON as a string.
pub(crate) fn kind(text: &str) -> ContentKind {
    match is_json(text) {
        true => ContentKind::Json,
        false => ContentKind::Text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_special_byte_is_escaped_as_serde_does() {
        for byte in 0..128_u8 {
            let text = format!("a{}z", char::from(byte));
            let mut out = String::new();
            push_string(&mut out, &text);
            assert_eq!(out, serde_json::to_string(&text).unwrap());
        }
    }

    proptest! {
        #[test]
        fn strings_go_out_and_come_back_as_they_were(text in r#"([a-zé"\\\x00-\x1f\u{1F600}]|[a-z]{20}){0,12}"#) {
            let mut out = String::new();
            push_string(&mut out, &text);
            prop_assert_eq!(&out, &serde_json::to_string(&text).unwrap());
            let raw: &RawValue = serde_json::from_str(&out).unwrap();
            prop_assert_eq!(string(raw).unwrap(), text);
        }
    }

    #[test]
    fn only_strings_are_strings() {
        for text in ["1", "null", "{\"a\":\"b\"}", "[\"a\"]", "true"] {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            assert_eq!(string(raw), None);
            assert_eq!(stringified(raw), text);
        }
    }
}
