//! What is acknowledged of what a provider was asked for, what is told to be none, and what is left to come again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::poller::Poller;
use crate::core::authority::fixture::state_after;
use crate::core::authority::{
    Administered, AppId, AppSpec, Authority, Capability, CarriedRights, Command, Delivery, KeySpec,
    Reaction, Secret, SignalsSpec, Stream,
};
use crate::identity::fixture::{administer, event, provide, run, token};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const APP: AppId = AppId(7);
const NOW_S: u64 = 1_700_000_000;
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn authority() -> Arc<Authority> {
    // Another test may have been first.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let app = Command::CreateApp(AppSpec {
        id: APP,
        name: "".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: [].into(),
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
            endpoint: "https://id.test/poll".into(),
        },
        stream: Some(Stream {
            id: "st".into(),
            configuration: "https://id.test/streams".into(),
            token: "https://id.test/token".into(),
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
