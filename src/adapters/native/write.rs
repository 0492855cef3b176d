//! Writes: naming the request, committing it, waiting until a narrowing holds everywhere, and the answer.
//!
//! **Must never know:** what is written. **Why the whole request is in its id:** an `Idempotency-Key` reused
//! for something else must not be answered with the first thing's success.

use super::auth::{Call, Caller};
use super::codes::{ApiError, Code};
use super::input::Wait;
use super::mint::Mint;
use super::{Gate, Native};
use crate::core::authority::{BarrierReport, Command, Committed, NodeId, RequestId, Revision};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::Instant;

/// A write about to be made.
#[derive(Debug)]
pub struct Write<'a> {
    call: &'a Call,
    request: RequestId,
    repeatable: bool,
    started: Instant,
}

impl<'a> Write<'a> {
    /// Of this call with this body.
    ///
    /// # Errors
    /// `bad_value` when the `Idempotency-Key` is unusable.
    pub fn of(call: &'a Call, body: &[u8]) -> Result<Self, ApiError> {
        let key = idempotency_key(&call.http)?;
        let request = key.map_or_else(
            || RequestId(rand::random()),
            |key| named(&call.caller, &call.http, key, body),
        );
        Ok(Self {
            call,
            request,
            repeatable: key.is_some(),
            started: Instant::now(),
        })
    }

    /// Where this write's fresh ids and secrets come from: the same again for a repeated request.
    #[must_use]
    pub fn mint(&self) -> Mint {
        if !self.repeatable {
            return Mint::random();
        }
        match (&self.call.caller, &self.call.native.gate) {
            (Caller::Key(key), _) => Mint::derived(key.secret.0.as_bytes(), self.request.0),
            (Caller::Operator, Gate::Operators { token }) => {
                Mint::derived(token.as_bytes(), self.request.0)
            }
            (Caller::Operator, Gate::Keys) => Mint::random(),
        }
    }

    /// Commits.
    ///
    /// # Errors
    /// What the cluster said, as a code; an unknown outcome names the request.
    pub async fn commit(&self, command: Command) -> Result<Committed, ApiError> {
        let began = Instant::now();
        let outcome = self
            .call
            .broker
            .authority
            .change(self.request, command)
            .await;
        let commit_seconds = &self.call.native.meter.commit_seconds;
        commit_seconds.observe(began.elapsed().as_secs_f64());
        outcome.map_err(|error| ApiError::from(error).of_request(self.request))
    }

    /// Commits something that may take rights away, and waits until no node serves by the old state.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn narrow(&self, command: Command, wait: Wait) -> Result<Narrowed, ApiError> {
        let committed = self.commit(command).await?;
        Ok(self.enforce(&committed, wait).await)
    }

    /// Waits until no node serves by the state before this change.
    pub async fn enforce(&self, committed: &Committed, wait: Wait) -> Narrowed {
        let began = Instant::now();
        let authority = &self.call.broker.authority;
        let report = authority.barrier(committed.revision, wait.into()).await;
        let meter = &self.call.native.meter;
        meter.barrier_seconds.observe(began.elapsed().as_secs_f64());
        meter.closed.inc_by(report.closed);
        let took = self.started.elapsed().as_millis();
        Narrowed {
            revision: committed.revision,
            wait,
            report,
            took_ms: u64::try_from(took).unwrap_or(u64::MAX),
        }
    }
}

/// A narrowing write and how far it has come.
#[derive(Clone, Debug)]
pub struct Narrowed {
    /// When it became true.
    pub revision: Revision,
    /// How far the caller wanted to wait.
    pub wait: Wait,
    /// Who enforces it.
    pub report: BarrierReport,
    /// From the call to the answer, milliseconds.
    pub took_ms: u64,
}

impl Narrowed {
    /// Done everywhere (200), or committed with somebody still to follow (202).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.report.pending.is_empty() && self.wait != Wait::None {
            true => StatusCode::OK,
            false => StatusCode::ACCEPTED,
        }
    }

    /// The report's fields.
    #[must_use]
    pub fn json(&self) -> Value {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        json!({
            "revision": self.revision,
            "enforced": ids(&self.report.enforced),
            "fenced": ids(&self.report.fenced),
            "pending": ids(&self.report.pending),
            "closed": self.report.closed,
            "took_ms": self.took_ms,
        })
    }

    /// The whole answer, with these fields beside the report.
    #[must_use]
    pub fn answer(&self, beside: Value) -> HttpResponse {
        answer(self.status(), self.revision, merged(self.json(), beside))
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

/// The id of a named request: who, what name, which path, which body.
fn named(caller: &Caller, http: &HttpRequest, key: &str, body: &[u8]) -> RequestId {
    let caller = super::text::issuer_text(&caller.issuer());
    let mut hash = Sha256::new();
    for part in [
        caller.as_str(),
        key,
        http.method().as_str(),
        http.path(),
        http.query_string(),
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
        matches!(self.gate, Gate::Operators { .. })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::test::TestRequest;

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
    fn a_narrowing_is_done_only_when_nobody_is_pending() {
        let narrowed = |pending: Vec<NodeId>, wait| Narrowed {
            revision: 9,
            wait,
            report: BarrierReport {
                enforced: vec![NodeId(1)],
                pending,
                ..BarrierReport::default()
            },
            took_ms: 3,
        };
        assert_eq!(narrowed(vec![], Wait::All).status(), 200);
        assert_eq!(narrowed(vec![NodeId(2)], Wait::Strict).status(), 202);
        assert_eq!(narrowed(vec![], Wait::None).status(), 202);
        let json = narrowed(vec![NodeId(2)], Wait::Strict).json();
        assert_eq!(json.get("pending"), Some(&json!([2])));
    }
}
