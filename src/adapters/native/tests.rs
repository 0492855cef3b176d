//! Requests against `/v1` over a fixed state.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::app::{AppIn, AppPatch};
use super::catalog::Catalog;
use super::meter::Meter;
use super::{AuthMode, Native, routes};
use crate::adapters::dialect::{Dialect, HandsOn, SettingKind, SettingSpec, Settings, Start};
use crate::core::authority::Holder;
use crate::core::authority::fixture::state_after;
use crate::core::authority::holder::looks;
use crate::core::authority::{
    ApiKey, App, AppId, AppSpec, Authority, Capability, Command, EnabledProtocol, GrantEntry,
    GrantMode, Issuer, KeyChange, KeySpec, Millis, OpenRule, Operations, Pattern, Presented,
    Principal, Resource, Right, Secret, State, Subject,
};
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use crate::core::delivery::encoding::Encodings;
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App as Web, HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use std::sync::Arc;

mod evaluation;
mod events;
mod oauth;
mod providers;

const OWNER: &str = "Bearer owner:0123456789abcdef";
const CHAT: &str = "Bearer chat:0123456789abcdef";
const OPERATOR: &str = "Bearer operators-only";

fn state() -> State {
    let key = |id: &str, app: u64, capability| KeySpec {
        id: id.into(),
        app: AppId(app),
        name: id.into(),
        secret: Secret("0123456789abcdef".into()),
        capability,
        revocable_tokens: true,
    };
    let app = |app, keys| {
        Command::CreateApp(AppSpec {
            id: AppId(app),
            name: "demo".into(),
            protocols: Vec::new(),
            open: vec![OpenRule {
                pattern: Pattern::Exact("hall".into()),
                operations: Operations::SUBSCRIBE,
            }],
            settings: [].into(),
            aliases: vec![("pubnub-publish".into(), format!("pub-c-{app}").into())],
            keys,
        })
    };
    let chat = Capability {
        rights: vec![Right {
            resource: Resource::Channel,
            pattern: Pattern::Prefix("chat-".into()),
            operations: Operations::PUBLISH | Operations::METADATA | Operations::GRANT,
        }],
    };
    let right = |pattern, operations| Right {
        resource: Resource::Channel,
        pattern,
        operations,
    };
    let clerk = Capability {
        rights: vec![
            right(Pattern::All, Operations::ADMIN),
            right(Pattern::Prefix("chat-".into()), Operations::SUBSCRIBE),
        ],
    };
    let grant = |user: &str, pattern: &str, ttl_ms| Command::SetGrants {
        app: AppId(7),
        issuer: Issuer::Operator,
        subject: Subject::User(user.into()),
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::Exact(pattern.into()),
            operations: Operations::SUBSCRIBE,
            ttl_ms,
        }],
    };
    let to_token = Command::SetGrants {
        app: AppId(7),
        issuer: Issuer::Operator,
        subject: Subject::Token("bearer".into()),
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::Exact("t".into()),
            operations: Operations::SUBSCRIBE,
            ttl_ms: None,
        }],
    };
    let giving = |pattern| Capability {
        rights: vec![Right {
            resource: Resource::Channel,
            pattern,
            operations: Operations::GRANT,
        }],
    };
    let taking = Capability::channel("t", Operations::REVOKE);
    let disabled = KeyChange {
        enabled: Some(false),
        ..KeyChange::default()
    };
    let keys = vec![
        key("owner", 7, Capability::full()),
        key("chat", 7, chat),
        key("off", 7, Capability::full()),
        key("clerk", 7, clerk),
        key("teller", 7, giving(Pattern::Exact("t".into()))),
        key("registrar", 7, giving(Pattern::All)),
        key("warden", 7, taking),
    ];
    let commands = [
        app(7, keys),
        app(8, vec![key("other", 8, Capability::full())]),
        grant("ana", "a", None),
        grant("ana", "b", Some(500)),
        grant("bob", "c", None),
        to_token,
        Command::UpdateKey {
            key: "off".into(),
            change: disabled,
        },
    ];
    let mut state = state_after(&commands, 1);
    state.revision = 42;
    state
}

/// A dialect whose tokens say who signed them: `signed:<app>:<id>`.
/// A dialect that leaves something open, and whose tokens say what they are.
#[derive(Debug)]
struct Signing;

