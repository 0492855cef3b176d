//! The WebSocket drafts before RFC 6455 (hixie-75 and hixie-76), for clients that were never changed.
//!
//! Its decoder is pure.
//! **Why the answer is written by hand:** such clients look for header names in exactly these letters, some for the
//! lines in exactly this order; an HTTP library writes neither.

use super::decode::Said;
use crate::core::close::{Abuse, Close};
use crate::core::session::Frame;
use actix_web::HttpRequest;
use actix_web::http::header::{ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use bytestring::ByteString;
use md5::{Digest as _, Md5};

/// Bytes behind the head of a draft-76 handshake.
pub(super) const CHALLENGE: usize = 8;

const BEGIN: u8 = 0x00;
const END: u8 = 0xff;
/// A frame of length 0 of the other type, which is the close.
const CLOSE: [u8; 2] = [END, BEGIN];

/// A handshake of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hixie {
    origin: String,
    location: String,
    /// The numbers in the two keys; none in draft 75.
    keys: Option<(u32, u32)>,
}

impl Hixie {
    /// The draft's handshake in this request; `None` for any other request.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Option<Self> {
        let headers = request.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let upgrade = text(UPGRADE.as_str())?;
        let newer = [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION];
        if !upgrade.eq_ignore_ascii_case("websocket")
            || newer.iter().any(|name| headers.contains_key(name))
        {
            return None;
        }
        let keys = match (text("sec-websocket-key1"), text("sec-websocket-key2")) {
            (Some(one), Some(two)) => Some((number(one), number(two))),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return None,
        };
        let info = request.connection_info();
        let scheme = match info.scheme() {
            "https" => "wss",
            _ => "ws",
        };
        Some(Self {
            origin: text(ORIGIN.as_str()).unwrap_or("null").to_owned(),
            location: format!("{scheme}://{}{}", info.host(), request.uri()),
            keys,
        })
    }

    /// Bytes of the client that have to be here before it can be answered.
    pub(super) fn challenge(&self) -> usize {
        self.keys.map_or(0, |_| CHALLENGE)
    }

    /// The whole answer to this challenge.
    pub(super) fn answer(&self, challenge: &[u8]) -> Bytes {
        let Self {
            origin,
            location,
            keys,
        } = self;
        let (reason, sec) = match keys {
            Some(_) => ("WebSocket Protocol Handshake", "Sec-"),
            None => ("Web Socket Protocol Handshake", ""),
        };
        let mut answer = format!(
            "HTTP/1.1 101 {reason}\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
             {sec}WebSocket-Origin: {origin}\r\n{sec}WebSocket-Location: {location}\r\n\r\n"
        )
        .into_bytes();
        if let Some((one, two)) = keys {
            let mut digest = Md5::new();
            digest.update(one.to_be_bytes());
            digest.update(two.to_be_bytes());
            digest.update(challenge);
            answer.extend_from_slice(&digest.finalize());
        }
        answer.into()
    }
}

