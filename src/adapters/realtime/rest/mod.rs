//! Discovery and the HTTP API: one file per call.
//!
//! **Must never know:** sockets, how channels are kept. Reading a request is pure; the handlers only read the body,
//! ask the broker and answer.

mod authenticate;
mod balancer;
mod call;
mod fault;
mod form;
mod presence;
mod send;

use actix_web::http::StatusCode;
use actix_web::http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use actix_web::http::header::HeaderValue;
use actix_web::{HttpResponse, ResponseError as _, web};

/// The flag of a channel whose presence is switched on.
pub(super) const PRESENCE_FLAG: &str = "realtime-presence";
/// The flag of a channel whose presence counts connection metadata.
pub(super) const METADATA_FLAG: &str = "realtime-presence-metadata";

/// A path or method that is none.
pub(super) fn unknown(status: StatusCode) -> HttpResponse {
    let text = match status {
        StatusCode::METHOD_NOT_ALLOWED => "Invalid method",
        _other => "Invalid path",
    };
    let mut response = fault::Fault::new(status.as_u16(), text).error_response();
    let anywhere = HeaderValue::from_static("*");
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, anywhere);
    response
}

/// Routes at the root: the clients append these paths to the URL that discovery gives them.
pub(super) fn routes(cfg: &mut web::ServiceConfig) {
    for path in ["/server/2.1", "/server/2.1/"] {
        cfg.route(path, web::get().to(balancer::plain));
    }
    for path in ["/server/ssl/2.1", "/server/ssl/2.1/"] {
        cfg.route(path, web::get().to(balancer::secure));
    }
    cfg.route("/authenticate", web::post().to(authenticate::post));
    cfg.route("/send", web::post().to(send::post));
    cfg.route("/send/", web::post().to(send::post));
    cfg.route(
        "/presence/{switch:enable|disable}/{key}/{channel:.*}",
        web::post().to(presence::switch),
    );
    cfg.route(
        "/presence/{key}/{token}/{channel:.*}",
        web::get().to(presence::get),
    );
}
