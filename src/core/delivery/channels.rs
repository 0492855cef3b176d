//! Which local connections receive which channel: dense lists, walked once per broadcast.
//!
//! Pure but for pushing into outboxes.
//! **Why back-pointers:** leaving must not search a list of ten thousand, and delivering must not look anything up per
//! subscriber. So each entry knows its place in its connection's list, that list knows the entry's place in the
//! channel's, and a removal swaps the last entry in and corrects the one pointer that moved.

use super::encoding::EncodingId;
use super::messages::Deliver;
use super::outbox::{Outbox, Pushed, Source};
use crate::core::hash::Map;
use crate::core::ids::{ChannelKey, ConnectionId};
use crate::core::session::DeliveryMode;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;

/// A connection's place in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    /// Slot of the channel.
    pub(super) channel: u32,
    /// Index of the entry in the channel's list.
    at: u32,
}

/// One local subscriber of one channel.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) outbox: Rc<Outbox>,
    pub(super) connection: ConnectionId,
    /// Slot of the connection.
    pub(super) slot: u32,
    pub(super) encoding: EncodingId,
    pub(super) mode: DeliveryMode,
    pub(super) echo: bool,
    /// Frames that wait until the session has said that the subscription stands.
    pub(super) pending: Option<Box<PendingFrames>>,
    /// Index of the membership in the connection's list.
    back: u32,
}

/// Frames that wait, and their size.
#[derive(Debug, Default)]
pub(super) struct PendingFrames {
    frames: Vec<Bytes>,
    bytes: usize,
}

#[derive(Debug)]
struct Channel {
    key: Arc<ChannelKey>,
    source: Source,
    entries: Vec<Entry>,
}

/// What happened to a delivery beside being queued.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Outboxes that are to be sent.
    pub(super) dirty: Vec<Rc<Outbox>>,
    /// Slots whose budget ran over.
    pub(super) over: Vec<u32>,
    /// Slots whose sessions frame it themselves.
    pub(super) sessions: Vec<u32>,
}

/// All channels of this thread.
#[derive(Debug, Default)]
pub(super) struct LocalChannels {
    by_key: Map<Arc<ChannelKey>, u32>,
    slots: Vec<Option<Channel>>,
    free: Vec<u32>,
    sources: u64,
}

/// The memberships of every connection, by its slot; owned by the connection table.
pub(super) trait MembershipLists {
    /// The list of a connection.
    fn list(&mut self, slot: u32) -> Option<&mut Vec<Membership>>;
}

impl LocalChannels {
    /// Adds an entry at the end of the channel's list. `false` when it is there already.
    pub(super) fn attach(
        &mut self,
        key: &Arc<ChannelKey>,
        mut entry: Entry,
        lists: &mut impl MembershipLists,
    ) -> bool {
        let slot = self.slot_of(key);
        let (Some(Some(channel)), Some(list)) =
            (self.slots.get_mut(slot as usize), lists.list(entry.slot))
        else {
            return false;
        };
        if list.iter().any(|one| one.channel == slot) {
            return false;
        }
        entry.back = index(list.len());
        list.push(Membership {
            channel: slot,
            at: index(channel.entries.len()),
        });
        channel.entries.push(entry);
        true
    }

    fn slot_of(&mut self, key: &Arc<ChannelKey>) -> u32 {
        if let Some(slot) = self.by_key.get(key) {
            return *slot;
        }
        // Sources are never used twice, so that bytes of a former channel are not taken for this one's.
        self.sources += 1;
        let channel = Channel {
            key: key.clone(),
            source: Source(self.sources),
            entries: Vec::new(),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            index(self.slots.len() - 1)
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(channel);
        }
        self.by_key.insert(key.clone(), slot);
        slot
    }

    /// Removes a connection from a channel. `None` when it was not in it.
    pub(super) fn detach(
        &mut self,
        key: &ChannelKey,
        connection: u32,
        lists: &mut impl MembershipLists,
    ) -> Option<Source> {
        let slot = *self.by_key.get(key)?;
        let place = lists
            .list(connection)?
            .iter()
            .position(|one| one.channel == slot)?;
        self.remove(connection, place, lists)
    }

    /// Removes a connection from everything.
    pub(super) fn detach_all(&mut self, connection: u32, lists: &mut impl MembershipLists) {
        while let Some(last) = lists
            .list(connection)
            .and_then(|list| list.len().checked_sub(1))
        {
            self.remove(connection, last, lists);
        }
    }

    fn remove(
        &mut self,
        connection: u32,
        place: usize,
        lists: &mut impl MembershipLists,
    ) -> Option<Source> {
        let list = lists.list(connection)?;
        if place >= list.len() {
            return None;
        }
        let gone = list.swap_remove(place);
        let moved_membership = list.get(place).copied();
        // The membership that took the place: its entry has to point back at it.
        if let Some(moved) = moved_membership
            && let Some(entry) = self.entry(moved)
        {
            entry.back = index(place);
        }
        let channel = self.slots.get_mut(gone.channel as usize)?.as_mut()?;
        let source = channel.source;
        if (gone.at as usize) < channel.entries.len() {
            channel.entries.swap_remove(gone.at as usize);
        }
        // The entry that took the place: its membership has to point at it.
        if let Some(moved) = channel.entries.get(gone.at as usize)
            && let Some(list) = lists.list(moved.slot)
            && let Some(membership) = list.get_mut(moved.back as usize)
        {
            membership.at = gone.at;
        }
        if channel.entries.is_empty() {
            let key = channel.key.clone();
            self.by_key.remove(&key);
            if let Some(place) = self.slots.get_mut(gone.channel as usize) {
                *place = None;
            }
            self.free.push(gone.channel);
        }
        Some(source)
    }

