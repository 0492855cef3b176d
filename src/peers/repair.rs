//! What two nodes say of their channels every other second, so that whatever was lost between them heals: a digest of what
//! each has announced to the other, and how many copies are missing.
//!
//! **Must never know:** sockets, what a channel does when it is told that something differs.
//!
//! **Why a difference must be seen twice:** what was announced a moment ago is in one number and on its way to the other.

use crate::core::ids::NodeId;
use crate::core::nodes::Members;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often a node looks whether there is something to say, ms.
pub(crate) const LOOK_INTERVAL_MS: u64 = 250;
/// How often a node sends its digest to each other, ms. Two of them and the way there and back are less than 5 s.
const DIGEST_INTERVAL_MS: u64 = 1_500;
/// How long a node that has come in waits for copies before it takes part without them, ms.
const COPYING_TIMEOUT_MS: u64 = 10_000;

/// What a node says of the copies that another keeps for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// The start of the other node that its channels are placed by; 0 = none.
    pub start: u64,
    /// Every channel has been placed by it.
    pub placed: bool,
    /// Channels whose backup the other node is, and of which it has no copy yet.
    pub missing: u64,
}

/// What is known of one other node.
#[derive(Debug, Default)]
struct Peer {
    /// Buckets in which its last digest differed.
    suspects: BTreeSet<u8>,
    digest_due_ms: u64,
    said: Option<Copies>,
    heard: Option<Copies>,
}

/// Since when this node is a member, by which start of it.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    start: u64,
    since_ms: u64,
    copied: bool,
}

/// What this node has of its own still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    /// Every channel has been placed by the present list.
    pub(super) placed: bool,
    /// Channels that wait for what their former home hands over.
    pub(super) claims: u64,
    /// Channels that their backups have no copy of yet.
    pub(super) uncopied: u64,
}

/// How far copying is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// All is copied that has to be before this node may be relied on.
    Done,
    /// It was waited for long enough.
    GivenUp,
    /// Something is not copied yet.
    UnderWay,
}

