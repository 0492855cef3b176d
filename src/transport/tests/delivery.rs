//! What goes out: fan-out, order, echo, and clients that do not read.

use super::client::{Client, Got};
use super::server::Node;
use crate::core::authority::{Cut, Effect, Target};
use crate::core::listing::{ConnectionFilter, ConnectionInfo};
use std::time::{Duration, Instant};

fn subscribed(node: &Node, word: &str, channel: &str) -> Client {
    let mut client = Client::open(node.addr);
    client.say(&format!("{word} {channel}"));
    client.expect(&format!("in {channel}"));
    client
}

#[test]
fn a_publication_reaches_subscribers_on_every_worker() {
    let node = Node::start(2);
    let mut clients: Vec<_> = (0..8).map(|_| subscribed(&node, "sub", "room")).collect();
    let mut own = subscribed(&node, "own", "room");
    clients[0].say("pub room hi");
    for client in &mut clients {
        client.expect("room hi");
    }
    own.expect("own room hi");
}

#[test]
fn a_burst_keeps_its_order_and_loses_nothing() {
    let node = Node::start(2);
    let mut clients: Vec<_> = (0..4).map(|_| subscribed(&node, "sub", "room")).collect();
    let words: Vec<String> = (0..2_000)
        .map(|number| format!("pub room {number}"))
        .collect();
    for chunk in words.chunks(500) {
        clients[0].say(&chunk.join("\n"));
    }
    for client in &mut clients {
        for number in 0..2_000 {
            client.expect(&format!("room {number}"));
        }
    }
}

#[test]
fn own_publications_come_back_only_where_wanted() {
    let node = Node::start(1);
    let mut with = subscribed(&node, "sub", "room");
    let mut without = subscribed(&node, "echo-off", "room");
    without.say("pub room one");
    with.expect("room one");
    with.say("pub room two");
    with.expect("room two");
    without.expect("room two");
}

#[test]
fn leaving_stops_deliveries_and_twice_is_told() {
    let node = Node::start(1);
    let mut client = subscribed(&node, "sub", "room");
    client.say("sub room");
    client.expect("no room");
    client.say("unsub room\npub room lost\nunsub room\nsub room\nunsub room\nx");
    client.expect("out room true");
    client.expect("out room false");
    // The answer of a subscription that is left before it stands: both, in order. The echo need not wait.
    let mut rest: Vec<_> = (0..3).map(|_| client.next()).collect();
    let echo = rest
        .iter()
        .position(|got| *got == Got::Text("echo x".into()));
    rest.remove(echo.expect("the echo came"));
    assert_eq!(
        rest,
        [
            Got::Text("in room".into()),
            Got::Text("out room true".into())
        ]
    );
}

#[test]
fn a_client_that_never_reads_is_ended_and_nobody_else_notices() {
    let node = Node::start(1);
    let stuck = subscribed(&node, "sub", "room");
    let mut reader = subscribed(&node, "sub", "room");
    let mut publisher = Client::open(node.addr);
    let payload = "x".repeat(32 << 10);
    let began = Instant::now();
    let mut published = 0;
    loop {
        publisher.say(&format!("pub room {payload}"));
        reader.expect(&format!("room {payload}"));
        published += 1;
        let listed = connections(&node);
        if listed == 2 {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{published} published"
        );
    }
    publisher.say("pub room last");
    reader.expect("room last");
    // What the kernel had taken comes whole; then the socket is at its end.
    let mut stuck = stuck;
    while let Got::Text(text) = stuck.next() {
        assert_eq!(text.len(), payload.len() + 5);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_answer_that_is_not_read_ends_and_a_websocket_may_rest() {
    use std::io::{Read as _, Write as _};
    let node = Node::start(1);
    let mut resting = subscribed(&node, "sub", "room");
    let mut publisher = Client::open(node.addr);
    publisher.say("user publisher");
    publisher.expect("hello");
    // Full kernels, and an outbox with room.
    let payload = "x".repeat(32 << 10);
    let mut published = 0;
    while queued(&node) < 64 << 10 {
        publisher.say(&format!("pub room {payload}\nx"));
        publisher.expect("echo x");
        published += 1;
    }
    let mut socket = std::net::TcpStream::connect(node.addr).unwrap();
    socket
        .write_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    socket.read_exact(&mut [0; 12]).unwrap();
    node.ended
        .recv_timeout(Duration::from_secs(20))
        .expect("the answer was given up");
    for _ in 0..published {
        resting.expect(&format!("room {payload}"));
    }
}

#[test]
fn a_goodbye_that_cannot_be_sent_is_not_waited_for() {
    let node = Node::start(1);
    let mut stuck = Client::open(node.addr);
    // Answers fill both kernels' buffers until nothing more is read from us.
    let chunk = super::client::masked(0x82, &vec![7; 32 << 10]);
    stuck
        .socket
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    use std::io::Write as _;
    let began = Instant::now();
    while stuck.socket.write_all(&chunk).is_ok() && connections(&node) == 1 {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    // The answers ran over, or the cut has to: either way the connection is gone soon.
    let cut = Effect::Cut {
        app: super::server::APP,
        target: Target::App,
        cut: Cut::Disconnected,
    };
    node.enforce(1, vec![cut]);
    let began = Instant::now();
    while connections(&node) > 0 {
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::yield_now();
    }
}

#[test]
fn a_cut_connection_whose_socket_is_full_is_cut_off_in_time() {
    let node = Node::start(1);
    let _stuck = subscribed(&node, "sub", "room");
    let mut publisher = Client::open(node.addr);
    publisher.say("user publisher");
    publisher.expect("hello");
    // Enough for the kernels' buffers to be full, not enough for the outbox to run over.
    let payload = "x".repeat(32 << 10);
    while queued(&node) < 64 << 10 {
        publisher.say(&format!("pub room {payload}\nx"));
        publisher.expect("echo x");
    }
    let cut = Effect::Cut {
        app: super::server::APP,
        target: Target::App,
        cut: Cut::Disconnected,
    };
    assert_eq!(node.enforce(1, vec![cut]), 2);
    assert!(queued(&node) < 1 << 10, "what was queued goes no further");
    let began = Instant::now();
    while connections(&node) > 0 {
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::yield_now();
    }
}

#[test]
fn what_a_connection_held_is_free_after_it() {
    let node = Node::start(1);
    let mut client = subscribed(&node, "sub", "room");
    assert_eq!(connections(&node), 1);
    client.frame(0x88, b"");
    assert_eq!(client.next(), Got::Close(None, String::new()));
    assert_eq!(client.next(), Got::End);
    drop(client);
    let began = Instant::now();
    while connections(&node) > 0 {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
}

/// Connections in the broker's own listing.
fn connections(node: &Node) -> usize {
    list(node).len()
}

/// The most that waits for any one of them.
fn queued(node: &Node) -> u64 {
    list(node)
        .iter()
        .map(|one| one.queued_bytes)
        .max()
        .unwrap_or(0)
}

fn list(node: &Node) -> Vec<ConnectionInfo> {
    let filter = ConnectionFilter {
        app: Some(super::server::APP),
        user: None,
        limit: 100,
    };
    let broker = node.broker.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(broker.connections(filter)).unwrap()
}
