//! The shell of a channel on one node, as `core/channel/actor.rs` is one: a mailbox and a timer around the real replica.

use super::process::Process;
use super::world::{Event as Later, Task, World};
use crate::core::authority::{Operations, Pass, Reason};
use crate::core::channel::digest::Counted;
use crate::core::channel::replica::Replica;
use crate::core::channel::replica::history::Bounds;
use crate::core::channel::replica::io::{Effect, Input, Limits, NewReplica, Ticket};
use crate::core::channel::replica::protocol::{
    ForwardedRequest, JoinRequest, PeerMessage, Request,
};
use crate::core::channel::{requests, wildcard};
use crate::core::delivery::encoding::{EncodingId, Frames};
use crate::core::delivery::messages::{Deliver, Interrupt};
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, NodeId, Space};
use crate::core::message::{Broadcast, Draft};
use crate::core::nodes::Members;
use crate::core::session::{DeliveryMode, HistoryPage, PresenceRequest, Subscribe};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a channel is told.
#[derive(Debug)]
pub(crate) enum ToChannel {
    Join(ConnectionId, EncodingId, Box<Subscribe>, Pass),
    Leave {
        connection: ConnectionId,
        gone: bool,
        keeps_members: bool,
    },
    Publish(Box<Draft>, Pass, Reply),
    PublishBatch(Vec<Draft>, Pass, ConnectionId, u64),
    /// What was broadcast in a channel below this wildcard.
    Repeat(Draft),
    Presence(ConnectionId, Box<PresenceRequest>, Pass),
    Members(ConnectionId, u64),
    History(ConnectionId, u64, HistoryPage),
    From(NodeId, PeerMessage),
    LinkUp(NodeId),
    Differs(NodeId),
    Dropped(NodeId),
    MembersChanged(Arc<Members>),
    Wake,
}

/// Where the answer to a publication goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// To a connection: with its tag, and whether success is told.
    Connection(ConnectionId, u64, bool),
    /// To a call of the story's.
    Call(u64),
}

/// Who waits for a response.
#[derive(Debug)]
pub(super) enum Waiting {
    Publish(Reply),
    Batch(ConnectionId, u64),
    /// Nobody: its publisher was answered where it published. It is repeated until it is there.
    Repeat(Draft, usize),
    Join(Box<Joiner>),
    Presence(ConnectionId, u64),
    Members(ConnectionId, u64),
    History(ConnectionId, u64),
}

#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) connection: ConnectionId,
    pub(super) encoding: EncodingId,
    pub(super) granted: Operations,
    pub(super) mode: DeliveryMode,
    pub(super) echo: bool,
    pub(super) tag: u64,
}

/// One channel on one node.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    pub(crate) replica: Option<Replica>,
    pub(crate) mailbox: VecDeque<ToChannel>,
    pub(crate) queued: bool,
    pub(super) subscribers: BTreeMap<ConnectionId, (EncodingId, DeliveryMode)>,
    pub(super) waiting: BTreeMap<Ticket, Waiting>,
    counted: Option<Counted>,
    tickets: Ticket,
    wakes_at: Option<u64>,
}

/// What the world's app allows its channels.
fn limits(key: &ChannelKey) -> Limits {
    Limits {
        bounds: Bounds {
            messages: 100,
            age_ms: 120_000,
            bytes: 1 << 20,
        },
        presence_clients: 100,
        counts: false,
        watched: key.space == Space::Channel,
    }
}

fn denied(pass: &Pass, needs: Operations, process: &Process) -> Option<Refusal> {
    let allowed = pass.allows(needs, process.now());
    (!allowed).then_some(Refusal::Denied(Reason::NotGranted(needs)))
}

impl World {
    /// Puts a message into a channel's mailbox on a node.
    pub(crate) fn mail_channel(&mut self, at: usize, channel: usize, message: ToChannel) {
        let process = &mut self.processes[at];
        if !process.alive {
            return;
        }
        let actor = process.channels.entry(channel).or_default();
        actor.mailbox.push_back(message);
        if !std::mem::replace(&mut actor.queued, true) {
            self.ready(Task::Channel(at, channel));
        }
    }

    /// Takes the next message out of a channel's mailbox.
    pub(crate) fn run_channel(&mut self, at: usize, channel: usize) {
        let Some(actor) = self.processes[at].channels.get_mut(&channel) else {
            return;
        };
        let message = actor.mailbox.pop_front();
        actor.queued = !actor.mailbox.is_empty();
        if actor.queued {
            self.ready(Task::Channel(at, channel));
        }
        if let Some(message) = message {
            self.take(at, channel, message);
        }
    }

