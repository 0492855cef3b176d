//! Who came and went lately: the presence changes that may be asked for afterwards.
//!
//! **Why apart from the ring of publications:** a room full of people coming and going must not push out what was said.

use super::history::TICKS_PER_MS;
use crate::core::clock::Now;
use crate::core::message::PresenceChange;
use crate::core::session::HistoryPage;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Most changes kept.
pub const MAX_CHANGES: usize = 1_024;
/// Most bytes of data and names in them.
pub const MAX_CHANGE_BYTES: usize = 256 << 10;

/// The changes, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PresenceLog {
    ring: VecDeque<Arc<PresenceChange>>,
    bytes: usize,
}

impl PresenceLog {
    /// Keeps one change, and drops the oldest beyond the bound.
    pub fn push(&mut self, change: &Arc<PresenceChange>) {
        self.bytes += weight(change);
        self.ring.push_back(change.clone());
        while self.ring.len() > MAX_CHANGES || self.bytes > MAX_CHANGE_BYTES {
            if self.drop_first().is_none() {
                break;
            }
        }
    }

    fn drop_first(&mut self) -> Option<()> {
        let gone = self.ring.pop_front()?;
        self.bytes = self.bytes.saturating_sub(weight(&gone));
        Some(())
    }

    /// Lets go of what is older than that.
    pub fn trim(&mut self, age_ms: u64, now: Now) {
        let oldest = now.cluster_ms.saturating_sub(age_ms) * TICKS_PER_MS;
        while self
            .ring
            .front()
            .is_some_and(|first| first.timetoken < oldest)
        {
            self.drop_first();
        }
    }

    /// A page: `after < timetoken <= until`, in the order asked for.
    #[must_use]
    pub fn page(&self, page: HistoryPage) -> Vec<Arc<PresenceChange>> {
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let inside =
            |one: &&Arc<PresenceChange>| one.timetoken > page.after && one.timetoken <= page.until;
        let inside = self.ring.iter().filter(inside);
        match page.backwards {
            true => inside.rev().take(limit).cloned().collect(),
            false => inside.take(limit).cloned().collect(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

fn weight(change: &PresenceChange) -> usize {
    change.member.data.len() + change.member.client.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::ids::{ConnectionId, NodeId, Position};
    use crate::core::message::{Member, PresenceAction};

    fn change(at_ms: u64, bytes: usize) -> Arc<PresenceChange> {
        let member = Member {
            client: "bob".into(),
            connection: ConnectionId(1, 2),
            node: NodeId(1),
            data: vec![b'x'; bytes].into(),
            since: 0,
        };
        Arc::new(PresenceChange {
            action: PresenceAction::Enter,
            member,
            client_transition: true,
            clients: 1,
            position: Position::default(),
            timetoken: at_ms * TICKS_PER_MS,
        })
    }

    fn at(ms: u64) -> Now {
        Now {
            mono_ms: ms,
            cluster_ms: ms,
        }
    }

    fn asked(after: u64, until: u64, limit: u32, backwards: bool, of: &PresenceLog) -> Vec<u64> {
        let page = HistoryPage {
            after: after * TICKS_PER_MS,
            until: until * TICKS_PER_MS,
            limit,
            backwards,
        };
        let found = of.page(page).into_iter();
        found.map(|one| one.timetoken / TICKS_PER_MS).collect()
    }

    #[test]
    fn pages_go_either_way() {
        let mut changes = PresenceLog::default();
        (1..=5).for_each(|ms| changes.push(&change(ms, 1)));
        assert_eq!(asked(1, 4, 2, true, &changes), [4, 3]);
        assert_eq!(asked(1, 4, 2, false, &changes), [2, 3]);
    }

    #[test]
    fn count_bytes_and_age_each_bound_them() {
        let mut changes = PresenceLog::default();
        (0..2_000).for_each(|ms| changes.push(&change(ms, 1)));
        assert_eq!(changes.ring.len(), MAX_CHANGES);
        (2_000..2_010).for_each(|ms| changes.push(&change(ms, MAX_CHANGE_BYTES / 4)));
        assert_eq!(changes.ring.len(), 3);
        assert!(changes.bytes <= MAX_CHANGE_BYTES);
        changes.trim(5, at(2_014));
        assert_eq!(asked(0, 9_999, 9, false, &changes), [2_009]);
        changes.trim(5, at(2_015));
        assert!(changes.is_empty() && changes.bytes == 0);
    }
}
