//! A connection in the world: the real session on the real state of a connection, with a real outbox before a socket that a
//! client reads. What it does is in `actor` and `intents`.

use crate::core::authority::{EffectBatch, Principal};
use crate::core::close::{Close, End};
use crate::core::connection::presence_entry::PresenceEntry;
use crate::core::connection::state::State;
use crate::core::delivery::encoding::EncodingId;
use crate::core::delivery::outbox::{Outbox, Sink, Source};
use crate::core::delivery::port::{ConnectionPort, HandOver};
use crate::core::delivery::worker_state::Slot;
use crate::core::ids::ChannelKey;
use crate::core::message::Broadcast;
use crate::core::session::{
    Action, Event, Frame, PresenceRequest, Publish, Session, Subscribe, Subscribed,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;

/// The length of a close among the frames.
const CLOSE: u32 = u32::MAX;
/// A message as bytes on the world's sockets.
pub(crate) fn framing(frame: Frame) -> Bytes {
    let payload = match frame {
        Frame::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
        Frame::Binary(bytes) => bytes,
    };
    let mut out = BytesMut::with_capacity(4 + payload.len());
    out.put_u32(u32::try_from(payload.len()).unwrap());
    out.extend_from_slice(&payload);
    out.freeze()
}

pub(super) fn closing(close: &Close) -> Bytes {
    let mut out = BytesMut::with_capacity(6);
    out.put_u32(CLOSE);
    out.put_u16(close.code);
    out.freeze()
}

/// A socket: what the client has not read yet.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    bytes: RefCell<VecDeque<u8>>,
    /// The client does not read.
    pub(crate) full: Cell<bool>,
    pub(crate) aborted: Cell<bool>,
}

/// What a client reads.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    Frame(String),
    Close,
}

impl Socket {
    /// The next that has arrived whole.
    pub(crate) fn read(&self) -> Option<Received> {
        let mut bytes = self.bytes.borrow_mut();
        let mut head = bytes.iter().copied();
        let head: [u8; 4] = [head.next()?, head.next()?, head.next()?, head.next()?];
        let length = u32::from_be_bytes(head);
        if length == CLOSE {
            bytes.clear();
            return Some(Received::Close);
        }
        let whole = 4 + length as usize;
        if bytes.len() < whole {
            return None;
        }
        let payload = bytes.drain(..whole).skip(4).collect();
        Some(Received::Frame(String::from_utf8(payload).unwrap()))
    }
}

impl Sink for Socket {
    fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Error> {
        if self.aborted.get() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if self.full.get() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut bytes = self.bytes.borrow_mut();
        let before = bytes.len();
        slices.iter().for_each(|slice| bytes.extend(slice.iter()));
        Ok(bytes.len() - before)
    }

    fn abort(&self) {
        self.aborted.set(true);
    }
}

/// What a connection is told.
#[derive(Debug)]
pub(crate) enum ToConnection {
    Frame(String),
    Tell(Event),
    Attached(Box<Subscribed>),
    DeliverBroadcast(Arc<ChannelKey>, Broadcast, Source),
    EndConnection(End),
    SocketClosed,
    DeadlineReached,
    /// Access effects, and how many connections have yet to carry them out.
    EnforceEffects(EffectBatch, Rc<Cell<usize>>),
    /// The node's view is as new as it could be had.
    CaughtUp(bool),
}

/// A connection's mailbox, which the thread's tables reach.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mailbox(pub(crate) Rc<RefCell<VecDeque<ToConnection>>>);

impl ConnectionPort for Mailbox {
    fn attached(&self, subscribed: Box<Subscribed>) {
        self.0
            .borrow_mut()
            .push_back(ToConnection::Attached(subscribed));
    }

    fn broadcast(&self, channel: Arc<ChannelKey>, broadcast: Broadcast, source: Source) {
        let message = ToConnection::DeliverBroadcast(channel, broadcast, source);
        self.0.borrow_mut().push_back(message);
    }

    fn end(&self, end: End) {
        self.0
            .borrow_mut()
            .push_back(ToConnection::EndConnection(end));
    }

    fn due(&self) {
        self.0.borrow_mut().push_back(ToConnection::DeadlineReached);
    }

    fn take_over(&self) -> LocalBoxFuture<'static, Option<HandOver>> {
        std::future::ready(None).boxed_local()
    }

    /// Counted by whoever hands it out: see [`World::enforce`].
    fn enforce(&self, batch: EffectBatch) -> LocalBoxFuture<'static, bool> {
        let left = super::world::ENFORCING.with_borrow(Clone::clone);
        left.set(left.get() + 1);
        self.0
            .borrow_mut()
            .push_back(ToConnection::EnforceEffects(batch, left));
        std::future::ready(false).boxed_local()
    }
}

/// What waits for a newer view.
#[derive(Debug)]
pub(super) enum Pending {
    CatchUp,
    Identify(Box<Principal>),
    Subscribe(Box<Subscribe>),
    Publish(Publish),
    Presence(Box<PresenceRequest>),
    Members(Arc<ChannelKey>, u64),
}

/// One connection.
pub(crate) struct Connection {
    pub(crate) client: usize,
    pub(crate) session: Box<dyn Session>,
    pub(crate) state: State<usize>,
    pub(crate) mailbox: Mailbox,
    pub(crate) queued: bool,
    pub(crate) outbox: Rc<Outbox>,
    pub(crate) socket: Rc<Socket>,
    pub(super) encoding: EncodingId,
    pub(super) slot: Slot,
    pub(super) waiting: VecDeque<Action>,
    pub(super) pending: Option<Pending>,
    /// Frames that are not read before the answer is there.
    pub(super) unread: VecDeque<String>,
    pub(super) wake_at: Option<u64>,
    pub(super) ending: bool,
    pub(super) lingering: Option<u64>,
    pub(super) succeeded: bool,
    /// When it has asked for its last subscription, in the order of everything.
    pub(super) asked: u64,
}

/// What a connection is made of.
pub(crate) struct NewConnection {
    pub(crate) client: usize,
    pub(crate) session: Box<dyn Session>,
    pub(crate) mailbox: Mailbox,
    pub(crate) outbox: Rc<Outbox>,
    pub(crate) socket: Rc<Socket>,
    pub(crate) encoding: EncodingId,
    pub(crate) slot: Slot,
    pub(crate) inherits: Vec<PresenceEntry<usize>>,
}

impl Connection {
    pub(crate) fn new(new: NewConnection) -> Self {
        let mut state = State::default();
        state.take_over_entries(new.inherits);
        Self {
            client: new.client,
            session: new.session,
            state,
            mailbox: new.mailbox,
            queued: false,
            outbox: new.outbox,
            socket: new.socket,
            encoding: new.encoding,
            slot: new.slot,
            waiting: VecDeque::new(),
            pending: None,
            unread: VecDeque::new(),
            wake_at: None,
            ending: false,
            lingering: None,
            succeeded: false,
            asked: 0,
        }
    }
}
