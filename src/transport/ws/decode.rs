//! Client frames to whole messages, in one pass, bounded before anything is kept.
//!
//! Pure.
//! **Why not `actix_http::ws::Codec`:** it waits for a frame's last byte before it looks at the length (a client could
//! announce a gigabyte and be given the memory), and leaves the bound over fragments to its caller. Here a length above
//! the limit is refused as soon as its header is read, and nothing is allocated on a promise.

use super::frame::{MAX_CONTROL, opcode};
use crate::core::close::Abuse;
use crate::core::session::Frame;
use bytes::{Buf as _, Bytes, BytesMut};
use bytestring::ByteString;

/// Longest frame header, bytes: two, an eight-byte length, a mask.
const MAX_HEADER: usize = 14;
/// Most bytes reserved at once on the word of a header.
const RESERVE: usize = 16 << 10;

/// Something the client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A whole message.
    Message(Frame),
    /// A ping, to be answered with its payload.
    Ping(Bytes),
    /// The client sent a pong.
    Pong,
    /// A close frame, with its code if it gave one.
    Close(Option<u16>),
}

/// The decoder of one connection. Holds at most one message and one control frame.
#[derive(Debug)]
pub(super) struct Decoder {
    max: usize,
    header: Header,
    open: Option<Open>,
    /// The message so far, over all its fragments.
    message: BytesMut,
    /// Whether the message is text; `None` between messages.
    kind: Option<Kind>,
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

#[derive(Debug, Default)]
struct Header {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

/// A frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Open {
    fin: bool,
    opcode: u8,
    remaining: usize,
    mask: [u8; 4],
}

impl Decoder {
    /// For messages of at most `max` bytes, over all their fragments.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            header: Header::default(),
            open: None,
            message: BytesMut::new(),
            kind: None,
            control: Vec::new(),
        }
    }

    /// Takes what it needs from `input` and tells the next thing said; `None` = all of `input` was taken.
    ///
    /// # Errors
    /// What the client did wrong. The decoder must not be used any more.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Said>, Abuse> {
        loop {
            let mut open = match self.open {
                Some(open) => open,
                None => match self.read_header(input)? {
                    Some(open) => open,
                    None => return Ok(None),
                },
            };
            let taken = open.remaining.min(input.len());
            self.take(&mut open, input, taken);
            if open.remaining > 0 {
                self.open = Some(open);
                return Ok(None);
            }
            self.open = None;
            if let Some(said) = self.finish(open)? {
                return Ok(Some(said));
            }
        }
    }

    /// Collects header bytes until the header is whole, then checks it.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<Option<Open>, Abuse> {
        loop {
            let wanted = self.header.wanted()?;
            if self.header.len == wanted {
                break;
            }
            let Some(slot) = self.header.bytes.get_mut(self.header.len) else {
                return Err(Abuse::Protocol);
            };
            if !input.has_remaining() {
                return Ok(None);
            }
            *slot = input.get_u8();
            self.header.len += 1;
        }
        let (first, length, mask) = self.header.parts();
        self.header.len = 0;
        self.check(first, length, mask).map(Some)
    }

    /// Everything that can be refused before the payload is read.
    fn check(&mut self, first: u8, length: u64, mask: [u8; 4]) -> Result<Open, Abuse> {
        let (fin, code) = (first & 0x80 != 0, first & 0x0f);
        let limit = match code {
            opcode::TEXT | opcode::BINARY if self.kind.is_some() => return Err(Abuse::Protocol),
            opcode::TEXT => {
                self.kind = Some(Kind::Text);
                self.max
            }
            opcode::BINARY => {
                self.kind = Some(Kind::Binary);
                self.max
            }
            opcode::CONTINUATION if self.kind.is_none() => return Err(Abuse::Protocol),
            opcode::CONTINUATION => self.max.saturating_sub(self.message.len()),
            opcode::CLOSE | opcode::PING | opcode::PONG => {
                if !fin || length > MAX_CONTROL as u64 {
                    return Err(Abuse::Protocol);
                }
                MAX_CONTROL
            }
            _ => return Err(Abuse::Protocol),
        };
        let remaining = usize::try_from(length).map_err(|_| Abuse::TooLarge)?;
        if remaining > limit {
            return Err(Abuse::TooLarge);
        }
        Ok(Open {
            fin,
            opcode: code,
            remaining,
            mask,
        })
    }

    /// Moves `taken` payload bytes, unmasked, to where they belong.
    fn take(&mut self, open: &mut Open, input: &mut &[u8], taken: usize) {
        let Some(chunk) = input.split_off(..taken) else {
            return;
        };
        open.remaining -= taken;
        if is_control(open.opcode) {
            let start = self.control.len();
            self.control.extend_from_slice(chunk);
            unmask(self.control.get_mut(start..).unwrap_or_default(), open.mask);
        } else {
            let start = self.message.len();
            if self.message.capacity() - start < taken {
                let promised = open.remaining.min(RESERVE);
                self.message.reserve(taken + promised);
            }
            self.message.extend_from_slice(chunk);
            unmask(self.message.get_mut(start..).unwrap_or_default(), open.mask);
        }
        if open.remaining > 0 {
            open.mask.rotate_left(taken % 4);
        }
    }

    /// A frame is complete; a message may be.
    fn finish(&mut self, open: Open) -> Result<Option<Said>, Abuse> {
        if is_control(open.opcode) {
            let payload = std::mem::take(&mut self.control);
            return match open.opcode {
                opcode::PING => Ok(Some(Said::Ping(payload.into()))),
                opcode::PONG => Ok(Some(Said::Pong)),
                _ => close_code(&payload).map(|code| Some(Said::Close(code))),
            };
        }
        if !open.fin {
            return Ok(None);
        }
        let data = std::mem::take(&mut self.message).freeze();
        match self.kind.take() {
            Some(Kind::Text) => {
                let text = ByteString::try_from(data).map_err(|_| Abuse::NotUtf8)?;
                Ok(Some(Said::Message(Frame::Text(text))))
            }
            Some(Kind::Binary) => Ok(Some(Said::Message(Frame::Binary(data)))),
            None => Err(Abuse::Protocol),
        }
    }
}

