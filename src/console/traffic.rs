//! What clients do on this node, as metrics: connections, messages, refusals, publishing, HTTP.
//!
//! **Must never know:** users, channels, keys, tokens: as labels they would grow without bound and tell too much.

use super::page::{Histogram, Labels, Page};
use crate::core::broker::Broker;
use crate::core::delivery::traffic::{LAG_BUCKETS_MS, Lane, Report};
use crate::core::durations::BUCKETS_US;
use crate::core::ids::AppId;
use crate::core::refusals::Rule;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Apps with a label of their own, those that were seen first; all others are `other` together.
const APPS: usize = 100;

/// Which apps have a label of their own. For as long as the process lives, so that no series ends and begins anew.
#[derive(Debug, Default)]
pub(super) struct AppLabels(Mutex<BTreeSet<AppId>>);

impl AppLabels {
    /// The app's label.
    fn of(&self, app: Option<AppId>) -> String {
        let Some(app) = app else {
            return "none".into();
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&app) || known.len() < APPS {
            known.insert(app);
            return app.to_string();
        }
        "other".into()
    }
}

fn dialect(name: &str) -> (&'static str, String) {
    ("dialect", name.to_owned())
}

/// Adds all of it to this page.
pub(super) fn show(page: &mut Page, broker: &Broker, report: &Report, labels: &AppLabels) {
    lanes(page, report, labels);
    connections(page, report);
    refusals(page, broker, report);
    let help = "From the stamp of a message's home to the outboxes of this node, once for each worker thread";
    let lags = &report.lags;
    let lags = Histogram::new(&LAG_BUCKETS_MS, &lags.counts, lags.sum_ms, 1_000);
    page.histogram(("delivery_lag_seconds", help), lags);
    let (counts, sum_us) = broker.publishing.read();
    let publishing = Histogram::new(&BUCKETS_US, &counts, sum_us, 1_000_000);
    let help = "From a publish over HTTP to the acknowledgement by the channel's home and backup";
    page.histogram(("publish_duration_seconds", help), publishing);
    let (channels, occupied, members) = broker.channels.totals();
    let mut gauge = |name: &str, help: &str, value: u64| {
        page.gauges((name, help), [(Labels::new(), value)]);
    };
    gauge(
        "channels",
        "Channels on this node: as home, as backup, or with subscribers here",
        channels,
    );
    gauge(
        "channels_occupied",
        "Channels that this node is home of and that somebody subscribes to",
        occupied,
    );
    gauge(
        "presence_members",
        "Entries of the presence sets that this node is home of",
        members,
    );
}

/// What there is by dialect and app.
fn lanes(page: &mut Page, report: &Report, labels: &AppLabels) {
    let mut lanes: BTreeMap<(&str, String), Lane> = BTreeMap::new();
    for ((dialect, app), lane) in &report.lanes {
        *lanes.entry((dialect, labels.of(*app))).or_default() += *lane;
    }
    let of = |what: fn(&Lane) -> u64| {
        let rows = lanes.iter().map(move |((name, app), lane)| {
            let labels: Labels = vec![dialect(name), ("app", app.clone())];
            (labels, what(lane))
        });
        rows.collect::<Vec<_>>()
    };
    let both = |to: fn(&Lane) -> u64, from: fn(&Lane) -> u64| {
        let with = |dir: &str, rows: Vec<(Labels, u64)>| {
            let row = |(mut labels, count): (Labels, u64)| {
                labels.push(("dir", dir.to_owned()));
                (labels, count)
            };
            rows.into_iter().map(row).collect::<Vec<_>>()
        };
        let mut rows = with("in", of(from));
        rows.extend(with("out", of(to)));
        rows
    };
    page.gauges(
        ("connections", "Connections of clients now"),
        of(|lane| lane.connections),
    );
    page.gauges(
        ("subscriptions", "Subscriptions of these connections now"),
        of(|lane| lane.subscriptions),
    );
    page.gauges(
        ("outbuf_bytes", "Bytes that wait for clients' sockets now"),
        of(|lane| lane.queued_bytes),
    );
    let messages = both(|lane| lane.sums.sent, |lane| lane.sums.received);
    let help =
        "Whole messages of clients' connections: frames of WebSockets, lines of the fallbacks";
    page.counters(("messages", help), messages);
    let bytes = both(|lane| lane.sums.sent_bytes, |lane| lane.sums.received_bytes);
    let help = "Bytes of these messages: what came in without its framing, what went out with it";
    page.counters(("message_bytes", help), bytes);
}

fn connections(page: &mut Page, report: &Report) {
    let opened = report.opened.iter();
    page.counters(
        ("connections_opened", "Connections that began on this node"),
        opened.map(|(name, count)| (vec![dialect(name)], *count)),
    );
    let closed = report.closed.iter().map(|((name, code), count)| {
        let code = match code {
            0 => "none".to_owned(),
            code => code.to_string(),
        };
        (vec![dialect(name), ("code", code)], *count)
    });
    let help = "Connections that ended, by the close code that this node sent; none = the client left, its socket broke or it did \
                not read";
    page.counters(("disconnects", help), closed);
}

fn refusals(page: &mut Page, broker: &Broker, report: &Report) {
    let refused = broker.refusals.counted();
    let by = |wanted: fn(Rule) -> bool| {
        let all = refused.iter().filter(move |((_, rule), _)| wanted(*rule));
        all.map(|((name, rule), count)| ((*name, *rule), *count))
    };
    let rows = by(|_| true)
        .map(|((name, rule), count)| (vec![dialect(name), ("rule", rule.row().0.into())], count));
    let help = "What was refused: connections, subscriptions, publishes, HTTP calls, tokens";
    page.counters(("refusals", help), rows);
    let only = |rule: fn(Rule) -> bool| by(rule).map(|((name, _), n)| (vec![dialect(name)], n));
    page.counters(
        ("ratelimited", "What was refused because it came too fast"),
        only(|rule| rule == Rule::TooFast),
    );
    let help = "Connections that ended because their client did not read what waited for it";
    page.counters(
        ("slow_consumer_closed", help),
        only(|rule| rule == Rule::SlowReader),
    );
    let outcome = |name: &str, outcome: &str, reason: &str| {
        let outcome = ("outcome", outcome.to_owned());
        vec![dialect(name), outcome, ("reason", reason.to_owned())]
    };
    let let_in = report.let_in.iter();
    let let_in = let_in.map(|(name, count)| (outcome(name, "ok", "none"), *count));
    let refused = by(Rule::is_of_credentials);
    let refused = refused.map(|((name, rule), n)| (outcome(name, "refused", rule.row().0), n));
    let help = "Credentials that clients showed: connections that were let in as whom they say they are, and whatever was refused";
    page.counters(("client_auth", help), let_in.chain(refused));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_apps_have_labels_and_keep_them() {
        let labels = AppLabels::default();
        let of = |app: u64| labels.of(Some(AppId(app)));
        for app in 0..APPS as u64 {
            assert_eq!(of(app), app.to_string());
        }
        assert_eq!((of(5_000), of(6_000)), ("other".into(), "other".into()));
        assert_eq!((of(7), labels.of(None)), ("7".into(), "none".into()));
    }
}
