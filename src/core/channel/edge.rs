//! Every node's part of a channel: counts its own subscribers and members, passes asks on to the home, takes
//! the home's broadcasts in order and once.
//!
//! **Must never know:** how the home orders, what a backup keeps.
//!
//! **Why level-triggered:** a node says how many there are, so what a broken link lost the next telling makes good.

use super::asks::Origin;
use super::presence::EntryKey;
use super::state::{Effect, State, Ticket};
use super::stream::{Logged, Seen};
use super::wire::{Answer, Ask, Wire};
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, NodeId};
use crate::core::message::Broadcast;
use std::collections::BTreeMap;

/// How long an ask may wait for its home, ms.
pub(super) const ASK_MS: u64 = 5_000;
/// After a "not home", how long until everything is sent again, ms.
pub(super) const RETRY_MS: u64 = 100;
/// How long changes of the subscriber count are gathered, ms.
pub(super) const INTEREST_MS: u64 = 20;
/// Most asks of one channel that may wait for its home.
pub(super) const MAX_PENDING: usize = 10_000;

/// An ask under way to the home.
#[derive(Debug)]
struct Pending {
    ask: Ask,
    deadline_ms: u64,
    /// It has been handed to a link at least once.
    sent: bool,
    /// It is not to be sent before the home has said what was missed.
    again: bool,
}

/// What every node keeps of a channel it is not the home of.
#[derive(Debug, Default)]
pub(super) struct Edge {
    /// The last broadcast its subscribers got; none while nobody here waits for one.
    pub(super) seen: Option<Seen>,
    pending: BTreeMap<Ticket, Pending>,
    pub(super) interest_due: Option<u64>,
    retry_due: Option<u64>,
    /// An announcement is under way; broadcasts that leave a gap wait for its answer.
    catching: bool,
    /// Some home may count subscribers or members of this node.
    told: bool,
}

impl Edge {
    /// Takes out what a connection asked.
    pub(super) fn asks_of(&mut self, connection: ConnectionId) -> Vec<Ticket> {
        let its = |pending: &Pending| pending.ask.asker() == Some(connection);
        let pending = self.pending.extract_if(.., |_, one| its(one));
        pending.map(|(ticket, _)| ticket).collect()
    }

    pub(super) fn idle(&self) -> bool {
        self.pending.is_empty() && self.interest_due.is_none() && self.retry_due.is_none()
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        // Tickets ascend, so the first is the oldest.
        let deadline = self.pending.values().next().map(|one| one.deadline_ms);
        let all = [deadline, self.interest_due, self.retry_due];
        all.into_iter().flatten().min()
    }

    /// Whether its subscribers are behind that. What was on its way when they were announced may have arrived since.
    fn lacks(&self, upto: Seen) -> bool {
        self.seen
            .is_some_and(|seen| seen.epoch != upto.epoch || seen.entry < upto.entry)
    }

    /// Whether this is what was answered to an earlier announcement, made before anybody here had seen anything, and
    /// held up by the backup while the link broke. The answer to the last one, which begins behind what has been seen,
    /// follows on the same link.
    fn leaves_a_gap(&self, upto: Seen, entries: &[Logged]) -> bool {
        self.seen.is_some_and(|seen| {
            let missed = seen.epoch == upto.epoch && seen.entry < upto.entry;
            missed && entries.first().is_none_or(|one| one.entry > seen.entry + 1)
        })
    }

    pub(super) fn unsent(&mut self, ticket: Ticket) {
        if let Some(pending) = self.pending.get_mut(&ticket)
            && !pending.again
        {
            pending.sent = false;
        }
    }
}

impl State {
    pub(super) fn on_ask(&mut self, ticket: Ticket, ask: Ask, now: Now, out: &mut Vec<Effect>) {
        if let Err(refusal) = self.note(&ask) {
            out.push(Effect::Answer {
                ticket,
                answer: Err(refusal),
            });
        } else if self.is_home() {
            self.serve(Origin::Local(ticket), ask, false, now, out);
        } else {
            self.forward(ticket, ask, now, out);
        }
    }

