//! From what sessions ask of a channel to what its replica is asked, and back: pure.
//!
//! **Why apart from the actor:** the world of whole nodes (`src/world_tests`) plays its own shells around the same replicas, and
//! what is proven there has to be what runs.

use super::replica::protocol::{Joined, Request};
use crate::core::authority::Operations;
use crate::core::ids::{ChannelKey, ConnectionId};
use crate::core::session::{PresenceRequest, Subscribed};
use std::sync::Arc;

/// Whoever names a member enters or updates it, and whoever does not leaves: on its own connection, as far as that has not
/// gone on through another node.
pub(crate) fn presence(connection: ConnectionId, request: PresenceRequest) -> Request {
    match request.member {
        Some(member) => Request::Enter {
            connection,
            client: member.client,
            data: member.data,
        },
        None => Request::LeaveHere {
            connection,
            client: request.client,
        },
    }
}

/// What the session of whoever has joined is told.
pub(crate) fn subscribed(
    channel: &Arc<ChannelKey>,
    (tag, granted): (u64, Operations),
    joined: Joined,
) -> Box<Subscribed> {
    Box::new(Subscribed {
        channel: channel.clone(),
        tag,
        granted,
        position: joined.position,
        backlog: joined.backlog.publications,
        continuous: joined.backlog.continuous,
        members: joined.members,
        occupancy: joined.occupancy,
    })
}
