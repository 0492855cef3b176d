//! The connection actor: mailbox, timers and outbox around a session and the core's connection state.
//!
//! **Why a plain actor beside the socket:** an actor that is polled by the response body freezes with its peer; it can
//! neither time out nor be ended. This one runs whatever the socket does, and reads only while its gate is open.

use super::accepted::{AcceptedConnection, Framing, Inbound, ReadGate};
use super::hand_over::HandedOverEntries;
use super::io::{Output, SubscribeOutcome};
use super::messages::{Attached, DeadlineReached, DeliverBroadcast, EndConnection, SocketClosed};
use super::refused::Stranger;
use super::state::State;
use crate::core::authority::Authority;
use crate::core::broker::Broker;
use crate::core::channel::actor::Channel;
use crate::core::channel::messages::{Leave, PresenceTo, Subscriber, Tell};
use crate::core::clock::Now;
use crate::core::close::End;
use crate::core::delivery::encoding::EncodingId;
use crate::core::delivery::outbox::{Outbox, Pushed, Source};
use crate::core::delivery::relay::Relay;
use crate::core::delivery::worker_state::{ConnectionMeta, Slot, WorkerState};
use crate::core::ids::{AppId, ChannelKey, ConnectionId};
use crate::core::session::{Action, Context as Cx, Event, Frame, Input, PresenceRequest, Session};
use actix::prelude::*;
use bytes::Bytes;
use futures_util::Stream;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Marks requests of the core's own, whose answers no session waits for.
const CORE_TAG: u64 = u64::MAX;

/// What a worker thread lends its connections.
#[derive(Clone, Debug)]
pub struct WorkerContext {
    /// Decisions and channels.
    pub broker: Broker,
    /// The thread's tables.
    pub state: Rc<WorkerState>,
    /// The thread's relay.
    pub relay: Addr<Relay>,
    /// The thread's number.
    pub number: u16,
}

/// The actor of one connection.
pub struct Connection {
    pub(super) id: ConnectionId,
    pub(super) worker: WorkerContext,
    pub(super) state: State<Addr<Channel>>,
    /// Intents behind one that waits for an answer.
    pub(super) waiting: VecDeque<Action>,
    /// The answer being waited for; while there is one, intents queue and nothing is read.
    pub(super) pending: Option<SpawnHandle>,
    /// The channel used last that is not subscribed to.
    pub(super) recent: Option<(Arc<ChannelKey>, Addr<Channel>)>,
    pub(super) gate: Rc<ReadGate>,
    encoding: EncodingId,
    pub(super) session: Box<dyn Session>,
    pub(super) outbox: Rc<Outbox>,
    pub(super) framing: Framing,
    meta: Option<ConnectionMeta>,
    pub(super) slot: Option<Slot>,
    /// What it says of itself.
    pub(super) stranger: Stranger,
    /// The app it is counted for on this node.
    pub(super) counted: Option<AppId>,
    wake_at: Option<u64>,
    /// Where channels answer its publishing. Made once: an address costs two allocations each time.
    reply_to: Option<Arc<Recipient<Tell>>>,
    /// Set once it is ending: when the socket is cut at the latest.
    pub(super) ending: Option<u64>,
    /// Its socket is lost; until then its presence entries wait for it to come back.
    pub(super) lingering: Option<u64>,
    /// The connection goes on with another socket.
    pub(super) succeeded: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({:?})", self.id)
    }
}

