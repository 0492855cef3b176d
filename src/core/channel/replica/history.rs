//! What a channel remembers: a ring of publications, the retained last value, and which message ids it has seen.
//!
//! **Why the ring is bounded by count, age and bytes at once:** any one of them alone lets a channel grow
//! without limit in one of the three ways.

use super::renewal::Renewal;
use crate::core::clock::Now;
use crate::core::ids::{Position, Text, Timetoken};
use crate::core::message::{Publication, Receipt};
use crate::core::session::{HistoryPage, Start};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Units of a timetoken in one millisecond.
pub const TICKS_PER_MS: u64 = 10_000;
/// How long a message id is remembered, ms.
pub const ID_MS: u64 = 120_000;
/// Most message ids remembered per channel; the oldest go first.
pub const MAX_IDS: usize = 8_192;

/// What a publication weighs beside what it carries.
pub const OVERHEAD: usize = 256;

/// Bounds of one channel's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most publications that are kept.
    pub messages: usize,
    /// Greatest age, ms.
    pub age_ms: u64,
    /// Most bytes, with [`OVERHEAD`] for each.
    pub bytes: usize,
}

/// The start of a subscription, worked out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    /// The publications, oldest first.
    pub publications: Vec<Arc<Publication>>,
    /// Nothing between the asked start and now is missing.
    pub continuous: bool,
}

/// A last value and the cluster time at which it stops counting, ms.
pub type Retained = (Arc<Publication>, u64);

/// The memory itself.
#[derive(Clone, Debug, Default)]
pub struct History {
    ring: VecDeque<Arc<Publication>>,
    bytes: usize,
    /// The oldest's stamp: whether it is too old is asked at every publication, and it lies where nothing else is touched.
    oldest: Option<Timetoken>,
    /// The newest publication that fell out, if any did.
    dropped: Option<(Position, Timetoken)>,
    last: Option<Retained>,
    ids: HashMap<Text, Receipt>,
    id_order: VecDeque<(Text, u64)>,
}

/// A history as it travels to another node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistorySnapshot {
    ring: Vec<Arc<Publication>>,
    dropped: Option<(Position, Timetoken)>,
    last: Option<Retained>,
    ids: Vec<(Text, u64, Receipt)>,
}

impl HistorySnapshot {
    /// What it holds, oldest first.
    pub(super) fn publications(&self) -> &[Arc<Publication>] {
        &self.ring
    }
}

impl History {
    /// Keeps a publication, and its id for [`ID_MS`].
    pub fn push(&mut self, publication: &Arc<Publication>, bounds: Bounds, now: Now) {
        let draft = &publication.draft;
        if let Some(ms) = draft.retain_ms {
            self.last = Some((publication.clone(), now.cluster_ms.saturating_add(ms)));
        }
        if let Some(id) = &draft.id {
            let receipt = Receipt {
                position: publication.position,
                timetoken: publication.timetoken,
                duplicate: true,
            };
            self.remember(id.clone(), receipt, now.cluster_ms);
        }
        self.bytes += weight(publication);
        self.oldest.get_or_insert(publication.timetoken);
        self.ring.push_back(publication.clone());
        self.trim(bounds, now);
    }

    /// To be said after the ring's front has changed.
    fn note_oldest(&mut self) {
        self.oldest = self.ring.front().map(|first| first.timetoken);
    }

    fn remember(&mut self, id: Text, receipt: Receipt, at_ms: u64) {
        self.ids.insert(id.clone(), receipt);
        self.id_order.push_back((id, at_ms));
    }

    /// Lets go of what is too old or too much.
    pub fn trim(&mut self, bounds: Bounds, now: Now) {
        let oldest = now.cluster_ms.saturating_sub(bounds.age_ms) * TICKS_PER_MS;
        while let Some(stamp) = self.oldest {
            let keep =
                self.ring.len() <= bounds.messages && self.bytes <= bounds.bytes && stamp >= oldest;
            if keep {
                break;
            }
            if let Some(first) = self.ring.pop_front() {
                self.bytes = self.bytes.saturating_sub(weight(&first));
                self.dropped = Some((first.position, first.timetoken));
            }
            self.note_oldest();
        }
        if self
            .last
            .as_ref()
            .is_some_and(|(_, end)| *end <= now.cluster_ms)
        {
            self.last = None;
        }
        while let Some((id, at_ms)) = self.id_order.front() {
            let keep = self.id_order.len() <= MAX_IDS && at_ms + ID_MS > now.cluster_ms;
            if keep {
                break;
            }
            self.ids.remove(id);
            self.id_order.pop_front();
        }
    }

    /// What the ring weighs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The receipt of a message id seen within [`ID_MS`].
    #[must_use]
    pub fn known(&self, id: &Text) -> Option<Receipt> {
        self.ids.get(id).copied()
    }

    /// The retained last value.
    #[must_use]
    pub fn last(&self, now: Now) -> Option<Arc<Publication>> {
        let (publication, end) = self.last.as_ref()?;
        (*end > now.cluster_ms).then(|| publication.clone())
    }

