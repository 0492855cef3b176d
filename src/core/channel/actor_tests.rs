#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::super::messages::{
    FromPeer, Join, Leave, PresenceTo, PublishBatchTo, PublishTo, Read, Trim,
};
use super::super::port::PeerPort;
use super::super::registry::Channels;
use super::super::relays::tap::{TAP, Tapped};
use super::*;
use crate::core::authority::{AppSpec, Authority, Command, Pass, SettingValue, State, fixture};
use crate::core::delivery::encoding::{Encoder, Encoding, EncodingId, Encodings};
use crate::core::ids::{AppId, ConnectionId, NodeId};
use crate::core::limits::{HISTORY_MESSAGES, WILDCARDS};
use crate::core::message::{ContentKind, Draft};
use crate::core::nodes::Members;
use crate::core::session::{
    Frame, HistoryPage, NewMember, PresenceRequest, Start, Subscribe, Subscribed,
};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Encodes to "{seq}:{data}" or "{action}:{client}:{client_transition}".
struct Plain;

impl Encoder for Plain {
    fn encode(&self, _channel: &ChannelKey, broadcast: &Broadcast) -> Option<Frame> {
        let text = match broadcast {
            Broadcast::Message(one) => {
                let data = String::from_utf8_lossy(&one.draft.data).into_owned();
                format!("{}:{data}", one.position.seq)
            }
            Broadcast::Presence(one) => {
                let (action, client) = (one.action, &one.member.client);
                format!("{action:?}:{client}:{}", one.client_transition)
            }
            Broadcast::Count(count) => format!("count:{count}"),
        };
        Some(Frame::Text(text.into()))
    }
}

fn encodings() -> Arc<Encodings> {
    let mut encodings = Encodings::default();
    encodings.add(Encoding {
        encoder: Box::new(Plain),
        framing: |frame| match frame {
            Frame::Text(text) => text.into_bytes(),
            Frame::Binary(bytes) => bytes,
        },
    });
    Arc::new(encodings)
}

/// Channels of several nodes in one process; a link is a mailbox. A node that is taken out is dead.
#[derive(Default)]
struct Net {
    nodes: Mutex<HashMap<NodeId, Channels>>,
}

struct Port {
    from: NodeId,
    net: Arc<Net>,
}

impl PeerPort for Port {
    fn send(&self, to: NodeId, key: &Arc<ChannelKey>, message: &PeerMessage) -> bool {
        let nodes = self.net.nodes.lock().unwrap();
        let Some(channels) = nodes.get(&to).filter(|_| nodes.contains_key(&self.from)) else {
            return false;
        };
        let message = FromPeer {
            from: self.from,
            message: message.clone(),
        };
        channels.get(key).do_send(message);
        true
    }

    fn send_all(&self, to: &[NodeId], key: &Arc<ChannelKey>, message: &PeerMessage) {
        for to in to {
            let _unlinked = self.send(*to, key, message);
        }
    }
}

fn members(ids: &[u64], revision: u64) -> Members {
    Members {
        live: ids.iter().map(|id| (NodeId(*id), 1)).collect(),
        draining: Vec::new(),
        revision,
    }
}

fn net(ids: &[u64]) -> (Arc<Net>, HashMap<u64, Channels>) {
    net_of(ids, |_| None)
}

/// The same, with what each node knows of the app.
fn net_of(
    ids: &[u64],
    authority: impl Fn(u64) -> Option<Arc<Authority>>,
) -> (Arc<Net>, HashMap<u64, Channels>) {
    let net = Arc::new(Net::default());
    let start = |id: &u64| {
        let channels = Channels::build(NodeId(*id), encodings(), authority(*id), &[]);
        let port = Port {
            from: NodeId(*id),
            net: net.clone(),
        };
        channels.connect(Arc::new(port));
        channels.set_members(members(ids, 1));
        let mut nodes = net.nodes.lock().unwrap();
        nodes.insert(NodeId(*id), channels.clone());
        (*id, channels)
    };
    let channels = ids.iter().map(start).collect();
    (net, channels)
}

