//! What clients write into the first lines of a request that the HTTP parser would refuse or take too easily: seen on its
//! way from the socket, before it is parsed.
//!
//! Some SDKs send `state={"a":1}` as it is; the parser knows no `"`, `<` or `>` in a query, nor letters beyond ASCII, and
//! refuses the whole request before anybody can read it. They are escaped here, as the SDK should have done. And a
//! head with a line that ends without a carriage return is refused, because a proxy in front may see other lines and so
//! other requests than we do; unless it asks for a WebSocket, behind which no request can come: one old SDK writes such.
//!
//! **Why nothing can be smuggled through it:** only the target of a request is changed, and only to bytes that end
//! nothing. Where a request ends it decides as the parser does, and where it would have to guess (a body in chunks, a
//! length it cannot read, another protocol) it looks at nothing of that connection any more.

/// As much of a line as has to be kept: a length, its name and spaces.
const LINE: usize = 64;

/// How far a connection's requests have been read.
#[derive(Clone, Debug)]
pub(super) struct Heads {
    at: At,
    line: Line,
    /// The byte before.
    last: u8,
    /// How the request goes on behind its head.
    body: Body,
    seen: Seen,
}

/// What a head has had so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// A line without a carriage return.
    bare: bool,
    /// It asks for a WebSocket.
    socket: bool,
    /// Its body comes in chunks, which it would then have instead.
    chunks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a request, or in its method.
    Method,
    /// In what it asks for.
    Target { query: bool },
    /// Behind that, up to the end of the first line.
    Version,
    /// In a header line.
    Header,
    /// In a body of which so many bytes are to come.
    Body(u64),
    /// Anywhere, for good.
    Blind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// Of this length.
    Known(u64),
    /// Not told by a single length.
    Unknown,
}

/// The line that is being read.
#[derive(Clone, Debug)]
struct Line {
    bytes: [u8; LINE],
    /// All that it had, also what is not kept.
    len: usize,
}

/// What becomes of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Kept,
    /// Replaced by what no parser takes.
    Refused,
    Escaped,
}

impl Default for Heads {
    fn default() -> Self {
        let line = Line {
            bytes: [0; LINE],
            len: 0,
        };
        Self {
            at: At::Method,
            line,
            last: 0,
            body: Body::Known(0),
            seen: Seen::default(),
        }
    }
}

impl Heads {
    /// Reads on. What has to become longer is appended to `rest`, with everything behind it; how many bytes stay.
    pub(super) fn read(&mut self, bytes: &mut [u8], rest: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while let Some(left) = bytes.get_mut(at..).filter(|left| !left.is_empty()) {
            let passed = self.pass(left);
            if passed > 0 {
                at += passed;
                continue;
            }
            let Some(byte) = left.first_mut() else { break };
            match self.step(*byte) {
                Verdict::Kept => {}
                Verdict::Refused => *byte = 0,
                Verdict::Escaped => {
                    let behind = bytes.get(at..).unwrap_or_default();
                    self.lengthen(behind, rest);
                    return at;
                }
            }
            at += 1;
        }
        at
    }

    /// The same for bytes of which the first, already judged, is escaped.
    fn lengthen(&mut self, bytes: &[u8], rest: &mut Vec<u8>) {
        let Some((first, mut left)) = bytes.split_first() else {
            return;
        };
        rest.extend(escaped(*first));
        while let Some((byte, behind)) = left.split_first() {
            let passed = self.pass(left);
            if let Some((passed, behind)) = left.split_at_checked(passed).filter(|_| passed > 0) {
                rest.extend_from_slice(passed);
                left = behind;
                continue;
            }
            match self.step(*byte) {
                Verdict::Kept => rest.push(*byte),
                Verdict::Refused => rest.push(0),
                Verdict::Escaped => rest.extend(escaped(*byte)),
            }
            left = behind;
        }
    }

