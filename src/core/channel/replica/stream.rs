//! A channel's stream: everything its home knows that its backup has a copy of. Stamps, orders, remembers.
//!
//! **Why broadcasts are numbered apart from positions:** presence changes are broadcast too but are no
//! publications; `entry` counts every broadcast, so that a node can say exactly what it has seen and get the
//! rest after a broken link or a lost home, once and in order.

use super::history::{Bounds, History, HistorySnapshot, TICKS_PER_MS};
use super::journal::{Journal, JournalSnapshot, stamp};
use super::lifecycle_log::{Decision, LifecycleLog, Unsettled};
use super::presence::{Announced, Change, Contested, EntryKey, Presence};
use super::presence_log::PresenceLog;
use super::renewal::Renewal;
use crate::core::clock::Now;
use crate::core::ids::{NodeId, Position, Timetoken};
use crate::core::lifecycle::EventId;
use crate::core::message::{
    Broadcast, Draft, Member, PresenceAction, PresenceChange, Publication, Receipt,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

mod lineage;

pub use super::journal::{Entry, EntryKind, LogPosition};

/// Most epochs that a stream remembers to go on from.
const MAX_CUTS: usize = 16;

/// What a home orders: history, presence and the log of both.
#[derive(Clone, Debug)]
pub struct Stream {
    epoch: u64,
    /// The epochs that this one goes on from, oldest first, each with the last entry that was taken over.
    cuts: Vec<LogPosition>,
    seq: u64,
    timetoken: Timetoken,
    entry: u64,
    /// What was published, as far as it is kept.
    pub history: History,
    /// The presence set of the channel.
    pub presence: Presence,
    /// Who came and went.
    pub presence_log: PresenceLog,
    /// What has been told of the lifecycle; none as long as nobody listens.
    pub lifecycle: Option<LifecycleLog>,
    /// What the world is to be told once the backup has the entry, oldest first.
    untold: VecDeque<Unsettled>,
    journal: Journal,
}

/// A stream as it travels to another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSnapshot {
    epoch: u64,
    cuts: Vec<LogPosition>,
    seq: u64,
    timetoken: Timetoken,
    entry: u64,
    history: HistorySnapshot,
    members: Vec<Member>,
    journal: Vec<JournalSnapshot>,
    presence_log: PresenceLog,
}

