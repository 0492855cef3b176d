//! What the pure state of a connection asks of the access plane about a channel, and what it has its actor do.
//!
//! **Why apart from the state:** presence entries use both as well, and the state is built on them.

use crate::core::authority::{AccessQuery, Operations, Pass, Resource};
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Space, Text};
use crate::core::session::Event;
use std::sync::Arc;

/// What the actor has to do about a subscription, in order.
#[derive(Clone, Debug)]
pub enum Output<A> {
    /// Tell the session.
    Tell(Event),
    /// Stop its deliveries on this thread; with `drop`, take back what of it is still queued.
    Detach {
        /// The channel it is about.
        channel: Arc<ChannelKey>,
        /// Whether queued bytes go as well: the right is gone, not just the wish.
        drop: bool,
    },
    /// Tell the channel that the connection has left.
    Leave(A),
    /// Take the connection's entries out of the presence set, but keep the subscription.
    LeavePresence(Arc<ChannelKey>, A, Pass, Text),
}

/// What a subscription is worth when the channel says that it stands.
#[derive(Clone, Debug, PartialEq)]
pub enum SubscribeOutcome {
    /// Tell the session and let deliveries through; with `leave`, end it right after.
    Stands {
        /// The client has asked to leave meanwhile.
        leave: bool,
    },
    /// The right was lost on the way.
    Lost(Refusal),
    /// Nobody waits for it.
    Unknown,
}

/// What kind of resource a channel is, in the access plane's words.
#[must_use]
fn resource(key: &ChannelKey) -> Resource {
    match key.space {
        Space::Channel | Space::Wildcard => Resource::Channel,
        Space::User | Space::Status | Space::DeadLetters => Resource::User,
    }
}

/// The question to ask about a channel.
#[must_use]
pub(crate) fn ask(key: &ChannelKey, needs: Operations, wants: Operations) -> AccessQuery<'_> {
    AccessQuery {
        resource: resource(key),
        name: &key.name,
        needs,
        wants,
        speaks_for: None,
    }
}
