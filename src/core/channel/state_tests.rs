#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
//! Several nodes, their links and time as one value: every order of events a test likes.

use super::*;
use crate::core::connection::Start;
use crate::core::ids::{AppId, Text};
use crate::core::message::{ContentKind, Draft, Member, PresenceAction, Receipt};
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

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
    Draft {
        id: None,
        name: "n".into(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        kind: ContentKind::Text,
        meta: None,
        client: None,
        connection: None,
        except: None,
        store: true,
        retain_ms: None,
        tag: None,
    }
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
    states: BTreeMap<u64, State>,
    links: BTreeMap<(u64, u64), VecDeque<Wire>>,
    cut: BTreeSet<(u64, u64)>,
    conns: BTreeMap<u64, Conn>,
    tickets: BTreeMap<u64, Asked>,
    next: u64,
    acked: Vec<(String, Receipt)>,
    refused: Vec<Refusal>,
    /// The lifecycle, as the world is told it.
    told: Vec<Happening>,
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

    fn ids(&self) -> Vec<u64> {
        self.lists.keys().copied().collect()
    }

    fn feed(&mut self, node: u64, input: Input) {
        let Some(members) = self.lists.get(&node) else {
            return;
        };
        let mut out = Vec::new();
        let birth = Birth {
            key: self.key.clone(),
            node: NodeId(node),
            members: members.clone(),
            before: self.before.get(&node).cloned(),
            limits: limits(),
            seed: node * 1_000_000 + self.next,
        };
        let now = self.now;
        let state = self
            .states
            .entry(node)
            .or_insert_with(|| State::new(birth, now, &mut out));
        state.handle(input, now, &mut out);
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
            Effect::Send { to, wire } => {
                assert_ne!(to.0, node, "to itself: {wire:?}");
                if self.cut.contains(&pair(node, to.0)) || !self.lists.contains_key(&to.0) {
                    if let Wire::Request { request, .. } = wire {
                        self.feed(node, Input::Unsent(request));
                    }
                } else {
                    self.links.entry((node, to.0)).or_default().push_back(wire);
                }
            }
            Effect::Answer { ticket, answer } => self.answered(ticket, answer),
            Effect::Forget(ticket) => drop(self.tickets.remove(&ticket)),
            Effect::Happened(happening) => {
                if happening == Happening::Vacated {
                    let there = self.conns.values().filter(|one| one.attached);
                    assert_eq!(there.count(), 0, "vacated while somebody is there");
                }
                self.told.push(happening);
            }
            Effect::Lost => panic!("within the journal nothing is lost"),
            Effect::Retire => drop(self.states.remove(&node)),
        }
    }

    fn answered(&mut self, ticket: u64, answer: Result<Answer, Refusal>) {
        match (self.tickets.remove(&ticket), answer) {
            (Some(Asked::Publish(text, there)), Ok(Answer::Receipt(receipt))) => {
                for id in there {
                    if let Some(conn) = self.conns.get_mut(&id) {
                        conn.owed.push(text.clone());
                    }
                }
                self.acked.push((text, receipt));
            }
            (Some(Asked::Batch(texts, there)), Ok(Answer::Receipts(receipts))) => {
                assert_eq!(texts.len(), receipts.len());
                for id in there {
                    if let Some(conn) = self.conns.get_mut(&id) {
                        conn.owed.extend(texts.clone());
                    }
                }
                self.acked.extend(texts.into_iter().zip(receipts));
            }
            (Some(Asked::Join(id)), Ok(Answer::Joined(joined))) => {
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

    fn ask(&mut self, node: u64, asked: Asked, ask: Ask) {
        self.next += 1;
        let ticket = self.next;
        self.tickets.insert(ticket, asked);
        self.feed(node, Input::Ask { ticket, ask });
    }

    fn publish(&mut self, node: u64) -> String {
        let text = format!("m{}", self.next);
        let attached = self.conns.iter().filter(|(_, one)| one.attached);
        let asked = Asked::Publish(text.clone(), attached.map(|(id, _)| *id).collect());
        self.ask(node, asked, Ask::Publish(Box::new(draft(&text))));
        text
    }

    fn publish_batch(&mut self, node: u64, size: usize) {
        let of = self.next;
        let texts: Vec<String> = (0..size).map(|n| format!("m{of}.{n}/{size}")).collect();
        let attached = self.conns.iter().filter(|(_, one)| one.attached);
        let asked = Asked::Batch(texts.clone(), attached.map(|(id, _)| *id).collect());
        let drafts = texts.iter().map(|text| draft(text)).collect();
        self.ask(node, asked, Ask::PublishBatch(drafts));
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
        let ask = Ask::Join {
            connection: ConnectionId(id, id),
            start: Start::Now,
            member: client.map(|client| (client, Bytes::new())),
            with_members: true,
            subscribers: 0,
        };
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
        let ready = self.links.iter().filter(|(_, queue)| !queue.is_empty());
        let ready: Vec<(u64, u64)> = ready.map(|(link, _)| *link).collect();
        if ready.is_empty() {
            return false;
        }
        let (from, to) = ready[pick % ready.len()];
        let wire = self
            .links
            .get_mut(&(from, to))
            .unwrap()
            .pop_front()
            .unwrap();
        if wire.starts() || self.states.contains_key(&to) {
            let from = NodeId(from);
            self.feed(to, Input::From { from, wire });
        }
        true
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.cluster_ms += ms;
        for node in self.ids() {
            if self
                .states
                .get(&node)
                .is_some_and(|one| one.wake_at() <= self.now.mono_ms)
            {
                self.feed(node, Input::Wake);
            }
        }
    }

    fn settle(&mut self) {
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

    fn mend_all(&mut self) {
        for (a, b) in self.cut.clone() {
            self.mend(a, b);
        }
    }

    fn kill(&mut self, node: u64) {
        self.lists.remove(&node);
        self.states.remove(&node);
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
            self.feed(node, Input::Rehome(members.clone()));
        }
    }

    fn present(&self) -> BTreeSet<u64> {
        let inside = self.conns.iter().filter(|(_, one)| one.member.is_some());
        inside
            .filter(|(_, one)| one.attached)
            .map(|(id, _)| *id)
            .collect()
    }

    /// What must hold once everything is quiet.
    fn check(&self) {
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
        for state in self.states.values() {
            assert!(state.edge.idle() || state.is_home());
        }
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

#[derive(Clone, Debug)]
enum Op {
    Publish(usize),
    Batch(usize, usize),
    Join(usize, bool),
    Leave(usize),
    Steps(usize, usize),
    Pass(u64),
    Cut(usize, usize),
    Mend,
}

fn ops(with_cuts: bool) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        1 => (0usize..3).prop_map(Op::Publish),
        1 => (0usize..3, 2usize..4).prop_map(|(node, size)| Op::Batch(node, size)),
        3 => (0usize..3, any::<bool>()).prop_map(|(node, member)| Op::Join(node, member)),
        1 => (0usize..8).prop_map(Op::Leave),
        6 => (any::<usize>(), 1usize..12).prop_map(|(pick, n)| Op::Steps(pick, n)),
        1 => prop_oneof![Just(5u64), Just(25), Just(120), Just(1_100)].prop_map(move |ms| {
            // Without cuts no backup is late: alone and then dead is another test.
            Op::Pass(if with_cuts { ms } else { ms.min(25) })
        }),
        2 => (0usize..3, 0usize..3).prop_map(move |(a, b)| if with_cuts { Op::Cut(a, b) } else { Op::Publish(a) }),
        2 => Just(Op::Mend),
    ];
    // Played seven times over, it must still fit the journal.
    proptest::collection::vec(op, 1..40)
}

fn play(sim: &mut Sim, ops: Vec<Op>) {
    for op in ops {
        let ids = sim.ids();
        let node = |n: usize| ids[n % ids.len()];
        match op {
            Op::Publish(n) => drop(sim.publish(node(n))),
            Op::Batch(n, size) => sim.publish_batch(node(n), size),
            Op::Join(n, member) => drop(sim.join(node(n), member)),
            Op::Leave(n) => {
                let all: Vec<u64> = sim.conns.keys().copied().collect();
                if !all.is_empty() {
                    sim.leave(all[n % all.len()]);
                }
            }
            Op::Steps(pick, n) => {
                for i in 0..n {
                    sim.step(pick.wrapping_add(i));
                }
            }
            Op::Pass(ms) => sim.pass(ms),
            Op::Cut(a, b) if node(a) != node(b) => sim.break_link(node(a), node(b)),
            Op::Cut(..) => {}
            Op::Mend => sim.mend_all(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn broken_links_lose_nothing_and_repeat_nothing(ops in ops(true)) {
        let mut sim = Sim::new(&[1, 2, 3]);
        play(&mut sim, ops);
        sim.mend_all();
        sim.settle();
        sim.check();
    }

    #[test]
    fn a_killed_node_takes_only_itself(before in ops(false), after in ops(false), who in 0usize..3, late in 0usize..3) {
        let mut sim = Sim::new(&[1, 2, 3]);
        play(&mut sim, before);
        let dead = sim.ids()[who];
        sim.kill(dead);
        let rest = sim.ids();
        let members = list(&rest, &[], 2);
        let (first, second) = if late == 0 { (rest[0], rest[1]) } else { (rest[1], rest[0]) };
        sim.rehome(first, &members);
        if late < 2 {
            play(&mut sim, after.clone());
        }
        sim.rehome(second, &members);
        play(&mut sim, after);
        sim.settle();
        sim.check();
    }

    #[test]
    fn a_planned_move_keeps_everything(before in ops(false), middle in ops(false), after in ops(false), order in any::<bool>()) {
        let mut sim = Sim::new(&[1, 2, 3]);
        play(&mut sim, before);
        let home = sim.home();
        let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != home).collect();
        let drained = list(&rest, &[home], 2);
        let mut turns = sim.ids();
        if order {
            turns.reverse();
        }
        for node in &turns {
            sim.rehome(*node, &drained);
            play(&mut sim, middle.clone());
        }
        sim.settle();
        sim.check();
        let back = list(&[1, 2, 3], &[], 3);
        for node in turns {
            sim.rehome(node, &back);
            play(&mut sim, after.clone());
        }
        sim.settle();
        sim.check();
    }
}

#[test]
fn the_backup_goes_on_in_the_same_epoch_and_nobody_enters_twice() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let place = sim.lists[&home].place(&sim.key).unwrap();
    let backup = place.backup.unwrap().0;
    let other = 6 - home - backup;
    let watcher = sim.join(other, false);
    let ana = sim.join(other, true);
    sim.settle();
    let doomed = sim.join(home, true);
    let text = sim.publish(other);
    sim.settle();
    let epoch = sim.acked[0].1.position.epoch;
    sim.kill(home);
    let members = list(&[backup, other], &[], 2);
    sim.rehome(other, &members);
    let second = sim.publish(other);
    sim.rehome(backup, &members);
    sim.settle();
    sim.check();
    let last = sim.acked.last().unwrap().1.position;
    assert_eq!((last.epoch, last.seq), (epoch, 2));
    let enter = |id: u64| format!("Enter {id}");
    let left = format!("Timeout {doomed}");
    // When the death is noticed and when the retry arrives is the network's business; once each is ours.
    let mut got = sim.conns[&watcher].got.clone();
    got.sort();
    let mut wanted = vec![enter(ana), enter(doomed), text, second, left];
    wanted.sort();
    assert_eq!(got, wanted);
}

#[test]
fn nothing_is_answered_or_delivered_before_the_backup_has_it_or_its_time_is_up() {
    let mut sim = Sim::new(&[1, 2]);
    let home = sim.home();
    let watcher = sim.join(home, false);
    sim.settle();
    sim.break_link(1, 2);
    sim.publish(home);
    sim.pass(999);
    assert!(sim.acked.is_empty() && sim.conns[&watcher].got.is_empty());
    sim.pass(1);
    assert_eq!((sim.acked.len(), sim.conns[&watcher].got.len()), (1, 1));
    // Alone now: no more waiting, until the backup has caught up.
    sim.publish(home);
    assert_eq!(sim.acked.len(), 2);
    sim.mend_all();
    sim.settle();
    sim.publish(home);
    assert_eq!(sim.acked.len(), 2);
    sim.settle();
    assert_eq!(sim.acked.len(), 3);
}

#[test]
fn under_a_lower_bound_the_oldest_go_and_who_resumes_there_is_told() {
    let mut sim = Sim::new(&[1, 2]);
    let home = sim.home();
    (0..20).for_each(|_| drop(sim.publish(home)));
    sim.settle();
    let weight = sim.states[&home].history_bytes();
    for node in sim.ids() {
        let bounds = Bounds {
            bytes: weight / 4,
            ..limits().bounds
        };
        let state = sim.states.get_mut(&node).unwrap();
        assert_eq!(state.history_bytes(), weight, "a copy weighs the same");
        state.set_limits(Limits { bounds, ..limits() });
        sim.feed(node, Input::Trim);
        let left = sim.states[&node].history_bytes();
        assert!(left > 0 && left <= weight / 4, "{left} of {weight}");
    }
    let Role::Home(own) = &sim.states[&home].role else {
        panic!("not home");
    };
    let from = |at: usize| {
        let (start, head) = (
            Start::After(sim.acked[at].1.position),
            own.stream.position(),
        );
        let backlog = own.stream.history.backlog(start, head, sim.now);
        (backlog.publications.len(), backlog.continuous)
    };
    assert_eq!(from(0), (0, false));
    assert_eq!(from(17), (2, true));
}

#[test]
fn a_batch_that_is_sent_again_gets_its_receipts_and_shows_nothing() {
    let mut sim = Sim::new(&[1, 2]);
    let watcher = sim.join(1, false);
    sim.settle();
    let numbered = |n: usize, text: &str| Draft {
        id: Some(format!("base:{n}").into()),
        ..draft(text)
    };
    let mut answers = Vec::new();
    for (node, size) in [(1, 3), (2, 3), (1, 4)] {
        let texts = ["ma", "mb", "mc", "md"];
        let drafts = texts.iter().enumerate().take(size);
        let drafts = drafts.map(|(n, text)| numbered(n, text)).collect();
        let asked = Asked::Batch(
            texts[..size].iter().map(|one| (*one).into()).collect(),
            vec![],
        );
        sim.ask(node, asked, Ask::PublishBatch(drafts));
        sim.settle();
        answers.push(sim.acked.split_off(0));
    }
    let seqs = |at: usize| -> Vec<(u64, bool)> {
        let receipts = answers[at].iter().map(|(_, receipt)| receipt);
        receipts
            .map(|one| (one.position.seq, one.duplicate))
            .collect()
    };
    assert_eq!(seqs(0), [(1, false), (2, false), (3, false)]);
    assert_eq!(seqs(1), [(1, true), (2, true), (3, true)]);
    // What is new among them is not lost with what is known.
    assert_eq!(seqs(2), [(1, true), (2, true), (3, true), (4, false)]);
    assert_eq!(sim.conns[&watcher].got, ["ma", "mb", "mc", "md"]);
}

#[test]
fn a_home_that_dies_halfway_has_given_nobody_half_a_batch() {
    for (delivered, from_home) in (0..40).flat_map(|n| [(n, false), (n, true)]) {
        let mut sim = Sim::new(&[1, 2, 3]);
        let home = sim.home();
        let edge = sim.ids().into_iter().find(|id| *id != home).unwrap();
        for node in sim.ids() {
            sim.join(node, false);
        }
        sim.settle();
        // From the second entry on, the backup is sent entries and not the whole.
        sim.publish(edge);
        sim.settle();
        sim.publish_batch(if from_home { home } else { edge }, 4);
        for pick in 0..delivered {
            sim.step(pick);
        }
        sim.kill(home);
        let rest = sim.ids();
        let members = list(&rest, &[], 2);
        rest.iter().for_each(|node| sim.rehome(*node, &members));
        sim.settle();
        sim.check();
        let got: Vec<usize> = sim.conns.values().map(|conn| conn.got.len()).collect();
        match from_home {
            // Nobody can ask again: it reached the backup or it did not.
            true => assert!(got == [1, 1] || got == [5, 5], "{got:?} after {delivered}"),
            false => assert_eq!((got, sim.acked.len()), (vec![5, 5], 5), "after {delivered}"),
        }
    }
}

#[test]
fn an_unreachable_home_leaves_a_publication_unknown_or_undone_never_silent() {
    let mut sim = Sim::new(&[1, 2]);
    let edge = 3 - sim.home();
    sim.break_link(1, 2);
    sim.publish(edge);
    sim.join(edge, true);
    sim.pass(5_000);
    let down = Refusal::Unavailable("the channel's home does not answer");
    assert_eq!(sim.refused, [down.clone(), down]);
    sim.mend_all();
    sim.publish(edge);
    sim.break_link(1, 2);
    sim.pass(5_000);
    assert_eq!(sim.refused.last(), Some(&Refusal::OutcomeUnknown));
    sim.mend_all();
    sim.settle();
    sim.check();
}

#[test]
fn a_copy_that_lacks_what_somebody_has_seen_begins_a_new_epoch() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let backup = sim.lists[&home].place(&sim.key).unwrap().backup.unwrap().0;
    let other = 6 - home - backup;
    sim.join(other, false);
    sim.publish(other);
    sim.settle();
    sim.break_link(home, backup);
    sim.publish(other);
    for n in 0..200 {
        sim.step(n);
        sim.pass(10);
    }
    assert_eq!(sim.acked.len(), 2, "the home went on alone");
    let epoch = sim.acked[0].1.position.epoch;
    sim.kill(home);
    let members = list(&[backup, other], &[], 2);
    sim.rehome(backup, &members);
    sim.rehome(other, &members);
    sim.settle();
    sim.publish(other);
    sim.settle();
    assert_ne!(sim.acked[2].1.position.epoch, epoch);
    sim.check();
}

#[test]
fn a_channel_nobody_needs_stops() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let edge = sim.ids().into_iter().find(|id| *id != sim.home()).unwrap();
    let id = sim.join(edge, true);
    sim.publish(edge);
    sim.settle();
    sim.leave(id);
    sim.settle();
    assert!(!sim.states.is_empty());
    for _ in 0..20 {
        sim.pass(HOUSEKEEPING_MS);
        sim.settle();
    }
    assert!(sim.states.is_empty());
}

#[test]
fn a_full_presence_set_refuses_the_join_and_counts_nobody() {
    let mut sim = Sim::new(&[1, 2]);
    let edge = 3 - sim.home();
    let home = sim.home();
    sim.join(home, false);
    let full = Limits {
        presence_clients: 0,
        ..limits()
    };
    sim.states.get_mut(&home).unwrap().set_limits(full);
    sim.join(edge, true);
    sim.settle();
    let limit = "presence_clients";
    assert_eq!(sim.refused, [Refusal::Limit { limit, max: 0 }]);
    sim.check();
}

#[test]
fn a_home_that_restarts_gets_its_stream_back_from_the_backup() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let edge = sim.ids().into_iter().find(|id| *id != home).unwrap();
    let watcher = sim.join(edge, true);
    sim.settle();
    let doomed = sim.join(home, true);
    let first = sim.publish(edge);
    sim.settle();
    sim.restart(home);
    let second = sim.publish(edge);
    sim.settle();
    sim.check();
    let positions: Vec<_> = sim
        .acked
        .iter()
        .map(|(_, receipt)| receipt.position)
        .collect();
    assert_eq!(positions[0].epoch, positions[1].epoch);
    assert_eq!(positions[1].seq, 2);
    let mut got = sim.conns[&watcher].got.clone();
    got.sort();
    let mut wanted = vec![
        format!("Enter {doomed}"),
        format!("Timeout {doomed}"),
        first,
        second,
    ];
    wanted.sort();
    assert_eq!(got, wanted);
}

