//! What comes in: handshake, frames, limits, abuse, the closing handshake.

use super::client::{Client, Got, masked};
use super::server::{MAX_FRAME, Node};
use std::net::Shutdown;

#[test]
fn the_handshake_answers_in_the_case_that_old_sdks_look_for() {
    let node = Node::start(1);
    let client = Client::open(node.addr);
    for line in [
        "\r\nUpgrade: websocket\r\n",
        "\r\nConnection: Upgrade\r\n",
        "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "\r\nSec-WebSocket-Protocol: test\r\n",
    ] {
        assert!(
            client
                .head
                .to_ascii_lowercase()
                .contains(&line.to_ascii_lowercase()),
            "{line:?} in {}",
            client.head
        );
    }
    assert!(
        client.head.contains("\r\nUpgrade: websocket\r\n"),
        "{}",
        client.head
    );
    assert!(
        client.head.contains("\r\nConnection: Upgrade\r\n"),
        "{}",
        client.head
    );
}

#[test]
fn a_request_that_is_no_handshake_is_told_so() {
    use std::io::{Read as _, Write as _};
    let node = Node::start(1);
    let mut socket = std::net::TcpStream::connect(node.addr).unwrap();
    socket
        .write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
}

#[test]
fn frames_come_back_whole_however_they_were_cut() {
    let node = Node::start(1);
    let mut client = Client::open(node.addr);
    client.say("one");
    client.expect("echo one");
    // Three fragments with a ping between, sent byte by byte.
    let mut bytes = masked(0x01, "tw".as_bytes());
    bytes.extend(masked(0x89, b"are you there"));
    bytes.extend(masked(0x00, b""));
    bytes.extend(masked(0x80, b"o"));
    for byte in bytes {
        client.raw(&[byte]);
    }
    assert_eq!(client.next(), Got::Pong(b"are you there".to_vec()));
    client.expect("echo two");
    // Two frames in one write.
    let mut both = masked(0x81, b"a");
    both.extend(masked(0x81, b"b"));
    client.raw(&both);
    client.expect("echo a");
    client.expect("echo b");
    let largest = vec![7; MAX_FRAME];
    client.frame(0x82, &largest);
    assert_eq!(client.next(), Got::Binary(largest));
    // A pong nobody asked for is a sign of life and nothing else.
    client.frame(0x8a, b"");
    client.say("still here");
    client.expect("echo still here");
}

#[test]
fn every_abuse_has_its_close_code() {
    let node = Node::start(1);
    let mut fragments = masked(0x01, &vec![b'x'; MAX_FRAME]);
    fragments.extend(masked(0x80, b"x"));
    let mut absurd = vec![0x82, 0xff];
    absurd.extend(u64::MAX.to_be_bytes());
    absurd.extend([0; 4]);
    let cases: [(&str, Vec<u8>, u16); 8] = [
        ("unmasked", vec![0x81, 1, b'x'], 1002),
        ("reserved bit", masked(0xc1, b"x"), 1002),
        ("unknown opcode", masked(0x83, b"x"), 1002),
        ("continuation of nothing", masked(0x80, b"x"), 1002),
        ("not UTF-8", masked(0x81, &[0xff]), 1007),
        ("too large", masked(0x81, &vec![b'x'; MAX_FRAME + 1]), 1009),
        ("too large in fragments", fragments, 1009),
        ("absurd length", absurd, 1009),
    ];
    for (name, bytes, code) in cases {
        let mut client = Client::open(node.addr);
        client.raw(&bytes);
        assert!(
            matches!(client.next(), Got::Close(Some(got), _) if got == code),
            "{name}"
        );
        assert_eq!(client.next(), Got::End, "{name}");
    }
}

#[test]
fn a_close_is_answered_with_its_own_code_and_ends_the_socket() {
    let node = Node::start(1);
    let mut client = Client::open(node.addr);
    client.frame(0x88, &4321u16.to_be_bytes());
    client.expect_close(4321);
    let mut client = Client::open(node.addr);
    client.frame(0x88, b"");
    assert_eq!(client.next(), Got::Close(None, String::new()));
    assert_eq!(client.next(), Got::End);
}

#[test]
fn nobody_waits_for_a_time_out_when_a_connection_closes() {
    let node = Node::start(1);
    let began = std::time::Instant::now();
    for _ in 0..20 {
        let mut client = Client::open(node.addr);
        client.frame(0x88, &1000u16.to_be_bytes());
        client.expect_close(1000);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_session_ends_the_connection_with_its_own_words() {
    let node = Node::start(1);
    let mut client = Client::open(node.addr);
    client.say("bye\nnever carried out");
    assert_eq!(
        client.next(),
        Got::Close(Some(4200), "as you wish".to_owned())
    );
    assert_eq!(client.next(), Got::End);
}

#[test]
fn a_wake_comes_once_after_its_time() {
    let node = Node::start(1);
    let mut client = Client::open(node.addr);
    client.say("wake");
    client.expect("awake");
    client.say("x");
    client.expect("echo x");
}

#[test]
fn a_half_open_socket_is_the_end_of_the_connection() {
    let node = Node::start(1);
    let mut client = Client::open(node.addr);
    client.say("x");
    client.expect("echo x");
    client.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.next(), Got::End);
}
