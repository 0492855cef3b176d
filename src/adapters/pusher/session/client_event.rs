//! Client events: what one subscriber says to the others.
//!
//! **Must never know:** who the others are; whether it may be said, which the core judges, because a right given a
//! moment ago on another node may not have reached this session.

use super::{PusherSession, Subscription, Turn};
use crate::adapters::pusher::channel_name::{self, Class};
use crate::adapters::pusher::codes;
use crate::adapters::pusher::frame::client::{ClientEvent, Value};
use crate::adapters::pusher::frame::{json, server};
use crate::adapters::pusher::limits;
use crate::core::ids::Text;
use crate::core::message::Draft;
use crate::core::refusals::{Rule, Told};
use crate::core::session::{Intent, Publish};
use bytes::Bytes;

/// Real service's words; people search for them.
const SWITCHED_OFF: &str =
    "To send client events, you must enable this feature in the Settings page of your dashboard.";

impl PusherSession {
    pub(super) fn client_event(&mut self, event: &ClientEvent<'_>, turn: &mut Turn<'_>) {
        let limits = self.events(turn);
        if !limits.on {
            return turn.fail(Rule::ClientEventsOff, &event.channel, SWITCHED_OFF);
        }
        let rate = limits.per_second;
        if !self.bucket.take(turn.cx.now.mono_ms, rate) {
            let text = format!("The client events exceed the allowed maximum ({rate} per second)");
            turn.send(server::error(Some(codes::CLIENT_EVENT_RATE), &text));
            let told = Told::new(Rule::TooFast, codes::CLIENT_EVENT_RATE);
            return turn.told(told.channel(Some(&event.channel)));
        }
        match self.checked(event, limits) {
            Ok((subscription, data)) => {
                let publish = self.publication(subscription, event, data);
                turn.ask(Intent::Publish(publish));
            }
            Err((rule, text)) => turn.fail(rule, &event.channel, &text),
        }
    }

    /// The subscription it goes through and its data as a string, or why not.
    fn checked<'e>(
        &self,
        event: &'e ClientEvent<'_>,
        limits: limits::Events,
    ) -> Result<(&Subscription, &'e str), (Rule, String)> {
        let max = limits.name_bytes;
        if event.event.len() as u64 > max {
            let text = format!("The event name exceeds the allowed maximum ({max} bytes)");
            return Err((Rule::BadValue, text));
        }
        let channel = &*event.channel;
        let shown = codes::clip(channel, 200);
        if channel_name::class(channel) == Class::Public {
            let text = format!(
                "Client events are only supported on private and presence channels, not on {shown}"
            );
            return Err((Rule::ChannelPrefix, text));
        }
        let subscription = self
            .subscriptions
            .get(channel)
            .filter(|subscription| subscription.live)
            .ok_or_else(|| (Rule::NotSubscribed, codes::no_current(shown)))?;
        let data = event.data.as_ref().map_or("{}", Value::stringified);
        let max = limits.data_bytes;
        if data.len() as u64 > max {
            let text = format!(
                "The data content of this event exceeds the allowed maximum ({max} bytes)."
            );
            return Err((Rule::MessageTooLarge, text));
        }
        Ok((subscription, data))
    }

    fn publication(&self, to: &Subscription, event: &ClientEvent<'_>, data: &str) -> Publish {
        let signed_in = || self.user.as_ref().map(|user| user.id.clone());
        let draft = Draft {
            id: None,
            name: Text::from(&*event.event),
            data: Bytes::copy_from_slice(data.as_bytes()),
            kind: json::kind(data),
            meta: None,
            client: to.user.clone().or_else(signed_in),
            connection: None,
            except: None,
            store: true,
            // Client events never become a cache channel's last event.
            retain_ms: None,
            tag: None,
        };
        Publish {
            channel: to.key.clone(),
            draft: Box::new(draft),
            subscribed_only: true,
            // The subscription's own pass says whether it may; a proof would have it decided anew.
            proof: None,
            ack: None,
            tag: to.tag,
        }
    }
}
