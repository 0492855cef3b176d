//! Whether a data folder belongs to the cluster that its node is started for.
//!
//! A folder that is in a cluster already wins over what the node is told to form or to join; that is what makes a
//! restart with the old list harmless. So a folder left over from somewhere else would make a cluster of its own,
//! beside the one that was meant, and serve clients. The rule:
//!
//! * A new folder, and a node that is told of nobody else, are always taken.
//! * A list of nodes to form a cluster with has to name one other node that the folder knows too. It knows those
//!   that are in its cluster, by number and address, and those that were removed, by number: their addresses are
//!   kept nowhere. One is enough, because lists change later than clusters and folders later than both.
//! * To join, the folder must not be one whose cluster never had another node.
//!
//! Another cluster that has the same numbers at the same addresses is found out when the nodes meet.

use super::applier::Applier;
use super::engine::Peer;
use super::log;
use crate::access::{NodeId, Text};
use crate::contract::FirstStart;
use crate::store::{Store, StoreError};
use openraft::EntryPayload;
use std::collections::{BTreeMap, BTreeSet};

/// Whom a data folder knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The nodes of its cluster as it last heard; empty = it is in none yet.
    pub(super) group: BTreeMap<u64, Peer>,
    /// Numbers of those and of all that were ever in it.
    ever: BTreeSet<u64>,
}

impl Known {
    /// Read from the snapshot and the log behind it, committed or not.
    pub(super) fn read(store: &Store, applier: &Applier) -> Result<Self, StoreError> {
        let mut known = Self::default();
        let (register, membership) = applier.nodes();
        known.ever.extend(register.disks.keys());
        known.learn(membership.membership());
        // What the snapshot contains and the log still has is older than the snapshot's own group.
        let behind = applier.last_id().map_or(0, |last| last.index + 1);
        log::each(store, 0, |entry| {
            if let EntryPayload::Membership(membership) = entry.payload {
                let nodes = membership.nodes().map(|(node, _)| *node);
                known.ever.extend(nodes);
                if entry.log_id.index >= behind {
                    known.learn(&membership);
                }
            }
            Ok(())
        })?;
        Ok(known)
    }

    fn learn(&mut self, membership: &openraft::Membership<u64, Peer>) {
        self.group = membership
            .nodes()
            .map(|(node, peer)| (*node, peer.clone()))
            .collect();
        self.ever.extend(self.group.keys());
    }

    /// Why this folder is not the one of a node that is started so; see the module's text.
    pub(super) fn objection(&self, me: NodeId, start: &FirstStart) -> Option<String> {
        if self.group.is_empty() {
            return None;
        }
        let alone = self.ever.iter().all(|node| *node == me.0);
        let meant = match start {
            FirstStart::Join(peers) => {
                alone.then(|| format!("to join a cluster through {}", peers.join(", ")))?
            }
            FirstStart::Form(list) => {
                let mut others = list.iter().filter(|(node, _)| *node != me).peekable();
                others.peek()?;
                if others.any(|(node, addr)| self.knows(*node, addr)) {
                    return None;
                }
                let list: Vec<_> = list.iter().map(|(n, at)| format!("{n}={at}")).collect();
                format!("for the cluster {}", list.join(","))
            }
        };
        let group = self.group.iter();
        let group: Vec<_> = group
            .map(|(n, peer)| format!("{n}={}", peer.addr))
            .collect();
        let alone = if self.group.len() == 1 { " alone" } else { "" };
        Some(format!(
            "this data folder belongs to the cluster {}{alone}, but the node was started {meant}. If the folder is left over from another cluster, use the right one, or join with an empty folder under a new number; if it is the right one, start without `--cluster` and `--join`: it knows its cluster",
            group.join(",")
        ))
    }

    fn knows(&self, node: NodeId, addr: &Text) -> bool {
        match self.group.get(&node.0) {
            Some(peer) => peer.addr == *addr,
            None => self.ever.contains(&node.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn known(group: &[u64], gone: &[u64]) -> Known {
        let peer = |node: &u64| {
            let addr = format!("host{node}:7601").into();
            (*node, Peer { addr, disk: 7 })
        };
        Known {
            group: group.iter().map(peer).collect(),
            ever: group.iter().chain(gone).copied().collect(),
        }
    }

    fn form(nodes: &[u64], host: &str) -> FirstStart {
        let list = nodes.iter();
        let list = list.map(|n| (NodeId(*n), format!("{host}{n}:7601").into()));
        FirstStart::Form(list.collect())
    }

    #[test]
    fn a_folder_is_taken_where_it_belongs_and_its_cluster_may_have_changed_since() {
        let me = NodeId(1);
        for (folder, start, why) in [
            (known(&[], &[]), form(&[1, 2, 3], "host"), "new"),
            (
                known(&[1, 2, 3], &[]),
                form(&[1, 2, 3], "host"),
                "the same list",
            ),
            (known(&[1, 2, 3], &[]), form(&[1], "host"), "told of nobody"),
            (
                known(&[1, 4, 5], &[2, 3]),
                form(&[1, 2, 3], "host"),
                "the old list",
            ),
            (
                known(&[1, 4, 5], &[2, 3]),
                form(&[1, 4, 5], "host"),
                "the new list",
            ),
            (
                known(&[1], &[2, 3]),
                form(&[1, 2, 3], "host"),
                "the last that is left",
            ),
            (
                known(&[1, 2, 3], &[]),
                form(&[1, 2, 3, 4], "host"),
                "a list ahead of the folder",
            ),
            (
                known(&[1, 2], &[]),
                FirstStart::Join(vec!["gone:1".into()]),
                "a joiner again",
            ),
        ] {
            assert_eq!(folder.objection(me, &start), None, "{why}");
        }
    }

    #[test]
    fn a_folder_of_somewhere_else_is_refused_and_both_are_named() {
        let me = NodeId(1);
        let why = |folder: Known, start| folder.objection(me, &start).unwrap();
        let text = why(known(&[1], &[]), form(&[1, 2, 3], "host"));
        assert!(text.contains("1=host1:7601 alone"), "{text}");
        assert!(
            text.contains("1=host1:7601,2=host2:7601,3=host3:7601"),
            "{text}"
        );
        assert!(text.contains("empty folder"), "{text}");
        let text = why(known(&[1, 2, 3], &[]), form(&[1, 2, 3], "other"));
        assert!(
            text.contains("2=host2:7601") && text.contains("2=other2:7601"),
            "{text}"
        );
        let text = why(known(&[1, 12, 13], &[]), form(&[1, 2, 3], "host"));
        assert!(text.contains("12=host12:7601"), "{text}");
        let text = why(
            known(&[1], &[]),
            FirstStart::Join(vec!["host2:7601".into()]),
        );
        assert!(text.contains("join a cluster through host2:7601"), "{text}");
    }
}
