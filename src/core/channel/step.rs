//! A connection changes its socket: it stops receiving here, its members stay for its next one.
//!
//! **Must never know:** how long they wait; whoever asked for this answers for them.
//! **Why not a leave and a new entry:** everyone else would see the member go.

use super::edge::INTEREST_MS;
use super::state::{Effect, State};
use crate::core::clock::Now;
use crate::core::ids::ConnectionId;

impl State {
    pub(super) fn on_step(&mut self, connection: ConnectionId, now: Now, out: &mut Vec<Effect>) {
        let counted = self.local.remove(&connection);
        self.forget_asks(connection, out);
        if counted && self.is_home() {
            self.count_changed(now, out);
        } else if counted {
            self.lose_interest(now);
        }
    }

    /// Nobody waits for the answers to what a connection asked any more.
    pub(super) fn forget_asks(&mut self, connection: ConnectionId, out: &mut Vec<Effect>) {
        let asks = self.edge.asks_of(connection);
        out.extend(asks.into_iter().map(Effect::Forget));
    }

    /// The home is told later, with whatever else changes until then.
    pub(super) fn lose_interest(&mut self, now: Now) {
        let due = now.mono_ms + INTEREST_MS;
        self.edge.interest_due.get_or_insert(due);
    }
}
