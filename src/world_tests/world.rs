//! The world: every actor of every node, every frame under way and every clock, with one scheduler that a seed drives.
//!
//! **Why one list of what may happen next:** which of two things comes first is decided by how busy a machine is. Here it is
//! decided by the seed, for every single message, so that no order is unlikely.

use super::chance::Chance;
use super::channel::ToChannel;
use super::client::DialectModel;
use super::connection::{Socket, ToConnection};
use super::history::History;
use super::links::{LinkId, Links};
use super::log::Log;
use super::people::Client;
use super::process::{EPOCH_MS, Process};
use crate::core::delivery::encoding::{Encoding, EncodingId, Encodings};
use crate::core::ids::{AppId, ChannelKey, ConnectionId};
use futures_util::FutureExt as _;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    /// How many connections have yet to carry out the batch that is being handed out.
    pub(crate) static ENFORCING: RefCell<Rc<Cell<usize>>> = RefCell::default();
}

/// The app that everybody uses.
pub(crate) const APP: AppId = AppId(7);

/// What may happen next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Task {
    /// A channel of a process takes a message.
    Channel(usize, usize),
    /// A connection of a process takes a message.
    Connection(usize, ConnectionId),
    /// A process writes what its outboxes hold.
    Flush(usize),
    /// The next frame of a link and direction arrives.
    Frame(LinkId, usize),
    /// The broker of a process goes on with the effects of the log.
    Enforce(usize),
    /// A client reads.
    Read(usize),
}

/// What happens at a time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Ready(Task),
    Wake(usize, usize),
    Tick(usize),
    Apply(usize),
    Look(usize),
    CaughtUp(usize, ConnectionId, Option<u64>),
    /// Whether a write has been carried out everywhere.
    Fence(usize),
    CutOff(usize, ConnectionId, usize, Rc<Socket>),
    Leader,
    Dial(usize, u64),
    Accept(LinkId),
    Notice(LinkId, usize),
    Silent(LinkId),
    Connect(usize),
    AbortElsewhere(ConnectionId, usize),
    Proceed(usize),
    Start(u64),
    Kill(u64),
    /// This node gets a vote.
    Vote(u64),
    /// This node is taken out for good.
    Remove(u64),
    /// Nobody hears this node for so long.
    Isolate(u64, u64),
    Mend,
    Story,
}

impl Event {
    /// The process that it happens in: it waits while that stands still.
    fn process(&self) -> Option<usize> {
        match self {
            Self::Wake(at, _)
            | Self::Tick(at)
            | Self::Apply(at)
            | Self::Look(at)
            | Self::CaughtUp(at, ..)
            | Self::CutOff(at, ..)
            | Self::Dial(at, _)
            | Self::Notice(_, at)
            | Self::Ready(Task::Channel(at, _) | Task::Connection(at, _))
            | Self::Ready(Task::Flush(at) | Task::Enforce(at)) => Some(*at),
            Self::Ready(Task::Frame(..) | Task::Read(_))
            | Self::Leader
            | Self::Fence(_)
            | Self::Accept(_)
            | Self::Silent(_)
            | Self::Connect(_)
            | Self::AbortElsewhere(..)
            | Self::Proceed(_)
            | Self::Start(_)
            | Self::Kill(_)
            | Self::Vote(_)
            | Self::Remove(_)
            | Self::Isolate(..)
            | Self::Mend
            | Self::Story => None,
        }
    }
}

