//! The faults of a world: what breaks, and for how long.
//!
//! **Why most of them need a whole cluster:** what is promised holds under one fault at a time. Two at once are played as
//! well, seldom, for what holds then.

use super::world::{Event, Task, World};
use crate::core::authority::Command;
use crate::core::ids::NodeId;
use gatecast_cluster::access::MemberCommand;

impl World {
    pub(super) fn fault(&mut self, node: u64) {
        let whole = self.whole();
        let ms = self
            .chance
            .pick(&[50, 200, 700, 1_800, 2_500, 4_500, 6_500]);
        match self.chance.below(22) {
            0 | 1 if whole || self.chance.percent(10) => {
                let power = self.chance.percent(25);
                self.kill(node, power);
                self.later(ms, Event::Start(node));
            }
            2 if whole || self.chance.percent(10) => self.pause(node, ms),
            3 if whole => {
                self.isolate(node, ms);
                if self.writes > 0 && self.chance.percent(50) {
                    self.change_rights(1 + node % self.nodes);
                }
            }
            // It comes back, and is gone again while it asks for what it is home of.
            11 if whole => {
                self.kill(node, false);
                self.later(100, Event::Start(node));
                let after = self.chance.between(250, 500);
                self.later(after, Event::Isolate(node, 4_500));
            }
            4 if whole => {
                let other = 1 + node % self.nodes;
                self.part(node, other);
                self.later(ms, Event::Mend);
            }
            5 | 6 => self.break_some_link(node),
            7 => self.stall_some(node, ms.min(1_800)),
            8 => {
                self.delay_ms = self.chance.pick(&[1, 5, 40, 200]);
                self.note_delay();
            }
            9 => {
                let number = self.chance.below(self.clients.len());
                self.clients[number].lose_socket();
                self.later(0, Event::Ready(Task::Read(number)));
            }
            10 if whole => {
                let stays = self.chance.between(300, 2_500);
                self.leave_in_order(node, stays, ms);
            }
            12 if whole => self.say_and_die(ms),
            // It is lost while what it was home of is copied.
            13 if whole => {
                let stays = self.chance.between(2, 10 + 6 * self.delay_ms);
                self.leave_in_order(node, stays, ms);
            }
            14 => {
                self.losing_until_ms = self.now_ms + ms;
                self.note(|| format!("announcements are lost for {ms} ms"));
            }
            15 => self.move_clocks(),
            16 => self.stall_some(node, ms.min(1_800)),
            17 if whole => self.join_cluster(),
            18 if whole => self.leave_for_good(),
            19 => self.fill_disk(node, ms),
            20 => self.stall_some(node, ms.min(1_800)),
            _ => self.come_and_go(),
        }
    }

    pub(crate) fn isolate(&mut self, node: u64, ms: u64) {
        let nodes = self.nodes;
        let mended = self.plan.is_none_or(|plan| self.now_ms >= plan.heal_ms);
        for other in (1..=nodes).filter(|other| *other != node && !mended) {
            self.part(node, other);
        }
        self.later(ms, Event::Mend);
    }

    fn note_delay(&mut self) {
        let delay = self.delay_ms;
        self.note(|| format!("frames take up to {delay} ms"));
    }

    /// Whether all nodes run, stand in the list, and nothing keeps them apart.
    fn whole(&self) -> bool {
        let up = |node: u64| {
            let at = self.running.get(&node);
            at.is_some_and(|at| {
                !self.processes[*at].paused && self.processes[*at].authority.serving()
            })
        };
        self.cut.is_empty() && (1..=self.nodes).all(up)
    }

    fn break_some_link(&mut self, node: u64) {
        let Some(at) = self.running.get(&node).copied() else {
            return;
        };
        let links = self.links.of(at);
        if !links.is_empty() {
            let link = links[self.chance.below(links.len())];
            let within = self.chance.pick(&[0, 30, 1_500]);
            self.note(|| format!("link {link} breaks, seen within {within} ms"));
            self.break_link(link, within);
        }
    }

    fn stall_some(&mut self, node: u64, ms: u64) {
        let Some(at) = self.running.get(&node).copied() else {
            return;
        };
        let channel = self.chance.below(self.channels);
        let connections: Vec<_> = self.processes[at].connections.keys().copied().collect();
        let links = self.links.of(at);
        let (task, what) = match self.chance.below(5) {
            0 => (Task::Flush(at), "sockets are not written for a while"),
            1 if !connections.is_empty() => {
                let id = connections[self.chance.below(connections.len())];
                let what = "a connection stands still, and its node does not";
                (Task::Connection(at, id), what)
            }
            2 => (Task::Enforce(at), "effects of the log stand still"),
            3 if !links.is_empty() => {
                let link = links[self.chance.below(links.len())];
                let what = "one direction of one link stands still";
                (Task::Frame(link, self.chance.below(2)), what)
            }
            _ => {
                let what = "a channel stands still, and its node does not";
                (Task::Channel(at, channel), what)
            }
        };
        self.reached(what);
        self.note(|| format!("{task:?} stands still for {ms} ms"));
        self.stall(task, ms);
    }

    /// A node drains for so long, and stops for so long.
    fn leave_in_order(&mut self, node: u64, stays: u64, ms: u64) {
        let drain = MemberCommand::Drain { node: NodeId(node) };
        if self.agree(&Command::Member(drain)).is_some() {
            self.reached("a node leaves in order");
            self.later(stays, Event::Kill(node));
            self.later(stays + ms, Event::Start(node));
        }
    }

    /// A home is asked to publish, and dies about when it has acknowledged that and the others are being told.
    fn say_and_die(&mut self, ms: u64) {
        let channel = self.chance.below(self.channels);
        let home = self.running.iter().find_map(|(node, at)| {
            let replica = self.processes[*at]
                .channels
                .get(&channel)?
                .replica
                .as_ref()?;
            replica.is_home().then_some(*node)
        });
        if let Some(home) = home {
            self.call(home, channel);
            let soon = self.chance.between(2, 4 + 2 * self.delay_ms);
            self.later(soon, Event::Kill(home));
            self.later(soon + ms, Event::Start(home));
        }
    }

    /// A client goes away for a while, or for good, or comes back.
    fn come_and_go(&mut self) {
        let number = self.chance.below(self.clients.len());
        let client = &mut self.clients[number];
        client.away = !client.away;
        if client.away {
            client.lose_socket();
            self.later(0, Event::Ready(Task::Read(number)));
        } else {
            self.later(0, Event::Connect(number));
        }
    }
}
