//! What the core knows of one connection: principal, subscriptions, passes. Pure.
//!
//! Generic over `A`, the address of a channel, so that nothing here can send.
//! **Why subscriptions are kept here and in the relay:** the relay needs to know *where* bytes go, this needs to know
//! *why* they may; a lost right is found here and carried out there.

use super::io::{Output, SubscribeOutcome, ask};
use super::presence_entry::{NewPresenceEntry, PresenceEntry};
use super::reached::Named;
use super::speaks_for;
use crate::core::authority::{
    AccessQuery, Authority, Cut, Millis, Operations, Pass, Principal, Proof, Reason, SpokenFor,
    State as Access,
};
use crate::core::clock::Now;
use crate::core::delivery::speaks_for::SpeaksForChange;
use crate::core::error::Refusal;
use crate::core::hash::Map;
use crate::core::ids::{ChannelKey, Text};
use crate::core::session::{Event, Subscribe, Subscribed};
use std::sync::Arc;

/// One connection as the core knows it.
#[derive(Debug)]
pub struct State<A> {
    pub(super) principal: Option<Box<Principal>>,
    subscriptions: Map<Arc<ChannelKey>, Box<Subscription<A>>>,
    /// Presence sets entered apart from a subscription.
    pub(super) entries: Vec<PresenceEntry<A>>,
    /// What the thread's index has not been told yet.
    pub(super) spoken_for: Vec<SpeaksForChange>,
    /// When a revocation with a margin starts to bite, cluster time.
    pub(super) cuts: Vec<(Millis, Cut)>,
}

#[derive(Debug)]
struct Subscription<A> {
    channel: A,
    pass: Pass,
    needs: Operations,
    wants: Operations,
    proof: Option<Box<Proof>>,
    /// Client id entered with it.
    member: Option<Text>,
    speaks_for: Option<Box<SpokenFor>>,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Joining { leave: bool, lost: Option<Refusal> },
    Standing,
}

/// Who is judged, and on what.
struct Decider<'a> {
    access: &'a Access,
    authority: &'a Authority,
    principal: &'a Principal,
}

impl Decider<'_> {
    fn decide(&self, proof: Option<&Proof>, ask: AccessQuery<'_>) -> Result<Pass, Reason> {
        self.authority
            .decide_on(self.access, self.principal, proof, ask)
    }
}

impl<A> Default for State<A> {
    fn default() -> Self {
        Self {
            principal: None,
            subscriptions: Map::default(),
            entries: Vec::new(),
            spoken_for: Vec::new(),
            cuts: Vec::new(),
        }
    }
}

