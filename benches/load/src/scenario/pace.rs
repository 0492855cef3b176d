//! Due times at an even rate.
//!
//! **Must never know:** what becomes due. Latency counts from the due time, not from the sending, so that
//! a server which stalls the generator is not flattered by it.

use std::time::Duration;

/// Times `interval` ns apart.
pub(super) struct Pace {
    next: u64,
    interval: f64,
    start: u64,
    count: u64,
}

impl Pace {
    /// `rate` per second from `now` on (ns).
    pub(super) fn new(now: u64, rate: f64) -> Self {
        Self {
            next: now,
            interval: 1e9 / rate,
            start: now,
            count: 0,
        }
    }

    /// The next due time, if it has come; asks again until there is none.
    pub(super) fn due(&mut self, now: u64) -> Option<u64> {
        (self.next <= now).then(|| {
            let due = self.next;
            self.count += 1;
            // From the start each time: rounding must not add up.
            self.next = self.start + (self.interval * self.count as f64) as u64;
            due
        })
    }

    /// How long until the next is due.
    pub(super) fn wait(&self, now: u64) -> Duration {
        Duration::from_nanos(self.next.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_rate_many_and_late_ones_are_not_dropped() {
        let mut pace = Pace::new(5, 3000.0);
        let mut due = Vec::new();
        for now in [0, 5, 700_000_000, 1_000_000_004] {
            while let Some(at) = pace.due(now) {
                assert!(at <= now);
                due.push(at);
            }
        }
        assert_eq!(due.len(), 3000);
        assert!(
            due.windows(2)
                .all(|w| matches!(w, [a, b] if (333_332..=333_334).contains(&(b - a))))
        );
    }
}
