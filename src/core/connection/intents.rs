//! Intents carried out: the question to the authority, then the message to the channel.
//!
//! **Why it is synchronous until it cannot be:** nearly every intent is decided by a held pass or a look-up and taken
//! by a mailbox with room. Only a refusal that a newer view might lift, or a full mailbox, has to wait; then later
//! intents queue behind it and reading stops, so that order is kept and nothing piles up.

use super::actor::Connection;
use super::io;
use super::presence_entry::NewPresenceEntry;
use crate::core::authority::{
    AccessQuery, Operations, Pass, Principal, Proof, Reason, SpokenFor, UNCONFIRMED,
};
use crate::core::channel::actor::Channel;
use crate::core::channel::messages::{Join, PresenceTo, PublishTo, Read, ReplyTo, Tell};
use crate::core::close::End;
use crate::core::delivery::outbox::Source;
use crate::core::error::Refusal;
use crate::core::ids::{AppId, ChannelKey, ConnectionId};
use crate::core::limits::{CONNECTIONS_PER_NODE, SUBSCRIPTIONS_PER_CONNECTION};
use crate::core::session::{
    Event, HistoryRequest, Input, Intent, PresenceRequest, Publish, Subscribe,
};
use actix::dev::ToEnvelope;
use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::oneshot;

const NOT_IDENTIFIED: Refusal =
    Refusal::Unavailable("the connection has not said who it speaks for");
pub(super) const NOT_SERVING: Refusal = Refusal::Unavailable("this node may not serve now");

/// A right asked for.
pub(super) struct Right {
    pub(super) key: Arc<ChannelKey>,
    pub(super) needs: Operations,
    pub(super) wants: Operations,
    pub(super) proof: Option<Box<Proof>>,
    pub(super) speaks_for: Option<Box<SpokenFor>>,
}

impl Right {
    fn ask(&self) -> AccessQuery<'_> {
        AccessQuery {
            speaks_for: self.speaks_for.as_deref(),
            ..io::ask(&self.key, self.needs, self.wants)
        }
    }
}

/// A permitted request as its channel takes it.
fn publication(
    connection: ConnectionId,
    request: Publish,
    pass: Pass,
    tell: Arc<Recipient<Tell>>,
) -> (Arc<ChannelKey>, PublishTo) {
    let mut draft = request.draft;
    draft.connection = Some(connection);
    let reply = ReplyTo::Connection {
        tell,
        tag: request.ack.unwrap_or(request.tag),
        ack: request.ack.is_some(),
    };
    (request.channel, PublishTo { draft, pass, reply })
}

impl Connection {
    /// Asks the core for something. The answer comes to the session as an event, now or later.
    pub(super) fn execute(&mut self, intent: Intent, cx: &mut Context<Self>) {
        match intent {
            Intent::Identify(principal) => self.identify(principal, cx),
            Intent::CatchUp => self.catch_up(cx),
            Intent::Subscribe(request) => self.subscribe(request, cx),
            Intent::Unsubscribe { channel } => self.leave(&channel, cx),
            Intent::Publish(request) => self.publish(request, cx),
            Intent::PublishBatch(request) => self.publish_batch(*request, cx),
            Intent::Presence(request) => self.presence(request, cx),
            Intent::Members { channel, tag } => self.members(&channel, tag, cx),
            Intent::History(request) => self.history(*request, cx),
        }
    }

    pub(super) fn tell(&mut self, event: Event, cx: &mut Context<Self>) {
        self.feed(Input::Event(event), cx);
    }

    fn catch_up(&mut self, cx: &mut Context<Self>) {
        let authority = self.authority().clone();
        let round = async move { authority.catch_up().await };
        self.wait_for(round, cx, |this, answer, cx| {
            let answer = answer.map(|_| ()).map_err(|_| UNCONFIRMED);
            this.tell(Event::CaughtUp(answer), cx);
        });
    }

    /// What the session says to others as its connection ends: only what is allowed without asking anyone.
    pub(super) fn publish_last_will(&self, request: Publish) {
        let Some(principal) = self.state.principal() else {
            return;
        };
        if principal.app != request.channel.app || !self.authority().serving() {
            return;
        }
        let ask = io::ask(&request.channel, Operations::PUBLISH, Operations::NONE);
        let authority = self.authority();
        if let Ok(pass) = authority.decide(principal, request.proof.as_deref(), ask) {
            let mut draft = request.draft;
            draft.connection = Some(self.id);
            let (sender, _nobody_waits) = oneshot::channel();
            let reply = ReplyTo::Once(sender);
            let channel = self.worker.broker.channels.get(&request.channel);
            channel.do_send(PublishTo { draft, pass, reply });
        }
    }

