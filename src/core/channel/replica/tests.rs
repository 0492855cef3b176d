#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
//! Several nodes, their links and time as one value: every order of events a test likes.

use super::history::Bounds;
use super::lifecycle_log::Unsettled;
use super::protocol::{ForwardedRequest, JoinRequest, Response};
use super::*;
use crate::core::error::Refusal;
use crate::core::ids::{AppId, ChannelKey, Text};
use crate::core::lifecycle::{EventId, LifecycleKind};
use crate::core::message::{Broadcast, ContentKind, Draft, Member, PresenceAction, Receipt};
use crate::core::nodes::Members;
use crate::core::session::Start;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

mod entries;
mod forks;
mod heals;
mod holders;
mod homes;
mod lifecycle;
mod links;
mod missed;
mod moves;
mod orderers;
mod returns;

/// What a world of whole nodes looks at, beside what the replica shows by itself.
impl Replica {
    /// The role it has.
    pub(crate) fn role_name(&self) -> &'static str {
        match &self.role {
            Role::Follower(_) => "follower",
            Role::Claiming(_) => "claiming",
            Role::Home(_) => "home",
        }
    }

    /// Whether it is home and has begun without a copy.
    pub(crate) fn began_with_nothing(&self) -> bool {
        matches!(&self.role, Role::Home(home) if home.guesses)
    }

    /// Whether it has anything that a home could go on with.
    pub(crate) fn has_something(&self) -> bool {
        let own = match &self.role {
            Role::Home(home) => Some(&home.stream),
            Role::Follower(_) | Role::Claiming(_) => self.copy.as_ref().map(|copy| &copy.stream),
        };
        own.is_some_and(|stream| !stream.is_unused())
    }

    /// The presence set and the epoch, as its home has them.
    pub(crate) fn home_view(&self) -> Option<(Vec<Member>, u64)> {
        match &self.role {
            Role::Home(home) => {
                let members = home.stream.presence.members().cloned().collect();
                Some((members, home.stream.log_position().epoch))
            }
            Role::Follower(_) | Role::Claiming(_) => None,
        }
    }

    /// The messages that this node holds: as the home, or in a copy.
    pub(crate) fn held_messages(&self) -> Vec<Arc<crate::core::message::Publication>> {
        let mut held = self.home_history();
        let copy = self.copy.iter();
        held.extend(copy.flat_map(|one| one.stream.history.snapshot().publications().to_vec()));
        held
    }

    /// The messages of its history, as its home has it.
    pub(crate) fn home_history(&self) -> Vec<Arc<crate::core::message::Publication>> {
        match &self.role {
            Role::Home(home) => home.stream.history.snapshot().publications().to_vec(),
            Role::Follower(_) | Role::Claiming(_) => Vec::new(),
        }
    }
}

fn limits() -> Limits {
    Limits {
        bounds: Bounds {
            messages: 100,
            age_ms: 120_000,
            bytes: 1 << 20,
        },
        presence_clients: 100,
        watched: true,
        counts: false,
    }
}

fn draft(data: &str) -> Draft {
    Draft::new(
        "n".into(),
        Bytes::copy_from_slice(data.as_bytes()),
        ContentKind::Text,
    )
}

/// A connection: where, whether it is attached, what it got.
#[derive(Debug)]
struct Conn {
    node: u64,
    member: Option<Text>,
    attached: bool,
    got: Vec<String>,
    /// Messages acknowledged that were asked for while it was attached.
    owed: Vec<String>,
    snapshot: Vec<Member>,
}

