//! Of several servers, which is asked: one after the other, until one gives an answer that counts.
//!
//! A write goes on to the next server only where it is certain that nothing was done: the connection never stood, or the
//! node said so. A read changes nothing and goes on after any failure. **Why the connection has a time of its own:** a
//! server that is silently gone would use up the whole wait, and then nobody could say whether it had heard.

use super::arguments::Remote;
use super::{Exit, Failure};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a connection, TLS included, may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A client for one server. It follows no redirection: nobody else is to get what is sent.
pub fn client(remote: &Remote) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(connect(remote))
        .redirect(Policy::none())
        .no_proxy()
}

/// How long a connection may take.
fn connect(remote: &Remote) -> Duration {
    CONNECT.min(answer_within(remote))
}

/// How long an answer may take once the connection stands.
#[must_use]
pub fn answer_within(remote: &Remote) -> Duration {
    Duration::from_secs(remote.timeout.max(1))
}

/// How long both may take, so that the connection's own time is always the first to end.
#[must_use]
pub fn whole(remote: &Remote) -> Duration {
    connect(remote) + answer_within(remote)
}

/// The base URLs of `--server`, in the order in which they are asked.
///
/// # Errors
/// A usage failure for what is no base URL.
fn servers(given: &str) -> Result<Vec<&str>, Failure> {
    let all = given
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty());
    let all: Vec<&str> = all.map(|one| one.trim_end_matches('/')).collect();
    let usable = |one: &&str| one.starts_with("http://") || one.starts_with("https://");
    match all.iter().find(|one| !usable(one)) {
        None if !all.is_empty() => Ok(all),
        wrong => {
            let wrong = wrong.copied().unwrap_or(given);
            let message = format!(
                "--server {wrong}: that is no base URL; write it like http://127.0.0.1:9601"
            );
            Err(Failure::new(Exit::Usage, message))
        }
    }
}

/// Asks one server after the other. When none gives an answer that counts, what a server said is told rather than that
/// another was not there.
///
/// # Errors
/// The one that says most.
pub async fn first_to_answer<T>(
    remote: &Remote,
    mut ask: impl AsyncFnMut(&str) -> Result<T, Lost>,
) -> Result<T, Failure> {
    let all = servers(&remote.server)?;
    let mut told: Vec<(&str, Lost)> = Vec::new();
    for server in &all {
        match ask(server).await {
            Ok(answer) => return Ok(answer),
            Err(lost) => {
                let last = !lost.next;
                told.push((server, lost));
                if last {
                    break;
                }
            }
        }
    }
    let last = told.pop_if(|(_, lost)| !lost.next);
    let best = last.or_else(|| {
        let said = told.iter().rposition(|(_, lost)| lost.said);
        let at = said.unwrap_or(told.len().saturating_sub(1));
        (at < told.len()).then(|| told.remove(at))
    });
    let Some((_, Lost { mut failure, .. })) = best else {
        return Err(Failure::new(Exit::Usage, "no server is named"));
    };
    for (server, other) in told {
        let line = other.failure.message.lines().next().unwrap_or_default();
        failure.message += &format!("\n  also asked {server}: {line}");
    }
    Err(failure)
}

/// No answer that counts came from a server.
#[derive(Debug)]
pub struct Lost {
    /// The next may be asked: nothing was done here.
    next: bool,
    /// The server said so itself.
    said: bool,
    failure: Failure,
}

impl Lost {
    /// Whatever another server would say.
    #[must_use]
    pub fn here(failure: Failure) -> Self {
        Self {
            next: false,
            said: false,
            failure,
        }
    }

    /// Said by the server: nothing was done there.
    #[must_use]
    pub fn undone(failure: Failure) -> Self {
        Self {
            next: true,
            said: true,
            failure,
        }
    }

