//! How much each app publishes through this node.
//!
//! **Must never know:** what is published, or by whom: the clients of an app share its rate.
//! **Why a lock is no harm:** only apps that set a rate ask.

use super::limits;
use crate::core::authority::AppId;
use crate::core::error::Refusal;
use crate::core::token_bucket::TokenBucket;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every bucket is full again after this long, ms: it only ever gave one at a time.
const IDLE_MS: u64 = 1_000;

/// The apps' buckets on this node.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<AppId, TokenBucket>>);

impl Rates {
    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, TokenBucket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one publication of an app whose rate is this, at this monotonic ms.
    ///
    /// # Errors
    /// [`Refusal::Rate`].
    pub(super) fn admit(&self, app: AppId, rate: u64, now_ms: u64) -> Result<(), Refusal> {
        if rate == 0 {
            return Ok(());
        }
        let mut buckets = self.lock();
        let bucket = buckets.entry(app).or_default();
        bucket.admit(now_ms, limits::PUBLISHES_PER_SECOND, rate, 1)
    }

    /// Forgets who has not published for a while.
    pub(super) fn sweep(&self, now_ms: u64) {
        self.lock()
            .retain(|_, bucket| bucket.at_ms().saturating_add(IDLE_MS) > now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_do_not_share_a_rate_and_the_idle_are_forgotten() {
        let rates = Rates::default();
        let taken = |app, now_ms| {
            let may = |_: &i32| rates.admit(AppId(app), 5, now_ms).is_ok();
            (0..9).filter(may).count()
        };
        assert_eq!((taken(1, 10_000), taken(2, 10_000)), (5, 5));
        assert_eq!(taken(1, 10_999), 4);
        rates.sweep(11_000);
        assert_eq!(rates.lock().len(), 1, "the second app's is full again");
        assert_eq!(taken(2, 11_000), 5);
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let rates = Rates::default();
        assert!((0..100).all(|_| rates.admit(AppId(1), 0, 1).is_ok()));
        assert!(rates.lock().is_empty());
    }
}
