//! Answering peers.
//!
//! **Must never know:** sockets. Everything asked here came from a node that knows the cluster's secret; who
//! it is comes from its connection.

use super::applier::Applied;
use super::core::Core;
use super::engine::{Engine, LeaderId};
use super::rpc::{self, Answer, Ask, ChangeError, Fate, NotLeader};
use super::{changes, fence, lock, membership, status, vitals};
use crate::access::{NodeId, Op};
use crate::contract::NodeChange;
use crate::net::{Identity, Refusal, Service};
use crate::store::DiskSpace;
use crate::versions::Spoken;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Longest wait that a peer may ask for.
const WAIT: Duration = Duration::from_secs(30);

/// Answers once the node's parts stand.
pub(crate) struct Answering {
    /// What the log says about disks.
    pub(crate) applied: Arc<Applied>,
    /// Which versions are spoken.
    pub(crate) spoken: Arc<Spoken>,
    /// Set right after the engine has started.
    pub(crate) core: OnceLock<Arc<Core>>,
}

impl Service for Answering {
    fn admit(&self, peer: Identity) -> Result<(), Refusal> {
        let group = lock(&self.applied.group).clone();
        let register = lock(&self.applied.register);
        membership::admits(&register, &group, peer)?;
        Ok(self.spoken.admits(peer.speaks)?)
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
                rpc::decode::<Ask>(self.spoken.ours(), &request),
            ) {
                (None, _) => Answer::Failed("starting".into()),
                (Some(_), Err(error)) => {
                    tracing::warn!(from, %error, "a peer's request does not decode");
                    Answer::Failed("the request does not decode".into())
                }
                (Some(core), Ok(ask)) => {
                    core.heard.note(from);
                    answer(core, from, ask).await
                }
            };
            rpc::encode(&self.spoken, &answer).unwrap_or_default()
        })
    }
}

async fn answer(core: &Arc<Core>, from: u64, ask: Ask) -> Answer {
    if core.failure.borrow().is_some() {
        return Answer::Failed("this node has stopped taking part".into());
    }
    match ask {
        Ask::Append(request) => append(core, request).await,
        Ask::Vote(request) => match core.raft.vote(request).await {
            Ok(response) => Answer::Vote(response),
            Err(error) => Answer::Failed(error.to_string()),
        },
        Ask::Snapshot(request) => snapshot(core, request).await,
        Ask::Propose { ops, wait_ms } => propose(core, from, ops, bounded(wait_ms)).await,
        Ask::ReadIndex => read_index(core, from).await,
        Ask::AwaitEnforced { revision, wait_ms } => {
            let waited =
                tokio::time::timeout(bounded(wait_ms), core.view.wait_enforced(revision)).await;
            Answer::Enforced(waited.ok().map(|()| core.view.closed(revision)))
        }
        Ask::MayElect => Answer::MayElect(core.may_elect()),
        Ask::AddNode { node, addr, disk } => {
            let added = changes::follow_as_leader(core, node, addr.clone(), disk).await;
            match added {
                // A joining node knows one member, not the leader.
                Err(ChangeError::NotLeader(_)) if from == node => {
                    Answer::Changed(relay(core, &Ask::AddNode { node, addr, disk }).await)
                }
                changed => Answer::Changed(changed),
            }
        }
        Ask::Vitals => vitals::answer(core),
        Ask::Progress => Answer::Progress(status::progress(core)),
        Ask::HelpedBefore { term, node } => {
            Answer::HelpedBefore(fence::helped_before(core, LeaderId::new(term, node)))
        }
        Ask::LatestProof { node, revision } => {
            let latest = fence::latest_proof(core, node, revision).await;
            Answer::LatestProof(latest.map(fence::age_us))
        }
        Ask::TakeOver => Answer::TakingOver(take_over(core, from).await),
        Ask::RemoveNode { node } => {
            let node = NodeId(node);
            let change = NodeChange::Remove { node };
            Answer::Changed(changes::change_as_leader(core, change, false).await)
        }
        Ask::ChangeNodes { change, force } => {
            Answer::Changed(changes::change_as_leader(core, change, force).await)
        }
    }
}

fn bounded(wait_ms: u64) -> Duration {
    Duration::from_millis(wait_ms).min(WAIT)
}

/// Only for the leader that is heard, and only where leading is possible.
async fn take_over(core: &Core, from: u64) -> bool {
    let willing =
        core.leader() == Some(from) && core.vitals.able() && core.voters().contains(&core.me);
    willing && core.raft.trigger().elect().await.is_ok()
}

async fn append(core: &Core, request: AppendEntriesRequest<Engine>) -> Answer {
    core.witness.help(request.vote.leader_id);
    // Heartbeats go on; what would not fit is left to those who have room.
    if !request.entries.is_empty() && core.vitals.room() == DiskSpace::Full {
        core.gate.hear_leader();
        return Answer::Failed("the disk is full".into());
    }
    match core.raft.append_entries(request).await {
        Ok(response) => {
            if response.is_success() || response.is_conflict() {
                core.gate.hear_leader();
            }
            Answer::Append(response)
        }
        Err(error) => Answer::Failed(error.to_string()),
    }
}

async fn snapshot(core: &Core, request: InstallSnapshotRequest<Engine>) -> Answer {
    core.witness.help(request.vote.leader_id);
    core.gate.hear_leader();
    if core.vitals.room() == DiskSpace::Full {
        return Answer::Failed("the disk is full".into());
    }
    match core.raft.install_snapshot(request).await {
        Ok(response) => Answer::Snapshot(Ok(response)),
        Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
            Answer::Snapshot(Err(InstallSnapshotError::SnapshotMismatch(mismatch)))
        }
        Err(RaftError::Fatal(error)) => Answer::Failed(error.to_string()),
    }
}

/// Only members of the group are served: a removed node must not hold a lease.
fn leading_for(core: &Core, from: u64) -> Result<(), NotLeader> {
    if core.leads() && !core.yields() && core.peers().contains_key(&from) {
        return Ok(());
    }
    Err(NotLeader {
        leader: core.leader().filter(|leader| *leader != core.me),
    })
}

async fn propose(core: &Core, from: u64, ops: Vec<Op>, wait: Duration) -> Answer {
    if let Err(elsewhere) = leading_for(core, from) {
        return Answer::Proposed(Err(elsewhere));
    }
    if core.vitals.room() != DiskSpace::Enough {
        return Answer::Proposed(Ok(ops.iter().map(|_| Fate::NotProposed).collect()));
    }
    let fates = ops.into_iter().map(|op| core.proposer.put(op, wait, true));
    let fates = fates.map(|put| async move {
        match put {
            Ok(fate) => fate.await.unwrap_or(Fate::Unknown),
            Err(_) => Fate::NotProposed,
        }
    });
    Answer::Proposed(Ok(join_all(fates).await))
}

async fn read_index(core: &Core, from: u64) -> Answer {
    core.witness.ask(from);
    let elsewhere = match leading_for(core, from) {
        Ok(()) => match core.reader.index_here().await {
            Some(index) => return Answer::ReadIndex(Ok(index)),
            None => NotLeader { leader: None },
        },
        Err(elsewhere) => elsewhere,
    };
    Answer::ReadIndex(Err(elsewhere))
}

async fn relay(core: &Core, ask: &Ask) -> Result<(), ChangeError> {
    let Some(leader) = core.leader().filter(|leader| *leader != core.me) else {
        return Err(ChangeError::NoQuorum("no leader is known yet".into()));
    };
    changes::told(core.ask(leader, ask, WAIT).await)
}
