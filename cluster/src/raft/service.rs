//! Answers the requests of peers.
//!
//! Everything asked here came from a node that knows the cluster's secret; who it is comes from its connection.

use super::applier::Applied;
use super::core::Core;
use super::engine::{Engine, LeaderId};
use super::rpc::{self, ChangeError, NotLeader, PeerRequest, PeerResponse, ProposalOutcome};
use super::{changes, fence, lock, membership, node_health, status};
use crate::access::{NodeId, Op};
use crate::contract::NodeChange;
use crate::net::{Identity, Refusal, Service};
use crate::store::DiskSpace;
use crate::versions::NegotiatedVersion;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Longest wait that a peer may ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Answers once the node's parts stand.
pub(crate) struct Answering {
    /// What the log says about disks.
    pub(crate) applied: Arc<Applied>,
    /// Which versions are spoken.
    pub(crate) version: Arc<NegotiatedVersion>,
    /// Set right after the engine has started.
    pub(crate) core: OnceLock<Arc<Core>>,
}

impl Service for Answering {
    fn admit(&self, peer: Identity) -> Result<(), Refusal> {
        let group = lock(&self.applied.group).clone();
        let register = lock(&self.applied.register);
        membership::admits(&register, &group, peer)?;
        Ok(self.version.admits(peer.speaks)?)
    }

    fn answer(self: Arc<Self>, from: Identity, request: Bytes) -> BoxFuture<'static, Vec<u8>> {
        Box::pin(async move {
            // Removed since it connected, or left behind: the next hello tells it so.
            if self.admit(from).is_err() {
                return Vec::new();
            }
            let from = from.node;
            let answer = match (
                self.core.get(),
                rpc::decode::<PeerRequest>(self.version.ours(), &request),
            ) {
                (None, _) => PeerResponse::Failed("starting".into()),
                (Some(_), Err(error)) => {
                    tracing::warn!(from, %error, "a peer's request does not decode");
                    PeerResponse::Failed("the request does not decode".into())
                }
                (Some(core), Ok(ask)) => {
                    core.last_contact.note(from);
                    answer(core, from, ask).await
                }
            };
            rpc::encode(&self.version, &answer).unwrap_or_default()
        })
    }
}

async fn answer(core: &Arc<Core>, from: u64, ask: PeerRequest) -> PeerResponse {
    if core.failure.borrow().is_some() {
        return PeerResponse::Failed("this node has stopped taking part".into());
    }
    match ask {
        PeerRequest::Append(request) => append(core, request).await,
        PeerRequest::Vote(request) => match core.raft.vote(request).await {
            Ok(response) => PeerResponse::Vote(response),
            Err(error) => PeerResponse::Failed(error.to_string()),
        },
        PeerRequest::Snapshot(request) => snapshot(core, request).await,
        PeerRequest::Propose { ops, wait_ms } => propose(core, from, ops, bounded(wait_ms)).await,
        PeerRequest::ReadIndex => read_index(core, from).await,
        PeerRequest::AwaitEnforced { revision, wait_ms } => {
            let waited =
                tokio::time::timeout(bounded(wait_ms), core.view.wait_enforced(revision)).await;
            PeerResponse::Enforced(waited.ok().map(|()| core.view.closed(revision)))
        }
        PeerRequest::MayElect => PeerResponse::MayElect(core.may_elect()),
        PeerRequest::AddNode { node, addr, disk } => {
            let added = changes::follow_as_leader(core, node, addr.clone(), disk).await;
            match added {
                // A joining node knows one member, not the leader.
                Err(ChangeError::NotLeader(_)) if from == node => PeerResponse::Changed(
                    relay(core, &PeerRequest::AddNode { node, addr, disk }).await,
                ),
                changed => PeerResponse::Changed(changed),
            }
        }
        PeerRequest::Vitals => node_health::answer(core),
        PeerRequest::Progress => PeerResponse::Progress(status::progress(core)),
        PeerRequest::HelpedBefore { term, node } => {
            PeerResponse::HelpedBefore(fence::helped_before(core, LeaderId::new(term, node)))
        }
        PeerRequest::LatestProof { node, revision } => {
            let latest = fence::latest_proof(core, node, revision).await;
            PeerResponse::LatestProof(latest.map(fence::age_us))
        }
        PeerRequest::TakeOver => PeerResponse::TakingOver(take_over(core, from).await),
        PeerRequest::RemoveNode { node } => {
            let node = NodeId(node);
            let change = NodeChange::Remove { node };
            PeerResponse::Changed(changes::change_as_leader(core, change, false).await)
        }
        PeerRequest::ChangeNodes { change, force } => {
            PeerResponse::Changed(changes::change_as_leader(core, change, force).await)
        }
    }
}

