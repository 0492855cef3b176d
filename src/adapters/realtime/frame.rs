//! Server frames, byte for byte, and the client's outer framing.
//!
//! The strictest clients match the raw escaped text with regular expressions: compact JSON, keys in exactly
//! these orders, no extra keys, one string per `a[…]`, non-ASCII as raw UTF-8 (`realtime.md` §2.2-§2.3).
//!
//! **Why written by hand and not by a JSON library:** the order and escaping *are* the protocol here.

use super::text;
use crate::core::session::Frame;
use bytestring::ByteString;

/// First frame of every connection.
pub(super) fn open() -> Frame {
    Frame::Text(ByteString::from_static("o"))
}

/// Heartbeat; at least every 25 s.
pub(super) fn heartbeat() -> Frame {
    Frame::Text(ByteString::from_static("h"))
}

/// An object under construction inside the one string of an `a[…]`.
struct Object {
    out: Vec<u8>,
    members: u32,
}

impl Object {
    fn new() -> Self {
        Self {
            out: b"a[\"{".to_vec(),
            members: 0,
        }
    }

    fn key(&mut self, name: &str) {
        if self.members > 0 {
            self.out.push(b',');
        }
        self.members += 1;
        self.out.extend_from_slice(b"\\\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\\\":");
    }

    fn text(mut self, name: &str, value: &[u8]) -> Self {
        self.key(name);
        self.string(value);
        self
    }

