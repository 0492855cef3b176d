//! What the core tells: accepted and refused requests, rights that changed.
//!
//! **Must never know:** what to deliver to whom; broadcasts reach the client past this session.

use super::sign_in::passes;
use super::{Phase, PusherSession, Subscription, Turn};
use crate::adapters::pusher::channel_name::{self, Class};
use crate::adapters::pusher::codes::SubscriptionError;
use crate::adapters::pusher::frame::server;
use crate::adapters::pusher::{auth, codes, encoder, limits};
use crate::core::authority::Operations;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Space};
use crate::core::refusals::Told;
use crate::core::session::{Action, Event, Subscribed};

impl PusherSession {
    pub(super) fn answer(&mut self, event: Event, turn: &mut Turn<'_>) {
        match event {
            Event::Identified => self.identified(turn),
            Event::IdentifyRefused(refusal) => self.turn_back(&refusal, turn),
            Event::PresenceDone { tag, refusal, .. } => {
                self.appeared(tag, refusal.as_ref(), turn);
            }
            Event::Subscribed(subscribed) if subscribed.channel.space == Space::Status => {
                self.watched(&subscribed, turn);
            }
            Event::SubscribeRefused {
                channel, refusal, ..
            }
            | Event::RightsChanged {
                channel,
                refusal: Some(refusal),
                ..
            } if channel.space == Space::Status => {
                match passes(&refusal) {
                    // Nothing would be said of him for as long as she stays: she comes back and signs in again.
                    true => self.turn_back(&refusal, turn),
                    false => self.unwatched(&channel.name, turn),
                }
            }
            Event::Broadcast { channel, broadcast } if channel.space == Space::Status => {
                self.status_changed(&channel.name, &broadcast, turn);
            }
            Event::Subscribed(subscribed) => self.subscribed(&subscribed, turn),
            Event::SubscribeRefused {
                channel,
                refusal,
                tag,
            } => self.subscribe_refused(&channel, &refusal, tag, turn),
            Event::RightsChanged {
                channel,
                granted,
                refusal,
            } => self.rights_changed(&channel, granted, refusal, turn),
            Event::PublishRefused {
                channel, refusal, ..
            } => {
                let name = channel_name::wire_name(&channel);
                let (code, text) = codes::client_event(&refusal, &name);
                turn.send(server::error(code, &text));
                let code = code.map_or(0, u32::from);
                turn.told(Told::new(&refusal, code).channel(Some(&name)));
            }
            Event::Unsubscribed { channel, .. } => {
                self.unsubscribed(&channel_name::wire_name(&channel), turn);
            }
            Event::CaughtUp(answer) => self.caught_up(&answer, turn),
            // Never asked for.
            Event::Published { .. }
            | Event::Expiring { .. }
            | Event::Members { .. }
            | Event::History { .. }
            | Event::Broadcast { .. } => {}
        }
    }

    fn identified(&mut self, turn: &mut Turn<'_>) {
        if self.phase == Phase::Greeting {
            return self.greet(turn);
        }
        if let Some(signing_in) = self.signing_in.take() {
            self.alive.authorized();
            self.arrive(signing_in, turn);
        }
    }

    fn greet(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Open;
        let now_ms = turn.cx.now.mono_ms;
        let timeout_ms = turn.limit(limits::ACTIVITY_TIMEOUT_MS);
        let timeout_s = timeout_ms.div_ceil(1_000).max(1);
        let socket_id = auth::socket_id(turn.cx.id);
        turn.send(server::established(&socket_id, timeout_s));
        if limits::AUTHORIZED_CONNECTIONS.on(turn.app) {
            self.alive.must_authorize(now_ms);
        }
        let at_mono_ms = self.alive.next(timeout_ms);
        turn.out.push(Action::Wake { at_mono_ms });
    }

    fn subscribed(&mut self, answer: &Subscribed, turn: &mut Turn<'_>) {
        let name = channel_name::wire_name(&answer.channel);
        let pending = self.pending(&name, answer.tag);
        let Some(subscription) = pending.filter(|pending| !pending.leaving) else {
            return;
        };
        subscription.live = true;
        let told = subscription.told;
        if answer.channel.space == Space::User {
            self.arrived(turn);
        }
        if !told {
            return;
        }
        let class = channel_name::class(&name);
        let presence = class == Class::Presence;
        let members = answer.members.as_deref().unwrap_or_default();
        turn.send(server::subscribed(&name, presence.then_some(members)));
        if channel_name::is_cache(&name) {
            last_event(answer, &name, turn);
        }
        if class != Class::Public {
            self.alive.authorized();
        }
    }

    fn subscribe_refused(
        &mut self,
        channel: &ChannelKey,
        refusal: &Refusal,
        tag: u64,
        turn: &mut Turn<'_>,
    ) {
        let name = channel_name::wire_name(channel);
        if self.pending(&name, tag).is_none() {
            return;
        }
        if channel.space == Space::User && self.arriving.is_some() {
            match passes(refusal) {
                true => return self.turn_back(refusal, turn),
                false => self.arrived(turn),
            }
        }
        let told = self
            .subscriptions
            .remove(&*name)
            .is_some_and(|one| match one.leaving {
                // What was refused once is not asked for again.
                true => one.again.is_some(),
                false => one.told,
            });
        if told {
            turn.refuse(&name, &codes::subscription(refusal, &name));
        }
    }

    /// The request of that name and tag.
    fn pending(&mut self, name: &str, tag: u64) -> Option<&mut Subscription> {
        self.subscriptions
            .get_mut(name)
            .filter(|subscription| subscription.tag == tag)
    }

    fn rights_changed(
        &mut self,
        channel: &ChannelKey,
        granted: Operations,
        refusal: Option<Refusal>,
        turn: &mut Turn<'_>,
    ) {
        let name = channel_name::wire_name(channel);
        let subscription = self.subscriptions.get_mut(&*name);
        // One that is not live yet follows a subscription that was given up: not this one's rights.
        let Some(subscription) = subscription.filter(|subscription| subscription.live) else {
            return;
        };
        if granted.contains(Operations::SUBSCRIBE) {
            return;
        }
        let told = subscription.told;
        self.subscriptions.remove(&*name);
        if told {
            let error = match refusal {
                Some(refusal) => codes::subscription(&refusal, &name),
                None => SubscriptionError::auth(403, format!("Access to channel {name} has ended")),
            };
            let (kind, status) = (error.kind, error.status);
            turn.send(server::subscription_error(&name, kind, &error.text, status));
            turn.told(error.told(&name));
        }
    }
}

/// What a cache channel kept, or that it kept nothing.
fn last_event(answer: &Subscribed, name: &str, turn: &mut Turn<'_>) {
    let last = answer.backlog.last();
    let frame = last.and_then(|last| encoder::message(&answer.channel, &last.draft));
    turn.send(frame.unwrap_or_else(|| server::bare("pusher:cache_miss", Some(name))));
}
