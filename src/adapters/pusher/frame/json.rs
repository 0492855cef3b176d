//! Small JSON tasks: a string out of a raw value, a raw value into a string.
//!
//! **Must never know:** any frame.

use crate::core::message::ContentKind;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

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
    let Str(text) = serde_json::from_str(raw.get()).ok()?;
    Some(text)
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
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing text to memory cannot fail; were it to, an unfinished string is refused by every reader.
    let _ = serde_json::to_writer(out, text);
}

/// Whether the text is one well-formed JSON value.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// What a payload is to subscribers who tell text from JSON: Pusher's clients send JSON as a string.
pub(crate) fn kind(text: &str) -> ContentKind {
    match is_json(text) {
        true => ContentKind::Json,
        false => ContentKind::Text,
    }
}
