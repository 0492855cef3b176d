//! What nodes of the world say to each other so that what was lost between them heals: digests, as `peers/router.rs` sends
//! them, and what a channel says that could not take all that was sent to it, as `peers/stalled.rs` does.
//!
//! **Why frames are lost inside a link that holds:** no socket does that. But what was announced may be lost by a bug, and then
//! the digest is all that heals it: it has to be seen to do so by itself.

use super::channel::ToChannel;
use super::links::Frame;
use super::world::{Event, Task, World};
use crate::core::channel::digest::bucket;
use crate::core::channel::replica::protocol::PeerMessage;
use crate::core::ids::NodeId;
use crate::peers::repair::LOOK_INTERVAL_MS;

/// Most frames of one node that wait for one channel; so few that a channel which stands still gets there.
const WAITING_FRAMES: usize = 3;

impl World {
    /// Whether a frame is lost that says who subscribes or is present.
    pub(super) fn loses(&mut self, message: &PeerMessage) -> bool {
        let announces = matches!(
            message,
            PeerMessage::Interest { .. }
                | PeerMessage::Left(_)
                | PeerMessage::Announce(_)
                | PeerMessage::AnnounceRequest
                | PeerMessage::AnnounceIfPresent
        );
        let lost = announces && self.now_ms < self.losing_until_ms && self.chance.percent(70);
        if lost {
            self.note(|| format!("lost: {message:?}"));
            self.reached("an announcement is lost");
        }
        lost
    }

    /// A process looks whether digests are due.
    pub(crate) fn look(&mut self, at: usize) {
        self.later(LOOK_INTERVAL_MS, Event::Look(at));
        let (own, now_ms) = (self.processes[at].node, self.processes[at].now().mono_ms);
        let linked = self.running.keys().copied().collect::<Vec<u64>>();
        for node in linked.into_iter().filter(|node| *node != own) {
            if self.links.used(at, node).is_none() {
                continue;
            }
            let process = &self.processes[at];
            if process.repair.digest_is_due(NodeId(node), now_ms) {
                let digest = process.digests.own(NodeId(node));
                self.put(at, node, Frame::Digest(digest));
            }
        }
    }

    /// Another node's digest has come.
    pub(super) fn compare(&mut self, at: usize, from: u64, digest: &[u64]) {
        let process = &self.processes[at];
        let differing = process.digests.differing(NodeId(from), digest);
        let again = process.repair.compared(NodeId(from), differing);
        if !again.is_empty() {
            self.reached("a digest finds what was lost");
            self.say_again(at, from, &again);
            self.put(at, from, Frame::Differs(again));
        }
    }

    pub(super) fn say_again(&mut self, at: usize, node: u64, buckets: &[u8]) {
        let channels = self.processes[at].channels.iter();
        let known = channels.filter(|(_, one)| one.replica.is_some());
        let its = known.filter(|(channel, _)| buckets.contains(&bucket(&self.keys[**channel])));
        let its: Vec<usize> = its.map(|(channel, _)| *channel).collect();
        for channel in its {
            self.mail_channel(at, channel, ToChannel::Differs(NodeId(node)));
        }
    }

    /// Before another frame of that node goes to a channel: what is too much is dropped as a whole, and it is told so.
    pub(super) fn make_room(&mut self, at: usize, from: NodeId, channel: usize) {
        let stands = self.is_stalled(&Task::Channel(at, channel));
        let its = |one: &ToChannel| matches!(one, ToChannel::From(node, _) if *node == from);
        let Some(actor) = self.processes[at]
            .channels
            .get_mut(&channel)
            .filter(|_| stands)
        else {
            return;
        };
        if actor.mailbox.iter().filter(|one| its(one)).count() >= WAITING_FRAMES {
            actor.mailbox.retain(|one| !its(one));
            self.reached("a channel drops what is too much for it");
            self.mail_channel(at, channel, ToChannel::Dropped(from));
        }
    }
}
