//! The door to the member list, and placement: which node a channel lives on.
//!
//! Placement is a pure function of the agreed member list (rendezvous hashing), so every node computes the
//! same answer from the same revision and nobody has to be asked.
//!
//! **Must never know:** links, sockets, what a channel holds.

use super::authority::{MemberState, State};
use super::ids::{ChannelKey, NodeId};

/// Where a channel lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node that orders it.
    pub home: NodeId,
    /// The node that takes over: the runner-up.
    pub backup: Option<NodeId>,
}

/// The live members as placement sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Nodes that carry channels (`Up`), ascending, with the epoch of their start.
    pub live: Vec<(NodeId, u64)>,
    /// Revision of the list.
    pub revision: u64,
}

impl Members {
    /// From the agreed state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let live = state
            .members
            .values()
            .filter(|member| member.state == MemberState::Up)
            .map(|member| (member.node, member.epoch))
            .collect();
        Self {
            live,
            revision: state.revision,
        }
    }

    /// Home and backup of a channel; `None` when no node is live.
    #[must_use]
    pub fn place(&self, _key: &ChannelKey) -> Option<Placement> {
        self.live.first().map(|(home, _)| Placement {
            home: *home,
            backup: None,
        })
    }
}
