//! Many client sockets on one thread.
//!
//! **Must never know:** what the bytes mean. An async runtime would be shorter, but its tasks and wake-ups
//! would be half of what the generator does, on the cores it shares with the server.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Connections from one source address: less than its ephemeral ports, which a closed one holds for a minute.
const PER_SOURCE: usize = 4000;

struct Link {
    stream: TcpStream,
    to: SocketAddr,
    unsent: Vec<u8>,
}

/// The sockets, numbered from 0 in the order they were dialled.
pub struct Io {
    poll: Poll,
    events: Events,
    links: Vec<Option<Link>>,
    dialled: usize,
    scratch: Vec<u8>,
}

/// What a socket did.
pub enum Happening<'a> {
    /// Bytes came.
    Bytes(&'a [u8]),
    /// The other side ended it, or it broke.
    Closed,
}

impl Io {
    /// No sockets yet.
    ///
    /// # Errors
    /// When the system gives no epoll instance.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            links: Vec::new(),
            dialled: 0,
            scratch: vec![0; 256 * 1024],
        })
    }

    /// Begins a connection to `to` and gives it the next number. What is sent before it stands is kept.
    ///
    /// # Errors
    /// When `to` is not on this machine, or no socket can be had.
    pub fn dial(&mut self, to: SocketAddr) -> io::Result<usize> {
        self.links.push(None);
        let id = self.links.len() - 1;
        self.redial(id, to)?;
        Ok(id)
    }

    fn redial(&mut self, id: usize, to: SocketAddr) -> io::Result<()> {
        if !to.ip().is_loopback() {
            return Err(io::Error::other(format!("{to} is not a loopback address")));
        }
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if to.is_ipv4() {
            let own = (std::process::id() % 250) as u8;
            let source = 1 + (self.dialled / PER_SOURCE % 250) as u8;
            let source = IpAddr::V4(Ipv4Addr::new(127, 1, own, source));
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        self.dialled += 1;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        // On Linux a connect that is under way is EINPROGRESS, which std does not name.
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock || e.raw_os_error() == Some(115) => {}
            Err(e) => return Err(e),
        }
        let mut stream = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(id), both)?;
        if let Some(link) = self.links.get_mut(id) {
            *link = Some(Link {
                stream,
                to,
                unsent: Vec::new(),
            });
        }
        Ok(())
    }

    /// Connects `id` anew, to where it was connected.
    ///
    /// # Errors
    /// As `dial`.
    pub fn reconnect(&mut self, id: usize) -> io::Result<()> {
        match self.links.get_mut(id).and_then(Option::take) {
            Some(link) => self.redial(id, link.to),
            None => Err(io::Error::other(
                "a connection that never was cannot be made anew",
            )),
        }
    }

    /// Sends `bytes` now as far as they go, and the rest when the socket takes it.
    pub fn send(&mut self, id: usize, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(id).and_then(Option::as_mut) else {
            return;
        };
        let sent = if link.unsent.is_empty() {
            link.stream.write(bytes).unwrap_or(0)
        } else {
            0
        };
        // A broken socket shows in the next turn, as closed.
        link.unsent
            .extend_from_slice(bytes.get(sent..).unwrap_or_default());
    }

    /// Waits at most `limit` (rounded up to a millisecond) and hands on what happened.
    ///
    /// # Errors
    /// When waiting itself fails.
    pub fn turn(
        &mut self,
        limit: Duration,
        mut each: impl FnMut(usize, Happening<'_>),
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(limit)) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        for event in &self.events {
            let id = event.token().0;
            let Some(slot) = self.links.get_mut(id) else {
                continue;
            };
            let Some(link) = slot else { continue };
            if event.is_writable() && !link.unsent.is_empty() {
                let sent = link.stream.write(&link.unsent).unwrap_or(0);
                link.unsent.drain(..sent);
            }
            if event.is_readable() && !read_all(link, &mut self.scratch, |b| each(id, b)) {
                *slot = None;
                each(id, Happening::Closed);
            }
        }
        Ok(())
    }
}

/// Reads until the socket has no more; false when it has ended.
fn read_all(link: &mut Link, scratch: &mut [u8], mut each: impl FnMut(Happening<'_>)) -> bool {
    loop {
        match link.stream.read(scratch) {
            Ok(0) => return false,
            Ok(n) => {
                each(Happening::Bytes(scratch.get(..n).unwrap_or_default()));
                // Edge-triggered: a read that did not fill the buffer has emptied the socket.
                if n < scratch.len() {
                    return true;
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}
