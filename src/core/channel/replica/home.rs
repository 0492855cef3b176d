//! What only a home keeps: the stream, interest by node, how far the backup is, and what waits for it.
//!
//! **Must never know:** how this node became home (`handover`), what is asked of it (`home_requests`).
//!
//! **Why one queue behind the backup and not a wait per publication:** effects leave in the order they were decided, so a
//! join behind an unreplicated publication gets its snapshot after that publication went out, and never twice.

use super::io::Effect;
use super::lifecycle_log::LifecycleLog;
use super::protocol::PeerMessage;
use super::stream::{Entry, LogPosition, Stream};
use crate::core::clock::Now;
use crate::core::ids::NodeId;
use crate::core::lifecycle::LifecycleKind;
use crate::core::message::{Broadcast, Member, Occupancy, PresenceAction};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long the home waits for its backup before it goes on alone, ms. In that time nothing of the channel is
/// delivered or acknowledged; after it, what is acknowledged rests on one node until the backup has caught up.
pub(super) const BACKUP_TIMEOUT_MS: u64 = 1_000;
/// How often a backup that lags is sent everything again, ms.
const BACKUP_RETRY_INTERVAL_MS: u64 = 2_000;
/// Above so many subscriptions their number is told at most every [`COUNT_INTERVAL_MS`].
const MAX_IMMEDIATE_COUNT: u64 = 100;
/// How often the number of subscriptions is told when there are more than [`MAX_IMMEDIATE_COUNT`], ms.
const COUNT_INTERVAL_MS: u64 = 5_000;

/// What is held back until the backup has acknowledged an entry.
#[derive(Debug)]
struct Unacknowledged {
    /// The number of that entry.
    entry: u64,
    since_ms: u64,
    effects: Vec<Effect>,
}

/// How far the backup is, as the home sees it.
#[derive(Debug)]
struct BackupProgress {
    node: NodeId,
    /// It was sent everything, and every entry since.
    in_sync: bool,
    /// It answers: what leaves waits for it.
    answers: bool,
    /// When to send everything again, mono ms.
    retry_ms: Option<u64>,
}

/// What only the home keeps.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) stream: Stream,
    pub(super) interest: BTreeMap<NodeId, u64>,
    backup: Option<BackupProgress>,
    /// What has been told of the channel's lifecycle.
    pub(super) lifecycle: LifecycleLog,
    /// Somebody listens to it.
    pub(super) watched: bool,
    /// What waits for the backup, in order.
    pending_ack: VecDeque<Unacknowledged>,
    count_due: Option<u64>,
}

