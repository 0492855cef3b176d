//! Request bodies: a form whatever the content type says, or the one JSON object that a client posts.

use super::fault::Fault;
use crate::adapters::realtime::auth;
use crate::core::authority::State;
use crate::core::refusals::Rule;
use serde_json::Value;

/// Fields in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(pub(super) Vec<(String, String)>);

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 when it is not UTF-8, or JSON of another shape.
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body).map_err(|_| Fault::bad("The body is not UTF-8"))?;
        if text.trim_start().starts_with('{') {
            return json(text);
        }
        let pairs = text.trim_end().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        };
        let pairs: Option<Vec<_>> = pairs.map(pair).collect();
        pairs
            .map(Self)
            .ok_or_else(|| Fault::bad("The body is not UTF-8"))
    }

    /// A field's value; the first counts.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A fault, with the app and channel that the form names.
    pub(super) fn of(&self, fault: Fault, state: &State) -> Fault {
        let app = self.get("AK").and_then(|key| auth::named(state, key));
        fault.of(app.map(|app| app.id), self.get("C"))
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// 400 naming it.
    pub(super) fn need(&self, name: &str) -> Result<&str, Fault> {
        let value = self.get(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Fault::bad(format!("{name} is missing")))
    }
}

fn json(text: &str) -> Result<Form, Fault> {
    let text_of = "The body is no JSON object of texts and numbers";
    let bad = || Fault::bad(text_of).because(Rule::BadMessage);
    let fields: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|_| bad())?;
    let field = |(name, value): (String, Value)| match value {
        Value::String(text) => Some((name, text)),
        Value::Number(number) => Some((name, number.to_string())),
        Value::Bool(on) => Some((name, u8::from(on).to_string())),
        Value::Null => Some((name, String::new())),
        Value::Array(_) | Value::Object(_) => None,
    };
    let fields: Option<Vec<_>> = fields.into_iter().map(field).collect();
    fields.map(Form).ok_or_else(bad)
}

/// Undoes a form's escapes. A `%` that starts none stands for itself: most clients write values as they are.
pub(super) fn decode(raw: &str) -> Option<String> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        rest = match (first, escaped) {
            (_, Some((high, low))) => {
                out.push(high << 4 | low);
                tail.get(2..).unwrap_or_default()
            }
            (b'+', None) => {
                out.push(b' ');
                tail
            }
            (byte, None) => {
                out.push(byte);
                tail
            }
        };
    }
    String::from_utf8(out).ok()
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_clients_body_is_read() {
        let form = Form::read(b"AT=t1&PVT=0&AK=sec&main%3A*=w&raw:x=rp&M=a+b%2B%zz\n").unwrap();
        assert_eq!(form.get("main:*"), Some("w"));
        assert_eq!(form.get("raw:x"), Some("rp"));
        assert_eq!(form.get("M"), Some("a b+%zz"));
        let json = Form::read(br#" {"privatekey":"pk","metadata":1,"x":true}"#).unwrap();
        assert_eq!(
            (json.get("privatekey"), json.get("metadata")),
            (Some("pk"), Some("1"))
        );
        assert_eq!(json.get("x"), Some("1"));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        assert!(Form::read(b"a=%ff").is_err());
        assert!(Form::read(b"\xff").is_err());
        assert!(Form::read(br#"{"a":[]}"#).is_err());
        assert!(Form::read(b"").unwrap().need("AK").is_err());
    }
}
