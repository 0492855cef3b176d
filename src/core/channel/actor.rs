//! The channel actor: mailbox and timer around the channel's pure state. No decisions.
//!
//! **Must never know:** any rule of order, history or presence.
//!
//! **Why it waits for relays:** while the mailbox of one is full, the actor waits for it and takes nothing else:
//! back-pressure.

use super::budget::Reservation;
use super::digest::Counted;
use super::fanout::Fanout;
use super::messages::{Repeat, ReplyTo, Subscriber, Tell};
use super::relays::{ToRelay, offer};
use super::replica::Replica;
use super::replica::history::TICKS_PER_MS;
use super::replica::io::{Effect, Input, NewReplica, Ticket};
use super::replica::lifecycle_log::Unsettled;
use super::replica::protocol::{ForwardedRequest, Joined, PeerMessage, Request, Response};
use super::requests;
use super::shared::{LimitsAsOf, NodeContext, Stat};
use super::timer::Timer;
use super::wildcard;
use crate::core::authority::Operations;
use crate::core::clock::Now;
use crate::core::delivery::encoding::Frames;
use crate::core::delivery::messages::{Attach, Deliver, Detach, Interrupt};
use crate::core::delivery::relay::Relay;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, NodeId};
use crate::core::lifecycle::LifecycleEvent;
use crate::core::message::{
    Broadcast, Draft, Member, Occupancy, PresenceChange, Publication, Receipt,
};
use crate::core::session::{DeliveryMode, Event};
use actix::dev::ToEnvelope;
use actix::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Messages that may wait for one channel before its peers' links feel it.
const MAILBOX_CAPACITY: usize = 1_024;
/// How long a stopped channel still passes on what was sent to its old address.
const LINGER_TIME: Duration = Duration::from_secs(30);
/// How often the app's limits are looked up, ms.
const LIMITS_INTERVAL_MS: u64 = 1_000;

/// What a channel needs of the registry that started it.
pub(super) trait Siblings: std::fmt::Debug + Send + Sync {
    /// The channel of that name on this node, started if need be.
    fn find_or_start(self: Arc<Self>, key: &Arc<ChannelKey>) -> Addr<Channel>;
    /// Forgets a channel that stops, unless another one has taken its name; whether it did.
    fn forget(&self, key: &ChannelKey, stat: &Arc<Stat>) -> bool;
    /// A channel's history has brought the sum of all above its bound: has the larger ones let go of their oldest. Whoever
    /// pushed last does it, and no timer, because it is needed only when somebody has pushed, and at once. It looks at
    /// every channel of the node, at most every 100 ms and not before an eighth of the bound has been pushed again.
    fn evict(&self, now: Now);
}

