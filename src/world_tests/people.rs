//! Clients in the world: their sockets, what they read and say, how they come back, and calls of app servers.

use super::channel::{Reply, ToChannel};
use super::client::{Act, DialectModel, Model, Opened, Seen, Site};
use super::connection::{Connection, Mailbox, NewConnection, Received, Socket, ToConnection};
use super::history::{Asked, Outcome};
use super::world::{APP, Event, Task, World};
use crate::core::authority::Pass;
use crate::core::close::End;
use crate::core::delivery::outbox::{Outbox, Source};
use crate::core::delivery::worker_state::ConnectionMeta;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, Space};
use crate::core::message::{ContentKind, Draft, Receipt};
use crate::core::session::{Event as SessionEvent, Input};
use std::rc::Rc;
use std::sync::Arc;

/// Most bytes that wait for a client.
const OUTBOX_BYTES: usize = 1 << 20;

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) dialect: usize,
    pub(crate) channel: usize,
    pub(crate) model: Box<dyn Model>,
    /// It gets the channel through the wildcard above it, and is no subscriber there.
    pub(crate) wild: bool,
    /// When it last opened a socket, in the order of everything.
    opened: u64,
    /// Its connection.
    pub(crate) at: Option<(usize, ConnectionId)>,
    pub(crate) socket: Option<Rc<Socket>>,
    reading: bool,
    /// It stays away.
    pub(crate) away: bool,
}

impl Client {
    pub(crate) fn new(dialect: usize, channel: usize, model: Box<dyn Model>) -> Self {
        Self {
            dialect,
            channel,
            model,
            wild: false,
            opened: 0,
            at: None,
            socket: None,
            reading: false,
            away: false,
        }
    }

    /// Whether it counts as a subscriber of its channel.
    pub(crate) fn subscribes(&self, channel: usize) -> bool {
        self.channel == channel && self.at.is_some() && !self.wild
    }

    /// Its socket ends without a word.
    pub(crate) fn lose_socket(&self) {
        if let Some(socket) = &self.socket {
            socket.aborted.set(true);
        }
    }
}

/// A message of that text, as an app server hands it in.
pub(crate) fn draft(text: &str) -> Box<Draft> {
    let data = text.as_bytes().to_vec().into();
    Box::new(Draft::new("n".into(), data, ContentKind::Text))
}

impl World {
    /// A client opens a socket at a node that would take it.
    pub(crate) fn connect(&mut self, number: usize) {
        if self.clients[number].at.is_some() || self.clients[number].away {
            return;
        }
        let serves = |at: &usize| {
            let process = &self.processes[*at];
            !process.paused && process.authority.serving()
        };
        let open: Vec<usize> = self.running.values().copied().filter(serves).collect();
        if open.is_empty() {
            return self.later(100, Event::Connect(number));
        }
        let at = open[self.chance.below(open.len())];
        let dialect = self.clients[number].dialect;
        let process = &self.processes[at];
        let site = Site {
            authority: &process.authority,
            now: process.now(),
            kept: &*process.kept[dialect],
        };
        let Opened { session, resumes } = self.clients[number].model.open(&site);
        let fresh = ConnectionId(
            self.chance.between(1, 1 << 30),
            self.chance.between(1, 1 << 30),
        );
        let id = resumes.unwrap_or(fresh);
        let mut inherits = Vec::new();
        if resumes.is_some() {
            self.reached("a connection is carried on");
            self.later(1, Event::AbortElsewhere(id, at));
            inherits = self.take_over(at, id);
        }
        let process = &self.processes[at];
        let (node, socket) = (process.node, Rc::new(Socket::default()));
        let outbox = Rc::new(Outbox::new(
            OUTBOX_BYTES,
            process.local.withheld(),
            socket.clone(),
        ));
        let mailbox = Mailbox::default();
        let about = ConnectionMeta {
            id,
            dialect: self.dialects[dialect].name(),
            remote: "".into(),
            since_ms: 0,
        };
        let port = Box::new(mailbox.clone());
        let slot = process.local.register(about, outbox.clone(), port);
        let connection = Connection::new(NewConnection {
            client: number,
            session,
            mailbox,
            outbox,
            socket: socket.clone(),
            encoding: self.encoding(dialect),
            slot,
            inherits,
        });
        self.processes[at].connections.insert(id, connection);
        let client = &mut self.clients[number];
        client.at = Some((at, id));
        client.socket = Some(socket);
        self.history.opened(number);
        self.clients[number].opened = self.history.tick();
        self.note(|| format!("client {number} connects to node {node} as {id:?}"));
        self.feed(at, id, Input::Opened, Source::SESSION);
        self.flush_later(at);
        let mut acts = Vec::new();
        self.clients[number].model.opened(&mut acts);
        self.acts(number, acts);
    }