impl<A: Clone> State<A> {
    /// Who the connection speaks for; none before the first identification.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_deref()
    }

    /// Number of subscriptions, standing or asked for.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Takes on an admitted principal and judges every subscription again.
    pub fn identify(
        &mut self,
        principal: Box<Principal>,
        authority: &Authority,
        out: &mut Vec<Output<A>>,
    ) {
        self.principal = Some(principal);
        out.push(Output::Tell(Event::Identified));
        self.recheck(authority, out);
    }

    /// Whether a subscription may be asked for at all, before anyone is asked for the right.
    ///
    /// # Errors
    /// When it exists already, or there would be too many.
    pub fn may_subscribe(&self, key: &ChannelKey, max: u64) -> Result<(), Refusal> {
        if self.subscriptions.contains_key(key) {
            return Err(Refusal::AlreadySubscribed);
        }
        if self.subscriptions.len() as u64 >= max {
            let limit = crate::core::limits::SUBSCRIPTIONS_PER_CONNECTION.name;
            return Err(Refusal::Limit { limit, max });
        }
        Ok(())
    }

    /// A permitted subscription is on its way to the channel.
    pub fn joining(&mut self, request: &Subscribe, pass: Pass, channel: A) {
        let subscription = Subscription {
            channel,
            pass,
            needs: request.needs,
            wants: request.wants,
            proof: request.proof.clone(),
            member: request.member.as_ref().map(|member| member.client.clone()),
            speaks_for: request.speaks_for.clone(),
            phase: Phase::Joining {
                leave: false,
                lost: None,
            },
        };
        speaks_for::record(
            &mut self.spoken_for,
            &request.channel,
            &request.speaks_for,
            true,
        );
        self.subscriptions
            .insert(request.channel.clone(), Box::new(subscription));
    }

    /// The channel says that the subscription stands. What is granted is brought up to date, because rights
    /// may have changed on the way.
    pub fn subscribed(
        &mut self,
        subscribed: &mut Subscribed,
        out: &mut Vec<Output<A>>,
    ) -> SubscribeOutcome {
        let Some(subscription) = self.subscriptions.get_mut(&subscribed.channel) else {
            return SubscribeOutcome::Unknown;
        };
        match std::mem::replace(&mut subscription.phase, Phase::Standing) {
            Phase::Standing => SubscribeOutcome::Unknown,
            Phase::Joining { lost: None, leave } => {
                subscribed.granted = subscription.pass.operations();
                SubscribeOutcome::Stands { leave }
            }
            Phase::Joining {
                lost: Some(refusal),
                ..
            } => {
                if let Some(gone) = self.remove(&subscribed.channel) {
                    out.push(Output::Leave(gone.channel));
                }
                SubscribeOutcome::Lost(refusal)
            }
        }
    }

    /// The channel refused. Returns whether the client had asked to leave meanwhile.
    pub fn refused(&mut self, key: &ChannelKey) -> bool {
        match self.remove(key).map(|gone| gone.phase) {
            Some(Phase::Joining { leave, .. }) => leave,
            Some(Phase::Standing) | None => false,
        }
    }

    /// The client no longer wants the channel.
    pub fn unsubscribe(&mut self, key: &Arc<ChannelKey>, out: &mut Vec<Output<A>>) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            out.push(Output::Tell(Event::Unsubscribed {
                channel: key.clone(),
                refusal: Some(Refusal::NotSubscribed),
            }));
            return;
        };
        if let Phase::Joining { leave, .. } = &mut subscription.phase {
            // Answered in order: first what became of the subscription, then its end.
            *leave = true;
            return;
        }
        out.push(Output::Detach {
            channel: key.clone(),
            drop: false,
        });
        out.push(Output::Leave(subscription.channel.clone()));
        self.remove(key);
        // The channel lets go of everything of a connection that leaves.
        self.forget_entries(|one| one.key == *key);
        out.push(Output::Tell(Event::Unsubscribed {
            channel: key.clone(),
            refusal: None,
        }));
    }

    fn remove(&mut self, key: &ChannelKey) -> Option<Box<Subscription<A>>> {
        let (key, gone) = self.subscriptions.remove_entry(key)?;
        speaks_for::record(&mut self.spoken_for, &key, &gone.speaks_for, false);
        Some(gone)
    }

    /// The subscriptions by which the connection is somebody else's than its principal's.
    pub(super) fn subscribed_for(&self) -> impl Iterator<Item = &SpokenFor> {
        let all = self.subscriptions.values();
        all.filter_map(|one| one.speaks_for.as_deref())
    }

    /// Whether broadcasts of the channel may be told to the session.
    #[must_use]
    pub fn stands(&self, key: &ChannelKey) -> bool {
        self.standing(key).is_some()
    }

    /// The address and the pass of a standing subscription.
    #[must_use]
    pub fn standing(&self, key: &ChannelKey) -> Option<(&A, &Pass)> {
        let one = self.subscriptions.get(key)?;
        (one.phase == Phase::Standing).then_some((&one.channel, &one.pass))
    }

    /// As [`Self::standing`], if the pass allows this now.
    #[must_use]
    pub fn held(&self, key: &ChannelKey, needs: Operations, now: Now) -> Option<(&A, &Pass)> {
        let standing = self.standing(key);
        standing.filter(|(_, pass)| pass.allows(needs, now))
    }

    /// The pass that let the connection into the channel's presence set, if anything did.
    #[must_use]
    pub fn entered_by(&self, key: &ChannelKey) -> Option<&Pass> {
        let entered = self.entries.iter().find(|one| *one.key == *key);
        entered
            .map(|one| &one.pass)
            .or_else(|| self.subscriptions.get(key).map(|one| &one.pass))
    }

    /// The address of a channel this connection already deals with.
    #[must_use]
    pub fn address(&self, key: &ChannelKey) -> Option<&A> {
        let subscribed = self.subscriptions.get(key).map(|one| &one.channel);
        subscribed.or_else(|| {
            let entered = self.entries.iter().find(|one| *one.key == *key);
            entered.map(|one| &one.channel)
        })
    }

    /// The channel's actor was found anew.
    pub fn readdress(&mut self, key: &ChannelKey, channel: &A) {
        if let Some(one) = self.subscriptions.get_mut(key) {
            one.channel = channel.clone();
        }
        for one in self.entries.iter_mut().filter(|one| *one.key == *key) {
            one.channel = channel.clone();
        }
    }

    /// A permitted entry into a presence set is on its way to the channel.
    pub fn enter_presence(&mut self, entry: NewPresenceEntry<'_>, channel: A) {
        self.leave_presence(entry.key, entry.client);
        speaks_for::record(&mut self.spoken_for, entry.key, &entry.speaks_for, true);
        self.entries.push(PresenceEntry {
            key: entry.key.clone(),
            channel,
            client: entry.client.clone(),
            pass: entry.pass,
            proof: entry.proof,
            speaks_for: entry.speaks_for,
        });
    }

    /// The client left a presence set by itself.
    pub fn leave_presence(&mut self, key: &ChannelKey, client: &str) {
        self.forget_entries(|one| *one.key == *key && *one.client == *client);
    }

    /// Number of presence sets entered apart from a subscription.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Forgets entries that somebody else ends.
    pub(super) fn forget_entries(&mut self, which: impl Fn(&PresenceEntry<A>) -> bool) {
        let spoken = &mut self.spoken_for;
        self.entries.retain(|one| {
            let goes = which(one);
            if goes {
                speaks_for::record(spoken, &one.key, &one.speaks_for, false);
            }
            !goes
        });
    }

    /// Takes out whoever was asked to go of those it entered. (What a block or a revocation takes is found by judging
    /// again; being asked to go voids nothing.)
    pub(super) fn send_away(&mut self, named: Named<'_>, cut: &Cut, out: &mut Vec<Output<A>>) {
        if *cut != Cut::Disconnected {
            return;
        }
        let sent = self.entries.iter().filter(|one| one.is_for(named));
        out.extend(sent.map(PresenceEntry::leaving));
        self.forget_entries(|one| one.is_for(named));
    }

    /// Takes on presence entries of the same connection's former socket.
    pub(crate) fn take_over_entries(&mut self, entries: Vec<PresenceEntry<A>>) {
        for one in &entries {
            speaks_for::record(&mut self.spoken_for, &one.key, &one.speaks_for, true);
        }
        self.entries.extend(entries);
    }

    /// Hands the presence entries over to the same connection's next socket.
    pub(crate) fn hand_over_entries(&mut self) -> Vec<PresenceEntry<A>> {
        for one in &self.entries {
            speaks_for::record(&mut self.spoken_for, &one.key, &one.speaks_for, false);
        }
        std::mem::take(&mut self.entries)
    }

    /// Decides everything again on the current view: rights may have been added, narrowed or lost.
    pub fn recheck(&mut self, authority: &Authority, out: &mut Vec<Output<A>>) {
        let view = authority.view();
        // While this node serves, no change that it has not carried out has returned to its caller. After that,
        // what was taken and given back in between is still to be found out, entry by entry.
        let counts = authority.serving();
        let renewed = |old: &Pass, new: Pass| match counts {
            true => new,
            false => new.as_of(old.revision()),
        };
        self.decide_anew(&view, authority, |_| true, renewed, out);
    }

    /// Decides everything again on the state right after a log entry, but for what a newer one has allowed.
    ///
    /// The current view will not do: a node that was away for both does not see there that a right was taken
    /// and given back, and would deliver what was published in between.
    pub fn recheck_on(&mut self, after: &Access, authority: &Authority, out: &mut Vec<Output<A>>) {
        let older = |pass: &Pass| pass.revision() < after.revision;
        self.decide_anew(after, authority, older, |_, new| new, out);
    }

    fn decide_anew(
        &mut self,
        access: &Access,
        authority: &Authority,
        concerns: impl Fn(&Pass) -> bool,
        renewed: impl Fn(&Pass, Pass) -> Pass,
        out: &mut Vec<Output<A>>,
    ) {
        let Some(principal) = self.principal.as_deref() else {
            return;
        };
        let decider = Decider {
            access,
            authority,
            principal,
        };
        let spoken = &mut self.spoken_for;
        self.subscriptions.retain(|key, one| {
            if !concerns(&one.pass) {
                return true;
            }
            let ask = one.ask(key, one.needs);
            let kept = match decider.decide(one.proof.as_deref(), ask) {
                Ok(pass) => {
                    one.keep(key, renewed(&one.pass, pass), out);
                    true
                }
                Err(reason) => one.lose(key, &decider, reason, out),
            };
            if !kept {
                speaks_for::record(spoken, key, &one.speaks_for, false);
            }
            kept
        });
        self.entries.retain_mut(|one| {
            if !concerns(&one.pass) {
                return true;
            }
            match decider.decide(one.proof.as_deref(), one.ask()) {
                Ok(pass) => one.pass = renewed(&one.pass, pass),
                Err(_) => {
                    out.push(one.leaving());
                    speaks_for::record(spoken, &one.key, &one.speaks_for, false);
                    return false;
                }
            }
            true
        });
    }

    /// When something has to be asked again, cluster time: the earliest end of a pass or margin.
    #[must_use]
    pub fn next_expiry(&self, now: Now) -> Option<Millis> {
        let passes = self.subscriptions.values().map(|one| &one.pass);
        passes
            .chain(self.entries.iter().map(|one| &one.pass))
            .filter_map(Pass::until_ms)
            .chain(self.cuts.iter().map(|(at, _)| *at))
            .chain(self.principal().and_then(|principal| principal.expires_ms))
            .filter(|at| *at > now.cluster_ms)
            .min()
    }

    /// Forgets everything and names the channels to be left.
    pub fn end(&mut self) -> Vec<A> {
        let entered = self.hand_over_entries();
        let mut left = Vec::with_capacity(self.subscriptions.len() + entered.len());
        for (key, one) in std::mem::take(&mut self.subscriptions) {
            speaks_for::record(&mut self.spoken_for, &key, &one.speaks_for, false);
            left.push(one.channel);
        }
        left.extend(entered.into_iter().map(|one| one.channel));
        left
    }
}

