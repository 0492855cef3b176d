//! A connection over plain HTTP: one response that never ends, and short requests that say what the client says.
//!
//! **Must never know:** any dialect.
//! **Why the names are kept for the node and not per thread:** the requests of one client come over any of its
//! sockets, and so to any thread. They have to come to this node; a balancer in front must see to that.

use super::Worker;
use super::socket::Duplicate;
use super::ws::{Opening, Outgoing};
use crate::core::connection::actor::Connection;
use crate::core::connection::outbox::{Outbox, Pushed, Source};
use crate::core::connection::seat::{Gate, Inbound, Seat, Wire};
use crate::core::connection::{Frame, Session};
use crate::core::ids::{ConnectionId, Text};
use actix_web::body::{BodySize, MessageBody};
use actix_web::error::ErrorInternalServerError;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::Stream;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// Messages of a client that may wait for its connection.
const WAITING: usize = 64;

/// The open streams of this node by the names their clients chose. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<HashMap<Text, mpsc::Sender<Inbound>>>>);

/// Why a message did not reach a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// No stream of that name is open here.
    Unknown,
    /// Too many messages wait already.
    Full,
}

impl Streams {
    fn open(&self) -> MutexGuard<'_, HashMap<Text, mpsc::Sender<Inbound>>> {
        // A thread that died over it left a whole map behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a client's message to its stream.
    ///
    /// # Errors
    /// When there is none, or it has too much waiting.
    pub fn say(&self, name: &str, frame: Frame) -> Result<(), Unheard> {
        let sender = self.open().get(name).cloned();
        let sender = sender.ok_or(Unheard::Unknown)?;
        sender
            .try_send(Inbound::Frame(frame))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Unheard::Full,
                mpsc::error::TrySendError::Closed(_) => Unheard::Unknown,
            })
    }
}

/// Starts a connection whose way out is this response, beginning with `preamble`. `None` when a stream of that name is
/// open. Needs `web::Data<Worker>` in the app and [`super::on_connect`] on the server.
///
/// # Errors
/// When the app lacks its worker.
pub fn open(
    request: &HttpRequest,
    (streams, name): (&Streams, Text),
    opening: &Opening,
    (wire, preamble): (Wire, Bytes),
    session: Box<dyn Session>,
) -> Result<Option<HttpResponse>, actix_web::Error> {
    let worker = request
        .app_data::<web::Data<Worker>>()
        .ok_or_else(|| ErrorInternalServerError("no worker on this thread"))?;
    let (sender, receiver) = mpsc::channel(WAITING);
    match streams.open().entry(name.clone()) {
        Entry::Occupied(_) => return Ok(None),
        Entry::Vacant(free) => free.insert(sender),
    };
    let duplicate = request.conn_data::<Duplicate>();
    let withheld = worker.desk().local.withheld();
    let outbox = Rc::new(Outbox::new(opening.max_outbox_bytes, withheld));
    // Whoever pushes first owes the wake-up; later pushes count on it.
    if outbox.push(Source::SESSION, preamble) == Pushed::First {
        outbox.wake();
    }
    let gate = Rc::new(Gate::default());
    let peer = request.peer_addr();
    let seat = Seat {
        id: ConnectionId::random(),
        dialect: opening.dialect,
        remote: peer.map_or_else(|| "".into(), |addr| addr.to_string().into()),
        encoding: opening.encoding,
        wire,
        session,
        sever: duplicate.and_then(Duplicate::take),
    };
    let incoming = Incoming {
        receiver,
        gate: gate.clone(),
    };
    let connection = Connection::start(seat, worker.desk(), outbox.clone(), gate, incoming);
    if let Some(duplicate) = duplicate {
        duplicate.tell(connection.clone().recipient());
    }
    let body = Named {
        out: Box::pin(Outgoing::new(outbox, connection.recipient())),
        streams: streams.clone(),
        name,
    };
    Ok(Some(HttpResponse::Ok().force_close().body(body)))
}

struct Incoming {
    receiver: mpsc::Receiver<Inbound>,
    gate: Rc<Gate>,
}

impl Stream for Incoming {
    type Item = Inbound;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        ready!(self.gate.poll(cx));
        self.receiver.poll_recv(cx)
    }
}

/// The response's body; with it goes the name.
struct Named {
    out: Pin<Box<Outgoing>>,
    streams: Streams,
    name: Text,
}

impl MessageBody for Named {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.out.as_mut().poll_next(cx)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.streams.open().remove(&self.name);
    }
}