    fn entry(&mut self, membership: Membership) -> Option<&mut Entry> {
        self.slots
            .get_mut(membership.channel as usize)?
            .as_mut()?
            .entries
            .get_mut(membership.at as usize)
    }

    /// Lets the pending frames of one entry go, in order, and everything after them.
    pub(super) fn release(
        &mut self,
        key: &ChannelKey,
        connection: u32,
        lists: &mut impl MembershipLists,
    ) -> Option<Pushed> {
        let slot = *self.by_key.get(key)?;
        let list = lists.list(connection)?;
        let membership = *list.iter().find(|one| one.channel == slot)?;
        let source = self.source(key)?;
        let entry = self.entry(membership)?;
        let pending = entry.pending.take()?;
        let mut first = None;
        for frame in pending.frames {
            match entry.outbox.push(source, frame) {
                Pushed::Over => return Some(Pushed::Over),
                pushed @ (Pushed::First | Pushed::Queued | Pushed::Closed) => {
                    first = first.or(Some(pushed));
                }
            }
        }
        first
    }

    /// How the channel's bytes are marked in outboxes.
    pub(super) fn source(&self, key: &ChannelKey) -> Option<Source> {
        let slot = *self.by_key.get(key)?;
        let channel = self.slots.get(slot as usize)?.as_ref()?;
        Some(channel.source)
    }

    /// Walks the subscribers of a broadcast. One look-up, whatever their number.
    /// `flowing` bytes go out even while the lease is over.
    pub(super) fn deliver(&mut self, message: &Deliver, flowing: bool, outcome: &mut Outcome) {
        let Some(channel) = self
            .by_key
            .get(&message.channel)
            .and_then(|slot| self.slots.get_mut(*slot as usize)?.as_mut())
        else {
            return;
        };
        let source = match flowing {
            true => channel.source.flowing(),
            false => channel.source,
        };
        let picky = message.except.is_some() || message.publisher.is_some();
        // Nearly always all subscribers of a channel share one encoding.
        let mut frame: Option<(EncodingId, Option<&Bytes>)> = None;
        for entry in &mut channel.entries {
            if picky && entry.skips(message) {
                continue;
            }
            if entry.mode == DeliveryMode::Session {
                outcome.sessions.push(entry.slot);
                continue;
            }
            let bytes = match frame {
                Some((encoding, bytes)) if encoding == entry.encoding => bytes,
                Some(_) | None => {
                    let bytes = message.frames.of(entry.encoding);
                    frame = Some((entry.encoding, bytes));
                    bytes
                }
            };
            if let Some(bytes) = bytes {
                entry.push(source, bytes, outcome);
            }
        }
    }

    /// The connections that receive a channel.
    pub(super) fn receivers(&self, key: &ChannelKey) -> Vec<u32> {
        let channel = self
            .by_key
            .get(key)
            .and_then(|slot| self.slots.get(*slot as usize)?.as_ref());
        let entries = channel.into_iter().flat_map(|one| &one.entries);
        entries.map(|entry| entry.slot).collect()
    }

    /// The channel of a membership.
    pub(super) fn key_of(&self, membership: Membership) -> Option<&ChannelKey> {
        let channel = self.slots.get(membership.channel as usize)?.as_ref()?;
        Some(&channel.key)
    }

    /// Number of channels with local subscribers.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

impl Entry {
    /// One that waits to be released.
    pub(super) fn attaching(
        outbox: Rc<Outbox>,
        connection: ConnectionId,
        slot: u32,
        encoding: EncodingId,
        mode: DeliveryMode,
        echo: bool,
    ) -> Self {
        Self {
            outbox,
            connection,
            slot,
            encoding,
            mode,
            echo,
            pending: Some(Box::default()),
            back: 0,
        }
    }

    fn skips(&self, message: &Deliver) -> bool {
        message.except == Some(self.connection)
            || (!self.echo && message.publisher == Some(self.connection))
    }

    fn push(&mut self, source: Source, bytes: &Bytes, outcome: &mut Outcome) {
        if let Some(pending) = &mut self.pending {
            pending.bytes = pending.bytes.saturating_add(bytes.len());
            if pending.bytes > self.outbox.budget() {
                outcome.over.push(self.slot);
                return;
            }
            pending.frames.push(bytes.clone());
            return;
        }
        match self.outbox.push(source, bytes.clone()) {
            Pushed::First => outcome.dirty.push(self.outbox.clone()),
            Pushed::Over => outcome.over.push(self.slot),
            Pushed::Queued | Pushed::Closed => {}
        }
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
