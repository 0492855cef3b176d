//! Attachments: what the core says of them, and how the client hears it.

use super::attach::{AttachParams, Attachment, Stage};
use super::modes;
use super::{AblySession, Turn};
use crate::adapters::ably::codes::{ClosingError, Fault};
use crate::adapters::ably::encoder;
use crate::adapters::ably::format::Format;
use crate::adapters::ably::frame::{ChannelName, ProtocolMessage, action, flag};
use crate::adapters::ably::member::PresenceMessage;
use crate::adapters::ably::{limits, position};
use crate::core::authority::{Operations, Reason};
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Position};
use crate::core::message::{Broadcast, Member, Publication};
use crate::core::session::{DeliveryMode, Frame, Intent, Start, Subscribed};
use std::sync::Arc;

/// Members of one `SYNC`.
const SYNC: usize = 100;

impl Attachment {
    pub(super) fn modes(&self) -> u64 {
        modes::granted(self.wanted.modes, self.operations)
    }

    fn may(&self, mode: u64) -> bool {
        self.modes() & mode != 0
    }

    /// Whether what is subscribed serves these parameters as well.
    pub(super) fn fits(&self, wanted: &AttachParams) -> bool {
        let both = modes::SUBSCRIBE | modes::PRESENCE_SUBSCRIBE;
        let news = wanted.modes & !self.wanted.modes & modes::PRESENCE_SUBSCRIBE;
        let kind = match self.delivery {
            DeliveryMode::Shared => wanted.modes & both == both,
            DeliveryMode::Session => true,
        };
        kind && news == 0 && wanted.echo == self.wanted.echo && self.operations != Operations::NONE
    }

    fn frame(&self, flags: u64) -> ProtocolMessage {
        let mut frame = ProtocolMessage::about(action::ATTACHED, &self.wire);
        frame.flags = Some(self.modes() | flags);
        let params = &self.wanted.params;
        let echoed = params
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()));
        frame.params = (!params.is_empty()).then(|| echoed.collect());
        frame
    }

    /// The answer to a request that changed nothing about what is delivered.
    pub(super) fn again(&self) -> ProtocolMessage {
        let mut frame = self.frame(flag::RESUMED);
        frame.channel_serial.clone_from(&self.wanted.serial);
        frame
    }
}

/// The serial that an attachment starts from, and behind which `shown` comes.
fn starts(
    wanted: &AttachParams,
    shown: &[Arc<Publication>],
    continued: bool,
    head: Position,
) -> String {
    let before = |first: &Arc<Publication>| Position {
        seq: first.position.seq.saturating_sub(1),
        ..first.position
    };
    match (&wanted.serial, shown.first()) {
        (Some(serial), Some(_)) if continued => serial.clone(),
        (_, Some(first)) => position::channel_serial(before(first)),
        (_, None) => position::channel_serial(head),
    }
}

/// The newest of these that may wait for one connection together: more would end it, again and again.
fn fitting<'b>(
    wire: &str,
    backlog: &'b [Arc<Publication>],
    room: usize,
    format: Format,
) -> (&'b [Arc<Publication>], Vec<Frame>) {
    let mut bytes = 0;
    let newest = backlog.iter().rev();
    let framed = newest.map(|one| encoder::message(wire, one, format));
    let fits = |frame: &Frame| {
        bytes += match frame {
            Frame::Text(text) => text.len(),
            Frame::Binary(binary) => binary.len(),
        };
        bytes <= room
    };
    let mut frames: Vec<_> = framed.take_while(fits).collect();
    frames.reverse();
    let shown = backlog.get(backlog.len() - frames.len()..);
    (shown.unwrap_or_default(), frames)
}

impl AblySession {
    pub(super) fn subscribed(&mut self, subscribed: &Subscribed, turn: &mut Turn<'_>) {
        let room = limits::outbox_bytes(self.app(turn).as_deref()) / 2;
        let Some(held) = self.channels.get_mut(&*subscribed.channel.name) else {
            return;
        };
        if held.tag != subscribed.tag || held.stage != Stage::Attaching {
            return;
        }
        held.stage = Stage::Attached;
        held.operations = subscribed.granted;
        let asked_to_continue = held.wanted.serial.is_some();
        let hears = held.may(modes::SUBSCRIBE);
        let own = |one: &&Arc<Publication>| {
            let mine = one.draft.connection == Some(turn.cx.id) && !held.wanted.echo;
            !mine && one.draft.except != Some(turn.cx.id)
        };
        let backlog: Vec<_> = subscribed.backlog.iter().filter(own).cloned().collect();
        let backlog = if hears { backlog } else { Vec::new() };
        let (shown, frames) = fitting(&held.wire, &backlog, room, turn.format);
        let whole = shown.len() == backlog.len();
        // A rewind begins where it can; who goes on begins anew.
        let (shown, frames) = match whole || !asked_to_continue {
            true => (shown, frames),
            false => (&[][..], Vec::new()),
        };
        let continued = asked_to_continue
            && subscribed.continuous
            && whole
            && matches!(held.wanted.start, Start::After(_));
        let members = subscribed.members.clone().unwrap_or_default();
        let members = match held.may(modes::PRESENCE_SUBSCRIBE) {
            true => members,
            false => Arc::default(),
        };
        let flags = (u64::from(!members.is_empty()) * flag::HAS_PRESENCE)
            | (u64::from(!frames.is_empty()) * flag::HAS_BACKLOG)
            | (u64::from(continued) * flag::RESUMED);
        let mut frame = held.frame(flags);
        frame.channel_serial = Some(starts(&held.wanted, shown, continued, subscribed.position));
        if asked_to_continue && !continued {
            let text = "Messages may have been lost since the given position";
            frame.error = Some(Fault::new(90003, 404, text));
        }
        turn.send(&frame);
        frames.into_iter().for_each(|one| turn.raw(one));
        let (wire, tag) = (held.wire.clone(), held.tag);
        // A later attachment of the same connection begins where this one stands, not where it began.
        held.wanted.start = Start::Now;
        held.wanted.serial = None;
        let next = held.next.take();
        tell_members(&wire, tag, &members, turn);
        if let Some(next) = next {
            self.attach(*next, turn);
        }
    }