/// One channel on this node.
#[derive(Debug)]
pub struct Channel {
    pub(super) key: Arc<ChannelKey>,
    /// The wildcards it stands below.
    pub(super) parent_wildcards: Vec<Arc<ChannelKey>>,
    pub(super) replica: Replica,
    fan: Fanout<Addr<Relay>>,
    /// In the order of their tickets; mostly the last is answered, and at once.
    waiting: VecDeque<(Ticket, Waiting)>,
    tickets: Ticket,
    /// What waits for a full relay, in order.
    queue: VecDeque<(Addr<Relay>, ToRelay)>,
    /// What waits for a wildcard whose mailbox is full, in order.
    pub(super) repeats: VecDeque<(Addr<Self>, Repeat)>,
    /// What this wildcard's home did not take, and how often it is asked of it again.
    again: Vec<(Draft, usize)>,
    pub(super) context: Arc<NodeContext>,
    pub(super) siblings: Arc<dyn Siblings>,
    stat: Arc<Stat>,
    counted: Counted,
    effects: Vec<Effect>,
    timer: Timer,
    pub(super) limits_due: u64,
    /// What its history weighs of all those of this node.
    history_bytes: Reservation,
    /// What they were read from; none before the second look.
    limits_as_of: Option<LimitsAsOf>,
    pub(super) retired: bool,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Waiting {
    Publish(ReplyTo),
    PublishBatch(oneshot::Sender<Result<Vec<Receipt>, Refusal>>),
    /// Nobody, but the wildcard: what its home did not take is asked of it again, so often.
    Repeat(Box<Draft>, usize),
    Join(Box<Joiner>),
    Presence {
        tell: Recipient<Tell>,
        tag: u64,
    },
    Mutation(oneshot::Sender<Result<(), Refusal>>),
    Occupancy(oneshot::Sender<Result<Occupancy, Refusal>>),
    Members(oneshot::Sender<Result<Arc<[Member]>, Refusal>>),
    History(oneshot::Sender<Result<Vec<Arc<Publication>>, Refusal>>),
    LastValue(oneshot::Sender<Result<Option<Arc<Publication>>, Refusal>>),
    PresenceLog(oneshot::Sender<Result<Vec<Arc<PresenceChange>>, Refusal>>),
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
    pub(super) fn new(
        new: NewReplica,
        context: Arc<NodeContext>,
        stat: Arc<Stat>,
        siblings: Arc<dyn Siblings>,
    ) -> Self {
        let mut effects = Vec::new();
        let (key, tickets) = (new.key.clone(), new.seed);
        let now = context.now();
        let history_bytes = stat.reservation(&context.histories);
        let counted = Counted::new(context.digests.clone(), &key);
        let replica = Replica::new(new, now, &mut effects);
        Self {
            parent_wildcards: wildcard::parent_wildcards(&key),
            key,
            replica,
            fan: Fanout::new(),
            waiting: VecDeque::new(),
            tickets: tickets >> 1,
            queue: VecDeque::new(),
            repeats: VecDeque::new(),
            again: Vec::new(),
            context,
            siblings,
            stat,
            counted,
            effects,
            timer: Timer::default(),
            limits_due: now.mono_ms + LIMITS_INTERVAL_MS,
            history_bytes,
            limits_as_of: None,
            retired: false,
        }
    }

    pub(super) fn feed(&mut self, input: Input, cx: &mut Context<Self>) {
        self.feed_at(self.context.now(), input, cx);
    }

    fn feed_at(&mut self, now: Now, input: Input, cx: &mut Context<Self>) {
        if now.mono_ms >= self.limits_due {
            self.limits_due = now.mono_ms + LIMITS_INTERVAL_MS;
            let as_of = Some(self.context.limits_as_of());
            if std::mem::replace(&mut self.limits_as_of, as_of) != as_of {
                self.replica.set_limits(self.context.limits(&self.key));
            }
        }
        let mut effects = std::mem::take(&mut self.effects);
        let counts = input.may_change_counts();
        let waits = self.replica.may_wait(&input);
        let was_home = self.replica.is_home();
        self.replica.handle(input, now, &mut effects);
        if !was_home && self.replica.is_home() {
            self.repeat_recent(now);
        }
        if counts {
            self.show();
        }
        if self.history_bytes.set(self.replica.history_bytes()) {
            self.siblings.evict(now);
        }
        self.carry_out(effects, now, cx);
        if waits {
            self.set_timer(now, cx);
        }
    }

    /// Shows the counts to listings and to the digests. Before anybody is answered: who was told of a subscription finds it
    /// there.
    fn show(&mut self) {
        self.stat.set(self.replica.occupancy());
        self.counted.update(&self.replica);
    }

    fn carry_out(&mut self, mut effects: Vec<Effect>, now: Now, cx: &mut Context<Self>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Deliver(broadcast) => {
                    self.repeat(&broadcast);
                    self.deliver(broadcast);
                }
                Effect::Send { to, message } => self.send(to, &message, now),
                Effect::SendAll { to, message } => {
                    self.context.send_all(&to, &self.key, &message);
                }
                Effect::Respond { ticket, response } => self.respond(ticket, response),
                Effect::Cancel(ticket) => drop(self.take_waiting(ticket)),
                Effect::Lifecycle(Unsettled { id, kind }) => {
                    self.context.tell_listener(LifecycleEvent {
                        channel: self.key.clone(),
                        id,
                        at_ms: id.at / TICKS_PER_MS,
                        kind,
                    });
                }
                Effect::Missed => self.interrupt(),
                Effect::Stop => self.retire(cx),
            }
        }
        self.effects = effects;
        for (draft, left) in std::mem::take(&mut self.again) {
            self.take_repeated(draft, left, now, cx);
        }
        self.drain(cx);
    }

    fn send(&mut self, to: NodeId, message: &PeerMessage, now: Now) {
        if self.context.send(to, &self.key, message) {
            return;
        }
        if let PeerMessage::Request(ForwardedRequest { id, .. }) = message {
            // Has no effects; the request stays pending until the link is back or its time is up.
            let unsent = Input::Unsent(*id);
            self.replica.handle(unsent, now, &mut Vec::new());
        }
    }

    pub(super) fn request(&mut self, request: Request, waiting: Waiting, cx: &mut Context<Self>) {
        self.request_at(self.context.now(), request, waiting, cx);
    }

    /// As [`Self::request`], where the time has been read already.
    pub(super) fn request_at(
        &mut self,
        now: Now,
        request: Request,
        waiting: Waiting,
        cx: &mut Context<Self>,
    ) {
        self.tickets += 1;
        let ticket = self.tickets;
        self.waiting.push_back((ticket, waiting));
        self.feed_at(now, Input::Request { ticket, request }, cx);
    }

    /// Encodes once per encoding in use, and hands one message to each worker with subscribers.
    fn deliver(&mut self, broadcast: Broadcast) {
        if self.fan.is_empty() {
            return;
        }
        let encodings = &self.context.encodings;
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

    fn respond(&mut self, ticket: Ticket, response: Result<Response, Refusal>) {
        let Some(waiting) = self.take_waiting(ticket) else {
            return;
        };
        match (waiting, response) {
            (Waiting::Publish(reply), Ok(Response::Receipt(receipt))) => {
                published(reply, Ok(receipt), &self.key);
            }
            (Waiting::Publish(reply), Err(refusal)) => published(reply, Err(refusal), &self.key),
            (Waiting::Repeat(..), Ok(_)) => {}
            (Waiting::Repeat(draft, left), Err(_)) => self.again.push((*draft, left)),
            (Waiting::PublishBatch(to), Ok(Response::Receipts(all))) => drop(to.send(Ok(all))),
            (Waiting::PublishBatch(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::Join(joiner), Ok(Response::Joined(joined))) => self.attach(*joiner, *joined),
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
            (Waiting::Mutation(to), answer) => drop(to.send(answer.map(|_done| ()))),
            (Waiting::Occupancy(to), Ok(Response::Occupancy(counts))) => drop(to.send(Ok(counts))),
            (Waiting::Occupancy(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::Members(to), Ok(Response::Members(members))) => drop(to.send(Ok(members))),
            (Waiting::Members(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::History(to), Ok(Response::History(page))) => drop(to.send(Ok(page))),
            (Waiting::History(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::LastValue(to), Ok(Response::LastValue(last))) => drop(to.send(Ok(last))),
            (Waiting::LastValue(to), Err(refusal)) => drop(to.send(Err(refusal))),
            (Waiting::PresenceLog(to), Ok(Response::PresenceLog(page))) => drop(to.send(Ok(page))),
            (Waiting::PresenceLog(to), Err(refusal)) => drop(to.send(Err(refusal))),
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
        let through = (worker, relay.clone());
        let how = (encoding, joiner.mode, joiner.echo);
        self.fan.attach(connection, through, how);
        let message = Attach {
            channel: self.key.clone(),
            connection,
            mode: joiner.mode,
            encoding,
            echo: joiner.echo,
            subscribed: requests::subscribed(&self.key, (joiner.tag, joiner.granted), joined),
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
        self.timer.set(self.replica.wake_at(), now, || cx.address());
    }

    /// The timer has run down, or one that was replaced had done so already.
    pub(super) fn wake(&mut self, cx: &mut Context<Self>) {
        self.timer.stop();
        if !self.retired {
            let serving = self.context.counted_in(&self.key);
            self.feed(Input::Wake { serving }, cx);
        }
    }

    /// Leaves the registry, so that the next one who looks starts a new channel, and passes on what still
    /// comes to this address.
    fn retire(&mut self, cx: &mut Context<Self>) {
        if !self.retired && self.siblings.forget(&self.key, &self.stat) {
            self.retired = true;
            cx.run_later(LINGER_TIME, |_, cx| cx.stop());
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
        self.siblings
            .clone()
            .find_or_start(&self.key)
            .do_send(message);
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
        cx.set_mailbox_capacity(MAILBOX_CAPACITY);
        let effects = std::mem::take(&mut self.effects);
        self.show();
        let now = self.context.now();
        self.carry_out(effects, now, cx);
        self.set_timer(now, cx);
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
