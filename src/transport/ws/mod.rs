//! WebSocket: the handshake, the payload in, the outbox out.
//!
//! The only file that names `actix_web_actors`: it does the handshake and nothing else, because an actor that is
//! polled by the response body freezes with its peer.
//!
//! **Must never know:** any dialect.

mod decode;
mod frame;
mod streams;

pub use frame::{closing, framing};

use super::Worker;
use super::socket::Duplicate;
use crate::core::connection::Session;
use crate::core::connection::actor::Connection;
use crate::core::connection::outbox::Outbox;
use crate::core::connection::seat::{Gate, Inheritance, Seat, Wire};
use crate::core::delivery::encoding::EncodingId;
use crate::core::ids::{AppId, ConnectionId, Text};
use actix_web::error::ErrorInternalServerError;
use actix_web::{HttpRequest, HttpResponse, web};
use std::rc::Rc;
use streams::{Incoming, Outgoing};

/// What an adapter says about a WebSocket it accepts.
#[derive(Debug)]
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
    /// The connection that this socket carries on; none = a new one.
    pub resumes: Option<ConnectionId>,
    /// What its former socket on this node left.
    pub inheritance: Option<Inheritance>,
}

/// Completes the handshake and starts a connection actor around the session. Needs `web::Data<Worker>` in the
/// app and [`super::on_connect`] on the server.
///
/// # Errors
/// When the request is no WebSocket handshake (the response says so).
pub fn open(
    request: &HttpRequest,
    payload: web::Payload,
    opening: Opening,
    session: impl FnOnce(ConnectionId) -> Box<dyn Session>,
) -> Result<HttpResponse, actix_web::Error> {
    let worker = request
        .app_data::<web::Data<Worker>>()
        .ok_or_else(|| ErrorInternalServerError("no worker on this thread"))?;
    let offered = opening.subprotocol.as_deref();
    let mut response = actix_web_actors::ws::handshake_with_protocols(request, offered.as_slice())?;
    let duplicate = request.conn_data::<Duplicate>();
    let outbox = Rc::new(Outbox::new(
        opening.max_outbox_bytes,
        worker.desk().local.withheld(),
    ));
    let gate = Rc::new(Gate::default());
    let id = opening.resumes.unwrap_or_else(ConnectionId::random);
    let seat = Seat {
        id,
        dialect: opening.dialect,
        remote: request
            .peer_addr()
            .map_or_else(|| "".into(), |addr| addr.to_string().into()),
        encoding: opening.encoding,
        wire: Wire { framing, closing },
        session: session(id),
        sever: duplicate.and_then(Duplicate::take),
        inheritance: opening.inheritance,
    };
    let incoming = Incoming::new(payload, opening.max_frame_bytes, gate.clone());
    let connection = Connection::start(seat, worker.desk(), outbox.clone(), gate, incoming);
    // Some SDKs look for the header names and values exactly as RFC 6455 prints them.
    response.insert_header((actix_web::http::header::UPGRADE, "websocket"));
    if let Some(duplicate) = duplicate {
        duplicate.tell(connection.clone().recipient());
    }
    let mut response = response.body(Outgoing::new(outbox, connection.recipient()));
    response.head_mut().set_camel_case_headers(true);
    Ok(response)
}
