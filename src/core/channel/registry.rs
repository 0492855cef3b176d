//! The channels of this node by name: finds or starts their actors, and tells all of them when the world changes.
//!
//! **Must never know:** what a channel does with what it is told.
//!
//! **Why locks here do not hurt:** the registry is asked when somebody joins, publishes over HTTP or a peer's
//! frame arrives, in one of 64 parts, and nothing is awaited under a lock. A subscribed connection keeps the
//! address and never comes here.

use super::actor::Channel;
use super::budget::{HistoryBudget, Part};
use super::history::Bounds;
use super::state::{Birth, Limits};
use super::{LinkUp, PeerPort, Rehome, Wire};
use crate::core::authority::Authority;
use crate::core::clock::Now;
use crate::core::delivery::encoding::Encodings;
use crate::core::ids::{AppId, ChannelKey, NodeId, Space, Text};
use crate::core::lifecycle::{LifecycleEvent, Listener};
use crate::core::limits::{
    HISTORY_BYTES, HISTORY_MESSAGES, HISTORY_MS, MAX_HISTORY_BYTES, PRESENCE_CLIENTS, Setting,
    WILDCARDS,
};
use crate::core::message::Occupancy;
use crate::core::nodes::{Members, key_hash};
use actix::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Whether subscribers are told how many subscriptions there are.
pub const SUBSCRIPTION_COUNT: Setting = Setting {
    name: "subscription_count",
    default: 0,
};

const PARTS: usize = 64;
/// How long after a change of the member list a new channel asks its former home, ms.
const FORMER_MS: u64 = 10_000;

/// What a channel's counts are, for listings that must not ask every actor.
#[derive(Debug, Default)]
pub struct Stat {
    home: AtomicBool,
    subscribers: AtomicU64,
    clients: AtomicU64,
    members: AtomicU64,
    /// What its history weighs here.
    history: Arc<AtomicU64>,
}

impl Stat {
    /// What its history weighs on this node, bytes.
    pub(super) fn history_bytes(&self) -> u64 {
        self.history.load(Ordering::Relaxed)
    }

    /// Its part of what all histories weigh.
    pub(super) fn part(&self, budget: &Arc<HistoryBudget>) -> Part {
        Part::new(budget.clone(), self.history.clone())
    }

    /// Only the home knows the counts.
    pub(super) fn set(&self, counts: Option<Occupancy>) {
        self.home.store(counts.is_some(), Ordering::Relaxed);
        let counts = counts.unwrap_or_default();
        self.subscribers
            .store(counts.subscribers, Ordering::Relaxed);
        self.clients.store(counts.clients, Ordering::Relaxed);
        self.members.store(counts.members, Ordering::Relaxed);
    }

    fn occupied(&self) -> Option<Occupancy> {
        let counts = Occupancy {
            subscribers: self.subscribers.load(Ordering::Relaxed),
            clients: self.clients.load(Ordering::Relaxed),
            members: self.members.load(Ordering::Relaxed),
        };
        let home = self.home.load(Ordering::Relaxed);
        (home && (counts.subscribers > 0 || counts.members > 0)).then_some(counts)
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) addr: Addr<Channel>,
    pub(super) stat: Arc<Stat>,
}

/// The revision of the access state, whether there is a listener, and the level of the histories.
pub(super) type LimitsAsOf = (Option<u64>, bool, u64);

pub(super) type Shard = HashMap<Arc<ChannelKey>, Entry>;

/// The member list and the one before it.
#[derive(Debug)]
struct List {
    now: Arc<Members>,
    before: Option<Arc<Members>>,
    changed_ms: u64,
    /// It is only what a node believes before it has heard anything.
    first: bool,
}

/// What all channels of a node stand on.
pub struct Ground {
    node: NodeId,
    pub(super) encodings: Arc<Encodings>,
    authority: Option<Arc<Authority>>,
    started: Instant,
    /// Where channels live before there are worker threads.
    birthplace: Option<ArbiterHandle>,
    /// The threads that channels live on.
    hosts: RwLock<Vec<ArbiterHandle>>,
    pub(super) parts: Vec<Mutex<Shard>>,
    pub(super) histories: Arc<HistoryBudget>,
    list: arc_swap::ArcSwap<List>,
    port: OnceLock<Arc<dyn PeerPort>>,
    listener: OnceLock<Arc<dyn Listener>>,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ground(node {})", self.node)
    }
}

impl Ground {
    /// Now: from the access plane's clock, or without one from this machine's.
    pub(super) fn now(&self) -> Now {
        if let Some(authority) = &self.authority {
            return authority.now();
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            mono_ms: millis(self.started.elapsed()),
            cluster_ms: unix.map_or(0, millis),
        }
    }

    /// What limits depend on: while it is the same, they are.
    pub(super) fn limits_as_of(&self) -> LimitsAsOf {
        let revision = self.authority.as_ref().map(|one| one.view().revision);
        let level = self.histories.level();
        (revision, self.listener.get().is_some(), level)
    }

