//! Lifecycle events: what happens to channels, for listeners outside of them.
//!
//! Each is told once per cluster, by the channel's home: a home that takes over knows what the one before it has
//! told (see `channel::replica::lifecycle_log`).
//!
//! **Must never know:** webhooks, HTTP, dialects: a [`Listener`] turns events into its own words.
//! **Why the home and not each node:** only the home knows the counts of the whole cluster, and an event told by
//! every node that noticed would be told as often as there are nodes.

use super::ids::{AppId, ChannelKey, NodeId, Text};
use super::message::Publication;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long the end of something is kept back, because clients that only reconnect come back within it, ms.
pub const GRACE_MS: u64 = 3_000;

/// What happened to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifecycleKind {
    /// The first subscriber came.
    Occupied,
    /// Nobody has subscribed for [`GRACE_MS`].
    Vacated,
    /// A client's first connection entered the presence set.
    Joined(Text),
    /// None of a client's connections has been in the presence set for [`GRACE_MS`].
    Left(Text),
    /// A connection published.
    Published(Arc<Publication>),
    /// Somebody asked for the retained last value, and there was none. Not repeated within a few seconds.
    Missed,
    /// The number of subscriptions, as subscribers are told it.
    Counted(u64),
}

/// An event of one channel's lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// Of which channel.
    pub channel: Arc<ChannelKey>,
    /// When, cluster time ms.
    pub at_ms: u64,
    /// What happened to the channel.
    pub kind: LifecycleKind,
}

/// How far an event, or a batch of them, has come on its way out of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookDeliveryState {
    /// Not yet there.
    Pending,
    /// The receiver has said that it has it.
    Delivered,
    /// It could not be delivered in time.
    GivenUp,
    /// Too much was waiting: it was never tried.
    Dropped,
}

/// One delivery, as operators see it. Holds no secret and no payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    /// Unique on its node.
    pub id: u64,
    /// Which node delivers.
    pub node: NodeId,
    /// Where to; without its query.
    pub target: Text,
    /// The events' names, each once.
    pub events: Vec<Text>,
    /// How many events.
    pub count: u32,
    /// When they happened, cluster time ms.
    pub at_ms: u64,
    /// How far it has come.
    pub state: WebhookDeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Status of the last answer, if there was one.
    pub status: Option<u16>,
    /// Why the last attempt failed, if it did.
    pub error: Option<Text>,
    /// When it is tried again, cluster time ms.
    pub next_ms: Option<u64>,
}

/// Hears of the lifecycle of the channels this node is home of. Called on the channel's thread: must not block.
pub trait Listener: Send + Sync + 'static {
    /// Whether anything of this app is to be told. Asked about once a second per channel.
    fn wants(&self, app: AppId) -> bool;
    /// Takes an event.
    fn tell(&self, event: LifecycleEvent);
    /// The last deliveries of an app on this node, newest first, at most `limit`.
    fn deliveries(&self, app: AppId, limit: usize) -> Vec<WebhookDelivery>;
}
