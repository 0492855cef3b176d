//! What only a home keeps: the stream, interest by node, the backup's mirror and the gate in front of everything
//! that leaves.
//!
//! **Must never know:** how this node became home (`role`), what is asked of it (`asks`).
//!
//! **Why one gate and not a wait per publication:** effects leave in the order they were decided, so a join
//! behind an unreplicated publication gets its snapshot after that publication went out, and never twice.

use super::ledger::Ledger;
use super::state::Effect;
use super::stream::{Logged, Seen, Stream};
use super::wire::Wire;
use crate::core::clock::Now;
use crate::core::ids::NodeId;
use crate::core::lifecycle::Happening;
use crate::core::message::{Broadcast, Member, Occupancy, PresenceAction};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long the home waits for its backup before it goes on alone, ms. In that time nothing of the channel is
/// delivered or acknowledged; after it, what is acknowledged rests on one node until the backup has caught up.
pub(super) const BACKUP_WAIT_MS: u64 = 1_000;
/// How often a backup that lags is sent everything again, ms.
pub(super) const BACKUP_RETRY_MS: u64 = 2_000;
/// Above so many subscriptions their number is told at most every [`COUNT_MS`].
const COUNT_AT_ONCE: u64 = 100;
/// See [`COUNT_AT_ONCE`].
const COUNT_MS: u64 = 5_000;

/// What is held back until the backup has `entry`.
#[derive(Debug)]
struct Segment {
    entry: u64,
    since_ms: u64,
    effects: Vec<Effect>,
}

/// The backup as the home sees it.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) node: NodeId,
    /// The frames sent since the last copy are without gaps.
    copied: bool,
    /// It answers: wait for it.
    answers: bool,
    /// When to send everything again, mono ms.
    retry_ms: Option<u64>,
}

/// What only the home keeps.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) stream: Stream,
    pub(super) interest: BTreeMap<NodeId, u64>,
    pub(super) mirror: Option<Mirror>,
    /// What has been told of the channel's lifecycle.
    pub(super) ledger: Ledger,
    /// Somebody listens to it.
    pub(super) watched: bool,
    gate: VecDeque<Segment>,
    count_due: Option<u64>,
}

