//! The token bucket behind every limit on messages per second, as a pure value.
//!
//! **Why the rate is handed in each time:** an app's settings change while connections stand, and the new number holds
//! from the next message on.

use super::error::Refusal;
use super::limits::Setting;

/// Thousandths of a message in one.
const MILLI: u64 = 1_000;

/// Allows `rate` messages at once and as many per second, evenly.
#[derive(Debug, Default)]
pub struct TokenBucket {
    /// Thousandths of a message used up.
    used: u64,
    at_ms: u64,
}

impl TokenBucket {
    /// Whether one more message fits now (monotonic ms). A rate of 0 allows none.
    pub fn take(&mut self, now_ms: u64, rate: u64) -> bool {
        self.take_all(now_ms, rate, 1).is_ok()
    }

    /// Takes `count` messages, all or none. More than ever fit at once pass when nothing is used up, and what
    /// follows waits for them: a message of many parts is slowed and never impossible.
    ///
    /// # Errors
    /// After how many ms it may be tried again.
    pub fn take_all(&mut self, now_ms: u64, rate: u64, count: u64) -> Result<(), u64> {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.used = self.used.saturating_sub(passed.saturating_mul(rate));
        self.at_ms = now_ms;
        let room = rate.saturating_mul(MILLI);
        let needed = self
            .used
            .saturating_add(count.min(rate).saturating_mul(MILLI));
        if rate == 0 || needed > room {
            let over = needed.saturating_sub(room);
            return Err(over.checked_div(rate).map_or(u64::MAX, |ms| ms + 1));
        }
        self.used = self.used.saturating_add(count.saturating_mul(MILLI));
        Ok(())
    }

    /// The same under a setting, of which 0 means that nothing is limited.
    ///
    /// # Errors
    /// [`Refusal::Rate`] under the setting's name.
    pub fn admit(
        &mut self,
        now_ms: u64,
        limit: Setting,
        rate: u64,
        count: u64,
    ) -> Result<(), Refusal> {
        if rate == 0 {
            return Ok(());
        }
        let taken = self.take_all(now_ms, rate, count);
        taken.map_err(|retry_ms| Refusal::Rate {
            limit: limit.name,
            retry_ms,
        })
    }

    /// When something was last asked of it, monotonic ms. A second later it is as good as new, if it only ever gave
    /// one at a time.
    #[must_use]
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMIT: Setting = Setting {
        name: "messages_per_second",
        default: 0,
    };

    #[test]
    fn ten_at_once_then_one_every_tenth_of_a_second() {
        let mut bucket = TokenBucket::default();
        let taken = (0..50).filter(|_| bucket.take(1_000, 10)).count();
        assert_eq!(taken, 10);
        assert!(!bucket.take(1_099, 10));
        assert!(bucket.take(1_100, 10));
        assert!(!bucket.take(1_100, 10));
        let later = (0..50).filter(|_| bucket.take(9_000, 10)).count();
        assert_eq!(later, 10);
    }

    #[test]
    fn no_rate_allows_none() {
        assert!(!TokenBucket::default().take(5_000, 0));
    }

    #[test]
    fn several_pass_together_or_not_at_all() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.take_all(1_000, 10, 7), Ok(()));
        let again = bucket.take_all(1_000, 10, 4).unwrap_err();
        // Nothing was taken by the refused ones.
        assert_eq!(bucket.take_all(1_000, 10, 3), Ok(()));
        assert!(again > 0 && again <= 101, "{again}");
    }

    #[test]
    fn what_is_told_to_wait_passes_then() {
        let mut bucket = TokenBucket::default();
        bucket.take_all(1_000, 7, 7).unwrap();
        let wait = bucket.take_all(1_000, 7, 2).unwrap_err();
        assert!(bucket.take_all(1_000 + wait, 7, 2).is_ok());
    }

    #[test]
    fn more_than_ever_fit_pass_once_and_are_worked_off() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.take_all(1_000, 10, 30), Ok(()));
        assert!(!bucket.take(2_900, 10), "20 of them are still owed");
        assert!(bucket.take(3_100, 10));
        assert!(
            bucket.take_all(3_100, 10, 30).is_err(),
            "not while any is used"
        );
        assert_eq!(bucket.take_all(6_000, 10, 30), Ok(()));
    }

    #[test]
    fn a_setting_of_zero_limits_nothing_and_a_refusal_names_it() {
        let mut bucket = TokenBucket::default();
        for _ in 0..10_000 {
            assert_eq!(bucket.admit(1, LIMIT, 0, 1_000), Ok(()));
        }
        assert_eq!(bucket.admit(1, LIMIT, 1, 1), Ok(()));
        let refused = bucket.admit(1, LIMIT, 1, 1).unwrap_err();
        assert!(matches!(
            refused,
            Refusal::Rate {
                limit: "messages_per_second",
                retry_ms: 1..=1_001
            }
        ));
    }
}
