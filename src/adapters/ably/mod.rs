//! Ably: realtime protocol 2 to 6 over WebSocket at `/`, JSON and MessagePack, and the REST API.
//!
//! **Must never know:** the cluster crate, peers, other dialects, channel internals.

mod auth;
mod capability;
mod codes;
mod connect;
mod encoder;
#[cfg(test)]
mod fixture;
mod format;
mod frame;
mod jwt;
mod key_name;
pub mod limits;
mod member;
mod message;
mod position;
mod query;
mod rest;
mod resume;
mod session;
mod token;
mod token_request;

pub use resume::Endings;

use crate::core::authority::ReadToken;
use crate::core::delivery::encoding::{Encoder, EncodingId};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use format::Format;

/// The dialect's word: in app protocols, listings and metrics.
pub const DIALECT: &str = "ably";

/// Its paths begin with these: `/x` is that path alone, `/x/` is everything below it.
pub const BEGINNINGS: &[&str] = &[
    "/",
    "/time",
    "/stats",
    "/keys",
    "/keys/",
    "/messages",
    "/messages/",
    "/presence",
    "/channels",
    "/channels/",
    "/push",
    "/push/",
    "/comet",
    "/comet/",
];

/// The answer to a path or method that it does not know.
#[must_use]
pub fn unknown(request: &HttpRequest, status: StatusCode) -> HttpResponse {
    rest::unknown(request, status)
}

/// Under which numbers this dialect's encoders are registered; app data of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encodings {
    /// Of [`json_encoder`].
    pub json: EncodingId,
    /// Of [`msgpack_encoder`].
    pub msgpack: EncodingId,
}

/// How this dialect writes broadcasts as text.
#[must_use]
pub fn json_encoder() -> Box<dyn Encoder> {
    Box::new(encoder::AblyEncoder(Format::Json))
}

/// How this dialect writes broadcasts as MessagePack.
#[must_use]
pub fn msgpack_encoder() -> Box<dyn Encoder> {
    Box::new(encoder::AblyEncoder(Format::MsgPack))
}

/// What a text given as a token is to this dialect.
pub const READ_TOKEN: ReadToken = auth::presented;

/// Routes of the public port. Needs `web::Data` of the broker, [`Encodings`] and [`Endings`].
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.route("/", web::get().to(connect::connect));
    rest::routes(cfg);
}
