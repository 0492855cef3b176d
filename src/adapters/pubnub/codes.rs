//! Answers in PubNub's words: bodies, status codes, headers.
//!
//! **Why every answer carries a JavaScript content type:** without one the JavaScript SDK takes a 403 for a bad request
//! and a 200 for a malformed one.

use crate::core::authority::{ProposeError, Reason, Rejection, Resource, Text, WriteError};
use crate::core::error::Refusal;
use crate::core::refusals::{Rule, Told, Why};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

/// What browsers are told about every answer.
const OPEN: [(HeaderName, &str); 6] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        "GET, POST, PATCH, DELETE, OPTIONS",
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Origin, X-Requested-With, Content-Type, Content-Encoding, Accept",
    ),
    (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
    (header::CACHE_CONTROL, "no-cache"),
];
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=\"UTF-8\"");
const CAUSE: HeaderName = HeaderName::from_static("x-pn-cause");

/// An answer of this status with this body.
pub(super) fn answer(status: u16, body: impl Into<String>) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for header in OPEN {
        response.insert_header(header);
    }
    response.insert_header((header::CONTENT_TYPE, JAVASCRIPT));
    if status == StatusCode::FORBIDDEN {
        response.insert_header((CAUSE, "9999"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    response.body(body.into())
}

/// 200 with this.
pub(super) fn ok(body: &Value) -> HttpResponse {
    answer(200, body.to_string())
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {body}")]
pub(super) struct Fault {
    /// The HTTP status of the answer.
    pub(super) status: u16,
    /// The body, without its line end.
    pub(super) body: String,
    /// What operators are told.
    pub(super) why: Why,
}

/// A name that was refused.
pub(super) type Denied = (Resource, Text);

impl Fault {
    pub(super) fn new(status: u16, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string(),
            why: Rule::of_status(status).into(),
        }
    }

    /// For this, more exactly.
    pub(super) fn because(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// The signature is wrong.
    pub(super) fn signature() -> Self {
        Self::service(403, "Invalid Signature").because(Rule::WrongSecret)
    }

    /// It is not signed, and has to be.
    pub(super) fn unsigned() -> Self {
        Self::service(403, "Invalid Signature").because(Rule::KeyNeeded)
    }

    /// The access manager's form.
    pub(super) fn service(status: u16, message: &str) -> Self {
        let body = json!({
            "message": message, "error": true, "service": "Access Manager", "status": status,
        });
        Self::new(status, &body)
    }

    /// The publish form.
    pub(super) fn unsent(reason: &str, timetoken: u64) -> Self {
        Self::new(400, &json!([0, reason, timetoken.to_string()]))
    }

    /// Invalid arguments, in history's own form.
    pub(super) fn arguments() -> Self {
        let body = json!({
            "status": 400, "error": true, "error_message": "Invalid Arguments", "channels": {},
        });
        Self::new(400, &body)
    }

    /// The request cannot be read.
    pub(super) fn bad(message: &str) -> Self {
        Self::service(400, message)
    }

    /// A path or method that is none, or that is PubNub's and not served here.
    pub(super) fn unknown() -> Self {
        let message = "Not Found: this call is not supported by this server";
        let body = json!({
            "message": message, "error": true, "service": "Balancer", "status": 404,
        });
        Self::new(404, &body).because(Rule::Unsupported)
    }

    /// Too much in a body.
    pub(super) fn too_large() -> Self {
        let body = json!({
            "status": 413, "error": true, "service": "Balancer",
            "message": "Request Entity Too Large.",
        });
        Self::new(413, &body)
    }

    /// As many as may are connected. Told in words: who is merely hung up on tries for ever.
    pub(super) fn crowded(refusal: Refusal) -> Self {
        let Refusal::Limit { limit, .. } = &refusal else {
            return refusal.into();
        };
        let message = format!("Too many connections: {limit}");
        let body = json!({ "status": 429, "error": true, "message": message });
        Self::new(429, &body).because(&refusal)
    }

    /// There is no room on the disk, which a moment later is no better.
    fn disk_full() -> Self {
        let body = json!({
            "status": 507, "error": true, "service": "Balancer", "message": "Insufficient Storage",
        });
        Self::new(507, &body)
    }

    /// This node cannot answer now, and another one or a moment later can.
    pub(super) fn unavailable() -> Self {
        let body = json!({
            "status": 503, "error": true, "service": "Balancer", "message": "Service Unavailable",
        });
        Self::new(503, &body)
    }

    /// Whether it is that.
    pub(super) fn is_unavailable(&self) -> bool {
        self.status == 503
    }

    /// Grants are missing for these.
    pub(super) fn forbidden(denied: &[Denied]) -> Self {
        let of = |resource, before: &str| {
            let names = denied.iter().filter(|(kind, _)| *kind == resource);
            let names = names.map(|(_, name)| format!("{before}{name}"));
            names.collect::<Vec<String>>()
        };
        let mut payload = serde_json::Map::new();
        for (key, names) in [
            ("channels", of(Resource::Channel, "")),
            ("channel-groups", of(Resource::Group, ":")),
            ("uuids", of(Resource::User, "")),
        ] {
            if !names.is_empty() {
                payload.insert(key.into(), names.into());
            }
        }
        let body = json!({
            "message": "Forbidden", "payload": payload, "error": true,
            "service": "Access Manager", "status": 403,
        });
        Self::new(403, &body)
    }

    /// The credential itself is refused, if that is why.
    pub(super) fn of_credential(reason: &Reason) -> Option<Self> {
        let message = match reason {
            Reason::Expired { .. } => "Token is expired.",
            Reason::Revoked { .. } => "Token is revoked",
            Reason::NotYet { .. } => "Token is not valid yet",
            Reason::NotVouched(_) => "Token is no longer vouched for",
            Reason::AppDisabled | Reason::NoSuchApp(_) => return Some(no_keyset()),
            Reason::NoSuchKey(_)
            | Reason::KeyDisabled(_)
            | Reason::Blocked { .. }
            | Reason::BeyondKey(_)
            | Reason::NotGranted(_) => return None,
        };
        Some(Self::service(403, message).because(reason))
    }
}

/// There is no such keyset.
pub(super) fn no_keyset() -> Fault {
    Fault::service(400, "Invalid Subscribe Key").because(Rule::UnknownKey)
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let why = Why::from(&refusal);
        let fault = match refusal {
            Refusal::Denied(reason) => {
                Self::of_credential(&reason).unwrap_or_else(|| Self::forbidden(&[]))
            }
            Refusal::Limit { limit, .. } => Self::bad(&format!("Limit reached: {limit}")),
            Refusal::Rate { .. } => {
                let body = json!({ "status": 429, "error": true, "message": "Too many requests." });
                Self::new(429, &body)
            }
            Refusal::Invalid(text) => Self::bad(&text),
            Refusal::AlreadySubscribed
            | Refusal::NotSubscribed
            | Refusal::Unavailable(_)
            | Refusal::OutcomeUnknown => Self::unavailable(),
        };
        fault.because(why)
    }
}

impl From<ProposeError> for Fault {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Rejected(rejection) => match rejection {
                Rejection::BeyondIssuer(_) => Self::service(403, "The key may not grant this"),
                Rejection::NoSuchApp | Rejection::NoSuchKey => no_keyset(),
                Rejection::Invalid(_) | Rejection::LimitReached(_) => {
                    Self::bad(&rejection.to_string())
                }
                Rejection::NotFound
                | Rejection::NoSuchMember
                | Rejection::Taken(_)
                | Rejection::NonceUsed
                | Rejection::VersionNotEnabled(_) => Self::bad("Invalid request"),
            },
            ProposeError::TooLarge { .. } => Self::too_large(),
            ProposeError::NoQuorum(_)
            | ProposeError::Busy
            | ProposeError::Stopping
            | ProposeError::OutcomeUnknown => Self::unavailable(),
            ProposeError::DiskFull => Self::disk_full(),
        }
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            // Made, but a node may still serve by what was taken: no success.
            WriteError::Pending(_) => Self::unavailable(),
        }
    }
}

