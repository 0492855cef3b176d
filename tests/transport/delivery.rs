//! What goes out: fan-out, order, echo, and clients that do not read.

use crate::client::{Client, Got};
use crate::server::Node;
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
    drop(stuck);
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
    let filter = gatecast::core::broker::ConnectionFilter {
        app: Some(crate::server::APP),
        user: None,
        limit: 100,
    };
    let broker = node.broker.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(broker.connections(filter)).unwrap().len()
}
