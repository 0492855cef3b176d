//! What the replicas of one channel on different nodes say to each other, and what a channel can be asked.
//!
//! Variants are only appended: the peer frame's version covers this shape, and two versions of a node must understand
//! each other. `protocol_golden.txt` has the bytes of each.
//!
//! **Why one `Request` for local and remote callers:** a channel's home answers both with the same code, so a
//! cluster of one is not a special case.

use super::history::Backlog;
use super::lifecycle_log::{LifecycleLog, LifecycleSnapshot};
use super::presence::{Announced, EntryKey};
use super::stream::{Entry, LogPosition, StreamSnapshot};
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, Position, Text, Timetoken};
use crate::core::lifecycle::EventId;
use crate::core::limits::PRESENCE_CLIENTS;
use crate::core::message::{Draft, Member, Occupancy, PresenceChange, Publication, Receipt};
use crate::core::session::{HistoryPage, Start};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something only the home can answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Publish this message.
    Publish(Box<Draft>),
    /// Count this connection as a subscriber.
    Join(JoinRequest),
    /// Enter or update a presence entry.
    Enter {
        /// On which connection.
        connection: ConnectionId,
        /// The client id that enters.
        client: Text,
        /// What it says of itself.
        data: Bytes,
    },
    /// Remove a presence entry, whichever node it is on; done as well when there is none.
    Leave {
        /// On which connection.
        connection: ConnectionId,
        /// The client id that leaves.
        client: Text,
    },
    /// The counts of subscriptions and members.
    Occupancy,
    /// The presence set.
    Members,
    /// A page of history.
    History(HistoryPage),
    /// The retained last value.
    LastValue,
    /// Be in the presence set with this data, whoever asked before: says nothing when it is so already.
    EnsurePresent {
        /// On which connection.
        connection: ConnectionId,
        /// Who is to be present.
        client: Text,
        /// What it says of itself.
        data: Bytes,
    },
    /// Forget what was stamped in `after < timetoken <= until`.
    Erase {
        /// The lower bound, exclusive.
        after: Timetoken,
        /// The upper bound, inclusive.
        until: Timetoken,
    },
    /// A page of who came and went.
    PresenceLog(HistoryPage),
    /// Publish all of these, in this order and with nothing in between.
    PublishBatch(Vec<Draft>),
    /// Remove a presence entry that the asking node has. Its connection may have gone on through another node since, and
    /// this have come late: then the entry is that node's, and stays.
    LeaveHere {
        /// On which connection.
        connection: ConnectionId,
        /// The client id that leaves.
        client: Text,
    },
}

/// What a connection that subscribes is and wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The connection that subscribes.
    pub connection: ConnectionId,
    /// Where its subscription begins.
    pub start: Start,
    /// Enter this client with this data in the same step.
    pub member: Option<(Text, Bytes)>,
    /// Whether the answer needs the presence set.
    pub with_members: bool,
    /// Subscribers on the asking node, this one included.
    pub subscribers: u64,
}

impl Request {
    /// Whether it makes its node count: as a subscriber's, or a member's.
    #[must_use]
    pub fn enters(&self) -> bool {
        matches!(
            self,
            Self::Join(_) | Self::Enter { .. } | Self::EnsurePresent { .. }
        )
    }