fn bounded(wait_ms: u64) -> Duration {
    Duration::from_millis(wait_ms).min(MAX_WAIT)
}

/// Only for the leader that is heard, and only where leading is possible.
async fn take_over(core: &Core, from: u64) -> bool {
    let willing =
        core.leader() == Some(from) && core.health.can_lead() && core.voters().contains(&core.me);
    willing && core.raft.trigger().elect().await.is_ok()
}

async fn append(core: &Core, request: AppendEntriesRequest<Engine>) -> PeerResponse {
    core.contacts.help(request.vote.leader_id);
    // Heartbeats go on; what would not fit is left to those who have room.
    if !request.entries.is_empty() && core.health.room() == DiskSpace::Full {
        core.pre_vote.hear_leader();
        return PeerResponse::Failed("the disk is full".into());
    }
    match core.raft.append_entries(request).await {
        Ok(response) => {
            if response.is_success() || response.is_conflict() {
                core.pre_vote.hear_leader();
            }
            PeerResponse::Append(response)
        }
        Err(error) => PeerResponse::Failed(error.to_string()),
    }
}

async fn snapshot(core: &Core, request: InstallSnapshotRequest<Engine>) -> PeerResponse {
    core.contacts.help(request.vote.leader_id);
    core.pre_vote.hear_leader();
    if core.health.room() == DiskSpace::Full {
        return PeerResponse::Failed("the disk is full".into());
    }
    match core.raft.install_snapshot(request).await {
        Ok(response) => PeerResponse::Snapshot(Ok(response)),
        Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
            PeerResponse::Snapshot(Err(InstallSnapshotError::SnapshotMismatch(mismatch)))
        }
        Err(RaftError::Fatal(error)) => PeerResponse::Failed(error.to_string()),
    }
}

/// Only members of the group are served: a removed node must not hold a lease.
fn leading_for(core: &Core, from: u64) -> Result<(), NotLeader> {
    if core.leads() && !core.defers_leadership() && core.peers().contains_key(&from) {
        return Ok(());
    }
    Err(NotLeader {
        leader: core.leader().filter(|leader| *leader != core.me),
    })
}

async fn propose(core: &Core, from: u64, ops: Vec<Op>, wait: Duration) -> PeerResponse {
    if let Err(elsewhere) = leading_for(core, from) {
        return PeerResponse::Proposed(Err(elsewhere));
    }
    if core.health.room() != DiskSpace::Enough {
        return PeerResponse::Proposed(Ok(ops
            .iter()
            .map(|_| ProposalOutcome::NotProposed)
            .collect()));
    }
    let fates = ops.into_iter().map(|op| core.proposer.put(op, wait, true));
    let fates = fates.map(|put| async move {
        match put {
            Ok(outcome) => outcome.await.unwrap_or(ProposalOutcome::Unknown),
            Err(_) => ProposalOutcome::NotProposed,
        }
    });
    PeerResponse::Proposed(Ok(join_all(fates).await))
}

async fn read_index(core: &Core, from: u64) -> PeerResponse {
    core.contacts.ask(from);
    let elsewhere = match leading_for(core, from) {
        Ok(()) => match core.reader.index_here().await {
            Some(index) => return PeerResponse::ReadIndex(Ok(index)),
            None => NotLeader { leader: None },
        },
        Err(elsewhere) => elsewhere,
    };
    PeerResponse::ReadIndex(Err(elsewhere))
}

async fn relay(core: &Core, ask: &PeerRequest) -> Result<(), ChangeError> {
    let Some(leader) = core.leader().filter(|leader| *leader != core.me) else {
        return Err(ChangeError::NoQuorum("no leader is known yet".into()));
    };
    changes::change_result(core.ask(leader, ask, MAX_WAIT).await)
}
