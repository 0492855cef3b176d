//! A connection's seat: everything the transport hands over so that the core can run a session on it.
//!
//! **Must never know:** HTTP, how frames are read.

use crate::core::close::{Abuse, Close};
use crate::core::delivery::encoding::EncodingId;
use crate::core::delivery::port::HandOver;
use crate::core::ids::ConnectionId;
use crate::core::session::{Frame, Session};
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
    pub hand_over: Option<HandOver>,
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
