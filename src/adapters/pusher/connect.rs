//! How a WebSocket is opened: reads the address, brings the view up to date if need be, and hands over.
//!
//! **Must never know:** who may connect; the session says so on the open socket.

use super::session::{Hello, PusherSession};
use super::{DIALECT, Encoding, limits, query};
use crate::core::authority::{App, State};
use crate::core::broker::Broker;
use crate::core::delivery::encoding::EncodingId;
use crate::core::limits::{OUTBOX_BYTES, Setting};
use crate::transport::Encrypted;
use crate::transport::ws::{self, Opening};
use actix_web::{HttpRequest, HttpResponse, web};
use std::sync::Arc;

/// Echoed to clients that offer it (Swift).
const SUBPROTOCOL: &str = "pusher-channels-protocol-7";

/// Answers `GET /app/{key}?protocol=7&client=…&version=…`.
pub(super) async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
    encoding: web::Data<Encoding>,
) -> Result<HttpResponse, actix_web::Error> {
    let tail = request.match_info().get("tail").unwrap_or_default();
    let mut hello = hello(&request, tail);
    catch_up(&broker, &mut hello).await;
    let opening = opening(&broker.authority.view(), &hello, encoding.socket);
    ws::open(&request, payload, opening, move |_| {
        Box::new(PusherSession::new(hello))
    })
}

/// What the client asks for with this address; `tail` is what stands in the key's place.
pub(super) fn hello(request: &HttpRequest, tail: &str) -> Hello {
    let tail = query::decode(tail).unwrap_or_default();
    // As a proxy says it; a client that says so itself only harms itself.
    let secure =
        request.conn_data::<Encrypted>().is_some() || request.connection_info().scheme() == "https";
    Hello::new(&tail, request.query_string(), secure)
}

/// What would be refused may be allowed by a newer view: the key may be new, or enabled again.
pub(super) async fn catch_up(broker: &Broker, hello: &mut Hello) {
    let authority = &broker.authority;
    let now_ms = authority.now().cluster_ms;
    if hello.may_be_lifted(&authority.view(), now_ms) && authority.catch_up().await.is_err() {
        hello.unconfirmed();
    }
}

fn app<'s>(state: &'s State, hello: &Hello) -> Option<&'s App> {
    let key = state.keys.get(&*hello.key)?;
    state.apps.get(&key.app).map(Arc::as_ref)
}

/// A limit of the app whose key this is, or its default.
pub(super) fn limit(state: &State, hello: &Hello, setting: Setting) -> usize {
    let value = app(state, hello).map_or(setting.default, |app| setting.of(app));
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// What is said about its connection.
pub(super) fn opening(state: &State, hello: &Hello, encoding: EncodingId) -> Opening {
    Opening {
        dialect: DIALECT,
        app: app(state, hello).map(|app| app.id),
        key: Some(hello.key.as_str().into()),
        encoding,
        max_frame_bytes: limit(state, hello, limits::FRAME_BYTES),
        max_outbox_bytes: limit(state, hello, OUTBOX_BYTES),
        subprotocol: Some(SUBPROTOCOL.into()),
        resumes: None,
        hand_over: None,
    }
}
