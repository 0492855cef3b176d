//! WebSocket: the handshake, the payload in, the outbox out.
//!
//! The only file that names `actix_web_actors`: it does the handshake and nothing else, because an actor that is
//! polled by the response body freezes with its peer.
//!
//! **Must never know:** any dialect.

use crate::core::connection::Session;
use crate::core::delivery::encoding::EncodingId;
use crate::core::ids::{AppId, ConnectionId, Text};
use actix_web::{HttpRequest, HttpResponse, web};

/// What an adapter says about a WebSocket it accepts.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The adapter's word, for listings and metrics.
    pub dialect: &'static str,
    /// The app, when it is known already (0 connections are counted for an unknown one).
    pub app: Option<AppId>,
    /// How broadcasts are encoded for it.
    pub encoding: EncodingId,
    /// Largest message accepted from the client, bytes.
    pub max_frame_bytes: usize,
    /// Most bytes waiting for the client.
    pub max_outbox_bytes: usize,
    /// Subprotocol to echo, if the client offered it.
    pub subprotocol: Option<Text>,
}

/// Completes the handshake and starts a connection actor around the session.
///
/// # Errors
/// When the request is no WebSocket handshake (the response says so).
pub fn open(
    _request: &HttpRequest,
    _payload: web::Payload,
    _opening: Opening,
    _session: impl FnOnce(ConnectionId) -> Box<dyn Session>,
) -> Result<HttpResponse, actix_web::Error> {
    Ok(HttpResponse::NotImplemented().finish())
}
