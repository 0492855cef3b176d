//! What sessions ask of the core, carried out as `core/connection/intents.rs` does: the question to the authority, then the
//! message to the channel.

use super::channel::{Reply, ToChannel};
use super::connection::Pending;
use super::world::{Event as Later, World};
use crate::core::authority::{Operations, Pass, Principal, Proof, Reason};
use crate::core::connection::io::{self, Output};
use crate::core::connection::presence_entry::NewPresenceEntry;
use crate::core::delivery::outbox::Source;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, Space};
use crate::core::session::{Event, Frame, Input, Intent, PresenceRequest, Publish, Subscribe};
use std::sync::Arc;

/// How long a node tries to bring its view up to date before it says that it cannot, ms.
const CATCH_UP_MS: u64 = 1_500;
const NOBODY: Refusal = Refusal::Unavailable("the connection has not said who it speaks for");
const NOT_SERVING: Refusal = Refusal::Unavailable("this node may not serve now");
const UNCONFIRMED: Refusal = Refusal::Unavailable("the view could not be confirmed");

impl World {
    pub(super) fn execute(&mut self, at: usize, id: ConnectionId, intent: Intent) {
        match intent {
            Intent::Identify(principal) => self.identify(at, id, principal, None),
            Intent::CatchUp => self.wait(at, id, Pending::CatchUp),
            Intent::Subscribe(request) => self.subscribe(at, id, request, None),
            Intent::Unsubscribe { channel } => self.leave(at, id, &channel),
            Intent::Publish(request) => self.publish(at, id, request, None),
            Intent::PublishBatch(request) => {
                let serving = self.processes[at].authority.serving();
                let Some(one) = self.one(at, id) else { return };
                let pass = one
                    .state
                    .standing(&request.channel)
                    .map(|(_, pass)| pass.clone());
                let Some(pass) = pass.filter(|_| serving) else {
                    let event = Event::PublishRefused {
                        channel: request.channel,
                        tag: request.tag,
                        refusal: NOT_SERVING,
                    };
                    return self.feed(at, id, Input::Event(event), Source::SESSION);
                };
                let mut drafts = request.drafts;
                drafts.iter_mut().for_each(|one| one.connection = Some(id));
                let channel = self.channel_of(&request.channel);
                let batch = ToChannel::PublishBatch(drafts, pass, id, request.tag);
                self.mail_channel(at, channel, batch);
            }
            Intent::Presence(request) => self.presence(at, id, request, None),
            Intent::Members { channel, tag } => self.members(at, id, channel, tag, None),
            Intent::History(request) => {
                let channel = self.channel_of(&request.channel);
                let read = ToChannel::History(id, request.tag, request.page);
                self.mail_channel(at, channel, read);
            }
        }
    }

    /// Holds back what the client asks for next until this node's view is as new as it can be had.
    fn wait(&mut self, at: usize, id: ConnectionId, pending: Pending) {
        let index = self.log.len();
        let reaches = self.reads(self.processes[at].node);
        if let Some(one) = self.one(at, id) {
            one.pending = Some(pending);
        }
        let ms = match reaches {
            true => self.chance.between(1, 20),
            false => CATCH_UP_MS,
        };
        let covers = reaches.then_some(index);
        self.later(ms, Later::CaughtUp(at, id, covers));
    }

    pub(super) fn caught_up(&mut self, at: usize, id: ConnectionId, confirmed: bool) {
        let Some(pending) = self.one(at, id).and_then(|one| one.pending.take()) else {
            return;
        };
        let last = Some(confirmed);
        match pending {
            Pending::CatchUp => {
                let answer = if confirmed { Ok(()) } else { Err(UNCONFIRMED) };
                let event = Event::CaughtUp(answer);
                self.feed(at, id, Input::Event(event), Source::SESSION);
            }
            Pending::Identify(principal) => self.identify(at, id, principal, last),
            Pending::Subscribe(request) => self.subscribe(at, id, request, last),
            Pending::Publish(request) => self.publish(at, id, request, last),
            Pending::Presence(request) => self.presence(at, id, request, last),
            Pending::Members(key, tag) => self.members(at, id, key, tag, last),
        }
        self.resume(at, id);
    }