    fn take(&mut self, at: usize, channel: usize, message: ToChannel) {
        let process = &self.processes[at];
        match message {
            ToChannel::Join(connection, encoding, request, pass) => {
                if let Some(refusal) = denied(&pass, request.needs, process) {
                    return self.refuse(at, channel, connection, request.tag, refusal);
                }
                let joiner = Joiner {
                    connection,
                    encoding,
                    granted: pass.operations(),
                    mode: request.delivery,
                    echo: request.echo,
                    tag: request.tag,
                };
                let asked = Request::Join(JoinRequest {
                    connection,
                    start: request.start,
                    member: request.member.map(|one| (one.client, one.data)),
                    with_members: request.with_members,
                    subscribers: 0,
                });
                self.ask(at, channel, asked, Waiting::Join(Box::new(joiner)));
            }
            ToChannel::Leave {
                connection,
                gone,
                keeps_members,
            } => {
                self.detach(at, channel, connection);
                let input = match keeps_members {
                    true => Input::Detach { connection },
                    false => Input::Leave { connection, gone },
                };
                self.feed_channel(at, channel, input);
            }
            ToChannel::Publish(draft, pass, reply) => {
                match denied(&pass, Operations::PUBLISH, process) {
                    Some(refusal) => self.published(at, channel, reply, Err(refusal)),
                    None => {
                        let request = Request::Publish(draft);
                        self.ask(at, channel, request, Waiting::Publish(reply));
                    }
                }
            }
            ToChannel::PublishBatch(drafts, _pass, connection, tag) => {
                let request = Request::PublishBatch(drafts);
                self.ask(at, channel, request, Waiting::Batch(connection, tag));
            }
            ToChannel::Repeat(draft) => {
                self.ask_to_repeat(at, channel, draft, wildcard::ATTEMPTS);
            }
            ToChannel::Presence(connection, request, pass) => {
                if let Some(refusal) = denied(&pass, Operations::PRESENCE, process) {
                    let tag = request.tag;
                    return self.presence_done(at, channel, (connection, tag), Some(refusal));
                }
                let waiting = Waiting::Presence(connection, request.tag);
                let asked = requests::presence(connection, *request);
                self.ask(at, channel, asked, waiting);
            }
            ToChannel::Members(connection, tag) => {
                self.ask(
                    at,
                    channel,
                    Request::Members,
                    Waiting::Members(connection, tag),
                );
            }
            ToChannel::History(connection, tag, page) => {
                let waiting = Waiting::History(connection, tag);
                self.ask(at, channel, Request::History(page), waiting);
            }
            ToChannel::From(from, message) => {
                self.feed_channel(at, channel, Input::From { from, message });
            }
            ToChannel::LinkUp(node) => self.feed_channel(at, channel, Input::LinkUp(node)),
            ToChannel::Differs(node) => self.feed_channel(at, channel, Input::Differs(node)),
            ToChannel::Dropped(node) => self.feed_channel(at, channel, Input::Dropped(node)),
            ToChannel::MembersChanged(members) => {
                self.feed_channel(at, channel, Input::MembersChanged(members));
            }
            ToChannel::Wake => {
                let serving = process.authority.serving();
                self.feed_channel(at, channel, Input::Wake { serving });
            }
        }
    }

    pub(super) fn ask(&mut self, at: usize, channel: usize, request: Request, waiting: Waiting) {
        let Some(actor) = self.processes[at].channels.get_mut(&channel) else {
            return;
        };
        actor.tickets += 1;
        let ticket = actor.tickets;
        actor.waiting.insert(ticket, waiting);
        self.feed_channel(at, channel, Input::Request { ticket, request });
    }

    /// Starts the replica, if there is none.
    fn born(&mut self, at: usize, channel: usize, out: &mut Vec<Effect>) {
        let seed = self.chance.next();
        let key = self.keys[channel].clone();
        let process = &mut self.processes[at];
        let new = NewReplica {
            limits: limits(&key),
            key,
            node: NodeId(process.node),
            members: process.members(),
            before: process.members_before(),
            lease_ms: super::process::LEASE_MS,
            seed,
        };
        let now = process.now();
        let actor = process.channels.entry(channel).or_default();
        if actor.replica.is_none() {
            actor.tickets = actor.tickets.max(seed >> 1);
            let counted = Counted::new(process.digests.clone(), &self.keys[channel]);
            let counted = actor.counted.insert(counted);
            let replica = actor.replica.insert(Replica::new(new, now, out));
            counted.update(replica);
            self.began(at, channel);
        }
    }

