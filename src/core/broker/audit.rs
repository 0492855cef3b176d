//! Whether all nodes have the same audit: each is asked for the hash of one record.
//!
//! **Why a node that does not answer is named and not an error:** the others can be compared without it, and that it is away
//! is no sign that it has another.

use super::Broker;
use crate::core::access::NodeId;
use crate::core::error::Refusal;
use crate::core::query::{Query, QueryAnswer};

/// The number of a node's last record, and its hash of the record that was asked for, if it has it.
type AuditAt = (u64, Option<[u8; 32]>);

impl Broker {
    /// What this node has at that number.
    #[must_use]
    pub fn audit_here(&self, index: u64) -> AuditAt {
        let view = self.authority.view();
        let hash = view.audit.hash_at(index);
        (view.audit.last_index(), hash.map(|hash| hash.0))
    }

    /// What every node has at that number, or why it did not say.
    pub async fn audit_heads(&self, index: u64) -> Vec<(NodeId, Result<AuditAt, Refusal>)> {
        let own = self.channels.node();
        let members = self.channels.members();
        let asked = members.nodes().map(|node| async move {
            let found = match node == own {
                true => Ok(self.audit_here(index)),
                false => self.audit_there(node, index).await,
            };
            (node, found)
        });
        futures_util::future::join_all(asked).await
    }

    async fn audit_there(&self, node: NodeId, index: u64) -> Result<AuditAt, Refusal> {
        let unlinked = Refusal::Unavailable("not linked to the other nodes");
        let port = self.queries.port().ok_or(unlinked)?;
        match port.ask(node, Query::AuditAt(index)).await? {
            QueryAnswer::AuditAt(last, hash) => Ok((last, hash)),
            QueryAnswer::Occupied(_)
            | QueryAnswer::Connections(_)
            | QueryAnswer::Deliveries(_)
            | QueryAnswer::Aborted(_)
            | QueryAnswer::Refusals(..) => Err(super::CONFUSED),
        }
    }
}
