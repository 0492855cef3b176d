//! A channel's stream: everything its home knows that its backup has a copy of. Stamps, orders, remembers.
//!
//! **Why broadcasts are numbered apart from positions:** presence changes are broadcast too but are no
//! publications; `entry` counts every broadcast, so that a node can say exactly what it has seen and get the
//! rest after a broken link or a lost home, once and in order.

use super::history::{Bounds, History, HistorySnapshot, OVERHEAD, TICKS_PER_MS};
use super::presence::{Announced, Change, EntryKey, Presence};
use super::presence_log::PresenceLog;
use crate::core::clock::Now;
use crate::core::ids::{NodeId, Position, Timetoken};
use crate::core::message::{
    Broadcast, Draft, Member, PresenceAction, PresenceChange, Publication, Receipt,
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Most broadcasts kept for nodes that missed some, whatever the bounds of the history: changes of presence come in
/// between, which have none.
const JOURNAL_ENTRIES: usize = 65_536;

/// One numbered broadcast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1, without gaps within an epoch.
    pub number: u64,
    /// What is broadcast by it.
    pub broadcast: Broadcast,
}

/// How far a node has received a channel's broadcasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Of which stream.
    pub epoch: u64,
    /// The last entry.
    pub entry: u64,
}

/// What a home orders: history, presence and the log of both.
#[derive(Clone, Debug)]
pub struct Stream {
    epoch: u64,
    /// The epoch this one was cut off from, and the entry at the cut.
    cut: Option<LogPosition>,
    seq: u64,
    timetoken: Timetoken,
    entry: u64,
    /// What was published, as far as it is kept.
    pub history: History,
    /// The presence set of the channel.
    pub presence: Presence,
    /// Who came and went.
    pub presence_log: PresenceLog,
    journal: VecDeque<Entry>,
    journal_bytes: usize,
}

/// A stream as it travels to another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSnapshot {
    epoch: u64,
    cut: Option<LogPosition>,
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
            cut: None,
            seq: 0,
            timetoken: 0,
            entry: 0,
            history: History::default(),
            presence: Presence::default(),
            presence_log: PresenceLog::default(),
            journal: VecDeque::new(),
            journal_bytes: 0,
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
        self.trim_journal(bounds, now);
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
        let entry = self.log(Broadcast::Message(publication));
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

    /// Makes a node's entries what it announces.
    pub fn reconcile(&mut self, node: NodeId, set: Vec<Announced>, now: Now) -> Vec<Entry> {
        let at = self.stamp(now);
        let changes = self.presence.reconcile(node, set, at);
        let entries = changes.into_iter().map(|one| self.log_change(one, now));
        entries.collect()
    }

    fn log_change(&mut self, change: Change, now: Now) -> Entry {
        let timetoken = self.stamp(now);
        let position = self.position();
        let change = Arc::new(PresenceChange {
            action: change.action,
            member: change.member,
            edge: change.edge,
            clients: change.clients,
            position,
            timetoken,
        });
        self.presence_log.push(&change);
        self.log(Broadcast::Presence(change))
    }

    fn log(&mut self, broadcast: Broadcast) -> Entry {
        self.entry += 1;
        let entry = Entry {
            number: self.entry,
            broadcast,
        };
        self.keep(entry.clone());
        entry
    }

    fn keep(&mut self, entry: Entry) {
        self.journal_bytes += weight(&entry.broadcast);
        self.journal.push_back(entry);
        if self.journal.len() > JOURNAL_ENTRIES {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(gone) = self.journal.pop_front() {
            self.journal_bytes = self.journal_bytes.saturating_sub(weight(&gone.broadcast));
        }
    }

    /// The journal reaches as far back as the history may: what can still be had is not said to be lost.
    fn trim_journal(&mut self, bounds: Bounds, now: Now) {
        let oldest = now.cluster_ms.saturating_sub(bounds.age_ms) * TICKS_PER_MS;
        while self.journal_bytes > bounds.bytes
            || self.journal.front().is_some_and(|one| stamp(one) < oldest)
        {
            if self.journal.is_empty() {
                break;
            }
            self.forget_first();
        }
    }

    /// Repeats on a copy what the home logged. False when an entry is missing in between.
    pub fn repeat(&mut self, epoch: u64, entry: Entry, bounds: Bounds, now: Now) -> bool {
        if epoch != self.epoch || entry.number != self.entry + 1 {
            return epoch == self.epoch && entry.number <= self.entry;
        }
        match &entry.broadcast {
            Broadcast::Message(publication) => {
                self.seq = publication.position.seq;
                self.timetoken = self.timetoken.max(publication.timetoken);
                self.history.push(publication, bounds, now);
                self.trim_journal(bounds, now);
            }
            Broadcast::Presence(change) => {
                self.timetoken = self.timetoken.max(change.timetoken);
                self.presence.replay(change.action, &change.member);
                self.presence_log.push(change);
            }
            Broadcast::Count(_) => {}
        }
        self.entry = entry.number;
        self.keep(entry);
        true
    }

    /// What a node that has seen so much still needs. `None` when some of it is not to be had any more, or when nobody
    /// can know: it has seen entries of a stream that this one does not go on from.
    #[must_use]
    pub fn missed(&self, seen: LogPosition) -> Option<Vec<Entry>> {
        let from = match self.cut {
            Some(_) | None if seen.epoch == self.epoch => seen.entry,
            Some(cut) if cut.epoch == seen.epoch => seen.entry.min(cut.entry),
            Some(_) | None if seen.entry > 0 => return None,
            Some(cut) => cut.entry,
            None => 0,
        };
        let first = self
            .journal
            .front()
            .map_or(self.entry + 1, |one| one.number);
        let later = self.journal.iter().filter(|one| one.number > from);
        (first <= from + 1).then(|| later.cloned().collect())
    }

    /// Begins a new epoch: somebody has seen more of the old one than this copy holds.
    pub fn start_new_epoch(&mut self, epoch: u64) {
        self.cut = Some(self.log_position());
        self.epoch = epoch;
    }

    /// Lets go of what is too old.
    pub fn trim(&mut self, bounds: Bounds, now: Now) {
        self.history.trim(bounds, now);
        self.presence_log.trim(bounds.age_ms, now);
        self.trim_journal(bounds, now);
        if self.is_empty() {
            self.journal.clear();
            self.journal_bytes = 0;
        }
    }

    /// Whether forgetting the stream would lose nothing that anyone could still ask for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.history.is_empty() && self.presence.is_empty() && self.presence_log.is_empty()
    }

    /// For another node.
    #[must_use]
    pub fn snapshot(&self) -> StreamSnapshot {
        let history = self.history.snapshot();
        StreamSnapshot {
            epoch: self.epoch,
            cut: self.cut,
            seq: self.seq,
            timetoken: self.timetoken,
            entry: self.entry,
            journal: pack(&self.journal, history.publications()),
            history,
            members: self.presence.members().cloned().collect(),
            presence_log: self.presence_log.clone(),
        }
    }

    /// From another node.
    #[must_use]
    pub fn restore(snapshot: StreamSnapshot) -> Self {
        let journal = unpack(snapshot.journal, snapshot.history.publications());
        Self {
            epoch: snapshot.epoch,
            cut: snapshot.cut,
            seq: snapshot.seq,
            timetoken: snapshot.timetoken,
            entry: snapshot.entry,
            history: History::restore(snapshot.history),
            presence: Presence::restore(snapshot.members),
            journal_bytes: journal.iter().map(|one| weight(&one.broadcast)).sum(),
            journal,
            presence_log: snapshot.presence_log,
        }
    }
}

