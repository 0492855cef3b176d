//! What a home has told the world of its channel's lifecycle, so that everything is told once. Pure.
//!
//! **Why ends are kept back and beginnings are not:** a client that reconnects is gone for a moment; telling that
//! it left and came back is worse than telling late that it left. A beginning that follows within the grace takes
//! the end back instead of being told.

use crate::core::ids::Text;
use crate::core::lifecycle::{GRACE_MS, LifecycleKind};
use crate::core::message::{PresenceAction, PresenceChange};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A home that took over waits so long before it believes that nobody is there: the nodes have to announce
/// themselves first, ms.
const TAKEOVER_GRACE_MS: u64 = 6_000;
/// How long a miss is not repeated, ms.
const MISS_INTERVAL_MS: u64 = 5_000;

/// What a home tells the node that may be home after it. Members are not in it: the presence set is copied anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleSnapshot {
    /// It was told that somebody is there, and not that everybody left.
    pub occupied: bool,
    /// Clients who are gone but of whom that was not told yet.
    pub leaving: Vec<Text>,
}

impl LifecycleSnapshot {
    /// Whether nothing is lost with it.
    pub(super) fn is_empty(&self) -> bool {
        !self.occupied && self.leaving.is_empty()
    }
}

/// What has been told, and what is about to be.
#[derive(Clone, Debug, Default)]
pub(super) struct LifecycleLog {
    occupied: bool,
    vacate_due: Option<u64>,
    leaving: BTreeMap<Text, u64>,
    miss_until: u64,
    /// Until then nodes are still announcing themselves, mono ms.
    settled_at: u64,
}

impl LifecycleLog {
    /// Goes on where a former home was.
    pub(super) fn after(told: LifecycleSnapshot, now_ms: u64) -> Self {
        let due = now_ms + TAKEOVER_GRACE_MS;
        Self {
            occupied: told.occupied,
            vacate_due: None,
            leaving: told.leaving.into_iter().map(|one| (one, due)).collect(),
            miss_until: 0,
            settled_at: due,
        }
    }

    /// For the node that may be home next.
    pub(super) fn snapshot(&self) -> LifecycleSnapshot {
        LifecycleSnapshot {
            occupied: self.occupied,
            leaving: self.leaving.keys().cloned().collect(),
        }
    }

    /// Somebody has been there since before this node was home: that is no news. Whether it was unknown here.
    pub(super) fn was_occupied(&mut self) -> bool {
        !std::mem::replace(&mut self.occupied, true)
    }

    /// Whether nothing is about to be told.
    pub(super) fn idle(&self) -> bool {
        !self.occupied && self.leaving.is_empty()
    }