impl Dialect for Signing {
    fn name(&self) -> &'static str {
        "pusher"
    }

    fn default_open(&self, _: &Settings) -> Vec<OpenRule> {
        vec![OpenRule {
            pattern: Pattern::Prefix("open-".into()),
            operations: Operations::SUBSCRIBE,
        }]
    }

    fn credentials(&self, _: &App, key: &KeySpec) -> Vec<(&'static str, String)> {
        vec![("SIGNING_KEY", format!("{}:{}", key.id, key.secret.0))]
    }

    fn presented(&self, _: &State, app: AppId, text: &str, _: Millis) -> Presented {
        signed_by_hand(app, text)
    }

    fn keeps(&self, _: &Settings) -> Option<&'static str> {
        Some("its connections keep what it took")
    }

    fn beginnings(&self) -> &'static [&'static str] {
        &[]
    }

    fn unknown(&self, _: &HttpRequest, status: StatusCode) -> HttpResponse {
        HttpResponse::new(status)
    }

    fn prepare(&self, _: &mut Encodings) -> Start {
        unreachable!("it is not started")
    }
}

fn signed_by_hand(app: AppId, text: &str) -> Presented {
    let Some((of, id)) = text
        .strip_prefix("signed:")
        .and_then(|rest| rest.split_once(':'))
    else {
        return Presented::Other;
    };
    if of != app.0.to_string() {
        return Presented::Foreign;
    }
    if let Some(later) = id.strip_prefix("later-") {
        return Presented::Unproven(later.into());
    }
    let mut bearer = Principal::anonymous(app, None, 1);
    bearer.token = (!id.is_empty()).then(|| id.into());
    bearer.user = Some("bearer".into());
    Presented::Signed(Box::new(bearer))
}

/// Status, `Gatecast-Revision` and body of one request.
async fn ask(auth_mode: AuthMode, request: TestRequest) -> (u16, Option<String>, Value) {
    ask_of(
        Arc::new(Authority::fixed(state(), 1000)),
        auth_mode,
        request,
    )
    .await
}

async fn ask_of(
    authority: Arc<Authority>,
    auth_mode: AuthMode,
    request: TestRequest,
) -> (u16, Option<String>, Value) {
    let channels = Channels::new(Arc::new(Encodings::default()), &[]);
    let broker = Broker::new(authority, channels);
    let native = Native {
        auth_mode,
        catalog: Arc::new(Catalog {
            dialects: &[&Signing],
            settings: [
                ("client_events", HandsOn::Nothing),
                ("webhooks", HandsOn::Given(Operations::SUBSCRIBE)),
            ]
            .map(|(name, hands_on)| SettingSpec {
                by_namespace: false,
                operators_only: false,
                hands_on,
                name,
                kind: SettingKind::Switch,
                default: 0,
            })
            .into(),
        }),
        meter: Meter::default(),
        cluster_secret: "secret of the nodes".into(),
    };
    let app = Web::new()
        .app_data(web::Data::new(broker))
        .app_data(web::Data::new(native))
        .configure(routes);
    let service = init_service(app).await;
    let response = call_service(&service, request.to_request()).await;
    let revision = response.headers().get("gatecast-revision");
    let revision = revision.map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = read_body(response).await;
    (
        status,
        revision,
        serde_json::from_slice(&body).unwrap_or(Value::Null),
    )
}

async fn key(auth: &str, method: &str, uri: &str, body: Value) -> (u16, String, Value) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = TestRequest::default()
        .method(method)
        .uri(uri)
        .set_json(body);
    let (status, _, body) = ask(
        AuthMode::Keys,
        request.insert_header(("Authorization", auth)),
    )
    .await;
    (
        status,
        body["error"]["code"].as_str().unwrap_or("").to_owned(),
        body,
    )
}

async fn operator(method: &str, uri: &str, body: Value) -> (u16, String, Value) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = TestRequest::default()
        .method(method)
        .uri(uri)
        .set_json(body);
    let request = request.insert_header(("Authorization", OPERATOR));
    let auth_mode = AuthMode::Operators {
        token: "operators-only".into(),
    };
    let (status, _, body) = ask(auth_mode, request).await;
    (
        status,
        body["error"]["code"].as_str().unwrap_or("").to_owned(),
        body,
    )
}

#[actix_web::test]
async fn nobody_enters_without_a_credential_of_the_port() {
    let get = |auth: &'static str| key(auth, "GET", "/v1/apps/7", json!({}));
    assert_eq!(get(OWNER).await.0, 200);
    assert_eq!(get("").await.1, "unauthenticated");
    assert_eq!(get("Bearer owner:wrong").await.1, "bad_credential");
    assert_eq!(
        get("Bearer nobody:0123456789abcdef").await.1,
        "bad_credential"
    );
    assert_eq!(get("Bearer off:0123456789abcdef").await.1, "bad_credential");
    assert_eq!(get(OPERATOR).await.1, "unauthenticated");
    let auth_mode = || AuthMode::Operators {
        token: "operators-only".into(),
    };
    let with_key = TestRequest::get()
        .uri("/v1/apps")
        .insert_header(("Authorization", OWNER));
    assert_eq!(ask(auth_mode(), with_key).await.0, 401);
    // Unknown paths are guarded as well: they tell nothing to strangers.
    assert_eq!(
        ask(auth_mode(), TestRequest::get().uri("/v1/nothing"))
            .await
            .0,
        401
    );
    assert_eq!(
        operator("GET", "/v1/nothing", json!({})).await.1,
        "no_such_path"
    );
    assert_eq!(
        operator("PUT", "/v1/apps", json!({})).await.1,
        "wrong_method"
    );
}

