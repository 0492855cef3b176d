//! Who is home now: takes over, hands over, keeps the backup's copy.
//!
//! **Must never know:** what is in the stream it passes on.
//!
//! **Why a claim and not just a new list:** lists reach nodes at different times. The former home hands over
//! when it learns of the change or when the new one asks, whichever is first, and orders nothing after that;
//! so a planned move loses neither order nor epoch nor members. Only when it cannot be asked does the new
//! home begin with the copy it has, and without one in a new epoch.

use super::home::{Home, handover, not_home};
use super::ledger::Ledger;
use super::state::{Effect, Held, Input, Role, State};
use super::stream::{Image, Logged, Stream};
use super::wire::Wire;
use crate::core::clock::Now;
use crate::core::ids::NodeId;
use crate::core::nodes::Members;
use std::sync::Arc;

/// How long a new home waits for the former one, ms.
pub(super) const CLAIM_MS: u64 = 1_500;
/// How long a copy is kept by a node that is neither home nor backup (its list may be behind), ms.
pub(super) const COPY_MS: u64 = 10_000;
/// Most inputs kept while waiting; what is over is told "not home" and comes back.
const MAX_HELD: usize = 10_000;

/// A claim under way.
#[derive(Debug)]
pub(super) struct Claim {
    from: NodeId,
    /// When to begin without an answer, mono ms.
    pub(super) until: u64,
    held: Vec<(NodeId, Wire)>,
}

impl Claim {
    pub(super) fn keep(&mut self, from: NodeId, wire: Wire, out: &mut Vec<Effect>) {
        if self.held.len() < MAX_HELD {
            self.held.push((from, wire));
        } else {
            not_home(from, out);
        }
    }
}

impl State {
    /// The list says that this node is home now.
    pub(super) fn take_over(&mut self, former: Option<NodeId>, now: Now, out: &mut Vec<Effect>) {
        match former.filter(|node| *node != self.node && self.members.has(*node)) {
            Some(from) => {
                self.role = Role::Claiming(Claim {
                    from,
                    until: now.mono_ms + CLAIM_MS,
                    held: Vec::new(),
                });
                self.claim(from, out);
            }
            None => self.begin(Vec::new(), now, out),
        }
    }

    fn claim(&self, to: NodeId, out: &mut Vec<Effect>) {
        let revision = self.members.revision;
        let wire = Wire::Claim { revision };
        out.push(Effect::Send { to, wire });
    }

    /// Becomes home with the copy it has, or in a new epoch.
    fn begin(&mut self, held: Vec<(NodeId, Wire)>, now: Now, out: &mut Vec<Effect>) {
        let fresh = self.draw();
        let copy = self.copy.take().map(|held| held.stream);
        let mut told = self.told.take().unwrap_or_default();
        // Whoever was subscribed under a former home was told of by it.
        told.occupied |= self.edge.seen.is_some();
        if let Role::Home(early) = &self.role {
            told.occupied |= early.ledger.told().occupied;
        }
        let ledger = Ledger::after(told, now.mono_ms);
        let stream = copy.unwrap_or_else(|| Stream::new(fresh));
        let mut home = Home::new(stream, ledger, self.limits.watched);
        if let Some(seen) = self.edge.seen.take() {
            let own = home.stream.seen();
            if seen.epoch == own.epoch && seen.entry > own.entry {
                home.stream.cut(self.draw());
            }
            match home.stream.missed(seen) {
                Some(missed) => {
                    out.extend(missed.into_iter().map(|one| Effect::Deliver(one.broadcast)));
                }
                None => out.push(Effect::Lost),
            }
        }
        home.set_backup(self.place.and_then(|place| place.backup), out);
        let (node, members) = (self.node, self.members.clone());
        home.bury(|one| members.has(one), now, out);
        home.ask_everybody(members.nodes().filter(|one| *one != node), out);
        let own = home.stream.reconcile(node, self.announced(), now);
        for logged in own {
            home.commit(logged, now, out);
        }
        self.role = Role::Home(Box::new(home));
        self.serve_pending(now, out);
        for (from, wire) in held {
            self.handle(Input::From { from, wire }, now, out);
        }
    }

