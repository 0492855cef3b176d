//! Rights taken away: subscriptions end, connections are cut, and the acknowledgement says how many.

use super::client::{Client, Got};
use super::server::{APP, Node};
use crate::core::authority::{
    AccessQuery, Cut, Effect, Operations, Principal, Resource, Scope, State, Subject, Target,
};
use crate::core::ids::ChannelKey;
use std::time::{Duration, Instant};

fn user(node: &Node, name: &str) -> Client {
    let mut client = Client::open(node.addr);
    client.say(&format!("user {name}"));
    client.expect("hello");
    client
}

fn cut_user(name: &str, cut: Cut) -> Effect {
    Effect::Cut {
        app: APP,
        target: Target::User(name.into()),
        cut,
    }
}

#[test]
fn a_cut_ends_exactly_the_connections_it_names() {
    let node = Node::start(2);
    let mut ana: Vec<_> = (0..4).map(|_| user(&node, "ana")).collect();
    let mut bob = user(&node, "bob");
    assert_eq!(node.enforce(5, vec![cut_user("ana", Cut::Disconnected)]), 4);
    for client in &mut ana {
        client.expect("cut Disconnected");
        client.expect_close(4009);
    }
    bob.say("x");
    bob.expect("echo x");
    assert_eq!(node.enforce(6, vec![cut_user("ana", Cut::Blocked)]), 0);
}

#[test]
fn a_revocation_spares_credentials_seen_after_it() {
    let node = Node::start(1);
    let mut old = user(&node, "ana");
    let mut newer = State::default();
    newer.revision = 10;
    node.broker.authority.set_fixed(newer, 1_000, true);
    let mut new = user(&node, "ana");
    let cut = Cut::Revoked {
        issued_before_ms: 1_000,
        revision: 10,
        applies_ms: 0,
    };
    assert_eq!(node.enforce(10, vec![cut_user("ana", cut)]), 1);
    assert!(matches!(old.next(), Got::Text(text) if text.starts_with("cut Revoked")));
    old.expect_close(4009);
    new.say("x");
    new.expect("echo x");
}

#[test]
fn a_lost_right_ends_the_subscription_and_nothing_of_it_comes_after() {
    let node = Node::start(1);
    let mut client = user(&node, "ana");
    client.say("sub 9-room\nsub open");
    client.expect("in 9-room");
    client.expect("in open");
    let mut narrowed = State::default();
    narrowed.time_ms = 9;
    node.broker.authority.set_fixed(narrowed, 1_000, true);
    let scope = Scope::Subject(Subject::User("ana".into()));
    assert_eq!(
        node.enforce(3, vec![Effect::Recheck { app: APP, scope }]),
        0
    );
    client.expect("changed 9-room false");
    client.say("sub 9-room\npub open still");
    client.expect("no 9-room");
    client.expect("open still");
}

#[test]
fn what_a_batch_narrows_before_it_cuts_is_left_as_well() {
    let node = Node::start(1);
    let mut client = user(&node, "ana");
    client.say("sub 9-room\nsub open");
    client.expect("in 9-room");
    client.expect("in open");
    let mut narrowed = State::default();
    narrowed.time_ms = 9;
    node.broker.authority.set_fixed(narrowed, 1_000, true);
    let scope = Scope::Subject(Subject::User("ana".into()));
    let effects = vec![
        Effect::Recheck { app: APP, scope },
        cut_user("ana", Cut::Disconnected),
    ];
    assert_eq!(node.enforce(3, effects), 1);
    let occupied = || node.broker.channels.occupied_here(APP, "", 10);
    let end = Instant::now() + Duration::from_secs(10);
    while !occupied().is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(occupied(), [], "nobody is there any more");
}

#[test]
fn nothing_is_delivered_past_the_lease_and_nothing_is_lost_when_it_is_back() {
    let node = Node::start(1);
    let mut client = user(&node, "ana");
    client.say("sub room");
    client.expect("in room");
    let authority = &node.broker.authority;
    authority.set_fixed(State::default(), 1_000, false);
    // Refused from a connection; but a peer's or an HTTP publication may be under way already.
    client.say("pub room refused\nx");
    assert!(matches!(client.next(), Got::Text(text) if text.contains("Unavailable")));
    client.expect("echo x");
    let key = ChannelKey::channel(APP, "room");
    let ask = AccessQuery {
        resource: Resource::Channel,
        name: "room",
        needs: Operations::PUBLISH,
        wants: Operations::NONE,
        speaks_for: None,
    };
    let principal = Principal::anonymous(APP, None, 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for number in 0..100 {
        let pass = authority.decide(&principal, None, ask).unwrap();
        let draft = super::server::draft(&number.to_string());
        let publish = node.broker.publish(&key, draft, pass);
        runtime.block_on(publish).unwrap();
    }
    client.say("y");
    client.expect("echo y");
    authority.set_fixed(State::default(), 1_000, true);
    for number in 0..100 {
        client.expect(&format!("room {number}"));
    }
    client.say("pub room back");
    client.expect("room back");
}

#[test]
fn batches_without_effects_are_acknowledged_in_order() {
    let node = Node::start(1);
    let mut client = user(&node, "ana");
    for revision in 1..50 {
        assert_eq!(node.enforce(revision, Vec::new()), 0);
    }
    client.say("x");
    client.expect("echo x");
}
