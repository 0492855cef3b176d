//! An accepted connection: everything the transport hands over so that the core can run a session on it.

use crate::core::close::{Abuse, Close};
use crate::core::delivery::encoding::EncodingId;
use crate::core::delivery::port::HandOver;
use crate::core::ids::{AppId, ConnectionId, Text};
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

/// How the transport frames what is sent: WebSocket frames, or the lines of a fallback over plain HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// Gives the complete bytes of a message.
    pub message: fn(Frame) -> Bytes,
    /// Gives the complete bytes of a close frame.
    pub close: fn(&Close) -> Bytes,
}

/// One accepted connection.
pub struct AcceptedConnection {
    /// The id under which it is known in the cluster.
    pub id: ConnectionId,
    /// The adapter's word for the dialect.
    pub dialect: &'static str,
    /// The network address of the client.
    pub remote: Text,
    /// The app and the key that it named, whether or not it is let in.
    pub asked: (Option<AppId>, Option<Text>),
    /// How broadcasts are encoded for it.
    pub encoding: EncodingId,
    /// How what is sent to it is framed.
    pub framing: Framing,
    /// The dialect's session on it.
    pub session: Box<dyn Session>,
    /// What a former socket of the same connection left.
    pub hand_over: Option<HandOver>,
}

/// Holds back reading while a request waits for an answer that later requests must not overtake. What is not
/// read stays in the socket, so the client is held back by TCP and nothing piles up here.
#[derive(Debug, Default)]
pub struct ReadGate {
    shut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl ReadGate {
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
