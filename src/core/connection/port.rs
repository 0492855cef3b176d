//! A connection actor as its thread's delivery tables see it: each call becomes a message to the actor.

use super::actor::Connection;
use super::messages::{
    Attached, DeadlineReached, DeliverBroadcast, EndConnection, EnforceEffects, TakeOver,
};
use crate::core::authority::EffectBatch;
use crate::core::close::End;
use crate::core::delivery::outbox::Source;
use crate::core::delivery::port::{ConnectionPort, HandOver};
use crate::core::ids::ChannelKey;
use crate::core::message::Broadcast;
use crate::core::session::Subscribed;
use actix::Addr;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;

impl ConnectionPort for Addr<Connection> {
    // These mailboxes are drained within the turn and what they lead to is bounded by the outbox, so the
    // unbounded send cannot pile up: the sender and the receiver share the thread.
    fn attached(&self, subscribed: Box<Subscribed>) {
        self.do_send(Attached(subscribed));
    }

    fn broadcast(&self, channel: Arc<ChannelKey>, broadcast: Broadcast, source: Source) {
        self.do_send(DeliverBroadcast {
            channel,
            broadcast,
            source,
        });
    }

    fn end(&self, end: End) {
        self.do_send(EndConnection(end));
    }

    fn due(&self) {
        self.do_send(DeadlineReached);
    }

    fn take_over(&self) -> LocalBoxFuture<'static, Option<HandOver>> {
        let answer = self.send(TakeOver);
        // An actor that is gone has nothing left to hand over.
        async move { answer.await.ok().flatten() }.boxed_local()
    }

    fn enforce(&self, batch: EffectBatch) -> LocalBoxFuture<'static, bool> {
        let answer = self.send(EnforceEffects(batch));
        // An actor that is gone has let go of everything already.
        async move { answer.await.unwrap_or(false) }.boxed_local()
    }
}
