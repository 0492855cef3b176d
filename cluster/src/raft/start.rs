//! Putting one node together: store, replay, listener, engine, and the tasks around it.
//!
//! The order matters: the store is judged before anybody hears of us, and peers are answered before the engine needs
//! them.

use super::applier::{Applied, Applier};
use super::core::{Core, LastContact};
use super::engine;
use super::fence::QuorumContacts;
use super::folder::Known;
use super::lease::{self, Lease};
use super::liveness;
use super::log::LogStore;
use super::membership;
use super::network::Network;
use super::node_health::{self, NodeHealth};
use super::pre_vote::{self, PreVote};
use super::propose::{self, Proposer};
use super::reach::{self, JoinAttempts};
use super::read::{self, Reader};
use super::service::Answering;
use super::tick_aligner::TickAligner;
use super::view::View;
use crate::net::MessageLink;
use crate::net::{
    self, Acceptor, Identity, Links, Listener, LocalNode, Service as _, Tcp, Transport,
};
use crate::store::{DiskSpace, Store, StoreError};
use crate::task;
use crate::versions::NegotiatedVersion;
use crate::{ClusterConfig, StartError, Versions, codec};
use arc_swap::ArcSwap;
use openraft::Raft;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

const VERSION: u8 = 1;
const MAX_IDENTITY: u64 = 256;
/// Message links that wait for the broker.
const MESSAGE_LINKS: usize = 64;

/// A started node.
pub(crate) struct Started {
    pub(crate) core: Arc<Core>,
    pub(crate) messages: mpsc::Receiver<MessageLink>,
}

/// Starts a node on the current runtime, the real network and its own data directory.
pub(crate) async fn start(config: ClusterConfig) -> Result<(Started, JoinHandle<()>), StartError> {
    check(&config)?;
    let (store, sync_thread) = Store::open(&config.data_dir).map_err(refuse)?;
    let opened = open(&config, store)?;
    let listener = listen(config.peer_listen).await?;
    let started = assemble(config, opened, Arc::new(Tcp), listener).await?;
    Ok((started, sync_thread))
}

/// Starts a node on the current runtime over any store and network.
#[cfg(test)]
pub(crate) async fn start_over(
    config: ClusterConfig,
    store: Store,
    transport: Arc<dyn Transport>,
    listener: impl Listener,
) -> Result<Started, StartError> {
    check(&config)?;
    let opened = open(&config, store)?;
    assemble(config, opened, transport, listener).await
}

async fn assemble(
    config: ClusterConfig,
    opened: Opened,
    transport: Arc<dyn Transport>,
    listener: impl Listener,
) -> Result<Started, StartError> {
    let Opened {
        store,
        identity,
        view,
        applied,
        applier,
        log,
        version,
    } = opened;
    let local = LocalNode {
        transport,
        secret: config.secret.clone(),
        identity: Arc::new(ArcSwap::from_pointee(identity)),
        version: Arc::clone(&version),
    };
    let service = Arc::new(Answering {
        applied: Arc::clone(&applied),
        version: Arc::clone(&version),
        core: OnceLock::new(),
    });
    let judge = Arc::clone(&service);
    let links = Links::new(local.clone(), move |peer| judge.admit(peer));
    let last_contact = Arc::new(LastContact::default());
    let network = Network {
        links: Arc::clone(&links),
        last_contact: Arc::clone(&last_contact),
        version: Arc::clone(&version),
    };
    let raft_config =
        engine::config(&config).map_err(|error| StartError::Config(error.to_string()))?;
    let raft = Raft::new(config.node.0, raft_config, network, log, applier)
        .await
        .map_err(|error| StartError::Store(format!("the stored log cannot be used: {error}")))?;

    let (proposer, proposals) = Proposer::new(config.propose_timeout);
    let (reader, questions) = Reader::new();
    let core = Arc::new(Core {
        me: identity.node,
        disk: identity.disk,
        raft,
        view,
        applied,
        links,
        version,
        last_contact,
        lease: Arc::new(Lease::new(config.lease)),
        pre_vote: PreVote::default(),
        ticks: TickAligner::new(),
        contacts: QuorumContacts::new(),
        proposer,
        reader,
        health: NodeHealth::new(store.space()),
        join_attempts: JoinAttempts::default(),
        stopping: AtomicBool::new(false),
        failure: watch::Sender::new(None),
        changing: tokio::sync::Mutex::default(),
        config,
    });
    let _ = service.core.set(Arc::clone(&core));
    let messages = accept(local.clone(), service, listener);
    spawn_tasks(&core, proposals, questions);
    task::spawn(watch_engine(Arc::clone(&core), store, local));
    Ok(Started { core, messages })
}

