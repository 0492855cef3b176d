//! The browser SDK's fallback where WebSockets do not get through: a streaming response, and requests that send.
//!
//! **Must never know:** what is said; the session is the WebSocket's.

use super::limits;
use super::session::RealtimeSession;
use super::{DIALECT, StreamEncoding};
use crate::core::close::Close;
use crate::core::connection::Frame;
use crate::core::connection::seat::Wire;
use crate::core::ids::Text;
use crate::core::limits::OUTBOX_BYTES;
use crate::transport::stream::{self, Streams, Unheard};
use crate::transport::ws::Opening;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ORIGIN,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use std::time::Duration;

/// Where the stream is asked for.
const STREAM: &str = "/{prefix:.*}broadcast/{server}/{connection}/xhr_streaming";
/// Where the client sends.
const SEND: &str = "/{prefix:.*}broadcast/{server}/{connection}/xhr_send";
/// Browsers hand a stream on only after so many bytes.
const PREAMBLE: usize = 2_048;
/// Longest wait for a body.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// One frame per line.
pub(super) fn line(frame: Frame) -> Bytes {
    match frame {
        Frame::Text(text) => format!("{text}\n").into(),
        Frame::Binary(data) => data,
    }
}

/// The close frame of the stream; after 1000 clients come back in their own time.
fn closing(close: &Close) -> Bytes {
    let reason = serde_json::to_string(&*close.reason).unwrap_or_default();
    format!("c[1000,{reason}]\n").into()
}

pub(super) fn routes(cfg: &mut web::ServiceConfig) {
    let preflight = || web::method(actix_web::http::Method::OPTIONS).to(preflight);
    cfg.service(
        web::resource(STREAM)
            .route(web::post().to(open))
            .route(preflight()),
    );
    cfg.service(
        web::resource(SEND)
            .route(web::post().to(send))
            .route(preflight()),
    );
}

#[allow(clippy::unused_async)] // Handlers are async.
async fn open(
    request: HttpRequest,
    encoding: web::Data<StreamEncoding>,
    streams: web::Data<Streams>,
) -> Result<HttpResponse, actix_web::Error> {
    let opening = Opening {
        dialect: DIALECT,
        app: None,
        encoding: encoding.0,
        max_frame_bytes: limits::FRAME_BYTES,
        max_outbox_bytes: usize::try_from(OUTBOX_BYTES.default).unwrap_or(usize::MAX),
        subprotocol: None,
    };
    let mut preamble = vec![b'h'; PREAMBLE];
    preamble.push(b'\n');
    let wire = Wire {
        framing: line,
        closing,
    };
    let out = (wire, preamble.into());
    let session = Box::new(RealtimeSession::new());
    let opened = stream::open(&request, (&streams, name(&request)), &opening, out, session)?;
    let Some(mut response) = opened else {
        let taken = "c[2010,\"Another connection still open\"]\n";
        return Ok(allowed(StatusCode::OK, &request).body(taken));
    };
    let headers = allowed(StatusCode::OK, &request).finish();
    for (header, value) in headers.headers() {
        response.headers_mut().insert(header.clone(), value.clone());
    }
    Ok(response)
}

async fn send(
    request: HttpRequest,
    payload: web::Payload,
    streams: web::Data<Streams>,
) -> HttpResponse {
    let read = payload.to_bytes_limited(limits::FRAME_BYTES);
    let Ok(Ok(Ok(body))) = tokio::time::timeout(BODY_WITHIN, read).await else {
        return allowed(StatusCode::PAYLOAD_TOO_LARGE, &request).finish();
    };
    let Ok(text) = bytestring::ByteString::try_from(body) else {
        return allowed(StatusCode::BAD_REQUEST, &request).finish();
    };
    let status = match streams.say(&name(&request), Frame::Text(text)) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(Unheard::Unknown) => StatusCode::NOT_FOUND,
        Err(Unheard::Full) => StatusCode::SERVICE_UNAVAILABLE,
    };
    allowed(status, &request).finish()
}

#[allow(clippy::unused_async)] // Handlers are async.
async fn preflight(request: HttpRequest) -> HttpResponse {
    allowed(StatusCode::NO_CONTENT, &request)
        .insert_header(("Access-Control-Allow-Methods", "OPTIONS, POST"))
        .insert_header(("Access-Control-Max-Age", "3600"))
        .finish()
}

fn name(request: &HttpRequest) -> Text {
    let part = |name| request.match_info().get(name).unwrap_or_default();
    format!("{}/{}", part("server"), part("connection")).into()
}

/// An answer that any page may read: who connects is said in the stream, never by a cookie.
fn allowed(status: StatusCode, request: &HttpRequest) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.content_type("application/javascript; charset=UTF-8");
    response.insert_header((
        "Cache-Control",
        "no-store, no-cache, no-transform, must-revalidate, max-age=0",
    ));
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
