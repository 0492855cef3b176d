//! The relay: one per worker thread; owns which local connections receive which channel.
//!
//! What other threads' channels send it, it hands on to `dispatch`; its own thread's do so themselves.
//!
//! **Must never know:** any dialect, or another thread's connections.

use super::dispatch::{self, Dispatch};
use super::local::Local;
use super::ticker::Ticker;
use crate::core::authority::{Authority, EffectBatch, State};
use crate::core::broker::{ConnectionFilter, ConnectionInfo};
use crate::core::close::End;
use crate::core::connection::seat::Inheritance;
use crate::core::connection::{DeliveryMode, Subscribed};
use crate::core::delivery::encoding::{EncodingId, Frames};
use crate::core::ids::{ChannelKey, ConnectionId, NodeId};
use crate::core::message::Broadcast;
use actix::prelude::*;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Messages that may wait in the mailbox before senders that respect it are held up.
const MAILBOX: usize = 4096;

/// The actor. Messages from one channel arrive in the order sent.
#[derive(Debug)]
pub struct Relay {
    local: Rc<Local>,
    authority: Arc<Authority>,
    node: NodeId,
    dispatch: Rc<Dispatch>,
    /// What runs beside it, as long as it does.
    tasks: Vec<JoinHandle<()>>,
}

impl Default for Relay {
    /// One without connections, over an empty access state: for tests of what talks to a relay.
    fn default() -> Self {
        let authority = Arc::new(Authority::fixed(State::default(), 0));
        Self::new(Rc::default(), authority, NodeId(0))
    }
}

impl Relay {
    /// The relay of these tables. Starts on the thread they belong to.
    #[must_use]
    pub fn new(local: Rc<Local>, authority: Arc<Authority>, node: NodeId) -> Self {
        let dispatch = Rc::new(Dispatch::new(local.clone(), authority.clone()));
        Self {
            local,
            authority,
            node,
            dispatch,
            tasks: Vec::new(),
        }
    }

    /// Starts it on this thread, whose channels need no mailbox to reach it.
    #[must_use]
    pub fn start_here(self) -> Addr<Self> {
        let dispatch = self.dispatch.clone();
        let relay = self.start();
        dispatch::settle(relay.clone(), dispatch);
        relay
    }
}

impl Actor for Relay {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        cx.set_mailbox_capacity(MAILBOX);
        let (local, authority) = (self.local.clone(), self.authority.clone());
        let ticker = Ticker::new(local, authority, self.dispatch.clone());
        let sending = self.dispatch.clone().send();
        self.tasks = vec![actix::spawn(ticker.run()), actix::spawn(sending)];
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        dispatch::leave(&self.dispatch);
    }
}

/// From a channel: this connection receives the channel from here on, and is told so first: the connection
/// gets `Event::Subscribed`, and broadcasts that follow wait until it has spoken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// The channel.
    pub channel: Arc<ChannelKey>,
    /// The connection, local to this worker.
    pub connection: ConnectionId,
    /// How it receives.
    pub mode: DeliveryMode,
    /// Its encoding.
    pub encoding: EncodingId,
    /// Whether it gets its own publications.
    pub echo: bool,
    /// What the session is told.
    pub subscribed: Box<Subscribed>,
}

/// From a channel: the connection no longer receives it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Detach {
    /// The channel.
    pub channel: Arc<ChannelKey>,
    /// The connection.
    pub connection: ConnectionId,
}

/// From a channel: what follows leaves a gap. Its subscribers here get nothing more and are ended with
/// [`End::Missed`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Interrupt {
    /// The channel.
    pub channel: Arc<ChannelKey>,
}

/// From a channel: deliver this to its local subscribers.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The channel.
    pub channel: Arc<ChannelKey>,
    /// The broadcast in every encoding this worker's subscribers of the channel use.
    pub frames: Frames,
    /// The broadcast itself, for subscribers that frame it themselves.
    pub broadcast: Broadcast,
    /// A connection that must not get it.
    pub except: Option<ConnectionId>,
    /// Connection that published it: skipped where echo is off.
    pub publisher: Option<ConnectionId>,
}

/// From the enforcer: carry out access effects on this worker's connections. Resolves, with the number of
/// connections closed, when all of them are narrowed or closed and their queued protected bytes dropped.
#[derive(Clone, Debug, Message)]
#[rtype(result = "u64")]
pub struct Enforce(pub EffectBatch);

/// A connection has a new socket: the old one ends here, if this worker holds it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Inheritance>")]
pub struct TakeOver(pub ConnectionId);

/// Ends the socket of a connection as if it had broken; answered with whether it was here.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Sever(pub ConnectionId);

/// The connections of this worker, as listings show them.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<ConnectionInfo>")]
pub struct ListConnections(pub ConnectionFilter);

/// Ends every connection of this worker.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct EndAll(pub End);

impl Handler<Attach> for Relay {
    type Result = ();
    fn handle(&mut self, message: Attach, _cx: &mut Context<Self>) {
        self.dispatch.attach(message);
    }
}

impl Handler<Detach> for Relay {
    type Result = ();
    fn handle(&mut self, message: Detach, _cx: &mut Context<Self>) {
        self.dispatch.detach(&message);
    }
}

impl Handler<Interrupt> for Relay {
    type Result = ();
    fn handle(&mut self, message: Interrupt, _cx: &mut Context<Self>) {
        self.dispatch.interrupt(&message);
    }
}

impl Handler<Deliver> for Relay {
    type Result = ();
    fn handle(&mut self, message: Deliver, _cx: &mut Context<Self>) {
        self.dispatch.deliver(message);
    }
}

impl Handler<Enforce> for Relay {
    type Result = ResponseFuture<u64>;
    fn handle(&mut self, message: Enforce, _cx: &mut Context<Self>) -> Self::Result {
        let answers = self.dispatch.enforce(&message.0);
        Box::pin(async move {
            let closed = futures_util::future::join_all(answers).await;
            closed.into_iter().filter(|closed| *closed).count() as u64
        })
    }
}

impl Handler<TakeOver> for Relay {
    type Result = ResponseFuture<Option<Inheritance>>;
    fn handle(&mut self, message: TakeOver, _cx: &mut Context<Self>) -> Self::Result {
        let answer = self.local.take_over(message.0);
        Box::pin(async move { answer?.await })
    }
}

impl Handler<Sever> for Relay {
    type Result = bool;
    fn handle(&mut self, message: Sever, _cx: &mut Context<Self>) -> bool {
        self.local.sever(message.0)
    }
}

impl Handler<ListConnections> for Relay {
    type Result = MessageResult<ListConnections>;
    fn handle(&mut self, message: ListConnections, _cx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.local.list(self.node, &message.0))
    }
}

impl Handler<EndAll> for Relay {
    type Result = ();
    fn handle(&mut self, message: EndAll, _cx: &mut Context<Self>) {
        self.local.end_all(message.0);
    }
}
