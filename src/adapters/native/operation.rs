//! `GET /v1/operations/{operation}`: what became of a write whose answer never came.
//!
//! The id is the one that an `outcome_unknown` answer names. It cannot be guessed, so whoever knows it may ask.
//!
//! **Why it catches up first:** "not applied" may only be said of a view that covers everything any node had
//! acknowledged when the question came.

use super::auth::Call;
use super::codes::{ApiError, Code, rejected};
use super::input::Params;
use super::resource;
use super::write::answer;
use crate::core::authority::{Answered, Reply, RequestId};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/operations/{operation}").get(show));
}

/// The request that an operation's text names.
///
/// # Errors
/// `bad_value` unless it is 32 hexadecimal digits.
pub fn read(text: &str) -> Result<RequestId, ApiError> {
    let bad = || ApiError::new(Code::BadValue, "an operation is 32 hexadecimal digits");
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = digits
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten();
    number.map(RequestId).ok_or_else(bad)
}

async fn show(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    Params::none(&call)?;
    let request = read(&path)?;
    let authority = &call.broker.authority;
    authority.catch_up().await?;
    let view = authority.view();
    let (status, body) = match view.requests.get(request.0) {
        Some(answered) => (StatusCode::OK, answered_json(answered)),
        None => (StatusCode::NOT_FOUND, unknown_json()),
    };
    let at = view
        .requests
        .get(request.0)
        .map_or(view.revision, |one| one.revision);
    Ok(answer(status, at, body))
}

/// What it came to.
#[must_use]
pub fn answered_json(answered: &Answered) -> Value {
    let mut body = json!({
        "state": "applied",
        "revision": answered.revision,
        "time_ms": answered.time_ms,
    });
    let outcome = match &answered.reply {
        Reply::Done | Reply::MemberUp { .. } => return body,
        Reply::Changed(records) | Reply::Narrowed(records) => json!({ "records": records }),
        Reply::Rejected(why) => {
            let error = rejected(why);
            let code = error.code.row().0;
            json!({ "state": "refused", "error": { "code": code, "message": error.message } })
        }
    };
    if let (Value::Object(body), Value::Object(outcome)) = (&mut body, outcome) {
        body.extend(outcome);
    }
    body
}

/// Not applied up to the revision that the answer carries. It may still be on its way for as long as the call
/// itself waited, and is forgotten ten minutes after it was applied.
fn unknown_json() -> Value {
    json!({
        "state": "not_applied",
        "error": {
            "code": "not_found",
            "message": "no such operation has been applied up to this revision",
            "hint": "ask again after a few seconds; operations are remembered for ten minutes",
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::authority::Rejection;

    #[test]
    fn an_operation_is_named_as_the_error_named_it() {
        let text = format!("{:032x}", 255);
        assert_eq!(read(&text), Ok(RequestId(255)));
        assert!(read("ff").is_err() && read(&"g".repeat(32)).is_err());
        assert!(read(&format!("+{}", "0".repeat(31))).is_err());
    }

    #[test]
    fn an_applied_operation_says_what_it_came_to() {
        let said = |reply| {
            answered_json(&Answered {
                revision: 7,
                time_ms: 9,
                reply,
            })
        };
        let done = said(Reply::Narrowed(2));
        assert_eq!(
            done,
            json!({"state": "applied", "revision": 7, "time_ms": 9, "records": 2})
        );
        let refused = said(Reply::Rejected(Rejection::NoSuchKey));
        assert_eq!(refused.get("state").unwrap(), "refused");
        assert_eq!(refused.pointer("/error/code").unwrap(), "no_such_key");
    }
}
