//! The channel actor: mailbox and timer around the channel's pure state. No decisions.
//!
//! **Must never know:** any rule of order, history or presence.
//!
//! **Why it waits for relays:** while the mailbox of one is full, the actor waits for it and takes nothing else:
//! back-pressure.

use super::budget::Part;
use super::fanout::Fanout;
use super::registry::{Ground, LimitsAsOf, Stat};
use super::relays::{ToRelay, offer};
use super::state::{Birth, Effect, Input, State, Ticket};
use super::timer::Timer;
use super::wildcard;
use super::wire::{Answer, Ask, Joined, Wire};
use super::{Repeat, ReplyTo, Subscriber, Tell};
use crate::core::authority::Operations;
use crate::core::clock::Now;
use crate::core::delivery::encoding::Frames;
use crate::core::delivery::messages::{Attach, Deliver, Detach, Interrupt};
use crate::core::delivery::relay::Relay;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, NodeId};
use crate::core::lifecycle::LifecycleEvent;
use crate::core::message::{Broadcast, Member, Occupancy, PresenceChange, Publication, Receipt};
use crate::core::session::{DeliveryMode, Event, Subscribed};
use actix::dev::ToEnvelope;
use actix::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

pub use super::registry::Channels;

/// Messages that may wait for one channel before its peers' links feel it.
const MAILBOX: usize = 1_024;
/// How long a stopped channel still passes on what was sent to its old address.
const LINGER: Duration = Duration::from_secs(30);
/// How often the app's limits are looked up, ms.
const LIMITS_MS: u64 = 1_000;

/// One channel on this node.
#[derive(Debug)]
pub struct Channel {
    pub(super) key: Arc<ChannelKey>,
    /// The wildcards it stands below.
    above: Vec<Arc<ChannelKey>>,
    state: State,
    fan: Fanout<Addr<Relay>>,
    /// In the order of their tickets; mostly the last is answered, and at once.
    waiting: VecDeque<(Ticket, Waiting)>,
    tickets: Ticket,
    /// What waits for a full relay, in order.
    queue: VecDeque<(Addr<Relay>, ToRelay)>,
    /// What waits for a wildcard whose mailbox is full, in order.
    repeats: VecDeque<(Addr<Self>, Repeat)>,
    pub(super) ground: Arc<Ground>,
    stat: Arc<Stat>,
    effects: Vec<Effect>,
    timer: Timer,
    pub(super) limits_due: u64,
    /// Its history's part of what all of this node weigh.
    part: Part,
    /// What they were read from; none before the second look.
    limits_as_of: Option<LimitsAsOf>,
    pub(super) retired: bool,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Waiting {
    Publish(ReplyTo),
    PublishBatch(oneshot::Sender<Result<Vec<Receipt>, Refusal>>),
    Join(Box<Joiner>),
    Presence { tell: Recipient<Tell>, tag: u64 },
    Deed(oneshot::Sender<Result<(), Refusal>>),
    Occupancy(oneshot::Sender<Result<Occupancy, Refusal>>),
    Members(oneshot::Sender<Result<Arc<[Member]>, Refusal>>),
    History(oneshot::Sender<Result<Vec<Arc<Publication>>, Refusal>>),
    Last(oneshot::Sender<Result<Option<Arc<Publication>>, Refusal>>),
    Changes(oneshot::Sender<Result<Vec<Arc<PresenceChange>>, Refusal>>),
}

#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) subscriber: Subscriber,
    pub(super) granted: Operations,
    pub(super) mode: DeliveryMode,
    pub(super) echo: bool,
    pub(super) tag: u64,
}

impl Channel {
    /// A channel for the registry to start.
    pub(super) fn new(birth: Birth, ground: Arc<Ground>, stat: Arc<Stat>) -> Self {
        let mut effects = Vec::new();
        let (key, tickets) = (birth.key.clone(), birth.seed);
        let now = ground.now();
        let part = stat.part(&ground.histories);
        let state = State::new(birth, now, &mut effects);
        Self {
            above: wildcard::above(&key),
            key,
            state,
            fan: Fanout::new(),
            waiting: VecDeque::new(),
            tickets: tickets >> 1,
            queue: VecDeque::new(),
            repeats: VecDeque::new(),
            ground,
            stat,
            effects,
            timer: Timer::default(),
            limits_due: now.mono_ms + LIMITS_MS,
            part,
            limits_as_of: None,
            retired: false,
        }
    }

