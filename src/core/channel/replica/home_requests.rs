//! What a home answers: the requests of any node, and what nodes say of their subscribers and members.
//!
//! Only a home has these functions: a replica that is none has nothing to answer with, so it cannot say that something
//! was done which was not.
//!
//! **Must never know:** how effects are held back or replicated (`home` does), how this node became home.
//!
//! **Why responses wait for the backup like broadcasts:** an acknowledgement is a promise that the backup has it.

use super::history::Backlog;
use super::home::Home;
use super::io::{Effect, Limits, Ticket};
use super::local::LocalNode;
use super::pending::Pending;
use super::protocol::{
    Announcement, CatchUp, Declined, JoinRequest, Joined, LeftConnection, PeerMessage, Request,
    Response,
};
use super::stream::Stream;
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, NodeId, Text, Timetoken};
use crate::core::lifecycle::LifecycleKind;
use crate::core::message::{Draft, Member};
use crate::core::session::Start;
use std::sync::Arc;

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// Of this node.
    Local(Ticket),
    /// Of another, under the number that it gave the request.
    Peer(NodeId, u64),
}

impl Home {
    /// Answers a request of this node, and writes down what came of it. As long as the response waits for the backup,
    /// the request is kept: should another node be home before, it is asked again there.
    pub(super) fn serve_local(
        &mut self,
        local: &mut LocalNode,
        (ticket, mut pending, again): (Ticket, Pending, bool),
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let origin = Origin::Local(ticket);
        if !self.may_wait() {
            let request = pending.request;
            let entering = request.enters().then(|| request.clone());
            let accepted = self.serve(origin, request, again, local, now, out);
            if let Some(request) = entering {
                self.record_outcome(local, &request, accepted);
            }
            return;
        }
        let asked = (ticket, &pending.request);
        if !self.unanswered.admits(asked, local, out) {
            return;
        }
        local.name_drafts(&mut pending.request);
        let entry = pending.request.entry();
        let new = entry.is_some_and(|key| !local.is_confirmed(&key));
        let request = pending.request.clone();
        let accepted = self.serve(origin, request, again, local, now, out);
        self.record_outcome(local, &pending.request, accepted);
        if accepted && self.waits() {
            pending.sent = true;
            pending.let_in = new;
            self.unanswered.insert(ticket, pending);
        }
    }

    /// Writes down what came of a request of this node.
    fn record_outcome(&self, local: &mut LocalNode, request: &Request, accepted: bool) {
        match accepted {
            true => local.accept(request, local.id),
            false => local.roll_back(request, self.unanswered.enters_as(request)),
        }
    }

    /// Gives up the requests of this node for which the backup has been waited for too long. Whoever is told that nobody
    /// could let her in is not there, though this home has taken her.
    pub(super) fn give_up_overdue(
        &mut self,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let given_up = self.unanswered.give_up_overdue(local, now, out);
        if given_up.is_some_and(|one| one.entering) {
            self.hear_members(local.id, local.entries(), local, now, out);
            self.count_changed(local, now, out);
        }
    }

    /// Answers a request; whether it was accepted. `again`: it may have been carried out before, so nothing that shows
    /// is repeated.
    pub(super) fn serve(
        &mut self,
        origin: Origin,
        request: Request,
        again: bool,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        let node = match origin {
            Origin::Local(_) => local.id,
            Origin::Peer(node, _) => node,
        };
        let limits = local.limits;
        let response = match request {
            Request::Publish(draft) => Ok(self.publish(draft, limits, now, out)),
            Request::PublishBatch(drafts) => Ok(self.publish_batch(drafts, limits, now, out)),
            Request::Join(join) => self.join(node, join, again, local, now, out),
            Request::Enter {
                connection,
                client,
                data,
            }
            | Request::EnsurePresent {
                connection,
                client,
                data,
            } => self.enter(node, (connection, client), data, local, now, out),
            Request::Leave { connection, client } => {
                Ok(self.leave(node, (connection, client), local, now, out))
            }
            Request::LeaveHere { connection, client } => {
                Ok(self.leave_here(node, &(connection, client), now, out))
            }
            Request::Erase { after, until } => Ok(self.erase(after, until, out)),
            Request::Occupancy => Ok(Response::Occupancy(self.occupancy(local.subscribers()))),
            Request::Members => Ok(Response::Members(members(&self.stream))),
            Request::History(page) => {
                let history = &self.trimmed(limits, now).history;
                Ok(Response::History(history.page(page)))
            }
            Request::LastValue => {
                let history = &self.trimmed(limits, now).history;
                Ok(Response::LastValue(history.last(now)))
            }
            Request::PresenceLog(page) => {
                let log = &self.trimmed(limits, now).presence_log;
                Ok(Response::PresenceLog(log.page(page)))
            }
        };
        let accepted = response.is_ok();
        let joined = matches!(response, Ok(Response::Joined(_)));
        self.respond(origin, response, out);
        if joined {
            self.count_changed(local, now, out);
        }
        accepted
    }

