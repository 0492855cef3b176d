//! The simulated world: nodes with their disks, the network, and what may happen to them.

use super::chance;
use super::disk::Disk;
use super::life::Life;
use super::wire::Wire;
use crate::access::{AppId, Decision, Operations, Question, decide};
use crate::access::{Effect, Issued, NodeId, Principal, Resource, Revision, Voucher};
use crate::store::Store;
use crate::{Cluster, ClusterConfig, FirstStart, Freshness, PeerSecret};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const APP: AppId = AppId(1);
pub(crate) const CHANNEL: &str = "room";

/// Subscriptions that stand on a node: user and what was proved when.
pub(crate) type Held = Arc<Mutex<BTreeMap<usize, Principal>>>;

/// A running node.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) life: Arc<Life>,
    pub(crate) cluster: Cluster,
    pub(crate) held: Held,
}

/// See the module's text.
pub(crate) struct World {
    pub(crate) began: Instant,
    pub(crate) wire: Wire,
    /// Voters have the numbers 1 to `size`.
    pub(crate) size: u64,
    /// Those that only follow have the next ones.
    pub(crate) learners: u64,
    disks: BTreeMap<u64, Disk>,
    running: Mutex<BTreeMap<u64, Running>>,
    log: Mutex<Vec<String>>,
}

/// The principal of a user who connects now to a node whose view stands at `seen`.
pub(crate) fn principal(user: usize, seen: Revision) -> Principal {
    Principal {
        user: Some(name(user)),
        vouched_by: Some(Voucher::Held("key".into())),
        issued: Issued::Seen(seen),
        ..Principal::anonymous(APP, None, seen)
    }
}

pub(crate) fn name(user: usize) -> crate::access::Text {
    format!("user{user}").into()
}

/// What the access machine says on this node's view now.
pub(crate) fn allows(cluster: &Cluster, principal: &Principal) -> bool {
    let question = Question {
        principal,
        proof: None,
        speaks_for: None,
        resource: Resource::Channel,
        name: CHANNEL,
        operations: Operations::SUBSCRIBE,
        now_ms: cluster.now_ms(),
    };
    matches!(decide(&cluster.view(), &question), Decision::Allow(_))
}

pub(crate) fn serving(cluster: &Cluster) -> bool {
    matches!(cluster.freshness(), Freshness::Fresh(_))
}

impl World {
    pub(crate) fn new(size: u64, learners: u64) -> Self {
        Self {
            began: Instant::now(),
            wire: Wire::default(),
            size,
            learners,
            disks: (1..=size + learners)
                .map(|node| (node, Disk::default()))
                .collect(),
            running: Mutex::default(),
            log: Mutex::default(),
        }
    }

    /// Notes what happened, for people.
    pub(crate) fn note(&self, what: String) {
        let at = self.began.elapsed().as_millis();
        self.log.lock().unwrap().push(format!("{at:>6} ms  {what}"));
    }