impl Home {
    pub(super) fn new(stream: Stream, lifecycle: LifecycleLog, watched: bool) -> Self {
        Self {
            stream,
            interest: BTreeMap::new(),
            backup: None,
            lifecycle,
            watched,
            pending_ack: VecDeque::new(),
            count_due: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        let quiet =
            self.stream.is_empty() && self.interest.is_empty() && self.pending_ack.is_empty();
        quiet && self.lifecycle.idle()
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        let pending_ack = self
            .pending_ack
            .front()
            .map(|one| one.since_ms + BACKUP_TIMEOUT_MS);
        let retry = self.backup.as_ref().and_then(|backup| backup.retry_ms);
        let all = [pending_ack, retry, self.count_due, self.lifecycle.wake_at()];
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
        let epoch = self.stream.log_position().epoch;
        if let (Some(backup), Some(last)) = (&mut self.backup, entries.last()) {
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
        self.enqueue(Effect::Deliver(entry.broadcast.clone()), out);
        self.tell_of(&entry.broadcast, now, out);
        let nodes: Vec<NodeId> = self.interest.keys().copied().collect();
        for to in nodes {
            let entry = entry.clone();
            self.send(to, PeerMessage::Broadcast { epoch, entry }, out);
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
            out.extend(first.effects);
        }
    }

    pub(super) fn release_all(&mut self, out: &mut Vec<Effect>) {
        self.release(u64::MAX, out);
    }

    /// Names the backup; `None` when there is no second node.
    pub(super) fn set_backup(&mut self, node: Option<NodeId>, out: &mut Vec<Effect>) {
        if self.backup_node() == node {
            return;
        }
        self.backup = node.map(|node| BackupProgress {
            node,
            in_sync: false,
            answers: true,
            retry_ms: None,
        });
        match node {
            None => self.release_all(out),
            Some(_) => self.send_snapshot(out),
        }
        self.replicate_lifecycle(out);
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

    pub(super) fn wake(&mut self, subscribers: u64, now: Now, out: &mut Vec<Effect>) {
        let waited = |one: &Unacknowledged| now.mono_ms >= one.since_ms + BACKUP_TIMEOUT_MS;
        let due = |at: Option<u64>| at.is_some_and(|at| now.mono_ms >= at);
        if self.pending_ack.front().is_some_and(waited) {
            if let Some(backup) = &mut self.backup {
                backup.answers = false;
                backup.retry_ms = Some(now.mono_ms + BACKUP_RETRY_INTERVAL_MS);
            }
            self.release_all(out);
        }
        if let Some(backup) = &mut self.backup
            && due(backup.retry_ms)
        {
            backup.retry_ms = Some(now.mono_ms + BACKUP_RETRY_INTERVAL_MS);
            self.send_snapshot(out);
        }
        if due(self.count_due) {
            self.count_due = None;
            self.tell_count(subscribers, out);
        }
    }

    fn tell_count(&mut self, local: u64, out: &mut Vec<Effect>) {
        self.count_due = None;
        let count = self.occupancy(local).subscribers;
        self.enqueue(Effect::Deliver(Broadcast::Count(count)), out);
        self.tell(Some(LifecycleKind::Counted(count)), out);
        let nodes: Vec<NodeId> = self.interest.keys().copied().collect();
        for to in nodes {
            self.send(to, PeerMessage::Count(count), out);
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
        if self.occupancy(local).subscribers <= MAX_IMMEDIATE_COUNT {
            self.tell_count(local, out);
        } else if self.count_due.is_none() {
            self.count_due = Some(now.mono_ms + COUNT_INTERVAL_MS);
        }
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

    /// The nodes with members or subscribers, as far as is known.
    fn known(&self) -> BTreeSet<NodeId> {
        let members = self.stream.presence.members().map(|member| member.node);
        self.interest.keys().copied().chain(members).collect()
    }

    /// Begins a new epoch, and tells the backup.
    pub(super) fn start_new_epoch(&mut self, epoch: u64, out: &mut Vec<Effect>) {
        self.release_all(out);
        self.stream.start_new_epoch(epoch);
        self.send_snapshot(out);
    }

    /// The link to the backup is new: what was under way is lost.
    pub(super) fn relink(&mut self, out: &mut Vec<Effect>) {
        self.send_snapshot(out);
        self.replicate_lifecycle(out);
    }

    /// Tells the world, if it listens.
    pub(super) fn tell(
        &mut self,
        news: impl IntoIterator<Item = LifecycleKind>,
        out: &mut Vec<Effect>,
    ) {
        if self.watched {
            for kind in news {
                self.enqueue(Effect::Lifecycle(kind), out);
            }
        }
    }

    /// A node has had subscribers since before this one was home: that was told by the home before.
    pub(super) fn was_occupied(&mut self, out: &mut Vec<Effect>) {
        if self.lifecycle.was_occupied() {
            self.replicate_lifecycle(out);
        }
    }

    /// Tells whether the channel is occupied, and who left for good, once either has changed.
    pub(super) fn tell_occupancy(&mut self, local: u64, now: Now, out: &mut Vec<Effect>) {
        let subscribers = self.occupancy(local).subscribers;
        let mut news = self.lifecycle.left(now.mono_ms);
        news.extend(self.lifecycle.count(subscribers, now.mono_ms));
        if !news.is_empty() {
            self.replicate_lifecycle(out);
            self.tell(news, out);
        }
    }

    fn tell_of(&mut self, broadcast: &Broadcast, now: Now, out: &mut Vec<Effect>) {
        match broadcast {
            Broadcast::Message(publication) => {
                if self.watched && publication.draft.connection.is_some() {
                    let publication = publication.clone();
                    self.tell([LifecycleKind::Published(publication)], out);
                }
            }
            Broadcast::Presence(change) => {
                let news = self.lifecycle.change(change, now.mono_ms);
                if change.edge {
                    self.replicate_lifecycle(out);
                }
                self.tell(news, out);
            }
            Broadcast::Count(_) => {}
        }
    }

    /// Tells the backup what has been told, before the world hears it: should this node end in between, it is
    /// told late or not at all, but never twice.
    fn replicate_lifecycle(&mut self, out: &mut Vec<Effect>) {
        if let Some(backup) = &self.backup
            && self.watched
        {
            let (to, message) = (
                backup.node,
                PeerMessage::Lifecycle(self.lifecycle.snapshot()),
            );
            out.push(Effect::Send { to, message });
        }
    }
}

fn snapshot(stream: &Stream, handover: bool) -> PeerMessage {
    PeerMessage::Snapshot {
        snapshot: Box::new(stream.snapshot()),
        handover,
    }
}

/// The handover of a former home.
pub(super) fn handover(stream: &Stream) -> PeerMessage {
    snapshot(stream, true)
}
