//! The home's part of a channel: answers asks, numbers broadcasts, counts interest, feeds the backup.
//!
//! **Must never know:** how this node became home (`role`), what an edge does with what it is sent.

use super::history::Backlog;
use super::presence::Announced;
use super::state::{Effect, Role, State, Ticket};
use super::stream::{Logged, Seen, Stream};
use super::wire::{Answer, Ask, Declined, Joined, Wire};
use crate::core::clock::Now;
use crate::core::connection::Start;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, NodeId, Text};
use crate::core::message::{Broadcast, Member, Occupancy, PresenceAction};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long the home waits for its backup before it goes on alone, ms. In that time nothing of the channel is
/// delivered or acknowledged; after it, what is acknowledged rests on one node until the backup has caught up.
pub(super) const BACKUP_WAIT_MS: u64 = 1_000;
/// How often a backup that lags is sent everything again, ms.
pub(super) const BACKUP_RETRY_MS: u64 = 2_000;
/// Above so many subscriptions their number is told at most every [`COUNT_MS`].
const COUNT_AT_ONCE: u64 = 100;
/// See [`COUNT_AT_ONCE`].
const COUNT_MS: u64 = 5_000;

/// Whose ask it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// Of this node.
    Local(Ticket),
    /// Of another, under its own number.
    Peer(NodeId, u64),
}

/// What is held back until the backup has `entry`.
#[derive(Debug)]
struct Segment {
    entry: u64,
    since_ms: u64,
    effects: Vec<Effect>,
}

/// The backup as the home sees it.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) node: NodeId,
    /// The frames sent since the last copy are without gaps.
    copied: bool,
    /// It answers: wait for it.
    answers: bool,
    /// When to send everything again, mono ms.
    retry_ms: Option<u64>,
}

/// What only the home keeps.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) stream: Stream,
    pub(super) interest: BTreeMap<NodeId, u64>,
    pub(super) mirror: Option<Mirror>,
    gate: VecDeque<Segment>,
    count_due: Option<u64>,
}

