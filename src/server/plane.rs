//! Wiring of the message plane: encodings, relays, enforcer, channels, peers, and what each worker thread gets.
//!
//! Every call into `core::delivery`, `peers`, `transport` and the dialects stands in this file and nowhere else
//! of `server`.
//!
//! **Must never know:** any rule, and any dialect by name: it starts those that it is handed.

use super::paths::{self, Owner, Paths};
use crate::adapters::dialect::{Dialect, Dialects, Node, Running, Start};
use crate::core::authority::Authority;
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use crate::core::close::End;
use crate::core::delivery::encoding::Encodings;
use crate::core::delivery::enforcer;
use crate::core::delivery::messages::EndAll;
use crate::outbound::key_fetcher::KeyFetcher;
use crate::outbound::poller::Poller;
use crate::peers::{self, Peers};
use crate::transport::{Worker, stream::Streams};
use actix_web::web;
use gatecast_cluster::Cluster;
use gatecast_cluster::access::NodeId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// How often what was refused since the last line of the log is looked at.
const REFUSALS_LOGGED: Duration = Duration::from_secs(10);

/// The message plane of this node.
#[derive(Debug)]
pub(super) struct Plane {
    broker: Broker,
    key_fetcher: KeyFetcher,
    poller: Poller,
    workers: Workers,
    peers: Peers,
}

/// How clients reach this node, as far as dialects have to know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Site {
    /// Below which path some dialects' paths stand as well; empty = none.
    pub(super) path_prefix: Arc<str>,
    /// Base URL, if the operator has said so.
    pub(super) public_url: Option<Arc<str>>,
}

/// What the factory of the public server takes to its threads. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    broker: Broker,
    node: NodeId,
    streams: Streams,
    paths: Paths,
    running: Vec<(&'static dyn Dialect, Arc<dyn Running>)>,
}

/// Dialects whose encodings are registered, and that wait for the broker.
struct Prepared(Vec<(&'static dyn Dialect, Start)>);

impl Prepared {
    fn of(dialects: Dialects, encodings: &mut Encodings) -> Self {
        let prepared = dialects.iter().map(|one| (*one, one.prepare(encodings)));
        Self(prepared.collect())
    }

    fn start(self, broker: &Broker, dialects: Dialects, site: &Site) -> Workers {
        let node = Node {
            broker,
            path_prefix: &site.path_prefix,
            public_url: site.public_url.as_ref(),
        };
        let running = self.0.into_iter();
        let running: Vec<_> = running
            .map(|(dialect, start)| (dialect, start(&node)))
            .collect();
        for listener in running.iter().filter_map(|(_, one)| one.listener()) {
            broker.channels.set_listener(listener);
        }
        Workers {
            broker: broker.clone(),
            node: broker.channels.node(),
            streams: Streams::default(),
            paths: Paths::new(dialects, site.path_prefix.clone()),
            running,
        }
    }
}

impl Plane {
    /// Starts it. Runs on the main thread's system, before any client is let in. Channels live on the worker threads;
    /// one that a peer asks for before there are any lives here.
    #[must_use]
    pub(super) fn start(
        cluster: &Cluster,
        authority: &Arc<Authority>,
        dialects: Dialects,
        site: &Site,
    ) -> Self {
        let mut encodings = Encodings::default();
        let prepared = Prepared::of(dialects, &mut encodings);
        let (node, encodings) = (cluster.node(), Arc::new(encodings));
        let channels = Channels::of_node(node, encodings, authority.clone(), &[]);
        let broker = Broker::new(authority.clone(), channels.clone());
        let workers = prepared.start(&broker, dialects, site);
        let peers = peers::start(cluster.clone(), channels, Arc::new(broker.clone()));
        broker.connect_queries(peers.queries());
        enforce(cluster, &broker, peers.clone());
        log_refusals(broker.clone());
        let key_fetcher = KeyFetcher::new(authority.clone());
        key_fetcher.start();
        let poller = Poller::new(authority.clone());
        poller.start();
        Self {
            broker,
            key_fetcher,
            poller,
            workers,
            peers,
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
        for (_, running) in &self.workers.running {
            running.register(registry);
        }
        self.key_fetcher.register(registry);
        self.poller.register(registry);
        let channels = &self.broker.channels;
        registry.register_collector(Box::new(Histories(channels.clone())));
        registry.register_collector(Box::new(Unreplicated(channels.clone())));
        registry.register_collector(Box::new(Links(self.peers.clone())));
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

    /// Lets every dialect bring away what waits, for at most this long.
    pub(super) async fn finish(&self, within: Duration) {
        let running = self.workers.running.iter();
        futures_util::future::join_all(running.map(|(_, one)| one.finish(within))).await;
    }
}

impl Workers {
    #[cfg(test)]
    pub(super) fn broker(&self) -> Broker {
        self.broker.clone()
    }

    /// Of a node without a cluster, over this state.
    #[cfg(test)]
    pub(super) fn alone(dialects: Dialects, state: crate::core::authority::State) -> Self {
        // As the program does at its start; whichever test comes first.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let mut encodings = Encodings::default();
        let prepared = Prepared::of(dialects, &mut encodings);
        let authority = Authority::fixed(state, 1);
        let channels = Channels::new(Arc::new(encodings), &[]);
        let broker = Broker::new(Arc::new(authority), channels);
        prepared.start(&broker, dialects, &Site::default())
    }

    /// Whose the requests of the public port are.
    pub(super) fn paths(&self) -> Paths {
        self.paths.clone()
    }

    /// Adds this thread's app data and the dialects' paths. Called once per worker thread, on it.
    pub(super) fn configure(&self, service: &mut web::ServiceConfig) {
        let worker = Worker::start(&self.broker, self.node);
        service
            .app_data(web::Data::new(worker))
            .app_data(web::Data::new(self.streams.clone()));
        for (dialect, running) in &self.running {
            let scope = paths::of(Owner::Dialect(*dialect));
            service.service(scope.configure(|at| running.configure(at)));
        }
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

/// Counts the links to other nodes when it is asked for.
#[derive(Debug)]
struct Links(Peers);

impl Collector for Links {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let links = i64::try_from(self.0.linked().len()).unwrap_or(i64::MAX);
        let gauge = ConstGauge::new(links);
        let help = "Nodes that this one has a link to for messages";
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor("peer_links", help, None, kind)?)
    }
}

/// Logs, now and then, how many were refused since the last line.
fn log_refusals(broker: Broker) {
    actix_web::rt::spawn(async move {
        loop {
            actix_web::rt::time::sleep(REFUSALS_LOGGED).await;
            broker.log_refusals();
        }
    });
}

/// Counts the channels without a second copy when it is asked for.
#[derive(Debug)]
struct Unreplicated(Channels);

impl Collector for Unreplicated {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let channels = i64::try_from(self.0.uncopied()).unwrap_or(i64::MAX);
        let gauge = ConstGauge::new(channels);
        let help = "Channels whose home this node is, and whose backup has no copy yet";
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor("channels_unreplicated", help, None, kind)?)
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