    /// The connection failed; of a read, or of a write with its key. Before it stood, nothing can have happened.
    #[must_use]
    pub fn of(error: &reqwest::Error, writes: Option<&str>) -> Self {
        let heard = !(error.is_builder() || error.is_connect());
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(deeper) = cause {
            text += &format!(": {deeper}");
            cause = deeper.source();
        }
        Self::midway(heard, text, writes)
    }

    /// It ended with these words, perhaps after it was heard.
    #[must_use]
    pub fn midway(heard: bool, text: String, writes: Option<&str>) -> Self {
        let key = writes.filter(|_| heard);
        let failure = match key {
            None => Failure::new(Exit::Failed, text),
            Some(key) => Failure {
                details: Some(json!({ "idempotency_key": key })),
                ..Failure::new(
                    Exit::OutcomeUnknown,
                    format!(
                        "{text}\n  it may have happened: repeat it with --idempotency-key {key}, which does it at most once"
                    ),
                )
            },
        };
        Self {
            next: key.is_none(),
            said: false,
            failure,
        }
    }
}

/// Whether an answer is a reason to ask the next server: this one is in no state to answer, and nothing was done. Our
/// nodes say with these two statuses, whatever the code, that nothing was; a proxy that has no code says nothing.
#[must_use]
pub fn is_asked_elsewhere(status: u16, answer: &Value, reads: bool) -> bool {
    let code = answer.pointer("/error/code").and_then(Value::as_str);
    match status {
        500..=599 if reads => true,
        503 | 507 => code.is_some_and(|code| code != "outcome_unknown"),
        _other => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn servers_are_base_urls() {
        let two = servers("http://a:1/, https://b:2").ok();
        assert_eq!(two, Some(vec!["http://a:1", "https://b:2"]));
        for wrong in ["nonsense", "", "http://a:1,b:2"] {
            let failure = servers(wrong).err();
            assert!(
                failure.is_some_and(|failure| failure.exit == Exit::Usage),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_next_is_asked_where_nothing_was_done() {
        let said = |code: &str| json!({"error": {"code": code}});
        for (status, answer, write, read) in [
            (503, said("stopping"), true, true),
            (503, said("draining"), true, true),
            (503, said("no_quorum"), true, true),
            (507, said("disk_full"), true, true),
            (503, said("outcome_unknown"), false, true),
            (504, said("outcome_unknown"), false, true),
            (503, "<h1>busy</h1>".into(), false, true),
            (502, Value::Null, false, true),
            (500, said("x"), false, true),
            (404, said("no_such_app"), false, false),
            (401, said("bad_credential"), false, false),
            (200, Value::Null, false, false),
        ] {
            let asked = |reads| is_asked_elsewhere(status, &answer, reads);
            assert_eq!(
                (asked(false), asked(true)),
                (write, read),
                "{status} {answer}"
            );
        }
    }

    #[tokio::test]
    async fn what_a_server_said_is_told_rather_than_that_another_was_gone() {
        let remote = Remote::at("http://a,http://b,http://c".into(), String::new());
        let asked = std::cell::RefCell::new(Vec::new());
        let told = first_to_answer(&remote, async |server| {
            asked.borrow_mut().push(server.to_owned());
            Err::<(), Lost>(match server {
                "http://b" => Lost::undone(Failure::new(Exit::NoQuorum, "no majority")),
                _gone => Lost::midway(false, "gone".into(), Some("k")),
            })
        });
        let failure = told.await.unwrap_err();
        assert_eq!((failure.exit, asked.borrow().len()), (Exit::NoQuorum, 3));
        assert!(
            failure.message.contains("also asked http://a: gone"),
            "{}",
            failure.message
        );
        // A write that may have been heard ends it, and that is what is told.
        let told = first_to_answer(&remote, async |server| {
            Err::<(), Lost>(match server {
                "http://a" => Lost::undone(Failure::new(Exit::NoQuorum, "no majority")),
                _cut => Lost::midway(true, "cut".into(), Some("k")),
            })
        });
        assert_eq!(told.await.unwrap_err().exit, Exit::OutcomeUnknown);
    }
}
