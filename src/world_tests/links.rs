//! The links between nodes: one per pair, dialled by the node with the smaller id, in order, and broken in every way.
//!
//! **Why each side has its own idea of the link:** a side that has not noticed its end goes on sending into it, and one that
//! dials anew is told so before the other.

use crate::core::channel::replica::protocol::PeerMessage;
use std::collections::{BTreeMap, VecDeque};

/// Names a link; a pair of processes has one after the other.
pub(crate) type LinkId = u64;

/// What a frame carries.
#[derive(Debug)]
pub(crate) enum Frame {
    /// To a channel.
    Channel(usize, PeerMessage),
    /// What the sender has in channels whose home the other is.
    Digest(Vec<u64>),
    /// Where the two have not the same.
    Differs(Vec<u8>),
}

/// What is under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) frame: Frame,
    pub(crate) due_ms: u64,
}

/// One link between two processes; the first has dialled it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [usize; 2],
    /// The nodes that they are starts of.
    pub(crate) nodes: [u64; 2],
    /// By direction: 0 goes from the one who dialled.
    pub(crate) queues: [VecDeque<UnderWay>; 2],
    /// The other side has accepted it.
    pub(crate) accepted: bool,
    /// Nothing gets through any more.
    pub(crate) aborted: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
    /// The link that a process uses to a node.
    in_use: BTreeMap<(usize, u64), LinkId>,
    last: LinkId,
}

impl Links {
    /// A new link, which the dialling side uses at once.
    pub(crate) fn dial(&mut self, ends: [usize; 2], nodes: [u64; 2]) -> LinkId {
        self.last += 1;
        let link = Link {
            ends,
            nodes,
            queues: [VecDeque::new(), VecDeque::new()],
            accepted: false,
            aborted: false,
        };
        self.links.insert(self.last, link);
        self.in_use.insert((ends[0], nodes[1]), self.last);
        self.last
    }

    /// The other side uses it as well, in place of an older one.
    pub(crate) fn accept(&mut self, id: LinkId) -> Option<(usize, u64)> {
        let link = self.links.get_mut(&id).filter(|one| !one.aborted)?;
        link.accepted = true;
        let (to, from) = (link.ends[1], link.nodes[0]);
        if let Some(old) = self.in_use.insert((to, from), id)
            && let Some(old) = self.links.get_mut(&old)
        {
            old.abort();
        }
        Some((to, from))
    }

    pub(crate) fn used(&self, from: usize, to: u64) -> Option<LinkId> {
        self.in_use.get(&(from, to)).copied()
    }

    /// Whether it ends in the hands of this process, by its own idea.
    pub(crate) fn uses(&self, id: LinkId, from: usize, to: u64) -> bool {
        self.used(from, to) == Some(id)
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    /// Puts a frame in; the direction it goes. `None` = there is no link.
    pub(crate) fn push(
        &mut self,
        from: usize,
        to: u64,
        frame: UnderWay,
    ) -> Option<(LinkId, usize, u64)> {
        let id = self.used(from, to)?;
        let link = self.links.get_mut(&id)?;
        let direction = usize::from(link.ends[0] != from);
        // In order, whatever delay each was given.
        let last = link.queues[direction].back().map_or(0, |one| one.due_ms);
        let due_ms = frame.due_ms.max(last);
        if !link.aborted {
            link.queues[direction].push_back(UnderWay { due_ms, ..frame });
        }
        Some((id, direction, due_ms))
    }

    /// The next frame of a direction, once it is due.
    pub(crate) fn pop(&mut self, id: LinkId, direction: usize, now_ms: u64) -> Option<UnderWay> {
        let queue = &mut self.links.get_mut(&id)?.queues[direction];
        queue.pop_front_if(|one| one.due_ms <= now_ms)
    }

    /// What was under way is lost, and nothing gets through from now on.
    pub(crate) fn abort(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.abort();
        }
    }

    /// A side lets go of it.
    pub(crate) fn forget(&mut self, id: LinkId, from: usize, to: u64) -> bool {
        let its = self.uses(id, from, to);
        if its {
            self.in_use.remove(&(from, to));
        }
        its
    }

    /// Everything that a process has sent and that has not arrived.
    pub(crate) fn under_way(&self, from: usize) -> impl Iterator<Item = &UnderWay> {
        let all = self.links.values();
        let sent = all.flat_map(|link| link.ends.iter().zip(&link.queues));
        let its = sent.filter(move |(end, _)| **end == from);
        its.flat_map(|(_, queue)| queue)
    }

    /// The links that end in this process, and where each of them ends.
    pub(crate) fn of(&self, process: usize) -> Vec<LinkId> {
        let its = |link: &Link| !link.aborted && link.ends.contains(&process);
        let all = self.links.iter();
        all.filter(|(_, link)| its(link))
            .map(|(id, _)| *id)
            .collect()
    }
}

impl Link {
    fn abort(&mut self) {
        self.aborted = true;
        self.queues = [VecDeque::new(), VecDeque::new()];
    }
}