    pub(super) fn limits(&self, key: &ChannelKey) -> Limits {
        let app = self
            .authority
            .as_ref()
            .and_then(|authority| authority.app(key.app));
        let at = |setting: Setting| {
            app.as_ref()
                .map_or(setting.default, |app| setting.at(app, &key.name))
        };
        let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Limits {
            bounds: Bounds {
                messages: count(at(HISTORY_MESSAGES)),
                age_ms: at(HISTORY_MS),
                bytes: count(
                    at(HISTORY_BYTES)
                        .min(MAX_HISTORY_BYTES)
                        .min(self.histories.level()),
                ),
            },
            presence_clients: at(PRESENCE_CLIENTS),
            counts: app.is_some_and(|app| SUBSCRIPTION_COUNT.on(&app)),
            watched: key.space == Space::Channel
                && self.listener.get().is_some_and(|one| one.wants(key.app)),
        }
    }

    /// Whether the app has subscribers by wildcard, or has had some.
    pub(super) fn wildcards(&self, app: AppId) -> bool {
        let Some(authority) = &self.authority else {
            return WILDCARDS.default != 0;
        };
        let view = authority.view();
        view.apps.get(&app).is_some_and(|app| WILDCARDS.on(app))
    }

    pub(super) fn happened(&self, event: LifecycleEvent) {
        if let Some(listener) = self.listener.get() {
            listener.tell(event);
        }
    }

    pub(super) fn send(&self, to: NodeId, key: &Arc<ChannelKey>, wire: &Wire) -> bool {
        let port = self.port.get();
        port.is_some_and(|port| port.send(to, key, wire))
    }

