//! One channel on one node, as a value: what it is here (home, backup, neither), who is interested, what is
//! pending. `handle(input, now)` appends effects; the actor carries them out.
//!
//! **Must never know:** addresses, mailboxes, sockets, clocks, randomness (a seed comes in).
//!
//! The parts: `home` (orders, answers, replicates), `edge` (forwards, counts, receives), `role` (who is home
//! now). **Why the home's effects pass a gate:** nothing leaves the home before its backup holds the entry it
//! rests on. What one subscriber has seen survives the home, and what was answered did happen.

use super::edge::Edge;
use super::history::Bounds;
use super::home::{Home, not_home};
use super::ledger::Told;
use super::presence::EntryKey;
use super::role::Claim;
use super::stream::Stream;
use super::wire::{Answer, Ask, Wire};
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, NodeId};
use crate::core::lifecycle::Happening;
use crate::core::message::{Broadcast, Occupancy};
use crate::core::nodes::{Members, Placement};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// How often a channel looks after itself: lets go of what is old, stops when it is of no use; ms.
pub const HOUSEKEEPING_MS: u64 = 30_000;

/// What an app allows its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// History.
    pub bounds: Bounds,
    /// Most distinct clients in a presence set.
    pub presence_clients: u64,
    /// Whether subscribers are told the number of subscriptions.
    pub counts: bool,
    /// Whether anybody listens to the channel's lifecycle.
    pub watched: bool,
}

/// Names an ask of this node.
pub type Ticket = u64;

/// What happens to a channel.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody here asks.
    Ask {
        /// Comes back with the answer.
        ticket: Ticket,
        /// What.
        ask: Ask,
    },
    /// A connection here leaves.
    Leave {
        /// Which.
        connection: ConnectionId,
        /// Without saying so.
        gone: bool,
    },
    /// A connection here changes its socket: it stops receiving, its members stay.
    Step {
        /// Which.
        connection: ConnectionId,
    },
    /// From the channel's actor on another node.
    From {
        /// Which.
        from: NodeId,
        /// What.
        wire: Wire,
    },
    /// The link to a node is usable again; what was on its way is lost.
    LinkUp(NodeId),
    /// The member list has changed.
    Rehome(Arc<Members>),
    /// The limits have become smaller: let go of what is above them now.
    Trim,
    /// A request could not be sent at all.
    Unsent(Ticket),
    /// The time asked for has come.
    Wake,
}

impl Input {
    /// Whether subscribers or members may be others afterwards. What is published most of all changes neither.
    #[must_use]
    pub fn may_change_counts(&self) -> bool {
        match self {
            Self::Ask { ask, .. } => !matches!(ask, Ask::Publish(_) | Ask::PublishBatch(_)),
            Self::Trim => false,
            Self::Leave { .. }
            | Self::Step { .. }
            | Self::From { .. }
            | Self::LinkUp(_)
            | Self::Rehome(_)
            | Self::Unsent(_)
            | Self::Wake => true,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// To the subscribers here.
    Deliver(Broadcast),
    /// To the channel's actor on another node.
    Send {
        /// Which.
        to: NodeId,
        /// What.
        wire: Wire,
    },
    /// Answer an ask.
    Answer {
        /// Which.
        ticket: Ticket,
        /// How.
        answer: Result<Answer, Refusal>,
    },
    /// An ask is off: its connection has left.
    Forget(Ticket),
    /// Something worth telling outside of the channel; only the home says so.
    Happened(Happening),
    /// Subscribers here missed broadcasts that are not to be had any more.
    Lost,
    /// The channel is of no use any more: stop.
    Retire,
}

/// What the channel is on this node.
#[derive(Debug)]
pub(super) enum Role {
    /// Neither orders nor is about to.
    Edge,
    /// About to order: waits for what the former home hands over.
    Claiming(Claim),
    /// Orders.
    Home(Box<Home>),
}

/// A copy of the stream, kept without being home.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) stream: Stream,
    /// Dropped then (mono ms), unless this node is the backup.
    pub(super) until: Option<u64>,
}

/// The channel.
#[derive(Debug)]
pub struct State {
    pub(super) key: Arc<ChannelKey>,
    pub(super) node: NodeId,
    pub(super) members: Arc<Members>,
    pub(super) place: Option<Placement>,
    pub(super) limits: Limits,
    pub(super) local: HashSet<ConnectionId>,
    /// This node's presence entries: data, and whether a home has accepted them.
    pub(super) mine: BTreeMap<EntryKey, (Bytes, bool)>,
    pub(super) edge: Edge,
    pub(super) role: Role,
    pub(super) copy: Option<Held>,
    /// What the home says it has told, in case this node is home next.
    pub(super) told: Option<Told>,
    seed: u64,
    drawn: u64,
    house_due: u64,
    was_idle: bool,
}

/// What a new channel starts from.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Its name.
    pub key: Arc<ChannelKey>,
    /// This node.
    pub node: NodeId,
    /// Who is there.
    pub members: Arc<Members>,
    /// Who was there before, when that changed a short while ago.
    pub before: Option<Arc<Members>>,
    /// Limits of its app.
    pub limits: Limits,
    /// Random: epochs and message ids are drawn from it.
    pub seed: u64,
}