impl Home {
    pub(super) fn new(stream: Stream, ledger: Ledger, watched: bool) -> Self {
        Self {
            stream,
            interest: BTreeMap::new(),
            mirror: None,
            ledger,
            watched,
            gate: VecDeque::new(),
            count_due: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        let quiet = self.stream.is_empty() && self.interest.is_empty() && self.gate.is_empty();
        quiet && self.ledger.idle()
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        let gate = self.gate.front().map(|one| one.since_ms + BACKUP_WAIT_MS);
        let retry = self.mirror.as_ref().and_then(|mirror| mirror.retry_ms);
        let all = [gate, retry, self.count_due, self.ledger.wake_at()];
        all.into_iter().flatten().min()
    }

    pub(super) fn occupancy(&self, local: u64) -> Occupancy {
        Occupancy {
            subscribers: local + self.interest.values().sum::<u64>(),
            clients: self.stream.presence.clients(),
            members: self.stream.presence.len(),
        }
    }

    /// Does it now, or when the backup has everything before it.
    pub(super) fn emit(&mut self, effect: Effect, out: &mut Vec<Effect>) {
        match self.gate.back_mut() {
            Some(last) => last.effects.push(effect),
            None => out.push(effect),
        }
    }

    pub(super) fn send(&mut self, to: NodeId, wire: Wire, out: &mut Vec<Effect>) {
        self.emit(Effect::Send { to, wire }, out);
    }

    /// Sends an entry to the backup, then (once that has it) to everybody.
    pub(super) fn commit(&mut self, logged: Logged, now: Now, out: &mut Vec<Effect>) {
        self.replicate(std::slice::from_ref(&logged), now, out);
        self.spread(logged, now, out);
    }

    /// The same with several that stand or fall together: nobody gets the first before the backup has the last.
    pub(super) fn commit_batch(&mut self, batch: Vec<Logged>, now: Now, out: &mut Vec<Effect>) {
        self.replicate(&batch, now, out);
        for logged in batch {
            self.spread(logged, now, out);
        }
    }

    /// One frame to the backup, and one wait for it.
    fn replicate(&mut self, entries: &[Logged], now: Now, out: &mut Vec<Effect>) {
        let epoch = self.stream.seen().epoch;
        if let (Some(mirror), Some(last)) = (&mut self.mirror, entries.last()) {
            let to = mirror.node;
            let wire = match entries {
                _ if !mirror.copied => {
                    mirror.copied = true;
                    copy(&self.stream, false)
                }
                [logged] => {
                    let logged = logged.clone();
                    Wire::Replicate { epoch, logged }
                }
                several => {
                    let entries = several.to_vec();
                    Wire::ReplicateBatch { epoch, entries }
                }
            };
            out.push(Effect::Send { to, wire });
            if mirror.answers {
                self.gate.push_back(Segment {
                    entry: last.entry,
                    since_ms: now.mono_ms,
                    effects: Vec::new(),
                });
            }
        }
    }

    /// To everybody, when the backup has everything up to here.
    fn spread(&mut self, logged: Logged, now: Now, out: &mut Vec<Effect>) {
        let epoch = self.stream.seen().epoch;
        self.emit(Effect::Deliver(logged.broadcast.clone()), out);
        self.tell_of(&logged.broadcast, now, out);
        let nodes: Vec<NodeId> = self.interest.keys().copied().collect();
        for to in nodes {
            let logged = logged.clone();
            self.send(to, Wire::Broadcast { epoch, logged }, out);
        }
    }

    pub(super) fn commit_all(&mut self, entries: Vec<Logged>, now: Now, out: &mut Vec<Effect>) {
        for logged in entries {
            self.commit(logged, now, out);
        }
    }

    /// The backup says how far it is.
    pub(super) fn copied(&mut self, from: NodeId, seen: Seen, out: &mut Vec<Effect>) {
        let epoch = self.stream.seen().epoch;
        if let Some(mirror) = &mut self.mirror
            && mirror.node == from
            && seen.epoch == epoch
        {
            mirror.answers = true;
            mirror.retry_ms = None;
            self.release(seen.entry, out);
        }
    }

    /// The backup has everything up to `entry`.
    fn release(&mut self, entry: u64, out: &mut Vec<Effect>) {
        while let Some(first) = self.gate.pop_front_if(|first| first.entry <= entry) {
            out.extend(first.effects);
        }
    }

    pub(super) fn release_all(&mut self, out: &mut Vec<Effect>) {
        self.release(u64::MAX, out);
    }

    /// Names the backup; `None` when there is no second node.
    pub(super) fn set_backup(&mut self, node: Option<NodeId>, out: &mut Vec<Effect>) {
        if self.mirror.as_ref().map(|mirror| mirror.node) == node {
            return;
        }
        self.mirror = node.map(|node| Mirror {
            node,
            copied: false,
            answers: true,
            retry_ms: None,
        });
        match node {
            None => self.release_all(out),
            Some(_) => self.copy_now(out),
        }
        self.confide(out);
    }

    /// Sends the backup everything, unless there is nothing yet.
    pub(super) fn copy_now(&mut self, out: &mut Vec<Effect>) {
        let Some(mirror) = &mut self.mirror else {
            return;
        };
        mirror.copied = self.stream.seen().entry > 0;
        if mirror.copied {
            let (to, wire) = (mirror.node, copy(&self.stream, false));
            out.push(Effect::Send { to, wire });
        }
    }

    pub(super) fn wake(&mut self, subscribers: u64, now: Now, out: &mut Vec<Effect>) {
        let waited = |one: &Segment| now.mono_ms >= one.since_ms + BACKUP_WAIT_MS;
        let due = |at: Option<u64>| at.is_some_and(|at| now.mono_ms >= at);
        if self.gate.front().is_some_and(waited) {
            if let Some(mirror) = &mut self.mirror {
                mirror.answers = false;
                mirror.retry_ms = Some(now.mono_ms + BACKUP_RETRY_MS);
            }
            self.release_all(out);
        }
        if let Some(mirror) = &mut self.mirror
            && due(mirror.retry_ms)
        {
            mirror.retry_ms = Some(now.mono_ms + BACKUP_RETRY_MS);
            self.copy_now(out);
        }
        if due(self.count_due) {
            self.count_due = None;
            self.tell_count(subscribers, out);
        }
    }

    fn tell_count(&mut self, local: u64, out: &mut Vec<Effect>) {
        self.count_due = None;
        let count = self.occupancy(local).subscribers;
        self.emit(Effect::Deliver(Broadcast::Count(count)), out);
        self.tell(Some(Happening::Counted(count)), out);
        let nodes: Vec<NodeId> = self.interest.keys().copied().collect();
        for to in nodes {
            self.send(to, Wire::Count(count), out);
        }
    }

    pub(super) fn set_interest(&mut self, node: NodeId, subscribers: u64) -> bool {
        let before = if subscribers == 0 {
            self.interest.remove(&node)
        } else {
            self.interest.insert(node, subscribers)
        };
        before.unwrap_or(0) != subscribers
    }

    pub(super) fn counted(&mut self, local: u64, now: Now, out: &mut Vec<Effect>) {
        if self.occupancy(local).subscribers <= COUNT_AT_ONCE {
            self.tell_count(local, out);
        } else if self.count_due.is_none() {
            self.count_due = Some(now.mono_ms + COUNT_MS);
        }
    }

    /// Removes the members and the interest of nodes that are not there any more.
    pub(super) fn bury(&mut self, there: impl Fn(NodeId) -> bool, now: Now, out: &mut Vec<Effect>) {
        self.interest.retain(|node, _| there(*node));
        let dead = |member: &Member| !there(member.node);
        let left = self.stream.leave_all(dead, PresenceAction::Timeout, now);
        self.commit_all(left, now, out);
    }

    /// Asks those of the nodes that have members or subscribers here to announce themselves.
    pub(super) fn ask_who(&mut self, of: impl Fn(NodeId) -> bool, out: &mut Vec<Effect>) {
        for to in self.known().into_iter().filter(|node| of(*node)) {
            self.send(to, Wire::Who, out);
        }
    }

    /// Asks all of these nodes. What the home before knew is not all there is: it may have begun a moment ago, on an
    /// older list, and it may have known of nobody.
    pub(super) fn ask_everybody(
        &mut self,
        nodes: impl Iterator<Item = NodeId>,
        out: &mut Vec<Effect>,
    ) {
        let known = self.known();
        for to in nodes {
            let wire = match known.contains(&to) {
                true => Wire::Who,
                false => Wire::Anybody,
            };
            self.send(to, wire, out);
        }
    }

    /// The nodes with members or subscribers, as far as is known.
    fn known(&self) -> BTreeSet<NodeId> {
        let members = self.stream.presence.members().map(|member| member.node);
        self.interest.keys().copied().chain(members).collect()
    }
}

fn copy(stream: &Stream, handover: bool) -> Wire {
    Wire::Copy {
        image: Box::new(stream.image()),
        handover,
    }
}

impl Home {
    /// Begins a new epoch, and tells the backup.
    pub(super) fn renew(&mut self, epoch: u64, out: &mut Vec<Effect>) {
        self.release_all(out);
        self.stream.cut(epoch);
        self.copy_now(out);
    }

