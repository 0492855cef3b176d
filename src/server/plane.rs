//! Wiring of the message plane: encodings, relays, enforcer, channels, peers, and what each worker thread gets.
//!
//! Every call into `core::delivery`, `peers`, `transport` and the dialects stands in this file and nowhere else
//! of `server`.
//!
//! **Must never know:** any rule.

use crate::core::authority::Authority;
use crate::core::broker::Broker;
use crate::core::channel::actor::Channels;
use crate::core::delivery::encoding::Encodings;
use actix_web::web;
use gatecast_cluster::Cluster;
use std::sync::Arc;

/// The message plane of this node.
#[derive(Debug)]
pub(super) struct Plane {
    channels: Channels,
    workers: Workers,
}

/// What the factory of the public server takes to its threads. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    // MERGE: `Relays`, `Arc<Authority>`, the node, and one `EncodingId` per dialect.
}

impl Plane {
    /// Starts it. Runs on the main thread's system, before any door is open.
    #[must_use]
    pub(super) fn start(cluster: &Cluster, _authority: &Arc<Authority>) -> Self {
        // MERGE: `encodings.add(Encoding { encoder: adapters::pusher::encoder(), framing: transport::ws::framing })`.
        let encodings = Encodings::default();
        let channels = Channels::new(Arc::new(encodings), &[]);
        // MERGE: `peers::start(cluster, channels)`.
        enforce(cluster);
        Self {
            channels,
            workers: Workers {},
        }
    }

    /// The handle for handlers.
    #[must_use]
    pub(super) fn broker(&self, authority: &Arc<Authority>) -> Broker {
        Broker {
            authority: authority.clone(),
            channels: self.channels.clone(),
        }
    }

    /// What worker threads need.
    #[must_use]
    pub(super) fn workers(&self) -> Workers {
        self.workers.clone()
    }

    /// Tells every connection that this node is going down, and waits until they have been told.
    pub(super) async fn drain(&self) {
        // MERGE: `EndAll(End::Draining)` to every relay, joined.
        tokio::task::yield_now().await;
    }
}

impl Workers {
    /// Adds this thread's app data and the dialects' paths. Called once per worker thread, on it.
    pub(super) fn configure(&self, _service: &mut web::ServiceConfig) {
        // MERGE: `app_data(transport::Worker)`, `app_data(pusher::Encoding)`, `adapters::pusher::routes`.
    }
}

/// Carries out access effects and says when they are done.
fn enforce(cluster: &Cluster) {
    let Some(mut effects) = cluster.take_effects() else {
        return;
    };
    let cluster = cluster.clone();
    // MERGE: `enforcer::run(effects, relays, |revision, closed| cluster.enforced(revision, closed), rehome)`.
    actix_web::rt::spawn(async move {
        while let Some(batch) = effects.recv().await {
            cluster.enforced(batch.revision, 0);
        }
    });
}
