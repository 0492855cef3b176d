//! The channels of this node by name: finds or starts their actors, and tells all of them when the world changes.
//!
//! **Why locks here do not hurt:** the registry is asked when somebody joins, publishes over HTTP or a peer's
//! frame arrives, in one of 64 parts, and nothing is awaited under a lock. A subscribed connection keeps the
//! address and never comes here.

use super::actor::{Channel, Siblings};
use super::digest;
use super::messages::{Differs, LinkUp, MembersChanged, Settled, Trim};
use super::port::PeerPort;
use super::replica::io::NewReplica;
use super::shared::{NodeContext, Stat};
use crate::core::authority::Authority;
use crate::core::clock::Now;
use crate::core::delivery::encoding::Encodings;
use crate::core::ids::{AppId, ChannelKey, NodeId, Space, Text};
use crate::core::lifecycle::{EventId, Listener};
use crate::core::message::Occupancy;
use crate::core::nodes::{Members, key_hash};
use actix::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

const SHARDS: usize = 64;
/// How long after a change of the member list a new channel asks its former home, ms.
const FORMER_HOME_MS: u64 = 10_000;

#[derive(Debug)]
struct Entry {
    addr: Addr<Channel>,
    stat: Arc<Stat>,
}

type Shard = HashMap<Arc<ChannelKey>, Entry>;

/// The member list and the one before it.
#[derive(Debug)]
struct List {
    now: Arc<Members>,
    before: Option<Arc<Members>>,
    changed_ms: u64,
    /// It is only what a node believes before it has heard anything.
    first: bool,
}

/// The channels, and where new ones are started.
struct Registry {
    context: Arc<NodeContext>,
    /// Where channels live before there are worker threads.
    fallback_arbiter: Option<ArbiterHandle>,
    /// The threads that channels live on.
    arbiters: RwLock<Vec<ArbiterHandle>>,
    shards: Vec<Mutex<Shard>>,
    list: arc_swap::ArcSwap<List>,
    /// Held by each channel that has not taken the list yet.
    under_way: Mutex<Weak<()>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({:?})", self.context)
    }
}

impl Registry {
    fn shard(&self, key: &ChannelKey) -> Option<MutexGuard<'_, Shard>> {
        let index = usize::from(digest::bucket(key)) % SHARDS;
        self.shards.get(index).map(lock)
    }
}

impl Siblings for Registry {
    fn find_or_start(self: Arc<Self>, key: &Arc<ChannelKey>) -> Addr<Channel> {
        let here = Arbiter::try_current();
        Channels {
            registry: self,
            here,
        }
        .get(key)
    }

    fn forget(&self, key: &ChannelKey, stat: &Arc<Stat>) -> bool {
        let Some(mut shard) = self.shard(key) else {
            return false;
        };
        let its = shard
            .get(key)
            .is_some_and(|one| Arc::ptr_eq(&one.stat, stat));
        if its {
            shard.remove(key);
        }
        its
    }

    fn evict(&self, now: Now) {
        let histories = &self.context.histories;
        if !histories.is_due(now.mono_ms) {
            return;
        }
        let weight = |one: &Entry| one.stat.history_bytes();
        let mut sizes = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            sizes.extend(shard.values().map(weight).filter(|bytes| *bytes > 0));
        }
        let channels = sizes.len();
        let cap = histories.find_cap(sizes);
        for shard in &self.shards {
            let shard = lock(shard);
            let over_cap = shard.values().filter(|one| weight(one) > cap);
            over_cap.for_each(|one| one.addr.do_send(Trim));
        }
        let used = histories.used();
        tracing::info!(
            used,
            channels,
            cap,
            "the histories of this node together weigh more than they may: the larger ones let go of their oldest"
        );
    }
}

/// Tells so many channels at once, and the next after a pause: what they all say to another node goes over one link, and
/// what clients say meanwhile over the same.
const PACE: usize = 256;
const PACE_INTERVAL: Duration = Duration::from_millis(10);

