//! Texts as this dialect writes them: JSON inside a JSON string, and UTF-16 halves that must survive.
//!
//! Two of the clients cut long messages at UTF-16 units, so an emoji on the cut arrives as a lone surrogate
//! escape in one part and its other half in the next. Such halves are kept as the three bytes a
//! general UTF-8 encoder would write (WTF-8) and written back as the escapes they came as.
//!
//! **Why not `serde_json` for these strings:** it refuses lone surrogates, as it should; and the strictest clients
//! match the raw escaped text, byte for byte.

/// Why a text is no JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAString;

/// Decodes one JSON string literal, quotes included, and returns what follows it.
pub(super) fn decode(literal: &str) -> Result<(Vec<u8>, &str), NotAString> {
    let mut rest = literal.strip_prefix('"').ok_or(NotAString)?;
    let mut bytes = Vec::with_capacity(rest.len());
    loop {
        let plain = rest.find(['"', '\\']).ok_or(NotAString)?;
        let (before, from) = rest.split_at(plain);
        bytes.extend_from_slice(before.as_bytes());
        if let Some(after) = from.strip_prefix('"') {
            return Ok((bytes, after));
        }
        rest = escape(from.strip_prefix('\\').ok_or(NotAString)?, &mut bytes)?;
    }
}

/// Decodes the escape after a backslash.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, NotAString> {
    let kind = text.chars().next().ok_or(NotAString)?;
    let rest = text.get(kind.len_utf8()..).ok_or(NotAString)?;
    let plain = match kind {
        '"' | '\\' | '/' => kind,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => return unicode(rest, bytes),
        _ => return Err(NotAString),
    };
    bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

/// Decodes `XXXX` and, behind a high half, the `\uXXXX` of its low half.
fn unicode<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, NotAString> {
    let (first, rest) = unit(text)?;
    if (0xd800..0xdc00).contains(&first)
        && let Some(after) = rest.strip_prefix("\\u")
        && let Ok((second, behind)) = unit(after)
        && (0xdc00..0xe000).contains(&second)
    {
        let point = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        push_point(point, bytes);
        return Ok(behind);
    }
    push_point(first, bytes);
    Ok(rest)
}

fn unit(text: &str) -> Result<(u32, &str), NotAString> {
    let digits = text.get(..4).ok_or(NotAString)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(NotAString);
    }
    let value = u32::from_str_radix(digits, 16).map_err(|_| NotAString)?;
    Ok((value, text.get(4..).unwrap_or_default()))
}

/// Writes a code point; a lone half becomes the three bytes general UTF-8 gives it.
fn push_point(point: u32, bytes: &mut Vec<u8>) {
    match char::from_u32(point) {
        Some(char) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        None => bytes.extend_from_slice(&[
            0xe0 | low_bits(point >> 12, 0x0f),
            0x80 | low_bits(point >> 6, 0x3f),
            0x80 | low_bits(point, 0x3f),
        ]),
    }
}

fn low_bits(value: u32, mask: u32) -> u8 {
    u8::try_from(value & mask).unwrap_or_default()
}

/// Appends `text` (UTF-8 with lone halves) as the inside of a JSON string that itself stands in `depth`
/// JSON strings: depth 1 is an ordinary JSON string, depth 2 a string in a string.
pub(super) fn escape_into(out: &mut Vec<u8>, text: &[u8], depth: u32) {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'"' => backslashed(out, b'"', depth),
            b'\\' => backslashed(out, b'\\', depth),
            b'\n' => control(out, b"n", depth),
            b'\r' => control(out, b"r", depth),
            b'\t' => control(out, b"t", depth),
            0..0x20 => control(out, format!("u{byte:04x}").as_bytes(), depth),
            0xed if let Some((half, behind)) = lone_half(rest) => {
                control(out, format!("u{half:04x}").as_bytes(), depth);
                rest = behind;
                continue;
            }
            _ => out.push(byte),
        }
        rest = after;
    }
}

/// A quote or backslash needs itself escaped once per level, and so does each backslash added.
fn backslashed(out: &mut Vec<u8>, byte: u8, depth: u32) {
    let slashes = (1u32 << depth) - 1;
    let repeat = if byte == b'\\' { slashes + 1 } else { slashes };
    out.extend(std::iter::repeat_n(b'\\', repeat as usize));
    if byte != b'\\' {
        out.push(byte);
    }
}

/// An escape letter behind one level's backslash, itself escaped by the levels around it.
fn control(out: &mut Vec<u8>, letters: &[u8], depth: u32) {
    out.extend(std::iter::repeat_n(b'\\', 1usize << (depth - 1)));
    out.extend_from_slice(letters);
}

fn lone_half(text: &[u8]) -> Option<(u32, &[u8])> {
    let (three, rest) = text.split_at_checked(3)?;
    match three {
        [0xed, second @ 0xa0..0xc0, third] => {
            let half = 0xd000 | (u32::from(second & 0x3f) << 6) | u32::from(third & 0x3f);
            Some((half, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn escaped(text: &[u8], depth: u32) -> String {
        let mut out = Vec::new();
        escape_into(&mut out, text, depth);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_match_two_rounds_of_a_json_writer() {
        for text in ["hello \"q\" \\ \n é 😀;x", "\t\r\u{1}/", ""] {
            let once = serde_json::to_string(text).unwrap();
            let twice = serde_json::to_string(&once).unwrap();
            assert_eq!(format!("\"{}\"", escaped(text.as_bytes(), 1)), once);
            assert_eq!(
                format!("\"\\\"{}\\\"\"", escaped(text.as_bytes(), 2)),
                twice
            );
        }
    }

    #[test]
    fn decoding_undoes_escaping() {
        let text = "a\"b\\c\n\u{1f600}é";
        let literal = serde_json::to_string(text).unwrap() + "tail";
        assert_eq!(decode(&literal), Ok((text.as_bytes().to_vec(), "tail")));
        assert_eq!(
            decode("\"\\ud83d\\ude00\""),
            Ok(("😀".as_bytes().to_vec(), ""))
        );
    }

    #[test]
    fn a_lone_half_survives_both_ways() {
        let (bytes, _) = decode("\"x\\ud83d\"").unwrap();
        assert_eq!(escaped(&bytes, 1), "x\\ud83d");
        assert_eq!(escaped(&bytes, 2), "x\\\\ud83d");
        let (bytes, _) = decode("\"\\ude00y\"").unwrap();
        assert_eq!(escaped(&bytes, 1), "\\ude00y");
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for text in [
            "",
            "x",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12",
            "\"\\u12g4\"",
            "\"\\u+123\"",
        ] {
            assert_eq!(decode(text), Err(NotAString), "{text}");
        }
    }
}