    fn identify(&mut self, principal: Box<Principal>, cx: &mut Context<Self>) {
        if let Some(answer) = self.authority().admits(&principal) {
            return self.identified(principal, answer, cx);
        }
        let authority = self.authority().clone();
        let admit = async move { (authority.admit(&principal).await, principal) };
        self.wait_for(admit, cx, |this, (answer, principal), cx| {
            this.identified(principal, answer, cx);
        });
    }

    fn identified(
        &mut self,
        principal: Box<Principal>,
        answer: Result<(), Refusal>,
        cx: &mut Context<Self>,
    ) {
        if let Err(refusal) = answer.and_then(|()| self.count(principal.app)) {
            self.stranger.turned_down = Some(principal);
            self.tell(Event::IdentifyRefused(refusal), cx);
            self.stranger.turned_down = None;
            return;
        }
        let mut outputs = Vec::new();
        let authority = self.authority().clone();
        let app = principal.app;
        self.state.identify(principal, &authority, &mut outputs);
        self.indexed();
        // What is closed from here on is told to whoever is in the index; what was before is seen in the view.
        match self.closed_to(app, &authority.view()) {
            Some(cut) => self.finish(Some(End::Cut(cut)), None, cx),
            None => self.apply(outputs, cx),
        }
    }

    /// Counts the connection for its app on this node, once.
    fn count(&mut self, app: AppId) -> Result<(), Refusal> {
        if self.counted == Some(app) {
            return Ok(());
        }
        let max = self.authority().limit(app, &CONNECTIONS_PER_NODE);
        if !self.worker.broker.relays.enter(app, max) {
            let limit = CONNECTIONS_PER_NODE.name;
            return Err(Refusal::Limit { limit, max });
        }
        if let Some(former) = self.counted.replace(app) {
            self.worker.broker.relays.leave(former);
        }
        Ok(())
    }

    fn subscribe(&mut self, request: Box<Subscribe>, cx: &mut Context<Self>) {
        let app = request.channel.app;
        let max = self.authority().limit(app, &SUBSCRIPTIONS_PER_CONNECTION);
        if let Err(refusal) = self.state.may_subscribe(&request.channel, max) {
            return self.subscribe_refused(&request, refusal, cx);
        }
        let right = Right {
            key: request.channel.clone(),
            needs: request.needs,
            wants: request.wants,
            proof: request.proof.clone(),
            speaks_for: request.speaks_for.clone(),
        };
        self.with_pass(right, cx, |this, answer, cx| match answer {
            Ok(pass) => this.join(request, pass, cx),
            Err(refusal) => this.subscribe_refused(&request, refusal, cx),
        });
    }

    fn subscribe_refused(&mut self, request: &Subscribe, refusal: Refusal, cx: &mut Context<Self>) {
        let event = Event::SubscribeRefused {
            channel: request.channel.clone(),
            refusal,
            tag: request.tag,
        };
        self.tell(event, cx);
    }

    fn join(&mut self, request: Box<Subscribe>, pass: Pass, cx: &mut Context<Self>) {
        let key = request.channel.clone();
        let channel = self.channel(&key);
        self.state.joining(&request, pass.clone(), channel);
        self.index_speaks_for();
        self.schedule();
        let subscriber = self.subscriber(cx);
        let join = Join {
            subscriber,
            request,
            pass,
        };
        self.post(&key, join, cx);
    }

    pub(super) fn leave(&mut self, channel: &Arc<ChannelKey>, cx: &mut Context<Self>) {
        let mut outputs = Vec::new();
        self.state.unsubscribe(channel, &mut outputs);
        self.apply(outputs, cx);
    }

