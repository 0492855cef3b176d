//! The WebSocket's door: reads the address, brings the view up to date if need be, and hands over.
//!
//! **Must never know:** who may connect; the session says so on the open socket.

use super::session::{Hello, PusherSession};
use super::{DIALECT, Encoding, limits, query};
use crate::core::broker::Broker;
use crate::core::limits::{OUTBOX_BYTES, Setting};
use crate::transport::Encrypted;
use crate::transport::ws::{self, Opening};
use actix_web::{HttpRequest, HttpResponse, web};

/// Echoed to clients that offer it (Swift).
const SUBPROTOCOL: &str = "pusher-channels-protocol-7";

/// `GET /app/{key}?protocol=7&client=…&version=…`
pub(super) async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
    encoding: web::Data<Encoding>,
) -> Result<HttpResponse, actix_web::Error> {
    let tail = request.match_info().get("tail").unwrap_or_default();
    let tail = query::decode(tail).unwrap_or_default();
    // As a proxy says it; a client that says so itself only harms itself.
    let secure =
        request.conn_data::<Encrypted>().is_some() || request.connection_info().scheme() == "https";
    let hello = Hello::new(&tail, request.query_string(), secure);
    let authority = &broker.authority;
    if !authority.view().keys.contains_key(&*hello.key) {
        // The key may be newer than this node's view; if no majority answers, the old view decides.
        let _ = authority.catch_up().await;
    }
    let state = authority.view();
    let key = state.keys.get(&*hello.key);
    let app = key.and_then(|key| state.apps.get(&key.app));
    let limit = |setting: Setting| {
        let value = app.map_or(setting.default, |app| setting.of(app));
        usize::try_from(value).unwrap_or(usize::MAX)
    };
    let opening = Opening {
        dialect: DIALECT,
        app: app.map(|app| app.id),
        encoding: encoding.0,
        max_frame_bytes: limit(limits::FRAME_BYTES),
        max_outbox_bytes: limit(OUTBOX_BYTES),
        subprotocol: Some(SUBPROTOCOL.into()),
        resumes: None,
        inheritance: None,
    };
    ws::open(&request, payload, opening, move |_| {
        Box::new(PusherSession::new(hello))
    })
}
