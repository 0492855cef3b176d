//! What a home tells the world of the channel's lifecycle.
//!
//! **Must never know:** who listens, how effects are held back (`home` does).
//!
//! **Why an entry of the stream for what is told:** nothing that rests on it leaves before the backup has it. Should this
//! node end in between, the next home has not heard of it and decides anew, or has it and tells it under the same id.

use super::home::Home;
use super::io::Effect;
use super::lifecycle_log::{Decision, LifecycleLog, Unsettled};
use super::protocol::PeerMessage;
use super::stream::{Entry, EntryKind};
use crate::core::clock::Now;
use crate::core::lifecycle::{EventId, LifecycleKind};

impl Home {
    /// Tells the world, if it listens.
    pub(super) fn tell(&mut self, kind: LifecycleKind, now: Now, out: &mut Vec<Effect>) {
        if self.stream.lifecycle.is_some() {
            let id = self.stream.event_id(now);
            self.enqueue(Effect::Lifecycle(Unsettled { id, kind }), out);
        }
    }

    /// Tells again what the homes before have told and nobody has settled.
    pub(super) fn tell_again(&mut self, out: &mut Vec<Effect>) {
        let log = self.stream.lifecycle.iter();
        let all: Vec<Unsettled> = log.flat_map(LifecycleLog::unsettled).cloned().collect();
        for one in all {
            self.enqueue(Effect::Lifecycle(one), out);
        }
    }

    /// Somebody listens from now on, or nobody does. Of what is there already nothing is told.
    pub(super) fn set_watched(&mut self, watched: bool, local: u64) {
        if self.stream.lifecycle.is_some() != watched {
            let occupied = self.occupancy(local).subscribers > 0;
            self.stream.lifecycle = watched.then(|| LifecycleLog::assuming(occupied));
            // No entry says so: the next one takes the whole with it.
            self.lose_backup();
        }
    }

    /// A node has had subscribers since before this one was home, which has no copy to know that from: that was told by
    /// the home before, as the first of what its stream said.
    pub(super) fn was_occupied(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.guesses || !self.clock.unsettled(now.mono_ms) {
            return;
        }
        let log = self.stream.lifecycle.as_mut();
        if log.is_some_and(LifecycleLog::assume_occupied) {
            self.send_snapshot(out);
        }
    }

    /// Decides whether the channel is occupied, and who left for good, once either has changed.
    pub(super) fn decide_lifecycle(&mut self, local: u64, now: Now, out: &mut Vec<Effect>) {
        let subscribers = self.occupancy(local).subscribers;
        let Some(log) = &self.stream.lifecycle else {
            return;
        };
        let mut decided = self.clock.left(now.mono_ms);
        let occupied = log.occupied();
        decided.extend(self.clock.count(subscribers, occupied, now.mono_ms));
        if !decided.is_empty() {
            let decide = |one: Decision| self.stream.decide(one, now);
            let entries = decided.into_iter().map(decide).collect();
            self.commit_batch(entries, now, out);
        }
    }

    /// What an entry is to the world.
    pub(super) fn tell_of(&mut self, entry: &Entry, now: Now, out: &mut Vec<Effect>) {
        if let EntryKind::Presence(change) = &entry.kind
            && change.client_transition
            && self.stream.lifecycle.is_some()
        {
            match self.stream.presence.has_client(&change.member.client) {
                true => self.clock.back(&change.member.client),
                false => self.clock.gone(&change.member.client, now.mono_ms),
            }
        }
        for one in self.stream.take_untold(entry) {
            self.enqueue(Effect::Lifecycle(one), out);
        }
    }

    /// The listener has taken care of these.
    pub(super) fn on_settled(&mut self, ids: Vec<EventId>, out: &mut Vec<Effect>) {
        let log = self.stream.lifecycle.as_mut();
        let known = log.is_some_and(|log| log.settle(&ids));
        if let Some(to) = self.backup_node().filter(|_| known) {
            let message = PeerMessage::Settled(ids);
            out.push(Effect::Send { to, message });
        }
    }
}