impl Connection {
    /// Starts the actor of an accepted connection on this thread.
    pub fn start<S>(
        accepted: AcceptedConnection,
        worker: &WorkerContext,
        outbox: Rc<Outbox>,
        gate: Rc<ReadGate>,
        inbound: S,
    ) -> Addr<Self>
    where
        S: Stream<Item = Inbound> + 'static,
    {
        let stranger = Stranger::new(&accepted);
        let meta = ConnectionMeta {
            id: accepted.id,
            dialect: accepted.dialect,
            remote: accepted.remote,
            since_ms: worker.broker.authority.now().cluster_ms,
        };
        let mut state = State::default();
        let handed_over = accepted.hand_over.map(HandedOverEntries::take);
        state.take_over_entries(handed_over.unwrap_or_default());
        Self::create(|cx| {
            cx.add_stream(inbound);
            Self {
                id: accepted.id,
                worker: worker.clone(),
                state,
                waiting: VecDeque::new(),
                pending: None,
                recent: None,
                gate,
                encoding: accepted.encoding,
                session: accepted.session,
                outbox,
                framing: accepted.framing,
                meta: Some(meta),
                slot: None,
                stranger,
                counted: None,
                wake_at: None,
                reply_to: None,
                ending: None,
                lingering: None,
                succeeded: false,
            }
        })
    }

    pub(super) fn now(&self) -> Now {
        self.worker.broker.authority.now()
    }

