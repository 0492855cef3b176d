//! The client's fallback over plain HTTP where WebSockets do not get through: responses that bring frames as lines
//! (`xhr_streaming`, `xhr`), and requests that send.

use super::session::PusherSession;
use super::{DIALECT, Encoding, Prefix, connect, limits};
use crate::adapters::pusher::frame::json;
use crate::core::broker::Broker;
use crate::core::close::Close;
use crate::core::connection::accepted::Framing;
use crate::core::ids::Text;
use crate::core::session::Frame;
use crate::transport::stream::{self, Asked, LineProtocol, Streams};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// The client's default path, and what it appends.
const PLACE: &str = "/pusher/app/{key}/{server}/{session}";

/// Frames in one request, at most.
const MAX_FRAMES: usize = 64;

const LINE_PROTOCOL: LineProtocol = LineProtocol {
    framing: Framing {
        message: line,
        close: closing,
    },
    greeting: b"o{}\n",
    heartbeat: b"h\n",
    // A response that ends is an interrupted connection to it; it asks for a new one by itself.
    breaks_off: true,
};

/// One frame per line, in an array.
pub(super) fn line(frame: Frame) -> Bytes {
    let mut out = "a[".to_owned();
    match frame {
        Frame::Text(text) => json::push_string(&mut out, &text),
        Frame::Binary(data) => json::push_string(&mut out, &STANDARD.encode(data)),
    }
    out.push_str("]\n");
    out.into()
}

fn closing(close: &Close) -> Bytes {
    let mut out = format!("c[{},", close.code);
    json::push_string(&mut out, &close.reason);
    out.push_str("]\n");
    out.into()
}

pub(super) fn routes(cfg: &mut web::ServiceConfig, prefix: &Prefix) {
    let mut places = vec!["", &*prefix.0];
    places.dedup();
    for place in places {
        let preflight = || web::method(actix_web::http::Method::OPTIONS).to(stream::preflight);
        for (way, to) in [
            ("xhr_streaming", web::post().to(streaming)),
            ("xhr", web::post().to(poll)),
            ("xhr_send", web::post().to(send)),
        ] {
            let place = web::resource(format!("{place}{PLACE}/{way}"));
            cfg.service(place.route(to).route(preflight()));
        }
    }
}

async fn streaming(
    request: HttpRequest,
    broker: web::Data<Broker>,
    encoding: web::Data<Encoding>,
    streams: web::Data<Streams>,
) -> Result<HttpResponse, actix_web::Error> {
    open(&request, &broker, &encoding, (&streams, Asked::Stream)).await
}

async fn poll(
    request: HttpRequest,
    broker: web::Data<Broker>,
    encoding: web::Data<Encoding>,
    streams: web::Data<Streams>,
) -> Result<HttpResponse, actix_web::Error> {
    open(&request, &broker, &encoding, (&streams, Asked::Poll)).await
}

async fn open(
    request: &HttpRequest,
    broker: &Broker,
    encoding: &Encoding,
    (streams, asked): (&Streams, Asked),
) -> Result<HttpResponse, actix_web::Error> {
    let name = name(request);
    let key = request.match_info().get("key").unwrap_or_default();
    let mut hello = connect::hello(request, key);
    if !streams.knows(&name) {
        connect::catch_up(broker, &mut hello).await;
    }
    let state = broker.authority.view();
    stream::open(request, (streams, name), asked, &LINE_PROTOCOL, || {
        let opening = connect::opening(&state, &hello, encoding.stream);
        (opening, Box::new(PusherSession::new(hello)))
    })
}

async fn send(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
    streams: web::Data<Streams>,
) -> HttpResponse {
    let key = request.match_info().get("key").unwrap_or_default();
    let hello = connect::hello(&request, key);
    let most = connect::limit(&broker.authority.view(), &hello, limits::FRAME_BYTES);
    let to = name(&request);
    // A frame inside an array of texts: quotes and their escapes come on top.
    let most_bytes = most.saturating_mul(2);
    let frames = |body: &str| frames(body, most);
    stream::say(&request, payload, (&streams, &to), most_bytes, frames).await
}

/// The frames in a body: an array of texts. An empty one is a sign of life.
fn frames(body: &str, most: usize) -> Option<Vec<Frame>> {
    let texts: Vec<String> = serde_json::from_str(body).ok()?;
    let fits = texts.len() <= MAX_FRAMES && texts.iter().all(|text| text.len() <= most);
    let frame = |text: String| Frame::Text(text.into());
    fits.then(|| texts.into_iter().map(frame).collect())
}

fn name(request: &HttpRequest) -> Text {
    let part = |name| request.match_info().get(name).unwrap_or_default();
    let (key, server, session) = (part("key"), part("server"), part("session"));
    format!("{DIALECT}/{key}/{server}/{session}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_client_splits_and_parses() {
        let frame = Frame::Text("{\"event\":\"é\n\"}".into());
        assert_eq!(line(frame), "a[\"{\\\"event\\\":\\\"é\\n\\\"}\"]\n");
        let close = Close {
            code: 4001,
            reason: "no \"key\"".into(),
        };
        assert_eq!(closing(&close), "c[4001,\"no \\\"key\\\"\"]\n");
    }

    #[test]
    fn a_body_is_an_array_of_texts_and_bounded() {
        let texts = |body| frames(body, 5).map(|frames| frames.len());
        assert_eq!(texts("[]"), Some(0));
        assert_eq!(texts(r#"["12345","x"]"#), Some(2));
        for bad in ["", "{}", "[1]", r#"["123456"]"#] {
            assert_eq!(texts(bad), None, "{bad}");
        }
        assert_eq!(
            frames(&format!("[{}\"\"]", "\"\",".repeat(MAX_FRAMES)), 5),
            None
        );
    }
}