    /// Writes down what the ask changes here, before anybody answers it.
    fn note(&mut self, ask: &Ask) -> Result<(), Refusal> {
        match ask {
            Ask::Join {
                connection, member, ..
            } => {
                if !self.local.insert(*connection) {
                    return Err(Refusal::AlreadySubscribed);
                }
                if let Some((client, data)) = member {
                    self.note_member(*connection, client, data);
                }
            }
            Ask::Present {
                connection,
                client,
                data,
            }
            | Ask::Hold {
                connection,
                client,
                data,
            } => self.note_member(*connection, client, data),
            Ask::Absent { connection, client } => {
                self.mine.remove(&(*connection, client.clone()));
            }
            Ask::Publish(_)
            | Ask::PublishBatch(_)
            | Ask::Occupancy
            | Ask::Members
            | Ask::History(_)
            | Ask::Changes(_)
            | Ask::Last
            | Ask::Erase { .. } => {}
        }
        Ok(())
    }

    fn forward(&mut self, ticket: Ticket, mut ask: Ask, now: Now, out: &mut Vec<Effect>) {
        if self.edge.pending.len() >= MAX_PENDING {
            self.undo(&ask);
            let answer = Err(Refusal::Unavailable(
                "too much waits for the channel's home",
            ));
            return out.push(Effect::Answer { ticket, answer });
        }
        for draft in ask.drafts().iter_mut().filter(|one| one.id.is_none()) {
            // Without an id the home could not tell a repetition from a second message.
            draft.id = Some(format!("{:016x}", self.draw()).into());
        }
        self.edge.pending.insert(
            ticket,
            Pending {
                ask,
                deadline_ms: now.mono_ms + ASK_MS,
                sent: false,
                again: false,
            },
        );
        self.send_pending(|one| one == ticket, false, out);
    }

    fn send_pending(&mut self, which: impl Fn(Ticket) -> bool, again: bool, out: &mut Vec<Effect>) {
        let subscribers = self.subscribers();
        let Some(to) = self.home().filter(|home| *home != self.node) else {
            return;
        };
        let edge = &mut self.edge;
        for (request, pending) in &mut edge.pending {
            if !which(*request) {
                continue;
            }
            pending.sent = true;
            pending.again |= again;
            let mut ask = pending.ask.clone();
            if let Ask::Join {
                subscribers: count, ..
            } = &mut ask
            {
                *count = subscribers;
            }
            edge.told |= ask.enters();
            let wire = Wire::Request {
                request: *request,
                ask,
                again,
            };
            out.push(Effect::Send { to, wire });
        }
    }

    /// Another node has taken out an entry that this one would announce again. One that is on its way in once more
    /// stays, if the home agrees.
    pub(super) fn forget_member(&mut self, key: &EntryKey) {
        let coming = |one: &Pending| one.ask.entry().as_ref() == Some(key);
        if !self.edge.pending.values().any(coming) {
            self.mine.remove(key);
        } else if let Some((_, confirmed)) = self.mine.get_mut(key) {
            *confirmed = false;
        }
    }

    /// The home has answered an ask of this node.
    fn settle(&mut self, ticket: Ticket, done: bool) {
        if let Some(pending) = self.edge.pending.remove(&ticket) {
            self.settled(&pending.ask, done);
        }
    }

    /// What [`Self::note`] wrote down holds, or is taken back.
    pub(super) fn settled(&mut self, ask: &Ask, done: bool) {
        if !done {
            return self.undo(ask);
        }
        if let Some(key) = ask.entry()
            && let Some((_, confirmed)) = self.mine.get_mut(&key)
        {
            *confirmed = true;
        }
    }

    /// Takes back what [`Self::note`] wrote down.
    fn undo(&mut self, ask: &Ask) {
        if let Ask::Join { connection, .. } = ask {
            self.local.remove(connection);
        }
        if let Some(key) = ask.entry()
            && self.mine.get(&key).is_some_and(|(_, confirmed)| !confirmed)
        {
            self.mine.remove(&key);
        }
    }

