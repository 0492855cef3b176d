//! One request, and its answer read as far as it may be long.
//!
//! **Must never know:** what it says. **Why not what the HTTP client reads by itself:** that takes as much as is sent.

use super::target::{Clients, innermost};
use reqwest::{Method, StatusCode, Url};
use std::fmt;

/// Where is asked, and how the answer is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The HTTP clients.
    pub(super) clients: &'a Clients,
    /// Also where is not public, and without TLS.
    pub(super) private: bool,
    /// Most bytes of an answer.
    pub(super) max_bytes: usize,
}

/// What is sent with a request.
pub(super) enum Sent<'a> {
    /// No body at all.
    Nothing,
    /// A body of JSON.
    Json(&'a serde_json::Value),
    /// Fields of a form.
    Form(&'a [(&'a str, &'a str)]),
}

/// Anybody: it needs no credential.
pub(super) enum As<'a> {
    /// Nobody in particular.
    Anybody,
    /// A client with its secret.
    Client(&'a str, &'a str),
    /// Whoever was given this access token.
    Bearer(&'a str),
}

/// Why there is no answer that can be used, in words that tell nothing of the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// None came in time.
    Late,
    /// It is longer than is read.
    TooLong(usize),
    /// Something else went wrong.
    Failed(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("the request timed out"),
            Self::TooLong(most) => write!(f, "the answer is longer than {most} bytes"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<reqwest::Error> for Unread {
    fn from(error: reqwest::Error) -> Self {
        match error.is_timeout() {
            true => Self::Late,
            false => Self::Failed(innermost(&error.without_url())),
        }
    }
}

/// The status and the body of what is answered there.
pub(super) async fn ask(
    place: Place<'_>,
    (method, url): (Method, &str),
    who: As<'_>,
    sent: Sent<'_>,
) -> Result<(StatusCode, Vec<u8>), Unread> {
    let url = Url::parse(url).map_err(|error| format!("this is no address: {error}"))?;
    let plain = url.scheme() == "http" && place.private;
    if url.scheme() != "https" && !plain {
        return Err("providers are asked by https only".to_owned().into());
    }
    let mut request = place.clients.to(&url, place.private)?.request(method, url);
    request = match who {
        As::Anybody => request,
        // Both as a form has them (RFC 6749, 2.3.1).
        As::Client(id, secret) => request.basic_auth(escaped(id), Some(escaped(secret))),
        As::Bearer(token) => request.bearer_auth(token),
    };
    request = match sent {
        Sent::Nothing => request,
        Sent::Json(body) => request
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body.to_string()),
        Sent::Form(fields) => request
            .header(
                reqwest::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .body(form(fields)),
    };
    let mut answer = request.send().await?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > place.max_bytes {
            return Err(Unread::TooLong(place.max_bytes));
        }
        body.extend_from_slice(&piece);
    }
    Ok((status, body))
}

/// Fields as the text of a form.
fn form(fields: &[(&str, &str)]) -> String {
    let pairs = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                out.push(char::from(byte));
            }
            _other => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What is wrong with an answer of this status, in words.
pub(super) fn unexpected(status: StatusCode) -> String {
    let hint = match status.is_redirection() {
        true => ", and redirects are not followed",
        false => "",
    };
    format!("the answer is {}{hint}", status.as_u16())
}

/// The body of what stands at this address.
pub(super) async fn get(place: Place<'_>, url: &str) -> Result<Vec<u8>, String> {
    let asked = ask(place, (Method::GET, url), As::Anybody, Sent::Nothing).await;
    match asked.map_err(|why| why.to_string())? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => Err(unexpected(status)),
    }
}
