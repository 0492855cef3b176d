//! What happens in a world: who publishes where, which faults come when, and how everything is mended at the end.

use super::client::Seen;
use super::links::Frame;
use super::process::EPOCH_MS;
use super::rights::Kind;
use super::world::{APP, Event, Task, World};
use crate::core::authority::EnabledProtocol;
use crate::core::authority::{AppSpec, Capability, Command, KeySpec, Reply, Secret, SettingValue};
use crate::core::channel::replica::protocol::PeerMessage;
use crate::core::channel::replica::stream::EntryKind;
use crate::core::message::Broadcast;

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
        ("user_sign_in", true),
        ("watchlist", true),
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
        self.nodes = plan.nodes;
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
        self.heal();
        // Everybody may everything again, as soon as there is somebody who can be asked.
        for n in 0..60 {
            self.run_until(plan.heal_ms + 50 * n);
            if self.shut() {
                let node = 1 + n % self.nodes;
                self.write(node, Kind::Open);
            }
        }
        self.run_until(plan.last_ms);
        self.say_last();
        self.run_until(plan.last_ms + 7_000);
        self.have_it_again();
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
        let node = self.chance.between(1, self.nodes);
        let faults =
            self.now_ms >= plan.faults_ms && self.chance.below(1_000) < plan.faults as usize;
        if faults {
            return self.fault(node);
        }
        if self.writes > 0 && self.chance.percent(3) {
            return self.change_rights(node);
        }
        match self.chance.below(10) {
            0 => self.client_publishes_some(),
            1 => {
                let number = self.chance.below(self.clients.len());
                self.client_publishes_batch(number);
            }
            _ => {
                let channel = self.some_channel();
                self.call(node, channel);
            }
        }
    }

    /// Most is said in the first two.
    fn some_channel(&mut self) -> usize {
        let all = self.channels;
        let among = if self.chance.percent(60) { 2 } else { all };
        self.chance.below(among.min(all))
    }

    /// Takes a right, or gives it back.
    pub(super) fn change_rights(&mut self, node: u64) {
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

    /// Everything is mended.
    fn heal(&mut self) {
        self.note(|| "everything is mended".to_owned());
        self.cut.clear();
        self.delay_ms = 3;
        self.losing_until_ms = 0;
        self.forget_stalls();
        self.full.clear();
        for node in 1..=self.nodes {
            match self.running.get(&node).copied() {
                Some(at) => self.proceed(at),
                None => self.start(node),
            }
        }
    }

    /// Whoever has let something pass comes back for it.
    fn have_it_again(&mut self) {
        for number in 0..self.clients.len() {
            if !self.clients[number].model.owed().is_empty() {
                self.reached("what was not acknowledged comes again");
                self.clients[number].lose_socket();
                self.later(0, Event::Ready(Task::Read(number)));
            }
        }
    }

    /// One message to every channel through every node: everybody gets these.
    fn say_last(&mut self) {
        self.note(|| "last words".to_owned());
        self.history.last_words = self.history.asked.len();
        for node in 1..=self.nodes {
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
            let aside = channel >= self.channels;
            self.history.stamped(channel, one.position, &text, aside);
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

    /// What was under way from a process that dies.
    pub(crate) fn on_kill(&mut self, at: usize) {
        let mut met = Vec::new();
        for one in self.links.under_way(at) {
            let Frame::Channel(_, message) = &one.frame else {
                continue;
            };
            match message {
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
                one.frame,
                Frame::Channel(
                    _,
                    PeerMessage::Copy {
                        handover: false,
                        ..
                    }
                )
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
                super::history::Sight::Seen(Seen::Ended | Seen::GaveUp)
                | super::history::Sight::Closed => Some(false),
                super::history::Sight::Seen(_) | super::history::Sight::Opened => None,
            });
        last.unwrap_or(false)
    }
}
