//! Taking connections: hello, then requests to the service or the socket to the broker.
//!
//! Everything is counted: connections that have not proved themselves, connections in all, requests in work per
//! connection.

use super::frame::{self, Frame, Kind};
use super::hello::{self, Identity, Plane, Refusal};
use super::message_link::MessageLink;
use super::transport::Listener;
use super::{LocalNode, Stream};
use crate::access::NodeId;
use crate::seldom::Seldom;
use crate::task;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Connections whose hello is not finished.
const MAX_HANDSHAKES: usize = 64;
/// Connections in all.
const MAX_CONNECTIONS: usize = 1024;
/// Requests of one connection that are being answered.
const MAX_REQUESTS: usize = 256;
/// A control connection without a request for this long is closed; its dialler makes a new one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What answers the requests of peers.
pub(crate) trait Service: Send + Sync + 'static {
    /// Judges a peer that knows the secret.
    fn admit(&self, peer: Identity) -> Result<(), Refusal>;
    /// Answers one request. An empty answer closes the connection.
    fn answer(self: Arc<Self>, from: Identity, request: Bytes) -> BoxFuture<'static, Vec<u8>>;
}

/// What incoming connections go to.
pub(crate) struct Acceptor<S> {
    /// Who we are.
    pub(crate) local: LocalNode,
    /// What control connections go to.
    pub(crate) service: Arc<S>,
    /// Where connections of the message plane go.
    pub(crate) messages: mpsc::Sender<MessageLink>,
}

/// Takes connections for ever.
pub(crate) async fn serve<S: Service>(mut listener: impl Listener, acceptor: Acceptor<S>) {
    let acceptor = Arc::new(acceptor);
    let strangers = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let complaints = Arc::new(Complaints::default());
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(stranger) = Arc::clone(&strangers).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                complaints.not_accepted(&error);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let acceptor = Arc::clone(&acceptor);
        let complaints = Arc::clone(&complaints);
        let slot = Arc::clone(&connections).try_acquire_owned().ok();
        task::spawn(async move {
            let admit = |peer| match &slot {
                None => Err(Refusal::Full),
                Some(_) => acceptor.service.admit(peer),
            };
            let (from, mut claims) = (stream.from(), None);
            let met = hello::accept(&acceptor.local, stream, admit, &mut claims).await;
            drop(stranger);
            match met {
                Err(error) => complaints.turned_away(from, claims, &error),
                Ok((peer, Plane::Control, stream)) => {
                    let end = converse(stream, peer, &acceptor.service).await;
                    tracing::debug!(peer = peer.node, ?end, "a control connection ended");
                }
                Ok((peer, Plane::Message, stream)) => hand_over(&acceptor.messages, peer, stream),
            }
            drop(slot);
        });
    }
}

/// What is said about connections that come to nothing, seldom: whoever knocks, knocks again.
#[derive(Default)]
struct Complaints(Seldom<(Option<IpAddr>, String)>);

impl Complaints {
    fn not_accepted(&self, error: &io::Error) {
        if let Some(left_out) = self.0.say((None, error.to_string())) {
            tracing::warn!(%error, left_out, "a peer connection could not be accepted");
        }
    }

    /// Something that speaks like a node is worth a warning: one of the two is set up wrongly.
    fn turned_away(&self, from: Option<SocketAddr>, claims: Option<u64>, error: &io::Error) {
        let addr = from.map_or_else(String::new, |from| from.to_string());
        let gone = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        );
        let cause = (from.map(|from| from.ip()), error.to_string());
        if gone {
            tracing::debug!(addr, %error, "a peer connection ended before it was one");
        } else if let Some(left_out) = self.0.say(cause) {
            match claims {
                Some(node) => {
                    tracing::warn!(node, addr, %error, left_out, "a node was turned away at the peer port");
                }
                None => {
                    tracing::info!(addr, %error, left_out, "a stranger was turned away at the peer port");
                }
            }
        }
    }
}

fn hand_over(messages: &mpsc::Sender<MessageLink>, peer: Identity, stream: Stream) {
    let node = NodeId(peer.node);
    if messages.try_send(MessageLink::new(node, stream)).is_err() {
        tracing::warn!(%node, "nobody takes message links; one was closed");
    }
}

async fn converse<S: Service>(stream: Stream, from: Identity, service: &Arc<S>) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = tokio::io::BufReader::with_capacity(32 * 1024, reader);
    let (answers, queue) = mpsc::channel(MAX_REQUESTS);
    let writing = frame::write_all(writer, queue);
    let working = Arc::new(Semaphore::new(MAX_REQUESTS));
    let close = Arc::new(tokio::sync::Notify::new());
    let reading = async {
        loop {
            let request = tokio::time::timeout(IDLE_TIMEOUT, frame::read(&mut reader))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            if request.kind != Kind::Request {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an answer to nothing",
                ));
            }
            let Ok(permit) = Arc::clone(&working).acquire_owned().await else {
                return Ok(());
            };
            let (service, answers) = (Arc::clone(service), answers.clone());
            let close = Arc::clone(&close);
            task::spawn(async move {
                let body = service.answer(from, request.body).await;
                if body.is_empty() || body.len() > frame::MAX_BODY {
                    close.notify_one();
                } else {
                    let frame = Frame {
                        kind: Kind::Answer,
                        id: request.id,
                        body: body.into(),
                    };
                    let _ = answers.send(frame).await;
                }
                drop(permit);
            });
        }
    };
    tokio::select! {
        end = reading => end,
        end = writing => end,
        () = close.notified() => Ok(()),
    }
}