    /// What a subscription beginning there gets first; `head` is the channel's present position.
    #[must_use]
    pub fn backlog(&self, start: Start, head: Position, now: Now) -> Backlog {
        match start {
            Start::Now => Backlog {
                publications: Vec::new(),
                continuous: true,
            },
            Start::Last => Backlog {
                publications: self.last(now).into_iter().collect(),
                continuous: true,
            },
            Start::Rewind { count } => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let mut publications: Vec<_> = self.stored().rev().take(count).cloned().collect();
                publications.reverse();
                Backlog {
                    publications,
                    continuous: true,
                }
            }
            Start::Since { ago_ms } => self.since(now.cluster_ms.saturating_sub(ago_ms)),
            Start::After(position) => self.after(position, head),
            Start::AfterTime(timetoken) => self.after_time(timetoken),
        }
    }

    fn since(&self, from_ms: u64) -> Backlog {
        let from = from_ms * TICKS_PER_MS;
        let publications = self.stored().filter(|one| one.timetoken >= from);
        Backlog {
            publications: publications.cloned().collect(),
            continuous: self.dropped.is_none_or(|(_, gone)| gone < from),
        }
    }

    /// By stamp alone: also across epochs, and for a cursor that no publication of this channel ever had.
    fn after_time(&self, timetoken: Timetoken) -> Backlog {
        let later = self.ring.iter().filter(|one| one.timetoken > timetoken);
        Backlog {
            publications: later.cloned().collect(),
            continuous: self.dropped.is_none_or(|(_, gone)| gone <= timetoken),
        }
    }

    /// Forgets what was stamped in `after < timetoken <= until`; how many there were. A hole is no gap: who
    /// resumes across it is not told of what was taken back.
    pub fn erase(&mut self, after: Timetoken, until: Timetoken) -> u64 {
        let before = self.ring.len();
        self.ring
            .retain(|one| one.timetoken <= after || one.timetoken > until);
        self.bytes = self.ring.iter().map(weight).sum();
        self.note_oldest();
        if let Some((last, _)) = &self.last
            && last.timetoken > after
            && last.timetoken <= until
        {
            self.last = None;
        }
        u64::try_from(before - self.ring.len()).unwrap_or(u64::MAX)
    }

    /// Positions compare only within an epoch: from another stream, or from a place that has fallen out or
    /// was never reached, nothing is replayed and the answer is "not continuous".
    fn after(&self, position: Position, head: Position) -> Backlog {
        let same = position.epoch == head.epoch && position.seq <= head.seq;
        let whole = self
            .dropped
            .is_none_or(|(gone, _)| gone.epoch != head.epoch || gone.seq <= position.seq);
        if !(same && whole) {
            return Backlog::default();
        }
        let later = self
            .ring
            .iter()
            .filter(|one| one.position.epoch == position.epoch && one.position.seq > position.seq);
        Backlog {
            publications: later.cloned().collect(),
            continuous: true,
        }
    }

    /// A page: `after < timetoken <= until`, in the order asked for.
    #[must_use]
    pub fn page(&self, page: HistoryPage) -> Vec<Arc<Publication>> {
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let inside = self
            .stored()
            .filter(|one| one.timetoken > page.after && one.timetoken <= page.until);
        if page.backwards {
            inside.rev().take(limit).cloned().collect()
        } else {
            inside.take(limit).cloned().collect()
        }
    }

    /// What may be shown as history; the rest of the ring only serves resumes.
    fn stored(&self) -> impl DoubleEndedIterator<Item = &Arc<Publication>> {
        self.ring.iter().filter(|one| one.draft.store)
    }

    /// Forgets its newest publication, if it is this one.
    pub(super) fn take_back(&mut self, publication: &Publication) {
        let newest = self
            .ring
            .pop_back_if(|one| one.position == publication.position);
        if let Some(newest) = newest {
            self.bytes = self.bytes.saturating_sub(weight(&newest));
            self.note_oldest();
        }
        if let Some(id) = &publication.draft.id {
            self.ids.remove(id);
            self.id_order.retain(|(one, _)| one != id);
        }
        if self
            .last
            .as_ref()
            .is_some_and(|(last, _)| last.position == publication.position)
        {
            self.last = None;
        }
    }

    /// What stands behind a place belongs to a new epoch.
    pub(super) fn renew(&mut self, renewal: &Renewal) {
        let later = self.ring.iter_mut().rev();
        later
            .take_while(|one| one.position.seq > renewal.seq)
            .for_each(|one| renewal.publication(one));
        if let Some((last, _)) = &mut self.last {
            renewal.publication(last);
        }
        self.ids
            .values_mut()
            .for_each(|receipt| renewal.receipt(receipt));
    }

    /// Whether nothing is remembered that anyone could still ask for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty() && self.last.is_none() && self.ids.is_empty()
    }

    /// For another node.
    #[must_use]
    pub fn snapshot(&self) -> HistorySnapshot {
        let ids = self.id_order.iter().filter_map(|(id, at)| {
            let receipt = self.ids.get(id)?;
            Some((id.clone(), *at, *receipt))
        });
        HistorySnapshot {
            ring: self.ring.iter().cloned().collect(),
            dropped: self.dropped,
            last: self.last.clone(),
            ids: ids.collect(),
        }
    }

    /// From another node.
    #[must_use]
    pub fn restore(snapshot: HistorySnapshot) -> Self {
        let mut history = Self {
            bytes: snapshot.ring.iter().map(weight).sum(),
            ring: snapshot.ring.into(),
            dropped: snapshot.dropped,
            last: snapshot.last,
            ..Self::default()
        };
        for (id, at_ms, receipt) in snapshot.ids {
            history.remember(id, receipt, at_ms);
        }
        history.note_oldest();
        history
    }
}

fn weight(publication: &Arc<Publication>) -> usize {
    let draft = &publication.draft;
    let meta = draft.meta.as_ref().map_or(0, bytes::Bytes::len);
    draft.data.len() + draft.name.len() + meta + OVERHEAD
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
