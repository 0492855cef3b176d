//! Links between nodes for the message plane, and what travels over them.
//!
//! One TCP link per pair of nodes; **the node with the smaller id dials**, so that two links never race. A
//! broken link is dialled again with back-off, and both sides then tell each other everything.
//!
//! **Must never know:** adapters, dialects. Publications and channel messages only; access state never travels
//! here, whatever the bus.

pub mod frame;
pub mod link;
pub mod query;
pub(crate) mod repair;
pub mod router;
mod stalled;

use crate::core::channel::registry::Channels;
use crate::core::ids::NodeId;
use crate::core::nodes::Members;
use crate::core::query::QueryPort;
use gatecast_cluster::{Cluster, MessageLink};
use link::Outbound;
use query::LocalConnections;
use router::Router;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// First and longest pause before a broken link is dialled again.
const BACKOFF_BOUNDS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Opens a link to a node.
pub type Dial = Arc<
    dyn Fn(NodeId) -> Pin<Box<dyn Future<Output = io::Result<MessageLink>> + Send>> + Send + Sync,
>;

/// The links of this node. Dropping every clone ends them.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
    cluster: Option<Cluster>,
}

struct Inner {
    node: NodeId,
    dial: Dial,
    channels: Channels,
    router: Arc<Router>,
    dialling: Mutex<HashMap<NodeId, JoinHandle<()>>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    /// Says every now and then what heals what got lost.
    looking: Mutex<Option<JoinHandle<()>>>,
    /// Waits for the cluster's word on this node's own start.
    started: Mutex<Option<JoinHandle<()>>>,
    /// Lists are made and handed on one after the other, so that a newer one is never overtaken.
    listing: Mutex<()>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Peers").field(&self.inner.router).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let dialling = self
            .dialling
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let accepting = self
            .accepting
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let started = self
            .started
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let looking = self
            .looking
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for task in dialling
            .drain()
            .map(|(_, task)| task)
            .chain(accepting.take())
            .chain(started.take())
            .chain(looking.take())
        {
            task.abort();
        }
        self.router.end_all();
    }
}

/// Links this node with the others over the cluster's authenticated streams, on the caller's runtime.
/// `local` lists this node's own connections for other nodes' questions.
#[must_use]
pub fn start(cluster: Cluster, channels: Channels, local: Arc<dyn LocalConnections>) -> Peers {
    let dialler = cluster.clone();
    let dial: Dial = Arc::new(move |node| {
        let cluster = dialler.clone();
        Box::pin(async move { cluster.dial_message_link(node).await })
    });
    let incoming = cluster.take_message_links();
    let mut peers = Peers::start(cluster.node(), dial, incoming, channels, local);
    peers.cluster = Some(cluster);
    peers.members_changed();
    peers.follow_start();
    peers
}

impl Inner {
    /// Makes the list of the present view and hands it on.
    fn list_anew(&self, cluster: &Cluster) {
        let _one = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = *cluster.epochs().borrow();
        self.set_members(Members::of(&cluster.view(), self.node, epoch));
    }

    fn set_members(&self, members: Members) {
        let mut dialling = self.dialling.lock().unwrap_or_else(PoisonError::into_inner);
        dialling.retain(|node, task| {
            let stays = members.has(*node);
            if !stays {
                task.abort();
            }
            stays
        });
        for node in members.nodes().filter(|node| *node > self.node) {
            let (dial, router) = (self.dial.clone(), self.router.clone());
            dialling
                .entry(node)
                .or_insert_with(|| tokio::spawn(keep_linked(node, dial, router)));
        }
        drop(dialling);
        let before = self.channels.members();
        for gone in before.nodes().filter(|node| !members.has(*node)) {
            self.router.end(gone);
        }
        self.channels.set_members(members);
    }
}

impl Peers {
    /// The way to ask the other nodes.
    #[must_use]
    pub fn queries(&self) -> Arc<dyn QueryPort> {
        self.inner.router.clone()
    }

