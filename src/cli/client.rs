//! One request to a node, its answer, and what both mean for the exit code.
//!
//! **Why a write that got no answer is not "failed":** it may have been committed; a script that treats it as failed
//! would do it twice.

use super::arguments::{Output, Remote};
use super::request::Request;
use super::{Exit, Failure, output};
use rand::Rng as _;
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Asks, shows the answer, or says why not.
///
/// # Errors
/// With the exit code that names the kind of failure.
pub fn ask(remote: &Remote, request: Request) -> Result<(), Failure> {
    if let Some(what) = &request.destroys {
        confirmed(remote, what)?;
    }
    let answer = answer_to(remote, &request)?;
    match remote.output {
        Output::Json => output::json(&answer),
        Output::Table => output::table(&answer, request.table),
    }
    Ok(())
}

/// Asks, and gives the answer if the node agreed.
///
/// # Errors
/// With the exit code that names the kind of failure.
pub fn answer_to(remote: &Remote, request: &Request) -> Result<Value, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(answer(remote, request))
}

/// Asks from within a program that has a runtime already; the answer, if the node agreed.
///
/// # Errors
/// With the exit code that names the kind of failure.
pub async fn answer(remote: &Remote, request: &Request) -> Result<Value, Failure> {
    answered(remote, &token(remote)?, request).await
}

async fn answered(remote: &Remote, token: &str, request: &Request) -> Result<Value, Failure> {
    let (status, answer) = send(remote, token, request).await?;
    match (200..300).contains(&status) {
        true => Ok(answer),
        false => Err(refused(status, &answer)),
    }
}

fn token(remote: &Remote) -> Result<String, Failure> {
    let Some(path) = &remote.token_file else {
        return Ok(remote.token.clone());
    };
    if !remote.token.is_empty() {
        return Ok(remote.token.clone());
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("--token-file {}: {error}", path.display());
        Failure::new(Exit::Config, message)
    })?;
    Ok(text.trim_end().to_owned())
}

/// Asks for a file and hands it over as it comes.
///
/// # Errors
/// As [`ask`], and whatever `take` says.
pub fn fetch(
    remote: &Remote,
    path: &str,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let token = token(remote)?;
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let mut response = first_to_answer(remote, async |server| {
            let wait = Duration::from_secs(remote.timeout.max(1));
            let client = reqwest::Client::builder()
                .connect_timeout(wait)
                .read_timeout(wait)
                .no_proxy()
                .build()
                .map_err(|error| Lost::unsent(&error))?;
            let call = client.get(format!("{server}{path}")).bearer_auth(&token);
            call.send().await.map_err(|error| Lost::of(&error, None))
        })
        .await?;
        let lost = |error: reqwest::Error| Lost::of(&error, None).failure;
        let status = response.status().as_u16();
        if status != 200 {
            let bytes = response.bytes().await.map_err(lost)?;
            let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            return Err(refused(status, &answer));
        }
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            take(&piece)?;
        }
        Ok(())
    })
}

/// Asks whoever sits at the terminal. A script is not asked: nobody would answer.
fn confirmed(remote: &Remote, what: &str) -> Result<(), Failure> {
    if remote.yes || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(());
    }
    let mut said = String::new();
    let mut terminal = std::io::stderr().lock();
    let asked = write!(terminal, "{what}.\nGo on? [y/N] ").and_then(|()| terminal.flush());
    asked
        .and_then(|()| std::io::stdin().read_line(&mut said))
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    match matches!(said.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, "nothing was done")),
    }
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

/// Asks one server after the other until somebody may have heard it.
async fn first_to_answer<T>(
    remote: &Remote,
    ask: impl AsyncFn(&str) -> Result<T, Lost>,
) -> Result<T, Failure> {
    let mut last = Failure::new(Exit::Failed, "no server is named");
    for server in servers(&remote.server)? {
        match ask(server).await {
            // Nobody was there to hear it, so the next may be asked.
            Err(lost) if !lost.heard => last = lost.failure,
            Err(lost) => return Err(lost.failure),
            Ok(answer) => return Ok(answer),
        }
    }
    Err(last)
}

async fn send(remote: &Remote, token: &str, request: &Request) -> Result<(u16, Value), Failure> {
    let key = idempotency_key(remote);
    first_to_answer(remote, async |server| {
        send_to(server, remote, token, request, &key).await
    })
    .await
}

