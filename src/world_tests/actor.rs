//! The actor of a connection, as `core/connection/{actor,ending,enforce}.rs` are: what it does with what it is told.

use super::channel::ToChannel;
use super::connection::{Connection, ToConnection, closing, framing};
use super::world::{Event as Later, Task, World};
use crate::core::authority::{Cut, EffectBatch};
use crate::core::close::{Close, End};
use crate::core::connection::io::{Output, SubscribeOutcome};
use crate::core::connection::presence_entry::PresenceEntry;
use crate::core::delivery::outbox::{Pushed, Source};
use crate::core::ids::{ChannelKey, ConnectionId};
use crate::core::session::{Action, Context, Event, Frame, Input, PresenceRequest, Subscribed};
use bytes::Bytes;
use std::sync::Arc;

/// Marks requests of the core's own, whose answers no session waits for.
const CORE_TAG: u64 = u64::MAX;
/// How long a socket may take to take the last frames before it is closed, ms.
const CLOSE_TIMEOUT_MS: u64 = 2_000;

impl World {
    /// Puts a message into a connection's mailbox.
    pub(crate) fn mail_connection(&mut self, at: usize, id: ConnectionId, message: ToConnection) {
        if let Some(one) = self.processes[at].connections.get(&id) {
            one.mailbox.0.borrow_mut().push_back(message);
            self.wake_connections(at);
        }
    }

    pub(crate) fn tell(&mut self, at: usize, id: ConnectionId, event: Event) {
        self.mail_connection(at, id, ToConnection::Tell(event));
    }

    /// The thread's tables may have left word with any of its connections.
    pub(crate) fn wake_connections(&mut self, at: usize) {
        let mut woken = Vec::new();
        for (id, one) in &mut self.processes[at].connections {
            if !one.queued && !one.mailbox.0.borrow().is_empty() {
                one.queued = true;
                woken.push(*id);
            }
        }
        for id in woken {
            self.ready(Task::Connection(at, id));
        }
    }

    /// Takes the next message out of a connection's mailbox.
    pub(crate) fn run_connection(&mut self, at: usize, id: ConnectionId) {
        let Some(one) = self.processes[at].connections.get_mut(&id) else {
            return;
        };
        one.queued = false;
        let message = one.mailbox.0.borrow_mut().pop_front();
        if let Some(message) = message {
            self.hear(at, id, message);
        }
        self.wake_connections(at);
        self.flush_later(at);
    }

    pub(super) fn one(&mut self, at: usize, id: ConnectionId) -> Option<&mut Connection> {
        self.processes[at].connections.get_mut(&id)
    }

    fn hear(&mut self, at: usize, id: ConnectionId, message: ToConnection) {
        let Some(one) = self.one(at, id) else { return };
        let ending = one.ending;
        match message {
            ToConnection::EnforceEffects(batch, left) => {
                self.enforce_effects(at, id, &batch);
                left.set(left.get() - 1);
                self.enforced(at);
            }
            ToConnection::DeadlineReached => self.deadline_reached(at, id),
            ToConnection::SocketClosed => self.socket_closed(at, id),
            _ if ending => {}
            ToConnection::Frame(text) if one.pending.is_some() || !one.waiting.is_empty() => {
                one.unread.push_back(text);
            }
            ToConnection::Frame(text) => {
                let frame = Frame::Text(text.into());
                self.feed(at, id, Input::Frame(frame), Source::SESSION);
            }
            ToConnection::Tell(event) => self.tell_session(at, id, event),
            ToConnection::Attached(subscribed) => self.attached(at, id, subscribed),
            ToConnection::DeliverBroadcast(channel, broadcast, source) => {
                if one.state.stands(&channel) {
                    let event = Event::Broadcast { channel, broadcast };
                    self.feed(at, id, Input::Event(event), source);
                }
            }
            ToConnection::EndConnection(end) => self.finish(at, id, Some(end), None),
            ToConnection::CaughtUp(confirmed) => self.caught_up(at, id, confirmed),
        }
    }