/// Answers peers from here on; returns where their message links come out.
fn accept(
    local: LocalNode,
    service: Arc<Answering>,
    listener: impl Listener,
) -> mpsc::Receiver<MessageLink> {
    let (message_links, messages) = mpsc::channel(MESSAGE_LINKS);
    let acceptor = Acceptor {
        local,
        service,
        messages: message_links,
    };
    task::spawn(net::serve(listener, acceptor));
    messages
}

async fn listen(addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| StartError::Listen { addr, error })
}

/// A store that has been judged, and what was read from it.
struct Opened {
    store: Arc<Store>,
    identity: Identity,
    view: Arc<View>,
    applied: Arc<Applied>,
    applier: Applier,
    log: LogStore,
    /// What was agreed on when the node stopped.
    version: Arc<NegotiatedVersion>,
}

fn refuse(error: StoreError) -> StartError {
    StartError::Store(error.to_string())
}

fn open(config: &ClusterConfig, mut store: Store) -> Result<Opened, StartError> {
    store.keep_free(&config.data_dir, config.disk_reserve);
    let store = Arc::new(store);
    let identity = identity(&store, config.node.0, config.speaks).map_err(refuse)?;
    let view = Arc::new(View::new());
    let applied = Arc::new(Applied::default());
    let applier = Applier::open(
        Arc::clone(&store),
        Arc::clone(&view),
        Arc::clone(&applied),
        config.snapshot_after,
    )
    .map_err(refuse)?;
    let known = Known::read(&store, &applier).map_err(refuse)?;
    if let Some(why) = known.objection(config.node, &config.first_start) {
        return Err(StartError::Store(why));
    }
    let agreed = view.state().version.max(agreed(&store).map_err(refuse)?);
    if let Some(why) = config.speaks.refuses(agreed) {
        return Err(StartError::Store(why.into()));
    }
    let version = Arc::new(NegotiatedVersion::new(config.speaks));
    version.agree(agreed);
    let log = LogStore::new(Arc::clone(&store));
    log.check(applier.last_index()).map_err(refuse)?;
    Ok(Opened {
        store,
        identity,
        view,
        applied,
        applier,
        log,
        version,
    })
}

/// What goes on for as long as the node runs.
fn spawn_tasks(core: &Arc<Core>, proposals: propose::Queues, questions: read::Questions) {
    task::spawn(propose::run(Arc::clone(core), proposals));
    task::spawn(read::run(Arc::clone(core), questions));
    task::spawn(membership::begin(Arc::clone(core)));
    task::spawn(membership::follow(Arc::clone(core)));
    task::spawn(pre_vote::run(Arc::clone(core)));
    task::spawn(lease::run(Arc::clone(core)));
    task::spawn(liveness::announce(Arc::clone(core)));
    task::spawn(liveness::watch(Arc::clone(core)));
    task::spawn(reach::watch(Arc::clone(core)));
    task::spawn(node_health::run(Arc::clone(core)));
    task::spawn(node_health::leadership_transfer(Arc::clone(core)));
    task::spawn(snapshots(Arc::clone(core)));
}

fn check(config: &ClusterConfig) -> Result<(), StartError> {
    let wrong = |text: &str| Err(StartError::Config(text.to_owned()));
    if !config.peer_listen.ip().is_loopback() && !config.allow_plaintext_peers {
        return wrong(
            "peer links are not encrypted yet: listen on a loopback address, or allow plaintext peers explicitly on a private network",
        );
    }
    if config.secret.0.is_empty() {
        return wrong("the cluster needs a secret");
    }
    if config.lease <= config.election.1 * 2 {
        return wrong(
            "the lease must be longer than two election time-outs, or a lost leader would close the whole cluster",
        );
    }
    if let crate::FirstStart::Form(list) = &config.first_start
        && !list.iter().any(|(node, _)| *node == config.node)
    {
        return wrong("the list of nodes that form the cluster does not contain this node");
    }
    if config.node.0 == 0 {
        return wrong("node ids begin at 1");
    }
    Ok(())
}

