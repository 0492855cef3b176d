//! A stopwatch for benchmarks on a machine that others use as well.

use std::time::{Duration, Instant};

/// A stopwatch that stands still while the thread does not run.
pub(crate) struct Cpu(Option<u64>, Instant);

impl Cpu {
    pub(crate) fn now() -> Self {
        Self(Self::spent(), Instant::now())
    }

    fn spent() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse().ok()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        match (self.0, Self::spent()) {
            (Some(then), Some(now)) => Duration::from_nanos(now - then),
            _ => self.1.elapsed(),
        }
    }
}
