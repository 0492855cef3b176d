//! What was sent to a subscriber and has not been acknowledged.
//!
//! Pure.
//! **Why it is found by id as well as by time:** clients acknowledge what they like, as often as they like. Looking
//! through all that waits for each would be their work times ours.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// Most messages that are noted. The place of whoever lets more wait stays before the first that is not, until she
/// subscribes again.
pub(super) const MAX_OUTSTANDING: usize = 10_000;

/// Messages by their timetokens and ids.
#[derive(Debug)]
pub(super) struct Outstanding<K> {
    by_time: BTreeMap<u64, K>,
    by_id: HashMap<K, BTreeSet<u64>>,
    /// The first that found no room: of this and later ones nobody knows whether all were acknowledged.
    unnoted: Option<u64>,
}

impl<K> Default for Outstanding<K> {
    fn default() -> Self {
        Self {
            by_time: BTreeMap::new(),
            by_id: HashMap::new(),
            unnoted: None,
        }
    }
}

impl<K: Hash + Eq + Clone> Outstanding<K> {
    /// This was sent.
    pub(super) fn note(&mut self, at: u64, id: K) {
        if self.by_time.len() >= MAX_OUTSTANDING {
            self.unnoted = Some(self.unnoted.map_or(at, |first| first.min(at)));
            return;
        }
        self.forget_time(at);
        self.by_time.insert(at, id.clone());
        self.by_id.entry(id).or_default().insert(at);
    }

    /// This was acknowledged: with the last part of a message all its parts are there.
    pub(super) fn forget<Q: Hash + Eq + ?Sized>(&mut self, id: &Q, at: u64)
    where
        K: Borrow<Q>,
    {
        self.forget_time(at);
        for at in self.by_id.remove(id).into_iter().flatten() {
            self.by_time.remove(&at);
        }
    }

    fn forget_time(&mut self, at: u64) {
        let Some(id) = self.by_time.remove(&at) else {
            return;
        };
        if let Some(times) = self.by_id.get_mut(&id) {
            times.remove(&at);
            if times.is_empty() {
                self.by_id.remove(&id);
            }
        }
    }

    /// The first that still waits.
    pub(super) fn first(&self) -> Option<u64> {
        let noted = self.by_time.keys().next().copied();
        noted.into_iter().chain(self.unnoted).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::hash::Hasher;

    thread_local! {
        static LOOKED_AT: Cell<u64> = const { Cell::new(0) };
    }

    fn looked_at() {
        LOOKED_AT.set(LOOKED_AT.get() + 1);
    }

    /// An id that counts how often it is looked at.
    #[derive(Clone, Debug, Eq)]
    struct Id(u64);

    impl PartialEq for Id {
        fn eq(&self, other: &Self) -> bool {
            looked_at();
            self.0 == other.0
        }
    }

    impl Hash for Id {
        fn hash<H: Hasher>(&self, state: &mut H) {
            looked_at();
            self.0.hash(state);
        }
    }

    #[test]
    fn an_acknowledgement_costs_the_same_however_much_waits() {
        let cost = |waiting: u64| {
            let mut outstanding = Outstanding::default();
            (1..=waiting).for_each(|at| outstanding.note(at, Id(at)));
            let before = LOOKED_AT.get();
            // One that waits, one that does not, and one whose two halves name different messages.
            for (id, at) in [(5, 5), (0, 0), (6, 7)] {
                outstanding.forget(&Id(id), at);
            }
            assert_eq!(outstanding.by_time.len() as u64, waiting - 3);
            assert_eq!(outstanding.by_id.len() as u64, waiting - 3);
            LOOKED_AT.get() - before
        };
        assert!(cost(9_000) <= cost(10) + 9, "{} {}", cost(10), cost(9_000));
    }

    #[test]
    fn all_parts_go_with_one_and_the_first_without_room_is_not_passed() {
        let mut outstanding = Outstanding::default();
        let most = MAX_OUTSTANDING as u64;
        (1..=most + 2).for_each(|at| outstanding.note(at, at / 2));
        assert_eq!(outstanding.by_time.len(), MAX_OUTSTANDING);
        outstanding.forget(&0, 0);
        assert_eq!(outstanding.first(), Some(2));
        outstanding.forget(&1, 3);
        assert_eq!(outstanding.first(), Some(4));
        (0..=most).for_each(|id| outstanding.forget(&id, 0));
        assert!(outstanding.by_time.is_empty() && outstanding.by_id.is_empty());
        assert_eq!(outstanding.first(), Some(most + 1));
        outstanding.note(most + 3, 9);
        outstanding.forget(&9, most + 3);
        assert_eq!(outstanding.first(), Some(most + 1));
    }
}
