#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
//! Nodes linked over real sockets.

use super::query::{Aborting, Listing};
use super::*;
use crate::core::authority::{AppId, Authority, Pass, State};
use crate::core::broker::Broker;
use crate::core::channel::port::PeerPort as _;
use crate::core::channel::replica::protocol::PeerMessage;
use crate::core::delivery::encoding::Encodings;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId};
use crate::core::listing::{ConnectionFilter, ConnectionInfo};
use crate::core::message::{ContentKind, Draft};
use crate::core::query::{Query, QueryAnswer};
use crate::core::refusals::record::{RefusalFilter, RefusalRecord};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Addresses = Arc<Mutex<BTreeMap<NodeId, SocketAddr>>>;

struct Node {
    id: NodeId,
    broker: Broker,
    peers: Peers,
}

/// Listens, and says who it is by 8 bytes: the cluster's own proof is not what is tested here.
async fn node(id: u64, addresses: &Addresses) -> Node {
    let id = NodeId(id);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    addresses
        .lock()
        .unwrap()
        .insert(id, listener.local_addr().unwrap());
    let (to, incoming) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let node = NodeId(stream.read_u64().await.unwrap());
            let _closed = to.send(MessageLink::unproven(node, stream)).await;
        }
    });
    let addresses = addresses.clone();
    let dial: Dial = Arc::new(move |node| {
        let address = addresses.lock().unwrap().get(&node).copied();
        Box::pin(async move {
            let address = address.ok_or(io::ErrorKind::NotFound)?;
            let mut stream = TcpStream::connect(address).await?;
            stream.write_u64(id.0).await?;
            Ok(MessageLink::unproven(node, stream))
        })
    });
    let authority = Arc::new(Authority::fixed(State::default(), 1_000_000));
    let channels = Channels::of_node(id, Arc::new(Encodings::default()), authority.clone(), &[]);
    let local = Arc::new(One(id));
    let peers = Peers::start(id, dial, Some(incoming), channels.clone(), local);
    let broker = broker(authority, channels);
    broker.connect_queries(peers.queries());
    Node { id, broker, peers }
}

/// A node with one connection.
struct One(NodeId);

impl LocalConnections for One {
    fn list(&self, _filter: ConnectionFilter) -> Listing {
        let one = connection(self.0);
        Box::pin(async move { Ok(vec![one]) })
    }
    fn abort(&self, id: ConnectionId) -> Aborting {
        let here = id == connection(self.0).id;
        Box::pin(async move { here })
    }

    fn refusals(&self, _: &RefusalFilter) -> (Vec<RefusalRecord>, u64) {
        (Vec::new(), self.0.0)
    }

    fn audit_at(&self, index: u64) -> (u64, Option<[u8; 32]>) {
        (index + self.0.0, None)
    }
}

fn broker(authority: Arc<Authority>, channels: Channels) -> Broker {
    Broker::new(authority, channels)
}

fn connection(node: NodeId) -> ConnectionInfo {
    ConnectionInfo {
        id: ConnectionId(node.0, 1),
        node,
        app: AppId(1),
        user: None,
        key: None,
        dialect: "test".into(),
        remote: "".into(),
        since_ms: 0,
        subscriptions: 0,
        queued_bytes: 0,
    }
}

fn members(ids: &[u64], revision: u64) -> Members {
    Members {
        live: ids.iter().map(|id| (NodeId(*id), 1)).collect(),
        draining: Vec::new(),
        revision,
    }
}

async fn cluster(ids: &[u64]) -> (Addresses, Vec<Node>) {
    let addresses = Addresses::default();
    let mut nodes = Vec::new();
    for id in ids {
        nodes.push(node(*id, &addresses).await);
    }
    for node in &nodes {
        node.peers.set_members(members(ids, 1));
    }
    for node in &nodes {
        let others: Vec<NodeId> = ids
            .iter()
            .map(|id| NodeId(*id))
            .filter(|id| *id != node.id)
            .collect();
        until(|| node.peers.linked() == others).await;
    }
    (addresses, nodes)
}

