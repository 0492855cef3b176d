//! What an operator sees of the cluster from here.
//!
//! It is for people: nothing is decided by it.

use super::core::Core;
use super::rpc::{NotLeader, PeerRequest, PeerResponse};
use crate::access::{NodeId, Revision};
use crate::contract::{ClusterStatus, Freshness, NodeStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the leader may take to say how far everybody has got.
const PEER_TIMEOUT: Duration = Duration::from_secs(1);

/// A snapshot of this node's figures.
pub(crate) fn status(core: &Core) -> ClusterStatus {
    let metrics = core.metrics();
    let (peers, voters, state) = (core.peers(), core.voters(), core.view.state());
    let everyone: BTreeSet<u64> = peers
        .keys()
        .copied()
        .chain(state.members.keys().map(|node| node.0))
        .collect();
    let nodes = everyone.into_iter().map(|id| {
        let member = state.members.get(&NodeId(id)).cloned();
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|all| all.get(&id).copied().flatten());
        let addr = peers.get(&id).map(|peer| peer.addr.clone());
        NodeStatus {
            peer_addr: addr
                .or(member.as_ref().map(|member| member.peer_addr.clone()))
                .unwrap_or_default(),
            member,
            node: NodeId(id),
            reachable: id == core.me || core.links.state(id).connected,
            voter: voters.contains(&id),
            matched: matched.map(|at| at.index),
        }
    });
    ClusterStatus {
        node: NodeId(core.me),
        cluster: format!("{:032x}", core.register().cluster).into(),
        term: metrics.current_term,
        version: state.version,
        leader: metrics.current_leader.map(NodeId),
        last_leader: None,
        applied: core.view.applied(),
        enforced: core.view.enforced(),
        logged: metrics.last_log_index.unwrap_or_default(),
        snapshot: metrics.snapshot.map_or(0, |at| at.index),
        freshness: core.lease.freshness(),
        nodes: nodes.collect(),
        clock_off_ms: core.health.off_ms(),
        clock_is_wrong: core.health.clock_is_wrong(),
        disk: core.health.space(),
        failure: core.failure.borrow().clone(),
    }
}

/// The same with what only the leader knows. The engine goes on naming a leader that has died until another is elected,
/// and one that has lost its majority goes on believing in itself: so it is asked.
pub(crate) async fn survey(core: &Core) -> ClusterStatus {
    let mut status = status(core);
    let Some(NodeId(leader)) = status.leader else {
        return status;
    };
    let told = match leader == core.me {
        true => progress(core),
        false => match core.ask(leader, &PeerRequest::Progress, PEER_TIMEOUT).await {
            Ok(PeerResponse::Progress(told)) => told,
            Ok(_) | Err(_) => Err(NotLeader { leader: None }),
        },
    };
    match told {
        Ok(matched) => {
            for node in &mut status.nodes {
                node.matched = matched.get(&node.node.0).copied();
            }
        }
        Err(_) => status.last_leader = status.leader.take(),
    }
    status
}

/// As a leader that a majority follows: how far each node has got.
pub(super) fn progress(core: &Core) -> Result<BTreeMap<u64, Revision>, NotLeader> {
    let metrics = core.metrics();
    let confirmed = matches!(core.lease.freshness(), Freshness::Fresh(_));
    match metrics.replication {
        Some(all) if core.leads() && confirmed => Ok(all
            .into_iter()
            .filter_map(|(node, at)| Some((node, at?.index)))
            .collect()),
        Some(_) | None => Err(NotLeader {
            leader: core.leader().filter(|leader| *leader != core.me),
        }),
    }
}