    pub(super) fn authority(&self) -> &Arc<Authority> {
        &self.worker.broker.authority
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// This connection as a channel sees it.
    pub(super) fn subscriber(&self, cx: &Context<Self>) -> Subscriber {
        Subscriber {
            connection: self.id,
            tell: cx.address().recipient::<Tell>(),
            relay: self.worker.relay.clone(),
            worker: self.worker.number,
            encoding: self.encoding,
        }
    }

    /// Where channels answer what this connection publishes.
    pub(super) fn reply_to(&mut self, cx: &Context<Self>) -> Arc<Recipient<Tell>> {
        let make = || cx.address().recipient::<Tell>().into();
        self.reply_to.get_or_insert_with(make).clone()
    }

    /// Gives the session an input and carries out what it answers.
    pub(super) fn feed(&mut self, input: Input, cx: &mut Context<Self>) {
        self.feed_from(input, Source::SESSION, cx);
    }

    /// As [`Self::feed`]; what it sends belongs to this source.
    fn feed_from(&mut self, input: Input, source: Source, cx: &mut Context<Self>) {
        if self.is_ending() {
            return;
        }
        let mut actions = Vec::new();
        let now = self.now();
        let context = Cx {
            id: self.id,
            now,
            authority: &self.worker.broker.authority,
        };
        self.session.handle(input, context, &mut actions);
        let mut actions = actions.into_iter();
        while let Some(action) = actions.next() {
            if self.is_ending() {
                return;
            }
            // An intent waits behind those that wait, and whatever was to follow it waits with it.
            if matches!(action, Action::Do(_)) && self.is_waiting() {
                self.waiting.push_back(action);
                self.waiting.extend(actions);
                break;
            }
            self.carry_out(action, source, cx);
        }
    }

    pub(super) fn carry_out(&mut self, action: Action, source: Source, cx: &mut Context<Self>) {
        match action {
            Action::Send(frame) => self.send(frame, source, cx),
            Action::Do(intent) => self.execute(intent, cx),
            Action::Close(close) => self.finish(None, Some(close), cx),
            Action::Refused(told) => self.refused(*told),
            Action::Wake { at_mono_ms } => {
                self.wake_at = Some(at_mono_ms);
                self.schedule();
            }
        }
    }

    fn send(&mut self, frame: Frame, source: Source, cx: &mut Context<Self>) {
        let bytes = (self.framing.message)(frame);
        self.push(source, bytes, cx);
    }

    fn push(&mut self, source: Source, bytes: Bytes, cx: &mut Context<Self>) {
        match self.outbox.push(source, bytes) {
            // Whoever sends runs after this actor's turn, so several pushes leave together.
            Pushed::First => self.outbox.wake(),
            Pushed::Queued | Pushed::Closed => {}
            Pushed::Over => self.finish(Some(End::Slow), None, cx),
        }
    }

    /// Carries out what the state found, in order.
    pub(super) fn apply(&mut self, outputs: Vec<Output<Addr<Channel>>>, cx: &mut Context<Self>) {
        for output in outputs {
            match output {
                Output::Tell(event) => self.feed(Input::Event(event), cx),
                Output::Detach { channel, drop } => {
                    let source = self
                        .slot
                        .and_then(|slot| self.worker.state.detach(slot, &channel));
                    if let Some(source) = source.filter(|_| drop) {
                        self.outbox.drop_source(source);
                    }
                }
                Output::Leave(channel) => channel.do_send(Leave {
                    connection: self.id,
                    gone: false,
                    keeps_members: false,
                }),
                Output::LeavePresence(channel, addr, pass, client) => {
                    let request = PresenceRequest {
                        channel,
                        member: None,
                        client,
                        speaks_for: None,
                        proof: None,
                        tag: CORE_TAG,
                    };
                    addr.do_send(PresenceTo {
                        connection: self.id,
                        request: Box::new(request),
                        pass,
                        tell: cx.address().recipient::<Tell>(),
                    });
                }
            }
        }
        self.index_speaks_for();
        self.schedule();
    }

    /// Whoever it has begun to speak for finds this connection from here on, and no longer whom it has let go.
    pub(super) fn index_speaks_for(&mut self) {
        if let Some(slot) = self.slot {
            for one in self.state.spoken_for.drain(..) {
                self.worker.state.speaks_for_changed(slot, one);
            }
        }
    }

    /// The principal has been taken on: everything named by it finds this connection from here on.
    pub(super) fn indexed(&mut self) {
        if let (Some(slot), Some(principal)) = (self.slot, self.state.principal()) {
            self.worker.state.identify(slot, principal);
        }
    }

    /// Asks the worker's timers for the earliest of everything this connection waits for.
    pub(super) fn schedule(&mut self) {
        let Some(slot) = self.slot else { return };
        let at = if let Some(cut_off) = self.ending {
            Some(self.lingering.map_or(cut_off, |until| until.min(cut_off)))
        } else {
            let now = self.now();
            let expiry = self.state.next_expiry(now).map(|at| {
                let left = at.saturating_sub(now.cluster_ms);
                now.mono_ms.saturating_add(left)
            });
            [self.wake_at, expiry].into_iter().flatten().min()
        };
        self.worker.state.schedule(slot, at);
    }

    /// Asks again what may have run out, on the cluster's clock.
    fn expire(&mut self, cx: &mut Context<Self>) {
        let mut outputs = Vec::new();
        let authority = self.authority().clone();
        let cut = self.state.expire(&authority, &mut outputs);
        self.apply(outputs, cx);
        if let Some(cut) = cut {
            self.finish(Some(End::Cut(cut)), None, cx);
        }
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        if let Some(meta) = self.meta.take() {
            let port = Box::new(cx.address());
            let slot = self.worker.state.register(meta, self.outbox.clone(), port);
            self.slot = Some(slot);
        }
        self.index_speaks_for();
        self.feed(Input::Opened, cx);
    }

    fn stopped(&mut self, _cx: &mut Context<Self>) {
        self.leave_all();
        self.outbox.drop_queued();
        self.outbox.close();
        if let Some(slot) = self.slot.take() {
            self.worker.state.unregister(slot);
        }
    }
}

impl StreamHandler<Inbound> for Connection {
    fn handle(&mut self, inbound: Inbound, cx: &mut Context<Self>) {
        if self.is_ending() {
            return;
        }
        match inbound {
            Inbound::Frame(frame) => self.hear(frame, cx),
            Inbound::Alive(answer) => {
                if !answer.is_empty() {
                    self.push(Source::SESSION, answer, cx);
                }
                self.feed(Input::Alive, cx);
            }
            Inbound::Close(answer) => {
                // What the client did not wait for is of no use to it; its close is answered at once.
                self.outbox.drop_queued();
                self.outbox.push_last(answer);
                self.finish(Some(End::Gone), None, cx);
            }
            Inbound::Abuse(abuse) => self.finish(Some(End::Abuse(abuse)), None, cx),
        }
    }

