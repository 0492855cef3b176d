//! Routes frames that arrive to channels and queries, and what is for other nodes to their links.
//!
//! **Why the reader waits for a full channel:** the alternative is a mailbox without bound. A peer whose frames
//! are not taken runs over its own budget and starts anew.

use super::frame::{self, Frame};
use super::link::Outbound;
use super::query::{self, LocalConnections, Questions};
use crate::core::channel::messages::FromPeer;
use crate::core::channel::port::PeerPort;
use crate::core::channel::registry::Channels;
use crate::core::channel::replica::protocol::PeerMessage;
use crate::core::ids::{ChannelKey, NodeId};
use crate::core::query::{Query, QueryFuture, QueryPort};
use actix::prelude::SendError;
use std::collections::HashMap;
use std::sync::Arc;

type Links = HashMap<NodeId, Arc<Outbound>>;

/// The links by node, and what comes in over them.
pub struct Router {
    links: arc_swap::ArcSwap<Links>,
    questions: Arc<Questions>,
    channels: Channels,
    local: Arc<dyn LocalConnections>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Router({} links)", self.links.load().len())
    }
}

impl Router {
    /// Without links yet.
    #[must_use]
    pub fn new(channels: Channels, local: Arc<dyn LocalConnections>) -> Self {
        Self {
            links: arc_swap::ArcSwap::default(),
            questions: Arc::default(),
            channels,
            local,
        }
    }

    /// Uses this link from now on; an older one to the same node ends.
    pub fn install(&self, node: NodeId, link: &Arc<Outbound>) {
        let before = self.links.rcu(|links| {
            let mut links = Links::clone(links);
            links.insert(node, link.clone());
            links
        });
        if let Some(old) = before.get(&node) {
            old.close();
        }
        self.channels.link_up(node);
    }

    /// The link has ended.
    pub fn remove(&self, node: NodeId, link: &Arc<Outbound>) {
        self.links.rcu(|links| {
            let mut links = Links::clone(links);
            if links.get(&node).is_some_and(|one| Arc::ptr_eq(one, link)) {
                links.remove(&node);
            }
            links
        });
        self.questions.lost(node);
    }

    /// Ends the link to a node; whoever dials dials again.
    pub fn end(&self, node: NodeId) {
        if let Some(link) = self.links.load().get(&node) {
            link.close();
        }
    }

    /// Ends all links.
    pub fn end_all(&self) {
        for link in self.links.load().values() {
            link.close();
        }
    }

    /// The nodes with a link now.
    #[must_use]
    pub fn linked(&self) -> Vec<NodeId> {
        let links = self.links.load();
        let mut nodes: Vec<NodeId> = links.keys().copied().collect();
        nodes.sort_unstable();
        nodes
    }

    fn push(&self, to: NodeId, frame: &Frame) -> bool {
        let bytes = frame::encode(frame);
        let links = self.links.load();
        match (links.get(&to), bytes) {
            (Some(link), Ok(bytes)) => link.push(&bytes, false),
            (Some(_), Err(_)) | (None, _) => false,
        }
    }

    /// Takes one frame.
    pub async fn take(self: Arc<Self>, from: NodeId, frame: Frame) {
        match frame {
            Frame::Channel { key, message } => self.to_channel(from, key, message).await,
            Frame::Ask { id, query } => {
                let router = self.clone();
                tokio::spawn(async move { router.reply(from, id, query).await });
            }
            Frame::QueryAnswer { id, found } => self.questions.answered(from, id, found),
            Frame::Alive => {}
        }
    }

    async fn reply(&self, to: NodeId, id: u64, query: Query) {
        let found = query::answer(&self.channels, &*self.local, query).await;
        if !self.push(to, &Frame::QueryAnswer { id, found }) {
            // Too large, perhaps: the asker must not wait for nothing.
            let _gone = self.push(to, &Frame::QueryAnswer { id, found: None });
        }
    }

    async fn to_channel(&self, from: NodeId, key: Arc<ChannelKey>, message: PeerMessage) {
        let channel = if message.starts_channel() {
            Some(self.channels.get(&key))
        } else {
            self.channels.existing(&key)
        };
        let Some(channel) = channel else {
            return;
        };
        match channel.try_send(FromPeer { from, message }) {
            Ok(()) | Err(SendError::Closed(_)) => {}
            Err(SendError::Full(message)) => {
                let _stopped = channel.send(message).await;
            }
        }
    }
}

impl PeerPort for Router {
    fn send(&self, to: NodeId, key: &Arc<ChannelKey>, message: &PeerMessage) -> bool {
        let links = self.links.load();
        let Some(link) = links.get(&to).filter(|link| !link.is_closed()) else {
            return false;
        };
        match frame::encode_channel(key, message) {
            Ok(bytes) => link.push(&bytes, message.is_bulk()),
            Err(error) => {
                tracing::error!(node = to.0, %error, "a channel's message does not fit a frame");
                false
            }
        }
    }
}

impl QueryPort for Router {
    fn ask(&self, node: NodeId, query: Query) -> QueryFuture {
        let send = |id| self.push(node, &Frame::Ask { id, query });
        self.questions.ask(node, send)
    }
}
