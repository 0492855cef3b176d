//! What delivery needs of a connection actor: a way to tell it things, without knowing that it is an actor.
//!
//! **Must never know:** dialects, sockets.

use crate::core::authority::EffectBatch;
use crate::core::close::End;
use crate::core::connection::Subscribed;
use crate::core::connection::outbox::Source;
use crate::core::connection::seat::Inheritance;
use crate::core::ids::ChannelKey;
use crate::core::message::Broadcast;
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;

/// A connection as its thread's delivery tables see it. Calls never run the connection: they leave word.
pub trait ConnectionPort {
    /// A subscription stands; deliveries wait until the connection has spoken.
    fn attached(&self, subscribed: Box<Subscribed>);
    /// A broadcast that its session frames itself; `source` names the channel in its outbox.
    fn broadcast(&self, channel: Arc<ChannelKey>, broadcast: Broadcast, source: Source);
    /// It has to end.
    fn end(&self, end: End);
    /// A time it asked for has come.
    fn due(&self);
    /// Ends it for its next socket, to which its presence entries go.
    fn take_over(&self) -> LocalBoxFuture<'static, Option<Inheritance>>;
    /// Carries out these effects; resolves with whether it was ended for them.
    fn enforce(&self, batch: EffectBatch) -> LocalBoxFuture<'static, bool>;
}
