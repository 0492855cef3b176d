//! A server for tests that answers as it is told, and counts who came.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// How a path is answered: the whole of the HTTP answer, or nothing for ever.
pub(super) type Answers = fn(at: &str, base: &str) -> Option<Vec<u8>>;

/// A server on a port of this machine.
pub(super) struct Site {
    pub(super) base: String,
    pub(super) asked: Arc<AtomicUsize>,
}

impl Site {
    pub(super) async fn serve(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let (own, count) = (base.clone(), asked.clone());
        actix_web::rt::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (own, count) = (own.clone(), count.clone());
                actix_web::rt::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                            return;
                        }
                        head.extend(byte);
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    let head = String::from_utf8(head).unwrap();
                    // Read to its end: what is left unread would cut the answer off.
                    let mut body = vec![0; length(&head)];
                    if stream.read_exact(&mut body).await.is_err() {
                        return;
                    }
                    let at = head.split(' ').nth(1).unwrap().to_owned();
                    match answers(&at, &own) {
                        // The other side hangs up when it has had enough.
                        Some(answer) => drop(stream.write_all(&answer).await),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { base, asked }
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// How long the body is that a head announces.
fn length(head: &str) -> usize {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    found.map_or(0, |(_, length)| length.trim().parse().unwrap())
}

/// An answer with this status, one more line of its head, and this body.
pub(super) fn answer(status: &str, line: &str, body: &[u8]) -> Option<Vec<u8>> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{line}\r\n");
    Some([head.as_bytes(), body].concat())
}

/// A key set with a key of each of these ids.
pub(super) fn set(kids: &[&str]) -> Vec<u8> {
    let keys = kids.iter().map(|kid| {
        format!(
            r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#
        )
    });
    let keys: Vec<String> = keys.collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes()
}
