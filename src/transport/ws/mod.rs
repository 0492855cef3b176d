//! WebSocket: the handshake, the client's frames in, the outbox out.
//!
//! The only file that names `actix_web_actors`: it does the handshake and nothing else, because an actor that is
//! polled by the response body freezes with its peer.
//!
//! **Must never know:** any dialect.

mod decode;
mod frame;
mod incoming;

pub use frame::{closing, framing};
pub(super) use incoming::Buffer;

use super::Worker;
use super::line::{Line, carry};
use super::wire::Socket;
use crate::core::connection::Session;
use crate::core::connection::actor::Connection;
use crate::core::connection::outbox::Outbox;
use crate::core::connection::seat::{Gate, Inheritance, Seat, Wire};
use crate::core::delivery::encoding::EncodingId;
use crate::core::ids::{AppId, ConnectionId, Text};
use actix_web::error::ErrorInternalServerError;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use incoming::Incoming;
use std::future::Future;
use std::rc::Rc;

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

/// A connection that waits for its socket; in the extensions of the response that accepts it.
pub(super) struct Accepted {
    seat: Seat,
    worker: web::Data<Worker>,
    max_frame_bytes: usize,
    max_outbox_bytes: usize,
}

/// Answers the handshake. The connection actor around the session starts when the answer has gone out and the
/// socket is taken over: needs `web::Data<Worker>` in the app, and [`super::listen()`] as its server.
///
/// # Errors
/// When the request is no WebSocket handshake (the response says so).
pub fn open(
    request: &HttpRequest,
    _payload: web::Payload,
    opening: Opening,
    session: impl FnOnce(ConnectionId) -> Box<dyn Session>,
) -> Result<HttpResponse, actix_web::Error> {
    let worker = request
        .app_data::<web::Data<Worker>>()
        .ok_or_else(|| ErrorInternalServerError("no worker on this thread"))?;
    let offered = opening.subprotocol.as_deref();
    let mut response = actix_web_actors::ws::handshake_with_protocols(request, offered.as_slice())?;
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
        inheritance: opening.inheritance,
    };
    // Some SDKs look for the header names and values exactly as RFC 6455 prints them.
    response.insert_header((actix_web::http::header::UPGRADE, "websocket"));
    let mut response = response.finish();
    response.head_mut().set_camel_case_headers(true);
    response.extensions_mut().insert(Accepted {
        seat,
        worker: worker.clone(),
        max_frame_bytes: opening.max_frame_bytes,
        max_outbox_bytes: opening.max_outbox_bytes,
    });
    Ok(response)
}

impl Accepted {
    /// Starts the connection on its socket, of which `first` has been read already. The future has to be polled
    /// for as long as it lasts.
    pub(super) fn begin(self, socket: Socket, first: Bytes) -> impl Future<Output = ()> + use<> {
        let desk = self.worker.desk();
        let line = Line::new(socket);
        let withheld = desk.local.withheld();
        let outbox = Rc::new(Outbox::new(self.max_outbox_bytes, withheld, line.clone()));
        let gate = Rc::new(Gate::default());
        let buffer = self.worker.buffer();
        let incoming = Incoming::new(
            line.clone(),
            first,
            buffer,
            self.max_frame_bytes,
            gate.clone(),
        );
        let connection = Connection::start(self.seat, desk, outbox.clone(), gate, incoming);
        carry(line, outbox, connection)
    }
}
