//! One shared catch-up: however many refusals wait for a fresh view, one read index answers all of them.
//!
//! **Why rounds and not a cached result:** a caller needs a round that *began after* its question; the result of one
//! already under way proves nothing about it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

use crate::core::access::{ReadError, Revision};

/// Shortest time between the starts of two rounds: what unknown credentials can cost a cluster.
const MIN_ROUND_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// Rounds started so far.
    started: AtomicU64,
    last: tokio::sync::Mutex<Option<Round>>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    at: Instant,
    result: Result<Revision, ReadError>,
}

impl CatchUp {
    /// Rounds started so far.
    pub(super) fn started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// The result of a round that began after this call.
    pub(super) async fn join<F, R>(&self, round: F) -> Result<Revision, ReadError>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<Revision, ReadError>>,
    {
        let wanted = self.started.load(Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if let Some(done) = last.as_ref() {
            if done.number >= wanted {
                return done.result.clone();
            }
            tokio::time::sleep_until(done.at + MIN_ROUND_INTERVAL).await;
        }
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        let at = Instant::now();
        let result = round().await;
        *last = Some(Round {
            number,
            at,
            result: result.clone(),
        });
        result
    }
}
