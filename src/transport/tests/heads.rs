//! What clients write into the first lines of a request, over a live port.

use super::server::Node;
use actix_web::{HttpRequest, HttpResponse, web};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// `/said` answers with its query.
pub fn routes(cfg: &mut web::ServiceConfig) {
    let said = |request: HttpRequest, body: web::Bytes| async move {
        let body = String::from_utf8_lossy(&body).into_owned();
        HttpResponse::Ok().body(format!("<{}|{body}>", request.query_string()))
    };
    cfg.route("/said", web::to(said));
}

/// What comes back until the server closes, or has said the last word.
fn answers(addr: SocketAddr, sent: &[u8], last: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    let patience = Some(Duration::from_secs(10));
    socket.set_read_timeout(patience).unwrap();
    socket.write_all(sent).unwrap();
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&all).ends_with(last) {
        match socket.read(&mut some).unwrap() {
            0 => break,
            read => all.extend_from_slice(&some[..read]),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn a_query_is_served_as_the_sdks_write_it() {
    let node = Node::start(1);
    let first = "GET /said?state={\"a\":{\"b\":1}} HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /said HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n?\"<>\n";
    let last = "GET /said?meta=<é> HTTP/1.1\r\nHost: x\r\n\r\n";
    let sent = [first, post, last].concat();
    let said = answers(node.addr, sent.as_bytes(), "%3E|>");
    let bodies: Vec<&str> = said.split("\r\n\r\n").skip(1).collect();
    assert!(
        bodies[0].starts_with("<state={%22a%22:{%22b%22:1}}|>"),
        "{said}"
    );
    assert!(bodies[1].starts_with("<|?\"<>\n>"), "{said}");
    assert!(bodies[2].starts_with("<meta=%3C%C3%A9%3E|>"), "{said}");
}

#[test]
fn a_line_that_ends_without_a_carriage_return_is_refused() {
    let node = Node::start(1);
    for sent in [
        "GET /said HTTP/1.1\nHost: x\n\n",
        "GET /said HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    ] {
        let said = answers(node.addr, sent.as_bytes(), "\r\n\r\n");
        assert!(said.starts_with("HTTP/1.1 400"), "{sent:?}: {said}");
    }
}

#[test]
fn what_comes_behind_an_escaped_handshake_is_not_lost() {
    let node = Node::start(1);
    // Far more than the parser's buffer takes at once when it is escaped.
    let query = "\"".repeat(9_000);
    let mut sent = format!(
        "GET /ws?x={query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes();
    for at in 0..400 {
        let word = format!("word {at:03}");
        sent.extend([0x81, 0x80 | 8, 0, 0, 0, 0]);
        sent.extend(word.as_bytes());
    }
    let said = answers(node.addr, &sent, "word 399");
    assert!(said.starts_with("HTTP/1.1 101"), "{}", &said[..200]);
    for at in 0..400 {
        assert!(said.contains(&format!("word {at:03}")), "{at}");
    }
}
