//! Links to peers: kept connected, requests multiplexed, and an honest word about what became of each.
//!
//! **Why "not sent" is its own error:** a proposal that certainly never left this node may be called *not proposed*;
//! any other failure leaves its outcome open.

use super::frame::{self, Frame, Kind};
use super::hello::{self, Plane, Refusal, Refused};
use super::{Identity, LocalNode, Stream};
use crate::task;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Requests queued to one connection.
const QUEUE_CAPACITY: usize = 256;
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(300);
/// Longest wait for a bulk connection.
const BULK_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection that answers nothing for this long while requests time out is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(2);

/// Which of the two connections to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Small and urgent.
    Fast,
    /// Chunks of snapshots, which may take long.
    Bulk,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// The peer never got it.
    #[error("the peer cannot be reached")]
    NotSent,
    /// It may have been carried out.
    #[error("the connection ended before the answer")]
    Lost,
    /// It may have been carried out, or still be.
    #[error("no answer in time")]
    TimedOut,
}

/// How a link stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkState {
    /// Whether there is a connection now.
    pub(crate) connected: bool,
    /// Since when every attempt found nobody listening.
    pub(crate) refused_since: Option<Instant>,
    /// Why the peer turned us away at the last attempt.
    pub(crate) turned_away: Option<Refusal>,
    /// Since when there is no connection and why not, once one was tried.
    pub(crate) failing: Option<Failing>,
}

/// A peer that cannot be talked to.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    /// Since when nothing gets through.
    pub(crate) since: Instant,
    /// What the last attempt said.
    pub(crate) why: Arc<str>,
}

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Bytes>>>>;

#[derive(Clone)]
struct Connection {
    requests: mpsc::Sender<Frame>,
    pending: Pending,
    last_answer: Arc<Mutex<Instant>>,
    give_up: Arc<tokio::sync::Notify>,
}

struct Link {
    addr: String,
    state: Mutex<(LinkState, Option<Connection>)>,
    task: Mutex<Option<tokio::task::AbortHandle>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Every link of this node.
pub(crate) struct Links {
    local: LocalNode,
    admit: Box<dyn Fn(Identity) -> Result<(), Refusal> + Send + Sync>,
    links: Mutex<BTreeMap<(u64, Lane), Arc<Link>>>,
    next: AtomicU64,
}

impl Links {
    /// No links yet. `admit` judges whoever answers where we dialled, as it does those who dial us.
    pub(crate) fn new(
        local: LocalNode,
        admit: impl Fn(Identity) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            local,
            admit: Box::new(admit),
            links: Mutex::default(),
            next: AtomicU64::new(1),
        })
    }

    /// Keeps links to exactly these peers and connects them.
    pub(crate) fn keep(self: &Arc<Self>, peers: &BTreeMap<u64, String>) {
        lock(&self.links).retain(|(node, _), link| peers.get(node) == Some(&link.addr));
        for (node, addr) in peers {
            self.link(*node, Lane::Fast, addr);
        }
    }

    /// How the fast link to `node` stands.
    pub(crate) fn state(&self, node: u64) -> LinkState {
        let link = lock(&self.links).get(&(node, Lane::Fast)).cloned();
        link.map(|link| lock(&link.state).0.clone())
            .unwrap_or_default()
    }

    /// How the fast link to each peer stands, and the peer's address.
    pub(crate) fn all(&self) -> BTreeMap<u64, (String, LinkState)> {
        let links = lock(&self.links);
        let fast = links.iter().filter(|((_, lane), _)| *lane == Lane::Fast);
        fast.map(|((node, _), link)| (*node, (link.addr.clone(), lock(&link.state).0.clone())))
            .collect()
    }

    /// Why peers turn this node away, if one does.
    pub(crate) fn turned_away(&self) -> Option<Refusal> {
        let links = lock(&self.links);
        links
            .values()
            .find_map(|link| lock(&link.state).0.turned_away)
    }

    /// Opens one connection outside the kept links.
    pub(crate) async fn dial(
        &self,
        addr: &str,
        node: u64,
        plane: Plane,
    ) -> io::Result<(Identity, Stream)> {
        let (peer, stream) = hello::dial(&self.local, addr, node, plane).await?;
        let node = peer.node;
        (self.admit)(peer).map_err(|why| io::Error::other(Refused::Theirs { node, why }))?;
        Ok((peer, stream))
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        node: u64,
        addr: &str,
        lane: Lane,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Bytes, AskError> {
        let link = self.link(node, lane, addr);
        let connection = connection(&link, lane).await.ok_or(AskError::NotSent)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        lock(&connection.pending).insert(id, tx);
        let frame = Frame {
            kind: Kind::Request,
            id,
            body: body.into(),
        };
        if connection.requests.try_send(frame).is_err() {
            lock(&connection.pending).remove(&id);
            return Err(AskError::NotSent);
        }
        match tokio::time::timeout(timeout, rx).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Lost),
            Err(_) => {
                lock(&connection.pending).remove(&id);
                if lock(&connection.last_answer).elapsed() > SILENCE_LIMIT {
                    connection.give_up.notify_one();
                }
                Err(AskError::TimedOut)
            }
        }
    }

    fn link(self: &Arc<Self>, node: u64, lane: Lane, addr: &str) -> Arc<Link> {
        let mut links = lock(&self.links);
        if let Some(link) = links.get(&(node, lane))
            && link.addr == addr
        {
            return Arc::clone(link);
        }
        let link = Arc::new(Link {
            addr: addr.to_owned(),
            state: Mutex::default(),
            task: Mutex::default(),
        });
        let task = task::spawn(keep_connected(
            Arc::clone(self),
            node,
            addr.to_owned(),
            Arc::downgrade(&link),
        ));
        *lock(&link.task) = Some(task.abort_handle());
        links.insert((node, lane), Arc::clone(&link));
        link
    }
}

