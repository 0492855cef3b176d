//! Writes: naming the request, having it made, and the answer that says how far it has come.
//!
//! **Why the whole request is in its id:** an `Idempotency-Key` reused for something else must not be answered with the
//! first thing's success.

use super::auth::{Call, Caller};
use super::codes::{ApiError, Code};
use super::id_source::IdSource;
use super::input::Wait;
use super::{AuthMode, Native};
use crate::core::authority::{
    App, Asked, Command, Limits, NodeId, Reply, RequestId, Revision, Subject, Text, WriteError,
    Written,
};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};

/// Longest wait for this node to have applied what was just committed.
pub(super) const APPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// A write about to be made.
#[derive(Debug)]
pub struct Write<'a> {
    call: &'a Call,
    request: RequestId,
    repeatable: bool,
    /// Why, in the caller's words: for the audit.
    reason: Option<Text>,
    started: Instant,
}

impl<'a> Write<'a> {
    /// Of this call with this body.
    ///
    /// # Errors
    /// `bad_value` when the `Idempotency-Key` or the `Gatecast-Reason` is unusable.
    pub fn of(call: &'a Call, body: &[u8]) -> Result<Self, ApiError> {
        let key = idempotency_key(&call.http)?;
        let reason = reason(&call.http)?;
        let request = key.map_or_else(
            || RequestId(rand::random()),
            |key| named(&call.caller, &call.http, key, body),
        );
        Ok(Self {
            call,
            request,
            repeatable: key.is_some(),
            reason,
            started: Instant::now(),
        })
    }

    /// Where this write's fresh ids and secrets come from: the same again for a repeated request.
    #[must_use]
    pub fn id_source(&self) -> IdSource {
        if !self.repeatable {
            return IdSource::random();
        }
        let cluster = self.call.native.cluster_secret.as_bytes();
        match (&self.call.caller, &self.call.native.auth_mode) {
            (Caller::Key(key), _) => {
                IdSource::derived(cluster, key.secret.0.as_bytes(), self.request.0)
            }
            (Caller::Operator, AuthMode::Operators { token }) => {
                IdSource::derived(cluster, token.as_bytes(), self.request.0)
            }
            (Caller::Operator, AuthMode::Keys) | (Caller::Bearer(_), _) => IdSource::random(),
        }
    }