    /// Whether it publishes.
    #[must_use]
    pub fn publishes(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::PublishBatch(_))
    }

    /// What it is to publish.
    pub(super) fn drafts(&mut self) -> &mut [Draft] {
        match self {
            Self::Publish(draft) => std::slice::from_mut(draft),
            Self::PublishBatch(drafts) => drafts,
            Self::Join(_)
            | Self::Enter { .. }
            | Self::EnsurePresent { .. }
            | Self::Leave { .. }
            | Self::LeaveHere { .. }
            | Self::Erase { .. }
            | Self::Occupancy
            | Self::Members
            | Self::History(_)
            | Self::PresenceLog(_)
            | Self::LastValue => &mut [],
        }
    }

    /// The presence entry it is about to make.
    pub(super) fn entry(&self) -> Option<EntryKey> {
        match self {
            Self::Join(join) => {
                let client = join.member.as_ref().map(|(client, _)| client.clone());
                client.map(|client| (join.connection, client))
            }
            Self::Enter {
                connection, client, ..
            }
            | Self::EnsurePresent {
                connection, client, ..
            } => Some((*connection, Arc::clone(client))),
            Self::Erase { .. }
            | Self::Leave { .. }
            | Self::LeaveHere { .. }
            | Self::Publish(_)
            | Self::PublishBatch(_)
            | Self::Occupancy
            | Self::Members
            | Self::History(_)
            | Self::PresenceLog(_)
            | Self::LastValue => None,
        }
    }

    /// The connection whose leaving makes it pointless.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Join(join) => Some(join.connection),
            Self::Enter { connection, .. }
            | Self::EnsurePresent { connection, .. }
            | Self::Leave { connection, .. }
            | Self::LeaveHere { connection, .. } => Some(*connection),
            Self::Publish(_)
            | Self::PublishBatch(_)
            | Self::Occupancy
            | Self::Members
            | Self::History(_)
            | Self::PresenceLog(_)
            | Self::LastValue
            | Self::Erase { .. } => None,
        }
    }
}

/// What the home says to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Published (or known already).
    Receipt(Receipt),
    /// The connection has joined.
    Joined(Box<Joined>),
    /// It was carried out.
    Done,
    /// The counts of subscriptions and members.
    Occupancy(Occupancy),
    /// The presence set, in order of entry.
    Members(Arc<[Member]>),
    /// The page, in the order asked for.
    History(Vec<Arc<Publication>>),
    /// The last value.
    LastValue(Option<Arc<Publication>>),
    /// The page of changes, in the order asked for.
    PresenceLog(Vec<Arc<PresenceChange>>),
    /// All published (or known already), in the order handed in.
    Receipts(Vec<Receipt>),
}

/// Where a new subscriber stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The last broadcast it must not get.
    pub log_position: LogPosition,
    /// The last publication before its live part.
    pub position: Position,
    /// What it gets first.
    pub backlog: Backlog,
    /// The presence set, if asked for.
    pub members: Option<Arc<[Member]>>,
    /// Counts right after the step.
    pub occupancy: Occupancy,
}

/// Why a home says no. Kept apart from [`Refusal`] because that one names limits by `&'static str`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Declined {
    /// The presence set is full.
    PresenceClients {
        /// Distinct clients it may hold.
        max: u64,
    },
}

impl From<Declined> for Refusal {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::PresenceClients { max } => Self::Limit {
                limit: PRESENCE_CLIENTS.name,
                max,
            },
        }
    }
}

/// A request of another node, on its way to the home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardedRequest {
    /// Names the request between the two nodes.
    pub id: u64,
    /// What is asked.
    pub request: Request,
    /// It may have been carried out before: repeat nothing that shows.
    pub again: bool,
}

/// A connection with presence entries that has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftConnection {
    /// The connection it is about.
    pub connection: ConnectionId,
    /// It was lost without saying so.
    pub gone: bool,
    /// Local subscribers now.
    pub subscribers: u64,
}

/// All there is to know of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// The subscribers on the announcing node.
    pub subscribers: u64,
    /// The presence members of the announcing node.
    pub members: Vec<Announced>,
    /// The last broadcast received, if any subscriber is waiting for the next.
    pub position: Option<LogPosition>,
}

/// What an announcing node had missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatchUp {
    /// Where it stands after it.
    pub position: LogPosition,
    /// The broadcasts it missed, in order.
    pub entries: Vec<Entry>,
    /// Some are not to be had any more.
    pub lost: bool,
}

