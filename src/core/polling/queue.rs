//! What waits for the next request of a poller: a bounded queue, and why there will be no more. Pure.
//!
//! **Why the newest goes when more comes than fits, and the poller ends behind what is left:** the client holds a cursor; it
//! comes back with it and gets from history what history still has. A queue with a hole in it would hide the loss, and one
//! that is dropped whole would leave whoever is further behind than fits where she is, for ever.

use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Timetoken};
use crate::core::message::Broadcast;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most broadcasts that wait.
const MAX_ITEMS: usize = 1_000;
/// Most payload bytes that wait.
const MAX_BYTES: usize = 1 << 20;

/// A broadcast and its channel.
#[derive(Clone, Debug)]
pub struct Item {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// The broadcast itself.
    pub broadcast: Broadcast,
}

/// Why a poller delivers nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A right it stood on is gone: judge its names again.
    Denied,
    /// Asked to go; may come back at once.
    Sent,
    /// This node cannot serve it; come back to another.
    Away,
    /// More came than may wait: go on from the cursor.
    Over,
    /// A channel could not be joined.
    Refused(Refusal),
    /// Nobody came back for it.
    Closed,
}

/// When a broadcast was stamped; 0 for those without a stamp.
#[must_use]
pub fn stamp(broadcast: &Broadcast) -> Timetoken {
    match broadcast {
        Broadcast::Message(one) => one.timetoken,
        Broadcast::Presence(one) => one.timetoken,
        Broadcast::Count(_) => 0,
    }
}

fn weight(broadcast: &Broadcast) -> usize {
    match broadcast {
        Broadcast::Message(one) => {
            one.draft.data.len() + one.draft.meta.as_ref().map_or(0, bytes::Bytes::len)
        }
        Broadcast::Presence(one) => one.member.data.len(),
        Broadcast::Count(_) => 0,
    }
}

/// What waits for one poller.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// From this stamp on, nothing is kept: there was no room for all of it.
    let_go_from: Option<Timetoken>,
    /// Taken, and laid aside to be shown later.
    set_aside: Vec<Item>,
    set_aside_since_ms: Option<u64>,
}

impl Queue {
    /// Adds one. When there is no room for it, the newest go, and with them all that is as new or newer.
    pub(crate) fn push(&mut self, item: Item) {
        let at = stamp(&item.broadcast);
        if self.let_go_from.is_some_and(|from| at >= from) {
            return;
        }
        self.bytes = self.bytes.saturating_add(weight(&item.broadcast));
        self.items.push_back(item);
        if self.items.len() > MAX_ITEMS || self.bytes > MAX_BYTES {
            self.let_go();
        }
    }

    /// Lets go of the newer half, so that this is not needed again for as many.
    fn let_go(&mut self) {
        self.sort();
        let mut bytes = 0_usize;
        let fits = |(at, item): &(usize, &Item)| {
            bytes = bytes.saturating_add(weight(&item.broadcast));
            *at == 0 || (*at < MAX_ITEMS / 2 && bytes <= MAX_BYTES / 2)
        };
        let kept = self.items.iter().enumerate().take_while(fits).count();
        let from = self.items.get(kept).map(|item| stamp(&item.broadcast));
        let Some(from) = from else { return };
        self.let_go_from = Some(from);
        // Of what has the same stamp, its reader could not tell which half it has got.
        let below = |item: &Item| stamp(&item.broadcast) < from;
        self.items.truncate(self.items.partition_point(below));
        let left = self.items.iter();
        self.bytes = left.map(|item| weight(&item.broadcast)).sum();
    }

    /// Whether the rest is only to be had by asking again.
    pub(crate) fn is_spent(&self) -> bool {
        self.let_go_from.is_some() && self.items.is_empty()
    }

    /// Oldest stamp first: several channels are one stream to their reader.
    fn sort(&mut self) {
        let sorted = self
            .items
            .iter()
            .zip(self.items.iter().skip(1))
            .all(|(one, next)| stamp(&one.broadcast) <= stamp(&next.broadcast));
        if !sorted {
            // Stable: one channel's order is the order of its stamps.
            let items = self.items.make_contiguous();
            items.sort_by_key(|item| stamp(&item.broadcast));
        }
    }

    /// Takes up to `max`, the oldest.
    pub(crate) fn take(&mut self, max: usize) -> Vec<Item> {
        self.sort();
        let taken: Vec<Item> = self.items.drain(..max.min(self.items.len())).collect();
        let gone: usize = taken.iter().map(|item| weight(&item.broadcast)).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
        taken
    }

    /// Lays aside what was taken. `false` once no more should be.
    #[must_use]
    pub(super) fn set_aside(&mut self, items: Vec<Item>, now_ms: u64) -> bool {
        if !items.is_empty() {
            self.set_aside_since_ms.get_or_insert(now_ms);
            self.set_aside.extend(items);
        }
        self.set_aside.len() < MAX_ITEMS
    }

    /// Since when something has been laid aside, monotonic ms.
    pub(super) fn set_aside_since_ms(&self) -> Option<u64> {
        self.set_aside_since_ms
    }

