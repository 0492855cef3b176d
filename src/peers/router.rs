//! Routes frames that arrive to channels and queries, and what is for other nodes to their links.
//!
//! **Why the reader waits for no channel:** the frames of all channels come over one link, and a channel that takes nothing
//! would hold up the others. What is for it waits apart, up to a bound (`stalled`).

use super::frame::{self, Frame};
use super::link::Outbound;
use super::query::{self, LocalConnections, Questions};
use super::repair::{Copies, Copying, Own, Repair};
use super::stalled::{Next, Stalled};
use crate::core::channel::actor::Channel;
use crate::core::channel::messages::{Dropped, FromPeer};
use crate::core::channel::port::PeerPort;
use crate::core::channel::registry::Channels;
use crate::core::channel::replica::protocol::PeerMessage;
use crate::core::ids::{ChannelKey, NodeId};
use crate::core::query::{Query, QueryFuture, QueryPort};
use actix::Addr;
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
    stalled: Stalled<PeerMessage>,
    repair: Repair,
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
            stalled: Stalled::default(),
            repair: Repair::default(),
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
        self.repair.linked(node);
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
    pub fn take(self: &Arc<Self>, from: NodeId, frame: Frame) {
        match frame {
            Frame::Channel { key, message } => self.to_channel(from, key, message),
            Frame::Query { id, query } => {
                let router = self.clone();
                tokio::spawn(async move { router.reply(from, id, query).await });
            }
            Frame::QueryAnswer { id, found } => self.questions.answered(from, id, found),
            Frame::Alive => {}
            Frame::Digest(digest) => {
                let differing = self.channels.differing(from, &digest);
                let again = self.repair.compared(from, differing);
                if !again.is_empty() {
                    let (node, buckets) = (from.0, again.len());
                    tracing::info!(
                        node,
                        buckets,
                        "what two nodes said to each other got lost in part"
                    );
                    self.channels.say_again(from, &again);
                    let _unlinked = self.push(from, &Frame::Differs(again));
                }
            }
            Frame::Differs(buckets) => self.channels.say_again(from, &buckets),
            Frame::Copies(copies) => self.repair.heard(from, copies),
        }
    }

    /// Says to every linked node what heals what got lost, where it is time, and looks whether this node may be relied on.
    pub(super) fn look(&self, now_ms: u64) {
        let (me, members) = (self.channels.node(), self.channels.members());
        for node in self.linked() {
            let copies = Copies {
                start: members.epoch(node).unwrap_or(0),
                placed: self.channels.is_placed(),
                missing: self.channels.uncopied_at(node),
            };
            if self.repair.is_news(node, copies) {
                let _unlinked = self.push(node, &Frame::Copies(copies));
            }
            if self.repair.digest_is_due(node, now_ms) {
                let digest = self.channels.digest(node);
                let _unlinked = self.push(node, &Frame::Digest(digest));
            }
        }
        let own = Own {
            placed: self.channels.is_placed(),
            claims: self.channels.claims(),
            uncopied: self.channels.uncopied(),
        };
        match self.repair.look(me, &members, own, now_ms) {
            Some((start, Copying::Done)) => self.channels.set_copied(start),
            Some((start, Copying::GivenUp)) => {
                tracing::warn!(
                    ?own,
                    "not every channel could be copied in time: ready without it"
                );
                self.channels.set_copied(start);
            }
            Some((_, Copying::UnderWay)) | None => {}
        }
    }

    async fn reply(&self, to: NodeId, id: u64, query: Query) {
        let found = query::answer(&self.channels, &*self.local, query).await;
        if !self.push(to, &Frame::QueryAnswer { id, found }) {
            // Too large, perhaps: the asker must not wait for nothing.
            let _gone = self.push(to, &Frame::QueryAnswer { id, found: None });
        }
    }

    fn to_channel(self: &Arc<Self>, from: NodeId, key: Arc<ChannelKey>, message: PeerMessage) {
        let channel = if message.starts_channel() {
            Some(self.channels.get(&key))
        } else {
            self.channels.existing(&key)
        };
        let Some(channel) = channel else {
            return;
        };
        let place = (from, key);
        let Some(message) = self.stalled.behind(&place, message, weight) else {
            return;
        };
        match channel.try_send(FromPeer { from, message }) {
            Ok(()) | Err(SendError::Closed(_)) => {}
            Err(SendError::Full(FromPeer { message, .. })) => {
                let bytes = weight(&place.1, &message);
                self.stalled.begin(place.clone(), message, bytes);
                tokio::spawn(self.clone().bring(channel, place));
            }
        }
    }

    /// Brings what waits to a channel that was full, as fast as that takes it.
    async fn bring(self: Arc<Self>, channel: Addr<Channel>, place: (NodeId, Arc<ChannelKey>)) {
        loop {
            let from = place.0;
            // One that is closed has taken its subscribers with it.
            let _closed = match self.stalled.next(&place) {
                Next::Frame(message) => channel.send(FromPeer { from, message }).await,
                Next::Dropped => channel.send(Dropped(from)).await,
                Next::Nothing => return,
            };
        }
    }
}

/// What a message weighs while it waits for its channel; asked only then.
fn weight(key: &Arc<ChannelKey>, message: &PeerMessage) -> usize {
    frame::encode_channel(key, message).map_or(frame::MAX_FRAME, |bytes| bytes.len())
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

    fn send_all(&self, to: &[NodeId], key: &Arc<ChannelKey>, message: &PeerMessage) {
        let links = self.links.load();
        let mut links = to.iter().filter_map(|node| links.get(node)).peekable();
        if links.peek().is_none() {
            return;
        }
        match frame::encode_channel(key, message) {
            Ok(bytes) => links.for_each(|link| {
                let _reset = link.push(&bytes, message.is_bulk());
            }),
            Err(error) => tracing::error!(%error, "a channel's message does not fit a frame"),
        }
    }
}

impl QueryPort for Router {
    fn ask(&self, node: NodeId, query: Query) -> QueryFuture {
        let send = |id| self.push(node, &Frame::Query { id, query });
        self.questions.ask(node, send)
    }
}
