//! The session: one connection's side of the realtime protocol, as a pure state machine.
//!
//! It keeps what the client believes (channels, modes, frames not yet acknowledged); who may do what is asked of
//! the core with every intent.
//!
//! **Must never know:** sockets, actors, a clock, other connections. The one thing it shares is the list of
//! [`ClosedConnections`], which says how long a lost connection may still be carried on.

mod attach;
mod attached;
mod modes;
mod open;
mod presence;
mod publish;
#[cfg(test)]
mod tests;

pub(super) use open::Hello;
pub(super) use publish::check_size;

use super::auth::Identity;
use super::codes::{self, ClosingError, Fault};
use super::format::Format;
use super::frame::{Auth, ProtocolMessage, action};
use super::limits;
use super::resume::{self, ClosedConnections};
use crate::core::authority::App;
use crate::core::close::End;
use crate::core::ids::Text;
use crate::core::limits::Setting;
use crate::core::refusals::Rule;
use crate::core::session::{Action, Context, Event, Frame, Input, Intent, Session};
use crate::core::token_bucket::TokenBucket;
use attach::Attachment;
use open::Timers;
use publish::Unacknowledged;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The core was asked to accept the credential.
    Greeting,
    /// `CONNECTED` was sent.
    Open,
    /// The last word was said.
    Closed,
}

/// The session of one connection.
#[derive(Debug)]
pub(super) struct AblySession {
    format: Format,
    hello: Hello,
    phase: Phase,
    /// Whom it speaks for, once accepted.
    identity: Option<Identity>,
    /// Whom it wants to speak for: the core has not answered yet.
    claimed: Option<Identity>,
    /// What came with an `AUTH` whose key is looked for in a newer view.
    renewing: Option<Auth>,
    /// By the broker's name of the channel.
    channels: HashMap<Text, Attachment>,
    unacknowledged: VecDeque<Unacknowledged>,
    last_tag: u64,
    /// What it may still send.
    inbound: TokenBucket,
    timers: Timers,
    /// Members stay for a while when the socket goes.
    comes_back: bool,
    closed_connections: ClosedConnections,
}

/// One input's surroundings: what may be read, and where the answers go.
struct Turn<'a> {
    cx: Context<'a>,
    format: Format,
    out: &'a mut Vec<Action>,
}

impl Turn<'_> {
    fn send(&mut self, frame: &ProtocolMessage) {
        self.send_about(frame, frame.channel.as_deref());
    }

    /// Whatever refuses something to the client passes here, and is told to operators as well. What goes with a success
    /// only says that something before it was missed.
    fn send_about(&mut self, frame: &ProtocolMessage, channel: Option<&str>) {
        self.out.push(Action::Send(self.format.frame(frame)));
        let succeeds = matches!(frame.action, action::CONNECTED | action::ATTACHED);
        if let Some(fault) = frame.error.as_ref().filter(|_| !succeeds) {
            let told = fault.told().channel(channel);
            self.out.push(Action::Refused(told.into()));
        }
    }

    fn raw(&mut self, frame: Frame) {
        self.out.push(Action::Send(frame));
    }

    fn ask(&mut self, intent: Intent) {
        self.out.push(Action::Do(intent));
    }

    /// Something about one channel failed for good.
    fn fail(&mut self, channel: &str, fault: Fault) {
        let mut frame = ProtocolMessage::about(action::ERROR, channel);
        frame.error = Some(fault);
        self.send(&frame);
    }
}

impl Session for AblySession {
    fn handle(&mut self, input: Input, cx: Context<'_>, out: &mut Vec<Action>) {
        if self.phase == Phase::Closed {
            return;
        }
        let format = self.format;
        let turn = &mut Turn { cx, format, out };
        match input {
            Input::Opened => self.open(turn),
            Input::Ending(end) => self.end(end, turn),
            Input::Alive => {}
            Input::Frame(frame) => self.frame(&frame, turn),
            Input::Event(event) => self.answer(event, turn),
            Input::Wake => self.wake(turn),
        }
    }

    fn linger_ms(&self) -> u64 {
        match self.comes_back {
            true => self.hello.present_ms,
            false => 0,
        }
    }
}

