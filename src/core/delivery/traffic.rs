//! What goes through one worker thread, counted where it happens and read when somebody asks.
//!
//! **Why cells on the thread and not the counters of a metrics library:** a shared counter is an atomic on a cache line
//! that all threads write, and a labelled one a look-up; this is an addition in memory that is at hand anyway. Who asks
//! for metrics adds the threads up.
//! **Must never know:** users, channels, keys, tokens: as labels they would grow without bound and tell too much.

use crate::core::ids::{AppId, Timetoken};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Upper bounds of the buckets of how long a message took from its home to the outboxes here, ms.
pub const LAG_BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];
/// Timetokens in a millisecond.
const PER_MS: Timetoken = 10_000;

/// What one connection has said and was told.
#[derive(Debug, Default)]
pub struct Tally {
    received: Cell<u64>,
    received_bytes: Cell<u64>,
    sent: Cell<u64>,
    sent_bytes: Cell<u64>,
}

fn add(cell: &Cell<u64>, more: usize) {
    cell.set(cell.get().wrapping_add(more as u64));
}

impl Tally {
    /// A whole message came from the client, framing removed.
    pub fn received(&self, bytes: usize) {
        add(&self.received, 1);
        add(&self.received_bytes, bytes);
    }

    /// The socket took so many bytes, and with them the beginning of so many messages.
    pub fn sent(&self, messages: usize, bytes: usize) {
        add(&self.sent, messages);
        add(&self.sent_bytes, bytes);
    }

    fn sums(&self) -> Sums {
        Sums {
            received: self.received.get(),
            received_bytes: self.received_bytes.get(),
            sent: self.sent.get(),
            sent_bytes: self.sent_bytes.get(),
        }
    }

    /// The same, and begins anew.
    fn take(&self) -> Sums {
        let sums = self.sums();
        for cell in [
            &self.received,
            &self.received_bytes,
            &self.sent,
            &self.sent_bytes,
        ] {
            cell.set(0);
        }
        sums
    }
}

/// Messages and bytes, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Whole messages from clients.
    pub received: u64,
    /// Their bytes, framing removed.
    pub received_bytes: u64,
    /// Frames that sockets have taken, at least the beginning of.
    pub sent: u64,
    /// The bytes that sockets have taken, framing included.
    pub sent_bytes: u64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        self.received += more.received;
        self.received_bytes += more.received_bytes;
        self.sent += more.sent;
        self.sent_bytes += more.sent_bytes;
    }
}

/// Whose connections: the dialect, and the app once it is known.
pub type Whose = (&'static str, Option<AppId>);

/// Connections of one dialect and app, on some threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// How many there are now.
    pub connections: u64,
    /// What they subscribe to now.
    pub subscriptions: u64,
    /// What waits for their sockets now, bytes.
    pub queued_bytes: u64,
    /// What went through them and those before them.
    pub sums: Sums,
}

impl AddAssign for Lane {
    fn add_assign(&mut self, more: Self) {
        self.connections += more.connections;
        self.subscriptions += more.subscriptions;
        self.queued_bytes += more.queued_bytes;
        self.sums += more.sums;
    }
}

/// How long messages took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lags {
    /// How many fell into each bucket of [`LAG_BUCKETS_MS`], and how many took longer.
    pub counts: [u64; LAG_BUCKETS_MS.len() + 1],
    /// All of them together, ms.
    pub sum_ms: u64,
}

/// What threads have counted, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By dialect and app.
    pub lanes: BTreeMap<Whose, Lane>,
    /// Connections that were opened, by dialect.
    pub opened: BTreeMap<&'static str, u64>,
    /// Connections that were closed, by dialect and the code of the close frame; 0 = without one, by the client or a
    /// socket that broke.
    pub closed: BTreeMap<(&'static str, u16), u64>,
    /// Times that a connection was let in as whom it said it is, by dialect.
    pub let_in: BTreeMap<&'static str, u64>,
    /// From the home's stamp to this node's outboxes.
    pub lags: Lags,
}

impl Report {
    /// Adds what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        for (whose, lane) in &other.lanes {
            *self.lanes.entry(*whose).or_default() += *lane;
        }
        add_all(&mut self.opened, &other.opened);
        add_all(&mut self.closed, &other.closed);
        add_all(&mut self.let_in, &other.let_in);
        let counts = self.lags.counts.iter_mut().zip(other.lags.counts);
        counts.for_each(|(count, more)| *count += more);
        self.lags.sum_ms += other.lags.sum_ms;
    }
}

fn add_all<K: Ord + Copy>(all: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *all.entry(*key).or_default() += count;
    }
}

/// What one thread has counted, apart from the connections that it has now.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    counted: RefCell<Report>,
    lag_counts: [Cell<u64>; LAG_BUCKETS_MS.len() + 1],
    lag_sum_ms: Cell<u64>,
}

