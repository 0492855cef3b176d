//! The presence entries of a connection whose socket was lost or replaced, on their way to its next socket.
//!
//! **Must never know:** sockets; which thread the next socket is on.
//!
//! **Why they leave when they are dropped:** between two sockets nobody else knows of them, and a next socket that
//! does not come must not leave members behind that nobody ends.

use super::attendance::Attendance;
use crate::core::channel::actor::Channel;
use crate::core::channel::messages::Leave;
use crate::core::delivery::port::HandOver;
use crate::core::ids::ConnectionId;
use actix::Addr;

/// The entries of one connection.
#[derive(Debug)]
pub(super) struct Inheritance {
    connection: ConnectionId,
    attendances: Vec<Attendance<Addr<Channel>>>,
}

impl Inheritance {
    /// Those that a connection leaves, for [`Inheritance::take`] on its next socket.
    pub(super) fn leave(
        connection: ConnectionId,
        attendances: Vec<Attendance<Addr<Channel>>>,
    ) -> HandOver {
        HandOver::new(Self {
            connection,
            attendances,
        })
    }

    /// The entries that a former socket left.
    pub(super) fn take(hand_over: HandOver) -> Vec<Attendance<Addr<Channel>>> {
        let inheritance = hand_over.take::<Self>();
        inheritance.map_or_else(Vec::new, |mut own| std::mem::take(&mut own.attendances))
    }
}

impl Drop for Inheritance {
    fn drop(&mut self) {
        for one in self.attendances.drain(..) {
            one.channel.do_send(Leave {
                connection: self.connection,
                gone: true,
                keeps_members: false,
            });
        }
    }
}