    fn publish(&mut self, request: Publish, cx: &mut Context<Self>) {
        // One look-up, and the address is not cloned (which allocates): every message of a subscribed client comes here.
        let reply_to = self.reply_to(cx);
        let standing = self.state.standing(&request.channel);
        if request.subscribed_only && standing.is_none() {
            return self.publish_refused(&request, Refusal::NotSubscribed, cx);
        }
        if !self.authority().serving() {
            return self.publish_refused(&request, NOT_SERVING, cx);
        }
        let held = standing.filter(|(_, pass)| pass.allows(Operations::PUBLISH, self.now()));
        if let (Some((channel, pass)), None) = (held, &request.proof) {
            let (key, message) = publication(self.id, request, pass.clone(), reply_to);
            if let Err(unsent) = channel.try_send(message) {
                self.post_again(&key, unsent, cx);
            }
            return;
        }
        let right = Right {
            key: request.channel.clone(),
            needs: Operations::PUBLISH,
            wants: Operations::NONE,
            proof: request.proof.clone(),
            speaks_for: None,
        };
        self.with_pass(right, cx, move |this, answer, cx| match answer {
            Ok(pass) => {
                let (key, message) = publication(this.id, request, pass, reply_to);
                this.post(&key, message, cx);
            }
            Err(refusal) => this.publish_refused(&request, refusal, cx),
        });
    }

    fn publish_refused(&mut self, request: &Publish, refusal: Refusal, cx: &mut Context<Self>) {
        let event = Event::PublishRefused {
            channel: request.channel.clone(),
            tag: request.tag,
            refusal,
        };
        self.tell(event, cx);
    }

    fn presence(&mut self, request: Box<PresenceRequest>, cx: &mut Context<Self>) {
        let key = request.channel.clone();
        let now = self.now();
        let held = match &request.member {
            Some(_) => self
                .state
                .held(&key, Operations::PRESENCE, now)
                .filter(|_| request.proof.is_none() && request.speaks_for.is_none())
                .map(|(_, pass)| pass),
            // Leaving takes no right beyond the one that let it in.
            None => self.state.entered_by(&key),
        };
        if let Some(pass) = held.cloned() {
            return self.presence_with(request, pass, cx);
        }
        let right = Right {
            key,
            needs: Operations::PRESENCE,
            wants: Operations::NONE,
            proof: request.proof.clone(),
            speaks_for: request.speaks_for.clone(),
        };
        self.with_pass(right, cx, |this, answer, cx| match answer {
            Ok(pass) => this.presence_with(request, pass, cx),
            Err(refusal) => {
                let event = Event::PresenceDone {
                    channel: request.channel.clone(),
                    tag: request.tag,
                    refusal: Some(refusal),
                };
                this.tell(event, cx);
            }
        });
    }

    fn presence_with(&mut self, request: Box<PresenceRequest>, pass: Pass, cx: &mut Context<Self>) {
        let key = request.channel.clone();
        match &request.member {
            Some(member) => {
                let channel = self.channel(&key);
                let entry = NewPresenceEntry {
                    key: &key,
                    client: &member.client,
                    proof: request.proof.clone(),
                    speaks_for: request.speaks_for.clone(),
                    pass: pass.clone(),
                };
                self.state.enter_presence(entry, channel);
                self.schedule();
            }
            None => self.state.leave_presence(&key, &request.client),
        }
        self.index_speaks_for();
        let message = PresenceTo {
            connection: self.id,
            request,
            pass,
            tell: cx.address().recipient::<Tell>(),
        };
        self.post(&key, message, cx);
    }

    fn members(&mut self, key: &Arc<ChannelKey>, tag: u64, cx: &mut Context<Self>) {
        let needs = Operations::PRESENCE_READ;
        self.read(key, needs, Read::Members, cx, move |members| {
            Event::Members { tag, members }
        });
    }

    fn history(&mut self, request: HistoryRequest, cx: &mut Context<Self>) {
        let HistoryRequest { channel, page, tag } = request;
        let read = move |answer| Read::History(page, answer);
        self.read(&channel, Operations::HISTORY, read, cx, move |page| {
            Event::History { tag, page }
        });
    }

