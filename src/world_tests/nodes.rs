//! Nodes: how they start, stand still and die, what they know of the log and when, and who leads them.
//!
//! **Why leading is given and not played:** that a majority agrees on one log is simulated in the cluster crate. What matters
//! here is that nodes hear of it at different times, and that who hears of no majority holds no lease.

use super::channel::ToChannel;
use super::process::{LEASE_MS, Process};
use super::world::{ENFORCING, Event, Task, World};
use crate::core::authority::{Command, Effect, MemberState, Reply};
use crate::core::channel::replica::io::LINK_SILENCE_MS;
use crate::core::ids::NodeId;
use gatecast_cluster::access::MemberCommand;
use std::cell::Cell;
use std::rc::Rc;

/// How often a node looks at its lease, its timers and its own start, ms.
const TICK_MS: u64 = 100;
/// How long nobody must have listened at an address until its node counts as gone, ms.
const GONE_MS: u64 = 1_000;

impl World {
    /// Starts a node on its disk.
    pub(crate) fn start(&mut self, node: u64) {
        if self.running.contains_key(&node) || node > self.nodes {
            return;
        }
        let at = self.processes.len();
        let mut process = Process::new(node, self.now_ms, &self.dialects);
        let known = self.disks.get(&node).copied().unwrap_or(0);
        process.access.applied = known;
        process.access.enforced = known;
        process.authority.set_view(self.log.state(known));
        let stale = process.authority.view().members.get(&NodeId(node)).cloned();
        self.processes.push(process);
        self.running.insert(node, at);
        self.hear_stamp(at, known);
        self.note(|| format!("node {node} starts as process {at}, knowing {known} entries"));
        if stale.is_some_and(|one| one.state == MemberState::Up) {
            self.reached("a node starts under a list that names its former start");
        }
        self.list_anew(at);
        let first = self.chance.between(1, TICK_MS);
        self.later(first, Event::Tick(at));
        self.later(first, Event::Look(at));
        self.apply_soon(at);
    }

    /// Kill -9, or with `power` the loss of its power: nobody is told, and the last writes are lost.
    pub(crate) fn kill(&mut self, node: u64, power: bool) {
        let Some(at) = self.running.remove(&node) else {
            return;
        };
        self.note(|| format!("node {node} (process {at}) is killed, power {power}"));
        self.on_kill(at);
        self.processes[at].alive = false;
        self.note_lost();
        let process = &mut self.processes[at];
        let applied = process.access.applied;
        process.alive = false;
        process.channels.clear();
        process.connections.clear();
        let lost = match power {
            true => self.chance.between(0, 3),
            false => 0,
        };
        self.disks.insert(node, applied.saturating_sub(lost));
        for link in self.links.of(at) {
            self.links.abort(link);
            let ends = self.links.get(link).map(|one| one.ends);
            let other = ends.into_iter().flatten().find(|end| *end != at);
            let ms = match power {
                true => LINK_SILENCE_MS,
                false => self.chance.between(0, 30),
            };
            if let Some(other) = other {
                self.later(ms, Event::Notice(link, other));
            }
        }
        for client in 0..self.clients.len() {
            if self.clients[client]
                .at
                .is_some_and(|(process, _)| process == at)
            {
                self.clients[client].lose_socket();
                self.ready(Task::Read(client));
            }
        }
    }

    pub(crate) fn pause(&mut self, node: u64, ms: u64) {
        if let Some(at) = self.running.get(&node).copied() {
            self.processes[at].paused = true;
            self.note(|| format!("node {node} stands still for {ms} ms"));
            self.later(ms, Event::Proceed(at));
            for link in self.links.of(at) {
                self.later(LINK_SILENCE_MS, Event::Silent(link));
            }
        }
    }

    pub(crate) fn proceed(&mut self, at: usize) {
        if std::mem::take(&mut self.processes[at].paused) {
            let node = self.processes[at].node;
            self.note(|| format!("node {node} goes on"));
            self.unpark(at);
        }
    }

