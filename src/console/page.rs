//! Numbers that are read when they are asked for, as families of a registry that lasts for one answer.
//!
//! **Why not families that last:** of what has gone (an app, a code that is no longer sent) a lasting family shows the last
//! number for ever, and whoever keeps it current has to be told of everything.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

/// Labels with their values.
pub(super) type Labels = Vec<(&'static str, String)>;

/// The registry of one answer.
#[derive(Debug)]
pub(super) struct Page(pub(super) Registry);

impl Page {
    /// Counters by their labels.
    pub(super) fn counters(
        &mut self,
        (name, help): (&str, &str),
        rows: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, count) in rows {
            family.get_or_create(&labels).inc_by(count);
        }
        self.0.register(name, help, family);
    }

    /// Gauges by their labels.
    pub(super) fn gauges(
        &mut self,
        (name, help): (&str, &str),
        rows: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in rows {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }

    /// One gauge without labels.
    pub(super) fn gauge(&mut self, (name, help): (&str, &str), value: f64) {
        let gauge = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    /// One counter of seconds without labels.
    pub(super) fn seconds(&mut self, (name, help): (&str, &str), value: f64) {
        let counter = Counter::<f64, std::sync::atomic::AtomicU64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    /// A histogram by the counts of its buckets, the last of which has no bound.
    pub(super) fn histogram(&mut self, (name, help): (&str, &str), histogram: Histogram) {
        self.0.register(name, help, histogram);
    }
}

/// A histogram that was counted elsewhere.
#[derive(Debug)]
pub(super) struct Histogram {
    sum: f64,
    buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// With bounds in parts of a second, so many of which make one.
    pub(super) fn new(bounds: &[u64], counts: &[u64], sum: u64, per_second: u64) -> Self {
        // Durations of years lose a microsecond here.
        #[allow(clippy::cast_precision_loss)]
        let seconds = |parts: u64| parts as f64 / per_second as f64;
        let bounds = bounds.iter().map(|bound| seconds(*bound));
        Self {
            sum: seconds(sum),
            buckets: bounds
                .chain([f64::MAX])
                .zip(counts.iter().copied())
                .collect(),
        }
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}
