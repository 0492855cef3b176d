//! What goes into a replica and what comes out of it: [`Input`]s, [`Effect`]s, and what a new one starts from.

use super::history::Bounds;
use super::lifecycle_log::Unsettled;
use super::protocol::{PeerMessage, Request, Response};
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, NodeId};
use crate::core::lifecycle::EventId;
use crate::core::message::Broadcast;
use crate::core::nodes::Members;
use std::sync::Arc;

/// How long a link may say nothing before it is ended, ms. A claim waits longer than that, however short the lease: a node
/// that lost its power and is back holds on to nobody by a link that only the other side has yet.
pub const LINK_SILENCE_MS: u64 = 3_000;

/// What an app allows its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What the history may hold.
    pub bounds: Bounds,
    /// Most distinct clients in a presence set.
    pub presence_clients: u64,
    /// Whether subscribers are told the number of subscriptions.
    pub counts: bool,
    /// Whether anybody listens to the channel's lifecycle.
    pub watched: bool,
}

/// Names a request of this node. Later requests have greater tickets.
pub type Ticket = u64;

/// What a new replica starts from.
#[derive(Clone, Debug)]
pub struct NewReplica {
    /// The channel it is about.
    pub key: Arc<ChannelKey>,
    /// The number of this node in the cluster.
    pub node: NodeId,
    /// The member list that decides who is home.
    pub members: Arc<Members>,
    /// The list before it, when it changed a short while ago: the former home may have something to hand over.
    pub before: Option<Arc<Members>>,
    /// Limits of the channel's app.
    pub limits: Limits,
    /// How long a node that the others do not hear counts as one of them, ms.
    pub lease_ms: u64,
    /// Random: epochs and message ids are made from it.
    pub seed: u64,
}

/// What happens to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody on this node asks for something.
    Request {
        /// Comes back with the response.
        ticket: Ticket,
        /// What is asked for.
        request: Request,
    },
    /// A connection of this node leaves the channel.
    Leave {
        /// The connection it is about.
        connection: ConnectionId,
        /// It was lost without saying so.
        gone: bool,
    },
    /// A connection of this node changes its socket: it stops receiving, its members stay.
    Detach {
        /// The connection it is about.
        connection: ConnectionId,
    },
    /// From the channel's replica on another node.
    From {
        /// The other node.
        from: NodeId,
        /// What it says.
        message: PeerMessage,
    },
    /// The link to a node is usable again; what was on its way is lost.
    LinkUp(NodeId),
    /// This node and that one have not the same of each other's subscribers and members in some channels; perhaps in this.
    Differs(NodeId),
    /// Some of what that node sent was not taken.
    Dropped(NodeId),
    /// The member list has changed.
    MembersChanged(Arc<Members>),
    /// The limits have become smaller: let go of what is above them now.
    Trim,
    /// The listener has taken care of these events.
    Settled(Vec<EventId>),
    /// A request could not be sent at all.
    Unsent(Ticket),
    /// The time asked for has come.
    Wake {
        /// By what is known now, this node is counted in by the others.
        serving: bool,
    },
}

impl Input {
    /// Whether subscribers or members may be others afterwards. What is published most of all changes neither.
    #[must_use]
    pub fn may_change_counts(&self) -> bool {
        match self {
            Self::Request { request, .. } => {
                !matches!(request, Request::Publish(_) | Request::PublishBatch(_))
            }
            // What a home shows, and what it copies: it alone counts, and there are as many of these as publications.
            Self::From { message, .. } => !matches!(
                message,
                PeerMessage::Broadcast { .. }
                    | PeerMessage::Replicate { .. }
                    | PeerMessage::ReplicateBatch { .. }
            ),
            Self::Trim | Self::Settled(_) => false,
            Self::Leave { .. }
            | Self::Detach { .. }
            | Self::LinkUp(_)
            | Self::Differs(_)
            | Self::Dropped(_)
            | Self::MembersChanged(_)
            | Self::Unsent(_)
            | Self::Wake { .. } => true,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hand this to the subscribers of this node.
    Deliver(Broadcast),
    /// Send this to the channel's replica on another node.
    Send {
        /// The other node.
        to: NodeId,
        /// What it is told.
        message: PeerMessage,
    },
    /// Send this to the channel's replicas on several other nodes.
    SendAll {
        /// The other nodes.
        to: Vec<NodeId>,
        /// What each of them is told.
        message: PeerMessage,
    },
    /// Answer a request.
    Respond {
        /// The request that it answers.
        ticket: Ticket,
        /// The answer, or why there is none.
        response: Result<Response, Refusal>,
    },
    /// Nobody waits for the response to this request any more: its connection has left.
    Cancel(Ticket),
    /// Something worth telling outside of the channel; only the home says so.
    Lifecycle(Unsettled),
    /// Subscribers of this node missed broadcasts that are not to be had any more.
    Missed,
    /// The channel is of no use any more: stop.
    Stop,
}

/// Says to a node that this one is not the channel's home.
pub(super) fn not_home(to: NodeId, out: &mut Vec<Effect>) {
    let message = PeerMessage::NotHome;
    out.push(Effect::Send { to, message });
}
