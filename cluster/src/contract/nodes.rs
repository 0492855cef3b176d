//! What an operator can change about who is in the cluster.
//!
//! It travels between nodes, so variants are only appended.

use crate::access::{NodeId, Text};

/// One change of who follows and who votes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NodeChange {
    /// The node follows, if it does not yet, and votes once it has caught up.
    Add {
        /// The number of the node.
        node: NodeId,
        /// Where its peers reach it, `host:port`.
        peer_addr: Text,
    },
    /// A node that follows votes from now on.
    Promote {
        /// The number of the node.
        node: NodeId,
    },
    /// A node that votes only follows from now on.
    Demote {
        /// The number of the node.
        node: NodeId,
    },
    /// The node leaves for good.
    Remove {
        /// The number of the node.
        node: NodeId,
    },
}
