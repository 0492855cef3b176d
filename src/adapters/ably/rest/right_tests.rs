//! No call is answered to a token that has every right, but not there.
#![allow(clippy::unwrap_used)]

use super::routes;
use crate::adapters::ably::fixture;
use crate::core::authority::Authority;
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use serde_json::json;
use std::sync::Arc;

const NOW: u64 = 1_700_000_000_000;

#[actix_web::test]
async fn no_call_is_answered_to_who_has_its_right_elsewhere() {
    let authority = Arc::new(Authority::fixed(fixture::state(), NOW));
    let broker = Broker::new(authority, Channels::new(Arc::default(), &[]));
    let app = App::new()
        .app_data(web::Data::new(broker))
        .configure(routes);
    let app = init_service(app).await;
    let token = fixture::limited(NOW, 60_000, None, r#"{"elsewhere":["*"]}"#);
    let message = json!({"name": "n", "data": "d"});
    let batch = json!({"channels": ["c"], "messages": [message]});
    for (method, path, body) in [
        (Method::GET, "/stats", None),
        (Method::GET, "/channels", None),
        (Method::GET, "/channels/c", None),
        (Method::GET, "/channels/c/messages", None),
        (Method::GET, "/channels/c/history", None),
        (Method::GET, "/channels/c/presence", None),
        (Method::GET, "/channels/c/presence/history", None),
        (Method::GET, "/presence?channels=c", None),
        (Method::POST, "/channels/c/messages", Some(message.clone())),
        (Method::POST, "/messages", Some(batch)),
    ] {
        let mut request = TestRequest::with_uri(path)
            .method(method.clone())
            .insert_header(("authorization", format!("Bearer {token}")))
            .insert_header(("x-ably-version", "3"));
        if let Some(body) = body {
            request = request.set_json(body);
        }
        let response = call_service(&app, request.to_request()).await;
        let told = String::from_utf8(read_body(response).await.to_vec()).unwrap();
        assert!(told.contains("\"code\":40160"), "{method} {path}: {told}");
    }
}
