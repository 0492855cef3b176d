//! The generator against the floor, as real processes: every scenario that the floor can play must end
//! with all messages delivered once, and a server that is not there must be an error.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Floor {
    process: Child,
    address: String,
}

impl Floor {
    fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_gatecast-floor"))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let address = line
            .trim()
            .rsplit("http://")
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Self { process, address })
    }

    fn load(&self, arguments: &str) -> Result<Value, Box<dyn std::error::Error>> {
        let done = Command::new(env!("CARGO_BIN_EXE_gatecast-load"))
            .args(arguments.split(' '))
            .args([
                "--server",
                &self.address,
                "--seconds",
                "0.3",
                "--warmup",
                "0.1",
            ])
            .args(["--pids", &self.process.id().to_string()])
            .output()?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into());
        }
        Ok(serde_json::from_slice(&done.stdout)?)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn number(figures: &Value, name: &str) -> f64 {
    figures
        .get(name)
        .and_then(Value::as_f64)
        .unwrap_or(f64::NAN)
}

#[test]
fn nothing_is_lost_between_the_two() -> Outcome {
    let floor = Floor::start()?;
    for (arguments, at_least) in [
        ("fanout --subscribers 20 --rate 50", 20.0 * 14.0),
        (
            "fanout --subscribers 20 --rate 0 --in-flight 4 --other-channels 300",
            1000.0,
        ),
        ("pairs --pairs 10 --rate 500", 149.0),
        ("pairs --pairs 10 --rate 0", 1000.0),
    ] {
        let figures = floor.load(arguments)?;
        assert!(
            number(&figures, "delivered") >= at_least,
            "{arguments}: {figures}"
        );
        for fault in ["lost", "repeated", "strayed", "troubles"] {
            assert_eq!(number(&figures, fault), 0.0, "{arguments}: {figures}");
        }
        assert!(
            number(&figures, "server_us_per_delivery") > 0.0,
            "{arguments}: {figures}"
        );
        assert!(number(&figures, "p50_ms") > 0.0, "{arguments}: {figures}");
    }
    Ok(())
}

#[test]
fn connections_and_triggers() -> Outcome {
    let floor = Floor::start()?;
    assert!(
        number(
            &floor.load("connect --connections 200")?,
            "connections_per_s"
        ) > 200.0
    );
    assert!(number(&floor.load("triggers --publishers 2")?, "requests_per_s") > 100.0);
    Ok(())
}

#[test]
fn every_step_is_done_as_often_as_it_was_asked_for() -> Outcome {
    let floor = Floor::start()?;
    for step in ["fanout --receivers 7", "event", "connect", "trigger"] {
        let figures = floor.load(&format!("steps {step} --operations 9"))?;
        assert_eq!(number(&figures, "operations"), 9.0, "{step}: {figures}");
        assert_eq!(number(&figures, "troubles"), 0.0, "{step}: {figures}");
    }
    Ok(())
}

#[test]
fn a_server_that_is_not_there_is_an_error() -> Outcome {
    let mut floor = Floor::start()?;
    floor.process.kill()?;
    floor.process.wait()?;
    assert!(floor.load("fanout --subscribers 2").is_err());
    Ok(())
}

/// Whether a request's head and as much body as it announces are there.
fn whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length
        .and_then(|n| n.parse().ok())
        .is_some_and(|n: usize| body.len() >= n)
}

/// Answers `answers` requests on one connection, the last of them with a refusal; gives what was asked.
fn scripted(listener: &TcpListener, answers: usize) -> std::io::Result<String> {
    let (mut stream, _) = listener.accept()?;
    let (mut asked, mut buffer) = (String::new(), [0; 4096]);
    for number in 1..=answers {
        let from = asked.len();
        while !whole(asked.get(from..).unwrap_or_default()) {
            let n = stream.read(&mut buffer)?;
            asked.push_str(&String::from_utf8_lossy(
                buffer.get(..n).unwrap_or_default(),
            ));
        }
        let status = if number == answers {
            "403 Forbidden"
        } else {
            "200 OK"
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}")?;
    }
    // Until the caller goes: who closes first is an error to one that waits for another node's last answer.
    while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
    Ok(asked)
}

#[test]
fn one_caller_asks_all_nodes_in_turn_and_counts_refusals() -> Outcome {
    let listeners = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let servers = listeners
        .iter()
        .map(|l| Ok(l.local_addr()?.to_string()))
        .collect::<std::io::Result<Vec<_>>>()?;
    let nodes: Vec<_> = listeners
        .into_iter()
        .map(|l| std::thread::spawn(move || scripted(&l, 3)))
        .collect();
    let done = Command::new(env!("CARGO_BIN_EXE_gatecast-load"))
        .args([
            "grants",
            "--callers",
            "1",
            "--calls",
            "6",
            "--app",
            "9",
            "--prefix",
            "ana",
        ])
        .args(["--servers", &servers.join(",")])
        .env("LOAD_AUTHORIZATION", "Bearer k:s")
        .output()?;
    let figures: Value = serde_json::from_slice(&done.stdout)?;
    assert_eq!(
        (number(&figures, "grants"), number(&figures, "refused")),
        (4.0, 2.0),
        "{figures}"
    );
    for (node, users) in nodes
        .into_iter()
        .zip([["ana-0", "ana-2", "ana-4"], ["ana-1", "ana-3", "ana-5"]])
    {
        let asked = node.join().map_err(|_| "a node panicked")??;
        assert_eq!(
            asked.matches("POST /v1/apps/9/grants HTTP/1.1").count(),
            3,
            "{asked}"
        );
        assert_eq!(
            asked.matches("authorization: Bearer k:s").count(),
            3,
            "{asked}"
        );
        for user in users {
            assert!(
                asked.contains(&format!(r#""user":"{user}""#)),
                "{user} in {asked}"
            );
        }
    }
    Ok(())
}
