//! Wiring of the message plane: encodings, relays, enforcer, channels, peers, and what each worker thread gets.
//!
//! Every call into `core::delivery`, `peers`, `transport` and the dialects stands in this file and nowhere else
//! of `server`.
//!
//! **Must never know:** any rule.

use crate::core::authority::{Authority, NodeId};
use crate::core::broker::Broker;
use crate::core::channel::actor::Channels;
use crate::core::close::End;
use crate::core::delivery::encoding::Encodings;
use crate::core::delivery::enforcer;
use crate::core::delivery::relay::EndAll;
use crate::core::delivery::relays::Relays;
use crate::transport::Worker;
use actix_web::web;
use gatecast_cluster::Cluster;
use std::sync::Arc;

/// The message plane of this node. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    /// The handle for handlers.
    pub(super) broker: Broker,
    node: NodeId,
    // MERGE: `pusher: adapters::pusher::Encoding`.
}

impl Plane {
    /// Starts it. Runs on the main thread's system, before any door is open.
    #[must_use]
    pub(super) fn start(cluster: &Cluster, authority: Arc<Authority>) -> Self {
        let relays = Relays::default();
        // MERGE: `encodings.add(Encoding { encoder: adapters::pusher::encoder(), framing: transport::ws::framing })`.
        let encodings = Encodings::default();
        let channels = Channels::new(Arc::new(encodings), &[]);
        // MERGE: `let peers = peers::start(cluster.clone(), channels.clone(), local_connections)`; rehome below.
        enforce(cluster, relays.clone(), || {});
        let broker = Broker {
            authority,
            channels,
            relays,
        };
        Self {
            broker,
            node: cluster.node(),
        }
    }

    /// Adds one worker thread's app data and the dialects' paths. Called once per worker thread, on it.
    pub(super) fn configure(&self, service: &mut web::ServiceConfig) {
        service
            .app_data(web::Data::new(self.broker.clone()))
            .app_data(web::Data::new(Worker::start(&self.broker, self.node)));
        // MERGE: `.app_data(web::Data::new(self.pusher)).configure(adapters::pusher::routes)`.
    }

    /// Tells every connection that this node is going down, and waits until all of them have been told.
    pub(super) async fn drain(&self) {
        let relays = self.broker.relays.all();
        let told = relays.iter().map(|relay| relay.send(EndAll(End::Draining)));
        // A worker that is gone took its connections with it.
        let _ = futures_util::future::join_all(told).await;
    }
}

/// Carries out access effects on this node's connections, and says so when they are done.
fn enforce(cluster: &Cluster, relays: Relays, members_changed: impl Fn() + 'static) {
    let Some(effects) = cluster.take_effects() else {
        return;
    };
    let cluster = cluster.clone();
    let enforced = move |revision, closed| cluster.enforced(revision, closed);
    actix_web::rt::spawn(enforcer::run(effects, relays, enforced, members_changed));
}