    /// The link to the backup is new: what was under way is lost.
    pub(super) fn relink(&mut self, out: &mut Vec<Effect>) {
        self.copy_now(out);
        self.confide(out);
    }

    /// Tells the world, if it listens.
    pub(super) fn tell(
        &mut self,
        news: impl IntoIterator<Item = Happening>,
        out: &mut Vec<Effect>,
    ) {
        if self.watched {
            for happening in news {
                self.emit(Effect::Happened(happening), out);
            }
        }
    }

    /// A node has had subscribers since before this one was home: that was told by the home before.
    pub(super) fn was_occupied(&mut self, out: &mut Vec<Effect>) {
        if self.ledger.was_occupied() {
            self.confide(out);
        }
    }

    /// Tells whether the channel is occupied, and who left for good, once either has changed.
    pub(super) fn tell_occupancy(&mut self, local: u64, now: Now, out: &mut Vec<Effect>) {
        let subscribers = self.occupancy(local).subscribers;
        let mut news = self.ledger.left(now.mono_ms);
        news.extend(self.ledger.count(subscribers, now.mono_ms));
        if !news.is_empty() {
            self.confide(out);
            self.tell(news, out);
        }
    }

    fn tell_of(&mut self, broadcast: &Broadcast, now: Now, out: &mut Vec<Effect>) {
        match broadcast {
            Broadcast::Message(publication) => {
                if self.watched && publication.draft.connection.is_some() {
                    let publication = publication.clone();
                    self.tell([Happening::Published(publication)], out);
                }
            }
            Broadcast::Presence(change) => {
                let news = self.ledger.change(change, now.mono_ms);
                if change.edge {
                    self.confide(out);
                }
                self.tell(news, out);
            }
            Broadcast::Count(_) => {}
        }
    }

    /// Tells the backup what has been told, before the world hears it: should this node end in between, it is
    /// told late or not at all, but never twice.
    fn confide(&mut self, out: &mut Vec<Effect>) {
        if let Some(mirror) = &self.mirror
            && self.watched
        {
            let (to, wire) = (mirror.node, Wire::Told(self.ledger.told()));
            out.push(Effect::Send { to, wire });
        }
    }
}

pub(super) fn not_home(to: NodeId, out: &mut Vec<Effect>) {
    let wire = Wire::NotHome;
    out.push(Effect::Send { to, wire });
}

/// The handover of a former home.
pub(super) fn handover(stream: &Stream) -> Wire {
    copy(stream, true)
}
