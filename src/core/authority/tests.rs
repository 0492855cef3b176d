#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::catchup::CatchUp;
use super::*;
use crate::core::clock::Now;
use crate::core::error::Refusal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn ask(needs: Operations, wants: Operations) -> AccessQuery<'static> {
    AccessQuery {
        resource: Resource::Channel,
        name: "room",
        needs,
        wants,
        speaks_for: None,
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

#[actix::test]
async fn many_names_that_are_refused_cost_one_round() {
    let authority = Authority::fixed_by(State::default(), 100, some);
    let asks: Vec<AccessQuery<'_>> = (0..1_000)
        .map(|at| match at % 2 {
            0 => ask(Operations::PRESENCE, Operations::NONE),
            _ => ask(Operations::SUBSCRIBE, Operations::NONE),
        })
        .collect();
    let answers = authority.authorize_all(&anonymous(), None, &asks).await;
    let answers = answers.unwrap();
    assert_eq!(answers.iter().filter(|one| one.is_err()).count(), 500);
    assert_eq!(authority.rounds(), 1);
    let allowed: Vec<_> = asks.iter().skip(1).step_by(2).copied().collect();
    let answers = authority.authorize_all(&anonymous(), None, &allowed).await;
    assert!(answers.unwrap().iter().all(Result::is_ok));
    assert_eq!(authority.rounds(), 1, "a yes costs none");
}

#[actix::test]
async fn a_listing_tells_what_is_allowed_for_one_round() {
    fn rooms(_: &State, question: &Question<'_>) -> Decision {
        match question.name.starts_with("open-") {
            true => grant(None),
            false => Decision::Deny(Reason::NotGranted(question.operations)),
        }
    }
    let authority = Authority::fixed_by(State::default(), 100, rooms);
    let named = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
    let seen = async |names: &[String]| {
        let needs = (Resource::Channel, Operations::METADATA);
        authority.visible(&anonymous(), needs, named(names)).await
    };
    let open: Vec<_> = (0..50).map(|n| format!("open-{n}")).collect();
    assert_eq!(seen(&open).await, Ok(named(&open)));
    assert_eq!(authority.rounds(), 0, "a yes costs none");
    let closed: Vec<_> = (0..50).map(|n| format!("closed-{n}")).collect();
    let all = [open.clone(), closed].concat();
    assert_eq!(seen(&all).await, Ok(named(&open)));
    assert_eq!(authority.rounds(), 1);
    authority.set_fixed(State::default(), 100, false);
    assert!(seen(&open).await.is_err(), "not past the lease");
}

/// An app, and a credential of that time of issue for `ana`, to whom everything is granted.
fn stated(issued_ms: Millis) -> Principal {
    let proof = Proof {
        key: "k1".into(),
        issued: Issued::At(issued_ms),
        expires_ms: None,
        capability: Capability::full(),
        vouched: None,
    };
    Principal {
        user: Some("ana".into()),
        ..Principal::proven(AppId(1), proof)
    }
}

fn app_and(more: Option<Command>, time_ms: Millis) -> State {
    let app = Command::CreateApp(AppSpec {
        id: AppId(1),
        name: "a".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: [].into(),
        aliases: Vec::new(),
        keys: vec![KeySpec {
            id: "k1".into(),
            app: AppId(1),
            name: "k".into(),
            secret: Secret("a secret of some length".into()),
            capability: Capability::full(),
            revocable_tokens: true,
        }],
    });
    let commands: Vec<_> = std::iter::once(app).chain(more).collect();
    fixture::state_after(&commands, time_ms)
}

#[actix::test]
async fn a_token_that_can_be_guessed_is_given_nothing_where_the_app_says_so() {
    let settings = [("shortest_token_bytes".into(), Some(SettingValue::Int(16)))];
    let change = AppChange {
        settings: settings.into(),
        ..AppChange::default()
    };
    let app = AppId(1);
    let authority = Authority::fixed(app_and(None, 5), 5);
    authority.take_writes(&[]);
    let write = async |command: Command| {
        let request = RequestId(rand::random());
        let outcome = authority.write(request, command, BarrierMode::All).await;
        outcome.map(|_| ())
    };
    let given = |token: &str, mode, operations| Command::SetGrants {
        app,
        issuer: Issuer::Operator,
        subject: Subject::Token(token.into()),
        mode,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::All,
            operations,
            ttl_ms: None,
        }],
    };
    let (renew, read) = (GrantMode::Renew, Operations::SUBSCRIBE);
    assert_eq!(write(given("1", renew, read)).await, Ok(()), "by default");
    assert_eq!(write(Command::UpdateApp { app, change }).await, Ok(()));
    for mode in [renew, GrantMode::Merge, GrantMode::Replace] {
        let refused = write(given("fifteen-letters", mode, read)).await;
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("at least 16 bytes"), "{told}");
        assert_eq!(write(given("sixteen-letters-", mode, read)).await, Ok(()));
    }
    // What stands from before can be taken.
    let taken = given("1", GrantMode::Merge, Operations::NONE);
    assert_eq!(write(taken).await, Ok(()));
}

