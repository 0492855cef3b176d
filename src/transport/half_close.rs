//! A socket that remembers that its client has hung up, for requests that wait, and that can be hung up on; and whose
//! requests are readable.
//!
//! **Why not `h1_allow_half_closed(false)`:** it drops whatever request is under way when the client stops sending. One
//! that half-closes and reads would get no answer, and a publish to several channels by one that does not wait for
//! the answer would stop in the middle. So a long poll asks, and nobody else is told.

use super::head::Heads;
use super::socket::Socket;
use actix_codec::{AsyncRead, AsyncWrite, ReadBuf};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Whether a connection was hung up, and by whom; among the connection data of its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct HangUp(Rc<Ended>);

#[derive(Debug, Default)]
struct Ended {
    /// The client sends nothing any more.
    by_client: Cell<bool>,
    /// It gets nothing any more.
    by_us: Cell<bool>,
}

impl HangUp {
    /// Whether the client has stopped sending.
    pub(super) fn by_client(&self) -> bool {
        self.0.by_client.get()
    }

    /// Ends the connection: whatever is answered on it from now on, nothing of it is sent.
    pub(super) fn hang_up(&self) {
        self.0.by_us.set(true);
    }

    /// An error once nothing is to be sent any more.
    fn may_send(&self) -> io::Result<()> {
        match self.0.by_us.get() {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }
}

/// A socket, and whether its end has been read.
#[derive(Debug)]
pub(super) struct HalfCloseStream<T> {
    io: T,
    half_closed: HangUp,
    heads: Heads,
    /// Read, and not handed on yet: what was escaped needs more room than it came in. At most three times a read.
    rest: VecDeque<u8>,
}

impl<T> HalfCloseStream<T> {
    /// Of a connection that has just begun.
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            half_closed: HangUp::default(),
            heads: Heads::default(),
            rest: VecDeque::new(),
        }
    }

    /// The socket itself.
    pub(super) const fn socket(&self) -> &T {
        &self.io
    }

    /// What its requests may ask.
    pub(super) fn half_closed(&self) -> HangUp {
        self.half_closed.clone()
    }
}

impl<T: Into<Socket>> HalfCloseStream<T> {
    /// The socket itself, for something else than HTTP, and what has been read from it and not been handed on.
    pub(super) fn taken_over(self) -> (Socket, VecDeque<u8>) {
        (self.io.into(), self.rest)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HalfCloseStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.rest.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
            if buffer.filled().len() == before && buffer.remaining() > 0 {
                this.half_closed.0.by_client.set(true);
            }
            let mut rest = Vec::new();
            let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
            let kept = this.heads.read(read, &mut rest);
            buffer.set_filled(before + kept);
            this.rest = rest.into();
        }
        let fits = buffer.remaining().min(this.rest.len());
        for byte in this.rest.drain(..fits) {
            buffer.put_slice(&[byte]);
        }
        if this.rest.is_empty() {
            this.rest = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for HalfCloseStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.half_closed.may_send()?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.half_closed.may_send()?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