struct Sim {
    now: Now,
    key: Arc<ChannelKey>,
    lists: BTreeMap<u64, Arc<Members>>,
    before: BTreeMap<u64, Arc<Members>>,
    states: BTreeMap<u64, Replica>,
    links: BTreeMap<(u64, u64), VecDeque<PeerMessage>>,
    cut: BTreeSet<(u64, u64)>,
    conns: BTreeMap<u64, Conn>,
    tickets: BTreeMap<u64, Asked>,
    next: u64,
    acked: Vec<(String, Receipt)>,
    refused: Vec<Refusal>,
    /// The lifecycle, as the world is told it: what was told again under the same id is there once.
    told: Vec<LifecycleKind>,
    ids: BTreeSet<EventId>,
    /// What a node's listener has been told and has not brought to the world yet.
    carried: BTreeMap<u64, VecDeque<Unsettled>>,
    /// As long as this holds, no listener gets to it.
    world_is_away: bool,
    /// Subscribers are told their number.
    counts: bool,
    /// Somebody listens to the lifecycle.
    watched: bool,
    /// Connections that were sent away because something was missed, and whether they have left the channel.
    interrupted: Vec<(u64, Conn)>,
    left: usize,
    /// Nodes that know of no majority.
    uncounted: BTreeSet<u64>,
    /// Nodes that stand still: frames to them wait, and their time.
    paused: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
enum Asked {
    /// The text, and who was attached when it was asked for.
    Publish(String, Vec<u64>),
    /// The same of several in one.
    Batch(Vec<String>, Vec<u64>),
    Join(u64),
}

fn list(ids: &[u64], draining: &[u64], revision: u64) -> Arc<Members> {
    let nodes = |ids: &[u64]| ids.iter().map(|id| (NodeId(*id), 1)).collect();
    Arc::new(Members {
        live: nodes(ids),
        draining: nodes(draining),
        revision,
    })
}

impl Sim {
    fn new(ids: &[u64]) -> Self {
        let members = list(ids, &[], 1);
        Self {
            now: Now {
                mono_ms: 1_000,
                cluster_ms: 1_000_000,
            },
            key: ChannelKey::channel(AppId(7), "room-1"),
            lists: ids.iter().map(|id| (*id, members.clone())).collect(),
            before: BTreeMap::new(),
            states: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            conns: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next: 0,
            acked: Vec::new(),
            refused: Vec::new(),
            told: Vec::new(),
            ids: BTreeSet::new(),
            carried: BTreeMap::new(),
            world_is_away: false,
            counts: false,
            watched: true,
            interrupted: Vec::new(),
            left: 0,
            uncounted: BTreeSet::new(),
            paused: BTreeSet::new(),
        }
    }

    fn home(&self) -> u64 {
        let members = self
            .lists
            .values()
            .max_by_key(|list| list.revision)
            .unwrap();
        members.place(&self.key).unwrap().home.0
    }

    fn backup(&self) -> u64 {
        let place = self.lists[&self.home()].place(&self.key).unwrap();
        place.backup.unwrap().0
    }

    fn ids(&self) -> Vec<u64> {
        self.lists.keys().copied().collect()
    }

    fn feed(&mut self, node: u64, input: Input) {
        let Some(members) = self.lists.get(&node) else {
            return;
        };
        let mut out = Vec::new();
        let birth = NewReplica {
            key: self.key.clone(),
            node: NodeId(node),
            members: members.clone(),
            before: self.before.get(&node).cloned(),
            limits: Limits {
                counts: self.counts,
                watched: self.watched,
                ..limits()
            },
            lease_ms: 3_000,
            seed: node * 1_000_000 + self.next,
        };
        let now = self.now;
        let state = self
            .states
            .entry(node)
            .or_insert_with(|| Replica::new(birth, now, &mut out));
        let before = (!state.may_wait(&input)).then(|| state.wake_at());
        state.handle(input, now, &mut out);
        assert!(before.is_none_or(|before| before == state.wake_at()));
        for effect in out {
            self.carry_out(node, effect);
        }
    }