    /// How many bytes can be passed over at once: nothing is looked for in them but the end of what they are in.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        match &mut self.at {
            At::Blind => bytes.len(),
            At::Body(left) => {
                let all = bytes.len();
                let passed = usize::try_from(*left).map_or(all, |left| left.min(all));
                *left -= passed as u64;
                if *left == 0 {
                    self.at = At::Method;
                }
                passed
            }
            At::Method => 0,
            At::Target { .. } => {
                let plain = |byte: u8| byte.is_ascii() && !b" ?<>`\"\n".contains(&byte);
                self.passed(until(bytes, |byte| !plain(byte)))
            }
            At::Version => self.passed(until(bytes, |byte| byte == b'\n')),
            At::Header => {
                let passed = until(bytes, |byte| byte == b'\n');
                self.line.extend(passed);
                self.passed(passed)
            }
        }
    }

    fn passed(&mut self, bytes: &[u8]) -> usize {
        if let Some(last) = bytes.last() {
            self.last = *last;
        }
        bytes.len()
    }

    fn step(&mut self, byte: u8) -> Verdict {
        let last = std::mem::replace(&mut self.last, byte);
        if byte == b'\n' {
            self.seen.bare |= last != b'\r';
            let blank = self.line.len == 0 || (self.line.len == 1 && last == b'\r');
            return self.line_ended(blank);
        }
        match (self.at, byte) {
            (At::Method, b' ') => {
                if self.line.text() == Some(b"CONNECT") {
                    self.body = Body::Unknown;
                }
                self.at = At::Target { query: false };
            }
            (At::Target { .. }, b' ') => self.at = At::Version,
            (At::Target { .. }, b'?') => self.at = At::Target { query: true },
            (At::Target { .. }, b'<' | b'>' | b'`' | 0x80..)
            // In a path it has always been taken as it is.
            | (At::Target { query: true }, b'"') => return Verdict::Escaped,
            (At::Method | At::Header, byte) => self.line.push(byte),
            (At::Target { .. } | At::Version | At::Body(_) | At::Blind, _) => {}
        }
        Verdict::Kept
    }

    fn line_ended(&mut self, blank: bool) -> Verdict {
        match self.at {
            // Empty lines before a request do not count; the parser refuses any other line that ends here.
            At::Method if blank => {}
            At::Method | At::Target { .. } => self.at = At::Blind,
            At::Version => self.at = At::Header,
            At::Header if blank => {
                let Seen {
                    bare,
                    socket,
                    chunks,
                } = std::mem::take(&mut self.seen);
                if bare && (chunks || !socket) {
                    // The parser ends here.
                    self.at = At::Blind;
                    return Verdict::Refused;
                }
                self.at = match std::mem::replace(&mut self.body, Body::Known(0)) {
                    Body::Known(0) => At::Method,
                    Body::Known(bytes) => At::Body(bytes),
                    Body::Unknown => At::Blind,
                };
            }
            At::Header => self.header(),
            At::Body(_) | At::Blind => {}
        }
        self.line.len = 0;
        Verdict::Kept
    }

    /// What a header line says of the request's end.
    fn header(&mut self) {
        let Line { bytes, len } = &self.line;
        let line = bytes.get(..*len).unwrap_or(bytes);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.body = Body::Unknown;
            self.seen.chunks = true;
        }
        if name.eq_ignore_ascii_case(b"upgrade") {
            self.body = Body::Unknown;
            let to = value.get(1..).unwrap_or_default().trim_ascii();
            self.seen.socket |= to.eq_ignore_ascii_case(b"websocket");
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = value.get(1..).filter(|_| *len <= LINE);
            let value = value.and_then(|value| std::str::from_utf8(value.trim_ascii()).ok());
            let digits = value.filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
            self.body = match (self.body, digits.and_then(|digits| digits.parse().ok())) {
                (Body::Known(0), Some(length)) => Body::Known(length),
                (Body::Known(_) | Body::Unknown, _) => Body::Unknown,
            };
        }
    }
}

impl Line {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    fn extend(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..) {
            room.iter_mut()
                .zip(bytes)
                .for_each(|(to, byte)| *to = *byte);
        }
        self.len = self.len.saturating_add(bytes.len());
    }

    /// All of it, if it was kept.
    fn text(&self) -> Option<&[u8]> {
        self.bytes.get(..self.len)
    }
}