    pub(super) fn on_leave(
        &mut self,
        connection: ConnectionId,
        gone: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let counted = self.local.remove(&connection);
        let before = self.mine.len();
        self.mine.retain(|(whose, _), _| *whose != connection);
        let had_members = self.mine.len() != before;
        self.forget_asks(connection, out);
        if self.is_home() {
            self.depart(self.node, connection, gone, now, out);
            if counted {
                self.count_changed(now, out);
            }
        } else if had_members {
            let wire = Wire::Left {
                connection,
                gone,
                subscribers: self.subscribers(),
            };
            self.tell_home(wire, out);
            self.rest();
        } else if counted {
            self.lose_interest(now);
        }
    }

    fn tell_home(&mut self, wire: Wire, out: &mut Vec<Effect>) {
        if let Some(to) = self.home().filter(|home| *home != self.node) {
            out.push(Effect::Send { to, wire });
        }
    }

    /// Nobody here waits for broadcasts any more: the next join starts from where the home then is.
    fn rest(&mut self) {
        if self.local.is_empty() {
            self.edge.seen = None;
            self.edge.interest_due = None;
        }
    }

    pub(super) fn on_home_says(&mut self, wire: Wire, now: Now, out: &mut Vec<Effect>) {
        match wire {
            Wire::Answer { request, answer } => self.on_answer(request, answer, now, out),
            Wire::NotHome => {
                self.edge.retry_due.get_or_insert(now.mono_ms + RETRY_MS);
            }
            Wire::Broadcast { epoch, logged } => self.on_broadcast(epoch, logged, out),
            Wire::Caught {
                seen,
                entries,
                lost,
            } => {
                if lost && self.edge.lacks(seen) {
                    // Nothing behind the gap: whoever got it could take it for the next.
                    out.push(Effect::Lost);
                    return self.on_caught(seen, Vec::new(), out);
                }
                if !self.edge.leaves_a_gap(seen, &entries) {
                    self.on_caught(seen, entries, out);
                }
            }
            Wire::TakenOut { connection, client } => self.forget_member(&(connection, client)),
            Wire::Count(count) => {
                if self.edge.seen.is_some() {
                    out.push(Effect::Deliver(Broadcast::Count(count)));
                }
            }
            Wire::Request { .. }
            | Wire::Interest { .. }
            | Wire::Left { .. }
            | Wire::Announce { .. }
            | Wire::Who
            | Wire::Anybody
            | Wire::Copy { .. }
            | Wire::Replicate { .. }
            | Wire::ReplicateBatch { .. }
            | Wire::Copied(_)
            | Wire::NeedCopy
            | Wire::Claim { .. }
            | Wire::Nothing
            | Wire::Told(_) => {}
        }
    }

    fn on_answer(
        &mut self,
        request: Ticket,
        answer: Result<Answer, super::wire::Declined>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(pending) = self.edge.pending.get_mut(&request) else {
            return;
        };
        if let Ok(Answer::Joined(joined)) = &answer {
            if self.edge.seen.is_some_and(|seen| seen != joined.seen) {
                // Subscribers that were here first lack something: they get it, then this one joins.
                pending.again = true;
                return self.catch_up(out);
            }
            self.edge.seen = Some(joined.seen);
        }
        self.settle(request, answer.is_ok());
        if answer.is_err() && self.edge.told {
            // An announcement in between has counted what was refused.
            self.lose_interest(now);
        }
        out.push(Effect::Answer {
            ticket: request,
            answer: answer.map_err(Refusal::from),
        });
    }

    fn on_broadcast(&mut self, epoch: u64, logged: Logged, out: &mut Vec<Effect>) {
        let Some(seen) = &mut self.edge.seen else {
            return;
        };
        if seen.epoch == epoch && logged.entry <= seen.entry {
            return;
        }
        if seen.epoch == epoch && logged.entry == seen.entry + 1 {
            seen.entry = logged.entry;
            out.push(Effect::Deliver(logged.broadcast));
        } else {
            self.catch_up(out);
        }
    }

