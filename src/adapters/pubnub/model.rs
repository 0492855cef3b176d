//! A client of this dialect, as the world of whole nodes plays it, and the poller behind it.
//!
//! A socket stands for the life of a poller, a frame for a poll and its answer. The queue and where a cursor begins are the
//! real ones; what `core/polling/poller.rs` does around the queue is modelled, because it is made of actors.
//!
//! **Must never know:** nodes, faults.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::cursor::Cursor;
use crate::core::authority::Principal;
use crate::core::close::{Close, End};
use crate::core::delivery::encoding::Encoder;
use crate::core::ids::{ChannelKey, Timetoken};
use crate::core::message::Broadcast;
use crate::core::polling::queue::{Item, Queue, stamp};
use crate::core::session::{
    Action, Context, Event, Frame, Input, Intent, Session, Start, Subscribe,
};
use crate::world_tests::client::{Act, DialectModel, Model, Opened, Seen, Site};
use crate::world_tests::world::APP;
use serde_json::{Value, json};
use std::any::Any;

/// Most messages of one answer.
const PER_POLL: usize = 100;

/// The dialect.
#[derive(Debug)]
pub(crate) struct PubNub;

/// Its broadcasts go out in the answers to polls.
#[derive(Debug)]
struct Silent;

impl Encoder for Silent {
    fn encode(&self, _channel: &ChannelKey, _broadcast: &Broadcast) -> Option<Frame> {
        None
    }
}

impl DialectModel for PubNub {
    fn name(&self) -> &'static str {
        super::DIALECT
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Silent)
    }

    fn node(&self) -> Box<dyn Any> {
        Box::new(())
    }

    fn client(&self, _number: u64, channel: &str, _present: bool) -> Box<dyn Model> {
        Box::new(Client {
            channel: channel.to_owned(),
            cursor: 0,
        })
    }
}

/// A poller.
#[derive(Debug)]
struct Poller {
    channel: String,
    queue: Queue,
    joined: bool,
    /// The cursor of the poll that waits.
    waiting: Option<Timetoken>,
}

impl Poller {
    fn poll(&mut self, cursor: Timetoken, cx: Context<'_>, out: &mut Vec<Action>) {
        if !self.joined && self.waiting.is_none() {
            let start = match cursor {
                0 => Start::Now,
                timetoken => Start::AfterTime(Cursor { timetoken }.begin(false)),
            };
            let channel = ChannelKey::channel(APP, &self.channel);
            let request = Subscribe::by_poll(channel, start, 1);
            out.push(Action::Do(Intent::Subscribe(request.into())));
        }
        self.waiting = Some(cursor);
        self.answer(cx, out);
    }

    fn push(&mut self, channel: &std::sync::Arc<ChannelKey>, broadcast: Broadcast) {
        let item = Item {
            channel: channel.clone(),
            broadcast,
        };
        self.queue.push(item);
    }

    /// Answers the poll that waits, once there is something to answer with.
    fn answer(&mut self, cx: Context<'_>, out: &mut Vec<Action>) {
        let Some(cursor) = self.waiting.filter(|_| self.joined) else {
            return;
        };
        if cursor != 0 && self.queue.is_empty() {
            if self.queue.is_spent() {
                self.end(out);
            }
            return;
        }
        let items = match cursor {
            0 => Vec::new(),
            _ => self.queue.take(PER_POLL),
        };
        let first = (cx.now.cluster_ms * 10_000).saturating_sub(50 * 10_000);
        let last = items.iter().map(|one| stamp(&one.broadcast)).max();
        let cursor = match cursor {
            0 => first,
            cursor => cursor.max(last.unwrap_or_default()),
        };
        let text = |item: &Item| match &item.broadcast {
            Broadcast::Message(one) => Some(String::from_utf8_lossy(&one.draft.data).into_owned()),
            Broadcast::Presence(_) | Broadcast::Count(_) => None,
        };
        let texts: Vec<String> = items.iter().filter_map(text).collect();
        self.waiting = None;
        let answer = json!({"t": cursor.to_string(), "m": texts}).to_string();
        out.push(Action::Send(Frame::Text(answer.into())));
    }
}

impl Session for Poller {
    fn handle(&mut self, input: Input, cx: Context<'_>, out: &mut Vec<Action>) {
        match input {
            Input::Opened => {
                let principal = Principal::anonymous(APP, None, cx.authority.view().revision);
                out.push(Action::Do(Intent::Identify(Box::new(principal))));
            }
            Input::Frame(Frame::Text(text)) => {
                self.poll(text.parse().unwrap(), cx, out);
            }
            Input::Event(Event::Subscribed(subscribed)) => {
                for one in subscribed.backlog {
                    self.push(&subscribed.channel, Broadcast::Message(one));
                }
                self.joined = true;
                self.answer(cx, out);
            }
            Input::Event(Event::Broadcast { channel, broadcast }) => {
                self.push(&channel, broadcast);
                self.answer(cx, out);
            }
            Input::Event(
                Event::SubscribeRefused { .. }
                | Event::IdentifyRefused(_)
                | Event::RightsChanged { .. },
            ) => self.end(out),
            Input::Ending(End::Gone) => {}
            Input::Ending(_) => self.end(out),
            Input::Frame(_) | Input::Alive | Input::Event(_) | Input::Wake => {}
        }
    }
}

impl Poller {
    /// Its client asks again, and goes on from its cursor.
    fn end(&self, out: &mut Vec<Action>) {
        let reason = "".into();
        out.push(Action::Close(Close { code: 0, reason }));
    }
}

/// One client.
#[derive(Debug)]
struct Client {
    channel: String,
    cursor: Timetoken,
}

impl Model for Client {
    fn open(&mut self, _site: &Site<'_>) -> Opened {
        Opened {
            session: Box::new(Poller {
                channel: self.channel.clone(),
                queue: Queue::default(),
                joined: false,
                waiting: None,
            }),
            resumes: None,
        }
    }

    fn opened(&self, out: &mut Vec<Act>) {
        if self.cursor != 0 {
            // Its place in the stream is its own, whoever serves it.
            out.push(Act::Saw(Seen::Stands(true)));
        }
        out.push(Act::Say(self.cursor.to_string()));
    }

    fn hear(&mut self, frame: &str, out: &mut Vec<Act>) {
        let answer: Value = serde_json::from_str(frame).unwrap();
        let first = self.cursor == 0;
        self.cursor = answer["t"].as_str().unwrap().parse().unwrap();
        if first {
            out.push(Act::Saw(Seen::Stands(false)));
        }
        for text in answer["m"].as_array().into_iter().flatten() {
            out.push(Act::Saw(Seen::Got(text.as_str().unwrap().to_owned())));
        }
        out.push(Act::Say(self.cursor.to_string()));
    }

    fn closed(&mut self) {}

    fn is_silent(&self) -> bool {
        true
    }

    /// It publishes by calls, as app servers do.
    fn publish(&mut self, _text: &str, _out: &mut Vec<Act>) -> bool {
        false
    }
}
