//! One poller: what it is attached to, by which rights, and what has come for it.
//!
//! **Why a lock and not an actor:** it is held for a push or a swap, by one worker's relay and at most one request; a
//! mailbox would be a second hop for every message.

use super::queue::{Ended, Item, Queue};
use crate::core::authority::{
    AccessQuery, Cut, Effect, EffectBatch, Millis, Operations, Pass, Principal, Resource, Scope,
    State as Access, Text,
};
use crate::core::broker::Broker;
use crate::core::channel::messages::{Join, Leave, Subscriber, Tell};
use crate::core::close::End;
use crate::core::connection::reached::{Named, reached};
use crate::core::delivery::encoding::EncodingId;
use crate::core::delivery::outbox::Source;
use crate::core::delivery::port::{ConnectionPort, HandOver};
use crate::core::delivery::relay::Relay;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId};
use crate::core::message::Broadcast;
use crate::core::session::{Start, Subscribe, Subscribed};
use actix::prelude::{Addr, Message, Recipient};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A name that was judged, and what for. A channel stays attached while all its requirements are met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What kind of thing was judged: a channel, or the group it is read through.
    pub resource: Resource,
    /// Its name, as it was judged.
    pub name: Text,
    /// The operations that it was judged for.
    pub needs: Operations,
}

impl Requirement {
    /// The question behind it.
    #[must_use]
    pub fn ask(&self) -> AccessQuery<'_> {
        AccessQuery {
            resource: self.resource,
            name: &self.name,
            needs: self.needs,
            wants: Operations::NONE,
            speaks_for: None,
        }
    }
}

/// A channel to be attached to.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// The names that were judged for it.
    pub requirements: Vec<Requirement>,
    /// What all of them allow.
    pub pass: Pass,
    /// Where it begins.
    pub start: Start,
}

#[derive(Debug)]
struct Stream {
    requirements: Vec<Requirement>,
    /// What all of them allow.
    pass: Pass,
    joining: bool,
}

#[derive(Debug, Default)]
struct Inner {
    streams: HashMap<Arc<ChannelKey>, Stream>,
    /// The earliest end of a right it stands on, cluster time.
    until_ms: Option<Millis>,
    queue: Queue,
    ended: Option<Ended>,
    waker: Option<Waker>,
    /// Since when no request has held it, monotonic ms.
    parked_ms: Option<u64>,
}

impl Inner {
    /// Notes when the first of its rights ends: every message asks.
    fn note_end(&mut self) {
        let passes = self.streams.values().map(|one| &one.pass);
        self.until_ms = passes.filter_map(Pass::until_ms).min();
    }
}

/// To the poll worker of its thread: that poller is let go.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Close(pub(super) u64);

/// Its place on the worker that owns it.
#[derive(Clone, Debug)]
pub(super) struct WorkerAddr {
    pub(super) relay: Addr<Relay>,
    pub(super) worker: u16,
    /// Where refused joins are told.
    pub(super) tell: Recipient<Tell>,
    /// Who forgets it when it is let go.
    pub(super) poll_worker: Recipient<Close>,
}

/// A polling session. Shared by its worker's tables and its request.
#[derive(Debug)]
pub struct Poller {
    id: ConnectionId,
    tag: u64,
    principal: Principal,
    broker: Broker,
    addr: WorkerAddr,
    /// It subscribes to groups, though perhaps to empty ones.
    grouped: AtomicBool,
    inner: Mutex<Inner>,
}

impl Poller {
    pub(super) fn new(tag: u64, principal: Principal, broker: Broker, addr: WorkerAddr) -> Self {
        Self {
            id: ConnectionId::random(),
            tag,
            principal,
            broker,
            addr,
            grouped: AtomicBool::new(false),
            inner: Mutex::default(),
        }
    }

    /// Its name among the connections.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whom it speaks for.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Consistent between any two statements: poison means nothing here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes its channels exactly these: joins what is new, leaves what is not wanted, and notes the requirements.
    /// `grouped` = some come from groups, so that it ends when groups may have changed.
    pub fn attach(&self, subscriptions: Vec<Subscription>, grouped: bool) {
        self.grouped.store(grouped, Ordering::Relaxed);
        let mut joins = Vec::new();
        let mut inner = self.lock();
        if inner.ended.is_some() {
            return;
        }
        let gone: Vec<Arc<ChannelKey>> = inner
            .streams
            .keys()
            .filter(|key| !subscriptions.iter().any(|one| one.channel == **key))
            .cloned()
            .collect();
        for key in &gone {
            inner.streams.remove(key);
            inner.queue.clear(|of| *of == **key);
        }
        for one in subscriptions {
            if let Some(stream) = inner.streams.get_mut(&one.channel) {
                stream.requirements = one.requirements;
                stream.pass = one.pass;
                continue;
            }
            let stream = Stream {
                requirements: one.requirements,
                pass: one.pass.clone(),
                joining: true,
            };
            inner.streams.insert(one.channel.clone(), stream);
            joins.push((one.channel, one.pass, one.start));
        }
        inner.note_end();
        drop(inner);
        self.leave(&gone);
        for (channel, pass, start) in joins {
            self.join(&channel, pass, start);
        }
    }

