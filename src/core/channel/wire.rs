//! What the actors of one channel on different nodes say to each other, and what a channel can be asked.
//!
//! **Must never know:** how it is framed or sent. Variants are only appended: the peer frame's version covers
//! this shape, and two versions of a node must understand each other.
//!
//! **Why one `Ask` for local and remote callers:** a channel's home answers both with the same code, so a
//! cluster of one is not a special case.

use super::history::Backlog;
use super::ledger::Told;
use super::presence::{Announced, EntryKey};
use super::stream::{Image, Logged, Seen};
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, Position, Text, Timetoken};
use crate::core::limits::PRESENCE_CLIENTS;
use crate::core::message::{Draft, Member, Occupancy, PresenceChange, Publication, Receipt};
use crate::core::session::{HistoryPage, Start};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something only the home can answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Publish this.
    Publish(Box<Draft>),
    /// Count this connection as a subscriber.
    Join {
        /// Who.
        connection: ConnectionId,
        /// From where on.
        start: Start,
        /// Enter this client with this data in the same step.
        member: Option<(Text, Bytes)>,
        /// Whether the answer needs the presence set.
        with_members: bool,
        /// Subscribers on the asking node, this one included.
        subscribers: u64,
    },
    /// Enter or update a presence entry.
    Present {
        /// On which connection.
        connection: ConnectionId,
        /// Who.
        client: Text,
        /// What it says of itself.
        data: Bytes,
    },
    /// Remove a presence entry; done as well when there is none.
    Absent {
        /// On which connection.
        connection: ConnectionId,
        /// Who.
        client: Text,
    },
    /// The counts.
    Occupancy,
    /// The presence set.
    Members,
    /// A page of history.
    History(HistoryPage),
    /// The retained last value.
    Last,
    /// Be in the presence set with this data, whoever asked before: says nothing when it is so already.
    Hold {
        /// On which connection.
        connection: ConnectionId,
        /// Who.
        client: Text,
        /// What it says of itself.
        data: Bytes,
    },
    /// Forget what was stamped in `after < timetoken <= until`.
    Erase {
        /// Exclusive.
        after: Timetoken,
        /// Inclusive.
        until: Timetoken,
    },
    /// A page of who came and went.
    Changes(HistoryPage),
    /// Publish all of these, in this order and with nothing in between.
    PublishBatch(Vec<Draft>),
}

impl Ask {
    /// Whether it makes its node count: as a subscriber's, or a member's.
    #[must_use]
    pub fn enters(&self) -> bool {
        matches!(
            self,
            Self::Join { .. } | Self::Present { .. } | Self::Hold { .. }
        )
    }

    /// What it is to publish.
    pub(super) fn drafts(&mut self) -> &mut [Draft] {
        match self {
            Self::Publish(draft) => std::slice::from_mut(draft),
            Self::PublishBatch(drafts) => drafts,
            Self::Join { .. }
            | Self::Present { .. }
            | Self::Hold { .. }
            | Self::Absent { .. }
            | Self::Erase { .. }
            | Self::Occupancy
            | Self::Members
            | Self::History(_)
            | Self::Changes(_)
            | Self::Last => &mut [],
        }
    }

    /// The presence entry an ask is about to make.
    pub(super) fn entry(&self) -> Option<EntryKey> {
        match self {
            Self::Join {
                connection,
                member: Some((client, _)),
                ..
            }
            | Self::Present {
                connection, client, ..
            }
            | Self::Hold {
                connection, client, ..
            } => Some((*connection, Arc::clone(client))),
            Self::Join { member: None, .. }
            | Self::Erase { .. }
            | Self::Absent { .. }
            | Self::Publish(_)
            | Self::PublishBatch(_)
            | Self::Occupancy
            | Self::Members
            | Self::History(_)
            | Self::Changes(_)
            | Self::Last => None,
        }
    }

    /// The connection whose leaving makes an ask pointless.
    pub(super) fn asker(&self) -> Option<ConnectionId> {
        match self {
            Self::Join { connection, .. }
            | Self::Present { connection, .. }
            | Self::Hold { connection, .. }
            | Self::Absent { connection, .. } => Some(*connection),
            Self::Publish(_)
            | Self::PublishBatch(_)
            | Self::Occupancy
            | Self::Members
            | Self::History(_)
            | Self::Changes(_)
            | Self::Last
            | Self::Erase { .. } => None,
        }
    }
}

/// What the home says to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Published (or known already).
    Receipt(Receipt),
    /// Joined.
    Joined(Box<Joined>),
    /// Carried out.
    Done,
    /// The counts.
    Occupancy(Occupancy),
    /// The presence set, in order of entry.
    Members(Arc<[Member]>),
    /// The page, in the order asked for.
    History(Vec<Arc<Publication>>),
    /// The last value.
    Last(Option<Arc<Publication>>),
    /// The page of changes, in the order asked for.
    Changes(Vec<Arc<PresenceChange>>),
    /// All published (or known already), in the order handed in.
    Receipts(Vec<Receipt>),
}

