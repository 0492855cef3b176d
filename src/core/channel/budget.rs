//! The bytes that all histories of a node may hold together, and the cap per channel that follows from it.
//!
//! Each channel reports the size of its own; the cap reaches it as a bound like any other, so that the pure states stay
//! deterministic.
//!
//! **Why a cap and not an equal share:** channels below it lose nothing, whatever the others keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// No cap: every channel keeps what its app allows.
const NO_CAP: u64 = u64::MAX;
/// How far apart two caps are found, ms: channels need a moment to let go.
const SEARCH_INTERVAL_MS: u64 = 100;

/// The sum, its bound and the cap. All relaxed: each is right by itself, and soon enough.
#[derive(Debug)]
pub struct HistoryBudget {
    most: AtomicU64,
    used: AtomicU64,
    cap: AtomicU64,
    /// When the next cap may be found, monotonic ms.
    next_ms: AtomicU64,
}

impl Default for HistoryBudget {
    /// Without a bound.
    fn default() -> Self {
        Self {
            most: AtomicU64::new(u64::MAX),
            used: AtomicU64::new(0),
            cap: AtomicU64::new(NO_CAP),
            next_ms: AtomicU64::new(0),
        }
    }
}

impl HistoryBudget {
    /// The bound, bytes.
    pub(super) fn set(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// The sum, bytes.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Most bytes of one channel at present.
    pub(super) fn per_channel_cap(&self) -> u64 {
        self.cap.load(Ordering::Relaxed)
    }

    /// Whether a cap has to be found now, and by the caller.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let next = self.next_ms.load(Ordering::Relaxed);
        now_ms >= next
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now_ms.saturating_add(SEARCH_INTERVAL_MS),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Finds the cap for channels of these sizes: the sum falls to seven eighths of the bound, so that the next one
    /// is not needed at once.
    pub(super) fn find_cap(&self, sizes: Vec<u64>) -> u64 {
        let most = self.most.load(Ordering::Relaxed);
        let cap = cap(sizes, most - most / 8);
        self.cap.store(cap, Ordering::Relaxed);
        cap
    }

    /// Whether the sum is above its bound after this change. Well below it there is no cap any more.
    fn change(&self, before: u64, after: u64) -> bool {
        let change = after.wrapping_sub(before);
        let used = self.used.fetch_add(change, Ordering::Relaxed);
        let used = used.wrapping_add(change);
        let most = self.most.load(Ordering::Relaxed);
        if used < most / 4 * 3 && self.per_channel_cap() != NO_CAP {
            self.cap.store(NO_CAP, Ordering::Relaxed);
        }
        used > most
    }
}

/// The cap at which these sizes, cut off there, add up to at most `target`.
fn cap(mut sizes: Vec<u64>, target: u64) -> u64 {
    sizes.sort_unstable();
    let (mut left, mut count) = (target, sizes.len() as u64);
    for size in sizes {
        let each = left / count.max(1);
        if size > each {
            return each;
        }
        left -= size;
        count -= 1;
    }
    NO_CAP
}

/// One channel's part of the sum; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<HistoryBudget>,
    bytes: Arc<AtomicU64>,
}

impl Reservation {
    /// A part of nothing yet; `bytes` shows it to whoever finds the cap.
    pub(super) fn new(budget: Arc<HistoryBudget>, bytes: Arc<AtomicU64>) -> Self {
        Self { budget, bytes }
    }

    /// What the channel's history weighs now; whether the sum is above its bound.
    pub(super) fn set(&self, bytes: usize) -> bool {
        let after = bytes as u64;
        // Only the channel itself writes it.
        let before = self.bytes.load(Ordering::Relaxed);
        if after == before {
            return false;
        }
        self.bytes.store(after, Ordering::Relaxed);
        self.budget.change(before, after)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let before = self.bytes.swap(0, Ordering::Relaxed);
        self.budget.change(before, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(budget: &Arc<HistoryBudget>) -> Reservation {
        Reservation::new(budget.clone(), Arc::default())
    }

    #[test]
    fn the_largest_are_cut_and_the_small_are_not() {
        assert_eq!(cap(vec![10, 500, 20, 700], 430), 200);
        assert_eq!(cap(vec![10, 20], 30), NO_CAP);
        assert_eq!(cap(vec![10, 20], 29), 19);
        assert_eq!(cap(Vec::new(), 0), NO_CAP);
        assert_eq!(cap(vec![5; 4], 3), 0);
    }

    proptest! {
        #[test]
        fn cut_at_the_level_they_fit_and_little_more_would_not(
            sizes in proptest::collection::vec(0u64..1_000, 1..40), target in 0u64..20_000
        ) {
            let cap = cap(sizes.clone(), target);
            let sum = |cap: u64| sizes.iter().map(|size| size.min(&cap)).sum::<u64>();
            prop_assert!(sum(cap) <= target);
            prop_assert!(cap == NO_CAP || sum(cap + 1) > target - target.min(sizes.len() as u64));
        }
    }

    #[test]
    fn the_sum_follows_its_parts_and_is_over_only_above_the_bound() {
        let budget = Arc::new(HistoryBudget::default());
        budget.set(100);
        let (one, other) = (part(&budget), part(&budget));
        assert!(!one.set(60) && !other.set(40) && other.set(41));
        assert_eq!(budget.used(), 101);
        drop(one);
        assert_eq!(budget.used(), 41);
        assert!(!other.set(0));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_level_goes_when_there_is_room_again() {
        let budget = Arc::new(HistoryBudget::default());
        budget.set(800);
        let one = part(&budget);
        assert!(one.set(900));
        assert!(budget.is_due(5_000) && !budget.is_due(5_099) && budget.is_due(5_100));
        assert_eq!(budget.find_cap(vec![900]), 700);
        one.set(700);
        assert_eq!(budget.per_channel_cap(), 700);
        one.set(599);
        assert_eq!(budget.per_channel_cap(), NO_CAP);
    }
}