impl<A: Clone> Subscription<A> {
    fn ask<'a>(&'a self, key: &'a ChannelKey, needs: Operations) -> AccessQuery<'a> {
        AccessQuery {
            speaks_for: self.speaks_for.as_deref(),
            ..ask(key, needs, self.wants)
        }
    }

    /// The right still stands, perhaps with other operations.
    fn keep(&mut self, key: &Arc<ChannelKey>, pass: Pass, out: &mut Vec<Output<A>>) {
        let old = std::mem::replace(&mut self.pass, pass);
        let granted = self.pass.operations();
        if old.operations() == granted {
            return;
        }
        if let Some(client) = &self.member
            && !granted.contains(Operations::PRESENCE)
            && old.operations().contains(Operations::PRESENCE)
        {
            let (channel, client) = (self.channel.clone(), client.clone());
            out.push(Output::LeavePresence(key.clone(), channel, old, client));
        }
        if self.phase == Phase::Standing {
            out.push(Output::Tell(Event::RightsChanged {
                channel: key.clone(),
                granted,
                refusal: None,
            }));
        }
    }

    /// Something it needs is gone. Returns whether the subscription is kept (until the channel has answered).
    fn lose(
        &mut self,
        key: &Arc<ChannelKey>,
        decider: &Decider<'_>,
        reason: Reason,
        out: &mut Vec<Output<A>>,
    ) -> bool {
        let refusal = Refusal::Denied(reason);
        if let Phase::Joining { lost, .. } = &mut self.phase {
            *lost = Some(refusal);
            return true;
        }
        let ask = self.ask(key, Operations::NONE);
        let rest = decider.decide(self.proof.as_deref(), ask);
        // Whatever else is left, a subscription without all it needs has ended.
        let granted = rest.map_or(Operations::NONE, |pass| {
            Operations(pass.operations().0 & !Operations::SUBSCRIBE.0)
        });
        out.push(Output::Detach {
            channel: key.clone(),
            drop: true,
        });
        out.push(Output::Leave(self.channel.clone()));
        out.push(Output::Tell(Event::RightsChanged {
            channel: key.clone(),
            granted,
            refusal: Some(refusal),
        }));
        false
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
