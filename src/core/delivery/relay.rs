//! The relay: one per worker thread; owns which local connections receive which channel.
//!
//! It drains its mailbox into outboxes and then sends them, so that a burst becomes one write per connection.
//!
//! **Must never know:** any dialect, or another thread's connections.

use super::local::Local;
use super::parking::{Parking, Verdict};
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
use std::time::Duration;

/// How often deadlines and the lease are looked at. What is due fires at most this late.
const TICK: Duration = Duration::from_millis(50);
/// A step of the cluster's time against this machine's that is more than two clocks' difference in speed.
const JUMP_MS: i128 = 100;
/// Messages that may wait in the mailbox before senders that respect it are held up.
const MAILBOX: usize = 4096;

/// The actor. Messages from one channel arrive in the order sent.
#[derive(Debug)]
pub struct Relay {
    local: Rc<Local>,
    authority: Arc<Authority>,
    node: NodeId,
    parking: Parking,
    flushing: bool,
    /// Cluster time minus this machine's monotonic time, as the connections' deadlines know it.
    offset_ms: Option<i128>,
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
        let grace_ms = u64::try_from(authority.lease().as_millis()).unwrap_or(u64::MAX);
        Self {
            local,
            authority,
            node,
            parking: Parking::new(grace_ms),
            flushing: false,
            offset_ms: None,
        }
    }

    /// Delivers into outboxes now, and sees to it that they are sent once the mailbox is empty.
    fn deliver(&mut self, message: &Deliver, flowing: bool, cx: &mut Context<Self>) {
        if self.local.deliver(message, flowing) && !self.flushing {
            self.flushing = true;
            cx.notify(Flush);
        }
    }

    fn tick(&mut self, cx: &mut Context<Self>) {
        self.follow_time();
        let now = self.authority.now().mono_ms;
        self.local.fire(now);
        let serving = self.authority.serving();
        self.local.withhold(!serving);
        match self.parking.tick(serving, now) {
            Verdict::Wait => {}
            Verdict::Release(parked) => {
                for message in parked {
                    self.deliver(&message, false, cx);
                }
            }
            Verdict::GiveUp => self.local.end_stale(
                |app| self.authority.stays_while_stale(app),
                |key| self.authority.flows_while_stale(key),
            ),
        }
    }

    /// Deadlines run on this machine's clock. When the cluster's time jumps ahead of it, they are asked again.
    fn follow_time(&mut self) {
        let now = self.authority.now();
        let offset_ms = i128::from(now.cluster_ms) - i128::from(now.mono_ms);
        let before = *self.offset_ms.get_or_insert(offset_ms);
        if offset_ms > before + JUMP_MS {
            self.offset_ms = Some(offset_ms);
            self.local.look_again();
        }
    }
}

impl Actor for Relay {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        cx.set_mailbox_capacity(MAILBOX);
        cx.run_interval(TICK, Self::tick);
    }
}

/// To itself, after everything in the mailbox: send what was pushed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Flush;

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
        self.local.attach(message);
    }
}

impl Handler<Detach> for Relay {
    type Result = ();
    fn handle(&mut self, message: Detach, _cx: &mut Context<Self>) {
        self.local.detach_id(message.connection, &message.channel);
    }
}

impl Handler<Deliver> for Relay {
    type Result = ();
    fn handle(&mut self, message: Deliver, cx: &mut Context<Self>) {
        let now = || self.authority.now().mono_ms;
        let serving = self.authority.serving();
        if !serving && self.authority.flows_while_stale(&message.channel) {
            return self.deliver(&message, true, cx);
        }
        if let Some(message) = self.parking.admit(message, serving, now) {
            self.deliver(&message, false, cx);
        }
    }
}

impl Handler<Flush> for Relay {
    type Result = ();
    fn handle(&mut self, _message: Flush, _cx: &mut Context<Self>) {
        self.flushing = false;
        self.local.send_dirty();
    }
}

impl Handler<Enforce> for Relay {
    type Result = ResponseFuture<u64>;
    fn handle(&mut self, message: Enforce, _cx: &mut Context<Self>) -> Self::Result {
        let answers = self.local.enforce(&message.0);
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
