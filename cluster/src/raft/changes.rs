//! What changes who follows and who votes, and when that is refused.
//!
//! Whoever knows the cluster's secret may follow: a *learner* has the log, the view and the lease, and the barrier
//! waits for it, but it is in no majority. Only an operator makes it a voter, so that a node which comes and goes
//! takes nobody's majority with it.
//!
//! A change that would leave voters of which no majority answers is refused: once it was agreed on, nothing could
//! be agreed on any more, not even taking it back. The voters are asked at that moment; what the member list says
//! of them may be as old as a lease.
//!
//! **Why the engine's own errors are never shown:** they name what is inside it, and not what to do.

use super::core::Core;
use super::engine::Peer;
use super::rpc::{ChangeError, NotLeader, PeerRequest, PeerResponse};
use crate::access::{Command, Limits, MemberCommand, NodeId, Text};
use crate::contract::{JoinError, NodeChange, ProposeError, RequestId};
use crate::net::{AskError, Plane};
use futures_util::future::join_all;
use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// A learner becomes a voter when it is at most this many entries behind.
const MAX_PROMOTION_LAG: u64 = 64;
/// Longest time for a learner to catch up.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for one change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a node that is added to be reached.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a voter may take to answer, and how often it is asked.
const VOTER_TIMEOUT: Duration = Duration::from_secs(1);
const VOTER_ATTEMPTS: usize = 3;
const RETRY_DELAY: Duration = Duration::from_millis(100);

const NO_LEADER: &str = "no leader is known here: a majority of the voters has to be up. Nothing was changed; try again when `cluster status` names a leader";
const UNFINISHED: &str = "an earlier change of the nodes is not finished, because a majority of the voters has not confirmed it. Start the voters that are down, then try again";
const UNKNOWN: &str = "the change was begun, but it is not known whether a majority has confirmed it: it may still happen. Look at `cluster status` before trying again";
const LAST_VOTER: &str =
    "it is the last voter, and without one nothing can be agreed on: promote another node first";

/// As the leader: lets a node follow. Doing it again is harmless.
pub(super) async fn follow_as_leader(
    core: &Core,
    node: u64,
    addr: Text,
    disk: u128,
) -> Result<(), ChangeError> {
    if !core.leads() {
        return Err(not_leader(core));
    }
    let _changing = core.changing.lock().await;
    follow(core, node, addr, disk).await
}

/// As the leader: carries out what an operator wants. Doing it again is harmless.
pub(super) async fn change_as_leader(
    core: &Core,
    wanted: NodeChange,
    force: bool,
) -> Result<(), ChangeError> {
    if !core.leads() {
        return Err(not_leader(core));
    }
    let _changing = core.changing.lock().await;
    has_quorum(core).await?;
    match wanted {
        NodeChange::Add { node, peer_addr } => {
            follow(core, node.0, peer_addr, 0).await?;
            promote(core, node.0, force).await
        }
        NodeChange::Promote { node } => promote(core, node.0, force).await,
        NodeChange::Demote { node } => demote(core, node.0, force).await,
        NodeChange::Remove { node } => take_out(core, node.0, force).await,
    }
}

async fn follow(core: &Core, node: u64, addr: Text, disk: u128) -> Result<(), ChangeError> {
    let refuse = |why: String| Err(ChangeError::Refused(why));
    let (register, peers) = (core.register(), core.peers());
    if register.disks.contains_key(&node) && !peers.contains_key(&node) {
        return refuse(format!(
            "node id {node} was used before, and ids are never used again: give the new node another one"
        ));
    }
    let disk = match disk {
        0 => reach(core, node, &addr).await?,
        disk => disk,
    };
    match (register.disks.get(&node), peers.contains_key(&node)) {
        (Some(known), true) if *known != disk => refuse(format!(
            "node id {node} belongs to another data directory: give the new node another id"
        )),
        (None, true) => Err(ChangeError::NoQuorum(format!(
            "node {node} is still being formed; try again in a moment"
        ))),
        (Some(_), true) => Ok(()),
        (_, false) if peers.len() >= Limits::MEMBERS => refuse(format!(
            "the cluster has {} nodes, and more are not possible: remove those that are gone",
            peers.len()
        )),
        (_, false) => {
            let learner = BTreeMap::from([(node, Peer { addr, disk })]);
            change(core, ChangeMembers::AddNodes(learner), true).await
        }
    }
}

