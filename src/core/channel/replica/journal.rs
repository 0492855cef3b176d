//! The broadcasts of a stream that nodes may have missed, by number, as far back as the history may reach.
//!
//! **Why apart from the history:** a change of presence is broadcast and is no publication; and what the history has
//! erased was seen by those who were there.

use super::history::{Bounds, OVERHEAD, TICKS_PER_MS};
use super::lifecycle_log::Decision;
use super::renewal::Renewal;
use crate::core::clock::Now;
use crate::core::ids::{Position, Timetoken};
use crate::core::message::{Broadcast, PresenceChange, Publication};
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
    /// What it records.
    pub kind: EntryKind,
}

/// What is logged: broadcasts, and what the world is told of the lifecycle, which subscribers are not shown. The first
/// three are on the wire as a [`Broadcast`] is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EntryKind {
    /// Somebody published a message.
    Message(Arc<Publication>),
    /// A presence change.
    Presence(Arc<PresenceChange>),
    /// The number of subscriptions.
    Count(u64),
    /// Something was decided about the lifecycle.
    Lifecycle {
        /// When it was decided.
        at: Timetoken,
        /// What is told by it.
        decision: Decision,
    },
}

impl EntryKind {
    /// What subscribers are shown of it.
    #[must_use]
    pub fn shown(&self) -> Option<Broadcast> {
        match self {
            Self::Message(publication) => Some(Broadcast::Message(publication.clone())),
            Self::Presence(change) => Some(Broadcast::Presence(change.clone())),
            Self::Count(count) => Some(Broadcast::Count(*count)),
            Self::Lifecycle { .. } => None,
        }
    }

    /// The epoch in which it was decided, of what subscribers are shown with a place.
    pub(super) fn epoch(&self) -> Option<u64> {
        match self {
            Self::Message(publication) => Some(publication.position.epoch),
            Self::Presence(change) => Some(change.position.epoch),
            Self::Count(_) | Self::Lifecycle { .. } => None,
        }
    }

    /// Stands behind the cut, and belongs to a new epoch. Events keep their names: they were given before.
    pub(super) fn renew(&mut self, renewal: &Renewal) {
        match self {
            Self::Message(publication) => renewal.publication(publication),
            Self::Presence(change) => renewal.change(change),
            Self::Count(_) | Self::Lifecycle { .. } => {}
        }
    }
}

/// How far a node has received a channel's broadcasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Of which stream.
    pub epoch: u64,
    /// The last entry.
    pub entry: u64,
}

/// The broadcasts, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Journal {
    /// Keeps the next.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += weight(&entry.kind);
        self.entries.push_back(entry);
        if self.entries.len() > JOURNAL_ENTRIES {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(gone) = self.entries.pop_front() {
            self.bytes = self.bytes.saturating_sub(weight(&gone.kind));
        }
    }

    /// It reaches as far back as the history may: what can still be had is not said to be lost.
    pub(super) fn trim(&mut self, bounds: Bounds, now: Now) {
        let oldest = now.cluster_ms.saturating_sub(bounds.age_ms) * TICKS_PER_MS;
        while self.bytes > bounds.bytes
            || self.entries.front().is_some_and(|one| stamp(one) < oldest)
        {
            if self.entries.is_empty() {
                break;
            }
            self.forget_first();
        }
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether all that is kept is so.
    pub(super) fn all(&self, is_so: impl FnMut(&Entry) -> bool) -> bool {
        self.entries.iter().all(is_so)
    }

    /// The number of the oldest.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|one| one.number)
    }

    /// Those behind that number.
    pub(super) fn behind(&self, number: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |one| one.number > number)
    }

    /// Takes the last one out, if it is behind that number.
    pub(super) fn pop_behind(&mut self, number: u64) -> Option<Entry> {
        let last = self.entries.pop_back_if(|one| one.number > number)?;
        self.bytes = self.bytes.saturating_sub(weight(&last.kind));
        Some(last)
    }

    /// Whether that very entry is here, and not only one of its number.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        self.stamp_of(entry.number) == Some(stamp(entry))
    }

    /// The stamp of the entry of that number.
    pub(super) fn stamp_of(&self, number: u64) -> Option<Timetoken> {
        let at = usize::try_from(number.checked_sub(self.first()?)?).ok()?;
        self.entries.get(at).map(stamp)
    }

    /// What stands behind the cut belongs to a new epoch.
    pub(super) fn renew(&mut self, renewal: &Renewal) {
        let later = self.entries.iter_mut();
        later
            .filter(|one| one.number > renewal.entry)
            .for_each(|one| one.kind.renew(renewal));
    }

    /// For another node, which gets these publications beside it.
    pub(super) fn pack(&self, ring: &[Arc<Publication>]) -> Vec<JournalSnapshot> {
        pack(&self.entries, ring)
    }

    /// From another node.
    pub(super) fn unpack(journal: Vec<JournalSnapshot>, ring: &[Arc<Publication>]) -> Self {
        let entries = unpack(journal, ring);
        Self {
            bytes: entries.iter().map(|one| weight(&one.kind)).sum(),
            entries,
        }
    }
}

/// As the history weighs it: its payload is the history's, as long as that has it.
fn weight(kind: &EntryKind) -> usize {
    match kind {
        EntryKind::Message(publication) => publication.draft.data.len() + OVERHEAD,
        EntryKind::Presence(change) => change.member.data.len() + OVERHEAD,
        EntryKind::Count(_) | EntryKind::Lifecycle { .. } => OVERHEAD,
    }
}

/// When an entry was stamped; a count is not.
pub(super) fn stamp(entry: &Entry) -> Timetoken {
    match &entry.kind {
        EntryKind::Message(publication) => publication.timetoken,
        EntryKind::Presence(change) => change.timetoken,
        EntryKind::Lifecycle { at, .. } => *at,
        EntryKind::Count(_) => 0,
    }
}

/// An entry of the journal as it travels. What the history holds goes once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum JournalSnapshot {
    /// The publication at that place of the history.
    Stored { number: u64, at: u32 },
    /// Any other entry, as it is.
    Whole(Entry),
}

fn pack(journal: &VecDeque<Entry>, ring: &[Arc<Publication>]) -> Vec<JournalSnapshot> {
    let places: HashMap<Position, u32> = ring.iter().map(|one| one.position).zip(0..).collect();
    let place = |entry: &Entry| match &entry.kind {
        EntryKind::Message(publication) => places.get(&publication.position).copied(),
        EntryKind::Presence(_) | EntryKind::Count(_) | EntryKind::Lifecycle { .. } => None,
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
            let kind = EntryKind::Message(publication);
            Some(Entry { number, kind })
        }
    };
    journal.into_iter().filter_map(one).collect()
}
