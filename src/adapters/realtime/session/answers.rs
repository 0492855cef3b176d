//! What the core tells: accepted and refused requests, broadcasts to be framed here, rights that changed.
//!
//! **Must never know:** what to deliver to whom; plain subscriptions' broadcasts reach the client past this session.

use super::{RealtimeSession, Turn};
use crate::adapters::realtime::{auth, codes, encoder, frame};
use crate::core::authority::Operations;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Space};
use crate::core::message::{Broadcast, Publication};
use crate::core::refusals::{Rule, Why};
use crate::core::session::{Action, Context, Event, Subscribed};
use std::sync::Arc;

impl RealtimeSession {
    pub(super) fn event(&mut self, event: Event, cx: Context<'_>, out: &mut Vec<Action>) {
        match event {
            Event::Identified => self.identified(cx, out),
            Event::IdentifyRefused(refusal) => self.not_identified(&refusal, cx, out),
            Event::CaughtUp(fresh) => self.finish_validation(fresh, cx, out),
            event @ (Event::Subscribed(_)
            | Event::SubscribeRefused { .. }
            | Event::Unsubscribed { .. }
            | Event::Expiring { .. }
            | Event::RightsChanged { .. }
            | Event::Published { .. }
            | Event::PublishRefused { .. }
            | Event::PresenceDone { .. }
            | Event::Members { .. }
            | Event::History { .. }
            | Event::Broadcast { .. }) => {
                self.turn(cx, out, |session, turn| session.answer(event, turn));
            }
        }
    }

    fn answer(&mut self, event: Event, turn: &mut Turn<'_>) {
        match event {
            Event::Subscribed(subscribed) if subscribed.channel.space == Space::User => {
                self.place_read(&subscribed, turn);
            }
            Event::Subscribed(subscribed) => self.subscribed(&subscribed, turn),
            Event::SubscribeRefused {
                channel,
                refusal,
                tag,
            } => self.subscribe_refused(&channel, &refusal, tag, turn),
            Event::Unsubscribed { channel, .. } => self.unsubscribed(&channel, turn),
            Event::RightsChanged {
                channel,
                granted,
                refusal,
            } => self.rights_changed(&channel, granted, refusal.as_ref(), turn),
            Event::Published { tag, receipt } => {
                if let Some((id, part)) = self.published.remove(&tag) {
                    turn.send(frame::ack(&id, part, receipt.timetoken));
                }
            }
            Event::PublishRefused {
                channel,
                tag,
                refusal,
            } => self.publish_refused(&channel, tag, &refusal, turn),
            Event::Broadcast {
                channel,
                broadcast: Broadcast::Message(publication),
            } => self.deliver(&channel, &publication, turn),
            Event::Identified
            | Event::IdentifyRefused(_)
            | Event::CaughtUp(_)
            // No frame of this dialect asks a client for a new credential.
            | Event::Expiring { .. }
            | Event::PresenceDone { .. }
            | Event::Members { .. }
            | Event::History { .. }
            | Event::Broadcast { .. } => {}
        }
    }

    fn subscribed(&mut self, subscribed: &Subscribed, turn: &mut Turn<'_>) {
        let name = &subscribed.channel.name;
        let Some(subscription) = self.subscriptions.get_mut(name) else {
            return;
        };
        subscription.live = true;
        // Clients lose, and acknowledge, what comes before this.
        turn.send(frame::subscribed(name));
        let buffered = subscription.buffer.is_some();
        if let Some(buffer) = &mut subscription.buffer {
            buffer.begin(subscribed.granted, &subscribed.backlog);
        }
        if !auth::is_announcement(name) {
            self.announce("ortcClientSubscribed", Some(name), turn);
        }
        self.update_presence(turn);
        if buffered {
            self.keep_place(name, turn);
        }
        for publication in &subscribed.backlog {
            let stored = publication.draft.store;
            if stored && encoder::is_kept(publication, turn.cx.now.cluster_ms) {
                self.deliver(&subscribed.channel, publication, turn);
            }
        }
    }

    fn subscribe_refused(
        &mut self,
        channel: &ChannelKey,
        refusal: &Refusal,
        tag: u64,
        turn: &mut Turn<'_>,
    ) {
        let mine = |one: &super::Subscription| one.tag == tag;
        let found = self.subscriptions.iter().find(|(_, one)| mine(one));
        let Some(name) = found.map(|(name, _)| name.clone()) else {
            return;
        };
        self.subscriptions.remove(&name);
        let text = match channel.space {
            Space::Channel | Space::Wildcard => codes::text(refusal),
            Space::User | Space::Status | Space::DeadLetters => {
                format!("No place can be kept: {}", codes::text(refusal))
            }
        };
        turn.fail("subscribe", &name, (refusal, &text));
    }

    fn unsubscribed(&mut self, channel: &ChannelKey, turn: &mut Turn<'_>) {
        if channel.space != Space::Channel || self.subscriptions.remove(&channel.name).is_none() {
            return;
        }
        turn.send(frame::unsubscribed(&channel.name));
        if !auth::is_announcement(&channel.name) {
            self.announce("ortcClientUnsubscribed", Some(&channel.name), turn);
        }
    }

    /// Without the right to receive the core has ended the subscription; the client is told both that and why.
    fn rights_changed(
        &mut self,
        channel: &ChannelKey,
        granted: Operations,
        refusal: Option<&Refusal>,
        turn: &mut Turn<'_>,
    ) {
        if granted.contains(Operations::SUBSCRIBE) || channel.space != Space::Channel {
            return;
        }
        let text = refusal.map_or_else(|| "No permission to subscribe".into(), codes::text);
        self.unsubscribed(channel, turn);
        let why = refusal.map_or_else(|| Rule::NotGranted.into(), Why::from);
        turn.fail("subscribe", &channel.name, (why, &text));
    }

    /// A broadcast of a subscription that is framed here.
    fn deliver(
        &mut self,
        channel: &ChannelKey,
        publication: &Arc<Publication>,
        turn: &mut Turn<'_>,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&channel.name) else {
            return;
        };
        let filtered = match &subscription.filter {
            None => None,
            Some(filter) => {
                match filter.about(publication, |one| one.passes(&publication.draft.data)) {
                    Some(false) => return,
                    Some(true) => Some(true),
                    None => Some(false),
                }
            }
        };
        let text = encoder::wire(publication);
        let buffer = subscription.buffer.as_mut();
        let sequence = match buffer.map(|buffer| buffer.sent(publication, &text)) {
            // Acknowledged before it came again.
            Some(None) => return,
            Some(sequence @ Some(_)) => sequence,
            None => None,
        };
        turn.send(frame::message(&channel.name, filtered, &text, sequence));
    }
}
