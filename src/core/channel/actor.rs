//! The channel actor: mailbox and timers around the channel's pure states. No decisions.
//!
//! **Must never know:** any rule of order, history or presence.

use super::{FromPeer, Join, Leave, LinkUp, PresenceTo, PublishTo, Read, Rehome};
use crate::core::delivery::encoding::Encodings;
use crate::core::ids::ChannelKey;
use actix::prelude::*;
use std::sync::Arc;

/// One channel on this node.
#[derive(Debug)]
pub struct Channel {
    key: Arc<ChannelKey>,
    encodings: Arc<Encodings>,
}

impl Actor for Channel {
    type Context = Context<Self>;
}

macro_rules! not_yet {
    ($($message:ty),*) => { $(impl Handler<$message> for Channel {
        type Result = ();
        fn handle(&mut self, _message: $message, _cx: &mut Context<Self>) {}
    })* };
}
not_yet!(
    Join, Leave, PublishTo, PresenceTo, Read, FromPeer, LinkUp, Rehome
);

/// Finds or starts channel actors. Asked when somebody joins or publishes over HTTP, never per message of a
/// subscribed connection (which keeps the address).
#[derive(Clone, Debug)]
pub struct Channels {
    encodings: Arc<Encodings>,
}

impl Channels {
    /// A registry whose actors run on these arbiters.
    #[must_use]
    pub fn new(encodings: Arc<Encodings>, _arbiters: &[ArbiterHandle]) -> Self {
        Self { encodings }
    }

    /// The channel's actor on this node, started if need be.
    #[must_use]
    pub fn get(&self, key: &Arc<ChannelKey>) -> Addr<Channel> {
        Channel {
            key: key.clone(),
            encodings: self.encodings.clone(),
        }
        .start()
    }
}
