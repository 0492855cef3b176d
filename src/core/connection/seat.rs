//! A connection's seat: everything the transport hands over so that the core can run a session on it.
//!
//! **Must never know:** HTTP, how frames are read.

use super::state::Attendance;
use super::{Frame, Session};
use crate::core::channel::Leave;
use crate::core::channel::actor::Channel;
use crate::core::close::{Abuse, Close};
use crate::core::delivery::encoding::EncodingId;
use crate::core::ids::ConnectionId;
use actix::Addr;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// What the transport reads for the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A whole message.
    Frame(Frame),
    /// A sign of life; these bytes are the answer to it (empty = none).
    Alive(Bytes),
    /// The client closes; these bytes are the answer to it.
    Close(Bytes),
    /// The client did something no client may.
    Abuse(Abuse),
}

/// How the transport writes.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// A message as complete bytes.
    pub framing: fn(Frame) -> Bytes,
    /// A close frame as complete bytes.
    pub closing: fn(&Close) -> Bytes,
}

/// One accepted connection.
pub struct Seat {
    /// Its name.
    pub id: ConnectionId,
    /// The adapter's word for the dialect.
    pub dialect: &'static str,
    /// Peer address.
    pub remote: crate::core::ids::Text,
    /// How broadcasts are encoded for it.
    pub encoding: EncodingId,
    /// How the transport writes.
    pub wire: Wire,
    /// The dialect.
    pub session: Box<dyn Session>,
    /// What a former socket of the same connection left.
    pub inheritance: Option<Inheritance>,
}

/// The presence entries of a connection whose socket was lost or replaced, on their way to its next socket.
/// Dropped on the way, the entries leave: nobody else knows of them.
#[derive(Debug)]
pub struct Inheritance {
    pub(super) connection: ConnectionId,
    pub(super) attendances: Vec<Attendance<Addr<Channel>>>,
}

impl Inheritance {
    pub(super) fn take(mut self) -> Vec<Attendance<Addr<Channel>>> {
        std::mem::take(&mut self.attendances)
    }
}

impl Drop for Inheritance {
    fn drop(&mut self) {
        for one in self.attendances.drain(..) {
            one.channel.do_send(Leave {
                connection: self.connection,
                gone: true,
                keeps_members: false,
            });
        }
    }
}

/// Holds back reading while a request waits for an answer that later requests must not overtake. What is not
/// read stays in the socket, so the client is held back by TCP and nothing piles up here.
#[derive(Debug, Default)]
pub struct Gate {
    shut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    /// No reading from now on.
    pub fn shut(&self) {
        self.shut.set(true);
    }

    /// Reading goes on.
    pub fn open(&self) {
        self.shut.set(false);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ready while open.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.shut.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