    /// All that was laid aside.
    pub(super) fn take_set_aside(&mut self) -> Vec<Item> {
        self.set_aside_since_ms = None;
        std::mem::take(&mut self.set_aside)
    }

    /// Forgets everything, or one channel's.
    pub(super) fn clear(&mut self, of: impl Fn(&ChannelKey) -> bool) {
        self.items.retain(|item| !of(&item.channel));
        self.set_aside.retain(|item| !of(&item.channel));
        if self.set_aside.is_empty() {
            self.set_aside_since_ms = None;
        }
        let left = self.items.iter();
        self.bytes = left.map(|item| weight(&item.broadcast)).sum();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{AppId, Position};
    use crate::core::message::{ContentKind, Draft, Publication};
    use proptest::prelude::*;

    fn item(channel: &str, timetoken: u64, bytes: usize) -> Item {
        let draft = Draft::new("".into(), vec![0; bytes].into(), ContentKind::Binary);
        Item {
            channel: ChannelKey::channel(AppId(1), channel),
            broadcast: Broadcast::Message(Arc::new(Publication {
                draft: Box::new(draft),
                position: Position::default(),
                timetoken,
            })),
        }
    }

    #[test]
    fn channels_are_read_as_one_stream() {
        let mut queue = Queue::default();
        for (channel, at) in [("a", 5), ("b", 3), ("a", 7), ("b", 6)] {
            queue.push(item(channel, at, 1));
        }
        let stamps = |items: &[Item]| {
            let all = items.iter().map(|item| stamp(&item.broadcast));
            all.collect::<Vec<_>>()
        };
        assert_eq!(stamps(&queue.take(3)), [3, 5, 6]);
        assert_eq!(stamps(&queue.take(3)), [7]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn what_is_laid_aside_waits_apart_and_goes_with_its_channel() {
        let mut queue = Queue::default();
        assert!(queue.set_aside(Vec::new(), 5));
        assert_eq!(queue.set_aside_since_ms(), None);
        assert!(queue.set_aside(vec![item("a", 1, 1)], 7));
        assert!(queue.set_aside(vec![item("b", 2, 1)], 9));
        assert_eq!(queue.set_aside_since_ms(), Some(7));
        assert!(queue.is_empty(), "nothing wakes its reader for it");
        queue.clear(|key| &*key.name == "a");
        assert_eq!(queue.set_aside_since_ms(), Some(7));
        assert_eq!(queue.take_set_aside().len(), 1);
        assert_eq!(
            (queue.set_aside_since_ms(), queue.take_set_aside().len()),
            (None, 0)
        );
        assert!(queue.set_aside(vec![item("b", 2, 1)], 9));
        queue.clear(|_| true);
        assert_eq!(queue.set_aside_since_ms(), None);
        let full = (0..MAX_ITEMS as u64).map(|at| item("a", at, 1)).collect();
        assert!(!queue.set_aside(full, 1));
    }

    #[test]
    fn who_is_further_behind_than_fits_gets_the_oldest_and_asks_again() {
        let mut queue = Queue::default();
        let all = MAX_ITEMS as u64 * 3;
        (1..=all).for_each(|at| queue.push(item("a", at, 1)));
        let stamps = |items: &[Item]| {
            let all = items.iter().map(|item| stamp(&item.broadcast));
            all.collect::<Vec<_>>()
        };
        assert!(!queue.is_spent(), "something waits");
        let oldest: Vec<u64> = (1..=MAX_ITEMS as u64 / 2).collect();
        assert_eq!(stamps(&queue.take(MAX_ITEMS)), oldest);
        assert!(queue.is_spent() && queue.bytes == 0);
        queue.push(item("a", all + 1, 1));
        assert!(queue.is_spent(), "nothing behind the gap");
        let mut queue = Queue::default();
        queue.push(item("a", 1, MAX_BYTES * 2));
        assert_eq!(queue.take(9).len(), 1, "one alone always fits");
    }

    proptest! {
        /// Whatever comes in whatever order: what is taken is all there was up to some stamp, and bounded.
        #[test]
        fn what_is_kept_has_no_hole(
            came in proptest::collection::vec((0_u8..3, 1_u64..60, 1..MAX_BYTES / 4), 1..40)
        ) {
            let mut queue = Queue::default();
            for (channel, at, bytes) in &came {
                queue.push(item(&channel.to_string(), *at, *bytes));
                prop_assert!(queue.bytes <= MAX_BYTES && queue.items.len() <= MAX_ITEMS);
            }
            let from = queue.let_go_from.unwrap_or(u64::MAX);
            let mut wanted: Vec<u64> = came.iter().map(|one| one.1).filter(|at| *at < from).collect();
            wanted.sort_unstable();
            let taken: Vec<u64> = queue.take(99).iter().map(|one| stamp(&one.broadcast)).collect();
            prop_assert_eq!(&taken, &wanted);
            let first = came.iter().map(|one| one.1).min();
            let alone = came.iter().filter(|one| Some(one.1) == first).count() == 1;
            prop_assert!(!alone || taken.first().copied() == first, "it gets on");
        }
    }
}
