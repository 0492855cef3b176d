//! The error table of `/v1`: every code with its status and what to do about it, and the one place where the
//! core's refusals become codes.
//!
//! **Why one table:** people script against codes; two spellings of the same failure would both have to be kept for
//! ever.

use crate::core::authority::{JoinError, ProposeError, ReadError, Reason, Rejection, RequestId};
use crate::core::clock::rfc3339;
use crate::core::error::Refusal;
use crate::core::refusals::{Rule, Told, Why};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

macro_rules! table {
    ($($variant:ident $code:literal $status:literal $hint:literal,)*) => {
        /// Everything `/v1` can answer with instead of success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(
                #[doc = concat!("`", $code, "`, ", stringify!($status), ": ", $hint, ".")]
                $variant,
            )*
        }

        impl Code {
            /// All of them, for the reference page and the tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Code, HTTP status, hint.
            #[must_use]
            pub const fn row(self) -> (&'static str, u16, &'static str) {
                match self { $(Self::$variant => ($code, $status, $hint)),* }
            }
        }
    };
}

table! {
    BadJson "bad_json" 400 "send one JSON object with exactly the documented fields",
    BadValue "bad_value" 400 "correct the named value and send the request again",
    BadName "bad_name" 400 "use a shorter name without control characters",
    BadPattern "bad_pattern" 400 "see the pattern forms: room, *, public-*, main:*, a.*, /regex/, !a-,b-",
    UnknownParameter "unknown_parameter" 400 "remove the parameter or correct its name",
    UnknownOperation "unknown_operation" 400 "use the documented operation names, or * for all",
    UnknownSetting "unknown_setting" 400 "use a documented setting with a value of its type",
    UnknownProtocol "unknown_protocol" 400 "use the name of a dialect this broker speaks",
    LimitReached "limit_reached" 400 "remove something first, or split the request",
    Unauthenticated "unauthenticated" 401 "send `Authorization: Bearer <key id>:<secret>`, or the admin token on the internal port",
    BadCredential "bad_credential" 401 "check the key id and secret, and that the key and its app are enabled",
    OperatorOnly "operator_only" 403 "use the internal port with the admin token",
    WrongApp "wrong_app" 403 "a key acts only inside its own app",
    NotAllowed "not_allowed" 403 "use a key whose capability includes the named operation",
    Denied "denied" 403 "see the reason; `explain` shows which rule was asked for",
    NoSuchApp "no_such_app" 404 "list the apps; ids are decimal numbers",
    NoSuchKey "no_such_key" 404 "list the app's keys",
    NoSuchNode "no_such_node" 404 "see the cluster's status for its nodes",
    NotFound "not_found" 404 "there is nothing by that name to change or delete",
    NoSuchPath "no_such_path" 404 "see the `/v1` reference for its paths",
    WrongMethod "wrong_method" 405 "see the `/v1` reference for this path's methods",
    Taken "taken" 409 "choose another id, or leave it out to get a fresh one",
    NotEnabled "not_enabled" 409 "finish the upgrade of every node first",
    Conflict "conflict" 409 "see the message",
    TooSlow "too_slow" 408 "send the whole body at once",
    TooLarge "too_large" 413 "send less in one request",
    LimitExceeded "limit_exceeded" 429 "raise the app's limit, or use less",
    RateLimited "rate_limited" 429 "wait as long as Retry-After says",
    NoQuorum "no_quorum" 503 "nothing was changed; retry, and look at the cluster's status if it lasts",
    Behind "behind" 503 "this node has not caught up; retry, or ask another node",
    Busy "busy" 503 "nothing was changed; retry after a moment",
    Stopping "stopping" 503 "nothing was changed; ask another node",
    Unavailable "unavailable" 503 "nothing was done; retry after a moment",
    DiskFull "disk_full" 507 "nothing was changed; make room on this node's disk, or ask another node",
    OutcomeUnknown "outcome_unknown" 504 "it may have happened: ask `GET /v1/operations/{operation}`, or repeat the request with the same Idempotency-Key",
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// From the table.
    pub code: Code,
    /// What exactly was wrong. Never a secret.
    pub message: String,
    /// Seconds for `Retry-After`, when not the default of its status.
    pub retry_after_s: Option<u64>,
    /// The request whose outcome is unknown.
    pub request: Option<RequestId>,
    /// What operators are told, when it is more than the code says.
    why: Option<Box<Why>>,
}

