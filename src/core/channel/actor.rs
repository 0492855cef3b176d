//! The channel actor: mailbox and timers around the channel's pure states. No decisions.
//!
//! A stand-in for one node: it stamps and fans out, and keeps nothing.
//!
//! **Must never know:** any rule of order, history or presence.

use super::{
    FromPeer, Join, Leave, LinkUp, PresenceTo, PublishTo, Read, Rehome, ReplyTo, Subscriber, Tell,
};
use crate::core::connection::{Event, Subscribed};
use crate::core::delivery::encoding::{EncodingId, Encodings};
use crate::core::delivery::relay::{Attach, Deliver, Detach};
use crate::core::ids::{ChannelKey, ConnectionId, Position};
use crate::core::message::{Broadcast, Occupancy, Publication, Receipt};
use actix::prelude::*;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// One channel on this node.
#[derive(Debug)]
pub struct Channel {
    key: Arc<ChannelKey>,
    encodings: Arc<Encodings>,
    subscribers: BTreeMap<ConnectionId, Subscriber>,
    seq: u64,
}

impl Actor for Channel {
    type Context = Context<Self>;
}

impl Channel {
    fn position(&self) -> Position {
        Position {
            epoch: 1,
            seq: self.seq,
        }
    }
}

impl Handler<Join> for Channel {
    type Result = ();
    fn handle(&mut self, join: Join, _cx: &mut Context<Self>) {
        let subscribed = Subscribed {
            channel: self.key.clone(),
            tag: join.request.tag,
            granted: join.pass.operations(),
            position: self.position(),
            backlog: Vec::new(),
            continuous: true,
            members: None,
            occupancy: Occupancy::default(),
        };
        join.subscriber.relay.do_send(Attach {
            channel: self.key.clone(),
            connection: join.subscriber.connection,
            mode: join.request.delivery,
            encoding: join.subscriber.encoding,
            echo: join.request.echo,
            subscribed: Box::new(subscribed),
        });
        let id = join.subscriber.connection;
        self.subscribers.insert(id, join.subscriber);
    }
}

impl Handler<Leave> for Channel {
    type Result = ();
    fn handle(&mut self, leave: Leave, _cx: &mut Context<Self>) {
        if let Some(gone) = self.subscribers.remove(&leave.connection) {
            gone.relay.do_send(Detach {
                channel: self.key.clone(),
                connection: leave.connection,
            });
        }
    }
}

impl Handler<PublishTo> for Channel {
    type Result = ();
    fn handle(&mut self, publish: PublishTo, _cx: &mut Context<Self>) {
        self.seq += 1;
        let receipt = Receipt {
            position: self.position(),
            timetoken: self.seq,
            duplicate: false,
        };
        let (except, publisher) = (publish.draft.except, publish.draft.connection);
        let broadcast = Broadcast::Message(Arc::new(Publication {
            draft: publish.draft,
            position: receipt.position,
            timetoken: receipt.timetoken,
        }));
        let mut workers: BTreeMap<u16, (Addr<_>, Vec<EncodingId>)> = BTreeMap::new();
        for one in self.subscribers.values() {
            let (_, encodings) = workers
                .entry(one.worker)
                .or_insert_with(|| (one.relay.clone(), Vec::new()));
            if !encodings.contains(&one.encoding) {
                encodings.push(one.encoding);
            }
        }
        for (relay, encodings) in workers.into_values() {
            let frames: Vec<(EncodingId, Bytes)> = encodings
                .into_iter()
                .filter_map(|id| Some((id, self.encodings.encode(id, &self.key, &broadcast)?)))
                .collect();
            relay.do_send(Deliver {
                channel: self.key.clone(),
                frames: frames.into(),
                broadcast: broadcast.clone(),
                except,
                publisher,
            });
        }
        match publish.reply {
            ReplyTo::Connection {
                tell,
                tag,
                ack: true,
            } => tell.do_send(Tell(Event::Published { tag, receipt })),
            ReplyTo::Connection { .. } => {}
            ReplyTo::Once(answer) => {
                let _ = answer.send(Ok(receipt));
            }
        }
    }
}

macro_rules! not_yet {
    ($($message:ty),*) => { $(impl Handler<$message> for Channel {
        type Result = ();
        fn handle(&mut self, _message: $message, _cx: &mut Context<Self>) {}
    })* };
}
not_yet!(PresenceTo, Read, FromPeer, LinkUp, Rehome);

/// Finds or starts channel actors. Asked when somebody joins or publishes over HTTP, never per message of a
/// subscribed connection (which keeps the address).
#[derive(Clone, Debug)]
pub struct Channels {
    encodings: Arc<Encodings>,
    arbiters: Arc<[ArbiterHandle]>,
    known: Arc<Mutex<HashMap<Arc<ChannelKey>, Addr<Channel>>>>,
}

impl Channels {
    /// A registry whose actors run on these arbiters.
    #[must_use]
    pub fn new(encodings: Arc<Encodings>, arbiters: &[ArbiterHandle]) -> Self {
        Self {
            encodings,
            arbiters: arbiters.into(),
            known: Arc::default(),
        }
    }

    /// The channel's actor on this node, started if need be.
    #[must_use]
    pub fn get(&self, key: &Arc<ChannelKey>) -> Addr<Channel> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = known.get(key) {
            return channel.clone();
        }
        let channel = Channel {
            key: key.clone(),
            encodings: self.encodings.clone(),
            subscribers: BTreeMap::new(),
            seq: 0,
        };
        let addr = match self.arbiters.first() {
            Some(arbiter) => Channel::start_in_arbiter(arbiter, move |_| channel),
            None => channel.start(),
        };
        known.insert(key.clone(), addr.clone());
        addr
    }
}
