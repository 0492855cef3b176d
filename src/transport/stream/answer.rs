//! What a browser has to be told so that it hands the lines to a page of any origin.

use super::Streams;
use super::reader::Reader;
use crate::core::close::Close;
use crate::core::connection::accepted::{Framing, Inbound};
use crate::core::session::Frame;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CONNECTION, ORIGIN,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use std::time::Duration;

/// Longest wait for a body, and for room at the connection.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Says to the connection of that name what the body says: `parse` makes frames of it.
pub async fn say(
    request: &HttpRequest,
    payload: web::Payload,
    (streams, name): (&Streams, &str),
    max_bytes: usize,
    parse: impl FnOnce(&str) -> Option<Vec<Frame>>,
) -> HttpResponse {
    let read = tokio::time::timeout(BODY_TIMEOUT, payload.to_bytes_limited(max_bytes));
    let Ok(Ok(Ok(body))) = read.await else {
        return allowed(StatusCode::PAYLOAD_TOO_LARGE, request).finish();
    };
    let Some(frames) = std::str::from_utf8(&body).ok().and_then(parse) else {
        return allowed(StatusCode::BAD_REQUEST, request).finish();
    };
    let Some(listener) = streams.listener(name) else {
        return allowed(StatusCode::NOT_FOUND, request).finish();
    };
    for frame in frames {
        let said = listener.send_timeout(Inbound::Frame(frame), BODY_TIMEOUT);
        if said.await.is_err() {
            return allowed(StatusCode::SERVICE_UNAVAILABLE, request).finish();
        }
    }
    allowed(StatusCode::NO_CONTENT, request).finish()
}

/// Answers a browser that asks whether it may.
#[allow(clippy::unused_async)] // Handlers are async.
pub async fn preflight(request: HttpRequest) -> HttpResponse {
    allowed(StatusCode::NO_CONTENT, &request)
        .insert_header(("Access-Control-Allow-Methods", "OPTIONS, POST"))
        .insert_header(("Access-Control-Max-Age", "3600"))
        .finish()
}

/// A response whose body is read from the spool. Its socket is not used again.
pub(super) fn streaming(request: &HttpRequest, body: Reader) -> HttpResponse {
    let mut response = allowed(StatusCode::OK, request);
    response.insert_header((CONNECTION, "close"));
    response.force_close().body(body)
}

/// Somebody reads that stream already.
pub(super) fn taken(request: &HttpRequest, framing: &Framing) -> HttpResponse {
    let close = Close {
        code: 2010,
        reason: "Another connection still open".into(),
    };
    allowed(StatusCode::OK, request).body((framing.close)(&close))
}

/// An answer that any page may read: who connects is said in the stream, never by a cookie.
fn allowed(status: StatusCode, request: &HttpRequest) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.content_type("application/javascript; charset=UTF-8");
    response.insert_header((
        "Cache-Control",
        "no-store, no-cache, no-transform, must-revalidate, max-age=0",
    ));
    // A proxy that gathers a response would hold the lines back.
    response.insert_header(("X-Accel-Buffering", "no"));
    response.insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"));
    match request.headers().get(ORIGIN) {
        Some(origin) if origin != "null" => {
            response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
            response.insert_header((ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"));
        }
        Some(_) | None => {
            response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
        }
    }
    response
}
