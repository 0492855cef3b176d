//! Requests of this node that are not answered yet, by whichever node is the channel's home.
//!
//! **Why a home keeps its own as well:** what waits there for the backup is not certain to be in the stream that goes on.
//! Should another node be home before the backup has it, it is asked again there instead of being acknowledged.

use super::io::{Effect, Ticket};
use super::local::LocalNode;
use super::protocol::Request;
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::ids::ConnectionId;
use std::collections::BTreeMap;

/// How long a request may wait for its home, ms.
pub(super) const REQUEST_TIMEOUT_MS: u64 = 5_000;
/// Most requests of one channel that may wait for its home.
const MAX_PENDING_REQUESTS: usize = 10_000;

/// A request under way to the home, or to the backup of this one.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    deadline_ms: u64,
    /// A home may have carried it out.
    pub(super) sent: bool,
    /// It is not to be sent before the home has said what was missed.
    pub(super) after_catch_up: bool,
    /// This node, as home, has let in whom it enters, who was not in before and does not know it yet.
    pub(super) let_in: bool,
}

impl Pending {
    pub(super) fn new(request: Request, now: Now) -> Self {
        Self {
            request,
            deadline_ms: now.mono_ms + REQUEST_TIMEOUT_MS,
            sent: false,
            after_catch_up: false,
            let_in: false,
        }
    }

    /// What this node decided on it as home does not count: it is as undecided as when it was asked.
    pub(super) fn reopen(&mut self, local: &mut LocalNode) {
        if std::mem::take(&mut self.let_in)
            && let Some(key) = self.request.entry()
        {
            local.unconfirm_entry(&key);
        }
    }

    /// Nobody has answered it in time: it is taken back on this node, and whoever asked is told.
    fn give_up(
        mut self,
        ticket: Ticket,
        asked_again: bool,
        local: &mut LocalNode,
        out: &mut Vec<Effect>,
    ) {
        self.reopen(local);
        local.roll_back(&self.request, asked_again);
        let refusal = if self.sent && self.request.publishes() {
            Refusal::OutcomeUnknown
        } else {
            Refusal::Unavailable("the channel's home does not answer")
        };
        let response = Err(refusal);
        out.push(Effect::Respond { ticket, response });
    }
}

/// All of a channel, in order.
#[derive(Debug, Default)]
pub(super) struct PendingRequests(BTreeMap<Ticket, Pending>);

impl PendingRequests {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, ticket: Ticket, pending: Pending) {
        self.0.insert(ticket, pending);
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Pending> {
        self.0.get_mut(&ticket)
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        self.0.remove(&ticket)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.0.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Ticket, &mut Pending)> {
        self.0.iter_mut().map(|(ticket, one)| (*ticket, one))
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Ticket, Pending)> {
        self.0.into_iter()
    }

    /// Whether one more may wait; if not, whoever asked is told.
    pub(super) fn admits(
        &self,
        (ticket, request): (Ticket, &Request),
        local: &mut LocalNode,
        out: &mut Vec<Effect>,
    ) -> bool {
        let room = self.0.len() < MAX_PENDING_REQUESTS;
        if !room {
            local.roll_back(request, self.enters_as(request));
            let response = Err(Refusal::Unavailable(
                "too much waits for the channel's home",
            ));
            out.push(Effect::Respond { ticket, response });
        }
        room
    }

    /// Whether one that waits is to make the same presence entry: then that is not taken back with this one.
    pub(super) fn enters_as(&self, request: &Request) -> bool {
        let entry = request.entry();
        entry.is_some() && self.0.values().any(|one| one.request.entry() == entry)
    }

    /// Nobody waits any more for what this connection asked.
    pub(super) fn cancel(&mut self, connection: ConnectionId, out: &mut Vec<Effect>) {
        let its = |pending: &Pending| pending.request.connection() == Some(connection);
        let pending = self.0.extract_if(.., |_, one| its(one));
        out.extend(pending.map(|(ticket, _)| Effect::Cancel(ticket)));
    }

    /// When the oldest has waited long enough, mono ms.
    pub(super) fn wake_at(&self) -> Option<u64> {
        // Tickets ascend, so the first is the oldest.
        self.0.values().next().map(|one| one.deadline_ms)
    }

    /// Gives up those that nobody has answered in time, if there are any. A home may have let in whom they were to let
    /// in: it has to be told who is here.
    pub(super) fn give_up_overdue(
        &mut self,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<GivenUp> {
        let mut given_up = None;
        while let Some(oldest) = self.0.first_entry() {
            if oldest.get().deadline_ms > now.mono_ms {
                break;
            }
            let (ticket, pending) = oldest.remove_entry();
            let entering = pending.request.enters();
            given_up.get_or_insert(GivenUp { entering }).entering |= entering;
            let asked_again = self.enters_as(&pending.request);
            pending.give_up(ticket, asked_again, local, out);
        }
        given_up
    }
}

/// Some requests were given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenUp {
    /// One of them was to let somebody in.
    pub(super) entering: bool,
}