/// Links come up by themselves; there is no event to wait for, only a state.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .expect("in time");
}

fn draft(data: &str) -> Draft {
    Draft {
        retain_ms: Some(60_000),
        ..Draft::new(
            "n".into(),
            Bytes::copy_from_slice(data.as_bytes()),
            ContentKind::Text,
        )
    }
}

fn filter() -> ConnectionFilter {
    ConnectionFilter {
        app: None,
        user: None,
        limit: 10,
    }
}

#[actix::test]
async fn every_node_reads_what_any_node_published_and_all_listings_are_whole() {
    let (_addresses, nodes) = cluster(&[1, 2, 3]).await;
    let key = ChannelKey::channel(AppId(1), "room");
    for (n, node) in nodes.iter().enumerate() {
        let receipt = node
            .broker
            .publish(&key, draft("x"), Pass::unchecked())
            .await
            .unwrap();
        assert_eq!(receipt.position.seq, n as u64 + 1);
    }
    for node in &nodes {
        let last = node.broker.last(&key).await.unwrap().unwrap();
        assert_eq!(last.position.seq, 3);
        assert_eq!(node.broker.members(&key).await.unwrap().len(), 0);
        assert_eq!(node.broker.occupied(AppId(1), "", 9).await, Ok(Vec::new()));
        let found = node.broker.connections_elsewhere(filter()).await.unwrap();
        assert_eq!(found.len(), 2);
    }
}

#[actix::test]
async fn a_connection_is_cut_on_the_node_that_has_it() {
    let (_addresses, nodes) = cluster(&[1, 2]).await;
    let router = &nodes[0].peers.inner.router;
    for (at, here) in [(NodeId(2), true), (NodeId(3), false)] {
        let query = Query::AbortConnection(connection(at).id);
        assert_eq!(
            router.ask(NodeId(2), query).await,
            Ok(QueryAnswer::Aborted(here))
        );
    }
    assert!(!nodes[0].broker.sever_here(ConnectionId(1, 1)).await);
}

#[actix::test]
async fn a_node_that_cannot_be_asked_fails_the_listing() {
    let (addresses, mut nodes) = cluster(&[1, 2, 3]).await;
    addresses.lock().unwrap().remove(&NodeId(3));
    let dead = nodes.pop().unwrap();
    drop(dead);
    until(|| nodes[0].peers.linked() == [NodeId(2)]).await;
    let short = nodes[0].broker.occupied(AppId(1), "", 9).await;
    assert!(matches!(short, Err(Refusal::Unavailable(_))), "{short:?}");
    // Once the list says that it is gone, the listing is whole without it.
    nodes[0].peers.set_members(members(&[1, 2], 2));
    assert_eq!(
        nodes[0].broker.occupied(AppId(1), "", 9).await,
        Ok(Vec::new())
    );
}

#[actix::test]
async fn a_broken_link_is_dialled_again_and_the_publication_arrives_once() {
    let (_addresses, nodes) = cluster(&[1, 2]).await;
    let all = members(&[1, 2], 1);
    let mut homes_on_2 = (0..).map(|n| ChannelKey::channel(AppId(1), &format!("room-{n}")));
    let key = homes_on_2
        .find(|key| all.place(key).unwrap().home == NodeId(2))
        .unwrap();
    let first = nodes[0]
        .broker
        .publish(&key, draft("a"), Pass::unchecked())
        .await
        .unwrap();
    // Ended under the channel's hands: the request is kept and sent again over the next link.
    nodes[0].peers.inner.router.end(NodeId(2));
    let second = nodes[0]
        .broker
        .publish(&key, draft("b"), Pass::unchecked())
        .await
        .unwrap();
    assert_eq!(second.position.epoch, first.position.epoch);
    assert_eq!(second.position.seq, 2);
}

