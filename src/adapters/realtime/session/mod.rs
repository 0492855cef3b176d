//! The session: one connection's side of the protocol, as a pure state machine.
//!
//! It keeps what the client believes (validated as whom, which channels); who may do what is asked of the core
//! with every intent.
//!
//! **Must never know:** sockets, actors, a clock, other connections.
//! **Why the keys and tokens in later commands are not read:** the connection speaks for who it was validated as; a
//! command naming somebody else would gain nothing and change nothing.

mod announce;
mod answers;
mod buffer;
mod message;
mod outstanding;
mod presence;
mod subscribe;
#[cfg(test)]
mod tests;
mod validate;

use super::OfNode;
use super::codes;
use super::command::{self, Command};
use super::filter::Filter;
use super::{frame, limits};
use crate::core::authority::{App, AppId, State};
use crate::core::close::{Close, End};
use crate::core::filters::Shared;
use crate::core::ids::{ChannelKey, Text};
use crate::core::refusals::{Rule, Told, Why};
use crate::core::session::{Action, Context, Frame, Input, Intent, Session};
use crate::core::token_bucket::TokenBucket;
use buffer::Buffer;
use std::collections::HashMap;
use std::sync::Arc;
use validate::{ClaimedIdentity, Greeting};

/// How far the connection has come.
#[derive(Debug, PartialEq)]
enum Phase {
    /// Nothing was said yet.
    Silent,
    /// Asked to be let in; the core has not answered.
    Asking(Box<Greeting>),
    /// The client has been let in.
    Open,
    /// Refused, and left open for the client to read why.
    Refused,
    /// The client was told why it ends; nothing is answered any more.
    Closed,
}

/// A subscription the client asked for.
#[derive(Debug)]
struct Subscription {
    key: Arc<ChannelKey>,
    /// Tells the answer to this request from one to an earlier request for the same name.
    tag: u64,
    /// The core has said yes.
    live: bool,
    filter: Option<Arc<Shared<Filter>>>,
    /// The subscriber's place, if it is to be kept while it is away.
    buffer: Option<Buffer>,
    /// Counted in the channel's presence by its metadata.
    present: bool,
}

/// The session of one connection.
#[derive(Debug)]
pub(super) struct RealtimeSession {
    phase: Phase,
    who: ClaimedIdentity,
    app: AppId,
    subscriptions: HashMap<Text, Subscription>,
    of_node: OfNode,
    /// Published parts that wait for the core: message id and part.
    published: HashMap<u64, (Text, u32)>,
    last_tag: u64,
    /// What it may still send.
    inbound: TokenBucket,
    heard_ms: u64,
    beat_ms: u64,
    end_ms: Option<u64>,
    /// Silence after which the client counts as gone, if it promised to be heard of.
    silence_ms: Option<u64>,
    /// It is the browser's SDK, by its frames.
    browser: bool,
}

/// One input's surroundings: what may be read, and where the answers go.
struct Turn<'a> {
    cx: Context<'a>,
    state: &'a State,
    app: &'a App,
    out: &'a mut Vec<Action>,
}

impl Turn<'_> {
    fn send(&mut self, frame: Frame) {
        self.out.push(Action::Send(frame));
    }

    fn fail(&mut self, operation: &str, channel: &str, (why, text): (impl Into<Why>, &str)) {
        self.send(frame::error(operation, Some(channel), text));
        self.told(why, channel);
    }

    /// Tells the operators. No frame of this dialect has numbers.
    fn told(&mut self, why: impl Into<Why>, channel: &str) {
        let told = Told::new(why, 0_u32).channel(Some(channel));
        self.out.push(Action::Refused(told.into()));
    }

    fn ask(&mut self, intent: Intent) {
        self.out.push(Action::Do(intent));
    }
}

impl Session for RealtimeSession {
    fn handle(&mut self, input: Input, cx: Context<'_>, out: &mut Vec<Action>) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            Input::Opened => self.open(cx, out),
            Input::Alive => self.heard_ms = cx.now.mono_ms,
            Input::Frame(frame) => {
                self.heard_ms = cx.now.mono_ms;
                self.frame(&frame, cx, out);
            }
            Input::Event(event) => self.event(event, cx, out),
            Input::Wake => self.wake(cx, out),
            Input::Ending(end) => self.end(end, cx, out),
        }
    }
}

impl RealtimeSession {
    /// A session for a connection that has said nothing yet.
    pub(super) fn new(of_node: OfNode) -> Self {
        Self {
            phase: Phase::Silent,
            who: ClaimedIdentity::default(),
            app: AppId(0),
            subscriptions: HashMap::new(),
            of_node,
            published: HashMap::new(),
            last_tag: 0,
            inbound: TokenBucket::default(),
            heard_ms: 0,
            beat_ms: 0,
            end_ms: None,
            silence_ms: None,
            browser: false,
        }
    }

    fn open(&mut self, cx: Context<'_>, out: &mut Vec<Action>) {
        let now_ms = cx.now.mono_ms;
        self.heard_ms = now_ms;
        self.beat_ms = now_ms + limits::HEARTBEAT_MS;
        self.end_ms = Some(now_ms + limits::VALIDATE_MS);
        out.push(Action::Send(frame::open()));
        self.wake_later(out);
    }