impl Header {
    /// How long the header is, as far as its bytes tell. The first two are judged as soon as they are there.
    fn wanted(&self) -> Result<usize, Abuse> {
        let [first, second, ..] = self.bytes;
        // Reserved bits belong to extensions, and none was agreed.
        if self.len >= 1 && first & 0x70 != 0 {
            return Err(Abuse::Protocol);
        }
        if self.len < 2 {
            return Ok(2);
        }
        if second & 0x80 == 0 {
            return Err(Abuse::Protocol);
        }
        Ok(match second & 0x7f {
            126 => 8,
            127 => MAX_HEADER,
            _ => 6,
        })
    }

    /// First byte, payload length, mask of a whole header.
    fn parts(&self) -> (u8, u64, [u8; 4]) {
        let [first, second, a, b, c, d, e, f, g, h, i, j, k, l] = self.bytes;
        match second & 0x7f {
            126 => (first, u64::from(u16::from_be_bytes([a, b])), [c, d, e, f]),
            127 => {
                let length = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                (first, length, [i, j, k, l])
            }
            short => (first, u64::from(short), [a, b, c, d]),
        }
    }
}

fn is_control(code: u8) -> bool {
    code & 0x8 != 0
}

/// Unmasks in place; eight bytes at a time where it can.
fn unmask(data: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The code of a close payload (RFC 6455 §5.5.1, §7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Abuse> {
    match payload {
        [] => Ok(None),
        [_] => Err(Abuse::Protocol),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Abuse::Protocol);
            }
            std::str::from_utf8(reason).map_err(|_| Abuse::NotUtf8)?;
            Ok(Some(code))
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
