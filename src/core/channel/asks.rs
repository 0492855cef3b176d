//! The home's answers: to asks of any node, and to what nodes say of their subscribers and members.
//!
//! **Must never know:** how effects are held back or replicated (`home` does), how this node became home.
//!
//! **Why answers go through the same gate as broadcasts:** an acknowledgement is a promise that the backup has it.

use super::history::Backlog;
use super::home::not_home;
use super::presence::{Announced, EntryKey};
use super::state::{Effect, Role, State, Ticket};
use super::stream::{Seen, Stream};
use super::wire::{Answer, Ask, Declined, Joined, Wire};
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, NodeId, Text, Timetoken};
use crate::core::message::{Draft, Member, PresenceAction};
use crate::core::session::Start;
use bytes::Bytes;
use std::sync::Arc;

/// Whose ask it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// Of this node.
    Local(Ticket),
    /// Of another, under its own number.
    Peer(NodeId, u64),
}

/// A join, taken apart.
struct JoinParts {
    connection: ConnectionId,
    start: Start,
    member: Option<(Text, Bytes)>,
    with_members: bool,
    subscribers: u64,
}

impl State {
    pub(super) fn on_request(
        &mut self,
        from: NodeId,
        request: u64,
        ask: Ask,
        again: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if self.is_home() {
            self.serve(Origin::Peer(from, request), ask, again, now, out);
        } else {
            not_home(from, out);
        }
    }

    /// Answers an ask. Only called on the home.
    pub(super) fn serve(
        &mut self,
        origin: Origin,
        ask: Ask,
        again: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let node = match origin {
            Origin::Local(_) => self.node,
            Origin::Peer(node, _) => node,
        };
        let local = matches!(origin, Origin::Local(_));
        let noted = (local && ask.enters()).then(|| ask.clone());
        let answer = match ask {
            Ask::Publish(draft) => Ok(self.publish(draft, now, out)),
            Ask::PublishBatch(drafts) => Ok(self.publish_batch(drafts, now, out)),
            Ask::Join {
                connection,
                start,
                member,
                with_members,
                subscribers,
            } => {
                let parts = JoinParts {
                    connection,
                    start,
                    member,
                    with_members,
                    subscribers,
                };
                self.join(node, parts, again, now, out)
            }
            Ask::Present {
                connection,
                client,
                data,
            } => self
                .enter(node, connection, (client, data), again, now, out)
                .map(|()| Answer::Done),
            Ask::Hold {
                connection,
                client,
                data,
            } => self
                .enter(node, connection, (client, data), true, now, out)
                .map(|()| Answer::Done),
            Ask::Erase { after, until } => self.erase(after, until, out),
            Ask::Absent { connection, client } => self.absent(node, (connection, client), now, out),
            ask @ (Ask::Occupancy
            | Ask::Members
            | Ask::History(_)
            | Ask::Changes(_)
            | Ask::Last) => Ok(self.read(&ask, now)),
        };
        if let Some(ask) = noted {
            self.settled(&ask, answer.is_ok());
        }
        let joined = matches!(answer, Ok(Answer::Joined(_)));
        self.answer(origin, answer, out);
        if joined {
            self.count_changed(now, out);
        }
    }

