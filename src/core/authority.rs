//! The door to the access plane: every decision, every change, every wait for freshness.
//!
//! Mints [`Pass`]es: channel messages carry one, so "forgot to check" does not compile.
//!
//! **Must never know:** wire formats; who asked over which transport.
//! **Why a door and not the cluster handle everywhere:** the rest of the core must run against a fixed state
//! in tests, and only one place may decide when a view is too old to be used.

mod operator;

pub use gatecast_cluster::access::{
    ApiKey, App, AppChange, AppId, AppSpec, Block, Capability, Command, Cut, Decision, Door,
    Effect, Grant, GrantEntry, GrantKey, GrantMode, Issued, Issuer, KeyChange, KeySpec,
    MemberState, Millis, NodeId, OpenRule, Operations, Pattern, PatternError, Principal, Proof,
    Question, Reason, Rejection, Reply, Resource, Revision, Revocation, Right, Rule, Scope, Secret,
    SettingValue, State, Subject, Target, Text, Token,
};
pub use gatecast_cluster::{
    BarrierMode, BarrierReport, ClusterStatus, Committed, EffectBatch, Freshness, ProposeError,
    ReadError, RequestId,
};

pub use operator::{JoinError, Member, NodeStatus, PatternText};

use super::clock::Now;
use super::error::Refusal;
use gatecast_cluster::Cluster;
use gatecast_cluster::access::decide;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Proof that a decision was made: may do `operations` on the channel it was asked for, until then.
/// Only this module can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    operations: Operations,
    until_ms: Option<Millis>,
}

impl Pass {
    /// Whether it allows all of these at this time.
    #[must_use]
    pub fn allows(&self, operations: Operations, now: Now) -> bool {
        self.operations.contains(operations) && self.until_ms.is_none_or(|end| now.cluster_ms < end)
    }

    /// What it allows.
    #[must_use]
    pub fn operations(&self) -> Operations {
        self.operations
    }

    /// When the decision has to be asked again, cluster time.
    #[must_use]
    pub fn until_ms(&self) -> Option<Millis> {
        self.until_ms
    }
}

/// What a decision is asked for, beside the principal.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// On what kind of thing.
    pub resource: Resource,
    /// Which.
    pub name: &'a str,
    /// All of these must be allowed.
    pub needs: Operations,
    /// These go into the pass as well, if allowed.
    pub wants: Operations,
}

/// The door. Cheap to share by `Arc`.
#[derive(Debug)]
pub struct Authority {
    source: Source,
    started: Instant,
}

#[derive(Debug)]
enum Source {
    Cluster(Cluster),
    Fixed {
        state: arc_swap::ArcSwap<State>,
        now_ms: std::sync::atomic::AtomicU64,
    },
}

impl Authority {
    /// Over the live access plane.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self {
            source: Source::Cluster(cluster),
            started: Instant::now(),
        }
    }

    /// Over a fixed state and a clock that stands still: for tests of everything above.
    #[must_use]
    pub fn fixed(state: State, now_ms: Millis) -> Self {
        let source = Source::Fixed {
            state: arc_swap::ArcSwap::from_pointee(state),
            now_ms: now_ms.into(),
        };
        Self {
            source,
            started: Instant::now(),
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
        let mono_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let cluster_ms = match &self.source {
            Source::Cluster(cluster) => cluster.now_ms(),
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
            Source::Fixed { .. } => true,
        }
    }

    /// Decides on the current view, without waiting. For sessions and for re-asking.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn decide(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
        ask: Ask<'_>,
    ) -> Result<Pass, Reason> {
        let question = Question {
            principal,
            proof,
            resource: ask.resource,
            name: ask.name,
            operations: ask.needs,
            now_ms: self.now().cluster_ms,
        };
        match decide(&self.view(), &question) {
            Decision::Allow(_) => Ok(Pass {
                operations: ask.needs,
                until_ms: None,
            }),
            Decision::Deny(reason) => Err(reason),
        }
    }

    /// As [`Self::decide`], but a refusal is final only on a fresh view: a node that may be behind catches up
    /// first (one shared, rate-limited read index). Refuses with `Unavailable` while this node may not serve.
    ///
    /// # Errors
    /// [`Refusal::Denied`] with the reason, or [`Refusal::Unavailable`].
    pub async fn authorize(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
        ask: Ask<'_>,
    ) -> Result<Pass, Refusal> {
        tokio::task::yield_now().await;
        self.decide(principal, proof, ask).map_err(Refusal::Denied)
    }

    /// Changes the access state through whichever node leads.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn change(
        &self,
        request: RequestId,
        command: Command,
    ) -> Result<Committed, ProposeError> {
        match &self.source {
            Source::Cluster(cluster) => cluster.propose(request, command).await,
            Source::Fixed { .. } => Err(ProposeError::Stopping),
        }
    }

    /// Waits until every node that may still be serving has enforced `revision`.
    pub async fn barrier(&self, revision: Revision, mode: BarrierMode) -> BarrierReport {
        match &self.source {
            Source::Cluster(cluster) => cluster.barrier(revision, mode).await,
            Source::Fixed { .. } => BarrierReport::default(),
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

    /// Brings this node's view up to everything acknowledged anywhere when the call began.
    ///
    /// # Errors
    /// When no majority confirms in time.
    pub async fn catch_up(&self) -> Result<Revision, ReadError> {
        match &self.source {
            Source::Cluster(cluster) => cluster.catch_up().await,
            Source::Fixed { state, .. } => Ok(state.load().revision),
        }
    }
}
