//! What a client's hanging up does to the request that is under way.

use super::server::{APP, Node};
use crate::core::authority::Principal;
use crate::transport::longpoll::{self, PollGuard};
use actix_web::{HttpRequest, HttpResponse, web};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Requests that wait: `/slow` for `/go`, `/poll` for a message that never comes.
pub fn routes(cfg: &mut web::ServiceConfig) {
    let go = Rc::new(Notify::new());
    let slow = go.clone();
    cfg.route(
        "/slow",
        web::get().to(move || {
            let go = slow.clone();
            async move {
                go.notified().await;
                HttpResponse::Ok().body("whole")
            }
        }),
    )
    .route(
        "/go",
        web::get().to(move || {
            go.notify_one();
            async { HttpResponse::Ok().body("went") }
        }),
    )
    .route("/poll", web::get().to(poll));
}

async fn poll(request: HttpRequest) -> HttpResponse {
    let principal = Principal::anonymous(APP, Some("key".into()), 0);
    let poller = longpoll::open(&request, principal, "words", 10).unwrap();
    let hold = PollGuard::new(&request, poller, |poller| poller.close());
    hold.wait(Duration::from_mins(1), 0, false).await;
    HttpResponse::Ok().body(format!("hung up: {}", hold.half_closed()))
}

fn ask(addr: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    let patience = Some(Duration::from_secs(10));
    socket.set_read_timeout(patience).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

fn answer(mut socket: TcpStream) -> String {
    let mut all = String::new();
    socket.read_to_string(&mut all).unwrap();
    all
}

#[test]
fn a_request_is_carried_to_its_end_for_a_client_that_stops_sending() {
    let node = Node::start(1);
    let slow = ask(node.addr, "/slow");
    slow.shutdown(Shutdown::Write).unwrap();
    assert!(answer(ask(node.addr, "/go")).ends_with("went"));
    assert!(answer(slow).ends_with("whole"));
}

#[test]
fn a_long_poll_ends_when_its_client_hangs_up() {
    let node = Node::start(1);
    let poll = ask(node.addr, "/poll");
    poll.shutdown(Shutdown::Write).unwrap();
    assert!(answer(poll).ends_with("hung up: true"));
}
