//! A WebSocket client made of raw bytes, so that it can do what no client may.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const MASK: [u8; 4] = [0xa1, 0x0b, 0xc2, 0x3d];

pub struct Client {
    pub socket: TcpStream,
    pub head: String,
    buffer: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    /// The socket ended.
    End,
}

impl Client {
    /// Connects and completes the handshake.
    pub fn open(addr: SocketAddr) -> Self {
        let mut client = Self::dial(addr, "Sec-WebSocket-Protocol: other, test\r\n");
        assert!(client.head.starts_with("HTTP/1.1 101"), "{}", client.head);
        client.expect("hello");
        client
    }

    pub fn dial(addr: SocketAddr, headers: &str) -> Self {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket.set_nodelay(true).unwrap();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            assert_eq!(socket.read(&mut byte).unwrap(), 1, "the head is whole");
            head.push(byte[0]);
        }
        Self {
            socket,
            head: String::from_utf8(head).unwrap(),
            buffer: Vec::new(),
        }
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub fn frame(&mut self, first: u8, payload: &[u8]) {
        self.raw(&masked(first, payload));
    }

    pub fn say(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes());
    }

    pub fn expect(&mut self, text: &str) {
        assert_eq!(self.next(), Got::Text(text.to_owned()));
    }

    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut chunk = [0; 65536];
        while self.buffer.len() < len {
            match self.socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
        Some(self.buffer.drain(..len).collect())
    }

    pub fn next(&mut self) -> Got {
        let Some(head) = self.take(2) else {
            return Got::End;
        };
        assert_eq!(
            head[0] & 0xf0,
            0x80,
            "server frames are whole, without reserved bits"
        );
        assert_eq!(head[1] & 0x80, 0, "server frames are not masked");
        let len = match head[1] {
            126 => {
                let len = self.take(2).unwrap();
                usize::from(u16::from_be_bytes([len[0], len[1]]))
            }
            127 => usize::try_from(u64::from_be_bytes(
                self.take(8).unwrap().try_into().unwrap(),
            ))
            .unwrap(),
            short => usize::from(short),
        };
        let Some(payload) = self.take(len) else {
            return Got::End;
        };
        match head[0] & 0x0f {
            1 => Got::Text(String::from_utf8(payload).unwrap()),
            2 => Got::Binary(payload),
            8 if payload.is_empty() => Got::Close(None, String::new()),
            8 => Got::Close(
                Some(u16::from_be_bytes([payload[0], payload[1]])),
                String::from_utf8(payload[2..].to_vec()).unwrap(),
            ),
            10 => Got::Pong(payload),
            other => panic!("opcode {other}"),
        }
    }

    /// The close frame with this code, then the end of the socket.
    pub fn expect_close(&mut self, code: u16) {
        match self.next() {
            Got::Close(Some(got), _) => assert_eq!(got, code),
            other => panic!("expected close {code}, got {other:?}"),
        }
        assert_eq!(self.next(), Got::End);
    }
}

pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    if payload.len() < 126 {
        out.push(0x80 | u8::try_from(payload.len()).unwrap());
    } else if let Ok(len) = u16::try_from(payload.len()) {
        out.push(0x80 | 126);
        out.extend(len.to_be_bytes());
    } else {
        out.push(0x80 | 127);
        out.extend((payload.len() as u64).to_be_bytes());
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    out
}
