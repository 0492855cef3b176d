//! The [`Authority`] itself: what it stands over, its view, its clocks, and how fresh they are.
//!
//! **Why a door and not the cluster handle everywhere:** the rest of the core must run against a fixed state
//! in tests, and only one place may decide when a view is too old to be used.

use super::catchup::CatchUp;
use crate::core::access::{
    ApiKey, App, AppId, Decision, Freshness, Millis, Principal, Question, ReadError, Reason,
    Revision, State,
};
use crate::core::clock::Now;
use gatecast_cluster::Cluster;
use gatecast_cluster::access::{check_revocation, decide_until};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The door. Cheap to share by `Arc`.
#[derive(Debug)]
pub struct Authority {
    pub(super) source: Source,
    started: Instant,
    catch_up: CatchUp,
}

/// A test's own decision function.
pub type Judge = fn(&State, &Question<'_>) -> Decision;

/// What the authority stands over.
#[derive(Debug)]
pub(super) enum Source {
    Cluster(Cluster),
    Fixed {
        state: arc_swap::ArcSwap<State>,
        now_ms: std::sync::atomic::AtomicU64,
        serving: std::sync::atomic::AtomicBool,
        judge: Option<Judge>,
        #[cfg(test)]
        writes: Box<super::fixture::Writes>,
    },
}

impl Authority {
    /// Over the live access plane.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self::over(Source::Cluster(cluster))
    }

    /// Over a fixed state and a clock that stands still: for tests of everything above.
    #[must_use]
    pub fn fixed(state: State, now_ms: Millis) -> Self {
        Self::still(state, now_ms, None)
    }

    /// As [`Self::fixed`], deciding by a function of the test; it takes every credential for standing.
    #[must_use]
    pub fn fixed_by(state: State, now_ms: Millis, judge: Judge) -> Self {
        Self::still(state, now_ms, Some(judge))
    }

    fn still(state: State, now_ms: Millis, judge: Option<Judge>) -> Self {
        Self::over(Source::Fixed {
            state: arc_swap::ArcSwap::from_pointee(state),
            now_ms: now_ms.into(),
            serving: true.into(),
            judge,
            #[cfg(test)]
            writes: Box::default(),
        })
    }

    fn over(source: Source) -> Self {
        Self {
            source,
            started: Instant::now(),
            catch_up: CatchUp::default(),
        }
    }

    /// Gives a fixed authority another state, time and right to serve; nothing on a live one.
    pub fn set_fixed(&self, new_state: State, new_now_ms: Millis, may_serve: bool) {
        match &self.source {
            Source::Cluster(_) => {}
            Source::Fixed {
                state,
                now_ms,
                serving,
                ..
            } => {
                state.store(Arc::new(new_state));
                now_ms.store(new_now_ms, std::sync::atomic::Ordering::Relaxed);
                serving.store(may_serve, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    /// The current view; lock-free.
    #[must_use]
    pub fn view(&self) -> Arc<State> {
        match &self.source {
            Source::Cluster(cluster) => cluster.view(),
            Source::Fixed { state, .. } => state.load_full(),
        }
    }

    /// Now, in both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let at = Instant::now();
        let since = at.saturating_duration_since(self.started).as_millis();
        let mono_ms = u64::try_from(since).unwrap_or(u64::MAX);
        let cluster_ms = match &self.source {
            Source::Cluster(cluster) => cluster.ms_at(at),
            Source::Fixed { now_ms, .. } => now_ms.load(std::sync::atomic::Ordering::Relaxed),
        };
        Now {
            mono_ms,
            cluster_ms,
        }
    }

    /// The key of that id, if there is one.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<ApiKey> {
        self.view().keys.get(id).cloned()
    }

    /// The app of that id, if there is one.
    #[must_use]
    pub fn app(&self, id: AppId) -> Option<App> {
        self.view().apps.get(&id).cloned()
    }

    /// Whether this node may serve protected data: its view is proven to be within the lease.
    #[must_use]
    pub fn serving(&self) -> bool {
        match &self.source {
            Source::Cluster(cluster) => matches!(cluster.freshness(), Freshness::Fresh(_)),
            Source::Fixed { serving, .. } => serving.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// The decision, and until when a yes holds by what is known now.
    pub(super) fn judge(
        &self,
        state: &State,
        question: &Question<'_>,
    ) -> (Decision, Option<Millis>) {
        match &self.source {
            Source::Cluster(_) | Source::Fixed { judge: None, .. } => decide_until(state, question),
            Source::Fixed {
                judge: Some(judge), ..
            } => (judge(state, question), None),
        }
    }

    /// B: how long this node may serve by a view that nobody confirms.
    #[must_use]
    pub fn lease(&self) -> Duration {
        match &self.source {
            Source::Cluster(cluster) => cluster.lease(),
            Source::Fixed { .. } => Duration::from_secs(3),
        }
    }

    /// Why this principal's credential no longer stands on the current view, if it does not.
    #[must_use]
    pub fn objection(&self, principal: &Principal) -> Option<Reason> {
        match &self.source {
            Source::Cluster(_) | Source::Fixed { judge: None, .. } => {
                let now_ms = self.now().cluster_ms;
                check_revocation(&self.view(), principal, principal.proof.as_ref(), now_ms)
            }
            Source::Fixed { judge: Some(_), .. } => None,
        }
    }

    /// Waits until this node's view is at least as new as `revision`.
    ///
    /// # Errors
    /// When it does not get there in time.
    pub async fn at_least(&self, revision: Revision, timeout: Duration) -> Result<(), ReadError> {
        match &self.source {
            Source::Cluster(cluster) => cluster.at_least(revision, timeout).await,
            Source::Fixed { .. } => Ok(()),
        }
    }

    /// Brings this node's view up to everything acknowledged anywhere when the call began. Concurrent callers
    /// share one round, and a node starts at most one round per 50 ms.
    ///
    /// # Errors
    /// When no majority confirms in time.
    pub async fn catch_up(&self) -> Result<Revision, ReadError> {
        match &self.source {
            Source::Cluster(cluster) => self.catch_up.join(|| cluster.catch_up()).await,
            Source::Fixed { state, .. } => {
                let round = || std::future::ready(Ok(state.load().revision));
                self.catch_up.join(round).await
            }
        }
    }

    /// How many rounds of catching up this node has begun.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.catch_up.started()
    }

    /// Tells the access plane that everything up to `revision` is carried out here, with so many connections
    /// closed for it.
    pub fn enforced(&self, revision: Revision, closed: u64) {
        match &self.source {
            Source::Cluster(cluster) => cluster.enforced(revision, closed),
            Source::Fixed { .. } => {}
        }
    }
}
