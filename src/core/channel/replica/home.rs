//! What only a home keeps: the stream, interest by node, how far the backup is, and what waits for it.
//!
//! **Must never know:** how this node became home (`handover`), what is asked of it (`home_requests`).
//!
//! **Why one queue behind the backup and not a wait per publication:** effects leave in the order they were decided, so a
//! join behind an unreplicated publication gets its snapshot after that publication went out, and never twice.

use super::fingerprint::interest;
use super::holders::Holders;
use super::io::Effect;
use super::lifecycle_clock::LifecycleClock;
use super::local::LocalNode;
use super::pending::PendingRequests;
use super::protocol::PeerMessage;
use super::stream::{Entry, LogPosition, Stream};
use crate::core::clock::Now;
use crate::core::ids::NodeId;
use crate::core::lifecycle::LifecycleKind;
use crate::core::message::{Broadcast, Member, Occupancy, PresenceAction};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How much longer than the lease the home waits for its backup before it goes on alone, ms. In that time nothing of
/// the channel is delivered or acknowledged; after it, what is acknowledged rests on one node until the backup has
/// caught up. Longer than the lease, because a home that is counted out holds none any more by then: whoever goes on
/// alone is home indeed, and no backup has begun in its place without what it acknowledges.
const BACKUP_TIMEOUT_MS: u64 = 1_500;
/// How often a backup that lags is sent everything again, ms.
pub(super) const BACKUP_RETRY_INTERVAL_MS: u64 = 2_000;
/// Above so many subscriptions their number is told at most every [`COUNT_INTERVAL_MS`].
const MAX_IMMEDIATE_COUNT: u64 = 100;
/// How often the number of subscriptions is told when there are more than [`MAX_IMMEDIATE_COUNT`], ms.
const COUNT_INTERVAL_MS: u64 = 5_000;

/// What is held back until the backup has acknowledged an entry.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    /// What everybody may have been shown without it.
    pub(super) before: LogPosition,
    /// The number of that entry.
    pub(super) entry: u64,
    pub(super) since_ms: u64,
    pub(super) effects: Vec<Effect>,
}

/// How far the backup is, as the home sees it.
#[derive(Debug)]
pub(super) struct BackupProgress {
    pub(super) node: NodeId,
    /// It was sent everything, and every entry since.
    pub(super) in_sync: bool,
    /// It answers: what leaves waits for it.
    pub(super) answers: bool,
    /// It has said that it has a copy, since it is the backup and its link is up.
    pub(super) has_copy: bool,
    /// When to send everything again, mono ms.
    pub(super) retry_ms: Option<u64>,
}

/// What only the home keeps.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) stream: Stream,
    pub(super) interest: BTreeMap<NodeId, u64>,
    pub(super) backup: Option<BackupProgress>,
    /// When what is kept back of the channel's lifecycle is due.
    pub(super) clock: LifecycleClock,
    /// It began without a copy: what the home before has told it can only guess.
    pub(super) guesses: bool,
    /// Whose word counts of an entry that two nodes have.
    pub(super) holders: Holders,
    /// It went on from a copy, and nobody has named an epoch yet in which the home before showed more.
    pub(super) may_lack: bool,
    /// How far those who were subscribed on this node had got when it began: if it has begun too early, they have got no
    /// further.
    pub(super) began_behind: Option<LogPosition>,
    /// What waits for the backup, in order.
    pub(super) pending_ack: VecDeque<Unacknowledged>,
    /// The requests of this node whose responses are among that.
    pub(super) unanswered: PendingRequests,
    /// How long the backup may be silent, ms.
    backup_timeout_ms: u64,
    count_due: Option<u64>,
}

