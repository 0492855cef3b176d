//! What a channel does for the wildcards above it, and a wildcard for the channels below.
//!
//! **Must never know:** who subscribes by a wildcard, what a repeated broadcast says.
//!
//! **Why a new home repeats what the one before it may have repeated:** a publisher is answered when home and backup have the
//! message, and it is repeated after that. A home that is lost in between has told its own subscribers, or its backup does; those of the
//! wildcard would never hear of it. What is repeated twice is taken once: it has a name.

use super::actor::{Channel, Waiting};
use super::messages::Repeat;
use super::replica::protocol::Request;
use super::wildcard;
use crate::core::clock::Now;
use crate::core::message::{Broadcast, Draft};
use actix::prelude::{Context, SendError};

impl Channel {
    fn repeats(&self) -> bool {
        !self.parent_wildcards.is_empty() && self.context.wildcards(self.key.app)
    }

    /// Repeats what this home broadcasts to the wildcards above, where an app has any.
    pub(super) fn repeat(&mut self, broadcast: &Broadcast) {
        if !self.replica.is_home() || !self.repeats() {
            return;
        }
        let Some(draft) = wildcard::repeated(&self.key.name, broadcast) else {
            return;
        };
        for key in &self.parent_wildcards {
            let wildcard = self.siblings.clone().find_or_start(key);
            let message = Repeat(draft.clone());
            // Once one had to wait, all wait: order.
            let sent = match self.repeats.is_empty() {
                true => wildcard.try_send(message),
                false => Err(SendError::Full(message)),
            };
            if let Err(SendError::Full(message)) = sent {
                self.repeats.push_back((wildcard, message));
            }
        }
    }

    /// This node is home now: what was broadcast of late is repeated, whoever was home then.
    pub(super) fn repeat_recent(&mut self, now: Now) {
        if self.repeats() {
            for broadcast in self.replica.recent(now) {
                self.repeat(&broadcast);
            }
        }
    }

    /// Takes what was broadcast in a channel below this wildcard; so often at most.
    pub(super) fn take_repeated(
        &mut self,
        draft: Draft,
        attempts: usize,
        now: Now,
        cx: &mut Context<Self>,
    ) {
        let Some(left) = attempts.checked_sub(1) else {
            return;
        };
        let request = Request::Publish(Box::new(draft.clone()));
        let waiting = Waiting::Repeat(Box::new(draft), left);
        self.request_at(now, request, waiting, cx);
    }
}
