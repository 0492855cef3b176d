//! Time as the core sees it: one value passed in, never read.
//!
//! **Must never know:** which clock it came from. Pure code takes [`Now`] as an argument so that a test can
//! play any hour; shells read it once per message.

/// An instant, in the two clocks that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on this process's monotonic clock, since it started. For timers.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch on the cluster's clock. For expiry.
    pub cluster_ms: u64,
}