    pub(crate) fn story(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub(crate) fn node(&self, node: u64) -> Option<Running> {
        self.running.lock().unwrap().get(&node).cloned()
    }

    pub(crate) fn all(&self) -> Vec<(u64, Running)> {
        let running = self.running.lock().unwrap();
        running.iter().map(|(n, r)| (*n, r.clone())).collect()
    }

    pub(crate) fn disk(&self, node: u64) -> &Disk {
        &self.disks[&node]
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let all = self.all();
        let found = all.iter().filter_map(|(_, r)| r.cluster.status().leader);
        found.map(|node| node.0).max()
    }

    /// How many nodes there are.
    pub(crate) fn count(&self) -> u64 {
        self.size + self.learners
    }

    /// Starts a node on its disk.
    pub(crate) async fn start(&self, node: u64) {
        let life = Life::new(self.began);
        let addr = |node: u64| format!("node{node}");
        let list = (1..=self.size).map(|n| (NodeId(n), addr(n).into()));
        let start = match node <= self.size {
            true => FirstStart::Form(list.collect()),
            false => FirstStart::Join((1..=self.size).map(|n| addr(n).into()).collect()),
        };
        let mut config = ClusterConfig::new(
            NodeId(node),
            PathBuf::new(),
            ([127, 0, 0, 1], 1).into(),
            PeerSecret("simulated".into()),
            start,
        );
        config.peer_addr = addr(node).into();
        config.snapshot_after = 30;
        config.keep_entries = 16;
        // There is no file system to ask about room.
        config.disk_reserve = 0;
        let store = Store::over(self.disk(node));
        let store = store.unwrap_or_else(|error| panic!("node {node} does not open: {error}"));
        let listener = self.wire.listen(&addr(node), node, &life);
        let dialler = self.wire.from(node);
        let held = Held::default();
        let keep = Arc::clone(&held);
        let started = life.spawn(async move {
            let started = crate::raft::start_over(config, store, dialler, listener).await;
            let cluster = Cluster::over(started.unwrap_or_else(|error| panic!("{error}")));
            super::life::spawn(enforce(cluster.clone(), keep));
            cluster
        });
        let cluster = started.await.expect("the node starts");
        let running = Running {
            life,
            cluster,
            held,
        };
        self.running.lock().unwrap().insert(node, running);
    }

    /// The power of one node goes.
    pub(crate) fn cut(&self, node: u64) {
        if let Some(running) = self.running.lock().unwrap().remove(&node) {
            running.life.end();
            let lost = self.disk(node).cut();
            self.note(format!("node {node} lost its power and {lost} writes"));
        }
    }

    /// Kill -9: what was written stays written.
    pub(crate) fn kill(&self, node: u64) {
        if let Some(running) = self.running.lock().unwrap().remove(&node) {
            running.life.end();
            self.note(format!("node {node} was killed"));
        }
    }

    /// Starts whoever does not run.
    pub(crate) async fn start_all(&self) {
        for node in 1..=self.count() {
            if self.node(node).is_none() {
                self.start(node).await;
                self.note(format!("node {node} starts"));
            }
        }
    }

    /// Everything mended: waits until all serve and agree. Returns how long that took.
    pub(crate) async fn heal(&self) -> Duration {
        let began = Instant::now();
        self.wire.clear();
        self.wire.set_weather(4, 0, 0);
        for (node, running) in self.all() {
            running.life.thaw();
            running
                .life
                .skew_ms
                .store(0, std::sync::atomic::Ordering::SeqCst);
            self.disk(node).set_slow(false);
        }
        self.start_all().await;
        loop {
            let all = self.all();
            for (node, running) in &all {
                if let Some(why) = running.cluster.status().failure {
                    panic!("node {node} stopped taking part: {why}");
                }
            }
            let views: Vec<_> = all.iter().map(|(_, r)| r.cluster.view().revision).collect();
            let serve = all.iter().all(|(_, r)| serving(&r.cluster));
            if serve && views.iter().all(|revision| *revision == views[0]) {
                let prints: Vec<_> = all.iter().map(|(_, r)| r.cluster.fingerprint()).collect();
                assert!(
                    prints.iter().all(|print| *print == prints[0]),
                    "different states at revision {}: {prints:x?}",
                    views[0]
                );
                self.nobody_votes_unasked();
                return began.elapsed();
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "not healed: revisions {views:?}, {:?}",
                all.iter()
                    .map(|(_, r)| r.cluster.freshness())
                    .collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl World {
    /// Whoever joined follows, whatever has happened, and leads nobody.
    fn nobody_votes_unasked(&self) {
        let formed: Vec<u64> = (1..=self.size).collect();
        for (node, running) in self.all() {
            let status = running.cluster.status();
            let voters = status.nodes.iter().filter(|one| one.voter);
            let voters: Vec<_> = voters.map(|one| one.node.0).collect();
            assert_eq!(voters, formed, "as node {node} sees it");
            assert!(status.leader.is_none_or(|leader| leader.0 <= self.size));
        }
    }
}

/// The broker's part: carries effects out late, as connection shards do.
async fn enforce(cluster: Cluster, held: Held) {
    let Some(mut batches) = cluster.take_effects() else {
        return;
    };
    while let Some(batch) = batches.recv().await {
        let concerns = |effect: &Effect| {
            matches!(
                effect,
                Effect::Recheck { .. } | Effect::Cut { .. } | Effect::CutAll { .. }
            )
        };
        let mut closed = 0;
        if batch.effects.iter().any(concerns) {
            let slow = chance::per_mille(30);
            tokio::time::sleep(match slow {
                true => chance::millis(100, 700),
                false => chance::millis(0, 15),
            })
            .await;
            let mut held = held.lock().unwrap();
            let before = held.len();
            held.retain(|_, principal| allows(&cluster, principal));
            closed = (before - held.len()) as u64;
        }
        cluster.enforced(batch.revision, closed);
    }
}
