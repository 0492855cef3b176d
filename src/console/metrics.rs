//! Metrics for Prometheus: what others registered, and what the access plane says of itself at the moment.
//!
//! **Must never know:** users, channels, keys, tokens: as labels they would grow without bound and tell too much.
//! **Why gauges are read when asked:** a background task that copies numbers would show old ones as new.

use super::http::HttpCounts;
use super::page::{Labels, Page};
use super::traffic::AppLabels;
use super::{process, traffic};
use crate::core::authority::{Authority, ClusterStatus, DiskSpace, Freshness};
use crate::core::broker::Broker;
use crate::core::delivery::traffic::Report;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The registry and the gauges that are set when they are read.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    fresh: Gauge,
    view_age: Gauge<f64, AtomicU64>,
    term: Gauge,
    leading: Gauge,
    applied: Gauge,
    enforced: Gauge,
    members: Gauge,
    apps: Gauge,
    grants: Gauge,
    clock_off: Gauge<f64, AtomicU64>,
    clock_alarm: Gauge,
    disk: Gauge,
    failed: Gauge,
    lease_remaining: Gauge<f64, AtomicU64>,
    logged: Gauge,
    snapshot: Gauge,
    http: Arc<HttpCounts>,
    apps_shown: AppLabels,
}

/// From where a wall clock that is off is an alarm, milliseconds. From five seconds its node leaves service.
const CLOCK_ALARM_MS: u64 = 500;

impl Metrics {
    /// With whatever else the process counts.
    pub fn new(http: Arc<HttpCounts>, others: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix("gatecast");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let fresh = gauge("view_fresh", "1 while this node may serve protected data");
        let term = gauge("raft_term", "Consensus term");
        let leading = gauge("raft_leader", "1 while this node believes that it leads");
        let applied = gauge("raft_applied_index", "Last applied log index");
        let logged = gauge(
            "raft_log_index",
            "Index of the newest entry in this node's log, committed or not",
        );
        let snapshot = gauge(
            "raft_snapshot_index",
            "Log index up to which this node has a snapshot",
        );
        let enforced = gauge(
            "enforced_index",
            "Last log index carried out on connections",
        );
        let members = gauge("members", "Nodes in the member list");
        let apps = gauge("apps", "Apps");
        let grants = gauge("grants", "Stored grants");
        let clock_alarm = gauge(
            "clock_alarm",
            "This node's wall clock: 0 right, 1 more than 500 ms off, 2 so far off that it left service",
        );
        let disk = gauge(
            "disk_short",
            "Room on this node's disk: 0 enough, 1 takes no changes, 2 takes no entries from the leader either",
        );
        let failed = gauge(
            "failed",
            "1 once this node has stopped taking part for good",
        );
        let clock_off = Gauge::default();
        let help = "How far this node's wall clock is ahead of the cluster's time";
        registry.register("clock_off_seconds", help, clock_off.clone());
        let view_age = Gauge::default();
        let help = "Age of the proof that this node's view is current; -1 = never proven";
        registry.register("view_age_seconds", help, view_age.clone());
        let lease_remaining = Gauge::default();
        let help = "For how long this node may serve without another proof; 0 = it may not";
        registry.register("lease_remaining_seconds", help, lease_remaining.clone());
        others(&mut registry);
        Self {
            registry,
            fresh,
            view_age,
            term,
            leading,
            applied,
            enforced,
            members,
            apps,
            grants,
            clock_off,
            clock_alarm,
            disk,
            failed,
            lease_remaining,
            logged,
            snapshot,
            http,
            apps_shown: AppLabels::default(),
        }
    }

    /// Everything, as text.
    ///
    /// # Errors
    /// When formatting fails.
    pub fn text(&self, broker: &Broker, report: &Report) -> Result<String, std::fmt::Error> {
        self.read(&broker.authority);
        let mut page = Page(Registry::with_prefix("gatecast"));
        traffic::show(&mut page, broker, report, &self.apps_shown);
        let http = self.http.read().into_iter();
        let http = http.map(|((owner, method, status), count)| {
            let texts = [("dialect", owner), ("method", method), ("status", status)];
            let labels: Labels = texts.map(|(name, text)| (name, text.to_owned())).into();
            (labels, count)
        });
        let help = "Answers to HTTP requests, by whose path it was (v1 = our own API, and what is nobody's)";
        page.counters(("http_requests", help), http);
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        page.gauges(("build_info", "What runs here; always 1"), [(version, 1)]);
        let mut process = Page(Registry::default());
        process::show(&mut process);
        let mut text = String::new();
        for registry in [&self.registry, &page.0, &process.0] {
            encode_registry(&mut text, registry)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }

    fn read(&self, authority: &Authority) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let (fresh, age) = match authority.freshness() {
            Freshness::Fresh(age) => (1, age.as_secs_f64()),
            Freshness::Stale(age) => (0, age.as_secs_f64()),
            Freshness::Never => (0, -1.0),
        };
        self.fresh.set(fresh);
        self.view_age.set(age);
        let left_s = authority.lease().as_secs_f64() - age;
        let may = fresh == 1;
        self.lease_remaining
            .set(if may { left_s.max(0.0) } else { 0.0 });
        let view = authority.view();
        self.members.set(size(view.members.len()));
        self.apps.set(size(view.apps.len()));
        self.grants.set(size(view.grants.len()));
        if let Some(status) = authority.status() {
            self.term.set(number(status.term));
            self.leading
                .set(i64::from(status.leader == Some(status.node)));
            self.applied.set(number(status.applied));
            self.enforced.set(number(status.enforced));
            self.logged.set(number(status.logged));
            self.snapshot.set(number(status.snapshot));
            self.look_after(&status);
        }
    }

    /// What an operator has to see to.
    fn look_after(&self, status: &ClusterStatus) {
        let off_ms = status.clock_off_ms;
        self.clock_off.set(
            std::time::Duration::from_millis(off_ms.unsigned_abs()).as_secs_f64() * sign(off_ms),
        );
        let alarm = match (
            status.clock_is_wrong,
            off_ms.unsigned_abs() > CLOCK_ALARM_MS,
        ) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        self.clock_alarm.set(alarm);
        self.disk.set(match status.disk {
            DiskSpace::Enough => 0,
            DiskSpace::Short => 1,
            DiskSpace::Full => 2,
        });
        self.failed.set(i64::from(status.failure.is_some()));
    }
}

fn sign(of: i64) -> f64 {
    if of < 0 { -1.0 } else { 1.0 }
}
