//! Questions between nodes and their answers, with a time-out.
//!
//! **Why a missing answer is an error and not an empty list:** a listing that silently lacks a node looks
//! complete.

use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, NodeId};
use crate::core::listing::{ConnectionFilter, ConnectionInfo};
use crate::core::query::{Query, QueryAnswer, QueryFuture};
use crate::core::refusals::record::{RefusalFilter, RefusalRecord};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a node has to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A listing on its way.
pub type Listing = Pin<Box<dyn Future<Output = Result<Vec<ConnectionInfo>, Refusal>> + Send>>;

/// What a question needs of this node's own connections.
pub trait LocalConnections: Send + Sync + 'static {
    /// Lists the connections of this node.
    fn list(&self, filter: ConnectionFilter) -> Listing;
    /// Ends the socket of one, if it is here.
    fn abort(&self, id: ConnectionId) -> Aborting;
    /// The last refusals by this node, and how many more there were.
    fn refusals(&self, filter: &RefusalFilter) -> (Vec<RefusalRecord>, u64);
    /// The number of this node's last record of the audit, and its hash of that one, if it has it.
    fn audit_at(&self, index: u64) -> (u64, Option<[u8; 32]>);
}

impl LocalConnections for Broker {
    fn list(&self, filter: ConnectionFilter) -> Listing {
        let broker = self.clone();
        Box::pin(async move { broker.connections_here(filter).await })
    }

    fn abort(&self, id: ConnectionId) -> Aborting {
        let broker = self.clone();
        Box::pin(async move { broker.sever_here(id).await })
    }

    fn refusals(&self, filter: &RefusalFilter) -> (Vec<RefusalRecord>, u64) {
        self.refusals.last(filter)
    }

    fn audit_at(&self, index: u64) -> (u64, Option<[u8; 32]>) {
        self.audit_here(index)
    }
}

/// Whether a socket was there to be ended.
pub type Aborting = Pin<Box<dyn Future<Output = bool> + Send>>;

type Asked = HashMap<u64, (NodeId, oneshot::Sender<Option<QueryAnswer>>)>;

/// Questions under way.
#[derive(Debug, Default)]
pub struct Questions {
    asked: Mutex<(u64, Asked)>,
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, (u64, Asked)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks: `send` puts the question with its number on the link and says whether there is one.
    pub fn ask(self: &Arc<Self>, node: NodeId, send: impl FnOnce(u64) -> bool) -> QueryFuture {
        let (to, answer) = oneshot::channel();
        let id = {
            let mut asked = self.lock();
            asked.0 += 1;
            let id = asked.0;
            asked.1.insert(id, (node, to));
            id
        };
        if !send(id) {
            self.lock().1.remove(&id);
            let refusal = Refusal::Unavailable("a node is not linked");
            return Box::pin(std::future::ready(Err(refusal)));
        }
        let questions = self.clone();
        Box::pin(async move {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
            questions.lock().1.remove(&id);
            let found = answer.ok().and_then(Result::ok).flatten();
            found.ok_or(Refusal::Unavailable("a node did not answer"))
        })
    }

    /// An answer has come.
    pub fn answered(&self, from: NodeId, id: u64, found: Option<QueryAnswer>) {
        let mut asked = self.lock();
        if asked.1.get(&id).is_some_and(|(node, _)| *node == from)
            && let Some((_, to)) = asked.1.remove(&id)
        {
            let _gone = to.send(found);
        }
    }

    /// The link to a node is gone, and its answers with it.
    pub fn lost(&self, node: NodeId) {
        self.lock().1.retain(|_, (asked, _)| *asked != node);
    }
}

/// Answers a question of another node; nothing when this node cannot say all of it.
pub async fn answer(
    channels: &Channels,
    local: &dyn LocalConnections,
    query: Query,
) -> Option<QueryAnswer> {
    match query {
        Query::Occupied { app, prefix, limit } => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            Some(QueryAnswer::Occupied(
                channels.occupied_here(app, &prefix, limit),
            ))
        }
        Query::Deliveries { app, limit } => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let listener = channels.listener();
            let all = listener.map_or_else(Vec::new, |one| one.deliveries(app, limit));
            Some(QueryAnswer::Deliveries(all))
        }
        Query::Connections(filter) => local.list(filter).await.ok().map(QueryAnswer::Connections),
        Query::AbortConnection(id) => Some(QueryAnswer::Aborted(local.abort(id).await)),
        Query::Refusals(filter) => {
            let (last, more) = local.refusals(&filter);
            Some(QueryAnswer::Refusals(last, more))
        }
        Query::AuditAt(index) => {
            let (last, hash) = local.audit_at(index);
            Some(QueryAnswer::AuditAt(last, hash))
        }
    }
}