    /// Makes the change, and waits as far as asked until no node serves by what it took.
    ///
    /// # Errors
    /// What the cluster said, as a code; an unknown outcome names the request.
    pub async fn make(&self, command: Command, wait: Wait) -> Result<Made, ApiError> {
        let authority = &self.call.broker.authority;
        let command = match &self.reason {
            None => command,
            reason => Command::Asked(Box::new(Asked {
                provider: None,
                reason: reason.clone(),
                command,
            })),
        };
        let outcome = authority.write(self.request, command, wait.into()).await;
        let took = self.started.elapsed();
        let meter = &self.call.native.meter;
        let (done, written) = match outcome {
            Ok(written) => (true, written),
            Err(WriteError::Pending(written)) => (false, *written),
            Err(WriteError::Refused(error)) => {
                meter.commit_seconds.observe(took.as_secs_f64());
                return Err(ApiError::from(error).of_request(self.request));
            }
        };
        let commit = took.saturating_sub(written.fence);
        meter.commit_seconds.observe(commit.as_secs_f64());
        if written.narrowed {
            meter.barrier_seconds.observe(written.fence.as_secs_f64());
            meter.closed.inc_by(written.report.closed);
        }
        Ok(Made {
            written,
            done,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// A write and how far it has come.
#[derive(Clone, Debug)]
#[must_use]
pub struct Made {
    written: Written,
    done: bool,
    took_ms: u64,
}

impl Made {
    /// When it became true.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.written.revision
    }

    /// Whether it was done by every node, none had to be waited out, and no connection was closed for it.
    #[must_use]
    pub fn closed_nobody(&self) -> bool {
        let report = &self.written.report;
        let everywhere = self.done && !report.enforced.is_empty() && report.fenced.is_empty();
        self.written.narrowed && everywhere && report.closed == 0
    }

    /// How many records it touched.
    #[must_use]
    pub fn touched(&self) -> u64 {
        match self.written.reply {
            Reply::Changed(records) | Reply::Narrowed(records) => records,
            Reply::Done | Reply::MemberUp { .. } | Reply::Rejected(_) => 0,
        }
    }

    /// Done everywhere (200), or committed with somebody still to follow (202).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.done {
            true => StatusCode::OK,
            false => StatusCode::ACCEPTED,
        }
    }

    /// Who enforces it, where something was taken.
    #[must_use]
    pub fn json(&self) -> Value {
        if !self.written.narrowed {
            return json!({});
        }
        let report = &self.written.report;
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        json!({
            "enforced": ids(&report.enforced),
            "fenced": ids(&report.fenced),
            "pending": ids(&report.pending),
            "closed": report.closed,
            "took_ms": self.took_ms,
        })
    }

    /// As [`Self::answer`] about what a subject has: where a token may do less, the one exception to that is named.
    #[must_use]
    pub fn answer_about(&self, subject: &Subject, call: &Call, app: &App) -> HttpResponse {
        let keeps = match subject {
            Subject::Token(_) if self.written.narrowed => call.native.catalog.keeps(app),
            Subject::Token(_)
            | Subject::User(_)
            | Subject::Key(_)
            | Subject::Group(_)
            | Subject::Everyone => None,
        };
        self.answer(keeps.map_or_else(|| json!({}), |text| json!({ "exception": text })))
    }

    /// The whole answer, with these fields beside the report.
    #[must_use]
    pub fn answer(&self, beside: Value) -> HttpResponse {
        self.answer_as(StatusCode::OK, beside)
    }

    /// As [`Self::answer`], with this status for what is done.
    #[must_use]
    pub fn answer_as(&self, done: StatusCode, beside: Value) -> HttpResponse {
        let status = if self.done { done } else { self.status() };
        answer(status, self.revision(), merged(self.json(), beside))
    }
}

/// An answer that carries its revision in the body and in `Gatecast-Revision`.
#[must_use]
pub fn answer(status: StatusCode, revision: Revision, body: Value) -> HttpResponse {
    let body = merged(json!({ "revision": revision }), body);
    HttpResponse::build(status)
        .insert_header(("Gatecast-Revision", revision.to_string()))
        .insert_header(("Cache-Control", "no-store"))
        .json(body)
}

fn merged(mut first: Value, second: Value) -> Value {
    if let (Value::Object(first), Value::Object(second)) = (&mut first, second) {
        first.extend(second);
    }
    first
}

/// The `Idempotency-Key` of a request.
///
/// # Errors
/// `bad_value` when it is empty, over 255 bytes or not printable ASCII.
pub fn idempotency_key(http: &HttpRequest) -> Result<Option<&str>, ApiError> {
    let Some(value) = http.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let usable = value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()));
    let bad = || {
        ApiError::new(
            Code::BadValue,
            "an Idempotency-Key is 1 to 255 printable characters",
        )
    };
    usable.map(Some).ok_or_else(bad)
}

/// The `Gatecast-Reason` of a request: why it is asked for, told in the audit.
///
/// # Errors
/// `bad_value` when it is empty, too long, no UTF-8 or has control characters.
pub fn reason(http: &HttpRequest) -> Result<Option<Text>, ApiError> {
    let Some(value) = http.headers().get("gatecast-reason") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes()).ok();
    let short = text.filter(|text| text.len() <= Limits::REASON_TEXT);
    let usable = short.and_then(|text| super::text::name("reason", text).ok());
    let bad = || {
        let most = Limits::REASON_TEXT;
        let message =
            format!("a Gatecast-Reason is 1 to {most} bytes of text without control characters");
        ApiError::new(Code::BadValue, message)
    };
    usable.map(Some).ok_or_else(bad)
}

