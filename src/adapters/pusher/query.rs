//! Query strings, the way Pusher signs them: percent-decoded, `+` stays `+`.
//!
//! **Why not the framework's:** it reads forms, in which `+` is a space, and the signatures would differ.

use std::borrow::Cow;

/// A name and its value; borrowed where nothing was escaped.
pub(super) type Pair<'q> = (Cow<'q, str>, Cow<'q, str>);

/// Name and value pairs in the order given; `None` when one does not decode to UTF-8.
pub(super) fn parse(raw: &str) -> Option<Vec<Pair<'_>>> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// Percent-decodes; `None` for broken escapes' UTF-8. A `%` that starts no escape stands for itself.
pub(super) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(raw.into());
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_is_a_plus_and_escapes_are_undone() {
        let pairs = parse("a=1+2&b=%7B%22x%22%3A1%7D&&c&d=%C3%BC&e=50%&f=a=b");
        let expected = [
            ("a", "1+2"),
            ("b", "{\"x\":1}"),
            ("c", ""),
            ("d", "ü"),
            ("e", "50%"),
            ("f", "a=b"),
        ];
        let expected = expected.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(pairs, Some(expected.to_vec()));
        assert_eq!(parse("a=%ff"), None);
        assert_eq!(decode("%4"), Some("%4".into()));
        assert_eq!(decode("%zz%25"), Some("%zz%".into()));
    }
}