    fn carry_out(&mut self, node: u64, effect: Effect) {
        match effect {
            Effect::Deliver(broadcast) => {
                let text = match broadcast {
                    Broadcast::Message(one) => String::from_utf8(one.draft.data.to_vec()).unwrap(),
                    Broadcast::Presence(one) => {
                        format!("{:?} {}", one.action, one.member.connection.0)
                    }
                    Broadcast::Count(_) => return,
                };
                let here = self.conns.values_mut().filter(|one| one.node == node);
                for conn in here.filter(|one| one.attached) {
                    conn.got.push(text.clone());
                }
            }
            Effect::Send { to, message } => {
                assert_ne!(to.0, node, "to itself: {message:?}");
                if self.cut.contains(&pair(node, to.0)) || !self.lists.contains_key(&to.0) {
                    if let PeerMessage::Request(ForwardedRequest { id: request, .. }) = message {
                        self.feed(node, Input::Unsent(request));
                    }
                } else {
                    self.links
                        .entry((node, to.0))
                        .or_default()
                        .push_back(message);
                }
            }
            Effect::SendAll { to, message } => {
                for to in to {
                    let message = message.clone();
                    self.carry_out(node, Effect::Send { to, message });
                }
            }
            Effect::Respond {
                ticket,
                response: answer,
            } => self.answered(ticket, answer),
            Effect::Cancel(ticket) => drop(self.tickets.remove(&ticket)),
            Effect::Lifecycle(one) => {
                self.carried.entry(node).or_default().push_back(one);
                self.bring(node);
            }
            Effect::Missed => {
                let here = self.conns.iter().filter(|(_, one)| one.node == node);
                let there: Vec<u64> = here
                    .filter(|(_, one)| one.attached)
                    .map(|(id, _)| *id)
                    .collect();
                for id in there {
                    if let Some(conn) = self.conns.remove(&id) {
                        self.interrupted.push((id, conn));
                    }
                }
            }
            Effect::Stop => drop(self.states.remove(&node)),
        }
    }

    /// A node's listener brings what it carries to the world, unless another node is home by now and does that.
    fn bring(&mut self, node: u64) {
        while !self.world_is_away
            && let Some(one) = self.carried.get_mut(&node).and_then(VecDeque::pop_front)
        {
            let place = self.lists.get(&node).and_then(|list| list.place(&self.key));
            if place.is_none_or(|place| place.home.0 != node) {
                continue;
            }
            if self.ids.insert(one.id) {
                if one.kind == LifecycleKind::Vacated {
                    let there = self.conns.values().filter(|one| one.attached);
                    assert_eq!(there.count(), 0, "vacated while somebody is there");
                }
                self.told.push(one.kind);
            }
            self.feed(node, Input::Settled(vec![one.id]));
        }
    }

