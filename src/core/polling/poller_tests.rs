//! In whose order a poller's requirements are judged.
#![allow(clippy::unwrap_used)]

use super::super::poll_worker::Pollers;
use super::super::queue::stamp;
use super::*;
use crate::core::authority::fixture::{allowing, judge};
use crate::core::authority::{AppId, Authority};
use crate::core::channel::registry::Channels;
use crate::core::delivery::worker_state::WorkerState;
use crate::core::ids::Position;
use crate::core::message::{ContentKind, Draft, Occupancy, Publication};
use actix::Actor as _;
use std::rc::Rc;

const APP: AppId = AppId(1);

fn batch(state: Access) -> EffectBatch {
    EffectBatch {
        revision: state.revision,
        effects: Arc::default(),
        state: Arc::new(state),
        skipped: false,
    }
}

fn want(broker: &Broker, principal: &Principal, channel: &str) -> Subscription {
    let requirement = Requirement {
        resource: Resource::Channel,
        name: channel.into(),
        needs: Operations::SUBSCRIBE,
    };
    let pass = broker.authority.decide(principal, None, requirement.ask());
    Subscription {
        channel: ChannelKey::channel(APP, channel),
        requirements: vec![requirement],
        pass: pass.unwrap(),
        start: Start::Now,
    }
}

/// A poller that reads a room by the state of that revision, and its broker.
fn reading(revision: u64) -> (Broker, Arc<Poller>) {
    let state = allowing(Operations::ALL, revision);
    let authority = Arc::new(Authority::fixed_by(state, 100, judge));
    let broker = Broker::new(authority, Channels::new(Arc::default(), &[]));
    let polls = Pollers::start(
        &broker,
        &Rc::<WorkerState>::default(),
        &Relay::default().start(),
        0,
    );
    let principal = Principal::anonymous(APP, None, 1);
    let poller = polls.open(principal.clone(), "test", "".into(), 9);
    let poller = poller.unwrap();
    poller.attach(vec![want(&broker, &principal, "room")], false);
    (broker, poller)
}

async fn enforce(poller: &Arc<Poller>, state: Access) -> bool {
    Port(poller.clone()).enforce(batch(state)).await
}

#[actix::test]
async fn what_was_taken_and_given_back_while_the_node_was_away_ends_it_to_ask_again() {
    let (broker, poller) = reading(4);
    let now = allowing(Operations::ALL, 6);
    broker.authority.set_fixed(now, 100, false);
    assert!(!enforce(&poller, allowing(Operations::NONE, 4)).await);
    assert_eq!(
        poller.take(9).unwrap().len(),
        0,
        "it was let in on that state"
    );
    assert!(enforce(&poller, allowing(Operations::NONE, 5)).await);
    assert_eq!(poller.take(9).unwrap_err(), Ended::Sent);
}

#[actix::test]
async fn who_missed_something_asks_again_from_its_cursor() {
    let (_broker, poller) = reading(4);
    Port(poller.clone()).end(End::Missed);
    assert_eq!(poller.take(9).unwrap_err(), Ended::Sent);
}

#[actix::test]
async fn who_is_far_behind_gets_on_each_time_she_asks() {
    const BEHIND: u64 = 2_600;
    let message = |at| {
        let draft = Draft::new("".into(), "x".into(), ContentKind::Json);
        Arc::new(Publication {
            draft: Box::new(draft),
            position: Position::default(),
            timetoken: at,
        })
    };
    let (mut cursor, mut rounds) = (0, 0);
    while cursor < BEHIND {
        let (_broker, poller) = reading(4);
        let room = ChannelKey::channel(APP, "room");
        poller.joined(Subscribed {
            channel: room,
            tag: 0,
            granted: Operations::SUBSCRIBE,
            position: Position::default(),
            backlog: (cursor + 1..=BEHIND).map(message).collect(),
            continuous: true,
            members: None,
            occupancy: Occupancy::default(),
        });
        let before = cursor;
        let end = loop {
            match poller.take(100) {
                Ok(items) if items.is_empty() => break None,
                Ok(items) => {
                    for item in items {
                        assert_eq!(
                            stamp(&item.broadcast),
                            cursor + 1,
                            "in order, and none left out"
                        );
                        cursor += 1;
                    }
                }
                Err(ended) => break Some(ended),
            }
        };
        assert_eq!(end, (cursor < BEHIND).then_some(Ended::Over));
        assert!(cursor > before, "she stands where she stood");
        rounds += 1;
    }
    assert!(rounds < 9, "{rounds}");
}

#[actix::test]
async fn what_stays_taken_ends_it_as_denied() {
    let (broker, poller) = reading(4);
    let now = allowing(Operations::NONE, 5);
    broker.authority.set_fixed(now.clone(), 100, true);
    assert!(enforce(&poller, now).await);
    assert_eq!(poller.take(9).unwrap_err(), Ended::Denied);
}

#[actix::test]
async fn the_first_of_its_rights_to_end_is_noted_whichever_was_judged_last() {
    let until = |end, revision| {
        let mut state = allowing(Operations::ALL, revision);
        state.version = end;
        state
    };
    let (broker, poller) = reading(4);
    let stands = |revision, end| {
        let authority = &broker.authority;
        authority.set_fixed(until(end, revision), 100, true);
    };
    stands(5, 500);
    let first = want(&broker, poller.principal(), "first");
    stands(7, 900);
    let second = want(&broker, poller.principal(), "second");
    poller.attach(vec![first, second], false);
    assert_eq!(poller.until_ms(), Some(500));
    // An entry that only the first is older than, and that gives it longer than the second has.
    assert!(!enforce(&poller, until(950, 6)).await);
    assert_eq!(poller.until_ms(), Some(900));
}

#[actix::test]
async fn what_its_next_request_was_allowed_is_not_taken_by_an_older_entry() {
    let (broker, poller) = reading(4);
    let now = allowing(Operations::ALL, 6);
    broker.authority.set_fixed(now, 100, true);
    poller.attach(vec![want(&broker, poller.principal(), "room")], false);
    assert!(!enforce(&poller, allowing(Operations::NONE, 5)).await);
    assert!(!enforce(&poller, allowing(Operations::ALL, 6)).await);
    assert!(enforce(&poller, allowing(Operations::NONE, 7)).await);
}
