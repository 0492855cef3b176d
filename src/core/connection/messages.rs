//! What a connection actor is told by its thread: by the delivery tables, the timers and its own socket.

use crate::core::authority::EffectBatch;
use crate::core::close::End;
use crate::core::delivery::outbox::Source;
use crate::core::delivery::port::HandOver;
use crate::core::ids::ChannelKey;
use crate::core::message::Broadcast;
use crate::core::session::Subscribed;
use actix::prelude::*;
use std::sync::Arc;

/// A subscription stands; deliveries wait.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Attached(pub(super) Box<Subscribed>);

/// A broadcast that the session frames itself.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct DeliverBroadcast {
    pub(super) channel: Arc<ChannelKey>,
    pub(super) broadcast: Broadcast,
    pub(super) source: Source,
}

/// It has to end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct EndConnection(pub(super) End);

/// The same connection has a new socket: end, and hand over the presence entries.
#[derive(Debug, Message)]
#[rtype(result = "Option<HandOver>")]
pub(super) struct TakeOver;

/// A deadline has come.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct DeadlineReached;

/// Access effects; answered with whether the connection was ended for them.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct EnforceEffects(pub(super) EffectBatch);

/// From the transport: the socket has been let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct SocketClosed;
