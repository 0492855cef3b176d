//! What all channels of a node share: clock, limits, encodings, the way to other nodes, and who is told of lifecycles.
//!
//! **Why apart from the registry:** every message needs it; the registry is needed only to find another channel.

use super::budget::{HistoryBudget, Reservation};
use super::digest::Digests;
use super::port::PeerPort;
use super::replica::history::Bounds;
use super::replica::io::Limits;
use super::replica::protocol::PeerMessage;
use crate::core::authority::Authority;
use crate::core::clock::Now;
use crate::core::delivery::encoding::Encodings;
use crate::core::ids::{AppId, ChannelKey, NodeId, Space};
use crate::core::lifecycle::{LifecycleEvent, Listener};
use crate::core::limits::{
    DEAD_LETTERS, DEAD_LETTERS_BYTES, DEAD_LETTERS_MS, HISTORY_BYTES, HISTORY_MESSAGES, HISTORY_MS,
    MAX_HISTORY_BYTES, PRESENCE_CLIENTS, SUBSCRIPTION_COUNT, Setting, WILDCARDS,
};
use crate::core::message::Occupancy;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a channel's counts are, for listings that must not ask every actor.
#[derive(Debug, Default)]
pub(super) struct Stat {
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

    /// Its reservation in what all histories weigh.
    pub(super) fn reservation(&self, budget: &Arc<HistoryBudget>) -> Reservation {
        Reservation::new(budget.clone(), self.history.clone())
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

    /// The counts, if this node is the home and somebody is there.
    pub(super) fn occupied(&self) -> Option<Occupancy> {
        let counts = Occupancy {
            subscribers: self.subscribers.load(Ordering::Relaxed),
            clients: self.clients.load(Ordering::Relaxed),
            members: self.members.load(Ordering::Relaxed),
        };
        let home = self.home.load(Ordering::Relaxed);
        (home && (counts.subscribers > 0 || counts.members > 0)).then_some(counts)
    }
}

/// What limits depend on: the revision of the access state, whether there is a listener, and what one channel's history may
/// weigh at most.
pub(super) type LimitsAsOf = (Option<u64>, bool, u64);

/// What all channels of a node stand on.
pub(super) struct NodeContext {
    pub(super) node: NodeId,
    pub(super) encodings: Arc<Encodings>,
    authority: Option<Arc<Authority>>,
    started: Instant,
    pub(super) histories: Arc<HistoryBudget>,
    pub(super) digests: Arc<Digests>,
    /// The start of this node since which everything is copied; 0 = none yet.
    pub(super) copied: AtomicU64,
    pub(super) port: OnceLock<Arc<dyn PeerPort>>,
    pub(super) listener: OnceLock<Arc<dyn Listener>>,
}

impl std::fmt::Debug for NodeContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeContext(node {})", self.node)
    }
}

impl NodeContext {
    pub(super) fn new(
        node: NodeId,
        encodings: Arc<Encodings>,
        authority: Option<Arc<Authority>>,
    ) -> Self {
        Self {
            node,
            encodings,
            authority,
            started: Instant::now(),
            histories: Arc::default(),
            digests: Arc::default(),
            copied: AtomicU64::new(0),
            port: OnceLock::new(),
            listener: OnceLock::new(),
        }
    }

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

    /// How long this node may go on unheard, ms.
    pub(super) fn lease_ms(&self) -> u64 {
        let lease = self.authority.as_ref().map(|one| one.lease());
        lease.map_or(0, millis)
    }

    /// Whether, by what is known now, this node is one of the cluster. A channel that is to flow while nobody can know
    /// that flows.
    pub(super) fn counted_in(&self, key: &ChannelKey) -> bool {
        let authority = self.authority.as_ref();
        authority.is_none_or(|one| one.serving() || one.flows_while_stale(key))
    }

    /// What limits depend on: while it is the same, they are.
    pub(super) fn limits_as_of(&self) -> LimitsAsOf {
        let revision = self.authority.as_ref().map(|one| one.view().revision);
        let cap = self.histories.per_channel_cap();
        (revision, self.listener.get().is_some(), cap)
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
        let (messages, age_ms, bytes) = match key.space {
            Space::DeadLetters => (at(DEAD_LETTERS), DEAD_LETTERS_MS, DEAD_LETTERS_BYTES),
            Space::Channel | Space::User | Space::Status | Space::Wildcard => {
                (at(HISTORY_MESSAGES), at(HISTORY_MS), at(HISTORY_BYTES))
            }
        };
        let cap = MAX_HISTORY_BYTES.min(self.histories.per_channel_cap());
        Limits {
            bounds: Bounds {
                messages: count(messages),
                age_ms,
                bytes: count(bytes.min(cap)),
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

    pub(super) fn tell_listener(&self, event: LifecycleEvent) {
        if let Some(listener) = self.listener.get() {
            listener.tell(event);
        }
    }

    pub(super) fn send_all(&self, to: &[NodeId], key: &Arc<ChannelKey>, message: &PeerMessage) {
        if let Some(port) = self.port.get() {
            port.send_all(to, key, message);
        }
    }

    pub(super) fn send(&self, to: NodeId, key: &Arc<ChannelKey>, message: &PeerMessage) -> bool {
        let port = self.port.get();
        port.is_some_and(|port| port.send(to, key, message))
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
