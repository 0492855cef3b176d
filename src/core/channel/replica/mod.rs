//! One channel on one node, as a value. `handle(input, now)` appends effects; the actor carries them out.
//!
//! A replica is this node's own side of the channel (`LocalNode`) in one of three roles, which are types: a
//! `Follower` passes on and receives, a `Home` orders, answers and replicates, and a `Claim` is a follower that is
//! about to be home. Only `Home` can answer a request and only `Follower` can pass one on. This file routes.
//!
//! From below: `fingerprint`, `renewal`, `history`, `journal`, `presence`, `presence_log`, `lifecycle_log` (what a stream is made of),
//! `stream` (what a backup has a copy of), [`protocol`] (what replicas say to each other), [`io`], `local`, `pending`,
//! `holders`, `alone`, then the roles: `follower`, `home` with `home_epochs`, `lifecycle_clock`, `home_lifecycle`, `home_presence` and `home_requests`,
//! `claim`, `backup`; then `takeover`, which finds the channel, and `handover`, which changes the role.
//!
//! **Must never know:** addresses, mailboxes, sockets, clocks, randomness (a seed comes in).
//!
//! **Why what leaves a home waits for its backup:** nothing leaves before the backup holds the entry it
//! rests on. What one subscriber has seen survives the home, and what was answered did happen.

mod alone;
mod backup;
mod claim;
mod fingerprint;
mod follower;
mod handover;
pub mod history;
mod holders;
mod home;
mod home_epochs;
mod home_lifecycle;
mod home_presence;
mod home_requests;
pub mod io;
mod journal;
mod lifecycle_clock;
pub mod lifecycle_log;
mod local;
mod pending;
pub mod presence;
pub mod presence_log;
pub mod protocol;
mod recent;
mod renewal;
pub mod stream;
mod takeover;

use crate::core::clock::Now;
use crate::core::ids::{ConnectionId, NodeId};
use crate::core::message::Occupancy;
use backup::BackupCopy;
use claim::Claim;
use follower::Follower;
use home::Home;
use home_requests::Origin;
use io::{Effect, Input, Limits, NewReplica, Ticket, not_home};
use local::LocalNode;
use pending::Pending;
use presence::EntryKey;
use protocol::{PeerMessage, Request};

/// How often a channel looks after itself: lets go of what is old, stops when it is of no use; ms.
pub const HOUSEKEEPING_INTERVAL_MS: u64 = 30_000;

/// What the channel is on this node.
#[derive(Debug)]
enum Role {
    /// Passes requests on to the home.
    Follower(Follower),
    /// About to order: waits for what the former home hands over.
    Claiming(Claim),
    /// It orders the channel's messages.
    Home(Box<Home>),
}

impl Default for Role {
    fn default() -> Self {
        Self::Follower(Follower::default())
    }
}

impl Role {
    /// What it has asked and received; a home has neither.
    fn into_follower(self) -> Follower {
        match self {
            Self::Follower(follower) => follower,
            Self::Claiming(claim) => claim.follower,
            Self::Home(_) => Follower::default(),
        }
    }
}

/// The channel on this node.
#[derive(Debug)]
pub struct Replica {
    local: LocalNode,
    role: Role,
    copy: Option<BackupCopy>,
    /// The home before the present one, by the lists that this node has had.
    former: Option<NodeId>,
    /// A node whose copy was not taken, because by the list of this node it is not home.
    refused: Option<NodeId>,
    housekeeping_due: u64,
    was_idle: bool,
}

impl Replica {
    /// A channel nobody has used yet on this node.
    #[must_use]
    pub fn new(new: NewReplica, now: Now, out: &mut Vec<Effect>) -> Self {
        let before = new.before.clone();
        let mut replica = Self {
            local: LocalNode::new(new),
            role: Role::default(),
            copy: None,
            former: None,
            refused: None,
            housekeeping_due: now.mono_ms + HOUSEKEEPING_INTERVAL_MS,
            was_idle: false,
        };
        let former = before.as_ref();
        let former = former.and_then(|list| list.place(&replica.local.key));
        replica.former = former.map(|place| place.home);
        if replica.local.home() == Some(replica.local.id) {
            let former = before.map(|list| replica.former_homes(&list));
            replica.take_over(former.unwrap_or_default(), now, out);
        }
        replica
    }

