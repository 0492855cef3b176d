//! WebSocket: the handshake, the client's frames in, the outbox out.
//!
//! The only file that names `actix_web_actors`: it does the handshake and nothing else, because an actor that is
//! polled by the response body freezes with its peer.
//!
//! **Must never know:** any dialect.

mod decode;
mod frame;
pub mod hixie;
mod incoming;

pub use frame::{closing, framing};
pub(super) use incoming::Buffer;

use super::client_socket::{ClientSocket, drive};
use super::socket::Socket;
use super::{Worker, remote};
use crate::core::connection::accepted::{AcceptedConnection, Framing, ReadGate};
use crate::core::connection::actor::Connection;
use crate::core::delivery::encoding::EncodingId;
use crate::core::delivery::outbox::Outbox;
use crate::core::delivery::port::HandOver;
use crate::core::ids::{AppId, ConnectionId, Text};
use crate::core::session::Session;
use actix_web::error::ErrorInternalServerError;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, UPGRADE};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use hixie::Hixie;
use incoming::{Decoder, Incoming};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

/// How long a client may take over what belongs to its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What an adapter says about a WebSocket it accepts.
#[derive(Debug)]
pub struct Opening {
    /// The adapter's word, for listings and metrics.
    pub dialect: &'static str,
    /// The app, when it is known already (0 connections are counted for an unknown one).
    pub app: Option<AppId>,
    /// The key that the client names, or what stands in its place.
    pub key: Option<Text>,
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
    pub hand_over: Option<HandOver>,
}

/// A connection that waits for its socket; in the extensions of the response that accepts it.
pub(super) struct Accepted {
    accepted: AcceptedConnection,
    worker: web::Data<Worker>,
    max_frame_bytes: usize,
    max_outbox_bytes: usize,
    hixie: Option<Hixie>,
}

/// Whether the request asks for a WebSocket.
#[must_use]
pub fn is_asked_for(request: &HttpRequest) -> bool {
    let asked = request.headers().get(UPGRADE);
    let asked = asked.and_then(|asked| asked.to_str().ok());
    let names = |asked: &str| asked.to_ascii_lowercase().contains("websocket");
    asked.is_some_and(names) && request.head().upgrade()
}

/// The answer where a WebSocket would have begun, had it been asked for. Nearly always it was, and a proxy left that out.
#[must_use]
pub fn not_asked_for() -> HttpResponse {
    HttpResponse::UpgradeRequired()
        .insert_header((UPGRADE, "websocket"))
        .insert_header((CONNECTION, "Upgrade"))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .content_type("text/plain; charset=utf-8")
        .body(NOT_ASKED_FOR)
}

const NOT_ASKED_FOR: &str = "This is a WebSocket's address, and the request asks for none. If the client did, your proxy dropped \
the Upgrade header: it has to speak HTTP/1.1 to this server and to pass `Upgrade` and `Connection` on (nginx: \
`proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";`).\n";

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
    if !is_asked_for(request) {
        return Ok(not_asked_for());
    }
    let offered = opening.subprotocol.as_deref();
    let mut response = actix_web_actors::ws::handshake_with_protocols(request, offered.as_slice())?;
    // Some SDKs look for the header names and values exactly as RFC 6455 prints them.
    response.insert_header((UPGRADE, "websocket"));
    let mut response = response.finish();
    response.head_mut().set_camel_case_headers(true);
    let framing = Framing {
        message: framing,
        close: closing,
    };
    accept(request, response, (opening, framing, None), session)
}

/// As [`open`], for a client of a draft: its answer is written on the socket.
///
/// # Errors
/// When the app lacks its worker.
pub fn open_hixie(
    request: &HttpRequest,
    hixie: Hixie,
    opening: Opening,
    session: impl FnOnce(ConnectionId) -> Box<dyn Session>,
) -> Result<HttpResponse, actix_web::Error> {
    let response = HttpResponse::SwitchingProtocols().finish();
    let framing = Framing {
        message: hixie::framing,
        close: hixie::closing,
    };
    accept(request, response, (opening, framing, Some(hixie)), session)
}

fn accept(
    request: &HttpRequest,
    mut response: HttpResponse,
    (opening, framing, hixie): (Opening, Framing, Option<Hixie>),
    session: impl FnOnce(ConnectionId) -> Box<dyn Session>,
) -> Result<HttpResponse, actix_web::Error> {
    let worker = request
        .app_data::<web::Data<Worker>>()
        .ok_or_else(|| ErrorInternalServerError("no worker on this thread"))?;
    let id = opening.resumes.unwrap_or_else(ConnectionId::random);
    let accepted = AcceptedConnection {
        id,
        dialect: opening.dialect,
        remote: remote(request).into(),
        asked: (opening.app, opening.key),
        encoding: opening.encoding,
        framing,
        session: session(id),
        hand_over: opening.hand_over,
    };
    response.extensions_mut().insert(Accepted {
        accepted,
        worker: worker.clone(),
        max_frame_bytes: opening.max_frame_bytes,
        max_outbox_bytes: opening.max_outbox_bytes,
        hixie,
    });
    Ok(response)
}

/// A connection that has its socket, and is carried by whoever has this.
pub(super) struct Begun {
    client: Rc<ClientSocket>,
    outbox: Rc<Outbox>,
    connection: actix::Addr<Connection>,
}

impl Begun {
    /// To be polled for as long as the connection lasts.
    pub(super) async fn carried(self) {
        drive(self.client, self.outbox, self.connection).await;
    }
}

impl Accepted {
    /// Whether the answer to the handshake is the HTTP response; else it is written on the socket.
    pub(super) fn answers_by_http(&self) -> bool {
        self.hixie.is_none()
    }

    /// Starts the connection on its socket, of which `first` has been read already; none when the client does not
    /// finish its handshake.
    pub(super) async fn begin(self, socket: Socket, mut first: Bytes) -> Option<Begun> {
        socket.taken_over();
        let answer = match &self.hixie {
            Some(hixie) => {
                let enough = challenged(&socket, first, hixie.challenge());
                first = tokio::time::timeout(HANDSHAKE_TIMEOUT, enough)
                    .await
                    .ok()??;
                hixie.answer(&first.split_to(hixie.challenge()))
            }
            None => Bytes::new(),
        };
        let decoder = match &self.hixie {
            Some(_) => Decoder::Hixie(hixie::Decoder::new(self.max_frame_bytes)),
            None => Decoder::Rfc6455(decode::Decoder::new(self.max_frame_bytes)),
        };
        let context = self.worker.context();
        let client = ClientSocket::new(socket);
        let withheld = context.state.withheld();
        let outbox = Rc::new(Outbox::new(self.max_outbox_bytes, withheld, client.clone()));
        if !answer.is_empty() {
            outbox.open_with(answer);
        }
        let gate = Rc::new(ReadGate::default());
        let buffer = self.worker.buffer();
        let incoming = Incoming::new(client.clone(), &first, buffer, decoder, gate.clone());
        let connection = Connection::start(self.accepted, context, outbox.clone(), gate, incoming);
        Some(Begun {
            client,
            outbox,
            connection,
        })
    }
}

/// What has been read, once that is enough.
async fn challenged(socket: &Socket, first: Bytes, enough: usize) -> Option<Bytes> {
    if first.len() >= enough {
        return Some(first);
    }
    let mut read = BytesMut::from(first);
    while read.len() < enough {
        let more = poll_fn(|cx| socket.poll_read(&mut read, cx)).await;
        if !matches!(more, Ok(1..)) {
            return None;
        }
    }
    Some(read.freeze())
}
