//! Sending: as the token may, or as a private key may.

use super::{RealtimeSession, Turn};
use crate::adapters::realtime::{auth, codes, command, encoder, frame, limits};
use crate::core::authority::{Operations, Proof, Resource};
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Text};
use crate::core::message::Draft;
use crate::core::refusals::{Rule, Why};
use crate::core::session::{Intent, Publish};
use std::borrow::Cow;

/// The tag of messages nobody waits for.
const UNTAGGED: u64 = 0;

impl RealtimeSession {
    /// Sends to whoever is there.
    pub(super) fn say(
        &mut self,
        channel: &str,
        message: &[u8],
        proof: Option<Box<Proof>>,
        turn: &mut Turn<'_>,
    ) {
        if let Err((why, text)) = self.check(channel, message, turn) {
            return turn.fail("send", channel, (why, &text));
        }
        let draft = encoder::draft(message, None);
        self.hand_in(channel, draft, proof, UNTAGGED, turn);
    }

    /// Sends to whoever is there and to those that come back in time; each part is acknowledged.
    pub(super) fn publish(
        &mut self,
        channel: &str,
        ttl_s: u64,
        message: &[u8],
        turn: &mut Turn<'_>,
    ) {
        let (id, number) = match command::part(message) {
            Some(part) => (Text::from(part.id), part.part),
            None => {
                let text = "A message id is missing";
                return turn.fail("publish", channel, (Rule::BadMessage, text));
            }
        };
        let full = self.published.len() >= limits::UNACKNOWLEDGED;
        let room = match full {
            true => {
                let text = "Too many messages wait for their acknowledgement";
                Err((Rule::LimitReached.into(), text.into()))
            }
            false => Ok(()),
        };
        if let Err((why, text)) = self.check(channel, message, turn).and(room) {
            turn.send(frame::ack_refused(&id, number, &text));
            return turn.told(why, channel);
        }
        let tag = self.tag();
        self.published.insert(tag, (id, number));
        let draft = encoder::draft(message, Some(ttl_s));
        self.hand_in(channel, draft, None, tag, turn);
    }

    /// Sends with the rights of a private key, whatever the connection's own.
    pub(super) fn send_proxy(
        &mut self,
        private: &str,
        channel: &str,
        message: &[u8],
        turn: &mut Turn<'_>,
    ) {
        let now_ms = turn.cx.now.cluster_ms;
        let Some(key) = auth::private_key(turn.state, self.app, private, now_ms) else {
            let text = "Invalid private key";
            return turn.fail("sendproxy", channel, (Rule::WrongSecret, text));
        };
        let target = (Resource::Channel, channel);
        let proof = auth::proof(turn.state, &key, target, Operations::PUBLISH);
        self.say(channel, message, Some(Box::new(proof)), turn);
    }

    /// Whether a client's message may go on; every one counts, whatever becomes of it.
    fn check(
        &mut self,
        channel: &str,
        message: &[u8],
        turn: &Turn<'_>,
    ) -> Result<(), (Why, Cow<'static, str>)> {
        let limit = limits::MESSAGES_PER_SECOND;
        let rate = limit.of(turn.app);
        let admitted = self.inbound.admit(turn.cx.now.mono_ms, limit, rate, 1);
        admitted.map_err(|refusal| (Why::from(&refusal), codes::text(&refusal).into()))?;
        bounds(channel, message, turn).map_err(|(rule, text)| (rule.into(), text.into()))
    }

    pub(super) fn hand_in(
        &self,
        channel: &str,
        draft: Draft,
        proof: Option<Box<Proof>>,
        tag: u64,
        turn: &mut Turn<'_>,
    ) {
        let known = self.subscriptions.get(channel).map(|one| one.key.clone());
        let publish = Publish {
            channel: known.unwrap_or_else(|| ChannelKey::channel(self.app, channel)),
            draft: Box::new(draft),
            subscribed_only: false,
            proof,
            ack: (tag != UNTAGGED).then_some(tag),
            tag,
        };
        turn.ask(Intent::Publish(publish));
    }

    /// What the server itself says (announcements, places) fails in silence: no client asked for it.
    pub(super) fn publish_refused(
        &mut self,
        channel: &ChannelKey,
        tag: u64,
        refusal: &Refusal,
        turn: &mut Turn<'_>,
    ) {
        let text = codes::text(refusal);
        if let Some((id, part)) = self.published.remove(&tag) {
            turn.send(frame::ack_refused(&id, part, &text));
            turn.told(refusal, &channel.name);
        } else if tag == UNTAGGED {
            turn.fail("send", &channel.name, (refusal, &text));
        }
    }
}

fn bounds(channel: &str, message: &[u8], turn: &Turn<'_>) -> Result<(), (Rule, &'static str)> {
    if !auth::is_channel(channel) {
        return Err((Rule::ChannelName, "Invalid channel name"));
    }
    if auth::is_announcement(channel) {
        let text = "Only the server sends to this channel";
        return Err((Rule::ChannelName, text));
    }
    match message.len() as u64 > limits::MESSAGE_BYTES.of(turn.app) {
        true => Err((Rule::MessageTooLarge, "The message is too large")),
        false => Ok(()),
    }
}