/// The number hidden in a key: its digits, divided by how many spaces it has. A key of a leading space has lost it here
/// and its number is not what it was; the one client that writes such keys does not look at the answer.
fn number(key: &str) -> u32 {
    let digits = key.bytes().filter(u8::is_ascii_digit);
    let digits = digits.fold(0u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    let spaces = key.bytes().filter(|byte| *byte == b' ').count().max(1);
    u32::try_from(digits / spaces as u64).unwrap_or(u32::MAX)
}

/// A message as a draft's frame. There is no frame for bytes: they go as Base64.
#[must_use]
pub fn framing(frame: Frame) -> Bytes {
    let text = match frame {
        Frame::Text(text) => text,
        Frame::Binary(data) => STANDARD.encode(data).into(),
    };
    let mut out = BytesMut::with_capacity(text.len() + 2);
    out.extend_from_slice(&[BEGIN]);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(&[END]);
    out.freeze()
}

/// A close, which has no words.
#[must_use]
pub fn closing(_: &Close) -> Bytes {
    Bytes::from_static(&CLOSE)
}

/// The answer to a client's close.
pub(super) fn close_answer() -> Bytes {
    Bytes::from_static(&CLOSE)
}

/// The decoder of one connection. Holds at most one message.
#[derive(Debug)]
pub(super) struct Decoder {
    max: usize,
    state: State,
    message: BytesMut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between,
    Text,
    Closing,
}

impl Decoder {
    /// For messages of at most `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            state: State::Between,
            message: BytesMut::new(),
        }
    }

    /// The next thing said, as [`super::decode::Decoder::next`] finds it.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Said>, Abuse> {
        loop {
            match self.state {
                State::Between | State::Closing if input.is_empty() => return Ok(None),
                State::Between => match input.get_u8() {
                    BEGIN => self.state = State::Text,
                    END => self.state = State::Closing,
                    // Frames with a length: nobody ever sent one.
                    _ => return Err(Abuse::Protocol),
                },
                State::Closing => match input.get_u8() {
                    BEGIN => return Ok(Some(Said::Close(None))),
                    _ => return Err(Abuse::Protocol),
                },
                State::Text => {
                    let end = input.iter().position(|byte| *byte == END);
                    let taken = end.unwrap_or(input.len());
                    if self.message.len() + taken > self.max {
                        return Err(Abuse::TooLarge);
                    }
                    let text = input.split_off(..taken).unwrap_or_default();
                    self.message.extend_from_slice(text);
                    if end.is_none() {
                        return Ok(None);
                    }
                    input.advance(1);
                    self.state = State::Between;
                    let text = ByteString::try_from(self.message.split().freeze());
                    let text = text.map_err(|_| Abuse::NotUtf8)?;
                    return Ok(Some(Said::Message(Frame::Text(text))));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    fn handshake(headers: &[(&str, &str)]) -> Option<Hixie> {
        let mut request = TestRequest::with_uri("/demo")
            .insert_header(("Upgrade", "WebSocket"))
            .insert_header(("Host", "example.com"))
            .insert_header(("Origin", "http://example.com"));
        for header in headers {
            request = request.append_header(*header);
        }
        Hixie::of(&request.to_http_request())
    }

    #[test]
    fn the_drafts_own_example_is_answered_as_the_draft_says() {
        let hixie = handshake(&[
            ("Sec-WebSocket-Key1", "4 @1  46546xW%0l 1 5"),
            ("Sec-WebSocket-Key2", "12998 5 Y3 1  .P00"),
        ])
        .unwrap();
        assert_eq!(
            (hixie.keys, hixie.challenge()),
            (Some((829_309_203, 259_970_620)), 8)
        );
        let head = "HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Origin: http://example.com\r\nSec-WebSocket-Location: ws://example.com/demo\r\n\r\n";
        assert_eq!(hixie.answer(b"^n:ds[4U"), format!("{head}8jKS'y:G*Co,Wxa-"));
    }

    #[test]
    fn draft_75_has_no_keys_and_newer_ones_are_not_ours() {
        let hixie = handshake(&[]).unwrap();
        assert_eq!(hixie.challenge(), 0);
        let answer = hixie.answer(b"");
        assert!(answer.ends_with(
            b"\r\nWebSocket-Origin: http://example.com\r\nWebSocket-Location: ws://example.com/demo\r\n\r\n"
        ));
        assert_eq!(handshake(&[("Sec-WebSocket-Version", "13")]), None);
        assert_eq!(handshake(&[("Sec-WebSocket-Key1", "1 1")]), None);
        assert_eq!(number("no digits"), 0);
        assert_eq!(number(&"9".repeat(40)), u32::MAX);
    }

    fn feed(max: usize, bytes: &[u8], step: usize) -> (Vec<Said>, Option<Abuse>) {
        let (mut decoder, mut said) = (Decoder::new(max), Vec::new());
        for piece in bytes.chunks(step) {
            let mut input = piece;
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(one)) => said.push(one),
                    Ok(None) => break,
                    Err(abuse) => return (said, Some(abuse)),
                }
            }
        }
        (said, None)
    }

    #[test]
    fn what_no_client_may_send_is_refused() {
        for (bytes, abuse) in [
            (&b"\x01x"[..], Abuse::Protocol),
            (b"\x80\x01x", Abuse::Protocol),
            (b"\xff\x01x", Abuse::Protocol),
            (b"\x00\xfe\xff", Abuse::NotUtf8),
            (b"\x00xxxxx", Abuse::TooLarge),
        ] {
            assert_eq!(feed(4, bytes, 1).1, Some(abuse), "{bytes:?}");
        }
        assert_eq!(feed(4, b"\xff\x00", 1).0, [Said::Close(None)]);
    }

    proptest! {
        #[test]
        fn any_text_in_any_pieces_comes_out_as_it_went_in(text in ".{0,300}", step in 1usize..50) {
            let frame = Frame::Text(text.clone().into());
            let (said, abuse) = feed(2_000, &framing(frame.clone()), step);
            prop_assert_eq!(abuse, None);
            prop_assert_eq!(said, [Said::Message(frame)]);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
            for one in feed(64, &bytes, step).0 {
                if let Said::Message(Frame::Text(text)) = one {
                    prop_assert!(text.len() <= 64);
                }
            }
        }
    }
}
