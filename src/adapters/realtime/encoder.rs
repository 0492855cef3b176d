//! Messages on their way in and out: the head `MID_P-T_` stays apart from the body, so that other dialects
//! receive what was said and this one its own bytes.
//!
//! **Why the head rides in the tag:** it says how a client puts parts together again; to everyone else it would be
//! noise in front of their data.

use super::{command, frame};
use crate::core::delivery::encoding::Encoder;
use crate::core::ids::{ChannelKey, Space, Text};
use crate::core::message::{Broadcast, ContentKind, Draft, Publication};
use crate::core::session::Frame;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// In front of a head in a tag, so that no other dialect's tag is taken for one.
const SENT: &str = "ortc:";
/// The same for a message that is kept for absent subscribers; its time to live in seconds follows.
const PUBLISHED: &str = "ortc+";

/// The dialect's encoder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RealtimeEncoder;

impl Encoder for RealtimeEncoder {
    fn encode(&self, channel: &ChannelKey, broadcast: &Broadcast) -> Option<Frame> {
        match broadcast {
            Broadcast::Message(publication) if channel.space == Space::Channel => Some(
                frame::message(&channel.name, None, &wire(publication), None),
            ),
            Broadcast::Message(_) | Broadcast::Presence(_) | Broadcast::Count(_) => None,
        }
    }
}

/// A message as this dialect's publisher wrote it. `ttl_s` = keep it for absent subscribers; 0 = as long as the
/// channel remembers.
pub(super) fn draft(message: &[u8], ttl_s: Option<u64>) -> Draft {
    let (head, body) = match command::part(message) {
        Some(part) => {
            let head = message.get(..message.len() - part.body.len() - 1);
            let head = head.and_then(|head| std::str::from_utf8(head).ok());
            (head.unwrap_or_default(), part.body)
        }
        None => ("", message),
    };
    let tag = match ttl_s {
        None => format!("{SENT}{head}"),
        Some(ttl_s) => format!("{PUBLISHED}{ttl_s}:{head}"),
    };
    plain(body, Some(tag.into()))
}

/// A whole text by somebody who knows nothing of parts; each client gets it as one part.
pub(super) fn whole(text: &[u8]) -> Draft {
    plain(text, None)
}

fn plain(body: &[u8], tag: Option<Text>) -> Draft {
    // A part may end in half of a character: such text is no UTF-8.
    let kind = match std::str::from_utf8(body) {
        Ok(_) => ContentKind::Text,
        Err(_) => ContentKind::Binary,
    };
    Draft {
        tag,
        ..Draft::new("".into(), Bytes::copy_from_slice(body), kind)
    }
}

/// What the tag says of a message of this dialect: its head, and its time to live if it was published.
struct Tag<'a> {
    head: &'a str,
    ttl_s: Option<u64>,
}

fn tag(draft: &Draft) -> Option<Tag<'_>> {
    let tag = draft.tag.as_deref()?;
    if let Some(head) = tag.strip_prefix(SENT) {
        return Some(Tag { head, ttl_s: None });
    }
    let (ttl_s, head) = tag.strip_prefix(PUBLISHED)?.split_once(':')?;
    let ttl_s = Some(ttl_s.parse().ok()?);
    Some(Tag { head, ttl_s })
}

/// The text clients get: as it was sent, or another dialect's data as one whole part.
pub(super) fn wire(publication: &Publication) -> Vec<u8> {
    let draft = &publication.draft;
    let mut out = Vec::with_capacity(draft.data.len() + 32);
    match tag(draft) {
        Some(Tag { head: "", .. }) => {}
        Some(Tag { head, .. }) => {
            out.extend_from_slice(head.as_bytes());
            out.push(b'_');
        }
        None => {
            let id = format!("{:08x}_1-1_", publication.timetoken & 0xffff_ffff);
            out.extend_from_slice(id.as_bytes());
            if std::str::from_utf8(&draft.data).is_err() {
                out.extend_from_slice(STANDARD.encode(&draft.data).as_bytes());
                return out;
            }
        }
    }
    out.extend_from_slice(&draft.data);
    out
}

/// Whether a subscriber that was away gets this message now: not what was merely sent, nor what is over.
pub(super) fn is_kept(publication: &Publication, now_ms: u64) -> bool {
    match tag(&publication.draft) {
        None => true,
        Some(Tag { ttl_s: None, .. }) => false,
        Some(Tag { ttl_s: Some(0), .. }) => true,
        Some(Tag {
            ttl_s: Some(ttl_s), ..
        }) => {
            let sent_ms = publication.timetoken / TICKS_PER_MS;
            now_ms < sent_ms.saturating_add(ttl_s.saturating_mul(1_000))
        }
    }
}

/// Timetokens count 100 ns.
pub(super) const TICKS_PER_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::ids::{AppId, Position};

    fn published(draft: Draft) -> Publication {
        Publication {
            draft: Box::new(draft),
            position: Position::default(),
            timetoken: 17_000_000_000_000_000,
        }
    }

    fn encoded(draft: Draft) -> String {
        let key = ChannelKey::channel(AppId(1), "c");
        let broadcast = Broadcast::Message(published(draft).into());
        let Some(Frame::Text(text)) = RealtimeEncoder.encode(&key, &broadcast) else {
            return String::new();
        };
        text.to_string()
    }

    #[test]
    fn own_messages_come_back_byte_for_byte_and_others_get_the_body() {
        let message = "69981d4a_1-2_a \"q\" é;";
        let draft = draft(message.as_bytes(), None);
        assert_eq!(draft.data, "a \"q\" é;");
        assert_eq!(wire(&published(draft.clone())), message.as_bytes());
        let frame = r#"a["{\"ch\":\"c\",\"m\":\"69981d4a_1-2_a \\\"q\\\" é;\"}"]"#;
        assert_eq!(encoded(draft), frame);
        assert_eq!(wire(&published(super::draft(b"bare", None))), b"bare");
    }

    #[test]
    fn a_half_character_survives_and_is_binary_to_others() {
        let half = b"id_1-2_x\xed\xa0\xbd";
        let draft = draft(half, None);
        assert_eq!(draft.kind, ContentKind::Binary);
        let frame = r#"a["{\"ch\":\"c\",\"m\":\"id_1-2_x\\ud83d\"}"]"#;
        assert_eq!(encoded(draft), frame);
    }

    #[test]
    fn what_others_say_is_one_whole_part() {
        let foreign = |data: &'static [u8], tag: Option<&str>| {
            let mut draft = whole(data);
            draft.tag = tag.map(Into::into);
            String::from_utf8(wire(&published(draft))).unwrap()
        };
        assert_eq!(foreign(b"{\"a\":1}", None), "f12e8000_1-1_{\"a\":1}");
        assert_eq!(foreign(b"x", Some("1")), "f12e8000_1-1_x");
        assert_eq!(foreign(b"\xff", None), "f12e8000_1-1_/w==");
    }

    #[test]
    fn only_what_was_published_waits_and_not_past_its_time() {
        let now_ms = 1_700_000_000_000;
        let kept =
            |ttl_s, after_ms| is_kept(&published(draft(b"m_1-1_x", ttl_s)), now_ms + after_ms);
        assert!(!kept(None, 0));
        assert!(kept(Some(0), 1_000_000));
        assert!(kept(Some(2), 1_999) && !kept(Some(2), 2_000));
        assert!(is_kept(&published(whole(b"x")), now_ms));
    }
}
