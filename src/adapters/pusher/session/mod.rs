//! The session: one connection's side of the protocol, as a pure state machine.
//!
//! It keeps what the client believes (which channels, signed in as whom) and the signatures it brought; who may
//! do what is asked of the core with every intent.
//!
//! **Must never know:** sockets, actors, a clock, other connections.
//! **Why not answer from this state alone:** rights change while a connection lives; only the core hears of it.

mod alive;
mod answers;
mod client_event;
mod hello;
mod sign_in;
mod subscribe;
mod subscribe_auth;
#[cfg(test)]
mod tests;
mod unsure;
mod watchlist;

pub(super) use hello::Hello;

use super::codes::{self, ClosingError};
use super::frame::client::{self, Command};
use super::frame::server;
use super::limits;
use crate::core::authority::{App, AppId, Principal, Signer, State};
use crate::core::close::End;
use crate::core::hash::Map;
use crate::core::ids::{ChannelKey, Text};
use crate::core::limits::Setting;
use crate::core::refusals::{Rule, Told};
use crate::core::session::{Action, Context, Frame, Input, Intent, Session};
use crate::core::token_bucket::TokenBucket;
use alive::{Alive, Due};
use bytes::Bytes;
use std::sync::Arc;
use unsure::Certainty;
use watchlist::Watchlist;

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was said yet, or the core was asked to accept the key.
    Greeting,
    /// `connection_established` was sent.
    Open,
    /// The connection was told why it ends; nothing is answered any more.
    Closed,
}

/// Who signed in, or who a presence entry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    id: Text,
    /// `user_info` as JSON; empty when absent.
    info: Bytes,
}

impl User {
    /// Of whom nothing is known but her id.
    fn named(id: Text) -> Self {
        let info = Bytes::new();
        Self { id, info }
    }
}

/// A sign-in the core has not answered yet.
#[derive(Debug)]
struct SigningIn {
    user: User,
    /// Goes back byte for byte.
    user_data: String,
    /// Whose key signed it, where it was no provider's token.
    signer: Option<Signer>,
    /// Whom the user wants to hear of.
    watchlist: Vec<Text>,
}

/// A user whom the core knows and who has not been told yet: first every node has to know that she is there.
#[derive(Debug)]
struct Arriving {
    user_data: String,
    signer: Signer,
    watchlist: Vec<Text>,
    /// The request by which she comes online, while it is not answered.
    status: Option<u64>,
}

/// A subscription the client asked for, or the inbox that comes with signing in.
#[derive(Debug)]
struct Subscription {
    key: Arc<ChannelKey>,
    /// Tells the answer to this request from one to an earlier request for the same name.
    tag: u64,
    /// The core has said yes.
    live: bool,
    /// The client knows of it (an inbox exists before the client asks).
    told: bool,
    /// The client took the request back before it was answered.
    leaving: bool,
    /// And has asked again since; done once the core has let go of the first request.
    again: Option<Box<client::Subscribe>>,
    /// The user it counts for, on a presence channel.
    user: Option<Text>,
}

/// The session of one connection.
#[derive(Debug)]
pub(super) struct PusherSession {
    hello: Hello,
    phase: Phase,
    app: AppId,
    user: Option<User>,
    signing_in: Option<SigningIn>,
    arriving: Option<Arriving>,
    subscriptions: Map<Text, Subscription>,
    last_tag: u64,
    bucket: TokenBucket,
    events: Option<limits::Events>,
    alive: Alive,
    watchlist: Watchlist,
    certainty: Certainty,
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

    /// Tells of a failed request; the connection goes on.
    fn fail(&mut self, rule: Rule, channel: &str, text: &str) {
        self.send(server::error(None, text));
        self.told(Told::new(rule, 0_u32).channel(Some(channel)));
    }

    /// Tells the operators.
    fn told(&mut self, told: Told) {
        self.out.push(Action::Refused(told.into()));
    }

    fn ask(&mut self, intent: Intent) {
        self.out.push(Action::Do(intent));
    }

    fn limit(&self, setting: Setting) -> u64 {
        setting.of(self.app)
    }
}

impl Session for PusherSession {
    fn handle(&mut self, input: Input, cx: Context<'_>, out: &mut Vec<Action>) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            Input::Opened => self.open(cx, out),
            Input::Ending(end) => self.end(end, out),
            Input::Alive => self.alive.heard(cx.now.mono_ms),
            Input::Frame(frame) => {
                self.alive.heard(cx.now.mono_ms);
                self.turn(cx, out, |session, turn| session.in_turn(&frame, turn));
            }
            Input::Event(event) => {
                self.turn(cx, out, |session, turn| session.answer(event, turn));
            }
            Input::Wake => self.turn(cx, out, Self::wake),
        }
    }
}

