//! What has been told of a channel's lifecycle, and what of that nobody has taken care of yet: pure.
//!
//! It is part of the stream: home and backup derive it from the same entries, so whoever is home next knows it exactly,
//! whatever frame was lost. An event is told once its entry is at the backup, under an id that both can name, and is
//! kept here until the listener has settled it.
//!
//! **Must never know:** who listens; how subscribers are counted; time (`lifecycle_clock` does).
//!
//! **Why not a message of its own beside the stream:** one that is lost, or comes after the handover, leaves an event
//! told twice or never. What rests on an entry has to travel with it.

use crate::core::ids::Text;
use crate::core::lifecycle::{EventId, LifecycleKind};
use crate::core::message::{PresenceAction, PresenceChange, Publication};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Most events kept until they are settled. Of more the oldest are told all the same, but no other home knows them.
pub const MAX_UNSETTLED: usize = 1_000;
/// Most bytes of them.
pub const MAX_UNSETTLED_BYTES: usize = 1 << 20;
/// What an event costs beside what it says.
const EVENT_OVERHEAD: usize = 64;

/// What a home told of the lifecycle before it was part of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleSnapshot {
    /// It was told that somebody is there, and not that everybody left.
    pub occupied: bool,
    /// Clients who are gone but of whom that was not told yet.
    pub leaving: Vec<Text>,
}

/// What only the home can decide, because it looks at a clock and at all nodes' subscribers. That a client has come
/// follows from the entry that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// The first subscriber has come.
    Occupied,
    /// The last one has been gone for long enough.
    Vacated,
    /// So has this client.
    Left(Text),
}

/// An event that nobody has taken care of yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// The name of the event for ever.
    pub id: EventId,
    /// What happened to the channel.
    pub kind: LifecycleKind,
}

/// What has been told, and what is not settled yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LifecycleLog {
    occupied: bool,
    /// Clients who are gone but of whom that was not told yet. Those of the presence set have been told.
    leaving: BTreeSet<Text>,
    /// In the order of their stamps.
    unsettled: VecDeque<Unsettled>,
    bytes: usize,
}

impl LifecycleLog {
    /// Of a channel of which this is known already, though nothing was logged of it.
    #[must_use]
    pub fn assuming(occupied: bool) -> Self {
        Self {
            occupied,
            ..Self::default()
        }
    }

    /// Whether it was told last that somebody is there.
    #[must_use]
    pub fn occupied(&self) -> bool {
        self.occupied
    }

    /// Somebody has been there since before this home: that is no news. Whether it was unknown here.
    pub fn assume_occupied(&mut self) -> bool {
        !std::mem::replace(&mut self.occupied, true)
    }

    /// These clients are there since before this home, and are about to be entered: that is no news. Whether there are any.
    pub fn assume_joined(&mut self, clients: impl Iterator<Item = Text>) -> bool {
        let before = self.leaving.len();
        self.leaving.extend(clients);
        self.leaving.len() > before
    }

    /// The clients who are gone but of whom that was not told yet.
    pub fn leaving(&self) -> impl Iterator<Item = &Text> {
        self.leaving.iter()
    }

    /// What is not settled, oldest first.
    pub fn unsettled(&self) -> impl Iterator<Item = &Unsettled> {
        self.unsettled.iter()
    }