    pub(crate) fn feed_channel(&mut self, at: usize, channel: usize, input: Input) {
        let mut out = Vec::new();
        self.born(at, channel, &mut out);
        let process = &mut self.processes[at];
        let now = process.now();
        let Some(actor) = process.channels.get_mut(&channel) else {
            return;
        };
        let Some(replica) = &mut actor.replica else {
            return;
        };
        let (before, was_home) = (replica.role_name(), replica.is_home());
        let counts = input.may_change_counts();
        replica.handle(input, now, &mut out);
        if let Some(counted) = actor.counted.as_mut().filter(|_| counts) {
            counted.update(replica);
        }
        let after = replica.role_name();
        let wake_at = replica.wake_at();
        let sooner = actor.wakes_at.is_none_or(|at| wake_at < at);
        if sooner {
            actor.wakes_at = Some(wake_at);
        }
        if before != after {
            self.moved(at, channel, before, after);
            self.began(at, channel);
        }
        if sooner {
            self.later_mono(at, wake_at, Later::Wake(at, channel));
        }
        if !was_home {
            self.repeat_recent(at, channel);
        }
        for effect in out {
            self.carry_out(at, channel, effect);
        }
    }

    /// The timer of a channel has run down, or one that was replaced.
    pub(crate) fn wake_channel(&mut self, at: usize, channel: usize) {
        let process = &mut self.processes[at];
        let now_ms = process.now().mono_ms;
        let Some(actor) = process.channels.get_mut(&channel) else {
            return;
        };
        if actor.wakes_at.is_some_and(|at| at <= now_ms) && actor.replica.is_some() {
            actor.wakes_at = None;
            self.mail_channel(at, channel, ToChannel::Wake);
        }
    }

    fn carry_out(&mut self, at: usize, channel: usize, effect: Effect) {
        match effect {
            Effect::Deliver(broadcast) => {
                self.repeat(at, channel, &broadcast);
                self.deliver(at, channel, broadcast);
            }
            Effect::Send { to, message } => {
                let unsent = match &message {
                    PeerMessage::Request(ForwardedRequest { id, .. }) => Some(*id),
                    _ => None,
                };
                if !self.send(at, to.0, channel, message)
                    && let Some(ticket) = unsent
                {
                    let process = &mut self.processes[at];
                    let now = process.now();
                    let actor = process.channels.get_mut(&channel);
                    if let Some(replica) = actor.and_then(|one| one.replica.as_mut()) {
                        replica.handle(Input::Unsent(ticket), now, &mut Vec::new());
                    }
                }
            }
            Effect::SendAll { to, message } => {
                for to in to {
                    self.send(at, to.0, channel, message.clone());
                }
            }
            Effect::Respond { ticket, response } => self.respond(at, channel, ticket, response),
            Effect::Cancel(ticket) => {
                if let Some(actor) = self.processes[at].channels.get_mut(&channel) {
                    actor.waiting.remove(&ticket);
                }
            }
            Effect::Lifecycle(one) => self.lifecycle(at, channel, one),
            Effect::Missed => {
                self.reached("what was missed is beyond the history");
                let channel = self.keys[channel].clone();
                self.processes[at]
                    .dispatch
                    .interrupt(&Interrupt { channel });
            }
            Effect::Stop => {
                if let Some(actor) = self.processes[at].channels.get_mut(&channel) {
                    actor.replica = None;
                    actor.counted = None;
                    actor.wakes_at = None;
                }
            }
        }
    }

    fn deliver(&mut self, at: usize, channel: usize, broadcast: Broadcast) {
        self.stamped(at, channel, &broadcast);
        let key = self.keys[channel].clone();
        let process = &mut self.processes[at];
        let Some(actor) = process
            .channels
            .get(&channel)
            .filter(|one| !one.subscribers.is_empty())
        else {
            return;
        };
        let shared = actor.subscribers.values();
        let shared = shared.filter(|(_, mode)| *mode == DeliveryMode::Shared);
        let mut used: Vec<EncodingId> = shared.map(|(encoding, _)| *encoding).collect();
        used.sort_unstable();
        used.dedup();
        let encode = |id: &EncodingId| Some((*id, self.encodings.encode(*id, &key, &broadcast)?));
        let frames: Frames = used.iter().filter_map(encode).collect();
        let (except, publisher) = match &broadcast {
            Broadcast::Message(one) => (one.draft.except, one.draft.connection),
            Broadcast::Presence(_) | Broadcast::Count(_) => (None, None),
        };
        process.dispatch.deliver(Deliver {
            channel: key,
            frames,
            broadcast,
            except,
            publisher,
        });
        self.flush_later(at);
    }
}
