//! WebSocket frames as the server writes them: complete, unmasked, built once and shared.

use crate::core::close::Close;
use crate::core::session::Frame;
use bytes::{BufMut as _, Bytes, BytesMut};

/// Opcodes (RFC 6455 §5.2).
pub(super) mod opcode {
    pub(in super::super) const CONTINUATION: u8 = 0x0;
    pub(in super::super) const TEXT: u8 = 0x1;
    pub(in super::super) const BINARY: u8 = 0x2;
    pub(in super::super) const CLOSE: u8 = 0x8;
    pub(in super::super) const PING: u8 = 0x9;
    pub(in super::super) const PONG: u8 = 0xA;
}

const FIN: u8 = 0x80;

/// Longest payload of a control frame, bytes (RFC 6455 §5.5).
pub(super) const MAX_CONTROL: usize = 125;

/// The complete server frame of a message. Server frames carry no mask, so that the same bytes serve every
/// client.
#[must_use]
pub fn framing(frame: Frame) -> Bytes {
    match frame {
        Frame::Text(text) => build(opcode::TEXT, text.as_bytes()),
        Frame::Binary(data) => build(opcode::BINARY, &data),
    }
}

/// The close frame of these words; a reason longer than a control frame holds is cut at a character.
#[must_use]
pub fn closing(close: &Close) -> Bytes {
    let mut end = close.reason.len().min(MAX_CONTROL - 2);
    while !close.reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = close.reason.get(..end).unwrap_or_default();
    let mut payload = BytesMut::with_capacity(2 + end);
    payload.put_u16(close.code);
    payload.put_slice(reason.as_bytes());
    build(opcode::CLOSE, &payload)
}

/// The answer to a client's close frame: its own code, or none if it said none.
#[must_use]
pub(super) fn close_answer(code: Option<u16>) -> Bytes {
    code.map_or_else(
        || build(opcode::CLOSE, &[]),
        |code| build(opcode::CLOSE, &code.to_be_bytes()),
    )
}

/// The answer to a ping.
#[must_use]
pub(super) fn pong(payload: &[u8]) -> Bytes {
    build(opcode::PONG, payload)
}

fn build(opcode: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(FIN | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.put_u8(short),
        (_, Ok(medium)) => {
            out.put_u8(126);
            out.put_u16(medium);
        }
        (_, Err(_)) => {
            out.put_u8(127);
            out.put_u64(payload.len() as u64);
        }
    }
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (len, head) in [
            (0, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_535, vec![0x82, 126, 0xff, 0xff]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = framing(Frame::Binary(vec![7; len].into()));
            assert_eq!(frame[..head.len()], head[..], "length {len}");
            assert_eq!(frame.len(), head.len() + len);
        }
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let close = Close {
            code: 4001,
            reason: "é".repeat(100).into(),
        };
        let frame = closing(&close);
        assert_eq!(frame[..4], [0x88, 124, 0x0f, 0xa1]);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