    /// A value that is already JSON without characters that need escaping (numbers, booleans, null).
    fn bare(mut self, name: &str, value: &str) -> Self {
        self.key(name);
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    fn string(&mut self, value: &[u8]) {
        self.out.extend_from_slice(b"\\\"");
        text::escape_into(&mut self.out, value, 2);
        self.out.extend_from_slice(b"\\\"");
    }

    fn done(mut self) -> Frame {
        self.out.extend_from_slice(b"}\"]");
        // Built from UTF-8 and ASCII escapes only; a lone half was written as an escape.
        Frame::Text(ByteString::try_from(self.out).unwrap_or_default())
    }
}

/// The connection is accepted. `permissions` is `None` with authentication off, else channel -> hash.
pub(super) fn validated(permissions: Option<&[(String, String)]>, session_minutes: u64) -> Frame {
    let mut object = Object::new().text("op", b"ortc-validated");
    match permissions {
        None => object = object.bare("up", "null"),
        Some(entries) => {
            object.key("up");
            object.out.push(b'{');
            for (at, (channel, hash)) in entries.iter().enumerate() {
                if at > 0 {
                    object.out.push(b',');
                }
                object.string(channel.as_bytes());
                object.out.push(b':');
                object.string(hash.as_bytes());
            }
            object.out.push(b'}');
        }
    }
    object.bare("set", &session_minutes.to_string()).done()
}

/// A subscription stands.
pub(super) fn subscribed(channel: &str) -> Frame {
    Object::new()
        .text("op", b"ortc-subscribed")
        .text("ch", channel.as_bytes())
        .done()
}

/// A subscription has ended.
pub(super) fn unsubscribed(channel: &str) -> Frame {
    Object::new()
        .text("op", b"ortc-unsubscribed")
        .text("ch", channel.as_bytes())
        .done()
}

/// A message. `filtered` only on subscriptions with a filter, `sequence` only on buffered ones: elsewhere
/// either member breaks clients.
pub(super) fn message(
    channel: &str,
    filtered: Option<bool>,
    body: &[u8],
    sequence: Option<u64>,
) -> Frame {
    let mut object = Object::new().text("ch", channel.as_bytes());
    if let Some(filtered) = filtered {
        object = object.bare("f", if filtered { "true" } else { "false" });
    }
    object = object.text("m", body);
    if let Some(sequence) = sequence {
        object = object.text("s", sequence.to_string().as_bytes());
    }
    object.done()
}

/// A published part was taken. The part number must be a JSON number, the sequence a string.
pub(super) fn ack(message_id: &str, part: u32, sequence: u64) -> Frame {
    Object::new()
        .text("op", b"ortc-ack")
        .text("m", message_id.as_bytes())
        .bare("p", &part.to_string())
        .text("seq", sequence.to_string().as_bytes())
        .done()
}

/// A published part was not taken.
pub(super) fn ack_refused(message_id: &str, part: u32, error: &str) -> Frame {
    Object::new()
        .text("op", b"ortc-ack")
        .text("m", message_id.as_bytes())
        .bare("p", &part.to_string())
        .text("err", error.as_bytes())
        .done()
}

/// An error, always nested and always with `op`: a flat one makes clients reconnect for ever.
pub(super) fn error(operation: &str, channel: Option<&str>, what: &str) -> Frame {
    let mut object = Object::new().text("op", b"ortc-error");
    object.key("ex");
    object.out.push(b'{');
    object.members = 0;
    object = object.text("op", operation.as_bytes());
    if let Some(channel) = channel {
        object = object.text("ch", channel.as_bytes());
    }
    object = object.text("ex", what.as_bytes());
    object.out.push(b'}');
    object.done()
}

/// The command texts in one client frame: a bare JSON string, or an array of them. A frame that does not
/// parse is taken without its outer quotes: some clients put filters in unescaped (`realtime.md` §4).
pub(super) fn commands(frame: &str) -> Vec<Vec<u8>> {
    let trimmed = frame.trim();
    if let Some(list) = trimmed.strip_prefix('[')
        && let Some(commands) = array(list)
    {
        return commands;
    }
    match text::decode(trimmed) {
        Ok((command, rest)) if rest.trim().is_empty() => vec![command],
        Ok(_) | Err(text::NotAString) => {
            let inner = trimmed.strip_prefix('"').unwrap_or(trimmed);
            vec![inner.strip_suffix('"').unwrap_or(inner).as_bytes().to_vec()]
        }
    }
}

/// Most commands taken from one frame.
const COMMANDS_PER_FRAME: usize = 256;

fn array(list: &str) -> Option<Vec<Vec<u8>>> {
    let mut commands = Vec::new();
    let mut rest = list.trim_start();
    if rest.trim_end() == "]" {
        return Some(commands);
    }
    while commands.len() < COMMANDS_PER_FRAME {
        let (command, after) = text::decode(rest).ok()?;
        commands.push(command);
        let after = after.trim_start();
        if let Some(end) = after.strip_prefix(']') {
            return end.trim().is_empty().then_some(commands);
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]
    use super::*;

    fn wire(frame: Frame) -> String {
        match frame {
            Frame::Text(text) => text.to_string(),
            Frame::Binary(_) => panic!("a text protocol"),
        }
    }

    #[test]
    fn frames_are_the_documented_bytes() {
        let up = [
            ("rd".into(), "7f87f77ad4".into()),
            ("main:*".into(), "b33e4121a9".into()),
        ];
        for (frame, bytes) in [
            (
                validated(None, 30),
                r#"a["{\"op\":\"ortc-validated\",\"up\":null,\"set\":30}"]"#,
            ),
            (
                validated(Some(&up), 30),
                r#"a["{\"op\":\"ortc-validated\",\"up\":{\"rd\":\"7f87f77ad4\",\"main:*\":\"b33e4121a9\"},\"set\":30}"]"#,
            ),
            (
                subscribed("ch1"),
                r#"a["{\"op\":\"ortc-subscribed\",\"ch\":\"ch1\"}"]"#,
            ),
            (
                unsubscribed("ch1"),
                r#"a["{\"op\":\"ortc-unsubscribed\",\"ch\":\"ch1\"}"]"#,
            ),
            (
                error("validate", None, "Invalid connection."),
                r#"a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"validate\",\"ex\":\"Invalid connection.\"}}"]"#,
            ),
            (
                error("subscribe", Some("x"), "text"),
                r#"a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"subscribe\",\"ch\":\"x\",\"ex\":\"text\"}}"]"#,
            ),
            (
                ack("3fd3ab29", 2, 3),
                r#"a["{\"op\":\"ortc-ack\",\"m\":\"3fd3ab29\",\"p\":2,\"seq\":\"3\"}"]"#,
            ),
            (
                message(
                    "ch1",
                    None,
                    "69981d4a_1-1_hello \"q\" \\ \n é 😀;x".as_bytes(),
                    None,
                ),
                r#"a["{\"ch\":\"ch1\",\"m\":\"69981d4a_1-1_hello \\\"q\\\" \\\\ \\n é 😀;x\"}"]"#,
            ),
            (
                message("c", Some(true), b"m", Some(7)),
                r#"a["{\"ch\":\"c\",\"f\":true,\"m\":\"m\",\"s\":\"7\"}"]"#,
            ),
        ] {
            assert_eq!(wire(frame), bytes);
        }
    }

    #[test]
    fn commands_come_bare_in_arrays_and_broken() {
        assert_eq!(commands(r#""b""#), [b"b".to_vec()]);
        assert_eq!(
            commands(r#"["b", "send;x"]"#),
            [b"b".to_vec(), b"send;x".to_vec()]
        );
        assert_eq!(commands("[]"), Vec::<Vec<u8>>::new());
        assert_eq!(
            commands(r#""filter;m = "x"""#),
            [br#"filter;m = "x""#.to_vec()]
        );
        assert_eq!(commands("["), [b"[".to_vec()]);
    }
}
