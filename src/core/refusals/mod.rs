//! Refusals told to operators: the last of each app, and a line a minute for each rule that an app's clients break.
//!
//! In reading order: `rule` (what can be broken, and what to do then), `record` (what is told of it), `kept` (which are kept), `lines`
//! (which are logged). A session tells with an action, an HTTP answer with an extension; both get here through
//! `Broker::refused`, and through nothing else.
//!
//! **Must never know:** any dialect, a secret, a token.
//! **Why in memory and bounded twice:** whoever is refused is a stranger, and what he makes us keep has to cost him more
//! than us. An app keeps its last thousand, all apps together ten thousand, and in one second a hundred are written down;
//! of the rest it is counted how many they were.

mod kept;
mod lines;
pub mod record;
pub mod rule;

use crate::core::ids::AppId;
use kept::Kept;
pub use lines::Line;
use lines::Lines;
pub use record::Told;
use record::{RefusalFilter, RefusalRecord};
pub use rule::{Rule, Why};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A dialect's refusals by one rule.
type Counted = BTreeMap<(&'static str, Rule), u64>;

/// The refusals of a node.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kept: Kept,
    lines: Lines,
    /// How many there were since the node began. Bounded by dialects times rules.
    counted: Counted,
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one. Gives the line to be logged now, if one is due; `make` is asked for the record only if it is kept.
    pub fn note(
        &self,
        (dialect, app, rule): (&'static str, Option<AppId>, Rule),
        now_ms: u64,
        make: impl FnOnce() -> RefusalRecord,
    ) -> Option<Line> {
        let mut inner = self.lock();
        *inner.counted.entry((dialect, rule)).or_default() += 1;
        if inner.kept.has_room(app, now_ms) {
            inner.kept.push(app, make());
        }
        inner.lines.count((app, rule), now_ms)
    }

    /// Lines for what was counted since the last one of its kind, a minute and more ago.
    pub fn overdue(&self, now_ms: u64) -> Vec<Line> {
        self.lock().lines.overdue(now_ms)
    }

    /// The last of an app (or of all, and of none), newest first, and how many of them were not kept.
    #[must_use]
    pub fn last(&self, filter: &RefusalFilter) -> (Vec<RefusalRecord>, u64) {
        self.lock().kept.last(filter)
    }

    /// How many there were since the node began, by dialect and rule.
    #[must_use]
    pub fn counted(&self) -> Vec<((&'static str, Rule), u64)> {
        let inner = self.lock();
        inner.counted.iter().map(|(key, n)| (*key, *n)).collect()
    }
}
