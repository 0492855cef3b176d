//! A token of an identity provider in place of a signature.

use super::*;
use crate::core::authority::CarriedRights;
use crate::identity::fixture::{hostile, provide, token};
use serde_json::json;

const NOW_S: u64 = 1_700_000_000;

fn client() -> Client {
    let mut state = fixture::state(|app| on(app, "user_sign_in"));
    state.time_ms = NOW_S * 1_000;
    provide(&mut state, APP, KEY, CarriedRights::Ceiling);
    let mut client = Client::with(Hello::new(KEY, "protocol=7", false), state.clone());
    client.authority.set_fixed(state, NOW_S * 1_000, true);
    client.feed(Input::Opened);
    client.event(Event::Identified);
    client
}

/// Who a subscription makes of the connection, and what it asks for.
fn signs_in(actions: &[Action]) -> (Principal, Subscribe) {
    match actions {
        [
            Action::Do(Intent::Identify(principal)),
            Action::Do(Intent::Subscribe(subscribe)),
        ] => (Principal::clone(principal), Subscribe::clone(subscribe)),
        other => panic!("no sign-in: {other:?}"),
    }
}

#[test]
fn a_subscription_with_a_token_signs_its_bearer_in() {
    let mut client = client();
    let (ana, asked) =
        signs_in(&client.subscribe("private-a", Some(&token(NOW_S, json!({}))), None));
    assert_eq!(
        (ana.user.as_deref(), ana.opened_under.as_deref()),
        (Some("ana"), Some(KEY))
    );
    assert!(ana.proof.unwrap().vouched.is_some());
    assert_eq!(
        (asked.proof, asked.speaks_for),
        (None, None),
        "it is judged as she is"
    );
    // A later one of hers takes its place; nobody else's does.
    let later = token(NOW_S, json!({"exp": NOW_S + 900}));
    let (later, _) = signs_in(&client.subscribe("private-b", Some(&later), None));
    assert_eq!(later.expires_ms, Some((NOW_S + 910) * 1_000));
    let eve = client.subscribe(
        "private-c",
        Some(&token(NOW_S, json!({"sub": "eve"}))),
        None,
    );
    assert!(texts(&eve).iter().any(|text| text.contains("another user")));
    let presence = token(NOW_S, json!({}));
    let data = |id: &str| json!({"user_id": id, "user_info": {"admin": true}}).to_string();
    let eve = client.subscribe("presence-a", Some(&presence), Some(&data("eve")));
    assert!(texts(&eve).iter().any(|text| text.contains("user_id")));
    let (_, asked) = signs_in(&client.subscribe("presence-a", Some(&presence), Some(&data("ana"))));
    let member = asked.member.unwrap();
    assert_eq!(
        (&*member.client, member.data.len()),
        ("ana", 0),
        "nobody has signed the rest"
    );
}

#[test]
fn a_sign_in_with_a_token_is_of_its_bearer() {
    let mut client = client();
    let good = token(NOW_S, json!({}));
    let data = r#"{"id":"ana","user_info":{"admin":true},"watchlist":["bob"]}"#;
    let asked = client.sign_in_with(&good, data);
    let [Action::Do(Intent::Identify(ana))] = asked.as_slice() else {
        panic!("no sign-in: {asked:?}");
    };
    assert_eq!(ana.user.as_deref(), Some("ana"));
    let told = client.event(Event::Identified);
    assert!(told.iter().all(
        |one| !matches!(one, Action::Do(Intent::Subscribe(other)) if &*other.channel.name == "bob")
    ));
    let mut client = self::client();
    let eve = client.sign_in_with(&good, r#"{"id":"eve"}"#);
    assert!(
        texts(&eve)[0].contains("not the user of the token"),
        "{eve:?}"
    );
}

#[test]
fn no_hostile_token_asks_for_anything() {
    let asks = |actions: &[Action]| {
        actions.iter().any(|one| match one {
            Action::Do(Intent::CatchUp) => false,
            Action::Do(_) => true,
            _ => false,
        })
    };
    for (what, text, _) in hostile(NOW_S)
        .into_iter()
        .filter(|(_, text, _)| text.len() < 9_000)
    {
        let mut client = client();
        let mut all = client.subscribe("private-a", Some(&text), None);
        all.extend(client.event(Event::CaughtUp(Ok(()))));
        assert!(!asks(&all) && !all.is_empty(), "{what}: {all:?}");
        let mut client = self::client();
        let mut all = client.sign_in_with(&text, r#"{"id":"ana"}"#);
        all.extend(client.event(Event::CaughtUp(Ok(()))));
        assert!(!asks(&all) && !all.is_empty(), "{what}: {all:?}");
    }
}
