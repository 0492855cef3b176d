//! All histories of a node are above their bound: finds the level, and has the channels above it let go.
//!
//! **Must never know:** what a channel lets go of (its history does: the oldest).
//! **Why whoever pushed last does it, and no timer:** it is needed only when somebody has pushed, and at once. It looks
//! at every channel of the node, at most every 100 ms and not before an eighth of the bound has been pushed again.

use super::Trim;
use super::registry::{Entry, Ground, lock};
use crate::core::clock::Now;

impl Ground {
    /// To be called by a channel whose history has brought the sum above the bound.
    pub(super) fn relieve(&self, now: Now) {
        if !self.histories.is_due(now.mono_ms) {
            return;
        }
        let held = |one: &Entry| one.stat.history_bytes();
        let mut sizes = Vec::new();
        for part in &self.parts {
            let part = lock(part);
            sizes.extend(part.values().map(held).filter(|bytes| *bytes > 0));
        }
        let channels = sizes.len();
        let level = self.histories.find_level(sizes);
        for part in &self.parts {
            let part = lock(part);
            let above = part.values().filter(|one| held(one) > level);
            above.for_each(|one| one.addr.do_send(Trim));
        }
        let used = self.histories.used();
        tracing::info!(used, channels, level, "histories above their bound");
    }
}
