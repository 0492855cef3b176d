//! Wiring of the message plane: encodings, relays, enforcer, channels, peers, and what each worker thread gets.
//!
//! Every call into `core::delivery`, `peers`, `transport` and the dialects stands in this file and nowhere else
//! of `server`.
//!
//! **Must never know:** any rule.

use crate::adapters::{ably, pusher};
use crate::core::authority::Authority;
use crate::core::broker::Broker;
use crate::core::channel::actor::Channels;
use crate::core::close::End;
use crate::core::delivery::encoding::{Encoding, Encodings};
use crate::core::delivery::enforcer;
use crate::core::delivery::relay::EndAll;
use crate::peers::{self, Peers};
use crate::transport::{Worker, ws};
use actix::Arbiter;
use actix_web::web;
use gatecast_cluster::Cluster;
use gatecast_cluster::access::NodeId;
use std::sync::Arc;

/// The message plane of this node.
#[derive(Debug)]
pub(super) struct Plane {
    broker: Broker,
    workers: Workers,
    /// The threads that channels live on.
    _arbiters: Vec<Arbiter>,
}

/// What the factory of the public server takes to its threads. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    broker: Broker,
    node: NodeId,
    pusher: pusher::Encoding,
    ably: ably::Encodings,
    /// Of all threads: a connection may come back to another.
    ably_endings: ably::Endings,
}

impl Plane {
    /// Starts it, with channels on so many threads. Runs on the main thread's system, before any door is open.
    #[must_use]
    pub(super) fn start(cluster: &Cluster, authority: &Arc<Authority>, threads: usize) -> Self {
        let mut encodings = Encodings::default();
        let pusher = pusher::Encoding(encodings.add(Encoding {
            encoder: pusher::encoder(),
            framing: ws::framing,
        }));
        let ably = ably::Encodings {
            json: encodings.add(Encoding {
                encoder: ably::json_encoder(),
                framing: ws::framing,
            }),
            msgpack: encodings.add(Encoding {
                encoder: ably::msgpack_encoder(),
                framing: ws::framing,
            }),
        };
        let arbiters: Vec<Arbiter> = (0..threads).map(|_| Arbiter::new()).collect();
        let handles: Vec<_> = arbiters.iter().map(Arbiter::handle).collect();
        let (node, encodings) = (cluster.node(), Arc::new(encodings));
        let channels = Channels::of_node(node, encodings, authority.clone(), &handles);
        let broker = Broker::new(authority.clone(), channels.clone());
        let listing = broker.clone();
        let local: peers::query::LocalConnections = Arc::new(move |filter| {
            let broker = listing.clone();
            Box::pin(async move { broker.connections_here(filter).await })
        });
        enforce(
            cluster,
            &broker,
            peers::start(cluster.clone(), channels, local),
        );
        let workers = Workers {
            broker: broker.clone(),
            node,
            pusher,
            ably,
            ably_endings: ably::Endings::default(),
        };
        Self {
            broker,
            workers,
            _arbiters: arbiters,
        }
    }

    /// The handle for handlers.
    #[must_use]
    pub(super) fn broker(&self) -> Broker {
        self.broker.clone()
    }

    /// What worker threads need.
    #[must_use]
    pub(super) fn workers(&self) -> Workers {
        self.workers.clone()
    }

    /// Tells every connection that this node is going down, and waits until they have been told.
    pub(super) async fn drain(&self) {
        let told = self.broker.relays.all();
        let told = told.iter().map(|relay| relay.send(EndAll(End::Draining)));
        // A worker that is gone has nobody left to tell.
        futures_util::future::join_all(told).await;
    }
}

impl Workers {
    /// Adds this thread's app data and the dialects' paths. Called once per worker thread, on it.
    pub(super) fn configure(&self, service: &mut web::ServiceConfig) {
        let worker = Worker::start(&self.broker, self.node);
        service
            .app_data(web::Data::new(worker))
            .app_data(web::Data::new(self.pusher))
            .app_data(web::Data::new(self.ably))
            .app_data(web::Data::new(self.ably_endings.clone()))
            .configure(pusher::routes)
            .configure(ably::routes);
    }
}

/// Carries out access effects and says when they are done.
fn enforce(cluster: &Cluster, broker: &Broker, peers: Peers) {
    let Some(effects) = cluster.take_effects() else {
        return;
    };
    let authority = broker.authority.clone();
    actix_web::rt::spawn(enforcer::run(
        effects,
        broker.relays.clone(),
        move |revision, closed| authority.enforced(revision, closed),
        move || peers.members_changed(),
    ));
}
