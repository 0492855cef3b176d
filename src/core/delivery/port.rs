//! What delivery needs of a connection actor: a way to tell it things, without knowing that it is an actor.

use super::outbox::Source;
use crate::core::authority::EffectBatch;
use crate::core::close::End;
use crate::core::ids::ChannelKey;
use crate::core::message::Broadcast;
use crate::core::session::Subscribed;
use futures_util::future::LocalBoxFuture;
use std::any::Any;
use std::sync::Arc;

/// What a connection leaves to its next socket. Only connections know what is in it: here it is passed on, and what
/// is in it learns when it is dropped on the way.
#[derive(Debug)]
pub struct HandOver(Box<dyn Any + Send>);

impl HandOver {
    /// This is handed over.
    #[must_use]
    pub fn new(left: impl Any + Send) -> Self {
        Self(Box::new(left))
    }

    /// What was handed over, to whoever knows its type; nobody else gets it.
    #[must_use]
    pub fn take<T: Any>(self) -> Option<Box<T>> {
        self.0.downcast().ok()
    }
}

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
    fn take_over(&self) -> LocalBoxFuture<'static, Option<HandOver>>;
    /// Carries out these effects; resolves with whether it was ended for them.
    fn enforce(&self, batch: EffectBatch) -> LocalBoxFuture<'static, bool>;
}