/// What the relays of all clients were told: text per relay.
struct World {
    tap: mpsc::UnboundedReceiver<Tapped>,
    seen: HashMap<Addr<Relay>, Vec<String>>,
    answers: HashMap<Addr<Relay>, Subscribed>,
}

impl World {
    fn new() -> Self {
        let (to, tap) = mpsc::unbounded_channel();
        TAP.set(Some(to));
        Self {
            tap,
            seen: HashMap::new(),
            answers: HashMap::new(),
        }
    }

    /// Waits until what that client's relay was told is exactly this.
    async fn expect(&mut self, client: &Client, wanted: &[&str]) {
        let relay = &client.subscriber.relay;
        let wait = async {
            while self.seen.get(relay).map_or(0, Vec::len) < wanted.len() {
                self.take().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), wait).await;
        let got = self.seen.get(relay).cloned().unwrap_or_default();
        assert!(in_time.is_ok(), "wanted {wanted:?}, got {got:?}");
        assert_eq!(got, wanted);
    }

    async fn take(&mut self) {
        let (relay, message) = self.tap.recv().await.unwrap();
        let told = self.seen.entry(relay.clone()).or_default();
        match message {
            ToRelay::Attach(attach) => {
                told.push("attach".into());
                self.answers.insert(relay, *attach.subscribed);
            }
            ToRelay::Detach(_) => told.push("detach".into()),
            ToRelay::Interrupt(_) => told.push("interrupt".into()),
            ToRelay::Deliver(deliver) => {
                let (_, bytes) = deliver.frames.iter().next().unwrap();
                told.push(String::from_utf8(bytes.to_vec()).unwrap());
            }
        }
    }
}

struct Ear(mpsc::UnboundedSender<Event>);
impl Actor for Ear {
    type Context = Context<Self>;
}
impl Handler<Tell> for Ear {
    type Result = ();
    fn handle(&mut self, message: Tell, _: &mut Context<Self>) {
        let _ = self.0.send(message.0);
    }
}

/// A connection with a relay of its own.
struct Client {
    subscriber: Subscriber,
    told: mpsc::UnboundedReceiver<Event>,
}

impl Client {
    fn new(n: u64) -> Self {
        let (to, told) = mpsc::unbounded_channel();
        let subscriber = Subscriber {
            connection: ConnectionId(n, n),
            tell: Ear(to).start().recipient(),
            relay: Relay::default().start(),
            worker: u16::try_from(n).unwrap(),
            encoding: EncodingId(0),
        };
        Self { subscriber, told }
    }

    fn join(&self, at: &Channels, key: &Arc<ChannelKey>, member: Option<&str>) {
        let member = member.map(|client| NewMember {
            client: client.into(),
            data: Bytes::new(),
        });
        at.get(key).do_send(Join {
            subscriber: self.subscriber.clone(),
            request: Box::new(Subscribe {
                channel: key.clone(),
                needs: Operations::SUBSCRIBE,
                wants: Operations::NONE,
                proof: None,
                start: Start::Rewind { count: 10 },
                member,
                speaks_for: None,
                with_members: true,
                delivery: DeliveryMode::Shared,
                echo: true,
                tag: 1,
            }),
            pass: Pass::unchecked(),
        });
    }
}

fn draft(data: &str) -> Draft {
    Draft::new(
        "n".into(),
        Bytes::copy_from_slice(data.as_bytes()),
        ContentKind::Text,
    )
}

async fn publish(at: &Channels, key: &Arc<ChannelKey>, data: &str) -> Result<Receipt, Refusal> {
    let (to, answer) = oneshot::channel();
    at.get(key).do_send(PublishTo {
        draft: Box::new(draft(data)),
        pass: Pass::unchecked(),
        reply: ReplyTo::Once(to),
    });
    answer.await.unwrap()
}

async fn publish_batch(
    at: &Channels,
    key: &Arc<ChannelKey>,
    data: &[&str],
) -> Result<Vec<Receipt>, Refusal> {
    let (reply, answer) = oneshot::channel();
    at.get(key).do_send(PublishBatchTo {
        drafts: data.iter().map(|data| draft(data)).collect(),
        pass: Pass::unchecked(),
        reply,
    });
    answer.await.unwrap()
}

