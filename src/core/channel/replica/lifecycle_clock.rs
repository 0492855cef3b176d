//! When what a home keeps back of its channel's lifecycle is due: pure.
//!
//! **Must never know:** what has been told (`lifecycle_log`), who listens; how subscribers are counted.
//!
//! **Why ends are kept back and beginnings are not:** a client that reconnects is gone for a moment; telling that
//! it left and came back is worse than telling late that it left. A beginning that follows within the grace takes
//! the end back instead of being told.
//!
//! **Why no deadline travels to the next home:** it waits longer anyway, until the nodes have announced themselves to it.

use super::lifecycle_log::Decision;
use crate::core::ids::Text;
use crate::core::lifecycle::GRACE_MS;
use std::collections::BTreeMap;

/// A home that took over waits so long before it believes that nobody is there: the nodes have to announce
/// themselves first, ms.
const TAKEOVER_GRACE_MS: u64 = 6_000;
/// How long a miss is not repeated, ms.
const MISS_INTERVAL_MS: u64 = 5_000;

/// What is due when.
#[derive(Clone, Debug, Default)]
pub(super) struct LifecycleClock {
    vacate_due: Option<u64>,
    leaving: BTreeMap<Text, u64>,
    miss_until: u64,
    /// Until then nodes are still announcing themselves, mono ms.
    settled_at: u64,
}

impl LifecycleClock {
    /// Of a home that has just begun, where these clients are gone and it was not told.
    pub(super) fn of<'a>(leaving: impl Iterator<Item = &'a Text>, now_ms: u64) -> Self {
        let due = now_ms + TAKEOVER_GRACE_MS;
        Self {
            vacate_due: None,
            leaving: leaving.map(|one| (one.clone(), due)).collect(),
            miss_until: 0,
            settled_at: due,
        }
    }

    /// Whether nodes are still announcing themselves.
    pub(super) fn unsettled(&self, now_ms: u64) -> bool {
        now_ms < self.settled_at
    }

    /// When to look again, mono ms.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let leaving = self.leaving.values().min().copied();
        [self.vacate_due, leaving].into_iter().flatten().min()
    }

    /// There are so many subscribers now, and it was told last that there are some, or none.
    pub(super) fn count(
        &mut self,
        subscribers: u64,
        occupied: bool,
        now_ms: u64,
    ) -> Option<Decision> {
        if subscribers > 0 {
            self.vacate_due = None;
            return (!occupied).then_some(Decision::Occupied);
        }
        if !occupied {
            return None;
        }
        let due = (now_ms + GRACE_MS).max(self.settled_at);
        if now_ms < *self.vacate_due.get_or_insert(due) {
            return None;
        }
        self.vacate_due = None;
        Some(Decision::Vacated)
    }

    /// None of this client's connections is there any more.
    pub(super) fn gone(&mut self, client: &Text, now_ms: u64) {
        let due = (now_ms + GRACE_MS).max(self.settled_at);
        self.leaving.insert(client.clone(), due);
    }

    /// One is there again.
    pub(super) fn back(&mut self, client: &Text) {
        self.leaving.remove(client);
    }

    /// The clients whose time to come back is over.
    pub(super) fn left(&mut self, now_ms: u64) -> Vec<Decision> {
        let over = self.leaving.extract_if(.., |_, due| *due <= now_ms);
        over.map(|(client, _)| Decision::Left(client)).collect()
    }

    /// Somebody found no last value. Whether that is to be told: not if it was told a moment ago.
    pub(super) fn miss(&mut self, now_ms: u64) -> bool {
        let told = now_ms < self.miss_until;
        if !told {
            self.miss_until = now_ms + MISS_INTERVAL_MS;
        }
        !told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_occupied_once_and_vacated_after_the_grace() {
        let mut clock = LifecycleClock::default();
        assert_eq!(clock.count(1, false, 0), Some(Decision::Occupied));
        assert_eq!(clock.count(2, true, 10), None);
        assert_eq!(clock.count(0, true, 100), None);
        assert_eq!(clock.wake_at(), Some(3_100));
        assert_eq!(clock.count(0, true, 3_099), None);
        assert_eq!(clock.count(0, true, 3_100), Some(Decision::Vacated));
        assert_eq!(clock.count(0, false, 9_000), None);
        assert_eq!(clock.wake_at(), None);
    }

    #[test]
    fn who_comes_back_in_time_was_never_gone() {
        let mut clock = LifecycleClock::default();
        clock.count(0, true, 100);
        assert_eq!(clock.count(1, true, 3_000), None);
        assert_eq!(clock.count(0, true, 3_050), None, "a new grace begins");
        let ana = Text::from("ana");
        clock.gone(&ana, 100);
        assert!(clock.left(3_099).is_empty());
        clock.back(&ana);
        assert!(clock.left(9_000).is_empty());
        clock.gone(&ana, 9_000);
        assert_eq!(clock.left(12_000), [Decision::Left(ana)]);
        assert!(clock.left(99_000).is_empty());
    }

    #[test]
    fn a_home_that_has_just_begun_waits_for_the_others() {
        let ana = Text::from("ana");
        let mut clock = LifecycleClock::of([&ana].into_iter(), 1_000);
        assert_eq!(clock.count(0, true, 1_000), None);
        assert_eq!(clock.count(0, true, 6_999), None);
        assert!(clock.left(6_999).is_empty() && clock.unsettled(6_999));
        assert_eq!(clock.count(0, true, 7_000), Some(Decision::Vacated));
        assert_eq!(clock.left(7_000), [Decision::Left(ana)]);
        assert!(!clock.unsettled(7_000));
    }

    #[test]
    fn misses_are_told_sparingly() {
        let mut clock = LifecycleClock::default();
        assert!(clock.miss(1) && !clock.miss(5_000) && clock.miss(5_001));
    }
}
