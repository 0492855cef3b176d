//! A node of one, with an app for each dialect that is counted, in a thread of this process.

use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Of the internal port.
const TOKEN: &str = "a-token-for-the-budgets";
/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Node {
    pub(crate) public: SocketAddr,
    pusher: Vec<(String, String)>,
    pubnub: Vec<(String, String)>,
    _data: TempDir,
}

impl Node {
    /// Comes back when it serves clients. It ends with the process.
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [public, internal, peer] = held.each_ref().map(|one| one.local_addr().unwrap());
        drop(held);
        let config = data.path().join("gatecast.toml");
        let text = format!(
            "data = '{}'\npublic = '{public}'\ninternal = '{internal}'\npeer = '{peer}'\nworkers = 1\n\
             log = 'error'\nadmin_token = '{TOKEN}'\ncluster_secret = 'a-secret-for-the-budgets'\n",
            data.path().join("node").display()
        );
        std::fs::write(&config, text).unwrap();
        let words = ["gatecast", "serve", "--config"].map(Into::into);
        let words = words.into_iter().chain([config.into_os_string()]);
        std::thread::spawn(move || gatecast::cli::run(words));
        ready(internal);
        let pusher = app(
            internal,
            &json!({
                "name": "budgets", "protocols": ["pusher"],
                "settings": { "client_events": true, "client_events_per_second": 1_000_000_000 },
            }),
        );
        let pubnub = app(
            internal,
            &json!({
                "name": "budgets", "protocols": ["pubnub"],
                "open": [{ "pattern": "polls-*", "operations": ["subscribe", "presence", "publish"] }],
            }),
        );
        Self {
            public,
            pusher,
            pubnub,
            _data: data,
        }
    }

    /// Words for the load generator.
    pub(crate) fn credentials(&self, step: &str) -> &[(String, String)] {
        match step {
            "poll" => &self.pubnub,
            _ => &self.pusher,
        }
    }
}

/// Waits until clients are let in.
fn ready(internal: SocketAddr) {
    let end = Instant::now() + PATIENCE;
    while ask(internal, "GET /ready", "").is_none() {
        assert!(Instant::now() < end, "the node did not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Makes an app; its credentials, as words for the load generator.
fn app(internal: SocketAddr, app: &Value) -> Vec<(String, String)> {
    let made = ask(internal, "POST /v1/apps", &app.to_string()).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let of = |name: &str| {
        let value = made.get("env").and_then(|env| env.get(name));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (key, secret) = (of("PUSHER_APP_KEY"), of("PUSHER_APP_SECRET"));
    let all = [
        ("--authorization", format!("Bearer {key}:{secret}")),
        ("--app", of("PUSHER_APP_ID")),
        ("--key", key),
        ("--secret", secret),
        ("--publish-key", of("PUBNUB_PUBLISH_KEY")),
        ("--subscribe-key", of("PUBNUB_SUBSCRIBE_KEY")),
    ];
    let given = all.into_iter().filter(|(_, value)| !value.is_empty());
    given
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The body of an answer that says yes.
fn ask(to: SocketAddr, what: &str, body: &str) -> Option<String> {
    let mut socket = TcpStream::connect(to).ok()?;
    write!(
        socket,
        "{what} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 2").then(|| body.to_owned())
}
