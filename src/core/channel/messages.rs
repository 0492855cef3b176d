//! What a channel's actor is told: by connections, by requests that wait, by other nodes and by its registry.
//!
//! **Why messages carry a pass:** it is the proof that somebody decided, so a channel cannot be told to do something that
//! nobody has allowed.

use super::replica::protocol::PeerMessage;
use crate::core::authority::Pass;
use crate::core::delivery::encoding::EncodingId;
use crate::core::delivery::relay::Relay;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, NodeId, Text, Timetoken};
use crate::core::lifecycle::EventId;
use crate::core::message::{Draft, Member, Occupancy, PresenceChange, Publication, Receipt};
use crate::core::nodes::Members;
use crate::core::session::{Event, HistoryPage, NewMember, PresenceRequest, Subscribe};
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
    /// The connection it is about.
    pub connection: ConnectionId,
    /// Where refusals go.
    pub tell: Recipient<Tell>,
    /// The relay of its worker thread.
    pub relay: Addr<Relay>,
    /// Index of that worker, for counting.
    pub worker: u16,
    /// In which encoding broadcasts go to it.
    pub encoding: EncodingId,
}

/// A connection wants to receive the channel. Success goes through its relay (`Attach`), refusal to `tell`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Join {
    /// The connection that subscribes, and how it is reached.
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
    /// The connection that leaves.
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
        /// The connection that waits for the answer.
        tell: Arc<Recipient<Tell>>,
        /// From the request.
        tag: u64,
        /// Whether success is told as well.
        ack: bool,
    },
    /// To a waiting request.
    Once(oneshot::Sender<Result<Receipt, Refusal>>),
}

/// Publish this, by that right.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PublishTo {
    /// What is published.
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
    /// What is published, in order.
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
    /// The connection that enters or leaves.
    pub connection: ConnectionId,
    /// The entry that is made, changed or ended.
    pub request: Box<PresenceRequest>,
    /// That it may.
    pub pass: Pass,
    /// Who hears of it.
    pub tell: Recipient<Tell>,
}

/// Do something to the channel that is no publication, for a request that waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Mutate {
    /// What is changed.
    pub mutation: Mutation,
    /// That it may; leaving needs none.
    pub pass: Option<Pass>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// What a [`Mutate`] changes.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// Be in the presence set on that connection; news only when it was not, or with other data.
    EnsurePresent(ConnectionId, NewMember),
    /// Leave it, from whichever node it was entered.
    Leave(ConnectionId, Text),
    /// Forget publications stamped in `after < timetoken <= until`.
    Erase(Timetoken, Timetoken),
}

/// Read something of the channel, from its home.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Read {
    /// The counts of subscriptions and members.
    Occupancy(oneshot::Sender<Result<Occupancy, Refusal>>),
    /// The presence set, in order of entry.
    Members(oneshot::Sender<Result<Arc<[Member]>, Refusal>>),
    /// A page of history.
    History(
        HistoryPage,
        oneshot::Sender<Result<Vec<Arc<Publication>>, Refusal>>,
    ),
    /// The retained last value.
    LastValue(oneshot::Sender<Result<Option<Arc<Publication>>, Refusal>>),
    /// A page of who came and went.
    PresenceLog(
        HistoryPage,
        oneshot::Sender<Result<Vec<Arc<PresenceChange>>, Refusal>>,
    ),
}

/// The member list has changed: the channel may have a new home. While anybody has the second, some channel has not taken
/// the list yet.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct MembersChanged(pub Arc<Members>, pub Arc<()>);

/// From a peer's channel actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FromPeer {
    /// Who sent it.
    pub from: NodeId,
    /// What it says.
    pub message: PeerMessage,
}

/// All histories of the node together are too large: let go of what is above the cap of one channel.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Trim;

/// The listener has taken care of these events.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Settled(pub Vec<EventId>);

/// The link to a node is (again) usable.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct LinkUp(pub NodeId);

/// This node and that one have not the same of each other in some channels, perhaps in this.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Differs(pub NodeId);

/// Some of what that node sent to this channel was not taken.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Dropped(pub NodeId);