    /// The socket of a connection that goes on elsewhere ends, wherever it is held yet.
    pub(crate) fn abort_elsewhere(&mut self, id: ConnectionId, but: usize) {
        let held: Vec<usize> = self
            .running
            .values()
            .copied()
            .filter(|at| *at != but)
            .collect();
        for at in held {
            self.mail_connection(at, id, ToConnection::EndConnection(End::Gone));
        }
    }

    /// Whoever reads from this connection has something to read.
    pub(crate) fn client_reads(&mut self, at: usize, id: ConnectionId) {
        let Some(one) = self.processes[at].connections.get(&id) else {
            return;
        };
        let number = one.client;
        let its = self.clients[number].at == Some((at, id));
        if its && !std::mem::replace(&mut self.clients[number].reading, true) {
            self.ready(Task::Read(number));
        }
    }

    /// A client reads what has arrived, and answers.
    pub(crate) fn read(&mut self, number: usize) {
        self.clients[number].reading = false;
        let Some(socket) = self.clients[number].socket.clone() else {
            return;
        };
        if socket.full.get() {
            return;
        }
        loop {
            match socket.read() {
                Some(Received::Frame(frame)) => {
                    let mut acts = Vec::new();
                    self.clients[number].model.hear(&frame, &mut acts);
                    if !self.acts(number, acts) {
                        return;
                    }
                }
                Some(Received::Close) => return self.disconnected(number),
                None if socket.aborted.get() => return self.disconnected(number),
                None => return,
            }
        }
    }

    /// False once it has hung up.
    fn acts(&mut self, number: usize, acts: Vec<Act>) -> bool {
        for act in acts {
            match act {
                Act::Say(text) => {
                    if let Some((at, id)) = self.clients[number].at {
                        self.mail_connection(at, id, ToConnection::Frame(text));
                    }
                }
                Act::Saw(seen) => self.saw(number, seen),
                Act::Hangup => {
                    self.disconnected(number);
                    return false;
                }
            }
        }
        true
    }

    /// The client has lost its socket, or drops it, and comes back.
    pub(crate) fn disconnected(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.socket = None;
        client.model.closed();
        if let Some((at, id)) = client.at.take() {
            self.mail_connection(at, id, ToConnection::SocketClosed);
        }
        self.note(|| format!("client {number} has no socket"));
        self.history.closed(number);
        let (least, most) = self.clients[number].model.patience_ms();
        let ms = self.chance.between(least, most);
        self.later(ms, Event::Connect(number));
    }

    /// The goodbye has had its time.
    pub(crate) fn cut_off(
        &mut self,
        at: usize,
        id: ConnectionId,
        number: usize,
        socket: &Rc<Socket>,
    ) {
        socket.aborted.set(true);
        if self.clients[number]
            .socket
            .as_ref()
            .is_some_and(|one| Rc::ptr_eq(one, socket))
        {
            self.ready(Task::Read(number));
        } else {
            let its = self.processes[at].connections.get(&id);
            if its.is_some_and(|one| Rc::ptr_eq(&one.socket, socket)) {
                self.mail_connection(at, id, ToConnection::SocketClosed);
            }
        }
    }

    fn saw(&mut self, number: usize, seen: Seen) {
        self.note(|| format!("client {number} saw {seen:?}"));
        match &seen {
            Seen::Accepted(text) => self.history.answered(text, Outcome::Acknowledged),
            Seen::Refused(text) => self.history.answered(text, Outcome::Unknown),
            Seen::GaveUp => {
                self.reached("a client is refused, and gives up");
                let since = self.clients[number].opened;
                self.refused_for_want(since);
            }
            Seen::Got(_) => self.got_by(number),
            _ => {}
        }
        self.history.saw(number, seen);
    }

    /// Notes by which way a message was got.
    fn got_by(&mut self, number: usize) {
        let client = &self.clients[number];
        if client.wild {
            self.reached("a message is got through a wildcard");
        } else if self.keys[client.channel].space == Space::User {
            self.reached("a message is got in an inbox");
        }
    }

    /// An app server publishes through a node.
    pub(crate) fn call(&mut self, node: u64, channel: usize) {
        let Some(at) = self.running.get(&node).copied() else {
            return;
        };
        let process = &self.processes[at];
        if process.paused || !process.authority.serving() {
            return;
        }
        let call = self.history.asked(Asked::new(channel));
        let text = self.history.text(call);
        self.note(|| format!("{text} is published on {channel} through node {node}"));
        let publish = ToChannel::Publish(draft(&text), Pass::unchecked(), Reply::Call(call));
        self.mail_channel(at, channel, publish);
    }