impl AblySession {
    /// A session for a connection that asked for this.
    pub(super) fn new(hello: Hello, closed_connections: ClosedConnections) -> Self {
        Self {
            format: hello.format,
            timers: Timers::new(hello.heartbeat_ms),
            hello,
            phase: Phase::Greeting,
            identity: None,
            claimed: None,
            renewing: None,
            channels: HashMap::new(),
            unacknowledged: VecDeque::new(),
            last_tag: 0,
            inbound: TokenBucket::default(),
            comes_back: true,
            closed_connections,
        }
    }

    fn app(&self, turn: &Turn<'_>) -> Option<Arc<App>> {
        let app = self.identity.as_ref()?.principal.app;
        turn.cx.authority.app(app)
    }

    fn limit(&self, setting: Setting, turn: &Turn<'_>) -> u64 {
        self.app(turn)
            .map_or(setting.default, |app| setting.of(&app))
    }

    /// Whether so many messages may come now; all of a frame count, whatever becomes of them.
    fn inbound(&mut self, messages: usize, turn: &Turn<'_>) -> Result<(), Fault> {
        let limit = limits::INBOUND_MESSAGES_PER_SECOND;
        let rate = self.limit(limit, turn);
        // What is too long is refused for that.
        let count = messages.min(limits::MESSAGES) as u64;
        let now_ms = turn.cx.now.mono_ms;
        Ok(self.inbound.admit(now_ms, limit, rate, count)?)
    }

    fn frame(&mut self, frame: &Frame, turn: &mut Turn<'_>) {
        // Either form is read, whichever was asked for: only our own answers have to be of that form.
        let read = match frame {
            Frame::Text(text) => Format::Json.read::<ProtocolMessage>(text.as_bytes()),
            Frame::Binary(bytes) => Format::MsgPack.read::<ProtocolMessage>(bytes),
        };
        match read {
            Ok(message) if self.phase == Phase::Open => self.message(message, turn),
            Ok(message) if message.action == action::CLOSE => self.close(turn),
            // Nothing is expected before CONNECTED; what comes is too early to be answered.
            Ok(_) => {}
            Err(_) => {
                let fault = Fault::bad("The frame is not a ProtocolMessage");
                let fault = fault.because(Rule::BadMessage);
                self.leave(
                    ClosingError {
                        fails: false,
                        fault,
                    },
                    turn,
                );
            }
        }
    }

    fn message(&mut self, message: ProtocolMessage, turn: &mut Turn<'_>) {
        match message.action {
            action::HEARTBEAT => {
                let mut echo = ProtocolMessage::new(action::HEARTBEAT);
                echo.id = message.id;
                turn.send(&echo);
            }
            action::ATTACH => self.attach(message, turn),
            action::DETACH => self.detach(&message, turn),
            action::MESSAGE => self.publish(message, turn),
            action::PRESENCE => self.present(message, turn),
            action::SYNC => self.sync(&message, turn),
            action::AUTH => self.reauthorize(message.auth, turn),
            action::CLOSE => self.close(turn),
            action::OBJECT | action::ANNOTATION => {
                let fault = Fault::new(40000, 400, "Not supported by this server");
                let fault = fault.because(Rule::Unsupported);
                self.refuse((message.msg_serial, message.channel), fault, turn);
            }
            // The client drops this socket by itself; what it left is kept for its next one.
            action::DISCONNECT | action::OBJECT_SYNC => {}
            _unknown => {}
        }
    }