    fn answered(&mut self, ticket: u64, answer: Result<Response, Refusal>) {
        match (self.tickets.remove(&ticket), answer) {
            (Some(Asked::Publish(text, there)), Ok(Response::Receipt(receipt))) => {
                for id in there {
                    if let Some(conn) = self.conns.get_mut(&id) {
                        conn.owed.push(text.clone());
                    }
                }
                self.acked.push((text, receipt));
            }
            (Some(Asked::Batch(texts, there)), Ok(Response::Receipts(receipts))) => {
                assert_eq!(texts.len(), receipts.len());
                for id in there {
                    if let Some(conn) = self.conns.get_mut(&id) {
                        conn.owed.extend(texts.clone());
                    }
                }
                self.acked.extend(texts.into_iter().zip(receipts));
            }
            (Some(Asked::Join(id)), Ok(Response::Joined(joined))) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.attached = true;
                    conn.snapshot = joined.members.unwrap().to_vec();
                }
            }
            (Some(Asked::Join(id)), Err(refusal)) => {
                self.conns.remove(&id);
                self.refused.push(refusal);
            }
            (Some(Asked::Publish(..) | Asked::Batch(..)), Err(refusal)) => {
                self.refused.push(refusal);
            }
            (None, _) => {}
            (Some(other), Ok(answer)) => panic!("{other:?} got {answer:?}"),
        }
    }

    fn ask(&mut self, node: u64, asked: Asked, ask: Request) {
        self.next += 1;
        let ticket = self.next;
        self.tickets.insert(ticket, asked);
        self.feed(
            node,
            Input::Request {
                ticket,
                request: ask,
            },
        );
    }

    fn publish(&mut self, node: u64) -> String {
        let text = format!("m{}", self.next);
        let attached = self.conns.iter().filter(|(_, one)| one.attached);
        let asked = Asked::Publish(text.clone(), attached.map(|(id, _)| *id).collect());
        self.ask(node, asked, Request::Publish(Box::new(draft(&text))));
        text
    }

    fn publish_batch(&mut self, node: u64, size: usize) {
        let of = self.next;
        let texts: Vec<String> = (0..size).map(|n| format!("m{of}.{n}/{size}")).collect();
        let attached = self.conns.iter().filter(|(_, one)| one.attached);
        let asked = Asked::Batch(texts.clone(), attached.map(|(id, _)| *id).collect());
        let drafts = texts.iter().map(|text| draft(text)).collect();
        self.ask(node, asked, Request::PublishBatch(drafts));
    }

    fn join(&mut self, node: u64, member: bool) -> u64 {
        let id = self.next + 1;
        let client: Option<Text> = member.then(|| format!("u{}", id % 3).into());
        let conn = Conn {
            node,
            member: client.clone(),
            attached: false,
            got: Vec::new(),
            owed: Vec::new(),
            snapshot: Vec::new(),
        };
        self.conns.insert(id, conn);
        let ask = Request::Join(JoinRequest {
            connection: ConnectionId(id, id),
            start: Start::Now,
            member: client.map(|client| (client, Bytes::new())),
            with_members: true,
            subscribers: 0,
        });
        self.ask(node, Asked::Join(id), ask);
        id
    }

    fn leave(&mut self, id: u64) {
        if let Some(conn) = self.conns.remove(&id) {
            let connection = ConnectionId(id, id);
            let gone = id.is_multiple_of(2);
            self.feed(conn.node, Input::Leave { connection, gone });
        }
    }

    /// Delivers the next frame of some link; false when all are empty.
    fn step(&mut self, pick: usize) -> bool {
        let awake = |to: u64| !self.paused.contains(&to);
        let ready = self.links.iter();
        let ready = ready.filter(|((_, to), queue)| awake(*to) && !queue.is_empty());
        let ready: Vec<(u64, u64)> = ready.map(|(link, _)| *link).collect();
        if ready.is_empty() {
            return false;
        }
        let (from, to) = ready[pick % ready.len()];
        let message = self
            .links
            .get_mut(&(from, to))
            .unwrap()
            .pop_front()
            .unwrap();
        if message.starts_channel() || self.states.contains_key(&to) {
            let from = NodeId(from);
            self.feed(to, Input::From { from, message });
        }
        true
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.cluster_ms += ms;
        for node in self.ids() {
            let state = self.states.get(&node);
            if !self.paused.contains(&node)
                && state.is_some_and(|one| one.wake_at() <= self.now.mono_ms)
            {
                let serving = !self.uncounted.contains(&node);
                self.feed(node, Input::Wake { serving });
            }
        }
    }

    fn settle(&mut self) {
        self.quiet();
        while self.left < self.interrupted.len() {
            let (id, conn) = &self.interrupted[self.left];
            let (connection, node) = (ConnectionId(*id, *id), conn.node);
            self.left += 1;
            let gone = true;
            self.feed(node, Input::Leave { connection, gone });
            self.quiet();
        }
    }

    fn quiet(&mut self) {
        let mut quiet = 0;
        for pick in 0.. {
            assert!(pick < 200_000, "never quiet: {:?}", self.links);
            if self.step(pick) {
                quiet = 0;
            } else if quiet > 60 {
                break;
            } else {
                quiet += 1;
                self.pass(50);
            }
        }
    }

    fn break_link(&mut self, a: u64, b: u64) {
        self.cut.insert(pair(a, b));
        self.links.remove(&(a, b));
        self.links.remove(&(b, a));
    }

    fn mend(&mut self, a: u64, b: u64) {
        if self.cut.remove(&pair(a, b)) {
            for (here, there) in [(a, b), (b, a)] {
                if self.states.contains_key(&here) {
                    self.feed(here, Input::LinkUp(NodeId(there)));
                }
            }
        }
    }

    /// The links carry frames again before this channel is told so: a node has very many.
    fn mend_late(&mut self, pick: usize) {
        let mended = std::mem::take(&mut self.cut);
        for (a, b) in mended {
            for (here, there) in [(a, b), (b, a)] {
                for n in 0..pick % 7 {
                    self.step(pick.wrapping_add(n));
                }
                if self.states.contains_key(&here) {
                    self.feed(here, Input::LinkUp(NodeId(there)));
                }
            }
        }
    }

    fn mend_all(&mut self) {
        for (a, b) in self.cut.clone() {
            self.mend(a, b);
        }
    }

    fn kill(&mut self, node: u64) {
        self.lists.remove(&node);
        self.states.remove(&node);
        self.carried.remove(&node);
        self.links.retain(|(a, b), _| *a != node && *b != node);
        self.conns.retain(|_, conn| conn.node != node);
    }

    /// The node comes back empty under its old id before anybody called it dead.
    fn restart(&mut self, node: u64) {
        let rest: Vec<u64> = self.ids().into_iter().filter(|id| *id != node).collect();
        let without = list(&rest, &[], 1);
        let mut members = Members::clone(&self.lists[&node]);
        for (id, epoch) in &mut members.live {
            *epoch += u64::from(id.0 == node);
        }
        members.revision += 1;
        let members = Arc::new(members);
        self.kill(node);
        self.lists.insert(node, members.clone());
        self.before.insert(node, without);
        for other in rest {
            self.cut.insert(pair(node, other));
            self.mend(node, other);
            self.rehome(other, &members);
        }
    }

    fn rehome(&mut self, node: u64, members: &Arc<Members>) {
        if let Some(old) = self.lists.insert(node, members.clone()) {
            self.before.insert(node, old);
        }
        if self.states.contains_key(&node) {
            self.feed(node, Input::MembersChanged(members.clone()));
        }
    }

    fn present(&self) -> BTreeSet<u64> {
        let inside = self.conns.iter().filter(|(_, one)| one.member.is_some());
        inside
            .filter(|(_, one)| one.attached)
            .map(|(id, _)| *id)
            .collect()
    }

    /// That everybody got what was acknowledged, and is counted.
    fn check_delivery(&self) {
        for (id, conn) in &self.conns {
            let lacks = conn.owed.iter().find(|text| !conn.got.contains(text));
            assert_eq!(lacks, None, "{id} got {:?}", conn.got);
        }
        let Some(Role::Home(home)) = self.states.get(&self.home()).map(|one| &one.role) else {
            panic!("no home");
        };
        let elsewhere = self.conns.values().filter(|one| one.node != self.home());
        let counted: u64 = home.interest.values().sum();
        assert_eq!(counted, elsewhere.count() as u64, "interest");
    }

    /// What must hold once everything is quiet and nothing was missed.
    fn check(&self) {
        assert_eq!(self.interrupted.len(), 0, "{:?}", self.interrupted);
        let home = self.states.get(&self.home());
        for (id, conn) in &self.conns {
            assert!(conn.attached, "{id} waits for ever");
            let messages: Vec<&String> =
                conn.got.iter().filter(|one| one.starts_with('m')).collect();
            let unique: BTreeSet<_> = messages.iter().collect();
            assert_eq!(unique.len(), messages.len(), "twice at {id}: {messages:?}");
            for text in &conn.owed {
                assert!(
                    messages.contains(&text),
                    "{id} lacks {text}: {:?}",
                    conn.got
                );
            }
            for other in self.conns.values() {
                let both = |list: &[String], of: &[String]| -> Vec<String> {
                    list.iter()
                        .filter(|one| of.contains(one))
                        .cloned()
                        .collect()
                };
                let shared = both(&conn.got, &other.got);
                let theirs = both(&other.got, &conn.got);
                assert_eq!(shared, theirs, "two orders");
            }
            self.check_presence(*id, conn);
            self.check_batches(*id, conn);
        }
        if let Some(Role::Home(home)) = home.map(|state| &state.role) {
            let members = home.stream.presence.members();
            let set: BTreeSet<u64> = members.map(|one| one.connection.0).collect();
            assert_eq!(set, self.present(), "the home's set");
            let told: u64 = home.interest.values().sum();
            let elsewhere = self.conns.values().filter(|one| one.node != self.home());
            assert_eq!(told, elsewhere.count() as u64, "interest");
        } else {
            assert!(self.conns.is_empty(), "no home");
        }
        self.check_digests();
        for state in self.states.values() {
            assert!(match &state.role {
                Role::Follower(follower) => follower.idle(),
                Role::Claiming(claim) => claim.follower.idle(),
                Role::Home(home) => home.unanswered.is_empty() && !home.waits(),
            });
        }
    }

    /// That home and followers have the same of each other, by the numbers that they compare.
    fn check_digests(&self) {
        let Some(home) = self.states.get(&self.home()) else {
            return;
        };
        let mut heard = Vec::new();
        home.heard_interest(&mut heard);
        let own = self.states.iter().filter_map(|(node, state)| {
            let (to, number) = state.own_interest()?;
            assert_eq!(to.0, self.home());
            Some((NodeId(*node), number))
        });
        assert_eq!(heard, own.collect::<Vec<_>>(), "two digests");
    }

    /// Who got one of a batch got all of it, in order and with nothing in between.
    fn check_batches(&self, id: u64, conn: &Conn) {
        for (at, text) in conn.got.iter().enumerate() {
            let Some((of, rest)) = text.split_once('.') else {
                continue;
            };
            let (n, size) = rest.split_once('/').unwrap();
            let (n, size): (usize, usize) = (n.parse().unwrap(), size.parse().unwrap());
            let first = at.checked_sub(n).expect("the first is there");
            let whole: Vec<String> = (0..size).map(|n| format!("{of}.{n}/{size}")).collect();
            let got = conn.got.get(first..first + size);
            assert_eq!(got, Some(&whole[..]), "{id} got {:?}", conn.got);
        }
    }

    /// Snapshot plus changes is the set, and nobody enters twice.
    fn check_presence(&self, id: u64, conn: &Conn) {
        let mut set: BTreeSet<u64> = conn.snapshot.iter().map(|one| one.connection.0).collect();
        for text in &conn.got {
            let Some((action, whose)) = text.split_once(' ') else {
                continue;
            };
            let whose: u64 = whose.parse().unwrap();
            let entered = action == format!("{:?}", PresenceAction::Enter);
            let news = if entered {
                set.insert(whose)
            } else {
                set.remove(&whose)
            };
            assert!(news, "{id} was told again: {text} in {:?}", conn.got);
        }
        assert_eq!(
            set,
            self.present(),
            "{id} sees another set; it got {:?}",
            conn.got
        );
    }
}

fn pair(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

/// An entry of a presence set, on which tests agree.
fn whose() -> EntryKey {
    (ConnectionId(9, 9), Text::from("ana"))
}

/// Asks a node, under a ticket that nobody has used.
fn ask(sim: &mut Sim, node: u64, request: Request) {
    sim.next += 1;
    let ticket = 10_000 + sim.next;
    sim.feed(node, Input::Request { ticket, request });
}