    /// A client publishes over its own socket.
    pub(crate) fn client_publishes(&mut self, number: usize) {
        let channel = self.clients[number].channel;
        if self.clients[number].at.is_none() {
            return;
        }
        let text = self.history.next_text();
        let mut acts = Vec::new();
        if self.clients[number].model.publish(&text, &mut acts) {
            self.history.asked(Asked::new(channel));
            self.note(|| format!("client {number} publishes {text}"));
            self.acts(number, acts);
        }
    }

    /// A client publishes several messages as one.
    pub(crate) fn client_publishes_batch(&mut self, number: usize) {
        let channel = self.clients[number].channel;
        if self.clients[number].at.is_none() {
            return;
        }
        let first = self.history.asked.len();
        let numbers = first..first + self.chance.between(2, 4) as usize;
        let texts = numbers.clone().map(|one| self.history.text(one as u64));
        let texts: Vec<String> = texts.collect();
        let mut acts = Vec::new();
        if self.clients[number].model.publish_batch(&texts, &mut acts) {
            for _ in &texts {
                self.history.asked(Asked::new(channel));
            }
            self.history.batches.push(numbers);
            self.note(|| format!("client {number} publishes {texts:?} as one"));
            self.acts(number, acts);
        }
    }

    /// What came of a publication.
    pub(crate) fn published(
        &mut self,
        at: usize,
        channel: usize,
        reply: Reply,
        answer: Result<Receipt, Refusal>,
    ) {
        let key = self.keys[channel].clone();
        match (reply, answer) {
            (Reply::Call(call), answer) => {
                let text = self.history.text(call);
                self.note(|| format!("{text} is answered {answer:?}"));
                let outcome = match answer {
                    Ok(receipt) => Outcome::Stamped(receipt.position),
                    Err(Refusal::OutcomeUnknown) => Outcome::Unknown,
                    Err(_) => Outcome::Refused,
                };
                self.history.answered(&text, outcome);
            }
            (Reply::Connection(id, tag, true), Ok(receipt)) => {
                self.tell(at, id, SessionEvent::Published { tag, receipt });
            }
            (Reply::Connection(..), Ok(_)) => {}
            (Reply::Connection(id, tag, _), Err(refusal)) => {
                let event = SessionEvent::PublishRefused {
                    channel: key,
                    tag,
                    refusal,
                };
                self.tell(at, id, event);
            }
        }
    }
}

/// Which of them has wildcards.
const POLLS: usize = 2;
/// The dialects that are played.
const DIALECTS: &[&dyn DialectModel] = &[
    &crate::adapters::pusher::model::Pusher,
    &crate::adapters::ably::model::Ably,
    &crate::adapters::pubnub::model::PubNub,
    &crate::adapters::realtime::model::Realtime { buffered: false },
    &crate::adapters::realtime::model::Realtime { buffered: true },
];
/// Who signs in, and watches the others.
pub(crate) const USERS: &[&str] = &["ann", "bob"];

/// What is published to. Who can be is in the presence set of the second one.
fn channels() -> Vec<Arc<ChannelKey>> {
    let names = ["room-1", "presence-2", "below.a"];
    let rooms = names.map(|name| ChannelKey::channel(APP, name));
    let inboxes = USERS.iter().map(|user| ChannelKey::user(APP, user));
    rooms.into_iter().chain(inboxes).collect()
}

impl World {
    /// A world with clients of every dialect on every channel, and of those that have wildcards and inboxes, on these.
    pub(crate) fn peopled(seed: u64) -> Self {
        let channels = channels();
        let mut world = Self::new(seed, DIALECTS.to_vec(), channels.clone());
        for (channel, key) in channels.iter().enumerate() {
            let most = match (key.space, &*key.name) {
                (Space::User, _) => 1,
                (_, "below.a") => 3,
                _ => world.chance.between(6, 9) as usize,
            };
            for number in 0..most {
                world.joins(number % DIALECTS.len(), channel, key);
            }
        }
        let wildcard = ChannelKey::wildcard(APP, "below.*");
        for _ in 0..2 {
            world.joins(POLLS, 2, &wildcard);
        }
        // On two devices.
        world.joins(0, 3, &channels[3]);
        world
    }

    fn joins(&mut self, dialect: usize, channel: usize, key: &ChannelKey) {
        let own = self.clients.len() as u64;
        let present = key.name.starts_with("presence-");
        let model = DIALECTS[dialect].client(own, key, present);
        let mut client = Client::new(dialect, channel, model);
        client.wild = key.space == Space::Wildcard;
        self.clients.push(client);
    }
}