#[actix_web::test]
async fn an_unknown_key_costs_what_a_wrong_secret_costs() {
    let cost = async |auth: &'static str| {
        let authority = Arc::new(Authority::fixed(state(), 1000));
        let before = looks();
        let request = TestRequest::get().uri("/v1/apps/7");
        let request = request.insert_header(("Authorization", auth));
        let (status, _, body) = ask_of(authority.clone(), AuthMode::Keys, request).await;
        (authority.rounds(), looks() - before, status, body)
    };
    let unknown = cost("Bearer nobody:0123456789abcdef").await;
    let wrong = cost("Bearer owner:wrong").await;
    assert_eq!((unknown.0, unknown.1, unknown.2), (1, 2, 401));
    assert_eq!(unknown, wrong, "and the same is said");
    let right = cost(OWNER).await;
    assert_eq!((right.0, right.1, right.2), (0, 1, 200));
}

#[actix_web::test]
async fn a_key_sees_its_own_app_and_no_secret() {
    let (_, _, body) = key(OWNER, "GET", "/v1/apps", json!({})).await;
    assert_eq!(body["apps"].as_array().map(Vec::len), Some(1));
    let (_, _, body) = key(OWNER, "GET", "/v1/apps/7", json!({})).await;
    assert_eq!(body["app"]["id"], "7");
    assert!(body["keys"][0]["secret"].is_null() && body["env"].is_null());
    let (_, code, _) = key(OWNER, "GET", "/v1/apps/7?secrets=true", json!({})).await;
    assert_eq!(code, "operator_only");
    assert_eq!(
        key(OWNER, "GET", "/v1/apps/8", json!({})).await.1,
        "wrong_app"
    );
    assert_eq!(
        key(OWNER, "POST", "/v1/apps", json!({})).await.1,
        "operator_only"
    );
    assert_eq!(
        key(OWNER, "GET", "/v1/cluster", json!({})).await.1,
        "operator_only"
    );
}

#[actix_web::test]
async fn operators_page_through_apps_and_see_their_credentials() {
    let (_, _, body) = operator("GET", "/v1/apps?limit=1", json!({})).await;
    assert_eq!(
        (&body["next"], &body["revision"]),
        (&json!("7"), &json!(42))
    );
    let (_, _, body) = operator("GET", "/v1/apps?limit=1&after=7", json!({})).await;
    assert_eq!(
        (&body["apps"][0]["id"], &body["next"]),
        (&json!("8"), &Value::Null)
    );
    let (_, _, body) = operator("GET", "/v1/apps/7?secrets=true", json!({})).await;
    // It speaks no dialect, and so there are none for one.
    let env = json!({ "GATECAST_APP_ID": "7", "GATECAST_KEY": "chat:0123456789abcdef" });
    assert_eq!(body["env"], env);
    assert_eq!(
        operator("GET", "/v1/apps/9", json!({})).await.1,
        "no_such_app"
    );
    assert_eq!(
        operator("GET", "/v1/apps?limt=1", json!({})).await.1,
        "unknown_parameter"
    );
}

#[actix_web::test]
async fn a_narrow_key_is_limited_by_its_capability() {
    let list = |prefix: &str| {
        let uri = format!("/v1/apps/7/channels?prefix={prefix}");
        async move { key(CHAT, "GET", &uri, json!({})).await }
    };
    assert_eq!(list("chat-").await.0, 200);
    assert_eq!(list("chat-1").await.0, 200);
    assert_eq!(list("").await.1, "not_allowed");
    let show = key(CHAT, "GET", "/v1/apps/7/channels/news", json!({})).await;
    assert_eq!(show.1, "not_allowed");
    let patch = key(CHAT, "PATCH", "/v1/apps/7", json!({"enabled": false})).await;
    assert_eq!(patch.1, "not_allowed");
    let user = key(CHAT, "POST", "/v1/apps/7/users/ana/disconnect", json!({})).await;
    assert_eq!(user.1, "not_allowed");
    assert_eq!(
        key(CHAT, "POST", "/v1/apps/7/keys", json!({})).await.1,
        "not_allowed"
    );
}

