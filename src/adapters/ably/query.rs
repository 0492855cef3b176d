//! Query strings and headers: where a client may put its credential and its wishes.

use super::auth::Credential;
use super::codes::Fault;
use super::format::Format;
use actix_web::HttpRequest;
use actix_web::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

/// Query parameters, decoded; of one given twice the last counts.
pub(super) type Query = BTreeMap<String, String>;

/// Reads a query string. Anything decodes to something.
pub(super) fn parse(raw: &str) -> Query {
    actix_web::web::Query::<Vec<(String, String)>>::from_query(raw)
        .map(|pairs| pairs.into_inner().into_iter().collect())
        .unwrap_or_default()
}

/// The credential of a query string. The token's parameter has two names, by SDK.
pub(super) fn credential(query: &Query) -> Option<Credential> {
    let token = query
        .get("access_token")
        .or_else(|| query.get("accessToken"));
    let token = token.cloned().map(Credential::Token);
    token.or_else(|| query.get("key").cloned().map(Credential::Key))
}

fn header(request: &HttpRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

/// The credential of a request: its header, else its query string.
///
/// # Errors
/// 40005 for a header that is none.
pub(super) fn of_request(request: &HttpRequest, query: &Query) -> Result<Credential, Fault> {
    let Some(value) = header(request, AUTHORIZATION) else {
        return credential(query).ok_or_else(Fault::no_credential);
    };
    let bad = || Fault::new(40005, 400, "Invalid credentials");
    let (scheme, value) = value.split_once(' ').ok_or_else(bad)?;
    let decoded = STANDARD
        .decode(value)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => decoded.map(Credential::Key).ok_or_else(bad),
        // Raw tokens hold dots, which no base64 does.
        "bearer" => Ok(Credential::Token(
            decoded.unwrap_or_else(|| value.to_owned()),
        )),
        _other => Err(bad()),
    }
}

/// The client id that a request is made as.
///
/// # Errors
/// 40012 for a header that cannot be read.
pub(super) fn client_id(request: &HttpRequest, query: &Query) -> Result<Option<String>, Fault> {
    let Some(value) = header(request, HeaderName::from_static("x-ably-clientid")) else {
        return Ok(query.get("clientId").cloned());
    };
    let decoded = STANDARD.decode(value).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let bad = || Fault::new(40012, 400, "X-Ably-ClientId is not base64");
    text.map(Some).ok_or_else(bad)
}

fn named(text: &str) -> Option<Format> {
    if text.contains("msgpack") {
        Some(Format::MsgPack)
    } else {
        text.contains("json").then_some(Format::Json)
    }
}

/// The form of the answer.
pub(super) fn answer_format(request: &HttpRequest, query: &Query) -> Format {
    let accept = header(request, ACCEPT).and_then(named);
    let asked = || query.get("format").and_then(|text| named(text));
    accept.or_else(asked).unwrap_or(Format::Json)
}

/// The form of the body.
pub(super) fn body_format(request: &HttpRequest) -> Format {
    header(request, CONTENT_TYPE)
        .and_then(named)
        .unwrap_or(Format::Json)
}

/// The protocol version of a request, by header or parameter; none = not said.
pub(super) fn version(request: &HttpRequest, query: &Query) -> Option<u32> {
    let text = header(request, HeaderName::from_static("x-ably-version"));
    let text = text.or_else(|| query.get("v").map(String::as_str))?;
    text.split('.').next()?.parse().ok()
}