async fn send_to(
    server: &str,
    remote: &Remote,
    token: &str,
    request: &Request,
    key: &str,
) -> Result<(u16, Value), Lost> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(remote.timeout.max(1)))
        .no_proxy()
        .build()
        .map_err(|error| Lost::unsent(&error))?;
    let method = reqwest::Method::from_bytes(request.method.as_bytes());
    let method = method.map_err(|error| Lost::unsent(&error))?;
    let mut call = client.request(method, format!("{server}{}", request.path));
    if !token.is_empty() {
        call = call.bearer_auth(token);
    }
    let writes = (request.method != "GET").then_some(key);
    if let Some(key) = writes {
        call = call.header("Idempotency-Key", key);
    }
    if let Some(body) = &request.body {
        call = call.json(body);
    }
    let lost = |error: reqwest::Error| Lost::of(&error, writes);
    let response = call.send().await.map_err(lost)?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await.map_err(lost)?;
    let answer = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_plain| String::from_utf8_lossy(&bytes).into_owned().into());
    Ok((status, with_key(answer, writes)))
}

/// No whole answer came.
struct Lost {
    /// Somebody may have heard the question.
    heard: bool,
    failure: Failure,
}

impl Lost {
    /// The question could not even be put.
    fn unsent(error: &dyn std::error::Error) -> Self {
        Self {
            heard: true,
            failure: Failure::new(Exit::Failed, error.to_string()),
        }
    }

    /// Of a read, or of a write with its key. Before the connection stood, nothing can have happened.
    fn of(error: &reqwest::Error, writes: Option<&str>) -> Self {
        let heard = !(error.is_builder() || error.is_connect());
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(deeper) = cause {
            text += &format!(": {deeper}");
            cause = deeper.source();
        }
        let failure = match writes.filter(|_| heard) {
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
        Self { heard, failure }
    }
}

/// A refusal says with which key the same request can be repeated; one that was made up here is known to nobody else.
fn with_key(mut answer: Value, key: Option<&str>) -> Value {
    let error = answer.get_mut("error").and_then(Value::as_object_mut);
    if let (Some(error), Some(key)) = (error, key) {
        error.insert("idempotency_key".into(), key.into());
    }
    answer
}

fn idempotency_key(remote: &Remote) -> String {
    let made_up = || format!("cli-{:032x}", rand::rng().random::<u128>());
    remote.idempotency_key.clone().unwrap_or_else(made_up)
}

/// What a refusal means, by its code first and its status otherwise.
#[must_use]
pub fn refused(status: u16, answer: &Value) -> Failure {
    let error = answer.get("error");
    let field = |name: &str| {
        error
            .and_then(|error| error.get(name))
            .and_then(Value::as_str)
    };
    let exit = match (field("code"), status) {
        (Some("no_quorum"), _) => Exit::NoQuorum,
        (Some("outcome_unknown"), _) | (None, 504) => Exit::OutcomeUnknown,
        (_, 401 | 403) => Exit::Auth,
        (_, 404) => Exit::NotFound,
        (_, 409) => Exit::Conflict,
        (_, _) => Exit::Failed,
    };
    let message = match (field("code"), field("message"), field("hint")) {
        (Some(code), Some(message), Some(hint)) => {
            let mut text = format!("{message} ({code})\n  {hint}");
            if exit == Exit::OutcomeUnknown {
                for (name, what) in [
                    ("operation", "operation"),
                    ("idempotency_key", "Idempotency-Key"),
                ] {
                    text += &field(name).map_or_else(String::new, |is| format!("\n  {what}: {is}"));
                }
            }
            text
        }
        _no_table => format!("the server answered {status}: {answer}"),
    };
    Failure {
        details: error.cloned(),
        ..Failure::new(exit, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_outcome_that_is_unknown_names_what_is_needed_to_know_it() {
        let answer = json!({"error": {"code": "outcome_unknown", "message": "m", "hint": "h", "operation": "0f"}});
        let failure = refused(504, &with_key(answer, Some("cli-1")));
        assert!(
            failure.message.contains("operation: 0f"),
            "{}",
            failure.message
        );
        assert!(
            failure.message.contains("Idempotency-Key: cli-1"),
            "{}",
            failure.message
        );
    }

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
    fn the_exit_code_names_the_kind_of_failure() {
        let exit = |status, code: &str| {
            let answer = json!({"error": {"code": code, "message": "m", "hint": "h"}});
            refused(status, &answer).exit
        };
        assert_eq!(exit(401, "bad_credential"), Exit::Auth);
        assert_eq!(exit(403, "operator_only"), Exit::Auth);
        assert_eq!(exit(404, "no_such_app"), Exit::NotFound);
        assert_eq!(exit(409, "taken"), Exit::Conflict);
        assert_eq!(exit(503, "no_quorum"), Exit::NoQuorum);
        assert_eq!(exit(503, "busy"), Exit::Failed);
        assert_eq!(exit(504, "outcome_unknown"), Exit::OutcomeUnknown);
        assert_eq!(refused(504, &Value::Null).exit, Exit::OutcomeUnknown);
        assert_eq!(refused(502, &Value::Null).exit, Exit::Failed);
    }
}