/// The disk of a node that is to be added, learned by connecting to it.
async fn reach(core: &Core, node: u64, addr: &str) -> Result<u128, ChangeError> {
    let end = Instant::now() + REACH_TIMEOUT;
    loop {
        match core.links.dial(addr, node, Plane::Control).await {
            Ok((identity, _)) => return Ok(identity.disk),
            Err(error) if Instant::now() > end => {
                return Err(ChangeError::Refused(format!(
                    "node {node} cannot be reached at {addr} ({error}): start it there with `--join`, then add it"
                )));
            }
            Err(_) => tokio::time::sleep(RETRY_DELAY * 2).await,
        }
    }
}

async fn promote(core: &Core, node: u64, force: bool) -> Result<(), ChangeError> {
    is_member(core, node)?;
    let mut voters = core.voters();
    if !voters.insert(node) {
        return Ok(());
    }
    if !force {
        if !silent(core, &BTreeSet::from([node])).await.is_empty() {
            return Err(ChangeError::Refused(format!(
                "node {node} does not answer, and a voter that is down is worse than none: start it first, or remove it"
            )));
        }
        can_agree(core, &voters).await?;
    }
    let end = Instant::now() + CATCH_UP_TIMEOUT;
    while !is_close(core, node) {
        if !core.leads() {
            return Err(not_leader(core));
        }
        if Instant::now() > end {
            return Err(ChangeError::NoQuorum(format!(
                "node {node} did not catch up in time. Nothing was changed; look at its log, then try again"
            )));
        }
        tokio::time::sleep(RETRY_DELAY / 4).await;
    }
    if !force {
        // Catching up may have taken a while.
        can_agree(core, &voters).await?;
    }
    let one = BTreeSet::from([node]);
    change(core, ChangeMembers::AddVoterIds(one), true).await
}

async fn demote(core: &Core, node: u64, force: bool) -> Result<(), ChangeError> {
    is_member(core, node)?;
    if core.voters().contains(&node) {
        leave_voters(core, node, force, true).await?;
    }
    Ok(())
}

async fn take_out(core: &Core, node: u64, force: bool) -> Result<(), ChangeError> {
    if !is_known(core, node) {
        return Err(ChangeError::NotFound(never_was(node)));
    }
    if core.voters().contains(&node) {
        leave_voters(core, node, force, false).await?;
    }
    if core.peers().contains_key(&node) {
        let one = BTreeSet::from([node]);
        change(core, ChangeMembers::RemoveNodes(one), false).await?;
    }
    Ok(())
}

async fn leave_voters(
    core: &Core,
    node: u64,
    force: bool,
    follows_on: bool,
) -> Result<(), ChangeError> {
    let mut left = core.voters();
    left.remove(&node);
    if left.is_empty() {
        return Err(ChangeError::Refused(LAST_VOTER.into()));
    }
    if !force {
        can_agree(core, &left).await?;
    }
    let one = BTreeSet::from([node]);
    change(core, ChangeMembers::RemoveVoters(one), follows_on).await
}

/// Whether the log knows the number, also of a node that has left.
fn is_known(core: &Core, node: u64) -> bool {
    core.peers().contains_key(&node)
        || core.register().disks.contains_key(&node)
        || core.view.state().members.contains_key(&NodeId(node))
}

fn is_member(core: &Core, node: u64) -> Result<(), ChangeError> {
    if core.peers().contains_key(&node) {
        return Ok(());
    }
    Err(ChangeError::NotFound(match is_known(core, node) {
        true => format!("node {node} was removed from the cluster"),
        false => never_was(node),
    }))
}

fn never_was(node: u64) -> String {
    format!("there is no node {node} in the cluster, and there never was one")
}

