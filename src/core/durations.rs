//! How long something took, in buckets. Shared by all threads.
//!
//! **Why not the metrics library's histogram:** it takes a lock for each observation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Upper bounds of the buckets, microseconds.
pub const BUCKETS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// The durations observed so far.
#[derive(Debug, Default)]
pub struct Durations {
    counts: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

/// Something that goes on; observed when it is dropped.
#[derive(Debug)]
pub struct Timed<'d> {
    durations: &'d Durations,
    began: Instant,
}

impl Durations {
    /// Something begins now.
    #[must_use]
    pub fn begin(&self) -> Timed<'_> {
        Timed {
            durations: self,
            began: Instant::now(),
        }
    }

    fn observe(&self, us: u64) {
        let at = BUCKETS_US.iter().take_while(|one| **one < us).count();
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many fell into each bucket, and how many took longer; and the sum, microseconds.
    #[must_use]
    pub fn read(&self) -> (Vec<u64>, u64) {
        let counts = self.counts.iter().map(|one| one.load(Ordering::Relaxed));
        (counts.collect(), self.sum_us.load(Ordering::Relaxed))
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.durations.observe(us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_holds_it() {
        let durations = Durations::default();
        for us in [0, 100, 101, 9_000_000] {
            durations.observe(us);
        }
        drop(durations.begin());
        let (counts, sum_us) = durations.read();
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!((counts.get(1), counts.last()), (Some(&1), Some(&1)));
        assert!(sum_us >= 9_000_201);
    }
}