impl Home {
    pub(super) fn new(stream: Stream, clock: LifecycleClock, guesses: bool, lease_ms: u64) -> Self {
        Self {
            stream,
            interest: BTreeMap::new(),
            backup: None,
            clock,
            guesses,
            holders: Holders::default(),
            may_lack: false,
            began_behind: None,
            pending_ack: VecDeque::new(),
            unanswered: PendingRequests::default(),
            backup_timeout_ms: lease_ms + BACKUP_TIMEOUT_MS,
            count_due: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.stream.is_empty() && self.interest.is_empty() && self.pending_ack.is_empty()
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        let first = self.pending_ack.front();
        let all = [
            first.map(|one| one.since_ms + self.backup_timeout_ms),
            self.unanswered.wake_at(),
            self.backup.as_ref().and_then(|backup| backup.retry_ms),
            self.count_due,
            self.clock.wake_at(),
        ];
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
    pub(super) fn enqueue(&mut self, effect: Effect, out: &mut Vec<Effect>) {
        match self.pending_ack.back_mut() {
            Some(last) => last.effects.push(effect),
            None => out.push(effect),
        }
    }

    pub(super) fn send(&mut self, to: NodeId, message: PeerMessage, out: &mut Vec<Effect>) {
        self.enqueue(Effect::Send { to, message }, out);
    }

    /// Sends an entry to the backup, then (once that has it) to everybody.
    pub(super) fn commit(&mut self, entry: Entry, now: Now, out: &mut Vec<Effect>) {
        self.replicate(std::slice::from_ref(&entry), now, out);
        self.broadcast(entry, now, out);
    }

    /// The same with several that stand or fall together: nobody gets the first before the backup has the last.
    pub(super) fn commit_batch(&mut self, batch: Vec<Entry>, now: Now, out: &mut Vec<Effect>) {
        self.replicate(&batch, now, out);
        for entry in batch {
            self.broadcast(entry, now, out);
        }
    }

    /// One frame to the backup, and one wait for it.
    fn replicate(&mut self, entries: &[Entry], now: Now, out: &mut Vec<Effect>) {
        let LogPosition { epoch, .. } = self.stream.log_position();
        if let (Some(backup), Some(first), Some(last)) =
            (&mut self.backup, entries.first(), entries.last())
        {
            let to = backup.node;
            let message = match entries {
                _ if !backup.in_sync => {
                    backup.in_sync = true;
                    snapshot(&self.stream, false)
                }
                [entry] => {
                    let entry = entry.clone();
                    PeerMessage::Replicate { epoch, entry }
                }
                several => {
                    let entries = several.to_vec();
                    PeerMessage::ReplicateBatch { epoch, entries }
                }
            };
            out.push(Effect::Send { to, message });
            if backup.answers {
                self.pending_ack.push_back(Unacknowledged {
                    before: LogPosition {
                        epoch,
                        entry: first.number.saturating_sub(1),
                    },
                    entry: last.number,
                    since_ms: now.mono_ms,
                    effects: Vec::new(),
                });
            }
        }
    }

    /// To everybody, when the backup has everything up to here.
    fn broadcast(&mut self, entry: Entry, now: Now, out: &mut Vec<Effect>) {
        let epoch = self.stream.log_position().epoch;
        if let Some(shown) = entry.kind.shown() {
            self.enqueue(Effect::Deliver(shown), out);
        }
        self.tell_of(&entry, now, out);
        self.send_all(PeerMessage::Broadcast { epoch, entry }, out);
    }

    /// To every node with subscribers.
    fn send_all(&mut self, message: PeerMessage, out: &mut Vec<Effect>) {
        let to: Vec<NodeId> = self.interest.keys().copied().collect();
        if !to.is_empty() {
            self.enqueue(Effect::SendAll { to, message }, out);
        }
    }

    pub(super) fn commit_all(&mut self, entries: Vec<Entry>, now: Now, out: &mut Vec<Effect>) {
        for entry in entries {
            self.commit(entry, now, out);
        }
    }

    /// The backup says how far it is.
    pub(super) fn on_replicate_ack(
        &mut self,
        from: NodeId,
        position: LogPosition,
        out: &mut Vec<Effect>,
    ) {
        let epoch = self.stream.log_position().epoch;
        if let Some(backup) = &mut self.backup
            && backup.node == from
            && position.epoch == epoch
        {
            backup.answers = true;
            backup.has_copy = true;
            backup.retry_ms = None;
            self.release(position.entry, out);
        }
    }

    /// Entries are missing where this is asked; only the backup has a right to them.
    pub(super) fn on_snapshot_request(&mut self, from: NodeId, out: &mut Vec<Effect>) {
        if self.backup_node() == Some(from) {
            self.send_snapshot(out);
        }
    }

    /// The node that is the backup, if there is one.
    pub(super) fn backup_node(&self) -> Option<NodeId> {
        self.backup.as_ref().map(|backup| backup.node)
    }

    /// The backup has everything up to `entry`.
    fn release(&mut self, entry: u64, out: &mut Vec<Effect>) {
        while let Some(first) = self.pending_ack.pop_front_if(|first| first.entry <= entry) {
            for effect in &first.effects {
                if let Effect::Respond { ticket, .. } = effect {
                    self.unanswered.remove(*ticket);
                }
            }
            out.extend(first.effects);
        }
    }

    pub(super) fn release_all(&mut self, out: &mut Vec<Effect>) {
        self.release(u64::MAX, out);
    }

    /// Whether something waits for the backup.
    pub(super) fn waits(&self) -> bool {
        !self.pending_ack.is_empty()
    }

    /// Whether what is asked for here now may have to wait for the backup.
    pub(super) fn may_wait(&self) -> bool {
        self.waits() || self.backup.as_ref().is_some_and(|backup| backup.answers)
    }

    /// Another node is home: what the backup has not acknowledged may not be in the stream that goes on. Nobody is told
    /// of it here; who asked asks again there. How far this node's subscribers are then, and what it has to ask again.
    pub(super) fn withdraw(
        mut self,
        local: &mut LocalNode,
        out: &mut Vec<Effect>,
    ) -> (Stream, LogPosition, PendingRequests) {
        let mut shown = self.stream.log_position();
        if let Some(first) = self.pending_ack.front() {
            shown = first.before;
        }
        let held = self.pending_ack.drain(..).flat_map(|one| one.effects);
        out.extend(held.filter(holds_without_backup));
        for (_, pending) in self.unanswered.iter_mut() {
            pending.reopen(local);
        }
        (self.stream, shown, self.unanswered)
    }

    /// Names the backup; `None` when there is no second node.
    pub(super) fn set_backup(&mut self, node: Option<NodeId>, now: Now, out: &mut Vec<Effect>) {
        if self.backup_node() == node {
            return;
        }
        self.backup = node.map(|node| BackupProgress {
            node,
            in_sync: false,
            answers: true,
            has_copy: false,
            retry_ms: None,
        });
        // It is not this one that has been silent.
        for waiting in &mut self.pending_ack {
            waiting.since_ms = now.mono_ms;
        }
        match node {
            None => self.release_all(out),
            Some(_) => self.send_snapshot(out),
        }
    }

    /// What the backup has is not all there is: it gets everything with the next entry.
    pub(super) fn lose_backup(&mut self) {
        if let Some(backup) = &mut self.backup {
            backup.in_sync = false;
        }
    }

    /// Sends the backup everything, unless there is nothing yet.
    pub(super) fn send_snapshot(&mut self, out: &mut Vec<Effect>) {
        let Some(backup) = &mut self.backup else {
            return;
        };
        backup.in_sync = self.stream.log_position().entry > 0;
        if backup.in_sync {
            let (to, message) = (backup.node, snapshot(&self.stream, false));
            out.push(Effect::Send { to, message });
        }
    }

    /// `serving`: this node is known to be counted in.
    pub(super) fn wake(
        &mut self,
        local: &mut LocalNode,
        serving: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let due = |at: Option<u64>| at.is_some_and(|at| now.mono_ms >= at);
        if let Some(backup) = &mut self.backup
            && due(backup.retry_ms)
        {
            // Alone only as long as it is known to be home.
            backup.answers |= !serving;
        }
        let first = self.pending_ack.front_mut();
        let silent = |one: &Unacknowledged| now.mono_ms >= one.since_ms + self.backup_timeout_ms;
        if let Some(first) = first.filter(|one| silent(one)) {
            if serving {
                let acknowledged = first.before.entry;
                self.go_on_alone(acknowledged, local.next_id(), now, out);
            } else {
                // It may be this node that was away: the backup may be home by now, and will say so.
                first.since_ms = now.mono_ms;
            }
        }
        if let Some(backup) = &mut self.backup
            && due(backup.retry_ms)
        {
            backup.retry_ms = Some(now.mono_ms + BACKUP_RETRY_INTERVAL_MS);
            self.send_snapshot(out);
        }
        if due(self.count_due) {
            self.count_due = None;
            self.tell_count(local.subscribers(), now, out);
        }
    }

    fn tell_count(&mut self, local: u64, now: Now, out: &mut Vec<Effect>) {
        self.count_due = None;
        let count = self.occupancy(local).subscribers;
        self.enqueue(Effect::Deliver(Broadcast::Count(count)), out);
        self.tell(LifecycleKind::Counted(count), now, out);
        self.send_all(PeerMessage::Count(count), out);
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
        if self.occupancy(local).subscribers <= MAX_IMMEDIATE_COUNT {
            self.tell_count(local, now, out);
        } else if self.count_due.is_none() {
            self.count_due = Some(now.mono_ms + COUNT_INTERVAL_MS);
        }
    }

    /// The number of subscriptions is told once the nodes have announced themselves: that it is another than before the
    /// takeover, nothing else may say.
    pub(super) fn count_later(&mut self, now: Now) {
        self.count_due = Some(now.mono_ms + COUNT_INTERVAL_MS);
    }

    /// Removes the members and the interest of nodes that are not there any more.
    pub(super) fn remove_dead_nodes(
        &mut self,
        there: impl Fn(NodeId) -> bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.interest.retain(|node, _| there(*node));
        let dead = |member: &Member| !there(member.node);
        let left = self.stream.leave_all(dead, PresenceAction::Timeout, now);
        self.commit_all(left, now, out);
    }

    /// Asks those of the nodes that have members or subscribers here to announce themselves.
    pub(super) fn ask_to_announce(&mut self, of: impl Fn(NodeId) -> bool, out: &mut Vec<Effect>) {
        for to in self.known().into_iter().filter(|node| of(*node)) {
            self.send(to, PeerMessage::AnnounceRequest, out);
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
            let message = match known.contains(&to) {
                true => PeerMessage::AnnounceRequest,
                false => PeerMessage::AnnounceIfPresent,
            };
            self.send(to, message, out);
        }
    }

    /// What each other node has here, as one number, in order.
    pub(super) fn heard_interest(&self, own: NodeId, into: &mut Vec<(NodeId, u64)>) {
        let sums = self.stream.presence.sums();
        let sum = |node: &NodeId| sums.get(node).copied().unwrap_or(0);
        let subscribed = self.interest.iter();
        into.extend(subscribed.map(|(node, count)| (*node, interest(*count, sum(node)))));
        let only_members = sums
            .iter()
            .filter(|(node, _)| **node != own && !self.interest.contains_key(node));
        into.extend(only_members.map(|(node, sum)| (*node, interest(0, *sum))));
        into.sort_unstable();
    }

    /// The backup, if it has no copy yet of what there is to copy.
    pub(super) fn uncopied_at(&self) -> Option<NodeId> {
        let backup = self.backup.as_ref()?;
        let copied = backup.has_copy || self.stream.log_position().entry == 0;
        (!copied).then_some(backup.node)
    }

    /// The nodes with members or subscribers, as far as is known.
    fn known(&self) -> BTreeSet<NodeId> {
        let members = self.stream.presence.members().map(|member| member.node);
        self.interest.keys().copied().chain(members).collect()
    }

    /// The link to the backup is new: what was under way is lost.
    pub(super) fn relink(&mut self, out: &mut Vec<Effect>) {
        if let Some(backup) = &mut self.backup {
            backup.has_copy = false;
        }
        self.send_snapshot(out);
    }
}

/// What is said though the backup has not acknowledged what it rests on: a refusal promises nothing, and who was taken
/// out must not be announced to the next home. Of the lifecycle nothing: the next home decides it anew.
fn holds_without_backup(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Respond {
            response: Err(_),
            ..
        } | Effect::Send {
            message: PeerMessage::TakenOut { .. },
            ..
        }
    )
}

fn snapshot(stream: &Stream, handover: bool) -> PeerMessage {
    PeerMessage::Copy {
        snapshot: Box::new(stream.snapshot()),
        lifecycle: stream.lifecycle.clone(),
        handover,
    }
}

/// The handover of a former home.
pub(super) fn handover(stream: &Stream) -> PeerMessage {
    snapshot(stream, true)
}
