//! [`Cluster`]: the broker's one handle on the access plane.
//!
//! **Must never know:** what the broker does with effects; how requests arrive.

use crate::access::{
    Applied, Command, Effect, Member, Millis, NodeId, Rejection, Reply, Revision, State, Text,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a node starts.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// This node.
    pub node: NodeId,
    /// Where its data lives. Created if missing.
    pub data_dir: PathBuf,
    /// Where it listens for its peers.
    pub peer_listen: SocketAddr,
    /// Where its peers reach it (`host:port`).
    pub peer_addr: Text,
    /// Where clients reach it, for people.
    pub public_url: Text,
    /// Proof between nodes that they belong together.
    pub secret: PeerSecret,
    /// What to do when the data directory is new.
    pub first_start: FirstStart,
    /// Leader heartbeat. Default 100 ms.
    pub heartbeat: Duration,
    /// Shortest and longest election time-out. Default 500 to 1000 ms.
    pub election: (Duration, Duration),
    /// B: how old a node's proven view may be while it still serves protected data. Default 3 s.
    pub lease: Duration,
    /// How often a node renews its lease by a read index. Default 200 ms.
    pub lease_renewal: Duration,
    /// Longest wait for a proposal before the outcome is called unknown. Default 5 s.
    pub propose_timeout: Duration,
    /// Operations applied since the last snapshot that trigger a new one (grows with the state).
    pub snapshot_after: u64,
}

/// The shared secret of a cluster's peers.
#[derive(Clone)]
pub struct PeerSecret(pub Text);

impl std::fmt::Debug for PeerSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerSecret(…)")
    }
}

/// What a node does when its data directory is new.
#[derive(Clone, Debug)]
pub enum FirstStart {
    /// Forms a cluster together with these nodes (itself included). Every one of them must be given the
    /// same list; doing it twice is harmless, doing it differently is refused.
    Form(Vec<(NodeId, Text)>),
    /// Asks one of these peers to be added to the existing cluster.
    Join(Vec<Text>),
}

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
    #[error("rejected: {0:?}")]
    Rejected(Rejection),
    /// No leader or no majority was reachable; the command was **not** proposed.
    #[error("no quorum: {0}")]
    NoQuorum(String),
    /// The time ran out after the command was handed over: it may or may not be applied. Retrying with
    /// the same request id is safe.
    #[error("outcome unknown")]
    OutcomeUnknown,
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

/// Why a node does not start. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory belongs to another node or cluster, or is damaged.
    #[error("{0}")]
    Store(String),
    /// The peer port cannot be opened.
    #[error("cannot listen for peers on {addr}: {error}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The configuration contradicts itself or what is stored.
    #[error("{0}")]
    Config(String),
}

/// Why a member could not be added or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No majority.
    #[error("no quorum: {0}")]
    NoQuorum(String),
    /// Refused, with the reason.
    #[error("{0}")]
    Refused(String),
}

/// Effects of one applied entry, in log order.
#[derive(Clone, Debug)]
pub struct EffectBatch {
    /// Log index. When its effects are carried out, call [`Cluster::enforced`] with it.
    pub revision: Revision,
    /// What to do; empty batches are sent as well when somebody waits for the revision.
    pub effects: Arc<[Effect]>,
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

/// A message-plane connection to a peer, already authenticated.
#[derive(Debug)]
pub struct MessageLink {
    /// Who is at the other end.
    pub node: NodeId,
    /// The socket.
    pub stream: tokio::net::TcpStream,
}

/// One node as [`Cluster::status`] shows it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Agreed record, if the node is in the member list.
    pub member: Option<Member>,
    /// The node.
    pub node: NodeId,
    /// Whether it votes.
    pub voter: bool,
    /// Where its peers reach it.
    pub peer_addr: Text,
    /// Log index known to be replicated there (only the leader knows).
    pub matched: Option<Revision>,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// This node.
    pub node: NodeId,
    /// Unique id of the cluster.
    pub cluster: Text,
    /// Raft term.
    pub term: u64,
    /// Who this node believes leads; authority only together with a fresh lease.
    pub leader: Option<NodeId>,
    /// Last applied index.
    pub applied: Revision,
    /// Last enforced index.
    pub enforced: Revision,
    /// How fresh the view is.
    pub freshness: Freshness,
    /// Everyone.
    pub nodes: Vec<NodeStatus>,
}

