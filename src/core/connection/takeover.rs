//! A connection whose client has come back on another socket: its presence entries are handed over to that one.
//!
//! **Why entries are handed over and not entered anew:** nobody who watches the set may see the member leave.

use super::actor::Connection;
use super::hand_over::HandedOverEntries;
use super::messages::TakeOver;
use crate::core::close::End;
use crate::core::delivery::port::HandOver;
use actix::prelude::*;

impl Handler<TakeOver> for Connection {
    type Result = Option<HandOver>;
    fn handle(&mut self, _message: TakeOver, cx: &mut Context<Self>) -> Option<HandOver> {
        let entries = self.state.hand_over_entries();
        let connection = self.id;
        self.succeeded = true;
        if self.lingering.is_some() {
            self.leave_all();
            cx.stop();
        } else {
            self.finish(Some(End::Gone), None, cx);
        }
        Some(HandedOverEntries::leave(connection, entries))
    }
}