    fn respond(
        &mut self,
        origin: Origin,
        response: Result<Response, Declined>,
        out: &mut Vec<Effect>,
    ) {
        let effect = match origin {
            Origin::Local(ticket) => {
                let response = response.map_err(Refusal::from);
                Effect::Respond { ticket, response }
            }
            Origin::Peer(to, id) => {
                let message = PeerMessage::Response { id, response };
                Effect::Send { to, message }
            }
        };
        self.enqueue(effect, out);
    }

    /// The stream without what is too old to be shown.
    fn trimmed(&mut self, limits: Limits, now: Now) -> &Stream {
        self.stream.history.trim(limits.bounds, now);
        self.stream.presence_log.trim(limits.bounds.age_ms, now);
        &self.stream
    }

    fn publish(
        &mut self,
        draft: Box<Draft>,
        limits: Limits,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Response {
        let (receipt, entry) = self.stream.publish(draft, limits.bounds, now);
        if let Some(entry) = entry {
            self.commit(entry, now, out);
        }
        Response::Receipt(receipt)
    }

    fn publish_batch(
        &mut self,
        drafts: Vec<Draft>,
        limits: Limits,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Response {
        let (receipts, entries) = self.stream.publish_batch(drafts, limits.bounds, now);
        self.commit_batch(entries, now, out);
        Response::Receipts(receipts)
    }

    fn erase(&mut self, after: Timetoken, until: Timetoken, out: &mut Vec<Effect>) -> Response {
        if self.stream.history.erase(after, until) > 0 {
            self.send_snapshot(out);
        }
        Response::Done
    }

    /// Enters the member before the subscriber counts: the snapshot holds it, the news of it goes to others.
    fn join(
        &mut self,
        node: NodeId,
        join: JoinRequest,
        again: bool,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Response, Declined> {
        if let Some((client, data)) = join.member {
            let key: (ConnectionId, Text) = (join.connection, client);
            self.enter(node, key, data, local, now, out)?;
        }
        if node != local.id {
            self.set_interest(node, join.subscribers);
        }
        self.stream.history.trim(local.limits.bounds, now);
        let position = self.stream.position();
        let backlog: Backlog = self.stream.history.backlog(join.start, position, now);
        let missed = join.start == Start::Last && backlog.publications.is_empty() && !again;
        if missed && self.clock.miss(now.mono_ms) {
            self.tell(LifecycleKind::Missed, now, out);
        }
        let members = join.with_members.then(|| members(&self.stream));
        Ok(Response::Joined(Box::new(Joined {
            log_position: self.stream.log_position(),
            position,
            backlog,
            members,
            occupancy: self.occupancy(local.subscribers()),
        })))
    }

    /// Another node says how many subscribers it has.
    pub(super) fn on_interest(
        &mut self,
        from: NodeId,
        subscribers: u64,
        local: &LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if self.set_interest(from, subscribers) {
            self.count_changed(local, now, out);
        }
    }

    /// A connection of another node has left, and had presence entries.
    pub(super) fn on_left(
        &mut self,
        from: NodeId,
        left: LeftConnection,
        local: &LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.remove_connection(from, (left.connection, left.gone), now, out);
        self.on_interest(from, left.subscribers, local, now, out);
    }

    /// Another node says everything about itself. `fresh` is an epoch that nobody has used.
    pub(super) fn on_announce(
        &mut self,
        from: NodeId,
        Announcement {
            subscribers,
            members,
            position,
        }: Announcement,
        (local, fresh): (&mut LocalNode, u64),
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let own = self.stream.log_position();
        if position.is_some_and(|one| one.epoch == own.epoch && one.entry > own.entry) {
            self.start_new_epoch(fresh, now, out);
        } else if self.may_lack
            && position.is_some_and(|one| one.entry > 0 && !self.stream.knows(one.epoch))
        {
            self.admit_loss(fresh, now, out);
        }
        if position.is_some_and(|one| one.entry > 0) && subscribers > 0 {
            self.was_occupied(now, out);
        }
        self.hear_members(from, members, local, now, out);
        let changed = self.set_interest(from, subscribers);
        let missed = position.map_or(Some(Vec::new()), |one| self.stream.missed(one));
        let message = PeerMessage::CatchUp(CatchUp {
            position: self.stream.log_position(),
            lost: missed.is_none(),
            entries: missed.unwrap_or_default(),
        });
        self.send(from, message, out);
        if changed {
            self.count_changed(local, now, out);
        }
    }

    /// The number of subscriptions has changed: subscribers are told, if the app wants it.
    pub(super) fn count_changed(&mut self, local: &LocalNode, now: Now, out: &mut Vec<Effect>) {
        if local.limits.counts {
            self.counted(local.subscribers(), now, out);
        }
    }
}

fn members(stream: &Stream) -> Arc<[Member]> {
    stream.presence.members().cloned().collect()
}
