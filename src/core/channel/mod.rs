//! Channels: order, history, presence, and who on this node and on others wants them.
//!
//! One actor per channel and node. On the channel's *home* it stamps and orders; on its *backup* it keeps a
//! copy; elsewhere it only knows this node's subscribers. All rules are in pure states; the actor feeds them.
//!
//! In reading order: [`wire`] (what is asked and said), [`history`], [`presence`], [`stream`] (what a backup has a
//! copy of), [`budget`] and `relief` (what all histories of a node may weigh), [`ledger`] (what was told of its lifecycle), [`wildcard`], [`state`] with `home`, `asks`, `edge` and `role`, then the shells `actor`, `mail`, `fanout` and
//! [`registry`].
//!
//! What is promised: one order per channel; every subscriber gets a broadcast once; nothing is delivered or
//! acknowledged before the backup has it, unless the backup is silent for a second: then the home goes on
//! alone, and should it die before the backup has caught up, what it acknowledged meanwhile is lost. Where any
//! surviving node had seen it, a new epoch says so; where none had, a client that holds a position from then is
//! told "gap" only while that position is still ahead of the new home's.
//!
//! **Must never know:** the cluster crate, dialects, sockets, how peers are linked (it has a [`PeerPort`]).
//! **Why a home and not every node for itself:** one order per channel in the whole cluster, and one
//! emitter of everything that must happen once.

pub mod actor;
mod asks;
pub mod budget;
pub mod changes;
mod edge;
mod fanout;
pub mod history;
mod home;
pub mod ledger;
mod mail;
pub mod presence;
pub mod registry;
mod relays;
mod relief;
mod role;
pub mod state;
mod step;
pub mod stream;
mod timer;
pub mod wildcard;
pub mod wire;

pub use wire::Wire;

use super::authority::Pass;
use super::delivery::encoding::EncodingId;
use super::delivery::relay::Relay;
use super::error::Refusal;
use super::ids::{ChannelKey, ConnectionId, NodeId, Text, Timetoken};
use super::message::{Draft, Member, Occupancy, PresenceChange, Publication, Receipt};
use super::nodes::Members;
use super::session::{Event, HistoryPage, NewMember, PresenceRequest, Subscribe};
use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Tells a connection something. Every connection actor handles it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Tell(pub Event);

/// A local subscriber-to-be.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// The connection.
    pub connection: ConnectionId,
    /// Where refusals go.
    pub tell: Recipient<Tell>,
    /// The relay of its worker thread.
    pub relay: Addr<Relay>,
    /// Index of that worker, for counting.
    pub worker: u16,
    /// Its encoding.
    pub encoding: EncodingId,
}

/// A connection wants to receive the channel. Success goes through its relay (`Attach`), refusal to `tell`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Join {
    /// Who.
    pub subscriber: Subscriber,
    /// What it asked for.
    pub request: Box<Subscribe>,
    /// That it may.
    pub pass: Pass,
}

/// A connection no longer receives the channel, or is gone. Its presence entries leave with it, unless kept.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Which.
    pub connection: ConnectionId,
    /// Its connection ended without saying so.
    pub gone: bool,
    /// Its presence entries stay: the same connection's next socket takes them over.
    pub keeps_members: bool,
}

/// Where an answer to a publication goes.
#[derive(Debug)]
pub enum ReplyTo {
    /// To a connection, with its tag, on success and refusal.
    Connection {
        /// Who.
        tell: Arc<Recipient<Tell>>,
        /// From the request.
        tag: u64,
        /// Whether success is told as well.
        ack: bool,
    },
    /// To a waiting request.
    Once(oneshot::Sender<Result<Receipt, Refusal>>),
}

/// Publish.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PublishTo {
    /// The message.
    pub draft: Box<Draft>,
    /// That its publisher may.
    pub pass: Pass,
    /// Who hears of it.
    pub reply: ReplyTo,
}

/// Publish several, in this order, with nothing in between, and all or none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PublishBatchTo {
    /// The messages.
    pub drafts: Vec<Draft>,
    /// That their publisher may.
    pub pass: Pass,
    /// Who waits; a receipt for each, in order.
    pub reply: oneshot::Sender<Result<Vec<Receipt>, Refusal>>,
}

/// From a channel below: repeat this to those who subscribe by wildcard. Its publisher was judged there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Repeat(pub Draft);

/// Enter, change or leave the presence set.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PresenceTo {
    /// Whose connection.
    pub connection: ConnectionId,
    /// What.
    pub request: Box<PresenceRequest>,
    /// That it may.
    pub pass: Pass,
    /// Who hears of it.
    pub tell: Recipient<Tell>,
}

/// Do something to the channel that is no publication, for a request that waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Do {
    /// What.
    pub deed: Deed,
    /// That it may; leaving needs none.
    pub pass: Option<Pass>,
    /// Who waits.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// What a [`Do`] does.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Be in the presence set on that connection; news only when it was not, or with other data.
    Hold(ConnectionId, NewMember),
    /// Leave it, from whichever node it was entered.
    Absent(ConnectionId, Text),
    /// Forget publications stamped in `after < timetoken <= until`.
    Erase(Timetoken, Timetoken),
}

/// Read something of the channel, from its home.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Read {
    /// Counts.
    Occupancy(oneshot::Sender<Result<Occupancy, Refusal>>),
    /// The presence set, in order of entry.
    Members(oneshot::Sender<Result<Arc<[Member]>, Refusal>>),
    /// A page of history.
    History(
        HistoryPage,
        oneshot::Sender<Result<Vec<Arc<Publication>>, Refusal>>,
    ),
    /// The retained last value.
    Last(oneshot::Sender<Result<Option<Arc<Publication>>, Refusal>>),
    /// A page of who came and went.
    Changes(
        HistoryPage,
        oneshot::Sender<Result<Vec<Arc<PresenceChange>>, Refusal>>,
    ),
}

/// The member list has changed: the channel may have a new home.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Rehome(pub Arc<Members>);

/// What channels need of the links between nodes. Implemented by `peers`; a node alone has none.
pub trait PeerPort: Send + Sync + 'static {
    /// Sends to the channel's actor on another node; false when there is no link now (the caller keeps
    /// what it cannot lose and sends again after [`Rehome`] or [`LinkUp`]).
    fn send(&self, to: NodeId, key: &Arc<ChannelKey>, wire: &Wire) -> bool;
}

/// From a peer's channel actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FromPeer {
    /// Who sent it.
    pub from: NodeId,
    /// What.
    pub wire: Wire,
}

/// All histories of the node together are too large: let go of what is above the level.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Trim;

/// The link to a node is (again) usable.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct LinkUp(pub NodeId);
