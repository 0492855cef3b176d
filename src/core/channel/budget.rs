//! What the histories of all channels of a node may weigh together, and the level above which the larger ones let go.
//!
//! **Must never know:** channels, what is in a history. Each channel says what its own weighs; the level reaches it as a
//! bound like any other, so that the pure states stay what they are under the same inputs.
//!
//! **Why a level and not an equal share:** channels below it lose nothing, whatever the others keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// No level: every channel keeps what its app allows.
const NO_LEVEL: u64 = u64::MAX;
/// How far apart two levels are found, ms: channels need a moment to let go.
const PAUSE_MS: u64 = 100;

/// The sum, its bound and the level. All relaxed: each is right by itself, and soon enough.
#[derive(Debug)]
pub struct HistoryBudget {
    most: AtomicU64,
    used: AtomicU64,
    level: AtomicU64,
    /// When the next level may be found, monotonic ms.
    next_ms: AtomicU64,
}

impl Default for HistoryBudget {
    /// Without a bound.
    fn default() -> Self {
        Self {
            most: AtomicU64::new(u64::MAX),
            used: AtomicU64::new(0),
            level: AtomicU64::new(NO_LEVEL),
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
    pub(super) fn level(&self) -> u64 {
        self.level.load(Ordering::Relaxed)
    }

    /// Whether a level has to be found now, and by the caller.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let next = self.next_ms.load(Ordering::Relaxed);
        now_ms >= next
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now_ms.saturating_add(PAUSE_MS),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Finds the level for channels of these sizes: the sum falls to seven eighths of the bound, so that the next one
    /// is not needed at once.
    pub(super) fn find_level(&self, sizes: Vec<u64>) -> u64 {
        let most = self.most.load(Ordering::Relaxed);
        let level = level(sizes, most - most / 8);
        self.level.store(level, Ordering::Relaxed);
        level
    }

    /// Whether the sum is above its bound after this change. Well below it there is no level any more.
    fn change(&self, before: u64, after: u64) -> bool {
        let change = after.wrapping_sub(before);
        let used = self.used.fetch_add(change, Ordering::Relaxed);
        let used = used.wrapping_add(change);
        let most = self.most.load(Ordering::Relaxed);
        if used < most / 4 * 3 && self.level() != NO_LEVEL {
            self.level.store(NO_LEVEL, Ordering::Relaxed);
        }
        used > most
    }
}

/// The level at which these sizes, cut off there, add up to at most `target`.
fn level(mut sizes: Vec<u64>, target: u64) -> u64 {
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
    NO_LEVEL
}

/// One channel's part of the sum; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    budget: Arc<HistoryBudget>,
    bytes: Arc<AtomicU64>,
}

impl Part {
    /// A part of nothing yet; `bytes` shows it to whoever finds the level.
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

impl Drop for Part {
    fn drop(&mut self) {
        let before = self.bytes.swap(0, Ordering::Relaxed);
        self.budget.change(before, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(budget: &Arc<HistoryBudget>) -> Part {
        Part::new(budget.clone(), Arc::default())
    }

    #[test]
    fn the_largest_are_cut_and_the_small_are_not() {
        assert_eq!(level(vec![10, 500, 20, 700], 430), 200);
        assert_eq!(level(vec![10, 20], 30), NO_LEVEL);
        assert_eq!(level(vec![10, 20], 29), 19);
        assert_eq!(level(Vec::new(), 0), NO_LEVEL);
        assert_eq!(level(vec![5; 4], 3), 0);
    }

    proptest! {
        #[test]
        fn cut_at_the_level_they_fit_and_little_more_would_not(
            sizes in proptest::collection::vec(0u64..1_000, 1..40), target in 0u64..20_000
        ) {
            let level = level(sizes.clone(), target);
            let sum = |level: u64| sizes.iter().map(|size| size.min(&level)).sum::<u64>();
            prop_assert!(sum(level) <= target);
            prop_assert!(level == NO_LEVEL || sum(level + 1) > target - target.min(sizes.len() as u64));
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
        assert_eq!(budget.find_level(vec![900]), 700);
        one.set(700);
        assert_eq!(budget.level(), 700);
        one.set(599);
        assert_eq!(budget.level(), NO_LEVEL);
    }
}