#[test]
fn subscribers_everywhere_are_told_their_number_only_where_the_app_wants_it() {
    let counts = |wanted: bool| {
        let mut out = Vec::new();
        let now = Now {
            mono_ms: 0,
            cluster_ms: 1_000,
        };
        let birth = Birth {
            key: ChannelKey::channel(AppId(7), "room-1"),
            node: NodeId(1),
            members: list(&[1], &[2], 1),
            before: None,
            limits: Limits {
                counts: wanted,
                watched: false,
                ..limits()
            },
            seed: 1,
        };
        let mut state = State::new(birth, now, &mut out);
        let wire = Wire::Interest { subscribers: 7 };
        let from = NodeId(2);
        state.handle(Input::From { from, wire }, now, &mut out);
        out
    };
    let wire = Wire::Count(7);
    let to = NodeId(2);
    let told = [
        Effect::Deliver(Broadcast::Count(7)),
        Effect::Send { to, wire },
    ];
    assert_eq!(counts(true), told);
    assert_eq!(counts(false), []);
}

impl Sim {
    fn count(&self, wanted: &Happening) -> usize {
        self.told.iter().filter(|one| *one == wanted).count()
    }

    /// Everybody left learns that the others are dead.
    fn bury(&mut self) {
        let rest = self.ids();
        let members = list(&rest, &[], 2);
        for node in rest {
            self.rehome(node, &members);
        }
    }

