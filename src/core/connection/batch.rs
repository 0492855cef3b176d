//! Several publications in one: judged once, handed to the channel as one message.
//!
//! **Why apart from single publications:** nearly every message is one, and a list would cost each of them an allocation.

use super::actor::Connection;
use super::intents::{NOT_SERVING, Right};
use crate::core::authority::{Operations, Pass};
use crate::core::channel::messages::PublishBatchTo;
use crate::core::error::Refusal;
use crate::core::ids::ChannelKey;
use crate::core::message::Receipt;
use crate::core::session::{Event, PublishBatch};
use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Connection {
    pub(super) fn publish_batch(&mut self, request: PublishBatch, cx: &mut Context<Self>) {
        let key = request.channel.clone();
        if !self.authority().serving() {
            return self.batch_answered(&key, request.tag, Err(NOT_SERVING), cx);
        }
        let held = self.state.held(&key, Operations::PUBLISH, self.now());
        if let Some((_, pass)) = held {
            let pass = pass.clone();
            return self.hand_in(request, pass, cx);
        }
        let right = Right {
            key,
            needs: Operations::PUBLISH,
            wants: Operations::NONE,
            proof: None,
            speaks_for: None,
        };
        self.with_pass(right, cx, |this, answer, cx| match answer {
            Ok(pass) => this.hand_in(request, pass, cx),
            Err(refusal) => this.batch_answered(&request.channel, request.tag, Err(refusal), cx),
        });
    }

    fn hand_in(&mut self, request: PublishBatch, pass: Pass, cx: &mut Context<Self>) {
        let PublishBatch {
            channel,
            mut drafts,
            tag,
        } = request;
        for draft in &mut drafts {
            draft.connection = Some(self.id);
        }
        let (reply, answer) = oneshot::channel();
        let message = PublishBatchTo {
            drafts,
            pass,
            reply,
        };
        self.post(&channel, message, cx);
        let told = answer.into_actor(self).map(move |answer, this, cx| {
            let answer = answer.unwrap_or(Err(Refusal::OutcomeUnknown));
            this.batch_answered(&channel, tag, answer, cx);
        });
        cx.spawn(told);
    }

    fn batch_answered(
        &mut self,
        channel: &Arc<ChannelKey>,
        first: u64,
        answer: Result<Vec<Receipt>, Refusal>,
        cx: &mut Context<Self>,
    ) {
        match answer {
            Ok(receipts) => {
                for (tag, receipt) in (first..).zip(receipts) {
                    self.tell(Event::Published { tag, receipt }, cx);
                }
            }
            Err(refusal) => {
                let event = Event::PublishRefused {
                    channel: channel.clone(),
                    tag: first,
                    refusal,
                };
                self.tell(event, cx);
            }
        }
    }
}
