//! A client's socket, taken over from HTTP: written by whoever delivers, read by the connection, closed here.
//!
//! **Must never know:** what runs over it.
//!
//! **Why not a response body that the HTTP dispatcher drains:** it costs a task's wake-up and two copies per
//! message, the dispatcher's buffers per connection, and when the socket is full the body is not polled any more,
//! so that ending it closes nothing (all measured).

use crate::core::connection::actor::Connection;
use crate::core::connection::mail::Gone;
use crate::core::connection::outbox::{Outbox, Sent, Sink};
use actix::Addr;
use actix_web::rt::net::TcpStream;
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Error, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::net::tcp::OwnedWriteHalf;

/// Bytes thrown away at once while waiting for the client's end.
const DISCARD: usize = 512;

/// The socket, but for reading messages from it.
pub(super) struct Line {
    socket: OwnedWriteHalf,
    /// Somebody reads messages still.
    reading: Cell<bool>,
    carrier: RefCell<Option<Waker>>,
}

impl Line {
    /// Over this socket, whose other half is being read.
    pub(super) fn new(socket: OwnedWriteHalf) -> Rc<Self> {
        Rc::new(Self {
            socket,
            reading: Cell::new(true),
            carrier: RefCell::default(),
        })
    }

    /// Nobody reads messages any more.
    pub(super) fn read_out(&self) {
        self.reading.set(false);
        if let Some(waker) = self.carrier.take() {
            waker.wake();
        }
    }

    fn stream(&self) -> &TcpStream {
        self.socket.as_ref()
    }

    /// Sends what others could not send at once, until the way out has ended. Whether it ended in order.
    fn poll_sent(&self, outbox: &Outbox, cx: &mut Context<'_>) -> Poll<bool> {
        outbox.wait(cx);
        loop {
            match outbox.flush() {
                Sent::All => return Poll::Pending,
                Sent::Ended => return Poll::Ready(true),
                Sent::Broken => return Poll::Ready(false),
                Sent::NoRoom => {
                    if ready!(self.stream().poll_write_ready(cx)).is_err() {
                        return Poll::Ready(false);
                    }
                }
            }
        }
    }

    /// Reads on until the client has closed too: closing over unread bytes would be a reset, and that could
    /// overtake the goodbye.
    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        *self.carrier.borrow_mut() = Some(cx.waker().clone());
        if self.reading.get() {
            return Poll::Pending;
        }
        let mut nowhere = [0; DISCARD];
        loop {
            match self.stream().try_read(&mut nowhere) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if ready!(self.stream().poll_read_ready(cx)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl Sink for Line {
    fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Error> {
        match slices {
            [one] => self.socket.try_write(one),
            many => self.socket.try_write_vectored(many),
        }
    }

    fn sever(&self) {
        // It may be closed already; there is nothing else to do about it.
        let _ = SockRef::from(self.stream()).shutdown(Shutdown::Both);
    }
}

/// Tells the connection that its socket is let go, also when the server does not wait for it.
struct Farewell(Addr<Connection>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.do_send(Gone);
    }
}

/// Stays with the socket from its first message to its end: sends what has to wait for room, then closes.
pub(super) async fn carry(line: Rc<Line>, outbox: Rc<Outbox>, connection: Addr<Connection>) {
    let _told = Farewell(connection);
    if poll_fn(|cx| line.poll_sent(&outbox, cx)).await {
        let _ = SockRef::from(line.stream()).shutdown(Shutdown::Write);
        poll_fn(|cx| line.poll_closed(cx)).await;
    }
}