impl ApiError {
    /// An error of this code with this message.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_s: None,
            request: None,
            why: None,
        }
    }

    /// For this, more exactly than the code says.
    #[must_use]
    pub fn because(mut self, why: impl Into<Why>) -> Self {
        self.why = Some(Box::new(why.into()));
        self
    }

    fn why(&self) -> Why {
        let why = self.why.as_deref().cloned();
        why.unwrap_or_else(|| self.code.rule().into())
    }

    /// Names the request, so that its outcome can be looked for.
    #[must_use]
    pub fn of_request(mut self, request: RequestId) -> Self {
        if self.code == Code::OutcomeUnknown {
            self.request = Some(request);
        }
        self
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.row().0, self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let (code, status, hint) = self.code.row();
        let mut error = json!({ "code": code, "message": self.message, "hint": hint });
        if let (Some(request), Some(fields)) = (self.request, error.as_object_mut()) {
            fields.insert("operation".into(), format!("{:032x}", request.0).into());
        }
        let mut response = HttpResponse::build(self.status_code());
        if status == 401 {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"gatecast\""));
        }
        if let Some(request) = self.request {
            let place = format!("/v1/operations/{:032x}", request.0);
            response.insert_header((header::LOCATION, place));
        }
        if let Some(seconds) = self.retry_after_s.or((status == 503).then_some(1)) {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        let mut response = response.json(json!({ "error": error }));
        let told = Told::new(self.why(), status);
        response.extensions_mut().insert(told);
        response
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        let code = match &error {
            ProposeError::Rejected(rejection) => return rejected(rejection),
            ProposeError::NoQuorum(_) => Code::NoQuorum,
            ProposeError::DiskFull => Code::DiskFull,
            ProposeError::OutcomeUnknown => Code::OutcomeUnknown,
            ProposeError::Busy => Code::Busy,
            ProposeError::TooLarge { .. } => Code::TooLarge,
            ProposeError::Stopping => Code::Stopping,
        };
        Self::new(code, error.to_string())
    }
}

pub(super) fn rejected(rejection: &Rejection) -> ApiError {
    let (code, message) = match rejection {
        Rejection::NoSuchApp => (Code::NoSuchApp, "there is no such app".into()),
        Rejection::NoSuchKey => (Code::NoSuchKey, "there is no such key".into()),
        Rejection::NoSuchMember => (Code::NoSuchNode, "there is no such node".into()),
        Rejection::NotFound => (Code::NotFound, "nothing by that name".into()),
        Rejection::Taken(name) => (Code::Taken, format!("`{name}` is taken")),
        Rejection::NonceUsed => (Code::Conflict, "the nonce was used before".into()),
        Rejection::BeyondIssuer(what) => {
            (Code::NotAllowed, format!("beyond the calling key: {what}"))
        }
        Rejection::LimitReached(what) => (Code::LimitReached, format!("limit reached: {what}")),
        Rejection::Invalid(what) => (Code::BadValue, what.to_string()),
        Rejection::VersionNotEnabled(version) => (
            Code::NotEnabled,
            format!("needs cluster version {version}, which is not enabled yet"),
        ),
    };
    ApiError::new(code, message)
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::NoQuorum => Code::NoQuorum,
            ReadError::Behind { .. } => Code::Behind,
        };
        Self::new(code, error.to_string())
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        let code = match error {
            JoinError::NoQuorum(_) => Code::NoQuorum,
            JoinError::Refused(_) => Code::Conflict,
            JoinError::NotFound(_) => Code::NoSuchNode,
            JoinError::Unknown(_) => Code::OutcomeUnknown,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Denied(reason) => {
                return Self::new(Code::Denied, reason_text(reason)).because(reason);
            }
            Refusal::Rate { limit, retry_ms } => {
                let mut error = Self::new(Code::RateLimited, format!("too fast: {limit}"));
                error.retry_after_s = Some(retry_ms.div_ceil(1000).max(1));
                return error;
            }
            Refusal::Limit { .. } => Code::LimitExceeded,
            Refusal::AlreadySubscribed => Code::Conflict,
            Refusal::NotSubscribed => Code::NotFound,
            Refusal::Invalid(_) => Code::BadValue,
            Refusal::Unavailable(_) => Code::Unavailable,
            Refusal::OutcomeUnknown => Code::OutcomeUnknown,
        };
        Self::new(code, refusal.to_string()).because(&refusal)
    }
}

impl Code {
    /// The rule that a code stands for where nothing more exact is known.
    fn rule(self) -> Rule {
        match self {
            Self::BadJson => Rule::BadMessage,
            Self::LimitReached | Self::LimitExceeded => Rule::LimitReached,
            Self::Unauthenticated => Rule::CredentialMissing,
            Self::BadCredential => Rule::WrongSecret,
            Self::OperatorOnly => Rule::OperatorToken,
            Self::WrongApp | Self::NotAllowed | Self::Denied => Rule::BeyondKey,
            Self::NoSuchApp => Rule::NoSuchApp,
            Self::NoSuchKey | Self::NoSuchNode | Self::NotFound => Rule::Nothing,
            Self::TooLarge => Rule::BodyTooLarge,
            Self::BadName => Rule::ChannelName,
            Self::BadValue
            | Self::BadPattern
            | Self::UnknownParameter
            | Self::UnknownOperation
            | Self::UnknownSetting
            | Self::UnknownProtocol => Rule::BadValue,
            Self::NoSuchPath
            | Self::WrongMethod
            | Self::Taken
            | Self::NotEnabled
            | Self::Conflict
            | Self::TooSlow
            | Self::RateLimited
            | Self::NoQuorum
            | Self::Behind
            | Self::Busy
            | Self::Stopping
            | Self::Unavailable
            | Self::DiskFull
            | Self::OutcomeUnknown => Rule::of_status(self.row().1),
        }
    }
}

