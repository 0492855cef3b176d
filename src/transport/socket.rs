//! The socket below a taken-over connection: plain, or with TLS.
//!
//! **Why TLS is driven by hand here:** whoever delivers writes at once and never waits, which a stream of futures
//! cannot. What TLS has made of bytes it took but could not send stays with it and goes out first.

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::rt::net::TcpStream;
use bytes::BytesMut;
use rustls::ServerConnection;
use socket2::SockRef;
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;

/// Plaintext taken at once from TLS, at most.
const PLAIN: usize = 4 << 10;

/// A client's socket, with TLS or without.
pub(super) enum Socket {
    /// As it is.
    Plain(TcpStream),
    /// Below TLS. Boxed, so that plain connections do not pay for it.
    Tls(Box<RefCell<TlsStream<TcpStream>>>),
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl From<TlsStream<TcpStream>> for Socket {
    fn from(socket: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(RefCell::new(socket)))
    }
}

impl Socket {
    fn tcp<R>(&self, with: impl FnOnce(&TcpStream) -> R) -> R {
        match self {
            Self::Plain(tcp) => with(tcp),
            Self::Tls(tls) => with(tls.borrow().get_ref().0),
        }
    }

    /// Reads into the buffer; 0 at the end.
    pub(super) fn poll_read(
        &self,
        buffer: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.tcp(|tcp| tcp.poll_read_ready(cx)))?;
                }
                read => return Poll::Ready(read),
            }
        }
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => {
                let room = buffer.capacity() - buffer.len();
                let read = tcp.try_read_buf(buffer)?;
                if read < room {
                    emptied(tcp);
                }
                Ok(read)
            }
            Self::Tls(tls) => {
                let mut stream = tls.borrow_mut();
                let (tcp, tls) = stream.get_mut();
                decrypt(tcp, tls, buffer)
            }
        }
    }

    /// Takes as much of the bytes as there is room for.
    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Plain(tcp), [one]) => tcp.try_write(one),
            (Self::Plain(tcp), many) => tcp.try_write_vectored(many),
            (Self::Tls(tls), slices) => {
                let mut stream = tls.borrow_mut();
                let (tcp, tls) = stream.get_mut();
                push(tcp, tls)?;
                let taken = tls.writer().write_vectored(slices)?;
                match push(tcp, tls) {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
                    Ok(()) | Err(_) => Ok(taken),
                }
            }
        }
    }

    /// Whether TLS holds bytes that could not be sent yet.
    pub(super) fn holds(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.borrow().get_ref().1.wants_write(),
        }
    }

    /// Sends what TLS holds.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Tls(tls) = self else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let mut stream = tls.borrow_mut();
            let (tcp, tls) = stream.get_mut();
            match push(tcp, tls) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(tcp.poll_write_ready(cx))?;
                }
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Ready when there may be room.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp(|tcp| tcp.poll_write_ready(cx))
    }

    /// Says TLS's own goodbye, as far as there is room, and ends our direction.
    pub(super) fn end_writing(&self) {
        if let Self::Tls(tls) = self {
            let mut stream = tls.borrow_mut();
            let (tcp, tls) = stream.get_mut();
            tls.send_close_notify();
            let _ = push(tcp, tls);
        }
        let _ = self.tcp(|tcp| SockRef::from(tcp).shutdown(Shutdown::Write));
    }

    /// Throws away what still comes until the client has closed too.
    pub(super) fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut nowhere = [0; 512];
        loop {
            match self.tcp(|tcp| tcp.try_read(&mut nowhere)) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if ready!(self.tcp(|tcp| tcp.poll_read_ready(cx))).is_err() {
                        return Poll::Ready(());
                    }
                }
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// What was bounded by time while it spoke HTTP is bounded by bytes from here on.
    pub(super) fn taken_over(&self) {
        self.tcp(|tcp| give_up(tcp, None));
    }

    /// Ends both directions at once; it may be closed already.
    pub(super) fn abort(&self) {
        let _ = self.tcp(|tcp| SockRef::from(tcp).shutdown(Shutdown::Both));
    }
}

/// How the kernel treats a client's socket. What is written is whole and goes out at once: the kernel would hold a small
/// answer back until the one before it is acknowledged, which a client that has nothing to say puts off by 40 ms.
pub(super) fn tune(tcp: &TcpStream, stalled: Duration) {
    // A socket that cannot be told is used as it is.
    let _ = tcp.set_nodelay(true);
    give_up(tcp, Some(stalled));
}

/// How long the kernel waits for a peer that takes nothing before it ends the connection; `None` = its own patience.
/// Only where the system can do that.
pub(super) fn give_up(tcp: &TcpStream, after: Option<Duration>) {
    #[cfg(target_os = "linux")]
    // A socket that cannot be told is used as it is.
    let _ = SockRef::from(tcp).set_tcp_user_timeout(after);
    #[cfg(not(target_os = "linux"))]
    let _ = (tcp, after);
}

/// A read that filled less than it could has emptied the socket: the next one waits for news instead of asking the
/// kernel once more, a call less per message. To be said right after that read, before the reactor can have brought
/// news; that the peer has closed is remembered apart.
fn emptied(tcp: &TcpStream) {
    let _told = tcp.try_io(Interest::READABLE, || {
        Err::<(), _>(ErrorKind::WouldBlock.into())
    });
}

/// A socket that never waits, for the TLS engine.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(bytes)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn push(tcp: &TcpStream, tls: &mut ServerConnection) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut Now(tcp))?;
    }
    Ok(())
}

fn decrypt(tcp: &TcpStream, tls: &mut ServerConnection, to: &mut BytesMut) -> io::Result<usize> {
    loop {
        let mut plain = [0; PLAIN];
        match tls.reader().read(&mut plain) {
            Ok(read) => {
                to.extend_from_slice(plain.get(..read).unwrap_or_default());
                return Ok(read);
            }
            // The client has closed below TLS, without TLS's goodbye.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        tls.read_tls(&mut Now(tcp))?;
        let processed = tls.process_new_packets();
        // An alert or an answer to a change of keys; without room it goes with the next bytes.
        let _ = push(tcp, tls);
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    }
}