    /// Gives the session an input and carries out what it answers.
    pub(crate) fn feed(&mut self, at: usize, id: ConnectionId, input: Input, source: Source) {
        let process = &mut self.processes[at];
        let (now, authority) = (process.now(), process.authority.clone());
        let Some(one) = process.connections.get_mut(&id).filter(|one| !one.ending) else {
            return;
        };
        let mut actions = Vec::new();
        let context = Context {
            id,
            now,
            authority: &authority,
        };
        one.session.handle(input, context, &mut actions);
        let mut actions = actions.into_iter();
        while let Some(action) = actions.next() {
            let Some(one) = self.one(at, id).filter(|one| !one.ending) else {
                return;
            };
            let waits = one.pending.is_some() || !one.waiting.is_empty();
            if matches!(action, Action::Do(_)) && waits {
                one.waiting.push_back(action);
                one.waiting.extend(actions);
                break;
            }
            self.act(at, id, action, source);
        }
    }

    pub(super) fn act(&mut self, at: usize, id: ConnectionId, action: Action, source: Source) {
        match action {
            Action::Send(frame) => self.push(at, id, source, framing(frame)),
            Action::Do(intent) => self.execute(at, id, intent),
            Action::Close(close) => self.finish(at, id, None, Some(close)),
            Action::Refused(_) => {}
            Action::Wake { at_mono_ms } => {
                if let Some(one) = self.one(at, id) {
                    one.wake_at = Some(at_mono_ms);
                }
                self.schedule(at, id);
            }
        }
    }

    fn push(&mut self, at: usize, id: ConnectionId, source: Source, bytes: Bytes) {
        let Some(one) = self.one(at, id) else { return };
        match one.outbox.push(source, bytes) {
            Pushed::First | Pushed::Queued | Pushed::Closed => {}
            Pushed::Over => self.finish(at, id, Some(End::Slow), None),
        }
    }

    fn schedule(&mut self, at: usize, id: ConnectionId) {
        let process = &mut self.processes[at];
        let now = process.now();
        if let Some(one) = process.connections.get(&id) {
            let expiry = one.state.next_expiry(now);
            let expiry = expiry.map(|at| now.mono_ms + at.saturating_sub(now.cluster_ms));
            let due = match one.ending {
                true => one.lingering.or(one.wake_at),
                false => [one.wake_at, expiry].into_iter().flatten().min(),
            };
            process.local.schedule(one.slot, due);
        }
    }

    fn tell_session(&mut self, at: usize, id: ConnectionId, event: Event) {
        let mut leaves = None;
        match &event {
            Event::SubscribeRefused { channel, .. } => {
                let channel = channel.clone();
                let leave = self
                    .one(at, id)
                    .is_some_and(|one| one.state.refused(&channel));
                leaves = leave.then_some(channel);
            }
            Event::PresenceDone { tag: CORE_TAG, .. } => return,
            _ => {}
        }
        self.feed(at, id, Input::Event(event), Source::SESSION);
        if let Some(channel) = leaves {
            self.leave(at, id, &channel);
        }
    }

    fn attached(&mut self, at: usize, id: ConnectionId, mut subscribed: Box<Subscribed>) {
        let local = self.processes[at].local.clone();
        let Some(one) = self.one(at, id) else { return };
        let (slot, channel) = (one.slot, subscribed.channel.clone());
        let mut outputs = Vec::new();
        match one.state.subscribed(&mut subscribed, &mut outputs) {
            SubscribeOutcome::Unknown => {
                local.detach(slot, &channel);
            }
            SubscribeOutcome::Lost(refusal) => {
                local.detach(slot, &channel);
                let tag = subscribed.tag;
                outputs.push(Output::Tell(Event::SubscribeRefused {
                    channel,
                    refusal,
                    tag,
                }));
            }
            SubscribeOutcome::Stands { leave } => {
                let source = local.source(&channel);
                let event = Input::Event(Event::Subscribed(subscribed));
                self.feed(at, id, event, source);
                local.release(slot, &channel);
                if leave {
                    self.leave(at, id, &channel);
                }
            }
        }
        self.apply_outputs(at, id, outputs);
    }