/// What comes before the first byte like this.
fn until(bytes: &[u8], like_this: impl Fn(u8) -> bool) -> &[u8] {
    let end = bytes.iter().position(|byte| like_this(*byte));
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes)
}

/// A byte as `%XX`.
fn escaped(byte: u8) -> [u8; 3] {
    let digit = |half: u8| match half {
        0..=9 => b'0' + half,
        _ => b'A' - 10 + half,
    };
    [b'%', digit(byte >> 4), digit(byte & 0xf)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    /// What the parser is given of these bytes, which come in pieces.
    fn given(pieces: &[&[u8]]) -> String {
        let (mut heads, mut all) = (Heads::default(), Vec::new());
        for piece in pieces {
            let (mut piece, mut rest) = (piece.to_vec(), Vec::new());
            let kept = heads.read(&mut piece, &mut rest);
            all.extend_from_slice(&piece[..kept]);
            all.extend_from_slice(&rest);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn a_query_is_escaped_where_the_parser_would_refuse_it() {
        let sent =
            "GET /v2/\"x\"/é?state={\"a\":{\"b\":1}}&m=<é> HTTP/1.1\r\nHost: \"<x>\"\r\n\r\n";
        let wanted = "GET /v2/\"x\"/%C3%A9?state={%22a%22:{%22b%22:1}}&m=%3C%C3%A9%3E HTTP/1.1\r\nHost: \"<x>\"\r\n\r\n";
        // One after the other over one connection.
        let both = sent.repeat(2);
        assert_eq!(given(&[both.as_bytes()]), wanted.repeat(2));
    }

    #[test]
    fn bodies_are_nobodys_here_and_the_request_behind_them_is_read() {
        let body = "GET /?\"\n\n<é>";
        let length = body.len();
        let post = format!("POST / HTTP/1.1\r\nContent-LENGTH:\t{length} \r\n\r\n{body}");
        let next = "GET /?\" HTTP/1.1\r\n\r\n";
        let wanted = format!("{post}GET /?%22 HTTP/1.1\r\n\r\n");
        assert_eq!(given(&[post.as_bytes(), next.as_bytes()]), wanted);
    }

    #[test]
    fn where_an_end_would_be_guessed_nothing_is_looked_at_any_more() {
        for head in [
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 6\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +5\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5x\r\n",
            "POST / HTTP/1.1\r\nContent-Length:                                                          5\r\n",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n",
            "CONNECT / HTTP/1.1\r\nHost: x\r\n",
            "GET /\r\n",
        ] {
            let sent = format!("{head}\r\nGET /?\"<\n HTTP/1.1\r\n\r\n");
            assert_eq!(given(&[sent.as_bytes()]), sent, "{head}");
        }
    }

    #[test]
    fn a_line_without_a_carriage_return_is_no_line() {
        for sent in [
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\nUpgrade: h2c\n\n",
            "POST / HTTP/1.1\nUpgrade: websocket\nTransfer-Encoding: chunked\n\n",
            "POST / HTTP/1.1\nContent-Length: 2\n\n{}",
        ] {
            assert!(given(&[sent.as_bytes()]).contains('\0'), "{sent}");
        }
        // The handshake of the Java SDK of Realtime.co, with its challenge.
        let java = "GET /?\" HTTP/1.1\nHost: x\nUpgrade: WebSocket\nX\n\n\n2345<78";
        assert_eq!(given(&[java.as_bytes()]), java.replace("?\"", "?%22"));
        let well = "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(given(&[well.as_bytes()]), well);
    }

    proptest! {
        #[test]
        fn how_it_comes_in_pieces_does_not_matter(
            parts in prop::collection::vec(prop_oneof![
                Just("GET /?\"<é "), Just("POST / "), Just("HTTP/1.1\r\n"), Just("\r\n"), Just("\n"),
                Just("Content-Length: 7\r\n"), Just("Transfer-Encoding: x\r\n"), Just("é\"<>"),
            ], 0..20),
            cut in 1_usize..9,
        ) {
            let sent = parts.concat();
            let pieces: Vec<&[u8]> = sent.as_bytes().chunks(cut).collect();
            prop_assert_eq!(given(&pieces), given(&[sent.as_bytes()]));
        }
    }
}