impl Traffic {
    pub(super) fn opened(&self, dialect: &'static str) {
        *self.counted.borrow_mut().opened.entry(dialect).or_default() += 1;
    }

    pub(super) fn closed(&self, dialect: &'static str, code: u16) {
        let closed = &mut self.counted.borrow_mut().closed;
        *closed.entry((dialect, code)).or_default() += 1;
    }

    pub(super) fn let_in(&self, dialect: &'static str) {
        *self.counted.borrow_mut().let_in.entry(dialect).or_default() += 1;
    }

    /// What a connection has counted so far stays with whose it was: it goes, or is another app's from here on.
    pub(super) fn keep(&self, whose: Whose, tally: &Tally) {
        let lanes = &mut self.counted.borrow_mut().lanes;
        lanes.entry(whose).or_default().sums += tally.take();
    }

    /// A message reaches this thread's outboxes now.
    pub(super) fn delivered(&self, stamped: Timetoken, now_ms: u64) {
        let lag_ms = now_ms.saturating_sub(stamped / PER_MS);
        let at = LAG_BUCKETS_MS.iter().take_while(|one| **one < lag_ms);
        if let Some(count) = self.lag_counts.get(at.count()) {
            count.set(count.get() + 1);
        }
        let sum_ms = self.lag_sum_ms.get().saturating_add(lag_ms);
        self.lag_sum_ms.set(sum_ms);
    }

    /// All of it, with the connections that there are.
    pub(super) fn report<'t>(
        &self,
        connections: impl Iterator<Item = (Whose, &'t Tally, Lane)>,
    ) -> Report {
        let mut report = self.counted.borrow().clone();
        let counts = report.lags.counts.iter_mut().zip(&self.lag_counts);
        counts.for_each(|(count, cell)| *count = cell.get());
        report.lags.sum_ms = self.lag_sum_ms.get();
        for (whose, tally, mut lane) in connections {
            lane.sums = tally.sums();
            *report.lanes.entry(whose).or_default() += lane;
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_APP: Whose = ("x", Some(AppId(7)));

    #[test]
    fn what_a_connection_counted_outlives_it_and_is_counted_once() {
        let traffic = Traffic::default();
        let tally = Tally::default();
        tally.received(10);
        tally.sent(2, 100);
        let lane = Lane {
            connections: 1,
            ..Lane::default()
        };
        let live = traffic.report([(OF_APP, &tally, lane)].into_iter());
        let all = live.lanes.get(&OF_APP).map(|lane| lane.sums);
        assert_eq!(all.map(|sums| (sums.received, sums.sent)), Some((1, 2)));
        traffic.keep(OF_APP, &tally);
        tally.received(5);
        let then = traffic.report([(OF_APP, &tally, lane)].into_iter());
        let sums = then.lanes.get(&OF_APP).map(|lane| lane.sums);
        assert_eq!(
            sums.map(|sums| (sums.received, sums.received_bytes)),
            Some((2, 15))
        );
        traffic.keep(OF_APP, &tally);
        let gone = traffic.report(std::iter::empty());
        assert_eq!(gone.lanes.get(&OF_APP).map(|lane| lane.sums), sums);
        assert_eq!(
            gone.lanes.get(&OF_APP).map(|lane| lane.connections),
            Some(0)
        );
    }

    #[test]
    fn a_lag_falls_into_the_bucket_that_holds_it() {
        let traffic = Traffic::default();
        for (stamped_ms, now_ms) in [(1_000, 1_000), (1_000, 1_001), (1_000, 1_003), (0, 9_000)] {
            traffic.delivered(stamped_ms * PER_MS, now_ms);
        }
        // A home whose clock is ahead has not sent it from the future.
        traffic.delivered(2_000 * PER_MS, 1_000);
        let lags = traffic.report(std::iter::empty()).lags;
        assert_eq!(lags.sum_ms, 9_004);
        let ends = (lags.counts.first(), lags.counts.last());
        assert_eq!(ends, (Some(&3), Some(&1)));
        assert_eq!(lags.counts.get(2), Some(&1), "three is above two");
    }

    #[test]
    fn threads_add_up() {
        let (one, other) = (Traffic::default(), Traffic::default());
        for traffic in [&one, &other] {
            traffic.opened("x");
            traffic.closed("x", 4001);
            traffic.let_in("x");
        }
        let mut all = one.report(std::iter::empty());
        all.add(&other.report(std::iter::empty()));
        assert_eq!(all.opened.get("x"), Some(&2));
        assert_eq!(all.closed.get(&("x", 4001)), Some(&2));
        assert_eq!(all.let_in.get("x"), Some(&2));
    }
}
