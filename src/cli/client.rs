//! One request to a node, its answer, and what both mean for the exit code.
//!
//! **Why a write that got no answer is not "failed":** it may have been committed; a script that treats it as failed
//! would do it twice.

use super::arguments::{Output, Remote};
use super::output::{self, Printed};
use super::request::Request;
use super::servers::{self, Lost, first_to_answer, is_asked_elsewhere};
use super::{Exit, Failure, confirm};
use rand::Rng as _;
use serde_json::Value;
use std::fs::File;
use std::io::{Seek as _, Write as _};

/// Longest answer that is read, bytes: the longest listing is far below.
const MAX_ANSWER: usize = 64 << 20;

/// What a node answered.
#[derive(Debug)]
pub struct Answer {
    /// As it was understood.
    pub value: Value,
    /// As it came: numbers and the order of fields are the server's.
    text: String,
}

/// Asks, shows the answer, or says why not.
///
/// # Errors
/// With the exit code that names the kind of failure.
pub fn ask(remote: &Remote, request: Request) -> Result<(), Failure> {
    if let Some(what) = &request.destroys {
        confirm::confirmed(remote.yes, what)?;
    }
    let answer = block_on(answered(remote, &token(remote)?, &request))?;
    let printed = match remote.output {
        Output::Json => output::json(&answer.text),
        Output::Table => output::table(&answer.value, request.table),
    };
    match printed {
        Ok(Printed::Whole | Printed::Closed) => Ok(()),
        Err(failure) => Err(unshown(failure, &request, &answer.value)),
    }
}

/// The answer could not be shown. Of a write it is said that it was done: who does it again would do it twice.
fn unshown(failure: Failure, request: &Request, answer: &Value) -> Failure {
    if !request.writes() {
        return failure;
    }
    let secret = match holds_a_secret(answer) {
        true => {
            "; the secret in it was shown to nobody and is lost here: `gatecast app show` of its app shows it again"
        }
        false => "",
    };
    let message = format!(
        "it was done, but its answer is lost: {}{secret}",
        failure.message
    );
    Failure::new(Exit::NotShown, message)
}

fn holds_a_secret(answer: &Value) -> bool {
    match answer {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| (name == "secret" && value.is_string()) || holds_a_secret(value)),
        Value::Array(items) => items.iter().any(holds_a_secret),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Asks, and gives the answer if the node agreed.
///
/// # Errors
/// With the exit code that names the kind of failure.
pub fn answer_to(remote: &Remote, request: &Request) -> Result<Value, Failure> {
    block_on(answer(remote, request))
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(work)
}

/// Asks from within a program that has a runtime already; the answer, if the node agreed.
///
/// # Errors
/// With the exit code that names the kind of failure.
pub async fn answer(remote: &Remote, request: &Request) -> Result<Value, Failure> {
    let answer = answered(remote, &token(remote)?, request).await?;
    Ok(answer.value)
}

async fn answered(remote: &Remote, token: &str, request: &Request) -> Result<Answer, Failure> {
    let key = idempotency_key(remote);
    let (status, answer) = first_to_answer(remote, async |server| {
        send_to(server, remote, token, request, &key).await
    })
    .await?;
    match (200..300).contains(&status) {
        true => Ok(answer),
        false => Err(refused(status, &answer.value)),
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

/// Asks for a file and writes it into this one as it comes. What a server that was cut off had sent of it goes again.
///
/// # Errors
/// As [`ask`], and when it cannot be written.
pub fn fetch(remote: &Remote, path: &str, into: &mut File) -> Result<(), Failure> {
    let token = token(remote)?;
    block_on(first_to_answer(remote, async |server| {
        let client = servers::client(remote)
            .read_timeout(servers::answer_within(remote))
            .build()
            .map_err(|error| Lost::of(&error, None))?;
        let call = client.get(format!("{server}{path}")).bearer_auth(&token);
        let lost = |error: reqwest::Error| Lost::of(&error, None);
        let mut response = call.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        if status != 200 {
            let answer = whole(response, None).await?.value;
            let failure = refused(status, &answer);
            return Err(match is_asked_elsewhere(status, &answer, true) {
                true => Lost::undone(failure),
                false => Lost::here(failure),
            });
        }
        let local = |error: std::io::Error| {
            Lost::here(Failure::new(
                Exit::Failed,
                format!("the file cannot be written: {error}"),
            ))
        };
        into.set_len(0)
            .and_then(|()| into.rewind())
            .map_err(local)?;
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            into.write_all(&piece).map_err(local)?;
        }
        Ok(())
    }))
}

async fn send_to(
    server: &str,
    remote: &Remote,
    token: &str,
    request: &Request,
    key: &str,
) -> Result<(u16, Answer), Lost> {
    let writes = request.writes().then_some(key);
    let lost = |error: reqwest::Error| Lost::of(&error, writes);
    let client = servers::client(remote).timeout(servers::whole(remote));
    let client = client.build().map_err(lost)?;
    let method = reqwest::Method::from_bytes(request.method.as_bytes());
    let method =
        method.map_err(|error| Lost::here(Failure::new(Exit::Failed, error.to_string())))?;
    let mut call = client.request(method, format!("{server}{}", request.path));
    if !token.is_empty() {
        call = call.bearer_auth(token);
    }
    if let Some(key) = writes {
        call = call.header("Idempotency-Key", key);
        if let Some(reason) = &remote.reason {
            // As its UTF-8 bytes: what no header can carry is refused by the client itself.
            call = call.header("Gatecast-Reason", reason.as_bytes());
        }
    }
    if let Some(body) = request.sent() {
        call = call.header("Content-Type", "application/json").body(body);
    }
    let response = call.send().await.map_err(lost)?;
    let status = response.status().as_u16();
    let mut answer = whole(response, writes).await?;
    answer.value = with_key(answer.value, writes);
    match is_asked_elsewhere(status, &answer.value, writes.is_none()) {
        true => Err(Lost::undone(refused(status, &answer.value))),
        false => Ok((status, answer)),
    }
}

/// The whole answer, if it is not too long to be one.
async fn whole(mut response: reqwest::Response, writes: Option<&str>) -> Result<Answer, Lost> {
    let mut bytes = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| Lost::of(&error, writes))?
    {
        if bytes.len() + piece.len() > MAX_ANSWER {
            let message = format!("the server's answer is longer than {MAX_ANSWER} bytes");
            return Err(Lost::midway(true, message, writes));
        }
        bytes.extend_from_slice(&piece);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match serde_json::from_str(&text) {
        Ok(value) => Answer { value, text },
        Err(_plain) => Answer {
            text: Value::from(&*text).to_string(),
            value: text.into(),
        },
    })
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
            let [message, code, hint] = [message, code, hint].map(output::clean);
            let mut text = format!("{message} ({code})\n  {hint}");
            if exit == Exit::OutcomeUnknown {
                for (name, what) in [
                    ("operation", "operation"),
                    ("idempotency_key", "Idempotency-Key"),
                ] {
                    text += &field(name).map_or_else(String::new, |is| {
                        format!("\n  {what}: {}", output::clean(is))
                    });
                }
            }
            text
        }
        _no_table => {
            let said = answer
                .as_str()
                .map_or_else(|| answer.to_string(), str::to_owned);
            format!("the server answered {status}: {}", output::excerpt(&said))
        }
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