/// The link's connection. The bulk lane is made on first use and may be waited for; on the fast lane a
/// missing connection is an answer.
async fn connection(link: &Link, lane: Lane) -> Option<Connection> {
    let deadline = Instant::now() + BULK_CONNECT_TIMEOUT;
    loop {
        let connection = lock(&link.state).1.clone();
        if connection.is_some() || lane == Lane::Fast || Instant::now() > deadline {
            return connection;
        }
        tokio::time::sleep(BACKOFF_MIN).await;
    }
}

async fn keep_connected(links: Arc<Links>, node: u64, addr: String, link: std::sync::Weak<Link>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let dialled = links.dial(&addr, node, Plane::Control).await;
        let Some(target) = link.upgrade() else { return };
        match dialled {
            Ok((_, stream)) => {
                backoff = BACKOFF_MIN;
                let (requests, queue) = mpsc::channel(QUEUE_CAPACITY);
                let connection = Connection {
                    requests,
                    pending: Pending::default(),
                    last_answer: Arc::new(Mutex::new(Instant::now())),
                    give_up: Arc::default(),
                };
                let state = LinkState {
                    connected: true,
                    ..LinkState::default()
                };
                *lock(&target.state) = (state, Some(connection.clone()));
                drop(target);
                tracing::debug!(node, "connected");
                let end = converse(stream, queue, &connection).await;
                tracing::debug!(node, ?end, "disconnected");
                let Some(target) = link.upgrade() else { return };
                let why = end
                    .err()
                    .map_or_else(|| "it ended".into(), |error| error.to_string());
                let failing = Failing {
                    since: Instant::now(),
                    why: format!("the connection ended: {why}").into(),
                };
                let state = LinkState {
                    failing: Some(failing),
                    ..LinkState::default()
                };
                *lock(&target.state) = (state, None);
                lock(&connection.pending).clear();
            }
            Err(error) => {
                note_failure(&mut lock(&target.state).0, &error);
                drop(target);
                tracing::debug!(node, %error, "not connected");
                tokio::time::sleep(backoff.mul_f64(rand::random_range(0.75..1.25))).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

fn note_failure(state: &mut LinkState, error: &io::Error) {
    let gone = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    );
    state.refused_since = gone.then(|| state.refused_since.unwrap_or_else(Instant::now));
    state.turned_away = refusal(error);
    let since = state.failing.as_ref().map(|failing| failing.since);
    state.failing = Some(Failing {
        since: since.unwrap_or_else(Instant::now),
        why: error.to_string().into(),
    });
}

/// Why the peer turned this node away, if that is what the error says.
pub(crate) fn refusal(error: &io::Error) -> Option<Refusal> {
    let refused = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Refused>());
    (error.kind() == io::ErrorKind::PermissionDenied)
        .then(|| refused.and_then(Refused::of_this_node))
        .flatten()
}

async fn converse(
    stream: Stream,
    queue: mpsc::Receiver<Frame>,
    connection: &Connection,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = tokio::io::BufReader::with_capacity(32 * 1024, reader);
    let reading = async {
        loop {
            let answer = frame::read(&mut reader).await?;
            *lock(&connection.last_answer) = Instant::now();
            if let Some(waiting) = lock(&connection.pending).remove(&answer.id) {
                let _ = waiting.send(answer.body);
            }
        }
    };
    tokio::select! {
        end = reading => end,
        end = frame::write_all(writer, queue) => end,
        () = connection.give_up.notified() => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A poisoned lock guards plain data here; whoever panicked left it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
