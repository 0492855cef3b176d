//! A node that is about to be home and waits for what the former home hands over.
//!
//! **Why messages wait and are not refused:** whoever sent them has the newer list already and would come back at once.

use super::backup::BackupCopy;
use super::follower::Follower;
use super::io::{Effect, LINK_SILENCE_MS, not_home};
use super::protocol::PeerMessage;
use super::stream::Stream;
use crate::core::clock::Now;
use crate::core::ids::NodeId;
use std::collections::{BTreeSet, VecDeque};

/// How much longer than the lease, and than a silent link lasts, a new home waits for the former one, ms: whoever is a
/// member still and only slow has the stream, and may order until it holds no lease.
pub(super) const CLAIM_TIMEOUT_MS: u64 = 1_500;
/// How often the former home is asked while it does not answer, ms: what it hands over may have got lost, or have been more
/// than its link had room for.
const ASK_INTERVAL_MS: u64 = 1_000;
/// Most messages kept while waiting; what is over is told "not home" and comes back.
const MAX_DEFERRED: usize = 10_000;

/// A claim under way.
#[derive(Debug)]
pub(super) struct Claim {
    /// The node that is asked now.
    pub(super) from: NodeId,
    /// Who may have the channel if that one has nothing.
    then: VecDeque<NodeId>,
    /// Who was asked before.
    asked: Vec<NodeId>,
    /// Whether the one that this node had handed its stream to has given it back as it was.
    pub(super) given_back: bool,
    /// When to wait for its answer no longer, mono ms.
    pub(super) until: u64,
    /// When the former home is asked again, mono ms.
    ask_due: u64,
    /// Until then this node asks and receives like any other.
    pub(super) follower: Follower,
    deferred: Vec<(NodeId, PeerMessage)>,
}

impl Claim {
    /// A claim on what `from` has, or the first of `then` that has something.
    pub(super) fn of(
        (from, then): (NodeId, impl Iterator<Item = NodeId>),
        follower: Follower,
        lease_ms: u64,
        now: Now,
    ) -> Self {
        let mut claim = Self {
            from,
            then: VecDeque::new(),
            asked: Vec::new(),
            given_back: false,
            until: Self::patience(lease_ms, now),
            ask_due: now.mono_ms + ASK_INTERVAL_MS,
            follower,
            deferred: Vec::new(),
        };
        claim.may_ask(then);
        claim
    }

    /// These may have the channel too.
    pub(super) fn may_ask(&mut self, nodes: impl Iterator<Item = NodeId>) {
        for node in nodes {
            let known = node == self.from || self.asked.contains(&node);
            if !known && !self.then.contains(&node) {
                self.then.push_back(node);
            }
        }
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        let own = Some(self.until.min(self.ask_due));
        [own, self.follower.wake_at()].into_iter().flatten().min()
    }

    /// Of the one that is asked nothing comes any more: the next is to be, if one is `there`.
    pub(super) fn next(&mut self, there: impl Fn(NodeId) -> bool, now: Now) -> Option<NodeId> {
        let next = std::iter::from_fn(|| self.then.pop_front()).find(|node| there(*node))?;
        self.asked.push(std::mem::replace(&mut self.from, next));
        self.ask_due = now.mono_ms + ASK_INTERVAL_MS;
        // The first was waited for as long as anybody may order without being heard.
        self.until = self.until.max(now.mono_ms + CLAIM_TIMEOUT_MS);
        Some(next)
    }

    /// Whether the stream of the one that is asked is this node's own: it was handed over there, or is no more than that.
    pub(super) fn is_given_back(&self, own: &BackupCopy, stream: &Stream) -> bool {
        let handed = own.handed_to == Some(self.from);
        (handed || self.given_back) && own.stream.begins_with(stream)
    }

    /// This node is not known to be counted in: it may be itself that nobody hears. Whoever is asked is not given up for that.
    pub(super) fn wait_anew(&mut self, lease_ms: u64, now: Now) {
        self.until = Self::patience(lease_ms, now);
    }

    fn patience(lease_ms: u64, now: Now) -> u64 {
        now.mono_ms + lease_ms.max(LINK_SILENCE_MS) + CLAIM_TIMEOUT_MS
    }

    /// Whether it is time to ask the former home again.
    pub(super) fn asks_again(&mut self, now: Now) -> bool {
        let due = now.mono_ms >= self.ask_due;
        if due {
            self.ask_due = now.mono_ms + ASK_INTERVAL_MS;
        }
        due
    }

    /// Keeps what only a home can do something with.
    pub(super) fn defer(&mut self, from: NodeId, message: PeerMessage, out: &mut Vec<Effect>) {
        if self.deferred.len() < MAX_DEFERRED {
            self.deferred.push((from, message));
        } else {
            not_home(from, out);
        }
    }

    /// What these nodes have sent was said by a start of theirs, or over a link, that is no more. They say it again, if it
    /// still holds.
    pub(super) fn turn_down(&mut self, of: impl Fn(NodeId) -> bool, out: &mut Vec<Effect>) {
        let declined = self.deferred.extract_if(.., |(from, _)| of(*from));
        let nodes: BTreeSet<NodeId> = declined.map(|(from, _)| from).collect();
        nodes.into_iter().for_each(|node| not_home(node, out));
    }

    /// The claim is over: what it was before, and what it kept.
    pub(super) fn end(self) -> (Follower, Vec<(NodeId, PeerMessage)>) {
        (self.follower, self.deferred)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::channel::replica::pending::PendingRequests;

    #[test]
    fn a_claim_outlasts_a_silent_link_whatever_the_lease() {
        let now = Now {
            mono_ms: 1_000,
            cluster_ms: 0,
        };
        for lease_ms in [500, LINK_SILENCE_MS, 10_000] {
            let follower = Follower::at(None, PendingRequests::default());
            let mut claim = Claim::of((NodeId(1), std::iter::empty()), follower, lease_ms, now);
            assert!(claim.until > now.mono_ms + LINK_SILENCE_MS.max(lease_ms));
            claim.until = 0;
            claim.wait_anew(lease_ms, now);
            assert!(claim.until > now.mono_ms + LINK_SILENCE_MS.max(lease_ms));
        }
    }
}
