//! Publishing: one frame, its messages in order, one acknowledgement.
//!
//! **Why a frame of several is one request to the core:** it is accepted or refused as a whole, whatever happens while
//! it is under way, and nothing of others comes in between.

use super::attach::Stage;
use super::modes;
use super::{AblySession, Turn};
use crate::adapters::ably::codes::{Fault, channel_name};
use crate::adapters::ably::frame::{Accepted, ChannelName, ProtocolMessage, action};
use crate::adapters::ably::message::{Message, check_ids};
use crate::adapters::ably::{limits, position};
use crate::core::error::Refusal;
use crate::core::ids::ChannelKey;
use crate::core::message::{Draft, Receipt};
use crate::core::session::{Intent, Publish, PublishBatch};
use serde_json::Value;
use std::sync::Arc;

/// A frame that the client waits to be acknowledged.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    msg_serial: u64,
    first_tag: u64,
    parts: u64,
    done: u64,
    serials: Vec<String>,
    fault: Option<Fault>,
    /// As the client names it; for operators.
    channel: Option<String>,
}

impl AblySession {
    pub(super) fn publish(&mut self, frame: ProtocolMessage, turn: &mut Turn<'_>) {
        let count = frame.messages.as_ref().map_or(0, Vec::len);
        let drafts = self.inbound(count, turn);
        match drafts.and_then(|()| self.drafts(&frame, turn)) {
            Ok((channel, drafts)) => {
                let parts = drafts.len() as u64;
                let tag = self.track_ack((frame.msg_serial, frame.channel), parts);
                turn.ask(intent(channel, drafts, tag));
            }
            Err(fault) => self.refuse((frame.msg_serial, frame.channel), fault, turn),
        }
    }

    fn drafts(
        &self,
        frame: &ProtocolMessage,
        turn: &Turn<'_>,
    ) -> Result<(Arc<ChannelKey>, Vec<Draft>), Fault> {
        let identity = self.identity.as_ref().ok_or_else(channel_name)?;
        let wire = frame.channel.as_deref().unwrap_or_default();
        let name = ChannelName::parse(wire)?.name;
        let forced = frame
            .params
            .as_ref()
            .and_then(|params| params.get("_forceNack"));
        if forced.is_some_and(|value| *value == Value::Bool(true) || *value == "true") {
            return Err(Fault::new(40099, 400, "Refused as asked"));
        }
        if let Some(held) = self.channels.get(&*name)
            && held.stage == Stage::Attached
            && held.wanted.modes & modes::PUBLISH == 0
        {
            return Err(Fault::new(40165, 401, "Attached without the PUBLISH mode"));
        }
        let messages = frame.messages.as_deref().unwrap_or_default();
        check_size(messages, self.limit(limits::MESSAGE_BYTES, turn))?;
        check_ids(messages)?;
        let base = position::connection(turn.cx.id);
        let serial = frame.msg_serial.unwrap_or_default();
        let draft = |(at, message): (usize, &Message)| {
            let client = identity.stamp(message.client_id.as_deref())?;
            message.draft(client, format!("{base}:{serial}:{at}"))
        };
        let drafts = messages.iter().enumerate().map(draft);
        let key = ChannelKey::channel(identity.principal.app, &name);
        Ok((key, drafts.collect::<Result<_, _>>()?))
    }

    /// Writes down a frame of so many parts; with the tag of the first.
    pub(super) fn track_ack(
        &mut self,
        (msg_serial, channel): (Option<u64>, Option<String>),
        parts: u64,
    ) -> u64 {
        let first_tag = self.last_tag + 1;
        self.last_tag += parts;
        self.unacknowledged.push_back(Unacknowledged {
            msg_serial: msg_serial.unwrap_or_default(),
            first_tag,
            parts,
            done: 0,
            serials: Vec::new(),
            fault: None,
            channel,
        });
        first_tag
    }

    /// Refuses a frame, in its place among the acknowledgements.
    pub(super) fn refuse(
        &mut self,
        frame: (Option<u64>, Option<String>),
        fault: Fault,
        turn: &mut Turn<'_>,
    ) {
        self.track_ack(frame, 0);
        if let Some(last) = self.unacknowledged.back_mut() {
            last.fault = Some(fault);
        }
        self.send_acks(turn);
    }

    pub(super) fn published(
        &mut self,
        tag: u64,
        answer: Result<&Receipt, &Refusal>,
        turn: &mut Turn<'_>,
    ) {
        match answer {
            Ok(receipt) => self.part_done(tag, Ok(Some(position::of_receipt(receipt))), turn),
            Err(refusal) => {
                // Of all the frame's messages, whatever their number.
                if let Some(one) = self.pending_ack(tag) {
                    one.fault = Some(refusal.into());
                    one.done = one.parts;
                }
                self.send_acks(turn);
            }
        }
    }

    /// The frame that a tag is a part of.
    fn pending_ack(&mut self, tag: u64) -> Option<&mut Unacknowledged> {
        let mut all = self.unacknowledged.iter_mut();
        all.find(|one| (one.first_tag..one.first_tag + one.parts).contains(&tag))
    }

    /// One part of a frame is through or refused.
    pub(super) fn part_done(
        &mut self,
        tag: u64,
        answer: Result<Option<String>, Fault>,
        turn: &mut Turn<'_>,
    ) {
        let Some(one) = self.pending_ack(tag) else {
            return;
        };
        one.done += 1;
        match answer {
            Ok(serial) => one.serials.extend(serial),
            Err(fault) => {
                one.fault.get_or_insert(fault);
            }
        }
        self.send_acks(turn);
    }

    /// Acknowledges what is through, in the order of the frames.
    fn send_acks(&mut self, turn: &mut Turn<'_>) {
        while self
            .unacknowledged
            .front()
            .is_some_and(|one| one.done >= one.parts)
        {
            let Some(one) = self.unacknowledged.pop_front() else {
                return;
            };
            let mut frame = ProtocolMessage::new(match one.fault {
                None => action::ACK,
                Some(_) => action::NACK,
            });
            frame.msg_serial = Some(one.msg_serial);
            frame.count = Some(1);
            if one.fault.is_none() {
                let serials = one.serials;
                frame.res = Some(vec![Accepted { serials }]);
            }
            frame.error = one.fault;
            turn.send_about(&frame, one.channel.as_deref());
        }
    }
}

/// One message takes the way of all single ones.
fn intent(channel: Arc<ChannelKey>, mut drafts: Vec<Draft>, tag: u64) -> Intent {
    match drafts.pop() {
        Some(draft) if drafts.is_empty() => Intent::Publish(Publish {
            channel,
            draft: Box::new(draft),
            subscribed_only: false,
            proof: None,
            ack: Some(tag),
            tag,
        }),
        last => {
            drafts.extend(last);
            Intent::PublishBatch(Box::new(PublishBatch {
                channel,
                drafts,
                tag,
            }))
        }
    }
}

/// Bounds of one publish.
///
/// # Errors
/// 40009, 40034.
pub(in crate::adapters::ably) fn check_size(messages: &[Message], max: u64) -> Result<(), Fault> {
    if messages.is_empty() {
        return Err(Fault::new(40030, 400, "Nothing to publish"));
    }
    if messages.len() > limits::MESSAGES {
        return Err(Fault::new(40034, 400, "Too many messages in one publish"));
    }
    let size: usize = messages.iter().map(Message::size).sum();
    match size as u64 > max {
        true => {
            let text = format!("Maximum message length exceeded: {size} of {max} bytes");
            Err(Fault::new(40009, 413, text))
        }
        false => Ok(()),
    }
}