/// The id of a named request: who, what name, which path, which body.
fn named(caller: &Caller, http: &HttpRequest, key: &str, body: &[u8]) -> RequestId {
    let caller = caller.label();
    // Another reason is another request: it would else be told with the first one's.
    let said = http.headers().get("gatecast-reason");
    let said = said.and_then(|said| std::str::from_utf8(said.as_bytes()).ok());
    let mut hash = Sha256::new();
    for part in [
        caller.as_str(),
        key,
        http.method().as_str(),
        http.path(),
        http.query_string(),
        said.unwrap_or_default(),
    ] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(body);
    let digest = hash.finalize();
    let head = digest.iter().take(16);
    RequestId(head.fold(0, |id, byte| id << 8 | u128::from(*byte)))
}

impl Native {
    /// Whether this port is the operators'.
    #[must_use]
    pub fn for_operators(&self) -> bool {
        matches!(self.auth_mode, AuthMode::Operators { .. })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::authority::{BarrierReport, Reply};
    use actix_web::test::TestRequest;
    use std::time::Duration;

    #[test]
    fn a_request_is_the_same_only_if_all_of_it_is() {
        let id = |key: &str, path: &str, body: &str| {
            let http = TestRequest::post().uri(path).to_http_request();
            named(&Caller::Operator, &http, key, body.as_bytes())
        };
        assert_eq!(id("k", "/v1/apps", "{}"), id("k", "/v1/apps", "{}"));
        assert_ne!(id("k", "/v1/apps", "{}"), id("k2", "/v1/apps", "{}"));
        assert_ne!(id("k", "/v1/apps", "{}"), id("k", "/v1/apps/1", "{}"));
        assert_ne!(id("k", "/v1/apps", "{}"), id("k", "/v1/apps", "{ }"));
    }

    #[test]
    fn an_idempotency_key_is_short_and_printable() {
        let with = |key: &'static str| {
            let http = TestRequest::default().insert_header(("Idempotency-Key", key));
            idempotency_key(&http.to_http_request()).map(|key| key.map(str::to_owned))
        };
        assert_eq!(with("order-7"), Ok(Some("order-7".into())));
        assert!(with("").is_err() && with("caf\u{e9}").is_err());
        let none = TestRequest::default().to_http_request();
        assert_eq!(idempotency_key(&none), Ok(None));
    }

    #[test]
    fn a_reason_is_short_text_for_people() {
        let with = |text: &[u8]| {
            let value = actix_web::http::header::HeaderValue::from_bytes(text).unwrap();
            let http = TestRequest::default().insert_header(("Gatecast-Reason", value));
            reason(&http.to_http_request()).map(|text| text.map(|text| text.to_string()))
        };
        let left = "hat gekündigt";
        assert_eq!(with(left.as_bytes()), Ok(Some(left.into())));
        assert!(with(&[b'x'; 256]).is_ok() && with(&[b'x'; 257]).is_err());
        for bad in [&b""[..], b"a\tb", b"\xff", "a\u{202e}b".as_bytes()] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
        let none = TestRequest::default().to_http_request();
        assert_eq!(reason(&none), Ok(None));
    }

    #[test]
    fn a_write_is_done_only_when_nobody_is_pending() {
        let made = |pending: Vec<NodeId>, narrowed| Made {
            done: pending.is_empty(),
            written: Written {
                revision: 9,
                reply: Reply::Narrowed(1),
                narrowed,
                report: BarrierReport {
                    enforced: vec![NodeId(1)],
                    pending,
                    ..BarrierReport::default()
                },
                fence: Duration::ZERO,
            },
            took_ms: 3,
        };
        let status = |made: Made| made.answer_as(StatusCode::CREATED, json!({})).status();
        assert_eq!(status(made(vec![], true)), 201);
        assert_eq!(status(made(vec![NodeId(2)], true)), 202);
        let json = made(vec![NodeId(2)], true).json();
        assert_eq!(json.get("pending"), Some(&json!([2])));
        assert_eq!(made(vec![], false).json(), json!({}));
    }
}
