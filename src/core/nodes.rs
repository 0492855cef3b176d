//! The member list as the broker sees it, and placement: which node a channel lives on.
//!
//! Placement is a pure function of the agreed member list (rendezvous hashing), so every node computes the
//! same answer from the same revision and nobody has to be asked.

use super::access::{MemberState, State};
use super::ids::{ChannelKey, NodeId, Space};

/// Where a channel lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node that orders it.
    pub home: NodeId,
    /// The node that takes over: the runner-up.
    pub backup: Option<NodeId>,
}

/// The live members as placement sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Nodes that carry channels (`Up`), ascending, with the epoch of their start.
    pub live: Vec<(NodeId, u64)>,
    /// Nodes that get no new channels but still have clients (`Draining`), ascending.
    pub draining: Vec<(NodeId, u64)>,
    /// Revision of the list.
    pub revision: u64,
}

impl Members {
    /// From the agreed state, as the node `me` may act on it, whose start was agreed on as `epoch` (0 = not yet).
    ///
    /// A node that has just started finds itself in the list of its own disk, as the start that came before. It is not
    /// that one: it has neither its channels nor its subscribers. So it is no member to itself before its own start is
    /// one, and takes itself for nobody's home on the word of an old list.
    #[must_use]
    pub fn of(state: &State, me: NodeId, epoch: u64) -> Self {
        let in_state = |wanted: MemberState| {
            state
                .members
                .values()
                .filter(|member| member.state == wanted)
                .filter(|member| member.node != me || member.epoch == epoch)
                .map(|member| (member.node, member.epoch))
                .collect()
        };
        Self {
            live: in_state(MemberState::Up),
            draining: in_state(MemberState::Draining),
            revision: state.revision,
        }
    }

    /// A cluster of one.
    #[must_use]
    pub fn alone(node: NodeId) -> Self {
        Self {
            live: vec![(node, 0)],
            ..Self::default()
        }
    }

    /// The same without a node.
    #[must_use]
    pub fn without(&self, node: NodeId) -> Self {
        let mut rest = self.clone();
        rest.live.retain(|(one, _)| *one != node);
        rest.draining.retain(|(one, _)| *one != node);
        rest
    }

    /// Home and backup of a channel if nobody had left in order yet, as far as they are on the way out: nothing new is placed
    /// there, and they have what they had.
    pub fn leaving_holders(&self, key: &ChannelKey) -> impl Iterator<Item = NodeId> + '_ {
        let live = self.live.iter().chain(&self.draining).copied().collect();
        let before = Self {
            live,
            ..Self::default()
        };
        let place = before.place(key);
        let both = place.map(|place| [Some(place.home), place.backup]);
        let leaves = |node: &NodeId| self.draining.iter().any(|(one, _)| one == node);
        both.into_iter().flatten().flatten().filter(leaves)
    }

    /// Home and backup of a channel; `None` when no node is live.
    ///
    /// The two nodes with the highest score, where score = mix(FNV-1a 64 of app (8 bytes, little endian),
    /// space (1 byte) and name, xor mix(node id)), and mix is SplitMix64's finaliser; ties go to the
    /// smaller id. Frozen: two versions in one cluster must agree, and a golden test holds it.
    #[must_use]
    pub fn place(&self, key: &ChannelKey) -> Option<Placement> {
        let hash = key_hash(key);
        let mut best: Option<(u64, NodeId)> = None;
        let mut second: Option<(u64, NodeId)> = None;
        for (node, _) in &self.live {
            let score = mix(hash ^ mix(node.0));
            let beats = |other: &Option<(u64, NodeId)>| other.is_none_or(|(top, _)| score > top);
            if beats(&best) {
                second = best.replace((score, *node));
            } else if beats(&second) {
                second = Some((score, *node));
            }
        }
        best.map(|(_, home)| Placement {
            home,
            backup: second.map(|(_, node)| node),
        })
    }

    /// Whether this node may have clients: `Up` or `Draining`.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.epoch(node).is_some()
    }

    /// The epoch of a node's start, if it may have clients.
    #[must_use]
    pub fn epoch(&self, node: NodeId) -> Option<u64> {
        let mut all = self.live.iter().chain(&self.draining);
        all.find(|(known, _)| *known == node)
            .map(|(_, epoch)| *epoch)
    }

    /// Every node that may have clients.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let all = self.live.iter().chain(&self.draining);
        all.map(|(node, _)| *node)
    }
}

