//! When a delivery is tried again, and when it is given up.
//!
//! Pure: a test plays the five minutes in no time.

use crate::core::lifecycle::WebhookDeliveryState;

/// How long a delivery is tried, ms. Libraries refuse a body whose time is further off.
const WINDOW_MS: u64 = 300_000;
/// First pause; it doubles.
const FIRST_PAUSE_MS: u64 = 1_000;
/// Longest pause between two attempts.
const LONGEST_PAUSE_MS: u64 = 60_000;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// An answer with this status.
    Answered(u16),
    /// None; it may be better next time.
    Again(String),
    /// None, and there will be none until somebody changes something.
    Never(String),
    /// None, and nobody wants it any more.
    Unwanted(String),
}

/// What is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: WebhookDeliveryState,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    /// Given up, and nobody misses it: it is no dead letter.
    pub(super) unwanted: bool,
    /// The pause before the next attempt; none when it is over.
    pub(super) pause_ms: Option<u64>,
}

/// The verdict over attempt number `attempts` (from 1) of what happened at `at_ms`.
pub(super) fn next_attempt(tried: Tried, attempts: u32, (at_ms, now_ms): (u64, u64)) -> Verdict {
    let pause_ms = pause_ms(attempts);
    let late = now_ms.saturating_add(pause_ms) > at_ms.saturating_add(WINDOW_MS);
    let waits = match late {
        true => WebhookDeliveryState::GivenUp,
        false => WebhookDeliveryState::Pending,
    };
    let unwanted = matches!(tried, Tried::Unwanted(_));
    let (state, status, error) = match tried {
        Tried::Answered(status @ 200..300) => (WebhookDeliveryState::Delivered, Some(status), None),
        Tried::Answered(status) => (waits, Some(status), None),
        Tried::Again(error) => (waits, None, Some(error)),
        Tried::Never(error) | Tried::Unwanted(error) => {
            (WebhookDeliveryState::GivenUp, None, Some(error))
        }
    };
    Verdict {
        state,
        status,
        error,
        unwanted,
        pause_ms: (state == WebhookDeliveryState::Pending).then_some(pause_ms),
    }
}

/// The pause after so many attempts, ms.
fn pause_ms(attempts: u32) -> u64 {
    let doubled = FIRST_PAUSE_MS.checked_shl(attempts.saturating_sub(1));
    doubled.unwrap_or(u64::MAX).min(LONGEST_PAUSE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<u64> = (1..=8).map(pause_ms).collect();
        let wanted = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
        assert_eq!(pauses, wanted);
        assert_eq!(pause_ms(200), 60_000);
    }

    /// Plays a receiver that always does the same and takes its time; when each attempt was made, and the end.
    fn played(tried: &Tried, takes_ms: u64) -> (Vec<u64>, WebhookDeliveryState) {
        let (at_ms, mut now_ms, mut attempts) = (1_000_000, 1_000_000, Vec::new());
        loop {
            attempts.push(now_ms - at_ms);
            now_ms += takes_ms;
            let count = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
            let verdict = next_attempt(tried.clone(), count, (at_ms, now_ms));
            match verdict.pause_ms {
                Some(pause_ms) => now_ms += pause_ms,
                None => return (attempts, verdict.state),
            }
        }
    }

    #[test]
    fn a_receiver_that_fails_is_given_up_after_five_minutes() {
        for tried in [
            Tried::Answered(500),
            Tried::Answered(302),
            Tried::Again("x".into()),
        ] {
            let (attempts, end) = played(&tried, 0);
            let wanted = [
                0, 1_000, 3_000, 7_000, 15_000, 31_000, 63_000, 123_000, 183_000, 243_000,
            ];
            assert_eq!(
                (attempts, end),
                (wanted.to_vec(), WebhookDeliveryState::GivenUp)
            );
        }
        // One that takes long to fail is asked less often, and never after its time.
        let (attempts, end) = played(&Tried::Again("timed out".into()), 10_000);
        assert_eq!(end, WebhookDeliveryState::GivenUp);
        assert_eq!(attempts.len(), 9);
        assert!(attempts.iter().all(|at| *at <= WINDOW_MS), "{attempts:?}");
    }

    #[test]
    fn what_is_taken_or_hopeless_is_tried_once() {
        for status in [200, 204, 299] {
            let (attempts, end) = played(&Tried::Answered(status), 1);
            assert_eq!((attempts.len(), end), (1, WebhookDeliveryState::Delivered));
        }
        let (attempts, end) = played(&Tried::Never("gone".into()), 1);
        assert_eq!((attempts.len(), end), (1, WebhookDeliveryState::GivenUp));
    }
}
