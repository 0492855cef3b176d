//! A client's socket, taken over from HTTP: written by whoever delivers, read by the connection, closed here.
//!
//! **Why not a response body that the HTTP dispatcher drains:** it costs a task's wake-up and two copies per
//! message, the dispatcher's buffers per connection, and when the socket is full the body is not polled any more,
//! so that ending it closes nothing (all measured).

use super::socket::Socket;
use crate::core::connection::actor::Connection;
use crate::core::connection::messages::SocketClosed;
use crate::core::delivery::outbox::{Outbox, Sent, Sink};
use actix::Addr;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Error, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// The socket, shared by whoever reads it and whoever writes it.
pub(super) struct ClientSocket {
    socket: Socket,
    /// Somebody reads messages still.
    reading: Cell<bool>,
    carrier: RefCell<Option<Waker>>,
}

impl ClientSocket {
    /// Over this socket.
    pub(super) fn new(socket: Socket) -> Rc<Self> {
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

    /// Reads into the buffer; 0 at the end.
    pub(super) fn poll_read(
        &self,
        buffer: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Error>> {
        self.socket.poll_read(buffer, cx)
    }

    /// Sends what others could not send at once, until the way out has ended. Whether it ended in order.
    fn poll_sent(&self, outbox: &Outbox, cx: &mut Context<'_>) -> Poll<bool> {
        outbox.wait(cx);
        *self.carrier.borrow_mut() = Some(cx.waker().clone());
        loop {
            let sent = outbox.flush();
            if sent != Sent::Broken
                && self.socket.holds()
                && ready!(self.socket.poll_flush(cx)).is_err()
            {
                return Poll::Ready(false);
            }
            match sent {
                Sent::All => return Poll::Pending,
                Sent::Ended => return Poll::Ready(true),
                Sent::Broken => return Poll::Ready(false),
                Sent::NoRoom => {
                    if ready!(self.socket.poll_room(cx)).is_err() {
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
        self.socket.poll_drained(cx)
    }
}

impl Sink for ClientSocket {
    fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Error> {
        let taken = self.socket.write(slices)?;
        if self.socket.holds()
            && let Some(carrier) = &*self.carrier.borrow()
        {
            // TLS has taken it all, but the socket has not: somebody has to see to the rest.
            carrier.wake_by_ref();
        }
        Ok(taken)
    }

    fn abort(&self) {
        self.socket.abort();
    }
}

/// Tells the connection that its socket is let go, also when the server does not wait for it.
struct SocketClosedGuard(Addr<Connection>);

impl Drop for SocketClosedGuard {
    fn drop(&mut self) {
        self.0.do_send(SocketClosed);
    }
}

/// Stays with the socket from its first message to its end: sends what has to wait for room, then closes.
pub(super) async fn drive(
    client: Rc<ClientSocket>,
    outbox: Rc<Outbox>,
    connection: Addr<Connection>,
) {
    let _told = SocketClosedGuard(connection);
    if poll_fn(|cx| client.poll_sent(&outbox, cx)).await {
        client.socket.end_writing();
        poll_fn(|cx| client.poll_closed(cx)).await;
    }
}
