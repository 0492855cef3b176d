//! How a WebSocket is opened. Whatever stands in the address is accepted: who connects is said on the open socket.

use super::session::RealtimeSession;
use super::{DIALECT, Encoding, OfNode, limits};
use crate::core::limits::{HISTORY_BYTES, OUTBOX_BYTES, outbox_with_history};
use crate::core::session::Session;
use crate::transport::ws::hixie::Hixie;
use crate::transport::ws::{self, Opening};
use actix_web::{HttpRequest, HttpResponse, web};

/// Any prefix: some clients keep the path of the URL they were given.
pub(super) const PATH: &str = "/{prefix:.*}broadcast/{server}/{connection}/websocket";

/// Echoed to clients that offer it (C).
const SUBPROTOCOL: &str = "ortc-protocol";

/// Answers `GET /broadcast/{server}/{connection}/websocket`.
#[allow(clippy::unused_async)] // Handlers are async.
pub(super) async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    encoding: web::Data<Encoding>,
    of_node: web::Data<OfNode>,
) -> Result<HttpResponse, actix_web::Error> {
    let hixie = Hixie::of(&request);
    let opening = Opening {
        dialect: DIALECT,
        app: None,
        key: None,
        encoding: match hixie {
            Some(_) => encoding.hixie,
            None => encoding.socket,
        },
        max_frame_bytes: limits::FRAME_BYTES,
        max_outbox_bytes: outbox_with_history(OUTBOX_BYTES.default, HISTORY_BYTES.default),
        subprotocol: Some(SUBPROTOCOL.into()),
        resumes: None,
        hand_over: None,
    };
    let session =
        |_| -> Box<dyn Session> { Box::new(RealtimeSession::new(OfNode::clone(&of_node))) };
    match hixie {
        Some(hixie) => ws::open_hixie(&request, hixie, opening, session),
        None => ws::open(&request, payload, opening, session),
    }
}