    /// As [`start`], over any way to open links: for tests.
    #[must_use]
    pub fn start(
        node: NodeId,
        dial: Dial,
        incoming: Option<mpsc::Receiver<MessageLink>>,
        channels: Channels,
        local: Arc<dyn LocalConnections>,
    ) -> Self {
        let router = Arc::new(Router::new(channels.clone(), local));
        channels.connect(router.clone());
        let looking = tokio::spawn(look_after(router.clone()));
        let accept = incoming.map(|links| tokio::spawn(accept(node, links, router.clone())));
        Self {
            inner: Arc::new(Inner {
                node,
                dial,
                channels,
                router,
                dialling: Mutex::default(),
                accepting: Mutex::new(accept),
                looking: Mutex::new(Some(looking)),
                started: Mutex::default(),
                listing: Mutex::default(),
            }),
            cluster: None,
        }
    }

    /// The member list may have changed: called by the enforcer.
    pub fn members_changed(&self) {
        if let Some(cluster) = &self.cluster {
            self.inner.list_anew(cluster);
        }
    }

    /// This node becomes a member to itself when its start is one to the cluster, which it learns after the list.
    fn follow_start(&self) {
        let Some(cluster) = self.cluster.clone() else {
            return;
        };
        let inner = Arc::downgrade(&self.inner);
        let mut epochs = cluster.epochs();
        let follow = tokio::spawn(async move {
            while epochs.changed().await.is_ok() {
                match inner.upgrade() {
                    Some(inner) => inner.list_anew(&cluster),
                    None => return,
                }
            }
        });
        let mut started = self
            .inner
            .started
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *started = Some(follow);
    }

    /// Links and places by this list. Must run on the runtime that the links run on.
    pub fn set_members(&self, members: Members) {
        self.inner.set_members(members);
    }

    /// The nodes with a link now.
    #[must_use]
    pub fn linked(&self) -> Vec<NodeId> {
        self.inner.router.linked()
    }
}

async fn look_after(router: Arc<Router>) {
    let started = Instant::now();
    loop {
        let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        router.look(now_ms);
        tokio::time::sleep(Duration::from_millis(repair::LOOK_INTERVAL_MS)).await;
    }
}

async fn accept(node: NodeId, mut links: mpsc::Receiver<MessageLink>, router: Arc<Router>) {
    while let Some(link) = links.recv().await {
        if link.node >= node {
            tracing::warn!(
                from = link.node.0,
                "a link from the side that must not dial"
            );
            continue;
        }
        tokio::spawn(use_link(link, router.clone()));
    }
}

async fn keep_linked(node: NodeId, dial: Dial, router: Arc<Router>) {
    let (first, longest) = BACKOFF_BOUNDS;
    let mut pause = first;
    loop {
        match dial(node).await {
            Ok(link) => {
                use_link(link, router.clone()).await;
                pause = first;
            }
            Err(error) => tracing::debug!(node = node.0, %error, "no link"),
        }
        // Spread, so that two restarted nodes do not meet at the same moment again and again.
        let spread = rand::random_range(0.5..1.0);
        tokio::time::sleep(pause.mul_f64(spread)).await;
        pause = (pause * 2).min(longest);
    }
}

/// Closes and forgets its link, also when its task is aborted.
struct Installed {
    node: NodeId,
    link: Arc<Outbound>,
    router: Arc<Router>,
}

impl Drop for Installed {
    fn drop(&mut self) {
        self.link.close();
        self.router.remove(self.node, &self.link);
    }
}

async fn use_link(link: MessageLink, router: Arc<Router>) {
    let node = link.node;
    let installed = Installed {
        node,
        link: Arc::new(Outbound::new(node)),
        router: router.clone(),
    };
    // Before the first frame is taken: every channel must know that what was under way is lost.
    router.install(node, &installed.link);
    tracing::info!(node = node.0, "linked");
    let taken = |frame| {
        router.take(node, frame);
        std::future::ready(())
    };
    let ended = match link.split() {
        Ok(halves) => link::run(&installed.link, halves, taken).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::info!(node = node.0, %error, "link ended");
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
