//! What a node shows of the agreed state: the view itself, revisions reached, cluster time, effects.
//!
//! Written by the applier alone, read from any thread without a lock.

use super::lock;
use crate::access::{Effect, Member, MemberState, Millis, NodeId, Revision, State};
use crate::contract::EffectBatch;
use arc_swap::ArcSwap;
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Revisions whose number of closed connections is remembered.
const CLOSED_KEPT: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct View {
    state: ArcSwap<State>,
    applied: watch::Sender<Revision>,
    enforced: watch::Sender<Revision>,
    /// This machine's clock from which `ahead_us` counts.
    base: Instant,
    /// What the cluster's clock is ahead of it, microseconds: one number, so that reading the time is one load.
    ahead_us: AtomicU64,
    shown_ms: AtomicU64,
    effects: Mutex<Option<mpsc::UnboundedSender<EffectBatch>>>,
    closed: Mutex<BTreeMap<Revision, u64>>,
    departed: Mutex<BTreeMap<NodeId, Instant>>,
}

impl View {
    /// An empty view.
    pub(crate) fn new() -> Self {
        Self {
            state: ArcSwap::default(),
            applied: watch::Sender::new(0),
            enforced: watch::Sender::new(0),
            base: Instant::now(),
            ahead_us: AtomicU64::new(0),
            shown_ms: AtomicU64::new(0),
            effects: Mutex::default(),
            closed: Mutex::default(),
            departed: Mutex::default(),
        }
    }

    /// The agreed state.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Last applied index.
    pub(crate) fn applied(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Last enforced index.
    pub(crate) fn enforced(&self) -> Revision {
        *self.enforced.borrow()
    }

    /// Waits until `revision` is applied; ends only then.
    pub(crate) async fn wait_applied(&self, revision: Revision) {
        // The sender lives as long as `self`.
        let _ = self
            .applied
            .subscribe()
            .wait_for(|at| *at >= revision)
            .await;
    }

    /// Waits until `revision` is enforced; ends only then.
    pub(crate) async fn wait_enforced(&self, revision: Revision) {
        let _ = self
            .enforced
            .subscribe()
            .wait_for(|at| *at >= revision)
            .await;
    }

    /// Last stamp plus what has passed since, never backwards.
    pub(crate) fn now_ms(&self) -> Millis {
        self.ms_at(Instant::now())
    }

    /// As [`Self::now_ms`], for an instant that was read just now.
    pub(crate) fn ms_at(&self, at: Instant) -> Millis {
        let ahead = self.ahead_us.load(Ordering::Acquire);
        let now = self.since_base_us(at).wrapping_add(ahead) / 1_000;
        let shown = self.shown_ms.load(Ordering::Acquire);
        if now <= shown {
            return shown;
        }
        // Written once per millisecond, so that reading the time does not make threads fight for a cache line.
        self.shown_ms.fetch_max(now, Ordering::AcqRel).max(now)
    }

    fn since_base_us(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Publishes the state after one entry; with `skipped`, after a snapshot that stands for many.
    pub(crate) fn publish(
        &self,
        index: Revision,
        state: &State,
        effects: Vec<Effect>,
        skipped: bool,
    ) {
        let before = self.state.load();
        if state.time_ms > before.time_ms {
            let time_us = state.time_ms.saturating_mul(1_000);
            let ahead = time_us.wrapping_sub(self.since_base_us(Instant::now()));
            self.ahead_us.store(ahead, Ordering::Release);
        }
        if effects.contains(&Effect::MembersChanged) {
            self.note_departures(&before.members, &state.members);
        }
        let state = Arc::new(state.clone());
        self.state.store(state.clone());
        self.applied.send_replace(index);
        let channel = lock(&self.effects);
        let batch = EffectBatch {
            revision: index,
            effects: effects.into(),
            state,
            skipped,
        };
        match channel.as_ref() {
            // A receiver that went away enforces nothing any more: the lease runs out.
            Some(channel) => drop(channel.send(batch)),
            // Nobody has taken the effects, so there are no connections: what is applied is enforced.
            None => self.raise_enforced(index),
        }
    }

    /// Hands out the effects from here on; the taker calls [`Self::enforce`].
    pub(crate) fn take_effects(&self) -> Option<mpsc::UnboundedReceiver<EffectBatch>> {
        let mut channel = lock(&self.effects);
        if channel.is_some() {
            return None;
        }
        let (tx, rx) = mpsc::unbounded_channel();
        *channel = Some(tx);
        Some(rx)
    }

    /// Notes that everything up to `revision` is carried out.
    pub(crate) fn enforce(&self, revision: Revision, closed: u64) {
        if closed > 0 {
            let mut kept = lock(&self.closed);
            *kept.entry(revision).or_default() += closed;
            while kept.len() > CLOSED_KEPT {
                kept.pop_first();
            }
        }
        self.raise_enforced(revision);
    }

    fn raise_enforced(&self, revision: Revision) {
        self.enforced.send_if_modified(|at| {
            let later = revision > *at;
            *at = (*at).max(revision);
            later
        });
    }

    /// Connections closed here for exactly this revision.
    pub(crate) fn closed(&self, revision: Revision) -> u64 {
        lock(&self.closed).get(&revision).copied().unwrap_or(0)
    }

    fn note_departures(&self, before: &OrdMap<NodeId, Member>, after: &OrdMap<NodeId, Member>) {
        let serves = |member: Option<&Member>| {
            member.is_some_and(|member| member.state != MemberState::Down)
        };
        let mut departed = lock(&self.departed);
        for node in after.keys() {
            if serves(after.get(node)) {
                departed.remove(node);
            } else {
                departed.entry(*node).or_insert_with(Instant::now);
            }
        }
        for node in before.keys().filter(|node| !after.contains_key(*node)) {
            departed.entry(*node).or_insert_with(Instant::now);
        }
    }

    /// When this node saw `node` leave (Down or removed), for those that have.
    pub(crate) fn departed(&self) -> BTreeMap<NodeId, Instant> {
        lock(&self.departed).clone()
    }

    /// Forgets removed nodes that left longer ago than `window`.
    pub(crate) fn forget_departed(&self, window: Duration) {
        let state = self.state.load();
        lock(&self.departed)
            .retain(|node, at| state.members.contains_key(node) || at.elapsed() < window);
    }
}
