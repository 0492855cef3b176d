//! What `/v1` counts about itself. The console shows it; nothing else reads it.
//!
//! **Must never know:** apps, users, channels or keys: their names would make the number of series unbounded.

use crate::outbound::hear::Counts;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// How an authentication ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// `ok` or `refused`.
    pub outcome: &'static str,
    /// Error code, or `none`.
    pub reason: &'static str,
}

/// The counters. Clones share them.
#[derive(Clone, Debug)]
pub struct Meter {
    /// Authentications of `/v1` requests.
    pub auth: Family<Outcome, Counter>,
    /// Seconds from proposal to commit.
    pub commit_seconds: Histogram,
    /// Seconds from commit to enforcement everywhere.
    pub barrier_seconds: Histogram,
    /// Security events that providers have sent.
    pub events: Counts,
    /// Connections closed by narrowing writes made through this node.
    pub closed: Counter,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            auth: Family::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            barrier_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            events: Counts::default(),
            closed: Counter::default(),
        }
    }
}

impl Meter {
    /// Shows the counters in this registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("auth", "Authentications of /v1 requests", self.auth.clone());
        registry.register(
            "grant_commit_seconds",
            "From proposal to durable commit of an access change",
            self.commit_seconds.clone(),
        );
        registry.register(
            "revoke_barrier_seconds",
            "From commit of a narrowing change to its enforcement on every node",
            self.barrier_seconds.clone(),
        );
        let help = "Security events that identity providers have sent to this node";
        self.events
            .register(registry, "provider_events_pushed", help);
        registry.register(
            "revoke_closed",
            "Connections closed by narrowing changes",
            self.closed.clone(),
        );
    }

    /// Counts an authentication.
    pub fn authenticated(&self, refused: Option<&'static str>) {
        let label = Outcome {
            outcome: if refused.is_some() { "refused" } else { "ok" },
            reason: refused.unwrap_or("none"),
        };
        self.auth.get_or_create(&label).inc();
    }
}
