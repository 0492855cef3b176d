//! How the role of a replica changes: takes over, hands over, steps down.
//!
//! **Why a takeover is asked for and not just a new list:** lists reach nodes at different times. The former home hands
//! over when it learns of the change or when the new one asks, whichever is first, and orders nothing after that;
//! so a planned move loses neither order nor epoch nor members. Only when it cannot be asked does the new
//! home begin with the copy it has, and without one in a new epoch.

use super::backup::BackupCopy;
use super::follower::Follower;
use super::home::{Home, handover};
use super::io::{Effect, Input, not_home};
use super::lifecycle_clock::LifecycleClock;
use super::lifecycle_log::LifecycleLog;
use super::pending::PendingRequests;
use super::protocol::PeerMessage;
use super::stream::{Entry, Stream, StreamSnapshot};
use super::{Replica, Role};
use crate::core::clock::Now;
use crate::core::ids::NodeId;
use crate::core::nodes::Members;
use std::sync::Arc;

impl Replica {
    /// Becomes home with the copy it has, or in a new epoch.
    pub(super) fn begin(&mut self, now: Now, out: &mut Vec<Effect>) {
        let fresh = self.local.next_id();
        let copy = self.copy.take();
        let may_lack = copy.as_ref().is_some_and(|copy| !copy.is_overtaken());
        let copy = copy.map(|copy| copy.into_stream(fresh));
        let guesses = copy.is_none();
        let mut stream = copy.unwrap_or_else(|| Stream::new(fresh));
        let (follower, deferred, told) = match std::mem::take(&mut self.role) {
            Role::Follower(follower) => (follower, Vec::new(), false),
            Role::Claiming(claim) => {
                let (follower, deferred) = claim.end();
                (follower, deferred, false)
            }
            Role::Home(early) => {
                let told = early.stream.lifecycle.is_some_and(|log| log.occupied());
                let follower = Follower::at(early.began_behind, PendingRequests::default());
                (follower, Vec::new(), told)
            }
        };
        // Whoever was subscribed under a former home was told of by it; unless nothing at all was said there, which comes
        // first.
        let known = told || (guesses && follower.position.is_some_and(|one| one.entry > 0));
        let takes_over = known || !guesses;
        self.go_on_telling(&mut stream, known);
        let lease_ms = self.local.lease_ms;
        let leaving = stream.lifecycle.iter().flat_map(LifecycleLog::leaving);
        let clock = LifecycleClock::of(leaving, now.mono_ms);
        let mut home = Home::new(stream, clock, guesses, lease_ms);
        home.may_lack = may_lack;
        home.began_behind = follower.position.filter(|_| self.local.has_subscribers());
        if let Some(position) = follower.position {
            let own = home.stream.log_position();
            if position.epoch == own.epoch && position.entry > own.entry {
                home.stream.start_new_epoch(self.local.next_id());
            }
            match home.stream.missed(position) {
                Some(missed) => {
                    let shown = missed.iter().filter_map(|one| one.kind.shown());
                    out.extend(shown.map(Effect::Deliver));
                }
                None => out.push(Effect::Missed),
            }
        }
        home.set_backup(self.local.place.and_then(|place| place.backup), now, out);
        let (node, members) = (self.local.id, self.local.members.clone());
        home.remove_dead_nodes(|one| members.has(one), now, out);
        home.ask_everybody(members.nodes().filter(|one| *one != node), out);
        home.hear_members(node, self.local.entries(), &mut self.local, now, out);
        home.tell_again(out);
        if takes_over && self.local.limits.counts {
            home.count_later(now);
        }
        for (ticket, pending) in follower.into_requests() {
            home.serve_local(&mut self.local, (ticket, pending, true), now, out);
        }
        self.role = Role::Home(Box::new(home));
        for (from, message) in deferred {
            self.handle(Input::From { from, message }, now, out);
        }
    }

    /// The lifecycle goes on where the stream has come to, if anybody listens. `occupied`: that was told already.
    fn go_on_telling(&self, stream: &mut Stream, occupied: bool) {
        if !self.local.limits.watched {
            stream.lifecycle = None;
            return;
        }
        let log = stream.lifecycle.get_or_insert_default();
        if occupied {
            let _known = log.assume_occupied();
        }
    }

    /// Stops ordering and gives everything to `to`, which may take it or may have begun without it.
    fn step_down(&mut self, to: NodeId, now: Now, out: &mut Vec<Effect>) {
        if !self.is_home() {
            return;
        }
        self.stop_ordering(now, out);
        if let Some(copy) = &mut self.copy {
            copy.handed_to = Some(to);
        }
        self.hand_over(to, out);
    }

    fn hand_over(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let fresh = self.local.next_id();
        let message = match &self.copy {
            Some(copy) => handover(&copy.stream_for(to, fresh)),
            None => PeerMessage::NothingToHandOver,
        };
        out.push(Effect::Send { to, message });
    }