/// Where a new subscriber stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The last broadcast it must not get.
    pub seen: Seen,
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

/// From a channel's actor on one node to the same channel's actor on another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Wire {
    /// To the home; answered by [`Wire::Answer`] or [`Wire::NotHome`].
    Request {
        /// Names the request between the two nodes.
        request: u64,
        /// What is asked.
        ask: Ask,
        /// It may have been carried out before: repeat nothing that shows.
        again: bool,
    },
    /// From the home.
    Answer {
        /// From the request.
        request: u64,
        /// The answer.
        answer: Result<Answer, Declined>,
    },
    /// I am not its home (any more, or yet): ask again soon.
    NotHome,
    /// To the home: so many subscribers here now.
    Interest {
        /// Local subscribers; 0 = send nothing more.
        subscribers: u64,
    },
    /// To the home: a connection with presence entries has left.
    Left {
        /// Which.
        connection: ConnectionId,
        /// Without saying so.
        gone: bool,
        /// Local subscribers now.
        subscribers: u64,
    },
    /// To the home: all there is to know of this node; answered by [`Wire::Caught`].
    Announce {
        /// Local subscribers.
        subscribers: u64,
        /// Local members.
        members: Vec<Announced>,
        /// The last broadcast received, if any subscriber is waiting for the next.
        seen: Option<Seen>,
    },
    /// From the home: what an announcing node had missed.
    Caught {
        /// Where it stands after it.
        seen: Seen,
        /// The broadcasts it missed, in order.
        entries: Vec<Logged>,
        /// Some are not to be had any more.
        lost: bool,
    },
    /// From the home: announce yourself.
    Who,
    /// From the home to every node with subscribers.
    Broadcast {
        /// Of which stream.
        epoch: u64,
        /// The broadcast and its number.
        logged: Logged,
    },
    /// From the home: subscriptions in the whole cluster. Not numbered: the next one makes it good.
    Count(u64),
    /// To the backup (or, with `handover`, to the new home): everything.
    Copy {
        /// The stream.
        image: Box<Image>,
        /// The sender is not the home any more.
        handover: bool,
    },
    /// To the backup: the next entry.
    Replicate {
        /// Of which stream.
        epoch: u64,
        /// The entry.
        logged: Logged,
    },
    /// From the backup: everything up to here is kept.
    Copied(Seen),
    /// From the backup: entries are missing.
    NeedCopy,
    /// From a new home to the one before it: step down and hand over.
    Claim {
        /// Revision of the member list that says so.
        revision: u64,
    },
    /// Answer to a claim: there is nothing to hand over.
    Nothing,
    /// To the backup, and to a new home before the handover: what has been told of the lifecycle.
    Told(Told),
    /// To the backup: the next entries, which stand or fall together.
    ReplicateBatch {
        /// Of which stream.
        epoch: u64,
        /// The entries, in order.
        entries: Vec<Logged>,
    },
    /// From a home that begins, to every node it knows nothing of: announce yourself, if you have the channel at all.
    Anybody,
    /// From the home to the node that announces it: an entry that was taken out through another node.
    TakenOut {
        /// On which connection.
        connection: ConnectionId,
        /// Who.
        client: Text,
    },
}

impl Wire {
    /// Whether a node without an actor for the channel must start one to take it.
    #[must_use]
    pub fn starts(&self) -> bool {
        match self {
            Self::Request { .. }
            | Self::Interest { .. }
            | Self::Left { .. }
            | Self::Announce { .. }
            | Self::Who
            | Self::Copy { .. }
            | Self::Replicate { .. }
            | Self::ReplicateBatch { .. }
            | Self::Claim { .. }
            | Self::Told(_) => true,
            Self::Answer { .. }
            | Self::NotHome
            | Self::Caught { .. }
            | Self::Broadcast { .. }
            | Self::Count(_)
            | Self::Copied(_)
            | Self::NeedCopy
            | Self::Nothing
            | Self::Anybody
            | Self::TakenOut { .. } => false,
        }
    }

    /// Whether only a home can do something with it.
    #[must_use]
    pub fn needs_home(&self) -> bool {
        matches!(
            self,
            Self::Request { .. }
                | Self::Interest { .. }
                | Self::Left { .. }
                | Self::Announce { .. }
        )
    }

    /// Whether it may be large and can wait: a link that is busy refuses it first.
    #[must_use]
    pub fn bulk(&self) -> bool {
        matches!(self, Self::Copy { .. })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