    fn join(&self, channel: &Arc<ChannelKey>, pass: Pass, start: Start) {
        let request = Subscribe::by_poll(channel.clone(), start, self.tag);
        let subscriber = Subscriber {
            connection: self.id,
            tell: self.addr.tell.clone(),
            relay: self.addr.relay.clone(),
            worker: self.addr.worker,
            encoding: EncodingId(0),
        };
        self.broker.channels.get(channel).do_send(Join {
            subscriber,
            request: Box::new(request),
            pass,
        });
    }

    fn leave(&self, keys: &[Arc<ChannelKey>]) {
        for key in keys {
            if let Some(channel) = self.broker.channels.existing(key) {
                channel.do_send(Leave {
                    connection: self.id,
                    gone: false,
                    keeps_members: false,
                });
            }
        }
    }

    /// Ready once all channels have answered and something waits, or nothing will come any more.
    pub fn poll_ready(&self, cx: &Context<'_>, empty_too: bool) -> Poll<()> {
        let mut inner = self.lock();
        let joined = !inner.streams.values().any(|one| one.joining);
        let waits = !inner.queue.is_empty() || inner.queue.is_spent();
        if inner.ended.is_some() || (joined && (empty_too || waits)) {
            return Poll::Ready(());
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// What has come, at most `max`, oldest first; or why nothing will.
    ///
    /// # Errors
    /// Why it has ended.
    pub fn take(&self, max: usize) -> Result<Vec<Item>, Ended> {
        self.recheck_if_due();
        if self.lock().queue.is_spent() {
            self.finish(Ended::Over);
        }
        let mut inner = self.lock();
        match &inner.ended {
            Some(ended) => Err(ended.clone()),
            None => Ok(inner.queue.take(max)),
        }
    }

    /// Lays aside what was taken, to be shown later. `false` once no more should be.
    #[must_use]
    pub fn set_aside(&self, items: Vec<Item>) -> bool {
        let now_ms = self.broker.authority.now().mono_ms;
        let mut inner = self.lock();
        inner.ended.is_some() || inner.queue.set_aside(items, now_ms)
    }

    /// Since when something has been laid aside, monotonic ms.
    #[must_use]
    pub fn set_aside_since_ms(&self) -> Option<u64> {
        self.lock().queue.set_aside_since_ms()
    }

    /// All that was laid aside.
    #[must_use]
    pub fn take_set_aside(&self) -> Vec<Item> {
        self.lock().queue.take_set_aside()
    }

    /// When its rights have to be judged again, cluster time.
    #[must_use]
    pub fn until_ms(&self) -> Option<Millis> {
        self.lock().until_ms
    }

    /// Leaves it for the next request, or takes it up again. `false` when it has ended meanwhile.
    #[must_use]
    pub fn park(&self, parked: bool) -> bool {
        let now_ms = self.broker.authority.now().mono_ms;
        let mut inner = self.lock();
        inner.parked_ms = parked.then_some(now_ms);
        inner.waker = None;
        inner.ended.is_none()
    }

    /// Whether nobody has come back for it since then.
    pub(super) fn parked_before(&self, mono_ms: u64) -> bool {
        self.lock().parked_ms.is_some_and(|since| since < mono_ms)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Ends it and gives its place back.
    pub fn close(&self) {
        self.finish(Ended::Closed);
        self.addr.poll_worker.do_send(Close(self.tag));
    }

    /// What its place's owner does when it gives the place back.
    pub(super) fn let_go(&self) {
        let keys: Vec<Arc<ChannelKey>> = self.lock().streams.drain().map(|(key, _)| key).collect();
        self.leave(&keys);
        self.broker.relays.leave(self.principal.app);
    }

    fn finish(&self, why: Ended) {
        let mut inner = self.lock();
        inner.ended.get_or_insert(why);
        inner.queue.clear(|_| true);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A channel did not take it.
    pub(super) fn refused(&self, refusal: Refusal) {
        self.finish(match refusal {
            Refusal::Denied(_) => Ended::Denied,
            refusal @ (Refusal::Limit { .. }
            | Refusal::Rate { .. }
            | Refusal::AlreadySubscribed
            | Refusal::NotSubscribed
            | Refusal::Invalid(_)
            | Refusal::Unavailable(_)
            | Refusal::OutcomeUnknown) => Ended::Refused(refusal),
        });
    }

    fn recheck_if_due(&self) {
        let now_ms = self.broker.authority.now().cluster_ms;
        if self.lock().until_ms.is_some_and(|end| end <= now_ms) {
            self.recheck();
        }
    }

    /// Decides every requirement again, on the present view. One that is gone ends the poller, with all that waits in it.
    fn recheck(&self) -> bool {
        let view = self.broker.authority.view();
        let held = self.renew_passes(&view, |_| true, |old, new| new.as_of(old.revision()));
        if !held {
            self.finish(Ended::Denied);
        }
        held
    }

    /// As [`Self::recheck`], on the state right after a log entry, but for what a newer one has allowed: the present
    /// view does not show what was taken and given back. Then its client asks again, and goes on where it stands.
    fn recheck_on(&self, after: &Access) -> bool {
        let older = |pass: &Pass| pass.revision() < after.revision;
        let held = self.renew_passes(after, older, |_, new| new);
        if !held && self.recheck() {
            self.finish(Ended::Sent);
        }
        held
    }

    /// Whether all requirements stand there whose pass this concerns; they get a new one.
    fn renew_passes(
        &self,
        access: &Access,
        concerns: impl Fn(&Pass) -> bool,
        renewed: impl Fn(&Pass, Pass) -> Pass,
    ) -> bool {
        let mut inner = self.lock();
        for stream in inner.streams.values_mut().filter(|one| concerns(&one.pass)) {
            let authority = &self.broker.authority;
            let asked = stream.requirements.iter().map(Requirement::ask);
            let passes = asked.map(|ask| authority.decide_on(access, &self.principal, None, ask));
            match passes.reduce(|one, other| Ok(one?.and(&other?))) {
                Some(Ok(pass)) => stream.pass = renewed(&stream.pass, pass),
                Some(Err(_)) => return false,
                None => {}
            }
        }
        inner.note_end();
        true
    }

    fn through_group(&self) -> bool {
        self.grouped.load(Ordering::Relaxed)
    }

    fn push(&self, item: Item) {
        let mut inner = self.lock();
        if inner.ended.is_some() || !inner.streams.contains_key(&item.channel) {
            return;
        }
        inner.queue.push(item);
        let joining = inner.streams.values().any(|one| one.joining);
        let waker = if joining { None } else { inner.waker.take() };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn joined(&self, subscribed: Subscribed) {
        for publication in subscribed.backlog {
            self.push(Item {
                channel: subscribed.channel.clone(),
                broadcast: Broadcast::Message(publication),
            });
        }
        let mut inner = self.lock();
        if let Some(stream) = inner.streams.get_mut(&subscribed.channel) {
            stream.joining = false;
        }
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The poller as its worker's tables see it.
#[derive(Debug)]
pub(super) struct Port(pub(super) Arc<Poller>);

impl ConnectionPort for Port {
    fn attached(&self, subscribed: Box<Subscribed>) {
        self.0.joined(*subscribed);
    }

    fn broadcast(&self, channel: Arc<ChannelKey>, broadcast: Broadcast, _source: Source) {
        self.0.recheck_if_due();
        self.0.push(Item { channel, broadcast });
    }

    fn end(&self, end: End) {
        self.0.finish(match end {
            End::Draining | End::Stale => Ended::Away,
            // What waits goes out, and its client asks again from there.
            End::Missed => Ended::Sent,
            End::Slow => Ended::Over,
            End::Cut(_) => Ended::Denied,
            End::Gone | End::Silent | End::Abuse(_) => Ended::Closed,
        });
    }

    fn due(&self) {}

    /// A poller has no socket of its own to change; its next request finds it where it was parked.
    fn take_over(&self) -> LocalBoxFuture<'static, Option<HandOver>> {
        std::future::ready(None).boxed_local()
    }

    fn enforce(&self, batch: EffectBatch) -> LocalBoxFuture<'static, bool> {
        let poller = &self.0;
        let principal = &poller.principal;
        let was = poller.is_over();
        for effect in batch.effects.iter() {
            let (app, named, cut) = match effect {
                Effect::Cut { app, target, cut } => (app, Named::One(target), cut),
                Effect::CutAll { app, whom, cut } => (app, Named::All(whom), cut),
                Effect::Recheck { .. } | Effect::AppChanged(_) | Effect::MembersChanged => continue,
            };
            if *app == principal.app
                && matches!(cut, Cut::Disconnected | Cut::Blocked | Cut::Disabled)
                && reached(principal, named, cut)
            {
                poller.finish(match cut {
                    Cut::Disconnected => Ended::Sent,
                    Cut::Revoked { .. } | Cut::Blocked | Cut::Disabled => Ended::Denied,
                });
            }
        }
        let everyone = |effect: &Effect| matches!(effect, Effect::Recheck { app, scope: Scope::App } if *app == principal.app);
        if poller.recheck_on(&batch.state)
            && poller.through_group()
            && batch.effects.iter().any(everyone)
        {
            // A group may hold other channels now: its client asks again, and goes on where it stands.
            poller.finish(Ended::Sent);
            return std::future::ready(false).boxed_local();
        }
        let ended = !was && poller.is_over();
        std::future::ready(ended).boxed_local()
    }
}

#[cfg(test)]
#[path = "poller_tests.rs"]
mod tests;