/// A denial in words.
#[must_use]
pub fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::NoSuchApp(app) => format!("there is no app {app}"),
        Reason::AppDisabled => "the app is disabled".into(),
        Reason::NoSuchKey(key) => format!("there is no key {key} in this app"),
        Reason::KeyDisabled(key) => format!("key {key} is disabled or its overlap has ended"),
        Reason::Blocked { until_ms: None } => "blocked until unblocked".into(),
        Reason::Blocked {
            until_ms: Some(end),
        } => format!("blocked until {} ({end} in cluster ms)", rfc3339(*end)),
        Reason::Expired { at_ms } => {
            let at = rfc3339(*at_ms);
            format!("the credential expired at {at} ({at_ms} in cluster ms)")
        }
        Reason::NotYet { at_ms } => {
            let at = rfc3339(*at_ms);
            format!("the credential is issued later, at {at} ({at_ms} in cluster ms)")
        }
        Reason::Revoked { revision, .. } => {
            format!("the credential was revoked at revision {revision}")
        }
        Reason::BeyondKey(key) => {
            format!("key {key}, which issued the credential or vouches for it, may not do this")
        }
        Reason::NotVouched(provider) => format!(
            "identity provider {provider} no longer vouches for the token: it is disabled, or its key, algorithm, audience or ceiling has changed"
        ),
        Reason::NotGranted(operations) => {
            format!("nothing allows {}", operations.names().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::authority::fixture::{assert_words, rejections};
    use std::collections::BTreeSet;

    #[test]
    fn where_another_node_may_be_asked_nothing_was_done() {
        // The command line asks the next server after these.
        for code in Code::ALL {
            let (name, status, hint) = code.row();
            let undone = hint.starts_with("nothing was ") || *code == Code::Behind;
            assert_eq!(matches!(status, 503 | 507), undone, "{name}");
        }
    }

    #[test]
    fn rejections_are_sentences() {
        for rejection in rejections() {
            assert_words(&rejection, &rejected(&rejection).message);
        }
    }

    #[test]
    fn every_code_is_spelled_once_and_says_what_to_do() {
        let mut seen = BTreeSet::new();
        for code in Code::ALL {
            let (text, status, hint) = code.row();
            assert!(seen.insert(text), "{text} twice");
            assert!((400..600).contains(&status) && hint.len() > 10, "{text}");
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }

    #[test]
    fn a_time_is_said_for_people_and_for_programs() {
        let until_ms = Some(1_796_007_903_203);
        assert_eq!(
            reason_text(&Reason::Blocked { until_ms }),
            "blocked until 2026-11-30T03:05:03.203Z (1796007903203 in cluster ms)"
        );
    }

    #[test]
    fn failures_keep_their_meaning_in_the_status() {
        let status = |error: ApiError| error.status_code().as_u16();
        assert_eq!(status(ProposeError::NoQuorum("x".into()).into()), 503);
        assert_eq!(status(ProposeError::OutcomeUnknown.into()), 504);
        assert_eq!(status(ProposeError::TooLarge { limit: 1 }.into()), 413);
        let taken = ProposeError::Rejected(Rejection::Taken("7".into()));
        assert_eq!(status(taken.into()), 409);
        let beyond = ProposeError::Rejected(Rejection::BeyondIssuer("publish".into()));
        assert_eq!(status(beyond.into()), 403);
        assert_eq!(status(ReadError::Behind { wanted: 2, at: 1 }.into()), 503);
        assert_eq!(status(Refusal::Denied(Reason::AppDisabled).into()), 403);
    }

    #[actix_web::test]
    async fn an_unknown_outcome_names_its_request_and_a_refusal_says_when_to_retry() {
        let error = ApiError::from(ProposeError::OutcomeUnknown).of_request(RequestId(255));
        let body = actix_web::body::to_bytes(error.error_response().into_body()).await;
        let text = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
        assert!(
            text.contains(&format!("\"operation\":\"{}ff\"", "0".repeat(30))),
            "{text}"
        );
        let busy = ApiError::from(ProposeError::Busy).of_request(RequestId(1));
        assert_eq!(busy.request, None);
        let rate = Refusal::Rate {
            limit: "publishes_per_second",
            retry_ms: 1500,
        };
        let response = ApiError::from(rate).error_response();
        assert_eq!(
            response.headers().get("retry-after").map(|v| v.as_bytes()),
            Some(&b"2"[..])
        );
    }
}