#[actix::test]
async fn a_peer_that_does_not_read_loses_its_link_and_never_more_than_the_budget() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (_deaf, _) = listener.accept().await.unwrap();
    let link = Arc::new(Outbound::new(NodeId(2)));
    let running = {
        let link = link.clone();
        tokio::spawn(async move { link::run(&link, stream.into_split(), |_| async {}).await })
    };
    let block = vec![0u8; 1 << 20];
    let mut taken = 0usize;
    while link.push(&block, false) {
        taken += 1;
        assert!(taken <= (link::BUDGET_BYTES >> 20) + 32, "without bound");
        tokio::task::yield_now().await;
    }
    assert!(link.is_closed());
    assert!(running.await.unwrap().is_err());
    assert!(!link.push(&block, true));
}

#[actix::test]
async fn what_is_large_and_can_wait_is_refused_first() {
    let link = Outbound::new(NodeId(2));
    let block = vec![0u8; link::BULK_BUDGET_BYTES];
    assert!(link.push(&block, true));
    assert!(!link.push(&block, true));
    assert!(!link.is_closed());
    assert!(link.push(&block, false));
}

#[actix::test]
async fn bytes_that_are_no_frame_end_the_link() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    other.write_all(&[0, 0, 0, 2, 200, 1]).await.unwrap();
    let link = Outbound::new(NodeId(2));
    let ended = link::run(&link, stream.into_split(), |_| async { panic!("no frame") }).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[actix::test]
async fn of_a_link_that_was_closed_no_frame_is_taken_that_had_arrived() {
    let link = Outbound::new(NodeId(2));
    let (mut other, here) = tokio::io::duplex(1 << 10);
    let frame = frame::encode(&frame::Frame::Alive).unwrap();
    let arrived = [&frame[..], &frame[..], &frame[..]].concat();
    other.write_all(&arrived).await.unwrap();
    let mut taken = 0;
    let take = |_| {
        taken += 1;
        // A newer link to the same node is in use from now on.
        link.close();
        async {}
    };
    let ended = link::run(&link, tokio::io::split(here), take).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(taken, 1);
}

#[actix::test]
async fn without_a_link_nothing_is_taken() {
    let addresses = Addresses::default();
    let node = node(1, &addresses).await;
    let key = ChannelKey::channel(AppId(1), "room");
    let router = &node.peers.inner.router;
    assert!(!router.send(NodeId(2), &key, &PeerMessage::AnnounceRequest));
    let asked: Result<QueryAnswer, Refusal> =
        router.ask(NodeId(2), Query::Connections(filter())).await;
    assert_eq!(asked, Err(Refusal::Unavailable("a node is not linked")));
}

#[actix::test]
async fn what_goes_to_several_nodes_is_encoded_once() {
    let (_addresses, nodes) = cluster(&[1, 2, 3]).await;
    let key = ChannelKey::channel(AppId(1), "room");
    let router = &nodes[0].peers.inner.router;
    let before = frame::ENCODED.get();
    router.send_all(&[NodeId(2), NodeId(3)], &key, &PeerMessage::Count(7));
    assert_eq!(frame::ENCODED.get() - before, 1);
    router.send_all(&[NodeId(9)], &key, &PeerMessage::Count(7));
    assert_eq!(frame::ENCODED.get() - before, 1, "for nobody not at all");
}

#[actix::test]
async fn nodes_say_how_far_copies_are_and_are_relied_on_when_all_are_there() {
    let (_addresses, nodes) = cluster(&[1, 2, 3]).await;
    let key = ChannelKey::channel(AppId(1), "room");
    nodes[0]
        .broker
        .publish(&key, draft("x"), Pass::unchecked())
        .await
        .unwrap();
    for node in &nodes {
        until(|| node.broker.channels.copied() == 1).await;
        assert_eq!(node.broker.channels.uncopied(), 0);
    }
}
