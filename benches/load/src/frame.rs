//! WebSocket frames (RFC 6455), as much of them as a load generator and the floor need.
//!
//! **Must never know:** what a frame's payload says. Not the broker's codec on purpose: a fault there
//! must not be measured with itself.

/// A text message.
pub const TEXT: u8 = 1;
/// The end of the connection.
pub const CLOSE: u8 = 8;
/// Must be answered with a pong.
pub const PING: u8 = 9;
/// The answer to a ping.
pub const PONG: u8 = 10;

// Constant: the mask protects browsers' proxies from chosen bytes, which loopback does not have.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x88];

fn header(opcode: u8, masked: u8, length: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    if length < 126 {
        out.push(masked | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(masked | 126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(masked | 127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// Appends a frame as servers send it.
pub fn server(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    header(opcode, 0, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a frame as clients send it, masked.
pub fn client(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    header(opcode, 0x80, payload.len(), out);
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(MASK, out.get_mut(start..).unwrap_or_default());
}

/// Takes the mask off (or puts it on).
pub fn unmask(mask: [u8; 4], payload: &mut [u8]) {
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        word.iter_mut().zip(mask).for_each(|(byte, m)| *byte ^= m);
    }
    words
        .into_remainder()
        .iter_mut()
        .zip(mask)
        .for_each(|(byte, m)| *byte ^= m);
}

/// The head of a frame whose payload may not be here yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// `TEXT`, `PING`, …
    pub opcode: u8,
    /// Present in what clients send.
    pub mask: Option<[u8; 4]>,
    /// Where the payload begins.
    pub from: usize,
    /// Where the frame ends.
    pub to: usize,
}

/// Reads a frame's head; `None` while bytes of the head are missing.
#[must_use]
pub fn head(bytes: &[u8]) -> Option<Head> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, rest) = rest.split_first()?;
    let (size, length) = match second & 0x7f {
        126 => (2, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (8, u64::from_be_bytes(*rest.first_chunk()?)),
        short => (0, u64::from(short)),
    };
    let rest = rest.get(size..)?;
    let (mask, from) = match second & 0x80 {
        0 => (None, 2 + size),
        _ => (Some(*rest.first_chunk()?), 6 + size),
    };
    let to = from.checked_add(usize::try_from(length).ok()?)?;
    Some(Head {
        opcode: first & 15,
        mask,
        from,
        to,
    })
}

/// Cuts a stream of server frames into frames; keeps the beginning of one that is not whole yet.
#[derive(Default)]
pub struct Deframer {
    partial: Vec<u8>,
}

impl Deframer {
    /// Hands every whole frame's opcode and payload to `each`.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(u8, &[u8])) {
        if self.partial.is_empty() {
            let used = cut(bytes, &mut each);
            self.partial
                .extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            self.partial.extend_from_slice(bytes);
            let used = cut(&self.partial, &mut each);
            self.partial.drain(..used);
        }
    }
}

fn cut(bytes: &[u8], each: &mut impl FnMut(u8, &[u8])) -> usize {
    let mut used = 0;
    loop {
        let rest = bytes.get(used..).unwrap_or_default();
        let Some(head) = head(rest) else { return used };
        let Some(payload) = rest.get(head.from..head.to) else {
            return used;
        };
        each(head.opcode, payload);
        used += head.to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_gives_the_same_frames_wherever_it_is_cut() {
        let texts = [
            vec![],
            b"hello".to_vec(),
            vec![b'y'; 125],
            vec![b'z'; 126],
            vec![0; 70_000],
        ];
        let mut stream = Vec::new();
        texts
            .iter()
            .for_each(|text| server(TEXT, text, &mut stream));
        for at in (0..600).chain(stream.len() - 70_020..stream.len() - 69_980) {
            let (before, after) = stream.split_at(at);
            let (mut deframer, mut got) = (Deframer::default(), Vec::new());
            deframer.feed(before, |_, text| got.push(text.to_vec()));
            deframer.feed(after, |_, text| got.push(text.to_vec()));
            assert!(got == texts, "cut at {at}");
            assert!(deframer.partial.is_empty(), "cut at {at}");
        }
    }

    #[test]
    fn byte_by_byte() {
        let mut stream = Vec::new();
        server(TEXT, b"ab", &mut stream);
        server(PING, b"", &mut stream);
        let (mut deframer, mut got) = (Deframer::default(), Vec::new());
        for byte in stream.chunks(1) {
            deframer.feed(byte, |opcode, text| got.push((opcode, text.to_vec())));
        }
        assert_eq!(got, [(TEXT, b"ab".to_vec()), (PING, vec![])]);
    }

    #[test]
    fn the_masked_hello_of_the_standard() {
        // RFC 6455, 5.7: a single-frame masked text message that contains "Hello".
        let mut bytes = vec![
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        assert_eq!(
            head(&bytes),
            Some(Head {
                opcode: TEXT,
                mask: Some(mask),
                from: 6,
                to: 11
            })
        );
        unmask(mask, bytes.get_mut(6..).unwrap_or_default());
        assert_eq!(bytes.get(6..), Some(&b"Hello"[..]));
    }

    #[test]
    fn what_a_client_sends_can_be_read_back() {
        for length in [0, 3, 125, 126, 300, 65_535, 65_536] {
            let text = vec![b'q'; length];
            let mut bytes = Vec::new();
            client(TEXT, &text, &mut bytes);
            let read = head(&bytes);
            assert_eq!(read.as_ref().map(|h| h.to), Some(bytes.len()));
            let from = read.map_or(0, |h| h.from);
            unmask(MASK, bytes.get_mut(from..).unwrap_or_default());
            assert_eq!(bytes.get(from..), Some(&text[..]));
        }
    }

    #[test]
    fn a_length_beyond_memory_is_not_a_frame() {
        let bytes = [0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(head(&bytes), None);
    }
}
