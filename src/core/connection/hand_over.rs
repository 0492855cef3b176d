//! The presence entries of a connection whose socket was lost or replaced, on their way to its next socket.
//!
//! **Why they leave when they are dropped:** between two sockets nobody else knows of them, and a next socket that
//! does not come must not leave members behind that nobody ends.

use super::presence_entry::PresenceEntry;
use crate::core::channel::actor::Channel;
use crate::core::channel::messages::Leave;
use crate::core::delivery::port::HandOver;
use crate::core::ids::ConnectionId;
use actix::Addr;

/// The entries of one connection.
#[derive(Debug)]
pub(super) struct HandedOverEntries {
    connection: ConnectionId,
    entries: Vec<PresenceEntry<Addr<Channel>>>,
}

impl HandedOverEntries {
    /// Those that a connection leaves, for [`HandedOverEntries::take`] on its next socket.
    pub(super) fn leave(
        connection: ConnectionId,
        entries: Vec<PresenceEntry<Addr<Channel>>>,
    ) -> HandOver {
        HandOver::new(Self {
            connection,
            entries,
        })
    }

    /// The entries that a former socket left.
    pub(super) fn take(hand_over: HandOver) -> Vec<PresenceEntry<Addr<Channel>>> {
        let entries = hand_over.take::<Self>();
        entries.map_or_else(Vec::new, |mut own| std::mem::take(&mut own.entries))
    }
}

impl Drop for HandedOverEntries {
    fn drop(&mut self) {
        for one in self.entries.drain(..) {
            one.channel.do_send(Leave {
                connection: self.connection,
                gone: true,
                keeps_members: false,
            });
        }
    }
}
