//! A connection over plain HTTP, for clients whose WebSockets do not get through: responses that bring lines, one after
//! the other, and short requests that say what the client says.
//!
//! **Must never know:** any dialect; lines are a framing like another.
//! **Why the connection is not the response:** a response ends (a browser keeps all of it in memory, so it has to) and
//! the next one carries on; and the requests of one client come over any of its sockets, so to any thread. They
//! have to come to this node: a balancer in front must see to that.

mod answer;
mod reader;
mod spool;

pub use answer::{preflight, say};
pub use reader::Asked;

use super::ws::Opening;
use super::{Worker, remote};
use crate::core::connection::accepted::{AcceptedConnection, Framing, Inbound, ReadGate};
use crate::core::connection::actor::Connection;
use crate::core::connection::messages::SocketClosed;
use crate::core::delivery::outbox::{Outbox, Source};
use crate::core::ids::{ConnectionId, Text};
use crate::core::session::Session;
use actix::Addr;
use actix_web::error::ErrorInternalServerError;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::Stream;
use reader::Reader;
use spool::Spool;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages of a client that may wait for its connection.
const MAX_WAITING: usize = 64;
/// How long a client may be without a response to read from.
const ABSENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often that is looked at.
const ABSENCE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// After this much silence a line of no meaning is sent, for proxies' sake.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(25);

/// How a dialect speaks over responses.
#[derive(Clone, Copy, Debug)]
pub struct LineProtocol {
    /// Frames and the close, as whole lines.
    pub framing: Framing,
    /// The first line, unless the session says it itself.
    pub greeting: &'static [u8],
    /// What means nothing.
    pub heartbeat: &'static [u8],
    /// The client breaks off a stream to ask for the next one. Else breaking off is its goodbye, and a stream ends by
    /// itself before the browser has too much of it.
    pub breaks_off: bool,
}

/// One that says what somebody accepts, when it is needed.
pub type Accept = (Opening, Box<dyn Session>);

struct Open {
    spool: Arc<Spool>,
    say: mpsc::Sender<Inbound>,
}

/// The open streams of this node by the names their clients chose. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<HashMap<Text, Open>>>);

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

impl Streams {
    fn open(&self) -> MutexGuard<'_, HashMap<Text, Open>> {
        // A thread that died over it left a whole map behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client of this name is here already: what it is need not be asked again.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.open().contains_key(name)
    }

    fn listener(&self, name: &str) -> Option<mpsc::Sender<Inbound>> {
        self.open().get(name).map(|open| open.say.clone())
    }

    fn forget(&self, name: &Text, spool: &Arc<Spool>) {
        let mut open = self.open();
        if open
            .get(name)
            .is_some_and(|one| Arc::ptr_eq(&one.spool, spool))
        {
            open.remove(name);
        }
    }
}

/// Answers with a response to read from: of the connection of that name, which begins now if there is none. Needs
/// `web::Data<Worker>` in the app, and [`super::listen()`] as its server.
///
/// # Errors
/// When the app lacks its worker.
pub fn open(
    request: &HttpRequest,
    (streams, name): (&Streams, Text),
    asked: Asked,
    protocol: &LineProtocol,
    accept: impl FnOnce() -> Accept,
) -> Result<HttpResponse, actix_web::Error> {
    let worker = request
        .app_data::<web::Data<Worker>>()
        .ok_or_else(|| ErrorInternalServerError("no worker on this thread"))?;
    let (spool, heard) = match streams.open().entry(name.clone()) {
        Entry::Occupied(open) => match open.get().spool.attach() {
            true => (open.get().spool.clone(), None),
            false => return Ok(answer::taken(request, &protocol.framing)),
        },
        Entry::Vacant(free) => {
            let (say, heard) = mpsc::channel(MAX_WAITING);
            let spool = Arc::new(Spool::default());
            let open = Open {
                spool: spool.clone(),
                say,
            };
            free.insert(open);
            (spool, Some(heard))
        }
    };
    if let Some(heard) = heard {
        let life = Life {
            spool: spool.clone(),
            streams: streams.clone(),
            name,
        };
        begin(worker, request, life, heard, protocol, accept());
    }
    Ok(answer::streaming(
        request,
        Reader::new(spool, asked, protocol, request),
    ))
}

/// Starts the connection on this thread.
fn begin(
    worker: &Worker,
    request: &HttpRequest,
    life: Life,
    heard: mpsc::Receiver<Inbound>,
    protocol: &LineProtocol,
    (opening, session): Accept,
) {
    let context = worker.context();
    let accepted = AcceptedConnection {
        id: opening.resumes.unwrap_or_else(ConnectionId::random),
        dialect: opening.dialect,
        remote: remote(request).into(),
        asked: (opening.app, opening.key),
        encoding: opening.encoding,
        framing: protocol.framing,
        session,
        hand_over: opening.hand_over,
    };
    let sink = Rc::new(life.spool.clone());
    let withheld = context.state.withheld();
    let outbox = Rc::new(Outbox::new(opening.max_outbox_bytes, withheld, sink));
    if !protocol.greeting.is_empty() {
        outbox.open_with(Bytes::from_static(protocol.greeting));
    }
    let gate = Rc::new(ReadGate::default());
    let incoming = Incoming {
        heard,
        gate: gate.clone(),
    };
    let connection = Connection::start(accepted, context, outbox.clone(), gate, incoming);
    actix_web::rt::spawn(drive(life, outbox, connection, protocol.heartbeat));
}

/// What ends with the stream.
struct Life {
    spool: Arc<Spool>,
    streams: Streams,
    name: Text,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.streams.forget(&self.name, &self.spool);
        self.spool.abandon();
    }
}

/// Tells the connection that its client is gone, also when the thread does not wait for it.
struct SocketClosedGuard(Addr<Connection>);

impl Drop for SocketClosedGuard {
    fn drop(&mut self) {
        self.0.do_send(SocketClosed);
    }
}

/// Stays with the stream to its end: hands lines from the outbox to the spool as its readers make room.
async fn drive(
    life: Life,
    outbox: Rc<Outbox>,
    connection: Addr<Connection>,
    heartbeat: &'static [u8],
) {
    let _told = SocketClosedGuard(connection);
    let mut silent = Duration::ZERO;
    let mut taken = 0;
    loop {
        let over = poll_fn(|cx| life.spool.poll_over(&outbox, cx));
        match tokio::time::timeout(ABSENCE_CHECK_INTERVAL, over).await {
            Ok(()) => return,
            Err(_elapsed) if life.spool.is_absent(ABSENCE_TIMEOUT) => return,
            Err(_elapsed) => {}
        }
        let now_taken = life.spool.taken();
        silent = match now_taken == taken {
            true => silent + ABSENCE_CHECK_INTERVAL,
            false => Duration::ZERO,
        };
        taken = now_taken;
        if silent >= HEARTBEAT_INTERVAL {
            silent = Duration::ZERO;
            let _ = outbox.push(Source::SESSION, Bytes::from_static(heartbeat));
            outbox.wake();
        }
    }
}

/// What the client's requests say, while the connection reads.
struct Incoming {
    heard: mpsc::Receiver<Inbound>,
    gate: Rc<ReadGate>,
}

impl Stream for Incoming {
    type Item = Inbound;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        ready!(self.gate.poll(cx));
        self.heard.poll_recv(cx)
    }
}