    /// Is home no more; what it had is a copy now.
    fn stop_ordering(&mut self, now: Now, out: &mut Vec<Effect>) {
        match std::mem::take(&mut self.role) {
            Role::Home(home) => {
                let (stream, shown, pending) = home.withdraw(&mut self.local, out);
                let position = self.local.has_subscribers().then_some(shown);
                self.role = Role::Follower(Follower::at(position, pending));
                self.copy = Some(BackupCopy::of_former_home(stream, shown.entry, now));
            }
            other @ (Role::Follower(_) | Role::Claiming(_)) => self.role = other,
        }
    }

    /// Another node is home by its list and asks for what this one has.
    pub(super) fn on_takeover(
        &mut self,
        from: NodeId,
        revision: u64,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let newer = revision >= self.local.members.revision && from != self.local.id;
        match &self.role {
            Role::Home(_) if newer => {
                self.step_down(from, now, out);
                if let Some(place) = &mut self.local.place {
                    place.home = from;
                    place.backup = None;
                }
                self.start_over(out);
            }
            Role::Home(_) | Role::Claiming(_) => not_home(from, out),
            Role::Follower(_) => {
                // A handover that got lost is made again; and a home that restarted gets its backup's copy.
                self.hand_over(from, out);
            }
        }
    }

    pub(super) fn on_snapshot(
        &mut self,
        from: NodeId,
        (snapshot, lifecycle): (StreamSnapshot, Option<LifecycleLog>),
        handed_over: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let mut stream = Stream::restore(snapshot);
        stream.lifecycle = lifecycle;
        match &self.role {
            Role::Home(home) => {
                // Begun too early: nothing was shown to anybody yet, so the older stream may still go on.
                let unused = home.stream.is_unused() && home.interest.is_empty();
                if handed_over && unused {
                    self.copy = Some(BackupCopy::kept(stream));
                    self.begin(now, out);
                }
            }
            Role::Claiming(claim) => {
                // The last to order may be another than this node's list has named.
                let asked = claim.from == from;
                let own = self.copy.as_ref();
                let given_back = own.is_some_and(|own| claim.is_given_back(own, &stream));
                if handed_over && asked && given_back {
                    return self.ask_whoever_has_more(now, out);
                }
                let better = own.map_or(asked, |own| {
                    let gone_on = own.is_related_to(&stream) || own.was_overtaken_by(&stream);
                    own.is_outdated_by(&stream, from) || asked && gone_on
                });
                match (handed_over, asked) {
                    (true, _) if better => {
                        self.copy = Some(BackupCopy::kept(stream));
                        self.begin(now, out);
                    }
                    (true, true) => self.begin(now, out),
                    // Of whoever hands over unasked nobody knows whether another one has gone on since.
                    (true, false) if own.is_none() => {
                        let mut copy = BackupCopy::for_a_while(stream, now);
                        copy.mark_overtaken();
                        self.copy = Some(copy);
                    }
                    (true | false, false) | (false, true) => {}
                }
            }
            Role::Follower(_) => self.keep_copy(from, (stream, handed_over), now, out),
        }
    }

    /// Keeps what the home sends to its backup, if that is what became of what this node knows to have been decided.
    fn keep_copy(
        &mut self,
        from: NodeId,
        (stream, handed_over): (Stream, bool),
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let own = self.copy.as_ref();
        let outdated = match handed_over {
            // The list of this node is behind, or the handover is: the link was broken in between.
            true => own.is_some_and(|own| !own.is_outdated_by(&stream, from)),
            false => self.is_former(from) || own.is_some_and(|own| !own.goes_on_in(&stream, from)),
        };
        if outdated {
            self.refused = Some(from);
            return;
        }
        let message = PeerMessage::ReplicateAck(stream.log_position());
        self.copy = Some(match self.local.is_backup() {
            true => BackupCopy::kept(stream),
            false => BackupCopy::for_a_while(stream, now),
        });
        out.push(Effect::Send { to: from, message });
    }

    /// Whether this node knows that another one is home after that. What it still orders is not acknowledged: the one after
    /// it may have begun without it.
    fn is_former(&self, node: NodeId) -> bool {
        self.former == Some(node) && self.local.home() != Some(node)
    }

    pub(super) fn on_replicate(
        &mut self,
        from: NodeId,
        epoch: u64,
        entries: impl IntoIterator<Item = Entry>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let message = match &self.role {
            Role::Home(_) | Role::Claiming(_) => {
                let revision = self.local.members.revision;
                PeerMessage::Takeover { revision }
            }
            Role::Follower(_) if self.is_former(from) => {
                self.refused = Some(from);
                return;
            }
            Role::Follower(_) => {
                let limits = self.local.limits;
                let copy = self.copy.as_mut();
                let kept = copy.and_then(|copy| copy.repeat(epoch, entries, limits, now));
                kept.map_or(PeerMessage::SnapshotRequest, PeerMessage::ReplicateAck)
            }
        };
        out.push(Effect::Send { to: from, message });
    }

