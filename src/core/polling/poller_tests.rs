//! In whose order a poller's claims are judged.
#![allow(clippy::unwrap_used)]
// The state has fields of its own that nobody else may name.
#![allow(clippy::field_reassign_with_default)]

use super::super::board::Polls;
use super::*;
use crate::core::authority::{
    AppId, Authority, Decision, Pattern, Question, Reason, Rule, State as Access,
};
use crate::core::channel::actor::Channels;
use crate::core::delivery::local::Local;
use actix::Actor as _;
use std::rc::Rc;

const APP: AppId = AppId(1);

/// What is allowed is written in the state's time, as bits.
fn judge(state: &Access, question: &Question<'_>) -> Decision {
    match Operations(state.time_ms).contains(question.operations) {
        true => Decision::Allow(Rule::Open(Pattern::All)),
        false => Decision::Deny(Reason::NotGranted(question.operations)),
    }
}

/// The state after the log entry of that number.
fn after(revision: u64, operations: Operations) -> Access {
    let mut access = Access::default();
    access.revision = revision;
    access.time_ms = operations.0;
    access
}

fn batch(state: Access) -> EffectBatch {
    EffectBatch {
        revision: state.revision,
        effects: Arc::default(),
        state: Arc::new(state),
        skipped: false,
    }
}

fn want(broker: &Broker, principal: &Principal, channel: &str) -> Want {
    let claim = Claim {
        resource: Resource::Channel,
        name: channel.into(),
        needs: Operations::SUBSCRIBE,
    };
    let pass = broker.authority.decide(principal, None, claim.ask());
    Want {
        channel: ChannelKey::channel(APP, channel),
        claims: vec![claim],
        pass: pass.unwrap(),
        start: Start::Now,
    }
}

/// A poller that reads a room by the state of that revision, and its broker.
fn reading(revision: u64) -> (Broker, Arc<Poller>) {
    let state = after(revision, Operations::ALL);
    let authority = Arc::new(Authority::fixed_by(state, 100, judge));
    let broker = Broker::new(authority, Channels::new(Arc::default(), &[]));
    let polls = Polls::start(
        &broker,
        &Rc::<Local>::default(),
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
    let now = after(6, Operations::ALL);
    broker.authority.set_fixed(now, 100, false);
    assert!(!enforce(&poller, after(4, Operations::NONE)).await);
    assert_eq!(
        poller.take(9).unwrap().len(),
        0,
        "it was let in on that state"
    );
    assert!(enforce(&poller, after(5, Operations::NONE)).await);
    assert_eq!(poller.take(9).unwrap_err(), Ended::Sent);
}

#[actix::test]
async fn what_stays_taken_ends_it_as_denied() {
    let (broker, poller) = reading(4);
    let now = after(5, Operations::NONE);
    broker.authority.set_fixed(now.clone(), 100, true);
    assert!(enforce(&poller, now).await);
    assert_eq!(poller.take(9).unwrap_err(), Ended::Denied);
}

#[actix::test]
async fn what_its_next_request_was_allowed_is_not_taken_by_an_older_entry() {
    let (broker, poller) = reading(4);
    let now = after(6, Operations::ALL);
    broker.authority.set_fixed(now, 100, true);
    poller.attach(vec![want(&broker, poller.principal(), "room")], false);
    assert!(!enforce(&poller, after(5, Operations::NONE)).await);
    assert!(!enforce(&poller, after(6, Operations::ALL)).await);
    assert!(enforce(&poller, after(7, Operations::NONE)).await);
}
