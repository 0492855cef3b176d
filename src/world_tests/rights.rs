//! Rights in the world: they are taken and given while everything else happens, and what that promises is judged.
//!
//! **Why by the order of everything and not by the clock:** a revoke has returned before a message was published, or it has
//! not; how long either took says nothing.

use super::process::LEASE_MS;
use super::world::{APP, Event, World};
use crate::core::authority::{
    AppChange, Command, Issuer, MemberState, OpenRule, Operations, Pattern, Target,
};

/// How much longer than a lease a silent node is waited for, ms: clocks drift.
const DRIFT_MS: u64 = 50;

/// A change that somebody waits for.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// The process that was asked.
    at: usize,
    index: u64,
    committed_ms: u64,
    pub(crate) kind: Kind,
    /// When it was asked for, in the order of everything.
    pub(crate) asked: u64,
    /// When it returned.
    pub(crate) returned: Option<u64>,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Every credential of the app is void.
    Revoke,
    /// Nothing is open to everybody any more.
    Shut,
    /// Everything is.
    Open,
}

/// What is open to everybody.
pub(crate) fn open() -> OpenRule {
    OpenRule {
        pattern: Pattern::All,
        operations: Operations::CLIENT,
    }
}

impl World {
    /// Takes or gives a right through a node.
    pub(crate) fn write(&mut self, node: u64, kind: Kind) {
        let Some(at) = self.running.get(&node).copied() else {
            return;
        };
        let issuer = Issuer::Operator;
        let change = |open| Command::UpdateApp {
            app: APP,
            change: AppChange {
                open: Some(open),
                ..AppChange::default()
            },
        };
        let command = match kind {
            Kind::Revoke => Command::Revoke {
                app: APP,
                issuer,
                target: Target::App,
                issued_before_ms: None,
                margin_ms: 0,
            },
            Kind::Shut => change(Vec::new()),
            Kind::Open => change(vec![open()]),
        };
        if !self.reads(node) || self.is_full(node) {
            return;
        }
        let asked = self.history.tick();
        if self.moving() {
            self.reached("a right is taken or given while a channel moves");
        }
        if let Some((index, _)) = self.agree(&command) {
            let write = Write {
                at,
                index,
                committed_ms: self.now_ms,
                kind,
                asked,
                returned: None,
            };
            self.history.writes.push(write);
            let number = self.history.writes.len() - 1;
            self.later(1, Event::Fence(number));
        }
    }

    fn moving(&self) -> bool {
        let processes = self.running.values().map(|at| &self.processes[*at]);
        let mut channels = processes.flat_map(|one| one.channels.values());
        channels.any(|one| {
            one.replica
                .as_ref()
                .is_some_and(|one| one.role_name() == "claiming")
        })
    }

    /// Whether everybody has carried a write out, or provably serves by no older view any more.
    pub(crate) fn fence(&mut self, number: usize) {
        let write = self.history.writes[number].clone();
        let process = &self.processes[write.at];
        if !process.alive {
            return;
        }
        let over = self.now_ms > write.committed_ms + LEASE_MS + DRIFT_MS;
        let members = self.log.state(self.log.len()).members.clone();
        let served = members
            .values()
            .filter(|one| one.state != MemberState::Down);
        let confirmed = |node: u64| {
            let at = self.running.get(&node).copied();
            at.is_some_and(|at| self.processes[at].access.enforced >= write.index)
        };
        let silent = served.filter(|one| !confirmed(one.node.0)).count();
        let here = process.access.enforced >= write.index && !process.paused;
        if !here || (silent > 0 && !over) {
            return self.later(10, Event::Fence(number));
        }
        if silent > 0 || self.now_ms > write.committed_ms + LEASE_MS / 2 {
            self.reached("a silent node is waited out");
        }
        let returned = self.history.tick();
        self.note(|| format!("write {number} ({:?}) has returned", write.kind));
        self.history.writes[number].returned = Some(returned);
    }

    /// A request that began then is refused for want of a right.
    pub(crate) fn refused_for_want(&mut self, begun: u64) {
        let writes = self.history.writes.iter();
        let last = writes.rev().find(|one| one.kind != Kind::Revoke);
        // Everything was open before the first write.
        let granted = last.is_none_or(|one| {
            one.kind == Kind::Open && one.returned.is_some_and(|returned| returned < begun)
        });
        if granted {
            let what = format!("a request that began at {begun} was refused what everybody may");
            self.history.refused.push(what);
        }
    }
}
