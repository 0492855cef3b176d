#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::*;
use crate::core::connection::{Frame, NewMember, Start, Subscribe};
use crate::core::delivery::encoding::{Encoder, Encoding, EncodingId, Encodings};
use crate::core::ids::{AppId, ConnectionId, NodeId};
use crate::core::message::{ContentKind, Draft};
use crate::core::nodes::Members;
use bytes::Bytes;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Encodes to "{seq}:{data}" or "{action}:{client}:{edge}".
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
                format!("{action:?}:{client}:{}", one.edge)
            }
            Broadcast::Count(count) => format!("count:{count}"),
        };
        Some(Frame::Text(text.into()))
    }
}

pub(crate) fn encodings() -> Arc<Encodings> {
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

/// Channels of several nodes in one process; a link is a mailbox, and can be cut.
struct Net {
    nodes: Mutex<HashMap<NodeId, Channels>>,
    cut: Mutex<Vec<NodeId>>,
}

struct Port {
    from: NodeId,
    net: Arc<Net>,
}

impl super::super::PeerPort for Port {
    fn send(&self, to: NodeId, key: &Arc<ChannelKey>, wire: &Wire) -> bool {
        let cut = self.net.cut.lock().unwrap();
        if cut.contains(&to) || cut.contains(&self.from) {
            return false;
        }
        let Some(channels) = self.net.nodes.lock().unwrap().get(&to).cloned() else {
            return false;
        };
        let wire = wire.clone();
        let message = FromPeer {
            from: self.from,
            wire,
        };
        channels.get(key).do_send(message);
        true
    }
}

fn members(ids: &[u64], revision: u64) -> Members {
    Members {
        live: ids.iter().map(|id| (NodeId(*id), 1)).collect(),
        draining: Vec::new(),
        revision,
    }
}

fn net(ids: &[u64]) -> (Arc<Net>, Vec<Channels>) {
    let net = Arc::new(Net {
        nodes: Mutex::default(),
        cut: Mutex::default(),
    });
    let start = |id: &u64| {
        let channels = Channels::build(NodeId(*id), encodings(), None, &[]);
        let port = Port {
            from: NodeId(*id),
            net: net.clone(),
        };
        channels.connect(Arc::new(port));
        channels.set_members(members(ids, 1));
        net.nodes
            .lock()
            .unwrap()
            .insert(NodeId(*id), channels.clone());
        channels
    };
    let channels = ids.iter().map(start).collect();
    (net, channels)
}

type Tapped = (Addr<Relay>, ToRelay);

thread_local! {
    static TAP: std::cell::RefCell<Option<mpsc::UnboundedSender<Tapped>>> = const { std::cell::RefCell::new(None) };
}

/// What channels on this thread say to relays goes to the test, if there is one listening.
pub(super) fn tapped(relay: &Addr<Relay>, message: ToRelay) -> Option<ToRelay> {
    TAP.with_borrow(|tap| match tap {
        Some(tap) => {
            tap.send((relay.clone(), message)).unwrap();
            None
        }
        None => Some(message),
    })
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
            ToRelay::Deliver(deliver) => {
                let (_, bytes) = &deliver.frames[0];
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

async fn publish(at: &Channels, key: &Arc<ChannelKey>, data: &str) -> Result<Receipt, Refusal> {
    let (to, answer) = oneshot::channel();
    at.get(key).do_send(PublishTo {
        draft: draft(data),
        pass: Pass::unchecked(),
        reply: ReplyTo::Once(to),
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
    channels.get(&key).do_send(Leave { connection, gone });
    world.expect(&bob, &["attach", "2:hi", "detach"]).await;
    let all = ["attach", "Enter:bob:true", "2:hi", "Timeout:bob:true"];
    world.expect(&ana, &all).await;
    assert_eq!(read_members(&channels, &key).await, ["ana"]);
    let occupied = channels.occupied_here(AppId(1), "ro", 9);
    assert_eq!(occupied[0].1.subscribers, 1);
}
