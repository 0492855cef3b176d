//! What channels need of the links between nodes.

use super::replica::protocol::PeerMessage;
use crate::core::ids::{ChannelKey, NodeId};
use std::sync::Arc;

/// The way to the channel on another node. Implemented by `peers`; a node alone has none.
pub trait PeerPort: Send + Sync + 'static {
    /// Sends to the channel's actor on another node; false when there is no link now (the caller keeps
    /// what it cannot lose and sends again after [`MembersChanged`](super::messages::MembersChanged) or
    /// [`LinkUp`](super::messages::LinkUp)).
    fn send(&self, to: NodeId, key: &Arc<ChannelKey>, message: &PeerMessage) -> bool;

    /// The same to several nodes, encoded once. Who cannot be reached now notices the gap.
    fn send_all(&self, to: &[NodeId], key: &Arc<ChannelKey>, message: &PeerMessage);
}