    pub(super) fn subscribe_refused(
        &mut self,
        key: &ChannelKey,
        refusal: &Refusal,
        tag: u64,
        turn: &mut Turn<'_>,
    ) {
        let held = self.channels.get(&*key.name);
        if !held.is_some_and(|held| held.tag == tag && held.stage == Stage::Attaching) {
            return;
        }
        self.lost(key, refusal, turn);
    }

    pub(super) fn rights_changed(
        &mut self,
        key: &ChannelKey,
        granted: Operations,
        refusal: Option<&Refusal>,
        turn: &mut Turn<'_>,
    ) {
        let Some(held) = self.channels.get_mut(&*key.name) else {
            return;
        };
        match refusal {
            None => held.operations = granted,
            Some(refusal) => self.lost(key, refusal, turn),
        }
    }

    /// A subscription did not come to be or is gone. Other rights may be left to attach with.
    fn lost(&mut self, key: &ChannelKey, refusal: &Refusal, turn: &mut Turn<'_>) {
        let fault = Fault::from(refusal);
        if fault.wants_token() {
            return self.leave(
                ClosingError {
                    fails: false,
                    fault,
                },
                turn,
            );
        }
        let rights = matches!(
            refusal,
            Refusal::Denied(Reason::BeyondKey(_) | Reason::NotGranted(_))
        );
        if rights && self.ask_for(&key.name, turn) {
            return;
        }
        let code = matches!(refusal, Refusal::Unavailable(_) | Refusal::OutcomeUnknown);
        if code && let Some(held) = self.channels.remove(&*key.name) {
            // It passes: the client tries again by itself.
            let mut frame = ProtocolMessage::about(action::DETACHED, &held.wire);
            frame.error = Some(fault);
            return turn.send(&frame);
        }
        self.drop_channel(&key.name, fault, turn);
    }

    /// A broadcast that this session frames itself.
    pub(super) fn heard(&mut self, key: &ChannelKey, broadcast: &Broadcast, turn: &mut Turn<'_>) {
        let Some(held) = self.channels.get(&*key.name) else {
            return;
        };
        let frame = match broadcast {
            Broadcast::Message(publication) if held.may(modes::SUBSCRIBE) => {
                Some(encoder::message(&held.wire, publication, turn.format))
            }
            Broadcast::Presence(change)
                if held.may(modes::PRESENCE_SUBSCRIBE)
                    || change.member.connection == turn.cx.id =>
            {
                encoder::presence(&held.wire, change, turn.format)
            }
            Broadcast::Message(_) | Broadcast::Presence(_) | Broadcast::Count(_) => None,
        };
        if let Some(frame) = frame {
            turn.raw(frame);
        }
    }

    /// The client asks for the presence set again.
    pub(super) fn sync(&mut self, frame: &ProtocolMessage, turn: &mut Turn<'_>) {
        let wire = frame.channel.as_deref().unwrap_or_default();
        let Ok(name) = ChannelName::parse(wire) else {
            return;
        };
        if let Some(held) = self.channels.get(&*name.name)
            && held.stage == Stage::Attached
            && held.may(modes::PRESENCE_SUBSCRIBE)
        {
            let (channel, tag) = (held.key.clone(), held.tag);
            turn.ask(Intent::Members { channel, tag });
        }
    }

    pub(super) fn members(
        &mut self,
        tag: u64,
        members: Result<Arc<[Member]>, Refusal>,
        turn: &mut Turn<'_>,
    ) {
        let held = self.channels.values().find(|held| held.tag == tag);
        if let (Some(held), Ok(members)) = (held, members) {
            let wire = held.wire.clone();
            tell_members(&wire, tag, &members, turn);
        }
    }
}

fn tell_members(wire: &str, tag: u64, members: &[Member], turn: &mut Turn<'_>) {
    let parts = members.chunks(SYNC);
    let last = parts.len().saturating_sub(1);
    for (at, part) in parts.enumerate() {
        let present = part
            .iter()
            .map(|one| PresenceMessage::present(one, turn.format));
        let cursor = match at == last {
            true => String::new(),
            false => at.to_string(),
        };
        let mut frame = ProtocolMessage::about(action::SYNC, wire);
        frame.channel_serial = Some(format!("s{tag}:{cursor}"));
        frame.presence = Some(present.collect());
        turn.send(&frame);
    }
}