    /// Stops ordering and gives everything to `to`.
    fn step_down(&mut self, to: NodeId, now: Now, out: &mut Vec<Effect>) {
        let Role::Home(mut home) = std::mem::replace(&mut self.role, Role::Edge) else {
            return;
        };
        home.release_all(out);
        let told = home.ledger.told();
        if home.watched && !told.is_nothing() {
            let wire = Wire::Told(told);
            out.push(Effect::Send { to, wire });
        }
        let wire = handover(&home.stream);
        out.push(Effect::Send { to, wire });
        self.edge.seen = (!self.local.is_empty()).then(|| home.stream.seen());
        self.copy = Some(Held {
            stream: home.stream,
            until: Some(now.mono_ms + COPY_MS),
        });
    }

    pub(super) fn on_claim(
        &mut self,
        from: NodeId,
        revision: u64,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        match &self.role {
            Role::Home(_) if revision >= self.members.revision && from != self.node => {
                self.step_down(from, now, out);
                if let Some(place) = &mut self.place {
                    place.home = from;
                    place.backup = None;
                }
                self.start_over(out);
            }
            Role::Home(_) | Role::Claiming(_) => not_home(from, out),
            Role::Edge => {
                // A handover that got lost is made again; and a home that restarted gets its backup's copy.
                let wire = match &self.copy {
                    Some(held) => handover(&held.stream),
                    None => Wire::Nothing,
                };
                out.push(Effect::Send { to: from, wire });
            }
        }
    }

    pub(super) fn on_nothing(&mut self, from: NodeId, now: Now, out: &mut Vec<Effect>) {
        if matches!(&self.role, Role::Claiming(claim) if claim.from == from) {
            self.end_claim(now, out);
        }
    }

    fn end_claim(&mut self, now: Now, out: &mut Vec<Effect>) {
        if let Role::Claiming(claim) = std::mem::replace(&mut self.role, Role::Edge) {
            self.begin(claim.held, now, out);
        }
    }

    /// While a claim is open, keeps what only a home can do. True when it did.
    pub(super) fn hold(&mut self, input: &Input, out: &mut Vec<Effect>) -> bool {
        match (&mut self.role, input) {
            (Role::Claiming(claim), Input::From { from, wire })
                if wire.needs_home() || matches!(wire, Wire::Claim { .. }) =>
            {
                claim.keep(*from, wire.clone(), out);
                true
            }
            (Role::Claiming(_) | Role::Edge | Role::Home(_), _) => false,
        }
    }

    /// Another node is home after all. Whoever waits for this one is told so: silence would be taken for a wait.
    fn give_claim_up(&mut self, now: Now, out: &mut Vec<Effect>) {
        if let Role::Claiming(claim) = std::mem::replace(&mut self.role, Role::Edge) {
            for (from, wire) in claim.held {
                self.handle(Input::From { from, wire }, now, out);
            }
        }
        self.start_over(out);
    }

    pub(super) fn on_copy(
        &mut self,
        from: NodeId,
        image: Image,
        handed: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let stream = Stream::restore(image);
        match &self.role {
            Role::Home(home) => {
                // Begun too early: nothing has been stamped yet, so the older stream may still go on.
                if handed && home.stream.seen().entry == 0 && home.interest.is_empty() {
                    let until = None;
                    self.copy = Some(Held { stream, until });
                    self.edge.seen = None;
                    self.begin(Vec::new(), now, out);
                }
            }
            Role::Claiming(_) => {
                if handed {
                    let until = None;
                    self.copy = Some(Held { stream, until });
                    self.end_claim(now, out);
                }
            }
            Role::Edge => {
                let wire = Wire::Copied(stream.seen());
                let until = (!self.is_backup()).then_some(now.mono_ms + COPY_MS);
                self.copy = Some(Held { stream, until });
                out.push(Effect::Send { to: from, wire });
            }
        }
    }