    fn frame(&mut self, frame: &Frame, cx: Context<'_>, out: &mut Vec<Action>) {
        let Frame::Text(text) = frame else { return };
        if self.phase == Phase::Silent {
            self.browser = text.trim_start().starts_with('[');
        }
        for text in frame::commands(text) {
            match command::parse(&text) {
                Ok(command) => self.command(command, cx, out),
                Err(_) if self.phase == Phase::Silent => self.refuse(Rule::BadMessage, cx, out),
                Err(malformed) if self.phase == Phase::Open => {
                    out.push(Action::Send(frame::error("command", None, malformed.0)));
                    let told = Told::new(Rule::BadMessage, 0_u32);
                    out.push(Action::Refused(told.into()));
                }
                Err(_) => {}
            }
        }
    }

    /// Before it is let in, a client may only ask for that; what else it says is not answered.
    fn command(&mut self, command: Command<'_>, cx: Context<'_>, out: &mut Vec<Action>) {
        if let Command::Validate(ask) = command {
            if self.phase == Phase::Silent {
                self.validate(ask, cx, out);
            }
            return;
        }
        if self.phase == Phase::Open {
            self.turn(cx, out, |session, turn| session.serve(command, turn));
        }
    }

    fn serve(&mut self, command: Command<'_>, turn: &mut Turn<'_>) {
        match command {
            Command::Validate(_) | Command::Heartbeat => {}
            Command::Subscribe { channel, .. } => self.subscribe(channel, "", "", turn),
            Command::SubscribeFilter {
                channel, filter, ..
            } => self.subscribe(channel, filter, "", turn),
            Command::SubscribeOptions {
                channel,
                filter,
                subscriber,
                ..
            } => self.subscribe(channel, filter, subscriber, turn),
            Command::Unsubscribe { channel, .. } => self.unsubscribe(channel, turn),
            Command::Send {
                channel, message, ..
            } => self.say(channel, message, None, turn),
            Command::Publish {
                channel,
                ttl_s,
                message,
                ..
            } => self.publish(channel, ttl_s, message, turn),
            Command::SendProxy {
                private,
                channel,
                message,
                ..
            } => self.send_proxy(private, channel, message, turn),
            Command::BatchSend {
                channels, message, ..
            } => {
                for channel in channels {
                    self.say(&channel, message, None, turn);
                }
            }
            Command::Ack {
                channel,
                id,
                sequence,
                all,
            } => self.acknowledged(channel, (id, sequence), all, turn),
        }
    }

    /// Runs `part` on the current view. An app that is gone has cut the connection already.
    fn turn(
        &mut self,
        cx: Context<'_>,
        out: &mut Vec<Action>,
        part: impl FnOnce(&mut Self, &mut Turn<'_>),
    ) {
        let state = cx.authority.view();
        let Some(app) = state.apps.get(&self.app) else {
            return;
        };
        let state = &state;
        part(
            self,
            &mut Turn {
                cx,
                state,
                app,
                out,
            },
        );
    }

    fn wake(&mut self, cx: Context<'_>, out: &mut Vec<Action>) {
        let now_ms = cx.now.mono_ms;
        if self.end_ms.is_some_and(|end| now_ms >= end) {
            return match self.phase {
                Phase::Asking(_) => self.not_now(out),
                Phase::Silent => {
                    let told = Told::new(Rule::CredentialMissing, codes::refused().code);
                    out.push(Action::Refused(told.into()));
                    self.close(codes::refused(), out);
                }
                Phase::Open | Phase::Refused | Phase::Closed => {
                    self.close(codes::refused(), out);
                }
            };
        }
        if let Some(silence) = self.silence_ms
            && now_ms >= self.heard_ms + silence
        {
            let silent = codes::close(1001, "No heartbeat");
            self.turn(cx, out, Self::announce_gone);
            return self.close(silent, out);
        }
        if now_ms >= self.beat_ms {
            self.beat_ms = now_ms + limits::HEARTBEAT_MS;
            out.push(Action::Send(frame::heartbeat()));
            self.turn(cx, out, Self::update_presence);
        }
        self.wake_later(out);
    }

    fn wake_later(&self, out: &mut Vec<Action>) {
        let silent = self.silence_ms.map(|silence| self.heard_ms + silence);
        let ends = self.end_ms.into_iter().chain(silent);
        let at_mono_ms = ends.fold(self.beat_ms, u64::min);
        out.push(Action::Wake { at_mono_ms });
    }

    fn end(&mut self, end: End, cx: Context<'_>, out: &mut Vec<Action>) {
        if self.phase == Phase::Open {
            self.turn(cx, out, Self::announce_gone);
        }
        if let Some((told, close)) = codes::ending(end) {
            if told {
                out.push(Action::Send(invalid_connection()));
            } else if matches!(self.phase, Phase::Asking(_)) {
                self.say_why_not(out);
            }
            out.push(Action::Close(close));
        }
        self.phase = Phase::Closed;
    }

    fn close(&mut self, close: Close, out: &mut Vec<Action>) {
        out.push(Action::Close(close));
        self.phase = Phase::Closed;
    }

    fn tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }
}

fn invalid_connection() -> Frame {
    frame::error("validate", None, codes::INVALID_CONNECTION)
}