/// Whether those who vote now could agree on anything; a change that was begun could not be taken back.
async fn has_quorum(core: &Core) -> Result<(), ChangeError> {
    let voters = core.voters();
    let silent = silent(core, &voters).await;
    if is_majority(voters.len() - silent.len(), voters.len()) {
        return Ok(());
    }
    Err(ChangeError::NoQuorum(format!(
        "of the voters {} there is no majority, because {} cannot be reached. Nothing was changed: start them. If they are lost for good, see `gatecast cluster recover`",
        list(&voters),
        list(&silent),
    )))
}

/// Refuses voters of which no majority answers now.
async fn can_agree(core: &Core, voters: &BTreeSet<u64>) -> Result<(), ChangeError> {
    let silent = silent(core, voters).await;
    if is_majority(voters.len() - silent.len(), voters.len()) {
        return Ok(());
    }
    Err(ChangeError::Refused(format!(
        "the voters would be {}, and of these {} cannot be reached now: no majority could agree on anything, and the cluster would stand still. Nothing was changed. Start or remove {} first, or repeat it with `--force`, which makes the change all the same",
        list(voters),
        list(&silent),
        list(&silent),
    )))
}

fn is_majority(some: usize, of: usize) -> bool {
    some * 2 > of
}

fn list(nodes: &BTreeSet<u64>) -> String {
    let nodes: Vec<_> = nodes.iter().map(|node| format!("node {node}")).collect();
    nodes.join(", ")
}

/// Those that do not answer.
async fn silent(core: &Core, nodes: &BTreeSet<u64>) -> BTreeSet<u64> {
    let others = nodes.iter().filter(|node| **node != core.me);
    let asked = others.map(|node| async move { (*node, answers(core, *node).await) });
    let asked = join_all(asked).await.into_iter();
    asked
        .filter(|(_, answers)| !answers)
        .map(|(node, _)| node)
        .collect()
}

async fn answers(core: &Core, node: u64) -> bool {
    for _ in 0..VOTER_ATTEMPTS {
        if let Ok(PeerResponse::Vitals { .. }) =
            core.ask(node, &PeerRequest::Vitals, VOTER_TIMEOUT).await
        {
            return true;
        }
        // The connection to one that has just come may still be on its way.
        tokio::time::sleep(RETRY_DELAY * 3).await;
    }
    false
}

fn is_close(core: &Core, node: u64) -> bool {
    let metrics = core.metrics();
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|all| all.get(&node).copied().flatten());
    matched.is_some_and(|at| at.index + MAX_PROMOTION_LAG >= metrics.last_log_index.unwrap_or(0))
}

/// Has the engine agree on a change.
pub(super) async fn change(
    core: &Core,
    change: ChangeMembers<u64, Peer>,
    retain: bool,
) -> Result<(), ChangeError> {
    let changed =
        tokio::time::timeout(CHANGE_TIMEOUT, core.raft.change_membership(change, retain)).await;
    match changed {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
            Err(ChangeError::NotLeader(NotLeader {
                leader: to.leader_id,
            }))
        }
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
            tracing::info!(%error, "a change of the nodes was not begun");
            Err(match error {
                ChangeMembershipError::InProgress(_) => ChangeError::NoQuorum(UNFINISHED.into()),
                ChangeMembershipError::EmptyMembership(_) => {
                    ChangeError::Refused(LAST_VOTER.into())
                }
                ChangeMembershipError::LearnerNotFound(_) => ChangeError::Refused(
                    "the node does not follow the cluster: start it with `--join` first".into(),
                ),
            })
        }
        Ok(Err(RaftError::Fatal(error))) => {
            tracing::info!(%error, "a change of the nodes was cut off");
            Err(ChangeError::Unknown(UNKNOWN.into()))
        }
        Err(_) => Err(ChangeError::Unknown(UNKNOWN.into())),
    }
}

fn not_leader(core: &Core) -> ChangeError {
    ChangeError::NotLeader(NotLeader {
        leader: core.leader(),
    })
}

