//! What links do in the world: they are dialled, carry frames, break, and are noticed to be broken.

use super::channel::ToChannel;
use super::links::{Frame, LinkId, UnderWay};
use super::world::{Event, Task, World};
use crate::core::channel::replica::io::LINK_SILENCE_MS;
use crate::core::channel::replica::protocol::PeerMessage;
use crate::core::ids::NodeId;

impl World {
    /// Sends to a channel on another node; false when there is no link.
    pub(crate) fn send(
        &mut self,
        at: usize,
        to: u64,
        channel: usize,
        message: PeerMessage,
    ) -> bool {
        self.loses(&message) || self.put(at, to, Frame::Channel(channel, message))
    }

    /// Puts a frame into the link to a node; false when there is none.
    pub(super) fn put(&mut self, at: usize, to: u64, frame: Frame) -> bool {
        let delay = self.chance.between(0, self.delay_ms);
        let frame = UnderWay {
            frame,
            due_ms: self.now_ms + delay,
        };
        let Some((link, direction, due_ms)) = self.links.push(at, to, frame) else {
            return false;
        };
        self.at_time(due_ms, Event::Ready(Task::Frame(link, direction)));
        true
    }

    /// The next frame of a direction arrives.
    pub(crate) fn arrive(&mut self, id: LinkId, direction: usize) {
        let Some(link) = self.links.get(id).filter(|one| !one.aborted) else {
            return;
        };
        let (to, from) = (link.ends[1 - direction], link.nodes[direction]);
        let pair = (
            link.nodes[0].min(link.nodes[1]),
            link.nodes[0].max(link.nodes[1]),
        );
        let process = &self.processes[to];
        if !process.alive {
            return;
        }
        // Not yet: what is on its way waits in the sockets.
        if process.paused || self.cut.contains(&pair) || (direction == 0 && !link.accepted) {
            return self.later(40, Event::Ready(Task::Frame(id, direction)));
        }
        if !self.links.uses(id, to, from) {
            return;
        }
        match self
            .links
            .pop(id, direction, self.now_ms)
            .map(|one| one.frame)
        {
            Some(Frame::Channel(channel, message)) => self.arrived(to, from, channel, message),
            Some(Frame::Digest(digest)) => self.compare(to, from, &digest),
            Some(Frame::Differs(buckets)) => self.say_again(to, from, &buckets),
            None => {}
        }
    }

    fn arrived(&mut self, to: usize, from: u64, channel: usize, message: PeerMessage) {
        let known = self.processes[to].channels.get(&channel);
        let known = known.is_some_and(|one| one.replica.is_some() || !one.mailbox.is_empty());
        if known || message.starts_channel() {
            self.make_room(to, NodeId(from), channel);
            self.mail_channel(to, channel, ToChannel::From(NodeId(from), message));
        }
    }

    /// Tries to link with a node, as long as the list names it.
    pub(crate) fn dial(&mut self, at: usize, node: u64) {
        let own = self.processes[at].node;
        if !self.dialling.contains(&(at, node)) || self.links.used(at, node).is_some() {
            return;
        }
        let other = self
            .running
            .get(&node)
            .copied()
            .filter(|_| self.reach(own, node));
        let Some(other) = other else {
            let ms = self.chance.between(50, 1_000);
            return self.later(ms, Event::Dial(at, node));
        };
        let link = self.links.dial([at, other], [own, node]);
        self.note(|| format!("link {link}: {own} -> {node}"));
        self.processes[at].repair.linked(NodeId(node));
        self.mail_channels(at, || ToChannel::LinkUp(NodeId(node)));
        let ms = self.chance.between(0, 10);
        self.later(ms, Event::Accept(link));
    }

    pub(crate) fn accept(&mut self, id: LinkId) {
        let to = self.links.get(id).map(|one| one.ends[1]);
        if to.is_some_and(|to| self.processes[to].paused) {
            return self.later(10, Event::Accept(id));
        }
        if let Some((to, node)) = self.links.accept(id)
            && self.processes[to].alive
        {
            self.processes[to].repair.linked(NodeId(node));
            self.mail_channels(to, || ToChannel::LinkUp(NodeId(node)));
        }
    }

    /// One side sees that the link has ended.
    pub(crate) fn notice(&mut self, id: LinkId, at: usize) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let side = usize::from(link.ends[0] != at);
        let other = link.nodes[1 - side];
        if self.links.forget(id, at, other) {
            let own = self.processes[at].node;
            self.note(|| format!("link {id}: {own} sees that {other} is gone"));
            self.redial(at, other);
        }
    }

    fn redial(&mut self, at: usize, other: u64) {
        if self.dialling.contains(&(at, other)) {
            let ms = self.chance.between(25, 50);
            self.later(ms, Event::Dial(at, other));
        }
    }

    /// A process ends its link to a node that its list does not name.
    pub(crate) fn end_link(&mut self, at: usize, node: u64) {
        if let Some(link) = self.links.used(at, node) {
            self.links.forget(link, at, node);
            self.break_link(link, 20);
        }
    }

    /// A link ends: what is under way is lost, and each side sees it within so many milliseconds.
    pub(crate) fn break_link(&mut self, id: LinkId, within_ms: u64) {
        self.links.abort(id);
        let ends = self.links.get(id).map(|one| one.ends);
        for at in ends.into_iter().flatten() {
            let ms = self.chance.between(0, within_ms);
            self.later(ms, Event::Notice(id, at));
        }
    }

    /// Nothing has come over a link for five seconds, if its ends still do not hear each other.
    pub(crate) fn silent(&mut self, id: LinkId) {
        let nodes = self
            .links
            .get(id)
            .filter(|one| !one.aborted)
            .map(|one| one.nodes);
        if nodes.is_some_and(|[a, b]| !self.reach(a, b)) {
            self.break_link(id, 50);
        }
    }

    /// These two nodes cannot reach each other any more.
    pub(crate) fn part(&mut self, a: u64, b: u64) {
        self.cut.insert((a.min(b), a.max(b)));
        self.note(|| format!("{a} and {b} cannot reach each other"));
        let both = [self.running.get(&a), self.running.get(&b)];
        if let [Some(a), Some(b)] = both.map(|one| one.copied()) {
            let links = self.links.of(a).into_iter();
            let links: Vec<_> = links
                .filter(|link| self.links.of(b).contains(link))
                .collect();
            for link in links {
                self.later(LINK_SILENCE_MS, Event::Silent(link));
            }
        }
    }
}