/// From a channel's replica on one node to the same channel's replica on another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// To the home; answered by [`PeerMessage::Response`] or [`PeerMessage::NotHome`].
    Request(ForwardedRequest),
    /// From the home.
    Response {
        /// From the request.
        id: u64,
        /// What came of it.
        response: Result<Response, Declined>,
    },
    /// I am not its home (any more, or yet): ask again soon.
    NotHome,
    /// To the home: so many subscribers here now.
    Interest {
        /// Local subscribers; 0 = send nothing more.
        subscribers: u64,
    },
    /// To the home: a connection with presence entries has left.
    Left(LeftConnection),
    /// To the home: all there is to know of this node; answered by [`PeerMessage::CatchUp`].
    Announce(Announcement),
    /// From the home: what an announcing node had missed.
    CatchUp(CatchUp),
    /// From the home: announce yourself.
    AnnounceRequest,
    /// From the home to every node with subscribers.
    Broadcast {
        /// Of which stream.
        epoch: u64,
        /// The broadcast and its number.
        entry: Entry,
    },
    /// From the home: subscriptions in the whole cluster. Not numbered: a lost one is repaired by the next.
    Count(u64),
    /// To the backup (or, with `handover`, to the new home): everything, from builds that did not send what has been told
    /// of the lifecycle with it.
    Snapshot {
        /// The whole stream at one moment.
        snapshot: Box<StreamSnapshot>,
        /// The sender is not the home any more.
        handover: bool,
    },
    /// To the backup: the next entry.
    Replicate {
        /// Of which stream.
        epoch: u64,
        /// The entry that follows.
        entry: Entry,
    },
    /// From the backup: everything up to here is kept.
    ReplicateAck(LogPosition),
    /// From the backup: entries are missing.
    SnapshotRequest,
    /// From a new home to the one before it: step down and hand over.
    Takeover {
        /// Revision of the member list that says so.
        revision: u64,
    },
    /// Answer to a takeover: there is nothing to hand over.
    NothingToHandOver,
    /// What has been told of the lifecycle, from builds that did not send it with the stream.
    Lifecycle(LifecycleSnapshot),
    /// To the backup: the next entries, which stand or fall together.
    ReplicateBatch {
        /// Of which stream.
        epoch: u64,
        /// The entries, in order.
        entries: Vec<Entry>,
    },
    /// From a home that begins, to every node it knows nothing of: announce yourself, if you have the channel at all.
    AnnounceIfPresent,
    /// From the home to the node that announces it: an entry that was taken out through another node.
    TakenOut {
        /// On which connection.
        connection: ConnectionId,
        /// Who was taken out.
        client: Text,
    },
    /// To the backup (or, with `handover`, to the new home): everything.
    Copy {
        /// The stream as it is now.
        snapshot: Box<StreamSnapshot>,
        /// What has been told of the lifecycle; none when nobody listens.
        lifecycle: Option<LifecycleLog>,
        /// The sender is not the home any more.
        handover: bool,
    },
    /// To the backup: these events have been taken care of. A lost one costs that they are told again, under the same ids.
    Settled(Vec<EventId>),
}

impl PeerMessage {
    /// Whether a node without an actor for the channel must start one to take it.
    #[must_use]
    pub fn starts_channel(&self) -> bool {
        match self {
            Self::Request(_)
            | Self::Interest { .. }
            | Self::Left(_)
            | Self::Announce(_)
            | Self::AnnounceRequest
            | Self::Snapshot { .. }
            | Self::Copy { .. }
            | Self::Replicate { .. }
            | Self::ReplicateBatch { .. }
            | Self::Takeover { .. } => true,
            Self::Response { .. }
            | Self::NotHome
            | Self::CatchUp(_)
            | Self::Broadcast { .. }
            | Self::Count(_)
            | Self::ReplicateAck(_)
            | Self::SnapshotRequest
            | Self::NothingToHandOver
            | Self::AnnounceIfPresent
            | Self::TakenOut { .. }
            | Self::Lifecycle(_)
            | Self::Settled(_) => false,
        }
    }

    /// Whether a node that is about to be home keeps it until it is: only a home can do something with it.
    #[must_use]
    pub fn waits_for_claim(&self) -> bool {
        matches!(
            self,
            Self::Request(_)
                | Self::Interest { .. }
                | Self::Left(_)
                | Self::Announce(_)
                | Self::Takeover { .. }
        )
    }

    /// Whether it may be large and can wait: a link that is busy refuses it first.
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        matches!(self, Self::Snapshot { .. } | Self::Copy { .. })
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