/// Who this disk says we are; written at the first start.
pub(super) fn identity(store: &Store, node: u64, speaks: Versions) -> Result<Identity, StoreError> {
    let wrong = |error: codec::CodecError| StoreError::Damaged(format!("identity: {error}"));
    let cluster = match store.meta("cluster")? {
        Some(body) => codec::decode(VERSION, &body, MAX_IDENTITY).map_err(wrong)?,
        None => 0,
    };
    if let Some(body) = store.meta("node")? {
        let (stored, disk): (u64, u128) =
            codec::decode(VERSION, &body, MAX_IDENTITY).map_err(wrong)?;
        if stored != node {
            return Err(StoreError::Foreign(format!(
                "the data directory belongs to node {stored}, not to node {node}"
            )));
        }
        return Ok(Identity {
            node,
            disk,
            cluster,
            speaks,
        });
    }
    if store.last()?.is_some() || store.read_snapshot()?.is_some() {
        return Err(StoreError::Damaged("the node's identity is missing".into()));
    }
    let disk: u128 = rand::random();
    let body = codec::encode(VERSION, &(node, disk), MAX_IDENTITY).map_err(wrong)?;
    store.put_meta("node", &body)?;
    store
        .sync_now()
        .map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok(Identity {
        node,
        disk,
        cluster,
        speaks,
    })
}

/// The node whose disk it is, if one has ever started on it.
pub(super) fn stored_node(store: &Store) -> Result<Option<u64>, StoreError> {
    let wrong = |error: codec::CodecError| StoreError::Damaged(format!("identity: {error}"));
    let body = store.meta("node")?;
    let stored = body.map(|body| codec::decode::<(u64, u128)>(VERSION, &body, MAX_IDENTITY));
    Ok(stored.transpose().map_err(wrong)?.map(|(node, _)| node))
}

/// Remembers the cluster's id.
pub(super) fn keep_cluster(store: &Store, cluster: u128) -> Result<(), StoreError> {
    let wrong = |error: codec::CodecError| StoreError::Damaged(format!("identity: {error}"));
    let body = codec::encode(VERSION, &cluster, MAX_IDENTITY).map_err(wrong)?;
    store.put_meta("cluster", &body)
}

/// The version that was agreed on, as this disk remembers it. The log knows too, but not before a majority has met,
/// and until then mixed builds could not talk.
fn agreed(store: &Store) -> Result<u16, StoreError> {
    let wrong = |error: codec::CodecError| StoreError::Damaged(format!("version: {error}"));
    let body = store.meta("version")?;
    body.map_or(Ok(0), |body| {
        codec::decode(VERSION, &body, MAX_IDENTITY).map_err(wrong)
    })
}

/// Writes snapshots when the applier says so.
async fn snapshots(core: Arc<Core>) {
    loop {
        core.applied.snapshot_due.notified().await;
        if core.health.room() == DiskSpace::Full {
            continue;
        }
        if let Err(error) = core.raft.trigger().snapshot().await {
            tracing::debug!(%error, "no snapshot was triggered");
        }
    }
}

/// Remembers the cluster's id and version once they are known, says who leads, and notices when the engine stops.
async fn watch_engine(core: Arc<Core>, store: Arc<Store>, local: LocalNode) {
    let store = Arc::downgrade(&store);
    let mut metrics = core.raft.metrics();
    let (mut kept, mut led) = (0, None);
    loop {
        core.version.agree(core.view.state().version);
        let agreed = core.version.agreed();
        if agreed != kept {
            let body = codec::encode(VERSION, &agreed, MAX_IDENTITY).unwrap_or_default();
            let written = store
                .upgrade()
                .map(|store| store.put_meta("version", &body));
            tracing::debug!(agreed, ?written, "the cluster's version is kept");
            kept = agreed;
        }
        let cluster = core.register().cluster;
        let known = local.identity.load().cluster;
        if known != 0 && cluster != 0 && known != cluster {
            core.fail("the log belongs to another cluster than the data directory".into());
        }
        if known == 0 && cluster != 0 {
            let kept = store.upgrade().map(|store| keep_cluster(&store, cluster));
            tracing::info!(
                cluster = format!("{cluster:032x}"),
                "the cluster has its id"
            );
            if let Some(Err(error)) = kept {
                core.fail(format!("the cluster's id cannot be kept: {error}"));
            }
            local.identity.store(Arc::new(Identity {
                cluster,
                ..**local.identity.load()
            }));
        }
        let (leader, term, running) = {
            let now = metrics.borrow_and_update();
            (
                now.current_leader,
                now.current_term,
                now.running_state.clone(),
            )
        };
        if let Some(leader) = leader
            && led.replace((leader, term)) != Some((leader, term))
        {
            tracing::info!(leader, term, "a node leads the cluster");
        }
        if let Err(error) = running {
            core.fail(format!("the consensus engine has stopped: {error}"));
            return;
        }
        if metrics.changed().await.is_err() {
            core.fail("the consensus engine has stopped".into());
            return;
        }
    }
}