fn paced(channels: Vec<Addr<Channel>>, tell: impl Fn(&Addr<Channel>) + Send + 'static) {
    let mut rest = channels.into_iter();
    rest.by_ref().take(PACE).for_each(|channel| tell(&channel));
    if rest.len() == 0 {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return rest.for_each(|channel| tell(&channel));
    };
    runtime.spawn(async move {
        while rest.len() > 0 {
            tokio::time::sleep(PACE_INTERVAL).await;
            rest.by_ref().take(PACE).for_each(|channel| tell(&channel));
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A shard is consistent between any two statements: poison means nothing here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds or starts channel actors. Asked when somebody joins or publishes over HTTP, never per message of a
/// subscribed connection (which keeps the address).
#[derive(Clone, Debug)]
pub struct Channels {
    registry: Arc<Registry>,
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
            registry: Arc::new(Registry {
                context: Arc::new(NodeContext::new(node, encodings, authority)),
                fallback_arbiter: Arbiter::try_current(),
                arbiters: RwLock::new(arbiters.to_vec()),
                shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
                list: arc_swap::ArcSwap::from_pointee(list),
                under_way: Mutex::default(),
            }),
        }
    }

    /// The same channels, but those that this handle starts live on the calling thread: a channel runs where
    /// its first subscriber is, and talking to one's own thread costs a tenth of waking another.
    #[must_use]
    pub fn on_this_thread(&self) -> Self {
        let here = Arbiter::try_current();
        let arbiters = self.registry.arbiters.write();
        let mut arbiters = arbiters.unwrap_or_else(PoisonError::into_inner);
        arbiters.extend(here.clone());
        let registry = self.registry.clone();
        Self { registry, here }
    }

    fn context(&self) -> &NodeContext {
        &self.registry.context
    }

    /// The thread for a new channel; none = the calling one.
    fn arbiter(&self, key: &ChannelKey) -> Option<ArbiterHandle> {
        let by_name = || {
            let arbiters = self.registry.arbiters.read();
            let arbiters = arbiters.unwrap_or_else(PoisonError::into_inner);
            let turn = usize::try_from(key_hash(key)).unwrap_or(0) % arbiters.len().max(1);
            let fallback = self.registry.fallback_arbiter.as_ref();
            arbiters.get(turn).or(fallback).cloned()
        };
        self.here.clone().or_else(by_name)
    }

    /// Gives the channels their way to other nodes. Once; later calls change nothing.
    pub fn connect(&self, port: Arc<dyn PeerPort>) {
        let _first = self.context().port.set(port);
    }

    /// What the histories of all channels of this node may weigh together, bytes. Without this, any amount.
    pub fn set_history_budget(&self, bytes: u64) {
        self.context().histories.set(bytes);
    }

    /// What they weigh at present, bytes.
    #[must_use]
    pub fn history_bytes(&self) -> u64 {
        self.context().histories.used()
    }

    /// Who is told of the lifecycle of the channels that this node is home of. Once; later calls change nothing.
    pub fn set_listener(&self, listener: Arc<dyn Listener>) {
        let _first = self.context().listener.set(listener);
    }

    /// Who is told of it.
    #[must_use]
    pub fn listener(&self) -> Option<Arc<dyn Listener>> {
        self.context().listener.get().cloned()
    }

    /// The listener has taken care of these events of a channel: it has brought them where they belong, or nobody wants
    /// them, or they are kept elsewhere.
    pub fn settled(&self, key: &ChannelKey, ids: Vec<EventId>) {
        if let Some(channel) = self.existing(key) {
            channel.do_send(Settled(ids));
        }
    }

    /// Whether another node is the channel's home, by the list that this one has: then that one tells what is not settled.
    #[must_use]
    pub fn is_elsewhere(&self, key: &ChannelKey) -> bool {
        let place = self.members().place(key);
        place.is_some_and(|place| place.home != self.node())
    }

    /// The number of this node in the cluster.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.context().node
    }

    /// The member list that placement uses here.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        self.registry.list.load().now.clone()
    }

    /// The channel's actor on this node, started if need be.
    #[must_use]
    pub fn get(&self, key: &Arc<ChannelKey>) -> Addr<Channel> {
        let Some(mut shard) = self.registry.shard(key) else {
            return self.start(key).addr;
        };
        if let Some(entry) = shard.get(key)
            && entry.addr.connected()
        {
            return entry.addr.clone();
        }
        let entry = self.start(key);
        let addr = entry.addr.clone();
        shard.insert(key.clone(), entry);
        addr
    }

    /// The channel's actor on this node, if there is one.
    #[must_use]
    pub fn existing(&self, key: &ChannelKey) -> Option<Addr<Channel>> {
        let shard = self.registry.shard(key)?;
        shard.get(key).map(|entry| entry.addr.clone())
    }

    fn start(&self, key: &Arc<ChannelKey>) -> Entry {
        let context = self.registry.context.clone();
        let list = self.registry.list.load();
        let recent = context.now().mono_ms < list.changed_ms + FORMER_HOME_MS;
        let new = NewReplica {
            key: key.clone(),
            node: context.node,
            members: list.now.clone(),
            before: list.before.clone().filter(|_| recent),
            limits: context.limits(key),
            lease_ms: context.lease_ms(),
            seed: rand::random(),
        };
        drop(list);
        let stat = Arc::new(Stat::default());
        let (its, siblings) = (stat.clone(), self.registry.clone());
        let channel = move || Channel::new(new, context, its, siblings);
        let addr = match self.arbiter(key) {
            Some(arbiter) => Channel::start_in_arbiter(&arbiter, move |_| channel()),
            None => channel().start(),
        };
        Entry { addr, stat }
    }

    /// Number of channel actors on this node.
    #[must_use]
    pub fn count(&self) -> usize {
        self.registry.shards.iter().map(|one| lock(one).len()).sum()
    }

    /// Every channel actor on this node, at this moment.
    #[must_use]
    pub fn each(&self) -> Vec<Addr<Channel>> {
        let shards = self.registry.shards.iter();
        shards
            .flat_map(|shard| {
                let shard = lock(shard);
                shard
                    .values()
                    .map(|one| one.addr.clone())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// The member list has changed: every channel is placed anew.
    pub fn set_members(&self, members: Members) {
        let old = self.registry.list.load_full();
        if members.revision < old.now.revision || members == *old.now {
            return;
        }
        // On a node's first list the former homes are those of the same list without it.
        let before = if old.first {
            Arc::new(members.without(self.context().node))
        } else {
            old.now.clone()
        };
        let members = Arc::new(members);
        let under_way = Arc::new(());
        *lock(&self.registry.under_way) = Arc::downgrade(&under_way);
        // First the list, then the channels: one that starts in between has the new list already.
        self.registry.list.store(Arc::new(List {
            now: members.clone(),
            before: Some(before),
            changed_ms: self.context().now().mono_ms,
            first: false,
        }));
        for channel in self.each() {
            channel.do_send(MembersChanged(members.clone(), under_way.clone()));
        }
    }

    /// The link to a node is (again) usable.
    pub fn link_up(&self, node: NodeId) {
        paced(self.each(), move |channel| channel.do_send(LinkUp(node)));
    }

    /// What this node has in channels whose home that one is, for it to compare.
    #[must_use]
    pub fn digest(&self, node: NodeId) -> Vec<u64> {
        self.context().digests.own(node)
    }

    /// Where that node has something else in channels whose home this one is than is known here.
    #[must_use]
    pub fn differing(&self, node: NodeId, digest: &[u64]) -> Vec<u8> {
        self.context().digests.differing(node, digest)
    }

    /// In channels of these buckets something that the two nodes said to each other got lost: it is said again.
    pub fn say_again(&self, node: NodeId, buckets: &[u8]) {
        let mut channels = Vec::new();
        for bucket in buckets {
            let shard = self.registry.shards.get(usize::from(*bucket) % SHARDS);
            let shard = shard.map(lock);
            let all = shard.iter().flat_map(|shard| shard.iter());
            let its = all.filter(|(key, _)| digest::bucket(key) == *bucket);
            channels.extend(its.map(|(_, entry)| entry.addr.clone()));
        }
        paced(channels, move |channel| channel.do_send(Differs(node)));
    }

    /// Whether every channel has taken the present member list.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        lock(&self.registry.under_way).strong_count() == 0
    }

    /// Channels whose home this node is, and of which that one, their backup, has no copy yet.
    #[must_use]
    pub fn uncopied_at(&self, node: NodeId) -> u64 {
        self.context().digests.uncopied_at(node)
    }

    /// Channels whose home this node is, and whose backup has no copy yet.
    #[must_use]
    pub fn uncopied(&self) -> u64 {
        self.context().digests.uncopied()
    }

    /// Channels that wait for what their former home hands over.
    #[must_use]
    pub fn claims(&self) -> u64 {
        self.context().digests.claims()
    }

    /// Since this start of the node, everything is copied that it is home or backup of.
    pub fn set_copied(&self, start: u64) {
        self.context().copied.store(start, Ordering::Release);
    }

    /// The start of this node since which that holds; 0 = none.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.context().copied.load(Ordering::Acquire)
    }

    /// How many channels there are on this node, of how many it is the home with somebody there, and the entries of their
    /// presence sets together.
    #[must_use]
    pub fn totals(&self) -> (u64, u64, u64) {
        let (mut all, mut occupied, mut members) = (0, 0, 0);
        for shard in &self.registry.shards {
            let shard = lock(shard);
            all += shard.len() as u64;
            for counts in shard.values().filter_map(|entry| entry.stat.occupied()) {
                occupied += 1;
                members += counts.members;
            }
        }
        (all, occupied, members)
    }

    /// The occupied channels of an app that this node is home of, with their cluster-wide counts, sorted by
    /// name, at most `limit`.
    #[must_use]
    pub fn occupied_here(&self, app: AppId, prefix: &str, limit: usize) -> Vec<(Text, Occupancy)> {
        let mut found = Vec::new();
        for shard in &self.registry.shards {
            let shard = lock(shard);
            let of_app = shard.iter().filter(|(key, _)| {
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
