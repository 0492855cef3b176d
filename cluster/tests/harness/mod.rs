//! Several nodes in one process, over real TCP on free ports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unreachable_pub
)]

use gatecast_cluster::access::{
    AppId, AppSpec, Command, GrantEntry, GrantMode, Issuer, NodeId, Operations, Pattern, Resource,
    Revision, Subject,
};
use gatecast_cluster::{Cluster, ClusterConfig, FirstStart, NodeChange, PeerSecret, RequestId};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Nodes by id; a stopped one keeps its directory and address.
pub struct Nodes {
    pub dir: tempfile::TempDir,
    pub addrs: BTreeMap<u64, SocketAddr>,
    pub up: BTreeMap<u64, Cluster>,
    pub tune: fn(&mut ClusterConfig),
}

/// A free address below the range that outgoing connections take their ports from: a node must be able to
/// come back to its address.
pub fn free_addr() -> SocketAddr {
    loop {
        let port = 10_000 + (request().0 % 20_000) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

impl Nodes {
    /// `count` nodes that would form a cluster, none started.
    pub fn reserve(count: u64, tune: fn(&mut ClusterConfig)) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            addrs: (1..=count).map(|node| (node, free_addr())).collect(),
            up: BTreeMap::new(),
            tune,
        }
    }

    /// `count` nodes that form a cluster, all ready.
    pub async fn form(count: u64, tune: fn(&mut ClusterConfig)) -> Self {
        let mut nodes = Self::reserve(count, tune);
        for node in 1..=count {
            nodes.start(node);
        }
        nodes.ready().await;
        nodes.up[&1].propose(request(), app()).await.unwrap();
        nodes
    }

    pub fn config(&self, node: u64) -> ClusterConfig {
        let list = self
            .addrs
            .iter()
            .map(|(node, addr)| (NodeId(*node), addr.to_string().into()));
        let mut config = ClusterConfig::new(
            NodeId(node),
            self.dir.path().join(node.to_string()),
            self.addrs[&node],
            PeerSecret("test secret".into()),
            FirstStart::Form(list.collect()),
        );
        (self.tune)(&mut config);
        config
    }

    pub fn start(&mut self, node: u64) {
        let config = self.config(node);
        self.up.insert(node, Cluster::start(config).unwrap());
    }

    pub async fn join(&mut self, node: u64, through: &[u64]) {
        self.addrs.insert(node, free_addr());
        let mut config = self.config(node);
        let peers = through
            .iter()
            .map(|node| self.addrs[node].to_string().into());
        config.first_start = FirstStart::Join(peers.collect());
        self.up.insert(node, Cluster::start(config).unwrap());
        within(20, self.up[&node].ready()).await;
    }

    /// [`Self::join`], and the operator makes it a voter.
    pub async fn join_voting(&mut self, node: u64, through: &[u64]) {
        self.join(node, through).await;
        let change = NodeChange::Promote { node: NodeId(node) };
        let asked = self.up[&through[0]].change_nodes(change, false);
        within(20, asked).await.unwrap();
    }

    /// Those who vote, as `node` sees it.
    pub fn voters(&self, node: u64) -> Vec<u64> {
        let status = self.up[&node].status();
        let voters = status.nodes.iter().filter(|one| one.voter);
        voters.map(|one| one.node.0).collect()
    }

    pub async fn stop(&mut self, node: u64) {
        let cluster = self.up.remove(&node).unwrap();
        within(10, cluster.shutdown()).await;
    }

    pub async fn ready(&self) {
        for cluster in self.up.values() {
            within(20, cluster.ready()).await;
        }
    }

    pub async fn leader(&self) -> u64 {
        eventually("a leader among those that are up", || {
            let leader = self.up.values().next()?.status().leader?.0;
            let agreed = self
                .up
                .values()
                .all(|c| c.status().leader == Some(NodeId(leader)));
            (agreed && self.up.contains_key(&leader)).then_some(leader)
        })
        .await
    }

    /// Waits until all have the same state at the same revision.
    pub async fn agree(&self) {
        let mut at = 0;
        for cluster in self.up.values() {
            at = at.max(cluster.catch_up().await.expect("quorum"));
        }
        eventually("equal states", || {
            let all = self
                .up
                .values()
                .map(|c| (c.view().revision, c.fingerprint()));
            let all: Vec<_> = all.collect();
            all.iter()
                .all(|one| *one == all[0] && one.0 > 0)
                .then_some(())
        })
        .await;
    }

    pub async fn shutdown(mut self) {
        for (_, cluster) in std::mem::take(&mut self.up) {
            cluster.shutdown().await;
        }
    }
}

pub async fn within<T>(seconds: u64, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), work)
        .await
        .unwrap_or_else(|_| panic!("not within {seconds} s"))
}

pub async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The app that grants belong to.
pub fn app() -> Command {
    Command::CreateApp(AppSpec {
        id: AppId(1),
        name: "test".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: BTreeMap::new(),
        aliases: Vec::new(),
        keys: Vec::new(),
    })
}

/// A grant on one channel for one user.
pub fn grant(user: &str, channel: &str) -> Command {
    Command::SetGrants {
        app: AppId(1),
        issuer: Issuer::Operator,
        subject: Subject::User(user.into()),
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::Exact(channel.into()),
            operations: Operations::SUBSCRIBE,
            ttl_ms: None,
        }],
    }
}

pub fn request() -> RequestId {
    use std::hash::{BuildHasher, Hasher};
    let random = || std::hash::RandomState::new().build_hasher().finish();
    RequestId(u128::from(random()) << 64 | u128::from(random()))
}

/// Revision of a committed grant.
pub async fn write(cluster: &Cluster, user: &str) -> Revision {
    cluster
        .propose(request(), grant(user, "room"))
        .await
        .expect("committed")
        .revision
}

pub fn has(cluster: &Cluster, user: &str) -> bool {
    let subject = Subject::User(user.into());
    cluster
        .view()
        .grants
        .keys()
        .any(|key| key.subject == subject)
}