impl Stream {
    /// An empty stream. `epoch` must be new: random, or unique otherwise.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            cuts: Vec::new(),
            seq: 0,
            timetoken: 0,
            entry: 0,
            history: History::default(),
            presence: Presence::default(),
            presence_log: PresenceLog::default(),
            lifecycle: None,
            untold: VecDeque::new(),
            journal: Journal::default(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            seq: self.seq,
        }
    }

    /// The last broadcast.
    #[must_use]
    pub fn log_position(&self) -> LogPosition {
        LogPosition {
            epoch: self.epoch,
            entry: self.entry,
        }
    }

    /// A stamp later than every stamp before it.
    pub fn stamp(&mut self, now: Now) -> Timetoken {
        self.timetoken = (now.cluster_ms * TICKS_PER_MS).max(self.timetoken + 1);
        self.timetoken
    }

    /// Publishes, unless the id is known; then the old receipt comes back and nothing is to be sent.
    pub fn publish(
        &mut self,
        draft: Box<Draft>,
        bounds: Bounds,
        now: Now,
    ) -> (Receipt, Option<Entry>) {
        self.history.trim(bounds, now);
        self.journal.trim(bounds, now);
        if let Some(receipt) = draft.id.as_ref().and_then(|id| self.history.known(id)) {
            return (receipt, None);
        }
        let timetoken = self.stamp(now);
        self.seq += 1;
        let publication = Arc::new(Publication {
            draft,
            position: self.position(),
            timetoken,
        });
        self.history.push(&publication, bounds, now);
        let receipt = Receipt {
            position: publication.position,
            timetoken,
            duplicate: false,
        };
        let entry = self.log(EntryKind::Message(publication));
        (receipt, Some(entry))
    }

    /// Publishes all of these in order; those whose id is known get their old receipts and are not sent again.
    pub fn publish_batch(
        &mut self,
        drafts: Vec<Draft>,
        bounds: Bounds,
        now: Now,
    ) -> (Vec<Receipt>, Vec<Entry>) {
        let mut entries = Vec::with_capacity(drafts.len());
        let one = |draft| {
            let (receipt, entry) = self.publish(Box::new(draft), bounds, now);
            entries.extend(entry);
            receipt
        };
        let receipts = drafts.into_iter().map(one).collect();
        (receipts, entries)
    }

    /// Enters or updates a member.
    pub fn enter(&mut self, mut member: Member, now: Now) -> Entry {
        member.since = self.stamp(now);
        let change = self.presence.enter(member);
        self.log_change(change, now)
    }

    /// Removes an entry.
    pub fn leave(&mut self, key: &EntryKey, action: PresenceAction, now: Now) -> Option<Entry> {
        let change = self.presence.leave(key, action)?;
        Some(self.log_change(change, now))
    }

    /// Removes every entry for which `of` holds.
    pub fn leave_all(
        &mut self,
        of: impl Fn(&Member) -> bool,
        action: PresenceAction,
        now: Now,
    ) -> Vec<Entry> {
        let keys = self.presence.keys(of);
        let left = keys.iter().filter_map(|key| self.leave(key, action, now));
        left.collect()
    }

    /// Makes a node's entries what it announces, as far as they are no other node's.
    pub fn reconcile(
        &mut self,
        node: NodeId,
        set: Vec<Announced>,
        now: Now,
    ) -> (Vec<Entry>, Vec<Contested>) {
        let at = self.stamp(now);
        let (changes, contested) = self.presence.reconcile(node, set, at);
        let entries = changes.into_iter().map(|one| self.log_change(one, now));
        (entries.collect(), contested)
    }

    fn log_change(&mut self, change: Change, now: Now) -> Entry {
        let timetoken = self.stamp(now);
        let position = self.position();
        let change = Arc::new(PresenceChange {
            action: change.action,
            member: change.member,
            client_transition: change.client_transition,
            clients: change.clients,
            position,
            timetoken,
        });
        self.presence_log.push(&change);
        self.log(EntryKind::Presence(change))
    }

    /// Logs something that was decided about the lifecycle.
    pub fn decide(&mut self, decision: Decision, now: Now) -> Entry {
        let at = self.stamp(now);
        self.log(EntryKind::Lifecycle { at, decision })
    }

    /// Names an event that no entry stands for.
    pub fn event_id(&mut self, now: Now) -> EventId {
        let (at, epoch) = (self.stamp(now), self.epoch);
        EventId { at, epoch }
    }

    fn log(&mut self, kind: EntryKind) -> Entry {
        self.entry += 1;
        let entry = Entry {
            number: self.entry,
            kind,
        };
        let news = self.follow_lifecycle(&entry.kind);
        self.untold.extend(news);
        self.journal.push(entry.clone());
        entry
    }

    /// What the world is to be told of an entry. The same at the home and at its backup.
    fn follow_lifecycle(&mut self, kind: &EntryKind) -> Option<Unsettled> {
        let epoch = self.epoch;
        let id = |at| EventId { at, epoch };
        let log = self.lifecycle.as_mut()?;
        match kind {
            EntryKind::Message(one) => log.on_publication(id(one.timetoken), one),
            EntryKind::Presence(change) => log.on_presence(id(change.timetoken), change),
            EntryKind::Count(_) => None,
            EntryKind::Lifecycle { at, decision } => Some(log.on_decision(id(*at), decision)),
        }
    }

    /// What the world is to be told of the entries up to this one.
    pub fn take_untold(&mut self, entry: &Entry) -> Vec<Unsettled> {
        let until = stamp(entry);
        let mut all = Vec::new();
        while let Some(one) = self.untold.pop_front_if(|one| one.id.at <= until) {
            all.push(one);
        }
        all
    }

    /// Whether nothing was logged but what was told of the lifecycle.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        let told = |one: &Entry| matches!(one.kind, EntryKind::Lifecycle { .. });
        self.entry == self.journal.len() as u64 && self.journal.all(told)
    }

    /// Repeats on a copy what the home logged. False when an entry is missing in between, or when there is another one in
    /// its place.
    pub fn repeat(&mut self, epoch: u64, entry: Entry, bounds: Bounds, now: Now) -> bool {
        if epoch != self.epoch || entry.number != self.entry + 1 {
            return epoch == self.epoch && self.journal.has(&entry);
        }
        match &entry.kind {
            EntryKind::Message(publication) => {
                self.seq = publication.position.seq;
                self.timetoken = self.timetoken.max(publication.timetoken);
                self.history.push(publication, bounds, now);
                self.journal.trim(bounds, now);
            }
            EntryKind::Presence(change) => {
                self.timetoken = self.timetoken.max(change.timetoken);
                self.presence.replay(change.action, &change.member);
                self.presence_log.push(change);
            }
            EntryKind::Count(_) => {}
            EntryKind::Lifecycle { at, .. } => self.timetoken = self.timetoken.max(*at),
        }
        self.follow_lifecycle(&entry.kind);
        self.entry = entry.number;
        self.journal.push(entry);
        true
    }

    /// What a node that has seen so much still needs. `None` when some of it is not to be had any more, or when nobody
    /// can know: it is at a place of a stream that this one does not go on from. Also at the beginning of one: what
    /// stands here may have been said long before that began, unless nothing was said here that anybody is shown.
    #[must_use]
    pub fn missed(&self, seen: LogPosition) -> Option<Vec<Entry>> {
        let from = match self.knows(seen.epoch) {
            true => {
                let later = self.cuts.iter().skip_while(|one| one.epoch != seen.epoch);
                later.fold(seen.entry, |entry, cut| entry.min(cut.entry))
            }
            false => return (seen.entry == 0 && self.is_unused()).then(Vec::new),
        };
        let first = self.journal.first().unwrap_or(self.entry + 1);
        let later = self.journal.behind(from);
        (first <= from + 1).then(|| later.cloned().collect())
    }

    /// The newest of what was broadcast since then, so many at most, oldest first.
    pub fn recent(&self, most: u64, since: Timetoken) -> impl Iterator<Item = Broadcast> {
        let newest = self.journal.behind(self.entry.saturating_sub(most));
        let later = newest.filter(move |one| stamp(one) >= since);
        later.filter_map(|one| one.kind.shown())
    }

    /// Begins a new epoch: somebody has seen more of the old one than this copy holds.
    pub fn start_new_epoch(&mut self, epoch: u64) {
        self.cut_at(self.entry, epoch);
    }

    fn cut_at(&mut self, entry: u64, epoch: u64) {
        self.cuts.push(LogPosition {
            epoch: self.epoch,
            entry,
        });
        if self.cuts.len() > MAX_CUTS {
            self.cuts.remove(0);
        }
        self.epoch = epoch;
    }

    /// Begins an epoch that goes on from no other: what somebody may have seen, or been told was published, is not here.
    pub fn break_off(&mut self, epoch: u64) {
        self.cuts.clear();
        self.epoch = epoch;
    }

    /// Breaks off behind that entry. What stands behind it here was decided again elsewhere.
    pub fn fork(&mut self, entry: u64, epoch: u64) {
        while let Some(last) = self.journal.pop_behind(entry) {
            self.take_back(&last.kind);
        }
        self.entry = self.entry.min(entry);
        self.untold.clear();
        self.break_off(epoch);
    }

    fn take_back(&mut self, kind: &EntryKind) {
        match kind {
            EntryKind::Message(publication) => {
                self.history.take_back(publication);
                self.seq = self.seq.min(publication.position.seq.saturating_sub(1));
            }
            EntryKind::Presence(change) => {
                let member = &change.member;
                match change.action {
                    PresenceAction::Enter => {
                        let key = (member.connection, member.client.clone());
                        self.presence.leave(&key, PresenceAction::Leave);
                    }
                    PresenceAction::Leave | PresenceAction::Timeout => {
                        self.presence.enter(member.clone());
                    }
                    // What it said before is not known here; its node announces it.
                    PresenceAction::Update => {}
                }
            }
            EntryKind::Count(_) | EntryKind::Lifecycle { .. } => {}
        }
        let epoch = self.epoch;
        let id = |at| EventId { at, epoch };
        let Some(log) = &mut self.lifecycle else {
            return;
        };
        match kind {
            EntryKind::Message(one) => log.take_back(id(one.timetoken)),
            EntryKind::Presence(change) => log.take_back_presence(id(change.timetoken), change),
            EntryKind::Count(_) => {}
            EntryKind::Lifecycle { at, decision } => log.take_back_decision(id(*at), decision),
        }
    }

    /// Gives everything behind that entry a new epoch: it is shown though no other copy has it.
    pub(super) fn renew(&mut self, entry: u64, epoch: u64) -> Renewal {
        let later = self.journal.behind(entry);
        let seqs = later.filter_map(|one| match &one.kind {
            EntryKind::Message(publication) => Some(publication.position.seq - 1),
            EntryKind::Presence(_) | EntryKind::Count(_) | EntryKind::Lifecycle { .. } => None,
        });
        let renewal = Renewal {
            former: self.epoch,
            entry,
            seq: seqs.min().unwrap_or(self.seq),
            epoch,
        };
        self.journal.renew(&renewal);
        self.history.renew(&renewal);
        self.cut_at(entry, epoch);
        renewal
    }

    /// Lets go of what is too old.
    pub fn trim(&mut self, bounds: Bounds, now: Now) {
        self.history.trim(bounds, now);
        self.presence_log.trim(bounds.age_ms, now);
        self.journal.trim(bounds, now);
        if self.is_empty() {
            self.journal = Journal::default();
        }
    }

    /// Whether forgetting the stream would lose nothing that anyone could still ask for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let lifecycle = self.lifecycle.as_ref().is_none_or(LifecycleLog::is_empty);
        self.history.is_empty()
            && self.presence.is_empty()
            && self.presence_log.is_empty()
            && lifecycle
    }

    /// For another node.
    #[must_use]
    pub fn snapshot(&self) -> StreamSnapshot {
        let history = self.history.snapshot();
        StreamSnapshot {
            epoch: self.epoch,
            cuts: self.cuts.clone(),
            seq: self.seq,
            timetoken: self.timetoken,
            entry: self.entry,
            journal: self.journal.pack(history.publications()),
            history,
            members: self.presence.members().cloned().collect(),
            presence_log: self.presence_log.clone(),
        }
    }

    /// From another node.
    #[must_use]
    pub fn restore(snapshot: StreamSnapshot) -> Self {
        let journal = Journal::unpack(snapshot.journal, snapshot.history.publications());
        Self {
            epoch: snapshot.epoch,
            cuts: snapshot.cuts,
            seq: snapshot.seq,
            timetoken: snapshot.timetoken,
            entry: snapshot.entry,
            history: History::restore(snapshot.history),
            presence: Presence::restore(snapshot.members),
            journal,
            presence_log: snapshot.presence_log,
            lifecycle: None,
            untold: VecDeque::new(),
        }
    }
}
