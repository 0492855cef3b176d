//! Which refusals are logged: one line a minute for each rule and app, with how many there were.
//!
//! **Why the first is logged at once:** who looks at the log while he tries something has to see it; the rest of its minute
//! is one more line.

use super::rule::Rule;
use crate::core::ids::AppId;
use std::collections::BTreeMap;

/// How long a line stands for all of its kind, ms.
const WINDOW_MS: u64 = 60_000;
/// Kinds that are remembered; of more than these, strangers' mistakes are counted together by their rule.
const KINDS: usize = 4_096;

type Kind = (Option<AppId>, Rule);

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The app; none = no app of ours was named.
    pub app: Option<AppId>,
    /// What was broken.
    pub rule: Rule,
    /// How often since the last line of this kind.
    pub count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    logged_ms: u64,
    since: u64,
}

/// What was logged lately.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<Kind, Counted>);

impl Lines {
    /// Counts one; gives the line if one is due.
    pub(super) fn count(&mut self, (app, rule): Kind, now_ms: u64) -> Option<Line> {
        let known = self.0.contains_key(&(app, rule)) || self.0.len() < KINDS;
        let app = app.filter(|_| known);
        let Some(counted) = self.0.get_mut(&(app, rule)) else {
            let counted = Counted {
                logged_ms: now_ms,
                since: 0,
            };
            self.0.insert((app, rule), counted);
            let count = 1;
            return Some(Line { app, rule, count });
        };
        counted.since += 1;
        let due = now_ms.saturating_sub(counted.logged_ms) >= WINDOW_MS;
        due.then(|| counted.line((app, rule), now_ms))
    }

    /// The lines of whatever was counted and not logged for a minute; what has been quiet for one is forgotten.
    pub(super) fn overdue(&mut self, now_ms: u64) -> Vec<Line> {
        let mut lines = Vec::new();
        self.0.retain(|kind, counted| {
            if now_ms.saturating_sub(counted.logged_ms) < WINDOW_MS {
                return true;
            }
            let quiet = counted.since == 0;
            if !quiet {
                lines.push(counted.line(*kind, now_ms));
            }
            !quiet
        });
        lines
    }
}

impl Counted {
    fn line(&mut self, (app, rule): Kind, now_ms: u64) -> Line {
        self.logged_ms = now_ms;
        let count = std::mem::take(&mut self.since);
        Line { app, rule, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: Option<AppId> = Some(AppId(3));

    #[test]
    fn one_line_a_minute_says_how_many() {
        let mut lines = Lines::default();
        let counts = |at: &mut Lines, now_ms| at.count((APP, Rule::Blocked), now_ms);
        assert_eq!(counts(&mut lines, 0).map(|line| line.count), Some(1));
        for ms in 1..500 {
            assert_eq!(counts(&mut lines, ms * 100), None);
        }
        assert_eq!(counts(&mut lines, 60_000).map(|line| line.count), Some(500));
        assert_eq!(counts(&mut lines, 60_001), None);
        // Another rule or app has a line of its own.
        assert!(lines.count((APP, Rule::TokenExpired), 60_002).is_some());
        assert!(lines.count((None, Rule::Blocked), 60_002).is_some());
    }

    #[test]
    fn the_rest_of_a_flood_is_told_and_then_forgotten() {
        let mut lines = Lines::default();
        for ms in 0..8 {
            lines.count((APP, Rule::Blocked), ms);
        }
        assert_eq!(lines.overdue(59_999), []);
        let told: Vec<u64> = lines.overdue(60_000).iter().map(|one| one.count).collect();
        assert_eq!(told, [7]);
        assert_eq!(lines.overdue(120_000), []);
        assert!(lines.0.is_empty(), "what is quiet costs nothing");
    }

    #[test]
    fn more_kinds_than_are_remembered_share_a_line() {
        let mut lines = Lines::default();
        for app in 0..10_000 {
            lines.count((Some(AppId(app)), Rule::Blocked), 0);
        }
        assert!(lines.0.len() <= KINDS + 1);
        let all = lines.overdue(60_000);
        assert_eq!(
            all.iter().map(|one| one.count).sum::<u64>(),
            10_000 - KINDS as u64 - 1
        );
    }
}
