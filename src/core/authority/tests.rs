#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

fn ask(needs: Operations, wants: Operations) -> Ask<'static> {
    Ask {
        resource: Resource::Channel,
        name: "room",
        needs,
        wants,
    }
}

fn anonymous() -> Principal {
    Principal::anonymous(AppId(1), Some("k".into()), 1)
}

fn grant(expires_ms: Option<Millis>) -> Decision {
    Decision::Allow(Rule::Grant {
        subject: Subject::Everyone,
        pattern: Pattern::All,
        revision: 1,
        expires_ms,
    })
}

/// Subscribe for ever, publish until 500, presence never.
fn some(_: &State, question: &Question<'_>) -> Decision {
    let operations = question.operations;
    if !operations.and(Operations::PRESENCE).is_empty() {
        return Decision::Deny(Reason::NotGranted(Operations::PRESENCE));
    }
    if operations == Operations::PUBLISH {
        return grant(Some(500));
    }
    grant(None)
}

#[test]
fn wants_are_added_only_when_allowed_and_the_earliest_end_counts() {
    let authority = Authority::fixed_by(State::default(), 100, some);
    let wants = Operations::PUBLISH | Operations::PRESENCE;
    let pass = authority
        .decide(&anonymous(), None, ask(Operations::SUBSCRIBE, wants))
        .unwrap();
    assert_eq!(
        pass.operations(),
        Operations::SUBSCRIBE | Operations::PUBLISH
    );
    assert_eq!(pass.until_ms(), Some(500));
    let before = Now {
        mono_ms: 0,
        cluster_ms: 499,
    };
    let after = Now {
        mono_ms: 0,
        cluster_ms: 500,
    };
    assert!(pass.allows(Operations::PUBLISH, before));
    assert!(!pass.allows(Operations::PUBLISH, after));
    assert!(!pass.allows(Operations::PRESENCE, before));
}

#[test]
fn several_needs_end_with_the_first_of_their_rules() {
    let authority = Authority::fixed_by(State::default(), 100, some);
    let needs = Operations::SUBSCRIBE | Operations::PUBLISH;
    let pass = authority
        .decide(&anonymous(), None, ask(needs, Operations::NONE))
        .unwrap();
    assert_eq!(pass.until_ms(), Some(500));
}

#[test]
fn one_missing_need_refuses_all() {
    let authority = Authority::fixed_by(State::default(), 100, some);
    let needs = Operations::SUBSCRIBE | Operations::PRESENCE;
    let refused = authority.decide(&anonymous(), None, ask(needs, Operations::NONE));
    assert_eq!(
        refused,
        Err(Reason::NotGranted(Operations::PRESENCE)),
        "presence is not granted"
    );
}

#[test]
fn the_principals_own_expiry_ends_the_pass() {
    let authority = Authority::fixed_by(State::default(), 100, some);
    let mut principal = anonymous();
    principal.expires_ms = Some(300);
    let pass = authority
        .decide(
            &principal,
            None,
            ask(Operations::SUBSCRIBE, Operations::NONE),
        )
        .unwrap();
    assert_eq!(pass.until_ms(), Some(300));
}

#[actix::test]
async fn nothing_is_authorized_past_the_lease() {
    let authority = Authority::fixed_by(State::default(), 100, some);
    authority.set_fixed(State::default(), 100, false);
    let refused = authority
        .authorize(
            &anonymous(),
            None,
            ask(Operations::SUBSCRIBE, Operations::NONE),
        )
        .await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
    assert!(matches!(
        authority.admit(&anonymous()).await,
        Err(Refusal::Unavailable(_))
    ));
}

#[actix::test]
async fn a_refusal_names_its_reason() {
    let authority = Authority::fixed_by(State::default(), 100, some);
    let refused = authority
        .authorize(
            &anonymous(),
            None,
            ask(Operations::PRESENCE, Operations::NONE),
        )
        .await;
    assert_eq!(
        refused,
        Err(Refusal::Denied(Reason::NotGranted(Operations::PRESENCE)))
    );
}

#[actix::test]
async fn a_hundred_refusals_share_rounds() {
    let shared = CatchUp::default();
    let rounds = AtomicU64::new(0);
    let one = || {
        shared.join(|| async {
            let number = rounds.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(number)
        })
    };
    let results = futures_util::future::join_all((0..100).map(|_| one())).await;
    assert!(results.iter().all(Result::is_ok));
    // The first starts a round; everybody else came after its start and shares the next one.
    assert_eq!(rounds.load(Ordering::SeqCst), 2);
    one().await.unwrap();
    assert_eq!(
        rounds.load(Ordering::SeqCst),
        3,
        "a later question needs a later round"
    );
}

#[test]
fn what_two_passes_allow_together_ends_with_the_first_and_is_as_old_as_the_older() {
    let pass = |operations, until_ms, revision| Pass {
        operations,
        until_ms,
        revision,
    };
    let both = Operations::SUBSCRIBE | Operations::PUBLISH;
    let (one, other) = (
        pass(both, None, 7),
        pass(Operations::SUBSCRIBE, Some(500), 5),
    );
    let expected = pass(Operations::SUBSCRIBE, Some(500), 5);
    assert_eq!(one.and(&other), expected);
    assert_eq!(other.and(&one), expected);
    assert_eq!(one.clone().as_of(3), pass(both, None, 3));
    assert_eq!(one.clone().as_of(9), one, "never newer than it is");
}
