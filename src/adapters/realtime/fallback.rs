//! The browser SDK's fallback where WebSockets do not get through: responses that bring frames as lines, and requests
//! that send.

use super::limits;
use super::session::RealtimeSession;
use super::{DIALECT, Encoding, OfNode};
use crate::core::close::Close;
use crate::core::connection::accepted::Framing;
use crate::core::ids::Text;
use crate::core::limits::{HISTORY_BYTES, OUTBOX_BYTES, outbox_with_history};
use crate::core::session::Frame;
use crate::transport::stream::{self, Asked, LineProtocol, Streams};
use crate::transport::ws::Opening;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

/// Where both are asked for; any prefix, as for WebSockets.
const PLACE: &str = "/{prefix:.*}broadcast/{server}/{connection}";

const LINE_PROTOCOL: LineProtocol = LineProtocol {
    framing: Framing {
        message: line,
        close: closing,
    },
    // The session says it.
    greeting: b"",
    heartbeat: b"h\n",
    breaks_off: false,
};

/// One frame per line.
pub(super) fn line(frame: Frame) -> Bytes {
    match frame {
        Frame::Text(text) => format!("{text}\n").into(),
        Frame::Binary(data) => data,
    }
}

/// The close as a line; after 1000 clients come back in their own time.
fn closing(close: &Close) -> Bytes {
    let reason = serde_json::to_string(&*close.reason).unwrap_or_default();
    let code = match close.code {
        2010 => 2010,
        _ => 1000,
    };
    format!("c[{code},{reason}]\n").into()
}

pub(super) fn routes(cfg: &mut web::ServiceConfig) {
    let preflight = || web::method(actix_web::http::Method::OPTIONS).to(stream::preflight);
    for (way, to) in [
        ("xhr_streaming", web::post().to(streaming)),
        ("xhr", web::post().to(poll)),
        ("xhr_send", web::post().to(send)),
    ] {
        let place = web::resource(format!("{PLACE}/{way}"));
        cfg.service(place.route(to).route(preflight()));
    }
}

#[allow(clippy::unused_async)] // Handlers are async.
async fn streaming(
    request: HttpRequest,
    encoding: web::Data<Encoding>,
    of_node: web::Data<OfNode>,
    streams: web::Data<Streams>,
) -> Result<HttpResponse, actix_web::Error> {
    open(&request, (&encoding, &of_node), &streams, Asked::Stream)
}

#[allow(clippy::unused_async)] // Handlers are async.
async fn poll(
    request: HttpRequest,
    encoding: web::Data<Encoding>,
    of_node: web::Data<OfNode>,
    streams: web::Data<Streams>,
) -> Result<HttpResponse, actix_web::Error> {
    open(&request, (&encoding, &of_node), &streams, Asked::Poll)
}

fn open(
    request: &HttpRequest,
    (encoding, of_node): (&Encoding, &OfNode),
    streams: &Streams,
    asked: Asked,
) -> Result<HttpResponse, actix_web::Error> {
    stream::open(
        request,
        (streams, name(request)),
        asked,
        &LINE_PROTOCOL,
        || {
            let opening = Opening {
                dialect: DIALECT,
                app: None,
                key: None,
                encoding: encoding.stream,
                max_frame_bytes: limits::FRAME_BYTES,
                max_outbox_bytes: outbox_with_history(OUTBOX_BYTES.default, HISTORY_BYTES.default),
                subprotocol: None,
                resumes: None,
                hand_over: None,
            };
            (opening, Box::new(RealtimeSession::new(of_node.clone())))
        },
    )
}

async fn send(
    request: HttpRequest,
    payload: web::Payload,
    streams: web::Data<Streams>,
) -> HttpResponse {
    // An array of commands is a frame like another.
    let whole = |body: &str| Some(vec![Frame::Text(body.into())]);
    let to = name(&request);
    stream::say(
        &request,
        payload,
        (&streams, &to),
        limits::FRAME_BYTES,
        whole,
    )
    .await
}

fn name(request: &HttpRequest) -> Text {
    let part = |name| request.match_info().get(name).unwrap_or_default();
    format!("{DIALECT}/{}/{}", part("server"), part("connection")).into()
}
