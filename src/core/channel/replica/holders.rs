//! Which nodes have told a home what they have, and which of them claim what is another's that has not: pure.
//!
//! **Why a claim waits and is not decided by its time:** the clocks of two nodes are not one. What a home has heard from the
//! node that an entry is on, it need not guess.

use crate::core::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What nodes have said since a home began.
#[derive(Debug, Default)]
pub(super) struct Holders {
    heard: BTreeSet<NodeId>,
    /// By the node that the entry is on.
    contesting: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Holders {
    /// This node has said what it has.
    pub(super) fn hear(&mut self, node: NodeId) {
        self.heard.insert(node);
    }

    /// Whether it has.
    pub(super) fn has_heard(&self, node: NodeId) -> bool {
        self.heard.contains(&node)
    }

    /// `node` claims what `holder` has, of which nothing was heard yet.
    pub(super) fn contest(&mut self, holder: NodeId, node: NodeId) {
        self.contesting.entry(holder).or_default().insert(node);
    }

    /// Of these holders it is known now what they have. Who has waited for that.
    pub(super) fn known(&mut self, of: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
        let known = self.contesting.extract_if(.., |holder, _| of(*holder));
        known.flat_map(|(_, waiting)| waiting).collect()
    }
}
