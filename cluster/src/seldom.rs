//! Rate-limited log lines: what one cause makes happen again and again is one line a minute.
//!
//! **Why bounded:** the causes may be strangers, and there are many of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long nothing more is said of the same cause.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);
/// Causes that are told apart; of more nothing is said until a pause is over.
const CAUSES: usize = 64;

#[derive(Debug)]
struct Said {
    at: Instant,
    left_out: u64,
}

/// What was said lately, by its cause.
#[derive(Debug)]
pub(crate) struct Seldom<K>(Mutex<BTreeMap<K, Said>>);

impl<K> Default for Seldom<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> Seldom<K> {
    /// Whether it is to be said now: how often it was left out before, or nothing when this time is left out too.
    pub(crate) fn say(&self, cause: K) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(last) = said.get_mut(&cause) {
            if now.saturating_duration_since(last.at) < PAUSE {
                last.left_out = last.left_out.saturating_add(1);
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.left_out));
        }
        if said.len() >= CAUSES {
            said.retain(|_, last| now.saturating_duration_since(last.at) < PAUSE);
        }
        if said.len() >= CAUSES {
            return None;
        }
        said.insert(
            cause,
            Said {
                at: now,
                left_out: 0,
            },
        );
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn once_a_minute_for_each_cause_and_for_so_many_causes_only() {
        let seldom = Seldom::default();
        assert_eq!(seldom.say(1), Some(0));
        assert_eq!((seldom.say(1), seldom.say(1)), (None, None));
        assert_eq!(seldom.say(2), Some(0));
        let said = (10..10_000).filter(|cause| seldom.say(*cause).is_some());
        assert_eq!(said.count(), CAUSES - 2);
        tokio::time::advance(PAUSE).await;
        assert_eq!(seldom.say(1), Some(2), "two were left out");
        assert_eq!(seldom.say(99_999), Some(0), "there is room again");
    }
}
