//! How a connection ends: once, in order, in bounded time.
//!
//! **Why it leaves its channels before it says goodbye:** whoever ends a connection counts on it that nothing of a channel
//! reaches it any more. Sending the goodbye may take the peer's time; the peer has no say in the rest.

use super::actor::Connection;
use crate::core::authority::Cut;
use crate::core::channel::messages::Leave;
use crate::core::close::{Abuse, Close, End};
use crate::core::ids::Text;
use crate::core::refusals::{Rule, Told};
use crate::core::session::{Action, Context as Cx, Frame, Input, Intent};
use actix::prelude::*;

/// How long a socket may take to swallow the goodbye before it is cut, ms.
const CLOSE_TIMEOUT_MS: u64 = 2_000;

impl Connection {
    /// Ends the connection: leaves everything, lets the session say goodbye, then closes. Never undone.
    pub(super) fn finish(
        &mut self,
        end: Option<End>,
        close: Option<Close>,
        cx: &mut Context<Self>,
    ) {
        if self.is_ending() {
            return;
        }
        if let Some(rule) = end.and_then(Rule::of_end) {
            let code = end.and_then(plain_close).map_or(0, |close| close.code);
            self.refused(Told::new(rule, code));
        }
        let (last_frames, session_close) =
            end.map(|end| self.closing_frames(end)).unwrap_or_default();
        self.ending = Some(self.now().mono_ms.saturating_add(CLOSE_TIMEOUT_MS));
        self.waiting.clear();
        // A request that still waits for room in a channel's mailbox must not get there after the leaving.
        if let Some(pending) = self.pending.take() {
            cx.cancel_future(pending);
        }
        let linger = match end {
            // `None`: the session itself closes, and says whether the client is to come back.
            Some(End::Gone) | None if self.state.entries() > 0 => self.session.linger_ms(),
            Some(_) | None => 0,
        };
        match linger {
            0 => self.leave_all(),
            ms => self.linger(ms),
        }
        if end.is_some_and(loses_queue) {
            self.outbox.drop_queued();
        }
        let mut code = 0;
        // Nobody listens to what is said after the client's own close.
        if end != Some(End::Gone) {
            for frame in last_frames {
                self.outbox.push_last((self.framing.message)(frame));
            }
            let plain = || end.and_then(plain_close);
            if let Some(close) = close.or(session_close).or_else(plain) {
                code = close.code;
                self.outbox.push_last((self.framing.close)(&close));
            }
        }
        self.worker.state.closed(self.stranger.dialect, code);
        self.outbox.close();
        // The socket is read on, so that a client's last bytes do not turn the close into a reset.
        self.gate.open();
        if end == Some(End::Slow) {
            self.cut_off(cx);
        } else {
            self.schedule();
        }
    }

    /// Gives the session what the client says.
    pub(super) fn hear(&mut self, frame: Frame, cx: &mut Context<Self>) {
        self.outbox.tally.received(match &frame {
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
        });
        self.feed(Input::Frame(frame), cx);
    }

    /// Tells the operators of a refusal.
    pub(super) fn refused(&self, told: Told) {
        let told = self.stranger.told(told, self.state.principal());
        let broker = &self.worker.broker;
        broker.refused(self.stranger.dialect, &self.stranger.remote, told);
    }

    /// What the session wants to have said, and its close.
    fn closing_frames(&mut self, end: End) -> (Vec<Frame>, Option<Close>) {
        let (mut actions, mut frames, mut close) = (Vec::new(), Vec::new(), None);
        let context = Cx {
            id: self.id,
            now: self.now(),
            authority: &self.worker.broker.authority,
        };
        let input = Input::Ending(end);
        self.session.handle(input, context, &mut actions);
        for action in actions {
            match action {
                Action::Send(frame) => frames.push(frame),
                Action::Close(asked) => {
                    close.get_or_insert(asked);
                }
                Action::Do(Intent::Publish(request)) => self.publish_last_will(request),
                // Why it ends is told by the core already.
                Action::Do(_) | Action::Wake { .. } | Action::Refused(_) => {}
            }
        }
        (frames, close)
    }

    /// Cuts the socket: nothing that waits on the peer can hold the connection any longer.
    pub(super) fn cut_off(&mut self, cx: &mut Context<Self>) {
        self.outbox.abort();
        match self.lingering {
            Some(until) => {
                self.ending = Some(until);
                self.schedule();
            }
            None => cx.stop(),
        }
    }

    /// Receives nothing any more, but its presence entries wait for the connection to come back.
    fn linger(&mut self, ms: u64) {
        self.lingering = Some(self.now().mono_ms.saturating_add(ms));
        if let Some(slot) = self.slot {
            self.worker.state.detach_all(slot);
        }
    }

    pub(super) fn leave_all(&mut self) {
        if let Some(app) = self.counted.take() {
            self.worker.broker.relays.leave(app);
        }
        if let Some(slot) = self.slot {
            self.worker.state.detach_all(slot);
        }
        for channel in self.state.end() {
            channel.do_send(Leave {
                connection: self.id,
                gone: true,
                keeps_members: self.succeeded,
            });
        }
        self.index_speaks_for();
    }
}

/// Endings after which nothing queued may reach the client: it lost the right, or it could not read it anyway.
fn loses_queue(end: End) -> bool {
    match end {
        End::Cut(_) | End::Stale | End::Slow => true,
        End::Abuse(_) | End::Draining | End::Missed | End::Silent | End::Gone => false,
    }
}

/// The close frame when the session has no words for it (RFC 6455 §7.4.1).
fn plain_close(end: End) -> Option<Close> {
    let (code, reason) = match end {
        End::Slow | End::Gone => return None,
        End::Abuse(Abuse::Protocol) => (1002, "protocol error"),
        End::Abuse(Abuse::NotUtf8) => (1007, "text is not UTF-8"),
        End::Abuse(Abuse::TooLarge) => (1009, "message too large"),
        End::Cut(Cut::Disconnected) => (1000, "disconnected"),
        End::Cut(Cut::Revoked { .. } | Cut::Blocked | Cut::Disabled) => (1008, "access ended"),
        End::Draining => (1001, "going away"),
        End::Stale | End::Missed => (1012, "reconnect"),
        End::Silent => (1008, "nothing was said"),
    };
    let reason: Text = reason.into();
    Some(Close { code, reason })
}
