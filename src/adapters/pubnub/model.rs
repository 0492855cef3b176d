//! A client of this dialect, as the world of whole nodes plays it, and the poller behind it.
//!
//! A socket stands for the life of a poller, a frame for a poll and its answer. The queue and where a cursor begins are the
//! real ones; what `core/polling/poller.rs` does around the queue is modelled, because it is made of actors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::admit::requirement;
use super::cursor::Cursor;
use crate::core::authority::{Operations, Principal, Resource};
use crate::core::channel::wildcard::repeats;
use crate::core::close::{Close, End};
use crate::core::delivery::encoding::Encoder;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Space, Timetoken};
use crate::core::message::{Broadcast, Publication};
use crate::core::polling::queue::{Item, Queue, stamp};
use crate::core::session::{
    Action, Context, Event, Frame, Input, Intent, Session, Start, Subscribe,
};
use crate::world_tests::client::{Act, DialectModel, Model, Opened, Seen, Site};
use crate::world_tests::world::APP;
use serde_json::{Value, json};
use std::any::Any;
use std::sync::Arc;

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

    fn client(&self, number: u64, channel: &ChannelKey, _present: bool) -> Box<dyn Model> {
        Box::new(Client {
            number,
            channel: Arc::new(channel.clone()),
            cursor: 0,
            failures: 0,
            gave_up: false,
        })
    }
}

/// A poller.
#[derive(Debug)]
struct Poller {
    channel: Arc<ChannelKey>,
    /// Whom its polls speak for.
    principal: Option<Principal>,
    queue: Queue,
    joined: bool,
    /// It is being judged again, after a refusal.
    judging: bool,
    /// The cursor of the poll that waits.
    waiting: Option<Timetoken>,
}

impl Poller {
    /// Whether its cursor spans what several homes stamp.
    fn is_several(&self) -> bool {
        self.channel.space == Space::Wildcard
    }

    fn poll(&mut self, cursor: Timetoken, cx: Context<'_>, out: &mut Vec<Action>) {
        if !self.joined && self.waiting.is_none() {
            let start = match cursor {
                0 => Start::Now,
                timetoken => {
                    let cursor = Cursor { timetoken };
                    Start::AfterTime(cursor.begin(self.is_several()))
                }
            };
            let request = Subscribe::by_poll(self.channel.clone(), start, 1);
            out.push(Action::Do(Intent::Subscribe(request.into())));
        }
        self.waiting = Some(cursor);
        self.answer(cx, out);
    }

    fn push(&mut self, channel: &Arc<ChannelKey>, broadcast: Broadcast) {
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
                self.end(&How::Again, out);
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
            timetoken => match last {
                Some(last) => Cursor { timetoken }.after(last, self.is_several()),
                None => timetoken,
            },
        };
        let texts: Vec<String> = items.iter().filter_map(shown).collect();
        self.waiting = None;
        let answer = json!({"t": cursor.to_string(), "m": texts}).to_string();
        out.push(Action::Send(Frame::Text(answer.into())));
    }
}

/// What of this is shown to the client.
fn shown(item: &Item) -> Option<String> {
    let text = |one: &Publication| String::from_utf8_lossy(&one.draft.data).into_owned();
    match &item.broadcast {
        Broadcast::Message(one) if item.channel.space == Space::Wildcard => {
            match repeats(one)?.broadcast {
                Broadcast::Message(one) => Some(text(&one)),
                Broadcast::Presence(_) | Broadcast::Count(_) => None,
            }
        }
        Broadcast::Message(one) => Some(text(one)),
        Broadcast::Presence(_) | Broadcast::Count(_) => None,
    }
}

