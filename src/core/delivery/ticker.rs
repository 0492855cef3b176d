//! One worker thread's ticks: fires deadlines, and looks at the lease and the clocks.
//!
//! **Why not an interval:** a thread with nothing to do is asleep, and waking it twenty times a second to find nothing due
//! costs more than all the looking. It sleeps until the first deadline or the end of the lease, whatever is earlier.

use super::dispatch::Dispatch;
use super::worker_state::WorkerState;
use crate::core::authority::{Authority, Freshness};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// At most one look in this long. What is due fires at most this late.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// At least one look in this long: a jump of the cluster's time announces itself to nobody.
const MAX_INTERVAL: Duration = Duration::from_millis(250);
/// A step of the cluster's time against this machine's that is more than two clocks' difference in speed.
const MAX_CLOCK_SKEW_MS: i128 = 100;

/// What is looked at.
pub(super) struct Ticker {
    state: Rc<WorkerState>,
    authority: Arc<Authority>,
    dispatch: Rc<Dispatch>,
    /// Cluster time minus this machine's monotonic time, as the connections' deadlines know it.
    offset_ms: Option<i128>,
}

impl Ticker {
    /// Of these tables.
    pub(super) fn new(
        state: Rc<WorkerState>,
        authority: Arc<Authority>,
        dispatch: Rc<Dispatch>,
    ) -> Self {
        Self {
            state,
            authority,
            dispatch,
            offset_ms: None,
        }
    }

    /// Looks whenever something is due, for ever.
    pub(super) async fn run(mut self) {
        loop {
            self.look();
            let looked = Instant::now();
            while !self.slept(looked).await {}
        }
    }

    /// Sleeps until the next look. False when somebody else wants it earlier meanwhile.
    async fn slept(&self, looked: Instant) -> bool {
        let (next, at_mono_ms) = self.next(looked);
        let reschedule = self.state.rescheduled(at_mono_ms);
        tokio::select! {
            () = sleep_until(next) => true,
            () = reschedule => false,
        }
    }

    /// When to look next; the same in mono ms.
    fn next(&self, looked: Instant) -> (Instant, u64) {
        let now = self.authority.now().mono_ms;
        let due = self.state.next_deadline();
        let due = due.map_or(MAX_INTERVAL, |at| {
            Duration::from_millis(at.saturating_sub(now))
        });
        let serves = match self.authority.freshness() {
            // One more, so that it is over by then.
            Freshness::Fresh(age) => {
                self.authority.lease().saturating_sub(age) + Duration::from_millis(1)
            }
            Freshness::Stale(_) | Freshness::Never => MIN_INTERVAL,
        };
        let at = Instant::now() + due.min(serves);
        let next = at.clamp(looked + MIN_INTERVAL, looked + MAX_INTERVAL);
        let wait = next.saturating_duration_since(Instant::now());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        (next, now.saturating_add(wait_ms))
    }

    fn look(&mut self) {
        self.follow_time();
        let now = self.authority.now().mono_ms;
        self.state.fire(now);
        self.dispatch.tick(now);
    }

    /// Deadlines run on this machine's clock. When the cluster's time jumps ahead of it, they are asked again.
    fn follow_time(&mut self) {
        let now = self.authority.now();
        let offset_ms = i128::from(now.cluster_ms) - i128::from(now.mono_ms);
        let before = *self.offset_ms.get_or_insert(offset_ms);
        if offset_ms > before + MAX_CLOCK_SKEW_MS {
            self.offset_ms = Some(offset_ms);
            self.state.recheck_deadlines();
        }
    }
}
