//! What happens in a world: who publishes where, which faults come when, and how everything is mended at the end.
//!
//! **Must never know:** what is to be proven.

use super::client::Seen;
use super::process::EPOCH_MS;
use super::rights::Kind;
use super::world::{APP, Event, Task, World};
use crate::core::authority::EnabledProtocol;
use crate::core::authority::{AppSpec, Capability, Command, KeySpec, Reply, Secret, SettingValue};
use crate::core::channel::replica::io::Input;
use crate::core::channel::replica::lifecycle_log::Unsettled;
use crate::core::channel::replica::protocol::PeerMessage;
use crate::core::channel::replica::stream::EntryKind;
use crate::core::ids::NodeId;
use crate::core::message::Broadcast;
use gatecast_cluster::access::MemberCommand;

/// The key that everybody uses, and its secret.
pub(crate) const KEY: &str = "worldkey";
pub(crate) const SECRET: &str = "world secret";
/// The name under which Realtime.co's clients know the app.
pub(crate) const APPLICATION: &str = "aPpKeY0123456789";

/// When the faults begin and end, and what may happen until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: u64,
    pub(crate) faults_ms: u64,
    /// When everything is mended.
    pub(crate) heal_ms: u64,
    /// When the last messages are published, all of which everybody gets.
    pub(crate) last_ms: u64,
    pub(crate) end_ms: u64,
    /// Faults in a thousand steps.
    pub(crate) faults: u64,
}

impl Plan {
    pub(crate) fn of(world: &mut World) -> Self {
        let faults_ms = 3_000;
        let heal_ms = faults_ms + world.chance.between(3_000, 14_000);
        let last_ms = heal_ms + 5_000;
        Self {
            nodes: world.chance.pick(&[3, 3, 3, 4, 5]),
            faults_ms,
            heal_ms,
            last_ms,
            end_ms: last_ms + 24_000,
            faults: world.chance.pick(&[30, 60, 100]),
        }
    }
}

/// The app that everybody uses: open, and with every dialect.
fn app(dialects: &[&'static str]) -> Command {
    let protocol = |name: &&'static str| EnabledProtocol {
        name: (*name).into(),
        default_open: Vec::new(),
    };
    let settings = [
        ("realtime_authentication", false),
        ("pubnub_access_manager", false),
    ];
    Command::CreateApp(AppSpec {
        id: APP,
        name: "world".into(),
        protocols: dialects.iter().map(protocol).collect(),
        open: vec![super::rights::open()],
        settings: settings
            .map(|(name, on)| (name.into(), SettingValue::Bool(on)))
            .into(),
        aliases: vec![("realtime-application".into(), APPLICATION.into())],
        keys: vec![KeySpec {
            id: KEY.into(),
            app: APP,
            name: "".into(),
            secret: Secret(SECRET.into()),
            capability: Capability::full(),
            revocable_tokens: true,
        }],
    })
}

impl World {
    /// Plays a whole story.
    pub(crate) fn play(&mut self) -> Plan {
        let plan = Plan::of(self);
        self.voters = plan.nodes;
        self.leader = Some(1);
        let mut names: Vec<_> = self.dialects.iter().map(|one| one.name()).collect();
        names.dedup();
        let made = self.log.append(&app(&names), EPOCH_MS);
        assert!(!matches!(made, Reply::Rejected(_)), "{made:?}");
        for node in 1..=plan.nodes {
            self.disks.insert(node, 1);
            self.start(node);
        }
        self.later(0, Event::Leader);
        self.run_until(800);
        for number in 0..self.clients.len() {
            self.later(0, Event::Connect(number));
        }
        self.run_until(1_500);
        let most = std::env::var("GATECAST_WORLD_WRITES")
            .ok()
            .and_then(|most| most.parse().ok());
        self.writes = self
            .chance
            .pick(&[0, 0, 4, 8])
            .min(most.unwrap_or(u64::MAX));
        self.plan = Some(plan);
        self.later(0, Event::Story);
        self.run_until(plan.heal_ms);
        self.heal(plan.nodes);
        // Everybody may everything again, as soon as there is somebody who can be asked.
        for n in 0..60 {
            self.run_until(plan.heal_ms + 50 * n);
            if self.shut() {
                let node = 1 + n % plan.nodes;
                self.write(node, Kind::Open);
            }
        }
        self.run_until(plan.last_ms);
        self.say_last();
        self.run_until(plan.end_ms);
        plan
    }