/// The others, and how this node has come in.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    peers: Mutex<HashMap<NodeId, Peer>>,
    arrival: Mutex<Option<Arrival>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Repair {
    /// There is a new link to a node: it may have started anew.
    pub(crate) fn linked(&self, node: NodeId) {
        lock(&self.peers).insert(node, Peer::default());
    }

    /// Whether the digest is to be sent to a node now.
    pub(crate) fn digest_is_due(&self, node: NodeId, now_ms: u64) -> bool {
        let mut peers = lock(&self.peers);
        let peer = peers.entry(node).or_default();
        let due = now_ms >= peer.digest_due_ms;
        if due {
            peer.digest_due_ms = now_ms + DIGEST_INTERVAL_MS;
        }
        due
    }

    /// Whether a node has not been told this yet.
    pub(super) fn is_news(&self, node: NodeId, copies: Copies) -> bool {
        let mut peers = lock(&self.peers);
        let peer = peers.entry(node).or_default();
        peer.said.replace(copies) != Some(copies)
    }

    /// A node's digest has come; the buckets in which it has differed for the second time.
    pub(crate) fn compared(&self, node: NodeId, differing: Vec<u8>) -> Vec<u8> {
        let mut peers = lock(&self.peers);
        let peer = peers.entry(node).or_default();
        let before = std::mem::take(&mut peer.suspects);
        let (again, new): (Vec<u8>, Vec<u8>) =
            differing.into_iter().partition(|one| before.contains(one));
        peer.suspects = new.into_iter().collect();
        again
    }

    /// A node says how many copies are missing here.
    pub(super) fn heard(&self, node: NodeId, copies: Copies) {
        lock(&self.peers).entry(node).or_default().heard = Some(copies);
    }

    /// Whether what this node is home or backup of is copied. Asked again and again; once it is, it stays so for this start
    /// of the node: a change among the others must not take it out of service.
    pub(super) fn look(
        &self,
        me: NodeId,
        members: &Members,
        own: Own,
        now_ms: u64,
    ) -> Option<(u64, Copying)> {
        let start = members.epoch(me)?;
        let mut arrival = lock(&self.arrival);
        let new = Arrival {
            start,
            since_ms: now_ms,
            copied: false,
        };
        let mut at = arrival.filter(|one| one.start == start).unwrap_or(new);
        let copying = match at.copied {
            true => Copying::Done,
            false => self.copying(me, members, own, now_ms.saturating_sub(at.since_ms)),
        };
        at.copied |= copying != Copying::UnderWay;
        *arrival = Some(at);
        Some((start, copying))
    }

    fn copying(&self, me: NodeId, members: &Members, own: Own, waited_ms: u64) -> Copying {
        let idle = Own {
            placed: true,
            claims: 0,
            uncopied: 0,
        };
        let peers = lock(&self.peers);
        let whole = |node: &NodeId| {
            let heard = peers.get(node).and_then(|peer| peer.heard);
            heard.is_some_and(|one| {
                members.epoch(me) == Some(one.start) && one.placed && one.missing == 0
            })
        };
        let mut others = members.live.iter().map(|(node, _)| node);
        if own == idle && others.all(|node| *node == me || whole(node)) {
            Copying::Done
        } else if waited_ms >= COPYING_TIMEOUT_MS {
            Copying::GivenUp
        } else {
            Copying::UnderWay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Own = Own {
        placed: true,
        claims: 0,
        uncopied: 0,
    };

    fn members(start: u64) -> Members {
        Members {
            live: vec![(NodeId(1), start), (NodeId(2), 1)],
            draining: vec![(NodeId(3), 1)],
            revision: 1,
        }
    }

    fn copies(start: u64, placed: bool, missing: u64) -> Copies {
        Copies {
            start,
            placed,
            missing,
        }
    }

    #[test]
    fn a_difference_counts_when_it_is_there_twice_and_is_told_once() {
        let repair = Repair::default();
        let compared = |differing: &[u8]| repair.compared(NodeId(2), differing.to_vec());
        assert_eq!(compared(&[3, 9]), [0u8; 0]);
        assert_eq!(compared(&[9, 200]), [9]);
        assert_eq!(compared(&[9, 200]), [200], "time to heal");
        assert_eq!(compared(&[9]), [9]);
        assert_eq!(compared(&[]), [0u8; 0]);
        repair.compared(NodeId(2), vec![5]);
        repair.linked(NodeId(2));
        assert_eq!(
            compared(&[5]),
            [0u8; 0],
            "a new link tells everything by itself"
        );
    }

    #[test]
    fn a_lost_announcement_is_noticed_within_five_seconds() {
        let repair = Repair::default();
        let mut sent = 0;
        let mut seen = None;
        // Lost just after a digest has gone.
        assert!(repair.digest_is_due(NodeId(2), 0));
        for now_ms in (1..20).map(|n| n * LOOK_INTERVAL_MS) {
            if repair.digest_is_due(NodeId(2), now_ms) {
                sent += 1;
                if !repair.compared(NodeId(2), vec![7]).is_empty() {
                    seen = seen.or(Some(now_ms));
                }
            }
        }
        assert!(seen.is_some_and(|at| at <= 4_000), "{seen:?}");
        assert_eq!(sent, 3, "no more often than needed");
    }

    #[test]
    fn a_node_is_ready_when_all_have_placed_by_its_start_and_every_copy_is_there() {
        let repair = Repair::default();
        let look = |start, own, now_ms| repair.look(NodeId(1), &members(start), own, now_ms);
        let under_way = |start| Some((start, Copying::UnderWay));
        assert_eq!(look(7, IDLE, 0), under_way(7), "nobody has said anything");
        for said in [copies(6, true, 0), copies(7, false, 0), copies(7, true, 1)] {
            repair.heard(NodeId(2), said);
            assert_eq!(look(7, IDLE, 1_000), under_way(7), "{said:?}");
        }
        repair.heard(NodeId(2), copies(7, true, 0));
        let busy = [
            Own {
                placed: false,
                ..IDLE
            },
            Own { claims: 1, ..IDLE },
            Own {
                uncopied: 1,
                ..IDLE
            },
        ];
        for own in busy {
            assert_eq!(look(7, own, 2_000), under_way(7), "{own:?}");
        }
        assert_eq!(look(7, IDLE, 3_000), Some((7, Copying::Done)));
        // What changes among the others later is not its coming in.
        repair.heard(NodeId(2), copies(7, true, 5));
        assert_eq!(look(7, busy[2], 4_000), Some((7, Copying::Done)));
        // Another start is.
        assert_eq!(look(8, IDLE, 5_000), under_way(8));
        assert_eq!(look(8, IDLE, 14_999), under_way(8));
        assert_eq!(look(8, IDLE, 15_000), Some((8, Copying::GivenUp)));
        assert_eq!(
            look(8, IDLE, 15_250),
            Some((8, Copying::Done)),
            "warned once"
        );
    }

    #[test]
    fn who_is_no_member_is_not_looked_at() {
        let repair = Repair::default();
        assert_eq!(repair.look(NodeId(9), &members(1), IDLE, 0), None);
    }

    #[test]
    fn what_is_said_of_copies_is_said_once() {
        let repair = Repair::default();
        assert!(repair.is_news(NodeId(2), copies(1, true, 4)));
        assert!(!repair.is_news(NodeId(2), copies(1, true, 4)));
        assert!(repair.is_news(NodeId(2), copies(1, true, 0)));
        repair.linked(NodeId(2));
        assert!(
            repair.is_news(NodeId(2), copies(1, true, 0)),
            "over a new link again"
        );
    }
}