    /// Takes one input and appends what is to be done, in order.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Effect>) {
        let counts = input.may_change_counts();
        match input {
            Input::Request { ticket, request } => self.on_request(ticket, request, now, out),
            Input::Leave { connection, gone } => self.on_leave(connection, gone, now, out),
            Input::Detach { connection } => self.on_detach(connection, now, out),
            Input::From { from, message } => match &mut self.role {
                Role::Claiming(claim) if message.waits_for_claim() => {
                    return claim.defer(from, message, out);
                }
                Role::Claiming(_) | Role::Follower(_) | Role::Home(_) => {
                    self.on_message(from, message, now, out);
                }
            },
            Input::LinkUp(node) => self.on_link_up(node, out),
            Input::Differs(node) => self.on_differs(node, out),
            Input::Dropped(node) => self.on_dropped(node, out),
            Input::MembersChanged(members) => self.on_members(members, now, out),
            Input::Trim => self.trim(now),
            Input::Settled(ids) => {
                if let Role::Home(home) = &mut self.role {
                    home.on_settled(ids, out);
                }
            }
            Input::Unsent(ticket) => match &mut self.role {
                Role::Follower(follower) => follower.unsent(ticket),
                Role::Claiming(claim) => claim.follower.unsent(ticket),
                Role::Home(_) => {}
            },
            Input::Wake { serving } => self.on_wake(serving, now, out),
        }
        if counts && let Role::Home(home) = &mut self.role {
            home.decide_lifecycle(self.local.subscribers(), now, out);
        }
    }

    fn on_request(&mut self, ticket: Ticket, request: Request, now: Now, out: &mut Vec<Effect>) {
        let local = &mut self.local;
        if let Err(refusal) = local.record(&request) {
            let response = Err(refusal);
            return out.push(Effect::Respond { ticket, response });
        }
        match &mut self.role {
            Role::Home(home) => {
                let pending = Pending::new(request, now);
                home.serve_local(local, (ticket, pending, false), now, out);
            }
            Role::Follower(follower) => follower.forward(local, ticket, request, now, out),
            Role::Claiming(claim) => claim.follower.forward(local, ticket, request, now, out),
        }
    }

    fn on_leave(&mut self, connection: ConnectionId, gone: bool, now: Now, out: &mut Vec<Effect>) {
        let local = &mut self.local;
        let removed = local.remove(connection);
        let follower = match &mut self.role {
            Role::Home(home) => {
                home.unanswered.cancel(connection, out);
                home.remove_connection(local.id, (connection, gone), now, out);
                if removed.subscribed {
                    home.count_changed(local, now, out);
                }
                return;
            }
            Role::Follower(follower) => follower,
            Role::Claiming(claim) => &mut claim.follower,
        };
        follower.cancel(connection, out);
        follower.on_leave(local, (connection, gone), removed, now, out);
    }

    /// A connection changes its socket: it stops receiving here, its members stay for its next one. As a leave and a new
    /// entry, everyone else would see the member go.
    fn on_detach(&mut self, connection: ConnectionId, now: Now, out: &mut Vec<Effect>) {
        let subscribed = self.local.unsubscribe(connection);
        let follower = match &mut self.role {
            Role::Home(home) => {
                home.unanswered.cancel(connection, out);
                if subscribed {
                    home.count_changed(&self.local, now, out);
                }
                return;
            }
            Role::Follower(follower) => follower,
            Role::Claiming(claim) => &mut claim.follower,
        };
        follower.cancel(connection, out);
        if subscribed {
            follower.update_interest(now);
        }
    }

    fn on_message(&mut self, from: NodeId, message: PeerMessage, now: Now, out: &mut Vec<Effect>) {
        match message {
            PeerMessage::Request(asked) => {
                if let Some((home, local)) = self.asked_as_home(from, out) {
                    let origin = Origin::Peer(from, asked.id);
                    home.serve(origin, asked.request, asked.again, local, now, out);
                }
            }
            PeerMessage::Interest { subscribers } => {
                if let Some((home, local)) = self.asked_as_home(from, out) {
                    home.on_interest(from, subscribers, local, now, out);
                }
            }
            PeerMessage::Left(left) => {
                if let Some((home, local)) = self.asked_as_home(from, out) {
                    home.on_left(from, left, local, now, out);
                }
            }
            PeerMessage::Announce(announcement) => {
                let fresh = self.local.next_id();
                if let Some((home, local)) = self.asked_as_home(from, out) {
                    home.on_announce(from, announcement, (local, fresh), now, out);
                }
            }
            message @ (PeerMessage::Response { .. }
            | PeerMessage::NotHome
            | PeerMessage::CatchUp(_)
            | PeerMessage::Broadcast { .. }
            | PeerMessage::Count(_)) => {
                if let Some((follower, local)) = self.told_by_home(from) {
                    follower.on_home_says(local, message, now, out);
                }
            }
            PeerMessage::TakenOut { connection, client } => {
                self.on_taken_out(from, &(connection, client), now, out);
            }
            PeerMessage::ReplicateAck(position) => {
                if let Role::Home(home) = &mut self.role {
                    home.on_replicate_ack(from, position, out);
                }
            }
            PeerMessage::SnapshotRequest => {
                if let Role::Home(home) = &mut self.role {
                    home.on_snapshot_request(from, out);
                }
            }
            PeerMessage::AnnounceRequest | PeerMessage::AnnounceIfPresent => {
                self.announce_to(from, out);
            }
            PeerMessage::Takeover { revision } => self.on_takeover(from, revision, now, out),
            PeerMessage::Snapshot { snapshot, handover } => {
                self.on_snapshot(from, (*snapshot, None), handover, now, out);
            }
            PeerMessage::Copy {
                snapshot,
                lifecycle,
                handover,
            } => self.on_snapshot(from, (*snapshot, lifecycle), handover, now, out),
            PeerMessage::Replicate { epoch, entry } => {
                self.on_replicate(from, epoch, [entry], now, out);
            }
            PeerMessage::ReplicateBatch { epoch, entries } => {
                self.on_replicate(from, epoch, entries, now, out);
            }
            PeerMessage::NothingToHandOver => self.on_nothing_to_hand_over(from, now, out),
            PeerMessage::Settled(ids) => self.copy.iter_mut().for_each(|copy| copy.settle(&ids)),
            // Of builds that sent it beside the stream: what they have told is guessed.
            PeerMessage::Lifecycle(_) => {}
        }
    }

    /// The home to answer a node that takes this one for it. A replica that is none says so.
    fn asked_as_home(
        &mut self,
        from: NodeId,
        out: &mut Vec<Effect>,
    ) -> Option<(&mut Home, &mut LocalNode)> {
        match &mut self.role {
            // A node that the list calls dead has no subscribers here; a new one comes back when the list is known.
            Role::Home(home) if self.local.members.has(from) => Some((home, &mut self.local)),
            Role::Home(_) | Role::Follower(_) | Role::Claiming(_) => {
                not_home(from, out);
                None
            }
        }
    }

    /// The follower to hear what the home says; none when it is not the home that says it.
    fn told_by_home(&mut self, from: NodeId) -> Option<(&mut Follower, &mut LocalNode)> {
        if self.local.home() != Some(from) {
            return None;
        }
        match &mut self.role {
            Role::Follower(follower) => Some((follower, &mut self.local)),
            Role::Claiming(claim) => Some((&mut claim.follower, &mut self.local)),
            Role::Home(_) => None,
        }
    }

    fn announce_to(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        match &mut self.role {
            Role::Follower(follower) => follower.announce(&mut self.local, to, out),
            Role::Claiming(claim) => claim.follower.announce(&mut self.local, to, out),
            Role::Home(_) => self.local.announce(to, None, out),
        }
    }

    /// Tells and asks the home everything again, unless this node is the home.
    fn start_over(&mut self, out: &mut Vec<Effect>) {
        match &mut self.role {
            Role::Follower(follower) => follower.start_over(&mut self.local, out),
            Role::Claiming(claim) => claim.follower.start_over(&mut self.local, out),
            Role::Home(_) => {}
        }
    }

    fn on_wake(&mut self, serving: bool, now: Now, out: &mut Vec<Effect>) {
        self.wake_role(serving, now, out);
        if now.mono_ms >= self.housekeeping_due {
            self.housekeeping_due = now.mono_ms + HOUSEKEEPING_INTERVAL_MS;
            self.housekeeping(now, out);
        }
    }

    fn housekeeping(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.trim(now);
        let idle = self.idle();
        if idle && self.was_idle {
            out.push(Effect::Stop);
        }
        self.was_idle = idle;
    }

    fn trim(&mut self, now: Now) {
        let bounds = self.local.limits.bounds;
        if let Role::Home(home) = &mut self.role {
            home.stream.trim(bounds, now);
        }
        if let Some(copy) = &mut self.copy {
            copy.stream.trim(bounds, now);
        }
    }

    /// What its history weighs on this node, a backup's copy included; bytes.
    #[must_use]
    pub fn history_bytes(&self) -> usize {
        let own = match &self.role {
            Role::Home(home) => home.stream.history.bytes(),
            Role::Follower(_) | Role::Claiming(_) => 0,
        };
        let copy = self.copy.as_ref();
        own + copy.map_or(0, |copy| copy.stream.history.bytes())
    }

    /// Whether nothing would be lost if the channel stopped.
    #[must_use]
    pub fn idle(&self) -> bool {
        let quiet = match &self.role {
            Role::Follower(follower) => follower.idle(),
            Role::Claiming(_) => false,
            Role::Home(home) => home.idle(),
        };
        let copy = self.copy.as_ref();
        quiet && copy.is_none_or(|copy| copy.stream.is_empty()) && self.local.is_empty()
    }

    /// Whether [`Self::wake_at`] may be another after this input. Most of all comes what is published, and where no
    /// backup has to confirm it, nothing waits for anything.
    #[must_use]
    pub fn may_wait(&self, input: &Input) -> bool {
        let published = !input.may_change_counts() && matches!(input, Input::Request { .. });
        let alone = matches!(&self.role, Role::Home(home) if home.backup_node().is_none());
        !(published && alone)
    }

    /// When [`Input::Wake`] is wanted, mono ms.
    #[must_use]
    pub fn wake_at(&self) -> u64 {
        let role = match &self.role {
            Role::Follower(follower) => follower.wake_at(),
            Role::Claiming(claim) => claim.wake_at(),
            Role::Home(home) => home.wake_at(),
        };
        let copy = self.copy.as_ref().and_then(|copy| copy.until);
        let all = [role, copy];
        all.into_iter()
            .flatten()
            .fold(self.housekeeping_due, u64::min)
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
            Role::Home(home) => Some(home.occupancy(self.local.subscribers())),
            Role::Follower(_) | Role::Claiming(_) => None,
        }
    }

    /// What this node has in the channel, as one number, and the home that has to know it; none when it is the home itself.
    #[must_use]
    pub fn own_interest(&self) -> Option<(NodeId, u64)> {
        let home = self.local.remote_home()?;
        let interest = self.local.interest();
        (interest != 0).then_some((home, interest))
    }

    /// What other nodes have here, as far as this one, as home, knows it: a number for each, in order.
    pub fn heard_interest(&self, into: &mut Vec<(NodeId, u64)>) {
        if let Role::Home(home) = &self.role {
            home.heard_interest(self.local.id, into);
        }
    }

    /// The backup of this home that has no copy yet of what there is to copy.
    #[must_use]
    pub fn uncopied_at(&self) -> Option<NodeId> {
        match &self.role {
            Role::Home(home) => home.uncopied_at(),
            Role::Follower(_) | Role::Claiming(_) => None,
        }
    }

    /// Takes out an entry that another node has taken out at the home which says so, and makes the present home know.
    fn on_taken_out(&mut self, from: NodeId, key: &EntryKey, now: Now, out: &mut Vec<Effect>) {
        let home = self.local.home();
        let local = &mut self.local;
        // A home that ceased may say so late. What another one has accepted since is not what it means.
        if home != Some(from) && !local.was_accepted_by(key, from) {
            return;
        }
        let follower = match &mut self.role {
            Role::Home(own) => {
                local.forget_entry(key);
                return own.hear_members(local.id, local.entries(), local, now, out);
            }
            Role::Follower(follower) => follower,
            Role::Claiming(claim) => &mut claim.follower,
        };
        follower.on_taken_out(local, key);
        if let Some(home) = home.filter(|home| *home != from) {
            follower.announce(local, home, out);
        }
    }

    /// Whether it waits for what its former home hands over.
    #[must_use]
    pub fn is_claiming(&self) -> bool {
        matches!(self.role, Role::Claiming(_))
    }

    /// New limits of the app.
    pub fn set_limits(&mut self, limits: Limits) {
        self.local.limits = limits;
        if let Role::Home(home) = &mut self.role {
            home.set_watched(limits.watched, self.local.subscribers());
        }
    }
}

#[cfg(test)]
mod tests;