/// FNV-1a, 64 bits, over app, space and name.
#[must_use]
pub fn key_hash(key: &ChannelKey) -> u64 {
    let space: u8 = match key.space {
        Space::Channel => 0,
        Space::User => 1,
        Space::Status => 2,
        Space::Wildcard => 3,
        Space::DeadLetters => 4,
    };
    let head = key.app.0.to_le_bytes();
    let bytes = head.iter().chain([&space]).chain(key.name.as_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// SplitMix64's finaliser: FNV alone leaves the high bits of short names nearly equal.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let a = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::core::authority::Member;
    use crate::core::ids::AppId;

    fn members(ids: &[u64]) -> Members {
        Members {
            live: ids.iter().map(|id| (NodeId(*id), 1)).collect(),
            ..Members::default()
        }
    }

    #[test]
    fn a_node_is_no_member_to_itself_before_this_start_of_it_is_one() {
        let up = |node: u64, epoch| Member {
            node: NodeId(node),
            peer_addr: "127.0.0.1:1".into(),
            public_url: "http://127.0.0.1:2".into(),
            state: MemberState::Up,
            epoch,
            reads_version: 1,
            revision: epoch,
        };
        let mut state = State::default();
        for member in [up(1, 4), up(2, 9)] {
            state.members.insert(member.node, member);
        }
        let live = |me, epoch| Members::of(&state, NodeId(me), epoch).live;
        let all = vec![(NodeId(1), 4), (NodeId(2), 9)];
        assert_eq!(live(2, 9), all);
        // Not agreed on yet, an earlier start, and a later one that this list does not know: all the same.
        for epoch in [0, 8, 10] {
            assert_eq!(live(2, epoch), [(NodeId(1), 4)]);
        }
        assert_eq!(live(1, 4), all, "others are taken by their word");
    }

    #[test]
    fn placement_is_frozen() {
        let three = members(&[1, 2, 3]);
        let placed: Vec<_> = ["a", "room-1", "presence-lobby", "ü"]
            .iter()
            .map(|name| three.place(&ChannelKey::channel(AppId(7), name)).unwrap())
            .map(|place| (place.home.0, place.backup.unwrap().0))
            .collect();
        assert_eq!(placed, GOLDEN);
        assert_eq!(
            key_hash(&ChannelKey::user(AppId(7), "ana")),
            GOLDEN_HASH,
            "the name space is part of the key"
        );
    }
    const GOLDEN: [(u64, u64); 4] = [(1, 2), (2, 3), (2, 1), (3, 2)];
    const GOLDEN_HASH: u64 = 0x225d_0c01_fc02_8229;

    #[test]
    fn only_the_keys_of_a_removed_node_move_and_they_go_to_their_backup() {
        let before = members(&[1, 2, 3, 4, 5]);
        let after = members(&[1, 2, 4, 5]);
        for n in 0..2_000 {
            let key = ChannelKey::channel(AppId(n % 3), &format!("room-{n}"));
            let (old, new) = (before.place(&key).unwrap(), after.place(&key).unwrap());
            if old.home == NodeId(3) {
                assert_eq!(Some(new.home), old.backup);
            } else {
                assert_eq!(new.home, old.home);
            }
            assert_ne!(Some(new.home), new.backup);
        }
    }

    #[test]
    fn homes_are_spread_evenly_and_a_lone_node_has_no_backup() {
        let five = members(&[1, 2, 3, 4, 5]);
        let mut counts = std::collections::BTreeMap::new();
        for n in 0..10_000 {
            let key = ChannelKey::channel(AppId(1), &format!("room-{n}"));
            *counts.entry(five.place(&key).unwrap().home).or_insert(0) += 1;
        }
        assert!(
            counts.values().all(|n| (1_800..=2_200).contains(n)),
            "{counts:?}"
        );
        let key = ChannelKey::channel(AppId(1), "x");
        assert_eq!(members(&[9]).place(&key).unwrap().backup, None);
        assert_eq!(members(&[]).place(&key), None);
    }
}