    /// Everything quiet, and every grace over.
    fn wait(&mut self) {
        self.settle();
        for _ in 0..200 {
            self.pass(50);
            self.settle();
        }
    }
}

#[test]
fn the_lifecycle_is_told_once_wherever_clients_come_and_go() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let joined: Vec<u64> = [1, 2, 3, 1].map(|node| sim.join(node, true)).into();
    sim.settle();
    let users = joined
        .iter()
        .map(|id| id % 3)
        .collect::<BTreeSet<_>>()
        .len();
    let entered = |sim: &Sim| {
        let told = sim.told.iter();
        told.filter(|one| matches!(one, Happening::Joined(_)))
            .count()
    };
    assert_eq!((sim.count(&Happening::Occupied), entered(&sim)), (1, users));
    for id in &joined[1..] {
        sim.leave(*id);
    }
    sim.wait();
    assert_eq!(sim.count(&Happening::Vacated), 0);
    sim.leave(joined[0]);
    sim.wait();
    assert_eq!(sim.count(&Happening::Vacated), 1);
    let left = sim
        .told
        .iter()
        .filter(|one| matches!(one, Happening::Left(_)));
    assert_eq!(left.count(), users);
}

#[test]
fn a_quick_return_is_told_neither_as_leaving_nor_as_coming() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let first = sim.join(2, true);
    sim.settle();
    let before = sim.told.clone();
    sim.leave(first);
    sim.pass(500);
    while sim.step(0) {}
    // The same user: clients are told apart by their number modulo three.
    while (sim.next + 1) % 3 != first % 3 {
        sim.next += 1;
    }
    sim.join(3, true);
    sim.wait();
    assert_eq!(sim.told, before);
}

#[test]
fn a_dead_home_takes_nothing_back_and_its_successor_repeats_nothing() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let other = sim.ids().into_iter().find(|id| *id != home).unwrap();
    let (lost, kept) = (sim.join(home, true), sim.join(other, true));
    sim.settle();
    sim.kill(home);
    sim.bury();
    sim.wait();
    assert_eq!(sim.count(&Happening::Occupied), 1);
    assert_eq!(sim.count(&Happening::Vacated), 0);
    if lost % 3 != kept % 3 {
        let user: Text = format!("u{}", lost % 3).into();
        assert_eq!(
            sim.count(&Happening::Left(user)),
            1,
            "her node is gone, and she with it"
        );
    }
    sim.leave(kept);
    sim.wait();
    assert_eq!(sim.count(&Happening::Vacated), 1);
}

#[test]
fn when_everybody_was_on_the_dead_home_its_backup_says_so() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    sim.join(home, false);
    sim.settle();
    sim.kill(home);
    sim.bury();
    sim.wait();
    assert_eq!(sim.told, [Happening::Occupied, Happening::Vacated]);
}
