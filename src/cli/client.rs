//! One request to a node, its answer, and what both mean for the exit code.
//!
//! **Must never know:** what the request is about.
//! **Why a write that got no answer is not "failed":** it may have been committed; a script that treats it as
//! failed would do it twice.

use super::arguments::{Output, Remote};
use super::request::Request;
use super::{Exit, Failure, output};
use rand::Rng as _;
use serde_json::Value;
use std::time::Duration;

/// Asks, shows the answer, or says why not.
///
/// # Errors
/// With the exit code that names the kind of failure.
pub fn ask(remote: &Remote, request: Request) -> Result<(), Failure> {
    let token = token(remote)?;
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let answer = runtime.block_on(answered(remote, &token, &request))?;
    match remote.output {
        Output::Json => output::json(&answer),
        Output::Table => output::table(&answer, request.table),
    }
    Ok(())
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
        let url = format!("{}{path}", remote.server.trim_end_matches('/'));
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(remote.timeout.max(1)))
            .read_timeout(Duration::from_secs(remote.timeout.max(1)))
            .no_proxy()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let call = client.get(&url).bearer_auth(&token).send();
        let mut response = call.await.map_err(|error| lost(&error, false))?;
        let status = response.status().as_u16();
        if status != 200 {
            let bytes = response
                .bytes()
                .await
                .map_err(|error| lost(&error, false))?;
            let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            return Err(refused(status, &answer));
        }
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| lost(&error, false))?
        {
            take(&piece)?;
        }
        Ok(())
    })
}

async fn send(remote: &Remote, token: &str, request: &Request) -> Result<(u16, Value), Failure> {
    let url = format!("{}{}", remote.server.trim_end_matches('/'), request.path);
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(remote.timeout.max(1)))
        .no_proxy()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let method = reqwest::Method::from_bytes(request.method.as_bytes())
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let mut call = client.request(method, &url);
    if !token.is_empty() {
        call = call.bearer_auth(token);
    }
    let writes = request.method != "GET";
    if writes {
        call = call.header("Idempotency-Key", idempotency_key(remote));
    }
    if let Some(body) = &request.body {
        call = call.json(body);
    }
    let response = call.send().await.map_err(|error| lost(&error, writes))?;
    let status = response.status().as_u16();
    let bytes = response
        .bytes()
        .await
        .map_err(|error| lost(&error, writes))?;
    let answer = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_plain| String::from_utf8_lossy(&bytes).into_owned().into());
    Ok((status, answer))
}

fn idempotency_key(remote: &Remote) -> String {
    let made_up = || format!("cli-{:032x}", rand::rng().random::<u128>());
    remote.idempotency_key.clone().unwrap_or_else(made_up)
}

/// No whole answer came. Before the connection stood, nothing can have happened.
fn lost(error: &reqwest::Error, writes: bool) -> Failure {
    let exit = match error.is_builder() || error.is_connect() || !writes {
        true => Exit::Failed,
        false => Exit::OutcomeUnknown,
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text += &format!(": {deeper}");
        cause = deeper.source();
    }
    Failure::new(exit, text)
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
        (Some(code), Some(message), Some(hint)) => format!("{message} ({code})\n  {hint}"),
        _no_table => format!("the server answered {status}: {answer}"),
    };
    Failure::new(exit, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