    /// Whether forgetting it would lose nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.occupied && self.leaving.is_empty() && self.unsettled.is_empty()
    }

    /// A message was logged: what is to be told of it.
    pub fn on_publication(&mut self, id: EventId, one: &Arc<Publication>) -> Option<Unsettled> {
        let by_client = one.draft.connection.is_some();
        by_client.then(|| self.keep(id, LifecycleKind::Published(one.clone())))
    }

    /// A change of the presence set was logged: what is to be told of it.
    pub fn on_presence(&mut self, id: EventId, change: &PresenceChange) -> Option<Unsettled> {
        if !change.client_transition {
            return None;
        }
        let client = &change.member.client;
        match change.action {
            PresenceAction::Enter => {
                let back = self.leaving.remove(client);
                (!back).then(|| self.keep(id, LifecycleKind::Joined(client.clone())))
            }
            PresenceAction::Leave | PresenceAction::Timeout => {
                self.leaving.insert(client.clone());
                None
            }
            PresenceAction::Update => None,
        }
    }

    /// A decision was logged: what is to be told of it.
    pub fn on_decision(&mut self, id: EventId, decision: &Decision) -> Unsettled {
        let kind = match decision {
            Decision::Occupied => {
                self.occupied = true;
                LifecycleKind::Occupied
            }
            Decision::Vacated => {
                self.occupied = false;
                LifecycleKind::Vacated
            }
            Decision::Left(client) => {
                self.leaving.remove(client);
                LifecycleKind::Left(client.clone())
            }
        };
        self.keep(id, kind)
    }

    /// The entry of that name was decided again elsewhere: nothing is to be told of it.
    pub fn take_back(&mut self, id: EventId) {
        let _kept = self.settle(&[id]);
    }

    /// So was this change of the presence set. The newest is taken back first.
    pub fn take_back_presence(&mut self, id: EventId, change: &PresenceChange) {
        if !change.client_transition {
            return;
        }
        let client = &change.member.client;
        match change.action {
            PresenceAction::Enter => {
                let joined = self.settle(&[id]);
                if !joined {
                    self.leaving.insert(client.clone());
                }
            }
            PresenceAction::Leave | PresenceAction::Timeout => {
                self.leaving.remove(client);
            }
            PresenceAction::Update => {}
        }
    }

    /// So was this decision.
    pub fn take_back_decision(&mut self, id: EventId, decision: &Decision) {
        match decision {
            Decision::Occupied => self.occupied = false,
            Decision::Vacated => self.occupied = true,
            Decision::Left(client) => {
                self.leaving.insert(client.clone());
            }
        }
        self.take_back(id);
    }

    fn keep(&mut self, id: EventId, kind: LifecycleKind) -> Unsettled {
        let one = Unsettled { id, kind };
        self.bytes += weight(&one);
        self.unsettled.push_back(one.clone());
        while self.unsettled.len() > MAX_UNSETTLED || self.bytes > MAX_UNSETTLED_BYTES {
            match self.unsettled.pop_front() {
                Some(gone) => self.bytes = self.bytes.saturating_sub(weight(&gone)),
                None => break,
            }
        }
        one
    }

    /// These have been taken care of; whether any of them was kept.
    pub fn settle(&mut self, ids: &[EventId]) -> bool {
        let before = self.unsettled.len();
        for id in ids {
            let at = self.unsettled.binary_search_by_key(&id.at, |one| one.id.at);
            let found = at.ok().filter(|at| {
                let one = self.unsettled.get(*at);
                one.is_some_and(|one| one.id == *id)
            });
            if let Some(gone) = found.and_then(|at| self.unsettled.remove(at)) {
                self.bytes = self.bytes.saturating_sub(weight(&gone));
            }
        }
        self.unsettled.len() < before
    }
}

