//! The relay: one per worker thread; owns which local connections receive which channel.
//!
//! **Must never know:** any dialect, or another thread's connections.

use crate::core::authority::EffectBatch;
use crate::core::connection::{DeliveryMode, Subscribed};
use crate::core::delivery::encoding::EncodingId;
use crate::core::ids::{ChannelKey, ConnectionId};
use crate::core::message::Broadcast;
use actix::prelude::*;
use bytes::Bytes;
use std::sync::Arc;

/// The actor. Messages from one channel arrive in the order sent.
#[derive(Debug, Default)]
pub struct Relay {}

impl Actor for Relay {
    type Context = Context<Self>;
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

/// From a channel: deliver this to its local subscribers.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The channel.
    pub channel: Arc<ChannelKey>,
    /// The broadcast in every encoding this worker's subscribers of the channel use.
    pub frames: Arc<[(EncodingId, Bytes)]>,
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

impl Handler<Attach> for Relay {
    type Result = ();
    fn handle(&mut self, _message: Attach, _cx: &mut Context<Self>) {}
}
impl Handler<Detach> for Relay {
    type Result = ();
    fn handle(&mut self, _message: Detach, _cx: &mut Context<Self>) {}
}
impl Handler<Deliver> for Relay {
    type Result = ();
    fn handle(&mut self, _message: Deliver, _cx: &mut Context<Self>) {}
}
impl Handler<Enforce> for Relay {
    type Result = MessageResult<Enforce>;
    fn handle(&mut self, _message: Enforce, _cx: &mut Context<Self>) -> Self::Result {
        MessageResult(0)
    }
}
