//! Pusher Channels: WebSocket protocol 5 to 7 at `/app/{key}` and the HTTP API under `/apps/{id}`.
//!
//! **Must never know:** the cluster crate, peers, other dialects, channel internals.
//! **Why frames are written by hand:** the double encoding of `data` and its exceptions are the protocol; a
//! derived serializer would hide the one thing that must be seen.

mod auth;
mod channel_name;
mod codes;
mod connect;
mod encoder;
mod fallback;
#[cfg(test)]
mod fixture;
mod frame;
pub mod limits;
mod query;
mod rest;
mod session;
pub mod webhooks;

use crate::core::authority::{OpenRule, Operations, Pattern};
use crate::core::delivery::encoding::{self as delivery, EncodingId, Encodings};
use crate::transport::ws;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

/// The dialect's word: in app protocols, listings and metrics.
pub const DIALECT: &str = "pusher";

/// Under which numbers this dialect's encoder is registered; app data of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// For WebSockets.
    socket: EncodingId,
    /// For the fallback over plain HTTP.
    stream: EncodingId,
}

impl Encoding {
    /// Registers how this dialect writes broadcasts, for each of its framings.
    #[must_use]
    pub fn register(encodings: &mut Encodings) -> Self {
        let mut add = |framing| {
            let encoder = Box::new(encoder::PusherEncoder);
            encodings.add(delivery::Encoding { encoder, framing })
        };
        Self {
            socket: add(ws::framing),
            stream: add(fallback::line),
        }
    }
}

/// What an app that speaks only this dialect leaves open: receiving on every channel without a prefix that
/// asks for a signature.
#[must_use]
pub fn default_open() -> Vec<OpenRule> {
    vec![OpenRule {
        pattern: Pattern::Except(vec!["presence-".into(), "private-".into()]),
        operations: Operations::SUBSCRIBE,
    }]
}

/// Its paths begin with these: `/x` is that path alone, `/x/` is everything below it.
pub const BEGINNINGS: &[&str] = &["/app", "/app/", "/apps", "/apps/", "/users/", "/pusher/"];

/// The answer to a path or method that it does not know.
#[must_use]
pub fn unknown(_request: &HttpRequest, status: StatusCode) -> HttpResponse {
    rest::unknown(status)
}

/// A path under which the dialect's paths are served as well; empty = none. App data of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(pub std::sync::Arc<str>);

/// Routes of the public port. Needs `web::Data` of the broker, [`Encoding`], [`Prefix`] and the node's streams.
pub fn routes(cfg: &mut web::ServiceConfig, prefix: &Prefix) {
    let mut places = vec!["", &*prefix.0];
    places.dedup();
    for place in places {
        cfg.route(&format!("{place}/app"), web::get().to(connect::connect));
        let tail = format!("{place}/app/{{tail:.*}}");
        cfg.route(&tail, web::get().to(connect::connect));
        rest::routes(cfg, place);
    }
    fallback::routes(cfg, prefix);
}