#[actix_web::test]
async fn grants_are_listed_by_subject_without_what_has_expired() {
    let patterns = |body: &Value| {
        let lines = body["grants"].as_array().unwrap();
        lines
            .iter()
            .map(|line| line["pattern"].clone())
            .collect::<Vec<_>>()
    };
    let (_, _, body) = key(OWNER, "GET", "/v1/apps/7/grants?user=ana", json!({})).await;
    assert_eq!(patterns(&body), ["a"]);
    assert_eq!(body["grants"][0]["subject"], json!({"user": "ana"}));
    let (_, _, body) = key(OWNER, "GET", "/v1/apps/7/grants", json!({})).await;
    assert_eq!(patterns(&body), ["a", "c", "t"]);
    assert_eq!(body["grants"][2]["subject"], json!({"token": "bearer"}));
    let (_, _, body) = key(OWNER, "GET", "/v1/apps/7/grants?limit=1", json!({})).await;
    assert_eq!(body["truncated"], true);
    let two = key(OWNER, "GET", "/v1/apps/7/grants?user=a&key=b", json!({})).await;
    assert_eq!(two.1, "bad_value");
}

#[actix_web::test]
async fn a_listing_shows_what_the_key_may_grant_and_no_token_to_use() {
    let list = |key_id: &str| {
        let auth = format!("Bearer {key_id}:0123456789abcdef");
        async move { key(&auth, "GET", "/v1/apps/7/grants", json!({})).await }
    };
    let subjects = |body: &Value| {
        let lines = body["grants"].as_array().unwrap();
        let subjects = lines.iter().map(|line| line["subject"].clone());
        subjects.collect::<Vec<_>>()
    };
    // The first eight digits of `printf bearer | sha256sum`.
    let hidden = json!({"token_fingerprint": "2454ad61"});
    assert_eq!(
        subjects(&list("teller").await.2),
        std::slice::from_ref(&hidden)
    );
    let all = subjects(&list("registrar").await.2);
    assert_eq!(all.len(), 3);
    assert_eq!(all.last(), Some(&hidden));
    let named = "/v1/apps/7/grants?token=bearer";
    let (_, _, body) = key("Bearer teller:0123456789abcdef", "GET", named, json!({})).await;
    assert_eq!(subjects(&body), [hidden]);
    assert_eq!(subjects(&list("chat").await.2), [] as [Value; 0]);
}

#[actix_web::test]
async fn whoever_may_give_or_take_may_delete_grants() {
    let deletes = |key_id: &str| {
        let auth = format!("Bearer {key_id}:0123456789abcdef");
        let body = json!({"subject": {"token": "bearer"}, "patterns": ["t"]});
        async move { key(&auth, "DELETE", "/v1/apps/7/grants", body).await.1 }
    };
    // Past the handler; a fixed state takes no changes.
    assert_eq!(deletes("teller").await, "stopping");
    assert_eq!(deletes("warden").await, "stopping");
    assert_eq!(deletes("clerk").await, "not_allowed");
}