/// As the history weighs it: its payload is the history's, as long as that has it.
fn weight(broadcast: &Broadcast) -> usize {
    match broadcast {
        Broadcast::Message(publication) => publication.draft.data.len() + OVERHEAD,
        Broadcast::Presence(change) => change.member.data.len() + OVERHEAD,
        Broadcast::Count(_) => OVERHEAD,
    }
}

fn stamp(entry: &Entry) -> Timetoken {
    match &entry.broadcast {
        Broadcast::Message(publication) => publication.timetoken,
        Broadcast::Presence(change) => change.timetoken,
        Broadcast::Count(_) => 0,
    }
}

/// An entry of the journal as it travels. What the history holds goes once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum JournalSnapshot {
    /// The publication at that place of the history.
    Stored { number: u64, at: u32 },
    /// Any other entry, as it is.
    Whole(Entry),
}

fn pack(journal: &VecDeque<Entry>, ring: &[Arc<Publication>]) -> Vec<JournalSnapshot> {
    let places: HashMap<Position, u32> = ring.iter().map(|one| one.position).zip(0..).collect();
    let place = |entry: &Entry| match &entry.broadcast {
        Broadcast::Message(publication) => places.get(&publication.position).copied(),
        Broadcast::Presence(_) | Broadcast::Count(_) => None,
    };
    let one = |entry: &Entry| match place(entry) {
        Some(at) => JournalSnapshot::Stored {
            number: entry.number,
            at,
        },
        None => JournalSnapshot::Whole(entry.clone()),
    };
    journal.iter().map(one).collect()
}

fn unpack(journal: Vec<JournalSnapshot>, ring: &[Arc<Publication>]) -> VecDeque<Entry> {
    let one = |snapshot: JournalSnapshot| match snapshot {
        JournalSnapshot::Whole(entry) => Some(entry),
        JournalSnapshot::Stored { number, at } => {
            let publication = ring.get(at as usize)?.clone();
            let broadcast = Broadcast::Message(publication);
            Some(Entry { number, broadcast })
        }
    };
    journal.into_iter().filter_map(one).collect()
}
