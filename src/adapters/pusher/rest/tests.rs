//! The routes as the libraries call them, up to where the broker takes over.
#![allow(clippy::unwrap_used)]

use crate::adapters::pusher::fixture::{self, KEY, sign};
use crate::adapters::pusher::{Encoding, routes};
use crate::core::authority::{ApiKey, App as Application, Authority, Capability, Operations};
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use crate::core::delivery::encoding::Encodings;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use md5::{Digest, Md5};
use std::sync::Arc;

const NOW_S: u64 = 1_353_088_179;

fn broker(change: impl FnOnce(&mut Application)) -> Broker {
    let authority = Authority::fixed(fixture::state(change), NOW_S * 1_000);
    over(Arc::new(authority))
}

fn over(authority: Arc<Authority>) -> Broker {
    let channels = Channels::new(Arc::default(), &[]);
    Broker::new(authority, channels)
}

/// The query that signs a request; `more` is in order and un-escaped.
fn signed(method: &str, path: &str, more: &str, body: &str) -> String {
    let mut query = format!("auth_key={KEY}&auth_timestamp={NOW_S}&auth_version=1.0");
    if !body.is_empty() {
        query += &format!("&body_md5={}", hex::encode(Md5::digest(body)));
    }
    if !more.is_empty() {
        query += &format!("&{more}");
    }
    let signature = sign(&format!("{method}\n{path}\n{query}"));
    format!("{path}?{query}&auth_signature={signature}")
}

