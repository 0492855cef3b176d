//! What a worker thread's relay is told: by channels, by the enforcer, and by whoever asks all workers.

use super::encoding::{EncodingId, Frames};
use super::port::HandOver;
use super::traffic::Report;
use crate::core::authority::EffectBatch;
use crate::core::close::End;
use crate::core::ids::{ChannelKey, ConnectionId};
use crate::core::listing::{ConnectionFilter, ConnectionInfo};
use crate::core::message::Broadcast;
use crate::core::session::{DeliveryMode, Subscribed};
use actix::prelude::*;
use std::sync::Arc;

/// From a channel: this connection receives the channel from here on, and is told so first: the connection
/// gets `Event::Subscribed`, and broadcasts that follow wait until it has spoken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// The connection, local to this worker.
    pub connection: ConnectionId,
    /// How it receives.
    pub mode: DeliveryMode,
    /// In which encoding broadcasts go to it.
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
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// The connection it is about.
    pub connection: ConnectionId,
}

/// From a channel: what follows leaves a gap. Its subscribers here get nothing more and are ended with
/// [`End::Missed`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Interrupt {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
}

/// From a channel: deliver this to its local subscribers.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The channel it is about.
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
#[rtype(result = "Option<HandOver>")]
pub struct TakeOver(pub ConnectionId);

/// Ends the socket of a connection as if it had broken; answered with whether it was here.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct AbortConnection(pub ConnectionId);

/// The connections of this worker, as listings show them.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<ConnectionInfo>")]
pub struct ListConnections(pub ConnectionFilter);

/// What has gone through this worker, and what it holds now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Report")]
pub struct Measure;

/// Ends every connection of this worker.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct EndAll(pub End);
