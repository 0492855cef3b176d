//! What a connection actor is told by its thread: by the delivery tables, the timers and its own socket.
//!
//! **Must never know:** dialects, how tables are kept.

use super::Subscribed;
use super::actor::Connection;
use super::outbox::Source;
use super::seat::Inheritance;
use crate::core::authority::EffectBatch;
use crate::core::close::End;
use crate::core::delivery::port::ConnectionPort;
use crate::core::ids::ChannelKey;
use crate::core::message::Broadcast;
use actix::prelude::*;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;

/// A subscription stands; deliveries wait.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Attached(pub(super) Box<Subscribed>);

/// A broadcast that the session frames itself.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Heard {
    pub(super) channel: Arc<ChannelKey>,
    pub(super) broadcast: Broadcast,
    pub(super) source: Source,
}

/// It has to end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Finish(pub(super) End);

/// The same connection has a new socket: end, and hand over the presence entries.
#[derive(Debug, Message)]
#[rtype(result = "Option<Inheritance>")]
pub(super) struct TakeOver;

/// A deadline has come.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Due;

/// Access effects; answered with whether the connection was ended for them.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct Carry(pub(super) EffectBatch);

/// From the transport: the socket has been let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Gone;

impl ConnectionPort for Addr<Connection> {
    // These mailboxes are drained within the turn and what they lead to is bounded by the outbox, so the
    // unbounded send cannot pile up: the sender and the receiver share the thread.
    fn attached(&self, subscribed: Box<Subscribed>) {
        self.do_send(Attached(subscribed));
    }

    fn broadcast(&self, channel: Arc<ChannelKey>, broadcast: Broadcast, source: Source) {
        self.do_send(Heard {
            channel,
            broadcast,
            source,
        });
    }

    fn end(&self, end: End) {
        self.do_send(Finish(end));
    }

    fn due(&self) {
        self.do_send(Due);
    }

    fn take_over(&self) -> LocalBoxFuture<'static, Option<Inheritance>> {
        let answer = self.send(TakeOver);
        // An actor that is gone has nothing left to hand over.
        async move { answer.await.ok().flatten() }.boxed_local()
    }

    fn enforce(&self, batch: EffectBatch) -> LocalBoxFuture<'static, bool> {
        let answer = self.send(Carry(batch));
        // An actor that is gone has let go of everything already.
        async move { answer.await.unwrap_or(false) }.boxed_local()
    }
}