impl ResponseError for Fault {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = answer(self.status, format!("{}\n", self.body));
        let told = Told::new(self.why.clone(), self.status);
        answer.extensions_mut().insert(told);
        answer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::authority::fixture::{assert_words, rejections};

    #[test]
    fn rejections_are_sentences() {
        for rejection in rejections() {
            let fault = Fault::from(ProposeError::Rejected(rejection.clone()));
            let body: Value = serde_json::from_str(&fault.body).unwrap();
            let told = body.get("message").or_else(|| body.get("error_message"));
            assert_words(&rejection, told.and_then(Value::as_str).unwrap());
        }
    }

    #[test]
    fn only_what_another_node_or_a_moment_later_can_serve_is_unavailable() {
        for passes in [
            ProposeError::NoQuorum(String::new()).into(),
            ProposeError::Busy.into(),
            ProposeError::Stopping.into(),
            Fault::from(Refusal::Unavailable("x")),
        ] {
            assert!(Fault::is_unavailable(&passes), "{passes}");
        }
        let (limit, max) = ("connections_per_node", 1);
        let crowded = Fault::crowded(Refusal::Limit { limit, max });
        assert!(crowded.body.contains(limit), "in words: {crowded}");
        for stays in [
            ProposeError::DiskFull.into(),
            crowded,
            Refusal::Limit { limit, max }.into(),
            Refusal::Denied(Reason::AppDisabled).into(),
        ] {
            assert!(!Fault::is_unavailable(&stays), "{stays}");
        }
    }

    #[test]
    fn a_403_names_what_was_refused_and_says_it_is_javascript() {
        let denied = [
            (Resource::Channel, "secure".into()),
            (Resource::Group, "cg1".into()),
        ];
        let fault = Fault::forbidden(&denied);
        let body: Value = serde_json::from_str(&fault.body).unwrap();
        let wanted = json!({
            "message": "Forbidden", "error": true, "service": "Access Manager", "status": 403,
            "payload": {"channels": ["secure"], "channel-groups": [":cg1"]},
        });
        assert_eq!(body, wanted);
        let response = fault.error_response();
        assert_eq!(response.status(), 403);
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("content-type"), "text/javascript; charset=\"UTF-8\"");
        assert_eq!(header("access-control-allow-origin"), "*");
        assert_eq!(header("x-pn-cause"), "9999");
    }
}