/// Finds the leader and has it make the change; a removed node leaves the member list as well.
pub(crate) async fn change_nodes(
    core: &Core,
    wanted: NodeChange,
    force: bool,
) -> Result<(), JoinError> {
    let removed = match &wanted {
        NodeChange::Remove { node } if node.0 == core.me => {
            return Err(JoinError::Refused(
                "a node cannot remove itself: ask another one (`--server`)".into(),
            ));
        }
        NodeChange::Remove { node } => Some(*node),
        NodeChange::Add { .. } | NodeChange::Promote { .. } | NodeChange::Demote { .. } => None,
    };
    through_leader(core, wanted, force).await?;
    let Some(node) = removed else {
        return Ok(());
    };
    let gone = Command::Member(MemberCommand::Remove { node });
    match core.proposer.propose(RequestId(rand::random()), gone).await {
        Ok(_) | Err(ProposeError::Rejected(_)) => Ok(()),
        Err(error) => Err(JoinError::Unknown(format!(
            "node {node} is out of the consensus group, but still in the member list ({error}): remove it again"
        ))),
    }
}

async fn through_leader(core: &Core, wanted: NodeChange, force: bool) -> Result<(), JoinError> {
    let patience = match wanted {
        NodeChange::Add { .. } | NodeChange::Promote { .. } => CATCH_UP_TIMEOUT,
        NodeChange::Demote { .. } | NodeChange::Remove { .. } => CHANGE_TIMEOUT * 2,
    };
    let ask = PeerRequest::ChangeNodes {
        change: wanted.clone(),
        force,
    };
    let end = Instant::now() + patience;
    let mut begun = false;
    let mut last = NO_LEADER.to_owned();
    while Instant::now() < end {
        let changed = match core.leader() {
            None => Err(ChangeError::NoQuorum(NO_LEADER.into())),
            Some(leader) if leader == core.me => {
                Box::pin(change_as_leader(core, wanted.clone(), force)).await
            }
            Some(leader) => change_result(core.ask(leader, &ask, patience).await),
        };
        match changed {
            Ok(()) => return Ok(()),
            Err(ChangeError::Refused(why)) => return Err(JoinError::Refused(why)),
            Err(ChangeError::NotFound(why)) => return Err(JoinError::NotFound(why)),
            Err(ChangeError::NoQuorum(why)) => last = why,
            Err(ChangeError::Unknown(_)) => begun = true,
            Err(ChangeError::NotLeader(_)) => {}
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
    Err(match begun {
        true => JoinError::Unknown(UNKNOWN.into()),
        false => JoinError::NoQuorum(last),
    })
}

/// What a leader that was asked has said.
pub(super) fn change_result(asked: Result<PeerResponse, AskError>) -> Result<(), ChangeError> {
    match asked {
        Ok(PeerResponse::Changed(changed)) => changed,
        Ok(_) => Err(ChangeError::NoQuorum(
            "the leader could not answer. Nothing was changed; its log says why".into(),
        )),
        Err(AskError::NotSent) => Err(ChangeError::NoQuorum(
            "the leader cannot be reached from here. Nothing was changed; try again in a moment"
                .into(),
        )),
        Err(AskError::Lost | AskError::TimedOut) => Err(ChangeError::Unknown(UNKNOWN.into())),
    }
}

/// Marks a node as leaving: it keeps its clients until they have gone and gets no new channels.
pub(crate) async fn drain(core: &Core, node: NodeId) -> Result<(), JoinError> {
    let drain = Command::Member(MemberCommand::Drain { node });
    let drained = core
        .proposer
        .propose(RequestId(rand::random()), drain)
        .await;
    match drained {
        Ok(_) => Ok(()),
        Err(ProposeError::Rejected(_)) => Err(JoinError::NotFound(match is_known(core, node.0) {
            true => format!("node {node} is not in the cluster"),
            false => never_was(node.0),
        })),
        Err(ProposeError::OutcomeUnknown) => Err(JoinError::Unknown(UNKNOWN.into())),
        Err(error) => Err(JoinError::NoQuorum(format!(
            "node {node} was not marked as leaving ({error}); try again in a moment"
        ))),
    }
}