impl State {
    /// A channel nobody has used yet on this node.
    #[must_use]
    pub fn new(birth: Birth, now: Now, out: &mut Vec<Effect>) -> Self {
        let place = birth.members.place(&birth.key);
        let mut state = Self {
            place,
            key: birth.key,
            node: birth.node,
            members: birth.members,
            limits: birth.limits,
            local: HashSet::new(),
            mine: BTreeMap::new(),
            edge: Edge::default(),
            role: Role::Edge,
            copy: None,
            told: None,
            seed: birth.seed,
            drawn: 0,
            house_due: now.mono_ms + HOUSEKEEPING_MS,
            was_idle: false,
        };
        if state.home() == Some(state.node) {
            let former = birth.before.and_then(|list| list.place(&state.key));
            state.take_over(former.map(|place| place.home), now, out);
        }
        state
    }

    /// Takes one input and appends what is to be done, in order.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Effect>) {
        if self.hold(&input, out) {
            return;
        }
        let counts = input.may_change_counts();
        match input {
            Input::Ask { ticket, ask } => self.on_ask(ticket, ask, now, out),
            Input::Leave { connection, gone } => self.on_leave(connection, gone, now, out),
            Input::Step { connection } => self.on_step(connection, now, out),
            Input::From { from, wire } => self.on_wire(from, wire, now, out),
            Input::LinkUp(node) => self.on_link_up(node, out),
            Input::Rehome(members) => self.on_rehome(members, now, out),
            Input::Trim => self.trim(now),
            Input::Unsent(ticket) => self.edge.unsent(ticket),
            Input::Wake => self.on_wake(now, out),
        }
        if !counts {
            return;
        }
        let local = self.subscribers();
        if let Role::Home(home) = &mut self.role {
            home.tell_occupancy(local, now, out);
        }
    }

    fn on_wire(&mut self, from: NodeId, wire: Wire, now: Now, out: &mut Vec<Effect>) {
        // A node that the list calls dead has no subscribers here; a new one comes back when the list is known.
        if wire.needs_home() && !self.members.has(from) {
            return not_home(from, out);
        }
        match wire {
            Wire::Request {
                request,
                ask,
                again,
            } => self.on_request(from, request, ask, again, now, out),
            Wire::Interest { subscribers } => self.on_interest(from, subscribers, now, out),
            Wire::Left {
                connection,
                gone,
                subscribers,
            } => self.on_left(from, (connection, gone), subscribers, now, out),
            Wire::Announce {
                subscribers,
                members,
                seen,
            } => self.on_announce(from, subscribers, (members, seen), now, out),
            Wire::Copied(seen) => self.on_copied(from, seen, out),
            Wire::NeedCopy => self.on_need_copy(from, out),
            Wire::Claim { revision } => self.on_claim(from, revision, now, out),
            Wire::Copy { image, handover } => self.on_copy(from, *image, handover, now, out),
            Wire::Replicate { epoch, logged } => self.on_replicate(from, epoch, [logged], now, out),
            Wire::ReplicateBatch { epoch, entries } => {
                self.on_replicate(from, epoch, entries, now, out);
            }
            Wire::Nothing => self.on_nothing(from, now, out),
            Wire::Who | Wire::Anybody => self.announce_to(from, out),
            Wire::Told(told) => self.told = Some(told),
            wire @ (Wire::Answer { .. }
            | Wire::NotHome
            | Wire::Caught { .. }
            | Wire::Broadcast { .. }
            | Wire::TakenOut { .. }
            | Wire::Count(_)) => {
                if self.home() == Some(from) {
                    self.on_home_says(wire, now, out);
                }
            }
        }
    }

    fn on_wake(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.wake_role(now, out);
        self.wake_edge(now, out);
        if now.mono_ms >= self.house_due {
            self.house_due = now.mono_ms + HOUSEKEEPING_MS;
            self.keep_house(now, out);
        }
    }

    fn trim(&mut self, now: Now) {
        let bounds = self.limits.bounds;
        if let Role::Home(home) = &mut self.role {
            home.stream.trim(bounds, now);
        }
        if let Some(held) = &mut self.copy {
            held.stream.trim(bounds, now);
        }
    }

    /// What its history weighs on this node, a backup's copy included; bytes.
    #[must_use]
    pub fn history_bytes(&self) -> usize {
        let own = match &self.role {
            Role::Home(home) => home.stream.history.bytes(),
            Role::Edge | Role::Claiming(_) => 0,
        };
        let copy = self.copy.as_ref();
        own + copy.map_or(0, |held| held.stream.history.bytes())
    }

    fn keep_house(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.trim(now);
        if matches!(self.role, Role::Edge) && !self.is_backup() {
            self.told = None;
        }
        let idle = self.idle();
        if idle && self.was_idle {
            out.push(Effect::Retire);
        }
        self.was_idle = idle;
    }

    /// Whether nothing would be lost if the channel stopped.
    #[must_use]
    pub fn idle(&self) -> bool {
        let quiet = match &self.role {
            Role::Edge => true,
            Role::Claiming(_) => false,
            Role::Home(home) => home.idle(),
        };
        let copy = self.copy.as_ref();
        quiet
            && copy.is_none_or(|held| held.stream.is_empty())
            && self.told.as_ref().is_none_or(Told::is_nothing)
            && self.local.is_empty()
            && self.mine.is_empty()
            && self.edge.idle()
    }

    /// Whether [`Self::wake_at`] may be another after this input. Most of all comes what is published, and where no
    /// backup has to confirm it, nothing waits for anything.
    #[must_use]
    pub fn may_wait(&self, input: &Input) -> bool {
        let published = !input.may_change_counts() && matches!(input, Input::Ask { .. });
        let alone = matches!(&self.role, Role::Home(home) if home.mirror.is_none());
        !(published && alone)
    }

    /// When [`Input::Wake`] is wanted, mono ms.
    #[must_use]
    pub fn wake_at(&self) -> u64 {
        let role = match &self.role {
            Role::Edge => None,
            Role::Claiming(claim) => Some(claim.until),
            Role::Home(home) => home.wake_at(),
        };
        let held = self.copy.as_ref().and_then(|held| held.until);
        let all = [role, held, self.edge.wake_at()];
        all.into_iter().flatten().fold(self.house_due, u64::min)
    }

    /// Whether this node orders the channel.
    #[must_use]
    pub fn is_home(&self) -> bool {
        matches!(self.role, Role::Home(_))
    }

    /// Cluster-wide counts; only the home knows them.
    #[must_use]
    pub fn occupancy(&self) -> Option<Occupancy> {
        match &self.role {
            Role::Home(home) => Some(home.occupancy(self.subscribers())),
            Role::Edge | Role::Claiming(_) => None,
        }
    }

    /// New limits of the app.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        if let Role::Home(home) = &mut self.role {
            home.watched = limits.watched;
        }
    }

    pub(super) fn home(&self) -> Option<NodeId> {
        self.place.map(|place| place.home)
    }

    pub(super) fn subscribers(&self) -> u64 {
        u64::try_from(self.local.len()).unwrap_or(u64::MAX)
    }

    /// A number nobody else draws: the seed is random and every draw differs.
    pub(super) fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let number = self.seed.wrapping_add(self.drawn);
        if number == 0 { 1 } else { number }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