    fn answer(&mut self, event: Event, turn: &mut Turn<'_>) {
        match event {
            Event::Identified => self.identified(turn),
            Event::IdentifyRefused(refusal) => {
                let closing = codes::identify(&refusal);
                self.leave(closing, turn);
            }
            Event::Expiring { .. } => turn.send(&ProtocolMessage::new(action::AUTH)),
            Event::Subscribed(subscribed) => self.subscribed(&subscribed, turn),
            Event::SubscribeRefused {
                channel,
                refusal,
                tag,
            } => self.subscribe_refused(&channel, &refusal, tag, turn),
            Event::Unsubscribed { channel, .. } => self.unsubscribed(&channel, turn),
            Event::RightsChanged {
                channel,
                granted,
                refusal,
            } => self.rights_changed(&channel, granted, refusal.as_ref(), turn),
            Event::Published { tag, receipt } => self.published(tag, Ok(&receipt), turn),
            Event::PublishRefused { tag, refusal, .. } => {
                self.published(tag, Err(&refusal), turn);
            }
            Event::PresenceDone { tag, refusal, .. } => self.presence_done(tag, refusal, turn),
            Event::Members { tag, members } => self.members(tag, members, turn),
            // Never asked for.
            Event::History { .. } => {}
            Event::CaughtUp(answer) => self.renew(answer.map_err(Fault::from), turn),
            Event::Broadcast { channel, broadcast } => self.heard(&channel, &broadcast, turn),
        }
    }

    /// `CLOSE`: everything goes at once.
    fn close(&mut self, turn: &mut Turn<'_>) {
        self.comes_back = false;
        self.closed_connections.ended(turn.cx.id, 0);
        turn.send(&ProtocolMessage::new(action::CLOSED));
        turn.out.push(Action::Close(codes::close()));
        self.phase = Phase::Closed;
    }

    /// Says goodbye in a frame, because no client reads close codes, and ends.
    fn leave(&mut self, closing: ClosingError, turn: &mut Turn<'_>) {
        let now = turn.cx.now.cluster_ms;
        // A token error is no end: the client renews its token and comes back.
        self.comes_back = !closing.fails || closing.fault.wants_token();
        let until = if self.comes_back {
            resume::until(now)
        } else {
            0
        };
        self.closed_connections.ended(turn.cx.id, until);
        let greeting = self.phase == Phase::Greeting;
        // On an open connection a token error is a reason to come back with another token.
        let fails = closing.fails && (greeting || !closing.fault.wants_token());
        let number = match fails {
            true => action::ERROR,
            false => action::DISCONNECTED,
        };
        let mut frame = ProtocolMessage::new(number);
        frame.error = Some(closing.fault);
        turn.send(&frame);
        turn.out.push(Action::Close(codes::close()));
        self.phase = Phase::Closed;
    }

    fn end(&mut self, end: End, turn: &mut Turn<'_>) {
        match codes::ending(end) {
            Some(closing) => self.leave(closing, turn),
            None => {
                let now = turn.cx.now.cluster_ms;
                self.closed_connections
                    .ended(turn.cx.id, resume::until(now));
                self.phase = Phase::Closed;
            }
        }
    }

    fn tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// `AUTH` with a new token. Its key may be newer than this node's view.
    fn reauthorize(&mut self, auth: Option<Auth>, turn: &mut Turn<'_>) {
        let Some(own) = &self.identity else { return };
        let (state, now) = (turn.cx.authority.view(), turn.cx.now.cluster_ms);
        match open::renewed(own, auth.as_ref(), turn) {
            Ok(identity) => self.renewed(identity, turn),
            Err(fault) if open::may_be_lifted(&fault, auth.as_ref(), &state, now) => {
                self.renewing = auth;
                turn.ask(Intent::CatchUp);
            }
            Err(fault) => self.leave(ClosingError { fails: true, fault }, turn),
        }
    }

    /// The view is as new as it could be had.
    fn renew(&mut self, confirmed: Result<(), Fault>, turn: &mut Turn<'_>) {
        let Some(auth) = self.renewing.take() else {
            return;
        };
        let Some(own) = &self.identity else { return };
        match (open::renewed(own, Some(&auth), turn), confirmed) {
            (Ok(identity), _) => self.renewed(identity, turn),
            (Err(fault), Ok(())) => self.leave(ClosingError { fails: true, fault }, turn),
            (Err(_), Err(fault)) => self.leave(
                ClosingError {
                    fails: false,
                    fault,
                },
                turn,
            ),
        }
    }

    fn renewed(&mut self, identity: Identity, turn: &mut Turn<'_>) {
        turn.ask(Intent::Identify(identity.principal.clone()));
        self.claimed = Some(identity);
    }
}
