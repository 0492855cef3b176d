//! What the handle of a cluster answers: statuses, reports and errors.

use crate::access::{Effect, Member, Millis, NodeId, Rejection, Reply, Revision, State, Text};
use crate::store::DiskSpace;
use std::sync::Arc;
use std::time::Duration;

/// Names one request, so that a retry is applied once.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct RequestId(pub u128);

/// A committed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Log index at which it became true.
    pub revision: Revision,
    /// Leader's time of the entry.
    pub time_ms: Millis,
    /// What it came to ([`Reply::Rejected`] is surfaced as [`ProposeError::Rejected`] instead).
    pub reply: Reply,
}

/// Why a proposal did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The machine said no. Nothing changed.
    #[error("{0}")]
    Rejected(Rejection),
    /// No leader or no majority was reachable; the command was **not** proposed.
    #[error("no quorum: {0}")]
    NoQuorum(String),
    /// The time ran out after the command was handed over: it may or may not be applied. Retrying with
    /// the same request id is safe.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// This node's disk is (nearly) full: it takes no changes. Nothing was proposed.
    #[error("the disk of this node is full")]
    DiskFull,
    /// The proposer's queue is full.
    #[error("too many proposals are waiting")]
    Busy,
    /// The command is larger than a log entry may be.
    #[error("the command is larger than {limit} bytes")]
    TooLarge {
        /// Bound in bytes.
        limit: usize,
    },
    /// The node is shutting down, or its store has failed.
    #[error("the node is stopping")]
    Stopping,
}

/// Why a read could not be made fresh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No majority confirmed a leader in time.
    #[error("no quorum")]
    NoQuorum,
    /// The node did not reach that revision in time.
    #[error("revision {wanted} not reached in time (at {at})")]
    Behind {
        /// What was asked for.
        wanted: Revision,
        /// Where the node is.
        at: Revision,
    },
}

/// Why the nodes were not changed. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No majority: nothing was changed.
    #[error("{0}")]
    NoQuorum(String),
    /// Trying again will not help.
    #[error("{0}")]
    Refused(String),
    /// There is no such node.
    #[error("{0}")]
    NotFound(String),
    /// It may have been changed.
    #[error("{0}")]
    Unknown(String),
}

/// Effects of one applied entry, in log order.
#[derive(Clone, Debug)]
pub struct EffectBatch {
    /// Log index. When its effects are carried out, call [`crate::Cluster::enforced`] with it.
    pub revision: Revision,
    /// What to do; often nothing, but every entry is sent.
    pub effects: Arc<[Effect]>,
    /// The state right after the entry. What it took is judged on this and not on the present view, which may
    /// already show it given back.
    pub state: Arc<State>,
    /// A snapshot has taken the place of the entries before it: what they took and gave back is not known.
    pub skipped: bool,
}

/// How far a barrier goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierMode {
    /// Return after commit.
    None,
    /// Wait until every member has enforced it or its lease has ended.
    All,
    /// As `All`, but never count on a lease: silent members are reported as pending.
    Strict,
}

/// What a barrier found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BarrierReport {
    /// Nodes that confirmed enforcement.
    pub enforced: Vec<NodeId>,
    /// Nodes that did not answer and whose lease has provably ended.
    pub fenced: Vec<NodeId>,
    /// Nodes that did not answer and whose lease may still hold (strict only).
    pub pending: Vec<NodeId>,
    /// Connections closed for it, over all nodes that answered.
    pub closed: u64,
}

/// How fresh this node's view provably is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Within the lease; the age of the proof.
    Fresh(Duration),
    /// Past the lease: nothing protected may be served.
    Stale(Duration),
    /// No read index has been applied since the start.
    Never,
}

/// One node as [`crate::Cluster::status`] shows it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Agreed record, if the node is in the member list.
    pub member: Option<Member>,
    /// The node it is about.
    pub node: NodeId,
    /// Whether it votes.
    pub voter: bool,
    /// Where its peers reach it.
    pub peer_addr: Text,
    /// Whether this node has a connection to it.
    pub reachable: bool,
    /// Log index known to be replicated there (only the leader knows; see [`crate::Cluster::survey`]).
    pub matched: Option<Revision>,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// The number of this node in the cluster.
    pub node: NodeId,
    /// Unique id of the cluster.
    pub cluster: Text,
    /// The Raft term of this node.
    pub term: u64,
    /// Version that has been agreed on; 0 = none yet.
    pub version: u16,
    /// Who this node believes leads; authority only together with a fresh lease.
    pub leader: Option<NodeId>,
    /// Who led last, where nobody is known to lead now.
    pub last_leader: Option<NodeId>,
    /// Last applied index.
    pub applied: Revision,
    /// Last enforced index.
    pub enforced: Revision,
    /// Index of the newest entry in this node's log, committed or not.
    pub logged: Revision,
    /// Index up to which this node has a snapshot; 0 = it has none.
    pub snapshot: Revision,
    /// How fresh the view is.
    pub freshness: Freshness,
    /// Every member of the cluster.
    pub nodes: Vec<NodeStatus>,
    /// How far this node's wall clock is ahead (behind: negative) of the members', milliseconds.
    pub clock_off_ms: i64,
    /// It is so far off that this node may not serve.
    pub clock_is_wrong: bool,
    /// Room on this node's disk.
    pub disk: DiskSpace,
    /// Why this node has stopped taking part for good, if it has; only an operator can help.
    pub failure: Option<String>,
}
