//! What an operator sees of the cluster from here.
//!
//! **Must never know:** how it is shown. Nothing in it is authority.

use super::core::Core;
use crate::access::NodeId;
use crate::handle::{ClusterStatus, NodeStatus};
use std::collections::BTreeSet;

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
        applied: core.view.applied(),
        enforced: core.view.enforced(),
        freshness: core.lease.freshness(),
        nodes: nodes.collect(),
        clock_off_ms: core.vitals.off_ms(),
        clock_is_wrong: core.vitals.clock_is_wrong(),
        disk: core.vitals.space(),
        failure: core.failure.borrow().clone(),
    }
}