    /// One step of the story.
    pub(crate) fn story(&mut self) {
        let Some(plan) = self.plan.filter(|plan| self.now_ms < plan.heal_ms) else {
            return;
        };
        let ms = self.chance.between(10, 120);
        self.later(ms, Event::Story);
        let node = self.chance.between(1, plan.nodes);
        let faults =
            self.now_ms >= plan.faults_ms && self.chance.below(1_000) < plan.faults as usize;
        if faults {
            return self.fault(node, plan);
        }
        if self.writes > 0 && self.chance.percent(3) {
            return self.change_rights(node);
        }
        match self.chance.below(10) {
            0 => self.client_publishes_some(),
            _ => {
                let channel = self.chance.below(self.channels);
                self.call(node, channel);
            }
        }
    }

    /// Takes a right, or gives it back.
    fn change_rights(&mut self, node: u64) {
        self.writes -= 1;
        let kind = match self.shut() {
            true => Kind::Open,
            false => self.chance.pick(&[Kind::Revoke, Kind::Shut, Kind::Shut]),
        };
        self.write(node, kind);
    }

    /// Whether nothing is open to everybody, by the last that was agreed on.
    fn shut(&self) -> bool {
        let writes = self.history.writes.iter().rev();
        let mut rules = writes.filter(|one| one.kind != Kind::Revoke);
        rules.next().is_some_and(|one| one.kind == Kind::Shut)
    }

    fn client_publishes_some(&mut self) {
        let number = self.chance.below(self.clients.len());
        self.client_publishes(number);
    }

