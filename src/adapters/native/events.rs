//! `POST /v1/apps/{app}/providers/{provider}/events`: push delivery of security events (RFC 8935). A provider says what happened
//! to a user or a session; it is answered once no node serves by what that ends.
//!
//! **Must never know:** what an event means.
//! **Why not the words of `/v1` where an event is refused:** transmitters look for those of RFC 8935. What is our fault has our
//! words, and a status that says to send it again.

use super::auth::same;
use super::codes::{ApiError, Code};
use super::{Native, input, resource};
use crate::core::authority::{AppId, Delivery, ProposeError, State, UNCONFIRMED, WriteError};
use crate::core::broker::Broker;
use crate::core::error::Refusal;
use crate::outbound::hear::{self, Heard, Unheard, word};
use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde_json::json;

/// Most bytes of a body.
const MAX_BODY: usize = 16 << 10;
/// What it says to be.
const EVENT: &str = "application/secevent+jwt";

/// Adds the path of this file: it stands before the scope whose guard asks for a key.
pub fn routes(config: &mut web::ServiceConfig) {
    let path = "/apps/{app}/providers/{provider}/events";
    config.service(resource(&["/v1", path].concat()).post(told));
}

/// Why an event is not taken.
#[derive(Debug)]
struct Failed {
    error: ApiError,
    /// The word of RFC 8935; none where it is not the event's fault.
    word: Option<&'static str>,
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self { error, word: None }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        ApiError::from(refusal).into()
    }
}

impl From<Unheard> for Failed {
    fn from(unheard: Unheard) -> Self {
        match unheard {
            Unheard::Refused(why) => Self {
                error: ApiError::new(Code::BadValue, why.to_string()).because(why.rule()),
                word: Some(word(why)),
            },
            Unheard::Unavailable(refusal) => refusal.into(),
            Unheard::Unwritten { request, error } => unwritten(error).of_request(request).into(),
        }
    }
}

fn unwritten(error: WriteError) -> ApiError {
    let unavailable = |message: String| ApiError::new(Code::Unavailable, message);
    match error {
        WriteError::Pending(_) => ApiError::new(
            Code::OutcomeUnknown,
            "it is stored, but not every node has confirmed it yet",
        ),
        // Not for what the event says: a provider that went a moment ago, a table that is full.
        WriteError::Refused(ProposeError::Rejected(why)) => unavailable(why.to_string()),
        WriteError::Refused(error) => error.into(),
    }
}

fn refused(word: &'static str, message: impl Into<String>) -> Failed {
    let error = ApiError::new(Code::BadValue, message);
    Failed {
        error,
        word: Some(word),
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for Failed {
    fn status_code(&self) -> StatusCode {
        self.error.status_code()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let response = self.error.error_response();
        let Some(word) = self.word else {
            return response;
        };
        let body = json!({ "err": word, "description": self.error.message });
        let mut response = response.set_body(body.to_string()).map_into_boxed_body();
        let english = header::HeaderValue::from_static("en");
        response
            .headers_mut()
            .insert(header::CONTENT_LANGUAGE, english);
        response
    }
}

async fn told(
    http: HttpRequest,
    path: web::Path<(String, String)>,
    broker: web::Data<Broker>,
    native: web::Data<Native>,
    payload: web::Payload,
) -> Result<HttpResponse, Failed> {
    let app = input::app_id(&path.0)?;
    let kind = header_text(&http, header::CONTENT_TYPE);
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(EVENT) {
        return Err(refused(
            "invalid_request",
            format!("the body is of no `{EVENT}`"),
        ));
    }
    let body = input::bytes(payload, MAX_BODY).await?;
    let text = std::str::from_utf8(&body);
    let text = text.map_err(|_| refused("invalid_request", "this is no signed token"))?;
    let shown = header_text(&http, header::AUTHORIZATION);
    who_sends(&broker, (app, &path.1), shown).await?;
    let heard = hear::hear(&broker.authority, (app, &path.1), text.trim()).await;
    native.meter.events.count(&heard);
    Ok(match heard? {
        Heard::Over { revision, .. } => HttpResponse::Accepted()
            .insert_header(("Gatecast-Revision", revision.to_string()))
            .finish(),
        Heard::Noted | Heard::Nothing => HttpResponse::Accepted().finish(),
    })
}

fn header_text(http: &HttpRequest, name: header::HeaderName) -> &str {
    let value = http.headers().get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// That it shows what was agreed on for this provider, where something was. What was agreed a moment ago through another node
/// counts.
async fn who_sends(
    broker: &Broker,
    (app, provider): (AppId, &str),
    shown: &str,
) -> Result<(), Failed> {
    let authority = &broker.authority;
    if !authority.serving() {
        return Err(UNCONFIRMED.into());
    }
    let look = |view: &State| {
        let signals = view.signals_of(app, provider);
        let bearer = match signals.map(|signals| &signals.spec.delivery) {
            Some(Delivery::Push { bearer }) => bearer.as_ref(),
            Some(Delivery::Poll { .. }) | None => None,
        };
        let agreed = |bearer: &str| same(shown.as_bytes(), format!("Bearer {bearer}").as_bytes());
        match bearer.is_none_or(|bearer| agreed(&bearer.0)) {
            true => Ok(()),
            false => Err(refused(
                "authentication_failed",
                "the Authorization header is not the one that was agreed on",
            )),
        }
    };
    authority
        .look(look, |failed: &Failed| failed.word.is_some())
        .await
}