    fn erase(
        &mut self,
        after: Timetoken,
        until: Timetoken,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Declined> {
        if let Role::Home(home) = &mut self.role
            && home.stream.history.erase(after, until) > 0
        {
            home.copy_now(out);
        }
        Ok(Answer::Done)
    }

    /// This node announces it from now on.
    pub(super) fn note_member(&mut self, connection: ConnectionId, client: &Text, data: &Bytes) {
        let entry = self.mine.entry((connection, client.clone()));
        entry.or_insert((data.clone(), false)).0 = data.clone();
    }

    /// Whom this node announces.
    pub(super) fn announced(&self) -> Vec<Announced> {
        let entries = self.mine.iter();
        let announced = entries.map(|((connection, client), (data, confirmed))| Announced {
            connection: *connection,
            client: client.clone(),
            data: data.clone(),
            confirmed: *confirmed,
        });
        announced.collect()
    }

    /// Whoever announces the entry is told, when somebody else took it out: another home would hear of it again.
    fn absent(
        &mut self,
        node: NodeId,
        key: EntryKey,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Declined> {
        let Role::Home(home) = &mut self.role else {
            return Ok(Answer::Done);
        };
        let holder = home.stream.presence.get(&key).map(|entry| entry.node);
        let left = home.stream.leave(&key, PresenceAction::Leave, now);
        home.commit_all(left.into_iter().collect(), now, out);
        match holder.filter(|holder| *holder != node) {
            Some(holder) if holder == self.node => self.forget_member(&key),
            Some(holder) => {
                let (connection, client) = key;
                home.send(holder, Wire::TakenOut { connection, client }, out);
            }
            None => {}
        }
        Ok(Answer::Done)
    }

    fn answer(&mut self, origin: Origin, answer: Result<Answer, Declined>, out: &mut Vec<Effect>) {
        let effect = match origin {
            Origin::Local(ticket) => {
                let answer = answer.map_err(Refusal::from);
                Effect::Answer { ticket, answer }
            }
            Origin::Peer(to, request) => {
                let wire = Wire::Answer { request, answer };
                Effect::Send { to, wire }
            }
        };
        if let Role::Home(home) = &mut self.role {
            home.emit(effect, out);
        }
    }

    fn publish(&mut self, draft: Box<Draft>, now: Now, out: &mut Vec<Effect>) -> Answer {
        let Role::Home(home) = &mut self.role else {
            return Answer::Done;
        };
        let (receipt, logged) = home.stream.publish(draft, self.limits.bounds, now);
        if let Some(logged) = logged {
            home.commit(logged, now, out);
        }
        Answer::Receipt(receipt)
    }

    fn publish_batch(&mut self, drafts: Vec<Draft>, now: Now, out: &mut Vec<Effect>) -> Answer {
        let Role::Home(home) = &mut self.role else {
            return Answer::Done;
        };
        let (receipts, entries) = home.stream.publish_batch(drafts, self.limits.bounds, now);
        home.commit_batch(entries, now, out);
        Answer::Receipts(receipts)
    }

    fn enter(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        (client, data): (Text, Bytes),
        again: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Declined> {
        let max = self.limits.presence_clients;
        let Role::Home(home) = &mut self.role else {
            return Ok(());
        };
        let presence = &home.stream.presence;
        if !presence.has_client(&client) && presence.clients() >= max {
            return Err(Declined::PresenceClients { max });
        }
        let key = (connection, client);
        let held = presence.get(&key).filter(|entry| entry.data == data);
        // Saying the same again is no news, but it may come from another node than before.
        if held.is_some_and(|entry| again || entry.node == node) {
            return Ok(());
        }
        let (connection, client) = key;
        let member = Member {
            client,
            connection,
            node,
            data,
            since: 0,
        };
        let logged = home.stream.enter(member, now);
        home.commit(logged, now, out);
        Ok(())
    }

    /// Enters the member before the subscriber counts: the snapshot holds it, the news of it goes to others.
    fn join(
        &mut self,
        node: NodeId,
        parts: JoinParts,
        again: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Declined> {
        if let Some(member) = parts.member {
            self.enter(node, parts.connection, member, again, now, out)?;
        }
        let local = self.subscribers();
        let (bounds, here) = (self.limits.bounds, node == self.node);
        let Role::Home(home) = &mut self.role else {
            return Ok(Answer::Done);
        };
        if !here {
            home.set_interest(node, parts.subscribers);
        }
        home.stream.history.trim(bounds, now);
        let position = home.stream.position();
        let backlog: Backlog = home.stream.history.backlog(parts.start, position, now);
        if parts.start == Start::Last && backlog.publications.is_empty() && !again {
            let news = home.ledger.miss(now.mono_ms);
            home.tell(news, out);
        }
        let members = parts.with_members.then(|| all(&home.stream));
        Ok(Answer::Joined(Box::new(Joined {
            seen: home.stream.seen(),
            position,
            backlog,
            members,
            occupancy: home.occupancy(local),
        })))
    }

    fn read(&mut self, ask: &Ask, now: Now) -> Answer {
        let local = self.subscribers();
        let Role::Home(home) = &mut self.role else {
            return Answer::Done;
        };
        home.stream.history.trim(self.limits.bounds, now);
        home.stream.changes.trim(self.limits.bounds.age_ms, now);
        match ask {
            Ask::Occupancy => Answer::Occupancy(home.occupancy(local)),
            Ask::Members => Answer::Members(all(&home.stream)),
            Ask::History(page) => Answer::History(home.stream.history.page(*page)),
            Ask::Last => Answer::Last(home.stream.history.last(now)),
            Ask::Changes(page) => Answer::Changes(home.stream.changes.page(*page)),
            Ask::Publish(_)
            | Ask::PublishBatch(_)
            | Ask::Join { .. }
            | Ask::Present { .. }
            | Ask::Hold { .. }
            | Ask::Erase { .. }
            | Ask::Absent { .. } => Answer::Done,
        }
    }

    pub(super) fn on_interest(
        &mut self,
        from: NodeId,
        subscribers: u64,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Role::Home(home) = &mut self.role else {
            return not_home(from, out);
        };
        if home.set_interest(from, subscribers) {
            self.count_changed(now, out);
        }
    }

    pub(super) fn on_left(
        &mut self,
        from: NodeId,
        (connection, gone): (ConnectionId, bool),
        subscribers: u64,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if self.is_home() {
            self.depart(from, connection, gone, now, out);
            self.on_interest(from, subscribers, now, out);
        } else {
            not_home(from, out);
        }
    }

    /// Removes a connection's presence entries. Only called on the home.
    pub(super) fn depart(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        gone: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Role::Home(home) = &mut self.role else {
            return;
        };
        let action = if gone {
            PresenceAction::Timeout
        } else {
            PresenceAction::Leave
        };
        let its = |member: &Member| member.connection == connection && member.node == node;
        let left = home.stream.leave_all(its, action, now);
        home.commit_all(left, now, out);
    }

    pub(super) fn on_announce(
        &mut self,
        from: NodeId,
        subscribers: u64,
        (members, seen): (Vec<Announced>, Option<Seen>),
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let fresh = self.draw();
        let Role::Home(home) = &mut self.role else {
            return not_home(from, out);
        };
        let own = home.stream.seen();
        if seen.is_some_and(|seen| seen.epoch == own.epoch && seen.entry > own.entry) {
            home.renew(fresh, out);
        }
        if seen.is_some() && subscribers > 0 {
            home.was_occupied(out);
        }
        let entries = home.stream.reconcile(from, members, now);
        home.commit_all(entries, now, out);
        let changed = home.set_interest(from, subscribers);
        let missed = seen.map_or(Some(Vec::new()), |seen| home.stream.missed(seen));
        let wire = Wire::Caught {
            seen: home.stream.seen(),
            lost: missed.is_none(),
            entries: missed.unwrap_or_default(),
        };
        home.send(from, wire, out);
        if changed {
            self.count_changed(now, out);
        }
    }

    pub(super) fn count_changed(&mut self, now: Now, out: &mut Vec<Effect>) {
        let local = self.subscribers();
        if let Role::Home(home) = &mut self.role
            && self.limits.counts
        {
            home.counted(local, now, out);
        }
    }

    pub(super) fn on_copied(&mut self, from: NodeId, seen: Seen, out: &mut Vec<Effect>) {
        if let Role::Home(home) = &mut self.role {
            home.copied(from, seen, out);
        }
    }

    pub(super) fn on_need_copy(&mut self, from: NodeId, out: &mut Vec<Effect>) {
        if let Role::Home(home) = &mut self.role
            && home.mirror.as_ref().is_some_and(|one| one.node == from)
        {
            home.copy_now(out);
        }
    }

    pub(super) fn wake_home(&mut self, now: Now, out: &mut Vec<Effect>) {
        let local = self.subscribers();
        if let Role::Home(home) = &mut self.role {
            home.wake(local, now, out);
        }
    }
}

fn all(stream: &Stream) -> Arc<[Member]> {
    stream.presence.members().cloned().collect()
}
