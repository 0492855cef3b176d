//! Which refusals are kept: the last of each app, within bounds for one app, for all, and for one second. In a second an
//! app is kept no more than are left for the others, so whoever floods one hides nothing of another.
//!
//! **Why the longest list gives way when all are full:** an app with few refusals is the one whose operator looks for one
//! of them; whoever floods another app must not wash it out.

use super::record::{RefusalFilter, RefusalRecord};
use crate::core::ids::AppId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

/// Kept of one app.
const PER_APP: usize = 1_000;
/// Kept of all apps together.
const TOTAL: usize = 10_000;
/// Kept of what comes in one second.
const PER_SECOND: u32 = 100;

/// One app's, or those of none.
#[derive(Debug, Default)]
struct Ring {
    last: VecDeque<RefusalRecord>,
    /// Kept in the second that was looked at last.
    in_second: (u64, u32),
    /// Those that were too many for their second.
    left_out: u64,
}

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    rings: BTreeMap<Option<AppId>, Ring>,
    total: usize,
    second: u64,
    in_second: u32,
    last_id: u64,
}

impl Kept {
    /// Whether one more of this second is kept; counts it if not.
    pub(super) fn has_room(&mut self, app: Option<AppId>, now_ms: u64) -> bool {
        let second = now_ms / 1_000;
        if self.second != second {
            (self.second, self.in_second) = (second, 0);
        }
        let ring = self.rings.entry(app).or_default();
        if ring.in_second.0 != second {
            ring.in_second = (second, 0);
        }
        let left = PER_SECOND.saturating_sub(self.in_second);
        if ring.in_second.1 < left {
            self.in_second += 1;
            ring.in_second.1 += 1;
            return true;
        }
        ring.left_out += 1;
        false
    }

    /// Keeps one, under the next number.
    pub(super) fn push(&mut self, app: Option<AppId>, mut record: RefusalRecord) {
        self.last_id += 1;
        record.id = self.last_id;
        let ring = self.rings.entry(app).or_default();
        ring.last.push_back(record);
        self.total += 1;
        if ring.last.len() > PER_APP {
            ring.last.pop_front();
            self.total -= 1;
        }
        if self.total > TOTAL {
            self.drop_one();
        }
    }

    /// Drops the oldest of the longest list; a list that is empty is forgotten.
    fn drop_one(&mut self) {
        let longest = self.rings.iter().max_by_key(|(_, ring)| ring.last.len());
        let Some(app) = longest.map(|(app, _)| *app) else {
            return;
        };
        if let Some(ring) = self.rings.get_mut(&app)
            && ring.last.pop_front().is_some()
        {
            self.total -= 1;
        }
        self.rings.retain(|_, ring| !ring.last.is_empty());
    }

    pub(super) fn last(&self, filter: &RefusalFilter) -> (Vec<RefusalRecord>, u64) {
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let rings = self.rings.iter();
        let rings = rings.filter(|(app, _)| filter.app.is_none() || **app == filter.app);
        let (mut found, mut left_out) = (Vec::new(), 0_u64);
        for (_, ring) in rings {
            left_out = left_out.saturating_add(ring.left_out);
            let fitting = ring.last.iter().rev().filter(|one| filter.fits(one));
            found.extend(fitting.take(limit).cloned());
        }
        found.sort_unstable_by_key(|one| Reverse((one.at_ms, one.id)));
        found.truncate(limit);
        (found, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::NodeId;

    fn record(app: u64, at_ms: u64) -> RefusalRecord {
        RefusalRecord {
            id: 0,
            node: NodeId(1),
            at_ms,
            dialect: "x".into(),
            app: Some(AppId(app)),
            channel: None,
            key: None,
            user: None,
            remote: "".into(),
            code: 403,
            rule: "not_granted".into(),
            detail: "".into(),
        }
    }

    fn of(app: Option<u64>, limit: u32) -> RefusalFilter {
        RefusalFilter {
            app: app.map(AppId),
            user: None,
            limit,
        }
    }

    /// `count` refusals of an app, ten in a second, from this time.
    fn fill(kept: &mut Kept, app: u64, count: u64, from_ms: u64) {
        for at in 0..count {
            let at_ms = from_ms + at * 100;
            if kept.has_room(Some(AppId(app)), at_ms) {
                kept.push(Some(AppId(app)), record(app, at_ms));
            }
        }
    }

    #[test]
    fn the_last_thousand_of_an_app_are_kept_newest_first() {
        let mut kept = Kept::default();
        fill(&mut kept, 1, 1_500, 0);
        fill(&mut kept, 2, 3, 0);
        let (all, left_out) = kept.last(&of(Some(1), 5_000));
        assert_eq!((all.len(), left_out), (1_000, 0));
        let ends = [all.first(), all.last()].map(|one| one.map(|one| one.at_ms));
        assert_eq!(ends, [Some(1_499 * 100), Some(500 * 100)]);
        assert_eq!(kept.last(&of(Some(2), 2)).0.len(), 2);
        assert_eq!(kept.last(&of(None, 5_000)).0.len(), 1_003);
        assert_eq!(kept.last(&of(Some(9), 10)), (Vec::new(), 0));
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let mut kept = Kept::default();
        let mut made = 0;
        for _ in 0..10_000 {
            if kept.has_room(Some(AppId(1)), 5_000) {
                made += 1;
                kept.push(Some(AppId(1)), record(1, 5_000));
            }
        }
        assert_eq!(made, PER_SECOND / 2);
        let (all, left_out) = kept.last(&of(Some(1), 5_000));
        assert_eq!((all.len(), left_out), (50, 9_950));
        assert!(kept.has_room(Some(AppId(2)), 5_900), "another's is kept");
        assert!(kept.has_room(Some(AppId(1)), 6_000), "the next second");
    }

    #[test]
    fn many_apps_are_bounded_together_and_the_longest_gives_way() {
        let mut kept = Kept::default();
        fill(&mut kept, 999, 2, 0);
        for app in 1..=20 {
            fill(&mut kept, app, 1_000, app * 1_000_000);
        }
        assert_eq!(kept.total, TOTAL);
        let all: usize = kept.rings.values().map(|ring| ring.last.len()).sum();
        assert_eq!(all, TOTAL);
        assert_eq!(kept.last(&of(Some(999), 10)).0.len(), 2, "washed out");
    }

    #[test]
    fn one_user_is_found_among_many() {
        let mut kept = Kept::default();
        fill(&mut kept, 1, 50, 0);
        let mut hers = record(1, 9_000);
        hers.user = Some("ba7816bf".into());
        kept.push(Some(AppId(1)), hers);
        let mut filter = of(Some(1), 10);
        filter.user = Some("ba7816bf".into());
        assert_eq!(kept.last(&filter).0.len(), 1);
    }
}
