//! A subscriber's place in a channel: what it has acknowledged, kept while it is away, so that what was published
//! meanwhile can be delivered again.
//!
//! The messages are the channel's own history, on its home and backup; the place is the retained last value of an
//! inbox named after channel and subscriber, kept the same way. Neither needs this connection or its node.
//!
//! **Why not a queue per subscriber:** it would hold every message once more for each of them; a place is a number.
//! **Why whoever has no place begins with the oldest that is kept, where she may read it:** who is new cannot be told from
//! whose place was lost with its home and backup, and beginning now would lose to the latter, unsaid, what she had not
//! acknowledged. Without the right to history it has to be now: anybody can make up an id, and would read with it what was
//! published before she was let in.

use super::announce::OWN;
use super::outstanding::Outstanding;
use super::{RealtimeSession, Turn};
use crate::adapters::realtime::{auth, command, encoder, limits};
use crate::core::authority::{Operations, Resource};
use crate::core::ids::{ChannelKey, Text};
use crate::core::message::Publication;
use crate::core::session::{Intent, Publish, Start, Subscribe, Subscribed};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;

/// One subscriber's place.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Where it is kept.
    pub(super) place: Arc<ChannelKey>,
    /// Everything up to this timetoken is acknowledged. As the channel's home stamps it: its clock is not ours.
    done: u64,
    /// The last that was sent.
    last: u64,
    /// Nothing was kept of it: it is new, or was lost.
    fresh: bool,
    /// Sent and not acknowledged.
    outstanding: Outstanding<Text>,
}

impl Buffer {
    /// The place of a subscriber, not read yet. Clients choose their ids; where tokens are known, an id is that token's
    /// own, or whoever may read the channel could acknowledge another's messages away.
    pub(super) fn of(channel: &ChannelKey, subscriber: &str, token: Option<&str>) -> Self {
        let mut name = format!("realtime-place\n{}\n{subscriber}", channel.name);
        if let Some(token) = token {
            // Names are listed and logged; tokens are not.
            let _ = write!(name, "\n{}", hex::encode(Sha256::digest(token)));
        }
        Self {
            place: ChannelKey::user(channel.app, &name),
            done: 0,
            last: 0,
            fresh: true,
            outstanding: Outstanding::default(),
        }
    }

    /// A message is sent now: its sequence, or `None` if it has been acknowledged already.
    pub(super) fn sent(&mut self, publication: &Publication, text: &[u8]) -> Option<u64> {
        let at = publication.timetoken;
        if at <= self.done {
            return None;
        }
        self.last = self.last.max(at);
        // What has no id is never acknowledged by clients; what was merely sent need not be.
        let part = command::part(text).filter(|_| encoder::is_kept(publication, 0));
        if let Some(part) = part {
            self.outstanding.note(at, part.id.into());
        }
        Some(at)
    }

    /// Whether the place has moved.
    fn acknowledge(&mut self, id: &str, at: u64, all: bool) -> bool {
        if !all {
            return false;
        }
        self.outstanding.forget(id, at);
        let first = self.outstanding.first();
        let done = first.map_or(self.last, |first| first.saturating_sub(1));
        let moved = done > self.done;
        self.done = self.done.max(done);
        moved
    }

    /// What is kept of it.
    fn text(&self) -> String {
        self.done.to_string()
    }

    /// Takes up what was kept; what is not what [`Buffer::text`] writes is as good as nothing.
    fn take_up(&mut self, text: &[u8]) {
        let kept = std::str::from_utf8(text).ok();
        let kept = kept.and_then(|text| text.parse().ok());
        self.fresh = kept.is_none();
        self.done = kept.unwrap_or(0);
        self.last = self.done;
    }

    /// What else its subscription is to ask for.
    pub(super) fn wants(&self) -> Operations {
        match self.fresh {
            true => Operations::HISTORY,
            false => Operations::NONE,
        }
    }

    /// The subscription stands: without the right to history, a place that was not there begins behind what there is.
    pub(super) fn begin(&mut self, granted: Operations, backlog: &[Arc<Publication>]) {
        if !self.fresh || granted.contains(Operations::HISTORY) {
            return;
        }
        let newest = backlog.iter().map(|one| one.timetoken).max();
        self.done = newest.unwrap_or(0);
        self.last = self.done;
    }
}

impl RealtimeSession {
    /// Asks for the place first; the channel follows when it is known.
    pub(super) fn read_place(&self, place: &Arc<ChannelKey>, tag: u64, turn: &mut Turn<'_>) {
        let target = (Resource::User, &*place.name);
        let now_ms = turn.cx.now.cluster_ms;
        let operations = Operations::SUBSCRIBE;
        let subscribe = Subscribe {
            start: Start::Last,
            proof: auth::server_proof(turn.state, self.app, target, operations, now_ms),
            ..Subscribe::from_now(place.clone(), tag)
        };
        turn.ask(Intent::Subscribe(Box::new(subscribe)));
    }

    /// The place is known: begin behind it, or with the oldest that is kept if there is none.
    pub(super) fn place_read(&mut self, subscribed: &Subscribed, turn: &mut Turn<'_>) {
        turn.ask(Intent::Unsubscribe {
            channel: subscribed.channel.clone(),
        });
        let place = subscribed.channel.clone();
        let mut found = self.subscriptions.iter_mut().filter_map(|(name, one)| {
            let buffer = one.buffer.as_mut()?;
            (buffer.place == place && !one.live).then_some((name.clone(), buffer))
        });
        let Some((name, buffer)) = found.next() else {
            return;
        };
        if let Some(publication) = subscribed.backlog.last() {
            buffer.take_up(&publication.draft.data);
        }
        // By the home's own stamps: no clock of this node, which may be seconds behind the home's, counts.
        let start = Start::AfterTime(buffer.done);
        self.join(&name, start, turn);
    }

    /// A client has taken a message.
    pub(super) fn acknowledged(
        &mut self,
        channel: &str,
        (id, at): (&str, u64),
        all: bool,
        turn: &mut Turn<'_>,
    ) {
        let moved = self
            .buffer(channel)
            .is_some_and(|buffer| buffer.acknowledge(id, at, all));
        if moved {
            self.keep_place(channel, turn);
        }
    }

    fn buffer(&mut self, channel: &str) -> Option<&mut Buffer> {
        self.subscriptions.get_mut(channel)?.buffer.as_mut()
    }

    /// The subscription stands, or its place has moved: kept from now on, even if nothing is ever acknowledged.
    pub(super) fn keep_place(&mut self, channel: &str, turn: &mut Turn<'_>) {
        let Some(buffer) = self.buffer(channel) else {
            return;
        };
        let (place, text) = (buffer.place.clone(), buffer.text());
        let mut draft = encoder::whole(text.as_bytes());
        draft.store = false;
        let keep_ms = limits::BUFFER_MS.of(turn.app);
        draft.retain_ms = Some(keep_ms);
        let until_ms = turn.cx.now.mono_ms.saturating_add(keep_ms);
        self.of_node.places.note(self.app, &place.name, until_ms);
        let target = (Resource::User, &*place.name);
        let now_ms = turn.cx.now.cluster_ms;
        let operations = Operations::PUBLISH;
        let proof = auth::server_proof(turn.state, self.app, target, operations, now_ms);
        let publish = Publish {
            channel: place,
            draft: Box::new(draft),
            subscribed_only: false,
            proof,
            ack: None,
            tag: OWN,
        };
        turn.ask(Intent::Publish(publish));
    }
}
