//! What operators ask of the authority: who is in the cluster, how fresh this node is, why a decision fell.
//!
//! **Why not beside the rest:** sessions never need any of this, and a smaller interface is easier to trust.

use super::facade::{Authority, Source};
use super::pass::{AccessQuery, Pass};
use crate::core::access::{
    ClusterStatus, Decision, Freshness, NodeId, Operations, Principal, Proof, Question, ReadError,
};

pub use gatecast_cluster::access::Member;
pub use gatecast_cluster::{DiskSpace, JoinError, NodeChange, NodeStatus};

impl Authority {
    /// The number of this node in the cluster.
    #[must_use]
    pub fn node(&self) -> NodeId {
        match &self.source {
            Source::Cluster(cluster) => cluster.node(),
            #[cfg(test)]
            Source::Fixed(_) => NodeId(0),
        }
    }

    /// How fresh this node's view provably is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        match &self.source {
            Source::Cluster(cluster) => cluster.freshness(),
            #[cfg(test)]
            Source::Fixed(_) if !self.serving() => Freshness::Never,
            #[cfg(test)]
            Source::Fixed(_) => Freshness::Fresh(std::time::Duration::ZERO),
        }
    }

    /// The cluster as this node sees it.
    #[must_use]
    pub fn status(&self) -> Option<ClusterStatus> {
        match &self.source {
            Source::Cluster(cluster) => Some(cluster.status()),
            #[cfg(test)]
            Source::Fixed(_) => None,
        }
    }

    /// Whether this node leads, as far as it knows and may serve: what one node does for all is its work.
    #[must_use]
    pub fn leads(&self) -> bool {
        let status = self.status();
        let leads = status.is_none_or(|status| status.leader == Some(status.node));
        leads && self.serving()
    }

    /// The same with what the leader says of it now.
    pub async fn survey(&self) -> Option<ClusterStatus> {
        match &self.source {
            Source::Cluster(cluster) => Some(cluster.survey().await),
            #[cfg(test)]
            Source::Fixed(_) => None,
        }
    }

    /// Changes who follows and who votes; `force` = also where that leaves no majority that answers.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn change_nodes(&self, change: NodeChange, force: bool) -> Result<(), JoinError> {
        match &self.source {
            Source::Cluster(cluster) => cluster.change_nodes(change, force).await,
            #[cfg(test)]
            Source::Fixed(_) => Err(JoinError::Refused("a fixed state has no nodes".into())),
        }
    }

    /// Marks a node as leaving.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn drain_node(&self, node: NodeId) -> Result<(), JoinError> {
        match &self.source {
            Source::Cluster(cluster) => cluster.drain_node(node).await,
            #[cfg(test)]
            Source::Fixed(_) => Err(JoinError::Refused("a fixed state has no nodes".into())),
        }
    }

    /// A backup of everything acknowledged so far. It holds secrets.
    ///
    /// # Errors
    /// When no majority confirms that this node's view is current.
    pub async fn backup(&self) -> Result<Vec<u8>, ReadError> {
        match &self.source {
            Source::Cluster(cluster) => cluster.backup().await,
            #[cfg(test)]
            Source::Fixed(_) => Err(ReadError::NoQuorum),
        }
    }

    /// As [`Authority::decide`] for nobody else, with the rule that allowed it.
    #[must_use]
    pub fn explain(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
        ask: AccessQuery<'_>,
    ) -> Decision {
        let question = Question {
            principal,
            proof,
            speaks_for: None,
            resource: ask.resource,
            name: ask.name,
            operations: ask.needs,
            now_ms: self.now().cluster_ms,
        };
        self.decide_until(&self.view(), &question).0
    }

    /// The pass of the cluster's operator, who is above every app's rules. Only the internal port may ask.
    #[must_use]
    pub fn operator_pass(&self, operations: Operations) -> Pass {
        Pass {
            operations,
            until_ms: None,
            revision: 0,
        }
    }
}
