//! What was broadcast of late: a home that begins repeats it to the wildcards above, because the one before it may have been lost
//! before it could.

use super::history::TICKS_PER_MS;
use super::{Replica, Role};
use crate::core::clock::Now;
use crate::core::message::Broadcast;

/// How far back, ms: a lost node is counted out, and what it had is claimed, within that.
const RECENT_MS: u64 = 20_000;
/// Most broadcasts that are repeated again.
const MOST: u64 = 1_000;

impl Replica {
    /// The newest broadcasts, oldest first, if this node orders the channel now.
    #[must_use]
    pub fn recent(&self, now: Now) -> Vec<Broadcast> {
        match &self.role {
            Role::Home(home) => {
                let since = now.cluster_ms.saturating_sub(RECENT_MS) * TICKS_PER_MS;
                home.stream.recent(MOST, since).collect()
            }
            Role::Follower(_) | Role::Claiming(_) => Vec::new(),
        }
    }
}