impl PusherSession {
    /// A session for a connection that asked for this.
    pub(super) fn new(hello: Hello) -> Self {
        Self {
            hello,
            phase: Phase::Greeting,
            app: AppId(0),
            user: None,
            signing_in: None,
            arriving: None,
            subscriptions: Map::default(),
            last_tag: 0,
            bucket: TokenBucket::default(),
            events: None,
            alive: Alive::default(),
            watchlist: Watchlist::default(),
            certainty: Certainty::default(),
        }
    }

    /// Runs `part` on the current view. An app that is gone ends the connection.
    fn turn(
        &mut self,
        cx: Context<'_>,
        out: &mut Vec<Action>,
        part: impl FnOnce(&mut Self, &mut Turn<'_>),
    ) {
        let state = cx.authority.view();
        let Some(app) = state.apps.get(&self.app) else {
            let closing = codes::unknown_key(&self.hello.key);
            return self.leave(&closing, out);
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

    /// Accepts or refuses what was asked for in the address; the core has the last word.
    fn open(&mut self, cx: Context<'_>, out: &mut Vec<Action>) {
        self.alive.heard(cx.now.mono_ms);
        let state = cx.authority.view();
        match self.hello.check(&state, cx.now.cluster_ms) {
            Ok(key) => {
                self.app = key.app;
                self.hello.forget_versions();
                let principal = Principal::anonymous(key.app, Some(key.id.clone()), state.revision);
                out.push(Action::Do(Intent::Identify(principal.into())));
            }
            Err(closing) => self.leave(&closing, out),
        }
    }

    fn frame(&mut self, frame: &Frame, turn: &mut Turn<'_>) {
        let Frame::Text(text) = frame else {
            return turn.fail(Rule::BadMessage, "", "Binary messages are not supported");
        };
        if self.phase != Phase::Open {
            let text = "Wait for pusher:connection_established";
            return turn.fail(Rule::NotSubscribed, "", text);
        }
        let max = self.events(turn).frame_bytes;
        if text.len() as u64 > max {
            let text = format!("Message exceeds the allowed maximum ({max} bytes)");
            return turn.fail(Rule::MessageTooLarge, "", &text);
        }
        match client::parse(text) {
            Ok(command) => self.command(command, turn),
            Err(malformed) => turn.fail(Rule::BadMessage, "", malformed.0),
        }
    }

    fn command(&mut self, command: Command<'_>, turn: &mut Turn<'_>) {
        match command {
            Command::Subscribe(ask) => self.subscribe(ask, turn),
            Command::Unsubscribe { channel } => self.unsubscribe(&channel, turn),
            Command::SignIn(ask) => self.sign_in(ask, turn),
            Command::Ping => turn.send(server::bare("pusher:pong", None)),
            Command::Pong => {}
            Command::Event(event) => self.client_event(&event, turn),
            Command::Unsupported { event } => {
                let event = codes::clip(&event, 200);
                let text = format!("Unsupported event received on socket: {event}");
                turn.fail(Rule::Unsupported, "", &text);
            }
        }
    }

    fn wake(&mut self, turn: &mut Turn<'_>) {
        let timeout_ms = turn.limit(limits::ACTIVITY_TIMEOUT_MS);
        match self.alive.due(turn.cx.now.mono_ms, timeout_ms) {
            Due::Nothing => {}
            Due::Ping => turn.send(server::bare("pusher:ping", None)),
            Due::Silent => {
                let text = "Pong reply not received in time";
                return self.leave(&ClosingError::new(codes::NO_PONG, text), turn.out);
            }
            Due::Unauthorized => {
                let text = "Connection not authorized within timeout";
                return self.leave(&ClosingError::new(codes::UNAUTHORIZED, text), turn.out);
            }
        }
        let at_mono_ms = self.alive.next(timeout_ms);
        turn.out.push(Action::Wake { at_mono_ms });
    }

    fn end(&mut self, end: End, out: &mut Vec<Action>) {
        if let Some(closing) = codes::ending(end) {
            send_closing_error(&closing, out);
        }
        self.phase = Phase::Closed;
    }

    /// Ends the connection for something that its client did.
    fn leave(&mut self, closing: &ClosingError, out: &mut Vec<Action>) {
        let told = closing.told().key(Some(&self.hello.key));
        out.push(Action::Refused(told.into()));
        send_closing_error(closing, out);
        self.phase = Phase::Closed;
    }

    fn events(&mut self, turn: &Turn<'_>) -> limits::Events {
        let now = limits::Events::now(self.events, turn.app, turn.state.revision);
        *self.events.insert(now)
    }

    fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }
}

/// Says goodbye twice, because old clients read the error and new ones the close frame.
fn send_closing_error(closing: &ClosingError, out: &mut Vec<Action>) {
    let error = server::error(Some(closing.code), &closing.text);
    out.push(Action::Send(error));
    out.push(Action::Close(closing.close()));
}