    /// Reads from the channel's home what a right allows to read.
    fn read<T: Send + 'static>(
        &mut self,
        key: &Arc<ChannelKey>,
        needs: Operations,
        read: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Read + 'static,
        cx: &mut Context<Self>,
        event: impl FnOnce(Result<T, Refusal>) -> Event + 'static,
    ) {
        let right = Right {
            key: key.clone(),
            needs,
            wants: Operations::NONE,
            proof: None,
            speaks_for: None,
        };
        let key = key.clone();
        self.with_pass(right, cx, move |this, answer, cx| {
            if let Err(refusal) = answer {
                return this.tell(event(Err(refusal)), cx);
            }
            let (sender, answer) = oneshot::channel();
            this.post(&key, read(sender), cx);
            let lost = Refusal::Unavailable("the channel ended before it answered");
            let told = answer
                .into_actor(this)
                .map(|answer, this, cx| this.tell(event(answer.unwrap_or(Err(lost))), cx));
            cx.spawn(told);
        });
    }

    /// Decides a right and goes on: at once if the view settles it, else after the node has caught up.
    pub(super) fn with_pass(
        &mut self,
        right: Right,
        cx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, Result<Pass, Refusal>, &mut Context<Self>) + 'static,
    ) {
        let Some(principal) = self.state.principal() else {
            return then(self, Err(NOT_IDENTIFIED), cx);
        };
        if principal.app != right.key.app {
            let reason = Reason::NoSuchApp(right.key.app);
            return then(self, Err(Refusal::Denied(reason)), cx);
        }
        let authority = self.authority();
        let decision = authority.decide(principal, right.proof.as_deref(), right.ask());
        if let Some(answer) = authority.final_answer(decision) {
            return then(self, answer, cx);
        }
        let (authority, principal) = (authority.clone(), principal.clone());
        let authorize = async move {
            let proof = right.proof.as_deref();
            authority.authorize(&principal, proof, right.ask()).await
        };
        self.wait_for(authorize, cx, then);
    }

    /// The channel's address: held, used last, or looked up.
    fn channel(&mut self, key: &Arc<ChannelKey>) -> Addr<Channel> {
        if let Some(channel) = self.state.address(key) {
            return channel.clone();
        }
        if let Some((recent, channel)) = &self.recent
            && recent == key
        {
            return channel.clone();
        }
        let channel = self.worker.broker.channels.get(key);
        self.recent = Some((key.clone(), channel.clone()));
        channel
    }

    /// Posts to a channel's mailbox; a full one holds this connection back until there is room.
    pub(super) fn post<M>(&mut self, key: &Arc<ChannelKey>, message: M, cx: &mut Context<Self>)
    where
        M: Message<Result = ()> + Send + 'static,
        Channel: Handler<M>,
        <Channel as Actor>::Context: ToEnvelope<Channel, M>,
    {
        if let Err(unsent) = self.channel(key).try_send(message) {
            self.post_again(key, unsent, cx);
        }
    }

    /// What could not be posted at once.
    fn post_again<M>(&mut self, key: &Arc<ChannelKey>, unsent: SendError<M>, cx: &mut Context<Self>)
    where
        M: Message<Result = ()> + Send + 'static,
        Channel: Handler<M>,
        <Channel as Actor>::Context: ToEnvelope<Channel, M>,
    {
        let (channel, message) = match unsent {
            SendError::Full(message) => (self.channel(key), message),
            SendError::Closed(message) => {
                // It had nothing left to do and ended; its successor is one look-up away.
                let channel = self.worker.broker.channels.get(key);
                self.recent = Some((key.clone(), channel.clone()));
                self.state.readdress(key, &channel);
                (channel, message)
            }
        };
        let room = async move { channel.send(message).await };
        self.wait_for(room, cx, |_, _, _| {});
    }

    /// Holds back everything the client asks for next until the answer is there.
    fn wait_for<T: 'static>(
        &mut self,
        answer: impl Future<Output = T> + 'static,
        cx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, T, &mut Context<Self>) + 'static,
    ) {
        self.gate.shut();
        let told = answer.into_actor(self).map(|answer, this, cx| {
            this.pending = None;
            if !this.is_ending() {
                then(this, answer, cx);
                this.resume(cx);
            }
        });
        self.pending = Some(cx.spawn(told));
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.pending.is_some() || !self.waiting.is_empty()
    }

    /// Carries on with what was held back.
    fn resume(&mut self, cx: &mut Context<Self>) {
        while self.pending.is_none() && !self.is_ending() {
            let Some(action) = self.waiting.pop_front() else {
                self.gate.open();
                return;
            };
            self.carry_out(action, Source::SESSION, cx);
        }
    }
}
