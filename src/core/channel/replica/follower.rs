//! A replica that is not the home: passes requests on to it, says how many are interested here, and takes its
//! broadcasts in order and once.
//!
//! **Why absolute counts:** a node says how many subscribers it has, not how many came or went, so a lost update is
//! repaired by the next one.

use super::io::{Effect, Ticket};
use super::local::{LocalNode, Removed};
use super::pending::{Pending, PendingRequests};
use super::presence::EntryKey;
use super::protocol::{
    CatchUp, Declined, ForwardedRequest, LeftConnection, PeerMessage, Request, Response,
};
use super::stream::{Entry, LogPosition};
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, NodeId};
use crate::core::message::Broadcast;

/// After a "not home", how long until everything is sent again, ms.
const RETRY_DELAY_MS: u64 = 100;
/// How long an announcement may go unanswered before it is made again, ms.
const ANNOUNCE_AGAIN_MS: u64 = 2_000;
/// How long changes of the subscriber count are gathered, ms.
pub(super) const INTEREST_DELAY_MS: u64 = 20;

/// What a node keeps of a channel that it is not the home of.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The last broadcast its subscribers got; none while nobody here waits for one.
    pub(super) position: Option<LogPosition>,
    pending: PendingRequests,
    /// When the home is told the number of subscribers, mono ms.
    interest_due: Option<u64>,
    /// When everything is sent again, mono ms.
    retry_due: Option<u64>,
    /// An announcement is under way; broadcasts that leave a gap wait for its answer.
    catching_up: bool,
    /// When it is made again, mono ms; 0 = it has been made just now.
    announce_due: Option<u64>,
}

