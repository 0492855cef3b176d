//! `gatecast-floor`: the least work that still looks like a Pusher server to `gatecast-load`.
//!
//! One thread; no signatures, no JSON parser, no limits, no timers. A message is framed once and given to
//! every subscriber with one write each. What it costs is what the kernel costs. Not a server to use.
//!
//! **Must never know:** a rule. What it left out is what a broker's ratio to it is made of.
#![allow(clippy::print_stdout, reason = "it says where it listens")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use gatecast_load::frame;
use memchr::{memchr, memmem::find};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

/// The least server there can be, to compare with. Loopback only.
#[derive(Parser)]
struct Options {
    /// Where to listen; 0 takes a free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    upgraded: bool,
    input: Vec<u8>,
    unsent: Vec<u8>,
    channels: Vec<Vec<u8>>,
}

struct Floor {
    poll: Poll,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    channels: HashMap<Vec<u8>, Vec<usize>>,
}

fn main() -> io::Result<()> {
    let port = Options::parse().port;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let mut floor = Floor {
        poll: Poll::new()?,
        connections: Vec::new(),
        free: Vec::new(),
        channels: HashMap::new(),
    };
    floor
        .poll
        .registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("ready public=http://{}", listener.local_addr()?);
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 64 * 1024];
    loop {
        floor.poll.poll(&mut events, None)?;
        for event in &events {
            let Token(id) = event.token();
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    floor.accept(stream)?;
                }
                continue;
            }
            if event.is_writable() {
                floor.flush(id);
            }
            if event.is_readable() {
                floor.read(id, &mut scratch);
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let id = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(id), both)?;
        let connection = Connection {
            stream,
            upgraded: false,
            input: Vec::new(),
            unsent: Vec::new(),
            channels: Vec::new(),
        };
        if let Some(slot) = self.connections.get_mut(id) {
            *slot = Some(connection);
        }
        Ok(())
    }

    fn connection(&mut self, id: usize) -> Option<&mut Connection> {
        self.connections.get_mut(id)?.as_mut()
    }

    fn close(&mut self, id: usize) {
        let Some(gone) = self.connections.get_mut(id).and_then(Option::take) else {
            return;
        };
        for channel in gone.channels {
            if let Some(members) = self.channels.get_mut(&channel) {
                members.retain(|member| *member != id);
            }
        }
        self.free.push(id);
    }

    fn read(&mut self, id: usize, scratch: &mut [u8]) {
        loop {
            let Some(connection) = self.connection(id) else {
                return;
            };
            let n = match connection.stream.read(scratch) {
                Ok(0) => return self.close(id),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.close(id),
            };
            connection
                .input
                .extend_from_slice(scratch.get(..n).unwrap_or_default());
            self.work(id);
            // Edge-triggered: a read that did not fill the buffer has emptied the socket.
            if n < scratch.len() {
                return;
            }
        }
    }

    /// Carries out all whole requests and frames that have come.
    fn work(&mut self, id: usize) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let mut input = std::mem::take(&mut connection.input);
        let mut upgraded = connection.upgraded;
        let mut used = 0;
        while let Some(rest) = input.get_mut(used..) {
            let step = match upgraded {
                true => self.frame(id, rest),
                false => self.request(id, rest).map(|(n, now)| {
                    upgraded = now;
                    n
                }),
            };
            let Some(n) = step else { break };
            used += n;
        }
        if let Some(connection) = self.connection(id) {
            connection.upgraded = upgraded;
            // Nothing is kept for an idle connection, not even room.
            connection.input = input.get(used..).unwrap_or_default().to_vec();
        }
    }

    /// One HTTP request, if it is whole: its length, and whether frames follow it.
    fn request(&mut self, id: usize, input: &[u8]) -> Option<(usize, bool)> {
        let end = find(input, b"\r\n\r\n")? + 4;
        let head = input.get(..end)?;
        if head.starts_with(b"GET /app/") {
            let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                connection: Upgrade\r\nsec-websocket-accept: "
                .to_vec();
            answer.extend(accept_key(between(head, b"sec-websocket-key: ", b'\r')?).bytes());
            answer.extend_from_slice(b"\r\n\r\n");
            let hello = format!(
                r#"{{"event":"pusher:connection_established","data":"{{\"socket_id\":\"1.{id}\",\"activity_timeout\":120}}"}}"#
            );
            frame::server(frame::TEXT, hello.as_bytes(), &mut answer);
            self.send(id, &answer);
            return Some((end, true));
        }
        let length = std::str::from_utf8(between(head, b"content-length: ", b'\r')?).ok()?;
        let whole = end + length.parse::<usize>().ok()?;
        let body = input.get(end..whole)?;
        let channel = between(body, b"\"channels\":[\"", b'"')?;
        let data = between(body, b"\"data\":\"", b'"')?;
        let parts: [&[u8]; 5] = [
            b"{\"event\":\"m\",\"channel\":\"",
            channel,
            b"\",\"data\":\"",
            data,
            b"\"}",
        ];
        self.publish(channel, &parts.concat(), None);
        self.send(
            id,
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        );
        Some((whole, false))
    }

    /// One WebSocket frame, if it is whole: its length.
    fn frame(&mut self, id: usize, input: &mut [u8]) -> Option<usize> {
        let head = frame::head(input)?;
        let payload = input.get_mut(head.from..head.to)?;
        frame::unmask(head.mask?, payload);
        if let (frame::TEXT, Some(channel)) =
            (head.opcode, between(payload, b"\"channel\":\"", b'"'))
        {
            if payload.starts_with(b"{\"event\":\"client-") {
                self.publish(channel, payload, Some(id));
            } else {
                self.subscribe(id, channel);
            }
        }
        Some(head.to)
    }

    fn subscribe(&mut self, id: usize, channel: &[u8]) {
        let name = String::from_utf8_lossy(channel);
        let text = format!(
            r#"{{"event":"pusher_internal:subscription_succeeded","channel":"{name}","data":"{{}}"}}"#
        );
        let mut answer = Vec::new();
        frame::server(frame::TEXT, text.as_bytes(), &mut answer);
        if let Some(connection) = self.connection(id) {
            connection.channels.push(channel.to_vec());
        }
        self.channels.entry(channel.to_vec()).or_default().push(id);
        self.send(id, &answer);
    }

    /// What all this is about: framed once, written once to each.
    fn publish(&mut self, channel: &[u8], text: &[u8], except: Option<usize>) {
        let Some(members) = self.channels.get_mut(channel).map(std::mem::take) else {
            return;
        };
        let mut bytes = Vec::with_capacity(text.len() + 4);
        frame::server(frame::TEXT, text, &mut bytes);
        for &id in members.iter().filter(|id| Some(**id) != except) {
            self.send(id, &bytes);
        }
        if let Some(place) = self.channels.get_mut(channel) {
            *place = members;
        }
    }

    fn send(&mut self, id: usize, bytes: &[u8]) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let sent = match connection.unsent.is_empty() {
            true => connection.stream.write(bytes).unwrap_or(0),
            false => 0,
        };
        connection
            .unsent
            .extend_from_slice(bytes.get(sent..).unwrap_or_default());
    }

    fn flush(&mut self, id: usize) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        if !connection.unsent.is_empty() {
            let sent = connection.stream.write(&connection.unsent).unwrap_or(0);
            connection.unsent.drain(..sent);
        }
    }
}

/// The text after `before`, up to `end`.
fn between<'a>(text: &'a [u8], before: &[u8], end: u8) -> Option<&'a [u8]> {
    let from = text.get(find(text, before)? + before.len()..)?;
    from.get(..memchr(end, from)?)
}

/// The handshake's `Sec-WebSocket-Accept`.
fn accept_key(key: &[u8]) -> String {
    let mut sha = Sha1::new();
    sha.update(key);
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_of_the_standard() {
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn text_between() {
        assert_eq!(
            between(br#"{"channel":"a","b":1}"#, b"\"channel\":\"", b'"'),
            Some(&b"a"[..])
        );
        assert_eq!(between(br#"{"channel":"a"#, b"\"channel\":\"", b'"'), None);
    }
}
