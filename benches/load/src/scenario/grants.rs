//! Durable grants through `/v1`: each call gives another user rights on a few channels.

use super::Figures;
use super::tally::latencies;
use crate::Failure;
use crate::histogram::Histogram;
use crate::meter::Meter;
use crate::options::Target;
use crate::world::{Event, World};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How grants are asked for.
pub(super) struct Load<'a> {
    pub(super) servers: &'a [SocketAddr],
    pub(super) authorization: &'a str,
    pub(super) callers: usize,
    pub(super) patterns: usize,
    /// Calls to make; `None`: for as long as the target says.
    pub(super) calls: Option<u64>,
    pub(super) prefix: &'a str,
    /// Writes to etcd's `put` instead, for comparison.
    pub(super) etcd: bool,
}

struct Caller {
    /// A connection to each server; asked in turn, so that a single caller meets all nodes too.
    servers: Vec<usize>,
    turn: usize,
    asked: u64,
    busy: bool,
}

struct Grants<'a> {
    world: &'a mut World,
    load: &'a Load<'a>,
    app: &'a str,
    callers: Vec<Caller>,
    /// The id of the first caller's first connection; the others follow in order.
    first: usize,
    user: u64,
    refused: u64,
    first_refusal: Option<String>,
}

pub(super) fn play(
    world: &mut World,
    target: &Target,
    load: &Load<'_>,
) -> Result<Figures, Failure> {
    let mut callers = Vec::new();
    let own = [target.server];
    let servers = if load.servers.is_empty() {
        &own
    } else {
        load.servers
    };
    for at in 0..load.callers {
        let ids = servers
            .iter()
            .map(|server| world.http(*server))
            .collect::<Result<_, _>>()?;
        // Begun at different servers, or all callers would ask the same one in step.
        callers.push(Caller {
            servers: ids,
            turn: at,
            asked: 0,
            busy: false,
        });
    }
    let first = callers
        .first()
        .and_then(|c: &Caller| c.servers.first())
        .copied()
        .unwrap_or(0);
    let app = &target.app;
    let mut grants = Grants {
        world,
        load,
        app,
        callers,
        first,
        user: 0,
        refused: 0,
        first_refusal: None,
    };
    if load.calls.is_none() {
        grants.stretch(target.warmup, None)?;
    }
    grants.refused = 0;
    let (meter, began) = (Meter::start(&target.pids), Instant::now());
    let histogram = grants.stretch(target.seconds, load.calls)?;
    let seconds = began.elapsed().as_secs_f64();
    let answered = histogram.samples();
    let mut figures = meter.spent(answered, "grant");
    figures.extend(latencies(&histogram));
    figures.extend([
        ("grants".to_owned(), json!(answered)),
        (
            "grants_per_s".to_owned(),
            json!((answered as f64 / seconds).round()),
        ),
        ("refused".to_owned(), json!(grants.refused)),
    ]);
    if let Some(refusal) = grants.first_refusal {
        figures.insert("first_refusal".into(), json!(refusal));
    }
    Ok(figures)
}

impl Grants<'_> {
    /// Keeps every caller busy for `seconds`, or until `calls` were made; waits for the last answers.
    fn stretch(&mut self, seconds: f64, calls: Option<u64>) -> Result<Histogram, Failure> {
        let mut histogram = Histogram::default();
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let until = calls.map(|calls| self.user + calls);
        let mut last = Instant::now();
        loop {
            let go_on = until.map_or(Instant::now() < end, |until| self.user < until);
            for at in 0..self.callers.len() {
                if go_on && until.is_none_or(|until| self.user < until) {
                    self.ask(at);
                }
            }
            if self.callers.iter().all(|caller| !caller.busy) {
                return Ok(histogram);
            }
            for event in self.world.turn(Duration::from_millis(100))? {
                let Event::Answered(id, status, body) = event else {
                    continue;
                };
                let each = self.load.servers.len().max(1);
                let Some(caller) = self.callers.get_mut(id.saturating_sub(self.first) / each)
                else {
                    continue;
                };
                caller.busy = false;
                last = Instant::now();
                if (200..300).contains(&status) {
                    histogram.record(self.world.now().saturating_sub(caller.asked));
                } else {
                    self.refused += 1;
                    self.first_refusal
                        .get_or_insert_with(|| format!("{status}: {body}"));
                }
            }
            if last.elapsed() > Duration::from_secs(15) {
                return Err("no grant was answered for 15 s".into());
            }
        }
    }

    fn ask(&mut self, at: usize) {
        if self.callers.get(at).is_none_or(|caller| caller.busy) {
            return;
        }
        let user = format!("{}-{}", self.load.prefix, self.user);
        self.user += 1;
        let request = match self.load.etcd {
            true => self.put(),
            false => self.grant(&user),
        };
        let Some(caller) = self.callers.get_mut(at) else {
            return;
        };
        caller.asked = self.world.now();
        caller.busy = true;
        if let Some(id) = caller
            .servers
            .get(caller.turn % caller.servers.len().max(1))
        {
            self.world.send(*id, request.as_bytes());
        }
        caller.turn += 1;
    }

    /// As many bytes as a grant's command has, as a put of a new key. Digits are base64 as they are.
    fn put(&self) -> String {
        let body = json!({"key": format!("{:012}", self.user), "value": "A".repeat(120)});
        let body = body.to_string();
        format!(
            "POST /v3/kv/put HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn grant(&self, user: &str) -> String {
        let grants: Vec<_> = (0..self.load.patterns)
            .map(|i| json!({"pattern": format!("private-{user}-{i}"), "operations": ["subscribe"]}))
            .collect();
        let body = json!({"subject": {"user": user}, "grants": grants}).to_string();
        format!(
            "POST /v1/apps/{}/grants HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.app,
            self.load.authorization,
            body.len()
        )
    }
}