impl Home {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            interest: BTreeMap::new(),
            mirror: None,
            gate: VecDeque::new(),
            count_due: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.stream.is_empty() && self.interest.is_empty() && self.gate.is_empty()
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        let gate = self.gate.front().map(|one| one.since_ms + BACKUP_WAIT_MS);
        let retry = self.mirror.as_ref().and_then(|mirror| mirror.retry_ms);
        [gate, retry, self.count_due].into_iter().flatten().min()
    }

    pub(super) fn occupancy(&self, local: u64) -> Occupancy {
        Occupancy {
            subscribers: local + self.interest.values().sum::<u64>(),
            clients: self.stream.presence.clients(),
            members: self.stream.presence.len(),
        }
    }

    /// Does it now, or when the backup has everything before it.
    pub(super) fn emit(&mut self, effect: Effect, out: &mut Vec<Effect>) {
        match self.gate.back_mut() {
            Some(last) => last.effects.push(effect),
            None => out.push(effect),
        }
    }

    fn send(&mut self, to: NodeId, wire: Wire, out: &mut Vec<Effect>) {
        self.emit(Effect::Send { to, wire }, out);
    }

    /// Sends an entry to the backup, then (once that has it) to everybody.
    pub(super) fn commit(&mut self, logged: Logged, now: Now, out: &mut Vec<Effect>) {
        let epoch = self.stream.seen().epoch;
        if let Some(mirror) = &mut self.mirror {
            let to = mirror.node;
            let wire = if mirror.copied {
                let logged = logged.clone();
                Wire::Replicate { epoch, logged }
            } else {
                mirror.copied = true;
                copy(&self.stream, false)
            };
            out.push(Effect::Send { to, wire });
            if mirror.answers {
                self.gate.push_back(Segment {
                    entry: logged.entry,
                    since_ms: now.mono_ms,
                    effects: Vec::new(),
                });
            }
        }
        self.emit(Effect::Deliver(logged.broadcast.clone()), out);
        let nodes: Vec<NodeId> = self.interest.keys().copied().collect();
        for to in nodes {
            let logged = logged.clone();
            self.send(to, Wire::Broadcast { epoch, logged }, out);
        }
    }

    fn commit_all(&mut self, entries: Vec<Logged>, now: Now, out: &mut Vec<Effect>) {
        for logged in entries {
            self.commit(logged, now, out);
        }
    }

    /// The backup has everything up to `entry`.
    fn release(&mut self, entry: u64, out: &mut Vec<Effect>) {
        while let Some(first) = self.gate.pop_front_if(|first| first.entry <= entry) {
            out.extend(first.effects);
        }
    }

    pub(super) fn release_all(&mut self, out: &mut Vec<Effect>) {
        self.release(u64::MAX, out);
    }

    /// Names the backup; `None` when there is no second node.
    pub(super) fn set_backup(&mut self, node: Option<NodeId>, out: &mut Vec<Effect>) {
        if self.mirror.as_ref().map(|mirror| mirror.node) == node {
            return;
        }
        self.mirror = node.map(|node| Mirror {
            node,
            copied: false,
            answers: true,
            retry_ms: None,
        });
        match node {
            None => self.release_all(out),
            Some(_) => self.copy_now(out),
        }
    }

    /// Sends the backup everything, unless there is nothing yet.
    fn copy_now(&mut self, out: &mut Vec<Effect>) {
        let Some(mirror) = &mut self.mirror else {
            return;
        };
        mirror.copied = self.stream.seen().entry > 0;
        if mirror.copied {
            let (to, wire) = (mirror.node, copy(&self.stream, false));
            out.push(Effect::Send { to, wire });
        }
    }

    fn wake(&mut self, subscribers: u64, now: Now, out: &mut Vec<Effect>) {
        let waited = |one: &Segment| now.mono_ms >= one.since_ms + BACKUP_WAIT_MS;
        let due = |at: Option<u64>| at.is_some_and(|at| now.mono_ms >= at);
        if self.gate.front().is_some_and(waited) {
            if let Some(mirror) = &mut self.mirror {
                mirror.answers = false;
                mirror.retry_ms = Some(now.mono_ms + BACKUP_RETRY_MS);
            }
            self.release_all(out);
        }
        if let Some(mirror) = &mut self.mirror
            && due(mirror.retry_ms)
        {
            mirror.retry_ms = Some(now.mono_ms + BACKUP_RETRY_MS);
            self.copy_now(out);
        }
        if due(self.count_due) {
            self.count_due = None;
            self.tell_count(subscribers, out);
        }
    }

    fn tell_count(&mut self, local: u64, out: &mut Vec<Effect>) {
        let count = self.occupancy(local).subscribers;
        self.emit(Effect::Deliver(Broadcast::Count(count)), out);
        let nodes: Vec<NodeId> = self.interest.keys().copied().collect();
        for to in nodes {
            self.send(to, Wire::Count(count), out);
        }
    }

    fn set_interest(&mut self, node: NodeId, subscribers: u64) -> bool {
        let before = if subscribers == 0 {
            self.interest.remove(&node)
        } else {
            self.interest.insert(node, subscribers)
        };
        before.unwrap_or(0) != subscribers
    }

    fn counted(&mut self, local: u64, now: Now, out: &mut Vec<Effect>) {
        if self.occupancy(local).subscribers <= COUNT_AT_ONCE {
            self.tell_count(local, out);
        } else if self.count_due.is_none() {
            self.count_due = Some(now.mono_ms + COUNT_MS);
        }
    }

    /// Removes the members and the interest of nodes that are not there any more.
    pub(super) fn bury(&mut self, there: impl Fn(NodeId) -> bool, now: Now, out: &mut Vec<Effect>) {
        self.interest.retain(|node, _| there(*node));
        let dead = |member: &Member| !there(member.node);
        let left = self.stream.leave_all(dead, PresenceAction::Timeout, now);
        self.commit_all(left, now, out);
    }

    /// Asks every other node that has members or subscribers here to announce itself.
    pub(super) fn ask_who(&mut self, of: impl Fn(NodeId) -> bool, out: &mut Vec<Effect>) {
        let members = self.stream.presence.members().map(|member| member.node);
        let mut nodes: Vec<NodeId> = self.interest.keys().copied().chain(members).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for to in nodes.into_iter().filter(|node| of(*node)) {
            self.send(to, Wire::Who, out);
        }
    }
}

