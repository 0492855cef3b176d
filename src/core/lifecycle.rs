//! Lifecycle events: what happens to channels, for listeners outside of them.
//!
//! Each is told by the channel's home, under an [`EventId`]. Until the listener says that it is settled, it is kept at the
//! channel's home and backup, and a home that takes over tells it again under the same id (see
//! `channel::replica::lifecycle_log`).
//!
//! **Must never know:** webhooks, HTTP, dialects: a [`Listener`] turns events into its own words.
//! **Why the home and not each node:** only the home knows the counts of the whole cluster, and an event told by
//! every node that noticed would be told as often as there are nodes.

use super::error::Refusal;
use super::ids::{AppId, ChannelKey, NodeId, Text, Timetoken};
use super::message::Publication;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// How long the end of something is kept back, because clients that only reconnect come back within it, ms.
pub const GRACE_MS: u64 = 3_000;

/// Names an event: the same however often it is told, and by whichever node. As text, the ids of one channel sort in the
/// order in which its events happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// When it was decided; unique in its stream.
    pub at: Timetoken,
    /// In which stream.
    pub epoch: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.at, self.epoch)
    }
}

/// What happened to a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its name for ever.
    pub id: EventId,
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
    /// Its channels have another home by now, which delivers it.
    Moved,
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

/// A delivery that was given up, as operators see it. Holds no secret and no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names it in its app.
    pub id: u64,
    /// Where to; without its query.
    pub target: Text,
    /// The events' names, each once.
    pub events: Vec<Text>,
    /// The ids of all of them.
    pub event_ids: Vec<Text>,
    /// When they happened, cluster time ms.
    pub at_ms: u64,
    /// When it was given up, cluster time ms.
    pub given_up_ms: u64,
    /// How often it had been tried.
    pub attempts: u32,
    /// Status of the last answer, if there was one.
    pub status: Option<u16>,
    /// Why the last attempt failed, if it did.
    pub error: Option<Text>,
}

/// What became of a wish to deliver dead letters after all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// So many are on their way.
    pub replaying: usize,
    /// So many cannot be: nobody asks for them at that address any more.
    pub unwanted: usize,
}

/// An answer of a listener on its way.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// Hears of the lifecycle of the channels this node is home of. Called on the channel's thread: must not block. What it
/// has taken care of it says to the registry of channels (`settled`); anything else is told again by the channel's next
/// home.
pub trait Listener: Send + Sync + 'static {
    /// Whether anything of this app is to be told. Asked about once a second per channel.
    fn wants(&self, app: AppId) -> bool;
    /// Takes an event.
    fn tell(&self, event: LifecycleEvent);
    /// The last deliveries of an app on this node, newest first, at most `limit`.
    fn deliveries(&self, app: AppId, limit: usize) -> Vec<WebhookDelivery>;
    /// The deliveries of an app that were given up anywhere, newest first, at most `limit`.
    fn dead_letters(&self, app: AppId, limit: usize) -> Answer<Vec<DeadLetter>>;
    /// Delivers those of them with these ids after all, or all. Each stays until it has been taken.
    fn replay(&self, app: AppId, ids: Option<Vec<u64>>) -> Answer<Replay>;
}