#[actix_web::test]
async fn a_narrow_key_sees_of_its_app_what_a_client_needs() {
    let (status, _, body) = key(CHAT, "GET", "/v1/apps/7", json!({})).await;
    assert_eq!((status, &body["app"]["id"]), (200, &json!("7")));
    assert_eq!(body["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(body["keys"][0]["id"], "chat");
    let (_, _, listed) = key(CHAT, "GET", "/v1/apps", json!({})).await;
    for app in [&body["app"], &listed["apps"][0]] {
        for inside in ["settings", "open", "namespaces"] {
            assert!(app.get(inside).is_none(), "{inside}");
        }
    }
    assert!(body.get("effective_settings").is_none());
}

#[actix_web::test]
async fn a_right_on_groups_is_no_right_to_the_app() {
    let group = Right {
        resource: Resource::Group,
        pattern: Pattern::All,
        operations: Operations::ALL,
    };
    let spec = ApiKey {
        id: "groups".into(),
        app: AppId(7),
        name: "".into(),
        secret: Secret("0123456789abcdef".into()),
        capability: Capability {
            rights: vec![group],
        },
        enabled: true,
        expires_ms: None,
        revocable_tokens: true,
        created_ms: 0,
        revision: 1,
    };
    let holder = Holder::by_secret(&spec, b"0123456789abcdef").unwrap();
    let caller = super::auth::Caller::Key(Arc::new(holder));
    let app = AppId(7);
    assert!(caller.require_app_wide(app, Operations::ADMIN).is_err());
    assert!(caller.user(app, "ana", Operations::REVOKE).is_err());
    assert!(caller.covers(Resource::Group, &Pattern::All, Operations::GRANT));
}

#[actix_web::test]
async fn answers_carry_their_revision() {
    let get = TestRequest::get()
        .uri("/v1/apps/7")
        .insert_header(("Authorization", OWNER));
    assert_eq!(ask(AuthMode::Keys, get).await.1.as_deref(), Some("42"));
    let bad = key(OWNER, "GET", "/v1/apps/7?at_least=x", json!({})).await;
    assert_eq!(bad.1, "bad_value");
}

#[test]
fn protocols_are_read_under_their_former_name_too() {
    for name in ["protocols", "doors"] {
        let body = json!({ name: ["pusher"] });
        let made: AppIn = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(made.protocols.unwrap(), ["pusher"], "{name}");
        let changed: AppPatch = serde_json::from_value(body).unwrap();
        assert_eq!(changed.protocols.unwrap(), ["pusher"], "{name}");
    }
    let both = json!({"protocols": ["pusher"], "doors": ["ably"]});
    assert!(serde_json::from_value::<AppIn>(both).is_err());
}

#[actix_web::test]
async fn bad_bodies_are_refused_before_anything_is_proposed() {
    let post = |uri: &'static str, body: Value| operator("POST", uri, body);
    assert_eq!(post("/v1/apps", json!({"nam": "x"})).await.1, "bad_json");
    assert_eq!(
        post("/v1/apps", json!({"name": "a\u{7}"})).await.1,
        "bad_name"
    );
    assert_eq!(
        post("/v1/apps", json!({"protocols": ["pushr"]})).await.1,
        "unknown_protocol"
    );
    assert_eq!(
        post("/v1/apps", json!({"settings": {"x": 1}})).await.1,
        "unknown_setting"
    );
    assert_eq!(
        post(
            "/v1/apps/7/grants",
            json!({"subject": "everyone", "grants": []})
        )
        .await
        .1,
        "bad_value"
    );
    assert_eq!(
        post(
            "/v1/apps/7/explain",
            json!({"channel": "a", "operations": []})
        )
        .await
        .1,
        "bad_value"
    );
    let huge = "x".repeat(super::input::MAX_BODY + 1);
    assert_eq!(
        post("/v1/apps", json!({ "name": huge })).await.1,
        "too_large"
    );
    // A good one comes as far as the access plane, which a fixed state does not have.
    assert_eq!(post("/v1/apps", json!({"name": "x"})).await.1, "stopping");
    assert_eq!(
        post("/v1/apps/7/revoke", json!({"target": {"user": "ana"}}))
            .await
            .1,
        "stopping"
    );
    assert_eq!(
        operator("DELETE", "/v1/apps/7/users/a%2Fb/block", json!({}))
            .await
            .1,
        "stopping"
    );
}

#[actix_web::test]
async fn a_name_that_no_path_can_carry_is_taken_from_the_query() {
    for name in [".", ".."] {
        let place = format!("/v1/apps/7/channels/-?name={name}");
        let (status, _, told) = operator("GET", &place, json!({})).await;
        assert_eq!((status, &told["channel"]["name"]), (200, &json!(name)));
        for (method, verb) in [
            ("POST", "disconnect"),
            ("POST", "block"),
            ("DELETE", "block"),
        ] {
            let place = format!("/v1/apps/7/users/-/{verb}?name={name}");
            let reached = operator(method, &place, json!({})).await.1;
            assert_eq!(reached, "stopping", "{method} {place}");
        }
        for (method, rest) in [("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")] {
            let place = format!("/v1/apps/7/keys/-{rest}?name=owner");
            let reached = operator(method, &place, json!({})).await.1;
            assert_eq!(reached, "stopping", "{method} {place}");
        }
    }
    // Rights are those on the name, and a path that has one of its own is not overridden.
    let other = "/v1/apps/7/users/ana/block?name=bob";
    assert_eq!(operator("POST", other, json!({})).await.1, "bad_value");
    assert_eq!(
        operator("GET", "/v1/apps/7/users/-/block?name=", json!({}))
            .await
            .1,
        "bad_name"
    );
}

#[actix_web::test]
async fn explain_says_which_view_it_asked() {
    let body = json!({"user": "ana", "channel": "a", "operations": ["subscribe"]});
    let (status, _, told) = key(OWNER, "POST", "/v1/apps/7/explain", body).await;
    assert_eq!(
        (status, &told["revision"], &told["fresh"]),
        (200, &json!(42), &json!(true))
    );
    assert_eq!(
        (&told["allowed"], &told["rule"]["kind"]),
        (&json!(true), &json!("grant"))
    );
    assert_eq!(told["vouched_by"], "owner", "the key under which she may");
    let body = json!({"user": "ana", "channel": "b", "operations": ["subscribe"]});
    let (_, _, told) = key(OWNER, "POST", "/v1/apps/7/explain", body).await;
    assert_eq!(
        told["reason"],
        json!({"code": "not_granted", "operations": ["subscribe"]})
    );
    let body = json!({"user": "ana", "key": "chat", "channel": "a", "operations": ["subscribe"]});
    let (_, _, told) = key(OWNER, "POST", "/v1/apps/7/explain", body).await;
    assert_eq!(told["reason"], json!({"code": "beyond_key", "key": "chat"}));
    assert_eq!(
        told["vouched_by"], "chat",
        "a grant is cut to the key that vouches"
    );
    let body = json!({"key": "chat", "channel": "chat-1", "operations": ["publish"]});
    let (_, _, told) = key(OWNER, "POST", "/v1/apps/7/explain", body).await;
    assert_eq!(told["rule"], json!({"kind": "credential", "key": "chat"}));
    let stranger = json!({"key": "other", "channel": "a", "operations": ["subscribe"]});
    assert_eq!(
        key(OWNER, "POST", "/v1/apps/7/explain", stranger).await.1,
        "no_such_key"
    );
}

/// Status and report of a call by the app's key, over an authority whose nodes are so.
async fn written(pending: &[u64], method: &str, uri: &str, body: Value) -> (u16, Value, usize) {
    let authority = Arc::new(Authority::fixed(state(), 1000));
    authority.take_writes(pending);
    let request = TestRequest::default()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(uri)
        .set_json(body)
        .insert_header(("Authorization", OWNER));
    let (status, _, body) = ask_of(authority.clone(), AuthMode::Keys, request).await;
    (status, body, authority.fences())
}

#[actix_web::test]
async fn whatever_takes_something_away_is_fenced_and_nothing_else() {
    let line = |operations: &[&str]| json!([{"pattern": "a", "operations": operations}]);
    let grants =
        |operations: &[&str]| json!({"subject": {"user": "ana"}, "grants": line(operations)});
    let narrowing = [
        ("POST", "grants", grants(&["publish"])),
        ("PUT", "grants", grants(&["subscribe"])),
        ("DELETE", "grants", json!({"subject": {"user": "ana"}})),
        ("POST", "revoke", json!({"target": {"user": "ana"}})),
        ("POST", "users/ana/disconnect", json!({})),
        ("POST", "users/ana/block", json!({})),
        ("PATCH", "keys/chat", json!({"enabled": false})),
        ("POST", "keys/chat/rotate", json!({})),
        ("DELETE", "keys/chat", Value::Null),
        ("PATCH", "", json!({"open": []})),
    ];
    for (method, path, body) in narrowing {
        let uri = format!("/v1/apps/7/{path}");
        let uri = uri.trim_end_matches('/');
        let (status, answer, fences) = written(&[], method, uri, body.clone()).await;
        assert_eq!((status, fences), (200, 1), "{method} {path}: {answer}");
        assert_eq!(answer["enforced"], json!([1]), "{method} {path}");
        let (status, answer, _) = written(&[2], method, uri, body).await;
        assert_eq!(status, 202, "{method} {path}: {answer}");
        assert_eq!(answer["pending"], json!([2]), "{method} {path}");
    }
    for (method, path, body, done) in [
        ("POST", "grants", grants(&["subscribe", "publish"]), 200),
        ("PATCH", "keys/chat", json!({"name": "new"}), 200),
        ("POST", "keys", json!({}), 201),
    ] {
        let uri = format!("/v1/apps/7/{path}");
        let (status, answer, fences) = written(&[2], method, &uri, body).await;
        assert_eq!((status, fences), (done, 0), "{method} {path}: {answer}");
        assert_eq!(answer.get("enforced"), None, "{method} {path}");
    }
}

#[actix_web::test]
async fn who_does_not_wait_is_told_that_it_is_not_done() {
    let body = json!({"target": {"user": "ana"}, "wait": "none"});
    let (status, _, fences) = written(&[], "POST", "/v1/apps/7/revoke", body).await;
    assert_eq!((status, fences), (202, 0));
}

#[actix_web::test]
async fn a_key_opens_nothing_that_it_may_not_give() {
    const CLERK: &str = "Bearer clerk:0123456789abcdef";
    let open = |pattern: &str, operations: &[&str]| {
        let rules = [
            json!({"pattern": "hall", "operations": ["subscribe"]}),
            json!({"pattern": pattern, "operations": operations}),
        ];
        json!({ "open": rules })
    };
    let refused = [
        ("another channel", open("zz-*", &["subscribe"])),
        ("another operation", open("chat-1", &["publish"])),
        ("everything", open("*", &["*"])),
        ("more of what is open", open("hall", &["publish"])),
        (
            "a protocol that opens by itself",
            json!({"protocols": ["pusher"]}),
        ),
        ("what tells others", json!({"settings": {"webhooks": true}})),
        (
            "one of both",
            json!({"settings": {"client_events": true, "webhooks": true}}),
        ),
    ];
    for (what, body) in refused {
        let (status, code) = patched(&writable(), CLERK, "", body.clone()).await;
        assert_eq!((status, &*code), (403, "not_allowed"), "{what}");
        // Who may do all of it may give it.
        assert_eq!(patched(&writable(), OWNER, "", body).await.0, 200, "{what}");
    }
    let taken = [
        open("chat-1", &["subscribe"]),
        json!({"open": []}),
        json!({"name": "renamed"}),
        json!({"settings": {"client_events": true}}),
        json!({"settings": {"webhooks": null}}),
    ];
    for body in taken {
        let (status, _) = patched(&writable(), CLERK, "", body.clone()).await;
        assert_eq!(status, 200, "{body}");
    }
}

/// The state, and a log that takes what is written.
fn writable() -> Arc<Authority> {
    let authority = Arc::new(Authority::fixed(state(), 1000));
    authority.take_writes(&[]);
    authority
}

/// Status and code of one change of the app, or of something below it.
async fn patched(authority: &Arc<Authority>, auth: &str, path: &str, body: Value) -> (u16, String) {
    let request = TestRequest::patch()
        .uri(&format!("/v1/apps/7{path}"))
        .set_json(body)
        .insert_header(("Authorization", auth));
    let (status, _, body) = ask_of(authority.clone(), AuthMode::Keys, request).await;
    let code = body["error"]["code"].as_str().unwrap_or_default();
    (status, code.to_owned())
}

#[actix_web::test]
async fn a_key_that_was_narrowed_elsewhere_opens_nothing_by_what_it_was() {
    let wakes = json!({"enabled": true});
    let opens = json!({"open": [{"pattern": "*", "operations": ["subscribe"]}]});
    for (path, body) in [("", opens), ("/keys/off", wakes)] {
        assert_eq!(patched(&writable(), OWNER, path, body.clone()).await.0, 200);
        let authority = writable();
        let narrowed = KeyChange {
            capability: Some(Capability {
                rights: vec![Right {
                    resource: Resource::Channel,
                    pattern: Pattern::All,
                    operations: Operations::ADMIN,
                }],
            }),
            ..KeyChange::default()
        };
        // This node has not heard of it.
        authority.written_elsewhere(&Command::UpdateKey {
            key: "owner".into(),
            change: narrowed,
        });
        let (status, code) = patched(&authority, OWNER, path, body).await;
        assert_eq!((status, &*code), (403, "not_allowed"), "{path}");
    }
}

#[actix_web::test]
async fn where_a_token_may_do_less_the_exception_is_named() {
    let mut state = state();
    let app = Arc::make_mut(state.apps.get_mut(&AppId(7)).unwrap());
    app.protocols.push(EnabledProtocol {
        name: "pusher".into(),
        default_open: Vec::new(),
    });
    let authority = Arc::new(Authority::fixed(state, 1000));
    authority.take_writes(&[]);
    let exception = async |method: &str, subject: Value, operations: &[&str]| {
        let lines = json!([{"pattern": "room", "operations": operations}]);
        let body = match method {
            "DELETE" => json!({ "subject": subject }),
            _ => json!({"subject": subject, "grants": lines}),
        };
        let request = TestRequest::default()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri("/v1/apps/7/grants")
            .set_json(body)
            .insert_header(("Authorization", OWNER));
        let (status, _, body) = ask_of(authority.clone(), AuthMode::Keys, request).await;
        assert_eq!(status, 200, "{body}");
        body["exception"].as_str().map(str::to_owned)
    };
    let keeps = Some("its connections keep what it took".to_owned());
    let token = json!({"token": "bearer"});
    assert_eq!(exception("POST", token.clone(), &["subscribe"]).await, None);
    assert_eq!(exception("PUT", token.clone(), &["history"]).await, keeps);
    assert_eq!(exception("POST", token.clone(), &[]).await, keeps);
    assert_eq!(exception("POST", token.clone(), &["subscribe"]).await, None);
    assert_eq!(exception("DELETE", token, &[]).await, keeps);
    assert_eq!(exception("DELETE", json!({"user": "ana"}), &[]).await, None);
}

#[actix_web::test]
async fn a_token_is_understood_or_refused_wherever_one_is_named() {
    let authority = Arc::new(Authority::fixed(state(), 1000));
    authority.take_writes(&[]);
    let ask = async |method: &str, path: &str, body: Value| {
        let request = TestRequest::default()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(&format!("/v1/apps/7/{path}"))
            .set_json(body)
            .insert_header(("Authorization", OWNER));
        ask_of(authority.clone(), AuthMode::Keys, request).await
    };
    let grants = json!([{"pattern": "room", "operations": ["subscribe"]}]);
    for token in ["signed:8:t1", "{\"token\":\"signed:7:t1\"}", "Bearer t1"] {
        let subject = json!({ "token": token });
        for (method, path, body) in [
            ("POST", "revoke", json!({ "target": subject })),
            (
                "POST",
                "grants",
                json!({"subject": subject, "grants": grants}),
            ),
            (
                "PUT",
                "grants",
                json!({"subject": subject, "grants": grants}),
            ),
            ("DELETE", "grants", json!({ "subject": subject })),
            (
                "POST",
                "explain",
                json!({"token": token, "channel": "room", "operations": ["subscribe"]}),
            ),
        ] {
            let (status, _, answer) = ask(method, path, body).await;
            assert_eq!(status, 400, "{method} {path} {token}: {answer}");
        }
    }
    let subject = json!({"token": "signed:7:t1"});
    let given = json!({"subject": subject, "grants": grants});
    assert_eq!(ask("POST", "grants", given).await.0, 200);
    let held = |state: &State| {
        state
            .grants_of(AppId(7), &Subject::Token("t1".into()))
            .count()
    };
    assert_eq!(held(&authority.view()), 1, "by its inner name");
    let (status, _, answer) = ask("POST", "revoke", json!({ "target": subject })).await;
    assert_eq!((status, &answer["enforced"]), (200, &json!([1])));
    let revoked = (AppId(7), crate::core::authority::Target::Token("t1".into()));
    assert!(authority.view().revocations.contains_key(&revoked));
    assert_eq!(held(&authority.view()), 0);
    // A stored token or an auth key is a name, whatever it looks like.
    let stored = json!({"target": {"token": "aB3-:._/x"}});
    assert_eq!(ask("POST", "revoke", stored).await.0, 200);
}

#[actix_web::test]
async fn a_revoke_that_reached_nothing_known_says_so() {
    let hint = async |target: Value| {
        let body = json!({ "target": target });
        let (status, answer, fences) = written(&[], "POST", "/v1/apps/7/revoke", body).await;
        assert_eq!((status, fences), (200, 1), "{target}: {answer}");
        assert_eq!(answer["closed"], 0);
        answer["hint"].as_str().unwrap_or_default().to_owned()
    };
    let unknown = hint(json!({"token": "barer"})).await;
    assert!(unknown.starts_with("Nothing that is known was reached"));
    // What was stored for it, or a signature that says whose it is, makes it known.
    assert_eq!(hint(json!({"token": "bearer"})).await, "");
    assert_eq!(hint(json!({"token": "signed:7:t1"})).await, "");
    let nobody = hint(json!({"user": "nobody"})).await;
    assert!(
        nobody.contains("nobody is connected as `nobody`"),
        "{nobody}"
    );
    let group = hint(json!({"group": "ghosts"})).await;
    assert!(group.contains("nobody is a member of the group `ghosts`"));
    for (path, word) in [
        ("users/nobody/disconnect", "nobody is connected as `nobody`"),
        ("users/nobody/block", "nobody is connected as `nobody`"),
        ("groups/ghosts/disconnect", "nobody is a member"),
        ("groups/ghosts/block", "nobody is a member"),
    ] {
        let path = format!("/v1/apps/7/{path}");
        let (status, answer, _) = written(&[], "POST", &path, json!({})).await;
        assert_eq!(status, 200, "{answer}");
        let hint = answer["hint"].as_str().unwrap_or_default();
        assert!(hint.contains(word), "{path}: {hint}");
        // Where a node has not confirmed, nobody can say that nobody was there.
        let (_, answer, _) = written(&[2], "POST", &path, json!({})).await;
        assert!(answer.get("hint").is_none(), "{answer}");
    }
}

#[actix_web::test]
async fn a_token_that_does_not_count_yet_can_be_ended_and_opens_nothing() {
    let authority = Arc::new(Authority::fixed(state(), 1000));
    authority.take_writes(&[]);
    let ask = async |path: &str, body: Value| {
        let request = TestRequest::post().uri(&format!("/v1/apps/7/{path}"));
        let request = request
            .set_json(body)
            .insert_header(("Authorization", OWNER));
        ask_of(authority.clone(), AuthMode::Keys, request).await
    };
    // Its name has rights, which a token that is void must not be shown to have.
    let token = "signed:7:later-bearer";
    let question = json!({"token": token, "channel": "t", "operations": ["subscribe"]});
    let (status, _, told) = ask("explain", question).await;
    assert_eq!(status, 400, "{told}");
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("does not count now")
    );
    let (status, _, told) = ask("revoke", json!({"target": {"token": token}})).await;
    assert_eq!(status, 200, "{told}");
    let revoked = (
        AppId(7),
        crate::core::authority::Target::Token("bearer".into()),
    );
    assert!(authority.view().revocations.contains_key(&revoked));
}
