//! Interval events: who came and went in a crowded channel, told together.
//!
//! **Why the last change of a client counts:** one that came and went was never missed; a list that names it twice
//! would have to be replayed in order.

use super::outgoing::{Outgoing, PresenceInterval, What};
use crate::core::message::{Broadcast, PresenceAction};

/// Whether a change is told together with others where channels of more than `max` occupants are crowded.
pub(super) fn is_crowded(shown: &Outgoing, max: u64) -> bool {
    match &shown.what {
        What::Broadcast(Broadcast::Presence(one)) => {
            one.clients > max && one.action != PresenceAction::Update
        }
        What::Broadcast(Broadcast::Message(_) | Broadcast::Count(_)) | What::Interval(_) => false,
    }
}

/// One event per channel and subscription of these changes.
pub(super) fn together(changes: impl Iterator<Item = Outgoing>) -> Vec<Outgoing> {
    let mut all: Vec<Outgoing> = Vec::new();
    for change in changes {
        let What::Broadcast(Broadcast::Presence(one)) = &change.what else {
            continue;
        };
        let of = |known: &&mut Outgoing| {
            (&known.channel, &known.matched) == (&change.channel, &change.matched)
        };
        if let Some(known) = all.iter_mut().find(of) {
            if let What::Interval(interval) = &mut known.what {
                interval.add(one);
            }
            continue;
        }
        let mut interval = PresenceInterval::default();
        interval.add(one);
        let what = What::Interval(interval);
        all.push(Outgoing { what, ..change });
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::core::ids::{ConnectionId, NodeId, Position};
    use crate::core::message::{Member, PresenceChange};
    use serde_json::{Value, json};

    fn change(channel: &str, uuid: &str, action: PresenceAction, clients: u64) -> Outgoing {
        let change = PresenceChange {
            action,
            member: Member {
                client: uuid.into(),
                connection: ConnectionId(1, 1),
                node: NodeId(1),
                data: bytes::Bytes::new(),
                since: 0,
            },
            client_transition: true,
            clients,
            position: Position::default(),
            timetoken: 17_953_525_500_000_000 + clients,
        };
        Outgoing {
            channel: channel.into(),
            matched: format!("{channel}-pnpres").into(),
            below: false,
            what: What::Broadcast(Broadcast::Presence(change.into())),
        }
    }

    #[test]
    fn changes_of_a_channel_become_one_event() {
        use PresenceAction::{Enter, Leave, Timeout};
        let changes = [
            change("a", "u1", Enter, 21),
            change("b", "u1", Enter, 30),
            change("a", "u2", Enter, 22),
            change("a", "u1", Leave, 21),
            change("a", "u3", Timeout, 20),
        ];
        let all = together(changes.into_iter());
        let data: Vec<Value> = all
            .iter()
            .filter_map(|one| match &one.what {
                What::Interval(interval) => Some(interval.data()),
                What::Broadcast(_) => None,
            })
            .collect();
        let at = 1_795_352_550;
        let a = json!({"action": "interval", "timestamp": at, "occupancy": 20, "join": ["u2"], "leave": ["u1"], "timeout": ["u3"]});
        let b = json!({"action": "interval", "timestamp": at, "occupancy": 30, "join": ["u1"]});
        assert_eq!(data, [a, b]);
    }

    #[test]
    fn too_many_names_are_left_to_be_asked_for() {
        let many = (0..1_000).map(|n| change("a", &format!("{n:040}"), PresenceAction::Enter, n));
        let all = together(many);
        let What::Interval(interval) = &all[0].what else {
            unreachable!("an interval event");
        };
        let data = interval.data();
        assert_eq!(data.get("here_now_refresh"), Some(&json!(true)));
        assert_eq!(
            (data.get("join"), data.get("occupancy")),
            (None, Some(&json!(999)))
        );
    }

    #[test]
    fn only_comings_and_goings_above_the_bound_wait() {
        use PresenceAction::{Enter, Leave, Update};
        assert!(is_crowded(&change("a", "u", Enter, 21), 20));
        assert!(is_crowded(&change("a", "u", Leave, 21), 20));
        assert!(!is_crowded(&change("a", "u", Enter, 20), 20));
        assert!(!is_crowded(&change("a", "u", Update, 21), 20));
    }
}