    /// The member list has changed, and with it perhaps the home.
    pub(super) fn on_members(&mut self, members: Arc<Members>, now: Now, out: &mut Vec<Effect>) {
        if members.revision < self.local.members.revision {
            return;
        }
        let former = std::mem::replace(&mut self.local.members, members.clone());
        let before = self.local.home();
        self.local.place = members.place(&self.local.key);
        let home = self.local.home();
        if before != home {
            self.former = before;
        }
        let restarted = |node: NodeId| {
            former.epoch(node).is_some() && former.epoch(node) != members.epoch(node)
        };
        if let Some(copy) = &mut self.copy
            && (restarted(self.local.id) || !members.has(self.local.id))
        {
            copy.mark_overtaken();
        }
        if home == Some(self.local.id) && restarted(self.local.id) {
            // The others had counted this node out, and the list that said so never got here: one of them was home.
            self.stop_ordering(now, out);
            self.give_claim_up(now, out);
        }
        let candidates = match (&self.role, home == Some(self.local.id)) {
            (Role::Follower(_) | Role::Claiming(_), true) => self.former_homes(&former),
            (Role::Home(_), true) | (_, false) => Vec::new(),
        };
        match (&mut self.role, home == Some(self.local.id)) {
            (Role::Home(own), true) => {
                own.lose_dead_nodes(|node| members.has(node), &mut self.local, now, out);
                own.ask_to_announce(restarted, out);
                own.set_backup(self.local.place.and_then(|place| place.backup), now, out);
            }
            (Role::Home(_), false) => {
                if let Some(to) = home {
                    self.step_down(to, now, out);
                    self.start_over(out);
                }
            }
            (Role::Follower(_), true) => {
                self.take_over(candidates, now, out);
            }
            (Role::Follower(_), false) => {
                let backup = self.local.is_backup();
                if let Some(copy) = &mut self.copy {
                    copy.set_backup(backup, now);
                }
                // It was right, and its list was the newer one.
                let refused = self.refused.filter(|node| Some(*node) == home && backup);
                if let Some(to) = refused {
                    self.refused = None;
                    let message = PeerMessage::SnapshotRequest;
                    out.push(Effect::Send { to, message });
                }
                // A home that comes back has taken back what it had not answered.
                if before != home || home.is_some_and(restarted) {
                    self.start_over(out);
                }
            }
            (Role::Claiming(claim), true) => {
                claim.turn_down(|node| !members.has(node) || restarted(node), out);
                claim.may_ask(candidates.into_iter());
                if !members.has(claim.from) {
                    self.ask_the_next(now, out);
                }
            }
            (Role::Claiming(_), false) => self.give_claim_up(now, out),
        }
    }

    pub(super) fn on_link_up(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        match &mut self.role {
            Role::Home(home) => {
                if home.backup_node() == Some(node) {
                    home.relink(out);
                }
                home.ask_to_announce(|one| one == node, out);
            }
            Role::Claiming(claim) => {
                claim.turn_down(|from| from == node, out);
                if claim.from == node {
                    self.ask_for_takeover(node, out);
                }
            }
            Role::Follower(_) => {
                if self.local.home() == Some(node) {
                    let handed = self.copy.as_ref().and_then(|copy| copy.handed_to);
                    if handed == Some(node) {
                        self.hand_over(node, out);
                    }
                    self.start_over(out);
                }
            }
        }
    }

    /// Some announcements of the other node, or of this one to it, got lost: both say again what they have.
    pub(super) fn on_differs(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        match &mut self.role {
            Role::Home(home) => home.ask_to_announce(|one| one == node, out),
            Role::Follower(_) | Role::Claiming(_) => {
                if self.local.remote_home() == Some(node) {
                    self.announce_to(node, out);
                }
            }
        }
    }

    /// What that node sent is lost in part, and its link is not: as after a broken one, and it is told to do the same.
    pub(super) fn on_dropped(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let (to, message) = (node, PeerMessage::SnapshotRequest);
        match &self.role {
            Role::Home(_) | Role::Claiming(_) => not_home(node, out),
            Role::Follower(_) if self.local.is_backup() => out.push(Effect::Send { to, message }),
            Role::Follower(_) => {}
        }
        self.on_link_up(node, out);
    }

    pub(super) fn wake_role(&mut self, serving: bool, now: Now, out: &mut Vec<Effect>) {
        if let Role::Claiming(claim) = &mut self.role
            && !serving
        {
            claim.wait_anew(self.local.lease_ms, now);
        }
        if matches!(&self.role, Role::Claiming(claim) if now.mono_ms >= claim.until) {
            self.ask_the_next(now, out);
        }
        if let Role::Claiming(claim) = &mut self.role
            && claim.asks_again(now)
        {
            let from = claim.from;
            self.ask_for_takeover(from, out);
        }
        if self.copy.as_ref().is_some_and(|copy| copy.is_over(now)) {
            self.copy = None;
        }
        match &mut self.role {
            Role::Home(home) => {
                home.wake(&mut self.local, serving, now, out);
                home.give_up_overdue(&mut self.local, now, out);
            }
            Role::Follower(follower) => follower.wake(&mut self.local, now, out),
            Role::Claiming(claim) => claim.follower.wake(&mut self.local, now, out),
        }
    }
}
