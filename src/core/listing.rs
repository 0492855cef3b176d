//! Connections as listings show them, to operators and to other nodes.

use super::ids::{AppId, ConnectionId, NodeId, Text};

/// A connection as listings show it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnectionInfo {
    /// The connection it is about.
    pub id: ConnectionId,
    /// Which node holds it.
    pub node: NodeId,
    /// The app that it is connected to.
    pub app: AppId,
    /// Verified user, if any.
    pub user: Option<Text>,
    /// The key it connected under.
    pub key: Option<Text>,
    /// The dialect's word.
    pub dialect: Text,
    /// The network address of the client.
    pub remote: Text,
    /// Since when, cluster time ms.
    pub since_ms: u64,
    /// Number of subscriptions.
    pub subscriptions: u32,
    /// Bytes waiting for it.
    pub queued_bytes: u64,
}

/// Which connections a listing is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnectionFilter {
    /// Only of this app; none = all (operators).
    pub app: Option<AppId>,
    /// Only of this user.
    pub user: Option<Text>,
    /// At most so many per node.
    pub limit: u32,
}