/// See the head of the file.
pub(crate) struct World {
    pub(crate) chance: Chance,
    /// Since the world began.
    pub(crate) now_ms: u64,
    pub(crate) log: Log,
    pub(crate) processes: Vec<Process>,
    /// The process of each node that runs.
    pub(crate) running: BTreeMap<u64, usize>,
    /// How much of the log is on a node's disk.
    pub(crate) disks: BTreeMap<u64, u64>,
    pub(crate) voters: u64,
    /// The nodes are those from 1 up to this one.
    pub(crate) nodes: u64,
    /// Whose disk is full, and until when.
    pub(crate) full: BTreeMap<u64, u64>,
    pub(crate) leader: Option<u64>,
    pub(crate) elected_ms: u64,
    pub(crate) electing_ms: Option<u64>,
    /// When the leader last heard of a node.
    pub(crate) heard_ms: BTreeMap<u64, u64>,
    /// Pairs of nodes that cannot reach each other.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) links: Links,
    pub(crate) dialling: BTreeSet<(usize, u64)>,
    pub(crate) clients: Vec<Client>,
    pub(crate) keys: Vec<Arc<ChannelKey>>,
    pub(crate) encodings: Encodings,
    pub(crate) dialects: Vec<&'static dyn DialectModel>,
    pub(crate) history: History,
    ready: Vec<Task>,
    timed: BTreeMap<(u64, u64), Event>,
    parked: BTreeMap<usize, Vec<Event>>,
    /// Actors that stand still until then.
    stalled: BTreeMap<Task, u64>,
    flushing: BTreeSet<usize>,
    last: u64,
    /// Most that a frame takes from node to node, ms.
    pub(crate) delay_ms: u64,
    /// Until then announcements are lost.
    pub(crate) losing_until_ms: u64,
    /// How far the wall clocks of a majority have moved since the world began.
    pub(crate) walls_ms: u64,
    pub(crate) plan: Option<super::story::Plan>,
    /// How often rights are still taken or given.
    pub(crate) writes: u64,
    /// How many of the channels are published to.
    pub(crate) channels: usize,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        dialects: Vec<&'static dyn DialectModel>,
        keys: Vec<Arc<ChannelKey>>,
    ) -> Self {
        let mut encodings = Encodings::default();
        for one in &dialects {
            encodings.add(Encoding {
                encoder: one.encoder(),
                framing: super::connection::framing,
            });
        }
        Self {
            chance: Chance::of(seed),
            now_ms: 0,
            log: Log::default(),
            processes: Vec::new(),
            running: BTreeMap::new(),
            disks: BTreeMap::new(),
            voters: 0,
            nodes: 0,
            full: BTreeMap::new(),
            leader: None,
            elected_ms: 0,
            electing_ms: None,
            heard_ms: BTreeMap::new(),
            cut: BTreeSet::new(),
            links: Links::default(),
            dialling: BTreeSet::new(),
            clients: Vec::new(),
            channels: keys.len(),
            keys,
            encodings,
            dialects,
            history: History::default(),
            ready: Vec::new(),
            timed: BTreeMap::new(),
            parked: BTreeMap::new(),
            stalled: BTreeMap::new(),
            flushing: BTreeSet::new(),
            last: 0,
            delay_ms: 3,
            losing_until_ms: 0,
            walls_ms: 0,
            plan: None,
            writes: 0,
        }
    }

    pub(crate) fn encoding(&self, dialect: usize) -> EncodingId {
        EncodingId(u8::try_from(dialect).unwrap())
    }

    /// The number of a channel; one that nobody has used yet gets the next.
    pub(crate) fn channel_of(&mut self, key: &Arc<ChannelKey>) -> usize {
        match self.keys.iter().position(|one| one == key) {
            Some(at) => at,
            None => {
                self.keys.push(key.clone());
                self.keys.len() - 1
            }
        }
    }

    pub(crate) fn ready(&mut self, task: Task) {
        self.ready.push(task);
    }

    /// So many milliseconds from now.
    pub(crate) fn later(&mut self, ms: u64, event: Event) {
        self.at_time(self.now_ms + ms, event);
    }

    pub(crate) fn at_time(&mut self, at_ms: u64, event: Event) {
        self.last += 1;
        self.timed
            .insert((at_ms.max(self.now_ms), self.last), event);
    }

    /// At a time of that process's clock.
    pub(crate) fn later_mono(&mut self, at: usize, mono_ms: u64, event: Event) {
        let started = self.processes[at].started_ms;
        // A timer is never early.
        self.at_time(started + mono_ms, event);
    }

    pub(crate) fn flush_later(&mut self, at: usize) {
        if self.flushing.insert(at) {
            self.ready(Task::Flush(at));
        }
    }

    /// An actor takes nothing for so long.
    pub(crate) fn stall(&mut self, task: Task, ms: u64) {
        self.stalled.insert(task, self.now_ms + ms);
    }

    pub(crate) fn is_stalled(&self, task: &Task) -> bool {
        let until = self.stalled.get(task);
        until.is_some_and(|until| *until > self.now_ms)
    }

    pub(crate) fn forget_stalls(&mut self) {
        self.stalled.clear();
    }

    /// Lets what is left of time and messages happen, until then.
    pub(crate) fn run_until(&mut self, end_ms: u64) {
        let mut steps = 0_u64;
        while self.now_ms < end_ms {
            steps += 1;
            assert!(steps < 5_000_000, "the world never comes to rest");
            let lazy = self.chance.percent(2);
            if self.ready.is_empty() || lazy {
                self.pass(end_ms);
            } else {
                let at = self.chance.below(self.ready.len());
                let task = self.ready.swap_remove(at);
                self.run(task);
            }
        }
    }

    /// Time goes on to what is due next.
    fn pass(&mut self, end_ms: u64) {
        let due = self.timed.first_key_value().map(|((at, _), _)| *at);
        let to = due.unwrap_or(end_ms).min(end_ms);
        if to > self.now_ms {
            let by = Duration::from_millis(to - self.now_ms);
            self.now_ms = to;
            // Only the clock moves: nothing else runs on this runtime.
            let _ = tokio::time::advance(by).now_or_never();
            for process in self.processes.iter_mut().filter(|one| one.alive) {
                process.authority.set_now(EPOCH_MS + process.clock.at(to));
                process.authority.set_serving(process.holds_lease(to));
            }
        }
        while let Some(entry) = self.timed.first_entry() {
            if entry.key().0 > self.now_ms {
                break;
            }
            let event = entry.remove();
            self.happen(event);
        }
    }

    fn run(&mut self, task: Task) {
        self.history.digest(self.now_ms, &task);
        if let Some(until) = self.stalled.get(&task).copied() {
            if until > self.now_ms {
                return self.at_time(until, Event::Ready(task));
            }
            self.stalled.remove(&task);
        }
        let event = Event::Ready(task.clone());
        if self.parks(&event) {
            return;
        }
        match task {
            Task::Channel(at, channel) => self.run_channel(at, channel),
            Task::Connection(at, id) => self.run_connection(at, id),
            Task::Flush(at) => self.flush(at),
            Task::Frame(link, direction) => self.arrive(link, direction),
            Task::Enforce(at) => self.enforce(at),
            Task::Read(client) => self.read(client),
        }
    }

    /// Whether it waits for a process that stands still, or is of one that is gone.
    fn parks(&mut self, event: &Event) -> bool {
        let Some(at) = event.process() else {
            return false;
        };
        let process = &self.processes[at];
        if process.alive && process.paused {
            self.parked.entry(at).or_default().push(event.clone());
        }
        process.paused || !process.alive
    }

    /// A process that stood still goes on.
    pub(crate) fn unpark(&mut self, at: usize) {
        for event in self.parked.remove(&at).unwrap_or_default() {
            self.later(0, event);
        }
    }

    fn happen(&mut self, event: Event) {
        if self.parks(&event) {
            return;
        }
        match event {
            Event::Ready(task) => self.ready(task),
            Event::Wake(at, channel) => self.wake_channel(at, channel),
            Event::Tick(at) => self.tick(at),
            Event::Apply(at) => self.apply(at),
            Event::Look(at) => self.look(at),
            Event::CaughtUp(at, id, covers) => match covers {
                Some(index) if self.processes[at].access.applied < index => {
                    self.later(5, Event::CaughtUp(at, id, covers));
                }
                Some(_) => self.mail_connection(at, id, ToConnection::CaughtUp(true)),
                None => self.mail_connection(at, id, ToConnection::CaughtUp(false)),
            },
            Event::CutOff(at, id, client, socket) => self.cut_off(at, id, client, &socket),
            Event::Fence(write) => self.fence(write),
            Event::Leader => self.lead(),
            Event::Dial(at, node) => self.dial(at, node),
            Event::Accept(link) => self.accept(link),
            Event::Notice(link, at) => self.notice(link, at),
            Event::Silent(link) => self.silent(link),
            Event::Connect(client) => self.connect(client),
            Event::AbortElsewhere(id, but) => self.abort_elsewhere(id, but),
            Event::Proceed(at) => self.proceed(at),
            Event::Start(node) => self.start(node),
            Event::Kill(node) => self.kill(node, false),
            Event::Vote(node) => self.give_vote(node),
            Event::Remove(node) => self.remove(node),
            Event::Isolate(node, ms) => self.isolate(node, ms),
            Event::Mend => self.cut.clear(),
            Event::Story => self.story(),
        }
    }

    fn flush(&mut self, at: usize) {
        self.flushing.remove(&at);
        let process = &self.processes[at];
        process.local.send_dirty();
        let mut readers = Vec::new();
        for (id, one) in &process.connections {
            if !one.socket.full.get() {
                let _sent = one.outbox.flush();
            }
            readers.push(*id);
        }
        for id in readers {
            self.client_reads(at, id);
        }
        self.wake_connections(at);
    }

    /// Tells every channel of a process.
    pub(crate) fn mail_channels(&mut self, at: usize, message: impl Fn() -> ToChannel) {
        let all: Vec<usize> = self.processes[at].channels.keys().copied().collect();
        for channel in all {
            let actor = &self.processes[at].channels[&channel];
            if actor.replica.is_some() || !actor.mailbox.is_empty() {
                self.mail_channel(at, channel, message());
            }
        }
    }

    /// Notes that something worth meeting was met.
    pub(crate) fn reached(&mut self, what: &'static str) {
        *self.history.reached.entry(what).or_default() += 1;
        self.note(|| format!("reached: {what}"));
    }

    /// Notes what happens, for people.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.history.trace {
            trace.push(format!("{:>6} ms  {}", self.now_ms, what()));
        }
    }
}