    /// When to look again, mono ms.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let leaving = self.leaving.values().min().copied();
        [self.vacate_due, leaving].into_iter().flatten().min()
    }

    /// There are so many subscribers now.
    pub(super) fn count(&mut self, subscribers: u64, now_ms: u64) -> Option<LifecycleKind> {
        if subscribers > 0 {
            self.vacate_due = None;
            let news = !std::mem::replace(&mut self.occupied, true);
            return news.then_some(LifecycleKind::Occupied);
        }
        if !self.occupied {
            return None;
        }
        let due = *self
            .vacate_due
            .get_or_insert((now_ms + GRACE_MS).max(self.settled_at));
        if now_ms < due {
            return None;
        }
        (self.occupied, self.vacate_due) = (false, None);
        Some(LifecycleKind::Vacated)
    }

    /// The presence set has changed.
    pub(super) fn change(&mut self, change: &PresenceChange, now_ms: u64) -> Option<LifecycleKind> {
        if !change.edge {
            return None;
        }
        let client = &change.member.client;
        match change.action {
            PresenceAction::Enter => {
                let back = self.leaving.remove(client).is_some();
                (!back).then(|| LifecycleKind::Joined(client.clone()))
            }
            PresenceAction::Leave | PresenceAction::Timeout => {
                let due = (now_ms + GRACE_MS).max(self.settled_at);
                self.leaving.insert(client.clone(), due);
                None
            }
            PresenceAction::Update => None,
        }
    }

    /// The clients whose time to come back is over.
    pub(super) fn left(&mut self, now_ms: u64) -> Vec<LifecycleKind> {
        let over = self.leaving.extract_if(.., |_, due| *due <= now_ms);
        over.map(|(client, _)| LifecycleKind::Left(client))
            .collect()
    }

    /// Somebody found no last value. `None` = that was told a moment ago.
    pub(super) fn miss(&mut self, now_ms: u64) -> Option<LifecycleKind> {
        if now_ms < self.miss_until {
            return None;
        }
        self.miss_until = now_ms + MISS_INTERVAL_MS;
        Some(LifecycleKind::Missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{ConnectionId, NodeId, Position};
    use crate::core::message::Member;

    fn change(action: PresenceAction, edge: bool) -> PresenceChange {
        PresenceChange {
            action,
            member: Member {
                client: "ana".into(),
                connection: ConnectionId(1, 1),
                node: NodeId(1),
                data: bytes::Bytes::new(),
                since: 0,
            },
            edge,
            clients: 0,
            position: Position::default(),
            timetoken: 0,
        }
    }

    #[test]
    fn a_channel_is_occupied_once_and_vacated_after_the_grace() {
        let mut log = LifecycleLog::default();
        assert_eq!(log.count(1, 0), Some(LifecycleKind::Occupied));
        assert_eq!(log.count(2, 10), None);
        assert_eq!(log.count(0, 100), None);
        assert_eq!(log.wake_at(), Some(3_100));
        assert_eq!(log.count(0, 3_099), None);
        assert_eq!(log.count(0, 3_100), Some(LifecycleKind::Vacated));
        assert_eq!((log.count(0, 9_000), log.idle()), (None, true));
    }

    #[test]
    fn who_comes_back_in_time_was_never_gone() {
        let mut log = LifecycleLog::default();
        log.count(1, 0);
        log.count(0, 100);
        assert_eq!(log.count(1, 3_000), None);
        assert_eq!(log.count(0, 3_050), None, "a new grace begins");
        let enter = change(PresenceAction::Enter, true);
        assert_eq!(
            log.change(&enter, 0),
            Some(LifecycleKind::Joined("ana".into()))
        );
        assert_eq!(
            log.change(&change(PresenceAction::Timeout, true), 100),
            None
        );
        assert!(log.left(3_099).is_empty());
        assert_eq!(log.change(&enter, 3_099), None);
        assert!(log.left(9_000).is_empty());
        log.change(&change(PresenceAction::Leave, true), 9_000);
        assert_eq!(log.left(12_000), [LifecycleKind::Left("ana".into())]);
    }

    #[test]
    fn a_second_connection_of_a_client_is_no_news() {
        let mut log = LifecycleLog::default();
        for action in [
            PresenceAction::Enter,
            PresenceAction::Leave,
            PresenceAction::Update,
        ] {
            assert_eq!(log.change(&change(action, false), 0), None);
        }
        assert_eq!(log.wake_at(), None);
    }

    #[test]
    fn a_new_home_repeats_nothing_and_forgets_nothing() {
        let mut old = LifecycleLog::default();
        old.count(1, 0);
        old.change(&change(PresenceAction::Enter, true), 0);
        old.change(&change(PresenceAction::Leave, true), 10);
        let mut new = LifecycleLog::after(old.snapshot(), 1_000);
        assert_eq!(new.count(1, 1_000), None, "occupied was told");
        assert_eq!(new.left(7_000), [LifecycleKind::Left("ana".into())]);
        let mut lonely = LifecycleLog::after(old.snapshot(), 1_000);
        assert_eq!(
            lonely.count(0, 1_000),
            None,
            "the others have yet to announce themselves"
        );
        assert_eq!(lonely.count(0, 7_000), Some(LifecycleKind::Vacated));
    }

    #[test]
    fn misses_are_told_sparingly() {
        let mut log = LifecycleLog::default();
        assert_eq!(log.miss(1), Some(LifecycleKind::Missed));
        assert_eq!(log.miss(5_000), None);
        assert_eq!(log.miss(5_001), Some(LifecycleKind::Missed));
    }
}
