//! What this node has told each other node of its subscribers and members, and what each has told it, in so few numbers
//! that two nodes can compare them every other second.
//!
//! A channel counts in one of [`BUCKETS`] numbers for the node that is its home by this node's list, and, at its home, in
//! one for each node with subscribers or members. Where two nodes have the same of all channels the numbers are equal,
//! whatever was lost in between; where they differ, only the channels of that bucket are announced again.
//!
//! **Why the numbers are kept and not counted when asked:** a channel changes one number when it changes. To ask ten
//! thousand channels every other second would cost more than all they do meanwhile.

use super::replica::Replica;
use crate::core::ids::{ChannelKey, NodeId};
use crate::core::nodes::{key_hash, mix};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers by which two nodes compare their channels.
pub const BUCKETS: usize = 256;

/// In which of them a channel counts. All channels of one are in one part of the registry.
#[must_use]
pub(crate) fn bucket(key: &ChannelKey) -> u8 {
    u8::try_from(mix(key_hash(key)) & 0xff).unwrap_or(0)
}

/// One number for each bucket.
#[derive(Debug)]
struct Sums(Vec<AtomicU64>);

impl Default for Sums {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Sums {
    fn toggle(&self, bucket: u8, number: u64) {
        if let Some(sum) = self.0.get(usize::from(bucket)) {
            sum.fetch_xor(number, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Vec<u64> {
        self.0
            .iter()
            .map(|sum| sum.load(Ordering::Relaxed))
            .collect()
    }
}

/// What this node and one other have of each other.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// What this one has in channels whose home the other is.
    own: Sums,
    /// What the other has in channels whose home this one is, as far as it has said so.
    heard: Sums,
    /// Channels whose home this one is, and of which the other, as the backup, has no copy yet.
    uncopied: AtomicU64,
}

/// The tables by node.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    tables: arc_swap::ArcSwap<HashMap<NodeId, Arc<Tables>>>,
    /// Channels that wait for what their former home hands over.
    claims: AtomicU64,
}

impl Digests {
    fn of(&self, node: NodeId) -> Arc<Tables> {
        if let Some(tables) = self.tables.load().get(&node) {
            return tables.clone();
        }
        self.tables.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.entry(node).or_default();
            all
        });
        self.tables.load().get(&node).cloned().unwrap_or_default()
    }

    /// What this node has in channels whose home that one is.
    pub(crate) fn own(&self, node: NodeId) -> Vec<u64> {
        self.of(node).own.read()
    }

    /// The buckets in which that node has something else than it has said to this one.
    pub(crate) fn differing(&self, node: NodeId, digest: &[u64]) -> Vec<u8> {
        let heard = self.of(node).heard.read();
        let both = (0..=u8::MAX).zip(heard.iter().zip(digest));
        both.filter(|(_, (heard, said))| heard != said)
            .map(|(bucket, _)| bucket)
            .collect()
    }

    /// Channels of this node that the other has no copy of yet.
    pub(super) fn uncopied_at(&self, node: NodeId) -> u64 {
        self.of(node).uncopied.load(Ordering::Relaxed)
    }

    /// Channels of this node that their backups have no copy of yet.
    pub(super) fn uncopied(&self) -> u64 {
        let tables = self.tables.load();
        let all = tables
            .values()
            .map(|one| one.uncopied.load(Ordering::Relaxed));
        all.sum()
    }

    /// Channels that wait for their former homes.
    pub(super) fn claims(&self) -> u64 {
        self.claims.load(Ordering::Relaxed)
    }
}

/// What one channel counts for at present.
#[derive(Debug)]
pub(crate) struct Counted {
    digests: Arc<Digests>,
    hash: u64,
    bucket: u8,
    own: Option<(NodeId, u64)>,
    heard: Vec<(NodeId, u64)>,
    uncopied: Option<NodeId>,
    claiming: bool,
    /// Kept from one look to the next, because there are many.
    scratch: Vec<(NodeId, u64)>,
}

impl Counted {
    pub(crate) fn new(digests: Arc<Digests>, key: &ChannelKey) -> Self {
        Self {
            digests,
            hash: key_hash(key),
            bucket: bucket(key),
            own: None,
            heard: Vec::new(),
            uncopied: None,
            claiming: false,
            scratch: Vec::new(),
        }
    }

    /// Counts the channel as it is now.
    pub(crate) fn update(&mut self, replica: &Replica) {
        let own = replica.own_interest();
        if own != self.own {
            let before = std::mem::replace(&mut self.own, own);
            for (node, number) in before.into_iter().chain(own) {
                self.digests
                    .of(node)
                    .own
                    .toggle(self.bucket, self.of(number));
            }
        }
        let mut heard = std::mem::take(&mut self.scratch);
        heard.clear();
        replica.heard_interest(&mut heard);
        if heard != self.heard {
            std::mem::swap(&mut heard, &mut self.heard);
            for (node, number) in heard.iter().chain(&self.heard) {
                self.digests
                    .of(*node)
                    .heard
                    .toggle(self.bucket, self.of(*number));
            }
        }
        self.scratch = heard;
        self.count_copies(replica.uncopied_at(), replica.is_claiming());
    }