    fn resume(&mut self, at: usize, id: ConnectionId) {
        while let Some(one) = self
            .one(at, id)
            .filter(|one| one.pending.is_none() && !one.ending)
        {
            if let Some(action) = one.waiting.pop_front() {
                self.act(at, id, action, Source::SESSION);
            } else if let Some(text) = one.unread.pop_front() {
                let frame = Frame::Text(text.into());
                self.feed(at, id, Input::Frame(frame), Source::SESSION);
            } else {
                return;
            }
        }
    }

    fn identify(
        &mut self,
        at: usize,
        id: ConnectionId,
        principal: Box<Principal>,
        last: Option<bool>,
    ) {
        let authority = self.processes[at].authority.clone();
        let answer = match (authority.admits(&principal), last) {
            (Some(answer), _) => answer,
            (None, None) => return self.wait(at, id, Pending::Identify(principal)),
            (None, Some(false)) => Err(UNCONFIRMED),
            (None, Some(true)) => match authority.objection(&principal) {
                Some(reason) => Err(Refusal::Denied(reason)),
                None => Ok(()),
            },
        };
        let local = self.processes[at].local.clone();
        let Some(one) = self.one(at, id) else { return };
        let mut outputs = Vec::new();
        match answer {
            Err(refusal) => outputs.push(Output::Tell(Event::IdentifyRefused(refusal))),
            Ok(()) => {
                one.state.identify(principal, &authority, &mut outputs);
                if let Some(principal) = one.state.principal() {
                    local.identify(one.slot, principal);
                }
            }
        }
        self.apply_outputs(at, id, outputs);
    }

    /// The pass for this, or `None` when it has to wait.
    fn pass_for(
        &mut self,
        at: usize,
        id: ConnectionId,
        key: &ChannelKey,
        proof: Option<&Proof>,
        (needs, wants): (Operations, Operations),
        last: Option<bool>,
    ) -> Option<Result<Pass, Refusal>> {
        let authority = self.processes[at].authority.clone();
        let one = self.one(at, id)?;
        let Some(principal) = one.state.principal() else {
            return Some(Err(NOBODY));
        };
        if principal.app != key.app {
            return Some(Err(Refusal::Denied(Reason::NoSuchApp(key.app))));
        }
        let ask = io::ask(key, needs, wants);
        let decision = authority.decide(principal, proof, ask);
        match (authority.final_answer(decision.clone()), last) {
            (Some(answer), _) => Some(answer),
            (None, None) => None,
            (None, Some(false)) => Some(Err(UNCONFIRMED)),
            (None, Some(true)) => Some(decision.map_err(Refusal::Denied)),
        }
    }

    fn subscribe(
        &mut self,
        at: usize,
        id: ConnectionId,
        request: Box<Subscribe>,
        last: Option<bool>,
    ) {
        let key = request.channel.clone();
        let proof = request.proof.clone();
        let rights = (request.needs, request.wants);
        let asked = self.history.tick();
        if let Some(one) = self.one(at, id).filter(|_| last.is_none()) {
            one.asked = asked;
        }
        let refused = match self
            .one(at, id)
            .map(|one| one.state.may_subscribe(&key, 100))
        {
            None => return,
            Some(Err(refusal)) => Err(refusal),
            Some(Ok(())) => match self.pass_for(at, id, &key, proof.as_deref(), rights, last) {
                None => return self.wait(at, id, Pending::Subscribe(request)),
                Some(answer) => answer,
            },
        };
        if matches!(refused, Err(Refusal::Denied(Reason::NotGranted(_))))
            && key.space == Space::Channel
        {
            let begun = self.one(at, id).map_or(0, |one| one.asked);
            self.refused_for_want(begun);
        }
        match refused {
            Ok(pass) => {
                let channel = self.channel_of(&key);
                let Some(one) = self.one(at, id) else { return };
                one.state.joining(&request, pass.clone(), channel);
                let encoding = one.encoding;
                self.mail_channel(at, channel, ToChannel::Join(id, encoding, request, pass));
            }
            Err(refusal) => {
                let event = Event::SubscribeRefused {
                    channel: key,
                    refusal,
                    tag: request.tag,
                };
                self.feed(at, id, Input::Event(event), Source::SESSION);
            }
        }
    }