impl Session for Poller {
    fn handle(&mut self, input: Input, cx: Context<'_>, out: &mut Vec<Action>) {
        match input {
            Input::Opened => {
                let principal = Principal::anonymous(APP, None, cx.authority.view().revision);
                self.principal = Some(principal.clone());
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
                Event::SubscribeRefused { refusal, .. } | Event::IdentifyRefused(refusal),
            ) => self.refused(&refusal, out),
            Input::Event(Event::RightsChanged {
                refusal: Some(refusal),
                ..
            }) => self.refused(&refusal, out),
            Input::Event(Event::CaughtUp(caught)) if self.judging => {
                let how = match caught {
                    Ok(()) => self.judged(cx),
                    Err(_) => How::Unanswered,
                };
                self.end(&how, out);
            }
            Input::Ending(End::Gone) => {}
            Input::Ending(End::Draining | End::Stale) => self.end(&How::Unanswered, out),
            Input::Ending(End::Cut(_)) => match self.judged(cx) {
                // Nobody has been asked for a newer view.
                How::Denied => self.end(&How::Unanswered, out),
                how @ (How::Again | How::Unanswered) => self.end(&how, out),
            },
            Input::Ending(_) => self.end(&How::Again, out),
            Input::Frame(_) | Input::Alive | Input::Event(_) | Input::Wake => {}
        }
    }
}

/// How a poll ends without messages: as `over` in `subscribe.rs` says it.
enum How {
    /// With the cursor that it had: its client asks again at once.
    Again,
    /// Without an answer: its client takes it for a broken network, and asks again after a while.
    Unanswered,
    /// With 403: its client stops.
    Denied,
}

impl Poller {
    fn refused(&mut self, refusal: &Refusal, out: &mut Vec<Action>) {
        if matches!(refusal, Refusal::Denied(_)) {
            self.judging = true;
            out.push(Action::Do(Intent::CatchUp));
        } else {
            self.end(&How::Unanswered, out);
        }
    }

    /// Judges its channel again, by whom it has dialects for so far.
    fn judged(&self, cx: Context<'_>) -> How {
        let ask = requirement(Resource::Channel, &self.channel.name, Operations::SUBSCRIBE);
        let principal = self.principal.as_ref().unwrap();
        match cx.authority.decide(principal, None, ask.ask()) {
            Ok(_) => How::Again,
            Err(_) => How::Denied,
        }
    }

    /// Its client asks again, and goes on from its cursor; or not, as it is told.
    fn end(&self, how: &How, out: &mut Vec<Action>) {
        let word = match how {
            How::Again => None,
            How::Unanswered => Some(json!({"unanswered": true})),
            How::Denied => Some(json!({"status": 403})),
        };
        out.extend(word.map(|word| Action::Send(Frame::Text(word.to_string().into()))));
        let reason = "".into();
        out.push(Action::Close(Close { code: 0, reason }));
    }
}

/// One client.
#[derive(Debug)]
struct Client {
    number: u64,
    channel: Arc<ChannelKey>,
    cursor: Timetoken,
    /// How often in a row it was not answered.
    failures: u32,
    gave_up: bool,
}

impl Model for Client {
    fn open(&mut self, _site: &Site<'_>) -> Opened {
        if std::mem::take(&mut self.gave_up) && self.number % 2 == 1 {
            // Its app subscribes anew, and does not have the SDK reconnect.
            self.cursor = 0;
        }
        // Until it is answered.
        self.failures += 1;
        Opened {
            session: Box::new(Poller {
                channel: self.channel.clone(),
                principal: None,
                queue: Queue::default(),
                joined: false,
                judging: false,
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
        if answer["status"] == 403 {
            self.gave_up = true;
            out.push(Act::Saw(Seen::GaveUp));
            return out.push(Act::Hangup);
        }
        if answer["unanswered"] == true {
            return out.push(Act::Hangup);
        }
        self.failures = 0;
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

    /// Some SDKs wait twice as long each time that nothing answers, others come back as soon as anything does.
    fn patience_ms(&self) -> (u64, u64) {
        match self.failures {
            _ if self.gave_up => (2_500, 3_500),
            0 | 1 => (20, 600),
            many if self.number.is_multiple_of(3) => (1_000 << many.min(3), 1_200 << many.min(3)),
            _ => (20, 600),
        }
    }

    fn is_silent(&self) -> bool {
        true
    }

    /// A cursor over what several homes stamp begins a little earlier than it stands.
    fn may_repeat(&self) -> bool {
        self.channel.space == Space::Wildcard
    }

    /// It publishes by calls, as app servers do.
    fn publish(&mut self, _text: &str, _out: &mut Vec<Act>) -> bool {
        false
    }
}