fn revoked(time_ms: Millis) -> State {
    let command = Command::Revoke {
        app: AppId(1),
        issuer: Issuer::Operator,
        target: Target::User("ana".into()),
        issued_before_ms: None,
        margin_ms: 0,
    };
    app_and(Some(command), time_ms)
}

#[actix::test]
async fn a_credential_of_a_clock_ahead_is_waited_for_and_none_further_ahead_is_taken() {
    let authority = Authority::fixed(app_and(None, 10_000), 10_000);
    let ahead = stated(10_040);
    assert_eq!(authority.admits(&ahead), None, "not yet, and not never");
    let waiting = authority.admit(&ahead);
    let moving = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        authority.set_fixed(app_and(None, 10_000), 10_040, true);
    };
    let (answer, ()) = futures_util::future::join(waiting, moving).await;
    assert_eq!(answer, Ok(()));
    let far = stated(10_041 + MAX_AHEAD_MS);
    let at_ms = 10_041 + MAX_AHEAD_MS;
    let refused = Err(Refusal::Denied(Reason::NotYet { at_ms }));
    assert_eq!(authority.admits(&far), Some(refused.clone()));
    assert_eq!(authority.admit(&far).await, refused);
}

#[actix::test]
async fn cluster_time_that_is_put_back_while_it_is_waited_for_refuses_nobody() {
    let authority = Authority::fixed(app_and(None, 10_000), 10_000);
    let moving = async {
        for (after_ms, now_ms) in [(5, 9_990), (40, 10_019), (5, 10_020)] {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            authority.set_fixed(app_and(None, 10_000), now_ms, true);
        }
    };
    let (answer, ()) = futures_util::future::join(authority.admit(&stated(10_020)), moving).await;
    assert_eq!(answer, Ok(()));
}

#[actix::test]
async fn what_was_taken_once_is_reached_by_a_later_revocation_at_every_presentation() {
    for (issued_ms, stands) in [(9_000, false), (10_000, false), (10_001, true)] {
        for now_ms in [10_001, 10_500, 20_000] {
            let authority = Authority::fixed(revoked(10_000), now_ms);
            let admitted = authority.admit(&stated(issued_ms)).await.is_ok();
            assert_eq!(admitted, stands, "issued {issued_ms}, shown {now_ms}");
        }
    }
}

#[actix::test]
async fn a_credential_made_in_the_millisecond_of_a_revocation_waits_for_the_next_and_stands() {
    let authority = Authority::fixed(revoked(10_000), 10_000);
    let mut times = Vec::new();
    let made: Result<Millis, Refusal> = authority
        .issue(|now_ms| {
            times.push(now_ms);
            // The clock of a fixed authority stands; it moves once the first try has failed.
            authority.set_fixed(revoked(10_000), 10_001, true);
            Ok((now_ms, stated(now_ms)))
        })
        .await;
    assert_eq!(made, Ok(10_001));
    assert_eq!(times, [10_000, 10_001]);
}
