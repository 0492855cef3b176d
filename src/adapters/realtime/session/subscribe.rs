//! Subscribing, plain, with a filter, or with a place that is kept; and leaving.

use super::buffer::Buffer;
use super::validate::WANTS;
use super::{RealtimeSession, Subscription, Turn};
use crate::adapters::realtime::{auth, codes, filter, frame, limits};
use crate::core::authority::Operations;
use crate::core::error::Refusal;
use crate::core::ids::ChannelKey;
use crate::core::refusals::Rule;
use crate::core::session::{DeliveryMode, Intent, Start, Subscribe};

impl RealtimeSession {
    /// Empty texts mean: no filter, no place.
    pub(super) fn subscribe(
        &mut self,
        channel: &str,
        filter: &str,
        subscriber: &str,
        turn: &mut Turn<'_>,
    ) {
        if !auth::is_channel(channel) {
            let text = "Invalid channel name";
            return turn.fail("subscribe", channel, (Rule::ChannelName, text));
        }
        if let Some(standing) = self.subscriptions.get(channel) {
            if standing.live {
                turn.send(frame::subscribed(channel));
            }
            return;
        }
        if !subscriber.is_empty() && !auth::is_token(subscriber) {
            let text = "Invalid subscriber id";
            return turn.fail("subscribe", channel, (Rule::BadValue, text));
        }
        let filter = match filter {
            "" => None,
            text => match self.of_node.filters.of(text, filter::parse) {
                Ok(filter) => Some(filter),
                Err(wrong) => {
                    let text = format!("Invalid filter: {}", wrong.0);
                    return turn.fail("subscribe", channel, (Rule::BadValue, &text));
                }
            },
        };
        let key = ChannelKey::channel(self.app, channel);
        let tag = self.tag();
        let token = limits::AUTHENTICATION
            .on(turn.app)
            .then_some(&*self.who.token);
        let buffer = (!subscriber.is_empty()).then(|| Buffer::of(&key, subscriber, token));
        let place = buffer.as_ref().map(|buffer| buffer.place.clone());
        if let Some(place) = &place {
            let (max, now_ms) = (limits::PLACES.of(turn.app), turn.cx.now.mono_ms);
            let places = &self.of_node.places;
            if !places.has_room(self.app, &place.name, max, now_ms) {
                let limit = limits::PLACES.name;
                let refusal = Refusal::Limit { limit, max };
                let text = format!("No place can be kept: {}", codes::text(&refusal));
                return turn.fail("subscribe", channel, (&refusal, &text));
            }
        }
        let subscription = Subscription {
            key: key.clone(),
            tag,
            live: false,
            filter,
            buffer,
            present: false,
        };
        self.subscriptions.insert(channel.into(), subscription);
        match place {
            Some(place) => self.read_place(&place, tag, turn),
            None => self.join(channel, Start::Now, turn),
        }
    }

    /// Asks the core for the channel.
    pub(super) fn join(&mut self, channel: &str, start: Start, turn: &mut Turn<'_>) {
        let Some(subscription) = self.subscriptions.get(channel) else {
            return;
        };
        let more = subscription.buffer.as_ref().map(Buffer::wants);
        let own = subscription.filter.is_some() || subscription.buffer.is_some();
        let subscribe = Subscribe {
            start,
            delivery: match own {
                true => DeliveryMode::Session,
                false => DeliveryMode::Shared,
            },
            wants: WANTS | more.unwrap_or(Operations::NONE),
            ..Subscribe::from_now(subscription.key.clone(), subscription.tag)
        };
        turn.ask(Intent::Subscribe(Box::new(subscribe)));
    }

    pub(super) fn unsubscribe(&mut self, channel: &str, turn: &mut Turn<'_>) {
        match self.subscriptions.get(channel) {
            Some(subscription) => {
                let channel = subscription.key.clone();
                turn.ask(Intent::Unsubscribe { channel });
            }
            None => {
                let text = "Not subscribed";
                turn.fail("unsubscribe", channel, (Rule::NotSubscribed, text));
            }
        }
    }
}
