//! The [`Authority`] itself: the access plane as the rest of the core sees it, its view, its clocks, and how fresh they
//! are.
//!
//! **Why a facade and not the cluster's handle everywhere:** only one place may decide when a view is too old to be used,
//! and tests of everything above run against a state that stands still.

use super::catchup::CatchUp;
use super::key_wishes::KeyWishes;
use crate::core::access::{
    ApiKey, App, AppId, Decision, Freshness, Millis, Principal, Question, ReadError, Reason,
    Revision, State, Text,
};
use crate::core::clock::Now;
use gatecast_cluster::Cluster;
use gatecast_cluster::access::{check_revocation, decide_until};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The access plane for everything above it. Cheap to share by `Arc`.
#[derive(Debug)]
pub struct Authority {
    pub(super) source: Source,
    started: Instant,
    catch_up: CatchUp,
    key_wishes: KeyWishes,
}

/// What the authority stands over.
#[derive(Debug)]
pub(super) enum Source {
    Cluster(Cluster),
    /// A state that stands still, for tests of everything above.
    #[cfg(test)]
    Fixed(Box<super::fixture::Fixed>),
}

impl Authority {
    /// Over the live access plane.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self::over(Source::Cluster(cluster))
    }

    pub(super) fn over(source: Source) -> Self {
        Self {
            source,
            started: Instant::now(),
            catch_up: CatchUp::default(),
            key_wishes: KeyWishes::default(),
        }
    }

    /// The current view; lock-free.
    #[must_use]
    pub fn view(&self) -> Arc<State> {
        match &self.source {
            Source::Cluster(cluster) => cluster.view(),
            #[cfg(test)]
            Source::Fixed(fixed) => fixed.view(),
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
            #[cfg(test)]
            Source::Fixed(fixed) => fixed.now_ms(),
        };
        Now {
            mono_ms,
            cluster_ms,
        }
    }

    /// The key of that id, if there is one.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<Arc<ApiKey>> {
        self.view().keys.get(id).cloned()
    }

    /// The app of that id, if there is one.
    #[must_use]
    pub fn app(&self, id: AppId) -> Option<Arc<App>> {
        self.view().apps.get(&id).cloned()
    }

    /// Whether this node may serve protected data: its view is proven to be within the lease.
    #[must_use]
    pub fn serving(&self) -> bool {
        match &self.source {
            Source::Cluster(cluster) => matches!(cluster.freshness(), Freshness::Fresh(_)),
            #[cfg(test)]
            Source::Fixed(fixed) => fixed.serving(),
        }
    }

    /// The decision, and until when a yes holds by what is known now.
    pub(super) fn decide_until(
        &self,
        state: &State,
        question: &Question<'_>,
    ) -> (Decision, Option<Millis>) {
        #[cfg(test)]
        if let Some(decide) = self.own_rules() {
            return (decide(state, question), None);
        }
        decide_until(state, question)
    }

    /// The lease: how long this node may serve by a view that nobody confirms.
    #[must_use]
    pub fn lease(&self) -> Duration {
        match &self.source {
            Source::Cluster(cluster) => cluster.lease(),
            #[cfg(test)]
            Source::Fixed(_) => Duration::from_secs(3),
        }
    }

    /// Why this principal's credential no longer stands on the current view, if it does not.
    #[must_use]
    pub fn objection(&self, principal: &Principal) -> Option<Reason> {
        self.objection_on(&self.view(), principal)
    }

    /// As [`Self::objection`], on this state.
    #[must_use]
    pub fn objection_on(&self, state: &State, principal: &Principal) -> Option<Reason> {
        #[cfg(test)]
        if self.own_rules().is_some() {
            return None;
        }
        let now_ms = self.now().cluster_ms;
        check_revocation(state, principal, principal.proof.as_ref(), now_ms)
    }

    /// Wants this provider's keys fetched. It has to be there: what is wanted is bounded by that.
    pub fn want_keys(&self, app: AppId, provider: Text) {
        self.key_wishes.want(app, provider);
    }

    /// Waits until keys are wanted, and takes all of that up.
    pub async fn wanted_keys(&self) -> BTreeSet<(AppId, Text)> {
        self.key_wishes.wanted().await
    }

    /// Waits until this node's view is at least as new as `revision`.
    ///
    /// # Errors
    /// When it does not get there in time.
    pub async fn at_least(&self, revision: Revision, timeout: Duration) -> Result<(), ReadError> {
        match &self.source {
            Source::Cluster(cluster) => cluster.at_least(revision, timeout).await,
            #[cfg(test)]
            Source::Fixed(fixed) => match fixed.view().revision {
                at if at >= revision => Ok(()),
                at => Err(ReadError::Behind {
                    wanted: revision,
                    at,
                }),
            },
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
            #[cfg(test)]
            Source::Fixed(fixed) => {
                let round = || std::future::ready(Ok(fixed.view().revision));
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
            #[cfg(test)]
            Source::Fixed(_) => {}
        }
    }
}
