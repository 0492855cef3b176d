#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::*;
use proptest::prelude::*;

fn member(client: u64, connection: u64, data: u8) -> Member {
    Member {
        client: format!("u{client}").into(),
        connection: ConnectionId(connection, 0),
        // A connection lives on one node.
        node: NodeId(connection % 3),
        data: Bytes::from(vec![data]),
        since: 0,
    }
}

fn key(client: u64, connection: u64) -> EntryKey {
    (ConnectionId(connection, 0), format!("u{client}").into())
}

#[test]
fn a_client_enters_with_its_first_connection_and_leaves_with_its_last() {
    let mut presence = Presence::default();
    let first = presence.enter(member(1, 1, 0));
    assert_eq!(
        (first.action, first.client_transition, first.clients),
        (PresenceAction::Enter, true, 1)
    );
    let second = presence.enter(member(1, 2, 0));
    assert_eq!(
        (second.action, second.client_transition, second.clients),
        (PresenceAction::Enter, false, 1)
    );
    let update = presence.enter(member(1, 1, 9));
    assert_eq!(
        (update.action, update.client_transition),
        (PresenceAction::Update, false)
    );
    let left = presence.leave(&key(1, 1), PresenceAction::Leave).unwrap();
    assert!(!left.client_transition);
    assert_eq!(left.member.data, [9].as_slice());
    let last = presence.leave(&key(1, 2), PresenceAction::Timeout).unwrap();
    assert!(last.client_transition && last.clients == 0);
    assert_eq!(presence.leave(&key(1, 2), PresenceAction::Leave), None);
}

#[test]
fn an_announcement_ends_ghosts_and_keeps_what_is_only_asked_for() {
    let mut presence = Presence::default();
    presence.enter(member(1, 3, 0));
    presence.enter(member(2, 6, 0));
    presence.enter(member(3, 4, 0));
    let announced = |client, connection, data, confirmed| Announced {
        connection: ConnectionId(connection, 0),
        client: format!("u{client}").into(),
        data: Bytes::from(vec![data]),
        confirmed,
    };
    let set = vec![
        announced(2, 6, 0, false),
        announced(4, 9, 0, false),
        announced(5, 12, 0, true),
    ];
    let (changes, contested) = presence.reconcile(NodeId(0), set, 7);
    assert_eq!(contested, []);
    let told: Vec<_> = changes
        .iter()
        .map(|one| (one.action, &*one.member.client))
        .collect();
    assert_eq!(
        told,
        [
            (PresenceAction::Timeout, "u1"),
            (PresenceAction::Enter, "u5")
        ]
    );
    let names: Vec<_> = presence
        .members()
        .map(|one| one.client.to_string())
        .collect();
    assert_eq!(names, ["u2", "u3", "u5"], "another node's member stays");
}

#[derive(Clone, Debug)]
enum Op {
    Enter(u64, u64, u8),
    Leave(u64, u64),
    Gone(u64),
    Dead(u64),
}

proptest! {
    /// The reference is a list of entries in order of entry.
    #[test]
    fn the_set_is_what_a_plain_list_would_be(ops in proptest::collection::vec(prop_oneof![
        4 => (0u64..4, 0u64..6, 0u8..3).prop_map(|(client, connection, data)| Op::Enter(client, connection, data)),
        2 => (0u64..4, 0u64..6).prop_map(|(client, connection)| Op::Leave(client, connection)),
        1 => (0u64..6).prop_map(Op::Gone),
        1 => (0u64..3).prop_map(Op::Dead),
    ], 0..80)) {
        let mut presence = Presence::default();
        let mut model: Vec<Member> = Vec::new();
        let clients = |model: &[Member]| {
            let names: std::collections::BTreeSet<_> = model.iter().map(|one| one.client.clone()).collect();
            names
        };
        for op in ops {
            let before = clients(&model);
            let changes = match op {
                Op::Enter(client, connection, data) => {
                    let new = member(client, connection, data);
                    let same = |one: &&mut Member| (one.connection, &one.client) == (new.connection, &new.client);
                    match model.iter_mut().find(same) {
                        Some(entry) => entry.data = new.data.clone(),
                        None => model.push(new.clone()),
                    }
                    vec![presence.enter(new)]
                }
                Op::Leave(client, connection) => {
                    let (whose, name) = key(client, connection);
                    model.retain(|one| (one.connection, &one.client) != (whose, &name));
                    presence.leave(&key(client, connection), PresenceAction::Leave).into_iter().collect()
                }
                Op::Gone(connection) => {
                    let its = |one: &Member| one.connection.0 == connection;
                    model.retain(|one| !its(one));
                    let keys = presence.keys(its);
                    keys.iter().filter_map(|key| presence.leave(key, PresenceAction::Timeout)).collect()
                }
                Op::Dead(node) => {
                    model.retain(|one| one.node.0 != node);
                    presence.reconcile(NodeId(node), Vec::new(), 0).0
                }
            };
            let after = clients(&model);
            let transitions = changes.iter().filter(|one| one.client_transition).count();
            prop_assert_eq!(transitions, before.symmetric_difference(&after).count());
            prop_assert!(changes.last().is_none_or(|one| one.clients == after.len() as u64));
            let now: Vec<Member> = presence.members().cloned().collect();
            prop_assert_eq!(&now, &model);
            prop_assert_eq!((presence.len(), presence.clients()), (model.len() as u64, after.len() as u64));
        }
    }
}
