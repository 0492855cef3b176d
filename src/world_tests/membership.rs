//! Nodes that come into the cluster of a world and leave it for good while messages flow, and disks that are full.
//!
//! **Why only the node with the greatest number leaves:** voters are counted by number. Which channels a node has is decided by a
//! hash, so no number is like another.

use super::world::{Event, World};
use crate::core::authority::Command;
use crate::core::ids::NodeId;
use gatecast_cluster::access::MemberCommand;

/// Most nodes of a world.
const MOST_NODES: u64 = 6;

impl World {
    /// A new node comes in: first it only follows, and has a vote a while later.
    pub(super) fn join_cluster(&mut self) {
        let node = self.nodes + 1;
        if node > MOST_NODES {
            return;
        }
        self.nodes = node;
        self.note(|| format!("node {node} joins"));
        self.reached("a node joins while messages flow");
        self.disks.insert(node, 0);
        self.start(node);
        let ms = self.chance.between(500, 4_000);
        self.later(ms, Event::Vote(node));
    }

    /// Who has followed for a while gets a vote, if its cluster can agree on that.
    pub(super) fn give_vote(&mut self, node: u64) {
        let led = self.leader.is_some_and(|leader| self.reads(leader));
        let next = node == self.voters + 1 && node <= self.nodes;
        if led && next && self.running.contains_key(&node) {
            self.voters = node;
            self.note(|| format!("node {node} votes"));
        }
    }

    /// A node leaves for good: in order, or because it is taken out after its death.
    pub(super) fn leave_for_good(&mut self) {
        let node = self.nodes;
        if node <= 3 {
            return;
        }
        let drain = MemberCommand::Drain { node: NodeId(node) };
        let stays = match self.chance.percent(70) {
            true if self.agree(&Command::Member(drain)).is_some() => {
                self.chance.between(300, 2_500)
            }
            true | false => 0,
        };
        self.note(|| format!("node {node} leaves for good"));
        self.nodes = node - 1;
        self.later(stays, Event::Remove(node));
    }

    /// It is gone, and the cluster agrees on that as soon as it can.
    pub(super) fn remove(&mut self, node: u64) {
        self.kill(node, false);
        self.voters = self.voters.min(node - 1);
        let remove = MemberCommand::Remove { node: NodeId(node) };
        match self.agree(&Command::Member(remove)) {
            Some(_) => self.reached("a node is taken out while messages flow"),
            None => self.later(100, Event::Remove(node)),
        }
    }

    /// A disk is full for so long: its node writes nothing, and does not lead if another can.
    pub(super) fn fill_disk(&mut self, node: u64, ms: u64) {
        self.note(|| format!("the disk of node {node} is full for {ms} ms"));
        self.full.insert(node, self.now_ms + ms);
        if self.leader == Some(node) {
            self.reached("who leads has a full disk");
        }
    }

    /// Whether a node takes no writes for want of room.
    pub(super) fn is_full(&self, node: u64) -> bool {
        let until = self.full.get(&node);
        until.is_some_and(|until| *until > self.now_ms)
    }
}
