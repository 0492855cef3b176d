//! How a node starts, and why it may not.

use crate::Versions;
use crate::access::{Millis, NodeId, Text};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a node starts.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The number of this node in the cluster.
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
    /// The lease: how old a node's proven view may be while it still serves protected data. Default 3 s.
    pub lease: Duration,
    /// How often a node renews its lease by a read index. Default 200 ms.
    pub lease_renewal: Duration,
    /// Longest wait for a proposal before the outcome is called unknown. Default 5 s.
    pub propose_timeout: Duration,
    /// Operations applied since the last snapshot that trigger a new one (grows with the state: at least
    /// half as many as there are records). Default 10,000.
    pub snapshot_after: u64,
    /// Log entries kept behind a snapshot, so that a node that was away briefly need not load one.
    /// Default 4,000.
    pub keep_entries: u64,
    /// Bytes of the data directory's disk that are kept free: below it this node takes no changes and leaves
    /// leading to others; below half of it takes no entries either. 0 = never. Default 64 MiB.
    pub disk_reserve: u64,
    /// This node's wall clock. Default the system's.
    pub wall_clock: WallClock,
    /// Peer links prove who is at both ends but are not encrypted: listening beyond loopback is refused
    /// unless this says that the network is private. Default false.
    pub allow_plaintext_peers: bool,
    /// What this node speaks with its peers. Default [`Versions::OURS`]; tests play other builds by it.
    pub speaks: Versions,
}

impl ClusterConfig {
    /// Everything that has no default; the rest at its default. `peer_addr` is the listening address and
    /// `public_url` empty.
    #[must_use]
    pub fn new(
        node: NodeId,
        data_dir: PathBuf,
        peer_listen: SocketAddr,
        secret: PeerSecret,
        first_start: FirstStart,
    ) -> Self {
        Self {
            node,
            data_dir,
            peer_listen,
            peer_addr: peer_listen.to_string().into(),
            public_url: "".into(),
            secret,
            first_start,
            heartbeat: Duration::from_millis(100),
            election: (Duration::from_millis(500), Duration::from_millis(1000)),
            lease: Duration::from_secs(3),
            lease_renewal: Duration::from_millis(200),
            propose_timeout: Duration::from_secs(5),
            snapshot_after: 10_000,
            keep_entries: 4_000,
            disk_reserve: 64 << 20,
            wall_clock: WallClock::default(),
            allow_plaintext_peers: false,
            speaks: Versions::OURS,
        }
    }
}

/// Where a node reads the time of day. What it says matters only where a majority of the members agrees.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl WallClock {
    /// One of the caller's own: for tests that set it.
    #[must_use]
    pub fn new(read: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> Millis {
        (self.0)()
    }
}

impl Default for WallClock {
    /// The clock of the system.
    fn default() -> Self {
        Self::new(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                })
        })
    }
}

impl std::fmt::Debug for WallClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WallClock(…)")
    }
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

/// Why a node does not start. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory belongs to another node or cluster, or is damaged.
    #[error("{0}")]
    Store(String),
    /// The peer port cannot be opened.
    #[error("cannot listen for peers on {addr}: {error}")]
    Listen {
        /// The address that was tried.
        addr: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The configuration contradicts itself or what is stored.
    #[error("{0}")]
    Config(String),
}