async fn read_members(at: &Channels, key: &Arc<ChannelKey>) -> Vec<String> {
    let (to, answer) = oneshot::channel();
    at.get(key).do_send(Read::Members(to));
    let members = answer.await.unwrap().unwrap();
    members.iter().map(|one| one.client.to_string()).collect()
}

#[actix::test]
async fn a_node_alone_joins_publishes_and_remembers() {
    let mut world = World::new();
    let channels = Channels::new(encodings(), &[]);
    let key = ChannelKey::channel(AppId(1), "room");
    let first = publish(&channels, &key, "early").await.unwrap();
    assert_eq!(first.position.seq, 1);
    let (ana, mut bob) = (Client::new(1), Client::new(2));
    ana.join(&channels, &key, Some("ana"));
    world.expect(&ana, &["attach"]).await;
    let subscribed = &world.answers[&ana.subscriber.relay];
    assert_eq!(subscribed.position, first.position);
    assert_eq!(subscribed.backlog.len(), 1);
    assert_eq!(subscribed.members.as_ref().unwrap().len(), 1);
    bob.join(&channels, &key, Some("bob"));
    let second = publish(&channels, &key, "hi").await.unwrap();
    assert!(second.timetoken > first.timetoken);
    world.expect(&bob, &["attach", "2:hi"]).await;
    world
        .expect(&ana, &["attach", "Enter:bob:true", "2:hi"])
        .await;
    bob.join(&channels, &key, None);
    assert!(matches!(
        bob.told.recv().await,
        Some(Event::SubscribeRefused {
            refusal: Refusal::AlreadySubscribed,
            ..
        })
    ));
    let (connection, gone) = (bob.subscriber.connection, true);
    channels.get(&key).do_send(Leave {
        connection,
        gone,
        keeps_members: false,
    });
    world.expect(&bob, &["attach", "2:hi", "detach"]).await;
    let all = ["attach", "Enter:bob:true", "2:hi", "Timeout:bob:true"];
    world.expect(&ana, &all).await;
    assert_eq!(read_members(&channels, &key).await, ["ana"]);
    let occupied = channels.occupied_here(AppId(1), "ro", 9);
    assert_eq!(occupied[0].1.subscribers, 1);
}

const ALL: HistoryPage = HistoryPage {
    after: 0,
    until: u64::MAX,
    limit: 10_000,
    backwards: false,
};

