//! How a node that is to be home finds the channel: whom it asks, and in which order.
//!
//! **Why several and not the former home alone:** that one may be dead, or have lost everything a moment ago, while another
//! node has all of it still: the backup, or one that is on its way out.

use super::Replica;
use super::Role;
use super::claim::Claim;
use super::io::{Effect, Input};
use super::protocol::PeerMessage;
use crate::core::clock::Now;
use crate::core::ids::NodeId;
use crate::core::nodes::{Members, Placement};

impl Replica {
    /// The list says that this node is home now: it asks those who may have the channel, the first that has something.
    pub(super) fn take_over(&mut self, former: Vec<NodeId>, now: Now, out: &mut Vec<Effect>) {
        let mut asked = former.into_iter();
        let Some(from) = asked.next() else {
            return self.begin(now, out);
        };
        let follower = std::mem::take(&mut self.role).into_follower();
        let claim = Claim::of((from, asked), follower, self.local.lease_ms, now);
        self.role = Role::Claiming(claim);
        self.ask_for_takeover(from, out);
    }

    /// Who may have the channel, by the list before and the present one. A node that returns goes by the list of its own
    /// disk: whoever was home or backup by that may have been overtaken since, so first come the home and the backup by the
    /// present list without it. That home may have died a moment ago, and then the backup has everything.
    pub(super) fn former_homes(&self, before: &Members) -> Vec<NodeId> {
        let (key, own, members) = (&self.local.key, self.local.id, &self.local.members);
        let listed = before.place(key);
        let others = members.without(own);
        let present = others.place(key);
        let home = |place: Option<Placement>| place.map(|place| place.home);
        let backup = |place: Option<Placement>| place.and_then(|place| place.backup);
        let sound = self.copy.as_ref().is_some_and(|copy| !copy.is_overtaken());
        let all = match before.epoch(own) == members.epoch(own) {
            // It was here all the time: it is home because the one before is gone, and has a copy if there is one.
            true if sound => [home(listed), None, None, None],
            // Unless others have gone on without it.
            true => [home(listed), home(present), backup(present), backup(listed)],
            false => [home(present), backup(present), home(listed), backup(listed)],
        };
        let mut nodes = Vec::new();
        // Whoever leaves in order may be the last to have it, when the one that took over from it was lost at once.
        let leaving = others.leaving_holders(key).filter(|_| !sound);
        for node in all.into_iter().flatten().chain(leaving) {
            if node != own && members.has(node) && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes
    }

    pub(super) fn ask_for_takeover(&self, to: NodeId, out: &mut Vec<Effect>) {
        let revision = self.local.members.revision;
        let message = PeerMessage::Takeover { revision };
        out.push(Effect::Send { to, message });
    }

    pub(super) fn on_nothing_to_hand_over(
        &mut self,
        from: NodeId,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if matches!(&self.role, Role::Claiming(claim) if claim.from == from) {
            self.ask_the_next(now, out);
        }
    }

    /// Of the one that was asked nothing comes any more.
    pub(super) fn ask_the_next(&mut self, now: Now, out: &mut Vec<Effect>) {
        let members = &self.local.members;
        let next = match &mut self.role {
            Role::Claiming(claim) => claim.next(|node| members.has(node), now),
            Role::Follower(_) | Role::Home(_) => return,
        };
        match next {
            Some(node) => self.ask_for_takeover(node, out),
            None => {
                if let (Role::Claiming(claim), Some(copy)) = (&self.role, &mut self.copy)
                    && claim.given_back
                {
                    copy.trust();
                }
                self.begin(now, out);
            }
        }
    }

    /// What this node had handed over came back as it was. Whoever has given it back may have restarted with nothing, and
    /// the others may have gone on before: only when they have nothing that is not here either, all of it counts.
    pub(super) fn ask_whoever_has_more(&mut self, now: Now, out: &mut Vec<Effect>) {
        if let Role::Claiming(claim) = &mut self.role {
            claim.given_back = true;
        }
        self.ask_the_next(now, out);
    }

    /// Another node is home after all. Whoever waits for this one is told so: silence would be taken for a wait.
    pub(super) fn give_claim_up(&mut self, now: Now, out: &mut Vec<Effect>) {
        match std::mem::take(&mut self.role) {
            Role::Claiming(claim) => {
                let (follower, deferred) = claim.end();
                self.role = Role::Follower(follower);
                for (from, message) in deferred {
                    self.handle(Input::From { from, message }, now, out);
                }
            }
            other @ (Role::Follower(_) | Role::Home(_)) => self.role = other,
        }
        self.start_over(out);
    }
}
