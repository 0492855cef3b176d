//! What is acknowledged of what a provider was asked for, what is told to be none, and what is left to come again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::fixture::{Site, answer};
use super::poller::{Polled, Poller};
use crate::core::authority::fixture::state_after;
use crate::core::authority::{
    Administered, AppId, AppSpec, Authority, Capability, CarriedRights, Command, Delivery, KeySpec,
    Reaction, Secret, SettingValue, SignalsSpec, Stream,
};
use crate::identity::fixture::{administer, event, provide, run, token};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const APP: AppId = AppId(7);
const NOW_S: u64 = 1_700_000_000;
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn authority() -> Arc<Authority> {
    authority_at("https://id.test")
}

fn authority_at(base: &str) -> Arc<Authority> {
    // Another test may have been first.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let app = Command::CreateApp(AppSpec {
        id: APP,
        name: "".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: [("provider_private_targets".into(), SettingValue::Bool(true))].into(),
        aliases: Vec::new(),
        keys: vec![KeySpec {
            id: "ceiling".into(),
            app: APP,
            name: "".into(),
            secret: Secret("secret".into()),
            capability: Capability::full(),
            revocable_tokens: true,
        }],
    });
    let mut state = state_after(&[app], NOW_S * 1_000);
    provide(&mut state, APP, "ceiling", CarriedRights::Grants);
    let spec = SignalsSpec {
        audiences: Vec::new(),
        device_compliance: Reaction::Ignore,
        assurance_level: Reaction::Ignore,
        delivery: Delivery::Poll {
            endpoint: format!("{base}/poll").into(),
        },
        stream: Some(Stream {
            id: "st".into(),
            configuration: format!("{base}/streams").into(),
            token: format!("{base}/token").into(),
            client: "c".into(),
            secret: Secret("client secret".into()),
            scope: None,
            state: None,
        }),
    };
    let spec = Box::new(spec);
    let id = "idp".into();
    let change = Administered::Signals { id, spec };
    run(&mut state, &administer(APP, change));
    let authority = Authority::fixed(state, NOW_S * 1_000);
    authority.take_writes(&[]);
    Arc::new(authority)
}

fn sets() -> Map<String, Value> {
    let revoked = event(NOW_S, REVOKED, json!({}), json!({"jti": "good"}));
    let nothing = event(NOW_S, "urn:x", json!({}), json!({"jti": "nothing"}));
    let sets = json!({
        "good": revoked, "nothing": nothing, "number": 7,
        "token": token(NOW_S, json!({})),
    });
    sets.as_object().unwrap().clone()
}

#[actix_web::test]
async fn what_is_over_everywhere_is_acknowledged_and_nothing_else() {
    let authority = authority();
    let poller = Poller::new(authority.clone());
    let mut idle = poller.idle();
    assert!(poller.idle().is_empty(), "nobody asks twice");
    let mut stand = idle.pop().unwrap();
    let open = poller.carry_out(&mut stand, sets()).await;
    assert_eq!((open, authority.fences()), (0, 1));
    let (mut acknowledged, refused) = stand.told();
    acknowledged.sort();
    assert_eq!(acknowledged, ["good", "nothing"]);
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["number", "token"]);
    assert_eq!(refused["token"]["err"], "invalid_request");
    // A node has not confirmed it: it is to come again.
    authority.take_writes(&[2]);
    let mut stand = Poller::new(authority.clone()).idle().pop().unwrap();
    let open = poller.carry_out(&mut stand, sets()).await;
    let (acknowledged, _) = stand.told();
    assert_eq!((open, acknowledged), (1, vec!["nothing".to_owned()]));
}

static HUGE: AtomicUsize = AtomicUsize::new(0);

/// A transmitter whose answers are too long, until they are not.
fn too_long(at: &str, _base: &str) -> Option<Vec<u8>> {
    match at {
        "/token" => answer("200 OK", "", br#"{"access_token":"t","expires_in":60}"#),
        _poll if HUGE.fetch_add(1, Ordering::SeqCst) < 3 => {
            answer("200 OK", "", &vec![b' '; 3 << 20])
        }
        _poll => answer("200 OK", "", br#"{"sets":{}}"#),
    }
}

fn failing(at: &str, _base: &str) -> Option<Vec<u8>> {
    match at {
        "/token" => answer("200 OK", "", br#"{"access_token":"t","expires_in":60}"#),
        _poll => answer("302 Found", "location: http://127.0.0.1:1/\r\n", b""),
    }
}

#[actix_web::test]
async fn an_answer_that_is_too_long_is_asked_for_in_smaller_pieces() {
    let site = Site::serve(too_long).await;
    let poller = Poller::new(authority_at(&site.base));
    let mut stand = poller.idle().pop().unwrap();
    for most in [128, 64, 32] {
        assert_eq!(
            poller.poll(&mut stand).await,
            Ok(Polled::Came { pauses: false })
        );
        assert_eq!(stand.most(), most);
    }
    assert_eq!(poller.poll(&mut stand).await, Ok(Polled::Nothing));
    assert_eq!(site.asked(), 5, "one access token for all of them");
}

#[actix_web::test]
async fn what_has_to_be_told_is_kept_until_it_was_heard() {
    let site = Site::serve(failing).await;
    let poller = Poller::new(authority_at(&site.base));
    let mut stand = poller.idle().pop().unwrap();
    stand.owes("e1");
    let why = poller.poll(&mut stand).await.unwrap_err();
    assert!(why.contains("302") && !why.contains(&site.base), "{why}");
    assert_eq!(stand.told().0, ["e1"]);
}

/// A transmitter that has something to tell at once, always, and never an event.
fn babbling(at: &str, _base: &str) -> Option<Vec<u8>> {
    match at {
        "/token" => answer("200 OK", "", br#"{"access_token":"t","expires_in":60}"#),
        _poll => answer("200 OK", "", br#"{"sets":{"a":"x","b":7}}"#),
    }
}

#[actix_web::test]
async fn whoever_tells_nothing_that_is_an_event_is_asked_again_after_a_pause() {
    let site = Site::serve(babbling).await;
    let poller = Poller::new(authority_at(&site.base));
    let mut stand = poller.idle().pop().unwrap();
    for _ in 0..2 {
        let polled = poller.poll(&mut stand).await;
        assert_eq!(polled, Ok(Polled::Came { pauses: true }));
    }
    assert_eq!(stand.told().1.len(), 2);
}