/// An access state in which app 1 has these settings.
fn with_settings(settings: &[(&'static str, SettingValue)]) -> State {
    let app = Command::CreateApp(AppSpec {
        id: AppId(1),
        name: "".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: settings
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect(),
        aliases: Vec::new(),
        keys: Vec::new(),
    });
    fixture::state_after(&[app], 1_000)
}

fn alone(authority: &Arc<Authority>) -> Channels {
    Channels::build(NodeId(1), encodings(), Some(authority.clone()), &[])
}

/// A node alone whose app 1 has subscribers by wildcard, or refuses them.
fn with_wildcards(on: bool) -> Channels {
    let state = with_settings(&[(WILDCARDS.name, SettingValue::Bool(on))]);
    alone(&Arc::new(Authority::fixed(state, 1_000)))
}

#[actix::test]
async fn limits_are_read_again_when_the_state_has_changed() {
    let kept = |most| with_settings(&[(HISTORY_MESSAGES.name, SettingValue::Int(most))]);
    let authority = Arc::new(Authority::fixed(kept(5), 1_000));
    let channels = alone(&authority);
    let key = ChannelKey::channel(AppId(1), "room");
    let mut last = 0;
    for (most, revision) in [(5, 0), (2, 1), (4, 2)] {
        let mut state = kept(most);
        state.revision += revision;
        authority.set_fixed(state, 1_000, true);
        // Looks at once; of itself a channel does so every second.
        channels.get(&key).do_send(Trim);
        for _ in 0..9 {
            last = publish(&channels, &key, "x").await.unwrap().position.seq;
        }
        let (to, answer) = oneshot::channel();
        channels.get(&key).do_send(Read::History(ALL, to));
        let left = answer.await.unwrap().unwrap();
        assert_eq!(left.len() as u64, most);
        assert_eq!(left.last().map(|one| one.position.seq), Some(last));
    }
}

#[actix::test]
async fn wildcards_above_get_what_is_broadcast_below_where_the_app_has_them() {
    let mut world = World::new();
    let key = |name| ChannelKey::channel(AppId(1), name);
    for on in [true, false] {
        let channels = with_wildcards(on);
        let (wide, near) = (Client::new(1), Client::new(2));
        wide.join(&channels, &ChannelKey::wildcard(AppId(1), "a.*"), None);
        near.join(&channels, &ChannelKey::wildcard(AppId(1), "a.b.*"), None);
        for client in [&wide, &near] {
            world.expect(client, &["attach"]).await;
        }
        publish(&channels, &key("a.b.c"), "both").await.unwrap();
        publish(&channels, &key("a.d"), "wide").await.unwrap();
        publish(&channels, &key("a"), "none").await.unwrap();
        publish(&channels, &key("b.d"), "none").await.unwrap();
        publish(&channels, &key("a.b.d"), "last").await.unwrap();
        if on {
            let all = ["attach", "1:both", "2:wide", "3:last"];
            world.expect(&wide, &all).await;
            world.expect(&near, &["attach", "1:both", "2:last"]).await;
            continue;
        }
        // What is on its way to a wildcard comes before the answer to what is asked of it afterwards.
        let wildcard = ChannelKey::wildcard(AppId(1), "a.*");
        read_members(&channels, &wildcard).await;
        world.expect(&wide, &["attach"]).await;
    }
}

/// Home, backup, and the third of three nodes.
fn roles(key: &Arc<ChannelKey>) -> (u64, u64, u64) {
    let place = members(&[1, 2, 3], 1).place(key).unwrap();
    let (home, backup) = (place.home.0, place.backup.unwrap().0);
    (home, backup, 6 - home - backup)
}

#[actix::test]
async fn three_nodes_deliver_everything_once_in_one_order() {
    let mut world = World::new();
    let (_net, nodes) = net(&[1, 2, 3]);
    let key = ChannelKey::channel(AppId(1), "room");
    let clients: Vec<Client> = (1..=3).map(Client::new).collect();
    for (n, client) in (1..=3).zip(&clients) {
        client.join(&nodes[&n], &key, None);
        world.expect(client, &["attach"]).await;
    }
    for round in 0..10 {
        let sent = (1..=3).map(|n| publish(&nodes[&n], &key, "x"));
        let receipts = futures_util::future::join_all(sent).await;
        assert_eq!(
            receipts.iter().filter(|one| one.is_ok()).count(),
            3,
            "round {round}"
        );
    }
    let wanted: Vec<String> = (1..=30).map(|seq| format!("{seq}:x")).collect();
    let wanted: Vec<&str> = ["attach"]
        .into_iter()
        .chain(wanted.iter().map(String::as_str))
        .collect();
    for client in &clients {
        world.expect(client, &wanted).await;
    }
}

#[actix::test]
async fn above_the_bound_of_all_histories_the_large_let_go_and_nobody_is_refused() {
    const MOST: u64 = 64 << 10;
    let channels = Channels::new(encodings(), &[]);
    channels.set_history_budget(MOST);
    let key = |name: &str| ChannelKey::channel(AppId(1), name);
    let kept = async |name: &str| {
        let (to, answer) = oneshot::channel();
        channels.get(&key(name)).do_send(Read::History(ALL, to));
        answer.await.unwrap().unwrap()
    };
    for _ in 0..10 {
        publish(&channels, &key("small"), "x").await.unwrap();
    }
    let kilobyte = "x".repeat(1_000);
    for n in 0..600 {
        let name = ["one", "two", "three"][n % 3];
        publish(&channels, &key(name), &kilobyte).await.unwrap();
    }
    // The level is found anew a moment apart, when somebody pushes.
    let bounded = async {
        let last = loop {
            let last = publish(&channels, &key("one"), &kilobyte).await.unwrap();
            if channels.history_bytes() <= MOST {
                break last;
            }
        };
        let one = kept("one").await;
        assert_eq!(one.last().map(|one| one.position), Some(last.position));
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), bounded).await;
    ended.expect("the sum falls below its bound");
    assert_eq!(kept("small").await.len(), 10);
    for name in ["two", "three"] {
        let kept = kept(name).await.len();
        assert!((5..100).contains(&kept), "{name} keeps {kept}");
    }
}

#[actix::test]
async fn batches_from_every_node_stay_whole() {
    let mut world = World::new();
    let (_net, nodes) = net(&[1, 2, 3]);
    let key = ChannelKey::channel(AppId(1), "room");
    let client = Client::new(1);
    client.join(&nodes[&1], &key, None);
    world.expect(&client, &["attach"]).await;
    let sent = (1..=3).map(|n| publish_batch(&nodes[&n], &key, &["a", "b", "c"]));
    let mut firsts = Vec::new();
    for receipts in futures_util::future::join_all(sent).await {
        let seqs: Vec<u64> = receipts
            .unwrap()
            .iter()
            .map(|one| one.position.seq)
            .collect();
        assert_eq!(seqs, [seqs[0], seqs[0] + 1, seqs[0] + 2]);
        firsts.push(seqs[0]);
    }
    firsts.sort_unstable();
    assert_eq!(firsts, [1, 4, 7]);
    let wanted = [
        "attach", "1:a", "2:b", "3:c", "4:a", "5:b", "6:c", "7:a", "8:b", "9:c",
    ];
    world.expect(&client, &wanted).await;
}

#[actix::test]
async fn a_dead_home_costs_its_own_members_and_nothing_else() {
    let mut world = World::new();
    let (net, nodes) = net(&[1, 2, 3]);
    let key = ChannelKey::channel(AppId(1), "room");
    let (home, backup, other) = roles(&key);
    let (ana, bob, eve) = (Client::new(1), Client::new(2), Client::new(3));
    ana.join(&nodes[&backup], &key, Some("ana"));
    world.expect(&ana, &["attach"]).await;
    bob.join(&nodes[&other], &key, Some("bob"));
    world.expect(&bob, &["attach"]).await;
    eve.join(&nodes[&home], &key, Some("eve"));
    world.expect(&eve, &["attach"]).await;
    let before = publish(&nodes[&other], &key, "one").await.unwrap();
    world
        .expect(&bob, &["attach", "Enter:eve:true", "1:one"])
        .await;

    net.nodes.lock().unwrap().remove(&NodeId(home));
    for node in [other, backup] {
        nodes[&node].set_members(members(&[backup.min(other), backup.max(other)], 2));
    }
    let after = publish(&nodes[&other], &key, "two").await.unwrap();
    assert_eq!(after.position.epoch, before.position.epoch);
    assert_eq!(after.position.seq, 2);
    let told = [
        "attach",
        "Enter:eve:true",
        "1:one",
        "Timeout:eve:true",
        "2:two",
    ];
    world.expect(&bob, &told).await;
    let told = [
        "attach",
        "Enter:bob:true",
        "Enter:eve:true",
        "1:one",
        "Timeout:eve:true",
        "2:two",
    ];
    world.expect(&ana, &told).await;
    assert_eq!(read_members(&nodes[&other], &key).await, ["ana", "bob"]);
}

#[actix::test]
async fn a_home_that_begins_repeats_what_the_one_before_it_may_not_have() {
    let mut world = World::new();
    let wildcard = ChannelKey::wildcard(AppId(1), "a.*");
    let names = (0..).map(|n| ChannelKey::channel(AppId(1), &format!("a.{n}")));
    let mut elsewhere = names.filter(|key| roles(key).0 != roles(&wildcard).0);
    let key = elsewhere.next().unwrap();
    let (home, backup, other) = roles(&key);
    // As if it died between its answer and what it repeats.
    let knows = |node| {
        let on = SettingValue::Bool(node != home);
        let state = with_settings(&[(WILDCARDS.name, on)]);
        Some(Arc::new(Authority::fixed(state, 1_000)))
    };
    let (net, nodes) = net_of(&[1, 2, 3], knows);
    let client = Client::new(1);
    client.join(&nodes[&other], &wildcard, None);
    world.expect(&client, &["attach"]).await;
    publish(&nodes[&other], &key, "one").await.unwrap();
    net.nodes.lock().unwrap().remove(&NodeId(home));
    for node in [other, backup] {
        nodes[&node].set_members(members(&[backup.min(other), backup.max(other)], 2));
    }
    publish(&nodes[&other], &key, "two").await.unwrap();
    world.expect(&client, &["attach", "1:one", "2:two"]).await;
}

#[actix::test]
async fn presence_is_answered_and_the_next_page_of_history_follows() {
    let mut world = World::new();
    let (_net, nodes) = net(&[1, 2, 3]);
    let key = ChannelKey::channel(AppId(1), "room");
    let (_, _, other) = roles(&key);
    let at = &nodes[&other];
    let mut ana = Client::new(1);
    ana.join(at, &key, None);
    world.expect(&ana, &["attach"]).await;
    at.get(&key).do_send(PresenceTo {
        connection: ana.subscriber.connection,
        request: Box::new(PresenceRequest {
            channel: key.clone(),
            member: Some(NewMember {
                client: "ana".into(),
                data: Bytes::new(),
            }),
            client: "ana".into(),
            speaks_for: None,
            proof: None,
            tag: 7,
        }),
        pass: Pass::unchecked(),
        tell: ana.subscriber.tell.clone(),
    });
    let done = ana.told.recv().await;
    assert!(matches!(
        done,
        Some(Event::PresenceDone {
            tag: 7,
            refusal: None,
            ..
        })
    ));
    // Its own entry is told to it as to everyone.
    world.expect(&ana, &["attach", "Enter:ana:true"]).await;
    for text in ["a", "b", "c"] {
        publish(at, &key, text).await.unwrap();
    }
    let page = |after, backwards| crate::core::session::HistoryPage {
        after,
        until: u64::MAX,
        limit: 2,
        backwards,
    };
    let read = async |page| {
        let (to, answer) = oneshot::channel();
        at.get(&key).do_send(Read::History(page, to));
        answer.await.unwrap().unwrap()
    };
    let seqs = |page: &[Arc<Publication>]| -> Vec<u64> {
        page.iter().map(|one| one.position.seq).collect()
    };
    let first = read(page(0, false)).await;
    assert_eq!(seqs(&first), [1, 2]);
    assert_eq!(seqs(&read(page(first[1].timetoken, false)).await), [3]);
    assert_eq!(seqs(&read(page(0, true)).await), [3, 2]);
}

#[actix::test]
async fn what_comes_to_a_stopped_channel_reaches_its_successor() {
    let _world = World::new();
    let channels = Channels::new(encodings(), &[]);
    let key = ChannelKey::channel(AppId(1), "room");
    let old = channels.get(&key);
    assert!(old.send(Stop).await.is_ok());
    assert_eq!(channels.count(), 0);
    let (to, answer) = oneshot::channel();
    old.do_send(PublishTo {
        draft: Box::new(draft("late")),
        pass: Pass::unchecked(),
        reply: ReplyTo::Once(to),
    });
    assert_eq!(answer.await.unwrap().unwrap().position.seq, 1);
    assert_eq!(channels.count(), 1);
    assert_ne!(channels.get(&key), old);
}

/// As when housekeeping finds a channel idle.
#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Channel {
    type Result = ();
    fn handle(&mut self, _: Stop, cx: &mut Context<Self>) {
        self.retire(cx);
    }
}

#[actix::test]
async fn a_full_relay_holds_the_channel_back_and_loses_nothing() {
    // Not tapped: the real mailbox of a relay, which nobody empties while this thread is busy here.
    TAP.set(None);
    let channels = Channels::new(encodings(), &[]);
    let key = ChannelKey::channel(AppId(1), "room");
    let ana = Client::new(1);
    ana.join(&channels, &key, None);
    let sent = (0..2_000).map(|_| publish(&channels, &key, "x"));
    let receipts = futures_util::future::join_all(sent).await;
    assert!(receipts.iter().all(Result::is_ok));
}