    fn part(&self, key: &ChannelKey) -> Option<MutexGuard<'_, Shard>> {
        let index = usize::try_from(key_hash(key) >> 32).unwrap_or(0) % PARTS;
        self.parts.get(index).map(lock)
    }

    /// Removes the entry, if it is still this channel's.
    pub(super) fn forget(&self, key: &Arc<ChannelKey>, stat: &Arc<Stat>) -> bool {
        let Some(mut part) = self.part(key) else {
            return false;
        };
        let its = part
            .get(key)
            .is_some_and(|one| Arc::ptr_eq(&one.stat, stat));
        if its {
            part.remove(key);
        }
        its
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A part is consistent between any two statements: poison means nothing here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Finds or starts channel actors. Asked when somebody joins or publishes over HTTP, never per message of a
/// subscribed connection (which keeps the address).
#[derive(Clone, Debug)]
pub struct Channels {
    ground: Arc<Ground>,
    /// Where this handle starts channels; without it, the name decides.
    here: Option<ArbiterHandle>,
}

impl Channels {
    /// A node alone, with the machine's clock and every limit at its default: for tests and tools.
    #[must_use]
    pub fn new(encodings: Arc<Encodings>, arbiters: &[ArbiterHandle]) -> Self {
        Self::build(NodeId(1), encodings, None, arbiters)
    }

    /// The channels of this node. Its actors run on these arbiters and on those of threads that call
    /// [`Self::on_this_thread`], and before there are any on that of the thread that calls this. Alone until
    /// [`Self::connect`] and [`Self::set_members`].
    #[must_use]
    pub fn of_node(
        node: NodeId,
        encodings: Arc<Encodings>,
        authority: Arc<Authority>,
        arbiters: &[ArbiterHandle],
    ) -> Self {
        Self::build(node, encodings, Some(authority), arbiters)
    }

    pub(super) fn build(
        node: NodeId,
        encodings: Arc<Encodings>,
        authority: Option<Arc<Authority>>,
        arbiters: &[ArbiterHandle],
    ) -> Self {
        let list = List {
            now: Arc::new(Members::alone(node)),
            before: None,
            changed_ms: 0,
            first: true,
        };
        Self {
            here: None,
            ground: Arc::new(Ground {
                node,
                encodings,
                authority,
                started: Instant::now(),
                birthplace: Arbiter::try_current(),
                hosts: RwLock::new(arbiters.to_vec()),
                parts: (0..PARTS).map(|_| Mutex::default()).collect(),
                list: arc_swap::ArcSwap::from_pointee(list),
                port: OnceLock::new(),
                listener: OnceLock::new(),
                histories: Arc::default(),
            }),
        }
    }

    pub(super) fn on(ground: &Arc<Ground>) -> Self {
        let (ground, here) = (ground.clone(), Arbiter::try_current());
        Self { ground, here }
    }

    /// The same channels, but those that this handle starts live on the calling thread: a channel runs where
    /// its first subscriber is, and talking to one's own thread costs a tenth of waking another.
    #[must_use]
    pub fn on_this_thread(&self) -> Self {
        let here = Arbiter::try_current();
        let hosts = self.ground.hosts.write();
        let mut hosts = hosts.unwrap_or_else(PoisonError::into_inner);
        hosts.extend(here.clone());
        let ground = self.ground.clone();
        Self { ground, here }
    }

    /// The thread for a new channel; none = the calling one.
    fn host(&self, key: &ChannelKey) -> Option<ArbiterHandle> {
        let by_name = || {
            let hosts = self.ground.hosts.read();
            let hosts = hosts.unwrap_or_else(PoisonError::into_inner);
            let turn = usize::try_from(key_hash(key)).unwrap_or(0) % hosts.len().max(1);
            hosts.get(turn).or(self.ground.birthplace.as_ref()).cloned()
        };
        self.here.clone().or_else(by_name)
    }

    /// Gives the channels their way to other nodes. Once; later calls change nothing.
    pub fn connect(&self, port: Arc<dyn PeerPort>) {
        let _first = self.ground.port.set(port);
    }

    /// What the histories of all channels of this node may weigh together, bytes. Without this, any amount.
    pub fn set_history_budget(&self, bytes: u64) {
        self.ground.histories.set(bytes);
    }

    /// What they weigh at present, bytes.
    #[must_use]
    pub fn history_bytes(&self) -> u64 {
        self.ground.histories.used()
    }

    /// Who is told of the lifecycle of the channels that this node is home of. Once; later calls change nothing.
    pub fn set_listener(&self, listener: Arc<dyn Listener>) {
        let _first = self.ground.listener.set(listener);
    }

    /// Who is told of it.
    #[must_use]
    pub fn listener(&self) -> Option<Arc<dyn Listener>> {
        self.ground.listener.get().cloned()
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.ground.node
    }

    /// The member list that placement uses here.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        self.ground.list.load().now.clone()
    }

    /// The channel's actor on this node, started if need be.
    #[must_use]
    pub fn get(&self, key: &Arc<ChannelKey>) -> Addr<Channel> {
        let Some(mut part) = self.ground.part(key) else {
            return self.start(key).addr;
        };
        if let Some(entry) = part.get(key)
            && entry.addr.connected()
        {
            return entry.addr.clone();
        }
        let entry = self.start(key);
        let addr = entry.addr.clone();
        part.insert(key.clone(), entry);
        addr
    }

    /// The channel's actor on this node, if there is one.
    #[must_use]
    pub fn existing(&self, key: &ChannelKey) -> Option<Addr<Channel>> {
        let part = self.ground.part(key)?;
        part.get(key).map(|entry| entry.addr.clone())
    }

    fn start(&self, key: &Arc<ChannelKey>) -> Entry {
        let ground = self.ground.clone();
        let list = ground.list.load();
        let recent = ground.now().mono_ms < list.changed_ms + FORMER_MS;
        let birth = Birth {
            key: key.clone(),
            node: ground.node,
            members: list.now.clone(),
            before: list.before.clone().filter(|_| recent),
            limits: ground.limits(key),
            seed: rand::random(),
        };
        drop(list);
        let stat = Arc::new(Stat::default());
        let (on, its) = (self.ground.clone(), stat.clone());
        let addr = match self.host(key) {
            Some(arbiter) => {
                Channel::start_in_arbiter(&arbiter, move |_| Channel::new(birth, on, its))
            }
            None => Channel::new(birth, on, its).start(),
        };
        Entry { addr, stat }
    }

    /// Number of channel actors on this node.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ground.parts.iter().map(|part| lock(part).len()).sum()
    }

    /// Every channel actor on this node, at this moment.
    #[must_use]
    pub fn each(&self) -> Vec<Addr<Channel>> {
        let parts = self.ground.parts.iter();
        parts
            .flat_map(|part| {
                let part = lock(part);
                part.values()
                    .map(|one| one.addr.clone())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// The member list has changed: every channel is placed anew.
    pub fn set_members(&self, members: Members) {
        let old = self.ground.list.load_full();
        if members.revision < old.now.revision || members == *old.now {
            return;
        }
        // On a node's first list the former homes are those of the same list without it.
        let before = if old.first {
            let mut without = members.clone();
            without.live.retain(|(node, _)| *node != self.ground.node);
            Arc::new(without)
        } else {
            old.now.clone()
        };
        let members = Arc::new(members);
        // First the list, then the channels: one that starts in between has the new list already.
        self.ground.list.store(Arc::new(List {
            now: members.clone(),
            before: Some(before),
            changed_ms: self.ground.now().mono_ms,
            first: false,
        }));
        for channel in self.each() {
            channel.do_send(Rehome(members.clone()));
        }
    }

    /// The link to a node is (again) usable.
    pub fn link_up(&self, node: NodeId) {
        for channel in self.each() {
            channel.do_send(LinkUp(node));
        }
    }

    /// The occupied channels of an app that this node is home of, with their cluster-wide counts, sorted by
    /// name, at most `limit`.
    #[must_use]
    pub fn occupied_here(&self, app: AppId, prefix: &str, limit: usize) -> Vec<(Text, Occupancy)> {
        let mut found = Vec::new();
        for part in &self.ground.parts {
            let part = lock(part);
            let of_app = part.iter().filter(|(key, _)| {
                key.app == app && key.space == Space::Channel && key.name.starts_with(prefix)
            });
            found.extend(
                of_app.filter_map(|(key, entry)| Some((key.name.clone(), entry.stat.occupied()?))),
            );
        }
        found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        found.truncate(limit);
        found
    }
}