    fn of(&self, number: u64) -> u64 {
        mix(self.hash ^ number)
    }

    fn count_copies(&mut self, uncopied: Option<NodeId>, claiming: bool) {
        if uncopied != self.uncopied {
            if let Some(node) = std::mem::replace(&mut self.uncopied, uncopied) {
                self.digests
                    .of(node)
                    .uncopied
                    .fetch_sub(1, Ordering::Relaxed);
            }
            if let Some(node) = uncopied {
                self.digests
                    .of(node)
                    .uncopied
                    .fetch_add(1, Ordering::Relaxed);
            }
        }
        if claiming != self.claiming {
            self.claiming = claiming;
            match claiming {
                true => self.digests.claims.fetch_add(1, Ordering::Relaxed),
                false => self.digests.claims.fetch_sub(1, Ordering::Relaxed),
            };
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((node, number)) = self.own.take() {
            self.digests
                .of(node)
                .own
                .toggle(self.bucket, self.of(number));
        }
        for (node, number) in std::mem::take(&mut self.heard) {
            self.digests
                .of(node)
                .heard
                .toggle(self.bucket, self.of(number));
        }
        self.count_copies(None, false);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::channel::replica::history::Bounds;
    use crate::core::channel::replica::io::{Effect, Input, Limits, NewReplica};
    use crate::core::channel::replica::protocol::{JoinRequest, PeerMessage, Request};
    use crate::core::clock::Now;
    use crate::core::ids::{AppId, ConnectionId};
    use crate::core::nodes::Members;
    use crate::core::session::Start;

    const NOW: Now = Now {
        mono_ms: 1_000,
        cluster_ms: 1_000_000,
    };

    fn replica(key: &Arc<ChannelKey>, node: u64) -> Replica {
        let members = Members {
            live: vec![(NodeId(1), 1)],
            draining: vec![(NodeId(2), 1)],
            revision: 1,
        };
        let new = NewReplica {
            key: key.clone(),
            node: NodeId(node),
            members: Arc::new(members),
            before: None,
            limits: Limits {
                bounds: Bounds {
                    messages: 100,
                    age_ms: 120_000,
                    bytes: 1 << 20,
                },
                presence_clients: 100,
                counts: false,
                watched: false,
            },
            lease_ms: 3_000,
            seed: node,
        };
        Replica::new(new, NOW, &mut Vec::new())
    }

    /// A channel at its home and at a node with a subscriber, whose announcement arrives or is lost.
    fn channel(n: u64, lost: bool, nodes: [&Arc<Digests>; 2]) -> (ChannelKey, [Counted; 2]) {
        let key = ChannelKey::channel(AppId(1), &format!("room-{n}"));
        let (mut home, mut follower) = (replica(&key, 1), replica(&key, 2));
        let request = Request::Join(JoinRequest {
            connection: ConnectionId(2, n),
            start: Start::Now,
            member: None,
            with_members: false,
            subscribers: 0,
        });
        let mut out = Vec::new();
        follower.handle(Input::Request { ticket: 1, request }, NOW, &mut out);
        for effect in out {
            if let Effect::Send { message, .. } = effect
                && !(lost && matches!(message, PeerMessage::Request(_)))
            {
                let from = NodeId(2);
                home.handle(Input::From { from, message }, NOW, &mut Vec::new());
            }
        }
        let [one, two] = nodes;
        let mut counted = [
            Counted::new(one.clone(), &key),
            Counted::new(two.clone(), &key),
        ];
        for (counted, replica) in counted.iter_mut().zip([&home, &follower]) {
            counted.update(replica);
        }
        (ChannelKey::clone(&key), counted)
    }

    #[test]
    fn ten_thousand_channels_are_compared_by_one_frame_and_heal_by_one_bucket() {
        let (home, follower) = (Arc::new(Digests::default()), Arc::new(Digests::default()));
        let lost = 4_711;
        let all: Vec<_> = (0..10_000)
            .map(|n| channel(n, n == lost, [&home, &follower]))
            .collect();
        let digest = follower.own(NodeId(1));
        assert_eq!(digest.len(), BUCKETS, "however many channels there are");
        let differing = home.differing(NodeId(2), &digest);
        let key = ChannelKey::channel(AppId(1), &format!("room-{lost}"));
        assert_eq!(differing, [bucket(&key)]);
        let again = all
            .iter()
            .filter(|(key, _)| differing.contains(&bucket(key)));
        let again = again.count();
        assert!(again < 100, "{again} channels are announced again");
        // Nobody is left: neither has anything of the other.
        drop(all);
        assert_eq!(follower.own(NodeId(1)), vec![0; BUCKETS]);
        assert_eq!(
            home.differing(NodeId(2), &follower.own(NodeId(1))),
            [0u8; 0]
        );
    }
}
