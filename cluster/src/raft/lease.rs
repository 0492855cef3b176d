//! The freshness lease: the right to serve protected data, renewed by proof.
//!
//! A round notes `t0` on this machine's monotonic clock, obtains a read index R, waits until R is applied
//! *and enforced*, and only then says: the view is no older than `t0`. Heartbeats prove nothing: a node cut
//! off together with a deposed leader goes on hearing them.
//!
//! A round counts only while the node finds its own start (its epoch) Up in that view. So once Down is
//! committed, no round that begins later renews: a Down node's lease ends a lease after its Down.
//!
//! No wall clock is read.

use super::core::Core;
use crate::access::{MemberState, NodeId};
use crate::contract::Freshness;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Pause after a round that failed.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// How fresh this node's view provably is. Read from any thread, without a lock.
#[derive(Debug)]
pub(crate) struct Lease {
    lease: Duration,
    base: Instant,
    /// Microseconds after `base` plus one; 0 = never.
    fresh_at: AtomicU64,
    /// The epoch of this start, once the cluster has agreed on it; 0 = not yet.
    epoch: watch::Sender<u64>,
    ended: AtomicU64,
    ready: watch::Sender<bool>,
}

impl Lease {
    /// Not fresh yet.
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            lease,
            base: Instant::now(),
            fresh_at: AtomicU64::new(0),
            epoch: watch::Sender::new(0),
            ended: AtomicU64::new(0),
            ready: watch::Sender::new(false),
        }
    }

    /// How current this node's view is.
    pub(crate) fn freshness(&self) -> Freshness {
        let Some(at) = self.fresh_at.load(Ordering::Acquire).checked_sub(1) else {
            return Freshness::Never;
        };
        let age = self
            .base
            .elapsed()
            .saturating_sub(Duration::from_micros(at));
        if age <= self.lease && self.ended.load(Ordering::Acquire) == 0 {
            Freshness::Fresh(age)
        } else {
            Freshness::Stale(age)
        }
    }

    /// The agreed epoch of this start.
    pub(crate) fn epoch(&self) -> u64 {
        *self.epoch.borrow()
    }

    /// The same, and every change of it.
    pub(crate) fn epochs(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// The cluster has agreed that this start is Up.
    pub(super) fn set_epoch(&self, epoch: u64) {
        self.epoch.send_replace(epoch);
    }

    /// Resolves at the first renewal.
    pub(crate) async fn ready(&self) {
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Ends the lease for good.
    pub(crate) fn end(&self) {
        self.ended.store(1, Ordering::Release);
    }

    fn renew(&self, t0: Instant) {
        let at = t0.saturating_duration_since(self.base).as_micros();
        let at = u64::try_from(at).unwrap_or(u64::MAX - 1) + 1;
        self.fresh_at.fetch_max(at, Ordering::AcqRel);
        self.ready
            .send_if_modified(|ready| !std::mem::replace(ready, true));
    }
}

/// Renews the lease for ever.
pub(super) async fn run(core: Arc<Core>) {
    loop {
        let t0 = Instant::now();
        match tokio::time::timeout(core.config.lease, round(&core)).await {
            Ok(true) => {
                core.lease.renew(t0);
                core.ticks.next(core.config.lease_renewal).await;
            }
            Ok(false) | Err(_) => tokio::time::sleep(RETRY_DELAY).await,
        }
    }
}

async fn round(core: &Core) -> bool {
    if core.health.clock_is_wrong() {
        return false;
    }
    let Some(index) = core.reader.index().await else {
        return false;
    };
    core.view.wait_enforced(index).await;
    is_up(core)
}

/// Whether the view shows this very start of this node in service.
pub(super) fn is_up(core: &Core) -> bool {
    let epoch = core.lease.epoch();
    let state = core.view.state();
    epoch != 0
        && state
            .members
            .get(&NodeId(core.me))
            .is_some_and(|member| member.epoch == epoch && member.state != MemberState::Down)
}
