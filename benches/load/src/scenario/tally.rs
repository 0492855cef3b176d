//! What the subscribers of a stretch have received, and what that cost.

use super::Figures;
use crate::histogram::Histogram;
use crate::meter::{Meter, rounded};
use crate::receipts::{Faults, Receipts};
use crate::stamp::Stamp;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long after the last delivery the rest is given up as lost. A machine with other work may stand still for seconds,
/// and what comes after that is late and not lost.
const QUIET: Duration = Duration::from_secs(15);

/// Deliveries to the subscribers whose connection ids begin at `first`.
pub(super) struct Tally {
    first: usize,
    receipts: Vec<Receipts>,
    latency: Histogram,
    delivered: u64,
    /// When the stretch began, in the world's time.
    began: u64,
    /// Deliveries that the stretches before still have to come: they end none of this one's waiting.
    owed: u64,
    last: Instant,
}

impl Tally {
    pub(super) fn new(first: usize, receipts: Vec<Receipts>) -> Self {
        let latency = Histogram::default();
        Self {
            first,
            receipts,
            latency,
            delivered: 0,
            began: 0,
            owed: 0,
            last: Instant::now(),
        }
    }

    /// Books a message that connection `id` received at `now`.
    pub(super) fn arrived(&mut self, id: usize, stamp: Stamp, now: u64) {
        let Some(receipts) = id
            .checked_sub(self.first)
            .and_then(|i| self.receipts.get_mut(i))
        else {
            return;
        };
        receipts.arrived(stamp);
        self.last = Instant::now();
        if stamp.due < self.began {
            self.owed = self.owed.saturating_sub(1);
            return;
        }
        self.latency.record(now.saturating_sub(stamp.due));
        self.delivered += 1;
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether waiting for more is over: all is there, or nothing has come for long.
    pub(super) fn settled(&self, due: u64) -> bool {
        (self.delivered >= due && self.owed == 0) || self.last.elapsed() > QUIET
    }

    /// Begins a stretch at `now`: counts from zero, but remembers who has received what, and what of the one before, in
    /// which `due` were to come, is still to come.
    pub(super) fn begin(&mut self, due: u64, now: u64) {
        self.owed += due.saturating_sub(self.delivered);
        self.began = now;
        self.latency = Histogram::default();
        self.delivered = 0;
        self.last = Instant::now();
    }

    /// The stretch's figures. `sent(lane)` is what each lane has sent since the run's beginning.
    pub(super) fn figures(
        &self,
        meter: &Meter,
        began: Instant,
        sent: impl Fn(u16) -> u32,
    ) -> Figures {
        let seconds = self.last.duration_since(began).as_secs_f64();
        let mut faults = Faults::default();
        self.receipts
            .iter()
            .for_each(|receipts| faults += receipts.settle(&sent));
        let mut figures = meter.spent(self.delivered, "delivery");
        figures.extend(latencies(&self.latency));
        let rate = self.delivered as f64 / seconds.max(1e-9);
        figures.extend([
            ("delivered".to_owned(), json!(self.delivered)),
            ("deliveries_per_s".to_owned(), json!(rate.round())),
            ("lost".to_owned(), json!(faults.lost)),
            ("repeated".to_owned(), json!(faults.repeated)),
            ("strayed".to_owned(), json!(faults.strayed)),
        ]);
        figures
    }
}

/// Quantiles in ms.
pub(super) fn latencies(histogram: &Histogram) -> Figures {
    let ms = |ns: u64| json!(rounded(ns as f64 / 1e6));
    Figures::from_iter([
        ("p50_ms".to_owned(), ms(histogram.quantile(0.5))),
        ("p99_ms".to_owned(), ms(histogram.quantile(0.99))),
        ("p999_ms".to_owned(), ms(histogram.quantile(0.999))),
        ("max_ms".to_owned(), ms(histogram.largest())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(due: u64, number: u32) -> Stamp {
        Stamp {
            due,
            lane: 0,
            number,
        }
    }

    #[test]
    fn what_comes_late_of_one_stretch_ends_no_waiting_of_the_next() {
        let mut tally = Tally::new(0, vec![Receipts::new(0, 1)]);
        tally.begin(0, 0);
        tally.arrived(0, stamp(1, 0), 5);
        // Of three that were due one has come when the next stretch begins, with two of its own.
        tally.begin(3, 10);
        for number in [1, 2] {
            tally.arrived(0, stamp(2, number), 12);
        }
        assert!(!tally.settled(2), "both of its own are still to come");
        for number in [3, 4] {
            tally.arrived(0, stamp(11, number), 13);
        }
        assert!(tally.settled(2));
        assert_eq!(tally.delivered(), 2);
        let settled = tally.receipts.iter().map(|one| one.settle(|_| 5));
        assert!(settled.eq([Faults::default()]));
    }
}
