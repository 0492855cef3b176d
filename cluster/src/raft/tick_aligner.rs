//! Aligns the ticks of a node's loops, so that a sleeping core is woken once for all of them.
//!
//! **Why not a timer for each:** waking a core that sleeps costs more than all that looking, because everything
//! it needs comes from far away. Seven loops of 50 to 500 ms woke an idle node 66 times a second.

use std::time::Duration;
use tokio::time::Instant;

/// The moments of one node.
#[derive(Debug)]
pub(crate) struct TickAligner {
    base: Instant,
}

impl TickAligner {
    /// Ticks that are counted from now.
    pub(super) fn new() -> Self {
        Self {
            base: Instant::now(),
        }
    }

    /// Waits for the next moment that divides into periods: as long as one at most. Periods that divide each
    /// other have moments in common.
    pub(super) async fn next(&self, period: Duration) {
        let now = Instant::now();
        let period = period.max(Duration::from_millis(1)).as_nanos();
        let over = now.saturating_duration_since(self.base).as_nanos() % period;
        let left = u64::try_from(period - over).unwrap_or(u64::MAX);
        tokio::time::sleep_until(now + Duration::from_nanos(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::TickAligner;
    use std::time::Duration;
    use tokio::time::Instant;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_meets_the_others() {
        let ticks = TickAligner::new();
        let began = Instant::now();
        tokio::time::sleep(MS * 130).await;
        let met = |ms: u32| {
            let next = ticks.next(MS * ms);
            async move {
                next.await;
                began.elapsed()
            }
        };
        let all = tokio::join!(met(100), met(50), met(200));
        assert_eq!(all, (MS * 200, MS * 150, MS * 200));
        // In a moment, the one after it is waited for.
        ticks.next(MS * 100).await;
        assert_eq!(began.elapsed(), MS * 300);
    }
}