/// Status, Retry-After and body.
async fn ask(broker: Broker, method: Method, target: &str, body: &str) -> (u16, String) {
    let encoding = Encoding::register(&mut Encodings::default());
    let app = App::new()
        .app_data(web::Data::new(broker))
        .app_data(web::Data::new(encoding))
        .configure(|cfg| routes(cfg, &crate::adapters::pusher::Prefix::default()));
    let app = init_service(app).await;
    let request = TestRequest::default()
        .method(method)
        .uri(target)
        .set_payload(body.to_owned());
    let response = call_service(&app, request.to_request()).await;
    let status = response.status().as_u16();
    let body = read_body(response).await;
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(path: &str, more: &str) -> (u16, String) {
    let target = signed("GET", path, more, "");
    ask(broker(|_| {}), Method::GET, &target, "").await
}

async fn post(path: &str, body: &str) -> (u16, String) {
    let target = signed("POST", path, "", body);
    ask(broker(|_| {}), Method::POST, &target, body).await
}

fn line(status: u16, text: &str) -> (u16, String) {
    (status, format!("{text}\n"))
}

#[actix_web::test]
async fn requests_are_verified_before_anything_else() {
    let unsigned = ask(broker(|_| {}), Method::GET, "/apps/3/channels", "").await;
    assert_eq!(unsigned, line(401, "Missing auth_key"));
    let other = ask(
        broker(|_| {}),
        Method::GET,
        "/apps/3/channels?auth_key=x",
        "",
    )
    .await;
    assert_eq!(other, line(401, "Unknown auth_key"));
    assert_eq!(
        get("/apps/4/channels", "").await,
        line(404, "No app with id 4")
    );
    assert_eq!(
        get("/apps/x/channels", "").await,
        line(404, "No app with id x")
    );
    let target = signed("GET", "/apps/3/channels", "", "") + "0";
    let (status, text) = ask(broker(|_| {}), Method::GET, &target, "").await;
    assert_eq!((status, text.starts_with("Invalid signature")), (401, true));
    let target = signed("GET", "/apps/3/channels", "", "");
    let off = ask(broker(|app| app.enabled = false), Method::GET, &target, "").await;
    assert_eq!(off, line(403, "Application is disabled"));
    let twice = signed("GET", "/apps/3/channels", "", "") + "&auth_key=x";
    let (status, _) = ask(broker(|_| {}), Method::GET, &twice, "").await;
    assert_eq!(status, 400);
}

#[actix_web::test]
async fn terminated_is_said_when_no_node_is_pending() {
    let path = "/apps/3/users/ana/terminate_connections";
    let ended = async |pending: &[u64]| {
        let broker = broker(|_| {});
        broker.authority.take_writes(pending);
        let target = signed("POST", path, "", "");
        let (status, text) = ask(broker.clone(), Method::POST, &target, "").await;
        (status, text, broker.authority.fences())
    };
    assert_eq!(ended(&[]).await, (200, "{}".to_owned(), 1));
    let (status, text, _) = ended(&[2]).await;
    assert_eq!(status, 503);
    assert!(text.contains("node 2 has not confirmed yet"), "{text}");
}

#[actix_web::test]
async fn an_empty_app_lists_no_channels() {
    let none = (200, "{\"channels\":{}}".to_owned());
    assert_eq!(get("/apps/3/channels", "").await, none);
    let more = "filter_by_prefix=presence-&info=user_count";
    assert_eq!(get("/apps/3/channels", more).await, none);
}

#[actix_web::test]
async fn wrong_questions_are_refused() {
    let text = "user_count may only be requested with a filter_by_prefix of presence-";
    assert_eq!(
        get("/apps/3/channels", "info=user_count").await,
        line(400, text)
    );
    let text = "The following query string parameters are extraneous: info";
    let users = "/apps/3/channels/presence-a/users";
    assert_eq!(get(users, "info=x").await, line(400, text));
    let text = "Users can only be retrieved for presence channels";
    assert_eq!(
        get("/apps/3/channels/private-a/users", "").await,
        line(400, text)
    );
    let text = "user_count may only be requested of presence channels";
    assert_eq!(
        get("/apps/3/channels/news", "info=user_count").await,
        line(400, text)
    );
    let (status, _) = get("/apps/3/channels/a%20b", "").await;
    assert_eq!(status, 400);
}

#[actix_web::test]
async fn wrong_bodies_are_refused() {
    let batch = "Missing required parameter: batch";
    assert_eq!(post("/apps/3/batch_events", "{}").await, line(400, batch));
    let channels = "Missing required parameter: channels";
    assert_eq!(post("/apps/3/events", "{}").await, line(400, channels));
    let large = format!(
        r#"{{"name":"e","channel":"a","data":"{}"}}"#,
        "x".repeat(10_241)
    );
    let text = "The data content of this event exceeds the allowed maximum (10240 bytes).";
    assert_eq!(post("/apps/3/events", &large).await, line(413, text));
}

#[actix_web::test]
async fn narrowed_keys_do_no_more_over_http() {
    let mut state = fixture::state(|_| {});
    let capability = Capability::channel("news", Operations::SUBSCRIBE);
    let key = ApiKey {
        capability,
        ..fixture::key()
    };
    state.keys.insert(key.id.clone(), key.into());
    let authority = Arc::new(Authority::fixed(state, NOW_S * 1_000));
    let event = r#"{"name":"e","data":"x","channel":"news"}"#;
    let batch = format!(r#"{{"batch":[{event}]}}"#);
    let calls = [
        ("POST", "/apps/3/events", event),
        ("POST", "/apps/3/batch_events", &batch),
        ("GET", "/apps/3/channels/news", ""),
        ("GET", "/apps/3/channels/presence-a/users", ""),
    ];
    for (method, path, body) in calls {
        let target = signed(method, path, "", body);
        let method = method.parse().unwrap();
        let (status, text) = ask(over(authority.clone()), method, &target, body).await;
        assert_eq!(status, 403, "{path}: {text}");
    }
}

#[actix_web::test]
async fn bodies_are_bounded_before_they_are_read() {
    let body = "x".repeat(2_000);
    let target = signed("POST", "/apps/3/events", "", &body);
    let small = broker(|app| fixture::set(app, "http_body_bytes", 1_999));
    let refused = ask(small, Method::POST, &target, &body).await;
    assert_eq!(
        refused,
        line(413, "The body exceeds the allowed maximum (1999 bytes)")
    );
}

#[actix_web::test]
async fn terminate_answers_under_both_paths() {
    // A fixed authority changes nothing; reaching it is what is asked here.
    for path in [
        "/apps/3/users/u2/terminate_connections",
        "/users/u2/terminate_connections",
    ] {
        assert_eq!(
            post(path, "{}").await,
            line(503, "the node is stopping"),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn browsers_may_ask() {
    let (status, _) = ask(broker(|_| {}), Method::OPTIONS, "/apps/3/events", "").await;
    assert_eq!(status, 204);
    let (status, _) = ask(broker(|_| {}), Method::DELETE, "/apps/3/events", "").await;
    assert_eq!(status, 405);
    let (status, _) = ask(broker(|_| {}), Method::GET, "/apps/3/nothing", "").await;
    assert_eq!(status, 404);
}