fn copy(stream: &Stream, handover: bool) -> Wire {
    Wire::Copy {
        image: Box::new(stream.image()),
        handover,
    }
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
        let noted = match (origin, &ask) {
            (Origin::Local(_), Ask::Join { .. } | Ask::Present { .. }) => Some(ask.clone()),
            (Origin::Local(_) | Origin::Peer(..), _) => None,
        };
        let answer = match ask {
            Ask::Publish(draft) => Ok(self.publish(draft, now, out)),
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
            Ask::Absent { connection, client } => {
                let Role::Home(home) = &mut self.role else {
                    return;
                };
                let key = (connection, client);
                let left = home.stream.leave(&key, PresenceAction::Leave, now);
                home.commit_all(left.into_iter().collect(), now, out);
                Ok(Answer::Done)
            }
            ask @ (Ask::Occupancy | Ask::Members | Ask::History(_) | Ask::Last) => {
                Ok(self.read(&ask, now))
            }
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

    fn publish(
        &mut self,
        draft: crate::core::message::Draft,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Answer {
        let Role::Home(home) = &mut self.role else {
            return Answer::Done;
        };
        let (receipt, logged) = home.stream.publish(draft, self.limits.bounds, now);
        if let Some(logged) = logged {
            home.commit(logged, now, out);
        }
        Answer::Receipt(receipt)
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
        let same = presence.get(&key).is_some_and(|entry| entry.data == data);
        if again && same {
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
        match ask {
            Ask::Occupancy => Answer::Occupancy(home.occupancy(local)),
            Ask::Members => Answer::Members(all(&home.stream)),
            Ask::History(page) => Answer::History(home.stream.history.page(*page)),
            Ask::Last => Answer::Last(home.stream.history.last(now)),
            Ask::Publish(_) | Ask::Join { .. } | Ask::Present { .. } | Ask::Absent { .. } => {
                Answer::Done
            }
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
        let entries = home.stream.reconcile(from, members, now);
        home.commit_all(entries, now, out);
        let changed = home.set_interest(from, subscribers);
        let (entries, whole) = match seen {
            Some(seen) => home.stream.missed(seen),
            None => (Vec::new(), true),
        };
        let wire = Wire::Caught {
            seen: home.stream.seen(),
            entries,
            lost: !whole,
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
        let Role::Home(home) = &mut self.role else {
            return;
        };
        let epoch = home.stream.seen().epoch;
        if let Some(mirror) = &mut home.mirror
            && mirror.node == from
            && seen.epoch == epoch
        {
            mirror.answers = true;
            mirror.retry_ms = None;
            home.release(seen.entry, out);
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

impl Home {
    /// Begins a new epoch, and tells the backup.
    pub(super) fn renew(&mut self, epoch: u64, out: &mut Vec<Effect>) {
        self.release_all(out);
        self.stream.cut(epoch);
        self.copy_now(out);
    }

    /// The link to the backup is new: what was under way is lost.
    pub(super) fn relink(&mut self, out: &mut Vec<Effect>) {
        self.copy_now(out);
    }
}

fn all(stream: &Stream) -> Arc<[Member]> {
    stream.presence.members().cloned().collect()
}

pub(super) fn not_home(to: NodeId, out: &mut Vec<Effect>) {
    let wire = Wire::NotHome;
    out.push(Effect::Send { to, wire });
}

/// The handover of a former home.
pub(super) fn handover(stream: &Stream) -> Wire {
    copy(stream, true)
}