    pub(super) fn feed(&mut self, input: Input, cx: &mut Context<Self>) {
        self.feed_at(self.ground.now(), input, cx);
    }

    fn feed_at(&mut self, now: Now, input: Input, cx: &mut Context<Self>) {
        if now.mono_ms >= self.limits_due {
            self.limits_due = now.mono_ms + LIMITS_MS;
            let as_of = Some(self.ground.limits_as_of());
            if std::mem::replace(&mut self.limits_as_of, as_of) != as_of {
                self.state.set_limits(self.ground.limits(&self.key));
            }
        }
        let mut effects = std::mem::take(&mut self.effects);
        let counts = input.may_change_counts();
        let waits = self.state.may_wait(&input);
        self.state.handle(input, now, &mut effects);
        if counts {
            self.show();
        }
        if self.part.set(self.state.history_bytes()) {
            self.ground.relieve(now);
        }
        self.carry_out(effects, now, cx);
        if waits {
            self.set_timer(now, cx);
        }
    }

    /// Shows the counts to listings. Before anybody is answered: who was told of a subscription finds it there.
    fn show(&self) {
        self.stat.set(self.state.occupancy());
    }

    fn carry_out(&mut self, mut effects: Vec<Effect>, now: Now, cx: &mut Context<Self>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Deliver(broadcast) => {
                    self.repeat(&broadcast);
                    self.deliver(broadcast);
                }
                Effect::Send { to, wire } => self.send(to, &wire, now),
                Effect::Answer { ticket, answer } => self.answer(ticket, answer),
                Effect::Forget(ticket) => drop(self.take_waiting(ticket)),
                Effect::Happened(happening) => self.ground.happened(LifecycleEvent {
                    channel: self.key.clone(),
                    at_ms: now.cluster_ms,
                    happening,
                }),
                Effect::Lost => self.interrupt(),
                Effect::Retire => self.retire(cx),
            }
        }
        self.effects = effects;
        self.drain(cx);
    }

    fn send(&mut self, to: NodeId, wire: &Wire, now: Now) {
        if self.ground.send(to, &self.key, wire) {
            return;
        }
        if let Wire::Request { request, .. } = wire {
            // Has no effects; the request stays pending until the link is back or its time is up.
            let unsent = Input::Unsent(*request);
            self.state.handle(unsent, now, &mut Vec::new());
        }
    }

    pub(super) fn ask(&mut self, ask: Ask, waiting: Waiting, cx: &mut Context<Self>) {
        self.ask_at(self.ground.now(), ask, waiting, cx);
    }

    /// As [`Self::ask`], where the time has been read already.
    pub(super) fn ask_at(&mut self, now: Now, ask: Ask, waiting: Waiting, cx: &mut Context<Self>) {
        self.tickets += 1;
        let ticket = self.tickets;
        self.waiting.push_back((ticket, waiting));
        self.feed_at(now, Input::Ask { ticket, ask }, cx);
    }

    /// Repeats what this home broadcasts to the wildcards above, where an app has any.
    fn repeat(&mut self, broadcast: &Broadcast) {
        if self.above.is_empty() || !self.state.is_home() || !self.ground.wildcards(self.key.app) {
            return;
        }
        let Some(draft) = wildcard::repeated(&self.key.name, broadcast) else {
            return;
        };
        let channels = Channels::on(&self.ground);
        for key in &self.above {
            let wildcard = channels.get(key);
            let message = Repeat(draft.clone());
            // Once one had to wait, all wait: order.
            let sent = match self.repeats.is_empty() {
                true => wildcard.try_send(message),
                false => Err(SendError::Full(message)),
            };
            if let Err(SendError::Full(message)) = sent {
                self.repeats.push_back((wildcard, message));
            }
        }
    }

    /// Encodes once per encoding in use, and hands one message to each worker with subscribers.
    fn deliver(&mut self, broadcast: Broadcast) {
        if self.fan.is_empty() {
            return;
        }
        let encodings = &self.ground.encodings;
        let encode = |id| Some((id, encodings.encode(id, &self.key, &broadcast)?));
        let frames: Frames = self.fan.encodings().filter_map(encode).collect();
        if frames.is_empty() && !self.fan.has_sessions() {
            return;
        }
        let (except, publisher) = match &broadcast {
            Broadcast::Message(one) => (one.draft.except, one.draft.connection),
            Broadcast::Presence(_) | Broadcast::Count(_) => (None, None),
        };
        let message = Deliver {
            channel: self.key.clone(),
            frames,
            broadcast,
            except,
            publisher,
        };
        for relay in self.fan.relays(except, publisher) {
            offer(&mut self.queue, relay, ToRelay::Deliver(message.clone()));
        }
    }

    /// Broadcasts between what the subscribers here have and what comes next are not to be had any more.
    fn interrupt(&mut self) {
        let (app, channel) = (self.key.app.0, &*self.key.name);
        tracing::warn!(
            app,
            channel,
            "messages were missed here, so this channel's subscribers are sent to connect again"
        );
        let all: Vec<_> = self.fan.relays(None, None).cloned().collect();
        for relay in all {
            let channel = self.key.clone();
            let message = ToRelay::Interrupt(Interrupt { channel });
            offer(&mut self.queue, &relay, message);
        }
    }

    fn take_waiting(&mut self, ticket: Ticket) -> Option<Waiting> {
        let at = self.waiting.binary_search_by_key(&ticket, |(one, _)| *one);
        self.waiting.remove(at.ok()?).map(|(_, waiting)| waiting)
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Answer, Refusal>) {
        let Some(waiting) = self.take_waiting(ticket) else {
            return;
        };
        match (waiting, answer) {
            (Waiting::Publish(reply), Ok(Answer::Receipt(receipt))) => {
                published(reply, Ok(receipt), &self.key);
            }
            (Waiting::Publish(reply), Err(refusal)) => published(reply, Err(refusal), &self.key),
            (Waiting::PublishBatch(to), Ok(Answer::Receipts(all))) => drop(to.send(Ok(all))),
            (Waiting::PublishBatch(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::Join(joiner), Ok(Answer::Joined(joined))) => self.attach(*joiner, *joined),
            (Waiting::Join(joiner), Err(refusal)) => {
                joiner
                    .subscriber
                    .tell
                    .do_send(Tell(Event::SubscribeRefused {
                        channel: self.key.clone(),
                        refusal,
                        tag: joiner.tag,
                    }));
            }
            (Waiting::Presence { tell, tag }, answer) => {
                tell.do_send(Tell(Event::PresenceDone {
                    channel: self.key.clone(),
                    tag,
                    refusal: answer.err(),
                }));
            }
            (Waiting::Deed(to), answer) => drop(to.send(answer.map(|_done| ()))),
            (Waiting::Occupancy(to), Ok(Answer::Occupancy(counts))) => drop(to.send(Ok(counts))),
            (Waiting::Occupancy(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::Members(to), Ok(Answer::Members(members))) => drop(to.send(Ok(members))),
            (Waiting::Members(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::History(to), Ok(Answer::History(page))) => drop(to.send(Ok(page))),
            (Waiting::History(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::Last(to), Ok(Answer::Last(last))) => drop(to.send(Ok(last))),
            (Waiting::Last(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::Changes(to), Ok(Answer::Changes(page))) => drop(to.send(Ok(page))),
            (Waiting::Changes(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (waiting, Ok(other)) => {
                tracing::error!(?waiting, ?other, "a home answered another question");
            }
        }
    }

    fn attach(&mut self, joiner: Joiner, joined: Joined) {
        let Subscriber {
            connection,
            relay,
            worker,
            encoding,
            tell: _,
        } = joiner.subscriber;
        let seat = (worker, relay.clone());
        let how = (encoding, joiner.mode, joiner.echo);
        self.fan.attach(connection, seat, how);
        let message = Attach {
            channel: self.key.clone(),
            connection,
            mode: joiner.mode,
            encoding,
            echo: joiner.echo,
            subscribed: Box::new(Subscribed {
                channel: self.key.clone(),
                tag: joiner.tag,
                granted: joiner.granted,
                position: joined.position,
                backlog: joined.backlog.publications,
                continuous: joined.backlog.continuous,
                members: joined.members,
                occupancy: joined.occupancy,
            }),
        };
        offer(&mut self.queue, &relay, ToRelay::Attach(message));
    }

    /// The connection gets nothing more, not even the answer to its join.
    pub(super) fn detach(&mut self, connection: ConnectionId) {
        let joins = |one: &Waiting| matches!(one, Waiting::Join(joiner) if joiner.subscriber.connection == connection);
        self.waiting.retain(|(_, one)| !joins(one));
        if let Some(relay) = self.fan.detach(connection) {
            let channel = self.key.clone();
            let message = Detach {
                channel,
                connection,
            };
            offer(&mut self.queue, &relay, ToRelay::Detach(message));
        }
    }

    /// Waits for full relays and wildcards; nothing else is taken from the mailbox meanwhile.
    fn drain(&mut self, cx: &mut Context<Self>) {
        if self.queue.is_empty() && self.repeats.is_empty() {
            return;
        }
        let queue = std::mem::take(&mut self.queue);
        let repeats = std::mem::take(&mut self.repeats);
        let all = async move {
            for (relay, message) in queue {
                message.push(&relay).await;
            }
            for (wildcard, message) in repeats {
                // One that is gone has no subscribers.
                let _closed = wildcard.send(message).await;
            }
        };
        cx.wait(all.into_actor(self));
    }

    fn set_timer(&mut self, now: Now, cx: &Context<Self>) {
        self.timer.set(self.state.wake_at(), now, || cx.address());
    }

    /// The timer has run down, or one that was replaced had done so already.
    pub(super) fn wake(&mut self, cx: &mut Context<Self>) {
        self.timer.stop();
        if !self.retired {
            self.feed(Input::Wake, cx);
        }
    }

    /// Leaves the registry, so that the next one who looks starts a new channel, and passes on what still
    /// comes to this address.
    fn retire(&mut self, cx: &mut Context<Self>) {
        if !self.retired && self.ground.forget(&self.key, &self.stat) {
            self.retired = true;
            cx.run_later(LINGER, |_, cx| cx.stop());
        }
    }

    /// The message, unless this channel has stopped: then it goes to its successor.
    pub(super) fn unless_retired<M>(&self, message: M) -> Option<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Self: Handler<M>,
        Context<Self>: ToEnvelope<Self, M>,
    {
        if !self.retired {
            return Some(message);
        }
        Channels::on(&self.ground).get(&self.key).do_send(message);
        None
    }
}

pub(super) fn published(to: ReplyTo, answer: Result<Receipt, Refusal>, key: &Arc<ChannelKey>) {
    match (to, answer) {
        (ReplyTo::Once(to), answer) => drop(to.send(answer)),
        (ReplyTo::Connection { tell, tag, ack }, Ok(receipt)) => {
            if ack {
                tell.do_send(Tell(Event::Published { tag, receipt }));
            }
        }
        (ReplyTo::Connection { tell, tag, ack: _ }, Err(refusal)) => {
            tell.do_send(Tell(Event::PublishRefused {
                channel: key.clone(),
                tag,
                refusal,
            }));
        }
    }
}

impl Actor for Channel {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        cx.set_mailbox_capacity(MAILBOX);
        let effects = std::mem::take(&mut self.effects);
        self.show();
        let now = self.ground.now();
        self.carry_out(effects, now, cx);
        self.set_timer(now, cx);
    }
}

#[cfg(test)]
pub(super) use tests::tapped;
#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