    fn catch_up(&mut self, out: &mut Vec<Effect>) {
        if !self.edge.catching
            && let Some(home) = self.home()
        {
            self.announce_to(home, out);
        }
    }

    fn on_caught(&mut self, upto: Seen, entries: Vec<Logged>, out: &mut Vec<Effect>) {
        self.edge.catching = false;
        if let Some(seen) = self.edge.seen {
            let new = |one: &Logged| seen.epoch != upto.epoch || one.entry > seen.entry;
            let missed = entries.into_iter().filter(new);
            out.extend(missed.map(|one| Effect::Deliver(one.broadcast)));
            self.edge.seen = Some(upto);
        }
        let waiting: Vec<Ticket> = self
            .edge
            .pending
            .iter()
            .filter(|(_, one)| one.again)
            .map(|(ticket, _)| *ticket)
            .collect();
        self.send_pending(|one| waiting.contains(&one), true, out);
    }

    /// Tells a node everything about this one.
    pub(super) fn announce_to(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        if to == self.node {
            return;
        }
        self.rest();
        let members = self.announced();
        self.edge.told |= !(members.is_empty() && self.local.is_empty());
        self.edge.catching |= self.home() == Some(to);
        out.push(Effect::Send {
            to,
            wire: Wire::Announce {
                subscribers: self.subscribers(),
                members,
                seen: self.edge.seen,
            },
        });
    }

    /// There is a new home, or a new link to it: everything is told again, then asked again.
    pub(super) fn start_over(&mut self, out: &mut Vec<Effect>) {
        self.edge.catching = false;
        self.edge.retry_due = None;
        if let Some(home) = self.home()
            && home != self.node
        {
            // Also when there is nobody here now: the last to leave may have told a home that is none.
            if self.edge.told || !(self.local.is_empty() && self.mine.is_empty()) {
                self.announce_to(home, out);
            }
            self.send_pending(|_| true, true, out);
        }
    }

    /// This node is home now: what waited for one is answered here.
    pub(super) fn serve_pending(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.edge.retry_due = None;
        self.edge.interest_due = None;
        self.edge.catching = false;
        let tickets: Vec<Ticket> = self.edge.pending.keys().copied().collect();
        for ticket in tickets {
            if let Some(pending) = self.edge.pending.remove(&ticket) {
                self.serve(Origin::Local(ticket), pending.ask, true, now, out);
            }
        }
    }

    pub(super) fn wake_edge(&mut self, now: Now, out: &mut Vec<Effect>) {
        let due = |at: Option<u64>| at.is_some_and(|at| now.mono_ms >= at);
        if due(self.edge.interest_due) {
            self.edge.interest_due = None;
            if !self.is_home() {
                let subscribers = self.subscribers();
                self.tell_home(Wire::Interest { subscribers }, out);
                self.rest();
            }
        }
        if due(self.edge.retry_due) {
            self.start_over(out);
        }
        while let Some(oldest) = self.edge.pending.first_entry() {
            if oldest.get().deadline_ms > now.mono_ms {
                break;
            }
            let (ticket, pending) = oldest.remove_entry();
            self.give_up(ticket, &pending, now, out);
        }
    }

    fn give_up(&mut self, ticket: Ticket, pending: &Pending, now: Now, out: &mut Vec<Effect>) {
        self.undo(&pending.ask);
        // The home may count it yet: the next telling sets that right.
        self.edge.interest_due.get_or_insert(now.mono_ms);
        let refusal = match &pending.ask {
            Ask::Publish(_) | Ask::PublishBatch(_) if pending.sent => Refusal::OutcomeUnknown,
            Ask::Publish(_)
            | Ask::PublishBatch(_)
            | Ask::Join { .. }
            | Ask::Present { .. }
            | Ask::Hold { .. }
            | Ask::Erase { .. }
            | Ask::Absent { .. }
            | Ask::Occupancy
            | Ask::Members
            | Ask::History(_)
            | Ask::Changes(_)
            | Ask::Last => Refusal::Unavailable("the channel's home does not answer"),
        };
        out.push(Effect::Answer {
            ticket,
            answer: Err(refusal),
        });
    }
}
