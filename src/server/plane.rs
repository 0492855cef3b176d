//! Wiring of the message plane: encodings, relays, enforcer, channels, peers, and what each worker thread gets.
//!
//! Every call into `core::delivery`, `peers`, `transport` and the dialects stands in this file and nowhere else
//! of `server`.
//!
//! **Must never know:** any rule.

use super::doors::{self, Doors};
use crate::adapters::pusher::webhooks::Webhooks;
use crate::adapters::{ably, pubnub, pusher, realtime};
use crate::core::authority::Authority;
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use crate::core::close::End;
use crate::core::delivery::encoding::{Encoding, Encodings};
use crate::core::delivery::enforcer;
use crate::core::delivery::messages::EndAll;
use crate::peers::{self, Peers};
use crate::transport::{Worker, stream::Streams, ws};
use actix_web::web;
use gatecast_cluster::Cluster;
use gatecast_cluster::access::NodeId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// The message plane of this node.
#[derive(Debug)]
pub(super) struct Plane {
    broker: Broker,
    workers: Workers,
    webhooks: Webhooks,
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
    prefix: pusher::Prefix,
    realtime: realtime::Encoding,
    filters: realtime::Filters,
    streams: Streams,
    site: realtime::Site,
    pubnub: web::Data<pubnub::PubNub>,
}

impl Plane {
    /// Starts it. Runs on the main thread's system, before any door is open. Channels live on the worker threads;
    /// one that a peer asks for before there are any lives here.
    #[must_use]
    pub(super) fn start(
        cluster: &Cluster,
        authority: &Arc<Authority>,
        prefix: Arc<str>,
        public_url: Option<Arc<str>>,
    ) -> Self {
        let mut encodings = Encodings::default();
        let pusher = pusher::Encoding::register(&mut encodings);
        let realtime = realtime::Encoding::register(&mut encodings);
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
        let (node, encodings) = (cluster.node(), Arc::new(encodings));
        let channels = Channels::of_node(node, encodings, authority.clone(), &[]);
        let webhooks = Webhooks::start(authority.clone(), node);
        channels.set_listener(Arc::new(webhooks.clone()));
        let broker = Broker::new(authority.clone(), channels.clone());
        let peers = peers::start(cluster.clone(), channels, Arc::new(broker.clone()));
        broker.connect_queries(peers.queries());
        enforce(cluster, &broker, peers);
        let workers = Workers {
            broker: broker.clone(),
            node,
            pusher,
            ably,
            ably_endings: ably::Endings::default(),
            prefix: pusher::Prefix(prefix),
            realtime,
            filters: realtime::Filters::default(),
            streams: Streams::default(),
            site: realtime::Site(public_url),
            pubnub: pubnub::PubNub::start(&broker),
        };
        Self {
            broker,
            workers,
            webhooks,
        }
    }

    /// The handle for handlers.
    #[must_use]
    pub(super) fn broker(&self) -> Broker {
        self.broker.clone()
    }

    /// Bounds what the histories of all channels weigh together, bytes.
    pub(super) fn bound_histories(&self, bytes: u64) {
        self.broker.channels.set_history_budget(bytes);
    }

    /// Shows the message plane's counters in this registry.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.webhooks.register(registry);
        registry.register_collector(Box::new(Histories(self.broker.channels.clone())));
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

    /// Delivers the webhooks that wait, for at most this long.
    pub(super) async fn finish(&self, within: Duration) {
        let lost = self.webhooks.finish(within).await;
        if lost > 0 {
            tracing::warn!(lost, "webhooks were not taken in time and are lost");
        }
    }
}

impl Workers {
    #[cfg(test)]
    pub(super) fn broker(&self) -> Broker {
        self.broker.clone()
    }

    /// Of a node without a cluster.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        let mut encodings = Encodings::default();
        let (pusher, realtime) = (
            pusher::Encoding::register(&mut encodings),
            realtime::Encoding::register(&mut encodings),
        );
        let mut add = |encoder| {
            encodings.add(Encoding {
                encoder,
                framing: ws::framing,
            })
        };
        let ably = ably::Encodings {
            json: add(ably::json_encoder()),
            msgpack: add(ably::msgpack_encoder()),
        };
        let authority = Authority::fixed(crate::core::authority::State::default(), 1);
        let channels = Channels::new(Arc::new(encodings), &[]);
        let broker = Broker::new(Arc::new(authority), channels);
        Self {
            node: NodeId(1),
            pusher,
            ably,
            ably_endings: ably::Endings::default(),
            prefix: pusher::Prefix::default(),
            realtime,
            filters: realtime::Filters::default(),
            streams: Streams::default(),
            site: realtime::Site(None),
            pubnub: pubnub::PubNub::start(&broker),
            broker,
        }
    }

    /// Whose the requests of the public port are.
    pub(super) fn doors(&self) -> Doors {
        Doors::new(self.prefix.0.clone())
    }

    /// Adds this thread's app data and the dialects' paths. Called once per worker thread, on it.
    pub(super) fn configure(&self, service: &mut web::ServiceConfig) {
        let worker = Worker::start(&self.broker, self.node);
        service
            .app_data(web::Data::new(worker))
            .app_data(web::Data::new(self.pusher))
            .app_data(web::Data::new(self.ably))
            .app_data(web::Data::new(self.ably_endings.clone()))
            .app_data(web::Data::new(self.prefix.clone()))
            .app_data(web::Data::new(self.realtime))
            .app_data(web::Data::new(self.filters.clone()))
            .app_data(web::Data::new(self.streams.clone()))
            .app_data(web::Data::new(self.site.clone()))
            .app_data(self.pubnub.clone())
            .service(doors::of(doors::PUSHER).configure(|at| pusher::routes(at, &self.prefix)))
            .service(doors::of(doors::ABLY).configure(ably::routes))
            .service(doors::of(doors::REALTIME).configure(realtime::routes))
            .service(doors::of(doors::PUBNUB).configure(pubnub::routes));
    }
}

/// Reads the histories' sum when it is asked for.
#[derive(Debug)]
struct Histories(Channels);

impl Collector for Histories {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bytes = i64::try_from(self.0.history_bytes()).unwrap_or(i64::MAX);
        let gauge = ConstGauge::new(bytes);
        let help = "What the histories of all channels on this node weigh";
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor("history_bytes", help, None, kind)?)
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
