//! What a home tells the world of the channel's lifecycle, and its backup of what it has told.
//!
//! **Why the backup hears of it first:** should this node end in between, it is told late or not at all, but never twice.

use super::home::Home;
use super::io::Effect;
use super::protocol::PeerMessage;
use crate::core::clock::Now;
use crate::core::lifecycle::LifecycleKind;
use crate::core::message::Broadcast;

impl Home {
    /// Tells the world, if it listens.
    pub(super) fn tell(
        &mut self,
        news: impl IntoIterator<Item = LifecycleKind>,
        out: &mut Vec<Effect>,
    ) {
        if self.watched {
            for kind in news {
                self.enqueue(Effect::Lifecycle(kind), out);
            }
        }
    }

    /// A node has had subscribers since before this one was home: that was told by the home before.
    pub(super) fn was_occupied(&mut self, out: &mut Vec<Effect>) {
        if self.lifecycle.was_occupied() {
            self.replicate_lifecycle(out);
        }
    }

    /// Tells whether the channel is occupied, and who left for good, once either has changed.
    pub(super) fn tell_occupancy(&mut self, local: u64, now: Now, out: &mut Vec<Effect>) {
        let subscribers = self.occupancy(local).subscribers;
        let mut news = self.lifecycle.left(now.mono_ms);
        news.extend(self.lifecycle.count(subscribers, now.mono_ms));
        if !news.is_empty() {
            self.replicate_lifecycle(out);
            self.tell(news, out);
        }
    }

    /// What a broadcast is to the world.
    pub(super) fn tell_of(&mut self, broadcast: &Broadcast, now: Now, out: &mut Vec<Effect>) {
        match broadcast {
            Broadcast::Message(publication) => {
                if self.watched && publication.draft.connection.is_some() {
                    let publication = publication.clone();
                    self.tell([LifecycleKind::Published(publication)], out);
                }
            }
            Broadcast::Presence(change) => {
                let news = self.lifecycle.change(change, now.mono_ms);
                if change.edge {
                    self.replicate_lifecycle(out);
                }
                self.tell(news, out);
            }
            Broadcast::Count(_) => {}
        }
    }

    /// Tells the backup what has been told, before the world hears it.
    pub(super) fn replicate_lifecycle(&mut self, out: &mut Vec<Effect>) {
        if let Some(to) = self.backup_node()
            && self.watched
        {
            let message = PeerMessage::Lifecycle(self.lifecycle.snapshot());
            out.push(Effect::Send { to, message });
        }
    }
}
