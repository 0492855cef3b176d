//! Links between nodes: authenticated connections that carry opaque requests and answers.
//!
//! Each node listens on one port. A connection starts with a hello ([`hello`]) that proves both ends know the
//! cluster's secret and says which plane it serves. A control connection then carries framed requests
//! ([`frame`]) from the side that dialled and answers from the other; a message-plane connection is handed
//! to the broker as it is.
//!
//! **Must never know:** Raft, the access machine, what a request means. **Why two control lanes per pair:** a
//! snapshot must never stand in front of a heartbeat.

mod accept;
mod frame;
mod hello;
mod link;
mod message_link;
mod transport;

pub(crate) use accept::{Acceptor, Service, serve};
pub(crate) use frame::MAX_BODY;
pub(crate) use hello::{Identity, Plane, Refusal};
pub(crate) use link::{AskError, Failing, Lane, Links, refusal};
pub use message_link::{LinkReader, LinkWriter, MessageLink};
pub(crate) use transport::{Listener, Stream, Tcp, Transport};

/// What every connection needs: how to connect, who we are, what proves it.
#[derive(Clone)]
pub(crate) struct LocalNode {
    /// Makes and takes connections.
    pub(crate) transport: std::sync::Arc<dyn Transport>,
    /// The cluster's secret.
    pub(crate) secret: crate::PeerSecret,
    /// This node's identity; the cluster's id may become known later.
    pub(crate) identity: std::sync::Arc<arc_swap::ArcSwap<Identity>>,
    /// Which versions are spoken.
    pub(crate) version: std::sync::Arc<crate::versions::NegotiatedVersion>,
}