    pub(super) fn is_backup(&self) -> bool {
        self.place.and_then(|place| place.backup) == Some(self.node)
    }

    pub(super) fn on_replicate(
        &mut self,
        from: NodeId,
        epoch: u64,
        entries: impl IntoIterator<Item = Logged>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let bounds = self.limits.bounds;
        let wire = match &self.role {
            Role::Home(_) | Role::Claiming(_) => {
                let revision = self.members.revision;
                Wire::Claim { revision }
            }
            Role::Edge => {
                let kept = self.copy.as_mut().and_then(|held| {
                    let stream = &mut held.stream;
                    let mut entries = entries.into_iter();
                    let whole = entries.all(|logged| stream.repeat(epoch, logged, bounds, now));
                    whole.then(|| held.stream.seen())
                });
                if kept.is_none() {
                    self.copy = None;
                }
                kept.map_or(Wire::NeedCopy, Wire::Copied)
            }
        };
        out.push(Effect::Send { to: from, wire });
    }

    pub(super) fn on_rehome(&mut self, members: Arc<Members>, now: Now, out: &mut Vec<Effect>) {
        if members.revision < self.members.revision {
            return;
        }
        let former = std::mem::replace(&mut self.members, members.clone());
        let before = self.home();
        self.place = members.place(&self.key);
        let home = self.home();
        let restarted = |node: NodeId| {
            former.epoch(node).is_some() && former.epoch(node) != members.epoch(node)
        };
        match (&mut self.role, home == Some(self.node)) {
            (Role::Home(own), true) => {
                own.bury(|node| members.has(node), now, out);
                own.ask_who(restarted, out);
                own.set_backup(self.place.and_then(|place| place.backup), out);
            }
            (Role::Home(_), false) => {
                if let Some(to) = home {
                    self.step_down(to, now, out);
                    self.start_over(out);
                }
            }
            (Role::Edge, true) => {
                let asked = before.filter(|node| !restarted(*node));
                self.take_over(asked, now, out);
            }
            (Role::Edge, false) => self.stay_edge(before != home, now, out),
            (Role::Claiming(claim), true) => {
                if !members.has(claim.from) {
                    self.end_claim(now, out);
                }
            }
            (Role::Claiming(_), false) => self.give_claim_up(now, out),
        }
    }

    fn stay_edge(&mut self, moved: bool, now: Now, out: &mut Vec<Effect>) {
        let backup = self.is_backup();
        if let Some(held) = &mut self.copy {
            held.until = if backup {
                None
            } else {
                held.until.or(Some(now.mono_ms + COPY_MS))
            };
        }
        if moved {
            self.start_over(out);
        }
    }

    pub(super) fn on_link_up(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        match &mut self.role {
            Role::Home(home) => {
                if home
                    .mirror
                    .as_ref()
                    .is_some_and(|mirror| mirror.node == node)
                {
                    home.relink(out);
                }
                home.ask_who(|one| one == node, out);
            }
            Role::Claiming(claim) => {
                if claim.from == node {
                    self.claim(node, out);
                }
            }
            Role::Edge => {
                if self.home() == Some(node) {
                    self.start_over(out);
                }
            }
        }
    }

    pub(super) fn wake_role(&mut self, now: Now, out: &mut Vec<Effect>) {
        if matches!(&self.role, Role::Claiming(claim) if now.mono_ms >= claim.until) {
            self.end_claim(now, out);
        }
        let over = |held: &Held| held.until.is_some_and(|at| now.mono_ms >= at);
        if self.copy.as_ref().is_some_and(over) {
            self.copy = None;
        }
        self.wake_home(now, out);
    }
}
