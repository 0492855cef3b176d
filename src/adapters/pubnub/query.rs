//! Queries and path segments exactly as PubNub's clients write them.
//!
//! **Why not the usual form decoder:** it reads `+` as a space and may split on a second `=`; clients send both
//! characters bare, in tokens and channel names.

/// One parameter of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair<'q> {
    /// The name with its escapes undone.
    pub(super) name: String,
    /// The text as it was received, still escaped.
    pub(super) raw: &'q str,
    /// The value with its escapes undone.
    pub(super) value: String,
}

/// A whole query; no name twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query<'q>(pub(super) Vec<Pair<'q>>);

impl<'q> Query<'q> {
    /// Reads it. `None` when it is not UTF-8 or names something twice: what was signed would be unclear.
    pub(super) fn parse(text: &'q str) -> Option<Self> {
        let mut pairs: Vec<Pair<'q>> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, raw) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name)?;
            if pairs.len() >= MAX_PAIRS || pairs.iter().any(|pair| pair.name == name) {
                return None;
            }
            let value = decode(raw)?;
            pairs.push(Pair { name, raw, value });
        }
        Some(Self(pairs))
    }

    /// A parameter's decoded value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|pair| pair.name == name);
        pair.map(|pair| pair.value.as_str())
    }

    /// As [`Self::get`], without empty ones.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A list: decoded, then split at commas (clients send them bare or escaped).
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let value = self.get(name).unwrap_or_default();
        value.split(',').filter(|part| !part.is_empty()).collect()
    }

    /// Whether a flag is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true"))
    }

    /// The number that a parameter says, if it says one.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// More parameters than any client sends.
const MAX_PAIRS: usize = 64;

/// Decodes `%XX` and nothing else; `None` when it is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (ahead.next().and_then(hex), ahead.next().and_then(hex));
        match (byte, digits) {
            (b'%', (Some(high), Some(low))) => {
                out.push(high << 4 | low);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// A list in the path. Some clients write its commas bare and some as `%2C`; no name can hold one.
pub(super) fn path_list(segment: &str) -> Option<Vec<String>> {
    let names = decode(segment)?;
    let names = names.split(',').filter(|name| !name.is_empty());
    Some(names.map(str::to_owned).collect())
}

/// Escapes everything but `A-Z a-z 0-9 - _ .`.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte));
            }
            other => {
                out.push('%');
                for digit in [other >> 4, other & 15] {
                    let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                    out.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_plus_and_commas_survive() {
        let query =
            Query::parse("auth=qE+F2==&channel=a%2Cb&channel-group=g1,g%202&ee=&x").unwrap();
        assert_eq!(query.get("auth"), Some("qE+F2=="));
        assert_eq!(query.list("channel"), ["a", "b"]);
        assert_eq!(query.list("channel-group"), ["g1", "g 2"]);
        assert_eq!((query.get("ee"), query.given("ee")), (Some(""), None));
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(Query::parse("a=1&a=2"), None);
        assert_eq!(Query::parse("a=%ff"), None);
    }

    #[test]
    fn path_lists_have_bare_or_escaped_commas() {
        assert_eq!(
            path_list("a%2Cb,c%2Fd,room.%2A").unwrap(),
            ["a", "b", "c/d", "room.*"]
        );
        assert_eq!(path_list(",").unwrap(), Vec::<String>::new());
        assert_eq!(decode("100%, 5%zz%41").unwrap(), "100%, 5%zzA");
    }

    #[test]
    fn strict_escapes_are_upper_case() {
        assert_eq!(encode("a ~*ü-_.,"), "a%20%7E%2A%C3%BC-_.%2C");
    }
}