fn weight(one: &Unsettled) -> usize {
    let says = match &one.kind {
        LifecycleKind::Joined(client) | LifecycleKind::Left(client) => client.len(),
        LifecycleKind::Published(publication) => {
            publication.draft.data.len() + publication.draft.name.len()
        }
        LifecycleKind::Occupied
        | LifecycleKind::Vacated
        | LifecycleKind::Missed
        | LifecycleKind::Counted(_) => 0,
    };
    says + EVENT_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{ConnectionId, NodeId, Position};
    use crate::core::message::{ContentKind, Draft, Member};

    fn id(at: u64) -> EventId {
        EventId { at, epoch: 7 }
    }

    fn change(action: PresenceAction, transition: bool) -> PresenceChange {
        PresenceChange {
            action,
            member: Member {
                client: "ana".into(),
                connection: ConnectionId(1, 1),
                node: NodeId(1),
                data: bytes::Bytes::new(),
                since: 0,
            },
            client_transition: transition,
            clients: 0,
            position: Position::default(),
            timetoken: 0,
        }
    }

    fn published(bytes: usize, connection: Option<ConnectionId>) -> Arc<Publication> {
        Arc::new(Publication {
            draft: Box::new(Draft {
                id: None,
                name: "client-x".into(),
                data: vec![b'x'; bytes].into(),
                kind: ContentKind::Text,
                meta: None,
                client: None,
                connection,
                except: None,
                store: true,
                retain_ms: None,
                tag: None,
            }),
            position: Position::default(),
            timetoken: 0,
        })
    }

    #[test]
    fn who_comes_back_before_her_leaving_was_told_is_no_news() {
        let mut log = LifecycleLog::default();
        let kind = |one: Option<Unsettled>| one.map(|one| one.kind);
        let enter = change(PresenceAction::Enter, true);
        let joined = Some(LifecycleKind::Joined("ana".into()));
        assert_eq!(kind(log.on_presence(id(1), &enter)), joined);
        let gone = change(PresenceAction::Timeout, true);
        assert_eq!(log.on_presence(id(2), &gone), None);
        assert_eq!(log.on_presence(id(3), &enter), None);
        assert_eq!(log.on_presence(id(4), &gone), None);
        let left = log.on_decision(id(5), &Decision::Left("ana".into()));
        assert_eq!(left.kind, LifecycleKind::Left("ana".into()));
        assert_eq!(kind(log.on_presence(id(6), &enter)), joined);
        for action in [PresenceAction::Enter, PresenceAction::Leave] {
            assert_eq!(log.on_presence(id(7), &change(action, false)), None);
        }
    }

    #[test]
    fn what_is_taken_back_was_never_told() {
        let mut log = LifecycleLog::default();
        let (enter, gone) = (
            change(PresenceAction::Enter, true),
            change(PresenceAction::Leave, true),
        );
        log.on_decision(id(1), &Decision::Occupied);
        log.on_presence(id(2), &enter);
        let known = log.clone();
        log.on_presence(id(3), &gone);
        log.on_decision(id(4), &Decision::Left("ana".into()));
        log.on_presence(id(5), &enter);
        log.on_presence(id(6), &gone);
        log.on_presence(id(7), &enter);
        log.on_decision(id(8), &Decision::Vacated);
        log.take_back_decision(id(8), &Decision::Vacated);
        log.take_back_presence(id(7), &enter);
        log.take_back_presence(id(6), &gone);
        log.take_back_presence(id(5), &enter);
        log.take_back_decision(id(4), &Decision::Left("ana".into()));
        log.take_back_presence(id(3), &gone);
        assert_eq!(log, known);
    }

    #[test]
    fn what_is_settled_is_forgotten_whatever_the_order() {
        let mut log = LifecycleLog::default();
        log.on_decision(id(1), &Decision::Occupied);
        log.on_decision(id(4), &Decision::Vacated);
        log.on_decision(id(9), &Decision::Occupied);
        let other_stream = EventId { at: 4, epoch: 8 };
        assert!(!log.settle(&[id(2), other_stream]));
        assert!(log.settle(&[id(9), id(1)]));
        let left: Vec<EventId> = log.unsettled().map(|one| one.id).collect();
        assert_eq!(left, [id(4)]);
        assert!(log.settle(&[id(4)]) && !log.is_empty() && log.bytes == 0);
        log.on_decision(id(10), &Decision::Vacated);
        assert!(log.settle(&[id(10)]) && log.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_bytes_and_the_newest_stays() {
        let mut log = LifecycleLog::default();
        let by_client = Some(ConnectionId(1, 1));
        for at in 0..2_000 {
            assert!(
                log.on_publication(id(at), &published(1, by_client))
                    .is_some()
            );
        }
        assert_eq!(log.unsettled.len(), MAX_UNSETTLED);
        for at in 2_000..2_010 {
            log.on_publication(id(at), &published(MAX_UNSETTLED_BYTES / 4, by_client));
        }
        assert_eq!(log.unsettled.len(), 3);
        assert!(log.bytes <= MAX_UNSETTLED_BYTES);
        assert_eq!(log.unsettled().last().map(|one| one.id), Some(id(2_009)));
        assert_eq!(log.on_publication(id(3_000), &published(1, None)), None);
    }
}
