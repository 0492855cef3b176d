//! What homes repeat to the wildcards above their channels, as `core/channel/repeats.rs` does.

use super::channel::{ToChannel, Waiting};
use super::world::World;
use crate::core::channel::replica::Replica;
use crate::core::channel::replica::protocol::Request;
use crate::core::channel::wildcard;
use crate::core::message::{Broadcast, Draft};

impl World {
    /// Has a wildcard take what was broadcast below it.
    pub(super) fn ask_to_repeat(
        &mut self,
        at: usize,
        channel: usize,
        draft: Draft,
        attempts: usize,
    ) {
        let Some(left) = attempts.checked_sub(1) else {
            return;
        };
        let request = Request::Publish(Box::new(draft.clone()));
        self.ask(at, channel, request, Waiting::Repeat(draft, left));
    }

    /// A node that begins as home repeats what the one before it may not have.
    pub(super) fn repeat_recent(&mut self, at: usize, channel: usize) {
        let process = &self.processes[at];
        let now = process.now();
        let actor = process.channels.get(&channel);
        let replica = actor.and_then(|one| one.replica.as_ref());
        for broadcast in replica.map(|one| one.recent(now)).unwrap_or_default() {
            self.repeat(at, channel, &broadcast);
        }
    }

    /// Repeats what a home broadcasts to the wildcards above.
    pub(super) fn repeat(&mut self, at: usize, channel: usize, broadcast: &Broadcast) {
        let actor = self.processes[at].channels.get(&channel);
        let replica = actor.and_then(|one| one.replica.as_ref());
        let key = self.keys[channel].clone();
        if !replica.is_some_and(Replica::is_home) {
            return;
        }
        for wildcard in wildcard::parent_wildcards(&key) {
            if let Some(draft) = wildcard::repeated(&key.name, broadcast) {
                let wildcard = self.channel_of(&wildcard);
                self.mail_channel(at, wildcard, ToChannel::Repeat(draft));
            }
        }
    }
}
