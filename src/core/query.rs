//! What one node asks another apart from any channel, and the way there.

use super::error::Refusal;
use super::ids::{AppId, ConnectionId, NodeId, Text};
use super::lifecycle::WebhookDelivery;
use super::listing::{ConnectionFilter, ConnectionInfo};
use super::message::Occupancy;
use super::refusals::record::{RefusalFilter, RefusalRecord};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// A question one node asks another, apart from any channel.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Query {
    /// The occupied channels that the asked node is home of.
    Occupied {
        /// Of this app.
        app: AppId,
        /// Whose names start so.
        prefix: Text,
        /// At most so many.
        limit: u32,
    },
    /// The connections that the asked node holds.
    Connections(ConnectionFilter),
    /// The last deliveries of lifecycle events by the asked node.
    Deliveries {
        /// Of this app.
        app: AppId,
        /// At most so many.
        limit: u32,
    },
    /// End the socket of this connection, if you have it: it has come back elsewhere.
    AbortConnection(ConnectionId),
    /// The last refusals by the asked node.
    Refusals(RefusalFilter),
    /// The asked node's hash of this record of the audit.
    AuditAt(u64),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum QueryAnswer {
    /// Channels with their cluster-wide counts, sorted by name.
    Occupied(Vec<(Text, Occupancy)>),
    /// The connections that were found.
    Connections(Vec<ConnectionInfo>),
    /// Deliveries, newest first.
    Deliveries(Vec<WebhookDelivery>),
    /// Whether there was a socket to end.
    Aborted(bool),
    /// Refusals, newest first, and how many more there were that it did not keep.
    Refusals(Vec<RefusalRecord>, u64),
    /// The number of its last record, and the hash that was asked for, if it has it.
    AuditAt(u64, Option<[u8; 32]>),
}

/// An answer on its way.
pub type QueryFuture = Pin<Box<dyn Future<Output = Result<QueryAnswer, Refusal>> + Send>>;

/// The way to ask other nodes. Implemented by `peers`; a node alone has none.
pub trait QueryPort: Send + Sync + 'static {
    /// Asks a node; `Unavailable` when it does not answer in time.
    fn ask(&self, node: NodeId, query: Query) -> QueryFuture;
}

/// The way to the other nodes once there is one. Clones share it.
#[derive(Clone, Default)]
pub struct Queries(Arc<OnceLock<Arc<dyn QueryPort>>>);

impl std::fmt::Debug for Queries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queries(connected: {})", self.0.get().is_some())
    }
}

impl Queries {
    /// This is the way. Once; later calls change nothing.
    pub fn connect(&self, port: Arc<dyn QueryPort>) {
        let _first = self.0.set(port);
    }

    /// The way, if there is one.
    #[must_use]
    pub fn port(&self) -> Option<&Arc<dyn QueryPort>> {
        self.0.get()
    }
}