    /// Whether these two hear each other.
    pub(crate) fn reach(&self, a: u64, b: u64) -> bool {
        let up = |node: &u64| {
            let at = self.running.get(node);
            at.is_some_and(|at| !self.processes[*at].paused)
        };
        up(&a) && up(&b) && !self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn majority(&self, node: u64) -> bool {
        let heard = (1..=self.voters).filter(|other| self.reach(node, *other));
        heard.count() as u64 * 2 > self.voters
    }

    /// Whether a node can ask the leader how far the log is.
    pub(crate) fn reads(&self, node: u64) -> bool {
        let leader = self.leader.filter(|leader| self.majority(*leader));
        leader.is_some_and(|leader| self.reach(node, leader))
    }

    /// Agrees on a command, if anybody leads.
    pub(crate) fn agree(&mut self, command: &Command) -> Option<(u64, Reply)> {
        let led = self.leader.filter(|leader| self.majority(*leader));
        led.filter(|leader| !self.is_full(*leader))?;
        let time_ms = super::process::EPOCH_MS + self.cluster_ms();
        let reply = self.log.append(command, time_ms);
        let index = self.log.len();
        self.note(|| format!("entry {index}: {command:?} -> {reply:?}"));
        self.note_lost();
        let all: Vec<usize> = self.running.values().copied().collect();
        for at in all {
            self.apply_soon(at);
        }
        Some((index, reply))
    }

    fn apply_soon(&mut self, at: usize) {
        let ms = match self.chance.percent(10) {
            true => self.chance.between(100, 700),
            false => self.chance.between(1, 30),
        };
        self.later(ms, Event::Apply(at));
    }

    /// The node's view follows the log, as far as it has heard of it.
    pub(crate) fn apply(&mut self, at: usize) {
        let node = self.processes[at].node;
        if !self.reads(node) {
            return;
        }
        let (applied, newest) = (self.processes[at].access.applied, self.log.len());
        if applied < newest {
            let to = self.chance.between(applied + 1, newest);
            let process = &mut self.processes[at];
            process.access.applied = to;
            process.authority.set_view(self.log.state(to));
            self.hear_stamp(at, to);
            self.ready(Task::Enforce(at));
            if to < newest {
                self.apply_soon(at);
            }
        }
    }

    /// The broker carries out the next entry's effects, one entry after the other.
    pub(crate) fn enforce(&mut self, at: usize) {
        let access = &self.processes[at].access;
        if access.carrying.is_some() || access.enforced >= access.applied {
            return;
        }
        let (from, to) = (access.enforced + 1, access.applied);
        // Who is far behind gets a snapshot in the place of what it has missed.
        let behind = to - from >= 3 && self.chance.percent(50);
        let batch = match behind {
            true => self.log.snapshot(to),
            false => self.log.batch(from),
        };
        if behind {
            self.reached("a snapshot stands for entries");
        }
        let left = Rc::new(Cell::new(0));
        ENFORCING.set(left.clone());
        let concerns =
            |effect: &Effect| matches!(effect, Effect::Recheck { .. } | Effect::Cut { .. });
        if batch.effects.iter().any(concerns) {
            drop(self.processes[at].dispatch.enforce(&batch));
        }
        let access = &mut self.processes[at].access;
        access.carrying = Some(left);
        access.carries = batch.revision;
        self.wake_connections(at);
        self.enforced(at);
    }

    /// Whether what was being carried out is done.
    pub(crate) fn enforced(&mut self, at: usize) {
        let access = &mut self.processes[at].access;
        if access.carrying.take_if(|left| left.get() == 0).is_none() {
            return;
        }
        let moved = (access.enforced + 1..=access.carries).any(|one| {
            self.log
                .batch(one)
                .effects
                .contains(&Effect::MembersChanged)
        });
        access.enforced = access.carries;
        if moved {
            self.list_anew(at);
        }
        self.prove(at);
        self.ready(Task::Enforce(at));
    }

    /// The registry and the links of a node get the list of its view.
    fn list_anew(&mut self, at: usize) {
        let Some((members, gone)) = self.processes[at].list_anew() else {
            return;
        };
        let node = self.processes[at].node;
        self.note(|| {
            let live: Vec<_> = members
                .live
                .iter()
                .map(|(node, epoch)| (node.0, *epoch))
                .collect();
            format!("node {node}: list {} {live:?}", members.revision)
        });
        self.dialling
            .retain(|(from, to)| *from != at || members.has(NodeId(*to)));
        for other in members
            .nodes()
            .map(|one| one.0)
            .filter(|other| *other > node)
        {
            if self.dialling.insert((at, other)) {
                self.later(0, Event::Dial(at, other));
            }
        }
        for other in gone {
            self.end_link(at, other);
        }
        self.mail_channels(at, || ToChannel::MembersChanged(members.clone()));
    }

    /// What a node looks at again and again.
    pub(crate) fn tick(&mut self, at: usize) {
        let node = self.processes[at].node;
        if self.reads(node) {
            self.heard_ms.insert(node, self.now_ms);
            if self.chance.percent(20) {
                self.ask_the_time(at);
            }
            self.apply_soon(at);
            self.come_up(at);
            let (now_ms, covers) = (self.now_ms, self.log.len());
            let access = &mut self.processes[at].access;
            if access
                .proving
                .is_none_or(|(began, _)| now_ms > began + LEASE_MS)
            {
                access.proving = Some((now_ms, covers));
            }
        }
        self.prove(at);
        let process = &self.processes[at];
        let mono_ms = process.now().mono_ms;
        process.dispatch.tick(mono_ms);
        process.local.fire(mono_ms);
        self.wake_connections(at);
        self.flush_later(at);
        self.later(TICK_MS, Event::Tick(at));
    }

    /// Has the cluster agree on this start of the node.
    fn come_up(&mut self, at: usize) {
        let process = &self.processes[at];
        if process.is_up() {
            return;
        }
        match process.access.proposed {
            Some((index, _)) if process.access.applied < index => {}
            Some((_, epoch)) if process.access.epoch != epoch => {
                self.processes[at].access.epoch = epoch;
                self.list_anew(at);
            }
            Some(_) | None => {
                let up = MemberCommand::Up {
                    node: NodeId(process.node),
                    peer_addr: "node".into(),
                    public_url: "http://node".into(),
                    reads_version: 1,
                };
                if let Some((index, Reply::MemberUp { epoch })) = self.agree(&Command::Member(up)) {
                    self.processes[at].access.proposed = Some((index, epoch));
                }
            }
        }
    }

    /// A proof counts once everything that it covers is carried out here.
    fn prove(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let process = &mut self.processes[at];
        let enforced = process.access.enforced;
        if process.is_up()
            && let Some((began, _)) = process
                .access
                .proving
                .take_if(|(_, covers)| *covers <= enforced)
        {
            process.access.proven_ms = Some(began);
            process.authority.set_serving(process.holds_lease(now_ms));
        }
    }

    /// Who leads, and whom the leader takes for dead.
    pub(crate) fn lead(&mut self) {
        self.later(TICK_MS, Event::Leader);
        let leads = |node: &u64| self.running.contains_key(node) && self.majority(*node);
        let others = (1..=self.voters).any(|node| leads(&node) && !self.is_full(node));
        let stays = |node: &u64| leads(node) && !(others && self.is_full(*node));
        if self.leader.as_ref().is_some_and(stays) {
            return self.mark_silent_down();
        }
        let mut candidates: Vec<u64> = (1..=self.voters).filter(leads).collect();
        // One with room first.
        candidates.sort_by_key(|node| self.is_full(*node));
        self.leader = None;
        let Some(first) = candidates.first() else {
            self.electing_ms = None;
            return;
        };
        match self.electing_ms {
            None => {
                let ms = match self.log.len() {
                    0 => 0,
                    _ => self.chance.between(300, 1_500),
                };
                self.electing_ms = Some(self.now_ms + ms);
            }
            Some(at) if at <= self.now_ms => {
                self.leader = Some(*first);
                self.elected_ms = self.now_ms;
                self.electing_ms = None;
                self.note(|| format!("node {first} leads"));
            }
            Some(_) => {}
        }
    }

    fn mark_silent_down(&mut self) {
        let newest = self.log.state(self.log.len());
        let since = self.elected_ms;
        let silent = |node: u64| {
            let heard = self.heard_ms.get(&node).copied().unwrap_or(0).max(since);
            let patience = match self.running.contains_key(&node) {
                true => LEASE_MS,
                false => GONE_MS,
            };
            self.now_ms > heard + patience
        };
        let all = newest.members.values();
        let dead = all.filter(|one| one.state != MemberState::Down && silent(one.node.0));
        let dead: Vec<_> = dead.map(|one| (one.node, one.epoch)).collect();
        for (node, epoch) in dead {
            if self.leader != Some(node.0) {
                self.agree(&Command::Member(MemberCommand::Down { node, epoch }));
            }
        }
    }
}