    fn enforce_effects(&mut self, at: usize, id: ConnectionId, batch: &EffectBatch) {
        let authority = self.processes[at].authority.clone();
        let Some(one) = self.one(at, id) else { return };
        let mut outputs = Vec::new();
        let enforced = batch.effects.iter().filter_map(|effect| {
            one.state
                .enforce(effect, &batch.state, &authority, &mut outputs)
        });
        let cut = enforced.last();
        if one.ending {
            one.outbox.drop_queued();
            if one.lingering.is_some() {
                self.apply_outputs(at, id, outputs);
                if cut.is_some() {
                    self.stop(at, id);
                }
            }
            return;
        }
        self.apply_outputs(at, id, outputs);
        if let Some(cut) = cut {
            self.finish(at, id, Some(End::Cut(cut)), None);
        }
    }

    fn deadline_reached(&mut self, at: usize, id: ConnectionId) {
        let process = &mut self.processes[at];
        let (now, authority) = (process.now(), process.authority.clone());
        let Some(one) = process.connections.get_mut(&id) else {
            return;
        };
        if one.ending {
            match one.lingering {
                Some(until) if until <= now.mono_ms => self.stop(at, id),
                Some(_) | None => self.schedule(at, id),
            }
            return;
        }
        if one.wake_at.is_some_and(|at| at <= now.mono_ms) {
            one.wake_at = None;
            self.feed(at, id, Input::Wake, Source::SESSION);
        }
        let Some(one) = self.one(at, id).filter(|one| !one.ending) else {
            return;
        };
        let mut outputs = Vec::new();
        let cut: Option<Cut> = one.state.expire(&authority, &mut outputs);
        self.apply_outputs(at, id, outputs);
        if let Some(cut) = cut {
            self.finish(at, id, Some(End::Cut(cut)), None);
        }
    }

    /// The socket is gone.
    fn socket_closed(&mut self, at: usize, id: ConnectionId) {
        self.finish(at, id, Some(End::Gone), None);
        let Some(one) = self.one(at, id) else { return };
        one.outbox.abort();
        if one.lingering.is_none() {
            self.stop(at, id);
        }
    }

    /// The actor ends.
    pub(crate) fn stop(&mut self, at: usize, id: ConnectionId) {
        self.leave_all(at, id);
        let process = &mut self.processes[at];
        if let Some(one) = process.connections.remove(&id) {
            one.outbox.drop_queued();
            one.outbox.close();
            process.local.unregister(one.slot);
            // Whoever hands out effects does not wait for one that is gone.
            for left in one.mailbox.0.borrow_mut().drain(..) {
                if let ToConnection::EnforceEffects(_, left) = left {
                    left.set(left.get() - 1);
                }
            }
            self.enforced(at);
        }
    }

    fn finish(&mut self, at: usize, id: ConnectionId, end: Option<End>, close: Option<Close>) {
        let now = self.processes[at].now();
        let Some(one) = self.one(at, id).filter(|one| !one.ending) else {
            return;
        };
        let _ = one;
        let (frames, asked) = end
            .map(|end| self.closing_frames(at, id, end))
            .unwrap_or_default();
        let Some(one) = self.one(at, id) else { return };
        one.ending = true;
        one.waiting.clear();
        one.pending = None;
        let linger = match end {
            Some(End::Gone) | None if one.state.entries() > 0 => one.session.linger_ms(),
            Some(_) | None => 0,
        };
        match linger {
            0 => self.leave_all(at, id),
            ms => {
                let local = self.processes[at].local.clone();
                if let Some(one) = self.one(at, id) {
                    one.lingering = Some(now.mono_ms + ms);
                    local.detach_all(one.slot);
                }
            }
        }
        let Some(one) = self.one(at, id) else { return };
        if matches!(end, Some(End::Cut(_) | End::Stale | End::Slow)) {
            one.outbox.drop_queued();
        }
        if end != Some(End::Gone) {
            for frame in frames {
                one.outbox.push_last(framing(frame));
            }
            let plain = || {
                (end != Some(End::Slow)).then_some(Close {
                    code: 1_012,
                    reason: "".into(),
                })
            };
            if let Some(close) = close.or(asked).or_else(plain) {
                one.outbox.push_last(closing(&close));
            }
        }
        one.outbox.close();
        match end {
            Some(End::Slow) => one.outbox.abort(),
            _ => {
                let _sent = one.outbox.flush();
            }
        }
        self.client_reads(at, id);
        self.schedule(at, id);
        let Some(one) = self.one(at, id) else { return };
        let (client, socket) = (one.client, one.socket.clone());
        self.later(CLOSE_TIMEOUT_MS, Later::CutOff(at, id, client, socket));
    }

