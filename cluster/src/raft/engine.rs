//! openraft's types, instantiated: what an entry carries, what applying it gives, who a peer is.
//!
//! **Why the payload is bytes:** a batch is encoded once by the leader, and stored, replicated and kept as exactly
//! those bytes; only `apply` reads them.

use crate::ClusterConfig;
use crate::access::{Millis, Reply, Revision, Text};
use bytes::Bytes;
use openraft::{Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

openraft::declare_raft_types!(
    /// This cluster's instantiation of openraft.
    pub(crate) Engine:
        D = Payload,
        R = Answers,
        NodeId = u64,
        Node = Peer,
        Entry = openraft::Entry<Engine>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = crate::task::Runtime,
);

/// The running consensus engine.
pub(crate) type Raft = openraft::Raft<Engine>;
/// Position of an entry.
pub(crate) type LogId = openraft::LogId<u64>;
/// Who leads or stands for election, and in which term; later ones are greater.
pub(crate) type LeaderId = openraft::LeaderId<u64>;
/// A term's vote.
pub(crate) type Vote = openraft::Vote<u64>;
/// An applied membership.
pub(crate) type Membership = openraft::StoredMembership<u64, Peer>;
/// What openraft wants to know about a storage failure.
pub(crate) type StorageError = openraft::StorageError<u64>;

/// An encoded [`crate::access::Batch`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload(pub(crate) Bytes);

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Commands carry secrets.
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// What applying one entry gave, one answer per operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers {
    /// The leader's time of the entry; 0 for entries without operations.
    pub(crate) time_ms: Millis,
    /// Revision (of the first application, if the request was a retry) and reply.
    pub(crate) outcomes: Vec<(Revision, Reply)>,
}

/// A member of the consensus group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// `host:port` of its peer listener.
    pub(crate) addr: Text,
    /// Identity of its data directory; 0 from formation until the first leader has learned it.
    pub(crate) disk: u128,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            addr: "".into(),
            disk: 0,
        }
    }
}

/// Entries in one replication request; bytes are bounded by the log reader.
const ENTRIES_PER_REQUEST: u64 = 64;
/// Bytes of one snapshot chunk on the wire.
const SNAPSHOT_CHUNK: u64 = 512 * 1024;

/// openraft's configuration out of ours.
pub(crate) fn config(config: &ClusterConfig) -> Result<Arc<Config>, openraft::ConfigError> {
    let keep = config.keep_entries.max(16);
    let raft = Config {
        cluster_name: "gatecast".into(),
        heartbeat_interval: millis(config.heartbeat),
        election_timeout_min: millis(config.election.0),
        election_timeout_max: millis(config.election.1),
        install_snapshot_timeout: 10_000,
        max_payload_entries: ENTRIES_PER_REQUEST,
        snapshot_max_chunk_size: SNAPSHOT_CHUNK,
        replication_lag_threshold: keep + 1000,
        // Counted in operations by the applier, not in entries.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: keep,
        purge_batch_size: (keep / 4).max(1),
        // Permitted by the pre-vote.
        enable_elect: false,
        ..Config::default()
    };
    Ok(Arc::new(raft.validate()?))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