    /// The client's side of the socket has ended.
    fn finished(&mut self, cx: &mut Context<Self>) {
        if !self.is_ending() {
            self.outbox.drop_queued();
            self.finish(Some(End::Gone), None, cx);
        }
    }
}

impl Handler<Tell> for Connection {
    type Result = ();
    fn handle(&mut self, message: Tell, cx: &mut Context<Self>) {
        if self.is_ending() {
            return;
        }
        match message.0 {
            Event::SubscribeRefused {
                channel,
                refusal,
                tag,
            } => {
                let leave = self.state.refused(&channel);
                self.index_speaks_for();
                let told = Event::SubscribeRefused {
                    channel: channel.clone(),
                    refusal,
                    tag,
                };
                self.feed(Input::Event(told), cx);
                if leave {
                    self.leave(&channel, cx);
                }
            }
            // The core's own leaving is nobody's request.
            Event::PresenceDone { tag: CORE_TAG, .. } => {}
            told @ (Event::Identified
            | Event::IdentifyRefused(_)
            | Event::Expiring { .. }
            | Event::CaughtUp(_)
            | Event::Subscribed(_)
            | Event::Unsubscribed { .. }
            | Event::RightsChanged { .. }
            | Event::Published { .. }
            | Event::PublishRefused { .. }
            | Event::PresenceDone { .. }
            | Event::Members { .. }
            | Event::History { .. }
            | Event::Broadcast { .. }) => self.feed(Input::Event(told), cx),
        }
    }
}

impl Handler<Attached> for Connection {
    type Result = ();
    fn handle(&mut self, message: Attached, cx: &mut Context<Self>) {
        let (Some(slot), false) = (self.slot, self.is_ending()) else {
            return;
        };
        let mut subscribed = message.0;
        let channel = subscribed.channel.clone();
        let mut outputs = Vec::new();
        match self.state.subscribed(&mut subscribed, &mut outputs) {
            SubscribeOutcome::Unknown => {
                self.worker.state.detach(slot, &channel);
            }
            SubscribeOutcome::Lost(refusal) => {
                self.worker.state.detach(slot, &channel);
                let tag = subscribed.tag;
                outputs.push(Output::Tell(Event::SubscribeRefused {
                    channel,
                    refusal,
                    tag,
                }));
            }
            SubscribeOutcome::Stands { leave } => {
                let source = self.worker.state.source(&channel);
                let event = Input::Event(Event::Subscribed(subscribed));
                self.feed_from(event, source, cx);
                self.worker.state.release(slot, &channel);
                if leave {
                    self.leave(&channel, cx);
                }
            }
        }
        self.apply(outputs, cx);
    }
}

impl Handler<DeliverBroadcast> for Connection {
    type Result = ();
    fn handle(&mut self, message: DeliverBroadcast, cx: &mut Context<Self>) {
        let DeliverBroadcast {
            channel,
            broadcast,
            source,
        } = message;
        if self.state.stands(&channel) {
            let event = Event::Broadcast { channel, broadcast };
            self.feed_from(Input::Event(event), source, cx);
        }
    }
}

impl Handler<EndConnection> for Connection {
    type Result = ();
    fn handle(&mut self, message: EndConnection, cx: &mut Context<Self>) {
        self.finish(Some(message.0), None, cx);
    }
}

impl Handler<SocketClosed> for Connection {
    type Result = ();
    fn handle(&mut self, _message: SocketClosed, cx: &mut Context<Self>) {
        self.finish(Some(End::Gone), None, cx);
        if self.lingering.is_some() {
            self.cut_off(cx);
        } else {
            cx.stop();
        }
    }
}

impl Handler<DeadlineReached> for Connection {
    type Result = ();
    fn handle(&mut self, _message: DeadlineReached, cx: &mut Context<Self>) {
        let now = self.now();
        if let Some(cut_off) = self.ending {
            if self.lingering.is_some_and(|until| until <= now.mono_ms) {
                cx.stop();
            } else if cut_off <= now.mono_ms {
                self.cut_off(cx);
            } else {
                self.schedule();
            }
            return;
        }
        if self.wake_at.is_some_and(|at| at <= now.mono_ms) {
            self.wake_at = None;
            self.feed(Input::Wake, cx);
        }
        // What a connection that has just closed leaves waiting for its return is not judged any more.
        if !self.is_ending() {
            self.expire(cx);
        }
    }
}