impl Follower {
    /// One whose subscribers have got everything up to here, and which has these requests to ask.
    pub(super) fn at(position: Option<LogPosition>, pending: PendingRequests) -> Self {
        Self {
            position,
            pending,
            ..Self::default()
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.pending.is_empty() && self.interest_due.is_none() && self.retry_due.is_none()
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        let all = [
            self.pending.wake_at(),
            self.interest_due,
            self.retry_due,
            self.announce_due,
        ];
        all.into_iter().flatten().min()
    }

    /// The requests that wait, in order: this node is home now and answers them itself.
    pub(super) fn into_requests(self) -> impl Iterator<Item = (Ticket, Pending)> {
        self.pending.into_iter()
    }

    /// Nobody waits any more for what this connection asked.
    pub(super) fn cancel(&mut self, connection: ConnectionId, out: &mut Vec<Effect>) {
        self.pending.cancel(connection, out);
    }

    /// Passes a request that has been recorded on to the home.
    pub(super) fn forward(
        &mut self,
        local: &mut LocalNode,
        ticket: Ticket,
        mut request: Request,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if !self.pending.admits((ticket, &request), local, out) {
            return;
        }
        local.name_drafts(&mut request);
        self.pending.insert(ticket, Pending::new(request, now));
        self.send_pending(local, |one, _| one == ticket, false, out);
    }

    fn send_pending(
        &mut self,
        local: &mut LocalNode,
        which: impl Fn(Ticket, &Pending) -> bool,
        again: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(to) = local.remote_home() else {
            return;
        };
        for (ticket, pending) in self.pending.iter_mut() {
            if !which(ticket, pending) {
                continue;
            }
            pending.sent = true;
            pending.after_catch_up |= again;
            let mut request = pending.request.clone();
            if let Request::Join(join) = &mut request {
                join.subscribers = local.subscribers();
            }
            local.announced |= request.enters();
            let message = PeerMessage::Request(ForwardedRequest {
                id: ticket,
                request,
                again,
            });
            out.push(Effect::Send { to, message });
        }
    }

    pub(super) fn unsent(&mut self, ticket: Ticket) {
        if let Some(pending) = self.pending.get_mut(ticket)
            && !pending.after_catch_up
        {
            pending.sent = false;
        }
    }

    /// A connection of this node has left the channel.
    pub(super) fn on_leave(
        &mut self,
        local: &LocalNode,
        (connection, gone): (ConnectionId, bool),
        removed: Removed,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if removed.had_entries {
            let message = PeerMessage::Left(LeftConnection {
                connection,
                gone,
                subscribers: local.subscribers(),
            });
            tell_home(local, message, out);
            self.reset_position(local);
        } else if removed.subscribed {
            self.update_interest(now);
        }
    }

    /// The home is told the number of subscribers soon, with whatever else changes until then.
    pub(super) fn update_interest(&mut self, now: Now) {
        let due = now.mono_ms + INTEREST_DELAY_MS;
        self.interest_due.get_or_insert(due);
    }

    /// When nobody here waits for broadcasts any more, the next join starts from where the home then is.
    fn reset_position(&mut self, local: &LocalNode) {
        if !local.has_subscribers() {
            self.position = None;
            self.interest_due = None;
        }
    }

    /// What the home says to every node that is not the home.
    pub(super) fn on_home_says(
        &mut self,
        local: &mut LocalNode,
        message: PeerMessage,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        match message {
            PeerMessage::Response { id, response } => {
                self.on_response(local, id, response, now, out);
            }
            PeerMessage::NotHome => {
                self.retry_due.get_or_insert(now.mono_ms + RETRY_DELAY_MS);
            }
            PeerMessage::Broadcast { epoch, entry } => self.on_broadcast(local, epoch, entry, out),
            PeerMessage::CatchUp(catch_up) => self.on_catch_up(local, catch_up, out),
            PeerMessage::Count(count) => {
                if self.position.is_some() {
                    out.push(Effect::Deliver(Broadcast::Count(count)));
                }
            }
            PeerMessage::TakenOut { .. }
            | PeerMessage::Request(_)
            | PeerMessage::Interest { .. }
            | PeerMessage::Left(_)
            | PeerMessage::Announce(_)
            | PeerMessage::AnnounceRequest
            | PeerMessage::AnnounceIfPresent
            | PeerMessage::Snapshot { .. }
            | PeerMessage::Replicate { .. }
            | PeerMessage::ReplicateBatch { .. }
            | PeerMessage::ReplicateAck(_)
            | PeerMessage::SnapshotRequest
            | PeerMessage::Takeover { .. }
            | PeerMessage::NothingToHandOver
            | PeerMessage::Lifecycle(_)
            | PeerMessage::Copy { .. }
            | PeerMessage::Settled(_) => {}
        }
    }

    /// The home has answered a request of this node.
    fn on_response(
        &mut self,
        local: &mut LocalNode,
        ticket: Ticket,
        response: Result<Response, Declined>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(pending) = self.pending.get_mut(ticket) else {
            return;
        };
        if let Ok(Response::Joined(joined)) = &response {
            if self.position.is_some_and(|own| own != joined.log_position) {
                // Subscribers that were here first lack something: they get it, then this one joins.
                pending.after_catch_up = true;
                return self.catch_up(local, out);
            }
            self.position = Some(joined.log_position);
        }
        if let Some(pending) = self.pending.remove(ticket) {
            let request = &pending.request;
            match (response.is_ok(), local.home()) {
                (true, Some(home)) => local.accept(request, home),
                (true, None) => {}
                (false, _) => local.roll_back(request, self.pending.enters_as(request)),
            }
        }
        if response.is_err() && local.announced {
            // An announcement in between has counted what was refused.
            self.update_interest(now);
        }
        let response = response.map_err(Refusal::from);
        out.push(Effect::Respond { ticket, response });
    }

    fn on_broadcast(
        &mut self,
        local: &mut LocalNode,
        epoch: u64,
        entry: Entry,
        out: &mut Vec<Effect>,
    ) {
        let Some(position) = &mut self.position else {
            return;
        };
        if position.epoch == epoch && entry.number <= position.entry {
            return;
        }
        if position.epoch == epoch && entry.number == position.entry + 1 {
            position.entry = entry.number;
            out.extend(entry.kind.shown().map(Effect::Deliver));
        } else {
            self.catch_up(local, out);
        }
    }

    fn catch_up(&mut self, local: &mut LocalNode, out: &mut Vec<Effect>) {
        if !self.catching_up
            && let Some(home) = local.home()
        {
            self.announce(local, home, out);
        }
    }

    /// Another node has taken out an entry that this one would announce again. One that is on its way in once more
    /// stays, if the home agrees.
    pub(super) fn on_taken_out(&self, local: &mut LocalNode, key: &EntryKey) {
        let coming = |one: &Pending| one.request.entry().as_ref() == Some(key);
        if self.pending.iter().any(coming) {
            local.unconfirm_entry(key);
        } else {
            local.forget_entry(key);
        }
    }

    /// The home's answer to an announcement: what this node had missed, or that some of it is lost.
    fn on_catch_up(&mut self, local: &mut LocalNode, missed: CatchUp, out: &mut Vec<Effect>) {
        let (upto, entries) = (missed.position, missed.entries);
        if missed.lost && self.lacks(upto) {
            // Nothing behind the gap: whoever got it could take it for the next.
            out.push(Effect::Missed);
            self.caught_up(local, upto, Vec::new(), out);
        } else if self.leaves_a_gap(upto, &entries) {
            self.catching_up = false;
            self.catch_up(local, out);
        } else {
            self.caught_up(local, upto, entries, out);
        }
    }

    /// Whether its subscribers are behind that. What was on its way when they were announced may have arrived since.
    fn lacks(&self, upto: LogPosition) -> bool {
        self.position
            .is_some_and(|own| own.epoch != upto.epoch || own.entry < upto.entry)
    }

    /// Whether this is what was answered to an earlier announcement, made before anybody here had seen anything: then it
    /// has to be asked again what came since. Numbers go on from one epoch to the next.
    fn leaves_a_gap(&self, upto: LogPosition, entries: &[Entry]) -> bool {
        self.position.is_some_and(|own| {
            let missed = own.entry < upto.entry;
            missed && entries.first().is_none_or(|one| one.number > own.entry + 1)
        })
    }

    fn caught_up(
        &mut self,
        local: &mut LocalNode,
        upto: LogPosition,
        entries: Vec<Entry>,
        out: &mut Vec<Effect>,
    ) {
        self.catching_up = false;
        self.announce_due = None;
        if let Some(own) = self.position {
            // Numbers go on from one epoch to the next. Below its own a node lacks what was decided again in the new one,
            // and has what came since it asked.
            let again = |one: &Entry| one.kind.epoch().is_some_and(|epoch| epoch != own.epoch);
            let new = |one: &Entry| one.number > own.entry || own.epoch != upto.epoch && again(one);
            let missed = entries.into_iter().filter(new);
            let shown = missed.filter_map(|one| one.kind.shown());
            out.extend(shown.map(Effect::Deliver));
            self.position = Some(upto);
        }
        self.send_pending(local, |_, one| one.after_catch_up, true, out);
    }

    /// Tells a node everything about this one.
    pub(super) fn announce(&mut self, local: &mut LocalNode, to: NodeId, out: &mut Vec<Effect>) {
        if to == local.id {
            return;
        }
        self.reset_position(local);
        if local.home() == Some(to) {
            self.catching_up = true;
            self.announce_due = Some(0);
        }
        local.announce(to, self.position, out);
    }

    /// There is a new home, or a new link to it: everything is told again, then asked again.
    pub(super) fn start_over(&mut self, local: &mut LocalNode, out: &mut Vec<Effect>) {
        self.catching_up = false;
        self.announce_due = None;
        self.retry_due = None;
        if let Some(home) = local.remote_home() {
            // Also when there is nobody here now: the last to leave may have told a home that is none.
            if local.announced || !local.is_empty() {
                self.announce(local, home, out);
            }
            self.send_pending(local, |_, _| true, true, out);
        }
    }

    pub(super) fn wake(&mut self, local: &mut LocalNode, now: Now, out: &mut Vec<Effect>) {
        let due = |at: Option<u64>| at.is_some_and(|at| now.mono_ms >= at);
        if due(self.interest_due) {
            self.interest_due = None;
            let subscribers = local.subscribers();
            tell_home(local, PeerMessage::Interest { subscribers }, out);
            self.reset_position(local);
        }
        if due(self.retry_due) {
            self.start_over(local, out);
        }
        match self.announce_due {
            Some(0) => self.announce_due = Some(now.mono_ms + ANNOUNCE_AGAIN_MS),
            // Broadcasts wait for its answer, so nobody here would ever get one again.
            Some(at) if now.mono_ms >= at => {
                if let Some(home) = local.remote_home() {
                    self.announce(local, home, out);
                }
            }
            Some(_) | None => {}
        }
        if let Some(given_up) = self.pending.give_up_overdue(local, now, out) {
            // The home may count it yet: the next update sets that right.
            self.interest_due.get_or_insert(now.mono_ms);
            // And it may have let in who is told by now that nobody could.
            if given_up.entering
                && let Some(home) = local.remote_home()
            {
                self.announce(local, home, out);
            }
        }
    }
}

fn tell_home(local: &LocalNode, message: PeerMessage, out: &mut Vec<Effect>) {
    if let Some(to) = local.remote_home() {
        out.push(Effect::Send { to, message });
    }
}