    fn fault(&mut self, node: u64, plan: Plan) {
        let whole = self.whole(plan.nodes);
        let ms = self
            .chance
            .pick(&[50, 200, 700, 1_800, 2_500, 4_500, 6_500]);
        match self.chance.below(15) {
            0 | 1 if whole || self.chance.percent(10) => {
                let power = self.chance.percent(25);
                self.kill(node, power);
                self.later(ms, Event::Start(node));
            }
            2 if whole || self.chance.percent(10) => self.pause(node, ms),
            3 if whole => self.isolate(node, ms),
            // It comes back, and is gone again while it asks for what it is home of.
            11 if whole => {
                self.kill(node, false);
                self.later(100, Event::Start(node));
                let after = self.chance.between(250, 500);
                self.later(after, Event::Isolate(node, 4_500));
            }
            4 if whole => {
                let other = 1 + node % plan.nodes;
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
            _ => self.come_and_go(),
        }
    }

    pub(crate) fn isolate(&mut self, node: u64, ms: u64) {
        let nodes = self.plan.map_or(0, |plan| plan.nodes);
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
    fn whole(&self, nodes: u64) -> bool {
        let up = |node: u64| {
            let at = self.running.get(&node);
            at.is_some_and(|at| {
                !self.processes[*at].paused && self.processes[*at].authority.serving()
            })
        };
        self.cut.is_empty() && (1..=nodes).all(up)
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
        let task = match self.chance.below(4) {
            0 => Task::Flush(at),
            1 if !connections.is_empty() => {
                Task::Connection(at, connections[self.chance.below(connections.len())])
            }
            2 => Task::Enforce(at),
            _ => Task::Channel(at, channel),
        };
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

    /// Everything is mended.
    fn heal(&mut self, nodes: u64) {
        self.note(|| "everything is mended".to_owned());
        self.cut.clear();
        self.delay_ms = 3;
        self.forget_stalls();
        for node in 1..=nodes {
            match self.running.get(&node).copied() {
                Some(at) => self.proceed(at),
                None => self.start(node),
            }
        }
    }

    /// One message to every channel through every node: everybody gets these.
    fn say_last(&mut self) {
        self.note(|| "last words".to_owned());
        self.history.last_words = self.history.asked.len();
        for node in 1..=self.voters {
            for channel in 0..self.channels {
                self.call(node, channel);
            }
        }
    }
}

/// What is noted as it happens.
impl World {
    /// A node hands something to its subscribers.
    pub(crate) fn stamped(&mut self, at: usize, channel: usize, broadcast: &Broadcast) {
        if let Broadcast::Presence(one) = broadcast {
            let node = self.processes[at].node;
            let (action, who) = (one.action, one.member.client.clone());
            let (of, place) = (one.member.node.0, one.position);
            self.note(|| {
                format!(
                    "node {node} shows {action:?} of {who} at node {of} on {channel}, {place:?}"
                )
            });
        }
        if let Broadcast::Message(one) = broadcast {
            let text = String::from_utf8_lossy(&one.draft.data).into_owned();
            self.history.stamped(channel, one.position, &text);
            let node = self.processes[at].node;
            let place = one.position;
            self.note(|| format!("node {node} shows {text} on {channel} at {place:?}"));
        }
    }

    /// A replica has another role.
    pub(crate) fn moved(
        &mut self,
        at: usize,
        channel: usize,
        from: &'static str,
        to: &'static str,
    ) {
        let node = self.processes[at].node;
        self.note(|| format!("channel {channel} on node {node}: {from} -> {to}"));
        match (from, to) {
            ("claiming", "follower") => self.reached("a claim is given up"),
            ("claiming", "home") => self.reached("a claim ends at home"),
            ("home", "follower") => self.reached("a home steps down"),
            _ => {}
        }
    }

    /// The world takes it at once, and what it has had before under the same id it drops.
    pub(crate) fn lifecycle(&mut self, at: usize, channel: usize, one: Unsettled) {
        let node = self.processes[at].node;
        self.note(|| format!("node {node} tells of channel {channel}: {:?}", one.kind));
        let now = self.now_ms;
        if self.history.told_ids.insert(one.id) {
            self.history.told.push((now, channel, one.kind));
        }
        self.feed_channel(at, channel, Input::Settled(vec![one.id]));
    }

    /// What was under way from a process that dies.
    pub(crate) fn on_kill(&mut self, at: usize) {
        let mut met = Vec::new();
        for one in self.links.under_way(at) {
            match &one.message {
                PeerMessage::Broadcast { entry, .. } => {
                    if let EntryKind::Message(one) = &entry.kind {
                        let text = String::from_utf8_lossy(&one.draft.data);
                        let asked = self.history.of(&text);
                        if asked.is_some_and(super::history::Asked::is_acknowledged) {
                            met.push("a home is lost between acknowledging and telling");
                        }
                    }
                }
                PeerMessage::Copy { handover: true, .. } => {
                    met.push("a handover is lost with its node");
                }
                _ => {}
            }
        }
        let all = self.running.values();
        for one in all.flat_map(|other| self.links.under_way(*other)) {
            if matches!(
                one.message,
                PeerMessage::Copy {
                    handover: false,
                    ..
                }
            ) {
                met.push("a node is lost while a copy is under way");
            }
        }
        for what in met {
            self.reached(what);
        }
    }

    /// Whether a client's subscription stands by what it has seen.
    pub(crate) fn stands(&self, client: usize) -> bool {
        let sights = self.history.sights.get(&client);
        let last = sights
            .into_iter()
            .flatten()
            .rev()
            .find_map(|(_, sight)| match sight {
                super::history::Sight::Seen(Seen::Stands(_)) => Some(true),
                super::history::Sight::Seen(Seen::Ended) | super::history::Sight::Closed => {
                    Some(false)
                }
                super::history::Sight::Seen(_) | super::history::Sight::Opened => None,
            });
        last.unwrap_or(false)
    }
}