    fn publish(&mut self, at: usize, id: ConnectionId, request: Publish, last: Option<bool>) {
        let key = request.channel.clone();
        let proof = request.proof.clone();
        let rights = (Operations::PUBLISH, Operations::NONE);
        let serving = self.processes[at].authority.serving();
        let standing = self
            .one(at, id)
            .is_some_and(|one| one.state.standing(&key).is_some());
        let answer = if request.subscribed_only && !standing {
            Err(Refusal::NotSubscribed)
        } else if !serving {
            Err(NOT_SERVING)
        } else {
            match self.pass_for(at, id, &key, proof.as_deref(), rights, last) {
                None => return self.wait(at, id, Pending::Publish(request)),
                Some(answer) => answer,
            }
        };
        match answer {
            Ok(pass) => {
                let mut draft = request.draft;
                draft.connection = Some(id);
                let tag = request.ack.unwrap_or(request.tag);
                let reply = Reply::Connection(id, tag, request.ack.is_some());
                let channel = self.channel_of(&key);
                self.mail_channel(at, channel, ToChannel::Publish(draft, pass, reply));
            }
            Err(refusal) => {
                let event = Event::PublishRefused {
                    channel: key,
                    tag: request.tag,
                    refusal,
                };
                self.feed(at, id, Input::Event(event), Source::SESSION);
            }
        }
    }

    fn presence(
        &mut self,
        at: usize,
        id: ConnectionId,
        request: Box<PresenceRequest>,
        last: Option<bool>,
    ) {
        let key = request.channel.clone();
        let now = self.processes[at].now();
        let Some(one) = self.one(at, id) else { return };
        let held = match &request.member {
            Some(_) => one
                .state
                .held(&key, Operations::PRESENCE, now)
                .map(|(_, pass)| pass),
            None => one.state.entered_by(&key),
        };
        let answer = match held.cloned().filter(|_| request.proof.is_none()) {
            Some(pass) => Ok(pass),
            None => {
                let rights = (Operations::PRESENCE, Operations::NONE);
                match self.pass_for(at, id, &key, request.proof.as_deref(), rights, last) {
                    None => return self.wait(at, id, Pending::Presence(request)),
                    Some(answer) => answer,
                }
            }
        };
        let channel = self.channel_of(&key);
        let Some(one) = self.one(at, id) else { return };
        match answer {
            Ok(pass) => {
                match &request.member {
                    Some(member) => {
                        let entry = NewPresenceEntry {
                            key: &key,
                            client: &member.client,
                            proof: request.proof.clone(),
                            speaks_for: request.speaks_for.clone(),
                            pass: pass.clone(),
                        };
                        one.state.enter_presence(entry, channel);
                    }
                    None => one.state.leave_presence(&key, &request.client),
                }
                self.mail_channel(at, channel, ToChannel::Presence(id, request, pass));
            }
            Err(refusal) => {
                let event = Event::PresenceDone {
                    channel: key,
                    tag: request.tag,
                    refusal: Some(refusal),
                };
                self.feed(at, id, Input::Event(event), Source::SESSION);
            }
        }
    }

    fn members(
        &mut self,
        at: usize,
        id: ConnectionId,
        key: Arc<ChannelKey>,
        tag: u64,
        last: Option<bool>,
    ) {
        let rights = (Operations::PRESENCE_READ, Operations::NONE);
        match self.pass_for(at, id, &key, None, rights, last) {
            None => self.wait(at, id, Pending::Members(key, tag)),
            Some(Ok(_)) => {
                let channel = self.channel_of(&key);
                self.mail_channel(at, channel, ToChannel::Members(id, tag));
            }
            Some(Err(refusal)) => {
                let members = Err(refusal);
                let event = Event::Members { tag, members };
                self.feed(at, id, Input::Event(event), Source::SESSION);
            }
        }
    }
}
