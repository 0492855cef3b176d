//! One node's running parts, and where its leader is.
//!
//! **Why the leader named here is only a guess:** a deposed leader goes on calling itself one; whoever needs the truth
//! asks for a read index.

use super::applier::{Applied, Register};
use super::engine::{Peer, Raft};
use super::fence::QuorumContacts;
use super::lease::Lease;
use super::lock;
use super::node_health::NodeHealth;
use super::pre_vote::PreVote;
use super::propose::Proposer;
use super::reach::JoinAttempts;
use super::read::Reader;
use super::rpc::{self, PeerRequest, PeerResponse};
use super::tick_aligner::TickAligner;
use super::view::View;
use crate::ClusterConfig;
use crate::net::{AskError, Lane, Links};
use crate::versions::NegotiatedVersion;
use openraft::RaftMetrics;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// By how much two monotonic clocks may differ while one of them shows a second: 500 ppm.
pub(crate) const DRIFT: f64 = 0.0005;

/// When each peer last gave a sign of life.
#[derive(Debug, Default)]
pub(crate) struct LastContact(Mutex<BTreeMap<u64, Instant>>);

impl LastContact {
    /// A sign of life of `node`.
    pub(crate) fn note(&self, node: u64) {
        lock(&self.0).insert(node, Instant::now());
    }

    /// The last one.
    pub(crate) fn last(&self, node: u64) -> Option<Instant> {
        lock(&self.0).get(&node).copied()
    }
}

/// See the module's text.
pub(crate) struct Core {
    pub(crate) config: ClusterConfig,
    /// This node's id.
    pub(crate) me: u64,
    /// Identity of its data directory.
    pub(crate) disk: u128,
    pub(crate) raft: Raft,
    pub(crate) view: Arc<View>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) links: Arc<Links>,
    pub(crate) version: Arc<NegotiatedVersion>,
    pub(crate) last_contact: Arc<LastContact>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) pre_vote: PreVote,
    /// Common moments for everything that is done again and again.
    pub(super) ticks: TickAligner,
    /// When leaders asked for this node's help, and members for a proof.
    pub(crate) contacts: QuorumContacts,
    pub(crate) proposer: Proposer,
    pub(crate) reader: Reader,
    /// Clocks, room on the disk, who could lead.
    pub(crate) health: NodeHealth,
    /// What came of asking to be let in.
    pub(super) join_attempts: JoinAttempts,
    /// The process is stopping it in order.
    pub(super) stopping: AtomicBool,
    /// Why this node has stopped taking part, if it has.
    pub(crate) failure: watch::Sender<Option<String>>,
    /// One membership change at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
}

impl Core {
    /// openraft's figures, copied out at once: holding them can block the engine.
    pub(crate) fn metrics(&self) -> RaftMetrics<u64, Peer> {
        self.raft.metrics().borrow().clone()
    }

    /// Who seems to lead.
    pub(crate) fn leader(&self) -> Option<u64> {
        self.raft.metrics().borrow().current_leader
    }

    /// Whether this node believes that it leads.
    pub(crate) fn leads(&self) -> bool {
        self.leader() == Some(self.me)
    }

    /// Waits until somebody else than `leader` seems to lead, or nobody.
    pub(crate) async fn leader_changes(&self, leader: u64) {
        let changed = |metrics: &RaftMetrics<u64, Peer>| metrics.current_leader != Some(leader);
        if self.raft.metrics().wait_for(changed).await.is_err() {
            // The engine has stopped; the caller's own deadline ends the wait.
            std::future::pending::<()>().await;
        }
    }

    /// Everyone in the consensus group, learners included.
    pub(crate) fn peers(&self) -> BTreeMap<u64, Peer> {
        let metrics = self.raft.metrics();
        let membership = Arc::clone(&metrics.borrow().membership_config);
        membership
            .nodes()
            .map(|(node, peer)| (*node, peer.clone()))
            .collect()
    }

    /// Those who vote.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        let metrics = self.raft.metrics();
        let membership = Arc::clone(&metrics.borrow().membership_config);
        membership.membership().voter_ids().collect()
    }

    /// Which disk every id belongs to.
    pub(crate) fn register(&self) -> Register {
        lock(&self.applied.register).clone()
    }

    /// Asks a member of the group.
    pub(super) async fn ask(
        &self,
        node: u64,
        ask: &PeerRequest,
        timeout: Duration,
    ) -> Result<PeerResponse, AskError> {
        let addr = self.peers().get(&node).map(|peer| peer.addr.to_string());
        let addr = addr.ok_or(AskError::NotSent)?;
        let body = rpc::encode(&self.version, ask).map_err(|_| AskError::NotSent)?;
        let answer = self
            .links
            .ask(node, &addr, Lane::Fast, body, timeout)
            .await?;
        self.last_contact.note(node);
        rpc::decode(self.version.ours(), &answer).map_err(|_| AskError::Lost)
    }

    /// How long after which a silent node's lease has certainly ended: the lease, the clock drift
    /// between two machines, and 50 ms for what was already on its way.
    pub(crate) fn fence_window(&self) -> Duration {
        let lease = self.config.lease;
        lease + lease.mul_f64(DRIFT) + Duration::from_millis(50)
    }

    /// The engine is about to be stopped on purpose: that is no failure.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the process is on its way out, or this node was asked to leave.
    pub(super) fn is_leaving(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || self.health.is_leaving()
    }

    /// Takes this node out of service for good.
    pub(crate) fn fail(&self, why: String) {
        self.failure.send_if_modified(|failure| {
            if failure.is_some() {
                return false;
            }
            match self.stopping.load(Ordering::Acquire) {
                true => tracing::debug!(why, "this node has stopped"),
                false => tracing::error!(why, "this node stops taking part in the cluster"),
            }
            *failure = Some(why);
            true
        });
        self.lease.end();
    }
}