    fn closing_frames(
        &mut self,
        at: usize,
        id: ConnectionId,
        end: End,
    ) -> (Vec<Frame>, Option<Close>) {
        let process = &mut self.processes[at];
        let (now, authority) = (process.now(), process.authority.clone());
        let (mut actions, mut frames, mut close) = (Vec::new(), Vec::new(), None);
        let context = Context {
            id,
            now,
            authority: &authority,
        };
        if let Some(one) = process.connections.get_mut(&id) {
            one.session
                .handle(Input::Ending(end), context, &mut actions);
        }
        for action in actions {
            match action {
                Action::Send(frame) => frames.push(frame),
                Action::Close(asked) => close = close.or(Some(asked)),
                Action::Do(_) | Action::Wake { .. } | Action::Refused(_) => {}
            }
        }
        (frames, close)
    }

    fn leave_all(&mut self, at: usize, id: ConnectionId) {
        let local = self.processes[at].local.clone();
        let Some(one) = self.one(at, id) else { return };
        local.detach_all(one.slot);
        let keeps_members = one.succeeded;
        let mut left = one.state.end();
        left.sort_unstable();
        for channel in left {
            let leave = ToChannel::Leave {
                connection: id,
                gone: true,
                keeps_members,
            };
            self.mail_channel(at, channel, leave);
        }
    }

    /// Its next socket is on this node or another: what it leaves to that, in the end.
    pub(crate) fn take_over(&mut self, at: usize, id: ConnectionId) -> Vec<PresenceEntry<usize>> {
        let Some(one) = self.one(at, id) else {
            return Vec::new();
        };
        let left = one.state.hand_over_entries();
        one.succeeded = true;
        if one.lingering.is_some() {
            self.leave_all(at, id);
            self.stop(at, id);
        } else {
            self.finish(at, id, Some(End::Gone), None);
            self.stop(at, id);
        }
        left
    }

    pub(super) fn apply_outputs(
        &mut self,
        at: usize,
        id: ConnectionId,
        mut outputs: Vec<Output<usize>>,
    ) {
        // The order of channels in a hash map is nobody's business.
        let keys = &self.keys;
        let of = |key: &ChannelKey| keys.iter().position(|one| **one == *key);
        outputs.sort_by_key(|output| match output {
            Output::Detach { channel, .. } | Output::LeavePresence(channel, ..) => of(channel),
            Output::Leave(channel) => Some(*channel),
            Output::Tell(Event::RightsChanged { channel, .. }) => of(channel),
            Output::Tell(_) => None,
        });
        let local = self.processes[at].local.clone();
        for output in outputs {
            match output {
                Output::Tell(event) => self.feed(at, id, Input::Event(event), Source::SESSION),
                Output::Detach { channel, drop } => {
                    if let Some(one) = self.one(at, id) {
                        let source = local.detach(one.slot, &channel);
                        if let Some(source) = source.filter(|_| drop) {
                            one.outbox.drop_source(source);
                        }
                    }
                }
                Output::Leave(channel) => {
                    let leave = ToChannel::Leave {
                        connection: id,
                        gone: false,
                        keeps_members: false,
                    };
                    self.mail_channel(at, channel, leave);
                }
                Output::LeavePresence(key, channel, pass, client) => {
                    let request = PresenceRequest {
                        channel: key,
                        member: None,
                        client,
                        speaks_for: None,
                        proof: None,
                        tag: CORE_TAG,
                    };
                    let leave = ToChannel::Presence(id, Box::new(request), pass);
                    self.mail_channel(at, channel, leave);
                }
            }
        }
        self.schedule(at, id);
    }

    pub(super) fn leave(&mut self, at: usize, id: ConnectionId, channel: &Arc<ChannelKey>) {
        let mut outputs = Vec::new();
        if let Some(one) = self.one(at, id) {
            one.state.unsubscribe(channel, &mut outputs);
        }
        self.apply_outputs(at, id, outputs);
    }
}