/// The access plane of one node. Clones share it.
#[derive(Clone, Debug)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {}

impl Cluster {
    /// Opens the store, starts Raft on its own threads, forms or joins, and returns at once; wait for
    /// [`Self::ready`] before opening client doors.
    ///
    /// # Errors
    /// When the store, the port or the configuration does not allow it.
    pub fn start(_config: ClusterConfig) -> Result<Self, StartError> {
        Ok(Self {
            inner: Arc::new(Inner {}),
        })
    }

    /// Resolves once a quorum-checked read index has been applied and this node is an `Up` member.
    pub async fn ready(&self) {
        std::future::pending().await
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(0)
    }

    /// The current view. Lock-free; a clone is a frozen state.
    #[must_use]
    pub fn view(&self) -> Arc<State> {
        let _ = &self.inner;
        Arc::new(State::default())
    }

    /// Cluster time: last stamp plus what has passed here since, by the monotonic clock.
    #[must_use]
    pub fn now_ms(&self) -> Millis {
        0
    }

    /// How fresh the view provably is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        Freshness::Never
    }

    /// Proposes a command through whichever node leads. Concurrent proposals share log entries and fsyncs.
    ///
    /// # Errors
    /// See [`ProposeError`]; only [`ProposeError::OutcomeUnknown`] leaves the outcome open.
    pub async fn propose(
        &self,
        _request: RequestId,
        _command: Command,
    ) -> Result<Committed, ProposeError> {
        Err(ProposeError::Stopping)
    }

    /// Waits until this node has applied everything that any node had acknowledged when the call began
    /// (quorum-checked read index; concurrent callers share one). Returns the revision reached.
    ///
    /// # Errors
    /// When no majority confirms in time.
    pub async fn catch_up(&self) -> Result<Revision, ReadError> {
        Err(ReadError::NoQuorum)
    }

    /// Waits until this node has applied `revision`.
    ///
    /// # Errors
    /// When it is not reached within `timeout`.
    pub async fn at_least(&self, revision: Revision, _timeout: Duration) -> Result<(), ReadError> {
        Err(ReadError::Behind {
            wanted: revision,
            at: 0,
        })
    }

    /// Waits until every member that may still be serving has enforced `revision`.
    pub async fn barrier(&self, _revision: Revision, _mode: BarrierMode) -> BarrierReport {
        BarrierReport::default()
    }

    /// Effects in log order, one receiver per node: the broker's enforcer takes it once at start.
    pub fn take_effects(&self) -> Option<tokio::sync::mpsc::UnboundedReceiver<EffectBatch>> {
        None
    }

    /// The broker says: everything up to `revision` is carried out on this node's connections; `closed`
    /// of them were ended for exactly this revision.
    pub fn enforced(&self, _revision: Revision, _closed: u64) {}

    /// Incoming message-plane links; the broker's peers room takes the receiver once.
    pub fn take_message_links(&self) -> Option<tokio::sync::mpsc::Receiver<MessageLink>> {
        None
    }

    /// Opens a message-plane link to a member.
    ///
    /// # Errors
    /// When the peer cannot be reached or does not prove that it belongs to the cluster.
    pub async fn dial_message_link(&self, _node: NodeId) -> std::io::Result<MessageLink> {
        Err(std::io::ErrorKind::NotConnected.into())
    }

    /// What this node sees of the cluster.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        ClusterStatus {
            node: NodeId(0),
            cluster: "".into(),
            term: 0,
            leader: None,
            applied: 0,
            enforced: 0,
            freshness: Freshness::Never,
            nodes: Vec::new(),
        }
    }

    /// Adds a node: learner first, voter once it has caught up.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn add_node(&self, _node: NodeId, _peer_addr: Text) -> Result<(), JoinError> {
        Err(JoinError::Refused("not yet".into()))
    }

    /// Removes a node from the voters and the member list.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn remove_node(&self, _node: NodeId) -> Result<(), JoinError> {
        Err(JoinError::Refused("not yet".into()))
    }

    /// Flushes, leaves the consensus group's threads and releases the store.
    pub async fn shutdown(&self) {}
}

impl From<Applied> for Committed {
    fn from(applied: Applied) -> Self {
        Self {
            revision: applied.revision,
            time_ms: 0,
            reply: applied.reply,
        }
    }
}
